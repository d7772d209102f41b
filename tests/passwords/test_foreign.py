# SPDX-License-Identifier: Apache-2.0
"""Stored hashes of others are read strictly: one encoding each, bounds on whatever costs something, and reasons that show no hash."""

from __future__ import annotations

import base64
import pickle

import bcrypt
import pytest

from securekit.exceptions import FormatError
from securekit.passwords import Cost
from securekit.passwords._foreign import parse
from tests.conftest import Count

SALT16 = "AAECAwQFBgcICQoLDA0ODw"  # bytes 0 to 15
DIGEST = base64.b64encode(bytes(32)).decode()
DIGEST32 = DIGEST.rstrip("=")
BCRYPT = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
REST = BCRYPT[7:]
SHA1 = base64.b64encode(bytes(24)).decode()

COSTS = {
    f"$argon2id$v=19$m=64,t=2,p=1${SALT16}${DIGEST32}": ("phc", Cost("argon2id", 64, {"m": 64, "t": 2, "p": 1}, 256)),
    f"$argon2i$v=16$m=64,t=2,p=1${SALT16}${DIGEST32}": ("phc", Cost("argon2i", 64, {"m": 64, "t": 2, "p": 1}, 256)),
    f"$argon2d$m=64,t=2,p=1${SALT16}${DIGEST32}": ("phc", Cost("argon2d", 64, {"m": 64, "t": 2, "p": 1}, 256)),
    f"$scrypt$ln=10,r=8,p=1${SALT16}${DIGEST32}": ("phc", Cost("scrypt", 1024, {"n": 1024, "r": 8, "p": 1}, 256)),
    f"$pbkdf2-sha256$i=1000${SALT16}${DIGEST32}": ("phc", Cost("pbkdf2-sha256", 0, {"iterations": 1000}, 256)),
    f"$pbkdf2-sha512$i=1000,l=32${SALT16}${DIGEST32}": ("phc", Cost("pbkdf2-sha512", 0, {"iterations": 1000}, 256)),
    f"$pbkdf2-sha256$1000${SALT16}${DIGEST32}": ("passlib", Cost("pbkdf2-sha256", 0, {"iterations": 1000}, 256)),
    BCRYPT: ("mcf", Cost("bcrypt", 4, {"rounds": 4}, 184)),
    f"$bcrypt-sha256$v=2,t=2b,r=12${REST[:22]}${REST[22:]}": ("passlib", Cost("bcrypt", 4, {"rounds": 12}, 184)),
    f"bcrypt${BCRYPT}": ("django", Cost("bcrypt", 4, {"rounds": 4}, 184)),
    f"scrypt:1024:8:1$salt${'00' * 64}": ("werkzeug", Cost("scrypt", 1024, {"n": 1024, "r": 8, "p": 1}, 512)),
    f"pbkdf2:sha1:1000$salt${'00' * 20}": ("werkzeug", Cost("pbkdf2-sha1", 0, {"iterations": 1000}, 160)),
    f"{{scrypt@SpringSecurity_v5_8}}$100801${SALT16}==${DIGEST}": ("spring", Cost("scrypt", 65536, {"n": 65536, "r": 8, "p": 1}, 256)),
    f"{{pbkdf2@SpringSecurity_v5_8}}{'00' * 48}": ("spring", Cost("pbkdf2-sha256", 0, {"iterations": 310_000}, 256)),
    f"{{ssha}}{SHA1}": ("ldap", Cost("sha1", 0, {}, 160)),
}

WHOLE = [
    f"pbkdf2_sha256$1000$salt${DIGEST}",
    f"pbkdf2_sha1$1000$salt${base64.b64encode(bytes(20)).decode()}",
    f"scrypt$1024$salt$8$1${base64.b64encode(bytes(64)).decode()}",
    f"$pbkdf2$1000${SALT16}${base64.b64encode(bytes(20)).decode().rstrip('=')}",
    f"$pbkdf2-sha512$1000${SALT16}${base64.b64encode(bytes(64)).decode().rstrip('=')}",
    f"pbkdf2:sha512:1000$salt${'00' * 64}",
]

REFUSED = {
    "": "no form",
    "password": "no form",
    "$": "no form",
    "{": "no form",
    "{}": "no form",
    "{noop}password": "no form",
    "{ldap}password": "no form",
    f"{{ldap}}{{bcrypt}}{BCRYPT}": "no form",
    "$1$salt$4Eu2fbQUq/MsBcCNnTs5U/": "no form",
    "md5$salt$67a1e09bb1f83f5007dc119c14d663aa": "no form",
    "sha1$salt$59b3e8d637cf97edbe2384cf59cb7453dfe30789": "no form",
    "!dHXtFW7iJ4xwNbTLVA5Ef1ovaq9rBvYVjQsXTW7Y": "no password is set",
    "$" * 1025: "at most 1,024 characters",
    BCRYPT + "\n": "printable",
    BCRYPT.replace("c", "ç"): "printable",
    # bcrypt
    BCRYPT.replace("$2b$", "$2$"): "first version",
    BCRYPT.replace("$2b$", "$2x$"): "fault in crypt_blowfish",
    BCRYPT[:-1]: "60 characters",
    BCRYPT[:6] + "." + BCRYPT[7:]: "60 characters",
    BCRYPT.replace("$04$", "$4$0"): "60 characters",
    BCRYPT.replace("$04$", "$00$"): "out of bounds",
    BCRYPT.replace("$04$", "$ 4$"): "not a decimal number",
    BCRYPT.replace("SO026", "SP026"): "its base 64",
    BCRYPT[:-1] + "n": "its base 64",
    BCRYPT[:-1] + "+": "its base 64",
    "bcrypt$$2x$" + BCRYPT[4:]: "60 characters",
    f"bcrypt{BCRYPT}": "60 characters",
    f"$bcrypt-sha256$v=2,t=2b,r=04${REST}": "leading zeros",
    f"$bcrypt-sha256$v=2,t=2b,r=4${REST[:30]}": "its base 64",
    f"$bcrypt-sha256$v=2,t=2x,r=4${REST[:22]}${REST[22:]}": "passlib's bcrypt-sha256",
    f"$bcrypt-sha256$v=2,t=2b,4${REST[:22]}${REST[22:]}": "passlib's bcrypt-sha256",
    # argon2
    f"$argon2id$v=18$m=64,t=2,p=1${SALT16}${DIGEST32}": "version 16 or 19",
    f"$argon2id$v=19$m=64,t=2${SALT16}${DIGEST32}": "m, t and p",
    f"$argon2id$v=19$m=64,t=2,p=1$AAAA${DIGEST32}": "8 bytes or more",
    f"$argon2id$v=19$m=64,t=2,p=1${SALT16}$AAAA": "12 to 64 bytes",
    f"$argon2id$v=19$m=64,t=2,p=1${SALT16}${'A' * 88}": "12 to 64 bytes",
    f"$argon2id$v=19$m=7,t=2,p=1${SALT16}${DIGEST32}": "out of bounds",
    f"$argon2id$v=19$m=064,t=2,p=1${SALT16}${DIGEST32}": "leading zeros",
    f"argon2$v=19$m=64,t=2,p=1${SALT16}${DIGEST32}": "argon2id",
    f"{{argon2}}argon2id$v=19$m=64,t=2,p=1${SALT16}${DIGEST32}": "argon2id",
    # scrypt
    f"$scrypt$v=1$ln=10,r=8,p=1${SALT16}${DIGEST32}": "no version",
    f"$scrypt$ln=10,r=8${SALT16}${DIGEST32}": "ln, r and p",
    f"scrypt$1024$salt$8$1${DIGEST}$": "n, salt, r, p and digest",
    f"scrypt$1024$$8$1${DIGEST}": "not empty",
    f"scrypt$1024$salt$8$1${DIGEST32}": "not base 64",
    f"scrypt$1000$salt$8$1${DIGEST}": "out of bounds",
    f"scrypt:1024:8$salt${'00' * 64}": "Werkzeug",
    f"scrypt:1024:8:1$${'00' * 64}": "Werkzeug",
    f"pbkdf2:sha256:1000$${'00' * 32}": "Werkzeug",
    f"scrypt:1024:8:1$salt${'0A' * 64}": "lower case",
    f"scrypt:1024:8:1$salt${'0g' * 64}": "hexadecimal",
    f"{{scrypt}}e0801${SALT16}==${DIGEST}": "parameters",
    f"{{scrypt}}$-e0801${SALT16}==${DIGEST}": "hexadecimal",
    f"{{scrypt}}$${SALT16}==${DIGEST}": "out of bounds",
    # PBKDF2
    f"$pbkdf2-sha256$1000${SALT16}": "iterations, salt and digest",
    f"$pbkdf2-sha256$1000$AA+A${DIGEST32}": "iterations, salt and digest",
    f"$pbkdf2-sha256$i=1000,l=31${SALT16}${DIGEST32}": "length of its digest",
    f"$pbkdf2-sha256$x=1000${SALT16}${DIGEST32}": "length of its digest",
    f"pbkdf2_sha256$1_000$salt${DIGEST}": "not a decimal number",
    f"pbkdf2_sha256$1000$${DIGEST}": "not empty",
    f"pbkdf2_sha256$0$salt${DIGEST}": "out of bounds",
    f"pbkdf2:md5:1000$salt${'00' * 16}": "Werkzeug",
    f"{{pbkdf2}}{'00' * 41}": "8 bytes of salt and 32",
    # directories
    "{SSHA}" + base64.b64encode(bytes(20)).decode(): "20 bytes and then a salt",
    "{SSHA256}" + base64.b64encode(bytes(32)).decode(): "32 bytes and then a salt",
    "{SSHA}" + SHA1 + "====": "not base 64",
}


@pytest.mark.parametrize("text", COSTS)
def test_form_and_cost_are_told_before_any_work(text: str) -> None:
    """Who wrote a string, and what a verification costs, is known from reading it; what holds it shows nothing and is not pickled."""
    stored = parse(text)

    assert (stored.form, stored.cost) == COSTS[text]
    assert repr(stored) == "<ForeignHash ********>"
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        pickle.dumps(stored)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_said(text: str, count: Count) -> None:
    """What is no hash, or not in its one encoding, is refused with a reason."""
    with pytest.raises(FormatError, match=REFUSED[text]):
        parse(text)
    count("malformed stored hashes refused", 1)


def test_every_truncation_is_refused(count: Count) -> None:
    """What a column that was too narrow cut off is not read, in any form whose digest has a length of its own.

    Argon2's is part of what is hashed, so that no password matches a digest that was cut off.
    """
    texts = [text for text in [*COSTS, *WHOLE] if "$argon2" not in text and "{ssha}" not in text]

    for text in texts:
        for end in range(len(text)):
            with pytest.raises(FormatError):
                parse(text[:end])
    count("malformed stored hashes refused", sum(map(len, texts)))


@pytest.mark.parametrize("form", ["{}", "bcrypt${}", "{{bcrypt}}{}"])
def test_a_password_over_72_bytes_is_a_wrong_one(form: str) -> None:
    """Bcrypt looks at 72 bytes: a longer password does not match, unless old hashes are to be verified as they were made."""
    password = b"p" * 72
    text = form.format(bcrypt.hashpw(password, bcrypt.gensalt(4)).decode())

    assert parse(text).matches(password)
    assert not parse(text).matches(password + b"x")
    assert parse(text, legacy_truncate=True).matches(password + b"x")
    assert not parse(text, legacy_truncate=True).matches(b"x" + password)


def test_argon2_from_before_2016_has_its_own_version() -> None:
    """A string without a version, or with 16, is of another Argon2 than one with 19."""
    old = "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ"  # of the reference's test.c

    assert parse(old).matches(b"password")
    assert parse(old.replace("$m=", "$v=16$m=")).matches(b"password")
    assert not parse(old.replace("$m=", "$v=19$m=")).matches(b"password")
