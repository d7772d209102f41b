# SPDX-License-Identifier: Apache-2.0
"""RSA-OAEP opens every published ciphertext, refuses every published forgery, and agrees with the reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit._primitives import rsa_oaep
from securekit.exceptions import DecryptionError
from tests.conftest import Count
from tests.identities import private_key
from tests.vectors.golden import reference

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize("bits", [2048, 3072])
def test_every_wycheproof_vector(bits: int, count: Count) -> None:
    """Valid vectors open; invalid ones are refused, and so are, on purpose, the eight whose label is not empty."""
    vectors: dict[str, Any] = json.loads((VECTORS / "wycheproof" / f"rsa_oaep_{bits}_sha256_mgf1sha256_test.json").read_text())
    outcomes = {"opened": 0, "invalid": 0, "label": 0}
    for group in vectors["testGroups"]:
        key = load_der_private_key(bytes.fromhex(group["privateKeyPkcs8"]), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        for case in group["tests"]:
            ciphertext = bytes.fromhex(case["ct"])
            if case["result"] == "valid" and not case["label"]:
                assert rsa_oaep.decrypt(key, ciphertext).hex() == case["msg"]
                outcomes["opened"] += 1
                continue
            with pytest.raises(DecryptionError):
                rsa_oaep.decrypt(key, ciphertext)
            outcomes["label" if case["label"] else "invalid"] += 1
    assert outcomes == {"opened": 10, "invalid": 19, "label": 8}
    count("Wycheproof RSA-OAEP vectors", vectors["numberOfTests"])


def published() -> Iterator[tuple[rsa.RSAPrivateKey, bytes, bytes]]:
    """Yield key, message and ciphertext of the file of pyca."""
    text = (VECTORS / "pyca-oaep" / "oaep-sha256-sha256.txt").read_text()
    for example in text.split("# =============================================\n# Example\n")[1:]:
        found = re.findall(r"^# ([^\n]*?):?\n((?:[0-9a-f]+\n)+)", example, re.MULTILINE)
        values = [(name, value.replace("\n", "")) for name, value in found]
        n, e, _, _, d, p, q, dp, dq, qi = (int(value, 16) for _, value in values[:10])
        key = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()
        for (name, message), (other, ciphertext) in zip(values[10::2], values[11::2], strict=True):
            assert (name, other) == ("Message", "Encryption")
            yield key, bytes.fromhex(message), bytes.fromhex(ciphertext)


def test_every_vector_of_pyca(count: Count) -> None:
    """Vectors that another implementation (Bouncy Castle) verified open to their messages."""
    cases = list(published())
    for key, message, ciphertext in cases:
        assert rsa_oaep.decrypt(key, ciphertext) == message
    assert len(cases) == 60
    count("RSA-OAEP vectors of pyca", len(cases))


@settings(max_examples=20)
@given(st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_the_reference_agrees(message: bytes, seed: bytes) -> None:
    """What the reference makes from the specification opens, whatever the message and the seed."""
    key = private_key("rsa")
    assert rsa_oaep.decrypt(key, reference.rsa_oaep(key.public_key(), message, seed)) == message


def test_a_ciphertext_is_never_the_same_twice() -> None:
    """Encryption is randomised, as long as the modulus, and opens with its own key alone."""
    key = private_key("rsa")
    first, second = (rsa_oaep.encrypt(key.public_key(), b"m") for _ in range(2))
    assert first != second
    assert len(first) == 384
    assert rsa_oaep.decrypt(key, first) == rsa_oaep.decrypt(key, second) == b"m"
    with pytest.raises(DecryptionError):
        rsa_oaep.decrypt(private_key("rsa2048"), first[:256])
