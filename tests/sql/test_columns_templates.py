# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import CITEXT

from securekit.keyring._stored import Group
from securekit.sql._layout import Layout
from securekit.sql._places import Places
from securekit.sql._template import as_text
from tests.conftest import Count
from tests.sql.tables import NEW, OLD, create, everything, open_columns, record, run, text, walk

ACCOUNTS = ["acme", "", "../x", "a/b", "ACME", "a" * 64, "a" * 65, " acme", "{id}", "%s", "'; --", "ü", None]


def accounts(database: sa.URL, kind: str = "TEXT", values: list[Any] = ACCOUNTS) -> None:
    rows = [{"id": number, "account": value, "c": record()} for number, value in enumerate(values)]
    create(database, f"CREATE TABLE t (id BIGINT PRIMARY KEY, account {kind}, c BYTES)", rows, table="t")


def test_a_value_fills_one_segment_of_the_path_or_is_a_fault(database: sa.URL, count: Count) -> None:
    """No value of a row leads to another tenant's keyring; the item says what is wrong, and does not show the value."""
    accounts(database)
    source = open_columns(database, table="t", columns="c", keyring="eu/{account}/x", context={})

    items = everything(source)

    assert [item.keyring for item in items if not item.fault] == ["eu/acme/x", f"eu/{'a' * 64}/x"]
    faults = {item.fault for item in items if item.fault}
    assert faults == {"account does not fill one segment of the path eu/{account}/x", "account is NULL"}
    count("hostile values for a path refused", len(ACCOUNTS) - 2)


def test_a_context_takes_any_text_as_it_is(database: sa.URL) -> None:
    """Whatever a text is, it is in the context unchanged, up to the bound of contexts; NULL is a fault."""
    values = [*ACCOUNTS, "ü" * 2048, "ü" * 2048 + "x"]
    accounts(database, values=values)
    source = open_columns(database, table="t", columns="c", keyring="eu/x", context={"a": "{account}", "b": "{{{account}}}-{column}"})

    items = everything(source)

    assert [item.context["a"] for item in items if item.context] == [value for value in values[:-2] if value is not None]
    assert items[0].context == {"a": "acme", "b": "{acme}-c"}
    assert [item.fault for item in items[-3:]] == [
        "account is NULL",
        "the context's b is longer than 4096 bytes",
        "the context's a is longer than 4096 bytes",
    ]


@pytest.mark.parametrize(
    ("kind", "literal", "expected"),
    [("DATE", "'2026-11-26'", "2026-11-26"), ("BIGINT", "9223372036854775807", "9223372036854775807"), ("VARCHAR(3)", "'ü'", "ü")],
)
def test_values_have_one_text(kind: str, literal: str, expected: str, database: sa.URL) -> None:
    """Integers are decimal, dates are ISO 8601's, and text is itself."""
    create(database, f"CREATE TABLE t (id BIGINT PRIMARY KEY, x {kind}, c BYTES)")
    with run(database) as connection:
        connection.execute(sa.text(f"INSERT INTO t VALUES (1, {literal}, :c)"), {"c": record()})  # noqa: S608
    source = open_columns(database, table="t", columns="c", keyring="eu/x", context={"x": "{x}"})

    assert [item.context for item in everything(source)] == [{"x": expected}]


@pytest.mark.parametrize("value", [True, 1.5, Decimal("1.50"), datetime(2026, 1, 1, tzinfo=UTC), b"x", None, ["x"]])
def test_a_value_without_one_text_is_refused(value: object) -> None:
    """What applications write differently has no text; the message names the column and the type, and not the value."""
    with pytest.raises(ValueError, match=r"^amount is (NULL|a (bool|float|Decimal|datetime|bytes|list), which has no single text)"):
        as_text("amount", value)


def test_text_without_case_is_compared_with_its_case() -> None:
    """PostgreSQL's CITEXT, which ignores case whatever its collation, is compared as plain text."""
    table = sa.table("t", sa.column("c", CITEXT()))
    layout = Layout(table, "t", "app", "postgresql", (), Places("t", []), frozenset(), frozenset("c"))

    assert str(layout.exact("c")) == 'CAST(t.c AS TEXT) COLLATE "C"'


def test_values_of_an_enumeration_are_text(schema: sa.URL) -> None:
    """A value of PostgreSQL's ENUM is its label, also one that was added later."""
    create(schema, "CREATE TYPE mood AS ENUM ('ok')")
    create(schema, "CREATE TABLE t (id BIGINT PRIMARY KEY, x mood, c BYTES)")
    source = open_columns(schema, table="t", columns="c", keyring="eu/{x}", context={})
    create(schema, "ALTER TYPE mood ADD VALUE 'new'")
    with run(schema) as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (1, 'new', :c)"), {"c": record()})

    assert [item.keyring for item in everything(source)] == ["eu/new"]
    assert [group.keyring for group in source.groups() or ()] == ["eu/new"]


@pytest.mark.parametrize("kind", ["BOOLEAN", "DOUBLE PRECISION", "NUMERIC(5, 2)", "TIMESTAMP", "BYTES"])
def test_a_type_without_one_text_is_refused_at_once(kind: str, database: sa.URL) -> None:
    """A template over a column that applications write differently is a ValueError which says to give a function."""
    create(database, f"CREATE TABLE t (id BIGINT PRIMARY KEY, x {kind}, c BYTES)")

    with pytest.raises(ValueError, match="whose values have no single text: give a function"):
        open_columns(database, table="t", columns="c", keyring="eu/x", context={"x": "{x}"})


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"keyring": "EU/{account}"}, "no segment"),
        ({"keyring": "eu/{account"}, "no segment"),
        ({"keyring": "eu/{a b}"}, "no segment"),
        ({"keyring": "eu/{missing}"}, "no column 'missing'"),
        ({"keyring": ""}, "no segment"),
        ({"context": {"a": "{"}}, "brace"),
        ({"context": {"a": "}"}}, "brace"),
        ({"context": {"a": "{0}"}}, "brace"),
        ({"context": {"a": "{id!r}"}}, "brace"),
        ({"context": {"a": "{id.real}"}}, "brace"),
        ({"context": {"a": "{missing}"}}, "no column 'missing'"),
        ({"context": {"": "x"}}, "context key"),
        ({"row": ["column"]}, "is the name of the ciphertext's column"),
        ({"row": ["missing"]}, "no column 'missing'"),
    ],
)
def test_wrong_templates_are_refused_at_once(changed: dict[str, Any], problem: str, database: sa.URL) -> None:
    """A template that no row could fill is a ValueError before any row is read."""
    accounts(database, values=[])

    with pytest.raises(ValueError, match=problem):
        open_columns(database, **{"table": "t", "columns": "c", "context": {}, "keyring": "eu/x"} | changed)


@pytest.mark.parametrize("changed", [{"keyring": 7}, {"context": "{id}"}, {"context": {"a": 1}}, {"context": None}])
def test_what_is_no_template_is_refused(changed: dict[str, Any], database: sa.URL) -> None:
    """Anything but a template or a function is a TypeError."""
    accounts(database, values=[])

    with pytest.raises(TypeError):
        open_columns(database, **{"table": "t", "columns": "c", "context": {}, "keyring": "eu/x"} | changed)


def test_functions_get_the_row(database: sa.URL) -> None:
    """A function of the row sees the key, the columns that were asked for and the ciphertext's column, and cannot change them."""
    accounts(database, values=["acme"])
    seen: list[Mapping[str, object]] = []

    def context(row: Mapping[str, object]) -> dict[str, str]:
        seen.append(row)
        return {"who": f"{row['account']}-{row['id']}"}

    source = open_columns(
        database, table="t", columns="c", keyring=lambda row: f"eu/{str(row['account']).lower()}", context=context, row=["account"]
    )

    (item,) = everything(source)

    assert item.keyring == "eu/acme"
    assert item.context == {"who": "acme-0"}
    assert dict(seen[0]) == {"id": 0, "account": "acme", "column": "c"}
    assert not hasattr(seen[0], "__setitem__")
    assert source.groups() is None


@pytest.mark.parametrize("raised", [KeyError, ValueError, TypeError, ZeroDivisionError, AttributeError])
def test_what_a_function_raises_is_a_fault_of_its_item(raised: type[Exception], database: sa.URL) -> None:
    """A row that a function does not understand is one that cannot be handled; nothing of the error's text is shown."""
    accounts(database, values=["a", "b"])

    def broken(row: Mapping[str, object]) -> dict[str, str]:
        if row["id"] == 0:
            raise raised(str(row))
        return {}

    items = everything(open_columns(database, table="t", columns="c", keyring="eu/x", context=broken))

    assert [item.fault for item in items] == [f"the function for the context raised {raised.__name__}, or gave what is none", ""]
    assert items[0].keyring == "eu/x"


@pytest.mark.parametrize("given", [{"keyring": lambda _: "no path!"}, {"keyring": lambda _: None}, {"context": lambda _: {"a": 1}}])
def test_what_a_function_gives_is_checked(given: dict[str, Any], database: sa.URL) -> None:
    """What is no path, or no context, is a fault of its item."""
    accounts(database, values=["a"])

    (item,) = everything(open_columns(database, **{"table": "t", "columns": "c", "keyring": "eu/x", "context": {}} | given))

    assert "or gave what is none" in item.fault


def test_a_column_called_column_is_told_apart(database: sa.URL) -> None:
    """``{column}`` is the name of the ciphertext's column, also where the table has a column of that name."""
    create(database, 'CREATE TABLE t ("column" BIGINT PRIMARY KEY, c BYTES)', [{"column": 7, "c": record()}], table="t")
    source = open_columns(database, table="t", key="column", columns="c", keyring="eu/{column}", context={"c": "{column}"})

    (item,) = everything(source)

    assert (item.place, item.keyring, item.context) == ("[7]", "eu/c", {"c": "c"})
    assert [group.keyring for group in source.groups() or ()] == ["eu/c"]


def test_the_database_counts_by_keyring_and_key(database: sa.URL) -> None:
    """Ciphertexts are counted by the columns that the keyring's template uses and by their beginning, each column for itself."""
    rows = [
        {"id": n, "account": account, "iban": record(key), "email": mail}
        for n, (account, key, mail) in enumerate([("a", OLD, None), ("a", OLD, "x"), ("b", OLD, "x"), ("A", NEW, "x"), (None, NEW, "x")])
    ]
    create(database, "CREATE TABLE customers (id BIGINT PRIMARY KEY, account TEXT, iban BYTES, email TEXT)", rows)
    old, new = (b"\x01" + bytes.fromhex(key) for key in (OLD, NEW))

    groups = list(open_columns(database, keyring="eu/{account}/{column}").groups() or ())

    wrong = "account and column does not fill one segment of the path eu/{account}/{column}"
    assert set(groups) == {
        Group("eu/a/iban", old, 2, 200),
        Group("eu/b/iban", old, 1, 100),
        Group("", new, 1, 100, wrong),
        Group("", new, 1, 100, "account is NULL"),
        Group("eu/a/email", "x", 1, 1),
        Group("eu/b/email", "x", 1, 1),
        Group("", "x", 1, 1, wrong),
        Group("", "x", 1, 1, "account is NULL"),
    }


def test_rows_whose_context_is_missing_are_counted_apart(database: sa.URL) -> None:
    """Where a column that the context needs is NULL, the group says so."""
    accounts(database, values=["a", None])

    groups = list(open_columns(database, table="t", columns="c", keyring="eu/x", context={"a": "{account}"}).groups() or ())

    assert sorted((group.keyring, group.items, group.fault) for group in groups) == [("eu/x", 1, ""), ("eu/x", 1, "account is NULL")]


def test_the_text_form_is_counted_by_eleven_characters(database: sa.URL) -> None:
    """The beginning of a text form is what names its key, and bytes in a column of text are counted as bytes."""
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, c TEXT)", [{"id": n, "c": text()} for n in range(40)], table="t")

    groups = list(open_columns(database, table="t", columns="c", keyring="eu/x", context={}).groups() or ())

    assert sum(group.items for group in groups) == 40
    assert len(groups) == 4
    assert {len(group.prefix) for group in groups} == {11}
    assert len({str(group.prefix)[:10] for group in groups}) == 1


def test_spellings_that_a_collation_takes_for_one_are_told_apart(tmp_path: Path) -> None:
    """Where a collation ignores case, another spelling is another tenant's, and another text form another ciphertext, all the same."""
    database = sa.make_url(f"sqlite:///{tmp_path}/app.db")
    one, other = text(OLD), text(OLD).swapcase()
    rows = [{"id": 1, "account": "acme", "c": one}, {"id": 2, "account": "ACME", "c": other}]
    create(database, "CREATE TABLE t (id BIGINT PRIMARY KEY, account TEXT COLLATE NOCASE, c TEXT COLLATE NOCASE)", rows, table="t")
    source = open_columns(database, table="t", columns="c", keyring="eu/{account}", context={})
    items = everything(source)
    with run(database) as connection:
        connection.execute(sa.text("UPDATE t SET c = :c WHERE id = 1"), {"c": one.swapcase()})

    assert sorted(group.keyring for group in source.groups() or ()) == ["", "eu/acme"]
    assert walk(source, current=frozenset([OLD])) == [["[1]", "[2]"]]
    assert source.replace([(item, text(NEW)) for item in items]) == [False, True]


def test_blanks_that_pad_a_value_are_part_of_it(schema: sa.URL) -> None:
    """A value of CHAR(n) is what the database gives, with its blanks: counted as it is read."""
    accounts(schema, "CHAR(5)", ["acme", "acmes"])
    source = open_columns(schema, table="t", columns="c", keyring="eu/{account}", context={})

    assert [item.keyring for item in everything(source)] == ["", "eu/acmes"]
    assert sorted(group.keyring for group in source.groups() or ()) == ["", "eu/acmes"]
