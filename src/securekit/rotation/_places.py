# SPDX-License-Identifier: Apache-2.0
"""Ciphertexts in a source are replaced where nobody else was faster.

RULES of this file:

1. An item is replaced only if it is still what was read. What an application writes meanwhile is read again, never overwritten.
2. What was written is read back after it is durable. Only then it counts as changed. If something else is there, which does not open,
   everything stops: a place that mangles what it is given would lose one item after the other.
3. An item that cannot be handled is left as it is, and named. It stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from securekit.exceptions import RotationError
from securekit.keyring._stored import ClaimingSource, RereadingSource, StoredItem

from ._job import Outcome, Sighting

if TYPE_CHECKING:
    from securekit.keyring._stored import Claim, Source

__all__ = ["Change", "Replace", "Settled", "walk", "work_at"]

Change = tuple[StoredItem, "bytes | str"]
"""An item, and the ciphertext that is to take its place."""

_ATTEMPTS = 5  # at an item that others change meanwhile


class Settled:
    """What has become of a batch so far: its outcome, and the names of items that were changed or have failed."""

    def __init__(self) -> None:
        self.outcome = Outcome()
        self._names: set[str] = set()

    def fail(self, item: StoredItem, error: Exception) -> None:
        """Note that an item cannot be handled."""
        self._names.add(item.name)
        self.outcome.fail(item.name, error)

    def keep(self, item: StoredItem) -> None:
        """Note that an item needs nothing."""
        self.outcome.current += item.name not in self._names

    def change(self, item: StoredItem) -> None:
        """Note that an item was written, and read back."""
        self.outcome.changed += item.name not in self._names
        self._names.add(item.name)


Replace = Callable[[Sequence[StoredItem], Settled], list[Change]]
"""Returns what is to be replaced; notes what fails and what needs nothing."""


Look = Callable[[Sequence[str]], Iterator[Sighting]]
"""Opens what is at places."""


def walk(places: Callable[[str, int], list[str]], size: int, *, after: str = "") -> Iterator[list[str]]:
    """Yield all places behind ``after``, at most ``size`` at a time.

    Raises:
        securekit.exceptions.RotationError: They do not go on.
    """
    while found := places(after, size):
        if found[-1] in {"", after}:
            message = f"the source gives the place {found[-1]!r} again behind {after!r}: it would never end"
            raise RotationError(message)
        after = found[-1]
        yield found


def work_at(source: Source, places: Sequence[str], replace: Replace, look: Look) -> Outcome:
    """Replace what is at ``places``, as the rules say.

    Raises:
        securekit.exceptions.RotationError: What was written became something else.
    """
    settled = Settled()
    outcome = settled.outcome
    rest: Sequence[str] = places
    for attempt in range(_ATTEMPTS):
        with _claimed(source, rest) as claim:
            if attempt == 0:
                outcome.examined = len(claim.items)
                outcome.size = sum(len(item.data) for item in claim.items)
            seen = {item.place for item in claim.items}
            changes = replace(claim.items, settled)
            written = claim.replace(changes) if changes else []
        if locked := [place for place in rest if place not in seen]:
            outcome.busy += len(source.read(locked))  # none, if they are gone
        rest = _read_back(source, changes, written, settled, look)
        if not rest:
            return outcome
    outcome.busy += len(rest)
    return outcome


def _read_back(source: Source, changes: Sequence[Change], written: Sequence[bool], settled: Settled, look: Look) -> list[str]:
    """Note what is found changed. Return the places that others have written to meanwhile, to go to once more."""
    if not changes:
        return []
    again: dict[str, None] = {}
    others: dict[str, str] = {}
    for (item, new), done, found in zip(changes, written, _reread(source, [item for item, _ in changes]), strict=True):
        if done and found != item.data:
            settled.change(item)
        if found not in {None, new}:
            again[item.place] = None
        if done and found not in {None, new, item.data} and item.context is not None:
            others[item.name] = item.place
    if others:
        _check_others(others, look)
    return list(again)


def _reread(source: Source, items: Sequence[StoredItem]) -> list[bytes | str | None]:
    if isinstance(source, RereadingSource):
        return source.reread(items)
    there = {item.name: item.data for item in source.read(list(dict.fromkeys(item.place for item in items)))}
    return [there.get(item.name) for item in items]


def _check_others(others: Mapping[str, str], look: Look) -> None:
    """Check that what is found in the place of what was written was written by somebody who can."""
    for sighting in look(list(dict.fromkeys(others.values()))):
        if sighting.failure is not None and sighting.item in others:
            message = (
                f"{sighting.item} was written, and what is there now does not open ({sighting.failure.reason}): nothing more is written."
                " See whether the place keeps what it is given, and restore the items of this batch"
            )
            raise RotationError(message)


@contextmanager
def _claimed(source: Source, places: Sequence[str]) -> Iterator[Claim]:
    """Lock what is at ``places``, where the source can; compare-and-swap decides where it cannot."""
    if isinstance(source, ClaimingSource):
        with source.claim(places) as claim:
            yield claim
        return
    yield _Unlocked(source, source.read(places))


class _Unlocked:
    """What is at places that cannot be locked."""

    def __init__(self, source: Source, items: Sequence[StoredItem]) -> None:
        self.items = items
        self.replace = source.replace
