# SPDX-License-Identifier: Apache-2.0
"""What is wrong between this host and Vault: reachability, the token, its capabilities, the key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securekit.exceptions import SecureKitError

from ._answer import mapping, number
from ._failure import VaultFailureError
from ._policy import to_hcl

if TYPE_CHECKING:
    from ._connection import VaultConnection
    from ._kv import KvStorage
    from ._transit import TransitWrapper

__all__ = ["Symptom", "examine"]

_SKEW = 60.0  # seconds
_SHORT = 300.0  # seconds of a token's life
_DENY = "deny"
_ALL = {"root", "sudo"}


@dataclass(frozen=True, slots=True)
class Symptom:
    """One thing that was looked at. ``state`` is ``ok``, ``warning`` or ``error``."""

    state: str
    what: str
    repair: str = ""


def examine(
    vault: VaultConnection,
    policy: Mapping[str, frozenset[str]],
    *,
    wrappers: Sequence[TransitWrapper] = (),
    storage: KvStorage | None = None,
) -> Iterator[Symptom]:
    """Yield what was found, from the outside in; what cannot be looked at for want of something else is left out.

    Args:
        vault: The connection.
        policy: The capabilities that are needed, by path.
        wrappers: The Transit keys that are used.
        storage: The keystore that is used.
    """
    try:
        health = vault.health()
    except SecureKitError as error:
        yield Symptom("error", str(error), f"is {vault.address} the right address (VAULT_ADDR), and is it up?")
        return
    yield Symptom("ok", f"{vault.address} answers: version {health.version}")
    if not health.initialized or health.sealed:
        yield Symptom("error", "it is sealed" if health.initialized else "it was never initialized", "bao operator unseal")
        return
    if health.standby:
        yield Symptom("warning", "it is a standby, which passes everything on", "name the address of the cluster's active server")
    if abs(health.clock_skew) > _SKEW:
        yield Symptom("warning", f"its clock and this host's differ by {abs(health.clock_skew):.0f} s", "set the clocks by NTP")
    try:
        yield from _token(vault)
        yield from _capabilities(vault, policy)
    except VaultFailureError as failure:
        yield Symptom("error", str(failure), "check how this host logs in: the token, the role, the credential")
        return
    if any("/keys/" in path for path in policy):  # who only unwraps does not look at the key
        for wrapper in wrappers:
            yield from _key(wrapper)
    if storage is not None:
        yield from _engine(storage)


def _token(vault: VaultConnection) -> Iterator[Symptom]:
    data = mapping(vault.call("token/lookup-self", "", lambda client: client.auth.token.lookup_self()), "data")
    policies = _names(data.get("policies"))
    yield Symptom("ok", f"the token has the policies {', '.join(policies) or 'none'}")
    if "root" in policies:
        yield Symptom("warning", "it is a root token, which may do everything", "give this host a token of the policy below")
    left = number(data.get("ttl"))
    if 0 < left < _SHORT and not data.get("renewable"):
        yield Symptom("warning", f"it ends in {left:.0f} s and cannot be renewed", "log in by a role instead of a token")


def _capabilities(vault: VaultConnection, policy: Mapping[str, frozenset[str]]) -> Iterator[Symptom]:
    """Compare what the token may do with what is needed."""
    asked = {path: path.replace("/*", "/example") for path in policy}
    body = {"paths": list(asked.values())}
    answer = mapping(
        vault.call("capabilities-self", "", lambda client: client.adapter.post("/v1/sys/capabilities-self", json=body)), "data"
    )
    missing, excessive = {}, {}
    for path, needed in policy.items():
        have = set(_names(answer.get(asked[path]))) - {_DENY}
        if not have & _ALL and needed - have:
            missing[path] = needed - have
        if have - needed:
            excessive[path] = have - needed
    for path, needed in missing.items():
        yield Symptom("error", f"the token may not {', '.join(sorted(needed))} {path}")
    for path, names in excessive.items():
        yield Symptom("warning", f"the token may {', '.join(sorted(names))} {path}, which is not needed")
    if missing or excessive:
        yield Symptom("error" if missing else "warning", "the policy that is needed, and no more, is this:", to_hcl(policy))
    else:
        yield Symptom("ok", "the token may do what is needed, and no more")


def _key(wrapper: TransitWrapper) -> Iterator[Symptom]:
    try:
        facts = wrapper.check()
    except SecureKitError as error:
        yield Symptom("error", str(error))
        return
    yield Symptom("ok", f"the Transit key {wrapper.key_ref} is of type {facts.get('type')}, at version {facts.get('latest_version')}")
    for name, what, repair in (
        ("exportable", "can be exported", "make another key, and rewrap"),
        ("allow_plaintext_backup", "can be backed up in clear text", "make another key, and rewrap"),
        ("deletion_allowed", "can be deleted, with all that it wraps", "bao write MOUNT/keys/KEY/config deletion_allowed=false"),
    ):
        if facts.get(name):
            yield Symptom("warning", f"the Transit key {wrapper.key_ref} {what}", repair)


def _engine(storage: KvStorage) -> Iterator[Symptom]:
    try:
        storage.check()
    except SecureKitError as error:
        yield Symptom("error", str(error))
    else:
        yield Symptom("ok", "the keystore is in a key-value engine of version 2")


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []
