# SPDX-License-Identifier: Apache-2.0
"""The proof that a key is not needed any more: everything is read again, opened, and counted by the keys that it needs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from securekit.exceptions import RotationError
from securekit.keyring import KeyStore

from ._engine import Patience, SideBySide
from ._job import Failure, spellings
from ._journal import MAX_FAILURES, whoami
from ._keyrings import Keyrings
from ._places import walk
from ._plan import job_of

if TYPE_CHECKING:
    from securekit.envelope import Envelope

    from ._job import Job, Sighting
    from ._plan import AnySource

__all__ = ["FORMAT", "Verification", "verify"]

FORMAT = "securekit/rotation-verification/1"
_BATCH = 500  # places


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found when everything was read.

    Attributes:
        sources: What was read.
        began: When the reading began, in seconds since 1970: what was written before is counted.
        ended: When it ended.
        by: User and host.
        items: How many items there are.
        counts: How many items are encrypted under, or wrapped to, each key, by its full name.
        failed: How many items do not open.
        failures: The first 1,000 of them.
        unknown: How many of those do not even say which key they need.
        astray: How many of those name each key. If a source is described wrongly, or a row has come from elsewhere, it is the key of that
            id of another keyring that they need.
    """

    sources: tuple[str, ...]
    began: float
    ended: float
    by: str
    items: int
    counts: Mapping[str, int]
    failed: int
    failures: tuple[Failure, ...]
    unknown: int
    astray: Mapping[str, int] = field(default_factory=dict)

    def needs(self, key: str) -> int:
        """Return how many items need ``key``: 0 says that nothing known does.

        An item that is wrapped to several KEKs counts for each of them, though any one of them opens it. An item that does not open counts
        for every data key of the id that it names, whatever its keyring is said to be.

        Args:
            key: The full name of a data key, ``path@id``; or of a KEK, such as ``local 0bac1fe1ddce8316`` and
                ``vault-transit transit/app v3``, or its reference alone. Without its version, a Transit key counts with all versions.

        Raises:
            securekit.exceptions.RotationError: Some items could not be read, and nobody knows which key they need.
        """
        if self.unknown:
            first = next((failure for failure in self.failures), None)
            example = f", such as {first.item}: {first.reason}" if first else ""
            message = f"{self.unknown} items do not say which key they need{example}; repair or remove them, and verify again"
            raise RotationError(message)
        return self.known(key)

    def known(self, key: str) -> int:
        """Return how many items are known to need ``key``, whatever else there is."""
        found = sum(count for name, count in self.counts.items() if key in spellings(name))
        at = key.rpartition("@")[1:]
        return found + sum(count for name, count in self.astray.items() if name != key and at[0] and name.rpartition("@")[1:] == at)

    def to_json(self) -> dict[str, Any]:
        """Return the verification for machines: no secrets."""
        return {
            "format": FORMAT,
            "sources": list(self.sources),
            "began": _moment(self.began),
            "ended": _moment(self.ended),
            "by": self.by,
            "items": self.items,
            "counts": dict(sorted(self.counts.items())),
            "failed": self.failed,
            "unknown": self.unknown,
            "astray": dict(sorted(self.astray.items())),
            "failures": [{"item": one.item, "error": one.error, "reason": one.reason} for one in self.failures],
        }


def verify(
    source: AnySource | Iterable[AnySource],
    *,
    store: KeyStore | None = None,
    envelope: Envelope | None = None,
    workers: int = 1,
    patience: float = 600,
    progress: Callable[[int], object] | None = None,
    clock: Callable[[], float] = time.time,
) -> Verification:
    """Read everything, prove that it opens, and count which keys it needs. Nothing is changed, and nothing that is locked is skipped.

    The keyrings of ``store`` are read as well: one may be wrapped under a key of another.

    Args:
        source: One source, or several.
        store: Where the keyrings of records are.
        envelope: What opens sealed messages and files.
        workers: Threads that work side by side.
        patience: Seconds for which what cannot be reached is tried again.
        progress: Called with the number of items after every batch.
        clock: Seconds since 1970, for tests.

    Raises:
        securekit.exceptions.SecureKitError, OSError: The store, the KMS or a source refuses, or could not be reached for too long.
    """
    several: list[AnySource] = list(source) if isinstance(source, list | tuple) else [source]  # type: ignore[list-item]
    jobs = [job_of(one, store=None if isinstance(one, KeyStore | Keyrings) else store, envelope=envelope) for one in several]
    if store is not None and not any(isinstance(one, KeyStore) and one is store for one in several):
        jobs.append(job_of(store))
    return verify_jobs(jobs, workers=workers, patience=patience, progress=progress, clock=clock)


def verify_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    patience: float = 600,
    progress: Callable[[int], object] | None = None,
    clock: Callable[[], float] = time.time,
) -> Verification:
    """Do `verify` for jobs."""
    began = clock()
    counts: Counter[str] = Counter()
    astray: Counter[str] = Counter()
    failures: list[Failure] = []
    items = failed = unknown = 0
    stopping = threading.Event()
    keeper = Patience(patience, stopping)
    for job in jobs:

        def next_places(after: str, size: int, job: Job = job) -> list[str]:
            return keeper.keep(partial(job.all_places, after, size))

        def look(places: list[str], job: Job = job) -> list[Sighting]:
            return keeper.keep(lambda: list(job.look(places)))

        with SideBySide(walk(next_places, _BATCH), look, workers) as work, _ends(stopping):
            for _, sightings in work:
                for sighting in sightings:
                    counts.update(set(sighting.keys))
                    if sighting.failure is not None:
                        failed += 1
                        unknown += not sighting.keys
                        astray.update(set(sighting.keys))
                        if len(failures) < MAX_FAILURES:
                            failures.append(sighting.failure)
                items += len(sightings)
                if progress is not None:
                    progress(len(sightings))
    return Verification(
        sources=tuple(job.identity for job in jobs),
        began=began,
        ended=clock(),
        by=whoami(),
        items=items,
        counts=dict(counts),
        failed=failed,
        failures=tuple(failures),
        unknown=unknown,
        astray=dict(astray),
    )


@contextmanager
def _ends(stopping: threading.Event) -> Iterator[None]:
    """Let nobody wait for what cannot be reached, when an error or an interrupt ends the work."""
    try:
        yield
    except BaseException:
        stopping.set()
        raise


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
