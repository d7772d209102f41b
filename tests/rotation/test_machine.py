# SPDX-License-Identifier: Apache-2.0
"""Random lives of a keyring with its records under rotation, crashes, stale writers, new KEKs and retirement: nothing is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from securekit import rotation
from securekit.exceptions import KeyStateError, RotationError
from securekit.keyring import KeyState, MemoryKeyStore, StoredItem
from securekit.testing import FakeClock
from securekit.wrappers import LocalWrapper
from tests.conftest import Count
from tests.rotation.parts import PATH, CountingTable, SharedTable, Table, context

REFRESH, STALE = 60, 600
_steps = 0


class CrashError(BaseException):
    """The process ends here."""


class Life(RuleBasedStateMachine):
    """An operator's store and two services' stores over one place, and a table that all of them write to."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.keks = [LocalWrapper(b"\1" * 32)]
        self.model: dict[str, str] = {}
        self.journals = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @initialize(kind=st.sampled_from([Table, CountingTable, SharedTable]))
    def begin(self, kind: type[Table]) -> None:
        self.table = kind({})
        self.operator = self.opened()
        self.operator.keyring(PATH, create=True)
        self.services = [self.opened(), self.opened()]

    def opened(self) -> MemoryKeyStore:
        store = MemoryKeyStore(
            wrapper=self.keks[-1], also_open=self.keks[:-1], refresh=REFRESH, stale_if_error=STALE, cache_ttl=REFRESH, clock=self.clock
        )
        if hasattr(self, "operator"):
            store._storage = store._source.storage = self.operator._storage
        return store

    @rule(service=st.integers(0, 1), place=st.integers(0, 12), text=st.text(max_size=5))
    def write(self, service: int, place: int, text: str) -> None:
        """A service writes under whatever primary it knows."""
        name = f"{place:02}"
        self.table.rows[name] = self.services[service].keyring(PATH).encrypt(text.encode(), context=context(name))
        self.model[name] = text

    @rule(place=st.integers(0, 12))
    def delete(self, place: int) -> None:
        self.table.rows.pop(f"{place:02}", None)
        self.model.pop(f"{place:02}", None)

    @rule(seconds=st.sampled_from([1, REFRESH, REFRESH + STALE + 1]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart_the_services(self) -> None:
        self.services = [self.opened(), self.opened()]

    @precondition(lambda self: len(self.operator.keyring(PATH).keys()) < 12)
    @rule(stage=st.booleans())
    def rotate(self, *, stage: bool) -> None:
        self.operator.keyring(PATH).rotate(promote=not stage)

    @rule()
    def change_the_kek(self) -> None:
        """Every process opens with both; then all is rewrapped."""
        if len(self.keks) > 3:
            return
        self.keks.append(LocalWrapper(bytes([len(self.keks) + 1]) * 32))
        self.services = [self.opened(), self.opened()]
        self.operator = self.opened()
        self.run(rotation.plan(self.operator), crash=None)

    @rule(crash=st.one_of(st.none(), st.integers(0, 12)), batch=st.integers(1, 5), writes=st.integers(0, 2))
    def re_encrypt(self, crash: int | None, batch: int, writes: int) -> None:
        """A run, in which services write, and which ends in a crash somewhere; the next one is a new process."""
        left = [writes]

        def meanwhile(item: StoredItem) -> None:
            if left[0] > 0 and item.place in self.model:
                left[0] -= 1
                self.write(left[0] % 2, int(item.place), "meanwhile")

        self.table.before_replace = meanwhile
        self.run(rotation.plan(self.table, store=self.operator), crash=crash, batch=batch)
        self.table.before_replace = lambda _: None

    def run(self, plan: rotation.Plan, *, crash: int | None, batch: int = 500) -> None:
        replaced = [0]
        before = self.table.before_replace

        def perhaps(item: StoredItem) -> None:
            before(item)
            replaced[0] += 1
            if crash is not None and replaced[0] > crash:
                raise CrashError

        self.table.before_replace = perhaps
        try:
            report = rotation.run(plan, journal=Path(self.folder.name, f"{self.journals}.journal"), batch=batch)
        except CrashError:
            if isinstance(self.table, SharedTable):
                self.table.claimed.clear()
            return
        except RotationError:
            self.journals += 1  # another primary since: a new plan
            return
        assert report.failed == 0
        self.journals += 1

    @rule(number=st.integers(0, 11), destroy=st.booleans())
    def retire(self, number: int, *, destroy: bool) -> None:
        """An operator who follows the rules destroys keys, and never one that anything needs."""
        ring = self.operator.keyring(PATH)
        ring.refresh()
        keys = ring.keys()
        key = keys[number % len(keys)]
        proof = rotation.verify(self.table, store=self.operator, clock=self.clock.time)
        try:
            done = rotation.retire(key.full_name, store=self.operator, proof=proof, destroy=destroy, clock=self.clock.time)
        except (RotationError, KeyStateError):
            return
        # A service may have written under it a moment ago: then it is found, and brought back.
        if done.state == "disabled" and rotation.verify(self.table, store=self.operator).known(key.full_name):
            ring.enable(key.id)

    @invariant()
    def everything_opens(self) -> None:
        """A process that is started now reads every record as it was written last."""
        global _steps  # noqa: PLW0603 - counted over all machines
        _steps += 1
        if not hasattr(self, "operator"):
            return
        ring = self.opened().keyring(PATH)
        assert self.table.rows.keys() == self.model.keys()
        disabled = {key.id for key in ring.keys() if key.state is KeyState.DISABLED}
        for place, record in self.table.rows.items():
            assert isinstance(record, bytes)
            if record[1:5].hex() in disabled:
                ring.enable(record[1:5].hex())  # it can come back: nothing is lost
            expected = self.model[place]
            assert ring.decrypt(record, context=context(place)).decode() == expected
        assert sum(key.state is KeyState.PRIMARY for key in ring.keys()) == 1


def live(examples: int, steps: int) -> int:
    global _steps  # noqa: PLW0603 - counted over all machines
    _steps = 0
    run_state_machine_as_test(Life, settings=settings(max_examples=examples, stateful_step_count=steps))
    return _steps


def test_nothing_is_lost_in_random_lives(count: Count) -> None:
    """Whatever happens in whatever order, every record opens and holds what was written last."""
    count("steps in lives of records under rotation", live(60, 50))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_is_lost_in_long_random_lives(count: Count) -> None:
    """The same in 100,000 steps."""
    count("steps in lives of records under rotation", live(1100, 100))
