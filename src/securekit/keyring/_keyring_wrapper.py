# SPDX-License-Identifier: Apache-2.0
"""A keyring as KEK of others: a region's KEK wraps a tenant's keyring, which wraps millions of keys without a network call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from securekit._wire.pae import pae
from securekit.exceptions import (
    DecryptionError,
    FormatError,
    KeyNotFoundError,
    KeyStateError,
    KeyStoreError,
    KeyStoreUnavailableError,
    WrapperDeniedError,
    WrapperError,
    WrapperUnavailableError,
)
from securekit.secret import Secretive
from securekit.wrappers import WrappedKey
from securekit.wrappers._protocol import PACKAGE_SIZE, open_package, seal_package, unwrap_each, wrap_each

from ._record import OVERHEAD, check_record

if TYPE_CHECKING:
    from securekit.wrappers import Binding

    from ._keyring import Keyring
    from ._live import Live

__all__ = ["MAX_DEPTH", "KeyringWrapper"]

MAX_DEPTH = 4  # keyrings above a keyring

_climbing: ContextVar[tuple[Keyring, ...]] = ContextVar("_climbing", default=())
"""The keyrings above what is being wrapped or opened, as far as the way up is known; empty between calls."""


class KeyringWrapper(Secretive):
    """Wraps keys under the primary key of another keyring, and unwraps with whichever of its keys was used.

    Destroying the keyring, or its keys, makes everything under it unreadable at once.

    Args:
        keyring: The parent. Its own KEK may again be a keyring, up to four levels; cycles are refused.
    """

    __slots__ = ("_keyring",)

    name = "keyring"
    outsiders_can_wrap = False

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    @property
    def key_ref(self) -> str:
        """The full name of the parent's primary key: ``path@key id``."""
        return f"{self._keyring.path}@{self._keyring.primary().id}"

    @property
    def depth(self) -> int:
        """How many keyrings stand between what is wrapped here and a KEK of another kind."""
        return self._keyring.depth + 1

    def opens(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` names any key of the parent keyring."""
        return wrapped.wrapper == self.name and wrapped.key_ref.rpartition("@")[0] == self._keyring.path

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap ``key`` (32 bytes) as a record of the package, with associated data that no record of data has.

        Raises:
            securekit.exceptions.WrapperError: More than four keyrings would stand above each other, or in a circle; or the
                parent cannot be used.
        """
        record_key = self._parent(binding).primary
        package = seal_package(key, binding)
        sealed = record_key.cipher.encrypt(package, _associated_data(self._keyring.path, record_key.header))
        return WrappedKey(self.name, f"{self._keyring.path}@{record_key.key_id}", sealed)

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Return the 32-byte key.

        Raises:
            securekit.exceptions.DecryptionError: It was not wrapped under the parent for ``binding``.
            securekit.exceptions.FormatError: The ciphertext has another length, or is no record.
            securekit.exceptions.WrapperDeniedError: The parent, or the key in it, is disabled, destroyed or deleted.
            securekit.exceptions.WrapperUnavailableError: The parent cannot be reached now.
        """
        if not self.opens(wrapped):
            raise DecryptionError
        if len(wrapped.ciphertext) != OVERHEAD + PACKAGE_SIZE:
            message = f"a key wrapped by {self.name!r} has {OVERHEAD + PACKAGE_SIZE} bytes, not {len(wrapped.ciphertext)}"
            raise FormatError(message)
        key_id = check_record(wrapped.ciphertext)
        if wrapped.key_ref.rpartition("@")[2] != key_id:
            raise DecryptionError
        live = self._parent(binding)
        with _answers_of(self._keyring.path):
            record_key = self._keyring._find(bytes.fromhex(key_id), live)  # noqa: SLF001 - the parent's key by its id
        # The package is no variable: error trackers show those.
        return open_package(record_key.cipher.decrypt(wrapped.ciphertext, _associated_data(self._keyring.path, record_key.header)), binding)

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each ``(key, binding)``."""
        return wrap_each(self, items)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each ``(wrapped, binding)``."""
        return unwrap_each(self, items)

    def __repr__(self) -> str:
        """Name the parent's path."""
        return f"<KeyringWrapper {self._keyring.path}>"

    def _parent(self, binding: Binding) -> Live:
        """Return the parent, opened, having climbed all the way up: it must end, and not lead to what stands below."""
        path = self._keyring.path
        way = (*_climbing.get(), self._keyring)
        if len(way) > MAX_DEPTH:
            message = f"more than {MAX_DEPTH} keyrings stand above each other: {_names(way)}"
            raise WrapperError(message)
        token = _climbing.set(way)
        try:
            with _answers_of(path):
                live = self._keyring._cache.current() if self._keyring not in way[:-1] else None  # noqa: SLF001 - the parent
            if live is None or live.opened.document.binding == tuple(binding):
                message = f"keyrings stand above each other in a circle: {_names(way)}"
                raise WrapperError(message)
            if isinstance(live.opened.wrapper, KeyringWrapper):
                live.opened.wrapper._parent(binding)  # noqa: SLF001 - of this class; it is in memory, as a rule
        finally:
            _climbing.reset(token)
        return live


@contextmanager
def _answers_of(path: str) -> Iterator[None]:
    """Turn what the parent's store answers into what a KEK's holder answers."""
    try:
        yield
    except KeyStoreUnavailableError as error:
        message = f"the keyring {path} that holds the KEK cannot be read now"
        raise WrapperUnavailableError(message) from error
    except KeyStateError as error:
        message = f"a key of {path} that this was wrapped under does not decrypt: {error}"
        raise WrapperDeniedError(message) from error
    except (KeyNotFoundError, KeyStoreError) as error:
        message = f"the keyring {path} that holds the KEK, or its key, is gone or refused"
        raise WrapperDeniedError(message) from error


def _names(way: tuple[Keyring, ...]) -> str:
    return " → ".join(keyring.path for keyring in way)


def _associated_data(path: str, header: bytes) -> bytes:
    return pae(["securekit/wrap/keyring/1", path, header])
