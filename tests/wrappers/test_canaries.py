# SPDX-License-Identifier: Apache-2.0
"""Secrets that are easy to recognise are in no repr, log, pickle, error or frame that the library leaves behind."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securekit._primitives.aead import KcXaes256Gcm
from securekit._wire.base64url import encode
from securekit._wire.key_files import read_key_file
from securekit._wire.pae import ContextEncoder
from securekit.exceptions import SecureKitError
from securekit.opening import open_wrapper
from securekit.secret import Secret
from securekit.wrappers import LocalWrapper, PassphraseWrapper, WrappedKey
from securekit.wrappers._protocol import open_package, seal_package
from tests.canaries import walk
from tests.conftest import Count

KEK = b"canary-kek-0123456789abcdefghijk"
KEY = b"canary-key-0123456789abcdefghijk"
PLAINTEXT = b"canary-plaintext of a customer's record"
PASSPHRASE = "canary-passphrase äöü"
CANARIES = [KEK, KEY, PLAINTEXT, PASSPHRASE.encode()]


def _shapes(secret: bytes) -> Iterator[str]:
    """Yield how a secret may look in text."""
    yield secret.decode()
    yield repr(secret)[2:-1]
    yield ascii(secret.decode())[1:-1]
    yield secret.hex()
    yield encode(secret)
    yield str(list(secret))[1:-1]
    yield str(int.from_bytes(secret))


SHAPES = {shape for secret in CANARIES for shape in _shapes(secret)}


def _check(*texts: object) -> None:
    """Fail if a canary stands in the repr or text of anything."""
    for value in texts:
        for text in (repr(value), str(value), f"{value}"):
            assert not [shape for shape in SHAPES if shape in text]


def _wrapped() -> WrappedKey:
    return LocalWrapper(KEK).wrap(KEY, ["x"])


HOLDERS: list[Callable[[], object]] = [
    lambda: KcXaes256Gcm(KEK),
    lambda: LocalWrapper(KEK, label="eu"),
    lambda: PassphraseWrapper(PASSPHRASE, label="eu"),
    lambda: Secret(KEY),
    lambda: Secret(PASSPHRASE),
    lambda: ContextEncoder({"customer": PASSPHRASE}),
]


@pytest.mark.parametrize("make", HOLDERS)
def test_no_holder_shows_its_secret(make: Callable[[], object], caplog: pytest.LogCaptureFixture) -> None:
    """Representations, containers and logs of what holds a secret are redacted; pickle, copy and JSON refuse."""
    holder = make()
    _check(holder, [holder], {"key": holder}, (holder,))
    logging.getLogger("test").error("%s %r", holder, holder, extra={"holder": holder})
    _check(caplog.text, caplog.records[0].__dict__)
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            write(holder)
        _check(*walk(caught.value, frames_of=SecureKitError))
    with pytest.raises(TypeError):
        vars(holder)


def test_what_is_wrapped_shows_nothing() -> None:
    """A wrapped key may be shown and pickled: it holds ciphertext alone."""
    wrapped = _wrapped()
    _check(wrapped, pickle.dumps(wrapped), pickle.loads(pickle.dumps(wrapped)))


def _file(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    path = directory / "file"
    path.write_bytes(content)
    path.chmod(mode)
    return path


_LOCAL_FILE = f"securekit-local-key-1:{encode(KEK)}".encode()


def _encode_twice(one: dict[str, str], other: dict[str, str]) -> None:
    encoder = ContextEncoder()
    encoder.encode(one)
    encoder.encode(other)


_NO_TEXT = PASSPHRASE.encode() + b"\xff"
_CHEAP = bytes(16) + b"\x00\x00\x00\x20\x01\x01"  # a salt, 32 KiB, one pass, one lane
_FAILURES: dict[str, Callable[[Path], object]] = {
    "wrong key": lambda _: KcXaes256Gcm(KEK).decrypt(KcXaes256Gcm(bytes(32)).encrypt(PLAINTEXT, b""), b""),
    "wrong associated data": lambda _: KcXaes256Gcm(KEK).decrypt(KcXaes256Gcm(KEK).encrypt(PLAINTEXT, b""), b"x"),
    "cut message": lambda _: KcXaes256Gcm(KEK).decrypt(KcXaes256Gcm(KEK).encrypt(PLAINTEXT, b"")[:-1], b""),
    "wrong binding": lambda _: LocalWrapper(KEK).unwrap(_wrapped(), ["y"]),
    "wrong package": lambda _: open_package(seal_package(KEY, ["x"]), ["y"]),
    "wrong KEK": lambda _: LocalWrapper(bytes(32)).unwrap(_wrapped(), ["x"]),
    "too long": lambda _: LocalWrapper(KEK).unwrap(WrappedKey("local", LocalWrapper(KEK).key_ref, bytes(4000)), ["x"]),
    "another length": lambda _: PassphraseWrapper(PASSPHRASE).unwrap(WrappedKey("passphrase", "", bytes(4)), ["x"]),
    "bounds": lambda _: PassphraseWrapper(PASSPHRASE).unwrap(WrappedKey("passphrase", "", b"\xff" * 159), ["x"]),
    "wrong passphrase": lambda _: PassphraseWrapper(PASSPHRASE).unwrap(WrappedKey("passphrase", "", _CHEAP + bytes(137)), ["x"]),
    "open key file": lambda directory: LocalWrapper.from_file(_file(directory, _LOCAL_FILE, 0o644)),
    "large key file": lambda directory: read_key_file(_file(directory, KEK * 4), max_size=99),
    "key file of another form": lambda directory: LocalWrapper.from_file(_file(directory, _LOCAL_FILE.upper())),
    "key file that is no text": lambda directory: LocalWrapper.from_file(_file(directory, _LOCAL_FILE + b"\xff")),
    "bare key as key file": lambda directory: LocalWrapper.from_file(_file(directory, KEK)),
    "key file that exists": lambda directory: LocalWrapper.generate(_file(directory, KEK)),
    "passphrase file that is no text": lambda directory: open_wrapper(f"passphrase:{_file(directory, _NO_TEXT)}"),
    "open passphrase file": lambda directory: open_wrapper(f"passphrase:{_file(directory, PASSPHRASE.encode(), 0o640)}"),
    # Mistakes of the caller:
    "surrogate": lambda _: PassphraseWrapper(PASSPHRASE + "\ud800"),
    "passphrase as bytes": lambda _: PassphraseWrapper(PASSPHRASE.encode()),  # type: ignore[arg-type]
    "label": lambda _: PassphraseWrapper(PASSPHRASE, label="A"),
    "label of a key": lambda _: LocalWrapper(KEK, label="A"),
    "size of a KEK": lambda _: LocalWrapper(KEK[:-1]),
    "size of a key": lambda _: LocalWrapper(bytes(32)).wrap(KEY + b"x", ["x"]),
    "fixed twice": lambda _: ContextEncoder({"customer": PASSPHRASE}).encode({"customer": PASSPHRASE}),
    "surrogate in a context": lambda _: ContextEncoder().encode({"customer": PASSPHRASE + "\ud800"}),
    "surrogate in a known context": lambda _: _encode_twice({"customer": "4711"}, {"customer": PASSPHRASE + "\ud800"}),
    "value of a context": lambda _: ContextEncoder().encode({"customer": PASSPHRASE * 1000}),
    "type of a context": lambda _: ContextEncoder().encode({"customer": PASSPHRASE.encode()}),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("failure", _FAILURES)
def test_no_error_shows_a_secret(failure: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: Count) -> None:
    """Neither an error, its causes and attributes, nor the variables of our frames on its way hold a canary."""
    with pytest.raises((SecureKitError, ValueError, TypeError)) as caught:
        _FAILURES[failure](tmp_path)

    _check(*walk(caught.value, frames_of=SecureKitError), caplog.text)
    count("error paths walked for canaries", 1)


def test_the_check_would_find_a_canary() -> None:
    """The walk sees arguments, attributes, causes and variables."""
    for secret in CANARIES:
        for error in (ValueError(secret), ValueError(secret.decode()), ValueError(f"x{secret.hex()}x")):
            outer = RuntimeError()
            outer.__context__ = error
            with pytest.raises(AssertionError):
                _check(*walk(outer, frames_of=SecureKitError))


def test_no_file_but_the_key_file_holds_the_key(tmp_path: Path) -> None:
    """Making a key file leaves no second one, and a log of it nothing."""
    LocalWrapper.generate(tmp_path / "root.key")
    assert [path.name for path in tmp_path.rglob("*")] == ["root.key"]


def test_secrets_with_lone_surrogates_are_compared_without_an_error() -> None:
    """The codec's error would hold the secret."""
    assert Secret(PASSPHRASE + "\ud800") == Secret(PASSPHRASE + "\ud800")
    assert Secret(PASSPHRASE + "\ud800") != Secret(PASSPHRASE)
