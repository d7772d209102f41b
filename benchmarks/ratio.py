# SPDX-License-Identifier: Apache-2.0
"""Compare two callables in one run: A B A B …, medians, one ratio.

The machines are shared and noisy, so an absolute time says little; two things measured in turn share the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Literal

__all__ = ["Ratio", "compare", "show"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """What one comparison found.

    Attributes:
        name: What was measured, as it stands in the table of the README.
        subject: What the subject takes: the median time of one item in seconds, or a size in bytes.
        reference: The same of the reference.
        goal: The largest ratio that meets the goal; for ``at_least``, the smallest. None where there is no goal.
        at_least: Whether more is better: then the ratio is reference to subject, "so many times faster".
        unit: What was measured.
    """

    name: str
    subject: float
    reference: float
    goal: float | None
    at_least: bool = False
    unit: Literal["seconds", "bytes"] = "seconds"

    @property
    def value(self) -> float:
        """The ratio itself."""
        return self.reference / self.subject if self.at_least else self.subject / self.reference

    @property
    def met(self) -> bool:
        """Whether the goal is met, or there is none."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def __str__(self) -> str:
        """Return the line that is printed, in the columns of the README's table."""
        measured = _time if self.unit == "seconds" else _size
        goal, verdict = "", ""
        if self.goal is not None:
            goal = f"{'≥' if self.at_least else '≤'} {self.goal:g} ×"
            verdict = "met" if self.met else "NOT MET"
        return f"| {self.name} | {measured(self.subject)} | {measured(self.reference)} | {self.value:.2f} × | {goal} | {verdict} |"


def compare(
    subject: Callable[[], object],
    reference: Callable[[], object],
    *,
    name: str,
    goal: float | None,
    rounds: int,
    number: int,
    items: int = 1,
    at_least: bool = False,
) -> Ratio:
    """Measure ``subject`` and ``reference`` in turn.

    Args:
        subject: What is judged; called without arguments.
        reference: What it is held against.
        name: What is measured, for the table.
        goal: The ratio to reach, if there is one.
        rounds: How often each is timed. The median is taken over the rounds.
        number: Calls per round.
        items: How many items one call works on; times are per item.
        at_least: The goal is "so many times faster than the reference" and not "so many times its time at most".
    """
    for warm_up in (subject, reference):
        warm_up()
    subjects, references = [], []
    for _ in range(rounds):
        subjects.append(_timed(subject, number))
        references.append(_timed(reference, number))
    return Ratio(name, median(subjects) / items, median(references) / items, goal, at_least)


def show(*ratios: Ratio) -> None:
    """Print comparisons as the table that the README keeps."""
    print("| what | securekit | reference | ratio | goal | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for ratio in ratios:
        print(ratio)


def _timed(call: Callable[[], object], number: int) -> float:
    start = perf_counter()
    for _ in range(number):
        call()
    return (perf_counter() - start) / number


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def _size(size: float) -> str:
    return f"{size:,.0f} bytes"
