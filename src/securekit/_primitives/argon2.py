# SPDX-License-Identifier: Apache-2.0
"""Argon2id (RFC 9106) through argon2-cffi.

Not through ``cryptography``, whose Argon2id with more than one lane dead-locks two threads in version 50.
"""

from __future__ import annotations

from argon2.exceptions import Argon2Error
from argon2.low_level import Type, hash_secret_raw

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
    try:
        return hash_secret_raw(passphrase, salt, time_cost=passes, memory_cost=memory, parallelism=lanes, hash_len=32, type=Type.ID)
    except Argon2Error:
        message = f"Argon2id was not granted {memory} KiB of memory"
        raise MemoryError(message) from None
