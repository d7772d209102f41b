# SPDX-License-Identifier: Apache-2.0
"""The tool that compares two callables compares them in turn, and judges by the right side of the goal."""

from __future__ import annotations

from time import sleep

import pytest

from benchmarks.ratio import Ratio, compare, show


def test_both_sides_are_measured_in_turn() -> None:
    """After one warm-up each, the rounds alternate: A B A B."""
    calls: list[str] = []

    compare(lambda: calls.append("A"), lambda: calls.append("B"), name="turns", goal=1, rounds=3, number=2)

    assert "".join(calls) == "AB" + "AABB" * 3


@pytest.mark.parametrize(
    ("ratio", "value", "met"),
    [
        (Ratio("slower, within", 3e-6, 1e-6, goal=3.5), 3.0, True),
        (Ratio("slower, past", 3e-6, 1e-6, goal=2.5), 3.0, False),
        (Ratio("faster, enough", 1e-3, 4e-3, goal=3, at_least=True), 4.0, True),
        (Ratio("faster, not enough", 1e-3, 2e-3, goal=3, at_least=True), 2.0, False),
    ],
    ids=lambda case: case.name if isinstance(case, Ratio) else "",
)
def test_a_goal_is_judged_by_its_own_side(ratio: Ratio, value: float, met: bool) -> None:
    """At most so many times the reference's time, or at least so many times faster."""
    assert ratio.value == pytest.approx(value)
    assert ratio.met is met


def test_times_are_per_item() -> None:
    """A call that works on many items is shown by what one of them takes; the ratio is the same."""
    ratio = compare(lambda: sleep(0.02), lambda: sleep(0.01), name="sleep", goal=None, rounds=3, number=1, items=1000)

    assert 20e-6 <= ratio.subject < 2e-3
    assert ratio.met


def test_the_table_has_one_line_for_each_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is pasted into the README as it is."""
    show(Ratio("encrypt", 1.6e-6, 0.8e-6, goal=3), Ratio("load", 2.0, 5e-8, goal=2), Ratio("size", 77, 1540, goal=None, unit="bytes"))

    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| encrypt | 1.60 µs | 800 ns | 2.00 × | ≤ 3 × | met |",
        "| load | 2.00 s | 50 ns | 40000000.00 × | ≤ 2 × | NOT MET |",
        "| size | 77 bytes | 1,540 bytes | 0.05 × |  |  |",
    ]
