# SPDX-License-Identifier: Apache-2.0
"""What Django, Werkzeug, passlib, pwdlib and argon2-cffi make is verified, and what we make in a form of theirs they verify."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable

import argon2
import pytest
from django.contrib.auth import hashers
from passlib import hash as passlib
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from werkzeug.security import generate_password_hash

from securekit.passwords._cost import cost_of
from securekit.passwords._foreign import parse
from securekit.passwords._native import NativeHash
from tests.conftest import Count

SALT = "saltofours"

passlib.argon2.get_backend()  # which is loaded lazily, but not by a hasher of other costs


class DjangoBcrypt(hashers.BCryptPasswordHasher):
    rounds = 4


class DjangoBcryptSha256(hashers.BCryptSHA256PasswordHasher):
    rounds = 4


class DjangoScrypt(hashers.ScryptPasswordHasher):
    work_factor = 16
    parallelism = 2


class DjangoArgon2(hashers.Argon2PasswordHasher):
    time_cost, memory_cost, parallelism = 1, 32, 2


def ldap(name: str, algorithm: str) -> Callable[[str], str]:
    """Return what makes a directory's salted digest, as OpenLDAP does."""

    def made(password: str) -> str:
        salt = os.urandom(8)
        return f"{{{name}}}{b64encode(hashlib.new(algorithm, password.encode() + salt).digest() + salt).decode()}"

    return made


MAKERS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "django pbkdf2": ("django", "pbkdf2-sha256", lambda password: hashers.PBKDF2PasswordHasher().encode(password, SALT, iterations=3)),
    "django pbkdf2 sha1": (
        "django",
        "pbkdf2-sha1",
        lambda password: hashers.PBKDF2SHA1PasswordHasher().encode(password, SALT, iterations=3),
    ),
    "django scrypt": ("django", "scrypt", lambda password: DjangoScrypt().encode(password, SALT)),
    "django bcrypt": ("django", "bcrypt", lambda password: DjangoBcrypt().encode(password, DjangoBcrypt().salt())),
    "django bcrypt sha256": ("django", "bcrypt", lambda password: DjangoBcryptSha256().encode(password, DjangoBcryptSha256().salt())),
    "django argon2": ("django", "argon2id", lambda password: DjangoArgon2().encode(password, SALT)),
    "werkzeug scrypt": ("werkzeug", "scrypt", lambda password: generate_password_hash(password, "scrypt:1024:8:1")),
    "werkzeug pbkdf2": ("werkzeug", "pbkdf2-sha256", lambda password: generate_password_hash(password, "pbkdf2:sha256:3")),
    "werkzeug pbkdf2 sha1": ("werkzeug", "pbkdf2-sha1", lambda password: generate_password_hash(password, "pbkdf2:sha1:3")),
    "werkzeug pbkdf2 sha512": ("werkzeug", "pbkdf2-sha512", lambda password: generate_password_hash(password, "pbkdf2:sha512:3")),
    "passlib pbkdf2 sha1": ("passlib", "pbkdf2-sha1", passlib.pbkdf2_sha1.using(rounds=3).hash),
    "passlib pbkdf2 sha256": ("passlib", "pbkdf2-sha256", passlib.pbkdf2_sha256.using(rounds=3).hash),
    "passlib pbkdf2 sha512": ("passlib", "pbkdf2-sha512", passlib.pbkdf2_sha512.using(rounds=3).hash),
    "passlib scrypt": ("phc", "scrypt", passlib.scrypt.using(rounds=4).hash),
    "passlib argon2": ("phc", "argon2id", passlib.argon2.using(time_cost=1, memory_cost=32, parallelism=2).hash),
    "passlib bcrypt": ("mcf", "bcrypt", passlib.bcrypt.using(rounds=4).hash),
    "passlib bcrypt 2a": ("mcf", "bcrypt", passlib.bcrypt.using(rounds=4, ident="2a").hash),
    "passlib bcrypt 2y": ("mcf", "bcrypt", passlib.bcrypt.using(rounds=4, ident="2y").hash),
    "passlib bcrypt sha256": ("passlib", "bcrypt", passlib.bcrypt_sha256.using(rounds=4).hash),
    "passlib bcrypt sha256 v1": ("passlib", "bcrypt", passlib.bcrypt_sha256.using(rounds=4, version=1).hash),
    "passlib ssha": ("ldap", "sha1", passlib.ldap_salted_sha1.hash),
    "passlib ssha256": ("ldap", "sha256", passlib.ldap_salted_sha256.hash),
    "ssha": ("ldap", "sha1", ldap("SSHA", "sha1")),
    "ssha256": ("ldap", "sha256", ldap("SSHA256", "sha256")),
    "ssha512": ("ldap", "sha512", ldap("SSHA512", "sha512")),
    "pwdlib argon2": ("phc", "argon2id", Argon2Hasher(time_cost=1, memory_cost=32, parallelism=2).hash),
    "pwdlib bcrypt": ("mcf", "bcrypt", BcryptHasher(rounds=4).hash),
    "argon2-cffi i": ("phc", "argon2i", argon2.PasswordHasher(1, 32, 2, type=argon2.Type.I).hash),
    "argon2-cffi d": ("phc", "argon2d", argon2.PasswordHasher(1, 32, 2, type=argon2.Type.D).hash),
    "spring argon2": (
        "spring",
        "argon2id",
        lambda password: "{argon2@SpringSecurity_v5_8}" + argon2.PasswordHasher(1, 32, 2).hash(password),
    ),
    "spring bcrypt": ("spring", "bcrypt", lambda password: "{bcrypt}" + BcryptHasher(rounds=4, prefix="2a").hash(password)),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_what_others_make_is_verified(maker: str, count: Count) -> None:
    """A hash made there matches its password here, with characters beyond ASCII too, and no other one; the form and the scheme are told."""
    form, scheme, make = MAKERS[maker]

    for password in ("password", "pässwörd ☃", "x", "y" * 72):
        stored = parse(make(password))
        assert (stored.form, stored.cost.scheme) == (form, scheme)
        assert stored.matches(password.encode())
        assert not stored.matches(password.encode() + b"x")
        assert not stored.matches(b"")
        count("hashes of other libraries verified", 1)


def test_springs_pbkdf2_since_5_8() -> None:
    """The id stands for 310,000 iterations with SHA-256 and a salt of 16 bytes before the digest, as in Spring's source."""
    salt = bytes(range(16))
    both = salt + hashlib.pbkdf2_hmac("sha256", b"password", salt, 310_000)

    assert parse(f"{{pbkdf2@SpringSecurity_v5_8}}{both.hex()}").matches(b"password")


def test_what_we_make_is_verified_by_others() -> None:
    """Argon2id and scrypt of ours are strings that argon2-cffi, pwdlib and passlib verify, without the first two fields."""
    made = NativeHash.create(cost_of("argon2id", {"m": 32, "t": 1, "p": 2}), b"password").text().removeprefix("$securekit$v=1,n=nfkc")
    assert argon2.PasswordHasher().verify(made, "password")
    assert Argon2Hasher().verify("password", made)
    assert passlib.argon2.verify("password", made)
    assert parse(made).matches(b"password")

    made = NativeHash.create(cost_of("scrypt", {"n": 16, "r": 8, "p": 2}), b"password").text().removeprefix("$securekit$v=1,n=nfkc")
    assert passlib.scrypt.verify("password", made)
    assert parse(made).matches(b"password")
