# SPDX-License-Identifier: Apache-2.0
"""``securekit vault``: how this host reaches Vault or OpenBao, and what it may do there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from ._groups import SuggestingGroup
from ._options import as_json
from ._ui import FAILED, handled, print_json, printable

if TYPE_CHECKING:
    from securekit.vault import TransitWrapper, VaultConnection

__all__ = ["vault"]

F = TypeVar("F", bound=Callable[..., object])
_KIND = "vault:"


@click.group(cls=SuggestingGroup)
def vault() -> None:
    """Check how this host reaches HashiCorp Vault or OpenBao, and what it may do there.

    Where the server is and how to log in say its own variables: VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT, VAULT_NAMESPACE …, or BAO_…
    """


def _in_use(command: F) -> F:
    for option in (
        click.option("--operator", is_flag=True, help="For who makes, rotates, rewraps and deletes keyrings, and not only for a service."),
        click.option("--reference", "references", multiple=True, metavar="MOUNT/PATH", help="A secret that configuration refers to."),
        click.option(
            "--store", envvar="SECUREKIT_STORE", metavar="vault:MOUNT/PREFIX", help="The keystore in use.  [env: SECUREKIT_STORE]"
        ),
        click.option("--wrap", envvar="SECUREKIT_WRAP", metavar="vault:MOUNT/KEY", help="The Transit key in use.  [env: SECUREKIT_WRAP]"),
    ):
        command = option(command)
    return command


@vault.command()
@_in_use
@handled
def policy(*, wrap: str | None, store: str | None, references: tuple[str, ...], operator: bool) -> None:
    """Print the least policy for what is in use: what a service needs, or an operator.

    \b
    securekit vault policy --wrap vault:transit/app --store vault:kv/keyrings | bao policy write app -
    """
    from securekit.vault._policy import to_hcl

    click.echo(to_hcl(_needed(wrap, store, references, operator=operator)), nl=False)


@vault.command()
@_in_use
@as_json
@handled
def doctor(*, wrap: str | None, store: str | None, references: tuple[str, ...], operator: bool, as_json: bool) -> None:
    """Say what is wrong between this host and Vault: reachability, TLS, seal, clock, token, capabilities, key.

    \b
    securekit vault doctor --wrap vault:transit/app --store vault:kv/keyrings
    """
    from securekit.vault import VaultConnection
    from securekit.vault._doctor import examine

    connection = VaultConnection.from_env(cooldown=0)
    wrapper = _wrapper(connection, wrap)
    found = list(examine(connection, wrapper, _needed(wrap, store, references, operator=operator)))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            click.echo(printable(f"{one.state:>7}  {one.what}"))
            for line in one.repair.splitlines():
                click.echo(printable(f"         {line}"))
    if any(one.state == "error" for one in found):
        sys.exit(FAILED)


def _needed(wrap: str | None, store: str | None, references: tuple[str, ...], *, operator: bool) -> dict[str, frozenset[str]]:
    from securekit.vault._policy import Use, least_policy

    transit = _parts(wrap, last=True)
    kv = _parts(store, last=False)
    if transit is None and kv is None and not references:
        message = "what is in use? Name it: --wrap vault:transit/KEY, --store vault:MOUNT/PREFIX, --reference MOUNT/PATH"
        raise ValueError(message)
    return least_policy(Use.OPERATOR if operator else Use.SERVICE, transit=transit, kv=kv, references=references)


def _parts(name: str | None, *, last: bool) -> tuple[str, str] | None:
    """Return mount and key, or mount and prefix; None for what is not in Vault."""
    if name is None or not name.startswith(_KIND):
        return None
    place = name.removeprefix(_KIND).partition("?")[0]
    mount, _, rest = place.rpartition("/") if last else place.partition("/")
    return mount, rest or "keyrings"


def _wrapper(connection: VaultConnection, wrap: str | None) -> TransitWrapper | None:
    from securekit.vault import TransitWrapper

    parts = _parts(wrap, last=True)
    return None if parts is None else TransitWrapper(connection, parts[1], mount=parts[0])
