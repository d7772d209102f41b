# SPDX-License-Identifier: Apache-2.0
"""What a keyring promises to those who encrypt with it, whatever store it is in and whoever holds the KEK."""

from __future__ import annotations

from typing import Any

import pytest

import securekit.keyring
from securekit.exceptions import DecryptionError, FormatError, KeyNotFoundError, KeyStateError
from securekit.keyring import KeyState, KeyStore, to_text
from securekit.testing import FakeClock
from tests.keyring.conftest import Place

CONTEXT = {"table": "invoice", "column": "iban", "id": "42"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock, place: Place) -> KeyStore:
    return place.store(clock=clock)


def test_what_is_encrypted_decrypts(store: KeyStore) -> None:
    """Data comes back under an equal context, whatever the order of its pairs."""
    ring = store.keyring("eu/acme/invoices", create=True)
    token = ring.encrypt(b"DE89 3704 0044", context=CONTEXT)
    assert ring.decrypt(token, context=dict(reversed(CONTEXT.items()))) == b"DE89 3704 0044"
    assert len(token) == len(b"DE89 3704 0044") + 77


@pytest.mark.parametrize("context", [{}, {**CONTEXT, "id": "43"}, {**CONTEXT, "more": ""}, {"table": "invoice", "column": "iban"}])
def test_another_context_is_the_one_opaque_error(store: KeyStore, context: dict[str, str]) -> None:
    """A wrong context is DecryptionError with a constant message and nothing attached."""
    ring = store.keyring("eu/acme/invoices", create=True)
    token = ring.encrypt(b"x", context=CONTEXT)
    with pytest.raises(DecryptionError) as caught:
        ring.decrypt(token, context=context)
    assert caught.value.args == ("decryption failed: wrong key, wrong context, or the message was changed",)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_rotation_keeps_old_messages_readable(store: KeyStore) -> None:
    """After a rotation, old messages open and are due for re-encryption; new ones are not."""
    ring = store.keyring("eu/acme/invoices", create=True)
    old = ring.encrypt(b"old", context={})
    fresh = ring.rotate()
    new = ring.encrypt(b"new", context={})
    assert ring.decrypt(old, context={}) == b"old"
    assert ring.needs_reencrypt(old)
    assert not ring.needs_reencrypt(new)
    assert new[1:5].hex() == fresh.id


def test_a_disabled_key_says_which_it_is(store: KeyStore) -> None:
    """A message under a disabled or destroyed key names the id and the state."""
    ring = store.keyring("eu/acme/invoices", create=True)
    token = ring.encrypt(b"old", context={})
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    with pytest.raises(KeyStateError, match=f"{old} is disabled"):
        ring.decrypt(token, context={})
    ring.enable(old)
    assert ring.decrypt(token, context={}) == b"old"
    ring.destroy(old, force=True)
    with pytest.raises(KeyStateError, match=f"{old} is destroyed"):
        ring.decrypt(token, context={})


def test_a_key_is_destroyed_only_when_nobody_uses_it_any_more(store: KeyStore, clock: FakeClock) -> None:
    """A key must have been disabled for longer than refresh and stale_if_error together."""
    ring = store.keyring("eu/acme/invoices", create=True)
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    clock.advance(60 + 86400)
    with pytest.raises(KeyStateError, match="longer than 86460 seconds"):
        ring.destroy(old)
    clock.advance(1)
    assert ring.destroy(f"eu/acme/invoices@{old}").key_ids == (old,)
    assert ring.keys()[0].state is KeyState.DESTROYED


def test_a_staged_key_encrypts_only_after_its_promotion(store: KeyStore) -> None:
    """rotate(promote=False) makes a key known; promote makes it encrypt."""
    ring = store.keyring("eu/acme/invoices", create=True)
    staged = ring.rotate(promote=False)
    assert staged.state is KeyState.ACTIVE
    assert ring.encrypt(b"", context={})[1:5].hex() != staged.id
    ring.promote(staged.id)
    assert ring.encrypt(b"", context={})[1:5].hex() == staged.id


def test_another_keyring_does_not_open_it(store: KeyStore) -> None:
    """Another account's keyring does not know the key."""
    token = store.keyring("eu/acme/invoices", create=True).encrypt(b"x", context={})
    with pytest.raises(KeyNotFoundError):
        store.keyring("eu/globex/invoices", create=True).decrypt(token, context={})


@pytest.mark.parametrize("token", [b"", b"\x01", b"\x02" + bytes(100), b"\x01" + bytes(75)])
def test_what_is_no_record_is_a_format_error(store: KeyStore, token: bytes) -> None:
    """Another version, or too few bytes, is FormatError."""
    with pytest.raises(FormatError):
        store.keyring("eu/acme/invoices", create=True).decrypt(token, context={})


def test_bound_context_is_the_same_context(store: KeyStore) -> None:
    """A bound keyring encrypts under the joined context, and refuses to override it."""
    ring = store.keyring("eu/acme/invoices", create=True)
    bound = ring.bind(table="invoice", column="iban")
    assert ring.decrypt(bound.encrypt(b"x", context={"id": "42"}), context=CONTEXT) == b"x"
    assert bound.bind(id="42").decrypt(ring.encrypt(b"y", context=CONTEXT)) == b"y"
    with pytest.raises(ValueError, match="table"):
        bound.encrypt(b"x", context={"table": "other"})


def test_many_are_the_same_as_one_by_one(store: KeyStore) -> None:
    """encrypt_many and decrypt_many agree with their singular forms, and return errors in place if asked to."""
    ring = store.keyring("eu/acme/invoices", create=True)
    items = [(bytes([n % 256]) * n, {"id": str(n)}) for n in range(1100)]
    tokens = ring.encrypt_many(items)
    assert [ring.decrypt(token, context=context) for token, (_, context) in zip(tokens, items, strict=True)] == [data for data, _ in items]
    results = ring.decrypt_many([(tokens[0], {"id": "0"}), (tokens[1], {"id": "0"})], errors="return")
    assert results[0] == b""
    assert isinstance(results[1], DecryptionError)


def test_each_failure_among_many_stands_in_its_own_place(store: KeyStore) -> None:
    """Whatever the number of items, and under whichever key they are, an error takes the place of its own item alone."""
    ring = store.keyring("eu/acme/invoices", create=True)
    contexts = [{"id": str(number)} for number in range(1100)]
    tokens = ring.encrypt_many((b"old", context) for context in contexts[:600])
    ring.rotate()
    tokens += ring.encrypt_many((b"new", context) for context in contexts[600:])
    wrong = {0: DecryptionError, 511: DecryptionError, 512: FormatError, 700: KeyNotFoundError, 1099: DecryptionError}
    for place, kind in wrong.items():
        cut = {DecryptionError: tokens[place][:-1] + b"\0\0", FormatError: b"", KeyNotFoundError: b"\1none" + tokens[place][5:]}
        tokens[place] = cut[kind]

    results = ring.decrypt_many(zip(tokens, contexts, strict=True), errors="return")

    assert {place: type(result) for place, result in enumerate(results) if isinstance(result, Exception)} == wrong
    assert [result for result in results if isinstance(result, bytes)] == [b"old"] * 597 + [b"new"] * 498
    with pytest.raises(DecryptionError):
        ring.decrypt_many(zip(tokens, contexts, strict=True))


def test_bytes_of_any_kind_are_encrypted(store: KeyStore) -> None:
    """What is like bytes is taken as such, by every verb; a token may be of a class derived from bytes."""

    class Column(bytes):
        """As a database driver may have it."""

    ring = store.keyring("eu/acme/invoices", create=True)
    kinds: list[Any] = [bytearray(b"x"), memoryview(b"x"), Column(b"x")]
    for data in kinds:
        token = ring.encrypt(data, context={})
        assert ring.decrypt(Column(token), context={}) == b"x"
        assert ring.decrypt_many([(Column(each), {}) for each in ring.encrypt_many([(data, {})])]) == [b"x"]


def test_text_is_text_on_both_sides(store: KeyStore) -> None:
    """Every text comes back, also through a bound keyring, and bytes that are none are said to be so."""
    ring = store.keyring("eu/acme/invoices", create=True)
    for text in ("", "DE89", "äöü 😀", "\x00"):
        token = ring.encrypt_text(text, context=CONTEXT)
        assert token.startswith("sk1.")
        assert ring.bind(**CONTEXT).decrypt_text(token) == ring.decrypt_text(token, context=CONTEXT) == text
        assert not ring.needs_reencrypt(token)
    with pytest.raises(FormatError, match="bytes that are not UTF-8 text; decode its base64url and use decrypt"):
        ring.decrypt_text(to_text(ring.encrypt(b"\xff", context={})), context={})
    with pytest.raises(ValueError, match="lone surrogate") as caught:
        ring.encrypt_text("\ud800", context={})
    assert type(caught.value) is ValueError


def test_errors_are_raised_or_returned(store: KeyStore) -> None:
    """Any third choice is a mistake of the caller."""
    ring = store.keyring("eu/acme/invoices", create=True)
    with pytest.raises(ValueError, match='errors must be "raise" or "return", not \'ignore\''):
        ring.decrypt_many([], errors="ignore")  # type: ignore[call-overload]
    assert ring.decrypt_many([]) == ring.encrypt_many([]) == []


def test_the_full_name_of_a_key_is_of_this_keyring(store: KeyStore) -> None:
    """A key of another path is not found here, whatever its id."""
    ring = store.keyring("eu/acme/invoices", create=True)
    old = ring.primary().id
    ring.rotate()
    with pytest.raises(KeyNotFoundError, match=f"eu/globex/invoices@{old} is no key of eu/acme/invoices"):
        ring.disable(f"eu/globex/invoices@{old}")
    assert ring.disable(f"eu/acme/invoices@{old}").state is KeyState.DISABLED


def test_what_a_keyring_shows(store: KeyStore) -> None:
    """Its path, and of what is bound the names alone."""
    ring = store.keyring("eu/acme/invoices", create=True)
    assert repr(ring) == "<Keyring eu/acme/invoices>"
    assert repr(ring.bind(table="invoice", id="42")) == "<BoundKeyring eu/acme/invoices (table, id)>"
    assert (len(ring.id), ring.revision, ring.depth) == (32, 1, 0)


def test_the_package_gives_its_names_and_no_others() -> None:
    """Every public name is there, and any other one is an AttributeError as usual."""
    for name in securekit.keyring.__all__:
        assert getattr(securekit.keyring, name)
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        _ = securekit.keyring.Missing
