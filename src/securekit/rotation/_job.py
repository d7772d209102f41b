# SPDX-License-Identifier: Apache-2.0
"""What is to be rotated, as the engine sees it: places in a fixed order, and work at them that may be done twice.

A job is a source together with what its bytes mean. `work` is safe to repeat and to interrupt: what it has done is durable,
what it has not done is as it was, and done again it finds that nothing is left to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

__all__ = ["Failure", "Job", "Kind", "Outcome", "Sighting", "Tally", "spellings"]

Kind = Literal["rewrap", "re-encrypt"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be handled, and is as it was.

    Attributes:
        item: Its name in the source.
        error: The name of the exception's class.
        reason: Why, without anything secret.
    """

    item: str
    error: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """What became of a batch.

    Attributes:
        examined: Items that were looked at.
        changed: Items that were written, and read back.
        current: Items that needed nothing.
        busy: Items that others changed or held again and again, and that are left for later.
        size: Bytes of ciphertext that were looked at.
        failures: Items that could not be handled.
    """

    examined: int = 0
    changed: int = 0
    current: int = 0
    busy: int = 0
    size: int = 0
    failures: list[Failure] = field(default_factory=list)

    def fail(self, item: str, error: Exception) -> None:
        """Note that ``item`` could not be handled."""
        self.failures.append(Failure(item, type(error).__name__, str(error)))


@dataclass(frozen=True, slots=True)
class Tally:
    """Items of a source that are alike.

    Attributes:
        keys: The keys that open them, by their full names: ``path@id`` of data keys, ``local 0bac1fe1ddce8316`` of KEKs. Any one of
            several is enough.
        items: How many.
        size: Bytes of ciphertext, as far as they are known without reading it.
        action: What they need: ``"rewrap"``, ``"re-encrypt"``, or nothing.
        state: Of the one data key: ``"primary"``, ``"active"``, ``"disabled"``, ``"destroyed"``; empty for KEKs.
        created: When the one data key was made; None for KEKs.
        wrapped_to: The KEKs of the data key's keyring.
        fault: Why they cannot be handled; empty if they can.
    """

    keys: tuple[str, ...]
    items: int
    size: int = 0
    action: str = ""
    state: str = ""
    created: datetime | None = None
    wrapped_to: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One item, as a verification has read it.

    Attributes:
        item: Its name in the source.
        keys: The keys that it is encrypted under or wrapped to, as in `Tally`.
        failure: Why it does not open; None if it does.
    """

    item: str
    keys: tuple[str, ...]
    failure: Failure | None = None


class Job(Protocol):
    """A source, and what is to be done to its items.

    Attributes:
        kind: What the job does.
        identity: Names the source and what of it is meant; the same on every host.
        settings: What else the work depends on, such as the recipients; no secrets.
    """

    @property
    def kind(self) -> Kind:
        """What the job does."""

    @property
    def identity(self) -> str:
        """Names the source."""

    @property
    def settings(self) -> Mapping[str, object]:
        """What else the work depends on."""

    def tallies(self) -> Iterator[Tally]:
        """Count what is there, without any secret. Alike items may come in several tallies."""

    def targets(self) -> dict[str, str]:
        """Return, after `tallies`, the primary key of each keyring met: ``path`` to ``keyring id@key id``."""

    def aim(self, targets: Mapping[str, str]) -> None:
        """Work towards ``targets``, and towards nothing else."""

    def places(self, after: str, limit: int) -> list[str]:
        """Return the next places behind ``after``, those left out where it is known that nothing is to be done."""

    def work(self, places: Sequence[str]) -> Outcome:
        """Do what is to be done at ``places``, durably."""

    def look(self, places: Sequence[str]) -> Iterator[Sighting]:
        """Read what is at ``places``, and prove that it opens."""

    def all_places(self, after: str, limit: int) -> list[str]:
        """Return the next places behind ``after``; none is left out."""

    def left(self) -> int | None:
        """Count again what is to be done, if that is cheap; else None."""


def spellings(name: str) -> frozenset[str]:
    """Return what people call a key: its full name, a KEK's without the wrapper or the version, and its reference alone."""
    names = {name, re.sub(r" v[0-9]{1,9}$", "", name)}
    return frozenset(names | {one.partition(" ")[2] for one in names} - {""})
