# SPDX-License-Identifier: Apache-2.0
"""KC-XAES-256-GCM: AES-256-GCM with a 24-byte nonce and a 32-byte key commitment.

Sources: C2SP *XAES-256-GCM* for the nonce extension; IACR ePrint 2025/758 for the commitment. The byte layout, the
bounds and the reasons are in ``docs/spec/record.md``.

RULES of this file. A *head* is what depends only on the key and on the first 12 bytes of the nonce. It is the expensive
part, so a head is derived once and used for many messages:

1. An encryptor's head is one immutable tuple, replaced whole, so that threads always see parts that belong together.
2. The head's budget is one iterator; ``next`` on it is atomic, so that the budget is exact whatever the threads do.
3. Nothing random is drawn before the call that uses it.
4. A forked child draws a head of its own.
5. A decryptor remembers a head only after a commitment under it has matched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from hmac import compare_digest
from io import BytesIO
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securekit._primitives.process import process
from securekit._primitives.rng import random_bytes
from securekit.exceptions import DecryptionError
from securekit.secret import Secretive

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "COMMITMENT_SIZE",
    "HEAD_BUDGET",
    "KEY_SIZE",
    "MAX_PLAINTEXT_SIZE",
    "NONCE_SIZE",
    "OVERHEAD",
    "TAG_SIZE",
    "UNIT_SIZE",
    "KcXaes256Gcm",
]

KEY_SIZE = 32  # bytes, AES-256
NONCE_SIZE = 24  # bytes, C2SP XAES-256-GCM
HEAD_SIZE = 12  # bytes of the nonce that select the derived key, C2SP XAES-256-GCM
COMMITMENT_SIZE = 32  # bytes, ePrint 2025/758
TAG_SIZE = 16  # bytes, NIST SP 800-38D
OVERHEAD = NONCE_SIZE + COMMITMENT_SIZE + TAG_SIZE  # 72 bytes
MAX_PLAINTEXT_SIZE = 64 * 1024 * 1024  # bytes; a longer message belongs into a stream
HEAD_BUDGET = 1 << 16  # units: one per message, and one per started 64 KiB of it, so at most 4 GiB
UNIT_SIZE = 1 << 16  # bytes
# cryptography releases the interpreter lock for updates of 2,048 bytes or more; another thread's update then fails.
_PAIRS_AT_ONCE = 32  # of blocks, so 1,024 bytes
_from_bytes = int.from_bytes  # looked up once
_HEADS_REMEMBERED = 512  # per generation of the decryptor's cache, which has two

_COUNTERS = int.from_bytes(bytes(12) + b"\x00\x01\x00\x01" + bytes(12) + b"\x00\x01\x00\x02")
_TWICE = (1 << 128) + 1  # multiplying by this writes a 16-byte block twice in a row
_TAILS = _TWICE << 32  # multiplying by this does so for a 12-byte tail, with room for the counters

# what stands before the tail, (X1 ⊕ K1) twice ⊕ counters, the derived AES-GCM, the budget, the process that drew it
_Head = tuple[bytes, int, AESGCM, Iterator[int], object]
_NO_HEAD: _Head = (b"", 0, cast("AESGCM", None), iter(()), None)  # of no process, so that it is replaced before it is used


class KcXaes256Gcm(Secretive):
    """One 32-byte key. Thread-safe, and safe to use on both sides of a fork.

    Args:
        key: 32 bytes.
        prefix: What stands before every message of this key; not authenticated here.
    """

    __slots__ = (
        "_base_size",
        "_body",
        "_ecb",
        "_head",
        "_heads_drawn",
        "_nonce_and_commitment",
        "_old_heads",
        "_prefix",
        "_subkey",
        "_young_heads",
    )

    def __init__(self, key: bytes, *, prefix: bytes = b"") -> None:
        if len(key) != KEY_SIZE:
            message = f"the key has {KEY_SIZE} bytes, not {len(key)}"
            raise ValueError(message)
        # Electronic codebook mode is only the bare block cipher here: CMAC and the commitment are built on it. One
        # context is shared between threads, because an update of so few bytes does not release the interpreter lock.
        self._ecb: Callable[[bytes], bytes] = Cipher(algorithms.AES256(key), modes.ECB()).encryptor().update  # noqa: S305
        self._subkey = _double(self._ecb(bytes(16)))
        self._head = _NO_HEAD
        self._heads_drawn = 0
        self._young_heads: dict[bytes, tuple[int, AESGCM]] = {}
        self._old_heads: dict[bytes, tuple[int, AESGCM]] = {}
        # Where the parts of a message are. They are taken out by one call, which is faster than three slices.
        self._prefix = prefix
        parts = Struct(f"{len(prefix)}x {HEAD_SIZE}s {NONCE_SIZE - HEAD_SIZE}s {COMMITMENT_SIZE}s")
        self._nonce_and_commitment = parts.unpack_from
        self._body = slice(parts.size, None)
        self._base_size = len(prefix) + OVERHEAD

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Return ``prefix ‖ nonce(24) ‖ commitment(32) ‖ ciphertext ‖ tag(16)``.

        Raises:
            ValueError: ``plaintext`` is longer than 64 MiB.
        """
        before, base, gcm, budget, token = self._head
        if len(plaintext) > UNIT_SIZE or token is not process.token or next(budget, None) is None:
            before, base, gcm, _, _ = self._take_units(len(plaintext))
            if len(plaintext) > UNIT_SIZE:
                return self._encrypt_large(before, base, gcm, plaintext, associated_data)
        tail = random_bytes(12)
        commitment = self._ecb((_from_bytes(tail) * _TAILS ^ base).to_bytes(32))
        return b"".join((before, tail, commitment, gcm.encrypt(tail, plaintext, associated_data)))

    def encrypt_each(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Do `encrypt` for each ``(plaintext, associated_data)``, in fewer calls."""
        sealed: list[bytes] = []
        for begin in range(0, len(items), 1024):
            sealed += self._encrypt_batch(items[begin : begin + 1024])
        return sealed

    def decrypt(self, message: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext of a message, whose prefix the caller has checked.

        The commitment is checked first, in constant time, then the tag.

        Raises:
            securekit.exceptions.DecryptionError: Wrong key, wrong associated data, changed or truncated bytes.
        """
        if len(message) < self._base_size:
            raise DecryptionError
        start, tail, commitment = self._nonce_and_commitment(message)
        known = self._young_heads.get(start)
        base, gcm = known or self._old_heads.get(start) or (self._base_of(start), None)
        if not compare_digest(self._ecb((_from_bytes(tail) * _TAILS ^ base).to_bytes(32)), commitment):
            raise DecryptionError
        if known is None:
            gcm = self._remember(start, base, gcm)
        try:
            body = message[self._body] if len(message) <= UNIT_SIZE else memoryview(message)[self._body]  # a copy of a few bytes is faster
            return gcm.decrypt(tail, body, associated_data)  # type: ignore[union-attr]
        except InvalidTag:
            pass
        raise DecryptionError

    def decrypt_each(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
        """Do `decrypt` for each ``(message, associated_data)``, in fewer calls; None where it fails.

        The messages have been checked to be long enough.
        """
        opened: list[bytes | None] = []
        for begin in range(0, len(items), 1024):
            opened += self._decrypt_batch(items[begin : begin + 1024])
        return opened

    @property
    def units_used(self) -> int:
        """How many units this object has spent on encryption: one per message, one per further started 64 KiB."""
        return self._heads_drawn * HEAD_BUDGET - self._head[3].__length_hint__()  # type: ignore[attr-defined,no-any-return]

    def _encrypt_large(self, before: bytes, base: int, gcm: AESGCM, plaintext: bytes, associated_data: bytes) -> bytes:
        """Do `encrypt` in one buffer: for a long message, joining its parts would take half as long as encrypting it."""
        tail = random_bytes(12)
        start = before + tail + self._ecb((_from_bytes(tail) * _TAILS ^ base).to_bytes(32))
        size = memoryview(plaintext).nbytes  # a subclass of bytes can claim another one
        whole = BytesIO(bytes(len(start) + size + TAG_SIZE))
        with whole.getbuffer() as buffer:
            buffer[: len(start)] = start
            gcm.encrypt_into(tail, plaintext, associated_data, buffer[len(start) :])
        return whole.getvalue()  # the buffer itself, and no copy of it

    def _encrypt_with(self, nonce: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
        """Encrypt under a given nonce: for known answers alone, so that no public way to choose a nonce exists."""
        start, tail = nonce[:HEAD_SIZE], nonce[HEAD_SIZE:]
        commitment = self._ecb((int.from_bytes(tail) * _TAILS ^ self._base_of(start)).to_bytes(32))
        return self._prefix + nonce + commitment + self._derive(start).encrypt(tail, plaintext, associated_data)

    def _encrypt_batch(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        units = sum([(len(plaintext) - 1) // UNIT_SIZE + 1 if plaintext else 1 for plaintext, _ in items])
        if units > HEAD_BUDGET:
            return [self.encrypt(plaintext, associated_data) for plaintext, associated_data in items]
        before, base, gcm, _, _ = self._take_units(max([len(plaintext) for plaintext, _ in items]), units)
        count = len(items)
        drawn = random_bytes(12 * count)
        tails = [drawn[at : at + 12] for at in range(0, 12 * count, 12)]
        blocks = self._commit(tails, [base] * count)
        commitments = [blocks[at : at + COMMITMENT_SIZE] for at in range(0, len(blocks), COMMITMENT_SIZE)]
        encrypt = gcm.encrypt
        return [
            b"".join((before, tail, commitment, encrypt(tail, plaintext, associated_data)))
            for tail, commitment, (plaintext, associated_data) in zip(tails, commitments, items, strict=True)
        ]

    def _decrypt_batch(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
        parts = [self._nonce_and_commitment(message) for message, _ in items]
        young, old = self._young_heads, self._old_heads
        bases = {start: (young.get(start) or old.get(start) or (self._base_of(start),))[0] for start in {start for start, _, _ in parts}}
        blocks = self._commit([tail for _, tail, _ in parts], [bases[start] for start, _, _ in parts])
        claimed = b"".join([commitment for _, _, commitment in parts])
        matches = [True] * len(items)
        if not compare_digest(blocks, claimed):  # then one by one
            size = COMMITMENT_SIZE
            matches = [compare_digest(blocks[at : at + size], claimed[at : at + size]) for at in range(0, len(blocks), size)]
        body = self._body
        opened: list[bytes | None] = []
        for (message, associated_data), (start, tail, _), matched in zip(items, parts, matches, strict=True):
            plaintext = None
            if matched:
                known = self._young_heads.get(start)
                gcm = known[1] if known else self._remember(start, bases[start], None)
                try:
                    plaintext = gcm.decrypt(tail, message[body], associated_data)
                except InvalidTag:
                    plaintext = None
            opened.append(plaintext)
        return opened

    def _commit(self, tails: list[bytes], bases: list[int]) -> bytes:
        """Return the commitments of many nonces in a row, by few calls of the block cipher."""
        pairs = [(_from_bytes(tail) * _TAILS ^ base).to_bytes(32) for tail, base in zip(tails, bases, strict=True)]
        return b"".join([self._ecb(b"".join(pairs[at : at + _PAIRS_AT_ONCE])) for at in range(0, len(pairs), _PAIRS_AT_ONCE)])

    def _take_units(self, size: int, units: int = 0) -> _Head:
        """Return a head whose budget was charged with ``units``, or with what one plaintext of ``size`` bytes costs."""
        if size > MAX_PLAINTEXT_SIZE:
            message = f"a message has at most {MAX_PLAINTEXT_SIZE} bytes (64 MiB), not {size}; seal it as a stream instead"
            raise ValueError(message)
        units = units or max(1, -(-size // UNIT_SIZE))
        with process.lock:
            head = self._head
            if head[4] is process.token and len(list(islice(head[3], units))) == units:
                return head
            start = random_bytes(HEAD_SIZE)
            budget = iter(range(HEAD_BUDGET))
            deque(islice(budget, units), maxlen=0)
            head = (self._prefix + start, self._base_of(start), self._derive(start), budget, process.token)
            self._heads_drawn += 1
            self._head = head
            return head

    def _base_of(self, start: bytes) -> int:
        """Return ``X1 ⊕ K1`` twice in a row, with both counters in place: what a commitment's blocks are made from."""
        x1 = int.from_bytes(self._ecb(b"XCMT" + start))
        return ((x1 ^ self._subkey) * _TWICE) ^ _COUNTERS

    def _derive(self, start: bytes) -> AESGCM:
        """Return AES-GCM under ``CMAC(00 01 "X" 00 ‖ N[:12]) ‖ CMAC(00 02 "X" 00 ‖ N[:12])`` (C2SP XAES-256-GCM)."""
        blocks = (b"\x00\x01X\x00" + start, b"\x00\x02X\x00" + start)
        masked = b"".join((int.from_bytes(block) ^ self._subkey).to_bytes(16) for block in blocks)
        return AESGCM(self._ecb(masked))

    def _remember(self, start: bytes, base: int, gcm: AESGCM | None) -> AESGCM:
        """Keep a head whose commitment has matched: a bounded cache of two generations, which needs no lock."""
        gcm = gcm or self._derive(start)
        if len(self._young_heads) >= _HEADS_REMEMBERED:
            self._old_heads, self._young_heads = self._young_heads, {}
        self._young_heads[start] = (base, gcm)
        return gcm


def _double(block: bytes) -> int:
    """Return the CMAC subkey: ``block`` doubled in GF(2^128) (NIST SP 800-38B, section 6.1)."""
    value = int.from_bytes(block) << 1
    return (value ^ 0x87) & ((1 << 128) - 1) if value >> 128 else value
