# SPDX-License-Identifier: Apache-2.0
"""Sealed messages and files: their recipients are exchanged, or they are encrypted anew; payloads are not touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from securekit import rotation
from securekit.envelope import Envelope, inspect_file
from securekit.exceptions import WrapperUnavailableError
from securekit.keyring import KeyStore
from securekit.testing import FlakyWrapper
from securekit.wrappers import Binding, CertificateWrapper, KeyWrapper, LocalWrapper, WrappedKey
from tests.canaries import walk
from tests.conftest import Count
from tests.identities import clock, issue, pem, private_key
from tests.rotation.parts import Table, context

OLD, NEW, OTHER = (LocalWrapper(bytes([number]) * 32) for number in (1, 2, 3))


def exchange(*, also_open: tuple[KeyWrapper, ...] = (OLD,)) -> Envelope:
    """Return what messages are for from now on, and what opens them now."""
    return Envelope(NEW, also_open=also_open)


def messages(count: int, *wrappers: KeyWrapper) -> dict[str, bytes | str]:
    envelope = Envelope(wrappers or [OLD])
    return {f"{number:03}": envelope.encrypt(f"{number:03}".encode(), context=context(f"{number:03}")) for number in range(count)}


def test_messages_are_rewrapped_and_their_payload_stays(store: KeyStore, journal: Path) -> None:
    """Each opens with the new KEK and no longer with the old one; the bytes behind the header are the same."""
    table = Table(messages(30), content="envelopes")
    before = dict(table.rows)
    plan = rotation.plan(table, envelope=exchange())
    report = rotation.run(plan, journal=journal)
    proof = rotation.verify(table, envelope=Envelope(NEW))

    assert (plan.kind, plan.items, plan.todo, report.changed) == ("rewrap", 30, 30, 30)
    assert all(before[place][-75:] == data[-75:] for place, data in table.rows.items())
    assert all(Envelope(NEW).decrypt(bytes(data), context=context(place)) for place, data in table.rows.items())  # type: ignore[arg-type]
    assert proof.needs(f"local {OLD.key_ref}") == 0
    assert proof.needs(f"local {NEW.key_ref}") == 30
    assert rotation.plan(table, envelope=exchange()).todo == 0


def test_messages_of_a_dropped_recipient_are_encrypted_anew(journal: Path) -> None:
    """With renew, what it could open gets a new data key; what it could not stays as it is."""
    rows = messages(10, OLD) | {f"new{place}": data for place, data in messages(5, NEW).items()}
    table = Table(rows, content="envelopes")
    table.item = lambda place: rotation.StoredItem(place, table.rows[place], "", context(place[-3:]), "", place)  # type: ignore[method-assign]
    plan = rotation.plan(table, envelope=exchange(), drop=[OLD], renew=True)
    report = rotation.run(plan, journal=journal)

    assert (plan.kind, plan.todo, report.changed, report.current) == ("re-encrypt", 10, 10, 5)
    assert all(table.rows[f"new{number:03}"] == rows[f"new{number:03}"] for number in range(5))
    assert all(table.rows[f"{number:03}"][-16:] != rows[f"{number:03}"][-16:] for number in range(10))
    assert rotation.verify(table, envelope=Envelope(NEW)).failed == 0


def test_what_is_no_sealed_message_is_named(journal: Path) -> None:
    """Text, a record, garbage and another KEK's message stay as they are."""
    rows: dict[str, bytes | str] = {"text": "sk1.AAAA", "garbage": b"sk-envelope/1\n?", "other": Envelope(OTHER).encrypt(b"", context={})}
    rows |= {"001-faulty": b""}
    table = Table(messages(3) | rows, content="envelopes")
    plan = rotation.plan(table, envelope=exchange())
    report = rotation.run(plan, journal=journal)
    proof = rotation.verify(table, envelope=Envelope(NEW))

    assert {failure.item.partition(" ")[2]: failure.error for failure in report.failures} == {
        "text": "FormatError",
        "garbage": "FormatError",
        "other": "KeyNotFoundError",
        "001-faulty": "FormatError",
    }
    assert all(table.rows[name] == data for name, data in rows.items())
    assert (proof.failed, proof.unknown, proof.known(f"local {OTHER.key_ref}")) == (4, 3, 1)


def test_a_kms_that_is_away_delays_messages(journal: Path) -> None:
    """It is not a failure of the messages."""
    table = Table(messages(3), content="envelopes")
    plan = rotation.plan(table, envelope=Envelope(NEW, also_open=[FlakyWrapper(OLD, unavailable=True)]))
    with pytest.raises(WrapperUnavailableError):
        rotation.run(plan, journal=journal, patience=0)
    with pytest.raises(WrapperUnavailableError):
        rotation.verify(table, envelope=Envelope(FlakyWrapper(OLD, unavailable=True)), patience=0)


def test_renewing_needs_to_know_who_leaves(tmp_path: Path) -> None:
    """Without a dropped recipient, nothing would be renewed."""
    with pytest.raises(ValueError, match="name it with drop="):
        rotation.plan(Table({}, content="envelopes"), envelope=exchange(), renew=True)
    with pytest.raises(ValueError, match="takes their context"):
        rotation.plan(rotation.SealedFiles(tmp_path), envelope=exchange(), drop=[OLD], renew=True)


# ---------------------------------------------------------------------------------------------- files


def seal(root: Path, names: list[str], *wrappers: KeyWrapper) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with Envelope(wrappers or [OLD]).open_writer(root / name, context={"file": name}) as writer:
            writer.write(name.encode() * 100)


NAMES = ["a.sk", "b/c.sk", "b/d/e.sk", "b-/f.sk", "b.sk", "z/a.sk"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    seal(root, NAMES)
    (root / "notes.txt").write_text("no sealed file, and not asked for")
    return root


def files(root: Path, **options: object) -> rotation.SealedFiles:
    return rotation.SealedFiles(root, context={"file": "{path}"}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_files_are_rewrapped_in_place(root: Path, journal: Path, batch: int) -> None:
    """Every one below the directory, whatever the batch; nothing else is touched."""
    payloads = {name: (root / name).read_bytes()[8192:] for name in NAMES}
    plan = rotation.plan(files(root), envelope=exchange())
    report = rotation.run(plan, journal=journal, batch=batch)
    proof = rotation.verify(files(root), envelope=Envelope(NEW))

    assert (plan.items, plan.todo, report.changed, report.failed) == (6, 6, 6, 0)
    assert {name: (root / name).read_bytes()[8192:] for name in NAMES} == payloads
    assert (proof.items, proof.failed, proof.needs(f"local {OLD.key_ref}")) == (6, 0, 0)
    assert (root / "notes.txt").read_text().startswith("no sealed file")
    assert rotation.plan(files(root), envelope=exchange()).todo == 0


def test_a_tree_is_walked_from_any_place(root: Path, count: Count) -> None:
    """What comes behind a place is the same, whether the place is still there or not."""
    source = files(root)
    whole = list(source.walk())
    assert sorted(whole) == sorted(NAMES)
    for number, place in enumerate(whole):
        assert list(source.walk(place)) == whole[number + 1 :]
        assert list(source.walk(place + "0")) in (whole[number + 1 :], whole[number + 1 :])
    (root / "b/c.sk").unlink()
    assert list(source.walk("b/c.sk")) == whole[whole.index("b/c.sk") + 1 :]
    count("places from which a tree is walked", len(whole))


def test_an_interrupted_exchange_is_planned_and_finished(root: Path, journal: Path) -> None:
    """A file whose two headers differ counts as not done."""
    file = root / "a.sk"
    old = file.read_bytes()
    exchange().rewrap_file(file)
    new = file.read_bytes()
    slot = inspect_file(file).slot_size or 0
    file.write_bytes(new[:slot] + old[slot : 2 * slot] + new[2 * slot :])

    plan = rotation.plan(files(root), envelope=exchange())
    report = rotation.run(plan, journal=journal)

    assert plan.todo == 6
    assert report.changed == 6
    assert inspect_file(file).faults == ()


def test_what_is_no_sealed_file_is_named(root: Path, journal: Path) -> None:
    """A link, a folder of that name, garbage, and a file that nobody opens stay as they are."""
    (root / "link.sk").symlink_to(root / "a.sk")
    (root / "garbage.sk").write_bytes(b"garbage")
    os.mkfifo(root / "fifo.sk")
    seal(root, ["other.sk"], OTHER)
    plan = rotation.plan(files(root), envelope=exchange())
    report = rotation.run(plan, journal=journal)
    proof = rotation.verify(files(root), envelope=Envelope(NEW))

    assert {failure.item: failure.error for failure in report.failures} == {
        "fifo.sk": "OSError",
        "garbage.sk": "FormatError",
        "link.sk": "OSError",
        "other.sk": "KeyNotFoundError",
    }
    assert (report.changed, sum(tally.items for tally in plan.faults)) == (6, 3)
    assert (proof.failed, proof.unknown) == (4, 3)


def test_a_file_that_is_deleted_meanwhile_is_no_failure(root: Path, journal: Path) -> None:
    """It needs nothing any more."""
    plan = rotation.plan(files(root), envelope=exchange())
    (root / "b/c.sk").unlink()
    job = plan.job
    assert job.work(["b/c.sk", "a.sk"]).examined == 1
    assert [sighting.item for sighting in job.look(["b/c.sk", "a.sk"])] == ["a.sk"]


def test_files_of_a_dropped_recipient_are_encrypted_anew(root: Path, journal: Path) -> None:
    """With renew they get a new data key; mode and content stay, and no other file appears."""
    seal(root, ["new.sk"], NEW)
    (root / "a.sk").chmod(0o640)
    before = {name: (root / name).read_bytes() for name in [*NAMES, "new.sk"]}
    plan = rotation.plan(files(root), envelope=exchange(), drop=[OLD.key_ref], renew=True)
    report = rotation.run(plan, journal=journal)

    assert (plan.kind, plan.todo, report.changed, report.current) == ("re-encrypt", 6, 6, 1)
    assert (root / "new.sk").read_bytes() == before["new.sk"]
    assert all((root / name).read_bytes()[8192:] != before[name][8192:] for name in NAMES)
    assert (root / "a.sk").stat().st_mode & 0o777 == 0o640
    assert rotation.verify(files(root), envelope=Envelope(NEW)).failed == 0
    assert sorted(path.name for path in root.rglob("*.sk")) == sorted(Path(name).name for name in before)


def test_a_file_that_is_written_while_it_is_encrypted_anew_is_left(root: Path, journal: Path) -> None:
    """Nobody's change is lost: it is busy now, and the next run takes it."""

    class Writing(LocalWrapper):
        def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
            os.utime(root / "a.sk", ns=(1, 1))
            return super().wrap(key, binding)

    envelope = Envelope(Writing(bytes([2]) * 32), also_open=[OLD])
    before = (root / "a.sk").read_bytes()
    job = rotation.plan(files(root), envelope=envelope, drop=[OLD], renew=True).job

    assert job.work(["a.sk"]).busy == 1
    assert (root / "a.sk").read_bytes() == before


def test_files_without_a_context_are_verified_by_their_headers(root: Path) -> None:
    """Their payload cannot be opened; that their data key can is proven."""
    proof = rotation.verify(rotation.SealedFiles(root), envelope=Envelope(OLD))
    assert (proof.items, proof.failed) == (6, 0)
    functional = rotation.SealedFiles(root, context=lambda place: {"file": place})
    assert rotation.verify(functional, envelope=Envelope(OLD)).failed == 0
    wrong = rotation.SealedFiles(root, context={"file": "{name}"})
    assert rotation.verify(wrong, envelope=Envelope(OLD)).failed == 4


def test_a_folder_that_cannot_be_listed_ends_a_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked into is never left out silently."""
    scandir: Callable[..., object] = os.scandir

    def refuse(path: object) -> object:
        if str(path).endswith("z"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        rotation.plan(files(root), envelope=exchange())


def test_a_directory_is_needed(tmp_path: Path) -> None:
    """A name that is mistyped is no empty tree."""
    with pytest.raises(ValueError, match="is no directory"):
        rotation.SealedFiles(tmp_path / "nothing")


def test_a_certificate_alone_may_be_the_new_recipient(root: Path, journal: Path) -> None:
    """Who rewraps need not be able to open what comes out."""
    certificate = issue("ops", private_key("p256"))
    public = CertificateWrapper.from_pem(certificate.pem, clock=clock())
    report = rotation.run(rotation.plan(files(root), envelope=Envelope(public, also_open=[OLD]), drop=[OLD]), journal=journal)
    host = CertificateWrapper.from_pem(certificate.pem, key=pem(private_key("p256")), clock=clock())

    assert (report.changed, report.failed) == (6, 0)
    assert rotation.verify(files(root), envelope=Envelope(host)).failed == 0


def test_a_locked_file_is_busy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process exchanges its recipients: it is left for later."""
    monkeypatch.setattr("securekit._wire.atomic._LOCK_TIMEOUT", 0.01)
    import fcntl

    with (root / "a.sk").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = rotation.plan(files(root), envelope=exchange()).job.work(["a.sk", "b.sk"])
    assert (outcome.busy, outcome.changed) == (1, 1)


def test_a_kms_that_is_away_delays_files(root: Path, journal: Path) -> None:
    """It is not a failure of the files."""
    away = Envelope(NEW, also_open=[FlakyWrapper(OLD, unavailable=True)])
    plan = rotation.plan(files(root), envelope=away)
    with pytest.raises(WrapperUnavailableError):
        rotation.run(plan, journal=journal, patience=0)
    with pytest.raises(WrapperUnavailableError):
        rotation.verify(files(root), envelope=away, patience=0)


def test_what_an_application_writes_while_a_file_becomes_durable_stays(root: Path, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is replaced at the very end of its encryption anew is left as it is, and counts as busy."""
    sync, turns = os.fsync, iter([True])

    def write_meanwhile(descriptor: int) -> None:
        if next(turns, False):
            with Envelope(OLD).open_writer(root / "a.sk", context={"file": "a.sk"}) as writer:
                writer.write(b"of the application")
        sync(descriptor)

    plan = rotation.plan(files(root), envelope=exchange(), drop=[OLD], renew=True)
    monkeypatch.setattr("securekit._wire.atomic.os.fsync", write_meanwhile)
    outcome = plan.job.work(["a.sk"])

    assert (outcome.busy, outcome.changed, outcome.failures) == (1, 0, [])
    with Envelope(OLD).open_reader(root / "a.sk", context={"file": "a.sk"}) as reader:
        assert reader.read() == b"of the application"


def test_no_plaintext_is_in_the_frames_of_an_error() -> None:
    """A KMS that goes away between opening and sealing anew leaves nothing to an error tracker."""
    table = Table({"000001": Envelope(OLD).encrypt(b"canary-1", context=context("000001"))}, content="envelopes")
    envelope = Envelope(FlakyWrapper(NEW, unavailable=True), also_open=[OLD])
    job = rotation.plan(table, envelope=envelope, drop=[OLD], renew=True).job

    with pytest.raises(WrapperUnavailableError) as raised:
        job.work(["000001"])
    assert not [seen for seen in walk(raised.value) if "canary" in repr(seen)]


def test_a_plan_names_what_is_no_sealed_message(store: KeyStore) -> None:
    """A record, or text, in a column of messages needs somebody to look."""
    record = store.keyring("eu/a/b", create=True).encrypt(b"", context={})
    table = Table({"record": record, "text": "sk1.abc"}, content="envelopes")
    faults = {tally.fault for tally in rotation.plan(table, envelope=exchange()).tallies}
    assert faults == {"not a sealed message but a record", "a sealed message is bytes, and this is text"}
