# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from securekit._primitives import xwing
from securekit.exceptions import DecryptionError
from tests.conftest import Count
from tests.vectors.golden import reference

VECTORS = Path(__file__).parent.parent / "vectors" / "pyca-hpke" / "hpke-pq-test-vectors.json"
SEED = bytes(range(32))
MLKEM_CIPHERTEXT, POINT = 1088, 32  # bytes: FIPS 203, table 3; RFC 7748


def vectors() -> list[Any]:
    return [case for case in json.loads(VECTORS.read_text()) if case["kem_id"] == 0x647A]


@pytest.mark.parametrize("case", vectors())
def test_the_published_key_pairs(case: dict[str, Any], count: Count) -> None:
    """A seed has the public key that is published for it."""
    assert xwing.public_key(bytes.fromhex(case["skRm"])).hex() == case["pkRm"]
    count("X-Wing vectors", 1)


def test_a_published_message_opens_with_the_expanded_key() -> None:
    """The key that a seed expands to opens what was published, in the package's own suite."""
    case = next(case for case in vectors() if case["kdf_id"] == 1)
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    message = case["encryptions"][0]
    key = MLKEM768X25519PrivateKey(*xwing._expand(bytes.fromhex(case["skRm"])))

    sealed, info, aad = bytes.fromhex(case["enc"] + message["ct"]), bytes.fromhex(case["info"]), bytes.fromhex(message["aad"])
    plaintext = openssl.hpke._decrypt_with_aad(suite, sealed, key, info, aad)

    assert plaintext.hex() == message["pt"]


@pytest.mark.parametrize("case", vectors())
def test_the_reference_has_the_published_secret(case: dict[str, Any]) -> None:
    """The reference behind the golden files decapsulates what is published to the published secret."""
    assert reference.xwing_secret(bytes.fromhex(case["skRm"]), bytes.fromhex(case["enc"])).hex() == case["shared_secret"]


def test_the_reference_opens_our_messages_and_we_its() -> None:
    """An implementation of HPKE that is not ours, on the same KEM, makes the bytes that we open."""
    ours = xwing.encrypt(xwing.public_key(SEED), b"secret", info=b"info")

    enc = ours[: MLKEM_CIPHERTEXT + POINT]
    theirs = reference.xwing_hpke(reference.xwing_secret(SEED, enc), enc, b"secret", info=b"info")

    assert ours == theirs
    assert reference.xwing_public(SEED) == xwing.public_key(SEED)


def test_a_message_opens_with_its_seed_alone(count: Count) -> None:
    """What is encrypted to a public key opens with its seed and info; every 7th bit flip, and other keys and infos, do not."""
    message = xwing.encrypt(xwing.public_key(SEED), b"secret", info=b"info")
    assert len(message) == len(b"secret") + xwing.OVERHEAD
    assert xwing.decrypt(SEED, message, info=b"info") == b"secret"

    flips = range(0, 8 * len(message), 7)
    changed = [(SEED, message[: bit // 8] + bytes([message[bit // 8] ^ 1 << bit % 8]) + message[bit // 8 + 1 :], b"info") for bit in flips]
    for seed, changed_message, info in [*changed, (bytes(32), message, b"info"), (SEED, message, b""), (SEED, message[:-1], b"info")]:
        with pytest.raises(DecryptionError):
            xwing.decrypt(seed, changed_message, info=info)
    count("bit flips refused: X-Wing messages", len(changed))


@pytest.mark.parametrize("size", [0, 1, 32, 1119, 1120, 1121, 1135])
def test_a_message_that_is_too_short_is_a_decryption_error(size: int) -> None:
    """No length is an error of another kind."""
    with pytest.raises(DecryptionError):
        xwing.decrypt(SEED, xwing.encrypt(xwing.public_key(SEED), b"", info=b"")[:size], info=b"")


def test_a_point_of_small_order_is_a_decryption_error() -> None:
    """An encapsulated X25519 key that leads to a shared secret of zeros does not open."""
    message = xwing.encrypt(xwing.public_key(SEED), b"secret", info=b"")
    for point in (bytes(POINT), b"\x01" + bytes(POINT - 1)):
        with pytest.raises(DecryptionError):
            xwing.decrypt(SEED, message[:MLKEM_CIPHERTEXT] + point + message[MLKEM_CIPHERTEXT + POINT :], info=b"")


@pytest.mark.parametrize("public", [b"", bytes(1215), bytes(1217), b"\xff" * 1216], ids=["empty", "short", "long", "not reduced"])
def test_what_is_no_public_key_is_not_encrypted_to(public: bytes) -> None:
    """Another length, or numbers beyond the modulus, are refused."""
    with pytest.raises(ValueError, match=r"X-Wing|public key"):
        xwing.encrypt(public, b"secret", info=b"")
