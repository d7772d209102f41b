# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import io
import json
import random
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from securekit._primitives.cobblestone import (
    CHUNK_SIZE,
    HEADER_SIZE,
    MAX_CHUNKS,
    SEALED_CHUNK_SIZE,
    TAG_SIZE,
    ChunkOpener,
    StreamEncryptor,
    sealed_size,
)
from securekit.envelope._reader import SealedReader, _Chunks, _Pipe
from securekit.envelope._source import FileSource, PipeSource
from securekit.exceptions import DecryptionError
from tests.conftest import Count

VECTORS = Path(__file__).parent.parent / "vectors" / "wycheproof" / "c2sp_chunked_encryption_aes_256_gcm_test.json"
KEY, CONTEXT = bytes(range(32)), b"context"
EDGES = [0, 1, 15, 16, 17, *(count * CHUNK_SIZE + more for count in (1, 3, 64) for more in (-1, 0, 1))]


def vectors() -> list[Any]:
    groups = json.loads(VECTORS.read_text())["testGroups"]
    return [pytest.param(case, id=f"{case['tcId']}") for group in groups for case in group["tests"]]


def reader_of(message: bytes, key: bytes, context: bytes, *, pipe: bool = False) -> SealedReader:
    """Return a reader of a bare message, with no header of ours before it."""
    reader = SealedReader.__new__(SealedReader)
    file = io.BytesIO(message)
    reader._source = PipeSource(file) if pipe else FileSource(file)
    head = file.read(HEADER_SIZE) if pipe else message[:HEADER_SIZE]
    reader._opener = ChunkOpener(key, context, head)
    reader._chunks = _Pipe(reader._source) if isinstance(reader._source, PipeSource) else _Chunks(reader._source, HEADER_SIZE)
    reader._position, reader._number, reader._kept, reader._end = 0, -1, b"", None
    return reader


def prefix_of(reader: SealedReader, step: int) -> tuple[bytes, bool]:
    """Return what a reader gives out in steps, and whether it came to an end without an error."""
    given = b""
    try:
        while piece := reader.read(step):
            given += piece
    except DecryptionError:
        with pytest.raises(DecryptionError):  # and it keeps failing
            reader.read(step)
        return given, False
    return given, True


@pytest.mark.parametrize("case", vectors())
def test_wycheproof(case: dict[str, Any], count: Count) -> None:
    """Every published message is read as its vector says: whole and from the end, or at most its valid prefix."""
    key, context, message = bytes.fromhex(case["key"]), bytes.fromhex(case["ctx"]), zlib.decompress(bytes.fromhex(case["ct"]))
    count("chunked encryption vectors of Wycheproof", 1)
    if "HeaderFailure" in case["flags"]:
        with pytest.raises(ValueError if "InvalidKeySize" in case["flags"] else DecryptionError):
            ChunkOpener(key, context, message[:HEADER_SIZE])
        return
    length = case.get("msgLength", 0)
    for pipe in (False, True):
        for step in (1024, CHUNK_SIZE, 100 * CHUNK_SIZE):
            given, ended = prefix_of(reader_of(message, key, context, pipe=pipe), step)
            assert ended == (case["result"] == "valid")
            assert len(given) == length or (step > CHUNK_SIZE and not ended and len(given) < length)
            assert len(given) < length or hashlib.sha512(given).hexdigest() == case.get("msgSha512", hashlib.sha512().hexdigest())
    reader = reader_of(message, key, context)
    given, _ = prefix_of(reader_of(message, key, context), CHUNK_SIZE)
    if case["result"] == "valid":
        assert reader.seek(0, 2) == length
        last = reader.seek(-min(length, 100), 2)
        assert reader.read() == given[last:]
    elif "ValidFinalChunk" in case["flags"]:
        assert reader.seek(0, 2) >= length  # the end is authentic; what is before it is not
    else:
        with pytest.raises(DecryptionError):
            reader.seek(0, 2)


@pytest.mark.parametrize("size", EDGES + [random.Random(seed).randrange(5 * CHUNK_SIZE) for seed in range(20)])
def test_agreement_with_the_package(size: int, count: Count) -> None:
    """What is encrypted in pieces of any size is opened chunk by chunk, by us and by ``cryptography``, and has the size foretold."""
    numbers = random.Random(size)
    data = numbers.randbytes(size)
    encryptor = StreamEncryptor(KEY, CONTEXT)
    cuts = [0, *sorted(numbers.randrange(size + 1) for _ in range(5)), size]
    message = b"".join([*(encryptor.update(data[begin:end]) for begin, end in pairwise(cuts)), encryptor.finalize()])

    opener = ChunkOpener(KEY, CONTEXT, message[:HEADER_SIZE])
    chunks = [message[at : at + SEALED_CHUNK_SIZE] for at in range(HEADER_SIZE, len(message), SEALED_CHUNK_SIZE)]
    theirs = Cobblestone256Decryptor(KEY, CONTEXT)

    assert len(message) == sealed_size(size)
    assert b"".join(opener.open(number, chunk) for number, chunk in enumerate(chunks)) == data
    assert theirs.update(message) + theirs.finalize() == data
    count("messages that we and cryptography read alike", 1)


def test_the_package_agrees_about_what_is_wrong() -> None:
    """A chunk that is not at its place opens neither here nor in ``cryptography``."""
    encryptor = StreamEncryptor(KEY, CONTEXT)
    message = encryptor.update(bytes(2 * CHUNK_SIZE)) + encryptor.finalize()
    first, second, rest = message[HEADER_SIZE:][:SEALED_CHUNK_SIZE], message[HEADER_SIZE + SEALED_CHUNK_SIZE :][:SEALED_CHUNK_SIZE], b""
    swapped = message[:HEADER_SIZE] + second + first + rest

    with pytest.raises(DecryptionError):
        ChunkOpener(KEY, CONTEXT, message[:HEADER_SIZE]).open(0, second)
    with pytest.raises(InvalidTag):
        Cobblestone256Decryptor(KEY, CONTEXT).update(swapped)


def test_a_chunk_that_is_not_authentic_leaves_zeros() -> None:
    """Nothing of what the cipher wrote before it saw the tag stays in the caller's buffer."""
    encryptor = StreamEncryptor(KEY, CONTEXT)
    message = encryptor.update(b"secret" * 3000) + encryptor.finalize()
    opener = ChunkOpener(KEY, CONTEXT, message[:HEADER_SIZE])
    chunk = bytearray(message[HEADER_SIZE:][:SEALED_CHUNK_SIZE])
    good, bad = bytearray(b"\xff" * CHUNK_SIZE), bytearray(b"\xff" * CHUNK_SIZE)

    opener.open_run_into(0, memoryview(chunk), memoryview(good))
    chunk[-1] ^= 1
    with pytest.raises(DecryptionError):
        opener.open_run_into(0, memoryview(chunk), memoryview(bad))

    assert good == (b"secret" * 3000)[:CHUNK_SIZE]
    assert bad == bytes(CHUNK_SIZE)


@pytest.mark.parametrize("size", [0, HEADER_SIZE - 1, HEADER_SIZE + 1])
def test_a_header_of_another_length_does_not_open(size: int) -> None:
    """Salt and commitment have 56 bytes together."""
    with pytest.raises(DecryptionError):
        ChunkOpener(KEY, CONTEXT, StreamEncryptor(KEY, CONTEXT).finalize()[:size])


def test_a_message_has_at_most_2_to_the_38_chunks() -> None:
    """A chunk beyond the last that can be is refused before its nonce is made."""
    chunks = _Chunks(FileSource(io.BytesIO(bytes(TAG_SIZE))), 0)
    chunks.last, chunks._begin = MAX_CHUNKS, -MAX_CHUNKS * SEALED_CHUNK_SIZE

    assert len(chunks._source.read_at(chunks._begin + MAX_CHUNKS * SEALED_CHUNK_SIZE, TAG_SIZE)) == TAG_SIZE
    with pytest.raises(DecryptionError):
        chunks.one(MAX_CHUNKS)
    with pytest.raises(DecryptionError):
        _pipe_at(MAX_CHUNKS).one(MAX_CHUNKS)


def _pipe_at(number: int) -> _Pipe:
    pipe = _Pipe(PipeSource(io.BytesIO(bytes(TAG_SIZE))))
    pipe._next = number
    return pipe
