# SPDX-License-Identifier: Apache-2.0
"""``securekit encrypt``, ``decrypt`` and ``rewrap``: values and columns under a keyring, files and pipes to recipients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._files import is_sealed, output_of, source_of
from ._options import parse_context, with_optional_store
from ._ui import handled, note, printable

if TYPE_CHECKING:
    from securekit.envelope import Envelope
    from securekit.keyring import KeyStore
    from securekit.wrappers import KeyWrapper

__all__ = ["decrypt", "encrypt", "rewrap"]

OpenStore = Callable[[], "KeyStore"]


def _option_list(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_FILE = click.argument("file", type=click.Path(path_type=Path, exists=True, allow_dash=True), required=False)
_OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to this file, complete or not at all; stdout if not given."
)
_CONTEXT = click.option(
    "--context",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="What the data belongs to; may be given several times. With --column, {name} is the row's value of that column.",
)
_COLUMN = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="A column of FILE (CSV with a header, or JSON lines); may be given several times.",
)
_WORKERS = click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Files of a directory done at once.")
_PRESERVE = click.option("--preserve", is_flag=True, help="Give the result the mode and the time of change of the source.")
_KEYRINGS = click.option(
    "--keyring",
    "paths",
    multiple=True,
    metavar="PATH",
    help="The keyring. With --column, {name} is the row's value of that column. For sealed files, several may be given.",
)
_IDENTITIES = click.option(
    "--identity",
    "identities",
    multiple=True,
    metavar="NAME",
    help="What opens sealed data: a file with a private key, local:FILE, passphrase: …; may be given several times.",
)
_TO = click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Seal to this recipient: a certificate file, a post-quantum public key file, local:FILE …; may be given several times.",
)
_TO_PASSPHRASE = click.option("--to-passphrase", is_flag=True, help="Seal to a passphrase, which is asked for.")
_ALLOW_CLASSICAL = click.option(
    "--allow-classical", is_flag=True, help="Let a certificate stand beside a post-quantum recipient: it may be broken in the future."
)


@click.command()
@_option_list(_FILE, _OUTPUT, _KEYRINGS, _CONTEXT, _COLUMN, _TO, _TO_PASSPHRASE)
@click.option("--sealed", is_flag=True, help="Seal to the keyring as a recipient, where nobody else is named with --to.")
@_option_list(_ALLOW_CLASSICAL, _WORKERS, _PRESERVE)
@handled
@with_optional_store
def encrypt(
    open_store: OpenStore,
    *,
    file: Path | None,
    paths: tuple[str, ...],
    pairs: tuple[str, ...],
    columns: tuple[str, ...],
    output: Path | None,
    targets: tuple[str, ...],
    to_passphrase: bool,
    sealed: bool,
    allow_classical: bool,
    workers: int,
    preserve: bool,
) -> None:
    """Encrypt one value (FILE or stdin) or columns of FILE under a keyring; or seal FILE, stdin or a directory to recipients.

    \b
    echo -n "DE89 3704 0044" | securekit encrypt --keyring eu/acme/invoices --context id=42
    securekit encrypt customers.csv --keyring "eu/{account}/customers" --column iban --context column=iban --context "id={id}" -o sealed.csv
    securekit encrypt report.pdf --to partner.pem --to escrow.pem -o report.pdf.sk
    pg_dump app | securekit encrypt --to backup.pem > app.sql.sk
    securekit encrypt documents/ --to partner.pem -o sealed/ --workers 4
    """
    context = parse_context(pairs)
    source = source_of(file)
    output = output_of(output, source)
    if targets or to_passphrase or sealed:
        _without("--column", columns)
        from ._files import FileJob, open_recipients

        wrappers = [*open_recipients(targets, passphrase=to_passphrase), *_keyring_wrappers(open_store, paths)]
        FileJob(_envelope(wrappers, allow_classical=allow_classical), context, workers, preserve).seal(source, output)
        return
    from . import _values

    path = _one_keyring(paths)
    if columns:
        _values.encrypt_columns(open_store(), path, context).run(source, columns, output)
    else:
        _values.encrypt_value(open_store(), path, context, source, output)


@click.command()
@_option_list(_FILE, _OUTPUT, _KEYRINGS, _CONTEXT, _COLUMN, _IDENTITIES)
@click.option("--range", "part", metavar="A-B", help="Of a sealed FILE, the bytes A to B, both included, or A- to the end.")
@_option_list(_WORKERS, _PRESERVE)
@handled
@with_optional_store
def decrypt(
    open_store: OpenStore,
    *,
    file: Path | None,
    paths: tuple[str, ...],
    pairs: tuple[str, ...],
    columns: tuple[str, ...],
    output: Path | None,
    identities: tuple[str, ...],
    part: str | None,
    workers: int,
    preserve: bool,
) -> None:
    """Decrypt what `securekit encrypt` made: a value, columns of FILE, or sealed data. What FILE or stdin is, is seen from its first bytes.

    \b
    securekit decrypt iban.sk1 --keyring eu/acme/invoices --context id=42
    securekit decrypt report.pdf.sk --identity host.key -o report.pdf
    securekit decrypt app.sql.sk --identity backup.key | psql app
    securekit decrypt disk.img.sk --identity backup.key --range 1048576-1052671 > block
    """
    context = parse_context(pairs)
    source = source_of(file)
    output = output_of(output, source)
    if identities or part is not None or is_sealed(source):
        _without("--column", columns)
        from ._files import FileJob, open_identities, parse_range

        wrappers = [*open_identities(identities), *_keyring_wrappers(open_store, paths)]
        job = FileJob(_envelope(wrappers, allow_classical=True), context, workers, preserve)
        job.open(source, output, part=parse_range(part))
        return
    from . import _values

    path = _one_keyring(paths)
    if columns:
        _values.decrypt_columns(open_store(), path, context).run(source, columns, output)
    else:
        _values.decrypt_value(open_store(), path, context, source, output)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@_option_list(_IDENTITIES, _TO, _TO_PASSPHRASE, _KEYRINGS)
@click.option(
    "--drop",
    multiple=True,
    metavar="KEY_REF",
    help="A recipient to remove, or the file with its certificate. It may have kept the data key: this takes nothing back.",
)
@click.option("--dry-run", is_flag=True, help="Only open the headers, and list the files that would be rewrapped.")
@_option_list(_ALLOW_CLASSICAL, _WORKERS)
@handled
@with_optional_store
def rewrap(
    open_store: OpenStore,
    *,
    files: tuple[Path, ...],
    identities: tuple[str, ...],
    targets: tuple[str, ...],
    to_passphrase: bool,
    paths: tuple[str, ...],
    drop: tuple[str, ...],
    dry_run: bool,
    allow_classical: bool,
    workers: int,
) -> None:
    """Exchange the recipients of sealed FILES in place, also of all below a directory. The data is not touched, whatever its size.

    Name all recipients from now on. A run that was interrupted is finished by starting it again.

    \b
    securekit rewrap backups/ --identity old.key --to new.pem --drop old.pem
    """
    from securekit.envelope import Envelope

    from ._files import for_each, open_identities, open_recipients, references, sealed_files

    keyrings = _keyring_wrappers(open_store, paths)
    wrappers = [*open_recipients(targets, passphrase=to_passphrase), *keyrings]
    _envelope(wrappers, allow_classical=allow_classical)
    envelope = Envelope(wrappers, also_open=[*open_identities(identities), *keyrings], allow_classical=allow_classical)
    dropped = references(drop)

    def change(path: Path) -> None:
        if envelope.rewrap_file(path, drop=dropped, dry_run=dry_run):
            click.echo(printable(str(path)))

    found = sealed_files(files)
    for_each(found, change, workers=workers)
    count = f"{len(found):,} sealed file{'s' if len(found) != 1 else ''}"
    note(f"looked at {count}" if dry_run else f"done: {count} for these recipients now")


def _envelope(wrappers: list[KeyWrapper], *, allow_classical: bool) -> Envelope:
    from securekit.envelope import Envelope

    if not wrappers:
        message = "who opens it? Name a recipient with --to, --to-passphrase or --keyring, or what opens it with --identity or --keyring"
        raise ValueError(message)
    return Envelope(wrappers, allow_classical=allow_classical)


def _keyring_wrappers(open_store: OpenStore, paths: tuple[str, ...]) -> list[KeyWrapper]:
    if not paths:
        return []
    from securekit.keyring import KeyringWrapper

    store = open_store()
    return [KeyringWrapper(store.keyring(path)) for path in paths]


def _one_keyring(paths: tuple[str, ...]) -> str:
    if len(paths) != 1:
        message = "name one keyring with --keyring; or, for files, recipients with --to, or what opens them with --identity"
        raise ValueError(message)
    return paths[0]


def _without(option: str, given: tuple[str, ...]) -> None:
    if given:
        message = f"{option} goes with values under a keyring, not with sealed files"
        raise ValueError(message)
