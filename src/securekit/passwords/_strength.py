# SPDX-License-Identifier: Apache-2.0
"""What a stored hash becomes at the next login: never less memory, and never less work, than it has.

Of one scheme, memory and work (memory times passes, or rounds) are compared each for itself: a hash that is below the profile in one of
them gets the larger of the two in both. Between schemes memory decides, which is what guessing with special hardware lacks.
"""

from __future__ import annotations

from securekit.exceptions import FormatError

from ._cost import cost_of
from ._native import NativeHash
from ._stored import Cost, StoredHash

__all__ = ["strengthened"]

# What an iteration of PBKDF2 costs beside one with SHA-256: OWASP has 600,000, 220,000 and 1,400,000 for equal strength.
_PBKDF2_WORTH = {"pbkdf2-sha1": 3 / 7, "pbkdf2-sha384": 30 / 11, "pbkdf2-sha512": 30 / 11}


def strengthened(profile: Cost, stored: StoredHash) -> Cost | None:
    """Return the cost of the hash to store in the place of ``stored``, or None if that is as good as the profile."""
    old = stored.cost
    ours = isinstance(stored, NativeHash) and not stored.layer
    if ours and _memory(old) >= _memory(profile) and (_family(old) != _family(profile) or _work(old) >= _work(profile)):
        return None
    better = _merged(profile, old) if _family(profile) == _family(old) else None
    if better is None:  # of another scheme, or what both would make together is out of bounds
        better = profile
        if _memory(old) > _memory(profile) or _family(old) == _family(profile):
            better = _as_ours(old) or profile
    return None if ours and better == old else better


def _merged(profile: Cost, old: Cost) -> Cost | None:
    """Return the larger memory and the larger work of two costs of one family, in the profile's scheme; None if that is out of bounds."""
    memory, work, numbers = max(_memory(profile), _memory(old)), max(_work(profile), _work(old)), profile.parameters
    if profile.scheme == "argon2id":
        numbers = numbers | {"m": memory, "t": -(-work // memory)}
    elif profile.scheme == "scrypt":
        if _memory(old) > _memory(profile):
            numbers = old.parameters
        numbers = numbers | {"p": -(-work // memory)}
    elif profile.scheme == "bcrypt":
        numbers = {"rounds": work.bit_length() - 1}
    else:
        numbers = {"iterations": work}
    try:
        return cost_of(profile.scheme, numbers)
    except FormatError:
        return None


def _as_ours(old: Cost) -> Cost | None:
    """Return a foreign cost with the scheme that we make hashes with; None if we have none."""
    try:
        return cost_of({"argon2i": "argon2id", "argon2d": "argon2id"}.get(old.scheme, old.scheme), old.parameters)
    except FormatError:
        return None


def _family(cost: Cost) -> str:
    if cost.scheme in {"argon2id", "argon2i", "argon2d"}:
        return "argon2"
    return "pbkdf2" if cost.scheme.startswith("pbkdf2-") else cost.scheme


def _memory(cost: Cost) -> int:
    if cost.scheme == "scrypt":
        return cost.parameters["n"] * cost.parameters["r"] // 8  # KiB, without what is rounded off
    return cost.memory


def _work(cost: Cost) -> int:
    """Return what guessing costs, in a unit of the family's own."""
    numbers = cost.parameters
    match _family(cost):
        case "argon2":
            return numbers["m"] * numbers["t"]
        case "scrypt":
            return _memory(cost) * numbers["p"]
        case "bcrypt":
            return int(1 << numbers["rounds"])
        case "pbkdf2":
            return -int(-numbers["iterations"] * _PBKDF2_WORTH.get(cost.scheme, 1) // 1)
    return 0
