# SPDX-License-Identifier: Apache-2.0
"""Databases that stop, are locked, full, read-only, or not there at all: what is in memory serves on, and nothing is shown."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, event, exc, select, text

from securekit.exceptions import KeyStoreError, KeyStoreUnavailableError, SecureKitError
from securekit.keyring import Event, EventKind
from securekit.opening import open_store
from securekit.sql import SqlKeyStore
from securekit.sql._engine import is_transient, no_such_table, reason, store_error
from securekit.testing import FakeClock
from tests.canaries import walk
from tests.conftest import Count
from tests.keyring.parts import LOCAL, OTHER, PATH, refusal
from tests.postgres import Postgres
from tests.sql.conftest import Place

_needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
PASSWORD = "canary-pa:ss/w@rd"


def _url(postgres: Postgres, **parts: Any) -> URL:
    return URL.create(
        "postgresql+psycopg", **{"username": "postgres", "database": "postgres", "query": {"host": postgres.variables["PGHOST"]}, **parts}
    )


def test_a_server_that_stops_and_starts(own: Postgres) -> None:
    """While PostgreSQL is down, keys in memory serve on, and changes say that it cannot be reached; afterwards all goes on."""
    clock, events = FakeClock(), list[Event]()
    store = SqlKeyStore(_url(own), wrapper=LOCAL, clock=clock, on_event=events.append)
    store.create_schema()
    ring = store.keyring(PATH, create=True)
    token = ring.encrypt(b"x", context={})
    own.stop()

    clock.advance(61)
    assert ring.decrypt(token, context={}) == b"x"
    assert ring.decrypt(ring.encrypt(b"y", context={}), context={}) == b"y"
    assert EventKind.STALE in [event.kind for event in events]
    assert refusal(ring.rotate) is KeyStoreUnavailableError
    assert refusal(store.paths) is KeyStoreUnavailableError
    assert refusal(store.keyring, OTHER, create=True) is KeyStoreUnavailableError
    assert {type(outcome.error) for outcome in store._rewrap_paths([PATH, OTHER])} == {KeyStoreUnavailableError}

    own.start()
    new = ring.rotate().id
    assert ring.primary().id == new
    assert store.paths() == [PATH]
    ring.refresh()
    assert ring.decrypt(token, context={}) == b"x"


def test_a_restart_between_two_calls_is_not_noticed(own: Postgres) -> None:
    """Connections that broke while nobody used them are made anew."""
    store = SqlKeyStore(_url(own), table="restarted", wrapper=LOCAL)
    store.create_schema()
    ring = store.keyring(PATH, create=True)
    own.stop()
    own.start()
    ring.rotate()
    assert store.keyring(PATH).revision == 2


def test_a_file_that_is_locked(sqlite: Place) -> None:
    """While another process writes for long, reading goes on, and a change says that the database is busy, and works afterwards."""
    engine = create_engine(sqlite.url, connect_args={"timeout": 0.1})
    ring = sqlite.store(engine).keyring(PATH, create=True)
    with sqlite3.connect(sqlite.engine.url.database or "", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(KeyStoreUnavailableError, match=r"is busy, while writing keyrings .OperationalError, SQLITE_BUSY"):
            ring.rotate()
        ring.refresh()
        other.execute("ROLLBACK")
    other.close()
    assert ring.rotate().id == sqlite.store().keyring(PATH).primary().id
    engine.dispose()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_log_that_cannot_be_emptied(sqlite: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The change itself is durable by then: it is no failure, and a warning says what stays."""

    def fail(*arguments: Any) -> None:
        if "wal_checkpoint" in arguments[2]:
            raise exc.OperationalError(arguments[2], {}, _BrokenDisk())

    ring = sqlite.store(sqlite.engine).keyring(PATH, create=True)
    event.listen(sqlite.engine, "before_cursor_execute", fail)
    new = ring.rotate().id
    assert sqlite.store().keyring(PATH).primary().id == new
    assert "stay in the log of the database until the next change" in caplog.text
    assert "busy, while emptying the log (_BrokenDisk, SQLITE_IOERR)" in caplog.text


@_needs_root
def test_a_full_disk_loses_nothing(small: Path, count: Count) -> None:
    """When the disk is full, a change fails with our error, what was there is there, and with room again it works."""
    store = SqlKeyStore(f"sqlite:///{small}/keys.db", wrapper=LOCAL)
    ring = store.keyring(PATH, create=True)
    token = ring.encrypt(b"x", context={})
    ballast = small / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                break
    failures = 0
    for number in range(20):
        error = refusal(ring.rotate) if number % 2 else refusal(store.keyring, f"eu/t{number}", create=True)
        failures += error is not None
        assert error in {None, KeyStoreUnavailableError}
    assert failures
    count("changes refused on a full disk", failures)

    ballast.unlink()
    again = SqlKeyStore(f"sqlite:///{small}/keys.db", wrapper=LOCAL).keyring(PATH)
    assert again.decrypt(token, context={}) == b"x"
    assert ring.rotate().id == store.keyring(PATH).primary().id


@_needs_root
def test_a_disk_that_is_read_only(small: Path) -> None:
    """A file that cannot be written says so for good; the keys in memory go on."""
    ring = SqlKeyStore(f"sqlite:///{small}/keys.db", wrapper=LOCAL).keyring(PATH, create=True)
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    error = refusal(ring.rotate)
    assert error in {KeyStoreError, KeyStoreUnavailableError}
    assert ring.decrypt(ring.encrypt(b"x", context={}), context={}) == b"x"
    with pytest.raises(KeyStoreError, match=r"cannot make .*/new\.db: Read-only file system"):
        SqlKeyStore(f"sqlite:///{small}/new.db", wrapper=LOCAL).keyring(PATH, create=True)
    subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    ring.rotate()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is refused, and not overwritten."""
    file = tmp_path / "keys.db"
    file.write_bytes(b"something else, and long enough to be looked at" * 100)
    store = SqlKeyStore(f"sqlite:///{file}", wrapper=LOCAL)
    with pytest.raises(KeyStoreError, match=r"refused reading keyrings .DatabaseError, SQLITE_NOTADB"):
        store.keyring(PATH, create=True)
    assert file.read_bytes().startswith(b"something else")


def test_a_role_that_may_not_write(postgresql: Place) -> None:
    """PostgreSQL's plain no is final, and the message has its code."""
    store = postgresql.store()
    ring = store.keyring(PATH, create=True)
    role = f"reader_{postgresql.name}"
    with postgresql.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON {postgresql.name} TO {role}"))
    reader = SqlKeyStore(postgresql.engine.url.set(username=role), table=postgresql.name, wrapper=LOCAL)
    assert reader.keyring(PATH).id == ring.id
    with pytest.raises(KeyStoreError, match=r"refused writing keyrings .InsufficientPrivilege, 42501.") as caught:
        reader.keyring(PATH).rotate()
    assert type(caught.value) is KeyStoreError


def test_a_pool_that_is_used_up(postgresql: Place) -> None:
    """Whoever finds no free connection in time is told that the database is busy."""
    engine = create_engine(postgresql.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with engine.connect(), pytest.raises(KeyStoreUnavailableError, match="TimeoutError"):
        postgresql.store(engine).paths()
    engine.dispose()


def test_another_writers_lock_is_not_waited_for_without_end(postgresql: Place) -> None:
    """The time to wait for a row that a transaction holds is bounded, in the transaction of the change alone."""
    storage: Any = postgresql.store()._storage
    assert storage.database.write(lambda connection: connection.execute(text("SHOW lock_timeout")).scalar()) == "30s"
    assert storage.database.read(lambda connection: connection.execute(text("SHOW lock_timeout")).scalar()) == "0"


class _BrokenDisk(sqlite3.Error):
    sqlite_errorcode = 10
    sqlite_errorname = "SQLITE_IOERR"


class _Sqlite(sqlite3.Error):
    sqlite_errorcode = 5 | (2 << 8)
    sqlite_errorname = "SQLITE_BUSY_SNAPSHOT"


class _StateError(Exception):
    def __init__(self, sqlstate: object) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "transient", "said"),
    [
        (exc.TimeoutError("pool"), True, "TimeoutError"),
        (exc.DisconnectionError(), True, "DisconnectionError"),
        (exc.CompileError("x"), False, "CompileError"),
        (exc.OperationalError("SELECT", {}, _Sqlite()), True, "_Sqlite, SQLITE_BUSY_SNAPSHOT"),
        (exc.OperationalError("SELECT", {}, _StateError("40P01")), True, "_StateError, 40P01"),
        (exc.OperationalError("SELECT", {}, _StateError("57P01")), True, "_StateError, 57P01"),
        (exc.ProgrammingError("SELECT", {}, _StateError("42501")), False, "_StateError, 42501"),
        (exc.OperationalError("SELECT", {}, _StateError("28P01")), False, "_StateError, 28P01"),
        (exc.OperationalError("SELECT", {}, _StateError(None)), True, "_StateError"),
        (exc.InterfaceError("SELECT", {}, _StateError(None)), True, "_StateError"),
        (exc.ProgrammingError("SELECT", {}, _StateError(None)), False, "_StateError"),
        (exc.ProgrammingError("SELECT", {}, _StateError(None), connection_invalidated=True), True, "_StateError"),
    ],
)
def test_what_may_work_later(error: exc.SQLAlchemyError, transient: bool, said: str) -> None:
    """Lost connections, locks, deadlocks, full disks and servers that stop are transient; what was answered otherwise is not."""
    assert is_transient(error) is transient
    assert reason(error) == said
    assert isinstance(store_error(error, "reading"), KeyStoreUnavailableError) is transient
    assert not no_such_table(error)


# ------------------------------------------------------------------------------------------- what is never shown


def _refused(engine: Engine) -> SqlKeyStore:
    url = engine.url.set(username="nobody", password=PASSWORD)
    return SqlKeyStore(url, wrapper=LOCAL)


FAILURES: dict[str, Callable[[Engine], object]] = {
    "nobody listens": lambda _: SqlKeyStore(
        URL.create("postgresql+psycopg", "app", PASSWORD, "127.0.0.1", 1, "app"), wrapper=LOCAL
    ).paths(),
    "unknown role": lambda engine: _refused(engine).keyring(PATH),
    "write": lambda engine: _refused(engine).keyring(PATH, create=True),
    "schema": lambda engine: _refused(engine).create_schema(),
    "rewrap": lambda engine: next(_refused(engine)._rewrap_paths([PATH])).error,
    "other kind": lambda _: open_store(f"postgres://app:{PASSWORD}@h/d", wrap=LOCAL),
    "no URL": lambda _: open_store(f"postgresql+psycopg:app:{PASSWORD}@h/d", wrap=LOCAL),
    "port": lambda _: open_store(f"postgresql+psycopg://app:{PASSWORD}@h:port/d", wrap=LOCAL),
    "driver": lambda _: open_store("postgresql+nosuch://app:canary-pa%3Ass@h/d", wrap=LOCAL),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_error_shows_the_password(failure: str, engine: Engine, caplog: pytest.LogCaptureFixture, count: Count) -> None:
    """Neither an error, its causes, nor the variables of our frames on its way, nor a log line hold the password of the URL."""
    caplog.set_level(logging.DEBUG)
    try:
        error = FAILURES[failure](engine)
    except (SecureKitError, ValueError) as caught:
        error = caught
    assert isinstance(error, (SecureKitError, ValueError))
    seen = walk(error, frames_of=SecureKitError)  # a URL that is none is the caller's own mistake, in the caller's own frame
    assert not [item for item in seen for text in (str(item), repr(item)) if "canary" in text or "pa%3Ass" in text]
    assert "canary" not in caplog.text
    count("errors of databases walked for canaries", 1)


def test_no_error_shows_a_document(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """SQLAlchemy's errors and logs, which have statements and values, do not come through."""
    caplog.set_level(logging.DEBUG)
    store = place.store()
    ring = store.keyring(PATH, create=True)
    sealed = store.backup(PATH).decode()
    mark = sealed[sealed.index('"ciphertext":"') + 14 :][:40]
    with place.engine.begin() as connection:
        assert mark.encode() in connection.execute(select(place.table.c.document)).scalar_one()
        connection.execute(text(f"ALTER TABLE {place.name} RENAME COLUMN updated TO other"))
    with pytest.raises(KeyStoreError) as caught:
        ring.rotate()
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert mark not in str(list(walk(caught.value, frames_of=ValueError)))  # what is encrypted may be in our own frames
    assert mark not in caplog.text


WITHOUT = """
import sys
sys.modules["sqlalchemy"] = None
from securekit.opening import open_store
from securekit.wrappers import LocalWrapper
open_store("sqlite:///keys.db", wrap=LocalWrapper(bytes(32)))
"""


def test_a_driver_that_is_missing_is_named() -> None:
    """The name of a store in a database says what to install, in an error that the command line shows."""
    with pytest.raises(KeyStoreError, match=r"postgresql\+pg8000://h/d needs the package pg8000"):
        open_store("postgresql+pg8000://h/d", wrap=LOCAL)


def test_without_sqlalchemy_the_extra_is_named() -> None:
    """Whoever lacks the package is told what to install."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.stderr.splitlines()[-1].endswith("SQL databases are spoken to by the package SQLAlchemy: install securekit-platform[sql]")
