# SPDX-License-Identifier: Apache-2.0
"""Single values and columns of tables are encrypted and decrypted whole, or an error names the row and nothing is left."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securekit import FileKeyStore, LocalWrapper
from securekit.keyring import to_text
from tests.cli.conftest import Console, Done
from tests.conftest import Count

RING = "eu/acme/invoices"
SECRET = "canary-b2d4"
ROW = ("--context", "column=iban", "--context", "id={id}")


def table(console: Console, verb: str, name: str, *more: str) -> Done:
    return console(verb, name, "--keyring", RING, "--column", "iban", *ROW, *more)


def ok(console: Console, verb: str, name: str, *more: str) -> Done:
    done = table(console, verb, name, *more)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize("data", [b"DE89 3704 0044", b"", b"\x00\xff\n", "Größe\r\n".encode(), bytes(range(256)) * 500])
def test_a_value_comes_back(data: bytes, console: Console) -> None:
    """From stdin or a file, to stdout or a file, text or not: the bytes are the same."""
    options = ("--keyring", RING, "--context", "id=42")
    token = console.ok("encrypt", *options, stdin=data).raw
    assert token.startswith(b"sk1.")
    assert token.endswith(b"\n")
    assert console.ok("decrypt", *options, stdin=token).raw == data
    assert console.ok("decrypt", *options, stdin=token.strip()).raw == data
    console.write("plain", data)
    assert console.ok("encrypt", "plain", *options, "-o", "sealed").raw == b""
    assert console.ok("decrypt", "sealed", *options, "-o", "out").raw == b""
    assert console.read("out") == data
    for name in ("sealed", "out"):
        assert (console.folder / name).stat().st_mode & 0o777 == 0o600
    assert console.names() == {"root.key", "keys", "plain", "sealed", "out"}


def test_a_binary_record_is_decrypted(console: Console) -> None:
    """What a program stored as bytes opens, too."""
    store = FileKeyStore(console.folder / "keys", wrapper=LocalWrapper.from_file(console.folder / "root.key"))
    console.write("record", store.keyring(RING).encrypt(b"data", context={"id": "1"}))
    assert console.ok("decrypt", "record", "--keyring", RING, "--context", "id=1").raw == b"data"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda token: token[:-2] + b"\n", 1),
        (lambda token: token[:60] + (b"A" if token[60:61] != b"A" else b"B") + token[61:], 3),
        (lambda token: token.upper(), 1),
        (lambda token: b" " + token, 1),
        (lambda token: token.replace(b"sk1.", b"sk1.\xc3\xa9"), 1),
        (lambda token: token + token, 1),
        (lambda _: b"", 1),
    ],
)
def test_a_failed_decryption_leaves_nothing(change: object, code: int, console: Console) -> None:
    """Nothing is printed, no file appears, and a file that was there keeps its bytes."""
    token = console.ok("encrypt", "--keyring", RING, stdin=SECRET.encode()).raw
    console.write("sealed", change(token))  # type: ignore[operator]
    console.write("old", "precious")
    for output in ([], ["-o", "new"], ["-o", "old"]):
        done = console("decrypt", "sealed", "--keyring", RING, *output)
        assert (done.code, done.raw) in ((code, b""), (3, b""))
        assert SECRET not in done.err
    assert console.read("old") == b"precious"
    assert console.names() == {"root.key", "keys", "sealed", "old"}


CSV = 'id,name,iban\n1,"Lindqvist, Anna",SE45 5000\n2,"said ""no""",\n3,"two\nlines",Ünïcode ✓\n'


def test_columns_of_a_csv_file(console: Console) -> None:
    """Each value is bound to its row, the other columns stay as they are, and decrypting gives the file back to the byte."""
    console.write("t.csv", CSV)
    assert ok(console, "encrypt", "t.csv", "-o", "sealed.csv").raw == b""
    before, after = (list(csv.DictReader(io.StringIO(console.read(name).decode()))) for name in ("t.csv", "sealed.csv"))
    assert [{**row, "iban": ""} for row in after] == [{**row, "iban": ""} for row in before]
    ring = FileKeyStore(console.folder / "keys", wrapper=LocalWrapper.from_file(console.folder / "root.key")).keyring(RING)
    for plain, sealed in zip(before, after, strict=True):
        assert ring.decrypt_text(sealed["iban"], context={"column": "iban", "id": plain["id"]}) == plain["iban"]
    assert ok(console, "decrypt", "sealed.csv").raw == CSV.encode()
    assert (console.folder / "sealed.csv").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        CSV.replace("\n", "\r\n"),
        "id,iban\r\n1,x\r\n",
        "id,iban\n",
        'id,iban\n1,"a\rb"\n',
        'id,iban,note\n1,x,"a\rb"\n2,y,"\r\n"\n',
        'id,iban\n1," padded "\n',
        "id,iban\n007,-0\n",
    ],
)
def test_a_csv_file_comes_back_to_its_values(text: str, console: Console) -> None:
    """Line ends, bare carriage returns, quotes and blanks survive both ways."""
    console.write("t.csv", text)
    ok(console, "encrypt", "t.csv", "-o", "sealed.csv")
    opened = ok(console, "decrypt", "sealed.csv").raw.decode()
    assert list(csv.reader(io.StringIO(opened, newline=""))) == list(csv.reader(io.StringIO(text, newline="")))
    assert opened.endswith("\r\n") == text.endswith("\r\n")


def test_a_byte_order_mark_is_no_part_of_a_name(console: Console) -> None:
    """A file from a spreadsheet, with its mark before the first column's name, is understood."""
    console.write("t.csv", b"\xef\xbb\xbf" + b"id,iban\r\n1,x\r\n")
    ok(console, "encrypt", "t.csv", "-o", "sealed.csv")
    assert ok(console, "decrypt", "sealed.csv").raw == b"id,iban\r\n1,x\r\n"


ROWS: list[dict[str, Any]] = [
    {"id": 1, "iban": "SE45", "nested": {"a": [1, None, True, 1.5e300]}},
    {"iban": None, "id": "2"},
    {"id": 3},
    {"id": 10**30, "iban": "Ünïcode ✓ \u2028", "half": "\ud800"},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_members_of_json_lines(suffix: str, console: Console) -> None:
    """Null and missing members stay so, numbers serve as ids, and every other member keeps its order and type."""
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    console.write(f"t{suffix}", "\n" + text.replace("\n", "\n  \n") + "\n")
    ok(console, "encrypt", f"t{suffix}", "-o", f"sealed{suffix}")
    sealed = [json.loads(line) for line in console.read(f"sealed{suffix}").decode().split("\n") if line]
    assert [row.get("iban", "")[:4] if row.get("iban") else row.get("iban") for row in sealed] == ["sk1.", None, None, "sk1."]
    opened = [json.loads(line) for line in ok(console, "decrypt", f"sealed{suffix}").out.split("\n") if line]
    assert opened == ROWS
    assert [list(row) for row in opened] == [list(row) for row in ROWS]


def test_a_keyring_per_row(console: Console) -> None:
    """The keyring's path is filled by each row, from text and from whole numbers, and accounts do not read one another."""
    for account in ("globex", "42"):
        console.ok("keys", "create", f"eu/{account}/invoices")
    console.write(
        "t.jsonl", '{"id": 1, "who": "acme", "iban": "A"}\n{"id": 2, "who": "globex", "iban": "G"}\n{"id": 3, "who": 42, "iban": "N"}\n'
    )
    by_row = ("--keyring", "eu/{who}/invoices", "--column", "iban", "--context", "id={id}")
    console.ok("encrypt", "t.jsonl", *by_row, "-o", "sealed.jsonl")
    assert console.ok("decrypt", "sealed.jsonl", *by_row).raw == console.read("t.jsonl")
    console.write("moved.jsonl", console.read("sealed.jsonl").replace(b'"who": "acme"', b'"who": "globex"'))
    moved = console("decrypt", "moved.jsonl", *by_row)
    assert (moved.code, moved.raw) == (1, b"")  # no such key there
    assert "moved.jsonl, column iban, row 1: " in moved.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"iban": "x", "id": 1}', "{who} is a column whose value is missing"),
        ('{"iban": "x", "id": 1, "who": null}', "{who} is a column whose value is missing, or neither text nor a whole number"),
        ('{"iban": "x", "id": 1, "who": true}', "{who} is a column"),
        ('{"iban": "x", "who": "acme", "id": 1.5}', "{id} is a column"),
        ('{"iban": "x", "who": "acme"}', "{id} is a column"),
        ('{"iban": "x", "id": 1, "who": "../x"}', "does not fill one segment of the path"),
        ('{"iban": "x", "id": 1, "who": "a/b"}', "does not fill one segment"),
        ('{"iban": 5, "id": 1, "who": "acme"}', "the value is int, not text"),
        ('{"iban": {"a": 1}, "id": 1, "who": "acme"}', "the value is dict, not text"),
        ('{"iban": "\\ud800", "id": 1, "who": "acme"}', "the value is not text: it has half of a character"),
    ],
)
def test_a_row_that_cannot_be_encrypted_is_named(line: str, said: str, console: Console) -> None:
    """The file, the column and the row are in the error, its value is not, and nothing is left."""
    console.write("t.jsonl", '{"iban": "ok", "id": 0, "who": "acme"}\n' + line + "\n")
    done = console("encrypt", "t.jsonl", "--keyring", "eu/{who}/invoices", "--column", "iban", "--context", "id={id}", "-o", "out.jsonl")
    assert (done.code, done.raw) == (1, b"")
    assert done.err.startswith("securekit: error: t.jsonl, column iban, row 2: ")
    assert said in done.err
    assert "out.jsonl" not in console.names()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "id,iban\n1,x\n2\n", "t.csv, at or above line 3: a row has not as many values as the header"),
        ("t.csv", "id,iban\n1,x,y\n", "t.csv, at or above line 2: a row has not as many values as the header"),
        ("t.csv", 'id,iban\n1,"x"y\n', "t.csv, in the row that begins at line 2: "),
        ("t.csv", 'id,iban\n1,"a\nb"\n2,"x\n\n\n', "t.csv, in the row that begins at line 4: unexpected end of data"),
        ("t.csv", "", "t.csv has no header"),
        ("t.csv", "id,iban,id\n", "one with a name twice"),
        ("t.csv", 'i"d,"iban\n', "t.csv, in the row that begins at line 1: "),
        ("t.csv", b"id,iban\n1,\xff\n", "t.csv is not UTF-8 text"),
        ("t.csv", b"i\xff,iban\n", "t.csv is not UTF-8 text"),
        ("t.jsonl", b'{"iban": "\xff"}\n', "t.jsonl is not UTF-8 text"),
        ("t.jsonl", '{"id": 1, "iban": "x"}\n{"id": 2\n', "t.jsonl, line 2: not a JSON object"),
        ("t.jsonl", '{"id": 1, "iban": "x"}\n\n[1]\n', "t.jsonl, line 3: not a JSON object"),
        ("t.jsonl", '{"id": 1, "id": 2}\n', "one with a member twice"),
        ("t.jsonl", '{"id": NaN, "iban": "x"}\n', "t.jsonl, line 1: not a JSON object"),
        ("t.jsonl", '{"id": 1e999, "iban": "x"}\n', "t.jsonl, line 1: not a JSON object"),
        ("t.jsonl", '{"id": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "t.jsonl, line 1: not a JSON object"),
        ("t.txt", "hello", "t.txt ends in neither .csv nor .jsonl"),
    ],
)
def test_damaged_input_is_named_by_its_line(name: str, text: str | bytes, said: str, console: Console) -> None:
    """Exit code 1, the line, and no output file."""
    console.write(name, text)
    done = table(console, "encrypt", name, "-o", "out")
    assert (done.code, done.raw) == (1, b"")
    assert said in done.err
    assert "out" not in console.names()


def test_deep_json_passes_or_is_refused(console: Console) -> None:
    """At every depth a line either comes back or is an error of ours."""
    for depth in range(100, 1500, 50):
        console.write("t.jsonl", '{"id": 1, "iban": "x", "deep": ' + "[" * depth + "]" * depth + "}\n")
        done = table(console, "encrypt", "t.jsonl")
        assert done.code == 0 or "line 1: not a JSON object" in done.err


@pytest.mark.parametrize(("name", "text"), [("t.csv", "id,iban\n1,x\n"), ("t.jsonl", '{"id": 1, "iban": "x"}\n{"id": 2}\n')])
def test_a_column_that_is_not_there_is_refused(name: str, text: str, console: Console) -> None:
    """A mistyped column never means that a table passes through unencrypted."""
    console.write(name, text)
    done = console("encrypt", name, "--keyring", RING, "--column", "ibam", "-o", "out")
    assert done.code in {1, 2}
    assert "'ibam'" in done.err
    assert "out" not in console.names()


def test_an_unknown_context_column_is_named(console: Console) -> None:
    """What the CSV file has is listed."""
    console.write("t.csv", "id,iban\n1,x\n")
    done = console("encrypt", "t.csv", "--keyring", RING, "--column", "iban", "--context", "id={Id}")
    assert (done.code, "t.csv has no column 'Id'; it has id, iban" in done.err) == (2, True)


def test_no_rows_are_no_error(console: Console) -> None:
    """An empty JSON-lines file, and a CSV file with a header alone, give an empty result."""
    for name, data in [("t.jsonl", b""), ("t.csv", b"id,iban\n")]:
        console.write(name, data)
        assert ok(console, "encrypt", name).raw == data


def many(number: int) -> str:
    return "id,name,iban\n" + "".join(f"{n},name {n},DE{n:020d}\n" for n in range(1, number + 1))


def test_batches_do_not_show(console: Console, count: Count) -> None:
    """2,500 rows, which are three batches, come back to the byte, and every one has a ciphertext of its own."""
    console.write("t.csv", many(2500))
    ok(console, "encrypt", "t.csv", "-o", "sealed.csv")
    assert len({row["iban"] for row in csv.DictReader(io.StringIO(console.read("sealed.csv").decode()))}) == 2500
    assert ok(console, "decrypt", "sealed.csv").out == many(2500)
    count("rows encrypted and decrypted by the command line", 2500)


@pytest.mark.parametrize("row", [1, 999, 1000, 1001, 2500])
def test_a_row_that_does_not_decrypt_is_named(row: int, console: Console) -> None:
    """A value moved from another row is exit code 3 with its row, in whatever batch, and no file is left."""
    console.write("t.csv", many(2500))
    ok(console, "encrypt", "t.csv", "-o", "sealed.csv")
    lines = console.read("sealed.csv").decode().split("\n")
    lines[row] = lines[row].rpartition(",")[0] + "," + lines[row - 1 if row > 1 else 2].rpartition(",")[2]
    console.write("moved.csv", "\n".join(lines))
    done = table(console, "decrypt", "moved.csv", "-o", "out.csv")
    assert (done.code, done.raw) == (3, b"")
    assert (
        done.err
        == f"securekit: error: moved.csv, column iban, row {row}: decryption failed: wrong key, wrong context, or the message was changed\n"
    )
    assert "out.csv" not in console.names()


def test_a_value_that_is_no_record_is_named(console: Console) -> None:
    """A plaintext among ciphertexts is exit code 1 with its row."""
    console.write("t.csv", "id,iban\n1,x\n2,y\n")
    ok(console, "encrypt", "t.csv", "-o", "sealed.csv")
    console.write("mixed.csv", console.read("sealed.csv").decode().rpartition("2,")[0] + f"2,{SECRET}\n")
    done = table(console, "decrypt", "mixed.csv")
    assert done.code == 1
    assert "mixed.csv, column iban, row 2: " in done.err
    assert SECRET not in done.err


def test_a_value_that_is_not_text_is_named(console: Console) -> None:
    """Bytes that a program encrypted do not fit into a table: the row is named, and no byte of the value is shown."""
    store = FileKeyStore(console.folder / "keys", wrapper=LocalWrapper.from_file(console.folder / "root.key"))
    sealed = store.keyring(RING).encrypt(b"\xfe\xed", context={"column": "iban", "id": "1"})
    console.write("t.csv", f"id,iban\n1,{to_text(sealed)}\n")
    done = table(console, "decrypt", "t.csv")
    assert (done.code, done.raw) == (1, b"")
    assert done.err == "securekit: error: t.csv, column iban, row 1: the value is not text; decrypt it alone, without --column\n"


def test_several_columns(console: Console) -> None:
    """Several columns are encrypted in one run, also those that fill a context: contexts are of the row as it was."""
    console.write("t.csv", "id,a,b\n1,x,y\n2,x,y\n")
    options = ("--keyring", RING, "--column", "a", "--column", "b", "--context", "id={id}")
    console.ok("encrypt", "t.csv", *options, "-o", "sealed.csv")
    assert b"x" not in console.read("sealed.csv").replace(b"sk1.", b"").split(b"\n", 1)[0]
    assert console.ok("decrypt", "sealed.csv", *options).raw == console.read("t.csv")
    console.ok("encrypt", "t.csv", "--keyring", RING, "--column", "b", "--column", "b", "--context", "a={a}", "-o", "twice.csv")
    assert console.ok("decrypt", "twice.csv", "--keyring", RING, "--column", "b", "--context", "a={a}").raw == console.read("t.csv")


def test_a_file_is_replaced_in_place(console: Console) -> None:
    """The output may be the input: it is replaced when it is complete, and kept when something fails."""
    console.write("t.csv", many(1500))
    ok(console, "encrypt", "t.csv", "-o", "t.csv")
    sealed = console.read("t.csv")
    assert sealed.count(b"sk1.") == 1500
    assert console("decrypt", "t.csv", "--keyring", RING, "--column", "iban", "-o", "t.csv").code == 3
    assert console.read("t.csv") == sealed
    ok(console, "decrypt", "t.csv", "-o", "t.csv")
    assert console.read("t.csv").decode() == many(1500)


def test_a_long_value_of_a_table_comes_back(console: Console) -> None:
    """The text form of a long value is longer than Python's csv module takes by default."""
    console.write("t.csv", "id,iban\n1," + "x" * 120_000 + "\n")
    ok(console, "encrypt", "t.csv", "-o", "sealed.csv")
    assert ok(console, "decrypt", "sealed.csv").raw == console.read("t.csv")


text = st.text(st.characters(codec="utf-8"), max_size=12)


@pytest.mark.repetitive
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(text, text), max_size=5))
def test_any_text_comes_back(console: Console, rows: list[tuple[str, str]]) -> None:
    """Whatever characters a CSV value or a JSON member has, it is the same afterwards, and so is its neighbour."""
    written = io.StringIO(newline="")
    csv.writer(written).writerows([("id", "iban"), *rows])
    console.write("t.csv", written.getvalue())
    ok(console, "encrypt", "t.csv", "-o", "sealed.csv")
    opened = ok(console, "decrypt", "sealed.csv").raw.decode()
    assert list(csv.reader(io.StringIO(opened, newline="")))[1:] == [list(row) for row in rows]
    console.write("t.jsonl", "".join(json.dumps({"id": name, "iban": value}) + "\n" for name, value in rows))
    ok(console, "encrypt", "t.jsonl", "-o", "sealed.jsonl")
    lines = ok(console, "decrypt", "sealed.jsonl").raw.decode().split("\n")
    assert [tuple(json.loads(line).values()) for line in lines if line] == rows


def peak(console: Console, *typed: str) -> int:
    """Return the memory that a process of the command line took at most, in KiB (the rusage of a child counts its parent's, too)."""
    code = "import re, sys\nfrom securekit._cli import main\ntry:\n    main()\nfinally:\n"
    code += "    print(re.search('VmHWM:(.*)kB', open('/proc/self/status').read())[1], file=sys.stderr)\n"
    command, environment = [sys.executable, "-c", code, *typed], {**os.environ, **console.env}
    done = subprocess.run(command, cwd=console.folder, env=environment, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1])


def test_a_table_of_any_size_takes_the_same_memory(console: Console, count: Count) -> None:
    """100,000 rows take at most 16 MiB more than 1,000 rows, for both verbs."""
    grown = {}
    for rows in (1_000, 100_000):
        console.write("t.csv", many(rows))
        options = ("--keyring", RING, "--column", "iban", *ROW)
        grown[rows] = (
            peak(console, "encrypt", "t.csv", *options, "-o", "sealed.csv"),
            peak(console, "decrypt", "sealed.csv", *options, "-o", "out.csv"),
        )
        assert console.read("out.csv") == console.read("t.csv")
    growth = [large - small for large, small in zip(grown[100_000], grown[1_000], strict=True)]
    assert max(growth) < 16 * 1024
    count("KiB of memory more for 100 times the rows", max(growth))
