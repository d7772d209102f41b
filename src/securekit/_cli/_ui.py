# SPDX-License-Identifier: Apache-2.0
"""How the command line speaks.

RULES. Results go to stdout, everything else to stderr. An error is one line ``securekit: error: …``, and perhaps
``securekit: hint: …``. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 could not decrypt or verify. What lists has
``--json``; what changes has ``--dry-run`` or is undone by another command; what destroys asks, unless ``--yes``. Secrets
come from files, stdin or a prompt, never from an argument.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click

from securekit.exceptions import DecryptionError, SecureKitError

__all__ = ["FAILED", "UNVERIFIED", "fail", "handled", "note", "print_json", "print_table"]

FAILED = 1
UNVERIFIED = 3

F = TypeVar("F", bound=Callable[..., Any])


def note(text: str) -> None:
    """Say something that is not the result."""
    click.echo(text, err=True)


def fail(text: str, *, hint: str = "", code: int = FAILED) -> NoReturn:
    """Say what went wrong, and end."""
    click.echo(f"securekit: error: {text}", err=True)
    if hint:
        click.echo(f"securekit: hint: {hint}", err=True)
    sys.exit(code)


def handled(command: F) -> F:
    """Turn the library's exceptions into error lines and exit codes."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever click passes
        try:
            return command(*args, **kwargs)
        except DecryptionError as error:
            fail(str(error), code=UNVERIFIED)
        except SecureKitError as error:
            fail(str(error))
        except (ValueError, TypeError) as error:
            raise click.UsageError(str(error)) from None
        except OSError as error:
            fail(f"{error.filename or 'input or output'}: {error.strerror}")

    return run  # type: ignore[return-value]


def print_json(value: object) -> None:
    """Print ``value`` as JSON: dataclasses as objects, times as RFC 3339."""
    click.echo(json.dumps(value, default=_jsonable, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Print a table on stdout, drawn by rich on a terminal and by tabs elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(str(row[column]) for column in columns))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    Console().print(table)


def _jsonable(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    message = f"not for JSON: {type(value).__name__}"
    raise TypeError(message)
