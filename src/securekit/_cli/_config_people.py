# SPDX-License-Identifier: Apache-2.0
"""``securekit config recipients|rotate|sign|trust``: who reads a document, who wrote it, and whom hosts believe."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securekit._wire.atomic import write_atomic
from securekit._wire.key_files import read_key_file
from securekit.exceptions import ConfigError

from ._config_session import Session, document_file, dry_run, with_reader, with_writer, writing_options
from ._files import open_recipients
from ._groups import SuggestingGroup
from ._options import as_json
from ._ui import FAILED, handled, note, print_json, print_table, printable, progress

if TYPE_CHECKING:
    from securekit.config import Document
    from securekit.config._block import Recipient

__all__ = ["recipients", "rotate", "sign", "trust"]

_DAY = 24 * 3600  # seconds
_MAX_JOURNAL = 64 * 1024 * 1024  # bytes
_MAX_LOOK = 4 * 1024 * 1024  # bytes of a file that may be a document


@click.group(cls=SuggestingGroup)
def recipients() -> None:
    """Say who can read a document: list, add, remove.

    A renewed certificate is added before the old one is removed, so that each host can read all the time.
    """


@recipients.command("list")
@document_file
@as_json
@handled
@with_reader
def list_recipients(session: Session, *, as_json: bool) -> None:
    """List who can read FILE. Takes no private key."""
    rows = [
        {
            "subject": recipient.subject,
            "wrapper": recipient.wrapper,
            "fingerprint": recipient.key_ref,
            "not_after": recipient.about.get("not_after", ""),
            "certificate": recipient.about.get("fingerprint", ""),
        }
        for recipient in session.read().required.recipients
    ]
    if as_json:
        print_json(rows)
        return
    print_table(["subject", "wrapper", "fingerprint", "not_after"], rows)


@recipients.command()
@document_file
@click.argument("recipient", nargs=-1, required=True)
@dry_run
@handled
@with_writer
def add(session: Session, recipient: tuple[str, ...], *, dry_run: bool) -> None:
    """Let RECIPIENT read FILE: a certificate or X-Wing key in a file, or a name such as local:root.key. Takes a private key.

    \b
    securekit config recipients add production.yaml web2.pem --identity host.key
    """
    document = session.read()
    edit = session.edit(document)
    for wrapper in open_recipients(recipient, passphrase=False):
        note(f"recipient {wrapper.name}, key fingerprint {wrapper.key_ref}")
        edit.add_recipient(wrapper)
    session.save(edit, document, dry_run=dry_run)


@recipients.command()
@document_file
@click.argument("recipient", nargs=-1, required=True)
@dry_run
@handled
@with_writer
def remove(session: Session, recipient: tuple[str, ...], *, dry_run: bool) -> None:
    """Let RECIPIENT read nothing in FILE from now on: a certificate's file, a key fingerprint, or a subject. Takes a private key.

    Everything is encrypted anew, under one new data key. What is printed must be changed at its source as well, since the
    recipient could read it until now.
    """
    document = session.read()
    names = [_recipient(document.required.recipients, name).name for name in recipient]
    edit = session.edit(document, leaving=names)
    exposed = [leaf.name for leaf in document.leaves() if leaf.token is not None]
    session.save(edit, document, dry_run=dry_run)
    note("change these values at their source: who was removed may have read them")
    for path in exposed:
        click.echo(printable(path))


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--all", "folder", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR", help="Every document below DIR."
)
@dry_run
@writing_options
@handled
def rotate(*, file: Path | None, folder: Path | None, dry_run: bool, **options: Any) -> None:  # noqa: ANN401 - the session's
    """Encrypt every value of FILE anew, under one new data key. Takes a private key.

    With --all, every encrypted document below a directory: it shows its progress, may be killed at any moment, and goes on where
    it was when it is started again. A document that fails does not stop the others.
    """
    if (file is None) == (folder is None):
        message = "name one FILE, or a directory with --all"
        raise ValueError(message)
    if folder is not None:
        _rotate_all(folder, Session(folder, **options), dry_run=dry_run)
    if file is not None:
        _rotate_one(Session(file, **options), dry_run=dry_run)


def _rotate_one(session: Session, *, dry_run: bool, on_write: Callable[[Document], None] = lambda _: None) -> None:
    document = session.read()
    edit = session.edit(document)
    edit.rotate()
    session.save(edit, document, dry_run=dry_run, on_write=on_write)


def _rotate_all(directory: Path, session: Session, *, dry_run: bool) -> None:
    from securekit.exceptions import SecureKitError

    journal = _Journal(directory, session.state.folder)
    found = _documents(directory)
    files = found if dry_run else [path for path in found if not journal.has(path)]
    if len(files) < len(found):
        note(f"going on where the last run was interrupted: {len(found) - len(files)} documents are done")
    failed = 0
    with progress("documents", len(files)) as advance:
        for path in files:
            try:
                _rotate_one(session.of(path), dry_run=dry_run, on_write=partial(journal.add, path))
            except (SecureKitError, OSError) as error:
                failed += 1
                text = str(error)
                note(f"securekit: error: {printable(text if str(path) in text else f'{path}: {text}')}")
            advance(1)
    note(f"{len(files) - failed} documents {'would be ' if dry_run else ''}rotated, {failed} failed")
    if failed:
        sys.exit(FAILED)
    if not dry_run:
        journal.remove()


class _Journal:
    """What a run of --all has done, as digests of what it has written; gone when it is through, and forgotten after a day.

    An entry is made before its document is written: if that fails, it names nothing that is there. The file stands in this host's
    state and not in the directory, where others could name documents in it that are then passed over.
    """

    def __init__(self, directory: Path, state: Path) -> None:
        name = hashlib.sha256(os.path.realpath(directory).encode()).hexdigest()
        self._file = state / "rotations" / f"{name}.json"
        self._done: list[str] = []
        with suppress(FileNotFoundError, ValueError):
            if time.time() - self._file.stat().st_mtime < _DAY:
                self._done = list(json.loads(read_key_file(self._file, max_size=_MAX_JOURNAL)))

    def has(self, path: Path) -> bool:
        return self._digest(path, path.read_bytes()) in self._done

    def add(self, path: Path, document: Document) -> None:
        self._done.append(self._digest(path, document.to_bytes()))
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._file, json.dumps(self._done).encode())

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)

    @staticmethod
    def _digest(path: Path, data: bytes) -> str:
        return hashlib.sha256(os.path.realpath(path).encode() + b"\0" + data).hexdigest()


def _documents(directory: Path) -> list[Path]:
    """Return the encrypted documents below ``directory``."""
    from securekit.config import Document
    from securekit.exceptions import SecureKitError

    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not path.is_file() or ".git" in path.relative_to(directory).parts:
            continue
        try:
            document = Document.read(path)
        except SecureKitError:
            if _looks_encrypted(path):
                note(f"securekit: warning: {printable(str(path))} looks like a document, and is not read: securekit config verify")
            continue
        if document.block is not None:
            found.append(path)
    return found


def _looks_encrypted(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LOOK)
    except OSError:
        return True  # it cannot be told, and so somebody should look
    return b"securekit" in data and b"ENC[sk1," in data


@click.command()
@document_file
@handled
@with_writer
def sign(session: Session) -> None:
    """Sign FILE with the private key of --sign, so that hosts whose trust.toml names its certificate believe it.

    Look at what you sign: securekit config diff. Several may sign one document.

    \b
    securekit identity new --type ed25519 --key alice.key --cert alice.pem --name alice
    securekit config sign production.yaml --sign alice.key
    """
    document = session.read()
    document.required  # noqa: B018 - that it is not encrypted is said first
    session.edit(document)  # whoever signs has verified what is signed, or has looked at it
    if not session.signs:
        message = "whose signature? Name the private key with --sign KEY; make one with: securekit identity new --type ed25519"
        raise ConfigError(message)
    session.put(document, document, signing=True)


@click.command()
@document_file
@click.option("--signer", "signers", multiple=True, required=True, metavar="CERT", help="The certificate of somebody who may sign.")
@click.option("--state", metavar="FILE", help="Where a host keeps the highest generation that it has seen, to refuse older ones.")
@handled
def trust(file: Path, *, signers: tuple[str, ...], state: str | None) -> None:
    """Print the entry for FILE in a trust.toml: who may sign it, and who may read it.

    Check what is printed: from now on this is what hosts believe. The file stands beside the host's identity, owned by root;
    or in the repository, protected by code owners, for CI.

    \b
    securekit config trust production.yaml --signer alice.pem >> /etc/app/trust.toml
    """
    from securekit._primitives.signatures import SigningCertificate
    from securekit.config import Document

    block = Document.read(file).required
    certificates = [SigningCertificate.read(Path(name).read_bytes()) for name in signers]
    click.echo("[[document]]")
    click.echo(f"id = {_toml(block.document.hex())}")
    click.echo(f"environment = {_toml(block.environment)}")
    click.echo("signers = [")
    for certificate in certificates:
        click.echo(f"  # {printable(certificate.subject)}, until {certificate.not_after:%Y-%m-%d}")
        click.echo(f'  """\n{certificate.pem}""",')
    click.echo("]")
    click.echo("recipients = [")
    for one in block.recipients:
        click.echo(f"  # {printable(one.subject)}{', until ' + one.about['not_after'][:10] if 'not_after' in one.about else ''}")
        click.echo(f"  {_toml(f'{one.wrapper}:{one.key_ref}')},")
    click.echo("]")
    click.echo(f"generation = {block.generation}")
    if state:
        click.echo(f"state = {_toml(state)}")


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _recipient(there: tuple[Recipient, ...], name: str) -> Recipient:
    """Return the recipient that a person names: by a file, a fingerprint, or a subject."""
    reference = open_recipients([name], passphrase=False)[0].key_ref if Path(name).is_file() else name
    found = [one for one in there if reference in {one.key_ref, one.about.get("fingerprint"), one.subject, f"{one.wrapper}:{one.key_ref}"}]
    if len(found) != 1:
        message = f"{name} names {len(found)} recipients; name one by its key fingerprint: securekit config recipients list"
        raise ConfigError(message)
    return found[0]
