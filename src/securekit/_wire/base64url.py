# SPDX-License-Identifier: Apache-2.0
"""Base64url without padding (RFC 4648, section 5), decoded strictly: every byte string has exactly one text."""

from __future__ import annotations

import binascii

from securekit.exceptions import FormatError

__all__ = ["decode", "encode"]

_TO_URL = bytes.maketrans(b"+/", b"-_")
# The standard alphabet's own two characters and the padding are mapped to one that is in no alphabet.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/\x00\x00\x00")


def encode(data: bytes) -> str:
    """Return ``data`` as base64url text without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes that ``text`` stands for.

    Raises:
        securekit.exceptions.FormatError: ``text`` has padding, white space, a character outside the alphabet, an
            impossible length, or non-zero trailing bits.
    """
    try:
        raw = text.encode("ascii").translate(_FROM_URL)
        data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        message = "not base64url without padding"
        raise FormatError(message) from None
    # strict_mode lets non-zero trailing bits pass; a canonical text is what encoding gives back.
    if encode(data) != text:
        message = "not canonical base64url"
        raise FormatError(message)
    return data
