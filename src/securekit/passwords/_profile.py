# SPDX-License-Identifier: Apache-2.0
"""Profiles: what a new hash costs, each with the source of its numbers and that source's date.

No profile is weaker than the weakest of equal strength in OWASP's table; tests that must be fast have `securekit.testing.fast_passwords`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from securekit.exceptions import FormatError

from ._cost import cost_of
from ._stored import Cost

if TYPE_CHECKING:
    from ._rules import PasswordRules

__all__ = ["PROFILES", "Profile", "profile_of", "recommended"]

_OWASP = "OWASP Password Storage Cheat Sheet"
_OWASP_DATE = "2026-06-25"

# The weakest that the same sheet recommends: for so many passes, so much memory.
_ARGON2_LEAST = {1: 47_104, 2: 19_456, 3: 12_288, 4: 9_216, 5: 7_168}  # t: m in KiB
_SCRYPT_LEAST = {1: 2**17, 2: 2**16, 3: 2**15, 5: 2**14, 10: 2**13}  # p: n, with r = 8
_SCRYPT_R = 8
_PBKDF2_LEAST = 600_000
_BCRYPT_LEAST = 10


@dataclass(frozen=True, slots=True)
class Profile:
    """What a new hash costs.

    Args:
        name: For reports.
        scheme: ``"argon2id"``, ``"scrypt"``, ``"pbkdf2-sha256"`` or ``"bcrypt"``.
        parameters: All of the scheme's: ``m`` (KiB), ``t`` and ``p``; ``n``, ``r`` and ``p``; ``iterations``; ``rounds``.
        source: Where the numbers are from.
        date: As of when, ``YYYY-MM-DD`` or shorter.

    Raises:
        ValueError: Another scheme or other parameters, weaker than any that OWASP recommends, or above what a stored hash may cost.
    """

    name: str
    scheme: str
    parameters: Mapping[str, int]
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        """Check the numbers, and keep them from being changed."""
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        self._check_strength(self.cost)

    @property
    def cost(self) -> Cost:
        """What a verification costs."""
        try:
            return cost_of(self.scheme, dict(self.parameters))
        except FormatError as error:
            message = f"profile {self.name!r}: {error}"
            raise ValueError(message) from None

    def rules(self) -> PasswordRules:
        """Return what a new password has to be, where a hasher is not told."""
        from ._rules import PasswordRules  # which a process that only verifies does not need

        return PasswordRules()

    def _check_strength(self, cost: Cost) -> None:
        if not recommended(cost):
            message = f"profile {self.name!r} is weaker than any that the {_OWASP} ({_OWASP_DATE}) recommends"
            raise ValueError(message)


def profile_of(given: str | Profile) -> Profile:
    """Return the profile that is given, or the one of that name.

    Raises:
        TypeError: It is neither.
        ValueError: There is none of that name.
    """
    if isinstance(given, Profile):
        return given
    if not isinstance(given, str):
        message = f"profile must be a name or a Profile, not {type(given).__name__}"
        raise TypeError(message)
    if given not in PROFILES:
        message = f"there is no profile {given!r}; there are {', '.join(PROFILES)}"
        raise ValueError(message)
    return PROFILES[given]


def recommended(cost: Cost) -> bool:
    """Whether a cost of one of our schemes is at least the weakest that OWASP recommends."""
    numbers = cost.parameters
    match cost.scheme:
        case "argon2id":
            return numbers["m"] >= _least(_ARGON2_LEAST, numbers["t"])
        case "scrypt":
            return numbers["r"] >= _SCRYPT_R and numbers["n"] >= _least(_SCRYPT_LEAST, numbers["p"])
        case "bcrypt":
            return numbers["rounds"] >= _BCRYPT_LEAST
    return numbers["iterations"] >= _PBKDF2_LEAST


def _least(table: dict[int, int], repeated: int) -> int:
    """Return what the table wants for so many repetitions: the line of the most that are not more."""
    return table[max(line for line in table if line <= repeated)]


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                "modern",
                "argon2id",
                {"m": 65_536, "t": 3, "p": 1},
                "RFC 9106, section 4, second recommended option; with one lane, since a server has its parallelism in its requests",
                "2021-09",
            ),
            Profile("owasp", "argon2id", {"m": 19_456, "t": 2, "p": 1}, _OWASP, _OWASP_DATE),
            Profile("policy", "scrypt", {"n": 2**17, "r": 8, "p": 1}, _OWASP, _OWASP_DATE),
            Profile("fips", "pbkdf2-sha256", {"iterations": 600_000}, f"NIST SP 800-132; {_OWASP}", _OWASP_DATE),
            Profile("bcrypt", "bcrypt", {"rounds": 12}, f"{_OWASP}, whose least is 10", _OWASP_DATE),
        )
    }
)
