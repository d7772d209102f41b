# SPDX-License-Identifier: Apache-2.0
"""``securekit inspect``: what a message is."""

from __future__ import annotations

from dataclasses import fields
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO

import click

from securekit.envelope import EnvelopeInspection, inspect_file
from securekit.envelope import inspect as inspect_message

from ._options import as_json
from ._ui import handled, print_json, printable, recipient

if TYPE_CHECKING:
    from securekit.keyring import Inspection

__all__ = ["inspect"]

_SEALED = b"sk-"
_STEP = 1024 * 1024  # bytes
_MAX_HEADERS = 2 * _STEP  # bytes: more than a sealed file's headers
_MAX_READ = 64 * _STEP + 4096  # bytes: the longest record


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@as_json
@handled
def inspect(file: BinaryIO, *, as_json: bool) -> None:
    """Say what the message in FILE (or stdin) is: kind, key, recipients, sizes. No secret is needed; nothing is proven."""
    found = _inspect(file)
    members = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "recipients"}
    present = {name: value for name, value in members.items() if value not in (None, ())}
    recipients = [recipient(copy) for copy in found.recipients]
    if as_json:
        # Of sealed data all members are there, always; of the other kinds each has its own.
        shown = members if isinstance(found, EnvelopeInspection) else present
        print_json(shown | ({"recipients": recipients} if recipients else {}))
        return
    for name, value in present.items():
        for line in value if isinstance(value, tuple) else [value]:
            click.echo(printable(f"{name}: {line}"))
    for copy in found.recipients:
        about = ", ".join(f"{name} {value}" for name, value in copy.about.items())
        click.echo(printable(f"recipient: {copy.wrapper} {copy.key_ref}{f' ({about})' if about else ''}"))


def _inspect(file: BinaryIO) -> Inspection | EnvelopeInspection:
    """Look at sealed data of any size, or at another message."""
    begin = file.read(len(_SEALED))
    if begin == _SEALED:
        if file.seekable():
            file.seek(0)
            return inspect_file(file)
        # The headers come first; of the rest only the size counts, so a hole of that size stands for it.
        with TemporaryFile() as copy:
            size = copy.write(begin + file.read(_MAX_HEADERS))
            while piece := file.read(_STEP):
                size += len(piece)
            copy.truncate(size)
            copy.seek(0)
            return inspect_file(copy)
    data = begin + file.read(_MAX_READ)
    return inspect_message(data if data[:1] == b"\x01" else data.removesuffix(b"\n"))  # a record may end like a line
