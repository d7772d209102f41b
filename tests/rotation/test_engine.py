# SPDX-License-Identifier: Apache-2.0
"""Runs: resumable at any moment, patient with what cannot be reached, bounded, paced, and side by side."""

from __future__ import annotations

import math
import signal
import threading
import time
import tracemalloc
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import pytest

from securekit import rotation
from securekit.exceptions import KeyStoreUnavailableError, RotationError, WrapperUnavailableError
from securekit.keyring import Keyring, KeyStore, StoredItem
from securekit.rotation._engine import Pace, Patience, SideBySide, Stopped
from tests.conftest import Count
from tests.rotation.parts import CountingTable, SharedTable, Table, filled, opens


class KilledError(BaseException):
    """The process ends here."""


def test_a_run_that_is_killed_goes_on_where_it_was(store: KeyStore, ring: Keyring, journal: Path, count: Count) -> None:
    """Killed at every record in turn, it never does a batch twice that its journal has, and loses nothing."""
    table = Table(filled(ring, 60))
    ring.rotate()
    kills = 0
    for number in range(60):

        def kill(item: StoredItem, number: int = number) -> None:
            if item.place == f"{number:06}":
                raise KilledError

        table.before_replace = kill
        if all(ring.needs_reencrypt(table.rows[f"{later:06}"]) for later in range(number, 60)):
            with pytest.raises(KilledError):
                rotation.run(rotation.plan(table, store=store), journal=journal, batch=1)
            kills += 1
    table.before_replace = lambda _: None
    report = rotation.run(rotation.plan(table, store=store), journal=journal, batch=1)

    # A batch that was begun side by side with the one that was killed may be done, and not in the journal.
    assert (report.state, report.examined, report.changed + report.current, report.failed) == ("finished", 60, 60, 0)
    assert len(report.attempts) == kills + 1
    assert opens(table, store)
    assert not any(ring.needs_reencrypt(record) for record in table.rows.values())
    count("runs ended at a record, and resumed", kills)


@pytest.mark.parametrize("workers", [1, 4])
def test_an_event_ends_a_run_after_the_batches_that_are_begun(store: KeyStore, ring: Keyring, journal: Path, workers: int) -> None:
    """What is begun is finished and noted; the next run takes the rest."""
    table = Table(filled(ring, 400))
    ring.rotate()
    stop = threading.Event()
    table.before_replace = lambda item: stop.set() if item.place == "000055" else None

    first = rotation.run(rotation.plan(table, store=store), journal=journal, batch=10, workers=workers, stop=stop)
    second = rotation.run(rotation.plan(table, store=store), journal=journal, batch=10, workers=workers)

    moved = sum(not ring.needs_reencrypt(record) for record in table.rows.values())
    assert first.state == "stopped"
    assert 60 <= first.changed < 400
    assert (second.state, second.changed, second.examined, moved) == ("finished", 400, 400, 400)


def test_an_interrupt_finishes_the_batches_that_are_begun(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """Ctrl-C leaves a journal that says what is done, and nothing half done."""
    table = Table(filled(ring, 300))
    ring.rotate()
    main = threading.main_thread().ident
    assert main is not None
    # A shell that starts the tests in the background makes its children ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(item: StoredItem) -> None:
        if item.place == "000150":
            signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.0005)

    table.before_replace = interrupt
    try:
        with pytest.raises(KeyboardInterrupt):
            rotation.run(rotation.plan(table, store=store), journal=journal, batch=20, workers=2)
    finally:
        signal.signal(signal.SIGINT, before)
    moved = sum(not ring.needs_reencrypt(record) for record in table.rows.values())
    table.before_replace = lambda _: None
    report = rotation.run(rotation.plan(table, store=store), journal=journal, batch=20, workers=2)

    assert 150 < moved < 300
    assert (report.state, report.examined, report.changed) == ("finished", 300, 300)


def test_two_runs_share_what_can_be_claimed(store: KeyStore, ring: Keyring, tmp_path: Path) -> None:
    """Side by side, with journals of their own, they move every record once between them."""
    table = SharedTable(filled(ring, 2000))
    ring.rotate()
    reports: list[rotation.Report] = []

    def work(number: int) -> None:
        plan = rotation.plan(table, store=store)
        reports.append(rotation.run(plan, journal=tmp_path / f"{number}.journal", batch=50, workers=2))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(report.changed for report in reports) == 2000
    assert opens(table, store)
    assert not any(ring.needs_reencrypt(record) for record in table.rows.values())


def test_two_runs_without_claims_lose_nothing(store: KeyStore, ring: Keyring, tmp_path: Path) -> None:
    """Where nothing can be locked, compare-and-swap decides who was first."""
    table = CountingTable(filled(ring, 500))
    ring.rotate()
    plans = [rotation.plan(table, store=store) for _ in range(2)]
    threads = [
        threading.Thread(target=rotation.run, args=(plan,), kwargs={"journal": tmp_path / f"{number}.journal", "batch": 7})
        for number, plan in enumerate(plans)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert opens(table, store)
    assert not any(ring.needs_reencrypt(record) for record in table.rows.values())


class Away(Table):
    """A table that cannot be reached for some calls."""

    def __init__(self, *args: object, errors: Sequence[Exception], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.errors = list(errors)

    def read(self, places: Sequence[str]) -> list[StoredItem]:
        if self.errors:
            raise self.errors.pop()
        return super().read(places)


UNREACHABLE = [ConnectionResetError(), TimeoutError(), KeyStoreUnavailableError("away"), WrapperUnavailableError("sealed")]


def test_what_cannot_be_reached_is_tried_again(store: KeyStore, ring: Keyring, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database or KMS that is away for a while delays a run, and nothing else."""
    monkeypatch.setattr("securekit.rotation._engine._FIRST_PAUSE", 0.001)
    table = Away(filled(ring, 30), errors=[])
    ring.rotate()
    plan = rotation.plan(table, store=store)
    table.errors = list(UNREACHABLE)

    report = rotation.run(plan, journal=journal, batch=10)

    assert (report.state, report.changed, report.failed) == ("finished", 30, 0)


@pytest.mark.parametrize("error", [*UNREACHABLE, PermissionError("no")], ids=lambda error: type(error).__name__)
def test_what_is_away_for_too_long_ends_the_run(store: KeyStore, ring: Keyring, journal: Path, error: Exception) -> None:
    """Its error is raised, what was done stands, and the next run goes on. What is refused is not tried again."""
    table = Away(filled(ring, 30), errors=[])
    ring.rotate()
    plan = rotation.plan(table, store=store)
    table.errors = [error]

    with pytest.raises(type(error)):
        rotation.run(plan, journal=journal, patience=0)
    assert table.errors == []
    assert rotation.run(plan, journal=journal).changed == 30


def test_a_run_can_be_stopped_while_it_waits(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """Nobody has to wait for a database that is away to stop a run."""
    stop = threading.Event()

    class Gone(Table):
        def places(self, after: str, limit: int, *, current: frozenset[str] = frozenset()) -> list[str]:
            stop.set()
            raise ConnectionError

    table = Gone(filled(ring, 1))
    plan = rotation.plan(Table(table.rows), store=store)
    object.__setattr__(plan.job, "_source", table)

    report = rotation.run(plan, journal=journal, stop=stop)

    assert report.state == "stopped"


def test_patience_begins_anew_with_every_success() -> None:
    """It counts the time in which nothing at all succeeds."""
    patience = Patience(0.2, threading.Event())
    answers: list[object] = [1, ConnectionError(), 2]

    def answer() -> object:
        found = answers.pop()
        if isinstance(found, Exception):
            raise found
        return found

    assert patience.keep(answer) == 2
    with pytest.raises(ConnectionError):
        patience.keep(answer)
    assert patience.keep(answer) == 1
    stopped = threading.Event()
    stopped.set()
    answers.append(ConnectionError())
    with pytest.raises(Stopped):
        Patience(60, stopped).keep(answer)


def test_a_run_keeps_its_pace(store: KeyStore, ring: Keyring, tmp_path: Path) -> None:
    """So many items, or bytes, per second on average and no more."""
    table = Table(filled(ring, 200))
    size = sum(len(record) for record in table.rows.values())
    for number, limit in enumerate([{"items_per_second": 400.0}, {"bytes_per_second": size * 2.0}]):
        ring.rotate()
        begin = time.monotonic()
        report = rotation.run(rotation.plan(table, store=store), journal=tmp_path / str(number), batch=20, **limit)  # type: ignore[arg-type]
        assert report.changed == 200
        assert 0.4 < time.monotonic() - begin < 5
    for rate in (0, -1, math.nan):
        with pytest.raises(ValueError, match="more than 0 per second"):
            Pace(rate, None, threading.Event())


def test_a_run_tells_how_far_it_is(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """After every batch there is a line with counts, rate and the time that is left."""
    table = Table(filled(ring, 25) | {"garbage": b""})
    ring.rotate()
    told: list[rotation.RunProgress] = []

    rotation.run(rotation.plan(table, store=store), journal=journal, batch=10, progress=told.append)

    assert [(one.examined, one.changed, one.failed, one.total) for one in told] == [(10, 10, 0, 25), (20, 20, 0, 25), (26, 25, 1, 25)]
    assert str(told[-1]).startswith("25 of 25 changed, 1 failed, ")
    assert str(rotation.RunProgress(0, 0, 0, 9, 0.0)) == "0 of 9 changed, 0/s"


def test_batches_are_given_in_order_whoever_is_faster() -> None:
    """A journal may only move on past what is done."""

    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    with SideBySide(iter(range(30)), work, 4) as beside:
        assert list(beside) == [(number, number * number) for number in range(30)]


def test_an_error_in_a_batch_stops_those_behind_it() -> None:
    """What is before it was given out; what is behind it is not begun, except for what was begun already."""
    done: list[int] = []

    def work(number: int) -> int:
        if number == 3:
            raise PermissionError
        done.append(number)
        return number

    given: list[int] = []
    with pytest.raises(PermissionError), SideBySide(iter(range(1000)), work, 2) as beside:
        given.extend(number for number, _ in beside)
    assert given == [0, 1, 2]
    assert set(done) >= {0, 1, 2}
    assert len(done) < 10


class Sorted(Table):
    """A table whose places are sorted once."""

    def places(self, after: str, limit: int, *, current: frozenset[str] = frozenset()) -> list[str]:
        names = self.__dict__.setdefault("names", sorted(self.rows))
        begin = bisect_right(names, after)
        return list(names[begin : begin + limit])


def test_a_run_needs_little_memory_however_many_records_there_are(store: KeyStore, ring: Keyring, tmp_path: Path) -> None:
    """Ten times the records take no more memory beside the records themselves."""
    peaks = []
    for number in (2_000, 20_000):
        table = Sorted(filled(ring, number))
        ring.rotate()
        plan = rotation.plan(table, store=store)
        tracemalloc.start()
        rotation.run(plan, journal=tmp_path / str(number), workers=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 6_000_000  # the records that are replaced are held by the table


@pytest.mark.parametrize("options", [{"workers": 0}, {"batch": 0}])
def test_workers_and_batches_are_one_at_least(store: KeyStore, ring: Keyring, journal: Path, options: dict[str, int]) -> None:
    """A mistake of the caller is said before a journal is made."""
    with pytest.raises(ValueError, match="1 at least"):
        rotation.run(rotation.plan(Table({}), store=store), journal=journal, **options)  # type: ignore[arg-type]
    assert not journal.exists()


@pytest.mark.parametrize("kind", [Table, CountingTable])
def test_what_failed_before_the_run_was_ended_is_looked_at_again(store: KeyStore, ring: Keyring, journal: Path, kind: type[Table]) -> None:
    """It lies behind the place where the next attempt goes on, and may be well by now; if it is not, it is reported, once."""
    rows = filled(ring, 30)
    ring.rotate()
    table = kind({**rows, "000003": b"garbage", "000004": b"garbage"})
    ended = threading.Event()
    first = rotation.run(rotation.plan(table, store=store), journal=journal, batch=10, stop=ended, progress=lambda _: ended.set())
    assert (first.state, first.failed) == ("stopped", 2)

    table.rows["000003"] = rows["000003"]
    report = rotation.run(rotation.plan(table, store=store), journal=journal, batch=10)

    assert (report.state, report.changed, [failure.item for failure in report.failures]) == ("finished", 29, ["customers 000004"])
    assert not ring.needs_reencrypt(table.rows["000003"])


def test_nothing_to_do_is_done_at_once(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """An empty source, and one where all is current, end a run that is finished; it may be run again."""
    table = Table({})
    reports = [rotation.run(rotation.plan(table, store=store), journal=journal) for _ in range(2)]

    assert [(report.state, report.changed, report.rounds) for report in reports] == [("finished", 0, 1), ("finished", 0, 2)]


def test_a_journal_that_cannot_be_written_stops_the_run(store: KeyStore, ring: Keyring, tmp_path: Path) -> None:
    """On a full disk the run ends with that reason; what was done stands, and with room it goes on."""
    table = Table(filled(ring, 100))
    ring.rotate()
    journal = tmp_path / "journal"
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))
    try:
        with pytest.raises(RotationError, match="cannot be written: File too large; what was done stands"):
            rotation.run(rotation.plan(table, store=store), journal=journal, batch=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert journal.read_bytes().endswith(b"\n")
    assert opens(table, store)

    report = rotation.run(rotation.plan(table, store=store), journal=journal, batch=10)

    assert report.state == "finished"
    assert not any(ring.needs_reencrypt(record) for record in table.rows.values())
    assert journal.stat().st_mode & 0o777 == 0o600


def test_a_run_ends_although_old_records_come_back_all_the_time(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """After a hundred rounds it is left to the next run."""
    table = CountingTable(filled(ring, 1))
    before = dict(table.rows)
    ring.rotate()
    report = rotation.run(rotation.plan(table, store=store), journal=journal, progress=lambda _: table.rows.update(before))
    assert (report.state, report.rounds, report.changed) == ("finished", 101, 100)
