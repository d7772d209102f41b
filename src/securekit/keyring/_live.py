# SPDX-License-Identifier: Apache-2.0
"""How a keyring stays fresh: one immutable state, refreshed ahead of need, and served on when nothing answers.

RULES of this file.

1. What a keyring knows is one `Live`, replaced whole. A call reads it once.
2. A call that finds it fresh does no I/O and takes no lock.
3. A change is published only after the store has made it durable.
4. What the store or the KMS *refuses* empties the cache; what is only *unreachable* does not, within ``stale_if_error``.
5. Ages are measured on the monotonic clock, so that no jump of the calendar makes anything fresh again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import RLock
from typing import TYPE_CHECKING, cast

from securekit._primitives.process import process
from securekit._primitives.rng import random_bytes
from securekit.exceptions import DecryptionError, KeyStoreUnavailableError, SecureKitError, WrapperUnavailableError
from securekit.secret import Secretive

from ._document import KeyState
from ._event import Event, EventKind
from ._record import RecordKey

if TYPE_CHECKING:
    from ._document import KeyringDocument, KeyVersion
    from ._source import StoreSource
    from ._unlocking import Opened, Trust

__all__ = ["Change", "Live", "LiveCache", "unseal"]

Change = Callable[["Opened", int], "KeyringDocument"]
"""From what is stored, and the time of the change in whole seconds, to what shall be stored."""

_AHEAD = 0.8  # of the time to live: when a refresh in the background begins
_RETRY = 5.0  # seconds between attempts while the store or the KMS is unreachable
_FORCED = 1.0  # seconds between reads that an unknown key id forces, and between attempts after a refusal
_JITTER = 0.1  # of cache_ttl, so that a fleet does not ask the KMS all at once


class Live(Secretive):
    """All that a keyring knows at one moment. ``keys`` fills up as ids are met; ``attention_at`` says when to look again."""

    __slots__ = ("attention_at", "checked_at", "failing", "keys", "opened", "opened_at", "primary", "stop_at", "ttl")

    def __init__(
        self, opened: Opened, *, keys: dict[bytes, RecordKey], primary: RecordKey, checked_at: float, opened_at: float, ttl: float
    ) -> None:
        self.opened: Opened = opened
        self.keys: dict[bytes, RecordKey] = keys
        self.primary: RecordKey = primary
        self.checked_at: float = checked_at
        self.opened_at: float = opened_at
        self.ttl: float = ttl
        self.stop_at: int | None = opened.document.primary.not_after
        self.failing: bool = False
        self.attention_at: float = 0.0


class LiveCache(Secretive):
    """The current `Live` of one keyring, and all that replaces it."""

    __slots__ = ("_failure", "_forced_at", "_lock", "_monotonic", "_path", "_pending", "_process", "_source", "live", "trust")

    def __init__(self, path: str, source: StoreSource, trust: Trust) -> None:
        self.live: Live | None = None
        self.trust: Trust = trust
        self._path = path
        self._source = source
        self._monotonic = source.clock.monotonic
        self._forced_at = -_FORCED
        self._failure: tuple[float, SecureKitError] | None = None
        self._pending = False
        self._lock = RLock()
        self._process = process.token

    def current(self) -> Live:
        """Return a state that is fresh enough to use."""
        live = self.live
        if live is None or self._monotonic() >= live.attention_at:
            live = self.freshen()
        return live

    def freshen(self) -> Live:
        """Return something fresh enough to use, at the moment when the current state asks for attention."""
        begin = self._monotonic()
        live = self.live
        if live is not None:
            due_at, dead_at = self._deadlines(live)
            if begin < due_at or (begin < dead_at and live.failing):
                return self._refresh_behind(live, due_at)
        with self._mutex():
            live = self.live
            if live is not None and self._monotonic() < live.attention_at:
                return live  # another thread did it while this one waited
            self._raise_recent_failure(begin)
            try:
                self.live = self._load(live, renew=False)
            except (KeyStoreUnavailableError, WrapperUnavailableError) as error:
                self.live = self._serve_stale(live, error)
            return self.live

    def update(self, change: Change) -> Live:
        """Change what is stored, and publish the result once it is durable."""
        with self._mutex():
            live = self.live
            try:
                opened = self._source.update(self._path, live.opened if live else None, self.trust, change)
            except SecureKitError:
                if live is not None:
                    live.attention_at = 0.0  # whatever was written, if anything: the next call looks
                raise
            now = self._monotonic()
            same = live is not None and opened.secret is live.opened.secret
            live = self._publishable(opened, live, checked_at=now, opened_at=live.opened_at if live and same else now)
            self.live = live
            return live

    def reread(self, key_id: str) -> Live:
        """Read the document once more because of an unknown key id; at most once per second."""
        with self._mutex():
            live = self.live
            now = self._monotonic()
            if now - self._forced_at >= _FORCED and (live is None or live.opened.document.key(key_id) is None):
                self._forced_at = now
                self.live = live = self._load(live, renew=False)
        return live or self.current()

    def is_fresh(self) -> bool:
        """Whether `current` would do no I/O."""
        return self.live is not None and self._monotonic() < self.live.attention_at

    def forget(self) -> None:
        """Drop what is known: the next call reads the document again."""
        with self._mutex():
            self.live = self._failure = None

    def refresh(self) -> None:
        """Read the document and ask the KMS now, whatever the age of what is known."""
        with self._mutex():
            self.live = self._load(self.live, renew=True)

    def _refresh_behind(self, live: Live, due_at: float) -> Live:
        """Serve what there is, and let the background thread refresh it, once."""
        self._mutex()  # a forked child has no thread at work yet, whatever its parent had
        if not self._pending:
            self._pending = True
            self._source.schedule(self._refresh_job)
        live.attention_at = self._monotonic() + _RETRY if live.failing else due_at
        return live

    def _refresh_job(self) -> None:
        with self._mutex():
            live = self.live
            try:
                if live is not None:
                    self.live = self._load(live, renew=False)
            except (KeyStoreUnavailableError, WrapperUnavailableError) as error:
                try:
                    self.live = self._serve_stale(live, error)
                except SecureKitError:
                    self.live = None  # dead: the next call asks again, and raises what it is told
            except SecureKitError:
                pass  # refused: _load emptied the cache, and the next call raises
            finally:
                self._pending = False

    def _load(self, known: Live | None, *, renew: bool) -> Live:
        """Read the document, and open it again if its secret is older than ``cache_ttl``. Holds the lock."""
        begin = self._monotonic()
        renew = renew or known is None or begin >= known.opened_at + known.ttl * _AHEAD
        try:
            opened = self._source.load(self._path, known.opened if known else None, self.trust, renew=renew)
        except (KeyStoreUnavailableError, WrapperUnavailableError) as error:
            self._failure = (self._monotonic(), error)
            raise
        except SecureKitError as error:
            self.live = None
            self._failure = (self._monotonic(), error)
            self._source.emit(Event(EventKind.REFUSED, self._path, detail=type(error).__name__))
            raise
        renewed = renew or known is None or opened.secret is not known.opened.secret
        if known is None:
            self._source.emit(Event(EventKind.LOADED, self._path, seconds=self._monotonic() - begin))
        else:
            detail = "changed" if opened.document.revision != known.opened.document.revision else "unchanged"
            self._source.emit(Event(EventKind.REFRESHED, self._path, detail=detail, seconds=self._monotonic() - begin))
        return self._publishable(opened, known, checked_at=begin, opened_at=begin if renewed or known is None else known.opened_at)

    def _publishable(self, opened: Opened, known: Live | None, *, checked_at: float, opened_at: float) -> Live:
        """Return a `Live` of ``opened``, with the keys that are known already: their heads and counts go on."""
        document = opened.document
        usable = {bytes.fromhex(key.id) for key in document.keys if key.state in {KeyState.PRIMARY, KeyState.ACTIVE}}
        met = known.keys.copy() if known else {}  # copied in one step: other threads go on adding to it
        keys = {key_id: key for key_id, key in met.items() if key_id in usable}
        primary = keys.get(bytes.fromhex(document.primary.id)) or unseal(opened, document.primary)
        keys[primary.header[1:]] = primary
        ttl = self._source.cache_ttl * (1 - _JITTER * random_bytes(1)[0] / 255)
        if getattr(opened.wrapper, "depth", 0):
            ttl = min(ttl, self._refresh_period(document))  # the keyring above is in memory: a look costs nothing
        live = Live(opened, keys=keys, primary=primary, checked_at=checked_at, opened_at=opened_at, ttl=ttl)
        live.attention_at = min(checked_at + self._refresh_period(document) * _AHEAD, opened_at + ttl * _AHEAD)
        self._source.floors[self._path] = document.revision
        self._failure = None
        return live

    def _serve_stale(self, live: Live | None, error: SecureKitError) -> Live:
        """Return ``live`` for a while longer, because the answer was not no: there was none."""
        now = self._monotonic()
        if live is None or now >= self._deadlines(live)[1]:
            self.live = None
            raise error
        live.failing = True
        live.attention_at = now + min(_RETRY, self._refresh_period(live.opened.document))
        self._source.emit(
            Event(EventKind.STALE, self._path, detail=type(error).__name__, seconds=now - min(live.checked_at, live.opened_at))
        )
        return live

    def _deadlines(self, live: Live) -> tuple[float, float]:
        """Return when ``live`` must be refreshed before use, and when it may not be used even if that fails."""
        document = live.opened.document
        due_at = min(live.checked_at + self._refresh_period(document), live.opened_at + live.ttl)
        stale = min(self._source.stale_if_error, document.stale_if_error)
        return due_at, max(due_at, min(live.checked_at, live.opened_at) + stale)

    def _refresh_period(self, document: KeyringDocument) -> float:
        return min(self._source.refresh, document.refresh)

    def _raise_recent_failure(self, begin: float) -> None:
        """Do not ask again what was answered while this thread waited, or less than a second ago."""
        if self._failure is not None and self._failure[0] > begin - (
            _FORCED if self.live is None and self._path in self._source.floors else 0
        ):
            error = self._failure[1]
            raise DecryptionError if isinstance(error, DecryptionError) else type(error)(*error.args)

    def _mutex(self) -> AbstractContextManager[object]:
        """Return the lock of this process: a lock held by another thread at the moment of a fork stays locked in the child.

        It may be taken again by whoever holds it, so that a hook may use the keyring that it is told of, and a keyring
        that stands above itself is found out.
        """
        if self._process is not process.token:
            self._lock, self._pending, self._process = RLock(), False, process.token
        return self._lock


def unseal(opened: Opened, version: KeyVersion) -> RecordKey:
    """Return the key of a version that is not destroyed, ready for use."""
    sealed = cast("bytes", version.sealed)  # the document's decoder lets only destroyed keys be empty
    return RecordKey(opened.secret.open_key(opened.document, version.id, sealed), path=opened.document.path, key_id=version.id)
