# SPDX-License-Identifier: Apache-2.0
"""HPKE gives the published bytes, agrees with a reference written from RFC 9180, and rests on sound key agreement."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit._primitives import hpke
from securekit.exceptions import DecryptionError
from tests.conftest import Count
from tests.identities import private_key
from tests.vectors.golden import reference

VECTORS = Path(__file__).parents[1] / "vectors"
CURVES = ("p256", "p384", "x25519")
OVERHEAD = {"p256": 65 + 16, "p384": 97 + 16, "x25519": 32 + 16}
# Points that every key agreement maps to nothing, or that are on no curve: RFC 7748, section 6.1; RFC 9180, section 7.1.4.
HOSTILE = {
    "x25519": [bytes(32), b"\x01" + bytes(31), bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")],
    "p256": [bytes(65), b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, b"\x02" + bytes(64)],
    "p384": [bytes(97), b"\x04" + bytes(96), b"\x04" + b"\xff" * 96, b"\x02" + bytes(96)],
}


def published() -> list[dict[str, str]]:
    """Return the vectors for what we use: base mode (0), AES-256-GCM (2), the first message of each."""
    blocks = re.split(r"^(?=mode = )", (VECTORS / "boringssl" / "hpke_test_vectors.txt").read_text(), flags=re.MULTILINE)[1:]
    # The first of several values of one name is that of the first message.
    cases = [dict(reversed(re.findall(r"^(\w+) = (\w*)$", block, re.MULTILINE))) for block in blocks]
    assert len(cases) == 12
    return [case for case in cases if (case["mode"], case["aead_id"]) == ("0", "2")]


def private(curve: str, secret: bytes) -> Any:
    if curve == "x25519":
        return x25519.X25519PrivateKey.from_private_bytes(secret)
    return ec.derive_private_key(int.from_bytes(secret), {"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[curve])


def derive(curve: str, seed: bytes) -> Any:
    """Return the ephemeral key of a seed: for X25519 itself, for P-256 derived from it (RFC 9180, section 7.1.3)."""
    if curve == "x25519":
        return private(curve, seed)
    kem = b"KEM" + reference.HPKE_IDS[curve][0].to_bytes(2)
    extracted = reference.hkdf_extract(b"HPKE-v1" + kem + b"dkp_prk" + seed)
    return private(curve, reference.hkdf_expand(extracted, b"\x00\x20HPKE-v1" + kem + b"candidate\x00", size=32, digest="sha256"))


def test_every_vector_of_boringssl_that_applies(count: Count) -> None:
    """The library opens the published messages of P-256 and X25519, and the reference makes them, to the byte."""
    seen = []
    for case in published():
        curve = {"16": "p256", "32": "x25519"}[case["kem_id"]]
        plaintext, info, aad, enc, ciphertext = (bytes.fromhex(case[name]) for name in ("pt", "info", "aad", "enc", "ct"))
        key, ephemeral = private(curve, bytes.fromhex(case["skRm"])), derive(curve, bytes.fromhex(case["sender_seed"]))

        made = reference.hpke(curve, ephemeral, key.public_key(), plaintext, info=info, associated_data=aad)
        opened = openssl.hpke._decrypt_with_aad(hpke._suite(curve), enc + ciphertext, key, info, aad)

        assert made == enc + ciphertext
        assert opened == plaintext
        with pytest.raises(InvalidTag):
            openssl.hpke._decrypt_with_aad(hpke._suite(curve), enc + ciphertext, key, info, aad + b"x")
        seen.append((curve, case["kdf_id"]))
    assert sorted(seen) == [("p256", "1"), ("x25519", "1")]
    count("BoringSSL HPKE vectors", len(seen))


@pytest.mark.parametrize("curve", CURVES)
@settings(max_examples=50)
@given(st.binary(max_size=200), st.binary(max_size=100), st.integers(0, 1000))
def test_the_reference_and_the_library_agree(curve: str, plaintext: bytes, info: bytes, number: int) -> None:
    """What the reference encrypts, the library decrypts, for every message, info and ephemeral key."""
    key = private_key(curve)
    message = reference.hpke(curve, private_key(curve, number), key.public_key(), plaintext, info=info)
    assert hpke.decrypt(curve, key, message, info=info) == plaintext
    assert len(message) == len(plaintext) + hpke.overhead(curve) == len(plaintext) + OVERHEAD[curve]


@pytest.mark.parametrize("curve", CURVES)
@settings(max_examples=50)
@given(st.binary(max_size=200), st.binary(max_size=100))
def test_the_library_and_the_reference_agree(curve: str, plaintext: bytes, info: bytes) -> None:
    """What the library encrypts, the reference decrypts: the agreed secret is the same from either side."""
    key = private_key(curve)
    message = hpke.encrypt(curve, key.public_key(), plaintext, info=info)
    assert reference.hpke_open(curve, key, message, info=info) == plaintext
    assert hpke.decrypt(curve, key, message, info=info) == plaintext


@pytest.mark.parametrize("curve", CURVES)
def test_other_keys_infos_and_lengths_are_refused(curve: str) -> None:
    """Another key, another info, and every shorter or longer message are the one error."""
    key, message = private_key(curve), hpke.encrypt(curve, private_key(curve).public_key(), b"plaintext", info=b"info")
    attempts = [(private_key(curve, 1), message, b"info"), (key, message, b"inf"), (key, message, b""), (key, message + b"\x00", b"info")]
    attempts += [(key, message[:size], b"info") for size in range(len(message))]
    for other, changed, info in attempts:
        with pytest.raises(DecryptionError) as caught:
            hpke.decrypt(curve, other, changed, info=info)
        assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("curve", CURVES)
def test_hostile_points_are_refused(curve: str, count: Count) -> None:
    """A point of low order, on another curve, at infinity or in another encoding is the one error, never an exception of others."""
    key = private_key(curve)
    compressed = [] if curve == "x25519" else [_compressed(curve)]
    for point in HOSTILE[curve] + compressed:
        with pytest.raises(DecryptionError):
            hpke.decrypt(curve, key, point + bytes(32), info=b"")
    count("hostile HPKE points refused", len(HOSTILE[curve]) + len(compressed))


def _compressed(curve: str) -> bytes:
    return bytes(private_key(curve, 1).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint))


def test_every_wycheproof_vector_of_ecdh(count: Count) -> None:
    """Key agreement on P-256 is right for valid keys and refuses invalid ones; of acceptable ones, only a compressed point is taken."""
    vectors: dict[str, Any] = json.loads((VECTORS / "wycheproof" / "ecdh_secp256r1_test.json").read_text())
    outcomes: Counter[tuple[str, bool]] = Counter()
    for case in (case for group in vectors["testGroups"] for case in group["tests"]):
        key = ec.derive_private_key(int(case["private"], 16), ec.SECP256R1())
        try:
            public = load_der_public_key(bytes.fromhex(case["public"]))
            assert isinstance(public, ec.EllipticCurvePublicKey)
            shared = key.exchange(ec.ECDH(), public).hex()
        except (ValueError, UnsupportedAlgorithm):
            outcomes[case["result"], False] += 1
            continue
        assert shared == case["shared"]
        assert case["result"] == "valid" or "CompressedPublic" in case["flags"]
        outcomes[case["result"], True] += 1
    assert outcomes == {("valid", True): 330, ("acceptable", True): 1, ("acceptable", False): 229, ("invalid", False): 52}
    count("Wycheproof ECDH vectors", vectors["numberOfTests"])


def test_every_wycheproof_vector_of_x25519(count: Count) -> None:
    """Key agreement on Curve25519 is right, and refused exactly where its result would be zero whatever the private key."""
    vectors: dict[str, Any] = json.loads((VECTORS / "wycheproof" / "x25519_test.json").read_text())
    outcomes: Counter[tuple[str, bool]] = Counter()
    for case in (case for group in vectors["testGroups"] for case in group["tests"]):
        key = x25519.X25519PrivateKey.from_private_bytes(bytes.fromhex(case["private"]))
        public = x25519.X25519PublicKey.from_public_bytes(bytes.fromhex(case["public"]))
        if "ZeroSharedSecret" in case["flags"]:
            with pytest.raises(ValueError, match="shared key"):
                key.exchange(public)
            outcomes[case["result"], False] += 1
            continue
        assert key.exchange(public).hex() == case["shared"]
        outcomes[case["result"], True] += 1
    assert outcomes == {("valid", True): 264, ("acceptable", True): 223, ("acceptable", False): 31}
    count("Wycheproof X25519 vectors", vectors["numberOfTests"])
