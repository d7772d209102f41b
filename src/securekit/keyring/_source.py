# SPDX-License-Identifier: Apache-2.0
"""What a store is to its keyrings: it reads, opens, changes and writes their documents, and tells what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from securekit._primitives.rng import random_bytes
from securekit.exceptions import ConflictError, DecryptionError, KeyNotFoundError, KeyStoreError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper

from ._background import Background, InPlace
from ._document import MAX_PERIOD, KeyringDocument
from ._event import Event, EventKind, OnEvent
from ._unlocking import Opened, Trust, unlock

if TYPE_CHECKING:
    from ._clock import Clock
    from ._live import Change
    from ._storage import DocumentStorage

__all__ = ["ATTEMPTS", "StoreSource", "Wrappers", "no_keyring", "resolve"]

Wrappers = KeyWrapper | Sequence[KeyWrapper] | Callable[[str], KeyWrapper | Sequence[KeyWrapper]]
"""One wrapper, several (any one of them opens), or a function of the path that returns these."""

ATTEMPTS = 5  # of a change, where another process writes in between
_PAUSE = 0.005  # seconds, at most, before the second one; then twice as much each time
_MAX_CACHE = 10_000_000  # keyrings


class StoreSource(Secretive):
    """The settings of a store, its wrappers, and the way to its documents. Arguments as `securekit.KeyStore`."""

    __slots__ = (
        "_adopted",
        "_also_open",
        "_background",
        "_on_event",
        "_wrapper",
        "cache_size",
        "cache_ttl",
        "clock",
        "floors",
        "max_messages",
        "refresh",
        "rotate_after",
        "stale_if_error",
        "storage",
    )

    def __init__(
        self,
        storage: DocumentStorage,
        *,
        wrapper: Wrappers,
        also_open: Wrappers,
        refresh: float,
        stale_if_error: float,
        cache_ttl: float,
        cache_size: int,
        rotate_after: float,
        max_messages: int,
        on_event: OnEvent | None,
        clock: Clock,
    ) -> None:
        _check_number("refresh", refresh, 1, MAX_PERIOD)
        _check_number("stale_if_error", stale_if_error, 0, MAX_PERIOD)
        _check_number("cache_ttl", cache_ttl, 1, MAX_PERIOD)
        _check_number("cache_size", cache_size, 1, _MAX_CACHE)
        self.storage = storage
        self.refresh = refresh
        self.stale_if_error = stale_if_error
        self.cache_ttl = cache_ttl
        self.cache_size = cache_size
        self.rotate_after = rotate_after
        self.max_messages = max_messages
        self.clock = clock
        # The highest revision seen per path; it outlives the keyring objects, so that an old document is refused for good.
        self.floors: dict[str, int] = {}
        self._wrapper = wrapper
        self._also_open = also_open
        self._adopted: tuple[KeyWrapper, ...] = ()
        self._on_event = on_event
        self._background: Background | InPlace = Background()

    def load(self, path: str, known: Opened | None, trust: Trust, *, renew: bool) -> Opened:
        """Read the document; open it only if it changed in a way that the known secret does not prove, or if ``renew``.

        Raises:
            securekit.exceptions.KeyNotFoundError: There is none.
            securekit.exceptions.KeyStoreError: It is older than one that this process has seen.
            securekit.exceptions.SecureKitError: As `open`.
        """
        data = self.storage.read(path)
        if data is None:
            if known is not None:
                self.storage.check()
                message = f"the keyring {path} is gone: it was deleted, or has to be restored from a backup"
                raise KeyNotFoundError(message)
            raise no_keyring(path)
        if known is not None and not renew:
            if data == known.data:
                return known
            if (same_secret := _reopen(data, known)) is not None:
                return self.at_floor(same_secret)
        return self.at_floor(self.open(data, path, trust))

    def open(self, data: bytes, path: str, trust: Trust) -> Opened:
        """Return the keyring that ``data`` holds, opened by one of the store's wrappers. See `unlock`."""
        return unlock(data, path=path, wrappers=self.openers(path), trust=trust, report=self.reporter(path))

    def at_floor(self, opened: Opened) -> Opened:
        """Return ``opened``, if this process has seen no newer document of that path, and was told of none.

        It is asked before anything is changed: what is written on top of an old document would count as new.

        Raises:
            securekit.exceptions.KeyStoreError: It has.
        """
        path, revision = opened.document.path, opened.document.revision
        floor = self.floors.get(path, 0)
        if revision < floor:
            message = (
                f"{path} was rolled back: the document is of revision {revision}, and this process has seen, or was told of, {floor}."
                " Restore the newer document; or, if the older one shall stand, restart this process without the higher minimum"
            )
            raise KeyStoreError(message)
        return opened

    def update(self, path: str, known: Opened | None, trust: Trust, change: Change) -> Opened:
        """Change the document under the lock; where there is none, compare-and-swap decides, and the change is made anew."""
        attempts = 0
        while True:
            attempts += 1
            try:
                with self.storage.lock(path):
                    return self._change(path, self.load(path, known, trust, renew=False), change)
            except ConflictError:
                if attempts == ATTEMPTS:
                    raise
                time.sleep(_PAUSE * 2**attempts * random_bytes(1)[0] / 255)  # so that the others finish

    def writers(self, path: str) -> tuple[KeyWrapper, ...]:
        """Return the wrappers that new documents are wrapped to."""
        return resolve(self._wrapper, path)

    def openers(self, path: str) -> tuple[KeyWrapper, ...]:
        """Return the wrappers that may open documents."""
        return (*resolve(self._wrapper, path), *resolve(self._also_open, path), *self._adopted)

    def targets(self, path: str) -> list[tuple[str, str]]:
        """Return the recipients that the store's own wrappers make."""
        return [(wrapper.name, wrapper.key_ref) for wrapper in self.writers(path)]

    def adopt(self, wrappers: Sequence[KeyWrapper]) -> None:
        """Open documents with ``wrappers`` as well from now on."""
        self._adopted = tuple({id(wrapper): wrapper for wrapper in (*self._adopted, *wrappers)}.values())

    def write_with(self, wrapper: Wrappers) -> None:
        """Wrap new documents to ``wrapper`` from now on; those that did so until now go on to open."""
        former, also = self._wrapper, self._also_open
        self._also_open = lambda path: (*resolve(former, path), *resolve(also, path))
        self._wrapper = wrapper

    @property
    def is_watched(self) -> bool:
        """Whether anybody is told of events."""
        return self._on_event is not None

    def emit(self, event: Event) -> None:
        """Call ``on_event``."""
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:  # a broken metrics hook must not stop a decryption
                import logging  # in time for the first mistake: it is slow to import

                logging.getLogger("securekit").exception("on_event failed")

    def reporter(self, path: str) -> Callable[[KeyWrapper, str, float], None]:
        """Return what tells the operator of calls to wrappers."""
        return lambda wrapper, verb, seconds: self.emit(Event(EventKind.KMS_CALL, path, detail=f"{verb} {wrapper.name}", seconds=seconds))

    def schedule(self, job: Callable[[], None]) -> None:
        """Run ``job`` in the background."""
        self._background.run(job)

    def refresh_in_place(self) -> None:
        """Refresh in the thread that asks, where the storage belongs to it, and not in the background."""
        self._background = InPlace()

    def _change(self, path: str, opened: Opened, change: Change) -> Opened:
        before = opened.document
        after = change(opened, int(self.clock.time()))
        if after == before:
            return opened
        after = replace(after, revision=before.revision + 1)
        data = after.encode(opened.secret)
        self.storage.write(path, data, expected=before.revision)
        return opened.with_document(after, data)


def no_keyring(path: str) -> KeyNotFoundError:
    """Return the error that says how to make what is missing."""
    return KeyNotFoundError(f"there is no keyring {path}; make it with create=True or: securekit keys create {path}")


def resolve(wrappers: Wrappers, path: str) -> tuple[KeyWrapper, ...]:
    """Return the wrappers for one path, from one, several, or a function."""
    if hasattr(wrappers, "unwrap"):  # much faster than asking whether it follows the protocol
        return (cast("KeyWrapper", wrappers),)
    if isinstance(wrappers, Sequence):
        return tuple(wrappers)
    return resolve(wrappers(path), path)


def _reopen(data: bytes, known: Opened) -> Opened | None:
    """Return what ``data`` holds if the secret that is known already proves it: then the KMS need not be asked."""
    sealed = KeyringDocument.decode(data)
    if sealed.document.binding != known.document.binding:
        return None
    try:
        sealed.authenticate(known.secret)
    except DecryptionError:
        return None
    return known.with_document(sealed.document, data)


def _check_number(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        message = f"{name} must be {least} to {most}, not {value}"
        raise ValueError(message)
