# SPDX-License-Identifier: Apache-2.0
"""What a database's refusal is to rotation: to be tried again, or an error that names the problem and shows no row.

Drivers put values into their messages: PostgreSQL's DETAIL shows the row that breaks a constraint, a trigger writes what it likes,
SQLite quotes text that is no UTF-8. So nothing of theirs is passed on but codes, names of the schema, and the words
of those classes of errors that speak of statements and servers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import exc

from ._engine import is_transient, reason

__all__ = ["translated"]

T = TypeVar("T")

_TIMED_OUT = {"55P03": "a lock was not free in time", "57014": "the statement was cancelled, or took longer than statement_timeout"}
# Classes of SQLSTATE whose messages speak of the statement, the role or the server: privileges, missing columns, full disks.
_WORDS_ARE_SAFE = ("08", "25", "28", "3D", "3F", "42", "53", "57", "58")


def translated(action: Callable[[], T]) -> T:
    """Return what ``action`` returns.

    Raises:
        ConnectionError: The database cannot be reached now, or asks to try again.
        TimeoutError: It took too long.
        OSError: It refuses.
    """
    try:
        return action()
    except exc.SQLAlchemyError as error:
        failure = _failure(error)
    raise failure  # outside of the handler: the driver's error, which shows values, does not hang on ours


def _failure(error: exc.SQLAlchemyError) -> OSError:
    if isinstance(error, exc.TimeoutError):
        return TimeoutError("no connection of the pool was free in time: give the engine a larger pool, or use fewer workers")
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.OperationalError) and not hasattr(original, "sqlite_errorcode"):
        return OSError("a row holds text that is no UTF-8")  # the only error of Python's own, which shows the text
    state = getattr(original, "sqlstate", None)
    if state in _TIMED_OUT:
        return TimeoutError(f"the database gave up: {_TIMED_OUT[state]} ({state})")
    about = getattr(original, "diag", None)
    problem = reason(error)
    if state and about is not None and state.startswith(_WORDS_ARE_SAFE) and not about.context:  # else a trigger wrote them
        problem = f"{about.message_primary} ({state})"
    elif about is not None and about.constraint_name:
        problem += f", by {about.constraint_name}"
    if is_transient(error):
        return ConnectionError(f"the database cannot be used now: {problem}")
    return OSError(f"the database refused: {problem}")
