# SPDX-License-Identifier: Apache-2.0
"""What a hash may cost on this machine: parameters for a time, the memory that they take, and how many logins a second that allows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from securekit.exceptions import FormatError

from ._cost import cost_of
from ._native import NativeHash
from ._stored import Cost

__all__ = ["Calibration", "calibrate"]

_PASSWORD = b"a password of some length"
_ROUNDS = 3  # of which the fastest counts: everything else is somebody else's work


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Attributes:
        scheme: As of `Profile`.
        parameters: The strongest that take no longer than the target.
        seconds: What one hash takes.
        memory: MiB that one hash takes.
        logins_per_second: With as many at once as there are processors.
        workers: How many that are.
    """

    scheme: str
    parameters: dict[str, int]
    seconds: float
    memory: float
    logins_per_second: float
    workers: int


def calibrate(
    target: float, *, scheme: str = "argon2id", max_memory: int = 1024, clock: Callable[[], float] = time.perf_counter
) -> Calibration:
    """Find the strongest parameters that take no longer than ``target`` on this machine; at least the weakest that are recommended.

    Args:
        target: Seconds, 0.01 to 10.
        scheme: ``"argon2id"``, ``"scrypt"``, ``"pbkdf2-sha256"`` or ``"bcrypt"``.
        max_memory: MiB that one hash may take.
        clock: For tests.

    Raises:
        ValueError: Another scheme or target.
    """
    if not 0.01 <= target <= 10:  # noqa: PLR2004 - stated above
        message = f"a target is 0.01 to 10 seconds, not {target}"
        raise ValueError(message)
    best: tuple[Cost, float] | None = None
    for cost in _ladder(scheme, max_memory):
        seconds = _measured(cost, clock)
        if best is not None and seconds > target:
            break
        best = (cost, seconds)
        if seconds > target:
            break
    if best is None:
        message = f"there is no scheme {scheme!r} that fits {max_memory} MiB: argon2id, scrypt, pbkdf2-sha256 or bcrypt"
        raise ValueError(message)
    cost, seconds = best
    # As many as there are processors, as long as all of them together take no more than one was allowed to.
    workers = max(min(os.cpu_count() or 1, 1024 * max_memory // max(cost.memory, 1)), 1)
    return Calibration(scheme, dict(cost.parameters), seconds, cost.memory / 1024, _throughput(cost, workers, clock), workers)


def _ladder(scheme: str, max_memory: int) -> Iterator[Cost]:
    """Yield costs, from the weakest that is recommended upwards: first in memory, which guessing lacks most, then in time."""
    steps: dict[str, list[dict[str, int]]] = {
        "argon2id": [{"m": m, "t": 2, "p": 1} for m in (19_456, 32_768, 47_104)]
        + [{"m": 65_536 << n, "t": t, "p": 1} for n in range(5) for t in (3, 4, 5)],
        "scrypt": [{"n": 1 << n, "r": 8, "p": 1} for n in range(17, 24)],
        "pbkdf2-sha256": [{"iterations": 600_000 * 6**n // 5**n // 1000 * 1000} for n in range(22)],
        "bcrypt": [{"rounds": n} for n in range(10, 20)],
    }
    for parameters in steps.get(scheme, []):
        try:
            cost = cost_of(scheme, parameters)
        except FormatError:
            return
        if cost.memory <= 1024 * max_memory:
            yield cost


def _measured(cost: Cost, clock: Callable[[], float]) -> float:
    times = []
    for _ in range(_ROUNDS):
        begin = clock()
        NativeHash.create(cost, _PASSWORD)
        times.append(clock() - begin)
    return min(times)


def _throughput(cost: Cost, workers: int, clock: Callable[[], float]) -> float:
    with ThreadPoolExecutor(workers) as pool:
        begin = clock()
        list(pool.map(lambda _: NativeHash.create(cost, _PASSWORD), range(2 * workers)))
        seconds = clock() - begin
    return 2 * workers / seconds if seconds else float("inf")
