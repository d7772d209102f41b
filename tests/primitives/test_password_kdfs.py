# SPDX-License-Identifier: Apache-2.0
"""The functions that hash passwords agree with published answers, work in parallel, and fail as a lack of memory."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives import password_kdfs as kdfs
from tests.conftest import Count
from tests.little_memory import little_memory

VECTORS = Path(__file__).parents[1] / "vectors"
# What argon2-cffi has no way to ask for: a secret or associated data besides the password, which RFC 9106's own three vectors have.
NOT_OURS = {("argon2d", "0"), ("argon2i", "0"), ("argon2id", "0")}
# Of openwall's crypt_blowfish, wrapper.c: password, salt, the string.
OPENWALL = [
    (b"U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.", "E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    (b"U*U*", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.", "VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
    (b"U*U*U", "$2b$05$XXXXXXXXXXXXXXXXXXXXXO", "AcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"),
]


def blocks(name: str) -> dict[str, dict[str, str]]:
    """Return the cases of one of pyca's files by their numbers."""
    parts = (VECTORS / "pyca-kdf" / name).read_text().split("COUNT = ")[1:]
    return {part.split()[0]: dict(re.findall(r"^(\w+) = ?(.*)$", part, re.MULTILINE)) for part in parts}


def test_every_published_vector_of_argon2(count: Count) -> None:
    """The three variants give what is published; what cannot be asked for is a frozen list."""
    left_out = set()
    for variant in ("argon2d", "argon2i", "argon2id"):
        for number, case in blocks(f"{variant}.txt").items():
            if "secret" in case:
                left_out.add((variant, number))
                continue
            numbers = {name: int(case[key]) for name, key in (("memory", "memcost"), ("passes", "iter"), ("lanes", "lanes"))}
            derived = kdfs.argon2(
                bytes.fromhex(case["pass"]), salt=bytes.fromhex(case["salt"]), size=int(case["length"]), variant=variant, **numbers
            )
            assert derived.hex() == case["output"].strip().lower()
            count("vectors of password hashes", 1)
    assert left_out == NOT_OURS


def test_every_vector_of_rfc_7914(count: Count) -> None:
    """Scrypt gives what its RFC says, with a gibibyte too."""
    for case in blocks("scrypt.txt").values():
        n, r, p, size = (int(case[name]) for name in ("N", "r", "p", "LENGTH"))
        derived = kdfs.scrypt(case["PASSWORD"].encode(), salt=case["SALT"].encode(), n=n, r=r, p=p, size=size)
        assert derived.hex() == case["DERIVED_KEY"]
        count("vectors of password hashes", 1)


def test_every_vector_of_rfc_6070(count: Count) -> None:
    """PBKDF2 with SHA-1 gives what its RFC says, with a NUL and 16 million iterations too."""
    for case in blocks("rfc-6070-PBKDF2-SHA1.txt").values():
        password, salt = (case[name].encode().replace(b"\\0", b"\0") for name in ("PASSWORD", "SALT"))
        derived = kdfs.pbkdf2(password, salt=salt, iterations=int(case["ITERATIONS"]), size=int(case["LENGTH"]), digest="sha1")
        assert derived.hex() == case["DERIVED_KEY"]
        count("vectors of password hashes", 1)


@pytest.mark.parametrize(("digest", "cases"), [("sha1", 64), ("sha256", 60), ("sha512", 58)])
def test_every_vector_of_wycheproof(digest: str, cases: int, count: Count) -> None:
    """PBKDF2 gives what Wycheproof says, whatever the bytes of the password; all its vectors are valid."""
    file: dict[str, Any] = json.loads((VECTORS / "wycheproof" / f"pbkdf2_hmac{digest}_test.json").read_text())
    tests = [test for group in file["testGroups"] for test in group["tests"]]

    for test in tests:
        password, salt = bytes.fromhex(test["password"]), bytes.fromhex(test["salt"])
        derived = kdfs.pbkdf2(password, salt=salt, iterations=test["iterationCount"], size=test["dkLen"], digest=digest)
        assert (derived.hex(), test["result"]) == (test["dk"], "valid")
    assert len(tests) == cases
    count("vectors of password hashes", cases)


@pytest.mark.parametrize(("password", "setting", "digest"), OPENWALL)
def test_bcrypt_is_openwalls(password: bytes, setting: str, digest: str) -> None:
    """From raw salt to raw digest, and both in bcrypt's own base 64."""
    salt = kdfs.bcrypt_decode(setting[7:].encode(), size=16)

    assert kdfs.bcrypt_encode(kdfs.bcrypt(password, salt=salt, rounds=5)).decode() == digest


@given(st.binary(max_size=40))
def test_the_base_64_of_bcrypt_comes_back(data: bytes) -> None:
    """What was encoded is decoded to the same bytes."""
    assert kdfs.bcrypt_decode(kdfs.bcrypt_encode(data), size=len(data)) == data


@pytest.mark.parametrize(
    "text", ["", "CCCCCCCCCCCCCCCCCCCCC", "CCCCCCCCCCCCCCCCCCCCC/", "CCCCCCCCCCCCCCCCCCCC+.", "CCCCCCCCCCCCCCCCCCCCC=", "C" * 21 + "\n"]
)
def test_another_encoding_is_refused(text: str) -> None:
    """A salt has one text: no trailing bits, no padding, no character of another alphabet."""
    with pytest.raises(ValueError, match=r".") as caught:
        kdfs.bcrypt_decode(text.encode(), size=16)
    assert text not in str(caught.value) or not text


def test_memory_that_is_not_granted_is_a_memory_error() -> None:
    """Where the system refuses the memory, the frames of what is raised do not hold the password."""
    with little_memory():
        with pytest.raises(MemoryError, match="not granted 8388608 KiB") as caught:
            kdfs.argon2(b"correct horse", salt=bytes(16), memory=8 << 20, passes=1, lanes=1, size=32)
        with pytest.raises(MemoryError):
            kdfs.scrypt(b"correct horse", salt=bytes(16), n=1 << 23, r=8, p=1, size=32)
    trace = caught.value.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    assert b"correct horse" not in trace.tb_next.tb_frame.f_locals.values()


@pytest.mark.parametrize(
    "work",
    [
        lambda: kdfs.argon2(b"password", salt=bytes(16), memory=65_536, passes=3, lanes=1, size=32),
        lambda: kdfs.scrypt(b"password", salt=bytes(16), n=1 << 16, r=8, p=1, size=32),
        lambda: kdfs.pbkdf2(b"password", salt=bytes(16), iterations=600_000, size=32),
        lambda: kdfs.bcrypt(b"password", salt=bytes(16), rounds=11),
    ],
    ids=["argon2", "scrypt", "pbkdf2", "bcrypt"],
)
def test_the_interpreter_goes_on_meanwhile(work: Any) -> None:
    """While a password is hashed in one thread, another one runs: no function holds the interpreter's lock."""
    with ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(work)
        ticks = 0
        while not hashed.done():
            time.sleep(0.001)
            ticks += 1
    assert ticks >= 10


def test_md4_is_there_or_says_why_not() -> None:
    """Where OpenSSL has MD4 it is RFC 1320's; elsewhere the error says what is missing, and holds no password."""
    answer: bytes | NotImplementedError
    try:
        answer = kdfs.md4(b"abc")
    except NotImplementedError as error:
        answer = error

    if isinstance(answer, bytes):
        assert answer.hex() == "a448017aaf21d8525fc10ae87aa6729d"
    else:
        assert "no MD4" in str(answer)
        assert answer.__context__ is None
