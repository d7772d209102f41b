# SPDX-License-Identifier: Apache-2.0
"""What a token has to be allowed in Vault, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["Use", "least_policy", "to_hcl"]


class Use(StrEnum):
    """What a process does with keyrings."""

    SERVICE = "service"
    """Encrypts and decrypts; makes no keyring, and rotates none."""
    OPERATOR = "operator"
    """Makes, rotates, rewraps and deletes keyrings as well."""


def least_policy(
    use: Use, *, transit: tuple[str, str] | None = None, kv: tuple[str, str] | None = None, references: tuple[str, ...] = ()
) -> dict[str, frozenset[str]]:
    """Return the capabilities that are needed, by path.

    Args:
        use: What the process does.
        transit: The mount and name of a Transit key.
        kv: The mount and prefix of a keystore.
        references: ``mount/path`` of secrets that configuration refers to, in key-value engines of version 2.
    """
    policy: dict[str, frozenset[str]] = {}
    operates = use is Use.OPERATOR
    if transit is not None:
        mount, key = transit
        policy[f"{mount}/decrypt/{key}"] = frozenset({"update"})
        if operates:
            # Never `create`: with that, a misspelt name would make a key.
            policy[f"{mount}/encrypt/{key}"] = frozenset({"update"})
            policy[f"{mount}/rewrap/{key}"] = frozenset({"update"})
            policy[f"{mount}/keys/{key}"] = frozenset({"read"})
    if kv is not None:
        mount, prefix = kv
        policy[f"{mount}/data/{prefix}/*"] = frozenset({"create", "read", "update"} if operates else {"read"})
        policy[f"{mount}/metadata/{prefix}/*"] = frozenset({"delete", "list"} if operates else {"list"})
    for place in references:
        mount, _, path = place.partition("/")
        policy[f"{mount}/data/{path}"] = frozenset({"read"})
    return policy


def to_hcl(policy: Mapping[str, frozenset[str]]) -> str:
    """Return a policy in the language of Vault's policies."""
    blocks = [
        f'path "{path}" {{\n  capabilities = [{", ".join(f"{chr(34)}{name}{chr(34)}" for name in sorted(names))}]\n}}\n'
        for path, names in policy.items()
    ]
    return "\n".join(blocks)
