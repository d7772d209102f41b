# SPDX-License-Identifier: Apache-2.0
"""What the package gives to those who test code that uses it does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securekit.exceptions import WrapperDeniedError, WrapperUnavailableError
from securekit.keyring import Event, EventKind, MemoryKeyStore, SystemClock
from securekit.testing import FakeClock, FlakyWrapper, memory_store
from securekit.wrappers import KeyWrapper, LocalWrapper
from tests.keyring.parts import PATH, certificate, local


def test_the_clock_stands_still_until_it_is_turned() -> None:
    """It begins with 2026, unless it is told another time; both clocks advance together."""
    clock = FakeClock()
    assert (clock.time(), clock.time()) == (1_767_225_600.0, 1_767_225_600.0)
    before = clock.monotonic()
    clock.advance(1.5)
    assert (clock.time(), clock.monotonic()) == (1_767_225_601.5, before + 1.5)
    assert FakeClock(0.0).time() == 0


def test_a_jump_is_of_the_calendar_alone() -> None:
    """Forward and back, and no time passes; advance refuses to go back."""
    clock = FakeClock()
    before = clock.monotonic()
    clock.jump(-100)
    clock.jump(50)
    assert (clock.time(), clock.monotonic()) == (1_767_225_550.0, before)
    with pytest.raises(ValueError, match="does not pass backwards; jump"):
        clock.advance(-1)


def test_the_systems_clock_is_the_systems() -> None:
    """Without a clock of its own, a store has the operating system's."""
    assert SystemClock.monotonic() <= SystemClock.monotonic()
    assert SystemClock.time() > 1_700_000_000


def test_a_memory_store_is_the_same_in_every_test() -> None:
    """One fixed KEK, and a clock that stands still; two stores share nothing."""
    one, other = memory_store(), memory_store()
    assert one.keyring(PATH, create=True).recipients[0].key_ref == other.keyring(PATH, create=True).recipients[0].key_ref
    assert one.keyring(PATH).id != other.keyring(PATH).id
    assert isinstance(one, MemoryKeyStore)
    assert one.keyring(PATH).primary().created.year == 2026


def test_a_memory_store_takes_what_a_store_takes() -> None:
    """Another KEK, another clock, and every option."""
    events: list[Event] = []
    store = memory_store(wrapper=local(1), clock=FakeClock(0.0), on_event=events.append, refresh=10, stale_if_error=20)
    ring = store.keyring(PATH, create=True)
    assert ring.recipients[0].key_ref == local(1).key_ref
    assert ring.primary().created.year == 1970
    assert EventKind.LOADED in [event.kind for event in events]
    assert (ring._cache.current().opened.document.refresh, ring._cache.current().opened.document.stale_if_error) == (10, 20)


def test_a_flaky_wrapper_is_a_wrapper() -> None:
    """While no switch is set it wraps and unwraps, one or many, and counts."""
    flaky = FlakyWrapper()
    assert isinstance(flaky, KeyWrapper)
    inner = LocalWrapper(bytes(range(32)))
    assert (flaky.name, flaky.key_ref, flaky.outsiders_can_wrap) == ("local", inner.key_ref, False)
    wrapped = flaky.wrap(bytes(32), ["x"])
    assert flaky.opens(wrapped)
    assert inner.unwrap(wrapped, ["x"]) == flaky.unwrap(wrapped, ["x"]) == bytes(32)
    several = flaky.wrap_many([(bytes(32), ["y"]), (bytes(32), ["z"])])
    assert flaky.unwrap_many(zip(several, (["y"], ["z"]), strict=True)) == [bytes(32), bytes(32)]
    assert flaky.calls == 4


def test_a_flaky_wrapper_stands_before_any_other() -> None:
    """It says of itself what the one within says."""
    inner = certificate()
    flaky = FlakyWrapper(inner)
    assert (flaky.name, flaky.key_ref, flaky.outsiders_can_wrap) == (inner.name, inner.key_ref, True)


@pytest.mark.parametrize(
    ("switches", "error"),
    [
        ({"unavailable": True}, WrapperUnavailableError),
        ({"denied": True}, WrapperDeniedError),
        ({"denied": True, "unavailable": True}, WrapperDeniedError),  # as a KMS that says no is reachable
    ],
)
def test_a_switch_fails_every_call(switches: dict[str, bool], error: type[Exception]) -> None:
    """As soon as it is set, from the beginning or later, and until it is taken back."""
    wrapped = FlakyWrapper().wrap(bytes(32), ["x"])
    flaky = FlakyWrapper(None, **switches)
    for call in (
        lambda: flaky.wrap(bytes(32), ["x"]),
        lambda: flaky.unwrap(wrapped, ["x"]),
        lambda: flaky.wrap_many([]),
        lambda: flaky.unwrap_many([]),
    ):
        with pytest.raises(error, match="as the test told it to"):
            call()
    assert flaky.calls == 4
    flaky.unavailable = flaky.denied = False
    assert flaky.unwrap(wrapped, ["x"]) == bytes(32)


_CONFTEST = 'pytest_plugins = ["securekit.testing.fixtures"]\n'
_TEST = """
def test_the_fixtures_belong_together(securekit_store, securekit_clock):
    ring = securekit_store.keyring("eu/acme/invoices", create=True)
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    securekit_clock.advance(60 + 86400 + 1)
    assert ring.destroy(old).key_ids == (old,)

def test_every_test_has_its_own(securekit_store):
    assert securekit_store.paths() == []
"""


@pytest.mark.measured
def test_the_fixtures_work_in_a_project_of_its_own(tmp_path: Path) -> None:
    """A conftest.py of one line gives a store, and the clock that it has."""
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_mine.py").write_text(_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": ""})
    assert "2 passed" in run.stdout, run.stdout
