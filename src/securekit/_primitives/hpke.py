# SPDX-License-Identifier: Apache-2.0
"""HPKE (RFC 9180) in base mode, single-shot, without associated data: a message to the holder of one private key.

One suite per curve, all with AES-256-GCM. P-256 and X25519 go with HKDF-SHA-256, P-384 with HKDF-SHA-384
(RFC 9180, sections 7.1 to 7.3). A message is ``enc ‖ ciphertext ‖ tag(16)``.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from securekit.exceptions import DecryptionError

__all__ = ["HpkePrivateKey", "HpkePublicKey", "decrypt", "encrypt", "overhead"]

HpkePublicKey = EllipticCurvePublicKey | X25519PublicKey
HpkePrivateKey = EllipticCurvePrivateKey | X25519PrivateKey

_TAG_SIZE = 16  # bytes, AES-256-GCM
_UNCOMPRESSED = b"\x04"  # SEC 1, section 2.3.3; RFC 9180, section 7.1.1, has no other form
_SUITES = {
    "p256": (KEM.P256, KDF.HKDF_SHA256),
    "p384": (KEM.P384, KDF.HKDF_SHA384),
    "x25519": (KEM.X25519, KDF.HKDF_SHA256),
}


def encrypt(curve: str, key: HpkePublicKey, plaintext: bytes, *, info: bytes) -> bytes:
    """Return ``enc ‖ ciphertext ‖ tag(16)``; ``enc`` has 65 bytes for ``p256``, 97 for ``p384`` and 32 for ``x25519``."""
    return _suite(curve).encrypt(plaintext, key, info=info)


def decrypt(curve: str, key: HpkePrivateKey, message: bytes, *, info: bytes) -> bytes:
    """Return the plaintext.

    Raises:
        securekit.exceptions.DecryptionError: Wrong key or ``info``, an ``enc`` of another form, or changed, missing or additional bytes.
    """
    # cryptography takes the hybrid forms of X9.62 (06, 07) as well, which would be a second encoding.
    if isinstance(key, X25519PrivateKey) or message.startswith(_UNCOMPRESSED):
        try:
            return _suite(curve).decrypt(message, key, info=info)
        except InvalidTag:
            pass
    raise DecryptionError


def overhead(curve: str) -> int:
    """Return by how many bytes a message is longer than its plaintext."""
    return _SUITES[curve][0].enc_length() + _TAG_SIZE


def _suite(curve: str) -> Suite:
    kem, kdf = _SUITES[curve]
    return Suite(kem, kdf, AEAD.AES_256_GCM)
