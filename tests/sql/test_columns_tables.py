# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from tests.conftest import Count
from tests.sql.tables import NEW, OLD, again, create, customers, everything, open_columns, record, run, walk

CONTEXT = {"column": "{column}"}
# A key's type, its values in their order, and what stands in a place.
KEYS: list[tuple[str, list[Any], list[str]]] = [
    ("SMALLINT", [-3, 0, 7], ["[-3]", "[0]", "[7]"]),
    ("BIGINT", [-(2**63), 2**63 - 1], ["[-9223372036854775808]", "[9223372036854775807]"]),
    ("TEXT", ["", "'; DROP TABLE t; --", "a"], ['[""]', '["\'; DROP TABLE t; --"]', '["a"]']),
    ("VARCHAR(9)", ["%s", ":x", "\u202e"], ['["%s"]', '[":x"]', '["\\u202e"]']),
    ("BYTES", [b"", b"\x00\xff"], ['[""]', '["00ff"]']),
]
KEYS_OF_POSTGRES: list[tuple[str, list[Any], list[str]]] = [
    ("UUID", [UUID(int=1), UUID(int=2**127)], [f'["{UUID(int=1)}"]', f'["{UUID(int=2**127)}"]']),
    ("DATE", [date(2026, 1, 31), date(2026, 11, 26)], ['["2026-01-31"]', '["2026-11-26"]']),
    ("TIMESTAMPTZ", [datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)], ['["2026-01-01T00:00:00.000001+00:00"]']),
    ("NUMERIC(20, 2)", [Decimal("-1.50"), Decimal("123456789012345678.01")], ['["-1.50"]', '["123456789012345678.01"]']),
    ("CHAR(4)", ["ab  ", "abcd"], ['["ab  "]', '["abcd"]']),
]


@pytest.mark.parametrize(("kind", "values", "places"), KEYS, ids=[kind for kind, *_ in KEYS])
def test_keys(kind: str, values: list[Any], places: list[str], database: sa.URL, count: Count) -> None:
    """Rows are walked one by one, read, and changed by keys of integers, text and bytes, whatever stands in them."""
    check_key(kind, values, places, database)
    count("kinds of keys walked", 1)


@pytest.mark.parametrize(("kind", "values", "places"), KEYS_OF_POSTGRES, ids=[kind for kind, *_ in KEYS_OF_POSTGRES])
def test_keys_of_postgresql(kind: str, values: list[Any], places: list[str], schema: sa.URL, count: Count) -> None:
    """So they are by keys of the types that only PostgreSQL has."""
    check_key(kind, values, places, schema)
    count("kinds of keys walked", 1)


def check_key(kind: str, values: list[Any], places: list[str], database: sa.URL) -> None:
    create(database, f"CREATE TABLE t (k {kind} PRIMARY KEY, c BYTES)", [{"k": value, "c": record()} for value in values], table="t")
    source = open_columns(database, table="t", key="k", columns="c", keyring="eu/x", context=CONTEXT)

    assert [place for (place,) in walk(source, 1)] == sorted(places, key=places.index)
    items = source.read(places)
    assert [item.name for item in items] == [f"t {place[1:-1]} c" for place in places]
    assert source.replace(again(items)) == [True] * len(values)
    with source.claim(places) as claim:
        assert [item.data[1:5].hex() for item in claim.items if isinstance(item.data, bytes)] == [NEW] * len(values)


def test_composite_keys_are_walked_in_the_order_of_their_index(database: sa.URL) -> None:
    """A key of several columns is walked one row at a time without a gap, whatever order they are named in."""
    rows = [{"tenant": f"t{n % 3}", "id": n // 3, "c": record()} for n in range(12)]
    create(database, "CREATE TABLE t (id BIGINT, tenant TEXT, c BYTES, PRIMARY KEY (tenant, id))", rows, table="t")
    source = open_columns(
        database, table="t", key=["id", "tenant"], columns="c", keyring="eu/{tenant}", context={"id": "{tenant}.{id}", "x": "{{{column}}}"}
    )

    items = everything(source)

    assert [place for (place,) in walk(source, 1)] == [f'["t{tenant}",{number}]' for tenant in range(3) for number in range(4)]
    assert items[5].name == 't "t1",1 c'
    assert items[5].keyring == "eu/t1"
    assert items[5].context == {"id": "t1.1", "x": "{c}"}
    assert source.replace(again(items)) == [True] * 12
    with source.claim([item.place for item in items[3:5]]) as claim:
        assert [item.place for item in claim.items] == ['["t0",3]', '["t1",0]']


def test_names_are_taken_as_they_are(database: sa.URL) -> None:
    """Capitals, blanks, quotes, percent signs and reserved words in names of tables and columns are names, and nothing else."""
    names = ["select", "column", 'Ib"an', "a b", "100%(x)s", ":y", "'; DROP TABLE t; --"]
    table = 'Cust"omers; DROP TABLE x'
    made = sa.Table(table, sa.MetaData(), sa.Column("Order", sa.Integer, primary_key=True), *[sa.Column(n, sa.LargeBinary) for n in names])
    with run(database) as connection:
        made.create(connection)
        connection.execute(sa.insert(made).values([1, *[record() for _ in names]]))
    source = open_columns(database, table=table, key="Order", columns=names, keyring="eu/x", context={"c": "{column}", "o": "{Order}"})

    items = everything(source)
    done = source.replace(again(items))

    assert [item.context for item in items] == [{"c": name, "o": "1"} for name in names]
    assert done == [True] * len(names)
    assert walk(source, current=frozenset([NEW])) == []
    assert [group.items for group in source.groups() or ()] == [1] * len(names)


def test_another_schema_is_named_before_the_table(schema: sa.URL, postgres: sa.URL) -> None:
    """``schema.table`` finds a table outside of the search path, and the default schema is left out of the identity."""
    customers(schema, 2)
    name = str(schema.query["options"]).partition("=")[2]

    source = open_columns(postgres, table=f"{name}.customers")
    default = open_columns(schema, table=f"{name}.customers")

    assert source.replace(again(everything(source))) == [True] * 4
    assert source.identity == f"sql postgres/{name}.customers(email, iban)"
    assert default.identity == open_columns(schema).identity == "sql postgres/customers(email, iban)"
    assert repr(default) == "<SqlColumns sql postgres/customers(email, iban)>"


def test_the_identity_of_a_file_is_its_name(tmp_path: Path) -> None:
    """A file of SQLite is named without its directory, and neither it nor its journal's kind is changed by looking at it."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    customers(database, 1)

    source = open_columns(str(database))
    everything(source)

    assert source.identity == "sql app.db/customers(email, iban)"
    assert [path.name for path in tmp_path.iterdir()] == ["app.db"]
    with run(database) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


def test_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    """A wrong name of SQLite's file is a FileNotFoundError, and no empty file is left behind."""
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.db"):
        open_columns(f"sqlite:///{tmp_path}/nowhere.db")

    assert list(tmp_path.iterdir()) == []


def test_null_is_left_out(database: sa.URL) -> None:
    """A row without a ciphertext is not walked, and one with some gives these."""
    rows: list[dict[str, Any]] = [
        {"id": 1, "iban": None, "email": None},
        {"id": 2, "iban": record(), "email": None},
        {"id": 3, "iban": None, "email": "sk1.x"},
    ]
    create(database, "CREATE TABLE customers (id BIGINT PRIMARY KEY, iban BYTES, email TEXT)", rows)
    source = open_columns(database, keyring="eu/x")

    assert walk(source) == [["[2]", "[3]"]]
    assert walk(source, current=frozenset([OLD])) == [["[3]"]]
    assert [item.name for item in source.read(["[1]", "[2]", "[3]", "[4]"])] == ["customers 2 iban", "customers 3 email"]
    assert source.read([]) == []
    assert source.replace([]) == []


@pytest.mark.parametrize("place", ["", "[]", "[1, 2]", "[ 1]", '["1"]', "[1.0]", "[true]", "[null]", "1", "{", "[1e0]", '{"1":2}'])
def test_what_is_no_place_is_refused(place: str, database: sa.URL) -> None:
    """A place of another table, or one written differently, is a ValueError."""
    customers(database, 1)
    source = open_columns(database)

    with pytest.raises(ValueError, match="is no place of customers"):
        source.read([place])


def test_uuids_are_compared_as_such(schema: sa.URL) -> None:
    """UUIDs in a key, a keyring and a context are written with hyphens and small letters."""
    one = uuid4()
    create(schema, "CREATE TABLE t (id UUID PRIMARY KEY, c TEXT)", [{"id": one, "c": "sk1.x"}], table="t")
    source = open_columns(schema, table="t", columns="c", keyring="eu/{id}", context={"id": "{id}"})

    (item,) = everything(source)

    assert item.keyring == f"eu/{one}"
    assert item.context == {"id": str(one)}
    with pytest.raises(ValueError, match="is no place"):
        source.read([f'["{str(one).upper()}"]'])


def test_domains_are_what_they_are_made_of(schema: sa.URL) -> None:
    """A key and a ciphertext of a type that was made by CREATE DOMAIN are as those of its base."""
    create(schema, "CREATE DOMAIN number AS BIGINT")
    create(schema, "CREATE DOMAIN ciphertext AS BYTES CHECK (octet_length(VALUE) > 5)")
    create(schema, "CREATE TABLE t (id number PRIMARY KEY, c ciphertext)", [{"id": 1, "c": record()}], table="t")
    source = open_columns(schema, table="t", columns="c", keyring="eu/x", context={"id": "{id}"})

    assert source.replace(again(everything(source))) == [True]


def test_types_that_nobody_asks_for_do_not_matter(schema: sa.URL) -> None:
    """A column of a type that SQLAlchemy does not know is no warning if nothing is wanted of it."""
    create(schema, "CREATE TYPE pair AS (a INT, b INT)")
    create(schema, "CREATE TABLE t (id BIGINT PRIMARY KEY, p pair, c BYTES)", [{"id": 1, "c": record()}], table="t")

    assert len(everything(open_columns(schema, table="t", columns="c", keyring="eu/x", context={}))) == 1


WRONG_TABLES = [
    ("CREATE TABLE t (id BIGINT, c BYTES)", {}, "no primary key and no unique index over id alone"),
    ("CREATE TABLE t (id BIGINT, x BIGINT, c BYTES, PRIMARY KEY (id, x))", {}, "over id alone"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, x BIGINT, c BYTES)", {"key": ["id", "x"]}, "over id, x alone"),
    ("CREATE TABLE t (id DOUBLE PRECISION PRIMARY KEY, c BYTES)", {}, "use a key of integers, text or UUIDs"),
    ("CREATE TABLE t (id BOOLEAN PRIMARY KEY, c BYTES)", {}, "use a key of integers, text or UUIDs"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BIGINT)", {}, "which holds no ciphertexts"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c TIMESTAMP)", {}, "which holds no ciphertexts"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"table": "Customers"}, "there is no table 'Customers'"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"table": "t; DROP TABLE t"}, "there is no table"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"columns": "C"}, "t has no column 'C'; it has id, c"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"key": "oid"}, "no column 'oid'"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"columns": []}, "columns must name one column or several"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"columns": ["c", "c"]}, "each once"),
    ("CREATE TABLE t (id TEXT PRIMARY KEY, c BYTES)", {"columns": ["id", "c"]}, "id: what changes when a key is rotated"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c TEXT)", {"context": {"x": "{c}"}}, "c: what changes when a key is rotated"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c TEXT)", {"keyring": "eu/{c}"}, "c: what changes when a key is rotated"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"keyring": None}, "records need keyring="),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"content": "envelopes"}, "envelopes take none"),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES)", {"content": "files"}, 'content must be "records" or "envelopes"'),
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, c TEXT)", {"content": "envelopes", "keyring": None}, "holds bytes, not text"),
]


@pytest.mark.parametrize(("statement", "changed", "problem"), WRONG_TABLES)
def test_wrong_tables_are_refused_at_once(statement: str, changed: dict[str, Any], problem: str, database: sa.URL, count: Count) -> None:
    """A table that rotation could not rely on is a ValueError that says what is missing."""
    create(database, statement)

    with pytest.raises(ValueError, match=problem):
        open_columns(database, **{"table": "t", "columns": "c", "keyring": "eu/x", "context": {}} | changed)
    count("tables refused", 1)


@pytest.mark.parametrize(
    ("index", "accepted"),
    [
        ("CREATE UNIQUE INDEX i ON t (id)", True),
        ("CREATE INDEX i ON t (id)", False),
        ("CREATE UNIQUE INDEX i ON t (id) WHERE id > 7", False),
        ("CREATE UNIQUE INDEX i ON t (abs(id))", False),
        ("CREATE UNIQUE INDEX i ON t (id, x)", False),
    ],
)
def test_a_unique_index_will_do(index: str, accepted: bool, database: sa.URL) -> None:
    """A unique index over the key is as good as a primary key; one over a part of the rows, or over more columns, is none."""
    create(database, "CREATE TABLE t (id BIGINT NOT NULL, x BIGINT, c BYTES)")
    create(database, index)
    given: dict[str, Any] = {"table": "t", "columns": "c", "keyring": "eu/x", "context": {}}

    if accepted:
        assert open_columns(database, **given).places("", 1) == []
    else:
        with pytest.raises(ValueError, match="no unique index over id alone"):
            open_columns(database, **given)


def test_a_unique_constraint_will_do(database: sa.URL) -> None:
    """So is a constraint; but rows in which the key is NULL are an error, since nothing would find them again."""
    create(database, "CREATE TABLE t (id BIGINT UNIQUE, c BYTES)", [{"id": number, "c": record()} for number in (1, None)], table="t")
    source = open_columns(database, table="t", columns="c", keyring="eu/x", context={})

    with pytest.raises(OSError, match="t has rows whose id is NULL"):
        source.places("", 1)


def test_a_connection_is_no_database(engine: sa.Engine) -> None:
    """One connection cannot serve several threads: that is a TypeError."""
    given: Any = engine.connect()
    with given, pytest.raises(TypeError, match="give the engine"):
        open_columns(given)


def test_sealed_messages_need_no_keyring(database: sa.URL) -> None:
    """A column of envelopes has a context and no keyring, is never left out for its key, and not counted by the database."""
    customers(database, 3)
    source = open_columns(database, columns="iban", keyring=None, content="envelopes")

    items = everything(source)

    assert source.content == "envelopes"
    assert {item.keyring for item in items} == {""}
    assert items[0].context == {"table": "customers", "column": "iban", "id": "1"}
    assert source.groups() is None
    assert walk(source, current=frozenset([OLD])) == [["[1]", "[2]", "[3]"]]
    assert source.replace(again(items)) == [True] * 3
