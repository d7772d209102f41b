# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates (RFC 5280): what they say, whether they chain to an authority, and new ones of our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from securekit.exceptions import CertificateError

from .asymmetric import PublicKey

__all__ = ["Certificate", "CertificateFacts", "IssuingKey", "load", "read_certificates", "request", "self_signed", "verify_chain"]

IssuingKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
"""A private key that can sign a certificate over itself."""

T = TypeVar("T")
ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)

_MAX_CERTIFICATES = 64
_MAX_SIZE = 64 * 1024  # bytes of a file
_MAX_SUBJECT = 256  # characters shown
_MAX_NAME = 64  # characters, ub-common-name of RFC 5280, appendix A.1
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]{1,65536}-----END CERTIFICATE-----")
# The public key's own algorithm, RFC 5480 section 2.1.1, RFC 8017 appendix A.1, RFC 8410 section 3. An RSA key that is
# restricted to PSS signatures has another one.
_KEY_ALGORITHMS = {"1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.110", "1.3.101.112"}
_BROKEN = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    CryptographyDeprecationWarning,  # where warnings are errors: for a serial number that RFC 5280 forbids
)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)
# Critical extensions that are honoured: by the checks before wrapping, or by the chain's verification.
_UNDERSTOOD = {x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid, x509.SubjectAlternativeName.oid}


class CertificateFacts:
    """What a certificate says, whatever its key is for.

    Args:
        certificate: As ``cryptography`` has it.

    Attributes:
        subject: The subject's name for people: RFC 4514 text, cut to 256 printable characters. It proves nothing.
        fingerprint: SHA-256 of the certificate: 64 hexadecimal digits.
        not_before: Its first moment.
        not_after: Its last moment.
        key_usage: The names of the usages allowed (RFC 5280, section 4.2.1.3), or None if it does not say.
        extended_key_usage: Object identifiers in dotted form (section 4.2.1.12), or None if it does not say.
        unknown_critical: Object identifiers of critical extensions that are not understood here.

    Raises:
        securekit.exceptions.CertificateError: It is malformed.
    """

    __slots__ = (
        "_certificate",
        "extended_key_usage",
        "fingerprint",
        "key_usage",
        "not_after",
        "not_before",
        "subject",
        "unknown_critical",
    )

    def __init__(self, certificate: x509.Certificate) -> None:
        self._certificate = certificate
        if certificate.serial_number <= 0:
            message = "the certificate's serial number is not positive, which RFC 5280, section 4.1.2.2, forbids"
            raise CertificateError(message)
        self.subject: str = _printable(_read("subject", lambda: certificate.subject).rfc4514_string())
        self.fingerprint: str = certificate.fingerprint(SHA256()).hex()
        self.not_before: datetime = _read("first moment", lambda: certificate.not_valid_before_utc)
        self.not_after: datetime = _read("last moment", lambda: certificate.not_valid_after_utc)
        extensions = _read("extensions", lambda: certificate.extensions)
        usage = _find(extensions, x509.KeyUsage)
        purposes = _find(extensions, x509.ExtendedKeyUsage)
        self.key_usage: frozenset[str] | None = None if usage is None else frozenset(name for name in _USAGES if getattr(usage, name))
        self.extended_key_usage: frozenset[str] | None = (
            None if purposes is None else frozenset(purpose.dotted_string for purpose in purposes)
        )
        self.unknown_critical: tuple[str, ...] = tuple(
            extension.oid.dotted_string for extension in extensions if extension.critical and extension.oid not in _UNDERSTOOD
        )

    def _key(self) -> object:
        """Return the public key, as ``cryptography`` has it."""
        return _read("public key", lambda: _public_key(self._certificate))

    def __repr__(self) -> str:
        """Name the subject and the fingerprint, which are public."""
        return f"<{type(self).__name__} {self.subject} {self.fingerprint[:16]}…>"


class Certificate(CertificateFacts):
    """A certificate over a key that is wrapped to. Whether it may be wrapped to is judged elsewhere.

    Args:
        certificate: As ``cryptography`` has it.

    Attributes:
        public_key: What is wrapped to.

    Raises:
        securekit.exceptions.CertificateError: It is malformed, or its key is of a kind or size that is not wrapped to.
    """

    __slots__ = ("public_key",)

    def __init__(self, certificate: x509.Certificate) -> None:
        super().__init__(certificate)
        self.public_key: PublicKey = PublicKey.of(self._key())


def read_certificates(data: bytes) -> list[Certificate]:
    """Return the certificates in ``data``, in order: PEM with one or more of them, or one in DER.

    Raises:
        securekit.exceptions.CertificateError: There is none, or one of them cannot be used or read.
    """
    return [Certificate(found) for found in load(data)]


def load(data: bytes) -> list[x509.Certificate]:
    """Return the certificates in ``data`` as `read_certificates` does, whatever their keys are for.

    Raises:
        securekit.exceptions.CertificateError: There is none, or one of them cannot be read.
    """
    if len(data) > _MAX_SIZE:
        message = f"a file of certificates has at most {_MAX_SIZE} bytes"
        raise CertificateError(message)
    blocks = _BLOCK.findall(data)
    if blocks:
        if len(blocks) > _MAX_CERTIFICATES or len(blocks) != data.count(b"-----BEGIN CERTIFICATE-----"):
            message = f"the file holds more than {_MAX_CERTIFICATES} certificates, or damaged ones"
            raise CertificateError(message)
        return [_read("encoding", partial(x509.load_pem_x509_certificate, block)) for block in blocks]
    if data[:1] == b"\x30":
        return [_read("encoding", lambda: x509.load_der_x509_certificate(data))]
    message = "no certificate found, neither in PEM (-----BEGIN CERTIFICATE-----) nor in DER"
    raise CertificateError(message)


def verify_chain(certificate: Certificate, others: Sequence[Certificate], authorities: bytes, *, now: datetime) -> None:
    """Check that ``certificate`` was issued by one of ``authorities``, through ``others`` if need be, and valid at ``now``.

    Args:
        certificate: Whose chain is checked.
        others: Certificates that may stand in between; nothing is believed of them.
        authorities: PEM with the certificates that are believed: authorities, or ``certificate`` itself.
        now: With a time zone.

    Raises:
        securekit.exceptions.CertificateError: There is no such chain.
    """
    anchors = load(authorities)
    if certificate._certificate in anchors:  # noqa: SLF001 - of this file
        return
    ca_policy = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)  # that it says CA is checked anyway
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
    )
    verifier = (
        PolicyBuilder()
        .store(Store(anchors))
        .time(now)
        .extension_policies(ca_policy=ca_policy, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        verifier.verify(certificate._certificate, [other._certificate for other in others])  # noqa: SLF001 - of this file
    except VerificationError as error:
        reason = _reason(error)
        message = f"the certificate of {certificate.subject} does not chain to the given authorities: {reason}"
        raise CertificateError(message) from None


def self_signed(key: IssuingKey, name: str, *, not_before: datetime, not_after: datetime) -> bytes:
    """Return a certificate over ``key``, signed by itself, in PEM: for wrapping keys to; over an Ed25519 key, for signatures alone.

    Raises:
        ValueError: ``name`` is not 1 to 64 printable characters.
    """
    subject = _subject(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for extension, critical in _profile(key, name):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, _hash_for(key)).public_bytes(Encoding.PEM)


def request(key: IssuingKey, name: str) -> bytes:
    """Return a certificate signing request (RFC 2986) over ``key`` in PEM.

    Raises:
        ValueError: ``name`` is not 1 to 64 printable characters.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(name))
    for extension, critical in _profile(key, name):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, _hash_for(key)).public_bytes(Encoding.PEM)


def _read(what: str, read: Callable[[], T]) -> T:
    """Call ``read``; a certificate's parts are parsed when they are first looked at, and fail in many ways."""
    try:
        return read()
    except _BROKEN:
        pass
    message = f"the certificate's {what} cannot be read: it is malformed, or of a kind that is not used"
    raise CertificateError(message)


def _public_key(certificate: x509.Certificate) -> object:
    if certificate.public_key_algorithm_oid.dotted_string not in _KEY_ALGORITHMS:
        message = "another algorithm"
        raise ValueError(message)
    return certificate.public_key()


def _find(extensions: x509.Extensions, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _reason(error: VerificationError) -> str:
    """Return the part of the verifier's reason that says something."""
    text = str(error).partition(" (encountered")[0].rpartition("candidates exhausted: ")[2].rpartition("ValueError: ")[2]
    if text.endswith("no interior errors"):
        return "there is no authority with the issuer's name; give the certificates in between, too"
    return _printable(text)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_SUBJECT])


def _may_sign(policy: object, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:  # noqa: ARG001 - a callback's shape
    if usage is not None and not usage.key_cert_sign:
        message = "the issuer's key must not sign certificates"
        raise ValueError(message)


def _subject(name: str) -> x509.Name:
    if not 1 <= len(name) <= _MAX_NAME or not name.isprintable():
        message = f"a certificate's name is 1 to {_MAX_NAME} printable characters, not {name[:80]!r}"
        raise ValueError(message)
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _profile(key: IssuingKey, name: str) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions of a certificate, and whether each is critical. A key is for signatures or for wrapping, never for both."""
    usage = x509.KeyUsage(
        digital_signature=isinstance(key, ed25519.Ed25519PrivateKey),
        content_commitment=False,
        key_encipherment=isinstance(key, rsa.RSAPrivateKey),
        data_encipherment=False,
        key_agreement=isinstance(key, ec.EllipticCurvePrivateKey),
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    profile: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    if _HOST_NAME.fullmatch(name):
        profile.append((x509.SubjectAlternativeName([x509.DNSName(name)]), False))
    return profile


def _hash_for(key: IssuingKey) -> SHA256 | SHA384 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None  # it has its own, RFC 8410 section 6
    return SHA384() if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1) else SHA256()
