# SPDX-License-Identifier: Apache-2.0
"""The vendored vectors are the ones whose provenance is written down."""

from __future__ import annotations

import re
from pathlib import Path

VECTORS = Path(__file__).parent / "vectors"
LINE = re.compile(r"- `(?P<name>[^`]+)` \| (?P<size>\d+) \| (?P<cases>\d+)[^|]* \| (?P<source>[^|]+) \| (?P<licence>[^|\n]+)")


def test_every_vector_file_has_a_line_of_provenance_with_its_size() -> None:
    """No vector file is without source and licence, and none was edited to another length."""
    text = "\n".join(path.read_text() for path in VECTORS.glob("PROVENANCE*.md"))

    written = {match["name"]: int(match["size"]) for match in map(LINE.fullmatch, text.splitlines()) if match}

    present = {
        path.relative_to(VECTORS).as_posix(): path.stat().st_size
        for path in VECTORS.rglob("*")
        if path.is_file() and path.suffix != ".md" and "golden" not in path.relative_to(VECTORS).parts
    }
    assert written == present
