# SPDX-License-Identifier: Apache-2.0
"""On a terminal there are tables, bars and hidden passwords; elsewhere plain lines."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import pytest

from securekit._cli import _ui
from securekit.exceptions import SecurityWarning
from tests.cli.conftest import Console

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal, which is all that its standard streams are."""

    def __init__(self, console: Console, *typed: str) -> None:
        parent, child = pty.openpty()
        self._screen = parent
        self.text = b""
        environment = {**os.environ, **console.env, "TERM": "xterm", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "securekit", *typed],
            cwd=console.folder,
            env=environment,
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
        )
        os.close(child)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + 30
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            if not self._read():
                break
        assert text in self.text

    def type(self, text: bytes) -> None:
        os.write(self._screen, text)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._screen)
        return self._process.wait(30)

    def _read(self) -> bool:
        if not select.select([self._screen], [], [], 30)[0]:
            return False
        try:
            more = os.read(self._screen, 65536)
        except OSError:  # the other end is closed, and all was read
            more = b""
        self.text += more
        return bool(more)

    @property
    def plain(self) -> str:
        return ESCAPES.sub(b"", self.text).decode()


def test_a_table_is_drawn(console: Console) -> None:
    """On a terminal the columns have names."""
    terminal = Terminal(console, "keys", "show", "eu/acme/invoices")
    assert terminal.end() == 0
    for name in ("id", "state", "created", "promoted", "not_after", "primary"):
        assert name in terminal.plain


def test_markup_and_control_characters_in_a_table_are_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in a cell is shown, never interpreted."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _ui.print_table(["name"], [{"name": "[bold red]x[/] \x1b[2J"}])
    assert "[bold red]x[/] \ufffd[2J" in capsys.readouterr().out


def test_progress_is_a_bar_that_goes_away(console: Console) -> None:
    """While rows are encrypted, a bar is drawn on the terminal; at the end it has been wiped."""
    console.write("t.csv", "id,iban\n" + "".join(f"{n},x\n" for n in range(30_000)))
    terminal = Terminal(console, "encrypt", "t.csv", "--keyring", "eu/acme/invoices", "--column", "iban", "-o", "out.csv")
    assert terminal.end() == 0
    assert "rows" in terminal.plain
    assert terminal.text.rstrip().endswith((b"\x1b[2K", b"\x1b[?25h"))
    assert console.read("out.csv").count(b"sk1.") == 30_000


def test_destroying_asks_on_the_terminal(console: Console) -> None:
    """The question stands on the terminal, and no means no."""
    terminal = Terminal(console, "keys", "destroy", "eu/acme/invoices@00000000")
    terminal.wait_for(b"[y/N]: ")
    terminal.type(b"n\n")
    assert terminal.end() == 130
    assert "securekit: error: stopped" in terminal.plain


@pytest.mark.parametrize("wrap", ["passphrase:", "cert:c?key=k", "pkcs12:both.p12"])
def test_a_password_is_asked_for_and_not_shown(wrap: str, console: Console) -> None:
    """A passphrase or a key's password that stands in no file is asked for at the terminal, which does not echo it."""
    secret = "canary-4d11"
    console.write("password", secret + "\n")
    console.ok("identity", "new", "--key", "k", "--cert", "c", "--name", "n", "--password-file", "password")
    console.write("twice", f"{secret}\n{secret}\n")
    export = "openssl pkcs12 -export -inkey k -passin file:twice -in c -passout file:twice -out both.p12"
    subprocess.run(export.split(), cwd=console.folder, check=True)
    console.write("both.p12", console.read("both.p12"))
    terminal = Terminal(console, "keys", "create", "eu/new/ring", "--wrap", "local:root.key", "--also-open", wrap)
    terminal.wait_for(b": ")
    terminal.type(secret.encode() + b"\n")
    assert terminal.end() == 0
    assert re.search(r"(passphrase of the keystore|password of k|password of both.p12): ", terminal.plain)
    assert "eu/new/ring@" in terminal.plain
    assert secret not in terminal.plain


@contextmanager
def moving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Give a hand to move the time that passes."""
    now = 0.0

    def move(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    yield move


def test_progress_elsewhere_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file gets a line every five seconds at most, with the total if it is known, and none for what is quick."""
    said = StringIO()
    with moving(monkeypatch) as move, redirect_stderr(said):
        with _ui.progress("rows") as advance:
            for _ in range(12):
                move(1)
                advance(1000)
        with _ui.progress("keyrings", 20) as advance:
            move(6)
            advance(3)
        with _ui.progress("rows") as advance:
            advance(1)
    assert said.getvalue().splitlines() == ["5,000 rows after 5 s", "10,000 rows after 10 s", "3 of 20 keyrings after 6 s"]


def test_json_of_something_else_is_a_mistake() -> None:
    """What has no form in JSON is refused rather than shown somehow."""
    with pytest.raises(TypeError, match="not for JSON: object"):
        _ui.print_json(object())


def test_other_warnings_are_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the library's own warnings are for operators; those of libraries, for developers, are not shown."""
    with _ui.show_warnings():
        warnings.simplefilter("default")
        warnings.warn("for developers", DeprecationWarning, stacklevel=1)
        warnings.warn("for \x1boperators", SecurityWarning, stacklevel=1)
    assert capsys.readouterr().err == "securekit: warning: for \ufffdoperators\n"
