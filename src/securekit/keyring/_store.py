# SPDX-License-Identifier: Apache-2.0
"""Keystores: where keyrings come from. What a store does is the same wherever the documents lie; see `DocumentStorage`."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

from securekit._primitives.process import process
from securekit.exceptions import ConflictError, DecryptionError, KeyNotFoundError, KeyStoreError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper

from . import _lifecycle as lifecycle
from ._background import Background
from ._clock import Clock, SystemClock
from ._document import MAX_PERIOD, KeyringDocument
from ._event import Event, EventKind, OnEvent
from ._info import ErasureReceipt, receipt
from ._keyring import Keyring
from ._path import check_path, is_under
from ._storage import DocumentStorage, MemoryStorage
from ._unlocking import Opened, Trust, unlock, wrap_secret

if TYPE_CHECKING:
    from ._live import Change

__all__ = ["FileKeyStore", "KeyStore", "MemoryKeyStore", "Wrappers"]

Wrappers = KeyWrapper | Sequence[KeyWrapper] | Callable[[str], KeyWrapper | Sequence[KeyWrapper]]
"""One wrapper, several (any one of them opens), or a function of the path that returns these."""

DAY = 24 * 3600  # seconds
_ATTEMPTS = 5  # of a change, where another process writes in between


class KeyStore(Secretive):
    """Keyrings in some storage. Made through `FileKeyStore`, `MemoryKeyStore` and the stores of other packages.

    Args:
        storage: Where the documents lie.
        wrapper: Who holds the KEK: what new documents are wrapped to, and what opens them. A keyring that is wrapped to
            several opens with any one of them. A function of the path serves regions and tenants.
        also_open: What may open documents as well: the new KEK before a rewrap, the old one until its end.
        refresh: Seconds after which a document is read again. It stands in new documents; readers obey the smaller.
        stale_if_error: Seconds for which keys in memory serve on when the store or the KMS cannot be reached; never when
            the answer was no. It stands in new documents; readers obey the smaller. 0 for not at all.
        cache_ttl: Seconds after which the KMS is asked again.
        cache_size: How many keyrings are held; others are read again when they are asked for.
        rotate_after: Seconds after which `Keyring.due` asks for a new primary.
        max_messages: How many messages of this process under one key make `Keyring.due` ask for a new one. The bound of
            the format is 2^49; nothing is ever refused because of a count.
        on_event: Called with every `Event`, also from the background thread. It never sees a secret.
        clock: For tests.

    Raises:
        ValueError: A number is out of bounds.
    """

    def __init__(
        self,
        storage: DocumentStorage,
        *,
        wrapper: Wrappers,
        also_open: Wrappers = (),
        refresh: float = 60,
        stale_if_error: float = DAY,
        cache_ttl: float = 3600,
        cache_size: int = 10_000,
        rotate_after: float = 90 * DAY,
        max_messages: int = 1 << 40,
        on_event: OnEvent | None = None,
        clock: Clock | None = None,
    ) -> None:
        _check_number("refresh", refresh, 1, MAX_PERIOD)
        _check_number("stale_if_error", stale_if_error, 0, MAX_PERIOD)
        _check_number("cache_ttl", cache_ttl, 1, MAX_PERIOD)
        _check_number("cache_size", cache_size, 1, 10_000_000)
        self._storage = storage
        self._wrapper = wrapper
        self._also_open = also_open
        self._adopted: tuple[KeyWrapper, ...] = ()
        self.refresh = refresh
        self.stale_if_error = stale_if_error
        self.cache_ttl = cache_ttl
        self.rotate_after = rotate_after
        self.max_messages = max_messages
        self.clock: Clock = clock or SystemClock()
        self._on_event = on_event
        self._cache_size = cache_size
        self._held: OrderedDict[str, Keyring] = OrderedDict()
        self._rings: WeakValueDictionary[str, Keyring] = WeakValueDictionary()
        self._background = Background()

    def keyring(self, path: str, create: bool = False, *, keyring_id: str | None = None, recover: bool = False) -> Keyring:  # noqa: FBT001, FBT002 - promised in this form
        """Return the keyring of ``path``: one live, shared, thread-safe object per path.

        Args:
            path: ``region/tenant/purpose``: 1 to 8 segments.
            create: Make the keyring if there is none. Safe when many do it at once: all get the same one.
            keyring_id: 32 hexadecimal digits; refuse a keyring with another id. Also lets a document open through an
                escrow certificate alone. The id is public: it tells keyrings apart, it does not prove their origin.
            recover: Let a document open through an escrow certificate alone, whatever its id. Anyone who has the
                certificate could have made it: check where it came from.

        Raises:
            TypeError, ValueError: ``path`` has another form.
            securekit.exceptions.KeyNotFoundError: There is none, or none of the store's wrappers is among its recipients.
            securekit.exceptions.DecryptionError: The document is not genuine.
            securekit.exceptions.KeyStoreError: The store failed, or only an escrow certificate opens the document.
            securekit.exceptions.WrapperError: The holder of the KEK is unreachable, or said no.
        """
        with process.lock:
            ring = self._rings.get(path)
            if ring is None:
                ring = Keyring(check_path(path), self, Trust())
                self._rings[path] = ring
        if keyring_id is not None or recover:
            ring._cache.trust = Trust(bytes.fromhex(keyring_id) if keyring_id else None, recover=recover)  # noqa: SLF001 - its own keyring
        if create and self._is_missing(path, ring):
            self._create(path)
        ring._cache.current()  # noqa: SLF001 - its own keyring
        if keyring_id is not None and ring.id != keyring_id:
            message = f"{path} has the id {ring.id}, not the one given"
            raise KeyStoreError(message)
        self._hold(path, ring)
        return ring

    async def akeyring(self, path: str, create: bool = False, *, keyring_id: str | None = None, recover: bool = False) -> Keyring:  # noqa: FBT001, FBT002 - as keyring
        """Do `keyring` without blocking the event loop. What the keyring then does with data needs no I/O.

        Ask for the keyring once per request or job: that is a look into a table as long as it is fresh, and otherwise
        reads it again in a worker thread.
        """
        ring = self._rings.get(path)
        if ring is not None and keyring_id is None and not recover and ring._cache.is_fresh():  # noqa: SLF001
            return ring
        import asyncio  # which doubles the time that importing the package takes

        return await asyncio.to_thread(self.keyring, path, create, keyring_id=keyring_id, recover=recover)

    def paths(self, prefix: str = "") -> list[str]:
        """Return the paths of all keyrings at or below ``prefix``, sorted. ``eu/a`` is not below ``eu/ab``."""
        if prefix:
            check_path(prefix)
        return sorted(path for path in self._storage.paths() if is_under(path, prefix))

    def rewrap(
        self, wrapper: Wrappers | None = None, *, prefix: str = "", drop: Iterable[str | KeyWrapper] = (), recover: bool = False
    ) -> list[str]:
        """Wrap the keyrings at or below ``prefix`` to other KEKs. No data key changes, and no data is touched.

        A KEK that this store opens with is replaced, one for one. Any other recipient, such as an escrow certificate,
        stays only if its wrapper is given too; a recipient is never lost silently. Naming it in ``drop`` removes it: then
        the keyring rotates, since the dropped recipient knew its keys, and these are marked due for re-encryption.

        Without an outage: deploy with ``also_open=[new]`` everywhere, rewrap, deploy without the old one.

        Args:
            wrapper: All recipients from now on. None for the store's own, which finishes an interrupted rewrap.
            prefix: Which keyrings.
            drop: The ``key_ref`` of recipients, or their wrappers, to remove.
            recover: Believe documents that open through an escrow certificate alone. See `keyring`.

        Returns:
            The paths that were changed; those already wrapped to exactly these recipients are not.

        Raises:
            securekit.exceptions.KeyStoreError: A recipient would be lost. Keyrings before it in order are changed already;
                calling again goes on.
            securekit.exceptions.SecureKitError: A keyring cannot be read, opened or written.
        """
        dropped = {item if isinstance(item, str) else item.key_ref for item in drop}
        chosen = self._wrapper if wrapper is None else wrapper
        changed = [path for path in self.paths(prefix) if self._rewrap_one(path, _resolve(chosen, path), dropped, recover=recover)]
        if wrapper is not None and not prefix:
            self._also_open, self._wrapper = _both(self._wrapper, self._also_open), wrapper
        return changed

    def copy(self, path: str, other_store: KeyStore, *, recover: bool = False) -> Keyring:
        """Copy a keyring to another store, wrapped to that store's KEKs: same id, same keys, same revision.

        Copying again brings the copy up to date, as long as only the original has changed.

        Raises:
            securekit.exceptions.ConflictError: The other store holds another keyring at ``path``, or a newer revision.
            securekit.exceptions.SecureKitError: As `keyring`, of either store.
        """
        opened = self.load(check_path(path), None, Trust(recover=recover), renew=True)
        return other_store._adopt(opened)

    def backup(self, path: str) -> bytes:
        """Return the document of a keyring, to be kept anywhere: whoever holds none of its KEKs cannot read its keys.

        Raises:
            securekit.exceptions.SecureKitError: As `keyring`; what cannot be opened is not backed up.
        """
        return self.load(check_path(path), None, Trust(), renew=True).data

    def restore(self, document: bytes, *, recover: bool = False) -> Keyring:
        """Put a backup back, if the store holds no keyring at its path, or an older revision of the same keyring.

        Raises:
            securekit.exceptions.FormatError: ``document`` is no keyring document.
            securekit.exceptions.DecryptionError: It is not genuine.
            securekit.exceptions.ConflictError: The store holds another keyring at the path, or the same or a newer revision.
            securekit.exceptions.SecureKitError: As `keyring`.
        """
        path = KeyringDocument.decode(document).document.path
        opened = unlock(document, path=path, wrappers=self._openers(path), trust=Trust(recover=recover), report=self._reporter(path))
        with self._storage.lock(path):
            self._storage.write(path, document, expected=self._expected_before(opened))
        self.emit(Event(EventKind.CHANGED, path, detail="restored"))
        return self.keyring(path, recover=recover)

    def delete(self, path: str) -> ErasureReceipt:
        """Erase a keyring with all its keys. What they encrypted is lost.

        Returns:
            A receipt that says which KEKs old copies of the document still open with.

        Raises:
            securekit.exceptions.KeyNotFoundError: There is none.
            securekit.exceptions.FormatError: What is there is no keyring document; remove it by hand.
            securekit.exceptions.KeyStoreError: The store failed.
        """
        with self._storage.lock(check_path(path)):
            data = self._storage.read(path)
            if data is None:
                message = f"there is no keyring {path}"
                raise KeyNotFoundError(message)
            document = KeyringDocument.decode(data).document
            self._storage.delete(path)
        with process.lock:
            self._held.pop(path, None)
            ring = self._rings.pop(path, None)
        if ring is not None:
            ring._cache.forget()  # noqa: SLF001
        self.emit(Event(EventKind.CHANGED, path, detail="deleted"))
        return receipt(document, tuple(key.id for key in document.keys), self.clock.time())

    def __repr__(self) -> str:
        """Name the kind of store."""
        return f"<{type(self).__name__}>"

    # What a store is to its keyrings: see KeyringSource.

    def load(self, path: str, known: Opened | None, trust: Trust, *, renew: bool) -> Opened:
        """Read the document; open it only if it changed in a way that the known secret does not prove, or if ``renew``."""
        data = self._storage.read(path)
        if data is None:
            if known is not None:
                self._storage.check()
            message = f"there is no keyring {path}; make it with create=True or: securekit keys create {path}"
            raise KeyNotFoundError(message)
        if known is not None and not renew:
            if data == known.data:
                return known
            if (same_secret := _reopen(data, known)) is not None:
                return same_secret
        return unlock(data, path=path, wrappers=self._openers(path), trust=trust, report=self._reporter(path))

    def update(self, path: str, known: Opened | None, trust: Trust, change: Change) -> Opened:
        """Change the document under the lock; where there is none, compare-and-swap decides, and the change is made anew."""
        for attempt in range(_ATTEMPTS):
            try:
                with self._storage.lock(path):
                    return self._change(path, self.load(path, known, trust, renew=False), change)
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def targets(self, path: str) -> list[tuple[str, str]]:
        """Return the recipients that the store's own wrappers make."""
        return [(wrapper.name, wrapper.key_ref) for wrapper in _resolve(self._wrapper, path)]

    def emit(self, event: Event) -> None:
        """Call ``on_event``."""
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:  # a broken metrics hook must not stop a decryption
                import logging  # in time for the first mistake: it is slow to import

                logging.getLogger("securekit").exception("on_event failed")

    def schedule(self, job: Callable[[], None]) -> None:
        """Run ``job`` in the background."""
        self._background.run(job)

    def _is_missing(self, path: str, ring: Keyring) -> bool:
        return ring._cache.live is None and self._storage.read(path) is None  # noqa: SLF001 - its own keyring

    def _create(self, path: str) -> None:
        now = int(self.clock.time())
        document = lifecycle.new_document(path, now=now, refresh=int(self.refresh), stale_if_error=int(self.stale_if_error))
        secret = lifecycle.new_secret()
        recipients = wrap_secret(secret, document, _resolve(self._wrapper, path), self._reporter(path))
        document = lifecycle.rotate(replace(document, recipients=recipients, revision=1), secret, now=now, promoted=True)
        try:
            with self._storage.lock(path):
                self._storage.write(path, document.encode(secret), expected=None)
        except ConflictError:
            return  # another one was faster, and so there is a keyring
        self.emit(Event(EventKind.ROTATED, path, document.primary.id, "created"))

    def _change(self, path: str, opened: Opened, change: Change) -> Opened:
        before = opened.document
        after = change(opened, int(self.clock.time()))
        if after == before:
            return opened
        after = replace(after, revision=before.revision + 1)
        data = after.encode(opened.secret)
        self._storage.write(path, data, expected=before.revision)
        return replace(opened, document=after, data=data)

    def _rewrap_one(self, path: str, wrappers: tuple[KeyWrapper, ...], dropped: set[str], *, recover: bool) -> bool:
        from ._recipients import plan_recipients  # which processes that only encrypt do not need

        with self._storage.lock(path):
            opened = self.load(path, None, Trust(recover=recover), renew=True)
            plan = plan_recipients(opened.document, wrappers, own=self._openers(path), dropped=dropped)
            if not plan.changes:
                return False
            document, secret, report = opened.document, opened.secret, self._reporter(path)
            if plan.renews:
                secret = lifecycle.new_secret()
                document = lifecycle.renew_secret(document, opened.secret, secret, wrap_secret(secret, document, wrappers, report))
            else:
                document = replace(document, recipients=plan.keep(document, wrap_secret(secret, document, wrappers, report)))
            if plan.drops:
                now = int(self.clock.time())
                old = {key.id for key in document.keys}
                document = lifecycle.mark_due(lifecycle.rotate(document, secret, now=now, promoted=True), old)
            document = replace(document, revision=document.revision + 1)
            self._storage.write(path, document.encode(secret), expected=opened.document.revision)
        self._adopted = tuple({id(wrapper): wrapper for wrapper in (*self._adopted, *wrappers)}.values())
        self.emit(Event(EventKind.CHANGED, path, detail="rewrapped"))
        return True

    def _adopt(self, opened: Opened) -> Keyring:
        """Write a keyring that comes from another store."""
        path = opened.document.path
        secret = lifecycle.new_secret()
        recipients = wrap_secret(secret, opened.document, _resolve(self._wrapper, path), self._reporter(path))
        document = lifecycle.renew_secret(opened.document, opened.secret, secret, recipients)
        with self._storage.lock(path):
            self._storage.write(path, document.encode(secret), expected=self._expected_before(opened))
        self.emit(Event(EventKind.CHANGED, path, detail="copied"))
        return self.keyring(path)

    def _expected_before(self, opened: Opened) -> int | None:
        """Return the revision that ``opened`` may replace: none, or an older one of the same keyring."""
        path = opened.document.path
        data = self._storage.read(path)
        if data is None:
            return None
        there = KeyringDocument.decode(data).document
        if there.id != opened.document.id:
            message = f"{path} is another keyring there (id {there.id.hex()}); delete it first, if its data is gone"
            raise ConflictError(message)
        if there.revision >= opened.document.revision:
            message = f"{path} is at revision {there.revision} there, which is not older than {opened.document.revision}"
            raise ConflictError(message)
        return there.revision

    def _hold(self, path: str, ring: Keyring) -> None:
        with process.lock:
            self._held[path] = ring
            self._held.move_to_end(path)
            if len(self._held) > self._cache_size:
                self._held.popitem(last=False)

    def _openers(self, path: str) -> tuple[KeyWrapper, ...]:
        return (*_resolve(self._wrapper, path), *_resolve(self._also_open, path), *self._adopted)

    def _reporter(self, path: str) -> Callable[[KeyWrapper, str, float], None]:
        return lambda wrapper, verb, seconds: self.emit(Event(EventKind.KMS_CALL, path, detail=f"{verb} {wrapper.name}", seconds=seconds))


class MemoryKeyStore(KeyStore):
    """Keyrings in this process alone, gone with it: for tests and short-lived jobs. Arguments as `KeyStore`."""

    def __init__(self, *, wrapper: Wrappers, **options: object) -> None:
        super().__init__(MemoryStorage(), wrapper=wrapper, **options)  # type: ignore[arg-type]


class FileKeyStore(KeyStore):
    """Keyrings as files below one directory. Arguments as `KeyStore`.

    Args:
        root: The directory; made, with mode 0700, when the first keyring is.
        wrapper: As `KeyStore`.
        options: As `KeyStore`.
    """

    def __init__(self, root: str | os.PathLike[str], *, wrapper: Wrappers, **options: object) -> None:
        from ._file import FileStorage

        super().__init__(FileStorage(root), wrapper=wrapper, **options)  # type: ignore[arg-type]


def _resolve(wrappers: Wrappers, path: str) -> tuple[KeyWrapper, ...]:
    """Return the wrappers for one path, from one, several, or a function."""
    if isinstance(wrappers, Sequence):
        return tuple(wrappers)
    if hasattr(wrappers, "unwrap"):  # much faster than asking whether it follows the protocol
        return (cast("KeyWrapper", wrappers),)
    return _resolve(wrappers(path), path)


def _both(first: Wrappers, second: Wrappers) -> Callable[[str], tuple[KeyWrapper, ...]]:
    return lambda path: (*_resolve(first, path), *_resolve(second, path))


def _reopen(data: bytes, known: Opened) -> Opened | None:
    """Return what ``data`` holds if the secret that is known already proves it: then the KMS need not be asked."""
    sealed = KeyringDocument.decode(data)
    if sealed.document.binding != known.document.binding:
        return None
    try:
        sealed.authenticate(known.secret)
    except DecryptionError:
        return None
    return replace(known, document=sealed.document, data=data)


def _check_number(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        message = f"{name} must be {least} to {most}, not {value}"
        raise ValueError(message)
