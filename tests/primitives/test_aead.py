# SPDX-License-Identifier: Apache-2.0
"""KC-XAES-256-GCM agrees with every published known answer, and its heads are shared safely."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives import aead
from securekit._primitives.aead import KcXaes256Gcm
from securekit._primitives.process import process
from securekit._primitives.rng import random_bytes
from securekit.exceptions import DecryptionError
from tests.conftest import Count
from tests.primitives.two_keys import derived_key, opens_under_both

VECTORS = Path(__file__).parent.parent / "vectors"


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return loaded


def test_every_kc_xaes_known_answer(count: Count) -> None:
    """All published KC-XAES-256-GCM vectors encrypt and decrypt as published."""
    tests = _load("xaes-256-gcm/kc-xaes-256-gcm-kat.json")["tests"]
    for case in tests:
        cipher, nonce = KcXaes256Gcm(bytes.fromhex(case["key"])), bytes.fromhex(case["nonce"])
        message, associated_data = bytes.fromhex(case["msg"]), bytes.fromhex(case["aad"])

        sealed = cipher._encrypt_with(nonce, message, associated_data)

        assert sealed == nonce + bytes.fromhex(case["commitment"] + case["ct"] + case["tag"])
        assert cipher.decrypt(sealed, associated_data) == message
    assert len(tests) == 3
    count("KC-XAES-256-GCM vectors", len(tests))


def test_every_xaes_known_answer(count: Count) -> None:
    """Without its commitment, a message is what C2SP publishes for XAES-256-GCM."""
    vectors = _load("xaes-256-gcm/xaes-256-gcm-kat.json")["vectors"]
    for case in vectors:
        nonce = case["nonce_ascii"].encode()
        sealed = KcXaes256Gcm(bytes.fromhex(case["key"]))._encrypt_with(nonce, case["plaintext_ascii"].encode(), case["aad_ascii"].encode())
        assert sealed[24 + 32 :] == bytes.fromhex(case["ciphertext"])
    assert len(vectors) == 2
    count("XAES-256-GCM vectors", len(vectors))


def test_the_accumulated_xaes_answer(count: Count) -> None:
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
    count("steps of the accumulated XAES-256-GCM answer", 10_000)


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


# ------------------------------------------------------------------------------------------------ changed bytes


def _open_refused(cipher: KcXaes256Gcm, message: bytes, associated_data: bytes) -> None:
    """Check that decryption fails, and that the error is the same as ever."""
    with pytest.raises(DecryptionError) as caught:
        cipher.decrypt(message, associated_data)
    assert type(caught.value) is DecryptionError
    assert caught.value.args == DecryptionError().args
    assert caught.value.__cause__ is caught.value.__context__ is None


def _flips(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` with each of its bits flipped in turn."""
    for position in range(len(data)):
        for bit in range(8):
            yield data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


@pytest.mark.repetitive
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100, 1000, 20_000])
def test_every_flip_of_a_message_is_refused(size: int, count: Count) -> None:
    """Each single bit of nonce, commitment, ciphertext and tag, and of the associated data, is authenticated."""
    cipher, associated_data = KcXaes256Gcm(bytes(32), prefix=b"prefix"), b"associated data"
    sealed = cipher.encrypt(os.urandom(size), associated_data)
    tried = 0
    for changed in _flips(sealed[6:]):
        _open_refused(cipher, sealed[:6] + changed, associated_data)
        tried += 1
    for changed in _flips(associated_data):
        _open_refused(cipher, sealed, changed)
        tried += 1
    assert tried == 8 * (len(sealed) - 6 + len(associated_data))
    count("bit flips refused", tried)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_million_flips_are_refused(count: Count) -> None:
    """The same for long messages under many keys."""
    tried = 0
    while tried < 10_000_000:
        cipher = KcXaes256Gcm(os.urandom(32))
        for changed in _flips(cipher.encrypt(os.urandom(1000), b"")):
            _open_refused(cipher, changed, b"")
            tried += 1
    count("bit flips refused", tried)


@pytest.mark.parametrize("size", [0, 1, 16, 100, 1000])
def test_every_truncation_and_extension_is_refused(size: int, count: Count) -> None:
    """A message cut at any place, at either end, or longer by 1 to 64 bytes at either end, does not decrypt."""
    cipher = KcXaes256Gcm(bytes(32))
    sealed = cipher.encrypt(os.urandom(size), b"")
    changed = [sealed[:end] for end in range(len(sealed))] + [sealed[begin:] for begin in range(1, len(sealed))]
    for more in range(1, 65):
        changed += [sealed + bytes(more), sealed + os.urandom(more), bytes(more) + sealed]

    for message in changed:
        _open_refused(cipher, message, b"")

    count("truncations and extensions refused", len(changed))


def test_parts_of_two_messages_do_not_make_one() -> None:
    """Nonce, commitment and body belong together, even between messages of one head."""
    cipher = KcXaes256Gcm(bytes(32))
    one, other = cipher.encrypt(b"one", b""), cipher.encrypt(b"two", b"")
    cuts = (0, 12, 24, 56, 59, len(one))
    parts = [slice(*pair) for pair in pairwise(cuts)]
    for choice in product([one, other], repeat=len(parts)):
        mixed = b"".join(message[part] for message, part in zip(choice, parts, strict=True))
        if mixed in {one, other}:
            assert cipher.decrypt(mixed, b"") in {b"one", b"two"}
        else:
            _open_refused(cipher, mixed, b"")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.binary(max_size=50), st.binary(max_size=8))
def test_another_key_or_associated_data_is_refused(key: bytes, plaintext: bytes, associated_data: bytes, prefix: bytes) -> None:
    """What was encrypted opens under the same key and associated data, and under no other."""
    cipher = KcXaes256Gcm(key, prefix=prefix)
    sealed = cipher.encrypt(plaintext, associated_data)
    assert KcXaes256Gcm(key, prefix=prefix).decrypt(sealed, associated_data) == plaintext
    assert len(sealed) == len(prefix) + aead.OVERHEAD + len(plaintext)
    _open_refused(KcXaes256Gcm(bytes([key[0] ^ 1]) + key[1:], prefix=prefix), sealed, associated_data)
    _open_refused(cipher, sealed, associated_data + b"\x00")


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    """A key has 32 bytes."""
    with pytest.raises(ValueError, match=f"32 bytes, not {size}"):
        KcXaes256Gcm(bytes(size))


# ------------------------------------------------------------------------------------------------ commitment


def test_the_derived_key_is_that_of_another_cmac() -> None:
    """The body is AES-GCM under the key that an independent CMAC derives from key and nonce."""
    for _ in range(100):
        key, plaintext = os.urandom(32), os.urandom(50)
        sealed = KcXaes256Gcm(key).encrypt(plaintext, b"associated")
        assert AESGCM(derived_key(key, sealed)).decrypt(sealed[12:24], sealed[56:], b"associated") == plaintext


def test_a_message_opens_under_no_second_key(count: Count) -> None:
    """A body that bare AES-GCM opens under two keys is refused by each key whose commitment does not stand before it."""
    for _ in range(20):
        nonce, one, other = os.urandom(24), os.urandom(32), os.urandom(32)
        body = opens_under_both(derived_key(one, nonce), derived_key(other, nonce), nonce[12:], b"pay Alice 10 EUR")

        # The attack works where there is no commitment:
        found = [AESGCM(derived_key(key, nonce)).decrypt(nonce[12:], body, b"") for key in (one, other)]
        assert found[0][:16] == b"pay Alice 10 EUR"
        assert found[0] != found[1]

        ciphers = [KcXaes256Gcm(one), KcXaes256Gcm(other)]
        commitments = [cipher._encrypt_with(nonce, b"", b"")[24:56] for cipher in ciphers]
        for cipher, own, foreign, plaintext in zip(ciphers, commitments, reversed(commitments), found, strict=True):
            assert cipher.decrypt(nonce + own + body, b"") == plaintext
            _open_refused(cipher, nonce + foreign + body, b"")
            _open_refused(cipher, nonce + own[:16] + foreign[16:] + body, b"")
            _open_refused(cipher, nonce + foreign[:16] + own[16:] + body, b"")
            _open_refused(cipher, nonce + bytes(32) + body, b"")
        assert ciphers[0].decrypt_each([(nonce + commitment + body, b"") for commitment in commitments]) == [found[0], None]
    count("two-key ciphertexts refused", 20 * 2 * 4)


# ------------------------------------------------------------------------------------------------ many at once


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=10)), max_size=20), st.binary(max_size=5))
def test_many_messages_are_as_single_ones(items: list[tuple[bytes, bytes]], prefix: bytes) -> None:
    """What one form encrypts the other decrypts, in order; what does not decrypt is None and disturbs nothing."""
    cipher = KcXaes256Gcm(bytes(32), prefix=prefix)
    together = cipher.encrypt_each(items)
    alone = [cipher.encrypt(*item) for item in items]
    plaintexts = [plaintext for plaintext, _ in items]
    labels = [associated_data for _, associated_data in items]

    assert [KcXaes256Gcm(bytes(32), prefix=prefix).decrypt(*pair) for pair in zip(together, labels, strict=True)] == plaintexts
    assert cipher.decrypt_each(list(zip(alone, labels, strict=True))) == plaintexts
    assert len({message[len(prefix) :][:24] for message in together + alone}) == 2 * len(items)
    changed = [(message[:-1] + bytes([message[-1] ^ 1]), label) for message, label in zip(together, labels, strict=True)]
    foreign = [(message, label + b"x") for message, label in zip(alone, labels, strict=True)]
    mixed = [item for trio in zip(changed, zip(together, labels, strict=True), foreign, strict=True) for item in trio]
    assert cipher.decrypt_each(mixed) == [outcome for plaintext in plaintexts for outcome in (None, plaintext, None)]


@pytest.mark.parametrize("number", [0, 1, 1023, 1024, 1025, 5000])
def test_batches_of_every_size(number: int) -> None:
    """The size of an inner batch does not show: neither in order, nor in nonces, nor in the budget."""
    cipher = KcXaes256Gcm(bytes(32))
    items = [(str(index).encode(), b"") for index in range(number)]
    sealed = cipher.encrypt_each(items)

    assert len({message[:24] for message in sealed}) == number
    assert cipher.units_used == number
    other = KcXaes256Gcm(bytes(32))
    assert other.decrypt_each([(message, b"") for message in sealed]) == [plaintext for plaintext, _ in items]


def test_flips_within_a_batch_are_refused(count: Count) -> None:
    """Each flip is refused among good messages too, and the good ones open."""
    cipher = KcXaes256Gcm(bytes(32))
    good = cipher.encrypt(b"good", b"")
    batch = [(message, b"") for changed in _flips(cipher.encrypt(b"changed", b"")) for message in (changed, good)]

    assert KcXaes256Gcm(bytes(32)).decrypt_each(batch) == [None, b"good"] * (len(batch) // 2)
    count("bit flips refused", len(batch) // 2)


# ------------------------------------------------------------------------------------------------ budgets


class _Claimed(bytes):
    """A few bytes that claim to be many: what is budgeted is what a plaintext says its length is."""

    size: int

    def __len__(self) -> int:
        return self.size


def _claimed(size: int) -> bytes:
    claimed = _Claimed(b"x")
    claimed.size = size
    return claimed


def _spend(cipher: KcXaes256Gcm, units: int) -> bytes:
    """Use up units of the current head, which is returned."""
    sealed = cipher.encrypt(b"", b"")
    with process.lock:
        assert cipher._head
        for _ in range(units - 1):
            next(cipher._head[3])
    return sealed[:12]


@pytest.mark.parametrize(
    ("size", "units"),
    [(0, 1), (1, 1), (aead.UNIT_SIZE, 1), (aead.UNIT_SIZE + 1, 2), (3 * aead.UNIT_SIZE, 3), (aead.MAX_PLAINTEXT_SIZE, 1024)],
)
def test_what_a_message_costs(size: int, units: int) -> None:
    """One unit, and one more for each further started 64 KiB, in both forms."""
    alone, batch = KcXaes256Gcm(bytes(32)), KcXaes256Gcm(bytes(32))
    alone.encrypt(_claimed(size), b"")
    batch.encrypt_each([(_claimed(size), b"")])
    assert alone.units_used == batch.units_used == units


@pytest.mark.parametrize("size", [1, 2 * aead.UNIT_SIZE, aead.MAX_PLAINTEXT_SIZE])
@pytest.mark.parametrize("form", ["alone", "batch"])
def test_a_head_is_never_used_past_its_budget(size: int, form: str) -> None:
    """A message that takes the last unit has the old head; one unit fewer, and it has a new one, and still opens."""
    units = -(-size // aead.UNIT_SIZE)
    for left, same in ((units, True), (units - 1, False)):
        cipher = KcXaes256Gcm(bytes(32))
        head = _spend(cipher, aead.HEAD_BUDGET - left)
        plaintext = _claimed(size)
        sealed = cipher.encrypt(plaintext, b"") if form == "alone" else cipher.encrypt_each([(plaintext, b"")])[0]
        assert (sealed[:12] == head) is same
        assert cipher.decrypt(sealed, b"") == b"x"


def test_a_batch_that_exceeds_a_whole_budget_is_spread_over_heads() -> None:
    """1,024 messages of 64 MiB cost many budgets; each head is used for one budget at most."""
    cipher = KcXaes256Gcm(bytes(32))
    item = (_claimed(aead.MAX_PLAINTEXT_SIZE), b"")
    sealed = cipher.encrypt_each([item] * 65)

    heads = Counter(message[:12] for message in sealed)
    assert sorted(heads.values()) == [1, 64]
    assert cipher.decrypt_each([(message, b"") for message in sealed]) == [b"x"] * 65


def test_batches_respect_the_budget() -> None:
    """70,000 messages in batches: no head has more than 65,536 of them."""
    cipher = KcXaes256Gcm(bytes(32))
    heads = Counter(message[:12] for message in cipher.encrypt_each([(b"", b"")] * 70_000))
    assert heads.total() == 70_000
    assert max(heads.values()) <= aead.HEAD_BUDGET
    assert len(heads) == 2


def test_a_message_too_long_in_a_batch() -> None:
    """One byte more than 64 MiB is refused in a batch as it is alone."""
    cipher = KcXaes256Gcm(bytes(32))
    for others in (0, 3):
        with pytest.raises(ValueError, match="stream"):
            cipher.encrypt_each([(b"", b"")] * others + [(_claimed(aead.MAX_PLAINTEXT_SIZE + 1), b"")])


def test_nothing_used_before_the_first_message() -> None:
    """A fresh object has drawn no head and spent nothing."""
    cipher = KcXaes256Gcm(bytes(32))
    assert cipher.units_used == 0
    assert cipher._heads_drawn == 0


# ------------------------------------------------------------------------------------------------ threads and forks


@contextlib.contextmanager
def _switching_fast() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_one_block_cipher_is_shared_between_threads(count: Count) -> None:
    """Threads that change hands all the time get from one ECB context, in updates as we use them, what each would get alone."""
    shared, alone = KcXaes256Gcm(bytes(range(32)))._ecb, KcXaes256Gcm(bytes(range(32)))._ecb
    blocks = [os.urandom(size) for size in (16, 32, 64, 32 * aead._PAIRS_AT_ONCE)] * 3
    expected = [alone(block) for block in blocks]
    barrier = threading.Barrier(8)

    def work(offset: int) -> int:
        barrier.wait()
        wrong = 0
        for turn in range(4000):
            at = (turn + offset) % len(blocks)
            wrong += shared(blocks[at]) != expected[at]
        return wrong

    with _switching_fast(), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8
    count("calls of one block cipher from 8 threads", 32_000)


def test_batches_in_threads_do_not_disturb_each_other() -> None:
    """Eight threads with large batches, of large messages too, under one key: nothing fails, and all opens."""
    cipher = KcXaes256Gcm(os.urandom(32))
    tails = [os.urandom(12) for _ in range(1024)]
    commitments = cipher._commit(tails, [1] * 1024)

    def work(number: int) -> None:
        items = [(bytes([number]) * size, b"") for size in (10, 5000) * 500]
        plaintexts = [plaintext for plaintext, _ in items]
        for _ in range(5):
            sealed = cipher.encrypt_each(items)
            assert cipher.decrypt_each([(message, b"") for message in sealed]) == plaintexts
            for _ in range(100):
                assert cipher._commit(tails, [1] * 1024) == commitments

    with _switching_fast(), ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_threads_mix_all_verbs() -> None:
    """Eight threads encrypt, decrypt, do both in batches and change heads at once: all opens, and no nonce repeats."""
    cipher = KcXaes256Gcm(os.urandom(32))
    large = _claimed(aead.MAX_PLAINTEXT_SIZE)  # costs 1,024 units, so that heads change all the time
    nonces: list[bytes] = []

    def work(number: int) -> None:
        mine: list[bytes] = []
        for turn in range(60):
            label = f"{number} {turn}".encode()
            sealed = cipher.encrypt(label, label)
            batch = cipher.encrypt_each([(label, label)] * 20)
            mine += [sealed, *batch, cipher.encrypt(large, label)]
            assert cipher.decrypt(sealed, label) == label
            assert cipher.decrypt_each([(message, label) for message in batch]) == [label] * 20
            assert cipher.decrypt(mine[-1], label) == b"x"
            with contextlib.suppress(DecryptionError):
                cipher.decrypt(sealed, b"")
                pytest.fail("decrypted with other associated data")
        nonces.extend(message[:24] for message in mine)

    with _switching_fast(), ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert len(set(nonces)) == len(nonces) == 8 * 60 * 22
    assert len({nonce[:12] for nonce in nonces}) >= 8


def _nonces_of_children(cipher: KcXaes256Gcm, children: int, messages: int) -> list[list[bytes]]:
    """Fork, and return the nonces of what each child encrypted."""
    found = []
    for _ in range(children):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            sealed = cipher.encrypt_each([(b"", b"")] * (messages // 2)) + [cipher.encrypt(b"", b"") for _ in range(messages // 2)]
            os.write(writing, b"".join(message[:24] for message in sealed))
            os.kill(os.getpid(), signal.SIGKILL)  # nothing of the test run is finished twice
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        found.append([data[at : at + 24] for at in range(0, len(data), 24)])
    return found


@pytest.mark.repetitive
@pytest.mark.parametrize("number", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_thousand_forks_share_no_head(number: int, count: Count) -> None:
    """Children of one parent, whose head is warm, each draw a head of their own, and the parent keeps its own."""
    cipher = KcXaes256Gcm(os.urandom(32))
    mine = [cipher.encrypt(b"", b"")[:24]]

    children = _nonces_of_children(cipher, number, 10)

    mine.append(cipher.encrypt(b"", b"")[:24])
    assert mine[0][:12] == mine[1][:12]
    heads = [{nonce[:12] for nonce in nonces} for nonces in children]
    assert [len(each) for each in heads] == [1] * number
    assert len(set().union(*heads, {mine[0][:12]})) == number + 1
    assert len({nonce for nonces in children for nonce in nonces}) == 10 * number
    count("forks with heads of their own", number)


def test_a_child_of_a_child_draws_again() -> None:
    """Each generation has a head of its own."""
    cipher = KcXaes256Gcm(os.urandom(32))
    cipher.encrypt(b"", b"")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, cipher.encrypt(b"", b"")[:12])
        grandchild = os.fork()
        os.write(writing, cipher.encrypt(b"", b"")[:12])
        if grandchild:
            os.waitpid(grandchild, 0)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()

    heads = [data[:12], data[12:24], data[24:]]
    assert len(data) == 36
    assert len({*heads, cipher.encrypt(b"", b"")[:12]}) == 3  # the child's twice, the grandchild's and the parent's


def test_a_child_forked_while_the_lock_is_held_is_not_stuck() -> None:
    """The lock that another thread held at the fork is not the child's."""
    cipher = KcXaes256Gcm(os.urandom(32))
    with process.lock:
        child = os.fork()
        if not child:
            signal.alarm(20)
            cipher.encrypt(b"", b"")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_million_nonces_do_not_repeat(count: Count) -> None:
    """Of 10,000,000 nonces, drawn in both forms, none is drawn twice."""
    cipher = KcXaes256Gcm(os.urandom(32))
    buckets = [bytearray() for _ in range(256)]  # by one random byte, since a set of them all would take a gigabyte
    for _ in range(100):
        for message in cipher.encrypt_each([(b"", b"")] * 90_000) + [cipher.encrypt(b"", b"") for _ in range(10_000)]:
            buckets[message[12]] += message[:24]
    different = sum(len({bytes(bucket[at : at + 24]) for at in range(0, len(bucket), 24)}) for bucket in buckets)
    assert different == 10_000_000
    count("nonces that do not repeat", different)


def test_randomness_is_the_operating_systems() -> None:
    """There is one source of randomness, and it keeps no state of its own."""
    assert random_bytes is os.urandom


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
