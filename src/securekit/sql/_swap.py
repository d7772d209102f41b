# SPDX-License-Identifier: Apache-2.0
"""Compare and swap: a ciphertext is replaced where it is still the one that was read, and each row tells whether it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
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
        done = self._many(connection, changes) if self._layout.on_postgres else self._one_by_one(connection, changes)
        return [(change.place, change.column) in done for change in changes]

    def _one_by_one(self, connection: Connection, changes: Sequence[Change]) -> set[tuple[str, str]]:
        done = set()
        for change in changes:
            values = {f"key_{number}": value for number, value in enumerate(self._layout.values(change.place))}
            swapped = connection.execute(self._statement((change.column,)), values | {"old": change.old, "new": change.new})
            if swapped.rowcount:
                done.add((change.place, change.column))
        return done

    def _many(self, connection: Connection, changes: Sequence[Change]) -> set[tuple[str, str]]:
        rows: dict[str, dict[str, Change]] = defaultdict(dict)
        for change in changes:
            rows[change.place][change.column] = change
        alike: dict[tuple[str, ...], dict[str, dict[str, Change]]] = defaultdict(dict)
        for place, by_column in rows.items():
            alike[tuple(sorted(by_column))][place] = by_column
        done = set()
        for columns, some in alike.items():
            for row in connection.execute(self._statement(columns), self._parameters(columns, some)):
                place = self._layout.place(row[: len(self._layout.key)])
                done |= {(place, column) for column, swapped in zip(columns, row[len(self._layout.key) :], strict=True) if swapped}
        return done

    def _parameters(self, columns: Sequence[str], rows: Mapping[str, Mapping[str, Change]]) -> dict[str, Any]:
        pieces: list[bytes] = []
        end = 1  # SQL counts from one
        values: dict[str, Any] = self._layout.arrays([self._layout.values(place) for place in rows])
        for number, column in enumerate(columns):
            for which in ("old", "new"):
                starts, sizes = [], []
                for by_column in rows.values():
                    ciphertext = getattr(by_column[column], which)
                    piece = ciphertext.encode() if isinstance(ciphertext, str) else ciphertext
                    pieces.append(piece)
                    starts.append(end)
                    sizes.append(len(piece))
                    end += len(piece)
                values[f"{which}_at_{number}"] = starts
                values[f"{which}_size_{number}"] = sizes
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
        key = [self._layout.raw(name) for name in self._layout.key]
        return sa.update(table).values(new).where(self._layout.is_given(given), sa.or_(*still)).returning(*key, *changed)

    def _elsewhere(self, columns: tuple[str, ...]) -> sa.Update:
        (column,) = columns
        table = self._layout.table
        key = [table.c[name] == sa.bindparam(f"key_{number}") for number, name in enumerate(self._layout.key)]
        return sa.update(table).values({column: sa.bindparam("new")}).where(*key, self._layout.exact(column) == sa.bindparam("old"))
