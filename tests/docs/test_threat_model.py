# SPDX-License-Identifier: Apache-2.0
"""Each promise of the threat model names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(?P<file>tests/[\w/]+\.py)(?:::(?P<test>\w+))?`")


def test_each_promise_names_a_test_that_is_there() -> None:
    """A row of the table has at least one test in its fourth column, and every test named on the page exists."""
    page = (ROOT / "docs/explanation/threat-model.md").read_text()
    table = page.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")][2:]
    named = [(match["file"], match["test"]) for match in NAMED.finditer(page)]

    missing = [f"{file}::{test}" for file, test in named if test and f"\ndef {test}(" not in _text(file)]
    missing += [file for file, test in named if not test and not (ROOT / file).exists()]

    assert missing == []
    assert [row[3] for row in rows if not NAMED.search(row[4])] == []
    assert len(rows) > 10


def _text(file: str) -> str:
    path = ROOT / file
    return path.read_text() if path.exists() else ""
