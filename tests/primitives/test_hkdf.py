# SPDX-License-Identifier: Apache-2.0
"""HKDF and HMAC agree with RFC 5869, RFC 4231, Wycheproof and another implementation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.hkdf import hkdf, hmac_sha256
from tests.conftest import Count

VECTORS = Path(__file__).parents[1] / "vectors"
LONGEST = 255 * 32


def test_every_vector_of_rfc_5869(count: Count) -> None:
    """The three test cases with SHA-256 give the published output."""
    text = (VECTORS / "pyca-kdf" / "rfc-5869-HKDF-SHA256.txt").read_text()
    cases = [dict(re.findall(r"^(\w+) *= *(\S*)$", block, re.MULTILINE)) for block in text.split("COUNT")[1:]]
    for case in cases:
        assert case["Hash"] == "SHA-256"
        key, salt, info, output = (bytes.fromhex(case[name]) for name in ("IKM", "salt", "info", "OKM"))
        assert hkdf(key, info, size=int(case["L"]), salt=salt) == output
    assert len(cases) == 3
    count("RFC 5869 vectors", len(cases))


def test_every_wycheproof_vector(count: Count) -> None:
    """Valid vectors give the published output; the invalid ones, all of them too long, are refused."""
    vectors: dict[str, Any] = json.loads((VECTORS / "wycheproof" / "hkdf_sha256_test.json").read_text())
    cases = [case for group in vectors["testGroups"] for case in group["tests"]]
    refused = 0
    for case in cases:
        key, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
        if case["result"] == "valid":
            assert hkdf(key, info, size=case["size"], salt=salt).hex() == case["okm"]
        else:
            assert case["flags"] == ["SizeTooLarge"]
            with pytest.raises(ValueError, match="8160"):
                hkdf(key, info, size=case["size"], salt=salt)
            refused += 1
    assert (len(cases), refused) == (vectors["numberOfTests"], 3)
    count("Wycheproof HKDF vectors", len(cases))


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80), st.integers(1, 200))
def test_another_implementation_agrees(key: bytes, info: bytes, salt: bytes, size: int) -> None:
    """The output is that of cryptography's HKDF, for every input."""
    other = HKDF(hashes.SHA256(), size, salt, info).derive(key)
    assert hkdf(key, info, size=size, salt=salt) == other


def test_a_label_is_utf_8() -> None:
    """A label as text and as its bytes are the same one."""
    assert hkdf(bytes(32), "schlüssel") == hkdf(bytes(32), "schlüssel".encode())
    assert len(hkdf(bytes(32), "label")) == 32


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64, LONGEST])
def test_every_allowed_size(size: int) -> None:
    """A shorter output is the beginning of a longer one."""
    output = hkdf(b"key", "label", size=size)
    assert len(output) == size
    assert hkdf(b"key", "label", size=LONGEST).startswith(output)


@pytest.mark.parametrize("size", [0, -1, LONGEST + 1, 2**31])
def test_other_sizes_are_refused(size: int) -> None:
    """Nothing, and more than RFC 5869 allows, is a mistake of the caller."""
    with pytest.raises(ValueError, match="HKDF gives 1 to 8160 bytes"):
        hkdf(bytes(32), "label", size=size)


@pytest.mark.parametrize(
    ("key", "message", "digest"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_hmac_known_answers(key: bytes, message: bytes, digest: str) -> None:
    """Test cases 1, 2 and 6 of RFC 4231, section 4."""
    assert hmac_sha256(key, message).hex() == digest
