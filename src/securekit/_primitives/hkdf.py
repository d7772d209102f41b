# SPDX-License-Identifier: Apache-2.0
"""HKDF-SHA-256 (RFC 5869) and HMAC-SHA-256 (RFC 2104)."""

from __future__ import annotations

import hmac

__all__ = ["HASH_SIZE", "hkdf", "hkdf_expand", "hkdf_extract", "hmac_sha256"]

HASH_SIZE = 32  # bytes, SHA-256
_MAX_OUTPUT = 255 * HASH_SIZE  # bytes, RFC 5869 section 2.3


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA-256 of ``message`` (RFC 2104)."""
    return hmac.digest(key, message, "sha256")


def hkdf(key: bytes, info: str | bytes, *, size: int = HASH_SIZE, salt: bytes = b"") -> bytes:
    """Return ``size`` bytes of HKDF-SHA-256 (RFC 5869). The standard library's HMAC is faster here than a KDF object.

    Args:
        key: Input keying material that is uniformly random.
        info: The label of the purpose; text is encoded as UTF-8.
        size: 1 to 8,160 bytes.
        salt: Empty, unless a test vector says otherwise.
    """
    if not 0 < size <= _MAX_OUTPUT:
        message = f"HKDF gives 1 to {_MAX_OUTPUT} bytes, not {size}"
        raise ValueError(message)
    label = info.encode() if isinstance(info, str) else info
    return hkdf_expand(hkdf_extract(key, salt=salt), label, size=size)


def hkdf_extract(key: bytes, *, salt: bytes = b"") -> bytes:
    """Return the 32 bytes of the first step of HKDF-SHA-256 (RFC 5869, section 2.2): for several labels, it is done once."""
    return hmac.digest(salt or bytes(HASH_SIZE), key, "sha256")


def hkdf_expand(key: bytes, info: bytes, *, size: int, digest: str = "sha256") -> bytes:
    """Return ``size`` bytes of the second step of HKDF (RFC 5869, section 2.3); ``key`` is uniformly random."""
    block = output = b""
    counter = 0
    while len(output) < size:
        counter += 1
        block = hmac.digest(key, block + info + bytes([counter]), digest)
        output += block
    return output[:size]
