# SPDX-License-Identifier: Apache-2.0
"""Keys of four kinds are wrapped to, and no others; each has one name and one reference."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x448
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit._primitives.asymmetric import PrivateKey, PublicKey
from securekit.exceptions import CertificateError, DecryptionError
from tests.conftest import Count
from tests.identities import KINDS, pem, private_key
from tests.vectors.golden import reference

NAMES = {"rsa": "rsa-oaep-256", "p256": "hpke-p256", "p384": "hpke-p384", "x25519": "hpke-x25519"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_name_and_reference(kind: str, tmp_path: Path) -> None:
    """The algorithm is named, and the reference is the hash of what openssl prints as the public key."""
    key = PrivateKey(private_key(kind))
    (tmp_path / "key.pem").write_bytes(pem(private_key(kind)))
    printed = subprocess.run(
        ["openssl", "pkey", "-in", "key.pem", "-pubout", "-outform", "DER"], cwd=tmp_path, capture_output=True, check=True
    )
    assert key.public.algorithm == NAMES[kind]
    assert key.public.reference == hashlib.sha256(printed.stdout).hexdigest() == reference.spki_hash(private_key(kind).public_key())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(st.binary(max_size=100), st.binary(max_size=60))
def test_what_is_encrypted_to_the_public_key_opens_with_the_private_one(kind: str, plaintext: bytes, info: bytes) -> None:
    """A round trip, and the size of the ciphertext is the one announced."""
    key = PrivateKey(private_key(kind))
    ciphertext = key.public.encrypt(plaintext, info=info)
    assert len(ciphertext) == key.public.ciphertext_size(len(plaintext))
    assert key.decrypt(ciphertext, info=info) == plaintext


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_flip_and_another_key_are_refused(kind: str, count: Count) -> None:
    """No changed ciphertext opens, nor does one for another key: always the one error with nothing attached."""
    key = PrivateKey(private_key(kind))
    ciphertext = key.public.encrypt(b"k" * 65, info=b"info")
    other = PrivateKey(private_key(kind, 1)).public.encrypt(b"k" * 65, info=b"info")
    step = 7 if kind == "rsa" else 1  # an RSA decryption takes a millisecond; every byte has its flips
    changed = [flip(ciphertext, bit) for bit in range(0, 8 * len(ciphertext), step)]
    for attempt in [other, ciphertext + b"\x00", ciphertext[:-1], b"", *changed]:
        with pytest.raises(DecryptionError) as caught:
            key.decrypt(attempt, info=b"info")
        assert caught.value.__cause__ is caught.value.__context__ is None
    count("bit flips of ciphertexts to a public key refused", len(changed))


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits"),  # noqa: S505 - to be refused
        (lambda: ec.generate_private_key(ec.SECP521R1()), "curve secp521r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "curve secp256k1"),
        (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), "curve brainpoolP256r1"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
        (x448.X448PrivateKey.generate, "X448"),
        (lambda: dsa.generate_private_key(1024), "DSA"),  # noqa: S505 - to be refused
    ],
)
def test_other_keys_are_refused(make: Any, reason: str) -> None:
    """Another kind, curve or size is refused as private and as public key, and the message names it."""
    key = make()
    with pytest.raises(CertificateError, match=reason):
        PrivateKey(key)
    with pytest.raises(CertificateError, match=reason):
        PublicKey.of(key.public_key())


@pytest.mark.parametrize(
    ("bits", "allowed"),
    [(2047, False), (2048, True), (2049, True), (2055, True), (3072, True), (8192, True), (8193, False), (16384, False)],
)
def test_the_bounds_of_rsa(bits: int, allowed: bool) -> None:
    """From 2,048 to 8,192 bits are wrapped to, and below 3,072 is weak."""
    key = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) | (1 << 64) | 1).public_key()
    if not allowed:
        with pytest.raises(CertificateError, match=f"RSA key of {bits} bits is not wrapped to; 2048 to 8192 are allowed"):
            PublicKey.of(key)
        return
    public = PublicKey.of(key)
    assert (public.bits, public.is_weak) == (bits, bits < 3072)
    assert len(public.encrypt(bytes(65), info=b"")) == public.ciphertext_size(65) == -(-bits // 8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_key_shows_nothing(kind: str) -> None:
    """The repr is redacted, and the key is neither pickled nor copied."""
    key = PrivateKey(private_key(kind))
    assert repr(key) == "<PrivateKey ********>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a secret"):
            leak(key)
