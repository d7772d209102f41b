# SPDX-License-Identifier: Apache-2.0
"""Private keys as files hold them: PEM (RFC 7468), encrypted PEM (RFC 5958) and PKCS#12 (RFC 7292).

RULE of this file: what a file asks us to compute is bounded before any of it is computed. An unbounded iteration count
keeps a process busy for as long as its author likes, and so does the check of a huge RSA key. What cannot be seen are
derivations inside an encrypted part of PKCS#12, which only the right password opens.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from securekit.exceptions import CertificateError, FormatError, KeyFileError

from . import der
from .asymmetric import PrivateKey
from .certificates import Certificate, IssuingKey

__all__ = ["KINDS", "Password", "PrivateKeyMaterial", "generate", "load_pem", "read_pem", "read_pkcs12", "to_pem"]

Password = str | Callable[[], str] | None
"""The password, or who to ask for it if one turns out to be needed."""

PrivateKeyMaterial = IssuingKey

MAX_ITERATIONS = 2_000_000  # of PBKDF2 and the older derivations: about a second
MAX_SCRYPT_MEMORY = 256 * 1024 * 1024  # bytes, 128 · N · r (RFC 7914, section 2)
MAX_SCRYPT_LANES = 16
_MAX_PASSWORD = 1023  # bytes, OpenSSL's limit
_NOT_TEXT = "the password is not text: it cannot be encoded as UTF-8"
MAX_KEY_SIZE = 6 * 1024  # bytes of DER; RSA-8192 has 4,700, and checking a larger key takes many seconds

KINDS: dict[str, Callable[[], PrivateKeyMaterial]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
    "ed25519": Ed25519PrivateKey.generate,
}
"""What `generate` makes; the last signs, the others unwrap. An X25519 key cannot sign a certificate of its own."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\r?\n([A-Za-z0-9+/=\r\n]{1,65536})-----END \1-----")
_MARKS = 2  # of one block: the line that begins it, and the line that ends it
_READ = {b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"}
_READ_ENCRYPTED = b"ENCRYPTED PRIVATE KEY"
_OPENSSH = b"OPENSSH PRIVATE KEY"
_REPAIR = "convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"
_REPAIR_SSH = "convert a copy of it with: ssh-keygen -p -m PKCS8 -f COPY"
_REPAIR_PKCS12 = "make the PKCS#12 file anew with: openssl pkcs12 -export -inkey KEY -in CERTIFICATE -out NEW"

_PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12, RFC 8018 appendix A.2
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11, RFC 7914 section 7.1
_PBES1 = tuple(bytes.fromhex("2a864886f70d0105") + bytes([n]) for n in (1, 3, 4, 6, 10, 11))  # RFC 8018 appendix A.3
_PKCS12_PBE = tuple(bytes.fromhex("2a864886f70d010c01") + bytes([n]) for n in range(1, 7))  # RFC 7292 appendix C
_KEY_BAGS = tuple(bytes.fromhex("2a864886f70d010c0a01") + bytes([n]) for n in (1, 2))  # RFC 7292 sections 4.2.1 and 4.2.2


def generate(kind: str = "p256") -> PrivateKeyMaterial:
    """Return a new private key of one of `KINDS`."""
    return KINDS[kind]()


def to_pem(key: PrivateKeyMaterial, *, password: str | None = None) -> bytes:
    """Return ``key`` as PKCS#8 in PEM, encrypted if there is a password.

    Raises:
        ValueError: The password is empty, too long, or no text.
    """
    encryption: KeySerializationEncryption = NoEncryption()
    if password is not None:
        encoded = _encode(password)
        if not encoded or len(encoded) > _MAX_PASSWORD:
            message = _NOT_TEXT if encoded is None else f"a password has 1 to {_MAX_PASSWORD} bytes, not {len(encoded)}"
            raise ValueError(message)
        encryption = BestAvailableEncryption(encoded)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def read_pem(data: bytes, *, password: Password = None) -> PrivateKey:
    """Return the private key in ``data``, which unwraps.

    Raises:
        securekit.exceptions.KeyFileError: As `load_pem`.
        securekit.exceptions.CertificateError: It is of a kind or size that does not unwrap.
    """
    return PrivateKey(load_pem(data, password=password))


def load_pem(data: bytes, *, password: Password = None) -> object:
    """Return the private key in ``data``, as ``cryptography`` has it; there is exactly one, and certificates beside it are passed over.

    Raises:
        securekit.exceptions.KeyFileError: There is no such key, or several, or none that the password opens; it is of an old
            encrypted form; or it asks for more computation than is spent on a key file.
        securekit.exceptions.CertificateError: It is larger than any that is used.
    """
    label, text = _find_block(data)
    try:
        encoded = binascii.a2b_base64(text)
    except binascii.Error:
        _unreadable()
    if label == _READ_ENCRYPTED:
        _bound_derivations(encoded, _REPAIR)
    elif label not in _READ:
        repair = _REPAIR_SSH if label == _OPENSSH else _REPAIR
        message = f"a private key in the form {label.decode()!r} is not read; {repair}"
        raise KeyFileError(message)
    _bound_size(encoded)
    secret = _ask(password) if label == _READ_ENCRYPTED else None
    try:
        return load_pem_private_key(b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, text, label), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        _unreadable(encrypted=secret is not None)


def read_pkcs12(data: bytes, *, password: Password = None) -> tuple[PrivateKey, Certificate, list[Certificate]]:
    """Return the private key in ``data``, its certificate, and the other certificates.

    Raises:
        securekit.exceptions.KeyFileError: As `read_pem`; or there is no certificate for the key.
        securekit.exceptions.CertificateError: The key or a certificate cannot be used.
    """
    _bound_derivations(data, _REPAIR_PKCS12)
    secret = _ask(password)
    try:
        key, certificate, others = load_key_and_certificates(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm, UserWarning):  # a warning, where those are errors: that it is no DER
        _unreadable(encrypted=True)
    if key is None or certificate is None:
        message = "the PKCS#12 file holds no private key with its certificate"
        raise KeyFileError(message)
    return PrivateKey(key), Certificate(certificate), [Certificate(other) for other in others]


def _find_block(data: bytes) -> tuple[bytes, bytes]:
    """Return the label and the base64 text of the one private key in ``data``."""
    blocks: list[tuple[bytes, bytes]] = _BLOCK.findall(data)
    marks = data.count(b"PRIVATE KEY-----")
    if len(blocks) == 1 and marks == _MARKS:
        return blocks[0]
    if b"DEK-Info:" in data:
        message = f"the private key is encrypted in an older form (DEK-Info), which is not read; {_REPAIR}"
    elif marks > _MARKS:
        message = f"the file holds {marks // _MARKS} private keys; leave one of them in it"
    elif marks:
        _unreadable()
    else:
        message = (
            "the file holds no private key in PEM form (-----BEGIN PRIVATE KEY-----); if it is of another form, convert it with openssl"
        )
    raise KeyFileError(message)


def _ask(password: Password) -> bytes:
    given = password() if callable(password) else password
    if given is None:
        message = "the private key is encrypted: give its password"
        raise KeyFileError(message)
    encoded = _encode(given)
    if encoded is None:
        message = _NOT_TEXT
        raise KeyFileError(message)
    return encoded


def _encode(password: str) -> bytes | None:
    """Return the password in UTF-8, or None if it is no text; Python's error for that would carry it."""
    try:
        return password.encode()
    except UnicodeEncodeError:
        return None


def _bound_derivations(data: bytes, repair: str) -> None:
    """Refuse what takes too long, and what we cannot tell.

    Raises:
        securekit.exceptions.KeyFileError: A derivation is out of bounds, or there is none that we know.
    """
    costs = 0
    try:
        for sequence in der.sequences(data):
            costs += _check_cost(sequence, repair)
    except FormatError:
        message = f"the file is damaged, or not in DER; {repair}"
        raise KeyFileError(message) from None
    if not costs:
        message = f"the key is not encrypted, or in a way that is not read; {repair}"
        raise KeyFileError(message)


def _check_cost(sequence: list[der.Element], repair: str) -> int:
    """Return 1 if ``sequence`` is a derivation within bounds, 0 if it is none."""
    match sequence:
        case [(der.OBJECT_IDENTIFIER, oid), (der.SEQUENCE, parameters), *_] if oid == _PBKDF2 or oid in _PBES1 + _PKCS12_PBE:
            _bound_iterations(der.elements(parameters)[1:2], repair)
        case [(der.OBJECT_IDENTIFIER, oid), (der.SEQUENCE, parameters), *_] if oid == _SCRYPT:
            _bound_scrypt(der.elements(parameters)[1:4], repair)
        case [(der.SEQUENCE, _), (der.OCTET_STRING, _), (der.INTEGER, _) as iterations]:
            _bound_iterations([iterations], repair)  # MacData of PKCS#12, RFC 7292 section 4
        case [(der.OBJECT_IDENTIFIER, oid), (_, bag), *_] if oid in _KEY_BAGS:
            _bound_size(bag)
            return 0
        case _:
            return 0
    return 1


def _bound_iterations(values: list[der.Element], repair: str) -> None:
    if [tag for tag, _ in values] != [der.INTEGER] or not 0 < int.from_bytes(values[0][1], signed=True) <= MAX_ITERATIONS:
        message = f"the key's password derivation asks for more than {MAX_ITERATIONS} iterations; {repair}"
        raise KeyFileError(message)


def _bound_scrypt(values: list[der.Element], repair: str) -> None:
    match [int.from_bytes(contents, signed=True) for tag, contents in values if tag == der.INTEGER]:
        case [cost, blocks, lanes] if (
            min(cost, blocks, lanes) > 0 and 128 * cost * blocks <= MAX_SCRYPT_MEMORY and lanes <= MAX_SCRYPT_LANES
        ):
            return
        case _:
            message = f"the key's password derivation asks for more than {MAX_SCRYPT_MEMORY >> 20} MiB of memory; {repair}"
            raise KeyFileError(message)


def _bound_size(encoded: bytes) -> None:
    if len(encoded) > MAX_KEY_SIZE:
        message = f"the private key has {len(encoded)} bytes; at most {MAX_KEY_SIZE} are read (RSA-8192 has 4,700)"
        raise CertificateError(message)


def _unreadable(*, encrypted: bool = False) -> NoReturn:
    message = "the private key cannot be read: the password is wrong, or the file is damaged" if encrypted else "the private key is damaged"
    raise KeyFileError(message) from None
