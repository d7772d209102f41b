# SPDX-License-Identifier: Apache-2.0
"""Passwords: verifying beside the bare call of the library underneath, at the same parameters; and two threads beside one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import argon2
import bcrypt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from benchmarks.ratio import Ratio, compare, show
from securekit import MemoryKeyStore
from securekit.passwords import PasswordHasher
from securekit.wrappers import LocalWrapper

PASSWORD = "correct horse battery staple"  # noqa: S105 - measured, not kept
RAW = PASSWORD.encode()
SALT = os.urandom(16)
LOGINS = 4  # in each round of the threads


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    argon2_string = argon2.PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1).hash(RAW)
    owasp_string = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(RAW)
    bcrypt_string = bcrypt.hashpw(RAW, bcrypt.gensalt(12))
    scrypt_digest = Scrypt(SALT, 32, 2**17, 8, 1).derive(RAW)
    pbkdf2_digest = PBKDF2HMAC(SHA256(), 32, SALT, 600_000).derive(RAW)
    verifier = argon2.PasswordHasher()
    bare: dict[str, tuple[str, Callable[[], object]]] = {
        "modern": ("argon2-cffi", lambda: verifier.verify(argon2_string, RAW)),
        "owasp": ("argon2-cffi", lambda: verifier.verify(owasp_string, RAW)),
        "policy": ("cryptography's Scrypt", lambda: Scrypt(SALT, 32, 2**17, 8, 1).verify(RAW, scrypt_digest)),
        "fips": ("cryptography's PBKDF2", lambda: PBKDF2HMAC(SHA256(), 32, SALT, 600_000).verify(RAW, pbkdf2_digest)),
        "bcrypt": ("bcrypt", lambda: bcrypt.checkpw(RAW, bcrypt_string)),
    }
    pepper = MemoryKeyStore(wrapper=LocalWrapper(os.urandom(32))).keyring("eu/acme/passwords", create=True)
    for name, (library, call) in bare.items():
        yield compare(
            _verifying(PasswordHasher(name)),
            call,
            name=f"`verify`, profile `{name}`; {library} at the same parameters",
            goal=1.03,
            rounds=15,
            number=10 if name == "owasp" else 1,
        )
    yield compare(
        _verifying(PasswordHasher(pepper=pepper)),
        bare["modern"][1],
        name="`verify`, profile `modern`, peppered; argon2-cffi at the same parameters",
        goal=1.03,
        rounds=15,
        number=1,
    )
    for name, (library, call) in bare.items():
        yield _two_threads(call, f"{library}, profile `{name}`", goal=None)
        yield _two_threads(_verifying(PasswordHasher(name)), f"`verify`, profile `{name}`", goal=1.7)


def _two_threads(call: Callable[[], object], name: str, *, goal: float | None) -> Ratio:
    """Compare two threads with one. The bare library's line stands above ours: it is what the machine has to give at the moment."""
    with ThreadPoolExecutor(2) as pool:
        return compare(
            lambda: list(pool.map(lambda _: call(), range(LOGINS))),
            lambda: [call() for _ in range(LOGINS)],
            name=f"{name}, {LOGINS} in two threads; in one thread",
            goal=goal,
            rounds=15,
            number=1,
            items=LOGINS,
            at_least=True,
        )


def _verifying(hasher: PasswordHasher) -> Callable[[], object]:
    """Return a login that succeeds and has nothing to strengthen."""
    stored = hasher.hash(PASSWORD, user="7")
    assert hasher.verify(PASSWORD, hash=stored, user="7").new_hash is None
    return lambda: hasher.verify(PASSWORD, hash=stored, user="7")


if __name__ == "__main__":
    show(*measure())
