# SPDX-License-Identifier: Apache-2.0
"""What walking, reading and counting cost: by the plans of PostgreSQL, and by the memory of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from securekit.sql import SqlColumns
from tests.conftest import Count
from tests.sql.tables import NEW, OLD, create, open_columns, record, run, text, walk

ROOT = Path(__file__).parents[2]
OLD_BYTES = rf"'\x01{OLD}'::bytea || decode(md5(n::text), 'hex')"
NEW_BYTES = rf"'\x01{NEW}'::bytea || decode(md5(n::text), 'hex')"

REPLACE_ALL = """
import re, sys
from tests.sql.tables import again, open_columns

source = open_columns(sys.argv[1], table="t", columns="c", keyring="eu/x", context={})
def peak():  # not getrusage's, which is that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

place, batches, before = source.places("", 1)[0], 0, peak()
while places := source.places(place, 500):
    with source.claim(places) as claim:
        claim.replace([(item, item.data[:1] + b"x" + item.data[2:]) for item in claim.items])
    place, batches = places[-1], batches + 1
print(batches, peak() - before)
"""


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[tuple[str, Any]]]:
    """Note what is executed."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        seen.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


def plan(engine: sa.Engine, statement: str, parameters: Any) -> str:
    with engine.connect() as connection:
        return "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))


def filled(schema: sa.URL, columns: str, values: str, *, rows: int) -> sa.Engine:
    """Return an engine of a table ``t`` with as many rows."""
    create(schema, f"CREATE TABLE t ({columns})")
    with run(schema) as connection:
        connection.exec_driver_sql(f"INSERT INTO t SELECT {values} FROM generate_series(1, {rows}) AS n")  # noqa: S608
        connection.exec_driver_sql("ANALYZE t")
    return sa.create_engine(schema, poolclass=sa.NullPool)


@pytest.mark.parametrize(
    ("columns", "values", "key"),
    [
        ("id BIGINT PRIMARY KEY", "n", "id"),
        ("id UUID PRIMARY KEY", "md5(n::text)::uuid", "id"),
        ("id TEXT PRIMARY KEY", "md5(n::text)", "id"),
        ("a TEXT, id BIGINT, PRIMARY KEY (a, id)", "'a' || (n / 1000)::text, n", ["a", "id"]),
    ],
)
def test_every_statement_walks_an_index(columns: str, values: str, key: Any, schema: sa.URL, count: Count) -> None:
    """Places, rows and changes are found by the key's index: nothing is sorted, skipped over, or read from the table's beginning."""
    engine = filled(schema, f"{columns}, c BYTES", f"{values}, {OLD_BYTES}", rows=50_000)
    source = open_columns(engine, table="t", key=key, columns="c", keyring="eu/x", context={})
    after = source.places("", 300)[-1]

    with statements(engine) as seen:
        places = source.places(after, 300)
        source.places(after, 300, current=frozenset([NEW]))
        with source.claim(places) as claim:
            assert all(claim.replace([(item, record()) for item in claim.items]))
        source.read(places)
    plans = [plan(engine, *one) for one in seen if "set_config" not in one[0]]

    assert len(plans) == 5
    assert [text for text in plans if "Index" not in text or "Seq Scan" in text or "Sort" in text] == []
    assert "OFFSET" not in str(seen)
    count("plans examined", len(plans))


def test_what_needs_no_work_is_walked_over_in_short_statements(schema: sa.URL) -> None:
    """A long stretch of current rows is left out by the database, in statements that each end after a bounded number of rows."""
    values = f"n, CASE WHEN n IN (7, 69999) THEN {OLD_BYTES} ELSE {NEW_BYTES} END"
    engine = filled(schema, "id BIGINT PRIMARY KEY, c BYTES", values, rows=70_000)
    source = open_columns(engine, table="t", columns="c", keyring="eu/x", context={})

    with statements(engine) as seen:
        first = source.places("", 100, current=frozenset([NEW]))
        second = source.places(first[-1], 100, current=frozenset([NEW]))
        last = source.places(second[-1], 100, current=frozenset([NEW]))

    assert (first, second, last) == (["[7]"], ["[69999]"], [])
    windows = [parameters["window"] for _, parameters in seen]
    assert max(windows) == 20_000
    assert len(windows) <= 14


def test_what_needs_no_work_is_walked_over_in_sqlite(tmp_path: Path) -> None:
    """So it is there."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    rows = [{"id": n, "c": record(OLD if n in {7, 29_999} else NEW, 30)} for n in range(30_000)]
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c BLOB)", rows, table="t")
    source = open_columns(database, table="t", columns="c", keyring="eu/x", context={})

    assert walk(source, current=frozenset([NEW])) == [["[7]", "[29999]"]]
    assert walk(source, 1, current=frozenset([NEW])) == [["[7]"], ["[29999]"]]


def test_text_forms_of_current_keys_are_left_out(database: sa.URL) -> None:
    """The text form of a key id ends within a character: all that follows is told apart."""
    rows = [{"id": n, "c": text(NEW if n % 3 else OLD)} for n in range(300)]
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c TEXT)", rows, table="t")
    source = open_columns(database, table="t", columns="c", keyring="eu/x", context={})

    (places,) = walk(source, 1000, current=frozenset([NEW, "00000001"]))

    assert places == [f"[{n}]" for n in range(0, 300, 3)]


def test_many_current_keys_are_not_looked_at(database: sa.URL) -> None:
    """500 key ids are one statement's; with more, every row with a ciphertext is a place."""
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c TEXT, d TEXT)", [{"id": 1, "c": text(NEW), "d": text(NEW)}], table="t")
    source = open_columns(database, table="t", columns=["c", "d"], keyring="eu/x", context={})
    keys = [f"{number:08x}" for number in range(500)]

    assert source.places("", 1, current=frozenset([*keys[1:], NEW])) == []
    assert source.places("", 1, current=frozenset([*keys, NEW])) == ["[1]"]


def test_large_ciphertexts_make_small_batches(database: sa.URL) -> None:
    """A batch has some 4 MiB at most; one that is larger is alone in its batch, and those around it are not."""
    sizes = [1, 1, 5 << 20, 1, 2 << 20, 2 << 20, 1, 1]
    rows = [{"id": n, "c": record(OLD, 6 + size), "d": "x"} for n, size in enumerate(sizes, 1)]
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c BYTES, d TEXT)", rows, table="t")
    source = open_columns(database, table="t", columns=["c", "d"], keyring="eu/x", context={})

    assert walk(source) == [["[1]", "[2]"], ["[3]"], ["[4]", "[5]"], ["[6]", "[7]", "[8]"]]


def test_large_rows_are_not_walked_over_again_and_again(schema: sa.URL) -> None:
    """Where batches are small because rows are large, each statement looks at few rows; afterwards, at more again."""
    values = f"n, {OLD_BYTES} || decode(repeat('00', CASE WHEN n < 40 THEN 2000000 ELSE 0 END), 'hex')"
    engine = filled(schema, "id BIGINT PRIMARY KEY, c BYTES", values, rows=2000)
    source = open_columns(engine, table="t", columns="c", keyring="eu/x", context={})

    with statements(engine) as seen:
        batches = walk(source, 500)

    asked = [parameters["limit"] for _, parameters in seen]
    assert [len(batch) for batch in batches[:19]] == [2] * 19
    assert sum(asked[:20]) < 600
    assert max(asked[20:]) == 500
    assert sum(map(len, batches)) == 2000


def test_memory_does_not_grow_with_the_table(schema: sa.URL, count: Count) -> None:
    """1,000 ciphertexts of 64 KiB are claimed and replaced in 48 MiB."""
    big = f"{OLD_BYTES} || decode(repeat(md5(n::text), 2047), 'hex') || decode(repeat(md5((-n)::text), 2047), 'hex')"
    filled(schema, "id BIGINT PRIMARY KEY, c BYTES", f"n, {big}", rows=1000)

    done = subprocess.run(
        [sys.executable, "-c", REPLACE_ALL, schema.render_as_string(hide_password=False)],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    batches, grown = map(int, done.stdout.split())

    assert batches >= 15
    assert grown < 48 * 1024
    count("KiB of growth over 1,000 ciphertexts of 64 KiB", grown)


def test_many_groups_are_streamed(schema: sa.URL) -> None:
    """Groups come little by little, and an application can change the table meanwhile."""
    engine = filled(schema, "id BIGINT PRIMARY KEY, account TEXT, c BYTES", f"n, 'a' || n::text, {OLD_BYTES}", rows=5000)
    source: SqlColumns = open_columns(engine, table="t", columns="c", keyring="eu/{account}", context={})

    groups = iter(source.groups() or ())
    first = next(groups)
    with run(schema) as connection:
        queries = connection.scalars(sa.text("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'")).all()
        connection.exec_driver_sql("UPDATE t SET account = 'none'")
    rest = list(groups)

    assert [query for query in queries if query.startswith("FETCH FORWARD")] != []
    assert first.items == 1
    assert {group.keyring for group in [first, *rest]} == {f"eu/a{n}" for n in range(1, 5001)}
