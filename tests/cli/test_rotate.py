# SPDX-License-Identifier: Apache-2.0
"""Rotation, typed as an operator would: planned, run, stopped, resumed, proven, retired; what is due, and what has leaked."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from securekit import FileKeyStore, LocalWrapper
from securekit._primitives.signatures import SigningCertificate
from securekit.rotation import SignedReport
from tests.cli.conftest import Console
from tests.cli.test_interface import INTERRUPTIBLE

RING = "eu/acme/customers"
CUSTOMERS = """
[[source]]
name = "customers"
kind = "sql"
url = "sqlite:///app.db"
table = "customers"
key = "id"
columns = "iban"
store = "keys"
keyring = "eu/{account}/customers"
context = { id = "{id}" }
"""
FILES = """
[[source]]
name = "files"
kind = "files"
root = "files"
recipients = ["local:new.key"]
also_open = ["local:root.key"]
context = { file = "{name}" }
"""


@pytest.fixture
def shop(empty: Console) -> Console:
    """A console with a store of short delays, a table of 30 records, three sealed files, and a rotation.toml."""
    empty.ok("keys", "new-kek", "root.key")
    empty.ok("keys", "new-kek", "new.key")
    ring = FileKeyStore("keys", wrapper=LocalWrapper.from_file("root.key"), refresh=1, stale_if_error=0).keyring(RING, create=True)
    fill(30, ring)
    (empty.folder / "files").mkdir()
    for number in range(3):
        empty.write("plain", f"file {number}")
        empty.ok("encrypt", "plain", "-o", f"files/{number}.sk", "--to", "local:root.key", "--context", f"file={number}.sk")
    empty.write("rotation.toml", empty.ok("rotate", "sample").out + CUSTOMERS + FILES)
    return empty


def fill(count: int, ring: Any) -> None:
    with closing(sqlite3.connect("app.db")) as database, database:
        database.execute("create table customers (id integer primary key, account text, iban blob)")
        records = ((number, "acme", ring.encrypt(f"{number}".encode(), context={"id": str(number)})) for number in range(count))
        database.executemany("insert into customers values (?, ?, ?)", records)


def primary(console: Console) -> str:
    keys = console.ok("keys", "show", RING, "--json").json["keys"]
    return next(f"{RING}@{key['id']}" for key in keys if key["state"] == "primary")


def test_a_plan_is_a_table_and_json(shop: Console) -> None:
    """It says what is there by key, and what would be done; nothing is changed."""
    old = primary(shop)
    shop.ok("keys", "rotate", RING)
    done = shop.ok("rotate", "plan")
    table = [line.split("\t") for line in done.out.splitlines()]
    told = shop.ok("rotate", "plan", "customers", "--json").json

    assert [row[0] for row in table] == ["keys", "customers", "files"]
    assert (table[1][1], table[1][2], table[1][4], table[1][5]) == (old, "active", "30", "re-encrypt")
    assert (table[2][4], table[2][5]) == ("3", "rewrap")
    assert "customers: re-encrypt 30 of 30 items" in done.err
    assert (told["customers"]["todo"], told["customers"]["kind"]) == (30, "re-encrypt")
    assert shop.ok("rotate", "run", "--dry-run").out == done.out
    assert shop.ok("rotate", "run", "customers", "--dry-run", "--json").json["customers"]["id"] == told["customers"]["id"]
    assert not (shop.folder / "rotation-journals").exists()


def test_a_run_does_what_is_planned_and_reports(shop: Console) -> None:
    """With a journal, a report for machines and a page for people; a second run finds nothing to do."""
    old = primary(shop)
    shop.ok("keys", "rotate", RING)
    done = shop.ok("rotate", "run", "--report", "reports", "--workers", "1", "--batch", "7")

    assert "0 failed" in done.out
    assert [line.rpartition(": ")[0].partition(" ")[0] for line in done.out.splitlines()] == ["sql", "files"]
    assert {path.name for path in (shop.folder / "reports").iterdir()} == {
        "customers-0001.json",
        "customers-0001.md",
        "files-0001.json",
        "files-0001.md",
    }
    assert json.loads(shop.read("reports/customers-0001.json"))["changed"] == 30
    assert "the journal is rotation-journals/customers-0001.journal" in done.err
    assert "nothing needs anything" in shop.ok("rotate", "run").err
    assert shop.ok("rotate", "verify", old).err.endswith(f"0 items need {old}\n")


def test_reports_are_signed(shop: Console) -> None:
    """With the private key that is given; its certificate proves them."""
    shop.ok("identity", "new", "--type", "ed25519", "--key", "ops.key", "--cert", "ops.pem", "--name", "ops")
    shop.ok("rotate", "run", "files", "--report", "reports", "--sign", "ops.key")
    certificate = SigningCertificate.read(shop.read("ops.pem"))
    assert SignedReport.verify(shop.read("reports/files-0001.json"), certificate)["changed"] == 3


def test_a_source_that_fails_stops_no_other(shop: Console) -> None:
    """It is named, what can be done is done and reported, and the exit code is 1."""
    Path("app.db").rename("moved.db")
    planned = shop("rotate", "plan")
    done = shop("rotate", "run")

    assert (planned.code, done.code) == (1, 1)
    assert "files\t" in planned.out
    assert "securekit: error: customers: " in planned.err
    assert "3 changed" in done.out
    assert "customers: not done; the others are" in done.err
    assert shop("rotate", "run", "--dry-run").code == 1


def test_a_proof_is_kept_and_signed(shop: Console) -> None:
    """For auditors: as a page, and as JSON that its signer's certificate proves."""
    shop.ok("identity", "new", "--type", "ed25519", "--key", "ops.key", "--cert", "ops.pem", "--name", "ops")
    Path("files/bad.sk").write_bytes(b"gar|bage")
    done = shop("rotate", "verify", "--report", "proofs", "--sign", "ops.key")
    (signed,), (page,) = (list(Path("proofs").glob(f"verification-*.{kind}")) for kind in ("json", "md"))

    assert done.code == 3
    assert SignedReport.verify(signed.read_bytes(), SigningCertificate.read(shop.read("ops.pem")))["counts"][primary(shop)] == 30
    assert f"| {primary(shop)} | 30 |" in page.read_text()
    assert "| bad.sk | FormatError |" in page.read_text()


def test_with_json_every_line_is_an_object(shop: Console) -> None:
    """How far it is after every batch, and the report at the end."""
    shop.ok("keys", "rotate", RING)
    lines = [json.loads(line) for line in shop.ok("rotate", "run", "customers", "--batch", "10", "--json").out.splitlines()]
    assert [line["progress"]["changed"] for line in lines[:-1]] == [10, 20, 30]
    assert lines[-1]["report"]["state"] == "finished"


def test_what_fails_is_named_and_the_rest_is_done(shop: Console) -> None:
    """Exit code 1; the item and the reason are on stderr."""
    shop.ok("keys", "rotate", RING)
    with closing(sqlite3.connect("app.db")) as database, database:
        database.execute("update customers set iban = ? where id = 7", (b"garbage",))
    done = shop("rotate", "run", "customers")

    assert done.code == 1
    assert "29 changed" in done.out
    assert "securekit: error: customers 7 iban: not a securekit record" in done.err
    failed = shop("rotate", "verify", primary(shop))
    assert (failed.code, "1 do not open" in failed.err) == (3, True)
    assert shop("rotate", "verify", "--json").json["unknown"] == 1
    refused = shop("rotate", "retire", f"{RING}@{shop.ok('keys', 'show', RING, '--json').json['keys'][0]['id']}")
    assert (refused.code, "1 items do not say which key they need" in refused.err) == (1, True)
    assert "cannot: not a securekit record" in shop.ok("rotate", "plan", "customers").out


def test_a_key_is_retired_in_two_steps(shop: Console) -> None:
    """Refused while something needs it; disabled with a proof; destroyed with another one, later; or forced with its name."""
    old = primary(shop)
    shop.ok("keys", "rotate", RING)
    needed = shop("rotate", "retire", old)
    assert (needed.code, f"30 items need {old}" in needed.err) == (1, True)
    assert f"30 items need {old}" in shop.ok("rotate", "retire", old, "--dry-run").err
    assert shop("rotate", "verify", old).code == 3
    shop.ok("rotate", "run", "customers")
    time.sleep(1)
    assert f"{old} is disabled\nafter 2" in shop.ok("rotate", "retire", old).err
    early = shop("rotate", "retire", old, "--destroy", "--yes")
    assert (early.code, "verify again after that" in early.err) == (1, True)
    time.sleep(2.1)
    assert shop("rotate", "retire", old, "--destroy", stdin="n\n").code == 130
    assert shop.ok("rotate", "retire", old, "--destroy", "--yes").json["key_ids"] == [old[-8:]]
    assert shop.ok("rotate", "retire", old, "--json").json["state"] == "destroyed"


def test_a_key_may_be_forced(shop: Console) -> None:
    """With its name typed once more."""
    old = primary(shop)
    shop.ok("keys", "rotate", RING)
    assert shop("rotate", "retire", old, "--force", "yes").code == 2
    assert f"{old} would be disabled without proof" in shop.ok("rotate", "retire", old, "--force", old, "--dry-run").err
    assert f"{old} would be destroyed without proof" in shop.ok("rotate", "retire", old, "--force", old, "--destroy", "--dry-run").err
    shop.ok("rotate", "retire", old, "--force", old, "--destroy", "--yes")
    assert shop("rotate", "verify").code == 3
    wrong = shop("rotate", "retire", "local 00")
    assert (wrong.code, "a data key is named PATH@ID" in wrong.err) == (2, True)


def test_what_is_due_ends_with_one(shop: Console) -> None:
    """For cron: 0 when nothing is due, 1 when something is; `auto` does it."""
    shop.write("rotation.toml", shop.read("rotation.toml").replace(b'recipients = ["local:new.key"]', b'recipients = ["local:root.key"]'))
    assert shop.ok("rotate", "due").err == "nothing is due\n"
    shop.ok("keys", "rotate", RING)
    due = shop("rotate", "due")
    assert (due.code, due.out) == (1, "re-encrypt\tcustomers\t\t30 of 30 items\tsecurekit rotate run customers\n")
    assert shop("rotate", "due", "--json").json[0]["action"] == "re-encrypt"
    assert shop.ok("rotate", "auto", "--dry-run").out == "re-encrypt customers : 30 of 30 items\n"
    assert shop.ok("rotate", "auto", "--dry-run", "--json").json[0]["where"] == "customers"
    assert "30 changed" in shop.ok("rotate", "auto").out
    assert shop.ok("rotate", "due", "--json").json == []
    assert shop.ok("rotate", "auto", "--json").out == ""


def test_a_leaked_key_is_followed(shop: Console) -> None:
    """What it opened is listed; after a yes it is rotated, re-encrypted and verified; what is left to do is printed."""
    old = primary(shop)
    listed = shop.ok("rotate", "compromise", old, "--dry-run")
    assert listed.out.splitlines() == [f"keys\tkey\t{old}\t1", "customers\titems\t\t30"]
    assert shop.ok("rotate", "compromise", old, "--dry-run", "--json").json[1]["items"] == 30
    assert shop("rotate", "compromise", old, stdin="n\n").code == 130
    done = shop.ok("rotate", "compromise", old, "--yes")
    assert done.out.splitlines()[-2:] == [f"securekit rotate retire {old}", f"securekit rotate retire {old} --destroy"]
    assert f"verified: 0 items still need {old}; 0 do not open" in done.err
    new = primary(shop)
    told = shop.ok("rotate", "compromise", new, "--yes", "--json")
    assert json.loads(told.out.splitlines()[-1])["rotated"] == {RING: primary(shop)}


def test_nothing_is_resumed_where_nothing_was_stopped(shop: Console) -> None:
    """That is said."""
    assert shop.ok("rotate", "resume").err == "no run is unfinished\n"


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (("run", "nothing"), "there is no source 'nothing'; there are keys, customers, files", 1),
        (("plan", "--config", "missing.toml"), "missing.toml: No such file or directory; a sample is printed by", 1),
        (("run", "--workers", "0"), "Invalid value for '--workers'", 2),
        (("run", "files", "--items-per-second", "0"), "a rate is more than 0 per second", 2),
        (("compromise", "eu/acme/customers@00000000", "--yes"), "no store has the key", 1),
        (("verify", "eu/acme/customers@00000000"), "no store has the key eu/acme/customers@00000000: is it spelled", 1),
        (("verify", "eu/acme/other@00000000"), "no store has the key eu/acme/other@00000000: is it spelled", 1),
        (("compromise", "local 0bac1fe1ddce8316", "--yes"), "local 0bac1fe1ddce8316 opens nothing that is known: is it spelled", 1),
        (("verify", "9f3a01c2"), "a data key is named PATH@ID, not '9f3a01c2'", 2),
        (("verify", "local 0bac1fe1ddce8316"), "hint: a name that is spelled wrongly is not needed either", 0),
    ],
)
def test_what_is_wrong_is_said(shop: Console, arguments: tuple[str, ...], error: str, code: int) -> None:
    """In one line, with the exit code that fits."""
    done = shop("rotate", *arguments)
    assert error in done.err
    assert done.code == code


def test_the_file_is_found_by_the_environment(shop: Console) -> None:
    """SECUREKIT_ROTATION names it."""
    (shop.folder / "rotation.toml").rename(shop.folder / "other.toml")
    assert shop("rotate", "due").code == 1
    assert "keys: rewrap 0 of 1 items" in shop.ok("rotate", "plan", "keys", env={"SECUREKIT_ROTATION": "other.toml"}).err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_after_its_batches_and_resume_goes_on(shop: Console, number: signal.Signals) -> None:
    """Exit code 130; what was done stands, and the journal knows it."""
    ring = FileKeyStore("keys", wrapper=LocalWrapper.from_file("root.key")).keyring(RING)
    Path("app.db").unlink()
    fill(400, ring)
    shop.ok("keys", "rotate", RING)
    command = [sys.executable, "-c", INTERRUPTIBLE, "rotate", "run", "customers", "--batch", "5", "--items-per-second", "40"]
    process = subprocess.Popen(command, env={**os.environ, **shop.env}, stderr=subprocess.PIPE, text=True)
    journal = shop.folder / "rotation-journals/customers-0001.journal"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (journal.exists() and '"changed":5' in journal.read_text()):
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    done = shop.ok("rotate", "resume")

    assert process.returncode == 130
    assert "stopping after the batches that are begun" in said
    assert "stopped; what was done stands" in said
    assert "400 changed" in done.out
    assert [path.name for path in journal.parent.iterdir()] == [journal.name]


def test_a_missing_source_is_noticed_before_a_key_is_destroyed(shop: Console) -> None:
    """It was forgotten in rotation.toml: nothing that is read is under any key of the keyring."""
    old = primary(shop)
    shop.ok("keys", "rotate", RING)
    time.sleep(1)
    shop.write("rotation.toml", shop.read("rotation.toml").replace(CUSTOMERS.encode(), b""))
    missing = "nothing that was read is under any key of eu/acme/customers: is a source missing from rotation.toml?"

    assert f"securekit: warning: {missing}" in shop.ok("rotate", "retire", old).err
    time.sleep(2.1)
    refused = shop("rotate", "retire", old, "--destroy", "--yes")
    assert (refused.code, f"securekit: error: {missing}" in refused.err) == (1, True)
    assert "4 items were read, of keyrings (all), files " in refused.err
    shop.ok("rotate", "retire", old, "--destroy", "--yes", "--force", old)


def interrupt_when(there: Callable[[], bool]) -> None:
    """Press Ctrl-C once ``there`` is so."""

    def wait() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not there():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def test_ctrl_c_begins_no_other_source(shop: Console) -> None:
    """What is begun ends; what comes after it is not begun."""
    shop.ok("keys", "rotate", RING)
    journal = shop.folder / "rotation-journals/customers-0001.journal"
    interrupt_when(lambda: journal.exists() and '"changed":1' in journal.read_text())
    done = shop("rotate", "run", "customers", "files", "--batch", "1", "--items-per-second", "20", "--workers", "1")
    assert done.code == 130
    assert "stopping after the batches that are begun" in done.err
    assert [file.name for file in journal.parent.iterdir()] == [journal.name]
    assert len(done.out.splitlines()) == 1


def test_ctrl_c_stops_a_chain_after_a_leak(shop: Console) -> None:
    """It says how it goes on."""
    old = primary(shop)
    interrupt_when(lambda: any((shop.folder / "rotation-journals").glob("compromise-*.json")))
    done = shop("rotate", "compromise", old, "--yes", "--workers", "1")
    assert (done.code, done.out.splitlines()[-1]) == (130, f"securekit rotate compromise {old}")
    again = shop("rotate", "compromise", old, "--yes", "--json")
    assert json.loads(again.out.splitlines()[-1])["needed"] == {}


def test_a_chain_that_leaves_something_behind_ends_with_three(shop: Console) -> None:
    """What still needs the leaked key is said."""
    old = primary(shop)
    with closing(sqlite3.connect("app.db")) as database, database:
        (record,) = database.execute("select iban from customers where id = 7").fetchone()
        database.execute("update customers set iban = ? where id = 7", (record[:-1] + bytes([record[-1] ^ 1]),))
    done = shop("rotate", "compromise", old, "--yes")
    assert done.code == 3
    assert f"securekit: error: 1 items still need {old}: repair that, and start this again" in done.err


def test_a_signing_key_may_have_a_password(shop: Console) -> None:
    """It is asked for."""
    shop.write("word", "correct horse")
    shop.ok("identity", "new", "--type", "ed25519", "--key", "ops.key", "--cert", "ops.pem", "--name", "ops", "--password-file", "word")
    shop.ok("rotate", "run", "files", "--report", "reports", "--sign", "ops.key", stdin="correct horse\n")
    assert SignedReport.verify(shop.read("reports/files-0001.json"), SigningCertificate.read(shop.read("ops.pem")))["failed"] == 0


def test_a_terminal_shows_the_rate_and_the_time_that_is_left(shop: Console) -> None:
    """In a bar, while it runs."""
    shop.ok("keys", "rotate", RING)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "securekit", "rotate", "run", "customers", "--batch", "5", "--items-per-second", "15"]
    environment = {**os.environ, **shop.env, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, env=environment, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while data := os.read(ours, 65536):
                shown += data
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert process.returncode == 0
    assert re.search(r"items .*%.* [0-9]+/s 0:00:0[0-9]", text)


@pytest.mark.parametrize("command", [("auto",), ("compromise", "--yes")])
def test_long_work_says_how_far_it_is(shop: Console, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """A line now and then, where nobody asked for JSON."""
    monkeypatch.setattr("securekit._cli._rotation_runs.SAY_EVERY", 0)
    old = primary(shop)
    shop.ok("keys", "rotate", RING)
    done = shop("rotate", *command, *([old] if command[0] == "compromise" else []))
    assert "30 of 30 changed, " in done.err
