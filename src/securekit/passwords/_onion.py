# SPDX-License-Identifier: Apache-2.0
"""Digests of old tables, which lie as one more layer under a strong hash until the next login."""

from __future__ import annotations

from securekit.exceptions import FormatError

__all__ = ["check_layer", "peel"]


def check_layer(name: str, salt: bytes) -> None:  # noqa: ARG001 - a stub
    """Check that a layer is known, and has a salt where it needs one (``b""`` is none).

    Raises:
        securekit.exceptions.FormatError: It is not.
    """
    message = "a layer that is not known"
    raise FormatError(message)


def peel(name: str, salt: bytes, password: bytes) -> bytes:
    """Return the digest in the text form that the layer names, which is what was hashed at the import."""
    raise NotImplementedError
