# SPDX-License-Identifier: Apache-2.0
"""Rules for new passwords: length and lists, never composition; and nothing of it at a login."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from securekit.exceptions import PasswordError
from securekit.passwords import Blocklist, PasswordHasher, PasswordRules
from securekit.passwords._blocklist import _common
from securekit.testing import fast_passwords

GOOD = "tired otters sing at noon"


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("fourteen chars", "at least 15 characters"),
        ("", "at least 15"),
        ("x" * 1025, "at most 1,024 characters"),
        ("\ufb03" * 400, "at most 1,024 characters"),  # one sign, which is three letters after NFKC
        ("\ufdfa" * 1024, "at most 1,024 characters"),  # one sign, which is 18
        ("aaaaaaaaaaaaaaaaaaaa", "one character again and again"),
        ("AaAaAaAaAaAaAaAaAaAa", "one character again and again"),
        ("qwertyuiopasdfghjkl", "in a list"),
        ("QwertyUiopAsdfGhjkl", "in a list"),
        ("administrator123", "in a list"),
        ("Wilhelmina.Example", "it is a name"),
    ],
)
def test_what_is_refused(password: str, fault: str) -> None:
    """The message says why, for the person who chooses it; it does not repeat the password."""
    with pytest.raises(PasswordError, match=fault) as error:
        PasswordRules().check(password, words=["wilhelmina.example"])
    assert not password or password not in str(error.value)


@pytest.mark.parametrize("password", [GOOD, "x" * 14 + "y", "密码" * 8, "                y", "x" * 1023 + "y", "🦦" * 14 + "x"])
def test_what_is_accepted(password: str) -> None:
    """Any characters, spaces among them; no sign, digit or capital is asked for."""
    PasswordRules().check(password, words=["x"])


def test_a_second_factor_lets_eight_characters_be_enough() -> None:
    """As the standard has it; more may be asked for, and less may not."""
    PasswordRules(second_factor=True).check("otters!!")
    with pytest.raises(PasswordError, match="at least 8"):
        PasswordRules(second_factor=True).check("otters!")
    with pytest.raises(PasswordError, match="at least 20"):
        PasswordRules(minimum=20).check("x" * 18 + "y")
    for options in (
        {"minimum": 14},
        {"second_factor": True, "minimum": 7},
        {"maximum": 63},
        {"maximum": 1025},
        {"minimum": 70, "maximum": 64},
    ):
        with pytest.raises(ValueError, match="characters at least"):
            PasswordRules(**options)  # type: ignore[arg-type]


def test_a_password_is_text() -> None:
    """A mistake of the caller is none of the person's."""
    with pytest.raises(TypeError, match="password must be str, not bytes"):
        PasswordRules().check(b"x")  # type: ignore[arg-type]


def test_rules_are_for_new_passwords_alone() -> None:
    """A hasher asks them before it hashes; who has a short password from before logs in, and gets a stronger hash."""
    hasher = PasswordHasher("owasp")
    old = PasswordHasher(fast_passwords).hash("short")

    with pytest.raises(PasswordError, match="at least 15"):
        hasher.hash("short")
    with pytest.raises(PasswordError, match="it is a name"):
        hasher.hash("wilhelmina.example", user="wilhelmina.example")
    assert hasher.verify("short", hash=old).new_hash is not None
    lenient = PasswordHasher("owasp", rules=PasswordRules(second_factor=True))
    assert lenient.verify("otters!!", hash=lenient.hash("otters!!")).new_hash is None


def test_the_commonest_are_in_small_letters_and_in_order() -> None:
    """So that they are found, and that a change of the list shows."""
    assert 400 < len(_common()) < 2000
    assert all(word == word.casefold() and word.strip() == word for word in _common())


def digests(*passwords: str) -> list[str]:
    return sorted(hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper() for password in passwords)


def test_a_list_in_one_file_is_searched_by_halving(tmp_path: Path) -> None:
    """Whatever its size: each of its passwords is found, and no other."""
    passwords = [f"password number {number}" for number in range(1000)]
    for end in ("\n", "\r\n"):
        (tmp_path / "pwned.txt").write_bytes("".join(f"{digest}:{7}{end}" for digest in digests(*passwords)).encode())
        blocklist = Blocklist.from_file(tmp_path / "pwned.txt")
        assert all(password in blocklist for password in passwords)
        assert not any(f"other {number}" in blocklist for number in range(1000))
        assert 5 not in blocklist


@pytest.mark.parametrize("suffix", ["", ".txt"])
def test_a_list_in_ranges_is_read_a_range_at_a_time(tmp_path: Path, suffix: str) -> None:
    """Padding does not count; a range that is missing is an error, not a password that nobody uses."""
    for digest in [*digests("first", "second"), "0" * 40]:
        (tmp_path / f"{digest[:5]}{suffix}").write_text(f"{'0' * 35}:0\n{digest[5:]}:3\n")
    padded = digests("padded")[0]
    (tmp_path / f"{padded[:5]}{suffix}").write_text(f"{padded[5:]}:0\n")
    blocklist = Blocklist.from_ranges(tmp_path)

    assert [password in blocklist for password in ("first", "second", "padded")] == [True, True, False]
    with pytest.raises(ValueError, match="lacks the range"):
        assert "another" in blocklist


def test_lists_are_joined(tmp_path: Path) -> None:
    """What is in one of them is refused."""
    blocklist = Blocklist.common() | Blocklist.from_words(["Example GmbH intranet"])
    rules = PasswordRules(blocklist=blocklist)
    for password in ("example gmbh intranet", "Example GmbH Intranet", "administrator123"):
        with pytest.raises(PasswordError, match="in a list"):
            rules.check(password)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    """A mistyped path does not mean that every password is accepted."""
    (tmp_path / "other.txt").write_text("password\n")
    with pytest.raises(ValueError, match="no list of SHA-1 digests"):
        Blocklist.from_file(tmp_path / "other.txt")
    with pytest.raises(ValueError, match="holds no ranges"):
        Blocklist.from_ranges(tmp_path)
    with pytest.raises(FileNotFoundError):
        Blocklist.from_file(tmp_path / "nothing.txt")
