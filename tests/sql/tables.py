# SPDX-License-Identifier: Apache-2.0
"""Tables of ciphertexts, as an application has them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from securekit.keyring import StoredItem, to_text
from securekit.sql import SqlColumns

__all__ = ["NEW", "OLD", "again", "column", "create", "customers", "everything", "open_columns", "record", "run", "text", "walk"]

OLD = "9f3a01c2"
NEW = "00c0ffee"
CONTEXT = {"table": "customers", "column": "{column}", "id": "{id}"}


def record(key_id: str = OLD, size: int = 100) -> bytes:
    """Return what begins as a record under a key, and is like no other."""
    return b"\x01" + bytes.fromhex(key_id) + os.urandom(size - 5)


def text(key_id: str = OLD, size: int = 100) -> str:
    """Return the text form of such a record."""
    return to_text(record(key_id, size))


@contextmanager
def run(database: sa.URL) -> Iterator[sa.Connection]:
    """A transaction of the application's."""
    engine = sa.create_engine(database, poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection


def create(database: sa.URL, statement: str, rows: Sequence[Mapping[str, Any]] = (), *, table: str = "customers") -> None:
    """Create a table and fill it; ``BYTES`` is a column's type for bytes."""
    binary = "BYTEA" if database.get_backend_name() == "postgresql" else "BLOB"
    with run(database) as connection:
        connection.exec_driver_sql(statement.replace("BYTES", binary))
        if rows:
            connection.execute(sa.insert(sa.table(table, *[sa.column(name) for name in rows[0]])), rows)


def customers(database: sa.URL, count: int, *, key_id: str = OLD, size: int = 100) -> dict[int, tuple[bytes, str]]:
    """Create a table of customers of five accounts, and return their IBANs, which are bytes, and e-mail addresses, which are text."""
    made = {number: (record(key_id, size), text(key_id, size)) for number in range(1, count + 1)}
    rows = [{"id": n, "account": f"a{n % 5}", "iban": iban, "email": email} for n, (iban, email) in made.items()]
    create(database, "CREATE TABLE customers (id BIGINT PRIMARY KEY, account TEXT, iban BYTES, email TEXT)", rows)
    return made


def open_columns(database: str | sa.URL | sa.Engine, **changed: Any) -> SqlColumns:
    """Return the columns of `customers` as a source, or others."""
    given = {"table": "customers", "key": "id", "columns": ["iban", "email"], "keyring": "eu/{account}/customers", "context": CONTEXT}
    return SqlColumns(database, **(given | changed))


def walk(source: SqlColumns, limit: int = 100, **options: Any) -> list[list[str]]:
    """Return all places, batch by batch."""
    batches = [source.places("", limit, **options)]
    while batches[-1]:
        batches.append(source.places(batches[-1][-1], limit, **options))
    return batches[:-1]


def everything(source: SqlColumns) -> list[StoredItem]:
    """Return all items, in order."""
    return [item for batch in walk(source) for item in source.read(batch)]


def column(database: sa.URL, name: str, *, table: str = "customers", key: str = "id") -> dict[Any, Any]:
    """Return what a column holds, by the table's key."""
    with run(database) as connection:
        return dict(
            connection.execute(sa.select(sa.column(key), sa.column(name)).select_from(sa.table(table)).order_by(sa.column(key))).all()
        )


def again(items: Sequence[StoredItem], key_id: str = NEW) -> list[tuple[StoredItem, bytes | str]]:
    """Return new ciphertexts for ``items``."""
    return [(item, text(key_id) if isinstance(item.data, str) else record(key_id)) for item in items]
