# SPDX-License-Identifier: Apache-2.0
"""Hashes that others made."""

from __future__ import annotations

from securekit.exceptions import FormatError

from ._stored import StoredHash

__all__ = ["parse"]


def parse(text: str, *, legacy_truncate: bool = False) -> StoredHash:  # noqa: ARG001 - a stub
    """Return the hash.

    Raises:
        securekit.exceptions.FormatError: It is in no form that is known, or out of bounds.
    """
    message = "a stored hash in no form that is known"
    raise FormatError(message)
