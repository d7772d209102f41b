# SPDX-License-Identifier: Apache-2.0
"""A stored hash only ever grows stronger: neither memory nor work goes down, and what is strong enough stays."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit.passwords import PROFILES, Cost
from securekit.passwords._cost import argon2_cost, cost_of, pbkdf2_cost, scrypt_cost
from securekit.passwords._native import NativeHash
from securekit.passwords._profile import recommended
from securekit.passwords._strength import strengthened

ARGON2 = st.builds(
    lambda m, t, p: cost_of("argon2id", {"m": max(m, 8 * p), "t": t, "p": p}),
    st.integers(8, 1 << 17),
    st.integers(1, 32),
    st.integers(1, 8),
)
SCRYPT = st.builds(
    lambda ln, r, p: cost_of("scrypt", {"n": 1 << ln, "r": r, "p": p}), st.integers(6, 16), st.integers(1, 16), st.integers(1, 8)
)
PBKDF2 = st.builds(lambda n: cost_of("pbkdf2-sha256", {"iterations": n}), st.integers(1, 30_000_000))
BCRYPT = st.builds(lambda n: cost_of("bcrypt", {"rounds": n}), st.integers(4, 16))
FAMILIES = st.sampled_from([ARGON2, SCRYPT, PBKDF2, BCRYPT])


@dataclass(frozen=True)
class Foreign:
    """A hash that somebody else made."""

    cost: Cost
    form: str = "phc"

    def matches(self, password: bytes) -> bool:
        return False


def work(cost: Cost) -> int:
    """Return the work of a cost, in a unit of its scheme's own."""
    numbers = cost.parameters
    match cost.scheme:
        case "argon2id":
            return numbers["m"] * numbers["t"]
        case "scrypt":
            return numbers["n"] * numbers["r"] * numbers["p"]
        case "bcrypt":
            return int(2 ** numbers["rounds"])
    return numbers["iterations"]


def memory(cost: Cost) -> int:
    """Return the memory of a cost in bytes."""
    numbers = cost.parameters
    return 128 * numbers["n"] * numbers["r"] if cost.scheme == "scrypt" else cost.memory * 1024


@given(FAMILIES.flatmap(lambda family: st.tuples(family, family)), st.booleans())
def test_within_a_scheme_neither_memory_nor_work_goes_down(costs: tuple[Cost, Cost], ours: bool) -> None:
    """The new hash has at least the memory and the work of the old one, and of the profile; then there is nothing to do any more."""
    profile, old = costs

    new = strengthened(profile, NativeHash.decoy(old) if ours else Foreign(old))

    result = new or old
    assert memory(result) >= max(memory(profile), memory(old))
    assert work(result) >= max(work(profile), work(old))
    assert strengthened(profile, NativeHash.decoy(result)) is None


@given(FAMILIES.flatmap(lambda one: st.tuples(one, FAMILIES.flatmap(lambda other: other))), st.booleans())
def test_between_schemes_memory_never_goes_down(costs: tuple[Cost, Cost], ours: bool) -> None:
    """Another scheme is moved to only with as much memory, or from a hash that is below what is recommended; and moving ends."""
    profile, old = costs

    new = strengthened(profile, NativeHash.decoy(old) if ours else Foreign(old))

    if recommended(old) or old.scheme == profile.scheme:
        assert memory(new or old) >= memory(old)
    else:
        assert new == profile
    assert strengthened(profile, NativeHash.decoy(new or old)) is None


@given(FAMILIES.flatmap(lambda family: family))
def test_a_hash_of_the_profile_stays(cost: Cost) -> None:
    """What has the profile's parameters has no stronger one."""
    assert strengthened(cost, NativeHash.decoy(cost)) is None


@pytest.mark.parametrize(
    ("profile", "old", "expected"),
    [
        ("modern", {"m": 32_768, "t": 6, "p": 1}, {"m": 65_536, "t": 3, "p": 1}),
        ("modern", {"m": 65_536, "t": 2, "p": 1}, {"m": 65_536, "t": 3, "p": 1}),
        ("modern", {"m": 65_536, "t": 3, "p": 4}, None),
        ("modern", {"m": 131_072, "t": 1, "p": 1}, {"m": 131_072, "t": 2, "p": 1}),
        ("modern", {"m": 32_768, "t": 12, "p": 1}, {"m": 65_536, "t": 6, "p": 1}),
        ("owasp", {"m": 65_536, "t": 3, "p": 1}, None),
        ("fips", {"m": 19_456, "t": 2, "p": 1}, None),
        ("fips", {"m": 19_455, "t": 2, "p": 1}, {"iterations": 600_000}),
        ("bcrypt", {"m": 8, "t": 1, "p": 1}, {"rounds": 12}),
        ("bcrypt", {"m": 19_456, "t": 2, "p": 1}, None),
        ("policy", {"m": 65_536, "t": 3, "p": 1}, {"n": 1 << 17, "r": 8, "p": 1}),
    ],
)
def test_what_becomes_of_an_argon2id_hash_of_ours(profile: str, old: dict[str, int], expected: dict[str, int] | None) -> None:
    """A few by hand: never less memory, never less work, and no change for the sake of change."""
    new = strengthened(PROFILES[profile].cost, NativeHash.decoy(cost_of("argon2id", old)))

    assert (new.parameters if new else None) == expected


@pytest.mark.parametrize(
    ("profile", "old", "expected"),
    [
        ("modern", Cost("sha1", 0, {}, 160), ("argon2id", {"m": 65_536, "t": 3, "p": 1})),
        ("modern", argon2_cost("argon2i", m=102_400, t=2, p=8, bits=128), ("argon2id", {"m": 102_400, "t": 2, "p": 1})),
        ("modern", argon2_cost("argon2d", m=512, t=2, p=2, bits=128), ("argon2id", {"m": 65_536, "t": 3, "p": 1})),
        ("modern", scrypt_cost(n=1 << 14, r=8, p=5, bits=512), ("argon2id", {"m": 65_536, "t": 3, "p": 1})),
        ("modern", scrypt_cost(n=1 << 17, r=8, p=1, bits=512), ("scrypt", {"n": 1 << 17, "r": 8, "p": 1})),
        ("fips", argon2_cost("argon2i", m=512, t=2, p=2, bits=128), ("pbkdf2-sha256", {"iterations": 600_000})),
        ("fips", pbkdf2_cost("sha1", iterations=1_400_000, bits=160), ("pbkdf2-sha256", {"iterations": 600_000})),
        ("fips", pbkdf2_cost("sha512", iterations=440_000, bits=512), ("pbkdf2-sha256", {"iterations": 1_200_000})),
        ("modern", pbkdf2_cost("sha256", iterations=1_000_000, bits=256), ("argon2id", {"m": 65_536, "t": 3, "p": 1})),
    ],
)
def test_what_becomes_of_a_foreign_hash(profile: str, old: Cost, expected: tuple[str, dict[str, int]]) -> None:
    """It becomes one of ours at the next login, with the profile's cost or its own if that is more."""
    new = strengthened(PROFILES[profile].cost, Foreign(old))

    assert new is not None
    assert (new.scheme, new.parameters) == expected


def test_a_foreign_hash_that_we_cannot_make_as_strong_stays() -> None:
    """Where the equal of a foreign hash would be out of bounds, it is not exchanged for a weaker one."""
    assert strengthened(PROFILES["fips"].cost, Foreign(pbkdf2_cost("sha512", iterations=30_000_000, bits=512))) is None
    assert strengthened(PROFILES["modern"].cost, Foreign(Cost("yescrypt", 1 << 20, {}, 256))) is None


def test_a_hash_of_ours_at_the_ceiling_stays() -> None:
    """Where a hash with both would be out of bounds, nothing is made anew for the sake of nothing."""
    profile, old = cost_of("argon2id", {"m": 1 << 20, "t": 4, "p": 1}), cost_of("argon2id", {"m": 3 << 19, "t": 2, "p": 1})

    assert strengthened(profile, NativeHash.decoy(old)) is None
    assert strengthened(profile, Foreign(old)) == old


def test_a_layer_is_peeled_even_if_it_is_strong() -> None:
    """A hash over an old digest is made anew of the password itself, whatever it costs."""
    cost = PROFILES["modern"].cost
    onion = NativeHash(cost, salt=bytes(16), digest=bytes(32), layer="md5-hex")

    assert strengthened(cost, onion) == cost
