# SPDX-License-Identifier: Apache-2.0
"""KC-XAES-256-GCM agrees with every published known answer, and its heads are shared safely."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives import aead
from securekit._primitives.aead import KcXaes256Gcm
from securekit.exceptions import DecryptionError

VECTORS = Path(__file__).parent.parent / "vectors"


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return loaded


def test_every_kc_xaes_known_answer() -> None:
    """All published KC-XAES-256-GCM vectors encrypt and decrypt as published."""
    tests = _load("xaes-256-gcm/kc-xaes-256-gcm-kat.json")["tests"]
    for case in tests:
        cipher, nonce = KcXaes256Gcm(bytes.fromhex(case["key"])), bytes.fromhex(case["nonce"])
        message, associated_data = bytes.fromhex(case["msg"]), bytes.fromhex(case["aad"])

        sealed = cipher._encrypt_with(nonce, message, associated_data)

        assert sealed == nonce + bytes.fromhex(case["commitment"] + case["ct"] + case["tag"])
        assert cipher.decrypt(sealed, associated_data) == message
    assert len(tests) == 3


def test_every_xaes_known_answer() -> None:
    """Without its commitment, a message is what C2SP publishes for XAES-256-GCM."""
    vectors = _load("xaes-256-gcm/xaes-256-gcm-kat.json")["vectors"]
    for case in vectors:
        nonce = case["nonce_ascii"].encode()
        sealed = KcXaes256Gcm(bytes.fromhex(case["key"]))._encrypt_with(nonce, case["plaintext_ascii"].encode(), case["aad_ascii"].encode())
        assert sealed[24 + 32 :] == bytes.fromhex(case["ciphertext"])
    assert len(vectors) == 2


def test_the_accumulated_xaes_answer() -> None:
    """10,000 random messages accumulate to the digest that C2SP publishes, and each decrypts again."""
    published = {vector["iterations"]: vector["digest"] for vector in _load("xaes-256-gcm/xaes-256-gcm-accumulated.json")["vectors"]}
    # SHAKE-128 as a stream: one long output, read in order.
    stream = memoryview(hashlib.shake_128(b"").digest(10_000 * (32 + 24 + 2 + 510)))
    position, ciphertexts = 0, hashlib.shake_128()

    def read(size: int) -> bytes:
        nonlocal position
        position += size
        return bytes(stream[position - size : position])

    for _ in range(10_000):
        key, nonce = read(32), read(24)
        plaintext = read(read(1)[0])
        associated_data = read(read(1)[0])
        cipher = KcXaes256Gcm(key)
        sealed = cipher._encrypt_with(nonce, plaintext, associated_data)
        ciphertexts.update(sealed[24 + 32 :])
        assert cipher.decrypt(sealed, associated_data) == plaintext

    assert ciphertexts.digest(32).hex() == published[10_000]


@given(st.binary(max_size=300), st.binary(max_size=100), st.integers(0), st.integers(0, 7))
def test_every_flip_is_refused(plaintext: bytes, associated_data: bytes, position: int, bit: int) -> None:
    """A message with one flipped bit does not decrypt."""
    cipher = KcXaes256Gcm(bytes(32))
    sealed = bytearray(cipher.encrypt(plaintext, associated_data))
    sealed[position % len(sealed)] ^= 1 << bit

    with pytest.raises(DecryptionError):
        cipher.decrypt(bytes(sealed), associated_data)


def test_a_head_is_used_for_its_budget_and_no_more() -> None:
    """After 65,536 messages of one head comes a new head; large messages cost more."""
    cipher = KcXaes256Gcm(os.urandom(32))
    heads = [message[:12] for message in cipher.encrypt_each([(b"", b"")] * (aead.HEAD_BUDGET - 1024))]
    heads += [cipher.encrypt(b"", b"")[:12] for _ in range(1024)]
    assert len(set(heads)) == 1
    assert cipher.units_used == aead.HEAD_BUDGET

    assert cipher.encrypt(b"", b"")[:12] != heads[0]
    cipher.encrypt(bytes(3 * aead.UNIT_SIZE), b"")
    assert cipher.units_used == aead.HEAD_BUDGET + 1 + 3


def test_threads_share_a_key() -> None:
    """Eight threads under one key: every message opens, no nonce repeats, and the budget is exact."""
    cipher = KcXaes256Gcm(os.urandom(32))

    def work(_: int) -> list[bytes]:
        return [cipher.encrypt(b"message", b"context") for _ in range(12_500)]

    with ThreadPoolExecutor(8) as pool:
        sealed = [message for batch in pool.map(work, range(8)) for message in batch]

    assert len({message[:24] for message in sealed}) == 100_000
    assert all(cipher.decrypt(message, b"context") == b"message" for message in sealed)
    assert cipher.units_used == 100_000


def test_the_largest_message() -> None:
    """64 MiB is encrypted; one byte more is a ValueError that says what to do."""
    cipher = KcXaes256Gcm(bytes(32))
    assert len(cipher.encrypt(bytes(aead.MAX_PLAINTEXT_SIZE), b"")) == aead.MAX_PLAINTEXT_SIZE + aead.OVERHEAD
    with pytest.raises(ValueError, match="stream"):
        cipher.encrypt(bytes(aead.MAX_PLAINTEXT_SIZE + 1), b"")


def test_the_decryptors_cache_is_bounded() -> None:
    """Messages of very many heads leave at most two generations of heads behind."""
    cipher = KcXaes256Gcm(bytes(32))
    for number in range(2000):
        sealed = cipher._encrypt_with(number.to_bytes(24), b"x", b"")
        assert cipher.decrypt(sealed, b"") == b"x"
        sealed = cipher._encrypt_with(number.to_bytes(12) + bytes(12), b"x", b"")
        assert cipher.decrypt(sealed, b"") == b"x"
    assert len(cipher._young_heads) + len(cipher._old_heads) <= 1024


def test_a_forged_message_leaves_no_head_behind() -> None:
    """Heads are remembered only after their commitment matched, so that garbage does not push them out."""
    cipher = KcXaes256Gcm(bytes(32))
    for _ in range(100):
        with pytest.raises(DecryptionError):
            cipher.decrypt(os.urandom(100), b"")
    assert not cipher._young_heads


@pytest.mark.parametrize("position", [0, 11, 12, 23, 24, 55, 56, -1], ids=lambda at: f"byte {at}")
def test_a_batch_refuses_the_changed_message_alone(position: int) -> None:
    """One changed byte, wherever it is, leaves None in the place of its message; the others open, and no head of it stays."""
    key = os.urandom(32)
    sealed, opener = KcXaes256Gcm(key).encrypt_each([(b"message", b"context")] * 5), KcXaes256Gcm(key)
    changed = bytearray(sealed[3])
    changed[position] ^= 1
    sealed[3] = bytes(changed)

    opened = opener.decrypt_each([(message, b"context") for message in sealed])

    assert opened == [b"message"] * 3 + [None, b"message"]
    assert list(opener._young_heads) == [sealed[0][:12]]
