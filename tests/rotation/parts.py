# SPDX-License-Identifier: Apache-2.0
"""What tests of rotation are made of: a table in memory that others write to, and keyrings for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock

from securekit.exceptions import FormatError
from securekit.keyring import Keyring, KeyStore, StoredItem
from securekit.keyring._stored import TEXT_PREFIX_SIZE, Content, Group

__all__ = ["PATH", "CountingTable", "SharedTable", "Table", "UncountedTable", "context", "filled"]

PATH = "eu/acme/customers"


def context(place: str) -> dict[str, str]:
    """Return the context of a row."""
    return {"table": "customers", "id": place}


class Table:
    """Rows of ciphertexts in memory, by their places, as a source of rotation.

    Attributes:
        rows: The ciphertexts.
        before_replace: Called before each replacement: what an application does in between.
        reads: How many places were read.
    """

    identity = "memory customers"

    def __init__(
        self, rows: Mapping[str, bytes | str], *, content: Content = "records", keyring: Callable[[str], str] = lambda _: PATH
    ) -> None:
        self.rows: dict[str, bytes | str] = dict(rows)
        self.content: Content = content
        self.before_replace: Callable[[StoredItem], object] = lambda _: None
        self.reads = 0
        self.lock = RLock()
        self._keyring = keyring

    def places(self, after: str, limit: int, *, current: frozenset[str] = frozenset()) -> list[str]:
        with self.lock:
            return [place for place in sorted(self.rows) if place > after][:limit]

    def read(self, places: Sequence[str]) -> list[StoredItem]:
        with self.lock:
            self.reads += len(places)
            return [self.item(place) for place in places if place in self.rows]

    def item(self, place: str) -> StoredItem:
        fault = "its account is NULL" if place.endswith("-faulty") else ""
        return StoredItem(f"customers {place}", self.rows[place], self._keyring(place), context(place), fault, place)

    def replace(self, changes: Sequence[tuple[StoredItem, bytes | str]]) -> list[bool]:
        done = []
        for item, new in changes:
            self.before_replace(item)
            with self.lock:
                done.append(self.rows.get(item.place) == item.data)
                if done[-1]:
                    self.rows[item.place] = new
        return done


class CountingTable(Table):
    """A table that counts by itself, and leaves out what is current."""

    def places(self, after: str, limit: int, *, current: frozenset[str] = frozenset()) -> list[str]:
        with self.lock:
            places = [place for place in sorted(self.rows) if place > after]
            return [place for place in places if _key_id(self.rows[place]) not in current][:limit]

    def groups(self) -> list[Group]:
        counts: Counter[tuple[str, bytes | str, str]] = Counter()
        sizes: Counter[tuple[str, bytes | str, str]] = Counter()
        with self.lock:
            for place, data in self.rows.items():
                item = self.item(place)
                group = (item.keyring, data[: TEXT_PREFIX_SIZE if isinstance(data, str) else 5], item.fault)
                counts[group] += 1
                sizes[group] += len(data)
        return [Group(keyring, prefix, items, sizes[keyring, prefix, fault], fault) for (keyring, prefix, fault), items in counts.items()]


class SharedTable(CountingTable):
    """A table whose places can be claimed.

    Attributes:
        claimed: The places that a worker holds.
    """

    def __init__(self, rows: Mapping[str, bytes | str]) -> None:
        super().__init__(rows)
        self.claimed: set[str] = set()

    @contextmanager
    def claim(self, places: Sequence[str]) -> Iterator[Claimed]:
        with self.lock:
            free = [place for place in places if place not in self.claimed]
            self.claimed.update(free)
        try:
            yield Claimed(self, self.read(free))
        finally:
            with self.lock:
                self.claimed.difference_update(free)


class UncountedTable(SharedTable):
    """A table whose places can be claimed, and that cannot count by itself."""

    def groups(self) -> None:  # type: ignore[override]
        return None


class Claimed:
    def __init__(self, table: Table, items: list[StoredItem]) -> None:
        self.items = items
        self.replace = table.replace


def filled(ring: Keyring, count: int, *, text: bool = False) -> dict[str, bytes | str]:
    """Return rows of records, each of which holds its own place."""
    places = [f"{number:06}" for number in range(count)]
    if text:
        return {place: ring.encrypt_text(place, context=context(place)) for place in places}
    return {place: ring.encrypt(place.encode(), context=context(place)) for place in places}


def opens(table: Table, store: KeyStore) -> bool:
    """Whether every row that is no fault opens, and holds its place."""
    for place in table.rows:
        item = table.item(place)
        ring = store.keyring(item.keyring)
        if isinstance(item.data, str):
            held = ring.decrypt_text(item.data, context=context(place))
        else:
            held = ring.decrypt(item.data, context=context(place)).decode()
        if held.partition("!")[0] != place:
            return False
    return True


def _key_id(data: bytes | str) -> str:
    from securekit.keyring import inspect

    try:
        return inspect(data).key_id or ""
    except FormatError:
        return ""
