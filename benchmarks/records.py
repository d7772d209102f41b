# SPDX-License-Identifier: Apache-2.0
"""Records: what a keyring's verbs cost beside bare AES-GCM and Tink, and how many bytes a message grows by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import repeat
from threading import Thread

import aws_encryption_sdk
import tink
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import AesWrappingAlg, CreateRawAesKeyringInput
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tink import aead

from benchmarks.ratio import Ratio, compare, show
from securekit import LocalWrapper, MemoryKeyStore
from securekit._wire.pae import encode_context

DATA = os.urandom(1024)
CONTEXT = {"table": "invoice", "id": "42"}
ASSOCIATED_DATA = encode_context(CONTEXT)  # what the bare cipher and Tink authenticate: the context, encoded in advance
CALLS = 1_000  # per call of a function here
ROUND = 10_000  # per round: 10 ms, short enough for a busy neighbour to hit both sides alike
ROUNDS = 101
THREADS = 8

ring = MemoryKeyStore(wrapper=LocalWrapper(os.urandom(32))).keyring("eu/acme/invoices", create=True)
bound = ring.bind(**CONTEXT)
gcm = AESGCM(os.urandom(32))

record = ring.encrypt(DATA, context=CONTEXT)
nonce = os.urandom(12)
ciphertext = gcm.encrypt(nonce, DATA, ASSOCIATED_DATA)
assert ring.decrypt(record, context=CONTEXT) == bound.decrypt(record) == gcm.decrypt(nonce, ciphertext, ASSOCIATED_DATA) == DATA


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    yield from single_records()
    yield from batches()
    yield from against_tink()
    yield threads()
    yield from overheads()


def single_records() -> Iterator[Ratio]:
    """Time one record of 1 KiB at a time, with a key that is in memory."""
    yield _compare("`Keyring.encrypt` 1 KiB, bare AES-GCM", _encrypt, _bare_encrypt, goal=3.0)
    yield _compare("`Keyring.decrypt` 1 KiB, bare AES-GCM", _decrypt, _bare_decrypt, goal=4.0)
    yield _compare("`BoundKeyring.encrypt` 1 KiB, bare AES-GCM", _bound_encrypt, _bare_encrypt, goal=2.2)
    yield _compare("`BoundKeyring.decrypt` 1 KiB, bare AES-GCM", _bound_decrypt, _bare_decrypt)


def batches() -> Iterator[Ratio]:
    """Time 1,000 records of 1 KiB in one call, each with the context of its own row, beside loops that give the same lists."""
    contexts = [{"table": "invoice", "id": str(row)} for row in range(CALLS)]
    items = [(DATA, context) for context in contexts]
    records = list(zip(ring.encrypt_many(items), contexts, strict=True))

    def bare_encrypt() -> list[bytes]:
        return [(nonce := os.urandom(12)) + gcm.encrypt(nonce, DATA, ASSOCIATED_DATA) for _ in range(CALLS)]

    def bare_decrypt() -> list[bytes]:
        return [gcm.decrypt(message[:12], message[12:], ASSOCIATED_DATA) for message in messages]

    messages = bare_encrypt()
    assert ring.decrypt_many(records) == bare_decrypt() == [DATA] * CALLS

    yield _compare("`encrypt_many` 1,000 × 1 KiB, bare AES-GCM in a loop", lambda: ring.encrypt_many(items), bare_encrypt, goal=1.8)
    yield _compare("`decrypt_many` 1,000 × 1 KiB, bare AES-GCM in a loop", lambda: ring.decrypt_many(records), bare_decrypt, goal=2.5)


def against_tink() -> Iterator[Ratio]:
    """Time Tink's envelope encryption, whose key encryption key is local as well."""
    envelope = _tink_envelope()
    message = envelope.encrypt(DATA, ASSOCIATED_DATA)
    assert envelope.decrypt(message, ASSOCIATED_DATA) == DATA

    def encrypt() -> None:
        for _ in repeat(None, CALLS):
            envelope.encrypt(DATA, ASSOCIATED_DATA)

    def decrypt() -> None:
        for _ in repeat(None, CALLS):
            envelope.decrypt(message, ASSOCIATED_DATA)

    yield _compare("`Keyring.encrypt` 1 KiB, Tink `KmsEnvelopeAead`", _encrypt, encrypt, goal=3.0, at_least=True)
    yield _compare("`BoundKeyring.encrypt` 1 KiB, Tink `KmsEnvelopeAead`", _bound_encrypt, encrypt, at_least=True)
    yield _compare("`Keyring.decrypt` 1 KiB, Tink `KmsEnvelopeAead`", _decrypt, decrypt, at_least=True)


def threads() -> Ratio:
    """Time the same number of records from eight threads and from one."""

    def in_threads() -> None:
        started = [Thread(target=_encrypt_long) for _ in range(THREADS)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    def in_one() -> None:
        for _ in range(THREADS):
            _encrypt_long()

    def _encrypt_long() -> None:
        for _ in range(10):  # long enough for the threads to meet
            _encrypt()

    name = "`Keyring.encrypt` 1 KiB in 8 threads, in 1 thread"
    return compare(in_threads, in_one, name=name, goal=None, rounds=15, number=1, items=THREADS * 10 * CALLS)


def overheads() -> Iterator[Ratio]:
    """Count the bytes by which a message of 1 KiB grows."""
    ours = len(ring.encrypt(DATA, context=CONTEXT)) - len(DATA)
    others = {
        "Tink `KmsEnvelopeAead`": _tink_envelope().encrypt(DATA, ASSOCIATED_DATA),
        "AWS Encryption SDK": _aws_encrypt({}),
        "AWS Encryption SDK, context of 2 pairs": _aws_encrypt(CONTEXT),
        "Fernet": Fernet(Fernet.generate_key()).encrypt(DATA),
    }
    for name, message in others.items():
        yield Ratio(f"overhead of a record of 1 KiB, {name}", ours, len(message) - len(DATA), goal=1, unit="bytes")


def _tink_envelope() -> aead.KmsEnvelopeAead:
    aead.register()
    template = aead.aead_key_templates.AES256_GCM
    return aead.KmsEnvelopeAead(template, tink.new_keyset_handle(template).primitive(aead.Aead))


def _aws_encrypt(context: dict[str, str]) -> bytes:
    """Encrypt under a raw AES keyring, with the committing suite that does not sign."""
    keyring = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig()).create_raw_aes_keyring(
        input=CreateRawAesKeyringInput(
            key_namespace="benchmarks",
            key_name="kek",
            wrapping_key=os.urandom(32),
            wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
        )
    )
    message: bytes
    message, _ = aws_encryption_sdk.EncryptionSDKClient().encrypt(
        source=DATA,
        keyring=keyring,
        encryption_context=context,
        algorithm=aws_encryption_sdk.Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    )
    return message


# The loops are written out, because a function around each call would weigh more on the shorter side.


def _encrypt() -> None:
    for _ in repeat(None, CALLS):
        ring.encrypt(DATA, context=CONTEXT)


def _decrypt() -> None:
    for _ in repeat(None, CALLS):
        ring.decrypt(record, context=CONTEXT)


def _bound_encrypt() -> None:
    for _ in repeat(None, CALLS):
        bound.encrypt(DATA)


def _bound_decrypt() -> None:
    for _ in repeat(None, CALLS):
        bound.decrypt(record)


def _bare_encrypt() -> None:
    for _ in repeat(None, CALLS):
        gcm.encrypt(os.urandom(12), DATA, ASSOCIATED_DATA)


def _bare_decrypt() -> None:
    for _ in repeat(None, CALLS):
        gcm.decrypt(nonce, ciphertext, ASSOCIATED_DATA)


def _compare(
    name: str, subject: Callable[[], object], reference: Callable[[], object], *, goal: float | None = None, at_least: bool = False
) -> Ratio:
    """Compare two functions that make `CALLS` calls each."""
    return compare(subject, reference, name=name, goal=goal, rounds=ROUNDS, number=ROUND // CALLS, items=CALLS, at_least=at_least)


if __name__ == "__main__":
    show(*measure())
