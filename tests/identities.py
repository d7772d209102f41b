# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates for tests: of every kind that is wrapped to or that signs, and some that are neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RSA_3072 = Path(__file__).parent / "vectors" / "golden" / "rsa3072.pem"
KINDS = ("rsa", "p256", "p384", "x25519")
SIGNING_KINDS = ("ed25519", "p256", "p384", "rsa")
_MAKE: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 3072),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "x25519": x25519.X25519PrivateKey.generate,
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def private_key(kind: str, number: int = 0) -> Any:
    """Return the key of that kind; other numbers are other keys. The first RSA key is read, since making one takes long."""
    return _private_key(kind, number)


@cache
def _private_key(kind: str, number: int) -> Any:
    if (kind, number) == ("rsa", 0):
        return load_pem_private_key(RSA_3072.read_bytes(), None)
    return _MAKE[kind]()


def clock(moment: datetime = NOW) -> Callable[[], float]:
    """Return a clock that stands at ``moment``."""
    return moment.timestamp


def pem(key: Any, password: bytes | None = None) -> bytes:
    """Return a private key as PKCS#8 in PEM."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def usage(*names: str) -> x509.KeyUsage:
    """Return the key usage that allows exactly ``names``."""
    known = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
    assert set(names) <= {*known, "crl_sign"}
    bits = {name: name in names for name in (*known, "crl_sign")}
    return x509.KeyUsage(**bits, encipher_only=False, decipher_only=False)


AUTHORITY = (x509.BasicConstraints(ca=True, path_length=None), usage("key_cert_sign"))


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def issue(
    name: str,
    key: Any,
    *extensions: x509.ExtensionType | tuple[x509.ExtensionType, bool],
    issuer: Issued | None = None,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + 365 * DAY,
) -> Issued:
    """Return a certificate over ``key``, signed by ``issuer``, or by a key that nobody asks for if the name is its own."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key if isinstance(key, ec.EllipticCurvePrivateKey) else private_key("p256", -1)
    builder = x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer.certificate.subject if issuer else subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=end,
    )
    for extension in extensions:
        value, critical = extension if isinstance(extension, tuple) else (extension, True)
        builder = builder.add_extension(value, critical=critical)
    return Issued(builder.sign(signer, SHA256()), key)
