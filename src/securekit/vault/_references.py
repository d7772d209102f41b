# SPDX-License-Identifier: Apache-2.0
"""Values of a configuration document that live in Vault: ``vault:mount/path#field[@version]``."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from securekit.secret import Secretive

from ._answer import mapping, member, number
from ._failure import Outcome, VaultFailureError

if TYPE_CHECKING:
    from ._connection import VaultConnection

__all__ = ["VaultReferences"]


class Reference(Hashable, Protocol):
    """What is asked for: `securekit.config.Reference`."""

    @property
    def mount(self) -> str:
        """Where the engine is mounted."""

    @property
    def path(self) -> str:
        """The path within the engine."""

    @property
    def field(self) -> str:
        """The field of the secret."""

    @property
    def version(self) -> int | None:
        """The version; None for the latest."""


R = TypeVar("R", bound=Reference)


class VaultReferences(Secretive):
    """The resolver of ``load(…, resolver=VaultReferences(vault))``. Every path is read once, whatever the number of its fields.

    Engines of version 2 of key-value are read by their versions; every other engine, such as ``database``, by its path, which may make
    new credentials with a lease. `fresh_until` says when they end, so that a `securekit.config.Watcher` reads again in time.

    Args:
        vault: The connection.
        refresh: Seconds after which values without a lease are read again.
    """

    __slots__ = ("_refresh", "_vault", "fresh_until")

    fresh_until: float
    """As of `time.monotonic`: when what was read last is to be read again; infinity before anything was read."""

    def __init__(self, vault: VaultConnection, *, refresh: float = 300.0) -> None:
        self._vault = vault
        self._refresh = refresh
        self.fresh_until = float("inf")

    def __call__(self, references: Sequence[R]) -> Mapping[R, object]:
        """Return the value of each reference that there is.

        Raises:
            securekit.exceptions.WrapperUnavailableError: Vault cannot be reached now.
            securekit.exceptions.WrapperDeniedError: Vault said no.
        """
        places: dict[tuple[str, str, int | None], list[R]] = {}
        for reference in references:
            places.setdefault((reference.mount, reference.path, reference.version), []).append(reference)
        found: dict[R, object] = {}
        kinds: dict[str, bool] = {}
        soonest = self._refresh
        for (mount, path, version), wanted in places.items():
            if mount not in kinds:
                kinds[mount] = self._has_versions(mount)
            fields, lease = self._read(mount, path, version, versions=kinds[mount])
            soonest = min(soonest, lease) if lease > 0 else soonest
            found |= {reference: fields[reference.field] for reference in wanted if reference.field in fields}
        self.fresh_until = time.monotonic() + soonest * 0.8 if places else float("inf")
        return found

    def _has_versions(self, mount: str) -> bool:
        answer = self._get("sys/mounts", mount, f"/v1/sys/internal/ui/mounts/{mount}", {})
        return (member(answer, "data", "type"), member(answer, "data", "options", "version")) == ("kv", "2")

    def _read(self, mount: str, path: str, version: int | None, *, versions: bool) -> tuple[Mapping[str, object], float]:
        """Return the fields at a path, and how many seconds their lease lasts, 0 if they have none."""
        url = f"/v1/{mount}/data/{path}" if versions else f"/v1/{mount}/{path}"
        answer = self._get("read", f"{mount}/{path}", url, {"version": version} if versions and version is not None else {})
        return mapping(answer, *(["data", "data"] if versions else ["data"])), number(member(answer, "lease_duration"))

    def _get(self, operation: str, target: str, url: str, params: Mapping[str, object]) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] | None = self._vault.call(
                operation, target, lambda client: client.adapter.get(url=url, params=params or None)
            )
        except VaultFailureError as failure:
            if failure.outcome is Outcome.MISSING:
                return None
            error = failure.as_wrapper_error()
        else:
            return answer
        raise error
