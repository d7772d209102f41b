# SPDX-License-Identifier: Apache-2.0
"""Journals of rotations, and what a run makes of each: written down from ``docs/reference/rotation-journal.md`` alone."""

from __future__ import annotations

import json
from typing import Any

from tests.vectors.golden.scenario import PATH, Scenario, Scenarios, drawn

__all__ = ["journals"]

RING = drawn("keyring of a journal", 16).hex()
OLD, NEW = "1f3a01c2", "9f3a01c2"
SOURCE = "sql app/customers(email, iban)"
TOTALS = {"examined": 1000, "changed": 990, "current": 7, "busy": 1, "size": 81_000, "failed": 2}
ATTEMPT = {"attempt": {"at": "2026-11-26T01:30:27+00:00", "by": "ops@db1", "securekit": "0.1.0"}}
FAILED = {"failed": {"item": "customers 17 iban", "error": "FormatError", "reason": "not a securekit record"}}
DONE = {"done": {"place": "[999]", "totals": TOTALS}}
FINISHED = {"finished": "2026-11-26T01:31:27+00:00"}


def journals() -> Scenarios:
    """Return the scenarios by name."""
    plan = plan_of()
    begun: list[dict[str, Any]] = [{"journal": "securekit/rotation-journal/1", **plan}, ATTEMPT]
    ended = [*begun, FAILED, DONE]
    other = {"targets": {"eu/globex/customers": f"{drawn('another keyring', 16).hex()}@00000001"}}
    progress = {"place": "[999]", "round": 1, "finished": False, "totals": TOTALS, "failures": [FAILED["failed"]], "attempts": 1}
    start = {"place": "", "round": 1, "finished": False, "totals": dict.fromkeys(TOTALS, 0), "failures": [], "attempts": 1}
    again = progress | {"place": "", "round": 2, "failures": [], "totals": TOTALS | {"busy": 0, "failed": 0}}
    novel: list[dict[str, Any]] = [
        {"novelty": {"of": "tomorrow"}},
        {"done": {"place": "[1999]", "totals": TOTALS | {"skipped": 3}, "speed": 7}},
    ]
    return {
        "begun": scenario(begun, plan, start),
        "in-the-middle": scenario(ended, plan, progress),
        "cut-off-line": scenario(ended, plan, progress, tail='{"done":{"place":"[1499]","tot'),
        "cut-off-before-its-line-feed": scenario(ended, plan, progress, tail=json.dumps({"done": {"place": "[1499]", "totals": TOTALS}})),
        "resumed": scenario([*ended, ATTEMPT], plan, progress | {"attempts": 2}),
        "finished": scenario([*ended, FINISHED], plan, progress | {"finished": True}),
        "next-round": scenario([*ended, {"round": 2}], plan, again),
        "keyring-that-came-later": scenario([*ended, other], plan_of(**other["targets"]), progress),
        "of-a-newer-securekit": scenario([*ended, *novel], plan, progress | {"place": "[1999]"}),
        "rewrap": scenario(
            [{"journal": "securekit/rotation-journal/1", **plan, "kind": "rewrap"}, ATTEMPT, DONE],
            plan | {"kind": "rewrap"},
            progress | {"failures": []},
        ),
        "another-primary": refused([*ended], plan_of(**{PATH: f"{RING}@{OLD}"})),
        "another-source": refused([*ended], plan | {"source": "sql app/orders(iban)"}),
        "another-kind": refused([*ended], plan | {"kind": "rewrap"}),
        "other-settings": refused([*ended], plan | {"settings": {"drop": ["0bac1fe1ddce8316"]}}),
        "another-format": refused([{"journal": "securekit/rotation-journal/2", **plan}, ATTEMPT], plan),
        "damaged-line": refused([*begun], plan, tail="{\n" + json.dumps(DONE) + "\n"),
    }


def plan_of(**targets: str) -> dict[str, Any]:
    """Return what a plan is, with more or other targets."""
    return {"kind": "re-encrypt", "source": SOURCE, "settings": {}, "targets": {PATH: f"{RING}@{NEW}"} | targets}


def scenario(lines: list[dict[str, Any]], plan: dict[str, Any], progress: dict[str, Any], *, tail: str = "") -> Scenario:
    """Return a journal that goes with a plan, and how far its run is."""
    return {"expect": "success", "plan": plan, "journal": text(lines) + tail, "progress": progress}


def refused(lines: list[dict[str, Any]], plan: dict[str, Any], *, tail: str = "") -> Scenario:
    """Return a journal that does not."""
    return {"expect": "rotation error", "plan": plan, "journal": text(lines) + tail}


def text(lines: list[dict[str, Any]]) -> str:
    """Return the lines of a file."""
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
