# SPDX-License-Identifier: Apache-2.0
"""``securekit vault``: how this host reaches Vault or OpenBao, and what it may do there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

import click

from ._groups import SuggestingGroup
from ._options import as_json
from ._ui import FAILED, handled, print_json, printable

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
        click.option(
            "--wrap",
            "wraps",
            multiple=True,
            envvar="SECUREKIT_WRAP",
            metavar="vault:MOUNT/KEY",
            help="A Transit key in use.  [env: SECUREKIT_WRAP]",
        ),
    ):
        command = option(command)
    return command


@vault.command()
@_in_use
@handled
def policy(*, wraps: tuple[str, ...], store: str | None, references: tuple[str, ...], operator: bool) -> None:
    """Print the least policy for what is in use: what a service needs, or an operator.

    \b
    securekit vault policy --wrap vault:transit/app --store vault:kv/keyrings | bao policy write app -
    """
    from securekit.vault._policy import to_hcl

    click.echo(to_hcl(_needed(wraps, store, references, operator=operator)), nl=False)


@vault.command()
@_in_use
@as_json
@handled
def doctor(*, wraps: tuple[str, ...], store: str | None, references: tuple[str, ...], operator: bool, as_json: bool) -> None:
    """Say what is wrong between this host and Vault: reachability, TLS, seal, clock, token, capabilities, key.

    \b
    securekit vault doctor --wrap vault:transit/app --store vault:kv/keyrings
    """
    from securekit.vault import TransitWrapper, VaultConnection
    from securekit.vault._doctor import examine
    from securekit.vault._kv import KvStorage

    connection = VaultConnection.from_env(cooldown=0)
    policy = _needed(wraps, store, references, operator=operator)
    wrappers = [TransitWrapper(connection, key, mount=mount) for mount, key in _keys(wraps)]
    kv = _keystore(store)
    storage = None if kv is None else KvStorage(connection, mount=kv[0], prefix=kv[1])
    found = list(examine(connection, policy, wrappers=wrappers, storage=storage))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            click.echo(printable(f"{one.state:>7}  {one.what}"))
            for line in one.repair.splitlines():
                click.echo(printable(f"         {line}"))
    if any(one.state == "error" for one in found):
        sys.exit(FAILED)


def _needed(wraps: tuple[str, ...], store: str | None, references: tuple[str, ...], *, operator: bool) -> dict[str, frozenset[str]]:
    from securekit.vault._policy import Use, least_policy

    transit, kv = _keys(wraps), _keystore(store)
    if not transit and kv is None and not references:
        message = "what is in use? Name it: --wrap vault:transit/KEY, --store vault:MOUNT/PREFIX, --reference MOUNT/PATH"
        raise ValueError(message)
    return least_policy(Use.OPERATOR if operator else Use.SERVICE, transit=transit, kv=kv, references=references)


def _keys(wraps: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return mount and name of each Transit key; wrappers of other kinds are passed over."""
    places = [name.removeprefix(_KIND).partition("?")[0].rpartition("/") for name in wraps if name.startswith(_KIND)]
    return [(mount, key) for mount, _, key in places]


def _keystore(name: str | None) -> tuple[str, str] | None:
    """Return mount and prefix of a keystore in Vault; None for one elsewhere."""
    if name is None or not name.startswith(_KIND):
        return None
    mount, _, prefix = name.removeprefix(_KIND).partition("/")
    return mount, prefix or "keyrings"
