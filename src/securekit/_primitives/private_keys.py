# SPDX-License-Identifier: Apache-2.0
"""Private keys as files hold them: PEM (RFC 7468), encrypted PEM (RFC 5958) and PKCS#12 (RFC 7292).

RULE of this file: what a file asks us to compute is bounded before any of it is computed. An unbounded iteration count
keeps a process busy for as long as its author likes, and so does the check of a huge RSA key.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from securekit.exceptions import CertificateError, FormatError, KeyFileError

from . import der
from .asymmetric import PrivateKey
from .certificates import Certificate

__all__ = ["KINDS", "Password", "PrivateKeyMaterial", "generate", "read_pem", "read_pkcs12", "to_pem"]

Password = str | Callable[[], str] | None
"""The password, or who to ask for it if one turns out to be needed."""

PrivateKeyMaterial = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MAX_ITERATIONS = 2_000_000  # of PBKDF2 and the older derivations: about a second
MAX_SCRYPT_MEMORY = 256 * 1024 * 1024  # bytes, 128 · N · r (RFC 7914, section 2)
MAX_SCRYPT_LANES = 16
MAX_KEY_SIZE = 6 * 1024  # bytes of DER; RSA-8192 has 4,700, and checking a larger key takes many seconds

KINDS: dict[str, Callable[[], PrivateKeyMaterial]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
}
"""What `generate` makes. An X25519 key cannot sign a certificate of its own, so it comes from elsewhere."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\r?\n([A-Za-z0-9+/=\r\n]{1,65536})-----END \1-----")
_MARKS = 2  # of one block: the line that begins it, and the line that ends it
_READ = {b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"}
_READ_ENCRYPTED = b"ENCRYPTED PRIVATE KEY"
_REPAIR = "convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"

_PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12, RFC 8018 appendix A.2
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11, RFC 7914 section 7.1
_PBES1 = tuple(bytes.fromhex("2a864886f70d0105") + bytes([n]) for n in (1, 3, 4, 6, 10, 11))  # RFC 8018 appendix A.3
_PKCS12_PBE = tuple(bytes.fromhex("2a864886f70d010c01") + bytes([n]) for n in range(1, 7))  # RFC 7292 appendix C
_KEY_BAG = bytes.fromhex("2a864886f70d010c0a0102")  # 1.2.840.113549.1.12.10.1.2, RFC 7292 section 4.2.2


def generate(kind: str = "p256") -> PrivateKeyMaterial:
    """Return a new private key of one of `KINDS`."""
    return KINDS[kind]()


def to_pem(key: PrivateKeyMaterial, *, password: str | None = None) -> bytes:
    """Return ``key`` as PKCS#8 in PEM, encrypted if there is a password."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def read_pem(data: bytes, *, password: Password = None) -> PrivateKey:
    """Return the private key in ``data``, which holds exactly one; certificates beside it are passed over.

    Raises:
        securekit.exceptions.KeyFileError: There is no such key, or several, or none that the password opens; it is of an old
            encrypted form; or it asks for more computation than is spent on a key file.
        securekit.exceptions.CertificateError: It is of a kind or size that does not unwrap.
    """
    blocks = _BLOCK.findall(data)
    if len(blocks) != 1 or data.count(b"PRIVATE KEY-----") != _MARKS:
        message = (
            f"the file holds {len(blocks)} private keys in PEM form that are read, not exactly one; if it is of an older form, {_REPAIR}"
        )
        raise KeyFileError(message)
    label, text = blocks[0]
    try:
        encoded = binascii.a2b_base64(text)
    except binascii.Error:
        _unreadable()
    if label == _READ_ENCRYPTED:
        _bound_derivations(encoded)
    elif label not in _READ:
        message = f"a private key in the form {label.decode()!r} is not read; {_REPAIR}"
        raise KeyFileError(message)
    _bound_size(encoded)
    secret = _ask(password).encode() if label == _READ_ENCRYPTED else None
    try:
        key = load_pem_private_key(b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, text, label), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        _unreadable(encrypted=secret is not None)
    return PrivateKey(key)


def read_pkcs12(data: bytes, *, password: Password = None) -> tuple[PrivateKey, Certificate, list[Certificate]]:
    """Return the private key in ``data``, its certificate, and the other certificates.

    Raises:
        securekit.exceptions.KeyFileError: As `read_pem`; or there is no certificate for the key.
        securekit.exceptions.CertificateError: The key or a certificate cannot be used.
    """
    _bound_derivations(data)
    secret = _ask(password).encode()
    try:
        key, certificate, others = load_key_and_certificates(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        _unreadable(encrypted=True)
    if key is None or certificate is None:
        message = "the PKCS#12 file holds no private key with its certificate"
        raise KeyFileError(message)
    return PrivateKey(key), Certificate(certificate), [Certificate(other) for other in others]


def _ask(password: Password) -> str:
    given = password() if callable(password) else password
    if given is None:
        message = "the private key is encrypted: give its password"
        raise KeyFileError(message)
    return given


def _bound_derivations(data: bytes) -> None:
    """Refuse what takes too long, and what we cannot tell.

    Raises:
        securekit.exceptions.KeyFileError: A derivation is out of bounds, or there is none that we know.
    """
    costs = 0
    try:
        for sequence in der.sequences(data):
            costs += _check_cost(sequence)
    except FormatError:
        message = f"the encrypted key is not DER; {_REPAIR}, or export the PKCS#12 file again with openssl"
        raise KeyFileError(message) from None
    if not costs:
        message = f"the key is encrypted in a way that is not read; {_REPAIR}"
        raise KeyFileError(message)


def _check_cost(sequence: list[der.Element]) -> int:
    """Return 1 if ``sequence`` is a derivation within bounds, 0 if it is none."""
    match sequence:
        case [(der.OBJECT_IDENTIFIER, oid), (der.SEQUENCE, parameters), *_] if oid == _PBKDF2 or oid in _PBES1 + _PKCS12_PBE:
            _bound_iterations(der.elements(parameters)[1:2])
        case [(der.OBJECT_IDENTIFIER, oid), (der.SEQUENCE, parameters), *_] if oid == _SCRYPT:
            _bound_scrypt(der.elements(parameters)[1:4])
        case [(der.SEQUENCE, _), (der.OCTET_STRING, _), (der.INTEGER, _) as iterations]:
            _bound_iterations([iterations])  # MacData of PKCS#12, RFC 7292 section 4
        case [(der.OBJECT_IDENTIFIER, oid), (_, bag), *_] if oid == _KEY_BAG:
            _bound_size(bag)
            return 0
        case _:
            return 0
    return 1


def _bound_iterations(values: list[der.Element]) -> None:
    if [tag for tag, _ in values] != [der.INTEGER] or not 0 < int.from_bytes(values[0][1], signed=True) <= MAX_ITERATIONS:
        message = f"the key's password derivation asks for more than {MAX_ITERATIONS} iterations; {_REPAIR}"
        raise KeyFileError(message)


def _bound_scrypt(values: list[der.Element]) -> None:
    match [int.from_bytes(contents, signed=True) for tag, contents in values if tag == der.INTEGER]:
        case [cost, blocks, lanes] if (
            min(cost, blocks, lanes) > 0 and 128 * cost * blocks <= MAX_SCRYPT_MEMORY and lanes <= MAX_SCRYPT_LANES
        ):
            return
        case _:
            message = f"the key's password derivation asks for more than {MAX_SCRYPT_MEMORY >> 20} MiB of memory; {_REPAIR}"
            raise KeyFileError(message)


def _bound_size(encoded: bytes) -> None:
    if len(encoded) > MAX_KEY_SIZE:
        message = f"the private key has {len(encoded)} bytes; at most {MAX_KEY_SIZE} are read (RSA-8192 has 4,700)"
        raise CertificateError(message)


def _unreadable(*, encrypted: bool = False) -> NoReturn:
    message = "the private key cannot be read: the password is wrong, or the file is damaged" if encrypted else "the private key is damaged"
    raise KeyFileError(message) from None
