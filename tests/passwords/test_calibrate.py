# SPDX-License-Identifier: Apache-2.0
"""Parameters are as strong as the time allows, and never weaker than what is recommended."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from securekit.passwords import Profile, calibrate
from securekit.passwords._calibrate import _ladder

SCHEMES = pytest.mark.parametrize("scheme", ["argon2id", "scrypt", "pbkdf2-sha256", "bcrypt"])


def taking(*seconds: float) -> Callable[[], float]:
    """Return a clock by which one measurement after the other takes so long, and the last for ever."""
    now = 0.0

    def readings() -> Iterator[float]:
        nonlocal now
        for duration in itertools.chain(seconds, itertools.repeat(seconds[-1])):
            yield now
            now += duration
            yield now

    return readings().__next__


def test_the_strongest_that_is_fast_enough_is_found() -> None:
    """The fastest of three measurements counts; the first step that takes too long ends it. Logins are those of all processors at once."""
    found = calibrate(0.25, scheme="bcrypt", clock=taking(0.9, 0.2, 0.8, 0.3, 0.3, 0.3, 4.0))
    workers = os.cpu_count() or 1

    assert found.scheme == "bcrypt"
    assert found.parameters == {"rounds": 10}
    assert found.seconds == pytest.approx(0.2)
    assert found.memory == pytest.approx(4 / 1024)
    assert found.workers == workers
    assert found.logins_per_second == pytest.approx(2 * workers / 4)


def test_a_slow_machine_gets_what_is_recommended_at_least() -> None:
    """However long that takes."""
    found = calibrate(0.01, clock=taking(3.0))

    assert found.parameters == {"m": 19_456, "t": 2, "p": 1}
    assert found.seconds == pytest.approx(3)
    assert found.memory == 19


def test_no_more_memory_is_taken_than_allowed() -> None:
    """Also where there would be time; a clock that is too coarse to see anything ends nothing."""
    found = calibrate(1, max_memory=19, clock=taking(0.0))

    assert found.parameters == {"m": 19_456, "t": 2, "p": 1}
    assert found.logins_per_second == float("inf")


@SCHEMES
def test_every_step_is_stronger_than_the_one_before_and_a_profile(scheme: str) -> None:
    """Memory never falls on the way up, and work never falls within one memory; each step is a profile that nothing refuses."""
    costs = list(_ladder(scheme, 4096))

    assert len(costs) >= 5
    for below, above in itertools.pairwise(costs):
        work = [max(cost.parameters.get(name, 0) for name in ("t", "n", "iterations", "rounds")) for cost in (below, above)]
        assert (below.memory, work[0]) < (above.memory, work[1])
    assert all(Profile("calibrated", scheme, cost.parameters).cost == cost for cost in costs)
    assert all(cost.memory <= 64 * 1024 for cost in _ladder(scheme, 64))


@pytest.mark.parametrize("target", [0, 0.009, 10.1, -1, float("nan"), float("inf")])
def test_a_target_out_of_bounds_is_refused(target: float) -> None:
    """0.01 to 10 seconds."""
    with pytest.raises(ValueError, match=r"0\.01 to 10"):
        calibrate(target)


@pytest.mark.parametrize(("scheme", "memory"), [("md5", 1024), ("argon2id", 18), ("scrypt", 127)])
def test_what_cannot_be_measured_is_refused(scheme: str, memory: int) -> None:
    """Another scheme, or one whose least does not fit."""
    with pytest.raises(ValueError, match="no scheme"):
        calibrate(0.25, scheme=scheme, max_memory=memory)


def test_a_long_target_does_not_take_all_day() -> None:
    """Steps of PBKDF2 grow by a factor: all of them together take a few times as long as the last."""
    iterations = [cost.parameters["iterations"] for cost in _ladder("pbkdf2-sha256", 1)]

    assert max(above / below for below, above in itertools.pairwise(iterations)) < 1.25
    assert iterations[-1] > 25_000_000
    assert sum(iterations) < 7 * iterations[-1]
