# SPDX-License-Identifier: Apache-2.0
"""What a stored hash becomes at the next login: never less memory, and never less work, than it has.

Of one scheme, memory and work (memory times passes, or rounds) are compared each for itself: a hash that is below the profile in one of
them gets the larger of the two in both. Between schemes memory decides, which is what guessing with special hardware lacks; but only if
the hash is not below what is recommended for its scheme: half a mebibyte of Argon2 is no reason not to use 600,000 rounds of PBKDF2.
"""

from __future__ import annotations

import math
from fractions import Fraction

from securekit.exceptions import FormatError

from ._cost import cost_of
from ._native import NativeHash
from ._profile import recommended
from ._stored import Cost, StoredHash

__all__ = ["strengthened"]

# What an iteration of PBKDF2 costs beside one with SHA-256: OWASP has 600,000, 220,000 and 1,400,000 for equal strength.
_PBKDF2_WORTH = {"pbkdf2-sha1": Fraction(3, 7), "pbkdf2-sha384": Fraction(30, 11), "pbkdf2-sha512": Fraction(30, 11)}


def strengthened(profile: Cost, stored: StoredHash) -> Cost | None:
    """Return the cost of the hash to store in the place of ``stored``; None if that is as good as the profile, or as can be."""
    old, ours = stored.cost, isinstance(stored, NativeHash) and not stored.layer
    alike = _family(old) == _family(profile)
    if not alike and not _recommended(old):
        return profile
    if ours and _memory(old) >= _memory(profile) and (_work(old) >= _work(profile) or not alike):
        return None
    if alike:
        better = _merged(profile, old)
        return better if ours or better else _as_ours(old)
    return _as_ours(old) if _memory(old) > _memory(profile) else profile


def _recommended(old: Cost) -> bool:
    """Whether a hash is not below what is recommended; of a scheme that we cannot make, that is not known, and it is spared."""
    same = _as_ours(old)
    return same is None or recommended(same)


def _merged(profile: Cost, old: Cost) -> Cost | None:
    """Return the larger memory and the larger work of two costs of one family, in the profile's scheme; None if that is out of bounds."""
    memory, work = max(_memory(profile), _memory(old)), max(_work(profile), _work(old))
    if profile.scheme == "argon2id":
        numbers = profile.parameters | {"m": memory // 1024, "t": -(-work // memory)}
    elif profile.scheme == "scrypt":
        numbers = (old if _memory(old) > _memory(profile) else profile).parameters | {"p": -(-work // memory)}
    elif profile.scheme == "bcrypt":
        numbers = {"rounds": work.bit_length() - 1}
    else:
        numbers = {"iterations": work}
    try:
        return cost_of(profile.scheme, numbers)
    except FormatError:
        return None


def _as_ours(old: Cost) -> Cost | None:
    """Return a cost with the scheme that we make hashes with; None if we have none."""
    try:
        return cost_of({"argon2i": "argon2id", "argon2d": "argon2id"}.get(old.scheme, old.scheme), old.parameters)
    except FormatError:
        return None


def _family(cost: Cost) -> str:
    return next((family for family in ("argon2", "pbkdf2") if cost.scheme.startswith(family)), cost.scheme)


def _memory(cost: Cost) -> int:
    """Return bytes: of scrypt those that its parameters say, without what is rounded off."""
    return 128 * cost.parameters["n"] * cost.parameters["r"] if cost.scheme == "scrypt" else 1024 * cost.memory


def _work(cost: Cost) -> int:
    """Return what guessing costs, in a unit of the family's own; each of our four has one."""
    numbers = cost.parameters
    match _family(cost):
        case "argon2":
            return _memory(cost) * numbers["t"]
        case "scrypt":
            return _memory(cost) * numbers["p"]
        case "bcrypt":
            return int(1 << numbers["rounds"])
        case _:
            return math.ceil(numbers["iterations"] * _PBKDF2_WORTH.get(cost.scheme, 1))
