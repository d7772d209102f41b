# SPDX-License-Identifier: Apache-2.0
"""On a terminal there are tables, bars and hidden passwords; elsewhere plain lines."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import pytest

from securekit._cli import _ui
from securekit.exceptions import SecurityWarning
from tests.cli.conftest import Console
from tests.cli.terminal import Terminal


@pytest.mark.measured
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


@pytest.mark.measured
def test_progress_is_a_bar_that_goes_away(console: Console) -> None:
    """While rows are encrypted, a bar is drawn on the terminal; at the end it has been wiped."""
    console.write("t.csv", "id,iban\n" + "".join(f"{n},x\n" for n in range(30_000)))
    terminal = Terminal(console, "encrypt", "t.csv", "--keyring", "eu/acme/invoices", "--column", "iban", "-o", "out.csv")
    assert terminal.end() == 0
    assert "rows" in terminal.plain
    assert re.search(r"[0-9,]+/s", terminal.plain)
    assert terminal.text.rstrip().endswith((b"\x1b[2K", b"\x1b[?25h"))
    assert console.read("out.csv").count(b"sk1.") == 30_000


@pytest.mark.measured
def test_progress_of_bytes_has_rate_and_time_left(empty: Console) -> None:
    """While a file is sealed, the bar says how much is done, how fast, and how long it still takes; then it is wiped."""
    empty.ok("identity", "new", "--key", "k", "--cert", "c", "--name", "n")
    with (empty.folder / "big").open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    terminal = Terminal(empty, "encrypt", "big", "--to", "c", "-o", "big.sk")
    assert terminal.end() == 0
    assert re.search(r"bytes .*/268.4 MB [\d.]+ [MG]B/s \d+:\d\d:\d\d", terminal.plain)
    assert terminal.text.rstrip().endswith((b"\x1b[2K", b"\x1b[?25h"))


@pytest.mark.measured
def test_destroying_asks_on_the_terminal(console: Console) -> None:
    """The question stands on the terminal, and no means no."""
    terminal = Terminal(console, "keys", "destroy", "eu/acme/invoices@00000000")
    terminal.wait_for(b"[y/N]: ")
    terminal.type(b"n\n")
    assert terminal.end() == 130
    assert "securekit: error: stopped" in terminal.plain


@pytest.mark.measured
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
    assert re.search(r"(passphrase|password of k|password of both.p12): ", terminal.plain)
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


def test_progress_counts_what_every_thread_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are done at once add up."""
    said = StringIO()
    with moving(monkeypatch) as move, redirect_stderr(said), _ui.progress("bytes") as advance:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(advance, [1] * 10_000))
        move(6)
        advance(0)
    assert said.getvalue() == "10,000 bytes after 6 s\n"


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
