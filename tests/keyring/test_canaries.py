# SPDX-License-Identifier: Apache-2.0
"""Keys, plaintexts and contexts that are easy to recognise are in nothing that a keyring shows, logs, raises or writes down."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from securekit._wire.base64url import encode
from securekit.exceptions import SecureKitError
from securekit.keyring import Event, FileKeyStore, Keyring, KeyringWrapper, KeyState, inspect
from securekit.keyring._document import KeyringDocument, KeyringSecret
from securekit.testing import FlakyWrapper
from securekit.wrappers import LocalWrapper
from tests.canaries import walk
from tests.conftest import Count
from tests.keyring.parts import OTHER, PATH, certificate, document, escrow, open_keyring, storage_with, store_on, version

KEK = b"canary-kek-0123456789abcdefghijk"
SECRET = KeyringSecret(b"canary-secret-0123456789abcdefgh")
KEY = b"canary-key-0123456789abcdefghijk"
PLAINTEXT = b"canary-plaintext of a customer"
VALUE = "canary-value of a context äöü"
CONTEXT = {"customer": VALUE}
CANARIES = [KEK, SECRET.value, KEY, PLAINTEXT, VALUE.encode()]


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


def _check(*values: object) -> None:
    for value in values:
        for text in (repr(value), str(value)):
            assert not [shape for shape in SHAPES if shape in text]


def _document(**changes: Any) -> bytes:
    """Return a document whose secret and primary key are canaries."""
    made = KeyringDocument.decode(document()).document
    key = replace(version(1, KeyState.PRIMARY), sealed=SECRET.seal_key(made, "00000001", KEY))
    return document(**{"keys": [key, version(2, KeyState.DISABLED)], "secret": SECRET, "wrappers": [LocalWrapper(KEK)], **changes})


def _ring(**changes: Any) -> Keyring:
    ring: Keyring = open_keyring(_document(**changes), wrapper=LocalWrapper(KEK))
    return ring


def test_the_canaries_are_really_in_use() -> None:
    """The keyring's secret and its key are the ones that are looked for."""
    ring = _ring()
    opened = ring._cache.current().opened
    assert opened.secret.value == SECRET.value
    assert opened.document.primary.sealed is not None
    assert opened.secret.open_key(opened.document, "00000001", opened.document.primary.sealed) == KEY


HOLDERS: dict[str, Callable[[Keyring], object]] = {
    "Keyring": lambda ring: ring,
    "BoundKeyring": lambda ring: ring.bind(**CONTEXT),
    "KeyringWrapper": KeyringWrapper,
    "KeyStore": lambda _: store_on(storage_with(_document()), wrapper=LocalWrapper(KEK)),
    "StoreSource": lambda ring: ring._source,
    "LiveCache": lambda ring: ring._cache,
    "Live": lambda ring: ring._cache.current(),
    "Opened": lambda ring: ring._cache.current().opened,
    "KeyringSecret": lambda ring: ring._cache.current().opened.secret,
    "RecordKey": lambda ring: ring._cache.current().primary,
}


@pytest.mark.parametrize("name", HOLDERS)
def test_no_holder_shows_or_writes_down_a_secret(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Representations and logs are redacted; pickle, copy and JSON refuse."""
    ring = _ring()
    ring.encrypt(PLAINTEXT, context=CONTEXT)
    holder = HOLDERS[name](ring)
    assert type(holder).__name__ == name

    _check(holder, [holder], {"it": holder}, f"{holder}")
    logging.getLogger("test").error("%s %r", holder, holder, extra={"holder": holder})
    _check(caplog.text, caplog.records[0].__dict__)
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            write(holder)
        _check(caught.value)


def test_what_may_be_shown_is_public() -> None:
    """Infos, receipts, inspections, events, recipients and documents hold no secret, and may be pickled."""
    events: list[Event] = []
    store = store_on(storage_with(_document()), wrapper=LocalWrapper(KEK), on_event=events.append)
    ring = store.keyring(PATH)
    token = ring.encrypt(PLAINTEXT, context=CONTEXT)
    ring.rotate()
    ring.decrypt(token, context=CONTEXT)
    shown = [*ring.keys(), ring.destroy("00000001", force=True), *ring.due(), *ring.recipients, inspect(token), inspect(store.backup(PATH))]
    shown += [store.delete(PATH), *events]
    _check(*shown, token)
    for each in shown:
        assert pickle.loads(pickle.dumps(each)) == each


FOREIGN = open_keyring(document(secret=KeyringSecret(bytes(32))))
TOKEN = _ring().encrypt(PLAINTEXT, context=CONTEXT)
PUBLIC: Mapping[str, str] = {"customer": "4711"}


def _denied() -> object:
    return store_on(storage_with(_document()), wrapper=FlakyWrapper(LocalWrapper(KEK), denied=True)).keyring(PATH)


def _rolled_back() -> object:
    storage = storage_with(_document())
    ring = store_on(storage, wrapper=LocalWrapper(KEK)).keyring(PATH)
    before = storage._documents[PATH]
    ring.rotate()
    storage._documents[PATH] = before
    return ring.rotate()


def _no_text() -> object:
    ring = _ring()
    return ring.decrypt_text("sk1." + encode(ring.encrypt(b"\xff" + PLAINTEXT, context={})), context={})


def _wrong_binding() -> object:
    wrapper = KeyringWrapper(_ring())
    return wrapper.unwrap(wrapper.wrap(KEY, ["x"]), ["y"])


FAILURES: dict[str, Callable[[], object]] = {
    "wrong context": lambda: _ring().decrypt(TOKEN, context=PUBLIC),
    "wrong context in a batch": lambda: _ring().decrypt_many([(TOKEN, PUBLIC)]),
    "wrong keyring": lambda: FOREIGN.decrypt(TOKEN, context=PUBLIC),
    "unknown key": lambda: _ring().decrypt(TOKEN[:1] + b"none" + TOKEN[5:], context=PUBLIC),
    "disabled key": lambda: _ring().decrypt(TOKEN[:1] + bytes.fromhex("00000002") + TOKEN[5:], context=PUBLIC),
    "no text": _no_text,
    "no record": lambda: _ring().decrypt(b"\x02" + TOKEN, context=PUBLIC),
    "no text form": lambda: _ring().decrypt_text("sk2.", context=PUBLIC),
    "changed document": lambda: open_keyring(_document().replace(b'"refresh":60', b'"refresh":61'), wrapper=LocalWrapper(KEK)),
    "changed key": lambda: open_keyring(_document(keys=[version(1, KeyState.PRIMARY, sealed=bytes(104))]), wrapper=LocalWrapper(KEK)),
    "document of another path": lambda: open_keyring(_document(), wrapper=LocalWrapper(KEK), path=OTHER),
    "foreign KEK": lambda: open_keyring(_document()),
    "escrow alone": lambda: open_keyring(_document(wrappers=[LocalWrapper(KEK), certificate()]), wrapper=escrow()),
    "denied": _denied,
    "rolled back": _rolled_back,
    "lost recipient": lambda: store_on(storage_with(_document()), wrapper=LocalWrapper(KEK), also_open=()).rewrap([certificate()]),
    "forbidden state": lambda: _ring().disable("00000001"),
    "no such key": lambda: _ring().promote("99999999"),
    "wrong binding": _wrong_binding,
    "surrogate": lambda: _ring().encrypt_text(PLAINTEXT.decode() + "\ud800", context={}),
    "bound twice": lambda: _ring().bind(**CONTEXT).encrypt(b"x", context=PUBLIC),
}
CALLERS = {"surrogate", "bound twice"}  # mistakes of the caller, whose own frame has what it passed


@pytest.mark.parametrize("failure", FAILURES)
def test_no_error_shows_a_secret(failure: str, caplog: pytest.LogCaptureFixture, count: Count) -> None:
    """Neither an error, its causes and attributes, nor the variables of our frames on its way hold a canary."""
    with pytest.raises((SecureKitError, ValueError)) as caught:
        FAILURES[failure]()

    assert isinstance(caught.value, ValueError) == (failure in CALLERS)
    if failure in CALLERS:
        _check(caught.value, caught.value.args, caught.value.__cause__, caught.value.__context__)
    else:
        _check(*walk(caught.value))
    _check(caplog.text)
    count("error paths walked for canaries", 1)


def test_errors_in_place_of_results_show_nothing() -> None:
    """The exceptions that decrypt_many returns carry no frames at all."""
    ring = _ring()
    found = ring.decrypt_many([(TOKEN, PUBLIC), (b"", PUBLIC), (TOKEN[:1] + b"none" + TOKEN[5:], PUBLIC)], errors="return")
    for error in found:
        assert isinstance(error, SecureKitError)
        assert error.__traceback__ is None
        _check(*walk(error))


def test_no_file_holds_a_key(tmp_path: Path) -> None:
    """Documents and what lies beside them hold neither the KEK, the keyring's secret nor a data key, raw or encoded."""
    store = FileKeyStore(tmp_path, wrapper=LocalWrapper(KEK))
    store.restore(_document())
    ring = store.keyring(PATH)
    ring.encrypt(PLAINTEXT, context=CONTEXT)
    ring.rotate()
    store.rewrap([LocalWrapper(KEK), certificate()])
    opened = store.keyring(PATH)._cache.current().opened
    keys = [opened.secret.open_key(opened.document, key.id, key.sealed) for key in opened.document.keys if key.sealed]
    assert KEY in keys

    written = b"\n".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    for secret in (*CANARIES, *keys, opened.secret.value):
        assert not [shape for shape in (secret, secret.hex().encode(), encode(secret).encode()) if shape in written]
    assert len(written) > 1000


def test_the_check_would_find_a_canary() -> None:
    """The walk sees text, attributes, causes and variables."""
    for secret in CANARIES:
        outer = RuntimeError()
        outer.__context__ = ValueError(f"x{secret.hex()}x")
        with pytest.raises(AssertionError):
            _check(*walk(outer))
