# SPDX-License-Identifier: Apache-2.0
"""The demo does what it says, in a fresh process, as the README tells people to start it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Console


def test_the_demo_runs(tmp_path: Path) -> None:
    """``securekit demo`` succeeds, leaves its folder, and refuses one that is not empty."""
    command = [sys.executable, "-m", "securekit", "demo", "--dir", str(tmp_path / "demo")]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "NOT SO" not in first.stdout
    assert (tmp_path / "demo" / "root.key").stat().st_mode & 0o777 == 0o600
    assert "SE45" not in (tmp_path / "demo" / "customers.sealed.csv").read_text()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "is not empty" in again.stderr


def test_the_demo_leaves_its_folder(empty: Console, tmp_path: Path) -> None:
    """Without --dir it works in a temporary folder of its own, which it prints first and last, and leaves to be looked at."""
    done = empty.ok("demo", env={"TMPDIR": str(tmp_path)})
    first, last = re.search(r"^Working in (.+)$", done.out, re.MULTILINE), re.search(r"^Look around: (.+)$", done.out, re.MULTILINE)
    assert first
    assert last
    folder = Path(first[1])
    assert first[1] == last[1]
    assert folder.stat().st_mode & 0o777 == 0o700
    names = {path.name for path in folder.iterdir()}
    assert names == {"root.key", "keys", "customers.csv", "customers.sealed.csv", "escrow.key", "escrow.pem"}
    assert done.err == ""
    assert [int(number) for number in re.findall(r"^(\d+)\. ", done.out, re.MULTILINE)] == [1, 2, 3, 4, 5, 6, 7]


def test_the_commands_that_the_demo_shows_work(empty: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the demo prints behind a dollar sign can be typed, one after the other, in a folder with its input."""
    printed = re.findall(r"^ +\$ (securekit (?:.*\\\n)*.*)$", empty.ok("demo", "--dir", "demo").out, re.MULTILINE)
    commands = [shlex.split(command.replace("\\\n", ""))[1:] for command in printed if "…" not in command]
    assert [command[:2] for command in commands] == [
        ["keys", "new-kek"],
        ["keys", "create"],
        ["encrypt", "customers.csv"],
        ["keys", "rotate"],
        ["identity", "new"],
        ["keys", "rewrap"],
        ["keys", "rewrap"],
    ]
    (tmp_path / "typed").mkdir()
    monkeypatch.chdir(tmp_path / "typed")
    Path("customers.csv").write_bytes(empty.read("demo/customers.csv"))
    for command in commands[:2]:
        empty.ok(*command)
    for account in ("globex", "initech"):
        empty.ok("keys", "create", f"eu/{account}/customers")
    Path("sealed.csv").write_bytes(empty.ok(*commands[2]).raw)
    for command in commands[3:6]:
        empty.ok(*command)

    recipients = empty.ok("keys", "show", "eu/acme/customers", "--json").json["recipients"]
    (kek,) = (entry["key_ref"] for entry in recipients if entry["wrapper"] == "local")
    Path("root.key").unlink()
    empty.ok("keys", "new-kek", "new.key")
    assert len(empty.ok(*commands[6][:-1], kek).out.split()) == 3  # the reference of this KEK instead of the demo's

    decrypt = ["decrypt", "sealed.csv", *commands[2][2:], "--wrap", "local:new.key"]
    assert empty.ok(*decrypt).raw == Path("customers.csv").read_bytes()
