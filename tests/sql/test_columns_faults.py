# SPDX-License-Identifier: Apache-2.0
"""Databases that stop, refuse, deadlock or hold garbage, and what is said of it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import tests.canaries
from securekit.keyring import StoredItem
from securekit.sql import SqlColumns
from tests.conftest import Count
from tests.postgres import Postgres
from tests.sql.tables import NEW, OLD, again, column, create, customers, everything, open_columns, record, run, walk

CANARY = "canary-4711"
GIVEN: dict[str, Any] = {"table": "t", "columns": "c", "keyring": "eu/x", "context": {}}


def calls(source: SqlColumns, items: list[StoredItem]) -> dict[str, Callable[[], object]]:
    """Everything that asks the database."""

    def claim() -> None:
        with source.claim([items[0].place]):
            pass

    return {
        "places": lambda: source.places("", 10),
        "read": lambda: source.read([items[0].place]),
        "replace": lambda: source.replace(again(items[:1])),
        "claim": claim,
        "groups": lambda: list(source.groups() or ()),
    }


def refusals(source: SqlColumns, items: list[StoredItem]) -> dict[str, OSError]:
    refused = {}
    for name, call in calls(source, items).items():
        with pytest.raises(OSError) as caught:  # noqa: PT011  # The type and the words are what is looked at.
            call()
        refused[name] = caught.value
    return refused


def assert_silent(error: BaseException, *canaries: str, frames_of: type[BaseException] = SystemExit) -> None:
    """Nothing of an error shows a canary, and no driver's error hangs on it.

    The variables of our frames are looked at only for ``frames_of``: what is being read and written cannot but stand in them.
    """
    shown = "\n".join(f"{part!s} {part!r}" for part in tests.canaries.walk(error, frames_of=frames_of))
    assert [canary for canary in canaries if canary in shown] == []
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.fixture
def stopped(own: Postgres) -> Iterator[sa.URL]:
    """Where a server is that may be stopped; it runs again afterwards."""
    url = sa.URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": own.variables["PGHOST"]})
    yield url
    own.start()
    with run(url) as connection:
        connection.exec_driver_sql("DROP TABLE customers")


def test_a_server_that_stops_is_waited_for(stopped: sa.URL, own: Postgres, count: Count) -> None:
    """While PostgreSQL is down every call is a ConnectionError; once it runs again, all of them work, and nothing is lost."""
    made = customers(stopped, 3)
    source = open_columns(stopped)
    items = everything(source)
    own.stop()

    refused = refusals(source, items)
    with pytest.raises(ConnectionError):
        open_columns(stopped)
    own.start()

    assert {type(error) for error in refused.values()} == {ConnectionError}
    assert [item.data for item in everything(source)] == [value for pair in made.values() for value in pair]
    for call in calls(source, items).values():
        call()
    count("calls while the server is down", len(refused))


def test_a_server_that_stops_in_a_claim_undoes_it(stopped: sa.URL, own: Postgres) -> None:
    """Whether the server is gone at a change or at the end of the block: a ConnectionError, and the rows are as they were."""
    customers(stopped, 2)
    source = open_columns(stopped)
    before = column(stopped, "iban")
    places = source.places("", 10)

    with pytest.raises(ConnectionError), source.claim(places) as claim:  # noqa: PT012  # It is the block that is to fail.
        own.stop()
        claim.replace(again(claim.items))
    own.start()
    with pytest.raises(ConnectionError), source.claim(places) as claim:  # noqa: PT012  # The same.
        claim.replace(again(claim.items))
        own.stop()
    own.start()

    assert column(stopped, "iban") == before


def test_a_server_that_cannot_be_reached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody answers it is a ConnectionError, and the URL's password is nowhere."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConnectionError) as caught:
        open_columns(f"postgresql+psycopg://app:{CANARY}@localhost/app?host={tmp_path}")

    assert_silent(caught.value, CANARY, frames_of=OSError)
    assert CANARY not in caplog.text


def test_a_statement_that_takes_too_long(schema: sa.URL) -> None:
    """The user's limits of time are obeyed, and are a TimeoutError."""
    customers(schema, 1)
    source = open_columns(schema.update_query_dict({"options": f"{schema.query['options']} -cstatement_timeout=200ms"}))
    items = everything(source)

    with run(schema) as connection:
        connection.exec_driver_sql("LOCK TABLE customers")
        refused = refusals(source, items)

    assert {type(error) for error in refused.values()} == {TimeoutError}
    assert "took longer than statement_timeout" in str(refused["read"])


def test_a_connection_that_fails_at_its_first_statement_goes_back(schema: sa.URL) -> None:
    """Whatever fails first in a transaction, its connection is not lost to the pool."""
    customers(schema, 1)
    engine = sa.create_engine(schema, pool_size=1, max_overflow=0, pool_timeout=0.1)
    source = open_columns(engine)
    items = everything(source)

    @sa.event.listens_for(engine, "before_cursor_execute", retval=True)
    def break_once(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        return ("SELECT 1 / 0" if "set_config" in statement and broken else statement), parameters

    broken = True
    with pytest.raises(OSError, match="DivisionByZero"):
        source.replace(again(items))
    broken = False

    assert source.replace(again(items)) == [True, True]
    engine.dispose()


def test_a_pool_that_is_exhausted(schema: sa.URL) -> None:
    """Too few connections for the workers is a TimeoutError that says so."""
    customers(schema, 1)
    engine = sa.create_engine(schema, pool_size=1, max_overflow=0, pool_timeout=0.1)
    source = open_columns(engine)

    with engine.connect(), pytest.raises(TimeoutError, match="give the engine a larger pool"):
        source.places("", 1)

    engine.dispose()


def test_a_deadlock_is_tried_again(schema: sa.URL) -> None:
    """Who is chosen to end a deadlock with the application gets a ConnectionError, and has changed nothing."""
    customers(schema, 2)
    source = open_columns(schema.update_query_dict({"options": f"{schema.query['options']} -cdeadlock_timeout=100ms"}), columns="iban")
    items = everything(source)

    with ThreadPoolExecutor(1) as pool, run(schema) as connection:
        connection.exec_driver_sql("SET deadlock_timeout = '20s'")
        connection.exec_driver_sql("UPDATE customers SET email = 'x' WHERE id = 2")
        replaced = pool.submit(source.replace, again(items))
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
        while not connection.scalar(waiting):
            time.sleep(0.01)
        connection.exec_driver_sql("UPDATE customers SET email = 'x' WHERE id = 1")

        with pytest.raises(ConnectionError, match="40P01"):
            replaced.result()

    assert [item.data for item in everything(source)] == [item.data for item in items]


def test_an_engine_of_a_stricter_isolation_is_none_for_us(schema: sa.URL) -> None:
    """Where the engine's transactions are SERIALIZABLE, ours still see what others have committed, and tell which rows changed."""
    customers(schema, 2)
    engine = sa.create_engine(schema, isolation_level="SERIALIZABLE")
    source = open_columns(engine, columns="iban")
    items = everything(source)
    theirs = record(NEW)

    with source.claim([items[0].place]) as claim:
        with run(schema) as connection:
            connection.execute(sa.text("UPDATE customers SET iban = :new WHERE id = 2"), {"new": theirs})
        assert claim.replace(again(items)) == [True, False]

    assert column(schema, "iban")[2] == theirs
    engine.dispose()


def test_a_file_that_is_locked(tmp_path: Path) -> None:
    """While another process writes to SQLite's file, a change is a ConnectionError, and works afterwards."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    customers(database, 1)
    source = open_columns(sa.create_engine(database, connect_args={"timeout": 0.05}, poolclass=sa.NullPool))
    items = everything(source)

    with run(database) as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(ConnectionError, match="SQLITE_BUSY"):
            source.replace(again(items))

    assert source.replace(again(items)) == [True, True]


REFUSING = {
    "a constraint": f"ALTER TABLE t ADD CONSTRAINT only_old CHECK (get_byte(c, 1) <> {int(NEW[:2], 16)})",
    "a unique index": "CREATE UNIQUE INDEX one_prefix ON t (substr(c, 1, 2))",
    "a trigger": "CREATE TRIGGER loud BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION shout()",
}
SHOUT = """
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no: %', NEW.note USING ERRCODE = 'insufficient_privilege', DETAIL = NEW.note; END $$
"""


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("a constraint", "the database refused: CheckViolation, 23514, by only_old"),
        ("a unique index", "the database refused: UniqueViolation, 23505, by one_prefix"),
        ("a trigger", "the database refused: InsufficientPrivilege, 42501"),
    ],
)
def test_what_refuses_a_change_is_named_without_the_row(what: str, problem: str, schema: sa.URL, caplog: pytest.LogCaptureFixture) -> None:
    """A constraint, an index or a trigger of the application's that refuses is an OSError that shows no value of the row."""
    caplog.set_level(logging.DEBUG)
    rows = [{"id": CANARY + str(n), "note": CANARY, "c": b"\x01" + bytes([n + 5]) + CANARY.encode()} for n in range(2)]
    create(schema, "CREATE TABLE t (id TEXT PRIMARY KEY, note TEXT, c BYTES)", rows, table="t")
    with run(schema) as connection:
        connection.exec_driver_sql(SHOUT.replace("%", "%%"))
        connection.exec_driver_sql(REFUSING[what])
    source = open_columns(schema, **GIVEN | {"context": {"note": "{note}"}})
    items = everything(source)
    changes = again(items)

    with pytest.raises(OSError) as caught:  # noqa: PT011  # The whole message is compared below.
        source.replace(changes)

    assert str(caught.value) == problem
    assert_silent(caught.value, CANARY, CANARY.encode().hex())
    assert CANARY not in caplog.text
    assert everything(source) == items


def test_what_refuses_a_change_in_sqlite_is_named_without_the_row(tmp_path: Path) -> None:
    """So it is there."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    rows = [{"id": CANARY, "c": CANARY}]
    create(database, f"CREATE TABLE t (id TEXT PRIMARY KEY, c TEXT CHECK (c = '{CANARY}'))", rows, table="t")
    source = open_columns(database, **GIVEN)

    with pytest.raises(OSError) as caught:  # noqa: PT011  # The whole message is compared below.
        source.replace([(item, "sk1.new") for item in everything(source)])

    assert str(caught.value) == "the database refused: IntegrityError, SQLITE_CONSTRAINT_CHECK"
    assert_silent(caught.value, CANARY)


def test_privileges_that_are_missing_are_named(schema: sa.URL, engine: sa.Engine) -> None:
    """A role that may not update is told so by the database's own words; one that may update the column alone is enough."""
    customers(schema, 1)
    role = f"role_{time.monotonic_ns()}"
    name = str(schema.query["options"]).partition("=")[2]
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {name} TO {role}")
        connection.exec_driver_sql(f"GRANT SELECT ON {name}.customers TO {role}")
    source = open_columns(schema.set(username=role), columns="iban")
    changes = again(everything(source))

    with pytest.raises(OSError, match=r"permission denied for table customers \(42501\)"):
        source.replace(changes)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT UPDATE (iban) ON {name}.customers TO {role}")
    with source.claim([changes[0][0].place]) as claim:
        assert claim.replace(changes) == [True]

    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_table_that_changes_meanwhile(database: sa.URL) -> None:
    """A column that is dropped under a source is an OSError, not one to try again."""
    customers(database, 1)
    source = open_columns(database)
    items = everything(source)
    with run(database) as connection:
        connection.exec_driver_sql("ALTER TABLE customers DROP COLUMN email")

    refused = refusals(source, items[1:])

    assert {type(error) for error in refused.values()} == {OSError}


def test_garbage_is_handed_out_as_it_is(tmp_path: Path) -> None:
    """Whatever SQLite holds in a column of ciphertexts is an item: bytes and text as they are, and a number with its fault."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    held: list[Any] = [record(), "sk1.x", 7, 1.5, b"", ""]
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c)", [{"id": n, "c": value} for n, value in enumerate(held)], table="t")
    source = open_columns(database, **GIVEN)
    sealed = open_columns(database, **GIVEN | {"content": "envelopes", "keyring": None})

    items = everything(source)

    assert [item.data for item in items] == [held[0], "sk1.x", b"", b"", b"", ""]
    assert {item.name: item.fault for item in items if item.fault} == {
        "t 2 c": "it is no ciphertext: the value is a int",
        "t 3 c": "it is no ciphertext: the value is a float",
    }
    assert [bool(item.fault) for item in everything(sealed)] == [False, True, True, True, False, True]
    assert walk(source, current=frozenset([OLD])) == [["[1]", "[2]", "[3]", "[4]", "[5]"]]
    assert {group.prefix: group.items for group in source.groups() or ()} == {
        record()[:5]: 1, "sk1.x": 1, "7": 1, "1.5": 1, b"": 1, "": 1
    }  # fmt: skip
    assert source.replace(again([items[0], items[1], items[4]])) == [True] * 3


def test_text_that_is_none_is_an_error(tmp_path: Path) -> None:
    """Text in SQLite that is no UTF-8 is an OSError that does not show it, and is not tried again."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c TEXT)")
    with run(database) as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (1, CAST(:bytes AS TEXT))"), {"bytes": CANARY.encode() + b"\xff"})
    source = open_columns(database, **GIVEN)

    with pytest.raises(OSError, match="UTF-8") as caught:
        source.read(["[1]"])

    assert type(caught.value) is OSError
    assert_silent(caught.value, CANARY)


def test_a_key_of_another_type_is_an_error(tmp_path: Path) -> None:
    """Text in a key of integers, which SQLite allows, is an OSError: its row would not be found again."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c BLOB)", [{"id": CANARY, "c": record()}], table="t")
    source = open_columns(database, **GIVEN)

    with pytest.raises(OSError, match="a key of t is a str, where the column's type promises int") as caught:
        source.places("", 1)

    assert_silent(caught.value, CANARY)


def test_items_of_another_source_are_refused(database: sa.URL) -> None:
    """An item that is not of these columns, or a ciphertext of another form than the old one, is the caller's mistake."""
    customers(database, 1)
    source = open_columns(database, columns="iban")
    (item,) = everything(source)

    with pytest.raises(ValueError, match="is no item of sql"):
        source.replace([(StoredItem("customers 1 email", b"x", place="[1]"), b"y")])
    with pytest.raises(TypeError, match="customers 1 iban is bytes, and so must its new ciphertext be, not str"):
        source.replace([(item, "sk1.x")])


def test_threads_share_a_table(database: sa.URL, count: Count) -> None:
    """Four threads that claim from one source at once replace every ciphertext, on PostgreSQL each exactly once."""
    customers(database, 400)
    source = open_columns(database, columns="iban")
    batches = walk(source, 20)
    barrier = threading.Barrier(4)

    def work(number: int) -> int:
        barrier.wait()
        done = 0
        for places in batches[number * 5 :] + batches[: number * 5]:
            with source.claim(places) as claim:
                old = [item for item in claim.items if isinstance(item.data, bytes) and item.data[1:5].hex() == OLD]
                done += sum(claim.replace(again(old)))
        return done

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(work, range(4)))

    assert done == 400
    assert walk(source, current=frozenset([NEW])) == []
    count("rows claimed by threads", done)


def test_a_forked_child_has_connections_of_its_own(database: sa.URL) -> None:
    """Parent and child use one source at the same time, after a fork in the middle of its use."""
    customers(database, 200)
    source = open_columns(database)
    expected = everything(source)

    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if [everything(source) == expected for _ in range(10)] == [True] * 10 else 1)
        except BaseException:  # noqa: BLE001  # Whatever it is, the parent is told.
            os._exit(2)
    mine = [everything(source) == expected for _ in range(10)]
    _, status = os.waitpid(child, 0)

    assert mine == [True] * 10
    assert os.waitstatus_to_exitcode(status) == 0


@contextmanager
def writing(database: sa.URL) -> Iterator[dict[int, bytes]]:
    """Let an application write all the while; tell the last ciphertext that it wrote into each row."""
    wrote: dict[int, bytes] = {}
    stop = threading.Event()

    def write() -> None:
        engine = sa.create_engine(database, connect_args={"timeout": 30} if database.get_backend_name() == "sqlite" else {})
        number = 0
        while not stop.is_set():
            number = number % 50 + 1
            new = record("0a0b0c0d")
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE customers SET iban = :new WHERE id = :id"), {"new": new, "id": number})
            wrote[number] = new
            time.sleep(0.0005)
        engine.dispose()

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            yield wrote
        finally:
            stop.set()
        writer.result()


@pytest.mark.parametrize("claimed", [True, False])
def test_an_application_that_writes_throughout_loses_nothing(claimed: bool, database: sa.URL, count: Count) -> None:
    """What the application wrote last into a row is there, or what was made of it: nothing is rolled back."""
    customers(database, 50)
    source = open_columns(database, columns="iban")
    followed: dict[bytes, bytes] = {}  # what was put in the place of what
    outcomes: list[bool] = []

    with writing(database) as wrote:
        for _ in range(8):
            for places in walk(source, 25):
                if claimed:
                    with source.claim(places) as claim:
                        changes = again(claim.items)
                        done = claim.replace(changes)
                else:
                    changes = again(source.read(places))
                    time.sleep(0.002)
                    done = source.replace(changes)
                outcomes += done
                followed |= {item.data: new for (item, new), yes in zip(changes, done, strict=True) if yes}  # type: ignore[misc]

    for number, held in column(database, "iban").items():
        expected = wrote.get(number)
        chain = [expected] if expected else []
        while chain and chain[-1] in followed:
            chain.append(followed[chain[-1]])
        assert not chain or held == chain[-1]
    count("rows changed beside a writer", sum(outcomes))
    count("changes that gave way to a writer", outcomes.count(False))
