# SPDX-License-Identifier: Apache-2.0
"""Profiles say where their numbers are from, and none is weak; the one that is lies in securekit.testing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from securekit.passwords import PROFILES, PasswordHasher, Profile
from securekit.testing import fast_passwords

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "modern": ("argon2id", {"m": 65_536, "t": 3, "p": 1}, 256),
    "owasp": ("argon2id", {"m": 19_456, "t": 2, "p": 1}, 256),
    "policy": ("scrypt", {"n": 131_072, "r": 8, "p": 1}, 256),
    "fips": ("pbkdf2-sha256", {"iterations": 600_000}, 256),
    "bcrypt": ("bcrypt", {"rounds": 12}, 184),
}


def test_the_profiles_are_as_promised() -> None:
    """Five names, with the numbers that were agreed on, and a source and date for each."""
    found = {name: (profile.scheme, profile.cost.parameters, profile.cost.bits) for name, profile in PROFILES.items()}

    assert found == EXPECTED
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert profile.source
        assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", profile.date)


def test_the_page_has_the_numbers_of_each_profile() -> None:
    """The table in the documentation is the code's."""
    page = (ROOT / "docs" / "explanation" / "password-profiles.md").read_text()

    for name, profile in PROFILES.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` | {profile.scheme}")]
        assert profile.date in line
        assert f"{profile.cost.bits}" in line
        for parameter, value in profile.parameters.items():
            assert f"{parameter} = {value:,}" in line


@pytest.mark.parametrize(
    ("scheme", "parameters"),
    [
        ("argon2id", {"m": 47_104, "t": 1, "p": 1}),
        ("argon2id", {"m": 7_168, "t": 5, "p": 1}),
        ("argon2id", {"m": 7_168, "t": 9, "p": 4}),
        ("scrypt", {"n": 2**16, "r": 8, "p": 2}),
        ("scrypt", {"n": 2**14, "r": 8, "p": 6}),
        ("pbkdf2-sha256", {"iterations": 600_000}),
        ("bcrypt", {"rounds": 10}),
    ],
)
def test_whatever_owasp_recommends_can_be_a_profile(scheme: str, parameters: dict[str, int]) -> None:
    """A service may choose its own numbers, as calibration gives them."""
    assert Profile("ours", scheme, parameters).cost.parameters == parameters


@pytest.mark.parametrize(
    ("scheme", "parameters"),
    [
        ("argon2id", {"m": 47_103, "t": 1, "p": 1}),
        ("argon2id", {"m": 7_167, "t": 100, "p": 1}),
        ("argon2id", {"m": 65_536, "t": 0, "p": 1}),
        ("argon2id", {"m": 4_194_304, "t": 1, "p": 1}),
        ("argon2id", {"m": 65_536, "t": 3}),
        ("argon2i", {"m": 65_536, "t": 3, "p": 1}),
        ("scrypt", {"n": 2**16, "r": 8, "p": 1}),
        ("scrypt", {"n": 2**17, "r": 4, "p": 1}),
        ("scrypt", {"n": 131_000, "r": 8, "p": 1}),
        ("pbkdf2-sha256", {"iterations": 599_999}),
        ("pbkdf2-sha512", {"iterations": 600_000}),
        ("bcrypt", {"rounds": 9}),
        ("md5", {}),
    ],
)
def test_a_weak_or_impossible_profile_is_refused(scheme: str, parameters: dict[str, int]) -> None:
    """There is no way to ask for less than the least that is recommended."""
    with pytest.raises(ValueError, match="profile 'ours'"):
        Profile("ours", scheme, parameters)


def test_a_profile_does_not_change() -> None:
    """Neither its numbers nor the table of names can be set."""
    numbers = {"m": 65_536, "t": 3, "p": 1}
    profile = Profile("ours", "argon2id", numbers)
    numbers["m"] = 8
    target: Any = profile.parameters
    table: Any = PROFILES

    with pytest.raises(TypeError):
        target["m"] = 8
    with pytest.raises(TypeError):
        table["modern"] = fast_passwords
    assert profile.parameters["m"] == 65_536


@pytest.mark.parametrize(("given", "error"), [("strong", ValueError), (None, TypeError), (12, TypeError)])
def test_another_name_is_refused(given: Any, error: type[Exception]) -> None:
    """There are five names and no more."""
    with pytest.raises(error):
        PasswordHasher(given)


def test_the_fast_profile_exists_only_for_tests() -> None:
    """What costs nothing has no name that a setting could hold, and a real hasher strengthens it."""
    stored = PasswordHasher(fast_passwords).hash("correct horse")

    assert fast_passwords.cost.parameters == {"m": 8, "t": 1, "p": 1}
    assert fast_passwords.name not in PROFILES
    new = PasswordHasher("owasp").verify("correct horse", hash=stored).new_hash
    assert new is not None
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in new
