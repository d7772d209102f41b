# SPDX-License-Identifier: Apache-2.0
"""What a token has to be allowed in Vault, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

__all__ = ["Use", "least_policy", "to_hcl"]

_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class Use(StrEnum):
    """What a process does with keyrings."""

    SERVICE = "service"
    """Encrypts and decrypts; makes no keyring, and rotates none."""
    OPERATOR = "operator"
    """Makes, rotates, rewraps and deletes keyrings as well."""


def least_policy(
    use: Use, *, transit: Iterable[tuple[str, str]] = (), kv: tuple[str, str] | None = None, references: Iterable[str] = ()
) -> dict[str, frozenset[str]]:
    """Return the capabilities that are needed, by path.

    Args:
        use: What the process does.
        transit: The mount and name of each Transit key.
        kv: The mount and prefix of a keystore.
        references: ``mount/path`` of secrets that configuration refers to, in key-value engines of version 2.

    Raises:
        ValueError: One of them is no name, or would mean more than one thing in a policy.
    """
    policy: dict[str, frozenset[str]] = {}
    operates = use is Use.OPERATOR
    for mount, key in transit:
        policy[_path(mount, "decrypt", key)] = frozenset({"update"})
        if operates:
            # Never `create`: with that, a misspelt name would make a key.
            policy[_path(mount, "encrypt", key)] = frozenset({"update"})
            policy[_path(mount, "rewrap", key)] = frozenset({"update"})
            policy[_path(mount, "keys", key)] = frozenset({"read"})
    if kv is not None:
        mount, prefix = kv
        policy[f"{_path(mount, 'data', prefix)}/*"] = frozenset({"create", "read", "update"} if operates else {"read"})
        if operates:
            policy[f"{_path(mount, 'destroy', prefix)}/*"] = frozenset({"update"})
            policy[f"{_path(mount, 'metadata', prefix)}/*"] = frozenset({"delete", "list"})
    for place in references:
        mount, _, path = place.partition("/")
        policy[_path(mount, "data", path)] = frozenset({"read"})
    return policy


def _path(*parts: str) -> str:
    path = "/".join(parts)
    if not _PATH.fullmatch(path):
        message = f"{path!r} is no path of Vault: names of letters, digits, '_', '-' and '.', joined by '/'"
        raise ValueError(message)
    return path


def to_hcl(policy: Mapping[str, frozenset[str]]) -> str:
    """Return a policy in the language of Vault's policies."""
    blocks = [
        f'path "{path}" {{\n  capabilities = [{", ".join(f"{chr(34)}{name}{chr(34)}" for name in sorted(names))}]\n}}\n'
        for path, names in policy.items()
    ]
    return "\n".join(blocks)
