# SPDX-License-Identifier: Apache-2.0
"""The end of a key: only with a proof, begun late enough, and destroyed only long after it was disabled."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from securekit import rotation
from securekit.exceptions import KeyNotFoundError, KeyStateError, RotationError
from securekit.keyring import FileKeyStore, MemoryKeyStore, StoredItem
from securekit.rotation import Verification
from securekit.testing import FakeClock, memory_store
from securekit.wrappers import LocalWrapper
from tests.rotation.parts import PATH, Table, filled


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryKeyStore:
    return memory_store(clock=clock, refresh=60, stale_if_error=3600)


def proof(store: MemoryKeyStore, clock: FakeClock, table: Table | None = None) -> Verification:
    return rotation.verify(table or Table({}), store=store, clock=clock.time)


def test_a_key_ends_in_two_steps(store: MemoryKeyStore, clock: FakeClock) -> None:
    """Disabled with a proof, and destroyed with another one that was begun when nobody could write under it any more."""
    ring = store.keyring(PATH, create=True)
    old = ring.primary().full_name
    clock.advance(10)
    ring.rotate()
    clock.advance(10)

    disabled = rotation.retire(old, store=store, proof=proof(store, clock), clock=clock.time)
    early = proof(store, clock)
    clock.advance(3660)
    assert rotation.retire(old, store=store, proof=proof(store, clock), clock=clock.time) == disabled  # once more changes nothing
    with pytest.raises(RotationError, match="processes may have written under it until then: verify again after that"):
        rotation.retire(old, store=store, proof=early, destroy=True, clock=clock.time)
    with pytest.raises(RotationError, match="verify again after that"):
        rotation.retire(old, store=store, proof=proof(store, clock), destroy=True, clock=clock.time)
    clock.advance(1)
    destroyed = rotation.retire(old, store=store, proof=proof(store, clock), destroy=True, clock=clock.time)

    assert (disabled.state, disabled.destroyable_at) == ("disabled", int(clock.time()))
    assert (destroyed.state, destroyed.destroyable_at) == ("destroyed", None)
    assert destroyed.receipt is not None
    assert destroyed.receipt.key_ids == (old[-8:],)
    assert rotation.retire(old, store=store, clock=clock.time).state == "destroyed"


def test_a_key_that_something_needs_stays(store: MemoryKeyStore, clock: FakeClock) -> None:
    """One record is enough, and so is one item of which nobody knows which key it needs."""
    ring = store.keyring(PATH, create=True)
    table = Table(filled(ring, 1))
    old = ring.primary().full_name
    clock.advance(10)
    ring.rotate()
    clock.advance(10)
    with pytest.raises(RotationError, match="1 items need"):
        rotation.retire(old, store=store, proof=proof(store, clock, table))
    with pytest.raises(RotationError, match="1 items do not say which key they need, such as customers garbage"):
        rotation.retire(old, store=store, proof=proof(store, clock, Table({"garbage": b""})))
    assert ring.keys()[0].state == "active"


def test_a_proof_from_before_the_rotation_proves_nothing(store: MemoryKeyStore, clock: FakeClock) -> None:
    """While a key is primary, everybody writes under it."""
    ring = store.keyring(PATH, create=True)
    old = ring.primary().full_name
    early = proof(store, clock)
    clock.advance(10)
    ring.rotate()
    with pytest.raises(RotationError, match="it was primary until then"):
        rotation.retire(old, store=store, proof=early)


def test_what_cannot_be_retired_is_said(store: MemoryKeyStore, clock: FakeClock) -> None:
    """A primary, a key that is not disabled, one that is not there, and one without a proof."""
    ring = store.keyring(PATH, create=True)
    with pytest.raises(KeyStateError, match="is primary: rotate"):
        rotation.retire(ring.primary().full_name, store=store, proof=proof(store, clock))
    with pytest.raises(KeyNotFoundError, match="there is no key"):
        rotation.retire(f"{PATH}@00000000", store=store, proof=proof(store, clock))
    old = ring.primary().full_name
    clock.advance(1)
    ring.rotate()
    with pytest.raises(RotationError, match="verify everything"):
        rotation.retire(old, store=store)
    with pytest.raises(KeyStateError, match="is active: disable it first"):
        rotation.retire(old, store=store, proof=proof(store, clock), destroy=True)
    with pytest.raises(ValueError, match="give the full name of the key once more"):
        rotation.retire(old, store=store, force="yes")


def test_forced_with_its_name_a_key_goes_at_once(store: MemoryKeyStore) -> None:
    """Without proof and without waiting: what needs it is lost, and the name was typed twice."""
    ring = store.keyring(PATH, create=True)
    old = ring.primary().full_name
    ring.rotate()
    assert rotation.retire(old, store=store, force=old).state == "disabled"
    assert rotation.retire(old, store=store, force=old, destroy=True).state == "destroyed"


def test_a_clock_that_goes_back_destroys_nothing(store: MemoryKeyStore, clock: FakeClock) -> None:
    """A proof that seems to be from before the key was disabled is none."""
    ring = store.keyring(PATH, create=True)
    old = ring.primary().full_name
    clock.advance(10)
    ring.rotate()
    clock.advance(10)
    rotation.retire(old, store=store, proof=proof(store, clock), clock=clock.time)
    clock.advance(5000)
    clock.jump(-86_400)
    with pytest.raises(RotationError, match="verify again after that"):
        rotation.retire(old, store=store, proof=proof(store, clock), destroy=True)


def test_a_source_that_names_the_wrong_keyring_frees_no_key(store: MemoryKeyStore, clock: FakeClock) -> None:
    """What does not open counts for the key of the id that it names, whatever keyring the source says."""
    ring = store.keyring(PATH, create=True)
    store.keyring("eu/acme/orders", create=True)
    table = Table(filled(ring, 3), keyring=lambda _: "eu/acme/orders")
    old = ring.primary().full_name
    clock.advance(10)
    ring.rotate()
    clock.advance(10)
    found = proof(store, clock, table)

    with pytest.raises(RotationError, match=f"3 items need {old}"):
        rotation.retire(old, store=store, proof=found, clock=clock.time)
    assert found.astray == {f"eu/acme/orders@{old[-8:]}": 3}
    assert found.needs(f"eu/acme/orders@{old[-8:]}") == 3
    assert found.needs(f"{PATH}@00000000") == 0


@pytest.mark.parametrize("key", ["vault-transit transit/app v1", "vault-transit transit/app", "transit/app v1", "transit/app"])
def test_a_kek_counts_however_it_is_called(key: str) -> None:
    """By its full name, without its version, or by its reference alone."""
    counts = {"vault-transit transit/app v1": 2, "local 0bac1fe1ddce8316": 1, "passphrase": 1}
    found = Verification(("memory",), 0.0, 1.0, "me", 2, counts, 0, (), 0)
    assert found.needs(key) == 2
    assert (found.needs("0bac1fe1ddce8316"), found.needs("passphrase"), found.needs("transit"), found.needs("")) == (1, 1, 0, 0)


def test_a_proof_of_tomorrow_proves_nothing(store: MemoryKeyStore, clock: FakeClock) -> None:
    """It was made while a clock was ahead: nobody knows when."""
    ring = store.keyring(PATH, create=True)
    old = ring.primary().full_name
    clock.advance(10)
    ring.rotate()
    clock.jump(86_400)
    ahead = proof(store, clock)
    clock.jump(-86_400)
    with pytest.raises(RotationError, match="a clock was wrong; verify again"):
        rotation.retire(old, store=store, proof=ahead, clock=clock.time)


def test_the_present_state_of_a_key_counts(tmp_path: Path, clock: FakeClock) -> None:
    """One that was made primary again elsewhere, for a while, was written under until then, whatever is in memory here."""
    here, there = (FileKeyStore(tmp_path, wrapper=LocalWrapper(bytes(32)), clock=clock, refresh=10_000) for _ in range(2))
    ring = here.keyring(PATH, create=True)
    old = ring.primary().full_name
    ring.rotate()
    clock.advance(10)
    early = rotation.verify(Table({}), store=here, clock=clock.time)
    clock.advance(10)
    new = there.keyring(PATH).primary().full_name
    there.keyring(PATH).promote(old)
    clock.advance(10)
    there.keyring(PATH).promote(new)
    with pytest.raises(RotationError, match="it was primary until then"):
        rotation.retire(old, store=here, proof=early, clock=clock.time)


def test_an_error_ends_a_verification_that_waits(store: MemoryKeyStore) -> None:
    """What others wait for is not waited for any more: who interrupts wants it to end."""
    ring = store.keyring(PATH, create=True)
    waiting = threading.Event()

    class AwayTable(Table):
        def read(self, places: Sequence[str]) -> list[StoredItem]:
            if places[0] == "000000":
                waiting.wait(5)
                raise PermissionError
            waiting.set()
            raise ConnectionError

    begin = time.monotonic()
    with pytest.raises(PermissionError):
        rotation.verify(AwayTable(filled(ring, 600)), store=store, workers=2, patience=30)
    assert time.monotonic() - begin < 5


def test_a_thousand_failures_of_a_verification_are_kept(store: MemoryKeyStore) -> None:
    """All are counted."""
    found = rotation.verify(Table({f"{number:04}": b"" for number in range(1005)}), store=store)
    assert (found.failed, found.unknown, len(found.failures)) == (1005, 1005, 1000)
