# SPDX-License-Identifier: Apache-2.0
"""``securekit config diff|merge|install-git``: documents under git."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from securekit.exceptions import ConfigError, SecureKitError

from ._config_session import Session, writing_options
from ._options import as_json
from ._ui import FAILED, handled, note, print_json, printable

if TYPE_CHECKING:
    from securekit.config import Document

__all__ = ["diff", "install_git", "merge"]

_PATTERNS = ("*.yaml", "*.yml", "*.json", "*.toml", "*.env", ".env*", "*.ini")
_LOOK = 12  # characters of a token, its last ones, that tell two apart


@click.command()
@click.argument("old", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("new", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=False)
@click.option("--textconv", is_flag=True, help="Print OLD in the form that git compares: tokens cut short, metadata in a few lines.")
@click.option("--format", "form", type=click.Choice(["yaml", "json", "toml", "env", "ini"]), help="If the names do not tell.")
@as_json
@handled
def diff(old: Path, new: Path | None, *, textconv: bool, form: str | None, as_json: bool) -> None:
    """Show what differs between the documents OLD and NEW: clear values, and which secrets, recipients and patterns have changed.

    Takes no private key, and shows no secret. Under git, `git diff` does the same after: securekit config install-git
    """
    from securekit.config import Document
    from securekit.config._difference import differences

    if textconv:
        click.echo(_textconv(old, form), nl=False)
        return
    if new is None:
        message = "name two documents, OLD and NEW"
        raise ValueError(message)
    found = differences(Document.read(old, format=form), Document.read(new, format=form))
    if as_json:
        print_json(found)
        return
    for difference in found:
        click.echo(printable(str(difference)))


@click.command()
@click.argument("base", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("ours", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("theirs", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("path", type=click.Path(path_type=Path), required=False)
@writing_options
@handled
def merge(base: Path, ours: Path, theirs: Path, path: Path | None, **options: Any) -> None:  # noqa: ANN401 - the session's
    """Merge what THEIRS has changed since BASE into OURS; for git, which names them %O %A %B, and the file's own PATH %P.

    Both sides are verified. The result has a valid integrity tag, also if you can read nothing, and no signature: look at it, and
    sign it. Two changes of one value are a conflict: ours is kept, and the exit code is 1, so that git stops.
    """
    from securekit.config import Document
    from securekit.config._base import check_base, check_confirmed, unseen_recipients
    from securekit.config._document import read_document
    from securekit.config._formats import format_of
    from securekit.config._merge import merge_into

    name = path or ours
    form = options.pop("form") or format_of(name)
    options.pop("sign")
    session = Session(ours, form=form, name=name, **options)
    mine = Document.parse(read_document(ours), format=form, name=str(name))
    other = Document.parse(read_document(theirs), format=form, name=f"the other side's {name}")
    for side in (mine, other):
        if side.block is None:
            message = f"{side.name} has no securekit block: merge it as text"
            raise ConfigError(message)
    opened = session.open_if_recipient(other)
    check_base(other, opened=opened, trust=session.trust, state=session.state, adopt=bool(options["adopt"]))
    check_confirmed(unseen_recipients(other, trust=session.trust, state=session.state), session.confirmed(other))
    edit = session.edit(mine)
    edit.also_reads(opened)
    merged = merge_into(edit, base=_ancestor(base, form), ours=mine, theirs=other, wrappers=session.wrappers)
    session.put(edit.finish(generation=max(mine.required.generation, other.required.generation) + 1), mine)
    if merged.exposed:
        note(
            "change these values at their source: a recipient whom one side has removed could read them: "
            + printable(" ".join(merged.exposed))
        )
    for conflict in merged.conflicts:
        note(f"securekit: error: {printable(f'{name}: both sides changed {conflict}; ours is kept')}")
    if merged.conflicts:
        repair = f"securekit config set {quote(str(name))} {quote(merged.conflicts[0])}; then git add"
        note(f"securekit: hint: set what is right with: {printable(repair)}")
        sys.exit(FAILED)


@click.command("install-git")
@click.option("--global", "everywhere", is_flag=True, help="For every repository of this user, and not only for this one.")
@click.option(
    "--attributes", type=click.Path(path_type=Path), default=Path(".gitattributes"), show_default=True, help="Which file names them."
)
@click.argument("patterns", nargs=-1)
@handled
def install_git(patterns: tuple[str, ...], *, everywhere: bool, attributes: Path) -> None:
    """Set up git to show and merge documents: the drivers in git's configuration, the PATTERNS in .gitattributes.

    \b
    securekit config install-git 'config/*.yaml'
    """
    scope = "--global" if everywhere else "--local"
    for key, value in (  # behind --, since a file's name may begin like an option
        ("diff.securekit.textconv", "securekit config diff --textconv --"),
        ("merge.securekit.name", "securekit documents of configuration"),
        ("merge.securekit.driver", "securekit config merge -- %O %A %B %P"),
    ):
        done = subprocess.run(["git", "config", scope, key, value], capture_output=True, text=True, check=False)  # noqa: S603, S607 - fixed
        if done.returncode:
            message = f"git config failed: {done.stderr.strip() or 'is this a git repository?'}"
            raise ConfigError(message)
    there = attributes.read_text() if attributes.exists() else ""
    new = [line for pattern in patterns or _PATTERNS if (line := f"{pattern} diff=securekit merge=securekit") not in there.splitlines()]
    if new:
        with attributes.open("a") as file:
            file.write("\n" * (there[-1:] not in ("", "\n")) + "".join(f"{line}\n" for line in new))
    note(f"git shows and merges {', '.join(patterns or _PATTERNS)} with securekit; commit {attributes}, and run this in each clone")


def _textconv(path: Path, form: str | None) -> str:
    """Return a document for people to compare; any other file as it is."""
    from securekit.config import Document

    try:
        document = Document.read(path, format=form)
        block = document.required
    except SecureKitError:
        return path.read_text(errors="replace")
    short = {leaf.path: f"<secret {str(leaf.value)[-1 - _LOOK : -1]}>" for leaf in document.leaves() if leaf.token is not None}
    text = document.with_text(document.source.replace(short)).source.with_metadata(None)
    lines = [
        "",
        f"securekit document {block.document.hex()} for {block.environment}, generation {block.generation}",
        *(f"securekit encrypts {pattern}" for pattern in block.encrypt),
        *(f"securekit recipient {one.subject} {one.wrapper}:{one.key_ref}" for one in block.recipients),
        *(f"securekit signed by {signature.reference}" for signature in block.signatures),
    ]
    return text + "\n".join(map(printable, lines)) + "\n"


def _ancestor(base: Path, form: str) -> Document | None:
    """Return the common ancestor; None if there is none that is a document: git gives an empty file then."""
    from securekit.config import Document

    try:
        return Document.read(base, format=form)
    except SecureKitError:
        return None
