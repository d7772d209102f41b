# SPDX-License-Identifier: Apache-2.0
"""Keystores: where keyrings come from. What a store does is the same wherever the documents lie; see `DocumentStorage`."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack
from weakref import WeakValueDictionary

from securekit._primitives.process import process
from securekit.exceptions import ConflictError, KeyNotFoundError, KeyStoreError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper

from . import _lifecycle as lifecycle
from ._clock import Clock, SystemClock
from ._document import KeyringDocument
from ._event import Event, EventKind, OnEvent
from ._keyring import Keyring
from ._path import check_path
from ._source import StoreSource, Wrappers
from ._storage import DocumentStorage, MemoryStorage
from ._unlocking import Opened, Trust, wrap_secret

if TYPE_CHECKING:
    from ._info import ErasureReceipt
    from ._rewrap import RewrapOutcome

__all__ = ["FileKeyStore", "KeyStore", "MemoryKeyStore", "StoreOptions"]

DAY = 24 * 3600  # seconds


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
        self._storage = storage
        self._source = StoreSource(
            storage,
            wrapper=wrapper,
            also_open=also_open,
            refresh=refresh,
            stale_if_error=stale_if_error,
            cache_ttl=cache_ttl,
            cache_size=cache_size,
            rotate_after=rotate_after,
            max_messages=max_messages,
            on_event=on_event,
            clock=clock or SystemClock(),
        )
        self._held: OrderedDict[str, Keyring] = OrderedDict()
        self._rings: WeakValueDictionary[str, Keyring] = WeakValueDictionary()

    def keyring(
        self,
        path: str,
        create: bool = False,  # noqa: FBT001, FBT002 - promised in this form
        *,
        keyring_id: str | None = None,
        minimum_revision: int = 0,
        recover: bool = False,
    ) -> Keyring:
        """Return the keyring of ``path``: one live, shared, thread-safe object per path.

        Args:
            path: ``region/tenant/purpose``: 1 to 8 segments.
            create: Make the keyring if there is none. Safe when many do it at once: all get the same one.
            keyring_id: 32 hexadecimal digits; refuse a keyring with another id. Also lets a document open through an
                escrow certificate alone. The id is public: it tells keyrings apart, it does not prove their origin.
            minimum_revision: Refuse an older document, also one that was rolled back before this process started: a number
                that you keep elsewhere, from `Keyring.revision`.
            recover: Let a document open through an escrow certificate alone, whatever its id. Anyone who has the
                certificate could have made it: check where it came from.

        Raises:
            TypeError, ValueError: ``path`` has another form.
            securekit.exceptions.KeyNotFoundError: There is none, or none of the store's wrappers is among its recipients.
            securekit.exceptions.DecryptionError: The document is not genuine.
            securekit.exceptions.KeyStoreError: The store failed; or only an escrow certificate opens the document; or the
                document is older than one that this process has seen; or it is gone, and was to be made anew.
            securekit.exceptions.WrapperError: The holder of the KEK is unreachable, or said no.
        """
        with process.lock:
            ring = self._rings.get(path)
            if ring is None:
                ring = Keyring(check_path(path), self._source, Trust())
                self._rings[path] = ring
        if minimum_revision > self._source.floors.get(path, 0):
            self._source.floors[path] = minimum_revision
            ring._cache.forget()  # noqa: SLF001 - its own keyring
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

    async def akeyring(
        self,
        path: str,
        create: bool = False,  # noqa: FBT001, FBT002 - as keyring
        *,
        keyring_id: str | None = None,
        minimum_revision: int = 0,
        recover: bool = False,
    ) -> Keyring:
        """Do `keyring` without blocking the event loop. What the keyring then does with data needs no I/O.

        Ask for the keyring once per request or job: that is a look into a table as long as it is fresh, and otherwise
        reads it again in a worker thread.
        """
        ring = self._rings.get(path)
        plain = keyring_id is None and not minimum_revision and not recover
        if plain and ring is not None and ring._cache.is_fresh():  # noqa: SLF001 - its own keyring
            self._hold(path, ring)
            return ring
        import asyncio  # which doubles the time that importing the package takes

        return await asyncio.to_thread(
            self.keyring, path, create, keyring_id=keyring_id, minimum_revision=minimum_revision, recover=recover
        )

    def paths(self, prefix: str = "") -> list[str]:
        """Return the paths of all keyrings at or below ``prefix``, sorted. ``eu/a`` is not below ``eu/ab``."""
        if prefix:
            check_path(prefix)
        return sorted(self._storage.paths(prefix))

    def rewrap(
        self,
        wrapper: Wrappers | None = None,
        *,
        prefix: str = "",
        drop: Iterable[str | KeyWrapper] = (),
        recover: bool = False,
        dry_run: bool = False,
        report: Callable[[str], None] | None = None,
        batch: int = 500,
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
            dry_run: Only find out what would be changed: every keyring is opened, and nothing is wrapped or written.
            report: Called with each path when it is done, changed or not.
            batch: How many keyrings are read, wrapped and written at a time; in one transaction, where the store has such.

        Returns:
            The paths that were (or would be) changed; those already wrapped to exactly these recipients are not.

        Raises:
            ValueError: A recipient is to be dropped, and is among the wrappers at once; or ``batch`` is not positive.
            securekit.exceptions.KeyStoreError: A recipient would be lost, or another KEK has the name of a new one. Keyrings
                before it in order are changed already; calling again goes on.
            securekit.exceptions.SecureKitError: A keyring cannot be read, opened or written.
        """
        changed = []
        for outcome in self._rewrap_paths(self.paths(prefix), wrapper, drop=drop, recover=recover, dry_run=dry_run, batch=batch, stop=True):
            if outcome.error is not None:
                raise outcome.error
            if outcome.changed:
                changed.append(outcome.path)
            if report is not None:
                report(outcome.path)
        if wrapper is not None and not prefix and not dry_run:
            self._source.write_with(wrapper)
        return changed

    def copy(self, path: str, other_store: KeyStore, *, recover: bool = False) -> Keyring:
        """Copy a keyring to another store, wrapped to that store's KEKs: same id, same keys, same revision.

        Copying again brings the copy up to date, as long as only the original has changed.

        Raises:
            securekit.exceptions.ConflictError: The other store holds another keyring at ``path``, or a newer revision.
            securekit.exceptions.SecureKitError: As `keyring`, of either store.
        """
        opened = self._source.load(check_path(path), None, Trust(recover=recover), renew=True)
        return other_store._adopt(opened)

    def backup(self, path: str) -> bytes:
        """Return the document of a keyring, to be kept anywhere: whoever holds none of its KEKs cannot read its keys.

        Raises:
            securekit.exceptions.SecureKitError: As `keyring`; what cannot be opened is not backed up.
        """
        return self._source.load(check_path(path), None, Trust(), renew=True).data

    def restore(self, document: bytes, *, recover: bool = False) -> Keyring:
        """Put a backup back, if the store holds no keyring at its path, or an older revision of the same keyring.

        Raises:
            securekit.exceptions.FormatError: ``document`` is no keyring document.
            securekit.exceptions.DecryptionError: It is not genuine.
            securekit.exceptions.ConflictError: The store holds another keyring at the path, or the same or a newer revision.
            securekit.exceptions.KeyStoreError: This process has seen a newer revision, and the store has lost it.
            securekit.exceptions.SecureKitError: As `keyring`.
        """
        path = KeyringDocument.decode(document).document.path
        opened = self._source.open(document, path, Trust(recover=recover))
        with self._storage.lock(path):
            self._storage.write(path, document, expected=self._expected_before(opened))
        self._source.emit(Event(EventKind.CHANGED, path, detail="restored"))
        self._forget(path)
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
        from ._info import receipt

        with self._storage.lock(check_path(path)):
            data = self._storage.read(path)
            if data is None:
                message = f"there is no keyring {path}"
                raise KeyNotFoundError(message)
            document = KeyringDocument.decode(data).document
            self._storage.delete(path)
        self._source.floors.pop(path, None)
        self._forget(path)
        with process.lock:
            self._held.pop(path, None)
            self._rings.pop(path, None)
        self._source.emit(Event(EventKind.CHANGED, path, detail="deleted"))
        return receipt(document, tuple(key.id for key in document.keys), self._source.clock.time())

    def __repr__(self) -> str:
        """Name the kind of store."""
        return f"<{type(self).__name__}>"

    def _is_missing(self, path: str, ring: Keyring) -> bool:
        return ring._cache.live is None and self._storage.read(path) is None  # noqa: SLF001 - its own keyring

    def _create(self, path: str) -> None:
        floor = self._source.floors.get(path, 0)
        if floor:
            message = (
                f"{path} is gone, and this process has seen, or was told of, its revision {floor}: restore it from a backup;"
                " or, if it was deleted on purpose, restart this process before it makes a new one"
            )
            raise KeyStoreError(message)
        now = int(self._source.clock.time())
        document = lifecycle.new_document(path, now=now, refresh=int(self._source.refresh), stale_if_error=int(self._source.stale_if_error))
        secret = lifecycle.new_secret()
        recipients = wrap_secret(secret, document, self._source.writers(path), self._source.reporter(path))
        document = lifecycle.rotate(replace(document, recipients=recipients, revision=1), secret, now=now, promoted=True)
        try:
            with self._storage.lock(path):
                self._storage.write(path, document.encode(secret), expected=None)
        except ConflictError:
            return  # another one was faster, and so there is a keyring
        self._source.emit(Event(EventKind.ROTATED, path, document.primary.id, "created"))

    def _rewrap_paths(
        self,
        paths: Sequence[str],
        wrapper: Wrappers | None = None,
        *,
        drop: Iterable[str | KeyWrapper] = (),
        recover: bool = False,
        dry_run: bool = False,
        batch: int = 500,
        stop: bool = False,
    ) -> Iterator[RewrapOutcome]:
        """Yield what became of each keyring, in order; after a failure the others go on, unless it is to ``stop``. See `rewrap`."""
        if batch < 1:
            message = f"keyrings are rewrapped 1 or more at a time, not {batch}"
            raise ValueError(message)
        from ._rewrap import Rewrap  # which processes that only encrypt do not need

        dropped = {item if isinstance(item, str) else item.key_ref for item in drop}
        rewrap = Rewrap(self._source, wrapper=wrapper, dropped=dropped, recover=recover, dry_run=dry_run, stop=stop)
        for begin in range(0, len(paths), batch):
            outcomes = rewrap.run(paths[begin : begin + batch])
            yield from outcomes
            if stop and outcomes[-1].error is not None:
                return

    def _adopt(self, opened: Opened) -> Keyring:
        """Write a keyring that comes from another store."""
        path = opened.document.path
        secret = lifecycle.new_secret()
        recipients = wrap_secret(secret, opened.document, self._source.writers(path), self._source.reporter(path))
        document = lifecycle.renew_secret(opened.document, opened.secret, secret, recipients)
        with self._storage.lock(path):
            self._storage.write(path, document.encode(secret), expected=self._expected_before(opened))
        self._source.emit(Event(EventKind.CHANGED, path, detail="copied"))
        self._forget(path)
        return self.keyring(path)

    def _expected_before(self, opened: Opened) -> int | None:
        """Return the revision that ``opened`` may replace: none, or an older one of the same keyring."""
        path = opened.document.path
        data = self._storage.read(path)
        there = None if data is None else KeyringDocument.decode(data).document
        if there is not None and there.id != opened.document.id:
            message = f"{path} is another keyring there (id {there.id.hex()}); delete it first, if its data is gone"
            raise ConflictError(message)
        if there is not None and there.revision >= opened.document.revision:
            message = f"{path} is at revision {there.revision} there, which is not older than {opened.document.revision}"
            raise ConflictError(message)
        self._source.at_floor(opened)
        return None if there is None else there.revision

    def _forget(self, path: str) -> None:
        """Let the keyring of ``path`` read its document again, whatever it knows, and whatever it was refused a moment ago."""
        ring = self._rings.get(path)
        if ring is not None:
            ring._cache.forget()  # noqa: SLF001 - its own keyring

    def _hold(self, path: str, ring: Keyring) -> None:
        with process.lock:
            self._held[path] = ring
            self._held.move_to_end(path)
            if len(self._held) > self._source.cache_size:
                self._held.popitem(last=False)


class StoreOptions(TypedDict, total=False):
    """What every store takes beside its place and its wrappers; see `KeyStore`."""

    refresh: float
    stale_if_error: float
    cache_ttl: float
    cache_size: int
    rotate_after: float
    max_messages: int
    on_event: OnEvent | None
    clock: Clock | None


class MemoryKeyStore(KeyStore):
    """Keyrings in this process alone, gone with it: for tests and short-lived jobs. Arguments as `KeyStore`."""

    def __init__(self, *, wrapper: Wrappers, also_open: Wrappers = (), **options: Unpack[StoreOptions]) -> None:
        super().__init__(MemoryStorage(), wrapper=wrapper, also_open=also_open, **options)


class FileKeyStore(KeyStore):
    """Keyrings as files below one directory. Arguments as `KeyStore`.

    Args:
        root: The directory; made, with mode 0700, when the first keyring is.
        wrapper: As `KeyStore`.
        also_open: As `KeyStore`.
        options: As `KeyStore`.
    """

    def __init__(
        self, root: str | os.PathLike[str], *, wrapper: Wrappers, also_open: Wrappers = (), **options: Unpack[StoreOptions]
    ) -> None:
        from ._file import FileStorage

        super().__init__(FileStorage(root), wrapper=wrapper, also_open=also_open, **options)
