# SPDX-License-Identifier: Apache-2.0
"""What is stored verifies for its password and its user alone, and grows stronger; every failure is the same one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.exceptions import (
    KeyNotFoundError,
    KeyStateError,
    PasswordBusyError,
    PasswordError,
    SecureKitError,
    WrapperUnavailableError,
)
from securekit.keyring import Keyring
from securekit.passwords import Budget, PasswordHasher, Profile, Verified
from securekit.passwords._hasher import parse_hash
from securekit.passwords._onion import wrap
from securekit.testing import FakeClock, FlakyWrapper, fast_passwords, memory_store
from tests.conftest import Count
from tests.little_memory import little_memory

PASSWORD = "correct horse battery staple"
HASHER = PasswordHasher(fast_passwords)


@pytest.fixture
def pepper() -> Keyring:
    return memory_store().keyring("eu/acme/passwords", create=True)


def verify(hasher: PasswordHasher, password: str, stored: str | None, user: str | None = None) -> Verified:
    return hasher.verify(password, hash=stored, user=user)


def averify(hasher: PasswordHasher, password: str, stored: str | None, user: str | None = None) -> Verified:
    return asyncio.run(hasher.averify(password, hash=stored, user=user))


WAYS = pytest.mark.parametrize("check", [verify, averify])
Check = Callable[..., Verified]


@WAYS
@pytest.mark.parametrize("profile", ["modern", "owasp", "policy", "fips", "bcrypt"])
def test_a_password_verifies_under_each_profile(profile: str, check: Check) -> None:
    """What was hashed verifies, and is as good as can be."""
    hasher = PasswordHasher(profile)

    stored = hasher.hash(PASSWORD)

    assert check(hasher, PASSWORD, stored).new_hash is None
    assert len(stored) <= 200
    assert stored.isascii()


@WAYS
@pytest.mark.parametrize(
    ("password", "stored"),
    [
        ("correct horse", HASHER.hash(PASSWORD)),
        (PASSWORD + " ", HASHER.hash(PASSWORD)),
        (PASSWORD.upper(), HASHER.hash(PASSWORD)),
        ("", HASHER.hash(PASSWORD)),
        ("x" * 4097, HASHER.hash(PASSWORD)),
        ("\ud800", HASHER.hash(PASSWORD)),
        (PASSWORD, None),
        (PASSWORD, ""),
        (PASSWORD, PASSWORD),
        (PASSWORD, "!"),
        (PASSWORD, "sk1."),
        (PASSWORD, "sk1." + "A" * 200),
        (PASSWORD, "\ud800"),
        (PASSWORD, HASHER.hash(PASSWORD)[:-1]),
        (PASSWORD, HASHER.hash(PASSWORD).replace("m=8", "m=4194304")),
        (PASSWORD, HASHER.hash(PASSWORD).replace("m=8", "m=1048576")),  # within the parser's bounds, above the budget
        (PASSWORD, "$2b$31$" + "." * 53),
        (PASSWORD, "x" * 1_000_000),
    ],
)
def test_every_failure_is_the_same(password: str, stored: str | None, check: Check) -> None:
    """Type, text, arguments and causes are the same, whatever was wrong."""
    with pytest.raises(PasswordError) as caught:
        check(HASHER, password, stored)

    assert type(caught.value) is PasswordError
    assert caught.value.args == ("the password is not the one",)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("profile", ["modern", "policy", "fips", "bcrypt"])
def test_a_nul_at_the_end_is_another_password(profile: str) -> None:
    """HMAC, and so PBKDF2 and scrypt, take no notice of it: such a password neither verifies nor is hashed."""
    hasher = PasswordHasher(profile)
    stored = hasher.hash(PASSWORD)

    for ending in ("\0", "\0\0\0"):
        with pytest.raises(PasswordError):
            hasher.verify(PASSWORD + ending, hash=stored)
        with pytest.raises(PasswordError, match="does not end with a NUL"):
            hasher.hash(PASSWORD + ending)


@pytest.mark.parametrize("legacy_truncate", [False, True])
def test_a_password_that_bcrypt_repeats_is_another_password(legacy_truncate: bool) -> None:
    """It reads the password and a NUL in a circle, so that ``x`` and ``x NUL x`` have one hash: only the shorter one verifies."""
    hasher = PasswordHasher(fast_passwords, legacy_truncate=legacy_truncate)
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    within = bcrypt.hashpw(b"sec\0ret", bcrypt.gensalt(4)).decode()

    hasher.verify("secret", hash=stored)
    hasher.verify("sec\0ret", hash=within)
    for password in ("secret\0secret", "secret\0" * 11 + "secret", "secret\0" * 10 + "se"):
        with pytest.raises(PasswordError):
            hasher.verify(password, hash=stored)


@given(st.text(max_size=50), st.none() | st.text(max_size=100) | st.text(max_size=50).map("sk1.".__add__))
@settings(max_examples=300)
def test_whatever_is_typed_and_stored_a_login_ends(password: str, stored: str | None) -> None:
    """No input raises anything but the one error."""
    with pytest.raises(PasswordError):
        HASHER.verify(password, hash=stored)


@pytest.mark.parametrize(
    ("password", "reason"), [("", "not empty"), ("x" * 4097, "at most 4,096 characters"), ("\udfff" * 9, "lone surrogate")]
)
def test_what_can_never_verify_is_not_hashed(password: str, reason: str) -> None:
    """A new password that no login would accept is refused, and the message says why."""
    with pytest.raises(PasswordError, match=reason):
        HASHER.hash(password)
    with pytest.raises(PasswordError, match=reason):
        asyncio.run(HASHER.ahash(password))


def test_the_longest_password_verifies() -> None:
    """4,096 characters are hashed and verified, whatever their bytes."""
    password = "\U0001f40e" * 4096

    HASHER.verify(password, hash=HASHER.hash(password))
    with pytest.raises(PasswordError):
        HASHER.verify(password[:-1], hash=HASHER.hash(password))


def test_the_same_from_a_coroutine() -> None:
    """Coroutines hash and verify as functions do, many at once."""

    async def both() -> None:
        stored = await asyncio.gather(*(HASHER.ahash(f"{PASSWORD} {n}") for n in range(20)))
        await asyncio.gather(*(HASHER.averify(f"{PASSWORD} {n}", hash=text) for n, text in enumerate(stored)))
        with pytest.raises(PasswordError):
            await HASHER.averify(PASSWORD, hash=stored[0])

    asyncio.run(both())


def test_the_event_loop_goes_on() -> None:
    """While a password is hashed, the loop runs other tasks."""

    async def ticks() -> int:
        ticks, work = 0, asyncio.create_task(PasswordHasher().ahash(PASSWORD))
        while not work.done():
            await asyncio.sleep(0.001)
            ticks += 1
        await work
        return ticks

    assert asyncio.run(ticks()) >= 10


@pytest.mark.parametrize("password", [b"bytes", None, 4711])
def test_another_type_of_password_is_the_callers_bug(password: Any) -> None:
    """Bytes are no password, and the error does not show them."""
    for call in (HASHER.hash, lambda given: HASHER.verify(given, hash=None)):
        with pytest.raises(TypeError, match=rf"password must be str, not {type(password).__name__}$"):
            call(password)


def test_another_type_of_hash_is_the_callers_bug() -> None:
    """A column of bytes is decoded by the caller."""
    stored: Any = HASHER.hash(PASSWORD).encode()

    with pytest.raises(TypeError, match="hash must be str or None, not bytes"):
        HASHER.verify(PASSWORD, hash=stored)


def test_a_weaker_hash_is_strengthened_once() -> None:
    """The new hash verifies under the profile, and has no better one."""
    hasher = PasswordHasher("owasp")
    stored = HASHER.hash(PASSWORD)

    new = hasher.verify(PASSWORD, hash=stored).new_hash

    assert new is not None
    assert parse_hash(new).cost == hasher.profile.cost
    assert hasher.verify(PASSWORD, hash=new).new_hash is None
    with pytest.raises(PasswordError):
        hasher.verify("another", hash=stored)


def test_a_stronger_hash_is_never_exchanged_for_a_weaker_one() -> None:
    """A hasher of a lower profile leaves what is stored as it is."""
    stored = PasswordHasher("owasp").hash(PASSWORD)

    assert HASHER.verify(PASSWORD, hash=stored).new_hash is None


def test_nothing_is_strengthened_beyond_the_budget() -> None:
    """A hash that would need more memory than is granted is not made."""
    hasher = PasswordHasher(Profile("ours", "argon2id", {"m": 19_456, "t": 2, "p": 1}), max_memory=19)

    assert hasher.verify(PASSWORD, hash=HASHER.hash(PASSWORD)).new_hash is not None
    with pytest.raises(PasswordError):
        hasher.verify(PASSWORD, hash=PasswordHasher().hash(PASSWORD))


@WAYS
def test_a_peppered_hash_verifies_for_its_user_alone(pepper: Keyring, check: Check) -> None:
    """Rows that are swapped fail as wrong passwords do; what is stored is a record of the keyring."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    stored = hasher.hash(PASSWORD, user="7")

    assert check(hasher, PASSWORD, stored, "7").new_hash is None
    assert pepper.decrypt_text(stored, context={"purpose": "password", "user": "7"}).startswith("$securekit$")
    assert len(stored) <= 400
    too_long = pepper.encrypt_text(HASHER.hash(PASSWORD) + "x" * 9000, context={"purpose": "password", "user": "7"})
    for password, text, user in (
        (PASSWORD, stored, "8"),
        (PASSWORD, too_long, "7"),
        ("another", stored, "7"),
        (PASSWORD, stored[:-1] + "x", "7"),
        ("", stored, "7"),
    ):
        with pytest.raises(PasswordError) as caught:
            check(hasher, password, text, user)
        assert caught.value.args == ("the password is not the one",)
        assert caught.value.__context__ is None


def test_no_bit_of_a_peppered_hash_flips_unnoticed(pepper: Keyring, count: Count) -> None:
    """A changed record never verifies; one that names another key says that the key is unknown."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    stored = hasher.hash(PASSWORD, user="7")
    raw, flips = stored.encode(), 0
    for place in range(0, len(raw), 3):
        for bit in range(7):
            changed = (raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]).decode()
            with pytest.raises((PasswordError, KeyNotFoundError)):
                hasher.verify(PASSWORD, hash=changed, user="7")
            flips += 1
    count("bit flips of stored hashes", flips)


def test_a_new_pepper_key_is_taken_over_at_the_next_login(pepper: Keyring) -> None:
    """The same hash under the new primary: no work is done for it, and then there is nothing new."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    stored = hasher.hash(PASSWORD, user="7")
    pepper.rotate()

    new = hasher.verify(PASSWORD, hash=stored, user="7").new_hash

    assert new is not None
    assert not pepper.needs_reencrypt(new)
    inner = [pepper.decrypt_text(text, context={"purpose": "password", "user": "7"}) for text in (stored, new)]
    assert inner[0] == inner[1]
    assert hasher.verify(PASSWORD, hash=new, user="7").new_hash is None


def test_a_hash_without_pepper_is_peppered_at_the_next_login(pepper: Keyring) -> None:
    """What was stored before there was a pepper gets it, and only for the right password."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    stored = HASHER.hash(PASSWORD)

    new = hasher.verify(PASSWORD, hash=stored, user="7").new_hash

    assert new is not None
    assert pepper.decrypt_text(new, context={"purpose": "password", "user": "7"}) == stored
    with pytest.raises(PasswordError):
        hasher.verify("another", hash=stored, user="7")


def test_a_weak_peppered_hash_is_strengthened_and_stays_peppered(pepper: Keyring) -> None:
    """Both layers are renewed at once."""
    stored = PasswordHasher(fast_passwords, pepper=pepper).hash(PASSWORD, user="7")

    new = PasswordHasher("owasp", pepper=pepper).verify(PASSWORD, hash=stored, user="7").new_hash

    assert new is not None
    assert "m=19456,t=2" in pepper.decrypt_text(new, context={"purpose": "password", "user": "7"})


def test_a_pepper_within_a_pepper_does_not_verify(pepper: Keyring) -> None:
    """What lies under the pepper is a hash, and never another record."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    twice = hasher._peppered(hasher.hash(PASSWORD, user="7"), "7")

    with pytest.raises(PasswordError):
        hasher.verify(PASSWORD, hash=twice, user="7")


def test_the_user_is_needed_with_a_pepper_but_not_for_an_unknown_one(pepper: Keyring) -> None:
    """Who forgets the user learns it at once; for nobody there is no id to give."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    with pytest.raises(ValueError, match="give user"):
        hasher.hash(PASSWORD)
    with pytest.raises(ValueError, match="give user"):
        hasher.verify(PASSWORD, hash=HASHER.hash(PASSWORD))
    with pytest.raises(PasswordError):
        hasher.verify(PASSWORD, hash=None)


def test_a_missing_pepper_is_no_wrong_password(pepper: Keyring) -> None:
    """A hasher that was deployed without its keyring says so, and no user is told to be wrong."""
    stored = PasswordHasher(fast_passwords, pepper=pepper).hash(PASSWORD, user="7")

    with pytest.raises(KeyNotFoundError, match="no pepper"):
        HASHER.verify(PASSWORD, hash=stored)


def test_another_keyring_or_a_disabled_key_is_no_wrong_password(pepper: Keyring) -> None:
    """What an operator has to repair is an error of its own."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    stored = hasher.hash(PASSWORD, user="7")
    old = pepper.primary().id
    other = memory_store().keyring("eu/acme/passwords", create=True)
    with pytest.raises(KeyNotFoundError):
        PasswordHasher(fast_passwords, pepper=other).verify(PASSWORD, hash=stored, user="7")

    pepper.rotate()
    pepper.disable(old)
    with pytest.raises(KeyStateError):
        hasher.verify(PASSWORD, hash=stored, user="7")


def test_an_outage_of_the_kms_is_no_wrong_password() -> None:
    """When the pepper cannot be opened, the login fails as what it is, and can be retried."""
    clock, kms = FakeClock(), FlakyWrapper()
    pepper = memory_store(wrapper=kms, clock=clock, stale_if_error=3600).keyring("eu/acme/passwords", create=True)
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    stored = hasher.hash(PASSWORD, user="7")
    kms.unavailable = True
    clock.advance(86_400)

    for call in (lambda: hasher.verify(PASSWORD, hash=stored, user="7"), lambda: hasher.hash(PASSWORD, user="7")):
        with pytest.raises(WrapperUnavailableError):
            call()


def test_a_pepper_that_cannot_encrypt_does_not_keep_users_out() -> None:
    """A primary past its end decrypts: users log in, and nothing new is stored until there is a new key."""
    clock = FakeClock()
    pepper = memory_store(clock=clock).keyring("eu/acme/passwords", create=True)
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    pepper.rotate(not_after=datetime.fromtimestamp(clock.time(), UTC) + timedelta(hours=1))
    stored = hasher.hash(PASSWORD, user="7")
    clock.advance(7200)

    assert hasher.verify(PASSWORD, hash=stored, user="7").new_hash is None
    assert PasswordHasher("owasp", pepper=pepper).verify(PASSWORD, hash=stored, user="7").new_hash is None
    with pytest.raises(KeyStateError):
        hasher.hash(PASSWORD, user="7")


@WAYS
def test_where_a_pepper_is_required_a_hash_without_one_is_refused(check: Check, pepper: Keyring) -> None:
    """Whoever may write to the table, and has no key, puts in no password of their own; without a keyring, no such hasher is made."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper, pepper_required=True)
    stored = hasher.hash(PASSWORD, user="7")

    assert check(hasher, PASSWORD, stored, "7").new_hash is None
    with pytest.raises(PasswordError):
        check(hasher, PASSWORD, HASHER.hash(PASSWORD), "7")
    assert check(PasswordHasher(fast_passwords, pepper=pepper), PASSWORD, HASHER.hash(PASSWORD), "7").new_hash
    with pytest.raises(ValueError, match="needs a pepper"):
        PasswordHasher(fast_passwords, pepper_required=True)


def test_memory_that_the_system_does_not_grant_is_busy() -> None:
    """Where the system refuses the memory, the login can be retried, and no password is said to be wrong."""
    hasher = PasswordHasher(Profile("large", "argon2id", {"m": 1 << 21, "t": 1, "p": 1}), max_memory=2048)
    with little_memory():
        with pytest.raises(PasswordBusyError, match="does not grant") as caught:
            hasher.verify(PASSWORD, hash=None)
        with pytest.raises(PasswordBusyError):
            hasher.hash(PASSWORD)
    assert caught.value.__context__ is None


def test_options_that_contradict_each_other_are_refused(pepper: Keyring) -> None:
    """A hasher that could never work is not made."""
    wrong: Any = {"pepper": b"0123456789abcdef"}
    bound: Any = {"pepper": pepper.bind(purpose="password")}
    for options in (wrong, bound):
        with pytest.raises(TypeError, match="must be a Keyring"):
            PasswordHasher(fast_passwords, **options)
    with pytest.raises(ValueError, match="max_memory is 63"):
        PasswordHasher(max_memory=63)
    with pytest.raises(ValueError, match="not both"):
        PasswordHasher(budget=Budget(), max_waiting=3)


def test_what_is_shown_of_a_hasher(pepper: Keyring) -> None:
    """Its profile, and whether there is a pepper; of a verified password, whether there is a new hash."""
    assert repr(HASHER) == "<PasswordHasher fast_passwords>"
    assert repr(PasswordHasher(pepper=pepper)) == "<PasswordHasher modern, peppered>"
    assert (repr(Verified()), repr(Verified("$securekit$…"))) == ("Verified(new_hash=None)", "Verified(new_hash=********)")


def test_a_hostile_cost_takes_the_time_of_the_profile() -> None:
    """Whoever can write a row makes no login take longer than a failed one."""
    hostile = HASHER.hash(PASSWORD).replace("t=1", "t=4294967295")
    begin = time.process_time()

    with pytest.raises(SecureKitError):
        HASHER.verify(PASSWORD, hash=hostile)

    assert time.process_time() - begin < 0.1


@pytest.mark.parametrize("row", ["onion", "foreign"])
def test_what_is_slow_to_normalise_is_slow_for_every_row(row: str) -> None:
    """A password whose form NFKC takes milliseconds does not tell rows that were not made of that form from nobody's."""
    stored = wrap("0" * 32, "md5-hex", profile=fast_passwords)
    if row == "foreign":
        stored = "$argon2id" + HASHER.hash(PASSWORD).partition("$argon2id")[2]

    def seconds(given: str | None) -> float:
        times = []
        for _ in range(5):
            begin = time.thread_time()
            with pytest.raises(PasswordError):
                HASHER.verify("\ufdfa" * 4096, hash=given)
            times.append(time.thread_time() - begin)
        return min(times)

    assert seconds(stored) > seconds(None) / 2
