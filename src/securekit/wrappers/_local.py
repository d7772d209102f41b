# SPDX-License-Identifier: Apache-2.0
"""A KEK in this process: 32 bytes from a guarded file, or from wherever the caller keeps them."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from securekit._primitives.aead import KEY_SIZE, OVERHEAD, KcXaes256Gcm
from securekit._primitives.hkdf import hkdf
from securekit._primitives.rng import random_bytes
from securekit._wire import base64url
from securekit._wire.pae import pae
from securekit.exceptions import FormatError, KeyFileError
from securekit.secret import Secretive

from ._protocol import PACKAGE_SIZE, WrappedKey, check_recipient, labelled, open_package, seal_package, unwrap_each, wrap_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._protocol import Binding

__all__ = ["LocalWrapper"]

_FILE_PREFIX = "securekit-local-key-1:"  # so that a key file is told from any other file


class LocalWrapper(Secretive):
    """Wraps keys with KC-XAES-256-GCM under a 32-byte key that this process holds.

    Args:
        key: 32 uniformly random bytes.
        label: Optional; 1 to 32 of ``a-z``, ``0-9`` and ``-``, part of `key_ref`.

    Raises:
        ValueError: ``key`` has another length, or ``label`` another form.

    Example:
        >>> wrapper = LocalWrapper(bytes(32))
        >>> wrapper
        <LocalWrapper 0bac1fe1ddce8316>
    """

    __slots__ = ("_associated_data", "_cipher", "key_ref")

    name = "local"
    outsiders_can_wrap = False
    key_ref: str

    def __init__(self, key: bytes, *, label: str = "") -> None:
        self._cipher = KcXaes256Gcm(key)
        self.key_ref = labelled(label, hkdf(key, "securekit/local/1 ref")[:8].hex())
        self._associated_data = pae(["securekit/wrap/local/1", self.key_ref])

    @classmethod
    def from_file(cls, path: str | PathLike[str], *, label: str = "") -> LocalWrapper:
        """Read the key from a file made by `generate`, through the guarded reader.

        Raises:
            securekit.exceptions.KeyFileError: The file is missing, not a key file, or readable or replaceable by others;
                the message says the command that repairs it.
        """
        from securekit._wire.key_files import read_key_file  # which needs pathlib: slow to import, and not for a key given as bytes

        key = _parse(read_key_file(path))
        if key is None:
            message = f"{path} is not a local key file; make one with: securekit keys new-kek {path}"
            raise KeyFileError(message)
        return cls(key, label=label)

    @classmethod
    def generate(cls, path: str | PathLike[str], *, label: str = "") -> LocalWrapper:
        """Make a new key and store it in a new file of mode 0600. An existing file is never overwritten.

        Raises:
            securekit.exceptions.KeyFileError: The file exists already, or cannot be written.
            ValueError: ``label`` has another form; no file is made.
        """
        from securekit._wire.atomic import write_new

        key = random_bytes(KEY_SIZE)
        wrapper = cls(key, label=label)  # a label of another form is found before anything is written
        try:
            write_new(path, f"{_FILE_PREFIX}{base64url.encode(key)}\n".encode("ascii"))
        except FileExistsError:
            message = f"{path} exists already and is not overwritten; use LocalWrapper.from_file, or choose another name"
            raise KeyFileError(message) from None
        except OSError as error:
            message = f"cannot write {path}: {error.strerror}"
            raise KeyFileError(message) from None
        return wrapper

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap ``key`` (32 bytes) as ``nonce(24) ‖ commitment(32) ‖ package(65) ‖ tag(16)``."""
        return WrappedKey(self.name, self.key_ref, self._cipher.encrypt(seal_package(key, binding), self._associated_data))

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Return the 32-byte key.

        Raises:
            securekit.exceptions.DecryptionError: It was not wrapped under this KEK for ``binding``.
            securekit.exceptions.FormatError: The ciphertext has another length.
        """
        check_recipient(wrapped, self, size=OVERHEAD + PACKAGE_SIZE)
        return open_package(self._cipher.decrypt(wrapped.ciphertext, self._associated_data), binding)

    def opens(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` names this KEK."""
        return wrapped.recipient == (self.name, self.key_ref)

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each ``(key, binding)``."""
        return wrap_each(self, items)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each ``(wrapped, binding)``."""
        return unwrap_each(self, items)

    def __repr__(self) -> str:
        """Name the key by its public reference."""
        return f"<LocalWrapper {self.key_ref}>"


def _parse(data: bytes) -> bytes | None:
    """Return the key in a file's bytes; None, and no error whose frame would hold them, if they have another form."""
    try:
        prefix, text = data[: len(_FILE_PREFIX)].decode("ascii"), data[len(_FILE_PREFIX) :].decode("ascii")
        key = base64url.decode(text.removesuffix("\n"))
    except (UnicodeDecodeError, FormatError):
        return None
    return key if prefix == _FILE_PREFIX and len(key) == KEY_SIZE else None
