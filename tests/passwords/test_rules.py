# SPDX-License-Identifier: Apache-2.0
"""Rules for new passwords: length and lists, never composition; and nothing of it at a login."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from securekit.exceptions import PasswordError
from securekit.passwords import Blocklist, PasswordHasher, PasswordRules
from securekit.passwords._blocklist import _common
from securekit.testing import fast_passwords
from tests.canaries import walk

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


def test_a_list_that_is_not_ordered_by_digest_is_refused(tmp_path: Path) -> None:
    """The list by count, which is published as well, would be searched in vain; so would one with other lines in it."""
    lines = digests(*map(str, range(500)))
    for wrong in (lines[::-1], lines[250:] + lines[:250], lines + ["~" * 40] * 100):
        (tmp_path / "pwned.txt").write_text("".join(f"{line}:7\n" for line in wrong))
        with pytest.raises(ValueError, match="not ordered by digest"):
            Blocklist.from_file(tmp_path / "pwned.txt")


@pytest.mark.parametrize("content", [b"", b"\n", b"<html>too many requests</html>", b"0" * 27 + b":3\n", (b"0" * 35 + b":3\n") * 120_000])
def test_a_range_that_is_no_list_is_an_error(tmp_path: Path, content: bytes) -> None:
    """An interrupted download, the page of an error, digests of another kind, more than is read: nothing is accepted because of it."""
    (tmp_path / "00000").write_text(f"{'0' * 35}:0\n")
    (tmp_path / digests("otters")[0][:5]).write_bytes(content)

    with pytest.raises(ValueError, match="the list is not whole"):
        assert "otters" in Blocklist.from_ranges(tmp_path)


def test_a_byte_order_mark_hides_no_digest(tmp_path: Path) -> None:
    """Windows' tools write one."""
    digest = digests("otters")[0]
    for name in ("00000", digest[:5]):
        (tmp_path / name).write_text(f"{digest[5:].lower()}:3\r\n", encoding="utf-8-sig")

    assert "otters" in Blocklist.from_ranges(tmp_path)


def test_words_are_compared_however_their_letters_are_composed() -> None:
    """A letter with its accent as a sign of its own, or as one sign: the same word."""
    blocklist = Blocklist.from_words(["cafe\u0301 cafe\u0301"])

    for password in ("cafe\u0301 cafe\u0301", "CAF\u00c9 caf\u00e9"):
        with pytest.raises(PasswordError, match="in a list"):
            PasswordRules(second_factor=True, blocklist=blocklist).check(password)


def test_what_is_refused_by_its_length_is_looked_up_nowhere(tmp_path: Path) -> None:
    """Neither digest nor file is spent on it, and a list that is not whole does not change the answer."""
    (tmp_path / "00000").write_text(f"{'0' * 35}:0\n")
    rules = PasswordRules(blocklist=Blocklist.from_ranges(tmp_path))

    for password in ("short", "x" * 1025):
        with pytest.raises(PasswordError, match="characters"):
            rules.check(password)


def test_no_error_of_a_list_shows_the_password(tmp_path: Path) -> None:
    """Neither the frames of what is raised nor its causes hold the password or its digest."""
    (tmp_path / "00000").write_text(f"{'0' * 35}:0\n")
    rules = PasswordRules(blocklist=Blocklist.from_ranges(tmp_path))
    hasher = PasswordHasher(fast_passwords, rules=rules)
    digest = digests(GOOD)[0]
    calls: list[Callable[[], object]] = [
        lambda: rules.check(GOOD),
        lambda: rules.fault(GOOD),
        lambda: hasher.hash(GOOD),
        lambda: asyncio.run(hasher.ahash(GOOD)),
        lambda: hasher.hash(GOOD, user=7),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        shown = [repr(value) for value in walk(caught.value, frames_of=type(caught.value))]
        assert not [text for text in shown if GOOD in text or digest in text or digest[5:] in text]
