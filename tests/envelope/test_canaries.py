# SPDX-License-Identifier: Apache-2.0
"""Keys and plaintexts that are easy to recognise are in nothing that an envelope shows, logs, raises or writes down."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securekit.envelope import Envelope, _envelope, inspect
from securekit.envelope._header import DataKey
from securekit.exceptions import SecureKitError
from securekit.testing import FlakyWrapper
from securekit.wrappers import KeyWrapper, LocalWrapper, PassphraseWrapper
from securekit.wrappers._post_quantum import PostQuantumWrapper
from tests.canaries import walk
from tests.conftest import Count
from tests.envelope.parts import header, stream
from tests.wrappers.test_canaries import _shapes

KEK = b"canary-kek-0123456789abcdefghijk"
SEED = b"canary-seed-0123456789abcdefghij"
KEY = b"canary-key-0123456789abcdefghijk"
PASSPHRASE = "canary-passphrase äöü"
PLAINTEXT = b"canary-plaintext of a customer's record\n"
CONTEXT = {"customer": "4711"}  # which is the caller's, who shows it or not
SHAPES = {shape for secret in (KEK, SEED, KEY, PASSPHRASE.encode(), PLAINTEXT) for shape in _shapes(secret)}
LOCAL = LocalWrapper(KEK)
WRAPPERS: list[KeyWrapper] = [LOCAL, PassphraseWrapper(PASSPHRASE), PostQuantumWrapper(seed=SEED)]
ENVELOPE = Envelope(WRAPPERS)
DATA = PLAINTEXT * 2000  # several chunks


def check(*values: object) -> None:
    """Fail if a canary stands in the repr or text of anything."""
    for value in values:
        for text in (repr(value), str(value)):
            assert not [shape for shape in SHAPES if shape in text]


def sealed(data: bytes = DATA) -> bytes:
    target = io.BytesIO()
    with ENVELOPE.open_writer(target, context=CONTEXT) as writer:
        writer.write(data)
    return target.getvalue()


@pytest.mark.parametrize("make", [lambda: ENVELOPE, lambda: DataKey(KEY), lambda: WRAPPERS[2]])
def test_no_holder_shows_its_secret(make: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    """Representations, containers and logs are redacted; pickle, copy and JSON refuse."""
    holder = make()
    check(holder, [holder], {"key": holder})
    logging.getLogger("test").error("%s %r", holder, holder, extra={"holder": holder})
    check(caplog.text)
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            write(holder)
        check(*walk(caught.value, frames_of=SecureKitError))


def test_readers_and_writers_show_nothing() -> None:
    """Neither text nor attributes' names tell what passes through, and both refuse to be pickled."""
    reader = ENVELOPE.open_reader(io.BytesIO(sealed()), context=CONTEXT)
    reader.read(10)
    writer = ENVELOPE.open_writer(io.BytesIO(), context=CONTEXT)
    writer.write(PLAINTEXT)
    for file in (reader, writer):
        check(file, [file])
        with pytest.raises(TypeError):
            pickle.dumps(file)
    writer.abort()


def test_what_is_sealed_shows_nothing(tmp_path: Path) -> None:
    """Neither messages, files, their inspection nor what lies beside a file in the making holds a canary."""
    message = ENVELOPE.encrypt(DATA, context=CONTEXT)
    writer = ENVELOPE.open_writer(tmp_path / "file.sk", context=CONTEXT)
    writer.write(DATA)
    beside = [path.name for path in tmp_path.rglob("*")]
    writer.close()

    check(message, inspect(message), (tmp_path / "file.sk").read_bytes())
    assert beside == []
    assert [path.name for path in tmp_path.rglob("*")] == ["file.sk"]


def changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def read_all(data: bytes, size: int | None = None) -> None:
    with ENVELOPE.open_reader(io.BytesIO(data), context=CONTEXT) as reader:
        while reader.read(-1 if size is None else size):
            pass


def read_into(data: bytes) -> None:
    ENVELOPE.open_reader(io.BytesIO(data), context=CONTEXT).readinto(bytearray(len(DATA)))


def away() -> FlakyWrapper:
    return FlakyWrapper(LocalWrapper(bytes(32)), unavailable=True)


FAILURES: dict[str, Callable[[Path], object]] = {
    "wrong context": lambda _: ENVELOPE.decrypt(ENVELOPE.encrypt(PLAINTEXT, context=CONTEXT), context=CONTEXT | {"more": ""}),
    "wrong context of a stream": lambda _: ENVELOPE.open_reader(io.BytesIO(sealed()), context={"other": "4711"}),
    "changed message": lambda _: ENVELOPE.decrypt(changed(ENVELOPE.encrypt(PLAINTEXT, context=CONTEXT), -1), context=CONTEXT),
    "changed header": lambda _: Envelope(LOCAL).decrypt(changed(stream(PLAINTEXT, LOCAL), 20), context=CONTEXT),
    "changed last chunk": lambda _: read_all(changed(sealed(), len(sealed()) - 1)),
    "changed last chunk, by the kilobyte": lambda _: read_all(changed(sealed(), len(sealed()) - 1), 1000),
    "changed last chunk, by two chunks": lambda _: read_all(changed(sealed(), len(sealed()) - 1), 40_000),
    "changed second chunk": lambda _: read_into(changed(sealed(), 8192 + 56 + 20_000)),
    "changed last chunk, into a buffer": lambda _: read_into(changed(sealed(), len(sealed()) - 1)),
    "no recipient": lambda _: Envelope(LocalWrapper(bytes(32))).decrypt(ENVELOPE.encrypt(PLAINTEXT, context={}), context={}),
    "a KEK's holder is away": lambda _: Envelope([LOCAL, away()]).encrypt(b"", context={}),
    "a KEK's holder is away for a rewrap": lambda _: ENVELOPE.rewrap(ENVELOPE.encrypt(b"", context={}), wrappers=[*WRAPPERS, away()]),
    "a recipient would be lost": lambda _: ENVELOPE.rewrap(ENVELOPE.encrypt(PLAINTEXT, context={}), wrappers=[LOCAL]),
    "handmade header with the key": lambda _: Envelope(LOCAL).decrypt(
        changed(header(LOCAL.wrap(KEY, ["envelope", b"\x1d" * 16]), key=DataKey(KEY), flags=0, slot=0) + bytes(99), -100), context=CONTEXT
    ),
    "a file with one header": lambda folder: in_place(folder, stream(PLAINTEXT, LOCAL)),
    "a missing file": lambda folder: ENVELOPE.open_reader(folder / "missing", context=CONTEXT),
    "data of another type": lambda _: ENVELOPE.encrypt(PASSPHRASE, context={}),  # type: ignore[arg-type]
    "context of another type": lambda _: ENVELOPE.encrypt(b"", context={"customer": b"4711"}),  # type: ignore[dict-item]
    "two KEKs of one name": lambda _: Envelope([LOCAL, LocalWrapper(KEK)]).encrypt(b"", context={}),
}


def in_place(folder: Path, data: bytes) -> None:
    (folder / "file.sk").write_bytes(data)
    ENVELOPE.rewrap_file(folder / "file.sk")


@pytest.mark.parametrize("failure", FAILURES)
def test_no_error_shows_a_secret(failure: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: Count) -> None:
    """Neither an error, its causes and attributes, nor the variables of our frames on its way hold a canary."""
    with pytest.raises((SecureKitError, ValueError, TypeError, OSError)) as caught:
        FAILURES[failure](tmp_path)

    check(*walk(caught.value, frames_of=SecureKitError), caplog.text)
    count("error paths walked for canaries", 1)


def test_a_data_key_is_in_no_frame_of_a_failing_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a KEK's holder fails in the middle of the wrapping, the new data key is no variable on the way."""
    monkeypatch.setattr(_envelope, "random_bytes", lambda size: KEY[:size])
    with pytest.raises(SecureKitError) as caught:
        Envelope([LOCAL, away()]).encrypt(b"", context={})
    check(*walk(caught.value, frames_of=SecureKitError))
