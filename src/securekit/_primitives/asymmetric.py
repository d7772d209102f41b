# SPDX-License-Identifier: Apache-2.0
"""Public keys that a key can be wrapped to, and the private keys that unwrap it: RSA, P-256, P-384 and X25519."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.utils import CryptographyDeprecationWarning

from securekit.exceptions import CertificateError, FormatError
from securekit.secret import Secretive

from . import hpke, rsa_oaep

__all__ = ["PrivateKey", "PublicKey", "canonical_spki", "is_degenerate"]

_RSA = "rsa-oaep-256"
_HPKE = "hpke-"
_CURVES = {"secp256r1": "p256", "secp384r1": "p384"}
# Bytes of the canonical SubjectPublicKeyInfo: of an RSA key, from 2,048 bits with a small exponent to 8,192 bits with one
# of 256 bits, the largest that FIPS 186-5, appendix A.1.1, allows.
_ENCODED_SIZES = {
    _RSA: range(292, 1092 + 1),
    _HPKE + "p256": range(91, 92),
    _HPKE + "p384": range(120, 121),
    _HPKE + "x25519": range(44, 45),
}
_X25519_PRIME = 2**255 - 19


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of a kind and size that is wrapped to.

    Attributes:
        algorithm: ``"rsa-oaep-256"``, ``"hpke-p256"``, ``"hpke-p384"`` or ``"hpke-x25519"``.
        bits: The size of an RSA modulus, or of the curve's field.
        reference: SHA-256 of the canonical SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) in DER: 64 hexadecimal
            digits. Canonical means encoded anew: named curve, uncompressed point.
    """

    algorithm: str
    bits: int
    reference: str
    _key: RSAPublicKey | hpke.HpkePublicKey

    @classmethod
    def of(cls, key: object) -> PublicKey:
        """Return ``key``, a public key as ``cryptography`` has it.

        Raises:
            securekit.exceptions.CertificateError: It is of another kind or size; the message names both.
        """
        match key:
            case RSAPublicKey():
                algorithm, bits = _RSA, key.key_size
                if not rsa_oaep.MIN_BITS <= bits <= rsa_oaep.MAX_BITS:
                    message = f"an RSA key of {bits} bits is not wrapped to; {rsa_oaep.MIN_BITS} to {rsa_oaep.MAX_BITS} are allowed"
                    raise CertificateError(message)
            case EllipticCurvePublicKey() if key.curve.name in _CURVES:
                algorithm, bits = _HPKE + _CURVES[key.curve.name], key.curve.key_size
            case X25519PublicKey():
                algorithm, bits = _HPKE + "x25519", 255
            case _:
                kind = f"curve {key.curve.name}" if isinstance(key, EllipticCurvePublicKey) else type(key).__name__
                message = f"a key of this kind ({kind}) is not wrapped to; RSA, P-256, P-384 and X25519 are"
                raise CertificateError(message)
        return cls(algorithm, bits, hashlib.sha256(canonical_spki(key)).hexdigest(), key)

    @classmethod
    def parse(cls, algorithm: str, encoded: bytes) -> PublicKey:
        """Return the key that `encoded` gave for a key of this ``algorithm``; what is too long is not looked at.

        Raises:
            securekit.exceptions.FormatError: There is no such algorithm, or ``encoded`` is not the canonical form of a key of it
                that can be wrapped to.
        """
        sizes = _ENCODED_SIZES.get(algorithm, range(0))
        try:
            if len(encoded) in sizes:
                key = load_der_public_key(encoded)
                found = cls.of(key)
                if (
                    found.algorithm == algorithm
                    and found.encoded == encoded
                    and not (isinstance(key, X25519PublicKey) and is_degenerate(key))
                ):
                    return found
        except (ValueError, TypeError, UnsupportedAlgorithm, CryptographyDeprecationWarning, CertificateError):
            pass  # a warning, where those are errors: for a key of an old kind
        message = f"not the canonical public key of a recipient {algorithm[:32]!r}"
        raise FormatError(message)

    @property
    def encoded(self) -> bytes:
        """The canonical SubjectPublicKeyInfo in DER."""
        return canonical_spki(self._key)

    @property
    def is_weak(self) -> bool:
        """Whether this is an RSA key below 3072 bits."""
        return self.algorithm == _RSA and self.bits < rsa_oaep.WEAK_BELOW

    def ciphertext_size(self, plaintext_size: int) -> int:
        """Return how many bytes `encrypt` makes of that many."""
        if self.algorithm == _RSA:
            return (self.bits + 7) // 8  # RFC 8017, section 7.1.1: k, the modulus in whole bytes
        return plaintext_size + hpke.overhead(self.algorithm.removeprefix(_HPKE))

    def encrypt(self, plaintext: bytes, *, info: bytes) -> bytes:
        """Encrypt to the holder of the private key. ``info`` is bound by HPKE, and not by RSA-OAEP."""
        if isinstance(self._key, RSAPublicKey):
            return rsa_oaep.encrypt(self._key, plaintext)
        return hpke.encrypt(self.algorithm.removeprefix(_HPKE), self._key, plaintext, info=info)


class PrivateKey(Secretive):
    """A private key, with its public half.

    Args:
        key: As ``cryptography`` has it.

    Raises:
        securekit.exceptions.CertificateError: It is of another kind or size.
    """

    __slots__ = ("_key", "public")

    public: PublicKey

    def __init__(self, key: object) -> None:
        if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey | X25519PrivateKey):
            message = f"a private key of this kind ({type(key).__name__}) does not unwrap; RSA, P-256, P-384 and X25519 do"
            raise CertificateError(message)
        self.public = PublicKey.of(key.public_key())
        self._key = key

    def decrypt(self, ciphertext: bytes, *, info: bytes) -> bytes:
        """Return what was encrypted to the public key.

        Raises:
            securekit.exceptions.DecryptionError: Wrong key, wrong ``info``, or changed bytes.
        """
        if isinstance(self._key, RSAPrivateKey):
            return rsa_oaep.decrypt(self._key, ciphertext)
        curve = self.public.algorithm.removeprefix(_HPKE)
        return hpke.decrypt(curve, self._key, ciphertext, info=info)


def is_degenerate(key: X25519PublicKey) -> bool:
    """Whether ``key`` is a point that agrees on nothing secret, or is encoded beyond the prime (RFC 7748, sections 5 and 6.1)."""
    if int.from_bytes(key.public_bytes_raw(), "little") >= _X25519_PRIME:
        return True
    try:
        X25519PrivateKey.generate().exchange(key)
    except ValueError:
        return True
    return False


def canonical_spki(key: PublicKeyTypes) -> bytes:
    """Return the SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) of ``key`` in DER: named curve, uncompressed point."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
