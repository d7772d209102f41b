# SPDX-License-Identifier: Apache-2.0
"""Records move to the primary key of their keyring: decrypted and encrypted in memory, and put back if nobody else was faster.

A record is replaced only by a record of the same plaintext, context and keyring, which was decrypted again before it was
written; and only as the rules of `work_at` say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from securekit.exceptions import (
    FormatError,
    KeyStoreUnavailableError,
    RotationError,
    SecureKitError,
    WrapperUnavailableError,
)
from securekit.keyring import KeyState, from_text, to_text
from securekit.keyring._clock import moment
from securekit.keyring._record import OVERHEAD, check_record
from securekit.keyring._stored import RECORD_PREFIX_SIZE, CountingSource, StoredItem
from securekit.keyring._survey import survey
from securekit.wrappers._recipients import name_of

from ._job import Outcome, Sighting, Tally
from ._places import Settled, walk, work_at

if TYPE_CHECKING:
    from securekit.keyring import Keyring, KeyStore
    from securekit.keyring._document import KeyringDocument
    from securekit.keyring._stored import Group, Source

    from ._job import Kind
    from ._places import Change

__all__ = ["RecordsJob"]

_Met = tuple[StoredItem, bytes]  # an item, and its record
_Counted = tuple[str, str, str, int, int]  # keyring, key id, fault, items, size

_PAGE = 500  # places that are read at a time to count them
_MAX_CURRENT = 500  # key ids that a source is asked to leave out


class RecordsJob:
    """The records of a source, and the store with their keyrings."""

    kind: Kind = "re-encrypt"

    def __init__(self, source: Source, store: KeyStore) -> None:
        self._source = source
        self._store = store
        self._targets: dict[str, str] = {}
        self._met: dict[str, str] = {}
        self._current: frozenset[str] = frozenset()
        self._lock = Lock()

    @property
    def identity(self) -> str:
        """The source's."""
        return self._source.identity

    @property
    def settings(self) -> Mapping[str, object]:
        """Nothing beside the primaries."""
        return {}

    def tallies(self) -> Iterator[Tally]:
        """Count the records by key: by the source itself if it can, else by reading all of them."""
        groups = self._groups()
        yield from self._tallies(self._read() if groups is None else _of_groups(groups))

    def _tallies(self, counted: Iterable[_Counted]) -> Iterator[Tally]:
        groups: dict[tuple[str, str, str], list[int]] = {}
        for keyring, key_id, fault, items, size in counted:
            counts = groups.setdefault((keyring, key_id, fault), [0, 0])
            counts[0] += items
            counts[1] += size
        documents = dict(survey(self._store, {keyring for keyring, _, fault in groups if not fault}))
        self._met = {path: _target(found) for path, found in documents.items() if not isinstance(found, str)}
        for (keyring, key_id, fault), (items, size) in sorted(groups.items()):
            yield _tally(keyring, key_id, fault or documents[keyring], items, size)

    def targets(self) -> dict[str, str]:
        """Return the primaries of the keyrings that `tallies` met."""
        return dict(self._met)

    def aim(self, targets: Mapping[str, str]) -> None:
        """Re-encrypt under these primaries."""
        self._targets = dict(targets)
        ids = frozenset(target.rpartition("@")[2] for target in targets.values())
        self._current = ids if len(ids) <= _MAX_CURRENT else frozenset()

    def places(self, after: str, limit: int) -> list[str]:
        """Return the next places, without those that the source knows to be current.

        A record of one keyring whose key id is by chance that of another one's primary would be left out, too: `left` counts it,
        and the next round leaves nothing out.
        """
        return self._source.places(after, limit, current=self._current)

    def all_places(self, after: str, limit: int) -> list[str]:
        """Return the next places."""
        return self._source.places(after, limit)

    def left(self) -> int | None:
        """Count the records that are not under the primaries, if the source counts by itself."""
        groups = self._groups()
        if groups is None:
            return None
        self._current = frozenset()
        return sum(tally.items for tally in self._tallies(_of_groups(groups)) if tally.action)

    def work(self, places: Sequence[str]) -> Outcome:
        """Re-encrypt what is at ``places``."""
        return work_at(self._source, places, self._changes, self.look)

    def look(self, places: Sequence[str]) -> Iterator[Sighting]:
        """Decrypt what is at ``places``."""
        by_ring: dict[str, list[_Met]] = {}
        for item in self._source.read(places):
            try:
                record = _checked(item)
            except FormatError as error:
                yield _failed(item, error)
            else:
                by_ring.setdefault(item.keyring, []).append((item, record))
        for path, met in by_ring.items():
            try:
                ring = self._store.keyring(path)
                results = ring.decrypt_many(((record, item.context or {}) for item, record in met), errors="return")
            except (KeyStoreUnavailableError, WrapperUnavailableError):
                raise
            except SecureKitError as error:
                results = [error] * len(met)
            for (item, _), result in zip(met, results, strict=True):
                yield _failed(item, result) if isinstance(result, SecureKitError) else Sighting(item.name, key_of(item))

    def _groups(self) -> Iterable[Group] | None:
        return self._source.groups() if isinstance(self._source, CountingSource) else None

    def _read(self) -> Iterator[_Counted]:
        """Yield the keyring, key id, fault, number and size of each item, by reading all of them."""
        for places in walk(self._source.places, _PAGE):
            for item in self._source.read(places):
                key_id, fault = _key_id_of(item.data, item.fault)
                yield item.keyring, key_id, fault, 1, len(item.data)

    def _changes(self, items: Sequence[StoredItem], settled: Settled) -> list[Change]:
        """Return the new record of each item that needs one."""
        by_ring: dict[str, list[_Met]] = {}
        for item in items:
            try:
                record = _checked(item)
            except FormatError as error:
                settled.fail(item, error)
            else:
                by_ring.setdefault(item.keyring, []).append((item, record))
        changes: list[Change] = []
        for path, met in by_ring.items():
            try:
                changes += self._of_keyring(path, met, settled)
            except (KeyStoreUnavailableError, WrapperUnavailableError, RotationError):
                raise
            except SecureKitError as error:
                for item, _ in met:
                    settled.fail(item, error)
        return changes

    def _of_keyring(self, path: str, met: Sequence[_Met], settled: Settled) -> list[Change]:
        ring, primary = self._aimed(path)
        begin = b"\x01" + bytes.fromhex(primary)
        due: list[_Met] = []
        for item, record in met:
            if record.startswith(begin):
                settled.keep(item)
            else:
                due.append((item, record))
        opened: list[tuple[StoredItem, bytes]] = []
        results = ring.decrypt_many(((record, item.context or {}) for item, record in due), errors="return")
        for (item, _), result in zip(due, results, strict=True):
            if isinstance(result, SecureKitError):
                settled.fail(item, result)
            else:
                opened.append((item, result))
        if not opened:
            return []
        again: list[bytes] = []
        try:
            records = ring.encrypt_many((plaintext, item.context or {}) for item, plaintext in opened)
            again = ring.decrypt_many((record, item.context or {}) for record, (item, _) in zip(records, opened, strict=True))
        except SecureKitError:
            del opened, results, result, again  # error trackers show the variables of a frame that raises
            raise
        if [plaintext for _, plaintext in opened] != again or not all(record.startswith(begin) for record in records):
            del opened, results, result, again
            message = f"{path} was rotated while records moved to {primary}: make a new plan"
            raise RotationError(message)
        moved = zip((item for item, _ in opened), records, strict=True)
        return [(item, to_text(record) if isinstance(item.data, str) else record) for item, record in moved]

    def _aimed(self, path: str) -> tuple[Keyring, str]:
        """Return the keyring of ``path`` and its primary's id, which is the one that was planned.

        Raises:
            securekit.exceptions.RotationError: It is another one.
        """
        ring = self._store.keyring(path)
        found = f"{ring.id}@{ring.primary().id}"
        with self._lock:
            wanted = self._targets.setdefault(path, found)  # a keyring made since: its records are current
        if found != wanted:
            ring.refresh()
            found = f"{ring.id}@{ring.primary().id}"
        if found != wanted:
            ids = f"{found.rpartition('@')[2]}, planned {wanted.rpartition('@')[2]}"
            message = f"{path} has another primary key than the plan ({ids}): make a new plan"
            raise RotationError(message)
        return ring, wanted.rpartition("@")[2]


def key_of(item: StoredItem) -> tuple[str, ...]:
    """Return the full name of the key that a record names."""
    return (f"{item.keyring}@{check_record(_record(item.data))}",)


def _checked(item: StoredItem) -> bytes:
    """Return the record of an item.

    Raises:
        securekit.exceptions.FormatError: It is none, or the item is one that cannot be handled.
    """
    if item.fault:
        raise FormatError(item.fault)
    record = _record(item.data)
    check_record(record)
    return record


def _record(data: bytes | str) -> bytes:
    return from_text(data) if isinstance(data, str) else data


def _failed(item: StoredItem, error: SecureKitError) -> Sighting:
    outcome = Outcome()
    outcome.fail(item.name, error)
    try:
        keys = key_of(item) if item.keyring else ()
    except FormatError:
        keys = ()
    return Sighting(item.name, keys, outcome.failures[0])


def _of_groups(groups: Iterable[Group]) -> Iterator[_Counted]:
    for group in groups:
        prefix = group.prefix
        # 11 characters: the last of them has two bits of what follows, which one more makes a whole number of bytes.
        data = f"{prefix}A{'A' * 96}" if isinstance(prefix, str) else prefix + bytes(OVERHEAD - RECORD_PREFIX_SIZE)
        key_id, fault = _key_id_of(data, group.fault)
        yield group.keyring, key_id, fault, group.items, group.size


def _key_id_of(data: bytes | str, fault: str) -> tuple[str, str]:
    """Return the key id that a record names, or why it names none."""
    if not fault:
        try:
            return check_record(_record(data)), ""
        except FormatError as error:
            fault = str(error)
    return "", fault


def _target(document: KeyringDocument) -> str:
    return f"{document.id.hex()}@{document.primary.id}"


def _tally(keyring: str, key_id: str, found: KeyringDocument | str, items: int, size: int) -> Tally:
    keys = (f"{keyring}@{key_id}",) if keyring and key_id else ()
    if isinstance(found, str):
        return Tally(keys, items, size, fault=found)
    version = found.key(key_id)
    if version is None:
        return Tally(keys, items, size, fault=f"{keyring} has no key {key_id}")
    fault = (
        f"{keyring}@{key_id} is {version.state}, and does not decrypt" if version.state in {KeyState.DISABLED, KeyState.DESTROYED} else ""
    )
    return Tally(
        keys,
        items,
        size,
        action="" if version.state is KeyState.PRIMARY or fault else "re-encrypt",
        state=version.state.value,
        created=moment(version.created),
        wrapped_to=tuple(name_of(wrapped) for wrapped in found.recipients),
        fault=fault,
    )
