# SPDX-License-Identifier: Apache-2.0
"""The statements that walk, read and count ciphertexts. Values are always parameters, and names are quoted by SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from securekit._wire import base64url
from securekit.keyring._record import TEXT_PREFIX, VERSION
from securekit.keyring._stored import RECORD_PREFIX_SIZE, TEXT_PREFIX_SIZE

from ._layout import Element, Layout

__all__ = ["MOST_KEPT", "Statements"]

MOST_KEPT = 500  # key ids that a statement can leave out
_PARAMETERS = 1000  # of one statement, where each value of a key is a parameter of its own
_STREAMED = 1000  # groups that are fetched at once


class Statements:
    """The statements for one table.

    Args:
        layout: The table.
        columns: The columns of ciphertexts.
        read: The columns to read.
    """

    def __init__(self, layout: Layout, *, columns: Sequence[str], read: Sequence[str]) -> None:
        self._layout = layout
        self._columns = columns
        self._key = [layout.table.c[name] for name in layout.key]
        self._walks = {(first, all_): self._walk(first=first, all_=all_) for first in (False, True) for all_ in (False, True)}
        selected = sa.select(*[layout.raw(name) for name in (*layout.key, *read)])
        if layout.on_postgres:
            given = layout.given()
            self._read = selected.join_from(layout.table, given, layout.is_given(given))
            # No key is changed: rows that refer to these can be written meanwhile, as after any UPDATE of the application's.
            self._lock = self._read.with_for_update(of=layout.table, skip_locked=True, key_share=True)
        else:
            key = self._key[0] if len(self._key) == 1 else sa.tuple_(*self._key)
            self._read = self._lock = selected.where(key.in_(sa.bindparam("keys", expanding=True)))

    def walk(
        self, connection: Connection, after: Sequence[object], *, window: int, limit: int, current: Iterable[str]
    ) -> Iterable[sa.Row[Any]]:
        """Look at ``window`` rows behind ``after`` in the order of the key; return ``limit`` that are wanted, or all on SQLite.

        Of each it is the key, the size of all ciphertexts, whether one is wanted, and its number in the window. None is wanted where
        there is none, or all are under keys of ``current``. The last row of the window is always returned: from there it goes on.
        """
        in_bytes, in_text = _prefixes(current)
        values = {"bytes": in_bytes, "text": in_text, "either": [*in_bytes, *in_text], "window": window, "limit": limit}
        values |= {f"after_{number}": value for number, value in enumerate(after)}
        rows = connection.execute(self._walks[not after, not in_bytes], values)
        return rows.all() if self._layout.on_postgres else rows

    def rows(self, connection: Connection, keys: Sequence[Sequence[object]], *, lock: bool) -> list[Sequence[Any]]:
        """Return the rows with these keys: the key, and the columns to read. With ``lock``, rows that others have locked are left out."""
        statement = self._lock if lock else self._read
        if self._layout.on_postgres:
            return list(connection.execute(statement, self._layout.arrays(keys)).all())
        step = _PARAMETERS // len(self._key)
        rows: list[Sequence[Any]] = []
        for start in range(0, len(keys), step):
            some = [key[0] if len(key) == 1 else tuple(key) for key in keys[start : start + step]]
            rows += connection.execute(statement, {"keys": some}).all()
        return rows

    def without_key(self, connection: Connection) -> bool:
        """Whether there is a row that its key cannot find, because a part of it is NULL."""
        missing = [column.is_(None) for column in self._key if column.name in self._layout.nullable]
        return bool(missing) and connection.execute(sa.select(sa.literal(1)).where(sa.or_(*missing)).limit(1)).first() is not None

    def groups(self, connection: Connection, column: str, *, by: Sequence[str], present: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Yield groups of the ciphertexts of a column.

        Each is the values of the columns ``by``, whether each of ``present`` is NULL, the beginning, how many, and their size.
        """
        ciphertext = self._layout.table.c[column]
        keys = (
            [self._layout.exact(name) for name in by] + [self._layout.table.c[name].is_(None) for name in present] + [self._prefix(column)]
        )
        # Numbers, not expressions: a parameter within one, such as the prefix's size, would make it another expression.
        groups = sa.select(*keys, sa.func.count(), sa.func.sum(self._size(column))).where(ciphertext.is_not(None))
        groups = groups.group_by(*[_literal(number) for number in range(1, len(keys) + 1)])
        yield from connection.execute(groups, execution_options={"yield_per": _STREAMED})

    def _walk(self, *, first: bool, all_: bool) -> sa.Select[Any]:
        """Return the statement of `walk`: from the beginning if ``first``, with all ciphertexts wanted if ``all_``."""
        window = sa.bindparam("window", type_=sa.Integer)
        wanted = sa.or_(*[self._wanted(column, all_=all_) for column in self._columns])
        size = sum((sa.func.coalesce(self._size(column), 0) for column in self._columns), start=_literal(0))
        number = sa.func.row_number().over(order_by=self._key).label("number")
        inner = sa.select(*[self._layout.raw(name).label(f"key_{i}") for i, name in enumerate(self._layout.key)])
        inner = inner.add_columns(size.label("size"), wanted.label("wanted"), number).order_by(*self._key).limit(window)
        if not first:
            after = [sa.bindparam(f"after_{i}", type_=column.type) for i, column in enumerate(self._key)]
            inner = inner.where(sa.tuple_(*self._key) > sa.tuple_(*after) if len(after) > 1 else self._key[0] > after[0])
        if not self._layout.on_postgres:
            return inner  # which is in this process: rows are made when they are asked for
        rows = inner.subquery("walked")
        found = sa.or_(rows.c.wanted, rows.c.number == window)
        in_order = [rows.c[f"key_{i}"] for i in range(len(self._key))]  # as they come: nothing is sorted, see the plan in the tests
        return sa.select(*rows.c).where(found).order_by(*in_order).limit(sa.bindparam("limit", type_=sa.Integer))

    def _wanted(self, column: str, *, all_: bool) -> Element:
        there = self._layout.table.c[column].is_not(None)
        if all_:
            return there
        name = "either" if not self._layout.on_postgres else "text" if column in self._layout.text else "bytes"
        return sa.and_(there, self._prefix(column).not_in(sa.bindparam(name, expanding=True)))

    def _prefix(self, column: str) -> Element:
        """Return the beginning of a ciphertext, which names its key."""
        if self._layout.on_postgres:
            size = _literal(TEXT_PREFIX_SIZE if column in self._layout.text else RECORD_PREFIX_SIZE)
            return sa.func.substr(self._layout.exact(column), _literal(1), size, type_=sa.types.NullType())
        form = sa.func.typeof(self._layout.table.c[column])
        by_form = sa.case((form == _literal("'text'"), _literal(TEXT_PREFIX_SIZE)), else_=_literal(RECORD_PREFIX_SIZE))
        beginning = sa.func.substr(self._layout.exact(column), _literal(1), by_form)
        return sa.func.coalesce(beginning, _literal("x''"), type_=sa.types.NullType())  # SQLite has it that nothing begins with NULL

    def _size(self, column: str) -> Element:
        measure = sa.func.octet_length if self._layout.on_postgres else sa.func.length
        return measure(self._layout.table.c[column])


def _literal(value: object) -> Element:
    """Return a constant of ours, which is no parameter: the same text each time, so that `GROUP BY` knows it again."""
    return sa.literal_column(str(value))


def _prefixes(key_ids: Iterable[str]) -> tuple[list[bytes], list[str]]:
    """Return what records under these keys begin with, as bytes and as text, whose last character holds 2 bits of what follows."""
    in_bytes = [VERSION + bytes.fromhex(key_id) for key_id in key_ids]
    in_text = [TEXT_PREFIX + base64url.encode(prefix + bytes([bits << 6]))[:7] for prefix in in_bytes for bits in range(4)]
    return in_bytes, in_text
