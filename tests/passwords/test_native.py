# SPDX-License-Identifier: Apache-2.0
"""Our own strings: one encoding each, bounded before any work, and what they say is what was done."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

import argon2
import bcrypt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from securekit.exceptions import FormatError
from securekit.passwords import Cost
from securekit.passwords._cost import cost_of
from securekit.passwords._native import NativeHash, normalised
from tests.conftest import Count
from tests.costs import cost

SALT = "AAECAwQFBgcICQoLDA0ODw"  # bytes 0 to 15
DIGEST = base64.b64encode(bytes(32)).decode().rstrip("=")
COSTS = {
    "argon2id": cost_of("argon2id", {"m": 64, "t": 2, "p": 1}),
    "scrypt": cost_of("scrypt", {"n": 16, "r": 8, "p": 2}),
    "pbkdf2": cost_of("pbkdf2-sha256", {"iterations": 1000}),
    "bcrypt": cost_of("bcrypt", {"rounds": 4}),
}
ARGON2 = f"$securekit$v=1,n=nfkc$argon2id$v=19$m=64,t=2,p=1${SALT}${DIGEST}"
SCRYPT = f"$securekit$v=1,n=nfkc$scrypt$ln=4,r=8,p=2${SALT}${DIGEST}"
PBKDF2 = f"$securekit$v=1,n=nfkc$pbkdf2-sha256$i=1000${SALT}${DIGEST}"
BCRYPT = "$securekit$v=1,n=nfkc,pre=hmac-sha384$2b$04$" + "." * 53
TEXTS = {"argon2id": ARGON2, "scrypt": SCRYPT, "pbkdf2": PBKDF2, "bcrypt": BCRYPT}
passwords = st.text(min_size=1, max_size=100).filter(lambda text: text.isprintable()).map(str.encode)


@pytest.mark.parametrize("scheme", COSTS)
def test_a_string_says_its_cost_and_comes_back(scheme: str) -> None:
    """What is read is what was written, with the same cost, and its repr shows neither salt nor digest."""
    parsed = NativeHash.parse(TEXTS[scheme])

    assert parsed.text() == TEXTS[scheme]
    assert parsed.cost == COSTS[scheme]
    assert (parsed.form, repr(parsed)) == ("securekit", "<NativeHash ********>")


@pytest.mark.parametrize("scheme", COSTS)
@given(password=passwords, other=passwords)
@settings(max_examples=25)
def test_a_password_matches_its_own_hash_alone(scheme: str, password: bytes, other: bytes) -> None:
    """Whatever the password, its hash matches it, read back too, and another password only if it is the same in NFKC."""
    stored = NativeHash.parse(NativeHash.create(COSTS[scheme], password).text())

    assert stored.matches(password)
    assert stored.matches(other) == (normalised(password) == normalised(other))


@pytest.mark.parametrize("scheme", COSTS)
def test_every_hash_has_a_salt_of_its_own(scheme: str) -> None:
    """The same password never has the same hash."""
    assert len({NativeHash.create(COSTS[scheme], b"password").text() for _ in range(20)}) == 20


def test_what_the_strings_say_is_what_the_libraries_compute() -> None:
    """Each string, read by its definition with other code than ours, verifies."""
    password, salt = "pässwo\u0308rd", bytes(range(16))
    raw = "pässwörd".encode()  # in NFKC
    strings = {
        ARGON2: argon2.low_level.hash_secret_raw(raw, salt, 2, 64, 1, 32, argon2.Type.ID),
        SCRYPT: hashlib.scrypt(raw, salt=salt, n=16, r=8, p=2, dklen=32),
        PBKDF2: hashlib.pbkdf2_hmac("sha256", raw, salt, 1000, 32),
    }
    for text, digest in strings.items():
        stored = text.replace(DIGEST, base64.b64encode(digest).decode().rstrip("="))
        assert NativeHash.parse(stored).matches(password.encode())
    keyed = base64.b64encode(hmac.digest(bytes(16), raw, "sha384"))
    stored = BCRYPT.removesuffix("$2b$04$" + "." * 53) + bcrypt.hashpw(keyed, b"$2b$04$" + b"." * 22).decode()
    assert NativeHash.parse(stored).matches(password.encode())


@pytest.mark.parametrize("scheme", COSTS)
def test_the_73rd_byte_and_what_follows_a_nul_matter(scheme: str) -> None:
    """Neither the 72 bytes nor the NUL of bcrypt cut a password off, in any scheme."""
    long = NativeHash.create(COSTS[scheme], b"x" * 72 + b"y")
    nul = NativeHash.create(COSTS[scheme], b"x\0y")

    assert not long.matches(b"x" * 72)
    assert not long.matches(b"x" * 72 + b"z")
    assert not nul.matches(b"x")
    assert not nul.matches(b"x\0z")


@pytest.mark.parametrize("pair", [("\u00e9", "e\u0301"), ("\ufb01", "fi"), ("\uff11", "1"), ("\u2460", "1"), ("\u212b", "\u00c5")])
def test_a_password_is_the_same_from_every_keyboard(pair: tuple[str, str]) -> None:
    """Composed and decomposed, wide and narrow characters are the same in NFKC."""
    one, other = (text.encode() for text in pair)

    assert NativeHash.create(COSTS["pbkdf2"], one).matches(other)
    assert NativeHash.create(COSTS["pbkdf2"], other).matches(one)


@pytest.mark.parametrize("scheme", COSTS)
def test_nothing_matches_a_decoy(scheme: str) -> None:
    """A hash of nothing looks like any other, and no password is its."""
    decoy = NativeHash.decoy(COSTS[scheme])

    assert NativeHash.parse(decoy.text()).cost == decoy.cost
    assert not decoy.matches(b"")
    assert not decoy.matches(b"password")


BOMBS = [
    ARGON2.replace("m=64", "m=4194304"),  # 4 GiB
    ARGON2.replace("m=64", "m=2097153"),
    ARGON2.replace("m=64", "m=4294967295"),
    ARGON2.replace("t=2", "t=4294967295"),
    ARGON2.replace("m=64,t=2", "m=2097152,t=3"),
    ARGON2.replace("p=1", "p=16777215"),
    ARGON2.replace("m=64,t=2,p=1", "m=4096,t=2,p=65"),
    SCRYPT.replace("ln=4", "ln=30"),
    SCRYPT.replace("ln=4", "ln=22"),
    SCRYPT.replace("ln=4,r=8,p=2", "ln=22,r=8,p=1"),  # 4 GiB, once
    SCRYPT.replace("ln=4", "ln=9999999999"),
    SCRYPT.replace("r=8", "r=1073741824"),
    SCRYPT.replace("p=2", "p=1073741824"),
    PBKDF2.replace("i=1000", "i=2147483648"),
    PBKDF2.replace("i=1000", "i=30000001"),
    BCRYPT.replace("$04$", "$31$"),
    BCRYPT.replace("$04$", "$17$"),
    PBKDF2.replace("i=1000", "i=" + "9" * 1_000_000),
    PBKDF2.replace(DIGEST, "A" * 1_000_000),
    ARGON2 + ",x=1" * 1_000_000,
    "$securekit$" + "$" * 1_000_000,
]


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:80])
def test_a_bomb_is_refused_before_any_work(text: str, count: Count) -> None:
    """A hostile cost or size is refused in less than a millisecond and without memory."""
    with pytest.raises(FormatError):
        NativeHash.parse(text)

    def refuse() -> None:
        with pytest.raises(FormatError):
            NativeHash.parse(text)

    seconds, memory = cost(refuse)
    assert seconds < 0.001
    assert memory < 1 << 20
    count("hostile costs of stored hashes refused", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$securekit$",
        ARGON2.removeprefix("$securekit$v=1,n=nfkc"),
        ARGON2.upper(),
        ARGON2 + "$",
        ARGON2 + " ",
        ARGON2.replace("v=1,", "v=2,"),
        ARGON2.replace("v=1,n=nfkc", "n=nfkc,v=1"),
        ARGON2.replace("n=nfkc", "n=none"),
        ARGON2.replace("n=nfkc", "n=nfkc,"),
        ARGON2.replace("n=nfkc", "n=nfkc,pre=hmac-sha384"),
        ARGON2.replace("n=nfkc", "n=nfkc,onion="),
        ARGON2.replace("n=nfkc", "n=none,onion=no-such-digest"),
        ARGON2.replace("argon2id", "argon2i"),
        ARGON2.replace("$v=19", "$v=16"),
        ARGON2.replace("$v=19", ""),
        ARGON2.replace("m=64,t=2", "t=2,m=64"),
        ARGON2.replace("m=64", "m=064"),
        ARGON2.replace("m=64", "m=7"),
        ARGON2.replace("t=2", "t=0"),
        ARGON2.replace("p=1", "p=0"),
        ARGON2.replace("p=1", "p=1,data=1"),
        ARGON2.replace(SALT, SALT[:-2]),
        ARGON2.replace(SALT, SALT[:-1] + "x"),  # trailing bits
        ARGON2.replace(DIGEST, DIGEST[:-11]),
        SCRYPT.replace("ln=4", "n=16"),
        SCRYPT.replace("ln=4", "ln=0"),
        SCRYPT.replace("p=2", "p=0"),
        SCRYPT.replace("scrypt$", "scrypt$v=1$"),
        PBKDF2.replace("sha256", "sha512"),
        PBKDF2.replace("i=1000", "i=0"),
        PBKDF2.replace("i=1000", "iterations=1000"),
        BCRYPT.replace(",pre=hmac-sha384", ""),
        BCRYPT.replace("2b", "2a"),
        BCRYPT.replace("$04$", "$4$"),
        BCRYPT.replace("$04$", "$03$"),
        BCRYPT[:-1] + "/",  # trailing bits
        BCRYPT[:-1] + "é",
        BCRYPT + ".",
    ],
)
def test_anything_but_our_strings_is_refused(text: str) -> None:
    """No other version, spelling, order, size or scheme; and the error quotes no digest."""
    with pytest.raises(FormatError) as caught:
        NativeHash.parse(text)
    assert DIGEST not in str(caught.value)


@pytest.mark.repetitive
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_bit_flips_unnoticed(text: str, count: Count) -> None:
    """Every flipped bit is refused, or changes what the string says: no two texts are one hash."""
    raw, tried = text.encode(), 0
    for place in range(len(raw)):
        for bit in range(8):
            changed = (raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]).decode("latin-1")
            assert not read(changed) or NativeHash.parse(changed).text() == changed != text
            tried += 1
    count("bit flips of stored hashes", tried)


def read(text: str) -> bool:
    try:
        NativeHash.parse(text)
    except FormatError:
        return False
    return True


def mutations(seeds: list[str]) -> st.SearchStrategy[str]:
    """Parts of good strings, in another order and with other text in between."""
    parts = sorted({part for seed in seeds for part in seed.replace("$", " $ ").replace(",", " , ").replace("=", " = ").split(" ")})
    return st.lists(st.sampled_from(parts) | st.text(max_size=5), max_size=40).map("".join)


@pytest.mark.repetitive
@given(st.text() | st.text("$securkit=,0123456789nfkc").map("$securekit$v=1,n=nfkc$".__add__) | mutations(list(TEXTS.values())))
@example("$securekit$" + "\ud800")
@settings(max_examples=2000)
def test_only_our_own_error_comes_out_of_the_parser(text: str) -> None:
    """Whatever is stored, it is read, in its one encoding, or refused as a `FormatError`."""
    assert not read(text) or NativeHash.parse(text).text() == text


@pytest.mark.parametrize("make", [lambda size: "$securekit$" + "$" * size, lambda size: ARGON2 + "," * size, lambda size: "=" * size])
def test_64_kibibytes_are_refused_at_once(make: Callable[[int], str]) -> None:
    """Long input costs next to nothing."""
    begin = time.process_time()
    assert not read(make(1 << 16))
    assert time.process_time() - begin < 0.1


@pytest.mark.parametrize(("scheme", "parameters"), [("md5", {}), ("argon2id", {"m": 64}), ("argon2id", {"m": 64, "t": 1, "p": 1, "x": 1})])
def test_hashes_are_made_with_four_schemes_alone(scheme: str, parameters: dict[str, int]) -> None:
    """Another scheme, or other parameters than its own, has no cost."""
    with pytest.raises(FormatError):
        cost_of(scheme, parameters)


def test_a_cost_tells_its_memory() -> None:
    """The memory that a budget counts is what the scheme takes, in KiB."""
    assert [made.memory for made in COSTS.values()] == [64, 16, 0, 4]
    assert COSTS["scrypt"] == Cost("scrypt", 16, {"n": 16, "r": 8, "p": 2}, 256)
    assert COSTS["bcrypt"].bits == 184
