# SPDX-License-Identifier: Apache-2.0
"""Passwords and hashes that are easy to recognise are in nothing that hashing shows, logs or raises."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from securekit.exceptions import FormatError, SecureKitError
from securekit.passwords import Budget, PasswordHasher, Profile
from securekit.passwords._hasher import _Hashing, _Login, parse_hash
from securekit.passwords._native import NativeHash
from securekit.passwords._password import Password
from securekit.passwords._phc import Phc
from securekit.testing import FakeClock, FlakyWrapper, fast_passwords, memory_store
from tests.canaries import walk
from tests.conftest import Count
from tests.little_memory import little_memory
from tests.wrappers.test_canaries import _shapes

PASSWORD = "canary-password äöü"
SALT = b"canary-salt-0123"
DIGEST = b"canary-digest-0123456789abcdefgh"
SHAPES = {shape for secret in (PASSWORD.encode(), SALT, DIGEST) for shape in _shapes(secret)}
HASHER = PasswordHasher(fast_passwords)
STORED = NativeHash(fast_passwords.cost, salt=SALT, digest=DIGEST)
PEPPER = memory_store().keyring("eu/acme/passwords", create=True)
PEPPERED = PasswordHasher(fast_passwords, pepper=PEPPER)
SHAPES |= {"$argon2id$", STORED.text(), *STORED.text().split("$")[-2:]}
LONG = PASSWORD * 1000


def check(*values: object) -> None:
    """Fail if a canary stands in the repr or text of anything."""
    for value in values:
        for text in (repr(value), str(value)):
            assert not [shape for shape in SHAPES if shape in text]


@pytest.mark.parametrize(
    "holder",
    [
        STORED,
        Password(PASSWORD),
        Phc("argon2id", {}, salt=SALT, digest=DIGEST),
        HASHER,
        PEPPERED,
        _Hashing(HASHER, Password(PASSWORD), None),
        _Login(HASHER, Password(PASSWORD), STORED.text(), None).prepared(),
        HASHER.verify(PASSWORD, hash=HASHER.hash(PASSWORD)),
        PasswordHasher("owasp").verify(PASSWORD, hash=HASHER.hash(PASSWORD)),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_no_holder_shows_its_secret(holder: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Representations, containers and logs are redacted; pickle, copy and JSON refuse."""
    check(holder, [holder], {"key": holder})
    logging.getLogger("test").error("%s %r", holder, holder)
    check(caplog.text)
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            write(holder)
        check(*walk(caught.value, frames_of=SecureKitError))


def busy() -> PasswordHasher:
    """Return a hasher whose budget is held by somebody else for ever."""
    budget = Budget(max_waiting=0, max_running=1)
    asyncio.run(budget.aadmit(1))
    return PasswordHasher(fast_passwords, budget=budget)


def unreachable() -> PasswordHasher:
    """Return a hasher whose pepper cannot be opened any more."""
    clock, kms = FakeClock(), FlakyWrapper()
    ring = memory_store(wrapper=kms, clock=clock, stale_if_error=3600).keyring("eu/acme/passwords", create=True)
    hasher = PasswordHasher(fast_passwords, pepper=ring)
    hasher.hash("another", user="7")
    kms.unavailable = True
    clock.advance(86_400)
    return hasher


def in_little_memory(call: Callable[[PasswordHasher], object]) -> None:
    """Call with a hasher whose memory the system does not grant."""
    with little_memory():
        call(PasswordHasher(Profile("large", "argon2id", {"m": 1 << 21, "t": 1, "p": 1}), max_memory=2048))


def record() -> str:
    return PEPPER.encrypt_text(STORED.text(), context={"purpose": "password", "user": "7"})


FAILURES: dict[str, Callable[[], object]] = {
    "wrong password": lambda: HASHER.verify(PASSWORD, hash=STORED.text()),
    "wrong password, in a coroutine": lambda: asyncio.run(HASHER.averify(PASSWORD, hash=STORED.text())),
    "wrong password, peppered": lambda: PEPPERED.verify(PASSWORD, hash=record(), user="7"),
    "wrong password, peppered, in a coroutine": lambda: asyncio.run(PEPPERED.averify(PASSWORD, hash=record(), user="7")),
    "wrong user, peppered": lambda: PEPPERED.verify(PASSWORD, hash=record(), user="8"),
    "no user": lambda: HASHER.verify(PASSWORD, hash=None),
    "malformed hash": lambda: HASHER.verify(PASSWORD, hash=STORED.text() + "$"),
    "hostile cost": lambda: HASHER.verify(PASSWORD, hash=STORED.text().replace("m=8", "m=4194304")),
    "too long to verify": lambda: HASHER.verify(LONG, hash=STORED.text()),
    "too long to hash": lambda: HASHER.hash(LONG),
    "too long to hash, in a coroutine": lambda: asyncio.run(HASHER.ahash(LONG)),
    "not encodable": lambda: HASHER.hash(PASSWORD + "\ud800"),
    "not encodable to verify": lambda: HASHER.verify(PASSWORD + "\ud800", hash=STORED.text()),
    "busy to verify": lambda: busy().verify(PASSWORD, hash=STORED.text()),
    "busy to hash": lambda: busy().hash(PASSWORD),
    "busy in a coroutine": lambda: asyncio.run(busy().averify(PASSWORD, hash=STORED.text())),
    "no memory to verify": lambda: in_little_memory(lambda hasher: hasher.verify(PASSWORD, hash=STORED.text().replace("m=8", "m=65536"))),
    "no memory to hash": lambda: in_little_memory(lambda hasher: hasher.hash(PASSWORD)),
    "no memory in a coroutine": lambda: in_little_memory(lambda hasher: asyncio.run(hasher.ahash(PASSWORD))),
    "no pepper": lambda: HASHER.verify(PASSWORD, hash=record()),
    "pepper unreachable to hash": lambda: unreachable().hash(PASSWORD, user="7"),
    "pepper unreachable to hash, in a coroutine": lambda: asyncio.run(unreachable().ahash(PASSWORD, user="7")),
    "pepper unreachable to verify": lambda: unreachable().verify(PASSWORD, hash=record(), user="7"),
    "pepper unreachable in a coroutine": lambda: asyncio.run(unreachable().averify(PASSWORD, hash=record(), user="7")),
}


@pytest.mark.parametrize("name", FAILURES)
def test_no_error_shows_a_password_or_a_hash(name: str, caplog: pytest.LogCaptureFixture, count: Count) -> None:
    """Text, attributes, causes and the variables of our frames hold no canary, whatever failed."""
    caplog.set_level(logging.DEBUG)

    with pytest.raises(SecureKitError) as caught:
        FAILURES[name]()

    check(*walk(caught.value, frames_of=SecureKitError))
    check(caplog.text, "".join(traceback.format_exception(caught.value)).replace("FAILURES", ""))
    count("error paths walked for canaries", 1)


def test_a_user_that_cannot_be_bound_shows_no_hash() -> None:
    """An id that is too long, or no text, is the caller's bug: what is raised holds neither the password nor its hash."""
    for user in ("\ud800", "x" * 5000):
        with pytest.raises(ValueError, match="a context value") as caught:
            PEPPERED.hash(PASSWORD, user=user)
        check(*walk(caught.value))


PIECES = [STORED.text()[:-1], STORED.text() + "=", STORED.text().replace("n=nfkc", "n=nfd"), "$argon2id$" + STORED.text(), PASSWORD]


@pytest.mark.parametrize("text", PIECES)
def test_no_error_of_the_parser_shows_what_it_read(text: str) -> None:
    """What was stored in the place of a hash may be a password: neither message nor frames repeat it."""
    with pytest.raises(FormatError) as caught:
        parse_hash(text)
    check(*walk(caught.value, frames_of=SecureKitError))


def test_nothing_is_left_behind_by_a_login() -> None:
    """A hasher keeps neither the password nor the hash that it was given."""
    with suppress(SecureKitError):
        HASHER.verify(PASSWORD, hash=STORED.text())
    check(*(getattr(HASHER, name) for name in HASHER.__slots__))
    check(*(vars(HASHER.budget) if hasattr(HASHER.budget, "__dict__") else ()), HASHER.budget._line)
