# SPDX-License-Identifier: Apache-2.0
"""Tables of text: CSV with a header, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from securekit.exceptions import FormatError

__all__ = ["Table", "read_table", "write_table"]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of named values; ``dialect`` is None for JSON lines."""

    columns: list[str]
    rows: list[dict[str, str]]
    csv: bool


def read_table(file: Path) -> Table:
    """Return the rows of a ``.csv`` file, or of a JSON-lines file (``.jsonl`` or ``.ndjson``) whose values are strings.

    Raises:
        securekit.exceptions.FormatError: The file is neither; the message names the line.
    """
    text = file.read_text("utf-8")
    if file.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = []
        for row in reader:
            if None in row or None in row.values():
                message = f"{file}, line {reader.line_num}: the row has not as many values as the header"
                raise FormatError(message)
            rows.append(row)
        return Table(list(reader.fieldnames or []), rows, csv=True)
    if file.suffix in {".jsonl", ".ndjson"}:
        rows = [_json_row(line, number, file) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        return Table(list(dict.fromkeys(name for row in rows for name in row)), rows, csv=False)
    message = f"{file} ends in neither .csv nor .jsonl"
    raise FormatError(message)


def write_table(table: Table) -> str:
    """Return the file's text."""
    if not table.csv:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.rows)
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, table.columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.rows)
    return buffer.getvalue()


def _json_row(line: str, number: int, file: Path) -> dict[str, str]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
        message = f"{file}, line {number}: not a JSON object of strings"
        raise FormatError(message)
    return row
