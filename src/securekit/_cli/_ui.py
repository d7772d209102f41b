# SPDX-License-Identifier: Apache-2.0
"""How the command line speaks.

RULES. Results go to stdout, everything else to stderr. An error is one line ``securekit: error: …``, and perhaps
``securekit: hint: …``; what works and should not be so is ``securekit: warning: …``. Exit codes: 0 done, 1 failed,
2 wrong usage, 3 could not decrypt or verify. What lists has ``--json``; what changes has ``--dry-run`` or is undone by
another command; what destroys asks, unless ``--yes``. What takes long shows its progress on a terminal, and a line now
and then elsewhere. Secrets come from files, stdin or a prompt, never from an argument.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from securekit.exceptions import DecryptionError, SecureKitError, SecurityWarning

if TYPE_CHECKING:
    from securekit.wrappers import WrappedKey

__all__ = [
    "FAILED",
    "STOPPED",
    "UNVERIFIED",
    "fail",
    "fail_with",
    "handled",
    "note",
    "print_json",
    "print_table",
    "printable",
    "progress",
    "recipient",
    "show_warnings",
]

FAILED = 1
UNVERIFIED = 3
STOPPED = 130  # as shells have it for an interrupt
_SAY_EVERY = 5.0  # seconds

F = TypeVar("F", bound=Callable[..., Any])


def note(text: str) -> None:
    """Say something that is not the result."""
    click.echo(text, err=True)


def printable(text: str) -> str:
    """Return ``text`` without what could steer a terminal: names in documents come from anybody."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def fail(text: str, *, hint: str = "", code: int = FAILED) -> NoReturn:
    """Say what went wrong, and end."""
    note(f"securekit: error: {printable(text)}")
    if hint:
        note(f"securekit: hint: {printable(hint)}")
    sys.exit(code)


def fail_with(error: Exception, where: str = "") -> NoReturn:
    """Say what ``error`` says, and where it happened, and end with its exit code."""
    if isinstance(error, BrokenPipeError):
        raise error  # click ends quietly: who reads our output has seen enough
    if isinstance(error, OSError):
        fail(f"{where or error.filename or 'input or output'}: {error.strerror or error}")
    text = f"{where}: {error}" if where else str(error)
    if isinstance(error, DecryptionError):
        fail(text, code=UNVERIFIED)
    if isinstance(error, SecureKitError) or where:
        fail(text)
    raise click.UsageError(text, ctx=click.get_current_context(silent=True)) from None


@contextmanager
def progress(unit: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Give what is called with each number of units done, by any thread."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.text import Text

        class RateColumn(ProgressColumn):
            """Shows how many units are done per second."""

            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:,.0f}/s" if task.speed else "")

        amount = [DownloadColumn(), TransferSpeedColumn()] if unit == "bytes" else [TextColumn("{task.percentage:>3.0f} %"), RateColumn()]
        columns = [TextColumn("{task.description}"), BarColumn(), *amount, TimeRemainingColumn()]
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(unit, total=total)
            yield lambda done: bar.advance(task, done)
        return
    begin = said = time.monotonic()
    count = 0
    lock = Lock()

    def advance(done: int) -> None:
        nonlocal said, count
        with lock:
            count += done
            if (now := time.monotonic()) - said >= _SAY_EVERY:
                said = now
                note(f"{count:,}{f' of {total:,}' if total else ''} {unit} after {now - begin:.0f} s")

    yield advance


@contextmanager
def show_warnings() -> Iterator[None]:
    """Show the library's security warnings, each once, as lines of this program."""

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        if issubclass(category, SecurityWarning):
            note(f"securekit: warning: {printable(str(message))}")

    with warnings.catch_warnings():
        warnings.simplefilter("default", SecurityWarning)
        warnings.showwarning = show  # type: ignore[assignment]  # It is called with more, and needs no more.
        yield


def handled(command: F) -> F:
    """Turn the library's exceptions into error lines and exit codes."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever click passes
        try:
            return command(*args, **kwargs)
        except (SecureKitError, ValueError, TypeError, OSError) as error:
            fail_with(error)

    return run  # type: ignore[return-value]


def print_json(value: object) -> None:
    """Print ``value`` as JSON: dataclasses as objects, times as RFC 3339."""
    click.echo(json.dumps(value, default=_jsonable, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Print a table on stdout, drawn by rich on a terminal and by tabs elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(printable(str(row[column])) for column in columns))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(*(Column(column, overflow="fold") for column in columns))  # fingerprints are compared and copied: nothing is cut
    for row in rows:
        table.add_row(*(escape(printable(str(row[column]))) for column in columns))
    Console().print(table)


def recipient(copy: WrappedKey) -> dict[str, object]:
    """Return what is shown of a wrapped copy: whom it is for."""
    return {"wrapper": copy.wrapper, "key_ref": copy.key_ref, "about": dict(copy.about)}


def _jsonable(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    message = f"not for JSON: {type(value).__name__}"
    raise TypeError(message)
