# SPDX-License-Identifier: Apache-2.0
"""Ciphertexts that open under two keys: the attack on AES-GCM that a key commitment stops.

GHASH is linear in every block of the ciphertext. So for two keys and one nonce there is a value for any one block that
makes both tags equal (Grubbs, Lu, Ristenpart, CRYPTO 2017, "Message Franking via Committing Authenticated Encryption").
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

__all__ = ["derived_key", "opens_under_both"]

_R = 0xE1 << 120  # NIST SP 800-38D, section 6.3


def opens_under_both(one: bytes, other: bytes, nonce: bytes, plaintext: bytes, associated_data: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    """Return ``ciphertext ‖ tag`` that AES-GCM opens under both keys, each with its own associated data.

    Args:
        one: 32 bytes; under it the first block decrypts to ``plaintext``.
        other: 32 bytes.
        nonce: 12 bytes.
        plaintext: 16 bytes.
        associated_data: Under the one key, and under the other.
    """
    h1, h2 = (int.from_bytes(_block(key, bytes(16))) for key in (one, other))
    mask1, mask2 = (int.from_bytes(_block(key, nonce + b"\x00\x00\x00\x01")) for key in (one, other))
    first = int.from_bytes(_block(one, nonce + b"\x00\x00\x00\x02")) ^ int.from_bytes(plaintext)
    # The tag under a key is  … ⊕ first · H³ ⊕ second · H² ⊕ lengths · H ⊕ mask.  Both are equal for this second block:
    known1, known2 = (_hash(h, data, first, 0) ^ mask for h, data, mask in zip((h1, h2), associated_data, (mask1, mask2), strict=True))
    second = _multiply(known1 ^ known2, _inverse(_power(h1, 2) ^ _power(h2, 2)))
    tag = _hash(h1, associated_data[0], first, second) ^ mask1
    return b"".join(number.to_bytes(16) for number in (first, second, tag))


def _hash(h: int, associated_data: bytes, *ciphertext: int) -> int:
    """Return GHASH of the associated data and the blocks of the ciphertext (section 6.4)."""
    padded = associated_data + bytes(-len(associated_data) % 16)
    blocks = [int.from_bytes(padded[begin : begin + 16]) for begin in range(0, len(padded), 16)]
    lengths = (8 * len(associated_data) << 64) + 128 * len(ciphertext)  # bits
    result = 0
    for block in (*blocks, *ciphertext, lengths):
        result = _multiply(result ^ block, h)
    return result


def derived_key(key: bytes, nonce: bytes) -> bytes:
    """Return the AES-256-GCM key of XAES-256-GCM, by a CMAC that is not ours (C2SP XAES-256-GCM)."""
    halves = []
    for counter in (b"\x00\x01", b"\x00\x02"):
        mac = CMAC(algorithms.AES256(key))
        mac.update(counter + b"X\x00" + nonce[:12])
        halves.append(mac.finalize())
    return b"".join(halves)


def _block(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES256(key), modes.ECB()).encryptor().update(block)  # noqa: S305 - the bare block cipher


def _multiply(one: int, other: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if other >> bit & 1:
            product ^= one
        one = one >> 1 ^ _R if one & 1 else one >> 1
    return product


def _power(base: int, exponent: int) -> int:
    result = 1 << 127  # the one of this field, whose bits are reflected
    for _ in range(exponent):
        result = _multiply(result, base)
    return result


def _inverse(number: int) -> int:
    result, square = 1 << 127, number  # number to the power of 2^128 - 2
    for _ in range(127):
        square = _multiply(square, square)
        result = _multiply(result, square)
    return result
