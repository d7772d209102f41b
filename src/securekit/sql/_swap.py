# SPDX-License-Identifier: Apache-2.0
"""Compare and swap: a ciphertext is replaced where it is still the one that was read, and each row tells whether it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, compress
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ._layout import Element, Layout

__all__ = ["Change", "Swap"]


class Change(NamedTuple):
    """A ciphertext to be replaced."""

    place: str
    column: str
    old: bytes | str
    new: bytes | str


class Swap:
    """Replaces ciphertexts of one table.

    On PostgreSQL, one statement does all rows in which the same columns change. The ciphertexts come end to end in one parameter,
    and are cut out of it by the server: arrays of them take the driver three times as long as the rest together.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._statement = lru_cache(64)(self._on_postgres if layout.on_postgres else self._elsewhere)

    def __call__(self, connection: Connection, changes: Sequence[Change]) -> list[bool]:
        """Make the changes; return whether each was made."""
        done: set[Change] = set()
        if self._layout.on_postgres:
            for columns, rows in _alike(changes).items():
                for number, *swapped in connection.execute(self._statement(columns), self._parameters(rows)).all():
                    done.update(compress(rows[number - 1], swapped))
        else:
            done.update(change for change in changes if connection.execute(self._statement((change.column,)), self._one(change)).rowcount)
        return [change in done for change in changes]

    def _one(self, change: Change) -> dict[str, object]:
        key = {f"key_{number}": value for number, value in enumerate(self._layout.places.values(change.place))}
        return key | {"old": change.old, "new": change.new}

    def _parameters(self, rows: Sequence[Sequence[Change]]) -> dict[str, object]:
        values: dict[str, Any] = self._layout.arrays([self._layout.places.values(row[0].place) for row in rows])
        pieces: list[bytes] = []
        for number, of_column in enumerate(zip(*rows, strict=True)):
            for which, some in ("old", [change.old for change in of_column]), ("new", [change.new for change in of_column]):
                cut = [piece.encode() if isinstance(piece, str) else piece for piece in some]
                values[f"{which}_size_{number}"] = [len(piece) for piece in cut]
                pieces += cut
        ends = list(accumulate(map(len, pieces), initial=1))  # SQL counts from one
        for number in range(2 * len(rows[0])):
            values[f"{('old', 'new')[number % 2]}_at_{number // 2}"] = ends[number * len(rows) : (number + 1) * len(rows)]
        return values | {"all": b"".join(pieces)}

    def _on_postgres(self, columns: tuple[str, ...]) -> sa.Update:
        table = self._layout.table
        cuts = [f"{which}_{what}_{number}" for number in range(len(columns)) for which in ("old", "new") for what in ("at", "size")]
        given = self._layout.given(*[(name, sa.Integer()) for name in cuts])

        def cut(which: str, number: int) -> Element:
            everything = sa.bindparam("all", type_=sa.LargeBinary)
            piece = sa.func.substr(everything, given.c[f"{which}_at_{number}"], given.c[f"{which}_size_{number}"], type_=sa.LargeBinary)
            return sa.func.convert_from(piece, "UTF8", type_=sa.Text) if columns[number] in self._layout.text else piece

        still = [self._layout.exact(column) == cut("old", number) for number, column in enumerate(columns)]
        changed = [self._layout.exact(column) == cut("new", number) for number, column in enumerate(columns)]
        new = {
            column: sa.case((still[number], cut("new", number)), else_=table.c[column]) if len(columns) > 1 else cut("new", number)
            for number, column in enumerate(columns)
        }
        return sa.update(table).values(new).where(self._layout.is_given(given), sa.or_(*still)).returning(given.c.number, *changed)

    def _elsewhere(self, columns: tuple[str, ...]) -> sa.Update:
        (column,) = columns
        table = self._layout.table
        key = [table.c[name] == sa.bindparam(f"key_{number}") for number, name in enumerate(self._layout.key)]
        return sa.update(table).values({column: sa.bindparam("new")}).where(*key, self._layout.exact(column) == sa.bindparam("old"))


def _alike(changes: Iterable[Change]) -> dict[tuple[str, ...], list[list[Change]]]:
    """Return the changes of each row, by the columns that change in it."""
    rows: dict[str, list[Change]] = {}
    for change in changes:
        rows.setdefault(change.place, []).append(change)
    alike: dict[tuple[str, ...], list[list[Change]]] = {}
    for row in rows.values():
        row.sort(key=_column)
        alike.setdefault(tuple([change.column for change in row]), []).append(row)
    return alike


_column = attrgetter("column")
