# SPDX-License-Identifier: Apache-2.0
"""A KEK behind an X.509 certificate: whoever has the certificate wraps, only the holder of the private key unwraps."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from securekit._primitives import private_keys
from securekit._primitives.certificates import Certificate, read_certificates
from securekit._primitives.private_keys import Password
from securekit._wire.key_files import read_key_file
from securekit._wire.pae import pae
from securekit.exceptions import CertificateError, DecryptionError, SecurityWarning
from securekit.secret import Secretive

from ._certificate_checks import MAX_FILE_SIZE, check_for_wrapping
from ._protocol import PACKAGE_SIZE, WrappedKey, check_recipient, open_package, seal_package, unwrap_each, wrap_each

if TYPE_CHECKING:
    from securekit._primitives.asymmetric import PrivateKey

    from ._protocol import Binding

__all__ = ["CertificateWrapper"]

FilePath = str | os.PathLike[str]


class CertificateWrapper(Secretive):
    """Wraps keys to a certificate's public key, and unwraps them with its private key, if that is there.

    Made by `from_files`, `from_pem` or `from_pkcs12`. Keys may be RSA (2,048 to 8,192 bits; RSA-OAEP with SHA-256), P-256,
    P-384 or X25519 (HPKE, RFC 9180). The reference is the SHA-256 of the public key, so that a renewed certificate over
    the same key, and the bare private key, are recognised.

    A certificate is checked each time that something is wrapped: that it is valid now, that its key usage allows it
    (`securekit.exceptions.CertificateError`), and, with ``ca``, that it was issued by an authority that is believed. A
    key that is only weak, and a missing keyAgreement, are a `securekit.exceptions.SecurityWarning`. What was
    wrapped while a certificate was valid still unwraps when it has expired, with a warning.
    """

    __slots__ = ("_authorities", "_certificate", "_chain", "_clock", "_info", "_key", "_public", "key_ref", "name")

    outsiders_can_wrap = True
    name: str
    key_ref: str

    def __init__(
        self,
        certificate: Certificate | None,
        key: PrivateKey | None,
        *,
        chain: Sequence[Certificate] = (),
        ca: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        public = certificate.public_key if certificate else key.public if key else None
        if public is None:
            message = "a certificate, a private key, or both are needed"
            raise ValueError(message)
        if certificate and key and certificate.public_key.reference != key.public.reference:
            message = f"the private key is not that of the certificate of {certificate.subject}"
            raise CertificateError(message)
        self._certificate = certificate
        self._chain = chain
        self._key = key
        self._authorities = ca
        self._clock = clock
        self._public = public
        self.name = f"x509-{public.algorithm}"
        self.key_ref = public.reference
        self._info = pae(["securekit/wrap/1", self.name, self.key_ref])

    @classmethod
    def from_files(
        cls,
        *,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        password: Password = None,
        ca: FilePath | None = None,
        clock: Callable[[], float] = time.time,
    ) -> CertificateWrapper:
        """Read a certificate, its private key, or both, from files.

        Args:
            cert: PEM, the certificate first and then any that stand between it and its authority; or DER. Without it,
                the wrapper only unwraps.
            key: The private key in PEM or encrypted PEM, through the guarded reader. Without it, the wrapper only wraps.
            password: Of an encrypted key; or a function that is asked for it if it is needed.
            ca: PEM with the authorities that are believed. Without it, the certificate is believed because it was given.
            clock: Seconds since 1970, for tests.

        Raises:
            ValueError: Neither ``cert`` nor ``key`` is given.
            securekit.exceptions.CertificateError: The certificate cannot be read or used, or is not that of the key.
            securekit.exceptions.KeyFileError: The key's file is missing, unguarded, or not opened by the password.
        """
        return cls.from_pem(
            _read_public(cert) if cert is not None else None,
            key=read_key_file(key) if key is not None else None,
            password=password,
            ca=_read_public(ca) if ca is not None else None,
            clock=clock,
        )

    @classmethod
    def from_pem(
        cls,
        cert: bytes | str | None = None,
        *,
        key: bytes | None = None,
        password: Password = None,
        ca: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> CertificateWrapper:
        """Take a certificate, its private key, or both, from memory. Arguments and errors as `from_files`."""
        encoded = cert.encode() if isinstance(cert, str) else cert
        found = read_certificates(encoded) if encoded is not None else []
        private = private_keys.read_pem(key, password=password) if key is not None else None
        return cls(found[0] if found else None, private, chain=found[1:], ca=ca, clock=clock)

    @classmethod
    def from_pkcs12(
        cls, path: FilePath, *, password: Password, ca: FilePath | None = None, clock: Callable[[], float] = time.time
    ) -> CertificateWrapper:
        """Read a private key with its certificate from a PKCS#12 file, through the guarded reader. Errors as `from_files`."""
        key, certificate, chain = private_keys.read_pkcs12(read_key_file(path), password=password)
        return cls(certificate, key, chain=chain, ca=_read_public(ca) if ca is not None else None, clock=clock)

    @property
    def public_bytes(self) -> bytes:
        """The public key as its canonical SubjectPublicKeyInfo in DER: enough for a `PublicKeyWrapper`."""
        return self._public.encoded

    @property
    def can_unwrap(self) -> bool:
        """Whether the private key is there."""
        return self._key is not None

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap ``key`` (32 bytes): RSA-OAEP as long as the modulus, or HPKE as ``enc ‖ package(65) ‖ tag(16)``.

        Raises:
            securekit.exceptions.CertificateError: The certificate must not be wrapped to now, or there is only the private key.
        """
        certificate = self._certificate
        if certificate is None:
            message = "only the private key is here: give its certificate, so that it can be checked before it is wrapped to"
            raise CertificateError(message)
        check_for_wrapping(certificate, self._chain, self._authorities, now=self._now())
        about = {
            "fingerprint": certificate.fingerprint,
            "not_after": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "subject": certificate.subject,
        }
        return WrappedKey(self.name, self.key_ref, self._public.encrypt(seal_package(key, binding), info=self._info), about)

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Return the 32-byte key.

        Raises:
            securekit.exceptions.DecryptionError: It was not wrapped to this key for ``binding``, or there is no private key.
            securekit.exceptions.FormatError: The ciphertext has another length.
        """
        check_recipient(wrapped, self, size=self._public.ciphertext_size(PACKAGE_SIZE))
        if self._key is None:
            raise DecryptionError
        certificate = self._certificate
        if certificate is not None and self._now() > certificate.not_after:
            message = f"the certificate of {certificate.subject} expired on {certificate.not_after:%Y-%m-%d}: renew it, and rewrap"
            warnings.warn(message, SecurityWarning, stacklevel=2)
        return open_package(self._key.decrypt(wrapped.ciphertext, info=self._info), binding)

    def opens(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` names this key, and the private half is here."""
        return self._key is not None and wrapped.recipient == (self.name, self.key_ref)

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each ``(key, binding)``."""
        return wrap_each(self, items)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each ``(wrapped, binding)``."""
        return unwrap_each(self, items)

    def __repr__(self) -> str:
        """Name the key by its public reference, and say what it can do."""
        return f"<CertificateWrapper {self.name} {self.key_ref[:16]}… {'opens' if self.can_unwrap else 'wraps only'}>"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _read_public(path: FilePath) -> bytes:
    """Return a file of certificates: public, so that nobody needs to guard it, but bounded."""
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        message = f"cannot read the certificate file {path}: {error.strerror}"
        raise CertificateError(message) from None
