# SPDX-License-Identifier: Apache-2.0
"""Rotation: new KEKs for 10,000 keyrings in SQL databases, beside the bare statements and calls that it cannot do without."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hvac import Client
from sqlalchemy import URL, Engine, MetaData, bindparam, create_engine, event, insert, select, update

from benchmarks.ratio import Ratio, compare, show
from securekit import LocalWrapper
from securekit.keyring import _lifecycle as lifecycle
from securekit.sql import SqlKeyStore, keyring_table
from securekit.vault import TransitWrapper, VaultConnection, VaultEvent
from securekit.wrappers import KeyWrapper
from tests.openbao import OpenBao, running
from tests.postgres import running_postgres

KEYRINGS = 10_000
COMMIT = 500  # rows
NOW = 1_767_225_600


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    with TemporaryDirectory() as folder, running_postgres() as variables, running() as server:
        sqlite = create_engine(f"sqlite:///{Path(folder, 'keys.db')}")
        event.listen(sqlite, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode = WAL"))
        query = {"host": variables["PGHOST"]}
        url = URL.create("postgresql+psycopg", username=variables["PGUSER"], database=variables["PGDATABASE"], query=query)
        postgres = create_engine(url)
        for name, engine in (("SQLite", sqlite), ("PostgreSQL", postgres)):
            yield _local(name, engine)
        yield from _transit(server, postgres)


def _local(name: str, engine: Engine) -> Ratio:
    keks = LocalWrapper(os.urandom(32)), LocalWrapper(os.urandom(32))
    store = SqlKeyStore(engine, table="local", wrapper=keks[0])
    _fill(store, engine, "local", keks[0])
    turns = cycle((keks[1], keks[0]))
    return compare(
        lambda: _rewrap(store, next(turns)),
        _updates(engine, "local"),
        name=f"`rewrap` of {KEYRINGS:,} keyrings in {name}, local KEKs; one bare `UPDATE` per row, commit per {COMMIT}",
        goal=2.5,
        rounds=15,
        number=1,
        items=KEYRINGS,
    )


def _transit(server: OpenBao, engine: Engine) -> Iterator[Ratio]:
    events: list[VaultEvent] = []
    vault = VaultConnection(server.address, token=server.root_token, on_event=events.append)
    store = SqlKeyStore(engine, table="transit", wrapper=(kek := TransitWrapper(vault, "app")))
    _fill(store, engine, "transit", kek)
    batch = kek._batch  # noqa: SLF001 - both sides send as many at once
    bare: Any = Client(url=server.address, token=server.root_token)
    texts = [{"ciphertext": one.ciphertext.decode()} for one in kek.wrap_many([(bytes(32), ("x",))] * KEYRINGS)]

    def rewrap() -> None:
        bare.secrets.transit.rotate_key(name="app")
        kek._latest = (0.0, 0)  # noqa: SLF001 - as if a minute had passed since the version was asked for
        _rewrap(store, None)

    def rewrap_bare() -> None:
        for begin in range(0, KEYRINGS, batch):
            bare.secrets.transit.rewrap_data(name="app", ciphertext=None, batch_input=texts[begin : begin + batch])

    updates = _updates(engine, "transit")

    def rewrap_and_update() -> None:
        rewrap_bare()
        updates()

    events.clear()
    rewrap()
    calls = sum(event.tries for event in events)
    what = f"`rewrap` of {KEYRINGS:,} keyrings in PostgreSQL to a new version of a Transit key, {calls} calls"
    assert calls <= 2 * math.ceil(KEYRINGS / batch) + KEYRINGS / COMMIT + 10
    options: dict[str, Any] = {"rounds": 15, "number": 1, "items": KEYRINGS}
    yield compare(rewrap, rewrap_bare, name=f"{what}; hvac's `rewrap_data` alone, {math.ceil(KEYRINGS / batch)} calls", goal=1.3, **options)
    yield compare(rewrap, rewrap_and_update, name=f"{what}; hvac's `rewrap_data` and one bare `UPDATE` per row", goal=1.3, **options)


def _rewrap(store: SqlKeyStore, wrapper: KeyWrapper | None) -> None:
    assert len(store.rewrap(wrapper)) == KEYRINGS


def _fill(store: SqlKeyStore, engine: Engine, table: str, wrapper: KeyWrapper) -> None:
    """Make keyrings of one key, all at once: what is measured is not how they are made."""
    store.create_schema()
    made = [lifecycle.new_document(f"eu/t{n:05}/invoices", now=NOW, refresh=60, stale_if_error=86_400) for n in range(KEYRINGS)]
    secrets = [lifecycle.new_secret() for _ in made]
    copies = wrapper.wrap_many([(secret.value, document.binding) for secret, document in zip(secrets, made, strict=True)])
    rows = []
    for document, secret, copy in zip(made, secrets, copies, strict=True):
        whole = lifecycle.rotate(replace(document, recipients=(copy,), revision=1), secret, now=NOW, promoted=True)
        rows.append({"path": document.path, "revision": 1, "document": whole.encode(secret)})
    with engine.begin() as connection:
        connection.execute(insert(keyring_table(MetaData(), table)), rows)


def _updates(engine: Engine, name: str) -> Callable[[], None]:
    """Return what replaces every document by itself, row by row, in a copy of the table."""
    table, copied = (keyring_table(MetaData(), each) for each in (name, f"{name}_bare"))
    with engine.begin() as connection:
        copied.create(connection)
        connection.execute(
            insert(copied).from_select(["path", "revision", "document"], select(table.c.path, table.c.revision, table.c.document))
        )
    table = copied
    statement = update(table).where(table.c.path == bindparam("at")).values(document=bindparam("new"))
    with engine.connect() as connection:
        rows = [{"at": path, "new": document} for path, document in connection.execute(select(table.c.path, table.c.document))]

    def run() -> None:
        for begin in range(0, KEYRINGS, COMMIT):
            with engine.begin() as connection:
                for row in rows[begin : begin + COMMIT]:
                    connection.execute(statement, row)

    return run


if __name__ == "__main__":
    show(*measure())
