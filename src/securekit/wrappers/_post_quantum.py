# SPDX-License-Identifier: Apache-2.0
"""A KEK behind an X-Wing key pair: as a certificate, for secrets that a quantum computer of the future shall not open."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from securekit._primitives import xwing
from securekit._primitives.rng import random_bytes
from securekit._wire import base64url
from securekit._wire.atomic import write_new
from securekit._wire.key_files import read_key_file
from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError, FormatError, KeyFileError
from securekit.secret import Secretive

from ._protocol import PACKAGE_SIZE, WrappedKey, check_recipient, open_package, seal_package, unwrap_each, wrap_each

if TYPE_CHECKING:
    from ._protocol import Binding

__all__ = ["PostQuantumWrapper"]

FilePath = str | os.PathLike[str]
_PRIVATE_PREFIX = "securekit-pq-private-1:"
_PUBLIC_PREFIX = "securekit-pq-public-1:"
_MAX_FILE_SIZE = 4096  # bytes


class PostQuantumWrapper(Secretive):
    """Wraps keys to an X-Wing public key (ML-KEM-768 with X25519, by HPKE), and unwraps them with its private key.

    Wrapped to this and to a certificate, a message is only as safe as the certificate: an envelope refuses to mix them
    unless told.

    Args:
        public: 1,216 bytes; may be left out if ``seed`` is given.
        seed: The private key, 32 bytes. Without it, the wrapper only wraps.

    Raises:
        ValueError: Neither is given, they do not belong together, or one is no such key.
    """

    __slots__ = ("_info", "_public", "_seed", "key_ref")

    name = "hpke-mlkem768-x25519"
    outsiders_can_wrap = True
    key_ref: str

    def __init__(self, public: bytes | None = None, *, seed: bytes | None = None) -> None:
        if seed is not None and len(seed) != xwing.SEED_SIZE:
            message = f"an X-Wing private key has {xwing.SEED_SIZE} bytes, not {len(seed)}"
            raise ValueError(message)
        own = xwing.public_key(seed) if seed is not None else public
        if own is None or len(own) != xwing.PUBLIC_SIZE or (public is not None and public != own):
            message = f"an X-Wing public key of {xwing.PUBLIC_SIZE} bytes, its private key, or both are needed"
            raise ValueError(message)
        xwing.check_public_key(own)
        self._public = own
        self._seed = seed
        self.key_ref = hashlib.sha256(own).hexdigest()
        self._info = pae(["securekit/wrap/1", self.name, self.key_ref])

    @classmethod
    def from_files(cls, *, public: FilePath | None = None, key: FilePath | None = None) -> PostQuantumWrapper:
        """Read the public key, the private key, or both, from files made by `generate`.

        Raises:
            ValueError: Neither is given, or they do not belong together.
            securekit.exceptions.KeyFileError: A file is missing or of another form; the private one unguarded.
        """
        seed = _parse(read_key_file(key), _PRIVATE_PREFIX, xwing.SEED_SIZE) if key is not None else None
        if key is not None and seed is None:
            _refuse(key)
        return cls(_read_public(public) if public is not None else None, seed=seed)

    @classmethod
    def from_public(cls, data: bytes) -> PostQuantumWrapper:
        """Take the public key out of the bytes of its file, as `generate` makes it.

        Raises:
            securekit.exceptions.FormatError: They are of another form.
        """
        found = _parse(data, _PUBLIC_PREFIX, xwing.PUBLIC_SIZE)
        try:
            return cls(found)
        except ValueError:
            pass
        message = "not an X-Wing public key file; make a pair with: securekit identity new --pq"
        raise FormatError(message)

    @classmethod
    def generate(cls, *, key: FilePath, public: FilePath) -> PostQuantumWrapper:
        """Make a key pair in two new files, the private one of mode 0600. Nothing that exists is overwritten.

        Raises:
            securekit.exceptions.KeyFileError: A file exists already, or cannot be written; neither is left.
        """
        wrapper = cls(seed=(seed := random_bytes(xwing.SEED_SIZE)))
        _write(Path(public), _PUBLIC_PREFIX, wrapper._public, 0o644)
        try:
            _write(Path(key), _PRIVATE_PREFIX, seed, 0o600)
        except KeyFileError:
            Path(public).unlink()
            raise
        return wrapper

    @property
    def public_bytes(self) -> bytes:
        """The public key, 1,216 bytes: enough for a `PublicKeyWrapper`."""
        return self._public

    @property
    def can_unwrap(self) -> bool:
        """Whether the private key is there."""
        return self._seed is not None

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap ``key`` (32 bytes) as ``enc(1120) ‖ package(65) ‖ tag(16)``."""
        return WrappedKey(self.name, self.key_ref, xwing.encrypt(self._public, seal_package(key, binding), info=self._info))

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Return the 32-byte key.

        Raises:
            securekit.exceptions.DecryptionError: It was not wrapped to this key for ``binding``, or there is no private key.
            securekit.exceptions.FormatError: The ciphertext has another length.
        """
        check_recipient(wrapped, self, size=PACKAGE_SIZE + xwing.OVERHEAD)
        if self._seed is None:
            raise DecryptionError
        return open_package(xwing.decrypt(self._seed, wrapped.ciphertext, info=self._info), binding)

    def opens(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` names this key, and the private half is here."""
        return self._seed is not None and wrapped.recipient == (self.name, self.key_ref)

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each ``(key, binding)``."""
        return wrap_each(self, items)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each ``(wrapped, binding)``."""
        return unwrap_each(self, items)

    def __repr__(self) -> str:
        """Name the key by its public reference, and say what it can do."""
        return f"<PostQuantumWrapper {self.key_ref[:16]}… {'opens' if self.can_unwrap else 'wraps only'}>"


def _read_public(path: FilePath) -> bytes:
    try:
        with Path(path).open("rb") as file:
            found = _parse(file.read(_MAX_FILE_SIZE), _PUBLIC_PREFIX, xwing.PUBLIC_SIZE)
    except OSError as error:
        message = f"cannot read the public key file {path}: {error.strerror}"
        raise KeyFileError(message) from None
    try:
        xwing.check_public_key(found or b"")
    except ValueError:
        return _refuse(path)
    return found or b""


def _parse(data: bytes, prefix: str, size: int) -> bytes | None:
    start = prefix.encode()
    if not data.startswith(start):
        return None
    try:
        value = base64url.decode(data[len(start) :].removesuffix(b"\n").decode("ascii", errors="replace"))
    except FormatError:
        return None
    return value if len(value) == size else None


def _refuse(path: FilePath) -> bytes:
    message = f"{path} is not an X-Wing key file; make a pair with: securekit identity new --pq"
    raise KeyFileError(message)


def _write(path: Path, prefix: str, value: bytes, mode: int) -> None:
    try:
        write_new(path, f"{prefix}{base64url.encode(value)}\n".encode("ascii"), mode=mode)
    except FileExistsError:
        message = f"{path} exists already and is not overwritten; choose another name"
        raise KeyFileError(message) from None
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise KeyFileError(message) from None
