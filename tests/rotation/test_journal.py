# SPDX-License-Identifier: Apache-2.0
"""The journal: it only grows, survives every kind of end, and belongs to one plan and one process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from securekit import rotation
from securekit.exceptions import RotationError
from securekit.keyring import Keyring, KeyStore
from securekit.rotation._job import Failure, Outcome
from securekit.rotation._journal import MAX_FAILURES, Journal, is_unfinished, journal_of, source_of, unfinished, whoami
from tests.conftest import Count
from tests.rotation.parts import Table, filled

PLAN: dict[str, Any] = {"kind": "re-encrypt", "source": "memory", "settings": {}, "targets": {"eu/acme/a": "00@11111111"}}


# What somebody else may have written: JSON, and not what we write.
MALFORMED = (
    b"[" * 100_000 + b"\n",
    b'{"done":5}\n',
    b'{"done":{"place":"c","totals":[]}}\n',
    b'{"round":Infinity}\n',
    b'{"attempt":"x"}\n',
    b'{"failed":[1]}\n',
    b'{"targets":[1]}\n',
)


def lines(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines()]


def fill(journal: Path) -> None:
    """Write a journal of two batches, of which the second has a failure."""
    with Journal(journal, PLAN) as log:
        log.begin("2026-11-26T00:00:00+00:00")
        log.checkpoint("a", Outcome(examined=2, changed=2, size=10))
        log.checkpoint("b", Outcome(examined=3, changed=1, current=1, size=7, failures=[Failure("x", "FormatError", "garbage")]))


def test_a_journal_tells_how_far_a_run_is(journal: Path) -> None:
    """Opened again, it has the place, the counts, the failures and the attempts."""
    fill(journal)
    with Journal(journal, PLAN) as log:
        progress = log.progress

    assert (progress.place, progress.round, progress.finished) == ("b", 1, False)
    assert (progress.totals.examined, progress.totals.changed, progress.totals.current, progress.totals.size) == (5, 3, 1, 17)
    assert progress.failures == [Failure("x", "FormatError", "garbage")]
    assert [attempt["by"] for attempt in progress.attempts] == [whoami()]


def test_a_journal_that_is_cut_anywhere_goes_on(journal: Path, count: Count) -> None:
    """Cut at every byte, as a crash may leave it, it is at the last line that is whole."""
    fill(journal)
    whole = journal.read_bytes()
    for size in range(len(whole)):
        journal.write_bytes(whole[:size])
        with Journal(journal, PLAN) as log:
            assert log.progress.place == ("a" if b'"place":"a"' in whole[:size].rpartition(b"\n")[0] else "")
        assert journal.read_bytes().endswith(b"\n")
    count("journals cut at a byte", len(whole))


def test_a_damaged_line_stops_everything(journal: Path) -> None:
    """What is not the last line cannot be a crash's: the number of the line and a way out are said."""
    fill(journal)
    whole = journal.read_bytes()
    for bad in (b"{\n", b"[]\n", b"{}\n", b"\xff\n", b"1\n", *MALFORMED):
        journal.write_bytes(whole + bad + b'{"round":2}\n')
        with pytest.raises(RotationError, match=r"line 6 of the journal .* is damaged: move it away"):
            Journal(journal, PLAN)
        assert journal.read_bytes() == whole + bad + b'{"round":2}\n'
        assert is_unfinished(journal, PLAN)


def test_unknown_lines_and_members_are_those_of_a_newer_securekit(journal: Path) -> None:
    """They change nothing, and stay."""
    fill(journal)
    with journal.open("a") as file:
        file.write('{"novelty":{"of":"tomorrow"}}\n{"failed":{"item":"y","error":"E","reason":"r","more":1}}\n')
        file.write('{"done":{"place":"c","more":1,"totals":{"examined":9,"failed":2,"another":3}}}\n')
    with Journal(journal, PLAN) as log:
        assert log.progress.place == "c"
        assert (log.progress.totals.examined, log.progress.totals.failed) == (9, 2)
        assert [failure.item for failure in log.progress.failures] == ["x", "y"]
    assert "novelty" in journal.read_text()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "rewrap"}, r"belongs to another plan \(kind differs\)"),
        ({"source": "another"}, r"belongs to another plan \(source differs\)"),
        ({"settings": {"drop": ["x"]}}, r"belongs to another plan \(settings differs\)"),
        ({"targets": {"eu/acme/a": "00@22222222"}}, "for another key of eu/acme/a: this is a new plan"),
        ({"targets": {"eu/acme/a": "00@22222222", "eu/acme/b": "00@1"}}, "for another key of eu/acme/a: this is a new plan"),
    ],
)
def test_a_journal_belongs_to_one_plan(journal: Path, change: dict[str, Any], match: str) -> None:
    """With another kind, source, recipients or primary there is another plan."""
    fill(journal)
    with pytest.raises(RotationError, match=match):
        Journal(journal, PLAN | change)


def test_keyrings_may_come_and_go(journal: Path) -> None:
    """A plan with more keyrings, or fewer, is the same plan; those that come are noted."""
    fill(journal)
    with Journal(journal, PLAN | {"targets": {"eu/acme/b": "01@22222222"}}) as log:
        assert log.plan["targets"] == {"eu/acme/a": "00@11111111", "eu/acme/b": "01@22222222"}
    with pytest.raises(RotationError, match="eu/acme/b"):
        Journal(journal, PLAN | {"targets": {"eu/acme/b": "01@33333333"}})


def test_a_journal_belongs_to_one_process(journal: Path) -> None:
    """Two runs started at once: the second one is told, and touches nothing."""
    with Journal(journal, PLAN), pytest.raises(RotationError, match="another run works with the journal"):
        Journal(journal, PLAN)
    with Journal(journal, PLAN):
        pass


@pytest.mark.parametrize(
    "content",
    [
        b'{"journal":"securekit/rotation-journal/2"}\n',
        b'{"journal":"securekit/rotation-journal/1"}\n',
        b'{"something":"else"}\n',
        b'{"something":"else"}\n{"without":"line feed"}',
        b'{"something":"else"}',
        b"the key of somebody, in one line without its end",
    ],
)
def test_another_file_is_no_journal(journal: Path, content: bytes) -> None:
    """A file of another kind, or of a version to come, is refused and stays as it is."""
    journal.write_bytes(content)
    with pytest.raises(RotationError, match="no journal of the format"):
        Journal(journal, PLAN)
    assert journal.read_bytes() == content


def test_links_and_fifos_are_no_journals(journal: Path, tmp_path: Path) -> None:
    """Nobody makes a run write elsewhere, or wait for ever."""
    journal.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(journal, PLAN)
    journal.unlink()
    os.mkfifo(journal)
    with pytest.raises(OSError, match=r"Illegal seek|Invalid argument"):
        Journal(journal, PLAN)


def test_a_thousand_failures_are_kept_and_all_are_written(journal: Path) -> None:
    """Memory is bounded; the file has every one."""
    failures = [Failure(f"row {number}", "FormatError", "garbage") for number in range(MAX_FAILURES + 5)]
    with Journal(journal, PLAN) as log:
        log.checkpoint("a", Outcome(examined=len(failures), failures=failures))
        assert len(log.progress.failures) == MAX_FAILURES
    with Journal(journal, PLAN) as log:
        assert (len(log.progress.failures), log.progress.totals.failed) == (MAX_FAILURES, len(failures))
    assert sum("failed" in line for line in lines(journal)) == len(failures)


def test_a_new_round_begins_at_the_beginning(journal: Path) -> None:
    """What failed in the round before is looked at again, and no longer counts."""
    fill(journal)
    with Journal(journal, PLAN) as log:
        log.next_round()
        log.finish("2026-11-26T01:00:00+00:00")
    with Journal(journal, PLAN) as log:
        assert (log.progress.round, log.progress.place, log.progress.failures, log.progress.totals.failed) == (2, "", [], 0)
        assert log.progress.finished
        log.begin("2026-11-26T02:00:00+00:00")
        assert (log.progress.round, log.progress.finished) == (3, False)


def test_journals_in_a_directory_are_found_again(tmp_path: Path) -> None:
    """An unfinished run of the same plan goes on in its file; every other one begins a new file."""
    directory = tmp_path / "journals"
    first = journal_of(directory, "customers", PLAN)
    fill(first)

    assert first.name == "customers-0001.journal"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert journal_of(directory, "customers", PLAN) == first
    assert journal_of(directory, "customers", PLAN | {"targets": {"eu/acme/a": "00@22222222"}}).name == "customers-0002.journal"
    assert journal_of(directory, "orders", PLAN).name == "orders-0001.journal"
    assert is_unfinished(first)
    with Journal(first, PLAN) as log:
        log.finish("2026-11-26T01:00:00+00:00")
    assert not is_unfinished(first)
    assert journal_of(directory, "customers", PLAN).name == "customers-0002.journal"
    assert source_of(first) == "customers"
    assert source_of(tmp_path / "other.journal") == ""
    (directory / "empty-0001.journal").write_bytes(b'{"journal"')
    assert not is_unfinished(directory / "empty-0001.journal")


def test_a_journal_holds_no_secret(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """Names of rows and keys are in it; no key, plaintext or ciphertext is."""
    table = Table(filled(ring, 5) | {"garbage": b"canary-7f3a"})
    ring.rotate()
    report = rotation.run(rotation.plan(table, store=store), journal=journal)

    text = journal.read_text() + json.dumps(report.to_json()) + report.page()
    assert "customers garbage" in text
    assert "canary-7f3a" not in text


def test_who_works_is_told_without_a_user_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, a user may have no name."""

    def unknown() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", unknown)
    assert whoami().startswith(f"{os.getuid()}@")


def test_the_last_journal_of_a_source_counts(tmp_path: Path) -> None:
    """A run that was given up for another plan is not gone on with for ever."""
    for name in ("a-0001", "a-0002", "b-0009", "b-0010"):
        fill(tmp_path / f"{name}.journal")
    fill(tmp_path / "by hand.journal")
    with Journal(tmp_path / "a-0002.journal", PLAN) as log:
        log.finish("2026-11-26T01:00:00+00:00")
    assert unfinished(tmp_path) == ["b"]
    assert unfinished(tmp_path / "nowhere") == []
