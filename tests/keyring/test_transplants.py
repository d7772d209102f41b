# SPDX-License-Identifier: Apache-2.0
"""Genuine parts in another place: nothing opens where it does not belong, and nobody is believed for having a certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from securekit._wire.canonical_json import decode, encode
from securekit.exceptions import DecryptionError, FormatError, KeyNotFoundError, KeyStoreError, SecureKitError
from securekit.keyring import Keyring, KeyringWrapper
from securekit.keyring._document import KeyringDocument, KeyringSecret, KeyState
from securekit.keyring._storage import MemoryStorage
from securekit.wrappers import KeyWrapper, LocalWrapper, WrappedKey
from tests.conftest import Count
from tests.keyring.parts import (
    CONTEXT,
    LOCAL,
    OTHER,
    PATH,
    SECRET,
    certificate,
    document,
    escrow,
    local,
    open_keyring,
    refusal,
    storage_with,
    store_on,
    version,
)

EVIL = KeyringSecret(b"\xe1" * 32)


def _ring(**changes: Any) -> Keyring:
    """Return a keyring whose primary always has the id 00000001, whatever is different about it."""
    ring: Keyring = open_keyring(document(**changes), path=changes.get("path", PATH))
    return ring


def _other_key() -> Keyring:
    """Return a keyring of the same path and ids whose data key is another one."""
    made = KeyringDocument.decode(document()).document
    foreign = replace(version(1, KeyState.PRIMARY), sealed=SECRET.seal_key(made, "00000001", bytes(32)))
    return _ring(keys=[foreign])


@pytest.mark.parametrize(
    ("reader", "context", "error"),
    [
        (_other_key, CONTEXT, DecryptionError),
        (lambda: _ring(path=OTHER), CONTEXT, DecryptionError),
        (lambda: _ring(keys=[version(2, KeyState.PRIMARY)]), CONTEXT, KeyNotFoundError),
        (_ring, {}, DecryptionError),
        (_ring, {**CONTEXT, "id": "43"}, DecryptionError),
        (_ring, {**CONTEXT, "ID": "42"}, DecryptionError),
        (_ring, {"tableinvoice": "column", "iban": "id", "4": "2"}, DecryptionError),
        (lambda: _ring(keyring_id=bytes(16)), CONTEXT, None),  # the keyring id binds the keys, not the records
    ],
)
def test_a_record_opens_only_where_it_belongs(
    reader: Callable[[], Keyring], context: dict[str, str], error: type[SecureKitError] | None
) -> None:
    """Another key, path, key id or context is refused, alone and in a batch."""
    token = _ring().encrypt(b"x", context=CONTEXT)
    ring = reader()

    assert refusal(ring.decrypt, token, context=context) is error
    assert refusal(ring.decrypt_many, [(token, context)]) is error


def test_a_record_with_the_id_of_another_key_is_refused() -> None:
    """Naming another key of the same keyring in the header does not make it open."""
    ring = _ring(keys=[version(1, KeyState.PRIMARY), version(2)])
    token = ring.encrypt(b"x", context={})
    assert refusal(ring.decrypt, token[:1] + bytes.fromhex("00000002") + token[5:], context={}) is DecryptionError


@pytest.mark.parametrize("same_store", [True, False])
def test_a_record_does_not_open_in_another_keyring(same_store: bool) -> None:
    """Between keyrings of one store, and of two stores, the key is simply not known."""
    one, other = MemoryStorage(), MemoryStorage()
    token = store_on(one).keyring(PATH, create=True).encrypt(b"x", context={})
    ring = store_on(one).keyring(OTHER, create=True) if same_store else store_on(other).keyring(PATH, create=True)
    assert refusal(ring.decrypt, token, context={}) is KeyNotFoundError


def _with(data: bytes, **members: Any) -> bytes:
    """Return the document with some members replaced, and its old mac."""
    return encode(decode(data, max_size=1 << 21) | members)


def _member(data: bytes, name: str) -> Any:
    return decode(data, max_size=1 << 21)[name]


MINE = document(wrappers=[LOCAL, local(1)], keys=[version(1, KeyState.PRIMARY), version(2)])
THEIRS = document(wrappers=[LOCAL, local(1)], secret=EVIL, keyring_id=bytes(16))
KEYS = _member(MINE, "keys")
SWAPPED = [{**key, "key": other["key"]} for key, other in zip(KEYS, reversed(KEYS), strict=True)]


@pytest.mark.parametrize(
    "forged",
    [
        _with(MINE, recipients=_member(THEIRS, "recipients")),
        _with(MINE, recipients=_member(MINE, "recipients")[1:]),
        _with(MINE, keys=_member(THEIRS, "keys")),
        _with(MINE, keys=_member(MINE, "keys")[:1]),
        _with(MINE, keys=SWAPPED),
        _with(MINE, mac=_member(THEIRS, "mac")),
        _with(MINE, id=_member(THEIRS, "id")),
        _with(THEIRS, id=_member(MINE, "id")),
        _with(MINE, revision=2),
        _with(MINE, path=OTHER),
        document(path=OTHER),  # genuine, and stored at our path
    ],
)
def test_a_part_of_another_document_is_refused(forged: bytes) -> None:
    """Recipients, keys, ids, paths and MACs of genuine documents are not believed in another one."""
    assert refusal(open_keyring, forged) is DecryptionError


def test_a_key_that_was_moved_does_not_open() -> None:
    """Even whoever can write the MAC cannot make a sealed key open under another id, keyring or path."""
    made = KeyringDocument.decode(document()).document
    for path, keyring_id, key_id in ((PATH, made.id, "00000002"), (PATH, bytes(16), "00000001"), (OTHER, made.id, "00000001")):
        sealed = SECRET.seal_key(replace(made, path=path, id=keyring_id), key_id, bytes(32))
        forged = document(keys=[replace(version(1, KeyState.PRIMARY), sealed=sealed)])
        assert refusal(open_keyring, forged) is DecryptionError


def test_a_wrapped_key_is_no_record_and_a_record_no_wrapped_key(count: Count) -> None:
    """Decrypt never opens what a KeyringWrapper has wrapped, and unwrap never opens a record, though the key is the same."""
    ring = _ring()
    wrapper = KeyringWrapper(ring)
    binding = ("keyring", PATH, bytes(16))
    wrapped = wrapper.wrap(bytes(32), binding)
    package = b"\x01" + bytes(32) + bytes(32)
    for context in ({}, CONTEXT, {"securekit/wrap/keyring/1": PATH}):
        assert refusal(ring.decrypt, wrapped.ciphertext, context=context) is DecryptionError
        record = ring.encrypt(package, context=context)
        assert refusal(wrapper.unwrap, WrappedKey("keyring", wrapped.key_ref, record), binding) is DecryptionError
        count("wrapped keys and records not taken for each other", 2)
    assert wrapper.unwrap(wrapped, binding) == bytes(32)


def test_a_wrapped_key_opens_only_for_its_binding_and_parent() -> None:
    """Another binding, another parent, another reference or no record at all is refused."""
    wrapper = KeyringWrapper(_ring(keys=[version(1, KeyState.PRIMARY), version(2)]))
    wrapped = wrapper.wrap(bytes(32), ["x"])

    assert refusal(wrapper.unwrap, wrapped, ["y"]) is DecryptionError
    assert refusal(KeyringWrapper(_ring(path=OTHER)).unwrap, wrapped, ["x"]) is DecryptionError
    assert refusal(KeyringWrapper(_other_key()).unwrap, wrapped, ["x"]) is DecryptionError
    assert refusal(wrapper.unwrap, replace(wrapped, key_ref=f"{PATH}@00000002"), ["x"]) is DecryptionError
    assert refusal(wrapper.unwrap, replace(wrapped, wrapper="local"), ["x"]) is DecryptionError
    assert refusal(wrapper.unwrap, replace(wrapped, ciphertext=b"\x02" + wrapped.ciphertext[1:]), ["x"]) is FormatError
    assert refusal(wrapper.unwrap, replace(wrapped, ciphertext=bytes(3073)), ["x"]) is FormatError


# Someone who has only the escrow certificate, and can write to the storage.

VICTIM = document(wrappers=[LOCAL, certificate()])
FORGED = document(secret=EVIL, wrappers=[certificate()])  # own secret, own keys; same path, same id


def _with_victims_entry() -> bytes:
    """Return the forged document with the victim's own local entry in it, covered by the forger's MAC."""
    entry = next(wrapped for wrapped in KeyringDocument.decode(VICTIM).document.recipients if wrapped.wrapper == "local")
    forged = KeyringDocument.decode(FORGED).document
    return replace(forged, recipients=(entry, *forged.recipients)).encode(EVIL)


@pytest.mark.parametrize("forged", [FORGED, _with_victims_entry()])
def test_a_document_made_with_the_certificate_alone_is_not_believed(forged: bytes) -> None:
    """The victim's process refuses it, whichever wrappers it has, and goes on to refuse it while it runs."""
    choices: list[list[KeyWrapper]] = [[LOCAL], [LOCAL, escrow()], [escrow(), LOCAL], [escrow()]]
    for wrappers in choices:
        assert refusal(open_keyring, forged, wrapper=wrappers) in {KeyNotFoundError, KeyStoreError, DecryptionError}

    storage = storage_with(VICTIM)
    store = store_on(storage, wrapper=[LOCAL, escrow()])
    ring = store.keyring(PATH)
    storage._documents[PATH] = forged
    assert refusal(ring.refresh) in {KeyStoreError, DecryptionError}
    assert refusal(ring.encrypt, b"x", context={}) in {KeyStoreError, DecryptionError}


def test_the_victims_entry_does_not_vouch_for_a_forged_document() -> None:
    """Where the local KEK is at hand it is asked first, and its secret does not prove the document, whatever the caller says."""
    assert refusal(open_keyring, _with_victims_entry(), wrapper=[escrow(), LOCAL], recover=True) is DecryptionError


@pytest.mark.parametrize("forged", [FORGED, _with_victims_entry(), VICTIM])
def test_through_escrow_alone_the_caller_decides(forged: bytes) -> None:
    """A pinned id or recover=True opens what opens through the certificate alone, as documented; without them, the error says how."""
    store = store_on(storage_with(forged), wrapper=escrow())
    with pytest.raises(KeyStoreError, match=f"pin its id .keyring_id='{'1d' * 16}'.*recover=True"):
        store.keyring(PATH)

    assert store_on(storage_with(forged), wrapper=escrow()).keyring(PATH, recover=True).id == "1d" * 16
    assert store_on(storage_with(forged), wrapper=escrow()).keyring(PATH, keyring_id="1d" * 16).id == "1d" * 16
    with pytest.raises(KeyStoreError, match="pin its id"):
        store_on(storage_with(forged), wrapper=escrow()).keyring(PATH, keyring_id="1e" * 16)


def test_an_id_that_is_pinned_is_compared_whatever_opens_the_document() -> None:
    """A keyring with another id than the one given is refused."""
    with pytest.raises(KeyStoreError, match=r"has the id 1d1d.*, not the one given"):
        store_on(storage_with(VICTIM)).keyring(PATH, keyring_id="1e" * 16)


def test_a_foreign_kek_is_named() -> None:
    """A store whose KEK is not among the recipients says which there are, which it has, and what to do."""
    store = store_on(storage_with(VICTIM), wrapper=LocalWrapper(b"\x77" * 32, label="eu"))
    with pytest.raises(KeyNotFoundError, match=r"is wrapped to local \w+, x509-hpke-p256 \w{16}…, and is to be opened with local eu:\w+:"):
        store.keyring(PATH)
    with pytest.raises(KeyNotFoundError, match="opened with no wrapper"):
        store_on(storage_with(VICTIM), wrapper=()).keyring(PATH)
