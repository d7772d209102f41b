# SPDX-License-Identifier: Apache-2.0
"""``securekit config doctor``: what keeps this host from reading a document, and who else could."""

from __future__ import annotations

import os
import pwd
import sys
import time
import warnings
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from securekit.exceptions import ConfigError, SecureKitError

from ._config_session import document_file
from ._options import as_json
from ._ui import FAILED, handled, print_json, printable

if TYPE_CHECKING:
    from securekit.config import Document, Trust
    from securekit.wrappers import KeyWrapper

__all__ = ["doctor"]

_DAY = 24 * 3600  # seconds
_SOON = 30 * _DAY


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at. ``state`` is ``ok``, ``note``, ``warning`` or ``error``."""

    state: str
    what: str
    repair: str = ""


@click.command()
@document_file
@click.option("--identity", metavar="FILE", help="The private key that this host reads with.  [env: SECUREKIT_IDENTITY]")
@click.option("--trust", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The trust.toml.  [env: SECUREKIT_TRUST]")
@click.option("--as-user", metavar="NAME", help="Say whether this user can read the private key; asked as root, it is tried.")
@as_json
@handled
def doctor(file: Path, *, identity: str | None, trust: Path | None, as_user: str | None, as_json: bool) -> None:
    """Say what is wrong with FILE on this host: key file, recipients, expiry, trust, signatures; with the command that repairs it.

    \b
    securekit config doctor /etc/app/production.yaml --identity /etc/app/host.key --as-user alice
    """
    found = list(_examine(file, identity, trust, as_user))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            click.echo(printable(f"{one.state:>7}  {one.what}"))
            if one.repair:
                click.echo(printable(f"         {one.repair}"))
    if any(one.state == "error" for one in found):
        sys.exit(FAILED)


def _examine(file: Path, identity: str | None, trust: Path | None, as_user: str | None) -> Iterator[Diagnosis]:
    from securekit.config import Document
    from securekit.config._examine import examine
    from securekit.config._trust import find_trust

    wrappers, key_file = yield from _identity(identity)
    if key_file is not None and as_user is not None:
        yield from _as_user(key_file, as_user)
    believed: Trust | None = None
    try:
        believed = find_trust(explicit=trust, identity=key_file)
    except ConfigError as error:
        yield Diagnosis("error", str(error))
    if believed is not None:
        yield Diagnosis("ok", f"trust: {believed.source}")
    try:
        document = Document.read(file)
    except SecureKitError as error:
        yield Diagnosis("error", str(error))
        return
    for finding in examine(document, trust=believed):
        about = f"{finding.path}: " if finding.path else ""
        yield Diagnosis(str(finding.severity), f"{about}{finding.what}", finding.repair)
    if document.block is not None:
        yield from _reading(document, wrappers)


def _identity(identity: str | None) -> Generator[Diagnosis, None, tuple[list[KeyWrapper], Path | None]]:
    """Say whether there is a private key, and whether it is guarded; gives what was read."""
    from securekit.config._identity import CREDENTIAL, find_identity

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            wrappers, key_file = find_identity(identity, ask=lambda what: str(click.prompt(what.capitalize(), hide_input=True, err=True)))
        except SecureKitError as error:
            yield Diagnosis("error", str(error))
            return [], _path_of(identity)
    for warning in caught:
        yield Diagnosis("warning", str(warning.message))
    if not wrappers:
        repair = f"name it with --identity or SECUREKIT_IDENTITY, or load it as the systemd credential {CREDENTIAL}"
        yield Diagnosis("error", "there is no private key", repair)
    for wrapper in wrappers:
        yield Diagnosis("ok", f"private key: {wrapper.name} {wrapper.key_ref}{f' in {key_file}' if key_file else ''}")
    return wrappers, key_file


def _reading(document: Document, wrappers: list[KeyWrapper]) -> Iterator[Diagnosis]:
    """Say whether this host reads the document, and until when."""
    from securekit.keyring._clock import parse_time

    block = document.required
    file = quote(document.name)
    ours = {(wrapper.name, wrapper.key_ref) for wrapper in wrappers}
    for recipient in block.recipients:
        mine = recipient.name in ours
        yield Diagnosis(
            "ok" if mine else "note", f"recipient {recipient.subject} {recipient.key_ref[:16]}{' is this host' if mine else ''}"
        )
        until = recipient.about.get("not_after")
        if mine and until is not None and parse_time(until) - time.time() < _SOON:
            repair = (
                "make a new one: securekit identity new --key NEW.key --cert NEW.pem --name NAME; then, where it can be read:"
                f" securekit config recipients add {file} NEW.pem"
            )
            yield Diagnosis("warning", f"this host's certificate ends on {until[:10]}", repair)
    if not wrappers:
        return
    try:
        opened = document.open(wrappers)
        count = sum(1 for leaf in document.leaves() if leaf.token is not None and (opened.value(leaf), True)[1])
        opened.reveal()
    except SecureKitError as error:
        repair = f"have it encrypted for this host: securekit config recipients add {file} CERTIFICATE; or restore the last version"
        yield Diagnosis("error", f"this host does not read it: {error}", repair)
    else:
        yield Diagnosis("ok", f"the integrity tag verifies, and {count} secrets open")


def _as_user(file: Path, name: str) -> Iterator[Diagnosis]:
    """Say whether another user of this machine can read the private key: by trying, if this is root."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        yield Diagnosis("error", f"there is no user {name}")
        return
    if os.geteuid() not in {0, user.pw_uid}:
        yield Diagnosis(
            "error",
            f"whether {name} can read {file} is known by trying, which takes root",
            f"sudo securekit config doctor FILE --identity {quote(str(file))} --as-user {quote(name)}",
        )
        return
    if _can_read(file, user):
        repair = f"if {name} is not the service itself: chown root {quote(str(file))} && chmod 600 {quote(str(file))}"
        yield Diagnosis("warning", f"{name} can read the private key {file}", repair)
    else:
        yield Diagnosis("ok", f"{name} cannot read the private key {file}")


def _can_read(file: Path, user: pwd.struct_passwd) -> bool:
    """Try to open the file as that user, in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.initgroups(user.pw_name, user.pw_gid)
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _path_of(identity: str | None) -> Path | None:
    name = identity or os.environ.get("SECUREKIT_IDENTITY")
    return Path(name) if name and Path(name).exists() else None
