# SPDX-License-Identifier: Apache-2.0
"""``securekit inspect``: what a message is."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, BinaryIO

import click

from securekit.envelope import inspect as inspect_message
from securekit.envelope import inspect_file

from ._options import as_json
from ._ui import handled, print_json, printable, recipient

if TYPE_CHECKING:
    from securekit.envelope import EnvelopeInspection
    from securekit.keyring import Inspection

__all__ = ["inspect"]

_SEALED = b"sk-"
_MAX_READ = 64 * 1024 * 1024 + 4096  # bytes: the longest record


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@as_json
@handled
def inspect(file: BinaryIO, *, as_json: bool) -> None:
    """Say what the message in FILE (or stdin) is: kind, key, recipients, sizes. No secret is needed; nothing is proven."""
    found = _inspect(file)
    present = {
        field.name: value
        for field in fields(found)
        if field.name != "recipients" and (value := getattr(found, field.name)) not in (None, ())
    }
    recipients = [recipient(copy) for copy in found.recipients]
    if as_json:
        print_json(present | ({"recipients": recipients} if recipients else {}))
        return
    for name, value in present.items():
        for line in value if isinstance(value, tuple) else [value]:
            click.echo(f"{name}: {line}")
    for copy in found.recipients:
        about = ", ".join(f"{name} {value}" for name, value in copy.about.items())
        click.echo(printable(f"recipient: {copy.wrapper} {copy.key_ref}{f' ({about})' if about else ''}"))


def _inspect(file: BinaryIO) -> Inspection | EnvelopeInspection:
    """Look at a sealed file of any size, or at another message."""
    if file.seekable() and (begin := file.read(3)) == _SEALED:
        return inspect_file(file.name)
    data = (begin if file.seekable() else b"") + file.read(_MAX_READ)
    return inspect_message(data if data[:1] == b"\x01" else data.removesuffix(b"\n"))  # a record may end like a line
