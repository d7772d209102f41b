# SPDX-License-Identifier: Apache-2.0
"""Tables of text, read and written in batches of rows: CSV with a header, and JSON lines.

A file of any size passes through in bounded memory. Of a CSV file, values stay as they are, and quotes are written where
they are needed; of a JSON line, members keep their order and their types.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from securekit.exceptions import FormatError

__all__ = ["Row", "Table", "open_table"]

Row = dict[str, Any]
_BATCH = 1000  # rows
_JSON_LINES = {".jsonl", ".ndjson"}


class Table(Protocol):
    """Rows of named values."""

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise ``ValueError`` if one of ``names`` is known not to be a column."""

    def batches(self) -> Iterator[list[Row]]:
        """Yield the rows, up to 1,000 at a time."""

    def write(self, rows: Sequence[Row], output: BinaryIO) -> None:
        """Write ``rows`` behind those written before."""


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """Open a ``.csv`` file, or a JSON-lines file (``.jsonl`` or ``.ndjson``), in UTF-8.

    Raises:
        securekit.exceptions.FormatError: The file is neither, or damaged; the message names the line.
    """
    if path.suffix not in {".csv", *_JSON_LINES}:
        message = f"{path} ends in neither .csv nor .jsonl"
        raise FormatError(message)
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield _JsonLines(path, file) if path.suffix in _JSON_LINES else _Csv(path, file)
        except UnicodeDecodeError:
            message = f"{path} is not UTF-8 text"
            raise FormatError(message) from None


class _Csv:
    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._reader = csv.DictReader(file, strict=True)
        self._header_written = False
        with _damage(path, self._reader):
            self._columns = list(self._reader.fieldnames or [])
        if not self._columns or len(set(self._columns)) != len(self._columns):
            message = f"{path} has no header, or one with a name twice"
            raise FormatError(message)

    def check_columns(self, names: Iterable[str]) -> None:
        missing = [name for name in names if name not in self._columns]
        if missing:
            message = f"{self._path} has no column {missing[0]!r}; it has {', '.join(self._columns)}"
            raise ValueError(message)

    def batches(self) -> Iterator[list[Row]]:
        with _damage(self._path, self._reader):
            while rows := list(islice(self._reader, _BATCH)):
                if any(None in row or None in row.values() for row in rows):
                    message = f"{self._path}, at or above line {self._reader.line_num}: a row has not as many values as the header"
                    raise FormatError(message)
                yield list(rows)

    def write(self, rows: Sequence[Row], output: BinaryIO) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if not self._header_written:
            writer.writeheader()
            self._header_written = True
        writer.writerows(rows)
        output.write(text.getvalue().encode())


class _JsonLines:
    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())

    def check_columns(self, names: Iterable[str]) -> None:
        """Every line has members of its own."""

    def batches(self) -> Iterator[list[Row]]:
        while rows := [self._row(number, line) for number, line in islice(self._lines, _BATCH)]:
            yield rows

    def write(self, rows: Sequence[Row], output: BinaryIO) -> None:
        output.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)

    def _row(self, number: int, line: str) -> Row:
        try:
            row = json.loads(line, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            message = f"{self._path}, line {number}: not a JSON object, or one with a member twice"
            raise FormatError(message)
        return row


@contextmanager
def _damage(path: Path, reader: csv.DictReader[str]) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        message = f"{path}, line {reader.line_num}: {error}"
        raise FormatError(message) from None


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError
    return row
