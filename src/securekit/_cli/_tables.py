# SPDX-License-Identifier: Apache-2.0
"""Tables of text, read and written in batches of rows: CSV with a header, and JSON lines.

A file of any size passes through in bounded memory. Of a CSV file, values stay as they are, lines end as its first one
does, and quotes are written where they are needed; of a JSON line, members keep their order and their types.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from securekit.exceptions import FormatError

__all__ = ["Row", "Table", "open_table"]

Row = dict[str, Any]
_BATCH = 1000  # rows
_JSON_LINES = {".jsonl", ".ndjson"}
_MAX_FIELD = 128 * 1024 * 1024  # characters of a CSV value: more than the text form of the longest record


class Table(Protocol):
    """Rows of named values."""

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise ``ValueError`` if one of ``names`` is known not to be a column."""

    def batches(self) -> Iterator[list[Row]]:
        """Yield the rows, up to 1,000 at a time."""

    def write(self, rows: Sequence[Row], output: BinaryIO) -> None:
        """Write ``rows`` behind those written before; a header first, also when there are none."""


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
        csv.field_size_limit(_MAX_FIELD)  # of 131,072, which the text form of a record may exceed; the module has only this one
        first = file.readline()
        self._path = path
        self._line_end = "\r\n" if first.endswith("\r\n") else "\n"
        self._reader = csv.DictReader(chain([first], file), strict=True)
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
        writer = csv.DictWriter(_Lines(output, self._line_end), self._columns, lineterminator="\r\n")
        if not self._header_written:
            writer.writeheader()
            self._header_written = True
        writer.writerows(rows)


class _Lines:
    """Takes lines that end in CRLF, so that values with either character are quoted, and ends them as the input's do."""

    def __init__(self, output: BinaryIO, line_end: str) -> None:
        self._output = output
        self._line_end = line_end

    def write(self, line: str) -> None:
        self._output.write((line.removesuffix("\r\n") + self._line_end).encode())


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
        output.writelines(_encode(row) + b"\n" for row in rows)

    def _row(self, number: int, line: str) -> Row:
        try:
            row = json.loads(line, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
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
        message = f"{path}, in the row that begins at line {reader.line_num + 1}: {error}"
        raise FormatError(message) from None


def _encode(row: Row) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # JSON's escapes can say half of a character (RFC 8259, section 8.2)
        return json.dumps(row).encode()


def _finite(text: str) -> float:
    """Return the number; refuse NaN and Infinity, which are not JSON, and what would come back as one of them."""
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError
    return row
