# SPDX-License-Identifier: Apache-2.0
"""``securekit keys``: the life of keyrings and of their key versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._groups import SuggestingGroup
from ._options import as_json, with_store
from ._ui import handled, note, print_json, print_table, printable, progress, recipient

if TYPE_CHECKING:
    from securekit.keyring import KeyInfo, KeyStore

__all__ = ["keys"]

_KEY = click.argument("key", metavar="PATH@ID")


@click.group(cls=SuggestingGroup)
def keys() -> None:
    """Make, rotate, list and retire keys.

    A keyring is named by its path, such as eu/acme/invoices; a key version by PATH@ID, such as eu/acme/invoices@9f3a01c2.
    """


@keys.command("new-kek")
@click.argument("file", type=click.Path(path_type=Path))
@handled
def new_kek(file: Path) -> None:
    """Make a local KEK in a new FILE of mode 0600. Whoever holds it opens every keyring wrapped to it: back it up."""
    from securekit.wrappers import LocalWrapper

    wrapper = LocalWrapper.generate(file)
    note(f"made {file}: local {wrapper.key_ref}")


@keys.command()
@click.argument("path")
@handled
@with_store
def create(store: KeyStore, path: str) -> None:
    """Make the keyring PATH, if there is none."""
    click.echo(store.keyring(path, create=True).primary().full_name)


@keys.command("list")
@click.argument("prefix", default="")
@as_json
@handled
@with_store
def list_keyrings(store: KeyStore, prefix: str, *, as_json: bool) -> None:
    """List the keyrings at or below PREFIX."""
    paths = store.paths(prefix)
    if as_json:
        print_json(paths)
        return
    for path in paths:
        click.echo(path)
    if not paths:
        note("there are no keyrings here")


@keys.command()
@click.argument("path")
@as_json
@handled
@with_store
def show(store: KeyStore, path: str, *, as_json: bool) -> None:
    """Show the key versions and recipients of the keyring PATH."""
    ring = store.keyring(path)
    versions = ring.keys()
    if as_json:
        print_json(
            {
                "path": path,
                "id": ring.id,
                "revision": ring.revision,
                "recipients": [recipient(copy) for copy in ring.recipients],
                "keys": versions,
            }
        )
        return
    print_table(["id", "state", "created", "promoted", "not_after"], [_row(key) for key in versions])
    for copy in ring.recipients:
        about = f" ({copy.about['subject']}, until {copy.about['not_after']})" if {"subject", "not_after"} <= copy.about.keys() else ""
        note(printable(f"wrapped to {copy.wrapper} {copy.key_ref}{about}".rstrip()))


@keys.command()
@click.argument("path")
@click.option("--stage", is_flag=True, help="Make the new key known first; `keys promote` makes it encrypt.")
@handled
@with_store
def rotate(store: KeyStore, path: str, *, stage: bool) -> None:
    """Make a new primary key for the keyring PATH. Older keys go on to decrypt."""
    click.echo(store.keyring(path).rotate(promote=not stage).full_name)


@keys.command()
@_KEY
@handled
@with_store
def promote(store: KeyStore, key: str) -> None:
    """Make an active key the primary."""
    click.echo(store.keyring(_path(key)).promote(key).full_name)


@keys.command()
@_KEY
@handled
@with_store
def disable(store: KeyStore, key: str) -> None:
    """Make a key refuse to decrypt. `keys enable` brings it back."""
    click.echo(store.keyring(_path(key)).disable(key).full_name)


@keys.command()
@_KEY
@handled
@with_store
def enable(store: KeyStore, key: str) -> None:
    """Let a disabled key decrypt again."""
    click.echo(store.keyring(_path(key)).enable(key).full_name)


@keys.command()
@_KEY
@click.option("--force", is_flag=True, help="Do not wait until every process must have noticed that the key is disabled.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@handled
@with_store
def destroy(store: KeyStore, key: str, *, force: bool, yes: bool) -> None:
    """Erase a key for ever. What it encrypted and was not re-encrypted is lost."""
    if not yes:
        click.confirm(f"Destroy {key} for ever? What it encrypted is lost", abort=True, err=True)
    print_json(store.keyring(_path(key)).destroy(key, force=force))


@keys.command()
@click.argument("prefix", default="")
@click.option(
    "--to",
    "targets",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A recipient from now on, for example local:new.key; may be given several times.",
)
@click.option("--drop", multiple=True, metavar="KEY_REF", help="A recipient to remove: the keyrings rotate, since it knew their keys.")
@click.option("--recover", is_flag=True, help="Believe keyrings that open through an escrow certificate alone.")
@click.option("--dry-run", is_flag=True, help="Only list the keyrings that would be rewrapped.")
@handled
@with_store
def rewrap(store: KeyStore, prefix: str, targets: tuple[str, ...], drop: tuple[str, ...], *, recover: bool, dry_run: bool) -> None:
    """Wrap the keyrings at or below PREFIX to other KEKs, and print which. No data key changes, and no data is touched.

    Name all recipients from now on. A run that was interrupted goes on where it stopped when it is started again.

    \b
    securekit keys rewrap --wrap local:old.key --to local:new.key                       a new KEK
    securekit keys rewrap --to local:root.key --to cert:escrow.pem                      one more recipient
    securekit keys rewrap --wrap "cert:?key=escrow.key" --to local:new.key --recover \\
        --to cert:escrow.pem --drop 0bac1fe1ddce8316                                    the old KEK is lost
    """
    from securekit.opening import open_wrapper

    wrappers = [open_wrapper(name) for name in targets]
    with progress("keyrings", len(store.paths(prefix))) as advance:
        changed = store.rewrap(wrappers, prefix=prefix, drop=drop, recover=recover, dry_run=dry_run, report=lambda _: advance(1))
    for path in changed:
        click.echo(path)


@keys.command()
@click.argument("path")
@click.argument("other", metavar="STORE")
@click.option("--other-wrap", multiple=True, metavar="NAME", help="Who holds the KEK of the other store; the same as here if not given.")
@handled
@with_store
def copy(store: KeyStore, path: str, other: str, other_wrap: tuple[str, ...]) -> None:
    """Copy the keyring PATH to another STORE, for example file:elsewhere/."""
    from securekit.opening import open_store

    click.echo(store.copy(path, open_store(other, wrap=list(other_wrap) or None)).primary().full_name)


@keys.command()
@click.argument("path")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The backup's file; replaced if it is there.")
@handled
@with_store
def backup(store: KeyStore, path: str, output: Path) -> None:
    """Write the document of the keyring PATH to a file. Who holds none of its KEKs cannot read its keys."""
    from securekit._wire.atomic import write_atomic

    write_atomic(output, store.backup(path))


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--recover", is_flag=True, help="Believe a document that opens through an escrow certificate alone.")
@handled
@with_store
def restore(store: KeyStore, file: Path, *, recover: bool) -> None:
    """Put the keyring in a backup FILE back, if the store has none at its path, or an older revision of it."""
    click.echo(store.restore(file.read_bytes(), recover=recover).primary().full_name)


@keys.command()
@click.argument("prefix", default="")
@as_json
@handled
@with_store
def due(store: KeyStore, prefix: str, *, as_json: bool) -> None:
    """Say what should be done soon to the keyrings at or below PREFIX."""
    found = [item for path in store.paths(prefix) for item in store.keyring(path).due()]
    if as_json:
        print_json(found)
    else:
        print_table(
            ["action", "path", "key_id", "reason"],
            [{name: getattr(item, name) or "" for name in ("action", "path", "key_id", "reason")} for item in found],
        )


def _path(key: str) -> str:
    path, at, _ = key.rpartition("@")
    if not at:
        message = f"a key is named PATH@ID, not {key!r}"
        raise ValueError(message)
    return path


def _row(key: KeyInfo) -> dict[str, object]:
    return {
        "id": key.id,
        "state": f"{key.state}, due" if key.due else str(key.state),
        "created": f"{key.created:%Y-%m-%d %H:%M:%SZ}",
        "promoted": f"{key.promoted:%Y-%m-%d %H:%M:%SZ}" if key.promoted else "",
        "not_after": f"{key.not_after:%Y-%m-%d %H:%M:%SZ}" if key.not_after else "",
    }
