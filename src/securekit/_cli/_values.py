# SPDX-License-Identifier: Apache-2.0
"""``securekit encrypt`` and ``securekit decrypt``: single values, and columns of CSV and JSON-lines files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import parse_context, with_store
from ._ui import handled

if TYPE_CHECKING:
    from collections.abc import Callable

    from securekit.keyring import KeyStore

__all__ = ["decrypt", "encrypt"]


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
    r"""Encrypt one value from stdin, or columns of FILE.

    \b
    echo -n "DE89 3704 0044" | securekit encrypt --keyring eu/acme/invoices --context id=42
    securekit encrypt customers.csv --keyring "eu/{account}/customers" --column iban --context column=iban --context "id={id}" -o sealed.csv
    """
    context = parse_context(pairs)
    if not columns:
        _write(store.keyring(path).encrypt_text(_read(file), context=context) + "\n", output)
        return
    _convert(file, columns, output, lambda text, row: store.keyring(_fill_path(path, row)).encrypt_text(text, context=_fill(context, row)))


@click.command()
@_options
@handled
@with_store
def decrypt(
    store: KeyStore, *, file: Path | None, path: str, pairs: tuple[str, ...], columns: tuple[str, ...], output: Path | None
) -> None:
    """Decrypt one value from stdin, or columns of FILE. The options are those of `securekit encrypt`."""
    context = parse_context(pairs)
    if not columns:
        _write(store.keyring(path).decrypt_text(_read(file).removesuffix("\n"), context=context), output)
        return
    _convert(file, columns, output, lambda text, row: store.keyring(_fill_path(path, row)).decrypt_text(text, context=_fill(context, row)))


def _read(file: Path | None) -> str:
    return file.read_text("utf-8") if file else sys.stdin.buffer.read().decode("utf-8")


def _convert(file: Path | None, columns: tuple[str, ...], output: Path | None, change: Callable[[str, dict[str, str]], str]) -> None:
    """Apply ``change`` to the columns of every row. The whole result is made before any of it is written."""
    if file is None:
        message = "columns are those of a FILE: name it"
        raise ValueError(message)
    from ._tables import read_table, write_table

    table = read_table(file)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        message = f"{file} has no column {missing[0]!r}; it has {', '.join(table.columns)}"
        raise ValueError(message)
    for row in table.rows:
        before = dict(row)
        for column in columns:
            if column in before:
                row[column] = change(before[column], before)
    _write(write_table(table), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    from securekit._wire.atomic import write_atomic

    write_atomic(output, text.encode())


def _fill_path(template: str, row: dict[str, str]) -> str:
    from securekit.keyring import fill_path

    return fill_path(template, row)


def _fill(context: dict[str, str], row: dict[str, str]) -> dict[str, str]:
    """Return the context with each value that is ``{name}`` replaced by the row's value of that column."""
    filled = {}
    for key, value in context.items():
        if value.startswith("{") and value.endswith("}"):
            if value[1:-1] not in row:
                message = f"the context {key}={value} names a column that the file has not"
                raise ValueError(message)
            filled[key] = row[value[1:-1]]
        else:
            filled[key] = value
    return filled
