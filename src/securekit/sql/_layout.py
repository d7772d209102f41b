# SPDX-License-Identifier: Apache-2.0
"""A table as rotation needs it: a key that finds each row again, in an order, and columns of ciphertexts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.type_api import TypeEngine

from ._places import BYTES, DATE, DECIMAL, INTEGER, TEXT, TIME, UNIQUE, Kind, Places

__all__ = ["AnyType", "Element", "Layout", "reflect"]

AnyType = TypeEngine[Any]
Element = ColumnElement[Any]


# The first that fits. Float has no exact text, and what is not here may have no order.
_KINDS: list[tuple[type[AnyType], Kind | None]] = [
    (sa.Integer, INTEGER),
    (sa.Enum, None),
    (sa.String, TEXT),
    (sa.LargeBinary, BYTES),
    (sa.Uuid, UNIQUE),
    (sa.DateTime, TIME),
    (sa.Date, DATE),
    (sa.Float, None),
    (sa.Numeric, DECIMAL),
]
# SQLite keeps what it was given, which is text where it has no type.
_SQLITE_KINDS: list[tuple[type[AnyType], Kind | None]] = [*_KINDS[:4], (sa.DateTime, TEXT), (sa.Date, TEXT)]
_TEXTUAL = (sa.Integer, sa.String, sa.Uuid, sa.Date, sa.types.NullType)  # have one text, see `as_text`


@dataclass(frozen=True, slots=True)
class Layout:
    """A table.

    Attributes:
        table: Its columns that are asked for.
        name: With its schema, unless that is the default one.
        database: The database's name.
        dialect: ``"postgresql"``, ``"sqlite"`` …
        key: The key's columns, in the order of the index.
        places: How its values are written.
        nullable: The columns that may be NULL.
        text: The ciphertext columns of text; on SQLite, what is text is told by each value.
    """

    table: sa.TableClause
    name: str
    database: str
    dialect: str
    key: tuple[str, ...]
    places: Places
    nullable: frozenset[str]
    text: frozenset[str]

    @property
    def on_postgres(self) -> bool:
        """Whether it is PostgreSQL, which locks rows and takes arrays; else it is SQLite, where each value has a type of its own."""
        return self.dialect == "postgresql"

    def raw(self, name: str) -> Element:
        """Return a column such that its values come as the driver has them, but UUIDs, which not all drivers know."""
        column = self.table.c[name]
        return column if isinstance(column.type, sa.Uuid) else sa.type_coerce(column, sa.types.NullType())

    def exact(self, name: str) -> Element:
        """Return a column such that it is compared byte by byte, whatever the collation of its text."""
        column = self.table.c[name]
        if not self.on_postgres:
            return column.collate("BINARY")
        if not isinstance(column.type, sa.String) or isinstance(column.type, sa.Enum):
            return self.raw(name)
        # CITEXT ignores case whatever its collation, and CHAR is stripped of its blanks by a cast.
        return (column if isinstance(column.type, sa.CHAR) else sa.cast(column, sa.Text)).collate("C")

    def given(self, *more: tuple[str, AnyType]) -> sa.TableValuedAlias:
        """Return rows, with a ``number``, that are given as an array per column on PostgreSQL: the key (see `arrays`), and ``more``."""
        columns = [(f"key_{number}", self.table.c[name].type) for number, name in enumerate(self.key)] + list(more)
        # Behind a SELECT, the planner takes an array for a short one, and looks rows up by their key. It would rather read the whole
        # table, for each batch again, where keys are as random as UUIDs.
        arrays = [sa.select(sa.bindparam(name, type_=postgresql.ARRAY(kind))).scalar_subquery() for name, kind in columns]
        given = [sa.column(name, kind) for name, kind in columns]
        return sa.func.unnest(*arrays).table_valued(*given, with_ordinality="number", name="given").render_derived()

    def arrays(self, keys: Sequence[Sequence[object]]) -> dict[str, list[object]]:
        """Return what `given` takes for ``keys``."""
        return {f"key_{number}": [key[number] for key in keys] for number in range(len(self.key))}

    def is_given(self, given: sa.FromClause) -> Element:
        """Return whether a row has the key of a row of `given`."""
        return sa.and_(*[self.table.c[name] == given.c[f"key_{number}"] for number, name in enumerate(self.key)])


def reflect(
    connection: Connection, table: str, *, key: Sequence[str], columns: Sequence[str], texts: Iterable[str], row: Iterable[str]
) -> Layout:
    """Look at a table once.

    Args:
        connection: To its database.
        table: Its name, or ``schema.name``.
        key: The columns that find a row.
        columns: The columns of ciphertexts.
        texts: The columns that fill templates.
        row: The columns that functions of the row want.

    Raises:
        ValueError: Something is not there, or not such that rotation can rely on it. Says what to do.
    """
    schema, _, name = table.rpartition(".")
    inspector = sa.inspect(connection)
    found = _columns(inspector, name, schema or None, table)
    for column in [*key, *columns, *texts, *row]:
        if column not in found:
            message = f"{table} has no column {column!r}; it has {', '.join(found)}. Names are compared as they are, capitals included"
            raise ValueError(message)
    types = {column: _base(found[column]["type"]) for column in found}
    _check_texts(types, texts)
    dialect = connection.dialect.name
    key = _order_of_index(inspector, name, schema or None, key)
    typed = types if dialect == "postgresql" else {}  # what SQLite holds may have any type, and comes and goes as it is
    default = schema and schema == inspector.default_schema_name
    return Layout(
        table=sa.table(name, *[sa.column(c, typed.get(c)) for c in dict.fromkeys([*key, *texts, *row, *columns])], schema=schema or None),
        name=name if default else table,
        database=_database(connection),
        dialect=dialect,
        key=tuple(key),
        places=Places(name if default else table, [_kind(column, types[column], dialect) for column in key]),
        nullable=frozenset(column for column in found if found[column]["nullable"]),
        text=frozenset(column for column in columns if _holds_text(column, types[column], dialect)),
    )


def _columns(inspector: Inspector, name: str, schema: str | None, table: str) -> dict[str, ReflectedColumn]:
    try:
        return {column["name"]: column for column in inspector.get_columns(name, schema)}
    except NoSuchTableError:
        message = f"there is no table {table!r}. Names are compared as they are, capitals included; another schema is given as schema.table"
    raise ValueError(message)


def _order_of_index(inspector: Inspector, name: str, schema: str | None, key: Sequence[str]) -> Sequence[str]:
    """Return the key's columns in the order of the index that finds rows by them: another order could not be walked."""
    unique: list[Sequence[str | None]] = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
    unique += [constraint["column_names"] for constraint in inspector.get_unique_constraints(name, schema)]
    for index in inspector.get_indexes(name, schema):
        partial = any(option.endswith("_where") for option in index.get("dialect_options", {}))
        if index["unique"] and not partial and not index.get("column_sorting"):
            unique.append(index["column_names"])
    for columns in unique:
        if set(columns) == set(key):
            return cast("Sequence[str]", columns)
    message = (
        f"{name} has no primary key and no unique index over {', '.join(key)} alone, so that rows could not be found again:"
        f" name the columns of its primary key, or create a unique index over {', '.join(key)}"
    )
    raise ValueError(message)


def _base(declared: AnyType) -> AnyType:
    return declared.data_type if isinstance(declared, postgresql.DOMAIN) else declared


def _kind(column: str, declared: AnyType, dialect: str) -> Kind:
    for known, kind in _SQLITE_KINDS if dialect == "sqlite" else _KINDS:
        if isinstance(declared, known) and kind is not None:
            return kind
        if isinstance(declared, known):
            break
    message = (
        f"the key column {column} is of type {declared!r}, whose values have no exact order and text: use a key of integers, text or UUIDs"
    )
    raise ValueError(message)


def _holds_text(column: str, declared: AnyType, dialect: str) -> bool:
    padded = isinstance(declared, sa.CHAR) and dialect != "sqlite"
    if isinstance(declared, sa.LargeBinary) or (isinstance(declared, sa.types.NullType) and dialect == "sqlite"):
        return False
    if isinstance(declared, sa.String) and not isinstance(declared, sa.Enum) and not padded:
        return True
    message = f"the column {column} is of type {declared!r}, which holds no ciphertexts: those are bytes (BYTEA, BLOB), or text (TEXT)"
    raise ValueError(message)


def _check_texts(types: Mapping[str, AnyType], texts: Iterable[str]) -> None:
    for column in texts:
        if not isinstance(types[column], _TEXTUAL):
            message = f"{column} is of type {types[column]!r}, whose values have no single text: give a function, not a template"
            raise ValueError(message)  # noqa: TRY004  # It is the type of a column.


def _database(connection: Connection) -> str:
    if connection.dialect.name == "postgresql":  # where it may come from the environment
        return str(connection.scalar(sa.select(sa.func.current_database())))
    return PurePath(connection.engine.url.database or ":memory:").name
