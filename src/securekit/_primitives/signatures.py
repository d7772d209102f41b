# SPDX-License-Identifier: Apache-2.0
"""Signatures by the holders of certificates: Ed25519 (RFC 8032), ECDSA (FIPS 186-5) and RSASSA-PSS (RFC 8017, section 8.1).

RULES of this file:

1. The algorithm follows from the key alone. A signature says nothing about how it is to be verified.
2. A signature has one length. ECDSA's is ``r ‖ s``, both as long as the curve's order (IEEE P1363), not DER.
3. Nothing returns whether a signature verifies: it verifies, or there is an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from securekit.exceptions import CertificateError
from securekit.secret import Secretive

from . import rsa_oaep
from .asymmetric import canonical_spki
from .certificates import CertificateFacts, load
from .private_keys import Password, load_pem

__all__ = ["SigningCertificate", "SigningKey", "VerifyingKey"]

_ED25519 = "ed25519"
_RSA = "rsa-pss-sha256"
_CURVES: dict[str, tuple[str, HashAlgorithm]] = {
    "secp256r1": ("ecdsa-p256-sha256", SHA256()),
    "secp384r1": ("ecdsa-p384-sha384", SHA384()),
}
_SALT_SIZE = 32  # bytes, as long as the hash: RFC 8017, section 9.1
_NEW = "make one that signs with: securekit identity new --type ed25519 --key NAME.key --cert NAME.pem --name NAME"
# A certificate that says what it is for must be for one of these: any purpose (RFC 5280, section 4.2.1.12), signing
# code, e-mail, or being a client, which is what people's certificates are for.
_PURPOSES = {"2.5.29.37.0", "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.2"}
# Points of order 1, 2, 4 and 8 without the sign of x, and two of them encoded in another way. Under such a key a
# signature that anybody can make verifies.
_SMALL_ORDER = {
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    *(bytes([low]) + b"\xff" * 30 + b"\x7f" for low in (0xEC, 0xED, 0xEE)),
}

_Public = Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key of a kind and size whose signatures are believed.

    Attributes:
        algorithm: ``"ed25519"``, ``"ecdsa-p256-sha256"``, ``"ecdsa-p384-sha384"`` or ``"rsa-pss-sha256"``.
        reference: SHA-256 of the canonical SubjectPublicKeyInfo in DER, as of keys that are wrapped to: 64 hexadecimal digits.
        signature_size: How many bytes a signature has.
    """

    algorithm: str
    reference: str
    signature_size: int
    _key: _Public

    @classmethod
    def of(cls, key: object) -> VerifyingKey:
        """Return ``key``, a public key as ``cryptography`` has it.

        Raises:
            securekit.exceptions.CertificateError: It is of another kind or size; the message names both.
        """
        match key:
            case Ed25519PublicKey():
                algorithm, size = _ED25519, 64
                encoded = key.public_bytes_raw()
                if encoded[:31] + bytes([encoded[31] & 0x7F]) in _SMALL_ORDER:
                    message = "an Ed25519 key of small order, under which everybody can sign, is not believed"
                    raise CertificateError(message)
            case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
                algorithm, size = _CURVES[key.curve.name][0], 2 * key.curve.key_size // 8
            case rsa.RSAPublicKey():
                algorithm, size = _RSA, (key.key_size + 7) // 8
                if not rsa_oaep.MIN_BITS <= key.key_size <= rsa_oaep.MAX_BITS:
                    allowed = f"{rsa_oaep.MIN_BITS} to {rsa_oaep.MAX_BITS}"
                    message = f"signatures of an RSA key of {key.key_size} bits are not believed; {allowed} are allowed"
                    raise CertificateError(message)
            case _:
                kind = f"curve {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
                message = f"a key of this kind ({kind}) does not sign here; Ed25519, P-256, P-384 and RSA do: {_NEW}"
                raise CertificateError(message)
        return cls(algorithm, hashlib.sha256(canonical_spki(key)).hexdigest(), size, key)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if ``signature`` is that of the private key's holder over ``message``.

        Raises:
            securekit.exceptions.CertificateError: It is not.
        """
        try:
            if len(signature) == self.signature_size:
                self._verify(signature, message)
                return
        except InvalidSignature:
            pass
        text = "the signature does not verify"
        raise CertificateError(text)

    def _verify(self, signature: bytes, message: bytes) -> None:
        key = self._key
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, _pss(), SHA256())
        else:
            half = self.signature_size // 2
            numbers = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
            key.verify(numbers, message, ec.ECDSA(_CURVES[key.curve.name][1]))


class SigningCertificate(CertificateFacts):
    """A certificate whose holder signs. That it is believed is decided by who gave it: no authority is asked.

    Args:
        certificate: As ``cryptography`` has it.

    Attributes:
        public_key: What verifies.

    Raises:
        securekit.exceptions.CertificateError: It is malformed, its key is of a kind or size that does not sign, it is for other
            purposes, or it has a critical extension that is not understood.
    """

    __slots__ = ("public_key",)

    def __init__(self, certificate: x509.Certificate) -> None:
        super().__init__(certificate)
        who = f"the certificate of {self.subject}"
        if self.unknown_critical:
            message = f"{who} has a critical extension that is not understood: {self.unknown_critical[0]}"
            raise CertificateError(message)
        if self.key_usage is not None and "digital_signature" not in self.key_usage:
            usages = ", ".join(sorted(usage.replace("_", " ") for usage in self.key_usage)) or "nothing"
            message = f"{who} does not allow signatures, only {usages}; {_NEW}"
            raise CertificateError(message)
        if self.extended_key_usage is not None and not self.extended_key_usage & _PURPOSES:
            purposes = ", ".join(sorted(self.extended_key_usage))
            message = f"{who} is for other purposes than signing (extended key usage {purposes})"
            raise CertificateError(message)
        self.public_key: VerifyingKey = VerifyingKey.of(self._key())

    @classmethod
    def read(cls, data: bytes) -> SigningCertificate:
        """Return the one certificate in ``data``, PEM or DER.

        Raises:
            securekit.exceptions.CertificateError: There is none or more than one, or it cannot be used.
        """
        found = load(data)
        if len(found) != 1:
            message = f"{len(found)} certificates in one file: give the signer's own alone, and each signer a file"
            raise CertificateError(message)
        return cls(found[0])

    @property
    def pem(self) -> str:
        """The certificate itself, which is public, in PEM."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    @property
    def algorithm(self) -> str:
        """How the holder signs, as `VerifyingKey.algorithm`."""
        return self.public_key.algorithm

    @property
    def reference(self) -> str:
        """SHA-256 of the canonical public key: the same for a renewed certificate over the same key."""
        return self.public_key.reference

    def check_valid(self, now: datetime) -> None:
        """Check before signing that the certificate is valid at ``now``, which has a time zone.

        Raises:
            securekit.exceptions.CertificateError: It is not valid yet, or has expired.
        """
        who = f"the certificate of {self.subject}"
        if now < self.not_before:
            message = f"{who} is not valid before {self.not_before:%Y-%m-%d %H:%M}Z: check the clock of this machine"
            raise CertificateError(message)
        if now > self.not_after:
            message = f"{who} expired on {self.not_after:%Y-%m-%d %H:%M}Z: renew it"
            raise CertificateError(message)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if the holder signed ``message``. The clock is not looked at: what was signed in time stays signed.

        Raises:
            securekit.exceptions.CertificateError: The signature does not verify.
        """
        try:
            self.public_key.verify(signature, message)
        except CertificateError:
            pass
        else:
            return
        text = f"the signature of {self.subject} does not verify"
        raise CertificateError(text)


class SigningKey(Secretive):
    """A private key that signs.

    Args:
        key: As ``cryptography`` has it.

    Raises:
        securekit.exceptions.CertificateError: It is of another kind or size.
    """

    __slots__ = ("_key", "public")

    public: VerifyingKey

    def __init__(self, key: object) -> None:
        if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            message = f"a private key of this kind ({type(key).__name__}) does not sign here; Ed25519, P-256, P-384 and RSA do: {_NEW}"
            raise CertificateError(message)
        self.public = VerifyingKey.of(key.public_key())
        self._key = key

    @classmethod
    def read(cls, data: bytes, *, password: Password = None) -> SigningKey:
        """Return the private key in ``data``, PEM or encrypted PEM.

        Raises:
            securekit.exceptions.KeyFileError: As `securekit._primitives.private_keys.load_pem`.
            securekit.exceptions.CertificateError: It is of a kind or size that does not sign.
        """
        return cls(load_pem(data, password=password))

    @property
    def algorithm(self) -> str:
        """How it signs, as `VerifyingKey.algorithm`."""
        return self.public.algorithm

    @property
    def reference(self) -> str:
        """SHA-256 of the canonical public key, as `SigningCertificate.reference`."""
        return self.public.reference

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message``, of `VerifyingKey.signature_size` bytes."""
        key = self._key
        if isinstance(key, Ed25519PrivateKey):
            return key.sign(message)
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(message, _pss(), SHA256())
        half = self.public.signature_size // 2
        numbers = decode_dss_signature(key.sign(message, ec.ECDSA(_CURVES[key.curve.name][1])))
        return b"".join(number.to_bytes(half) for number in numbers)


def _pss() -> PSS:
    return PSS(mgf=MGF1(SHA256()), salt_length=_SALT_SIZE)
