# SPDX-License-Identifier: Apache-2.0
"""``securekit inspect``: what a message is."""

from __future__ import annotations

from typing import BinaryIO

import click

from securekit.keyring import inspect as inspect_message

from ._options import as_json
from ._ui import handled, print_json, printable, recipient

__all__ = ["inspect"]

_MAX_READ = 64 * 1024 * 1024 + 4096  # bytes: the longest record


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@as_json
@handled
def inspect(file: BinaryIO, *, as_json: bool) -> None:
    """Say what the message in FILE (or stdin) is: kind, key, recipients, sizes. No secret is needed; nothing is proven."""
    data = file.read(_MAX_READ)
    found = inspect_message(data if data[:1] == b"\x01" else data.removesuffix(b"\n"))  # a record may end like a line
    facts = {
        "kind": found.kind,
        "format": found.format,
        "size": found.size,
        "plaintext_size": found.plaintext_size,
        "key_id": found.key_id,
        "path": found.path,
        "keyring_id": found.keyring_id,
        "revision": found.revision,
        "key_count": found.key_count,
    }
    present: dict[str, object] = {name: value for name, value in facts.items() if value is not None}
    recipients = [recipient(copy) for copy in found.recipients]
    if as_json:
        print_json(present | ({"recipients": recipients} if recipients else {}))
        return
    for name, value in present.items():
        click.echo(f"{name}: {value}")
    for copy in found.recipients:
        about = ", ".join(f"{name} {value}" for name, value in copy.about.items())
        click.echo(printable(f"recipient: {copy.wrapper} {copy.key_ref}{f' ({about})' if about else ''}"))
