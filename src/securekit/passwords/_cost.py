# SPDX-License-Identifier: Apache-2.0
"""What a stored string may make us spend: every cost is made here, and none is made that is out of bounds.

The ceilings are about three seconds of one core, and 2 GiB. They are far above what anybody stores, and are compared before any work.
"""

from __future__ import annotations

from typing import NoReturn

from securekit.exceptions import FormatError

from ._stored import Cost

__all__ = ["argon2_cost", "bcrypt_cost", "cost_of", "pbkdf2_cost", "scrypt_cost"]

MAX_MEMORY = 2 * 1024 * 1024  # KiB; the first recommended option of RFC 9106, section 4
MAX_WORK = 4 * 1024 * 1024  # KiB of memory that are filled, times passes
MAX_LANES = 64
MAX_ROUNDS = 16  # of bcrypt: 2 to the power of it
MAX_ITERATIONS = 30_000_000  # of PBKDF2
BITS = 256  # of every digest that we make, but for bcrypt's 184
_MIN_ROUNDS = 4
_BCRYPT_MEMORY = 4  # KiB
_BCRYPT_BITS = 184
_BLOCKS_BESIDE = 8  # blocks of scrypt that are counted for one that is not
_BLOCK = 128  # bytes for each r of scrypt, RFC 7914 section 2


def argon2_cost(scheme: str, *, m: int, t: int, p: int, bits: int) -> Cost:
    """Return the cost of an Argon2; ``scheme`` is ``"argon2id"``, ``"argon2i"`` or ``"argon2d"``, and ``m`` is KiB.

    Raises:
        securekit.exceptions.FormatError: It is out of bounds, as for all functions here.
    """
    # At least 8 KiB per lane, RFC 9106 section 3.1
    if not (1 <= p <= MAX_LANES and 8 * p <= m <= MAX_MEMORY and t >= 1 and m * t <= MAX_WORK):
        _refuse(f"{scheme} with m={m}, t={t}, p={p}")
    return Cost(scheme, m, {"m": m, "t": t, "p": p}, bits)


def scrypt_cost(*, n: int, r: int, p: int, bits: int) -> Cost:
    """Return the cost of scrypt, where ``n`` is a power of two."""
    memory = _BLOCK * n * r // 1024
    # p blocks lie in memory beside the n that are counted, and are to be next to nothing.
    possible = n > 1 and n & (n - 1) == 0 and r >= 1 and 1 <= p <= n // _BLOCKS_BESIDE
    if not (possible and memory <= MAX_MEMORY and _BLOCK * n * r * p <= MAX_WORK * 1024):
        _refuse(f"scrypt with n={n}, r={r}, p={p}")
    return Cost("scrypt", memory, {"n": n, "r": r, "p": p}, bits)


def bcrypt_cost(*, rounds: int) -> Cost:
    """Return the cost of bcrypt."""
    if not _MIN_ROUNDS <= rounds <= MAX_ROUNDS:
        _refuse(f"bcrypt with rounds={rounds}")
    return Cost("bcrypt", _BCRYPT_MEMORY, {"rounds": rounds}, _BCRYPT_BITS)


def pbkdf2_cost(digest: str, *, iterations: int, bits: int) -> Cost:
    """Return the cost of PBKDF2 with HMAC of ``digest``, such as ``"sha256"``."""
    if not 1 <= iterations <= MAX_ITERATIONS:
        _refuse(f"pbkdf2-{digest} with iterations={iterations}")
    return Cost(f"pbkdf2-{digest}", 0, {"iterations": iterations}, bits)


def cost_of(scheme: str, parameters: dict[str, int]) -> Cost:
    """Return the cost of one of the four schemes that we make hashes with.

    Raises:
        securekit.exceptions.FormatError: Another scheme, other parameters, or out of bounds.
    """
    match scheme, parameters:
        case "argon2id", {"m": m, "t": t, "p": p, **more} if not more:
            return argon2_cost(scheme, m=m, t=t, p=p, bits=BITS)
        case "scrypt", {"n": n, "r": r, "p": p, **more} if not more:
            return scrypt_cost(n=n, r=r, p=p, bits=BITS)
        case "pbkdf2-sha256", {"iterations": iterations, **more} if not more:
            return pbkdf2_cost("sha256", iterations=iterations, bits=BITS)
        case "bcrypt", {"rounds": rounds, **more} if not more:
            return bcrypt_cost(rounds=rounds)
    message = f"{scheme!r} with {', '.join(parameters) or 'nothing'} is not what hashes are made with"
    raise FormatError(message)


def _refuse(what: str) -> NoReturn:
    message = f"{what} is out of bounds"
    raise FormatError(message)
