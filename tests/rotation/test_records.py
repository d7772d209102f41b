# SPDX-License-Identifier: Apache-2.0
"""Records that move to the primary of their keyring: counted, re-encrypted, never overwritten, and proven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb

import pytest

from securekit import rotation
from securekit.exceptions import KeyStoreUnavailableError, RotationError, WrapperUnavailableError
from securekit.keyring import Keyring, KeyStore, StoredItem
from securekit.testing import FakeClock, FlakyWrapper, memory_store
from tests.canaries import walk
from tests.rotation.parts import PATH, CountingTable, SharedTable, Table, UncountedTable, context, filled, opens

KINDS = pytest.mark.parametrize("kind", [Table, CountingTable, SharedTable])
FORMS = pytest.mark.parametrize("text", [False, True], ids=["bytes", "text"])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def key_ids(table: Table, ring: Keyring) -> set[bool]:
    """Return whether records are under the primary."""
    return {not ring.needs_reencrypt(record) for record in table.rows.values()}


@KINDS
@FORMS
def test_a_run_moves_every_record_to_the_primary(kind: type[Table], store: KeyStore, ring: Keyring, journal: Path, *, text: bool) -> None:
    """After it, each record holds what it held, under the new key, and nothing needs the old one."""
    table = kind(filled(ring, 1200, text=text))
    old = ring.primary().full_name
    new = ring.rotate().full_name

    plan = rotation.plan(table, store=store)
    report = rotation.run(plan, journal=journal)
    proof = rotation.verify(table, store=store)

    assert (plan.items, plan.todo) == (1200, 1200)
    assert (report.state, report.examined, report.changed, report.failed) == ("finished", 1200, 1200, 0)
    assert key_ids(table, ring) == {True}
    assert opens(table, store)
    assert (proof.needs(old), proof.needs(new), proof.failed) == (0, 1200, 0)


@KINDS
def test_a_plan_counts_by_key_and_changes_nothing(kind: type[Table], store: KeyStore, ring: Keyring) -> None:
    """It tells how many records are under which key, how old that is, who holds its KEK, and what is to be done."""
    rows = filled(ring, 30)
    first = ring.primary()
    ring.rotate()
    rows |= {f"new{number}": ring.encrypt(b"", context={}) for number in range(12)}
    table = kind(rows)

    plan = rotation.plan(table, store=store)

    tallies = {tally.keys: tally for tally in plan.tallies}
    old, new = tallies[first.full_name,], tallies[ring.primary().full_name,]
    assert (old.items, old.state, old.action, old.created) == (30, "active", "re-encrypt", first.created)
    assert (new.items, new.state, new.action) == (12, "primary", "")
    assert old.wrapped_to == (f"local {ring.recipients[0].key_ref}",)
    assert plan.size == sum(len(rows[f"{number:06}"]) for number in range(30))
    assert plan.targets == {PATH: f"{ring.id}@{ring.primary().id}"}
    assert table.rows == rows


def test_a_plan_is_the_same_whatever_its_counts(store: KeyStore, ring: Keyring) -> None:
    """Writers go on between plan and run; only another primary makes another plan."""
    table = Table(filled(ring, 3))
    before = rotation.plan(table, store=store).id
    table.rows |= filled(ring, 9)
    after = rotation.plan(table, store=store).id
    ring.rotate()

    assert before == after != rotation.plan(table, store=store).id


@pytest.mark.parametrize("kind", [Table, CountingTable])
def test_what_cannot_be_handled_is_named_and_stops_nothing(kind: type[Table], store: KeyStore, ring: Keyring, journal: Path) -> None:
    """Garbage, a record of another keyring, a wrong context, a disabled key and a row without account stay as they are."""
    other = store.keyring("eu/other/customers", create=True)
    disabled = ring.primary().id
    rows: dict[str, bytes | str] = {"disabled": ring.encrypt(b"", context=context("disabled"))}
    ring.rotate()
    ring.disable(disabled)
    rows |= filled(ring, 20)
    rows |= {
        "garbage": b"garbage",
        "text": "sk1.???",
        "other": other.encrypt(b"", context=context("other")),
        "context": ring.encrypt(b"", context={"another": "one"}),
        "row-faulty": ring.encrypt(b"", context=context("row-faulty")),
        "missing": ring.encrypt(b"", context=context("missing")),
    }
    ring.rotate()
    table = kind(rows, keyring=lambda place: "eu/nobody/customers" if place == "missing" else PATH)

    plan = rotation.plan(table, store=store)
    report = rotation.run(plan, journal=journal)

    failed = {failure.item.partition(" ")[2]: failure.error for failure in report.failures}
    assert failed == {
        "garbage": "FormatError",
        "text": "FormatError",
        "other": "KeyNotFoundError",
        "context": "DecryptionError",
        "disabled": "KeyStateError",
        "row-faulty": "FormatError",
        "missing": "KeyNotFoundError",
    }
    assert (report.changed, report.failed) == (20, 7)
    assert all(table.rows[name] == rows[name] for name in failed)
    assert sum(tally.items for tally in plan.faults) == 6  # that a context is wrong shows only by decrypting


def test_what_an_application_writes_meanwhile_stays(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """A record that changed between read and write is read again; its new value moves to the primary, or is there already."""
    table = Table(filled(ring, 300))
    late = store.keyring(PATH)
    written: dict[str, bytes] = {}

    def write(item: StoredItem) -> None:
        if int(item.place) % 3 == 0 and item.place not in written:
            written[item.place] = late.encrypt(f"{item.place}!new".encode(), context=context(item.place))
            table.rows[item.place] = written[item.place]

    table.before_replace = write
    ring.rotate()
    report = rotation.run(rotation.plan(table, store=store), journal=journal)

    assert len(written) == 100
    assert all(ring.decrypt(bytes(table.rows[place]), context=context(place)) == f"{place}!new".encode() for place in written)  # type: ignore[arg-type]
    assert (report.examined, report.changed, report.current, report.busy) == (300, 200, 100, 0)
    assert key_ids(table, ring) == {True}


def test_what_an_application_deletes_meanwhile_stays_deleted(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """A record that is gone when it is to be replaced is not brought back."""
    table = Table(filled(ring, 10))
    table.before_replace = lambda _: table.rows.pop("000005", None)
    ring.rotate()

    report = rotation.run(rotation.plan(table, store=store), journal=journal)

    assert "000005" not in table.rows
    assert (report.changed, report.failed, report.busy) == (9, 0, 0)


def test_a_record_that_others_write_all_the_time_is_left_and_named_busy(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """A run does not wait for it for ever: it is counted, and a later run takes it."""
    table = Table(filled(ring, 3))
    old = ring.primary().id
    ring.rotate()
    ring.promote(old)
    writer = memory_store()
    store.copy(PATH, writer)
    ring.rotate()
    stale = writer.keyring(PATH)
    table.before_replace = lambda item: table.rows.__setitem__(item.place, stale.encrypt(item.place.encode(), context=context(item.place)))

    report = rotation.run(rotation.plan(table, store=store), journal=journal)

    assert (report.state, report.changed, report.busy) == ("finished", 0, 3)
    assert opens(table, store)


def test_a_lost_write_does_not_count_as_changed(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """What a source says it has written is read back; if it is not there, the record is not counted as moved."""

    class Lying(Table):
        def replace(self, changes: object) -> list[bool]:
            return [True] * len(list(changes))  # type: ignore[call-overload]

    table = Lying(filled(ring, 4))
    ring.rotate()

    report = rotation.run(rotation.plan(table, store=store), journal=journal)

    assert (report.changed, report.busy) == (0, 4)


def test_a_keyring_that_is_rotated_in_the_middle_stops_the_run(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """Another primary is another plan: the run ends with that reason, what was done stands, and a new plan finishes."""
    table = Table(filled(ring, 1000))
    ring.rotate()
    plan = rotation.plan(table, store=store)
    table.before_replace = lambda item: ring.rotate() if item.place == "000700" else None

    with pytest.raises(RotationError, match="another primary key than the plan"):
        rotation.run(plan, journal=journal, batch=100)
    with pytest.raises(RotationError, match="a new plan, which needs a journal of its own"):
        rotation.run(rotation.plan(table, store=store), journal=journal)
    table.before_replace = lambda _: None
    rotation.run(rotation.plan(table, store=store), journal=journal.with_name("second"))

    assert key_ids(table, ring) == {True}


def test_a_keyring_that_comes_after_the_plan_belongs_to_it(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """A new account between two attempts changes nothing about the plan of the others."""
    table = Table(filled(ring, 5), keyring=lambda place: "eu/new/customers" if place.startswith("new") else PATH)
    ring.rotate()
    rotation.run(rotation.plan(table, store=store), journal=journal)
    new = store.keyring("eu/new/customers", create=True)
    table.rows["new"] = new.encrypt(b"new", context=context("new"))

    report = rotation.run(rotation.plan(table, store=store), journal=journal)

    assert set(report.targets) == {PATH, "eu/new/customers"}
    assert report.state == "finished"


def test_a_record_whose_key_id_is_by_chance_another_primarys_is_found(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """A source that leaves out what begins with a current key id leaves it out, and the count at the end finds it."""
    from dataclasses import replace as changed

    from securekit.keyring._lifecycle import rotate

    table = CountingTable({}, keyring=lambda place: "eu/other/customers" if place.startswith("other") else PATH)
    other = store.keyring("eu/other/customers", create=True)
    same = ring.primary().id

    def with_same_id(opened: object, now: int) -> object:
        document = rotate(opened.document, opened.secret, now=now, promoted=False)  # type: ignore[attr-defined]
        made = document.keys[-1]
        key = opened.secret.open_key(document, made.id, made.sealed)  # type: ignore[attr-defined]
        sealed = opened.secret.seal_key(document, same, key)  # type: ignore[attr-defined]
        return changed(document, keys=(*document.keys[:-1], changed(made, id=same, sealed=sealed)))

    other._cache.update(with_same_id)  # type: ignore[arg-type]
    other.promote(same)
    table.rows["other"] = other.encrypt(b"other", context=context("other"))
    other.rotate()
    table.rows |= {"row": ring.encrypt(b"row", context=context("row"))}

    report = rotation.run(rotation.plan(table, store=store), journal=journal)

    assert (report.changed, report.rounds) == (1, 2)
    assert not other.needs_reencrypt(table.rows["other"])


def test_a_store_that_refuses_fails_the_records_of_that_keyring(ring: Keyring, journal: Path) -> None:
    """A KEK that says no fails its records; it stops no others."""
    wrapper = FlakyWrapper()
    store = memory_store(wrapper=wrapper)
    first = store.keyring(PATH, create=True)
    table = Table(filled(first, 5))
    first.rotate()
    plan = rotation.plan(table, store=store)
    denied = memory_store(wrapper=FlakyWrapper(denied=True))
    denied._storage.__dict__.update(store._storage.__dict__)
    table_job = rotation.plan(table, store=denied)

    report = rotation.run(table_job, journal=journal)

    assert plan.todo == 5
    assert {failure.error for failure in report.failures} == {"WrapperDeniedError"}
    assert report.failed == 5


def test_records_need_a_store(ring: Keyring, store: KeyStore) -> None:
    """A source of records without a store, and a store with one too many, are mistakes of the caller."""
    with pytest.raises(TypeError, match="say where their keyrings are, with store="):
        rotation.plan(Table({}))
    with pytest.raises(TypeError, match="brings its own keys and takes no store="):
        rotation.plan(store, store=store)
    with pytest.raises(TypeError, match="say who may open it from now on, with envelope="):
        rotation.plan(Table({}, content="envelopes"))


def test_a_document_that_cannot_be_read_is_a_fault_of_the_plan(store: KeyStore, ring: Keyring) -> None:
    """A keyring that is missing, damaged, or in another one's place is said to be so."""
    table = Table(filled(ring, 2))
    documents = store._storage._documents  # type: ignore[attr-defined]
    good = documents[PATH]
    for bad, fault in {b"{}": "not a keyring document", good.replace(b"acme", b"evil"): "holds the document of eu/evil/customers"}.items():
        documents[PATH] = bad
        (tally,) = rotation.plan(table, store=store).tallies
        assert fault in tally.fault
    documents.pop(PATH)
    (tally,) = rotation.plan(table, store=store).tallies
    assert "there is no keyring" in tally.fault


def test_a_proof_tells_each_record_by_itself(store: KeyStore, ring: Keyring) -> None:
    """One that is none, or does not open, says nothing of those beside it; one that another keyring made counts for this one's key."""
    rows = filled(ring, 10, text=True) | {"text": "sk1.???", "context": ring.encrypt_text("", context={})}
    proof = rotation.verify(Table(rows | {"row-faulty": "sk1.x"}), store=store)

    assert (proof.items, proof.failed, proof.unknown) == (14, 3, 2)
    assert proof.known(ring.primary().full_name) == 11
    assert {failure.item.partition(" ")[2]: failure.error for failure in proof.failures} == {
        "text": "FormatError",
        "row-faulty": "FormatError",
        "context": "DecryptionError",
    }


@pytest.mark.parametrize("kind", [SharedTable, UncountedTable])
def test_what_others_hold_all_the_time_is_left_and_counts_as_busy(
    kind: type[SharedTable], store: KeyStore, ring: Keyring, journal: Path
) -> None:
    """A row that another transaction keeps locked is not passed over in silence, whoever counts, and whatever else fails."""
    table = kind(filled(ring, 20) | {"garbage": b"", "rubbish": b""})
    table.claimed = {"000003"}
    ring.rotate()

    held = rotation.run(rotation.plan(table, store=store), journal=journal)
    table.claimed.clear()
    freed = rotation.run(rotation.plan(table, store=store), journal=journal)

    assert (held.state, held.changed, held.busy, held.failed) == ("finished", 19, 1, 2)
    assert (freed.state, freed.changed, freed.busy, freed.failed) == ("finished", 20, 0, 2)


def test_what_others_held_and_then_changed_or_deleted_is_not_busy(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """At the end it counts what is left, not who was in the way before."""
    table = SharedTable(filled(ring, 20))
    table.claimed = {"000003", "000004"}
    ring.rotate()
    plan = rotation.plan(table, store=store)

    def finish_elsewhere(_: object) -> None:
        if "000004" in table.rows:
            del table.rows["000004"]
            table.rows["000003"] = ring.encrypt(b"000003", context=context("000003"))

    report = rotation.run(plan, journal=journal, progress=finish_elsewhere)
    assert (report.state, report.changed, report.busy, report.failed) == ("finished", 18, 0, 0)


class MangledTable(Table):
    """A table that cuts what it is given."""

    def replace(self, changes: Sequence[tuple[StoredItem, bytes | str]]) -> list[bool]:
        return super().replace([(item, new[:-1]) for item, new in changes])


def test_a_place_that_mangles_what_it_is_given_loses_one_batch_at_most(store: KeyStore, ring: Keyring, journal: Path) -> None:
    """Reading back what was written finds it, and nothing more is written."""
    table = MangledTable(filled(ring, 20))
    before = dict(table.rows)
    ring.rotate()
    with pytest.raises(RotationError, match="customers 000000 was written, and what is there now does not open"):
        rotation.run(rotation.plan(table, store=store), journal=journal, batch=1)
    assert {place for place in before if table.rows[place] != before[place]} <= {"000000", "000001", "000002"}


@pytest.mark.parametrize("place", ["", "000004"])
def test_a_source_whose_places_never_end_is_stopped(store: KeyStore, ring: Keyring, place: str) -> None:
    """A place that was there already leads nowhere: that is said, and not tried for ever."""

    class Endless(Table):
        def places(self, after: str, limit: int, *, current: frozenset[str] = frozenset()) -> list[str]:
            return super().places(after, limit) or [place]

    with pytest.raises(RotationError, match="it would never end"):
        rotation.plan(Endless(filled(ring, 5)), store=store)


def test_no_plaintext_is_in_the_frames_of_an_error(clock: FakeClock) -> None:
    """A KMS that is away for too long just between decrypting and encrypting leaves nothing to an error tracker."""
    wrapper = FlakyWrapper()
    store = memory_store(wrapper=wrapper, clock=clock)
    ring = store.keyring(PATH, create=True)

    class Late(dict[str, str]):
        def __iter__(self) -> Iterator[str]:
            wrapper.unavailable = True
            clock.advance(1e6)
            return super().__iter__()

    class LateTable(Table):
        def item(self, place: str) -> StoredItem:
            return replace(super().item(place), context=Late(context(place)))

    table = LateTable({"000001": ring.encrypt(b"canary-1", context=context("000001"))})
    ring.rotate()
    plan = rotation.plan(table, store=store)
    plan.job.aim(plan.targets)

    with pytest.raises((WrapperUnavailableError, KeyStoreUnavailableError)) as raised:
        plan.job.work(["000001"])
    assert any(frame.name == "encrypt_many" for frame in extract_tb(raised.value.__traceback__))
    assert not [seen for seen in walk(raised.value) if "canary" in repr(seen)]


@FORMS
def test_one_that_is_garbage_leaves_the_others_proven(store: KeyStore, ring: Keyring, *, text: bool) -> None:
    """A verification counts it alone, and says of it that nobody knows which key it needs."""
    table = Table(filled(ring, 5, text=text) | {"garbage": "sk1.!" if text else b"", "000009-faulty": ring.encrypt(b"", context={})})
    proof = rotation.verify(table, store=store)
    assert (proof.failed, proof.unknown) == (2, 1)
    assert {failure.item for failure in proof.failures} == {"customers garbage", "customers 000009-faulty"}
    assert proof.known(ring.primary().full_name) == 6


def test_records_of_a_keyring_that_is_not_there_do_not_open(store: KeyStore, ring: Keyring) -> None:
    """They are named one by one, and so is the key that they name; a store that is away is no answer."""
    table = Table(filled(ring, 2), keyring=lambda _: "eu/acme/nowhere")
    proof = rotation.verify(table, store=store)
    assert (proof.failed, proof.unknown, [failure.error for failure in proof.failures]) == (2, 0, ["KeyNotFoundError"] * 2)

    wrapper = FlakyWrapper()
    away = memory_store(wrapper=wrapper)
    ring = away.keyring(PATH, create=True)
    job = rotation.plan(Table(filled(ring, 2)), store=away).job
    wrapper.unavailable = True
    ring._cache.live = None
    with pytest.raises(WrapperUnavailableError):
        list(job.look(["000000"]))


def test_a_plan_says_what_there_is_to_do(store: KeyStore, ring: Keyring) -> None:
    """In its repr, for whoever is at a prompt."""
    table = Table(filled(ring, 3))
    ring.rotate()
    assert repr(rotation.plan(table, store=store)).endswith(": re-encrypt 3 of 3 items of memory customers>")
