# SPDX-License-Identifier: Apache-2.0
"""Runs a plan: batch by batch, in bounded memory, resumable at any moment.

RULES of this file:

1. Batches may be worked at side by side; the journal moves on in their order, and only past what is done.
2. What cannot be reached now is tried again, with growing pauses, for ``patience`` seconds without any success. What is refused is final.
3. A round ends at the end of the source. Another one follows while something is left to do that did not fail, and rounds help.
4. Stopping, by a signal or an event, lets the batches that are begun come to their end, and notes them.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from securekit.exceptions import KeyStoreUnavailableError, WrapperUnavailableError

from ._journal import Journal
from ._places import walk
from ._report import Report

if TYPE_CHECKING:
    import os

    from ._job import Outcome
    from ._plan import Plan

__all__ = ["Pace", "Patience", "RunProgress", "SideBySide", "Stopped", "run"]

BATCH = 500  # places
_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 30.0  # seconds
_MAX_ROUNDS = 100
_UNREACHABLE = (ConnectionError, TimeoutError, KeyStoreUnavailableError, WrapperUnavailableError)

T = TypeVar("T")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is; printed, it is a line for people.

    Attributes:
        examined: Items that were looked at in this attempt.
        changed: Items that were changed in this attempt.
        failed: Items that failed in this attempt.
        total: Items that needed something when the plan was made.
        seconds: Since this attempt began.
    """

    examined: int
    changed: int
    failed: int
    total: int
    seconds: float

    def __str__(self) -> str:
        """Say it in one line."""
        rate = self.changed / self.seconds if self.seconds else 0.0
        left = f", {max(self.total - self.changed, 0) / rate:,.0f} s left" if rate else ""
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.changed:,} of {self.total:,} changed{failed}, {rate:,.0f}/s{left}"


def run(
    plan: Plan,
    *,
    journal: str | os.PathLike[str],
    workers: int = 1,
    batch: int = BATCH,
    items_per_second: float | None = None,
    bytes_per_second: float | None = None,
    patience: float = 600,
    progress: Callable[[RunProgress], object] | None = None,
    stop: threading.Event | None = None,
) -> Report:
    """Do what is planned. Killed at any moment, it goes on when it is called again with the same journal.

    Several runs over one source, on several hosts, each with a journal of its own, are safe together; where the source can be
    locked, as PostgreSQL can, they share the work.

    Args:
        plan: What is to be done. It may have been made anew: the journal tells whether it is the same.
        journal: The file that holds how far the run is; made if it is not there. One per run.
        workers: Threads that work side by side.
        batch: How many places are worked at, and checked off, at a time.
        items_per_second: No more than so many places per second, on average.
        bytes_per_second: No more than so many bytes of ciphertext per second, on average.
        patience: Seconds for which what cannot be reached (database, KMS, keystore) is tried again, before the run gives up.
        progress: Called after every batch with a `RunProgress`, such as ``print``.
        stop: Ends the run after the batches that are begun, when it is set. A `KeyboardInterrupt` does the same, and is raised then.

    Returns:
        What was done over all attempts; its ``state`` says whether it is finished.

    Raises:
        securekit.exceptions.RotationError: The journal is another plan's, another process's, damaged, or cannot be written; or a
            keyring was rotated meanwhile. What was done stands.
        securekit.exceptions.SecureKitError, OSError: The store, the KMS or the source refuses, or could not be reached for too long.
    """
    if workers < 1 or batch < 1:
        message = "workers and batch are 1 at least"
        raise ValueError(message)
    stopping = stop or threading.Event()
    with Journal(journal, plan.identity()) as log:
        plan.job.aim(log.plan["targets"])
        log.begin(_now())
        pace = Pace(items_per_second, bytes_per_second, stopping)
        engine = _Engine(plan, log, patience=Patience(patience, stopping), pace=pace, watch=_Watch(plan, progress), stopping=stopping)
        with suppress(Stopped):
            engine.run(workers, batch)
        state = "finished" if log.progress.finished else "stopped"
        return Report.of_run(plan, log, state=state)


class Stopped(Exception):  # noqa: N818 - it is no error
    """Somebody asked for the end while something could not be reached."""


class Patience:
    """Tries again what cannot be reached now: for ``seconds`` in which nothing succeeds, by whatever thread.

    Args:
        seconds: How long.
        stopping: Ends the waiting.
    """

    def __init__(self, seconds: float, stopping: threading.Event) -> None:
        self._seconds = seconds
        self._stopping = stopping
        self._well_at = time.monotonic()

    def keep(self, work: Callable[[], T]) -> T:
        """Return what ``work``, which may be repeated, returns in the end.

        Raises:
            Exception: What it raises, if that is final, or has been going on for too long.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                result = work()
            except _UNREACHABLE:
                if time.monotonic() - self._well_at + pause > self._seconds:
                    raise
            else:
                self._well_at = time.monotonic()
                return result
            if self._stopping.wait(pause * random.uniform(0.5, 1)):  # noqa: S311 - so that many hosts do not come back at once
                raise Stopped
            pause = min(2 * pause, _LONGEST_PAUSE)


class Pace:
    """Keeps to so many places and bytes per second, on average.

    Args:
        items: Per second; None for as many as there can be.
        size: Bytes per second.
        stopping: Ends the waiting.
    """

    def __init__(self, items: float | None, size: float | None, stopping: threading.Event) -> None:
        if not all(rate is None or rate > 0 for rate in (items, size)):  # which NaN is not, either
            message = "a rate is more than 0 per second"
            raise ValueError(message)
        self._items = items
        self._size = size
        self._stopping = stopping
        self._free_at = time.monotonic()

    def wait(self, items: int) -> None:
        """Wait until so many more items may be begun."""
        self._stopping.wait(max(self._free_at - time.monotonic(), 0))
        self._spend(items, self._items)

    def charge(self, size: int) -> None:
        """Note that so many bytes were worked at; the next one waits for it."""
        self._spend(size, self._size)

    def _spend(self, amount: int, rate: float | None) -> None:
        if rate is not None:
            self._free_at = max(self._free_at, time.monotonic()) + amount / rate


class SideBySide(Generic[B, T]):
    """Works at batches in several threads, and gives the results in the order of the batches. Use it in a ``with`` block.

    Args:
        batches: What is worked at; asked for as workers become free.
        work: Done to each batch, by any thread.
        workers: How many threads.
    """

    def __init__(self, batches: Iterator[B], work: Callable[[B], T], workers: int) -> None:
        self._batches = batches
        self._work = work
        self._begun: deque[tuple[B, Future[T]]] = deque()
        self._ahead = workers + 1
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="securekit-rotation")

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Begin nothing more, and wait for what is begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[tuple[B, T]]:
        """Yield each batch with its result, in order."""
        return self

    def __next__(self) -> tuple[B, T]:
        """Return the next batch with its result."""
        while len(self._begun) < self._ahead and (batch := next(self._batches, None)) is not None:
            self._begun.append((batch, self._pool.submit(self._work, batch)))
        return self._first()

    def rest(self) -> Iterator[tuple[B, T]]:
        """Yield what is begun already, in order, up to the first that is not."""
        while self._begun and not self._begun[0][1].cancel():
            yield self._first()

    def _first(self) -> tuple[B, T]:
        if not self._begun:
            raise StopIteration
        batch, future = self._begun[0]
        result = future.result()
        self._begun.popleft()
        return batch, result


class _Engine:
    def __init__(self, plan: Plan, log: Journal, *, patience: Patience, pace: Pace, watch: _Watch, stopping: threading.Event) -> None:
        self._job = plan.job
        self._log = log
        self._patience = patience
        self._pace = pace
        self._watch = watch
        self._stopping = stopping

    def run(self, workers: int, batch: int) -> None:
        """Work round after round, until nothing is left that does not fail."""
        busy = 0
        # What failed in an earlier attempt lies behind the place where this one goes on, and is looked at once more, too.
        inherited = self._log.progress.totals.failed
        for number in range(_MAX_ROUNDS):
            before = self._log.progress.totals.changed
            failed = self._round(workers, batch)
            if self._stopping.is_set():
                return
            left = self._patience.keep(self._job.left)
            # What was busy may have been done since, by another run. What neither was busy nor failed was left out.
            busy = self._busy if left is None else min(self._busy, left)
            # The first round may have left out what the second does not.
            helped = number == 0 or self._log.progress.totals.changed > before
            if not inherited and ((not busy and (left or 0) <= failed) or not helped):
                break
            self._log.next_round()
            inherited = 0
        self._log.finish(_now(), busy=busy)

    def _round(self, workers: int, batch: int) -> int:
        """Work from where the journal is to the end. Return how many items failed."""
        failed = self._busy = 0

        def note(places: list[str], outcome: Outcome) -> None:
            nonlocal failed
            self._log.checkpoint(places[-1], outcome)
            failed += len(outcome.failures)
            self._busy += outcome.busy
            self._pace.charge(outcome.size)
            self._watch(outcome)

        with SideBySide(self._batches(batch), self._work, workers) as work:
            try:
                for places, outcome in work:
                    note(places, outcome)
            except KeyboardInterrupt:
                self._stopping.set()
                for places, outcome in work.rest():
                    note(places, outcome)
                raise
        return failed

    def _batches(self, size: int) -> Iterator[list[str]]:
        def next_places(after: str, size: int) -> list[str]:
            return [] if self._stopping.is_set() else self._patience.keep(partial(self._job.places, after, size))

        for places in walk(next_places, size, after=self._log.progress.place):
            self._pace.wait(len(places))
            yield places

    def _work(self, places: list[str]) -> Outcome:
        return self._patience.keep(partial(self._job.work, places))


class _Watch:
    """Tells how far an attempt is."""

    def __init__(self, plan: Plan, tell: Callable[[RunProgress], object] | None) -> None:
        self._total = plan.todo
        self._tell = tell
        self._begin = time.monotonic()
        self._examined = self._changed = self._failed = 0

    def __call__(self, outcome: Outcome) -> None:
        self._examined += outcome.examined
        self._changed += outcome.changed
        self._failed += len(outcome.failures)
        if self._tell is not None:
            seconds = time.monotonic() - self._begin
            self._tell(RunProgress(self._examined, self._changed, self._failed, self._total, seconds))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
