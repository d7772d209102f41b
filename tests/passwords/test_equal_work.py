# SPDX-License-Identifier: Apache-2.0
"""Nobody can tell by the clock why a login failed; and what measures that finds an early return."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import combinations
from math import sqrt
from statistics import fmean, variance

import pytest

from securekit.exceptions import PasswordError
from securekit.passwords import PasswordHasher
from securekit.testing import memory_store
from tests.conftest import Count
from tests.costs import untraced

PASSWORD = "correct horse battery staple"
LIMIT = 10  # of Welch's t


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of the processor that a failing login takes, so that others on the machine do not count."""
    begin = time.thread_time()
    with pytest.raises(PasswordError):
        call()
    return time.thread_time() - begin


def measured(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each case so many times, in an order that changes from round to round."""
    samples: dict[str, list[float]] = {name: [] for name in cases}
    order = random.Random(7)
    with untraced():
        for _ in range(rounds):
            for name in order.sample(list(cases), len(cases)):
                samples[name].append(timed(cases[name]))
    return samples


def welch(one: list[float], other: list[float]) -> float:
    """Return Welch's t: how many standard errors lie between two means."""
    return (fmean(one) - fmean(other)) / sqrt(variance(one) / len(one) + variance(other) / len(other))


def told_apart(samples: dict[str, list[float]]) -> set[tuple[str, str]]:
    return {(one, other) for one, other in combinations(samples, 2) if abs(welch(samples[one], samples[other])) >= LIMIT}


def failures(hasher: PasswordHasher, stored: str, user: str | None = None) -> dict[str, Callable[[], object]]:
    """Return a login that fails for each reason."""

    def login(password: str, text: str | None) -> Callable[[], object]:
        return lambda: hasher.verify(password, hash=text, user=user)

    return {
        "wrong password": login("correct horse battery stable", stored),
        "unknown user": login(PASSWORD, None),
        "empty password": login("", stored),
        "over-long password": login("x" * 100_000, stored),
        "lone surrogate": login("\ud800", stored),
        "malformed hash": login(PASSWORD, stored[:-1]),
        "no hash": login(PASSWORD, "!"),
        "hostile cost": login(PASSWORD, "$securekit$v=1,n=nfkc$pbkdf2-sha256$i=2147483648$AAAA$AAAA"),
    }


@pytest.mark.parametrize(("profile", "rounds"), [("owasp", 24), pytest.param("fips", 10, marks=pytest.mark.slow)])
def test_every_failure_costs_one_verification(profile: str, rounds: int, count: Count) -> None:
    """No pair of reasons can be told apart by its time, over enough samples; and none costs less than a login that succeeds."""
    hasher = PasswordHasher(profile)
    stored = hasher.hash(PASSWORD)

    samples = measured(failures(hasher, stored), rounds)

    assert told_apart(samples) == set()
    begin = time.thread_time()
    hasher.verify(PASSWORD, hash=stored)
    success = time.thread_time() - begin
    assert all(fmean(times) > success / 2 for times in samples.values())
    count("failing logins timed", sum(map(len, samples.values())))


def test_every_failure_costs_one_verification_with_a_pepper(count: Count) -> None:
    """The pepper's few microseconds tell nothing either."""
    hasher = PasswordHasher("owasp", pepper=memory_store().keyring("eu/acme/passwords", create=True))

    samples = measured(failures(hasher, hasher.hash(PASSWORD, user="7"), "7"), 16)

    assert told_apart(samples) == set()
    count("failing logins timed", sum(map(len, samples.values())))


class EarlyReturn(PasswordHasher):
    """A hasher with the bug that is looked for: nobody there, nothing to do."""

    def verify(self, password: str, *, hash: str | None, user: str | None = None) -> None:  # type: ignore[override] # noqa: A002
        if hash is None:
            raise PasswordError
        super().verify(password, hash=hash, user=user)


def test_the_measurement_finds_a_planted_early_return() -> None:
    """Where an unknown user costs nothing, every pair with that reason is found, and no other."""
    hasher = EarlyReturn("owasp")

    found = told_apart(measured(failures(hasher, PasswordHasher("owasp").hash(PASSWORD)), 8))

    assert {name for pair in found for name in pair if name != "unknown user"} == failures(hasher, "").keys() - {"unknown user"}
    assert all("unknown user" in pair for pair in found)
