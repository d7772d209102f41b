# SPDX-License-Identifier: Apache-2.0
"""What every kind of stored hash can tell and do, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Cost", "StoredHash"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a verification costs, as far as it can be told from the stored string, before any work.

    Attributes:
        scheme: ``"argon2id"``, ``"argon2i"``, ``"argon2d"``, ``"scrypt"``, ``"bcrypt"``, ``"pbkdf2-sha256"`` …, ``"sha1"`` …
        memory: KiB that it takes.
        parameters: The numbers by their usual names: ``{"m": 65536, "t": 3, "p": 1}``, ``{"n": 131072, "r": 8, "p": 1}``,
            ``{"rounds": 12}``, ``{"iterations": 600000}``.
        bits: How many bits the stored digest has.
    """

    scheme: str
    memory: int
    parameters: dict[str, int]
    bits: int


class StoredHash(Protocol):
    """One stored hash, parsed and within bounds. Its repr shows neither salt nor digest; it cannot be pickled.

    Attributes:
        form: Who writes it so: ``"phc"``, ``"mcf"``, ``"django"``, ``"werkzeug"``, ``"passlib"``, ``"spring"``, ``"ldap"``,
            ``"securekit"``.
        cost: What a verification costs.
    """

    @property
    def form(self) -> str:
        """Who writes it so."""

    @property
    def cost(self) -> Cost:
        """What a verification costs."""

    def matches(self, password: bytes) -> bool:
        """Whether ``password`` (UTF-8, as given by the caller) is the one, compared in constant time. Does the work."""
