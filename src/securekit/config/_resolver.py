# SPDX-License-Identifier: Apache-2.0
"""References to secrets that live elsewhere: ``vault:mount/path#field`` in a clear value of a signed document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from securekit.exceptions import ConfigError
from securekit.secret import Secret

from ._path import format_path
from ._tree import Path

__all__ = ["Reference", "Resolver", "resolve"]

_REFERENCE = re.compile(r"vault:(?P<mount>[A-Za-z0-9_-]+)/(?P<path>[A-Za-z0-9_./-]+)#(?P<field>[^@#\s]+)(?:@(?P<version>[1-9][0-9]*))?")
_BEGIN = "vault:"


@dataclass(frozen=True, slots=True)
class Reference:
    """``vault:mount/path#field[@version]``, taken apart."""

    mount: str
    path: str
    field: str
    version: int | None

    @classmethod
    def parse(cls, text: str) -> Reference | None:
        """Return the reference that ``text`` is, if it is one."""
        found = _REFERENCE.fullmatch(text)
        if found is None or ".." in found["path"].split("/"):
            return None
        return cls(found["mount"], found["path"], found["field"], int(found["version"]) if found["version"] else None)


class Resolver(Protocol):
    """Fetches what references name.

    Security property: it is asked only for references in clear values of a document whose signatures were verified, to places
    that the trust allows. What it returns is handled as a secret.
    """

    def __call__(self, references: Sequence[Reference], /) -> Mapping[Reference, object]:
        """Return the value of each reference, fetched in as few calls as its holder allows."""


def resolve(values: dict[str, object], resolver: Resolver | None, *, signed: bool, mounts: Sequence[str]) -> None:
    """Replace the references in ``values`` by `Secret` values, in place.

    Args:
        values: What `reveal` has returned.
        resolver: Fetches them; None refuses them: no application may take a reference for a password.
        signed: Whether the document's signatures were verified.
        mounts: What may be read: ``mount``, or ``mount/path`` for everything at and below it.

    Raises:
        securekit.exceptions.ConfigError: A reference is malformed, not allowed, or not resolved.
    """
    found = list(_references(values, (), set()))
    if not found:
        return
    for path, text, _, _ in found:
        fault = _fault(text, resolver, signed=signed, mounts=mounts)
        if fault:
            message = f"{format_path(path)} refers to Vault, and {fault}"
            raise ConfigError(message)
    parsed = [cast("Reference", Reference.parse(text)) for _, text, _, _ in found]
    fetched = cast("Resolver", resolver)(list(dict.fromkeys(parsed)))
    for (path, _, container, key), reference in zip(found, parsed, strict=True):
        if reference not in fetched:
            message = f"{format_path(path)} refers to Vault, and there is nothing at {reference.mount}/{reference.path}#{reference.field}"
            raise ConfigError(message)
        container[key] = Secret(fetched[reference])


def _fault(text: str, resolver: Resolver | None, *, signed: bool, mounts: Sequence[str]) -> str:
    reference = Reference.parse(text)
    if reference is None:
        return "its reference is not of the form vault:mount/path#field or vault:mount/path#field@version"
    if resolver is None:
        return "nothing was given that resolves it: load(…, resolver=…)"
    if not signed:
        return "only a document whose signatures were verified may do so: set up its trust"
    place = f"{reference.mount}/{reference.path}/"
    if not any(place.startswith(mount.rstrip("/") + "/") for mount in mounts):
        return f"the trust does not allow {reference.mount}/{reference.path}: add it to mounts"
    return ""


def _references(node: object, path: Path, seen: set[int]) -> Iterator[tuple[Path, str, dict[str | int, object], str | int]]:
    """Yield each reference with its path, and where it stands. What aliases share is looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    pairs = node.items() if isinstance(node, dict) else enumerate(cast("list[object]", node))
    for key, value in list(pairs):
        here = (*path, key)
        if isinstance(value, str) and value.startswith(_BEGIN):
            yield here, value, cast("dict[str | int, object]", node), key
        elif isinstance(value, dict | list):
            yield from _references(value, here, seen)
