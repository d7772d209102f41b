# SPDX-License-Identifier: Apache-2.0
"""The life of keyrings, typed as an operator would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from securekit import FileKeyStore, LocalWrapper
from tests.cli.conftest import Console
from tests.cli.test_interface import INTERRUPTIBLE

RING = "eu/acme/invoices"


def states(console: Console, path: str = RING) -> dict[str, str]:
    return {key["id"]: key["state"] for key in console.ok("keys", "show", path, "--json").json["keys"]}


def encrypt(console: Console, data: bytes = b"data", **env: str) -> bytes:
    return console.ok("encrypt", "--keyring", RING, stdin=data, env=env or None).raw  # type: ignore[arg-type]


def recipients(console: Console, *options: str) -> set[str]:
    return {entry["key_ref"] for entry in console.ok("keys", "show", RING, "--json", *options).json["recipients"]}


def test_a_new_kek_is_guarded_and_not_overwritten(empty: Console) -> None:
    """The file is for its owner alone, its reference is said on stderr, and a second run leaves it alone."""
    done = empty.ok("keys", "new-kek", "root.key")
    assert (done.out, done.err.startswith("made root.key: local ")) == ("", True)
    assert (empty.folder / "root.key").stat().st_mode & 0o777 == 0o600
    before = empty.read("root.key")
    again = empty("keys", "new-kek", "root.key")
    assert again.code == 1
    assert "root.key exists already" in again.err
    assert empty.read("root.key") == before


def test_create_and_list(console: Console) -> None:
    """Creating twice gives the same key; listing is by whole segments, as lines and as JSON."""
    first, second = (console.ok("keys", "create", "eu/acme/orders").out for _ in range(2))
    assert first == second
    assert first.startswith("eu/acme/orders@")
    console.ok("keys", "create", "us/acme/orders")
    assert console.ok("keys", "list").out.split() == [RING, "eu/acme/orders", "us/acme/orders"]
    assert console.ok("keys", "list", "eu", "--json").json == [RING, "eu/acme/orders"]
    nobody = console.ok("keys", "list", "eu/ac")
    assert (nobody.out, nobody.err) == ("", "there are no keyrings here\n")
    assert console.ok("keys", "list", "nobody", "--json").json == []


def test_the_whole_life_of_a_key(console: Console) -> None:
    """Rotate, stage, promote, disable, enable and destroy do what they say, and print the key's full name."""
    token = encrypt(console)
    (old,) = states(console)
    new = console.ok("keys", "rotate", RING).out.strip().removeprefix(f"{RING}@")
    assert states(console) == {old: "active", new: "primary"}
    staged = console.ok("keys", "rotate", RING, "--stage").out.strip().removeprefix(f"{RING}@")
    assert states(console)[staged] == "active"
    assert console.ok("keys", "promote", f"{RING}@{staged}").out == f"{RING}@{staged}\n"
    assert states(console) == {old: "active", new: "active", staged: "primary"}
    assert console("keys", "disable", f"{RING}@{staged}").code == 1  # the primary
    assert console.ok("keys", "disable", f"{RING}@{old}").out == f"{RING}@{old}\n"
    refused = console("decrypt", "--keyring", RING, stdin=token)
    assert (refused.code, "disabled" in refused.err) == (1, True)
    assert console.ok("keys", "enable", f"{RING}@{old}").out == f"{RING}@{old}\n"
    assert console.ok("decrypt", "--keyring", RING, stdin=token).raw == b"data"


def test_destroying_asks(console: Console) -> None:
    """Without --yes, anything but yes destroys nothing; a fresh key needs --force; the receipt names what else must go."""
    token = encrypt(console)
    (old,) = states(console)
    console.ok("keys", "rotate", RING)
    name = f"{RING}@{old}"
    assert console("keys", "destroy", name, "--yes").err.endswith("; disable it first\n")
    console.ok("keys", "disable", name)
    for answer in ("n\n", "\n", ""):
        stopped = console("keys", "destroy", name, "--force", stdin=answer)
        assert (stopped.code, stopped.out) == (130, "")
        assert f"Destroy {name} for ever? What it encrypted is lost" in stopped.err
    assert states(console)[old] == "disabled"
    early = console("keys", "destroy", name, "--yes")
    assert early.code == 1
    assert re.search(
        r"longer than 86460 seconds, so that no process still uses it; try again after 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ\n$", early.err
    )
    assert states(console)[old] == "disabled"
    receipt = console.ok("keys", "destroy", name, "--force", stdin="y\n").json
    assert (receipt["path"], receipt["key_ids"]) == (RING, [old])
    assert receipt["remaining"] == [f"local {next(iter(recipients(console)))}"]
    assert datetime.fromisoformat(receipt["erased_at"]).tzinfo
    assert states(console)[old] == "destroyed"
    assert console("decrypt", "--keyring", RING, stdin=token).code == 1


def test_destroying_with_yes_does_not_ask(console: Console) -> None:
    """With --yes there is no question."""
    (old,) = states(console)
    console.ok("keys", "rotate", RING)
    console.ok("keys", "disable", f"{RING}@{old}")
    done = console.ok("keys", "destroy", f"{RING}@{old}", "--force", "--yes")
    assert done.err == ""
    assert done.json["key_ids"] == [old]


def test_show(console: Console) -> None:
    """The table has a line per key, the recipients are named beside it, and the JSON is complete."""
    console.ok("keys", "rotate", RING)
    shown = console.ok("keys", "show", RING)
    rows = [line.split("\t") for line in shown.out.splitlines()]
    assert [row[1] for row in rows] == ["active", "primary"]
    assert all(len(row) == 5 for row in rows)
    found = console.ok("keys", "show", RING, "--json").json
    assert shown.err == f"wrapped to local {found['recipients'][0]['key_ref']}\n"
    assert set(found) == {"path", "id", "revision", "recipients", "keys"}
    assert (found["path"], found["revision"], len(found["id"])) == (RING, 2, 32)
    assert set(found["keys"][0]) == {"id", "path", "state", "created", "promoted", "disabled", "not_after", "due", "messages"}


def test_rewrap_to_a_new_kek(console: Console) -> None:
    """A dry run changes nothing, the run prints what it changed, a second run has nothing to do, and old data opens."""
    console.ok("keys", "create", "eu/globex/invoices")
    console.ok("keys", "new-kek", "new.key")
    token, (old,) = encrypt(console), recipients(console)
    both = f"{RING}\neu/globex/invoices\n"
    assert console.ok("keys", "rewrap", "--to", "local:new.key", "--dry-run").out == both
    assert recipients(console) == {old}
    assert console.ok("keys", "rewrap", "eu/acme", "--to", "local:new.key").out == f"{RING}\n"
    # A run that was interrupted here goes on with what is left, when it may open what it has done already.
    rest = console.ok("keys", "rewrap", "--to", "local:new.key", "--also-open", "local:new.key")
    assert rest.out == "eu/globex/invoices\n"
    assert console.ok("keys", "rewrap", "--to", "local:new.key", "--wrap", "local:new.key").out == ""
    assert console("keys", "show", RING).code == 1
    assert console.ok("decrypt", "--keyring", RING, "--wrap", "local:new.key", stdin=token).raw == b"data"


def test_an_interrupted_rewrap_goes_on(console: Console) -> None:
    """A run that is stopped by Ctrl-C leaves every keyring whole, under the old KEK or the new; the same command finishes it."""
    store = FileKeyStore(console.folder / "keys", wrapper=LocalWrapper.from_file(console.folder / "root.key"))
    token = encrypt(console)
    paths = [f"eu/t{number:03}/x" for number in range(20)]
    for path in paths:
        store.keyring(path, create=True)
    console.ok("keys", "new-kek", "new.key")
    command = ["keys", "rewrap", "--to", "local:new.key", "--also-open", "local:new.key"]
    reached = console.document(paths[9])
    before = reached.read_bytes()
    with (
        store._storage.lock(paths[10]),  # so that the run is in the middle, however slow we are
        subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, *command], cwd=console.folder, env={**os.environ, **console.env}, stderr=subprocess.PIPE
        ) as process,
    ):
        while reached.read_bytes() == before:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130

    rest = console.ok(*command).out.split()

    assert rest == paths[10:]
    new = FileKeyStore(console.folder / "keys", wrapper=LocalWrapper.from_file(console.folder / "new.key"))
    assert [new.keyring(path).path for path in paths] == paths
    assert console.ok("decrypt", "--keyring", RING, "--wrap", "local:new.key", stdin=token).raw == b"data"


def test_a_rewrap_never_loses_a_recipient_silently(console: Console) -> None:
    """A recipient that is not named again is only removed by --drop, and then the keyring rotates."""
    console.ok("identity", "new", "--key", "escrow.key", "--cert", "escrow.pem", "--name", "escrow.example")
    console.ok("keys", "rewrap", "--to", "local:root.key", "--to", "cert:escrow.pem")
    before, keys = recipients(console), states(console)
    assert len(before) == 2
    lost = console("keys", "rewrap", "--to", "local:root.key")
    assert (lost.code, recipients(console)) == (1, before)
    escrow = next(reference for reference in before if len(reference) == 64)
    assert escrow in lost.err
    console.ok("keys", "rewrap", "--to", "local:root.key", "--drop", escrow)
    assert recipients(console) == before - {escrow}
    assert len(states(console)) == len(keys) + 1
    due = console.ok("keys", "due", "--json").json
    assert [(item["action"], item["path"], item["key_id"]) for item in due] == [("re-encrypt", RING, next(iter(keys)))]
    assert console.ok("keys", "due").out.startswith(f"re-encrypt\t{RING}\t{next(iter(keys))}\t")
    assert "active, due" in console.ok("keys", "show", RING).out


def test_what_the_demo_says_about_recovery(console: Console) -> None:
    """The commands of the demo's sixth step work as they are printed: escrow, loss of the KEK, and recovery from the escrow key."""
    token, (lost,) = encrypt(console), recipients(console)
    console.ok("identity", "new", "--key", "escrow.key", "--cert", "escrow.pem", "--name", "escrow.example", "--days", "3650")
    console.ok("keys", "rewrap", "--to", "local:root.key", "--to", "cert:escrow.pem")
    (console.folder / "root.key").unlink()
    gone: dict[str, str | None] = {"SECUREKIT_WRAP": None}
    escrow = ["--wrap", "cert:?key=escrow.key"]
    console.ok("keys", "new-kek", "new.key")

    alone = console("keys", "rewrap", *escrow, "--to", "local:new.key", env=gone)
    assert alone.code == 1
    done = console.ok("keys", "rewrap", *escrow, "--recover", "--to", "local:new.key", "--to", "cert:escrow.pem", "--drop", lost, env=gone)

    assert done.out == f"{RING}\n"
    new = ["--wrap", "local:new.key"]
    assert console.ok("decrypt", "--keyring", RING, *new, stdin=token, env=gone).raw == b"data"
    assert lost not in recipients(console, *new)
    assert len(recipients(console, *new)) == 2


def test_copy_to_another_store(console: Console) -> None:
    """A keyring opens elsewhere under another KEK, with the same keys; another keyring in its place is a conflict."""
    token = encrypt(console)
    console.ok("keys", "new-kek", "other.key")
    there = {"SECUREKIT_STORE": "file:there/", "SECUREKIT_WRAP": "local:other.key"}
    done = console.ok("keys", "copy", RING, "file:there/", "--other-wrap", "local:other.key")
    assert done.out.strip().startswith(f"{RING}@")
    assert console.ok("decrypt", "--keyring", RING, stdin=token, env={**there}).raw == b"data"
    console.ok("keys", "create", RING, "--store", "file:third/")
    conflict = console("keys", "copy", RING, "file:third/")
    assert (conflict.code, "another" in conflict.err) == (1, True)
    assert console.ok("keys", "copy", RING, "file:fourth/").out == done.out  # under the same KEK


def test_backup_and_restore(console: Console) -> None:
    """A backup brings a deleted keyring back, refuses to replace the same or a newer one, and is guarded."""
    token = encrypt(console)
    assert console.ok("keys", "backup", RING, "-o", "backup.json").out == ""
    assert (console.folder / "backup.json").stat().st_mode & 0o777 == 0o600
    again = console("keys", "restore", "backup.json")
    assert again.code == 1
    console.ok("keys", "rotate", RING)
    assert console("keys", "restore", "backup.json").code == 1
    console.document(RING).unlink()
    assert console.ok("keys", "restore", "backup.json").out == f"{RING}@{next(iter(states(console)))}\n"
    assert console.ok("decrypt", "--keyring", RING, stdin=token).raw == b"data"
    changed = console.read("backup.json").replace(b'"refresh":60', b'"refresh":61')
    console.write("forged.json", changed)
    console.document(RING).unlink()
    assert console("keys", "restore", "forged.json").code == 3
    assert console("keys", "restore", console.write("nonsense", b"{}")).code == 1
    assert not console.document(RING).exists()
    failed = console("keys", "backup", "eu/nobody/x", "-o", "none.json")
    assert (failed.code, "none.json" in console.names()) == (1, False)


def test_an_escrowed_backup_is_restored_by_saying_so(console: Console) -> None:
    """A backup that opens through the escrow certificate alone is believed only with --recover."""
    console.ok("identity", "new", "--key", "escrow.key", "--cert", "escrow.pem", "--name", "escrow.example")
    console.ok("keys", "rewrap", "--to", "local:root.key", "--to", "cert:escrow.pem")
    console.ok("keys", "backup", RING, "-o", "backup.json")
    console.document(RING).unlink()
    restore = ["keys", "restore", "backup.json", "--wrap", "cert:?key=escrow.key"]
    assert console(*restore).code == 1
    assert not console.document(RING).exists()
    assert console.ok(*restore, "--recover").out.startswith(f"{RING}@")


def test_nothing_is_due_at_first(console: Console) -> None:
    """A new keyring asks for nothing."""
    assert console.ok("keys", "due").out == ""
    assert console.ok("keys", "due", "eu", "--json").json == []


def test_a_passphrase_from_a_file(empty: Console) -> None:
    """``passphrase:FILE`` reads a guarded file, and the wrong one does not open."""
    empty.write("phrase", "correct horse battery staple\n")
    empty.write("other", "incorrect horse battery staple\n")
    wrap: dict[str, str | None] = {"SECUREKIT_WRAP": "passphrase:phrase"}
    empty.ok("keys", "create", RING, env=wrap)
    empty.ok("keys", "show", RING, env=wrap)
    wrong = empty("keys", "show", RING, env={"SECUREKIT_WRAP": "passphrase:other"})
    assert wrong.code == 3
    (empty.folder / "phrase").chmod(0o644)
    loose = empty("keys", "show", RING, env=wrap)
    assert (loose.code, "chmod 600" in loose.err) == (1, True)


def test_several_wrappers_from_the_environment(console: Console) -> None:
    """Names in SECUREKIT_WRAP are separated by white space, as several --wrap are."""
    console.ok("keys", "new-kek", "two.key")
    env: dict[str, str | None] = {"SECUREKIT_WRAP": "local:root.key local:two.key?label=eu"}
    console.ok("keys", "create", "eu/acme/both", env=env)
    found = console.ok("keys", "show", "eu/acme/both", "--json", env=env).json["recipients"]
    assert [entry["key_ref"].partition(":")[0] == "eu" for entry in found].count(True) == 1
    assert len(found) == 2


@pytest.mark.parametrize("json_too", [True, False])
def test_inspect(console: Console, json_too: bool) -> None:
    """A record, its text form and a keyring are recognised without a KEK, from a file and from stdin."""
    token = encrypt(console, b"12345")
    for source, expected in [
        (token, {"kind": "record", "format": "securekit/record/1", "size": "82", "plaintext_size": "5"}),
        (console.document(RING).read_bytes(), {"kind": "keyring", "path": RING, "revision": "1", "key_count": "1"}),
    ]:
        name = console.write("message", source)
        typed = ["inspect", *(["--json"] if json_too else [])]
        done = console.ok(*typed, name, env={"SECUREKIT_STORE": None, "SECUREKIT_WRAP": None})
        assert console.ok(*typed, stdin=source).raw == done.raw
        found = done.json if json_too else dict(line.split(": ", 1) for line in done.out.splitlines())
        assert expected.items() <= {key: str(value) for key, value in found.items()}.items()
        assert (("recipients" if json_too else "recipient") in found) == (expected["kind"] == "keyring")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\x00"])
def test_a_record_that_ends_like_a_line_is_whole(console: Console, end: bytes) -> None:
    """Only text has a line's end that is not part of it: a binary record's last byte may be 0x0a."""
    record = b"\x01" + bytes(100) + end
    assert console.ok("inspect", "--json", console.write("record", record)).json["size"] == len(record)


def test_nothing_is_left_beside_the_results(console: Console, tmp_path: Path) -> None:
    """No temporary file is left by commands that write."""
    console.ok("keys", "rotate", RING)
    console.ok("keys", "backup", RING, "-o", "b.json")
    assert console.names() == {"root.key", "keys", "b.json"}
    assert {path.name for path in (tmp_path / "keys").rglob("*") if path.is_file()} == {
        "@keystore",
        "invoices@keyring.json",
        "invoices@keyring.lock",
    }
    assert json.loads(console.read("b.json"))["path"] == RING
