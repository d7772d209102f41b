# SPDX-License-Identifier: Apache-2.0
"""``securekit config edit``, with a real editor: what it shows, what becomes of it, and that nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.config_desk import SECRETS, Desk
from tests.cli.conftest import Done
from tests.cli.terminal import Terminal
from tests.config.parts import CLEAR, FORMATS, PASSWORD

EDITOR = f"{sys.executable} {Path(__file__).with_name('editor.py')}"
READER = ("--identity", "host.key")


def replace(old: str, new: str) -> str:
    return f"replace\t{old}\t{new}"


def edit(desk: Desk, file: str, *steps: str, options: tuple[str, ...] = ()) -> Done:
    """Edit, and see that nothing is left in memory, whatever came out."""
    done = desk("edit", file, *options, EDITOR=EDITOR, VISUAL=None, EDITOR_DOES="\n".join(steps))
    assert list(desk.memory.iterdir()) == []
    assert not any(secret in done.err + done.out for secret in SECRETS)
    return done


def edited(desk: Desk, file: str, *steps: str, options: tuple[str, ...] = ()) -> None:
    done = edit(desk, file, *steps, options=options)
    assert done.code == 0, done.err


def refused(desk: Desk, message: str, file: str, *steps: str, options: tuple[str, ...] = ()) -> None:
    before = desk.console.read(file)
    done = edit(desk, file, *steps, options=options)
    assert (done.code, message in done.err) == (1, True), done.err
    assert desk.console.read(file) == before


# ------------------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize("form", FORMATS)
def test_a_reader_sees_values_and_changes_them(form: str, desk: Desk) -> None:
    """Without the metadata; in a file of mode 0600 in a folder of mode 0700 in memory. What was left keeps its token."""
    file, path = desk.encrypted(form), PASSWORD[form]
    before = desk.document(file)
    host = desk.value(file, CLEAR[form])

    edited(desk, file, "show\tseen", replace("5432", "6432"), options=READER)
    shown = desk.console.read("seen").decode()
    assert "securekit" not in shown.replace("securekit config set", "")
    assert "ENC[" not in shown
    where, mode, folder = desk.console.read("seen.where").decode().split()
    assert (Path(where).name, mode, folder) == (file, "600", "700")
    assert Path(where).is_relative_to(desk.memory)
    assert [leaf.token for leaf in before.leaves()] == [leaf.token for leaf in desk.document(file).leaves()]

    secret = str(desk.value(file, path))
    edited(desk, file, replace(secret.partition(":")[0], "fake-new"), options=READER)
    assert str(desk.value(file, path)).startswith("fake-new")
    assert desk.value(file, CLEAR[form]) == host
    changed = [leaf.name for leaf, old in zip(desk.document(file).leaves(), before.leaves(), strict=True) if leaf.token != old.token]
    assert changed == [path]


@pytest.mark.parametrize("form", FORMATS)
def test_an_author_who_cannot_read_sees_placeholders(form: str, desk: Desk) -> None:
    """They are left, or replaced by new values; clear values are edited as ever."""
    file, path = desk.encrypted(form), PASSWORD[form]
    before = {leaf.name: leaf.token for leaf in desk.document(file).leaves()}
    placeholder = f"<<secret {path}: leave this to keep it, or put a new value here>>"

    edited(desk, file, "show\tseen", replace(placeholder, "fake-new"), replace("db1", "db9"))

    shown = desk.console.read("seen").decode()
    assert shown.count("<<secret ") == 11
    assert "fake-Pa55" not in shown
    assert "fake-correct" not in shown
    assert desk.value(file, path) == "fake-new"
    assert desk.value(file, CLEAR[form]).startswith("db9")
    after = {leaf.name: leaf.token for leaf in desk.document(file).leaves()}
    assert [name for name in after if after[name] != before[name]] == [path]


@pytest.mark.parametrize("options", [(), READER], ids=["author", "reader"])
def test_nothing_changed(options: tuple[str, ...], desk: Desk) -> None:
    """An editor that is only closed writes nothing."""
    file = desk.encrypted()
    before = desk.console.read(file)

    done = edit(desk, file, options=options)

    assert "production.yaml: nothing was changed" in done.err
    assert desk.console.read(file) == before


@pytest.mark.parametrize("options", [(), READER], ids=["author", "reader"])
def test_new_values_that_a_pattern_covers_are_encrypted(options: tuple[str, ...], desk: Desk) -> None:
    """And those that none covers stay in clear."""
    file = desk.short("a: {password: fake-1}\nb: 1\n", "**.password")

    edited(desk, file, replace("b: 1", "b: 2\\nc: {password: fake-2}\\nd: clear"), options=options)

    text = desk.console.read(file).decode()
    assert "fake-2" not in text
    assert "\nd: clear\n" in text
    assert desk.value(file, "c.password") == "fake-2"


@pytest.mark.parametrize("options", [(), READER], ids=["author", "reader"])
def test_removed_values_are_gone(options: tuple[str, ...], desk: Desk) -> None:
    """A secret goes with its line; the last one that a pattern matches does not, since that is more often a slip."""
    file = desk.short("a: {password: fake-1}\nb: {password: fake-2}\nc: 1\n", "**.password")

    shown = "fake-1" if options else '"<<secret a.password: leave this to keep it, or put a new value here>>"'
    edited(desk, file, replace(f"a: {{password: {shown}}}\\n".replace("\\n", ""), "# gone"), options=options)

    assert [leaf.name for leaf in desk.document(file).leaves()] == ["b.password", "c"]
    shown = "fake-2" if options else '"<<secret b.password: leave this to keep it, or put a new value here>>"'
    refused(desk, "the pattern '**.password' would match nothing any more", file, replace(f"b: {{password: {shown}}}", ""), options=options)


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_moved_placeholder(desk: Desk) -> None:
    """A secret is bound to its path: an author who cannot read it cannot move it."""
    file = desk.encrypted()

    refused(
        desk,
        "the secret of cache.password was moved to cache.geheim",
        file,
        replace('  password: "<<secret cache', '  geheim: "<<secret cache'),
    )
    swapped = (replace("secret db.password", "secret cache.password"),)
    refused(desk, "the secret of cache.password was moved to db.password", file, *swapped)


def test_an_item_above_secrets_that_cannot_be_read(desk: Desk) -> None:
    """It would move them; a reader may do it, and then they are encrypted anew where they stand."""
    file = desk.encrypted()
    first = "  tokens:"

    refused(desk, "an item put into a list moves those below it", file, replace(first, f"{first}\\n    - fake-first"))
    edited(desk, file, replace(first, f"{first}\\n    - fake-first"), options=READER)

    assert [desk.value(file, f"api.tokens[{number}]") for number in range(4)] == ["fake-first", *(f"fake-token-{x * 4}" for x in "abc")]


def test_an_item_below_secrets(desk: Desk) -> None:
    """It moves nothing, and anybody may add one."""
    file = desk.short("a:\n- fake-1\n- fake-2\nb: 1\n", "a")

    edited(desk, file, replace("b: 1", "- fake-3\\nb: 1"))

    assert [desk.value(file, f"a[{number}]") for number in range(3)] == ["fake-1", "fake-2", "fake-3"]


@pytest.mark.parametrize(
    ("value", "kind"), [("fake-secret", "str"), ("123456", "int"), ("fake-bytes", "bytes"), ("2026-03-01", "date"), ("2.625", "float")]
)
def test_a_secret_that_is_renamed_to_where_nothing_covers_it(value: str, kind: str, desk: Desk) -> None:
    """It would stand in clear text, of whatever type it is."""
    file = desk.short("password: fake-x\nb: 1\n", "password")
    desk.ok("set", file, "password", "--type", kind, "--stdin", stdin=value)
    desk.ok("encrypt", file, "--encrypt", "pass*")
    desk.ok("unset", file, "--pattern", "pass*")
    desk.ok("unset", file, "--pattern", "password")

    refused(desk, "the secret of password would stand in clear text at geheim", file, replace("password:", "geheim:"), options=READER)


def test_a_clear_value_that_is_like_a_secret_by_chance(desk: Desk) -> None:
    """A value that stood in clear text before is no leak of this edit."""
    file = desk.short("password: admin\nuser: admin\nb: 1\n", "password")

    edited(desk, file, replace("b: 1", "b: 2"), options=READER)
    refused(desk, "would stand in clear text at other", file, replace("b: 2", "other: admin"), options=READER)


def test_what_the_editor_leaves_is_looked_at(desk: Desk) -> None:
    """Another block, a ciphertext, a broken text, no text at all: each is refused with its reason."""
    file = desk.short("a: fake-1\nb: 1\n", "a")

    refused(desk, "has a securekit block of its own", file, replace("b: 1", _block(desk, file)), options=READER)
    refused(desk, "short.yaml: line 3: ", file, replace("b: 1", "b: ["))
    refused(desk, "line 2 is not UTF-8", file, replace("b: 1", "b: \\xff"))
    refused(desk, "No such file", file, "remove")
    refused(desk, "is itself a ciphertext", file, replace("fake-1", "ENC[AES256_GCM,data:x]"), options=READER)


def _block(desk: Desk, file: str) -> str:
    text = desk.console.read(file).decode()
    return text[text.index("securekit:") :].replace("\n", "\\n")


def test_editors_that_fail(desk: Desk) -> None:
    """Nothing is written; a missing editor says which variable names one."""
    file = desk.short("a: fake-1\n", "a")

    refused(desk, "the editor ended with 3; nothing was written", file, replace("fake-1", "fake-2"), "fail", options=READER)
    done = desk.refused(
        "cannot start the editor no-such-editor: No such file or directory; set EDITOR", "edit", file, EDITOR="no-such-editor", VISUAL=None
    )
    assert done.out == ""
    desk.refused("cannot start the editor", "edit", file, VISUAL="no-such-editor", EDITOR="true")
    assert list(desk.memory.iterdir()) == []


def test_what_editing_takes(desk: Desk) -> None:
    """A document that is encrypted, and verified or adopted."""
    desk.place("yaml", "clear")
    file = desk.short("a: fake-1\n", "a")
    desk.forget()

    desk.refused("is not encrypted", "edit", "clear.yaml", EDITOR="true")
    desk.refused("nothing here can verify", "edit", file, EDITOR="true")


# ------------------------------------------------------------------------------------------------ on a terminal


@pytest.mark.measured
def test_a_mistake_is_corrected_in_the_same_text(desk: Desk) -> None:
    """After an error one may edit again, and loses nothing; what was confirmed is not asked again."""
    file = desk.short("a: fake-1\nb: 1\n", "a")
    desk.forget()
    script = desk.folder / "editor.sh"
    script.write_text("if grep -q 'b: 1' $1; then sed -i 's/b: 1/b: [/' $1; else sed -i 's/b: \\[/b: 3/' $1; fi\n")
    desk.console.env |= {"EDITOR": f"sh {script}"}
    terminal = Terminal(desk.console, "config", "edit", file, *READER)
    terminal.wait_for(b"Have you compared this fingerprint")
    terminal.type(b"y\n")
    terminal.wait_for(b"Edit again?")
    terminal.type(b"\n")

    assert terminal.end() == 0, terminal.plain
    assert desk.value(file, "b") == 3
    assert terminal.plain.count("Have you compared") == 1
    assert list(desk.memory.iterdir()) == []


@pytest.mark.measured
def test_a_mistake_is_given_up(desk: Desk) -> None:
    """No means that nothing is written, and nothing is left."""
    file = desk.short("a: fake-1\nb: 1\n", "a")
    before = desk.console.read(file)
    desk.console.env |= {"EDITOR": "sed -i s/1/[/"}
    terminal = Terminal(desk.console, "config", "edit", file)
    terminal.wait_for(b"Edit again?")
    terminal.type(b"n\n")

    assert terminal.end() == 1
    assert desk.console.read(file) == before
    assert list(desk.memory.iterdir()) == []


# ------------------------------------------------------------------------------------------------ signals


@pytest.mark.measured
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_wipes_what_the_editor_has(number: signal.Signals, desk: Desk) -> None:
    """While the editor runs: its file and its copies are gone, the document is as it was, and the exit code says why."""
    file = desk.encrypted()
    before = desk.console.read(file)

    process, folder = _editing(desk, file)
    assert (folder / "copy~").read_text().count("fake-") >= 7
    process.send_signal(number)

    assert process.wait(30) == 128 + number
    assert list(desk.memory.iterdir()) == []
    assert desk.console.read(file) == before


def test_a_killed_edit_is_wiped_by_the_next(desk: Desk) -> None:
    """SIGKILL leaves the file in memory until this user edits something again; an edit that goes on is left alone."""
    file = desk.encrypted()
    going_on, used = _editing(desk, file)
    process, folder = _editing(desk, file)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    assert folder.exists()

    done = desk("edit", file, EDITOR="true")

    assert done.code == 0
    assert not folder.exists()
    assert (used / file).exists()
    going_on.terminate()
    going_on.wait(30)
    assert list(desk.memory.iterdir()) == []


def _editing(desk: Desk, file: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Begin to edit, and wait until the editor runs."""
    flag = desk.folder / "flag"
    flag.unlink(missing_ok=True)
    environment = {**os.environ, **desk.console.env, "EDITOR": EDITOR, "VISUAL": "", "EDITOR_DOES": f"wait\t{flag}"}
    command = [sys.executable, "-m", "securekit", "config", "edit", file, *READER]
    process = subprocess.Popen(command, cwd=desk.folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 30
    while not (flag.exists() and flag.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, Path(flag.read_text())
