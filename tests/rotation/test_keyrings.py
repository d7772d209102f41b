# SPDX-License-Identifier: Apache-2.0
"""Keyrings as a source: rewrapped, counted by their KEKs, and never lost to one that fails."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from securekit import rotation
from securekit.exceptions import ConflictError, KeyStoreError, KeyStoreUnavailableError, WrapperUnavailableError
from securekit.keyring import KeyringWrapper, MemoryKeyStore
from securekit.keyring._storage import MemoryStorage
from securekit.rotation import Keyrings
from securekit.testing import FlakyWrapper
from securekit.wrappers import LocalWrapper, WrappedKey
from securekit.wrappers._recipients import name_of

OLD, NEW, THIRD = (LocalWrapper(bytes([number]) * 32) for number in (1, 2, 3))
OLD_NAME, NEW_NAME = f"local {OLD.key_ref}", f"local {NEW.key_ref}"


def made(*wrappers: LocalWrapper, paths: int = 25) -> MemoryKeyStore:
    store = MemoryKeyStore(wrapper=wrappers or OLD)
    for number in range(paths):
        store.keyring(f"eu/a{number:02}/customers", create=True)
    return store


def test_a_store_is_a_source(journal: Path) -> None:
    """Deployed with a new KEK that is written, and the old one that opens, it is rewrapped as it stands."""
    store = made()
    data = store.keyring("eu/a00/customers").encrypt(b"data", context={})
    moved = MemoryKeyStore(wrapper=NEW, also_open=OLD)
    moved._storage = store._storage
    moved._source.storage = store._storage

    plan = rotation.plan(moved)
    report = rotation.run(plan, journal=journal, batch=10)
    proof = rotation.verify(moved)

    assert [(tally.keys, tally.items, tally.action) for tally in plan.tallies] == [((OLD_NAME,), 25, "rewrap")]
    assert (plan.kind, report.changed, report.failed, report.rounds) == ("rewrap", 25, 0, 1)
    assert (proof.items, proof.needs(OLD_NAME), proof.needs(NEW_NAME)) == (25, 0, 25)
    assert moved.keyring("eu/a00/customers").decrypt(data, context={}) == b"data"
    assert rotation.plan(moved).todo == 0


def test_keyrings_of_a_prefix_get_the_recipients_that_are_given(journal: Path) -> None:
    """Others stay as they are; dropping a recipient rotates."""
    store = made(OLD, THIRD)
    before = store.keyring("eu/a03/customers").primary().id
    keyrings = Keyrings(store, prefix="eu/a03", wrapper=[OLD], drop=[THIRD])
    plan = rotation.plan(keyrings)
    report = rotation.run(plan, journal=journal)

    assert (plan.items, plan.source, plan.settings) == (1, "keyrings eu/a03", {"drop": [THIRD.key_ref]})
    ring = store.keyring("eu/a03/customers")
    ring.refresh()
    assert report.changed == 1
    assert ring.primary().id != before
    assert len(store.keyring("eu/a04/customers").recipients) == 2


def test_a_plan_names_whom_each_keyring_is_to_be_wrapped_to() -> None:
    """Other recipients are another plan."""
    store = made(paths=1)
    plans = [rotation.plan(Keyrings(store, wrapper=wrapper)) for wrapper in (None, OLD, NEW, lambda _: NEW)]
    assert [plan.id == plans[0].id for plan in plans] == [True, True, False, False]
    assert plans[2].id == plans[3].id
    assert plans[2].targets["eu/a00/customers"].endswith(f"to {NEW_NAME}")


def test_a_keyring_that_fails_stops_no_other(journal: Path) -> None:
    """One that is damaged, and one that would lose a recipient, are named."""
    store = made(OLD)
    store.rewrap([OLD, THIRD], prefix="eu/a07")
    documents = store._storage._documents  # type: ignore[attr-defined]
    documents["eu/a05/customers"] = b"damaged"
    documents["eu/a06/customers"] = documents["eu/a04/customers"]
    plan = rotation.plan(Keyrings(store, wrapper=NEW))
    report = rotation.run(plan, journal=journal, batch=10)
    proof = rotation.verify(store)

    assert {failure.item: failure.error for failure in report.failures} == {
        "eu/a05/customers": "FormatError",
        "eu/a06/customers": "DecryptionError",
        "eu/a07/customers": "KeyStoreError",
    }
    assert report.changed == 22
    assert [tally.items for tally in plan.faults] == [1, 1]
    assert (proof.failed, proof.unknown) == (2, 2)


def test_a_kms_that_is_away_delays_keyrings(journal: Path) -> None:
    """It is not a failure of the keyrings; a proof waits for it, too."""
    flaky = FlakyWrapper(OLD)
    store = MemoryKeyStore(wrapper=flaky)
    store.keyring("eu/a/b", create=True)
    plan = rotation.plan(Keyrings(store, wrapper=NEW))
    flaky.unavailable = True
    store.keyring("eu/a/b")
    with pytest.raises(WrapperUnavailableError):
        rotation.run(plan, journal=journal, patience=0)
    fresh = MemoryKeyStore(wrapper=flaky)
    fresh._storage = fresh._source.storage = store._storage
    with pytest.raises(WrapperUnavailableError):
        rotation.verify(fresh, patience=0)


def test_keyrings_that_others_write_all_the_time_are_busy(journal: Path) -> None:
    """Compare-and-swap refuses each time: they are left for later."""

    class Contended(MemoryStorage):
        def write(self, path: str, document: bytes, *, expected: int | None) -> None:
            if expected is not None:
                raise ConflictError
            super().write(path, document, expected=expected)

        def write_many(self, items: Iterable[tuple[str, bytes, int | None]]) -> dict[str, KeyStoreError]:
            return {path: ConflictError() for path, _, _ in items}

    store = MemoryKeyStore(wrapper=OLD)
    store._storage = store._source.storage = Contended()
    store.keyring("eu/a/b", create=True)

    report = rotation.run(rotation.plan(Keyrings(store, wrapper=NEW)), journal=journal)

    assert (report.busy, report.changed, report.failed) == (1, 0, 0)


def test_a_store_that_is_away_ends_a_run_in_the_end(journal: Path) -> None:
    """Its error says so."""

    class Away(MemoryStorage):
        def paths(self, prefix: str = "") -> object:  # type: ignore[override]
            raise KeyStoreUnavailableError

    store = made(paths=2)
    plan = rotation.plan(Keyrings(store, wrapper=NEW))
    away = Away()
    store._storage = away
    with pytest.raises(KeyStoreUnavailableError):
        rotation.run(plan, journal=journal, patience=0)


def test_keys_that_were_wrapped_under_a_data_key_are_counted(journal: Path) -> None:
    """A tenant's key that is the KEK of others is needed by them, until they are rewrapped under its successor."""
    store = made(paths=1)
    parent = store.keyring("eu/acme/kek", create=True)
    children = MemoryKeyStore(wrapper=KeyringWrapper(parent))
    for number in range(5):
        children.keyring(f"eu/acme/s{number}", create=True)
    old = parent.primary().full_name
    parent.rotate()

    before = rotation.verify([children, store])
    report = rotation.run(rotation.plan(children), journal=journal)
    after = rotation.verify([children], store=store)

    assert before.needs(old) == 5
    assert report.changed == 5
    assert (after.needs(old), after.needs(parent.primary().full_name)) == (0, 5)
    assert after.sources == ("keyrings (all)", "keyrings (all)")


def test_a_transit_key_is_named_with_its_version() -> None:
    """A plan and a proof tell versions of a KEK apart; without its version, all are counted."""
    wrapped = WrappedKey("vault-transit", "transit/app", b"vault:v3:AAAA")
    assert name_of(wrapped) == "vault-transit transit/app v3"
    assert name_of(WrappedKey("vault-transit", "transit/app", b"other")) == "vault-transit transit/app"
    assert name_of(WrappedKey("passphrase", "", b"")) == "passphrase"
    proof = rotation.Verification((), 0, 0, "", 2, {"vault-transit transit/app v3": 2, "vault-transit transit/app2 v1": 1}, 0, (), 0)
    assert [proof.needs(f"vault-transit transit/app{version}") for version in ("", " v3", " v1")] == [2, 2, 0]
