# SPDX-License-Identifier: Apache-2.0
"""``securekit config edit``: a document in an editor, on a file that nobody else sees and that is gone afterwards."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from securekit.exceptions import ConfigError, FormatError, SecureKitError

from ._config_private import STOPS, private_folder
from ._config_session import Session, document_file, with_writer
from ._ui import FAILED, handled, note, printable

__all__ = ["edit"]


@click.command()
@document_file
@handled
@with_writer
def edit(session: Session) -> None:
    """Open FILE in $VISUAL or $EDITOR. Who can read it sees the secrets; everybody else placeholders, which can be replaced.

    What was left as it is stays as it is, to the letter. The edited text is on a file that only you can read, in memory where the
    system has such a place, and is wiped whatever happens.

    \b
    securekit config edit production.yaml --identity host.key
    """
    from securekit.config._view import apply_view, view

    document = session.read()
    editing = session.edit(document)
    opened = editing.opened
    text = view(document, opened)
    if opened is None:
        note("without a private key of a recipient, secrets are shown as placeholders: leave them, or put new values in their place")
    with _stops_wipe(), private_folder() as (folder, _):
        file = folder / session.path.name
        file.touch(mode=0o600)
        file.write_bytes(text.encode())
        while True:
            _run_editor(file)
            try:
                edited = _text_of(file)
                if edited == text:
                    note(f"{session.path}: nothing was changed")
                    return
                editing = session.edit(document)
                apply_view(editing, document, opened, edited)
                session.save(editing, document)
            except SecureKitError as error:
                if not sys.stdin.isatty():
                    raise
                note(f"securekit: error: {printable(str(error))}")
                if not click.confirm("Edit again? Otherwise what you have written is gone.", default=True, err=True):
                    sys.exit(FAILED)
            else:
                return


def _text_of(file: Path) -> str:
    data = file.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    del data  # that error would carry it, too
    message = f"line {line} is not UTF-8"
    raise FormatError(message)


def _run_editor(file: Path) -> None:
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        done = subprocess.run([*command, str(file)], check=False)  # noqa: S603 - the user's own editor
    except OSError as error:
        message = f"cannot start the editor {command[0]}: {error.strerror}; set EDITOR"
        raise ConfigError(message) from None
    if done.returncode:
        message = f"the editor ended with {done.returncode}; nothing was written"
        raise ConfigError(message)


@contextmanager
def _stops_wipe() -> Iterator[None]:
    """Let signals that end this process be exceptions, so that what has to be wiped is wiped."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's shape
        for one in STOPS:
            signal.signal(one, signal.SIG_IGN)  # the first one is enough
        raise SystemExit(128 + number)

    before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {one: signal.signal(one, stop) for one in STOPS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
