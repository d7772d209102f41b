# SPDX-License-Identifier: Apache-2.0
"""Argon2id (RFC 9106) for keys from passphrases."""

from __future__ import annotations

from .password_kdfs import argon2

__all__ = ["argon2id"]


def argon2id(passphrase: bytes, *, salt: bytes, memory: int, passes: int, lanes: int) -> bytes:
    """Return 32 bytes of Argon2id version 0x13 (RFC 9106).

    Args:
        passphrase: Any bytes.
        salt: 16 bytes.
        memory: KiB; bounded by the caller before this is called.
        passes: Iterations over the memory.
        lanes: Degree of parallelism.

    Raises:
        MemoryError: The system does not grant the memory.
    """
    return argon2(passphrase, salt=salt, memory=memory, passes=passes, lanes=lanes, size=32)
