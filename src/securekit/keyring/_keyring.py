# SPDX-License-Identifier: Apache-2.0
"""The keyring: the versioned data keys of one path, live in this process."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from securekit._wire.pae import ContextEncoder
from securekit.exceptions import KeyNotFoundError

from . import _lifecycle as lifecycle
from ._bound import BoundKeyring
from ._event import Event, EventKind
from ._live import LiveCache
from ._verbs import DataVerbs

if TYPE_CHECKING:
    from securekit.wrappers import WrappedKey

    from ._document import KeyringDocument, KeyVersion
    from ._due import Due
    from ._info import ErasureReceipt, KeyInfo
    from ._live import Change, Live
    from ._source import StoreSource
    from ._unlocking import Opened, Trust

__all__ = ["Keyring"]


class Keyring(DataVerbs):
    """The data keys of one path: encrypts under the primary, decrypts under whichever key a record names.

    Get one from a store: ``store.keyring("eu/acme/invoices", create=True)``. It is live (it follows rotations that other
    processes make), shared (one object per path and store), safe between threads, and safe across a fork.

    Security property: a record decrypts only with an equal context, under the same path, and with a key of this
    keyring; the key is committed to, so that no record opens under two keys.
    """

    __slots__ = ("__weakref__",)

    def __init__(self, path: str, source: StoreSource, trust: Trust) -> None:
        super().__init__(path, source, LiveCache(path, source, trust), ContextEncoder())

    def bind(self, **context: str) -> BoundKeyring:
        """Return the data verbs with part of the context fixed and encoded in advance.

        Example:
            >>> ibans = ring.bind(table="invoice", column="iban")
            >>> token = ibans.encrypt(b"DE89 3704 0044", context={"id": "42"})
        """
        return BoundKeyring(self.path, self._source, self._cache, context)

    @property
    def id(self) -> str:
        """The keyring's id: 32 hexadecimal digits, the same for as long as the keyring lives."""
        return self._cache.current().opened.document.id.hex()

    @property
    def revision(self) -> int:
        """The revision of the document that this process works with."""
        return self._cache.current().opened.document.revision

    @property
    def recipients(self) -> tuple[WrappedKey, ...]:
        """The wrapped copies of the keyring's secret: one per KEK that opens it."""
        return self._cache.current().opened.document.recipients

    @property
    def noticed_after(self) -> int:
        """Seconds after which every process that reaches the store has noticed a change: the document's ``refresh``."""
        return self._cache.current().opened.document.refresh

    @property
    def staleness(self) -> int:
        """Seconds after which every process must have noticed a change: the document's ``refresh + stale_if_error``."""
        document = self._cache.current().opened.document
        return document.refresh + document.stale_if_error

    @property
    def depth(self) -> int:
        """How many keyrings stand above this one: 0 under a local, passphrase, certificate or Vault wrapper."""
        depth: int = getattr(self._cache.current().opened.wrapper, "depth", 0)
        return depth

    def keys(self) -> list[KeyInfo]:
        """Return every key version, oldest first."""
        live = self._cache.current()
        return [self._info(key, live) for key in live.opened.document.keys]

    def primary(self) -> KeyInfo:
        """Return the key that encrypts."""
        live = self._cache.current()
        return self._info(live.opened.document.primary, live)

    def rotate(self, promote: bool = True, *, not_after: datetime | None = None) -> KeyInfo:  # noqa: FBT001, FBT002 - promised in this form
        """Make a new key version, and make it primary. Older ones go on to decrypt.

        Args:
            promote: False stages the key: it is written and known to all, and encrypts only after `promote`. Wait for
                ``refresh`` in between, and no process ever meets a record whose key it does not know.
            not_after: When the new key stops to encrypt. It never stops to decrypt.

        Returns:
            The new key version.

        Raises:
            ValueError: ``not_after`` has no time zone, or is past.
            securekit.exceptions.KeyStateError: The keyring holds 4,096 key versions already.
            securekit.exceptions.ConflictError: Others wrote first, several times in a row.
            securekit.exceptions.KeyStoreError: The store could not be read or written; nothing changed.
        """
        until = self._seconds(not_after)
        before: set[str] = set()

        def change(opened: Opened, now: int) -> KeyringDocument:
            before.clear()
            before.update(key.id for key in opened.document.keys)
            return lifecycle.rotate(opened.document, opened.secret, now=now, promoted=promote, not_after=until)

        live = self._cache.update(change)
        fresh = next(key for key in reversed(live.opened.document.keys) if key.id not in before)
        self._source.emit(Event(EventKind.ROTATED, self.path, fresh.id, "primary" if promote else "staged"))
        return self._info(fresh, live)

    def promote(self, key_id: str) -> KeyInfo:
        """Make an active key the primary: after ``rotate(promote=False)``, or to go back.

        Args:
            key_id: 8 hexadecimal digits, or the full name ``path@id``.

        Raises:
            securekit.exceptions.KeyNotFoundError: No such key.
            securekit.exceptions.KeyStateError: It is disabled, destroyed, expired, or due for re-encryption.
        """
        return self._transition(key_id, "promoted", lambda opened, now: lifecycle.promote(opened.document, self._id(key_id), now=now))

    def disable(self, key_id: str) -> KeyInfo:
        """Make a key refuse to decrypt. It can come back with `enable`.

        Raises:
            securekit.exceptions.KeyNotFoundError: No such key.
            securekit.exceptions.KeyStateError: It is primary or destroyed.
        """
        return self._transition(key_id, "disabled", lambda opened, now: lifecycle.disable(opened.document, self._id(key_id), now=now))

    def enable(self, key_id: str) -> KeyInfo:
        """Let a disabled key decrypt again.

        Raises:
            securekit.exceptions.KeyNotFoundError: No such key.
            securekit.exceptions.KeyStateError: It is destroyed.
        """
        return self._transition(key_id, "enabled", lambda opened, _: lifecycle.enable(opened.document, self._id(key_id)))

    def destroy(self, key_id: str, *, force: bool = False) -> ErasureReceipt:
        """Erase a key's bytes for ever. What it encrypted and was not re-encrypted is lost.

        Args:
            key_id: 8 hexadecimal digits, or the full name ``path@id``.
            force: Do not wait until the key was disabled for longer than ``refresh`` and ``stale_if_error``.

        Returns:
            A receipt that says what else must be destroyed before the erasure is complete: old copies of the document, in
            backups and on disks, open with the KEK of their time.

        Raises:
            securekit.exceptions.KeyNotFoundError: No such key.
            securekit.exceptions.KeyStateError: It is primary, or was not disabled for long enough.
        """
        from ._info import receipt

        name = self._id(key_id)
        live = self._cache.update(lambda opened, now: lifecycle.destroy(opened.document, name, now=now, force=force))
        self._source.emit(Event(EventKind.CHANGED, self.path, name, "destroyed"))
        return receipt(live.opened.document, (name,), self._source.clock.time())

    def due(self) -> list[Due]:
        """Return what should be done soon: rotate, promote, rewrap, re-encrypt. A due key still works."""
        from ._due import find_due  # which processes that only encrypt do not need

        live = self._cache.current()
        return find_due(
            live.opened.document,
            now=self._source.clock.time(),
            rotate_after=self._source.rotate_after,
            max_messages=self._source.max_messages,
            messages=live.primary.units_used,
            targets=self._source.targets(self.path),
        )

    def refresh(self) -> None:
        """Read the document again now, and ask the KMS again, whatever the caches say.

        Raises:
            securekit.exceptions.SecureKitError: As `encrypt`; an unreachable store or KMS raises here, too.
        """
        self._cache.refresh()

    def __repr__(self) -> str:
        """Name the path, which is public."""
        return f"<Keyring {self.path}>"

    def _transition(self, key_id: str, detail: str, change: Change) -> KeyInfo:
        name = self._id(key_id)
        live = self._cache.update(change)
        self._source.emit(Event(EventKind.CHANGED, self.path, name, detail))
        return self._info(lifecycle.require(live.opened.document, name), live)

    def _id(self, key_id: str) -> str:
        """Return the bare id of ``key_id`` or ``path@key_id``."""
        path, at, bare = key_id.rpartition("@")
        if at and path != self.path:
            message = f"{key_id[:600]} is no key of {self.path}"
            raise KeyNotFoundError(message)
        return bare

    def _info(self, key: KeyVersion, live: Live) -> KeyInfo:
        from ._info import key_info

        record_key = live.keys.get(bytes.fromhex(key.id))
        return key_info(key, path=self.path, messages=record_key.units_used if record_key else 0)

    def _seconds(self, moment: datetime | None) -> int | None:
        if moment is None:
            return None
        if moment.tzinfo is None:
            message = "not_after needs a time zone, for example datetime.now(UTC) + timedelta(days=90)"
            raise ValueError(message)
        seconds = int(moment.timestamp())
        if seconds <= self._source.clock.time():
            message = f"not_after is past: {moment.isoformat()}"
            raise ValueError(message)
        return seconds
