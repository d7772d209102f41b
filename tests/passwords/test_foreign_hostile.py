# SPDX-License-Identifier: Apache-2.0
"""A hostile stored string costs nothing and raises our error alone, and no error shows a password, a salt or a digest."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.exceptions import FormatError, PasswordError
from securekit.passwords import PasswordHasher
from securekit.passwords._cost import MAX_ITERATIONS, MAX_MEMORY, MAX_ROUNDS
from securekit.passwords._foreign import parse
from securekit.passwords._onion import Imported, check_layer, import_table, wrap
from securekit.testing import fast_passwords
from tests.canaries import walk
from tests.conftest import Count
from tests.costs import cost
from tests.passwords.test_foreign import COSTS, REFUSED

SALT, DIGEST = base64.b64encode(bytes(16)).decode().rstrip("="), base64.b64encode(bytes(32)).decode()
PHC = f"${SALT}${DIGEST.rstrip('=')}"
BCRYPT = "." * 53
GIB = 1 << 20  # KiB

BOMBS = {
    **{
        f"argon2 of {form}": f"{form}v=19$m={4 * GIB},t=1,p=1{PHC}"
        for form in ("$argon2id$", "$argon2d$", "argon2$argon2i$", "{argon2}$argon2id$")
    },
    "argon2 of 2^32 passes": f"$argon2id$v=19$m=8,t={2**32 - 1},p=1{PHC}",
    "argon2 of 2^24 lanes": f"$argon2id$v=19$m={2**21},t=1,p={2**24 - 1}{PHC}",
    **{
        f"bcrypt 31 of {form}": f"{form}31${BCRYPT}"
        for form in ("$2a$", "$2b$", "$2y$", "bcrypt$$2b$", "bcrypt_sha256$$2b$", "{bcrypt}$2a$")
    },
    "bcrypt 31 of passlib": f"$bcrypt-sha256$v=2,t=2b,r=31${BCRYPT[:22]}${BCRYPT[22:]}",
    "bcrypt 31 of passlib before": f"$bcrypt-sha256$2a,31${BCRYPT[:22]}${BCRYPT[22:]}",
    "scrypt": f"$scrypt$ln=30,r=8,p=1{PHC}",
    "scrypt beyond all integers": f"$scrypt$ln=4294967295,r=8,p=1{PHC}",
    "scrypt of many rounds": f"$scrypt$ln=10,r=8,p={2**22}{PHC}",
    "scrypt of large blocks": f"$scrypt$ln=1,r={2**25},p=1{PHC}",
    "scrypt of much more parallelism than memory": f"$scrypt$ln=1,r=1,p={2**24}{PHC}",
    "scrypt of twice the memory that is counted": f"$scrypt$ln=4,r=65536,p=16{PHC}",
    "scrypt of django": f"scrypt${2**30}$salt$8$1${DIGEST}",
    "scrypt of werkzeug": f"scrypt:{2**30}:8:1$salt${'00' * 64}",
    "scrypt of spring": f"{{scrypt}}$1e0801${SALT}==${DIGEST}",
    "scrypt of spring beyond all integers": f"{{scrypt}}${'f' * 900}${SALT}==${DIGEST}",
    "pbkdf2 of passlib": f"$pbkdf2-sha256${2**31}{PHC}",
    "pbkdf2 of phc": f"$pbkdf2-sha512$i={2**31}{PHC}",
    "pbkdf2 of django": f"pbkdf2_sha256${2**31}$salt${DIGEST}",
    "pbkdf2 of werkzeug": f"pbkdf2:sha256:{2**31}$salt${'00' * 32}",
    "pbkdf2 of many blocks": f"pbkdf2:sha1:{MAX_ITERATIONS // 2}$salt${'00' * 64}",
    "a number without an end": f"pbkdf2_sha256${'9' * 900}$salt${DIGEST}",
}
DENSE = [
    *(sign * size for sign in "$,=:{}" for size in (1_000, 65_536)),
    "$argon2id$v=19$" + "m=1," * 16_000,
    "$argon2id$v=19$" + "m=1," * 240,
    "{ldap}" * 170,
    "{ldap}" * 10_000,
    "$pbkdf2-sha256$1$" + "A" * 1_000,
    "{scrypt}$" + "f" * 65_000,
]
CANARY = "canaryCanary1234canarg"  # 16 bytes in base 64
CANARY_OF_BCRYPT = "canaryCanary1234canare"  # and in bcrypt's
CANARY_B64 = base64.b64encode(b"canary-digest-canary-digest-0123").decode()


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_any_work(bomb: str, count: Count) -> None:
    """A stored string that asks for gibibytes or for hours is refused within a millisecond."""

    def refused() -> None:
        with pytest.raises(FormatError, match=r"out of bounds|at most ten digits"):
            parse(BOMBS[bomb])

    seconds, memory = cost(refused)

    assert seconds < 0.001
    assert memory < 32 << 20
    count("hostile costs refused", 1)


def test_the_ceilings_are_what_they_say() -> None:
    """One more than the ceiling is refused, and the ceiling is not."""
    for text, ceiling in (
        ("$argon2id$v=19$m={},t=1,p=1" + PHC, MAX_MEMORY),
        ("pbkdf2_sha256${}$salt$" + DIGEST, MAX_ITERATIONS),
        ("$2b${}$" + BCRYPT, MAX_ROUNDS),
    ):
        parse(text.format(ceiling))
        with pytest.raises(FormatError, match="out of bounds"):
            parse(text.format(ceiling + 1))


@pytest.mark.parametrize("text", DENSE, ids=range(len(DENSE)))
def test_the_densest_input_costs_little(text: str) -> None:
    """64 KiB of what is most expensive to read take at most 100 ms and 64 MiB."""

    def read() -> None:
        with pytest.raises(FormatError):
            parse(text)

    seconds, memory = cost(read)

    assert seconds < 0.1
    assert memory < 64 << 20


def _read_or_refused(text: str) -> None:
    try:
        stored = parse(text)
    except FormatError:
        return
    assert stored.cost.memory <= MAX_MEMORY
    assert stored.cost.bits >= 96


@given(st.text(max_size=300) | st.text("$={},:./+0123456789abmtplnri", max_size=300))
def test_random_text_is_refused_with_our_error(text: str) -> None:
    """Whatever is stored, reading it raises nothing but our error."""
    _read_or_refused(text)


mutations = given(
    text=st.sampled_from([*COSTS, *REFUSED, *BOMBS.values()]),
    at=st.floats(0, 1),
    removed=st.integers(0, 12),
    put=st.text("$={},:./+019abz\n\x00ß", max_size=8),
)


def _read_mutated(text: str, at: float, removed: int, put: str) -> None:
    start = int(at * len(text))
    _read_or_refused(text[:start] + put + text[start + removed :])


@settings(max_examples=1_500)
@pytest.mark.repetitive
@mutations
def test_mutated_strings_are_read_or_refused(text: str, at: float, removed: int, put: str) -> None:
    """A string that was changed anywhere raises nothing but our error, and what is still read is within bounds."""
    _read_mutated(text, at, removed, put)


@settings(max_examples=50_000)
@pytest.mark.slow
@pytest.mark.repetitive
@mutations
def test_mutated_strings_are_read_or_refused_for_minutes(text: str, at: float, removed: int, put: str) -> None:
    """A string that was changed anywhere raises nothing but our error, over many more changes."""
    _read_mutated(text, at, removed, put)


def _shows_canary(values: object) -> bool:
    return "canary" in f"{values!r} {values}".lower() or CANARY_B64[:12] in f"{values!r}"


REFUSALS: list[Callable[[], object]] = [
    lambda: parse(CANARY),
    lambda: parse(CANARY * 100),
    lambda: parse(CANARY + "ß"),
    lambda: parse(f"$2b$04${CANARY}"),
    lambda: parse(f"$2x$04${CANARY}"),
    lambda: parse(f"$2b$04${CANARY_OF_BCRYPT}{'=' * 31}"),
    lambda: parse(f"$2b$31${CANARY_OF_BCRYPT}{'.' * 31}"),
    lambda: parse(f"$argon2id$v=19$m=1,t=1,p=1${CANARY}${CANARY_B64[:-1]}"),
    lambda: parse(f"$argon2id$v=19$m=64,t=1,p=1,{CANARY}=1${CANARY}${CANARY_B64}"),
    lambda: parse(f"$scrypt$ln=30,r=8,p=1${CANARY}${CANARY_B64[:-1]}"),
    lambda: parse(f"$pbkdf2-sha256$0${CANARY}${CANARY_B64[:-1]}"),
    lambda: parse(f"$pbkdf2-sha256${CANARY}${CANARY}${CANARY_B64[:-1]}"),
    lambda: parse(f"$bcrypt-sha256${CANARY}${CANARY}${CANARY_B64}"),
    lambda: parse(f"$bcrypt-sha256$v=2,t=2b,r=31${CANARY_OF_BCRYPT}${'.' * 31}"),
    lambda: parse(f"pbkdf2_sha256$0${CANARY}${CANARY_B64}"),
    lambda: parse(f"scrypt$1${CANARY}$8$1${CANARY_B64}"),
    lambda: parse(f"scrypt:1:8:1${CANARY}${'00' * 64}"),
    lambda: parse(f"pbkdf2:sha256:{CANARY}${CANARY}${CANARY}"),
    lambda: parse(f"{{SSHA}}{CANARY_B64}"[:-3]),
    lambda: parse(f"{{SSHA256}}{CANARY_B64}"),
    lambda: parse(f"{{scrypt}}$1e0801${CANARY}==${CANARY_B64}"),
    lambda: parse(f"{{{CANARY}}}{CANARY}"),
    lambda: wrap(CANARY, "md5-hex", profile=fast_passwords),
    lambda: wrap("0" * 32, "md5-hex", salt=CANARY, profile=fast_passwords),
    lambda: wrap("0" * 32, "md5-salt-password", salt=CANARY * 20, profile=fast_passwords),
    lambda: check_layer("sha1-hex", CANARY.encode()),
    lambda: PasswordHasher(fast_passwords).verify(CANARY, hash=f"bcrypt$$2b$04${BCRYPT}"),
    lambda: PasswordHasher(fast_passwords).verify(CANARY, hash=wrap("0" * 32, "md5-hex", profile=fast_passwords)),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=range(len(REFUSALS)))
def test_no_error_shows_what_is_secret(refusal: Callable[[], object]) -> None:
    """A password, a stored hash and an old digest are in no message, attribute or frame of ours."""
    with pytest.raises((FormatError, PasswordError)) as caught:
        refusal()

    assert not [value for value in walk(caught.value) if _shows_canary(value)]


def test_nothing_shows_itself() -> None:
    """What holds a hash has a repr without it; a row of an old table names its key and its problem alone."""
    digest = CANARY.encode().hex()[:32]

    stored = parse(f"$argon2id$v=19$m=64,t=1,p=1${CANARY}${CANARY_B64[:-1]}")
    good, bad = import_table([(1, digest), (2, CANARY)], "md5-hex", fast_passwords)

    assert not _shows_canary([stored, good, bad])
    assert isinstance(good, Imported)
    assert str(good.hash) not in repr(good)
    assert repr(bad) == "Imported(key=2, hash=None, problem='a digest of md5-hex has 32 hexadecimal digits')"
