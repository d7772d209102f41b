# SPDX-License-Identifier: Apache-2.0
"""Published hashes, as stored strings, match the passwords that they were made of, and no others."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from securekit.exceptions import FormatError
from securekit.passwords._foreign import parse
from tests.conftest import Count

VECTORS = Path(__file__).parents[1] / "vectors"
# Not bcrypt, but what crypt_blowfish makes of passwords that a former fault of its own mixed up; none of them is UTF-8.
COUNTERMEASURE = {
    "$2a$05$/OK.fbVrR/bpIqNJ5ianF.nqd1wy.pTMdcvrRWxyiGL2eMz.2a85.",
    "$2a$05$/OK.fbVrR/bpIqNJ5ianF.ZC1JEJ8Z4gPfpe1JOr/oyPXTWl9EFd.",
}
SETTINGS_ALONE = 7


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def test_every_row_of_openwalls_table(count: Count) -> None:
    """Every hash of crypt_blowfish matches its password; its faulty $2x$, and what its own countermeasure made, are frozen lists."""
    rows = load("openwall-bcrypt/crypt_blowfish-wrapper-tests.json")["vectors"]
    refused, other = 0, set()

    for row in rows:
        text, password = row.get("hash", row.get("setting")), bytes.fromhex(row["password"])
        if "setting" in row or text.startswith("$2x$"):
            with pytest.raises(FormatError, match=r"bcrypt|no form|\$2x\$"):
                parse(text)
            refused += 1
        elif not parse(text, legacy_truncate=True).matches(password):
            other.add(text)
    assert other == COUNTERMEASURE
    assert refused == SETTINGS_ALONE + sum(row.get("hash", "").startswith("$2x$") for row in rows)
    count("published stored hashes", len(rows))


def test_every_row_of_pycas_table(count: Count) -> None:
    """Every hash of pyca/bcrypt matches its password, with a NUL in it and without."""
    rows = load("pyca-bcrypt/bcrypt.json")["vectors"]

    assert all(parse(row["hash"]).matches(bytes.fromhex(row["password"])) for row in rows)
    assert len(rows) == 28
    count("published stored hashes", len(rows))


def test_every_row_of_springs_table(count: Count) -> None:
    """What Spring's own tests store matches; its plain text and its plain digests are refused."""
    table = load("spring/password-encoder-factories.json")

    for text in table["hashes"]:
        assert parse(text).matches(table["password"].encode())
        assert not parse(text).matches(table["password"].upper().encode())
    for text in table["refused"]:
        with pytest.raises(FormatError, match="in no form that is known"):
            parse(text)
    count("published stored hashes", len(table["hashes"]) + len(table["refused"]))


@pytest.mark.parametrize(("variant", "cases"), [("argon2d", 1), ("argon2i", 2), ("argon2id", 3)])
def test_argon2_as_phc_strings(variant: str, cases: int, count: Count) -> None:
    """The published answers without a secret and of 12 to 64 bytes match, written as PHC strings."""
    tried = 0
    for part in (VECTORS / "pyca-kdf" / f"{variant}.txt").read_text().split("COUNT = ")[1:]:
        case = dict(re.findall(r"^(\w+) = ?(\S*)", part, re.MULTILINE))
        if "secret" not in case and 12 <= int(case["length"]) <= 64:
            salt, digest = (base64.b64encode(bytes.fromhex(case[name])).decode().rstrip("=") for name in ("salt", "output"))
            numbers = f"m={case['memcost']},t={case['iter']},p={case['lanes']}"
            assert parse(f"${variant}$v=19${numbers}${salt}${digest}").matches(bytes.fromhex(case["pass"]))
            tried += 1
    assert tried == cases
    count("published stored hashes", tried)


@pytest.mark.parametrize(
    ("digest", "name", "cases"), [("sha1", "pbkdf2", 47), ("sha256", "pbkdf2-sha256", 43), ("sha512", "pbkdf2-sha512", 42)]
)
def test_wycheproof_as_strings(digest: str, name: str, cases: int, count: Count) -> None:
    """The published answers of 12 to 64 bytes match, in strings that say how long they are."""
    tests = [test for group in load(f"wycheproof/pbkdf2_hmac{digest}_test.json")["testGroups"] for test in group["tests"]]
    tried = [test for test in tests if 12 <= test["dkLen"] <= 64 and test["iterationCount"] < 10_000]

    for test in tried:
        salt, key = (base64.b64encode(bytes.fromhex(test[part])).decode().rstrip("=") for part in ("salt", "dk"))
        assert parse(f"${name}$i={test['iterationCount']},l={test['dkLen']}${salt}${key}").matches(bytes.fromhex(test["password"]))
    assert len(tried) == cases
    count("published stored hashes", cases)
