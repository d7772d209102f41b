# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from securekit.keyring import StoredItem
from securekit.keyring._stored import ClaimingSource, CountingSource
from tests.conftest import Count
from tests.sql.tables import NEW, OLD, again, column, create, customers, everything, open_columns, record, run, walk

ROOT = Path(__file__).parents[2]

CLAIM_FOR_EVER = """
import sys, time
from tests.sql.tables import again, open_columns

source = open_columns(sys.argv[1])
with source.claim(source.places("", 5)) as claim:
    claim.replace(again(claim.items))
    print("claimed", flush=True)
    time.sleep(100)
"""

NOTE = """
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (TG_NAME, NEW.id); RETURN NEW; END $$
"""


def test_rows_are_walked_read_and_replaced(database: sa.URL) -> None:
    """Every ciphertext comes once, with the keyring and the context of its row, and goes back into its place."""
    made = customers(database, 250)
    source = open_columns(database)

    items = everything(source)
    done = source.replace(again(items))

    assert [(item.name, item.data) for item in items] == [
        (f"customers {number} {name}", value) for number, pair in made.items() for name, value in zip(("iban", "email"), pair, strict=True)
    ]
    assert {item.keyring for item in items} == {f"eu/a{n}/customers" for n in range(5)}
    assert items[3].context == {"table": "customers", "column": "email", "id": "2"}
    assert done == [True] * 500
    assert all(value[1:5].hex() == NEW for value in column(database, "iban").values())
    assert [len(batch) for batch in walk(source)] == [100, 100, 50]
    assert walk(source, current=frozenset([NEW])) == []
    assert len(walk(source, current=frozenset([OLD]))) == 3


def test_the_applications_writes_are_never_overwritten(database: sa.URL) -> None:
    """A row that the application changed, emptied or deleted after it was read is left as it is, and each outcome is told."""
    made = customers(database, 4)
    source = open_columns(database)
    items = everything(source)
    theirs = record(NEW)
    with run(database) as connection:
        connection.execute(sa.text("UPDATE customers SET iban = :new WHERE id = 1"), {"new": theirs})
        connection.execute(sa.text("UPDATE customers SET email = NULL WHERE id = 2"))
        connection.execute(sa.text("DELETE FROM customers WHERE id = 3"))

    changes = again(items)
    done = source.replace(changes)

    assert done == [False, True, True, False, False, False, True, True]
    assert column(database, "iban") == {1: theirs, 2: changes[2][1], 4: changes[6][1]}
    assert column(database, "email") == {1: changes[1][1], 2: None, 4: changes[7][1]}
    assert made[1][0] != theirs


def test_nothing_but_the_ciphertext_that_changes_is_written(schema: sa.URL) -> None:
    """A trigger on a column fires when a ciphertext of that column is replaced, and not when its neighbour is."""
    customers(schema, 3)
    with run(schema) as connection:
        connection.exec_driver_sql("CREATE TABLE fired (what TEXT, id BIGINT)")
        connection.exec_driver_sql(NOTE)
        for name in ("iban", "email", "account"):
            connection.exec_driver_sql(f"CREATE TRIGGER {name} AFTER UPDATE OF {name} ON customers FOR EACH ROW EXECUTE FUNCTION note()")
    source = open_columns(schema)
    items = everything(source)

    done = source.replace(again([items[0], items[2], items[3], items[5]]))

    assert done == [True] * 4
    with run(schema) as connection:
        assert sorted(connection.execute(sa.text("SELECT what, id FROM fired")).all()) == [
            ("email", 2), ("email", 3), ("iban", 1), ("iban", 2),
        ]  # fmt: skip


def test_a_claim_is_durable_when_its_block_ends(database: sa.URL) -> None:
    """What was replaced in a claim is there afterwards; an exception undoes it and passes."""
    made = customers(database, 2)
    source = open_columns(database)
    places = source.places("", 10)

    with source.claim(places[:1]) as claim:
        assert claim.replace(again(claim.items)) == [True, True]
    with pytest.raises(ZeroDivisionError), source.claim(places[1:]) as claim:
        assert claim.replace(again(claim.items)) == [1, 1 // 0]

    assert [value[1:5].hex() for value in column(database, "iban").values()] == [NEW, OLD]
    assert column(database, "email")[2] == made[2][1]
    assert isinstance(source, ClaimingSource)
    assert isinstance(source, CountingSource)


def test_claims_share_rows_without_overlap(schema: sa.URL) -> None:
    """What one worker has claimed another one does not get, does not wait for, and can still read."""
    customers(schema, 10)
    source, other = open_columns(schema), open_columns(schema)
    places = source.places("", 10)

    with source.claim(places[:6]) as mine, other.claim(places) as theirs:
        read = other.read(places)

    assert {item.place for item in mine.items} == set(places[:6])
    assert {item.place for item in theirs.items} == set(places[6:])
    assert len(read) == 20


def test_a_claim_waits_for_no_reference_to_its_rows(schema: sa.URL) -> None:
    """While rows are claimed, the application inserts rows that refer to them."""
    customers(schema, 1)
    create(schema, "CREATE TABLE orders (id BIGINT PRIMARY KEY, customer BIGINT REFERENCES customers)")
    source = open_columns(schema)

    with source.claim(source.places("", 1)) as claim, run(schema) as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
        connection.exec_driver_sql("INSERT INTO orders VALUES (1, 1)")
        claim.replace(again(claim.items))

    assert column(schema, "customer", table="orders") == {1: 1}


def test_a_claim_does_not_wait_for_ever(schema: sa.URL) -> None:
    """While a migration holds the table, a claim gives up after the limit of the user's, with an error that says to try again."""
    customers(schema, 1)
    source = open_columns(schema.update_query_dict({"options": f"{schema.query['options']} -clock_timeout=200ms"}))
    places = source.places("", 1)

    with run(schema) as connection:
        connection.exec_driver_sql("LOCK TABLE customers")
        with pytest.raises(TimeoutError, match="a lock was not free in time"), source.claim(places):
            pass


def test_a_claim_has_a_limit_where_the_user_has_none(schema: sa.URL) -> None:
    """A claim sets a limit for locks in its own transaction, and leaves nothing of it to the connection's next user."""
    customers(schema, 1)
    engine = sa.create_engine(schema, pool_size=1, max_overflow=0)
    source = open_columns(engine)
    seen = []

    @sa.event.listens_for(engine, "commit")
    def note(connection: sa.Connection) -> None:
        seen.append(connection.exec_driver_sql("SHOW lock_timeout").scalar())

    with source.claim(source.places("", 1)):
        pass
    with engine.connect() as connection:
        seen.append(connection.exec_driver_sql("SHOW lock_timeout").scalar())

    assert seen == ["10s", "0"]
    engine.dispose()


def test_a_killed_worker_frees_its_rows(schema: sa.URL, count: Count) -> None:
    """The rows of a worker that was killed in the middle of a claim are free, and as they were."""
    made = customers(schema, 5)
    source = open_columns(schema)
    worker = subprocess.Popen(
        [sys.executable, "-c", CLAIM_FOR_EVER, schema.render_as_string(hide_password=False)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"claimed\n"
    places = source.places("", 5)
    with source.claim(places) as claim:
        assert claim.items == []

    worker.kill()
    worker.communicate()
    free: Sequence[StoredItem] = []
    while len(free) < 10:  # the server learns of it when it reads from the socket
        with source.claim(places) as claim:
            free = claim.items

    assert [item.data for item in free] == [value for pair in made.values() for value in pair]
    count("claims of killed workers freed", 1)
