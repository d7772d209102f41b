# SPDX-License-Identifier: Apache-2.0
"""``securekit encrypt`` and ``securekit decrypt``: single values, and columns of CSV and JSON-lines files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from securekit.exceptions import FormatError, SecureKitError

from ._options import parse_context, with_store
from ._ui import fail, fail_with, handled, progress

if TYPE_CHECKING:
    from securekit.keyring import Keyring, KeyStore

    from ._tables import Row

__all__ = ["decrypt", "encrypt"]

_FIELD = re.compile(r"\{([^{}]+)\}")

Items = list[tuple[bytes, dict[str, str]]]
Convert = Callable[["Keyring", "Items"], "list[bytes | SecureKitError]"]


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "-o", "--output", type=click.Path(path_type=Path), help="Write to this file, complete or not at all; stdout if not given."
        ),
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="NAME",
            help="A column of FILE (CSV with a header, or JSON lines); may be given several times.",
        ),
        click.option(
            "--context",
            "pairs",
            multiple=True,
            metavar="KEY=VALUE",
            help="What the value belongs to; may be given several times. In a file, {name} is the row's value of that column.",
        ),
        click.option(
            "--keyring", "path", required=True, metavar="PATH", help="The keyring; in a file, {name} is the row's value of that column."
        ),
        click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False),
    ):
        command = option(command)
    return command


@click.command()
@_options
@handled
@with_store
def encrypt(
    store: KeyStore, *, file: Path | None, path: str, pairs: tuple[str, ...], columns: tuple[str, ...], output: Path | None
) -> None:
    """Encrypt one value (FILE or stdin), or columns of FILE.

    \b
    echo -n "DE89 3704 0044" | securekit encrypt --keyring eu/acme/invoices --context id=42
    securekit encrypt customers.csv --keyring "eu/{account}/customers" --column iban --context column=iban --context "id={id}" -o sealed.csv
    """
    context = parse_context(pairs)
    if columns:
        _Job(store, path, context, _encrypt_cells).run(file, columns, output)
        return
    from securekit.keyring import to_text

    record = store.keyring(path).encrypt(_read(file), context=context)
    with _writing(output) as out:
        out.write(to_text(record).encode() + b"\n")


@click.command()
@_options
@handled
@with_store
def decrypt(
    store: KeyStore, *, file: Path | None, path: str, pairs: tuple[str, ...], columns: tuple[str, ...], output: Path | None
) -> None:
    """Decrypt one value (FILE or stdin), or columns of FILE. The options are those of `securekit encrypt`."""
    context = parse_context(pairs)
    if columns:
        _Job(store, path, context, _decrypt_cells).run(file, columns, output)
        return
    data = store.keyring(path).decrypt(_as_record(_read(file)), context=context)
    with _writing(output) as out:
        out.write(data)


def _read(file: Path | None) -> bytes:
    return file.read_bytes() if file else sys.stdin.buffer.read()


def _as_record(data: bytes) -> bytes:
    """Return the record in ``data``: itself, or its text form with perhaps a line's end."""
    from securekit.keyring import from_text

    return from_text(data.removesuffix(b"\n").decode("ascii", errors="replace")) if data[:4] == b"sk1." else data


@dataclass(frozen=True, slots=True)
class _Job:
    """What is done to the columns of a file: ``path`` and ``context`` are templates that each row fills."""

    store: KeyStore
    path: str
    context: dict[str, str]
    convert: Convert

    def run(self, file: Path | None, columns: tuple[str, ...], output: Path | None) -> None:
        """Convert ``columns`` of every row of ``file``, a batch at a time."""
        if file is None:
            message = "columns are those of a FILE: name it"
            raise ValueError(message)
        from ._tables import open_table

        fields = [field for template in (self.path, *self.context.values()) for field in _FIELD.findall(template)]
        with open_table(file) as table, _writing(output) as out, progress("rows") as advance:
            table.check_columns([*columns, *fields])
            first, absent = 1, set(columns)
            for rows in table.batches():
                before = [dict(row) for row in rows]
                absent = {column for column in absent if not any(column in row for row in rows)}
                for column in columns:
                    self._convert_column(column, rows, before, where=f"{file}, column {column}", first=first)
                table.write(rows, out)
                first += len(rows)
                advance(len(rows))
            if first == 1:
                table.write([], out)
            elif absent:
                message = f"no line of {file} has a member {min(absent)!r}"
                raise FormatError(message)

    def _convert_column(self, column: str, rows: list[Row], before: list[Row], *, where: str, first: int) -> None:
        """Change one column of a batch, keyring by keyring. A value that is absent or null stays so."""
        by_path: dict[str, tuple[list[int], Items]] = {}
        for number, row in enumerate(before):
            if row.get(column) is None:
                continue
            try:
                places, items = by_path.setdefault(_fill_path(self.path, row), ([], []))
                items.append((_as_text(row[column]), {key: _fill(template, row) for key, template in self.context.items()}))
            except (SecureKitError, ValueError) as error:
                fail_with(error, f"{where}, row {first + number}")
            places.append(number)
        for path, (places, items) in by_path.items():
            for number, result in zip(places, self.convert(self.store.keyring(path), items), strict=True):
                if isinstance(result, SecureKitError):
                    fail_with(result, f"{where}, row {first + number}")
                try:
                    rows[number][column] = result.decode()
                except UnicodeDecodeError:
                    fail(f"{where}, row {first + number}: the value is not text; decrypt it alone, without --column")


def _as_text(value: object) -> bytes:
    if not isinstance(value, str):
        message = f"the value is {type(value).__name__}, not text"
        raise FormatError(message)
    try:
        return value.encode()
    except UnicodeEncodeError:
        pass  # that error would carry the value
    message = "the value is not text: it has half of a character"
    raise FormatError(message)


def _encrypt_cells(ring: Keyring, items: Items) -> list[bytes | SecureKitError]:
    from securekit.keyring import to_text

    return [to_text(record).encode() for record in ring.encrypt_many(items)]


def _decrypt_cells(ring: Keyring, items: Items) -> list[bytes | SecureKitError]:
    from securekit.keyring import from_text

    results: list[bytes | SecureKitError] = []
    good: Items = []
    for text, context in items:
        try:
            good.append((from_text(text.decode()), context))
            results.append(b"")
        except FormatError as error:
            results.append(error)
    opened = iter(ring.decrypt_many(good, errors="return"))
    return [next(opened) if result == b"" else result for result in results]


@contextmanager
def _writing(output: Path | None) -> Iterator[BinaryIO]:
    """Give a file that is ``output`` once it is complete, or stdout."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from securekit._wire.atomic import atomic_writer

    with atomic_writer(output) as out:
        yield out


def _fill_path(template: str, row: Row) -> str:
    from securekit.keyring import fill_path

    return fill_path(template, {name: _value(row, name) for name in _FIELD.findall(template)})


def _fill(template: str, row: Row) -> str:
    """Return ``template`` with each ``{name}`` replaced by the row's value of that column."""
    return _FIELD.sub(lambda match: _value(row, match[1]), template)


def _value(row: Row, name: str) -> str:
    found = row.get(name)
    if isinstance(found, bool) or not isinstance(found, str | int):
        message = f"{{{name}}} is a column whose value is missing, or neither text nor a whole number"
        raise FormatError(message)
    return str(found)
