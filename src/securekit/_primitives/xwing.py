# SPDX-License-Identifier: Apache-2.0
"""HPKE to an X-Wing key: ML-KEM-768 (FIPS 203) and X25519 together, so that both must be broken.

The private key is a 32-byte seed (draft-connolly-cfrg-xwing-kem, section 5.2): SHAKE256 expands it to the 64 bytes that an
ML-KEM key is made from, and the 32 bytes of the X25519 key. The public key is ``ML-KEM(1184) ‖ X25519(32)``.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from securekit.exceptions import DecryptionError

from .asymmetric import is_degenerate

__all__ = ["OVERHEAD", "PUBLIC_SIZE", "SEED_SIZE", "check_public_key", "decrypt", "encrypt", "public_key"]

SEED_SIZE = 32  # bytes
_MLKEM_SEED_SIZE = 64  # bytes, d ‖ z of FIPS 203, algorithm 16
_MLKEM_PUBLIC_SIZE = 1184  # bytes, FIPS 203, table 3
PUBLIC_SIZE = _MLKEM_PUBLIC_SIZE + 32  # bytes
OVERHEAD = 1120 + 16  # bytes: encapsulated key, and the tag of AES-256-GCM


def public_key(seed: bytes) -> bytes:
    """Return the 1,216 bytes of the public key that belongs to ``seed``."""
    mlkem, x25519 = _expand(seed)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def encrypt(public: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    """Return ``enc(1120) ‖ ciphertext ‖ tag(16)``.

    Raises:
        ValueError: ``public`` is no such key.
    """
    return _suite().encrypt(plaintext, _parse(public), info=info)


def check_public_key(public: bytes) -> None:
    """Check that ``public`` is a key that can be encrypted to.

    Raises:
        ValueError: It has another length, numbers beyond ML-KEM's modulus, or an X25519 half that agrees on nothing secret.
    """
    _parse(public)
    if is_degenerate(X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_SIZE:])):
        message = "an X-Wing public key has no X25519 half of small order, or beyond its prime"
        raise ValueError(message)


def _parse(public: bytes) -> MLKEM768X25519PublicKey:
    if len(public) != PUBLIC_SIZE:
        message = f"an X-Wing public key has {PUBLIC_SIZE} bytes, not {len(public)}"
        raise ValueError(message)
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_SIZE])
    except ValueError:
        message = "an X-Wing public key has no numbers beyond ML-KEM's modulus"
        raise ValueError(message) from None
    return MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_SIZE:]))


def decrypt(seed: bytes, message: bytes, *, info: bytes) -> bytes:
    """Return the plaintext.

    Raises:
        securekit.exceptions.DecryptionError: Wrong key, wrong ``info``, or changed bytes.
    """
    try:
        return _suite().decrypt(message, MLKEM768X25519PrivateKey(*_expand(seed)), info=info)
    except InvalidTag:
        pass
    raise DecryptionError


def _expand(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_SIZE + 32)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_SIZE]), X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_SIZE:])


def _suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
