# SPDX-License-Identifier: Apache-2.0
"""RSAES-OAEP (RFC 8017, section 7.1) with SHA-256, MGF1 with SHA-256, and an empty label."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from securekit.exceptions import DecryptionError

__all__ = ["MAX_BITS", "MIN_BITS", "WEAK_BELOW", "decrypt", "encrypt"]

MIN_BITS = 2048  # NIST SP 800-131A revision 2, section 6
WEAK_BELOW = 3072  # bits; less than 128 bits of strength, NIST SP 800-57 part 1 revision 5, table 2
MAX_BITS = 8192  # so that nobody's key makes us compute for seconds


def encrypt(key: RSAPublicKey, plaintext: bytes) -> bytes:
    """Return the ciphertext, as long as the modulus."""
    return key.encrypt(plaintext, _padding())


def decrypt(key: RSAPrivateKey, ciphertext: bytes) -> bytes:
    """Return the plaintext.

    Raises:
        securekit.exceptions.DecryptionError: Wrong key, or changed, missing or additional bytes.
    """
    try:
        return key.decrypt(ciphertext, _padding())
    except ValueError:  # of several texts; that there is only one outcome is the point
        pass
    raise DecryptionError


def _padding() -> OAEP:
    return OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)
