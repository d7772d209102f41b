# SPDX-License-Identifier: Apache-2.0
"""``securekit config init|encrypt|set|unset|get|list|decrypt``: single values, and a document as a whole."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from securekit.config import format_path, parse_path
from securekit.exceptions import ConfigError

from ._config_session import Session, document_file, dry_run, with_reader, with_writer
from ._files import open_recipients, writing
from ._options import as_json
from ._ui import handled, note, print_json, print_table, printable

if TYPE_CHECKING:
    from securekit.config import Document, Edit
    from securekit.config._tree import Scalar

__all__ = ["decrypt", "encrypt", "get", "init", "list_values", "set_value", "text_of", "unset"]

_TYPES = click.Choice(["str", "int", "float", "bool", "null", "bytes", "date"])
_ENVIRONMENT = click.option("--environment", metavar="NAME", help="Where the document belongs, for example production.")
_RECIPIENT = click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="FILE",
    help="Who can read it: a certificate, an X-Wing key, or a name.",
)
_ENCRYPT = click.option(
    "--encrypt", "patterns", multiple=True, metavar="PATTERN", help="What must be encrypted: db.password, **.secret*, tokens[*]."
)
_PATH = click.argument("path")
# What an empty document is; an empty text is one in all other formats.
_EMPTY = {"json": "{}\n"}


@click.command()
@document_file
@_ENVIRONMENT
@_RECIPIENT
@_ENCRYPT
@handled
@with_writer
def init(session: Session, *, environment: str | None, recipients: tuple[str, ...], patterns: tuple[str, ...]) -> None:
    """Make FILE, a new document without any value. Patterns may name values that are still to come.

    \b
    securekit config init production.yaml --environment production --recipient host.pem --encrypt '**.password'
    securekit config set production.yaml db.password --create
    """
    from securekit.config import Document, Edit
    from securekit.config._formats import format_of

    if session.path.exists():
        message = f"{session.path} exists already; encrypt it with: securekit config encrypt {session.path}"
        raise ConfigError(message)
    form = session.form or format_of(session.path)
    empty = Document.parse(_EMPTY.get(form, "").encode(), format=form, name=str(session.path))
    edit = Edit.of_clear(empty, environment=_required(environment), recipients=_recipients(recipients))
    edit.expect(patterns)
    session.save(edit, None)


@click.command()
@document_file
@_ENVIRONMENT
@_RECIPIENT
@_ENCRYPT
@dry_run
@handled
@with_writer
def encrypt(session: Session, *, environment: str | None, recipients: tuple[str, ...], patterns: tuple[str, ...], dry_run: bool) -> None:
    """Encrypt those values of FILE that patterns match, in place. Everything else stays as it is, to the letter.

    A document in clear text needs --environment, --recipient and --encrypt once. In an encrypted one, this adds patterns, and
    encrypts what was written into it by hand (with --adopt).

    \b
    securekit config encrypt production.yaml --environment production --recipient host.pem --encrypt db.password --encrypt '**.secret*'
    securekit config encrypt production.yaml --encrypt 'smtp.password'
    """
    document = session.read()
    if document.block is None:
        if not patterns:
            message = "what is to be encrypted? Name it with --encrypt, for example --encrypt db.password --encrypt '**.secret*'"
            raise ConfigError(message)
        edit = document.encrypt(environment=_required(environment), recipients=_recipients(recipients), patterns=patterns)
        done = [leaf.name for leaf in edit.document.leaves() if leaf.token is not None]
    else:
        if environment or recipients:
            message = f"{session.path} is encrypted already: its environment stays; recipients change with: securekit config recipients"
            raise ConfigError(message)
        edit = session.edit(document)
        done = [*edit.protect(patterns)]
    for name in done:
        click.echo(printable(name))
    finished = session.save(edit, document, dry_run=dry_run)
    left = sum(leaf.token is None for leaf in finished.leaves())
    note(f"{len(done)} values encrypted now, {left} are in clear text")
    _warn_of_secrets(finished)


@click.command("set")
@document_file
@_PATH
@click.argument("given", nargs=-1, metavar="")
@click.option("--stdin", is_flag=True, help="Read the value from standard input.")
@click.option("--from-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Read the value from a file.")
@click.option("--keep-newline", is_flag=True, help="Keep the line's end behind the value, which is left out otherwise.")
@click.option("--empty", is_flag=True, help="The value may be empty, which is refused otherwise.")
@click.option("--type", "kind", type=_TYPES, default="str", show_default=True, help="The value's type.")
@click.option("--create", is_flag=True, help="Make the value, if there is none at PATH.")
@click.option("--encrypt", "protect", is_flag=True, help="Add PATH to what must be encrypted, if no pattern covers it.")
@click.option("--clear", is_flag=True, help="It is no secret: write it in clear text.")
@dry_run
@handled
@with_writer
def set_value(
    session: Session,
    path: str,
    *,
    given: tuple[str, ...],
    stdin: bool,
    from_file: Path | None,
    keep_newline: bool,
    empty: bool,
    kind: str,
    create: bool,
    protect: bool,
    clear: bool,
    dry_run: bool,
) -> None:
    """Set the value at PATH in FILE; from a prompt, standard input or a file, never from an argument. Takes no private key.

    \b
    securekit config set production.yaml db.password
    printf %s "$NEW" | securekit config set production.yaml db.password --stdin
    securekit config set production.yaml smtp.tls.key --from-file smtp.key --create --encrypt
    """
    if given:  # and not repeated in a message, which CI keeps
        message = "a value is no argument, since every user of this machine sees those, and histories keep them: change it at its source"
        raise ValueError(message)
    where = parse_path(path)
    value = cache(lambda: _value(path, stdin=stdin, from_file=from_file, keep_newline=keep_newline, empty=empty, kind=kind))

    def change(edit: Edit) -> None:
        edit.check_target(where, create=create, clear=clear, protect=protect)  # before anybody is asked
        edit.set(where, value(), create=create, clear=clear, protect=protect)

    session.change(change, dry_run=dry_run)


@click.command()
@document_file
@click.argument("path", required=False)
@click.option("--pattern", help="Remove this pattern. What it has encrypted stays so.")
@dry_run
@handled
@with_writer
def unset(session: Session, path: str | None, *, pattern: str | None, dry_run: bool) -> None:
    """Remove the value at PATH from FILE; or a pattern."""
    if (path is None) == (pattern is None):
        message = "name one thing to remove: PATH, or a pattern with --pattern"
        raise ValueError(message)

    unmatched: list[str] = []

    def change(edit: Edit) -> None:
        unmatched[:] = _unmatched(edit.document)
        if path is not None:
            edit.unset(parse_path(path))
        if pattern is not None:
            edit.forget(pattern)

    document = session.change(change, dry_run=dry_run)
    for left in set(_unmatched(document)) - set(unmatched):
        repair = f"securekit config unset {session.path} --pattern {quote(left)}"
        note(f"securekit: hint: a pattern matches nothing now; remove it with: {printable(repair)}")


@click.command()
@document_file
@_PATH
@click.option("-n", "--no-newline", is_flag=True, help="Print the value alone, without a line's end.")
@handled
@with_reader
def get(session: Session, path: str, *, no_newline: bool) -> None:
    """Print the value at PATH in FILE, in clear text."""
    value = session.open().at(parse_path(path))
    click.echo(value if isinstance(value, bytes) else text_of(value), nl=not no_newline)


@click.command("list")
@document_file
@as_json
@handled
@with_reader
def list_values(session: Session, *, as_json: bool) -> None:
    """List the values in FILE by their paths, and which are encrypted. Takes no private key, and shows no secret."""
    document = session.read()
    rows = []
    for leaf in document.leaves():
        token = leaf.token
        rows.append(
            {
                "path": leaf.name,
                "encrypted": token is not None,
                "key": token.key_id if token else "",
                "line": document.source.line(leaf.path),
            }
        )
    if as_json:
        print_json(rows)
        return
    table = [row | {"state": "encrypted" if row["encrypted"] else "clear", "line": row["line"] or ""} for row in rows]
    print_table(["path", "state", "line"], table)


@click.command()
@document_file
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT", help="Write to OUT, of mode 0600.")
@handled
@with_reader
def decrypt(session: Session, *, output: Path | None) -> None:
    """Print FILE in clear text, as it would be without securekit."""
    clear = session.open().decrypted().to_bytes()
    with writing(output) as out:
        out.write(clear)


def _unmatched(document: Document) -> tuple[str, ...]:
    return document.required.patterns.unmatched([leaf.path for leaf in document.leaves()])


def _required(environment: str | None) -> str:
    if environment is None:
        message = "where does the document belong? Name it with --environment, for example --environment production"
        raise ConfigError(message)
    return environment


def _recipients(names: Sequence[str]) -> list:  # type: ignore[type-arg]
    if not names:
        message = "who can read it? Name the certificate of each host with --recipient; make one there with: securekit identity new"
        raise ConfigError(message)
    wrappers = open_recipients(names, passphrase=False)
    for wrapper in wrappers:
        note(f"recipient {wrapper.name}, key fingerprint {wrapper.key_ref}")
    return wrappers


def _value(path: str, *, stdin: bool, from_file: Path | None, keep_newline: bool, empty: bool, kind: str) -> Scalar:
    """Return the value that a person or a program gives; nothing says what it was."""
    from securekit.config._value import parse_text

    if kind == "null":
        return None
    data = _given(path, stdin=stdin, from_file=from_file)
    if not keep_newline:
        data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data and not empty:
        message = f"the value for {path} is empty: is a variable not set? If it is to be empty, add --empty"
        raise ConfigError(message)
    if kind == "bytes":
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None  # that error would carry the value
    if text is None:
        message = f"the value for {path} is not UTF-8 text; with --type bytes it may be anything"
        raise ConfigError(message)
    return parse_text(text, kind)


def _given(path: str, *, stdin: bool, from_file: Path | None) -> bytes:
    """Return what standard input, a file, or a person has."""
    if stdin and from_file:
        message = "the value comes from one place: --stdin or --from-file"
        raise ValueError(message)
    if stdin:
        return sys.stdin.buffer.read()
    if from_file:
        return from_file.read_bytes()
    if not sys.stdin.isatty():
        message = f"there is no terminal to ask for the value of {path} on: add --stdin or --from-file FILE"
        raise ValueError(message)
    answer: str = click.prompt(f"New value of {path}", hide_input=True, confirmation_prompt=True, err=True)
    return answer.encode()


def text_of(value: Scalar) -> str:
    """Return a value as a program reads it: true and false, null, and dates as ISO 8601 has them."""
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float() | bytes():
            return str(value)
        case _:
            return value.isoformat()


def _warn_of_secrets(document: Document) -> None:
    """Warn of values in clear text that look like secrets: a pattern that misses one is found now, and not in a leak."""
    from securekit.config._examine import suspicious

    for leaf, what in suspicious(document):
        note(f"securekit: warning: {printable(format_path(leaf.path))}: {what}")
