# SPDX-License-Identifier: Apache-2.0
"""``securekit password``: stored passwords. Passwords come from a prompt or standard input alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ._groups import SuggestingGroup
from ._options import as_json, with_optional_store
from ._ui import FAILED, UNVERIFIED, fail, handled, note, print_json, print_table, progress

if TYPE_CHECKING:
    from securekit.keyring import Keyring, KeyStore
    from securekit.passwords import Imported, PasswordHasher

__all__ = ["password"]

F = TypeVar("F", bound=Callable[..., Any])
_MAX_INPUT = 64 * 1024  # bytes of a password or a hash on standard input

_profile = click.option("--profile", default="modern", show_default=True, help="modern, owasp, policy, fips or bcrypt.")
_pepper = click.option("--pepper", metavar="PATH", help="The keyring that hashes are peppered with.")
_user = click.option("--user", help="The id of the user, which a peppered hash is bound to.")
_stdin = click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
_column = click.option("--column", help="The column with the hashes, of a .csv or .jsonl file. Else each line is one.")


@click.group(cls=SuggestingGroup)
def password() -> None:
    """Hash, verify and look at stored passwords; import tables of old ones.

    \b
    securekit password hash > stored                   asks for the password
    securekit password verify stored                   exit code 0: it is the one; 3: it is not
    securekit password audit users.csv --column hash   what a table is made of
    """


@password.command("hash")
@_profile
@_pepper
@_user
@_stdin
@handled
@with_optional_store
def hash_(opened: Callable[[], KeyStore], *, profile: str, pepper: str | None, user: str | None, from_stdin: bool) -> None:
    """Print what to store for a new password: 15 characters at least, and not one of the commonest."""
    hasher = _hasher(opened, profile, pepper, user)
    click.echo(hasher.hash(_asked(new=True, from_stdin=from_stdin), user=user))


@password.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_profile
@_pepper
@_user
@_stdin
@click.option("--new-hash", is_flag=True, help="Print a stronger hash to store, if there is one.")
@handled
@with_optional_store
def verify(
    opened: Callable[[], KeyStore],
    file: Path,
    *,
    profile: str,
    pepper: str | None,
    user: str | None,
    from_stdin: bool,
    new_hash: bool,
) -> None:
    """Say whether a password is the one whose hash is in FILE, whoever made it."""
    from securekit.exceptions import PasswordBusyError, PasswordError

    hasher = _hasher(opened, profile, pepper, user)
    stored = file.read_bytes()[:_MAX_INPUT].decode(errors="replace").strip()
    try:
        verified = hasher.verify(_asked(new=False, from_stdin=from_stdin), hash=stored, user=user)
    except PasswordBusyError:
        raise
    except PasswordError as error:
        fail(str(error), code=UNVERIFIED)
    note("the password is the one")
    if new_hash and verified.new_hash:
        click.echo(verified.new_hash)
    elif verified.new_hash:
        note("there is a stronger hash to store: --new-hash prints it")


@password.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_profile
@as_json
@handled
def identify(file: Path | None, *, profile: str, as_json: bool) -> None:
    """Say what each hash in FILE, or on standard input, is: one per line. No password is needed."""
    from securekit.passwords import identify as identify_hash

    found = [identify_hash(stored, profile=profile) for _, stored in _hashes(file, None, None)]
    if as_json:
        print_json(found)
        return
    columns = ["form", "scheme", "parameters", "bits"]
    print_table(columns, [{name: getattr(one, name) for name in columns} for one in found])


@password.command()
@click.option("--target", default="250ms", show_default=True, help="What one hash may take, such as 100ms or 1s.")
@click.option("--scheme", default="argon2id", show_default=True, type=click.Choice(["argon2id", "scrypt", "pbkdf2-sha256", "bcrypt"]))
@click.option("--max-memory", default=1024, show_default=True, type=click.IntRange(16, 4096), help="MiB that one hash may take.")
@as_json
@handled
def calibrate(*, target: str, scheme: str, max_memory: int, as_json: bool) -> None:
    """Measure what a hash may cost on this machine: parameters, peak memory, and logins a second."""
    from securekit.passwords import calibrate as measure

    found = measure(_seconds(target), scheme=scheme, max_memory=max_memory)
    if as_json:
        print_json(found)
        return
    parameters = ", ".join(f"{name}={number}" for name, number in found.parameters.items())
    click.echo(f"{found.scheme}: {parameters}")
    click.echo(f"{1000 * found.seconds:.0f} ms and {found.memory:.0f} MiB for one")
    at_once = f"{found.workers} at once, which take {found.memory * found.workers:.0f} MiB"
    click.echo(f"{found.logins_per_second:.1f} logins a second, {at_once}")


@password.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--as", "interpretation", required=True, help="What the digests are made of, such as md5-hex or sha1-salt-password.")
@click.option("--column", required=True, help="The column with the digests; it holds hashes afterwards.")
@click.option("--salt", "salt_column", help="The column with the salts, for an interpretation that has one.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new file; replaced if it is there.")
@click.option("--workers", type=click.IntRange(1, 64), help="Hashes that are made at once; as many as there are processors if not given.")
@_profile
@handled
def import_(
    file: Path, *, interpretation: str, column: str, salt_column: str | None, output: Path, workers: int | None, profile: str
) -> None:
    """Wrap a table of digests, FILE (.csv or .jsonl), in strong hashes at once, without any password.

    \b
    securekit password import old.csv --as md5-hex --column password -o new.csv

    At each user's next login the digest is peeled off. The digest itself is never accepted as a password.
    """
    from securekit._wire.atomic import atomic_writer
    from securekit.passwords import import_table

    from ._tables import open_table

    if ("salt" in interpretation) != (salt_column is not None):
        message = f"{interpretation} has a salt: name its column with --salt" if salt_column is None else f"{interpretation} has no salt"
        raise click.UsageError(message)
    failed = above = 0
    with open_table(file) as table, atomic_writer(output) as out, progress("rows") as advance:
        table.check_columns([column] if salt_column is None else [column, salt_column])
        table.write([], out)
        for rows in table.batches():
            cells = [
                (number, _cell(row, column), *(() if salt_column is None else (_cell(row, salt_column),)))
                for number, row in enumerate(rows)
            ]
            imported: Imported[int]
            for imported in import_table(cells, interpretation, profile, workers=workers):
                if imported.hash is None:
                    failed += 1
                    note(f"securekit: error: {file}, row {above + imported.key + 1}: {imported.problem}")
                else:
                    rows[imported.key][column] = imported.hash
                advance(1)
            table.write(rows, out)
            above += len(rows)
    if failed:
        fail(f"{failed:,} rows were not imported, and are as they were")


@password.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_column
@click.option("--user-column", help="The column with the users' ids, for peppered hashes.")
@_profile
@_pepper
@as_json
@handled
@with_optional_store
def audit(
    opened: Callable[[], KeyStore],
    file: Path,
    *,
    column: str | None,
    user_column: str | None,
    profile: str,
    pepper: str | None,
    as_json: bool,
) -> None:
    """Say what the hashes in FILE are made of, and how many are below the profile. Exit code 1 if any is."""
    from securekit.passwords import audit as audit_hashes

    if (pepper or user_column) and None in {column, user_column}:
        message = "a peppered hash is bound to its user: name the columns of both, with --column and --user-column"
        raise click.UsageError(message)
    found = audit_hashes(_hashes(file, column, user_column), profile=profile, pepper=_ring(opened, pepper))
    below = sum(group.count for group in found if group.below)
    if as_json:
        print_json({"groups": [_plain(group) for group in found], "count": sum(group.count for group in found), "below": below})
    else:
        columns = ["count", "form", "scheme", "parameters", "bits", "below"]
        print_table(columns, [_plain(group) | {"below": "below" if group.below else ""} for group in found])
        note(f"{below:,} of {sum(group.count for group in found):,} are below the profile {profile}")
    if below:
        sys.exit(FAILED)


def _plain(group: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(group)  # type: ignore[call-overload, no-any-return] # a HashGroup


def _hashes(file: Path | None, column: str | None, user_column: str | None) -> Iterator[tuple[str, str]]:
    if file is not None and column is not None:
        from ._tables import open_table

        with open_table(file) as table:
            table.check_columns([column] if user_column is None else [column, user_column])
            for rows in table.batches():
                for row in rows:
                    if row.get(column) is not None:  # who has no password has no hash
                        yield _cell(row, user_column or ""), _cell(row, column)
        return
    with click.open_file("-" if file is None else str(file), encoding="utf-8", errors="replace") as lines:
        yield from (("", line.strip()) for line in lines if line.strip())


def _cell(row: dict[str, Any], column: str) -> str:
    """Return what stands in a column; of a JSON line also a number, and nothing where there is a null or no such member."""
    value = row.get(column)
    return "" if value is None else str(value)


def _hasher(opened: Callable[[], KeyStore], profile: str, pepper: str | None, user: str | None) -> PasswordHasher:
    from securekit.passwords import PasswordHasher

    if pepper is not None and user is None:  # known before a password is asked for
        message = "a peppered hash is bound to its user: name the id with --user"
        raise click.UsageError(message)
    return PasswordHasher(profile, pepper=_ring(opened, pepper))


def _ring(opened: Callable[[], KeyStore], path: str | None) -> Keyring | None:
    return None if path is None else opened().keyring(path)


def _asked(*, new: bool, from_stdin: bool) -> str:
    """Return a password from standard input, or from a prompt."""
    if not from_stdin:
        if not sys.stdin.isatty():
            message = "there is no terminal to ask for the password on: add --stdin"
            raise click.UsageError(message)
        answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=new, err=True)
        return answer
    line = sys.stdin.buffer.readline(_MAX_INPUT)
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        message = "the password on standard input is not UTF-8"
        raise click.UsageError(message) from None


def _seconds(text: str) -> float:
    number, unit = (text[:-2], 0.001) if text.endswith("ms") else (text[:-1], 1.0) if text.endswith("s") else ("", 1.0)
    try:
        return float(number) * unit
    except ValueError:
        message = f"a time is such as 250ms or 1s, not {text!r}"
        raise click.UsageError(message) from None
