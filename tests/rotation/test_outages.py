# SPDX-License-Identifier: Apache-2.0
"""Runs through outages: a database that is killed and started again, a Vault that is gone, writers that never stop, clocks that jump."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from securekit import rotation
from securekit.keyring import MemoryKeyStore
from securekit.sql import SqlColumns, SqlKeyStore
from securekit.testing import FakeClock, memory_store
from securekit.vault import TransitWrapper, VaultConnection
from securekit.wrappers import LocalWrapper
from tests.conftest import Count
from tests.openbao import OpenBao
from tests.postgres import Postgres, stoppable_postgres
from tests.rotation.parts import PATH, Table, filled, opens
from tests.vault.faults import proxying, reset_in_body

LOCAL = LocalWrapper(b"\1" * 32)
ROWS = 3_000


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server of the test's own, to be stopped and started again."""
    with stoppable_postgres() as postgres:
        yield postgres


def columns(url: sa.URL | str) -> SqlColumns:
    return SqlColumns(url, table="customers", key="id", columns="iban", keyring=PATH, context={"id": "{id}"})


def fill(url: sa.URL | str, store: SqlKeyStore | MemoryKeyStore, rows: int = ROWS) -> None:
    ring = store.keyring(PATH, create=True)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        binary = "bytea" if engine.dialect.name == "postgresql" else "blob"
        connection.exec_driver_sql(f"create table customers (id integer primary key, iban {binary})")
        records = [{"id": number, "iban": ring.encrypt(f"{number}".encode(), context={"id": str(number)})} for number in range(rows)]
        connection.execute(sa.text("insert into customers values (:id, :iban)"), records)
    engine.dispose()


def test_a_database_that_is_killed_and_started_again_delays_a_run(own: Postgres, tmp_path: Path) -> None:
    """PostgreSQL goes away in the middle, for a while, and comes back: the run waits, goes on, and every row is moved once."""
    facts = own.variables
    url = sa.URL.create("postgresql+psycopg", username=facts["PGUSER"], database=facts["PGDATABASE"], query={"host": facts["PGHOST"]})
    store = SqlKeyStore(url, wrapper=LOCAL)
    store.create_schema()
    fill(url, store)
    ring = store.keyring(PATH)
    old = ring.primary().full_name
    ring.rotate()
    source = columns(url)
    plan = rotation.plan(source, store=store)
    down = threading.Event()

    def restart() -> None:
        own.stop()
        time.sleep(1.5)
        own.start()

    def saw(progress: rotation.RunProgress) -> None:
        if progress.changed >= ROWS // 3 and not down.is_set():
            down.set()
            thread.start()

    thread = threading.Thread(target=restart)
    report = rotation.run(plan, journal=tmp_path / "journal", batch=50, progress=saw, workers=2, items_per_second=3_000)
    thread.join()

    assert down.is_set()
    assert (report.state, report.failed, report.changed + report.current) == ("finished", 0, ROWS)
    proof = rotation.verify(source, store=store)
    assert (proof.needs(old), proof.items) == (0, ROWS + 1)


def through_an_outage_of_vault(bao: OpenBao, tmp_path: Path, seconds: float) -> None:
    key = f"outage-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{key}", {"type": "aes256-gcm96"})
    with proxying(bao.address) as proxy:
        store = memory_store(wrapper=TransitWrapper(VaultConnection(proxy.address, token=bao.root_token, deadline=2, cooldown=0.1), key))
        for number in range(300):
            store.keyring(f"eu/a{number:03}/customers", create=True)
        bao.request("POST", f"transit/keys/{key}/rotate", {})
        plan = rotation.plan(store)
        proxy.fault = reset_in_body
        thread = threading.Timer(seconds, lambda: setattr(proxy, "fault", None))
        thread.start()
        report = rotation.run(plan, journal=tmp_path / "journal", batch=50)
        thread.join()
        proof = rotation.verify(store)
    assert (plan.todo, report.changed, report.failed, report.state) == (300, 300, 0, "finished")
    assert proof.needs(f"vault-transit transit/{key} v1") == 0
    assert proof.needs(f"vault-transit transit/{key} v2") == 300


def test_a_vault_that_is_gone_delays_a_run(bao: OpenBao, tmp_path: Path) -> None:
    """Gone in the middle, it is asked again with growing pauses; when it is back, the run finishes."""
    through_an_outage_of_vault(bao, tmp_path, 3)


@pytest.mark.slow
def test_a_vault_that_is_gone_for_half_a_minute_delays_a_run(bao: OpenBao, tmp_path: Path) -> None:
    """The same for 30 seconds."""
    through_an_outage_of_vault(bao, tmp_path, 30)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_what_a_writer_writes_throughout_is_there_in_the_end(kind: str, rotated: sa.URL, tmp_path: Path, count: Count) -> None:
    """A table that an application changes all the time: nothing that it wrote is lost or rolled back."""
    url: sa.URL | str = rotated if kind == "postgresql" else f"sqlite:///{tmp_path}/app.db"
    store = memory_store()
    fill(url, store, 1_000)
    ring = store.keyring(PATH)
    ring.rotate()
    source = columns(url)
    engine = sa.create_engine(url)
    written: dict[int, int] = {}
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            place = number * 7 % 1_000
            record = ring.encrypt(f"{place}!{number}".encode(), context={"id": str(place)})
            with engine.begin() as connection:
                connection.execute(sa.text("update customers set iban = :iban where id = :id"), {"id": place, "iban": record})
            written[place] = number
            time.sleep(0.0005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            report = rotation.run(rotation.plan(source, store=store), journal=tmp_path / f"{number}", batch=20, workers=2)
            assert (report.state, report.failed) == ("finished", 0)
            ring.rotate()
    finally:
        ended.set()
        thread.join()
    with engine.connect() as connection:
        for place, record in connection.execute(sa.text("select id, iban from customers")):
            expected = f"{place}!{written[place]}" if place in written else f"{place}"
            assert ring.decrypt(record, context={"id": str(place)}).decode() == expected
    engine.dispose()
    assert len(written) > 50
    count("rows written in the middle of runs", len(written))


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, -1_767_225_600.0, 379_000_000.0])
def test_a_clock_that_jumps_changes_nothing(jump: float, tmp_path: Path) -> None:
    """A day back and forth, to 1970 and to 2038, in the middle of a run: times are written down, and decide nothing."""
    clock = FakeClock()
    store = memory_store(clock=clock)
    ring = store.keyring(PATH, create=True)
    table = Table(filled(ring, 100))
    clock.advance(10)
    ring.rotate()
    table.before_replace = lambda item: clock.jump(jump) if item.place == "000050" else None

    report = rotation.run(rotation.plan(table, store=store), journal=tmp_path / "journal", batch=10)

    assert (report.state, report.changed, report.failed) == ("finished", 100, 0)
    assert opens(table, store)
