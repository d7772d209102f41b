# SPDX-License-Identifier: Apache-2.0
"""Who may open a keyring: what a rewrap adds, replaces, keeps and drops, and which of several KEKs is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from securekit.exceptions import (
    DecryptionError,
    FormatError,
    KeyNotFoundError,
    KeyStateError,
    KeyStoreError,
    KeyStoreUnavailableError,
    WrapperDeniedError,
    WrapperUnavailableError,
)
from securekit.keyring import Event, EventKind, KeyState, KeyStore
from securekit.keyring._document import KeyringDocument
from securekit.keyring._storage import MemoryStorage
from securekit.testing import FlakyWrapper, memory_store
from securekit.wrappers import Binding, KeyWrapper, PassphraseWrapper, WrappedKey
from tests.keyring.parts import (
    LOCAL,
    OTHER,
    PATH,
    FailingStorage,
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

A, B, C, D = (local(number) for number in range(4))
CERT = certificate()


def _store(wrappers: Sequence[KeyWrapper], **options: Any) -> tuple[MemoryStorage, KeyStore]:
    storage = MemoryStorage()
    store = store_on(storage, wrapper=wrappers, **options)
    store.keyring(PATH, create=True)
    return storage, store


def _recipients(storage: MemoryStorage, path: str = PATH) -> set[tuple[str, str]]:
    return {wrapped.recipient for wrapped in KeyringDocument.decode(storage._documents[path]).document.recipients}


def _names(*wrappers: KeyWrapper) -> set[tuple[str, str]]:
    return {(wrapper.name, wrapper.key_ref) for wrapper in wrappers}


@pytest.mark.parametrize(
    ("before", "target"),
    [
        ([A], [B]),  # one for one
        ([A, CERT], [B, CERT]),  # the escrow certificate stays, since it is given again
        ([A, B], [C, D]),
        ([A, B], [B, C]),
        ([A], [A, B]),  # one more
        ([A], [A, CERT]),
        ([A], [B, C, CERT]),
    ],
)
def test_what_a_rewrap_may_do(before: list[KeyWrapper], target: list[KeyWrapper]) -> None:
    """A KEK of ours is replaced by another one, and others may be added; keys, states and records stay as they were."""
    storage, store = _store(before)
    ring = store.keyring(PATH)
    token, keys = ring.encrypt(b"x", context={}), ring.keys()

    assert store.rewrap(target) == [PATH]

    assert _recipients(storage) == _names(*target)
    for wrapper in target:
        reader = escrow() if wrapper is CERT else wrapper
        opened = store_on(storage, wrapper=reader).keyring(PATH, recover=True)
        assert opened.decrypt(token, context={}) == b"x"
        assert [key.id for key in opened.keys()] == [key.id for key in keys]
    assert store.rewrap(target) == []


@pytest.mark.parametrize(
    ("before", "target", "lost"),
    [
        ([A, B], [C], 2),  # two KEKs, and one to take their places
        ([A, CERT], [B], 1),  # the certificate
        ([A, CERT], [A], 1),
        ([A, B], [A], 1),
        ([A, B], [A, CERT], 1),  # a certificate takes no KEK's place
    ],
)
def test_nobody_is_lost_silently(before: list[KeyWrapper], target: list[KeyWrapper], lost: int) -> None:
    """A rewrap that would leave a recipient out is refused, names it, and says how to keep or drop it."""
    storage, store = _store(before)
    data = storage._documents[PATH]
    with pytest.raises(KeyStoreError, match=r"would lose .*: give its wrapper as well, or drop it for good with drop=") as caught:
        store.rewrap(target)
    assert str(caught.value).split("drop=")[1].count("'") == 2 * lost
    assert storage._documents[PATH] == data


def test_a_kek_of_others_is_not_taken_for_ours() -> None:
    """A recipient that this store cannot open with stays, unless it is named."""
    storage, _ = _store([A, B])
    with pytest.raises(KeyStoreError, match=f"would lose local {B.key_ref}"):
        store_on(storage, wrapper=A).rewrap([A, C])
    assert store_on(storage, wrapper=A).rewrap([A, C], drop=[B]) == [PATH]
    assert _recipients(storage) == _names(A, C)


def test_only_adding_keeps_the_secret_and_the_copies() -> None:
    """A new recipient gets a copy; the others' copies, the secret and the keys are not touched."""
    storage, store = _store([A])
    before = KeyringDocument.decode(storage._documents[PATH]).document
    store.rewrap([A, CERT])
    after = KeyringDocument.decode(storage._documents[PATH]).document
    assert before.recipients[0] in after.recipients
    assert after.keys == before.keys
    assert after.revision == before.revision + 1


def test_a_replaced_kek_learns_nothing_new() -> None:
    """Its copy of the secret does not prove a later document."""
    storage, store = _store([A])
    before = storage._documents[PATH]
    secret = store.keyring(PATH)._cache.current().opened.secret
    store.rewrap(B)
    assert storage._documents[PATH] != before
    assert refusal(KeyringDocument.decode(storage._documents[PATH]).authenticate, secret) is not None


def test_dropping_rotates_and_marks_what_the_recipient_knew() -> None:
    """A dropped recipient knew the secret and the keys: the secret is new, the primary is new, and the old keys are due."""
    storage, store = _store([A, CERT])
    ring = store.keyring(PATH)
    token, old = ring.encrypt(b"x", context={}), ring.primary().id
    disabled = ring.rotate(promote=False).id
    ring.disable(disabled)
    secret = ring._cache.current().opened.secret

    assert store.rewrap(A, drop=[CERT.key_ref]) == [PATH]
    ring.refresh()

    assert refusal(KeyringDocument.decode(storage._documents[PATH]).authenticate, secret) is not None
    assert ring.primary().id not in {old, disabled}
    assert {key.id: key.due for key in ring.keys()} == {old: True, disabled: True, ring.primary().id: False}
    assert [due.key_id for due in ring.due() if due.action == "re-encrypt"] == [old, disabled]
    assert ring.needs_reencrypt(token)
    assert ring.decrypt(token, context={}) == b"x"
    with pytest.raises(KeyStateError, match="must not encrypt any more; rotate"):
        ring.promote(old)
    with pytest.raises(KeyNotFoundError):
        store_on(storage, wrapper=escrow()).keyring(PATH, recover=True)


def test_what_is_dropped_cannot_stay() -> None:
    """Naming a recipient in drop and among the wrappers at once is an error, and not a silent success."""
    storage, store = _store([A, CERT])
    data = storage._documents[PATH]
    drops: list[list[str | KeyWrapper]] = [[CERT], [CERT.key_ref], [A, "no such reference"]]
    for drop in drops:
        with pytest.raises(ValueError, match="is to be dropped, and is among the wrappers that stay"):
            store.rewrap(drop=drop)
    assert storage._documents[PATH] == data
    assert store.rewrap([A, CERT], drop=["no such reference"]) == []


def test_recipients_that_name_one_kek_twice_are_refused() -> None:
    """Two wrappers of the same kind and reference would be one recipient."""
    store = memory_store(wrapper=[A, local(0)])
    with pytest.raises(ValueError, match="two of the wrappers name the same KEK"):
        store.keyring(PATH, create=True)
    assert store.paths() == []


def test_certificates_alone_are_refused() -> None:
    """A keyring that outsiders could have made entirely is never made: not at creation, and not by a rewrap."""
    with pytest.raises(ValueError, match="needs a wrapper that outsiders cannot wrap with"):
        memory_store(wrapper=CERT).keyring(PATH, create=True)
    storage, store = _store([A])
    with pytest.raises(ValueError, match="needs a wrapper that outsiders cannot wrap with"):
        store.rewrap(CERT, drop=[A])
    with pytest.raises(ValueError, match="needs a wrapper"):
        memory_store(wrapper=()).keyring(PATH, create=True)
    assert _recipients(storage) == _names(A)


def test_a_dry_run_changes_nothing() -> None:
    """It says what would be changed and reports every path; nothing is wrapped or written."""
    kms, seen = FlakyWrapper(B), list[str]()
    storage, store = _store([A])
    store.keyring(OTHER, create=True)
    before = dict(storage._documents)
    assert store.rewrap(kms, dry_run=True, report=seen.append) == [PATH, OTHER]
    assert (seen, kms.calls, storage._documents) == ([PATH, OTHER], 0, before)
    assert store.rewrap(dry_run=True) == []


def test_a_prefix_bounds_a_rewrap() -> None:
    """Only keyrings at or below the prefix are rewrapped, and new ones elsewhere still use the store's own KEK."""
    storage, store = _store([A])
    store.keyring(OTHER, create=True)
    assert store.rewrap(B, prefix="eu/acme") == [PATH]
    assert (_recipients(storage), _recipients(storage, OTHER)) == (_names(B), _names(A))
    store.keyring("eu/new", create=True)
    assert _recipients(storage, "eu/new") == _names(A)
    assert store.rewrap(B) == ["eu/globex/invoices", "eu/new"]
    store.keyring("eu/newer", create=True)
    assert _recipients(storage, "eu/newer") == _names(B)


def test_wrappers_may_depend_on_the_path() -> None:
    """A function of the path gives each region its KEK; a later rewrap may give one as well."""
    regions: dict[str, KeyWrapper] = {"eu": A, "us": B}
    storage = MemoryStorage()
    store = store_on(storage, wrapper=lambda path: regions[path[:2]], also_open=lambda path: [C] if path == "eu/a" else [])
    for path in ("eu/a", "us/b"):
        store.keyring(path, create=True)
    assert (_recipients(storage, "eu/a"), _recipients(storage, "us/b")) == (_names(A), _names(B))

    assert store.rewrap(lambda path: [regions[path[:2]], CERT]) == ["eu/a", "us/b"]
    assert _recipients(storage, "us/b") == _names(B, CERT)


def test_a_rewrap_that_was_interrupted_goes_on() -> None:
    """When the KMS fails in the middle, every keyring is under one KEK or the other, and calling again does the rest."""
    storage = MemoryStorage()
    paths = [f"eu/t{number}" for number in range(10)]
    store = store_on(storage, wrapper=A)
    tokens = {path: store.keyring(path, create=True).encrypt(b"x", context={}) for path in paths}
    kms, done = FlakyWrapper(B), list[str]()

    def report(path: str) -> None:
        done.append(path)
        kms.unavailable = len(done) == 4

    assert refusal(store.rewrap, kms, report=report, batch=2) is WrapperUnavailableError
    assert done == paths[:4]
    assert [_recipients(storage, path) == _names(B) for path in paths] == [True] * 4 + [False] * 6
    reader = store_on(storage, wrapper=A, also_open=B)
    assert {reader.keyring(path).decrypt(token, context={}) for path, token in tokens.items()} == {b"x"}

    kms.unavailable = False
    assert store.rewrap(kms) == paths[4:]
    assert {_recipients(storage, path) == _names(B) for path in paths} == {True}


def test_what_was_rewrapped_still_opens_here() -> None:
    """The store that rewrapped opens with the new KEK from then on, and with the old one what it left under it."""
    storage, store = _store([A])
    store.keyring(OTHER, create=True)
    store.rewrap(B, prefix="eu/acme")
    for path in (PATH, OTHER):
        store.keyring(path).refresh()
    store.rewrap(C)
    for path in (PATH, OTHER):
        store.keyring(path).refresh()
    store_on(storage, wrapper=A).keyring("us/x", create=True)
    assert store.keyring("us/x").path == "us/x"


def test_also_open_is_asked_after_the_store_own_wrapper() -> None:
    """Of two KEKs that open, the store's own is asked; the other one only where the first cannot be reached."""
    storage, _ = _store([A, B])
    first, second = FlakyWrapper(A), FlakyWrapper(B)
    store_on(storage, wrapper=first, also_open=second).keyring(PATH)
    assert (first.calls, second.calls) == (1, 0)
    first.unavailable = True
    store_on(storage, wrapper=first, also_open=[second]).keyring(PATH)
    assert (first.calls, second.calls) == (2, 1)


def test_a_certificate_is_asked_last() -> None:
    """Where a KEK that outsiders cannot wrap with opens as well, the escrow key is not needed, whatever the order."""
    storage, _ = _store([A, CERT])
    ring = store_on(storage, wrapper=[escrow(), A]).keyring(PATH)
    assert ring._cache.current().opened.wrapper is A


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ({"unavailable": True}, {}, None),
        ({"denied": True}, {}, None),
        ({"denied": True}, {"unavailable": True}, WrapperDeniedError),
        ({"unavailable": True}, {"denied": True}, WrapperDeniedError),
        ({"unavailable": True}, {"unavailable": True}, WrapperUnavailableError),
    ],
)
def test_one_kms_down_is_no_outage(first: dict[str, bool], second: dict[str, bool], error: type[Exception] | None) -> None:
    """One KEK that answers is enough; where none does, a plain no outweighs an unreachable KMS."""
    storage, _ = _store([A, B])
    store = store_on(storage, wrapper=[FlakyWrapper(A, **first), FlakyWrapper(B, **second)])
    assert refusal(store.keyring, PATH) is error


def test_every_call_to_a_kms_is_reported() -> None:
    """Events name the wrapper and the verb, also of calls that fail."""
    events: list[Event] = []
    storage = MemoryStorage()
    kms = FlakyWrapper()
    store_on(storage, wrapper=kms, on_event=events.append).keyring(PATH, create=True)
    kms.unavailable = True
    refusal(store_on(storage, wrapper=kms, on_event=events.append).keyring, PATH)
    assert [event.detail for event in events if event.kind is EventKind.KMS_CALL] == ["wrap local", "unwrap local", "unwrap local"]
    assert all(event.seconds is not None for event in events if event.kind is EventKind.KMS_CALL)


def test_sixty_four_recipients_open_and_a_sixty_fifth_is_refused() -> None:
    """The largest document, of 4,096 keys and 64 recipients, fits and loads; one recipient more is refused before it is written."""
    wrappers = [local(number) for number in range(64)]
    keys = [version(number, KeyState.PRIMARY if number == 1 else KeyState.ACTIVE) for number in range(1, 4097)]
    storage = MemoryStorage()
    storage._documents[PATH] = document(keys=keys, wrappers=wrappers)
    store = store_on(storage, wrapper=wrappers[63])
    ring = store.keyring(PATH)
    assert (len(ring.keys()), len(ring.recipients)) == (4096, 64)
    with pytest.raises(KeyStateError, match="holds 4096 key versions already, the most a keyring can; start a new keyring"):
        ring.rotate()
    with pytest.raises(ValueError, match="1 to 64 wrappers are needed, not 65"):
        store.rewrap([*wrappers, local(64)])
    assert store_on(storage, wrapper=wrappers[0]).keyring(PATH).revision == 1


class Wordy(FlakyWrapper):
    """A wrapper whose copies say more about themselves than a document may hold."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(B)
        self.changes = changes

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        return replace(super().wrap(key, binding), **self.changes)

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        return [self.wrap(key, binding) for key, binding in items]


@pytest.mark.parametrize(
    "changes",
    [
        {"about": {"subject": "x" * 513}},
        {"about": {str(number): "" for number in range(9)}},
        {"about": {"Subject": ""}},
        {"ciphertext": bytes(3073)},
        {"ciphertext": b""},
        {"wrapper": "Other"},
        {"key_ref": "x" * 701},
        {"key_ref": "white space"},
    ],
)
def test_what_could_not_be_read_again_is_not_written(changes: dict[str, Any]) -> None:
    """A wrapper that makes entries out of bounds is an error, and the document stays as it was."""
    storage, store = _store([A])
    data = storage._documents[PATH]
    assert refusal(store.rewrap, [A, Wordy(**changes)]) is FormatError
    assert storage._documents[PATH] == data


def test_a_document_that_would_be_too_large_is_not_written() -> None:
    """Within every other bound, 2 MiB are the last one."""
    keys = [version(number, KeyState.PRIMARY if number == 1 else KeyState.ACTIVE) for number in range(1, 4097)]
    storage = storage_with(data := document(keys=keys))
    about = {str(number): "\U0001f600" * 512 for number in range(8)}
    wordy = [Wordy(key_ref=str(number), about=about) for number in range(60)]
    with pytest.raises(FormatError, match=r"would have \d{7} bytes; at most 2097152 are read"):
        store_on(storage).rewrap([LOCAL, *wordy])
    assert storage._documents[PATH] == data


def test_a_passphrase_may_be_one_of_the_recipients() -> None:
    """A document under a local key and a passphrase opens with the passphrase alone, and may be believed then."""
    phrase = PassphraseWrapper("correct horse battery staple", label="ops")
    storage, store = _store([A])
    store.rewrap([A, phrase])
    assert store_on(storage, wrapper=phrase).keyring(PATH).id == store.keyring(PATH).id


def test_recovering_with_the_escrow_key() -> None:
    """When the KEK is lost, the escrow key rewraps to a new one, drops the lost one, and so rotates."""
    storage, store = _store([A, CERT])
    token = store.keyring(PATH).encrypt(b"x", context={})
    rescue = store_on(storage, wrapper=escrow())
    assert refusal(rescue.rewrap, [B, CERT], drop=[A]) is KeyStoreError
    assert rescue.rewrap([B, CERT], drop=[A], recover=True) == [PATH]
    ring = store_on(storage, wrapper=B).keyring(PATH)
    assert ring.decrypt(token, context={}) == b"x"
    assert ring.needs_reencrypt(token)


def test_a_storage_that_fails_in_a_rewrap_loses_nothing() -> None:
    """Whichever call of a rewrap fails, the keyring is under one KEK or the other, and trying again works."""
    for at in range(10):
        storage = FailingStorage()
        store = store_on(storage, wrapper=A)
        token = store.keyring(PATH, create=True).encrypt(b"x", context={})
        storage.fail_at(at)
        error = refusal(store.rewrap, B)
        storage.fail_at(None)
        assert store_on(storage, wrapper=[A, B]).keyring(PATH).decrypt(token, context={}) == b"x"
        store.rewrap(B)
        assert _recipients(storage) == _names(B)
        if error is None:
            assert at >= 4
            return
        assert error is KeyStoreUnavailableError
    pytest.fail("a rewrap makes fewer than ten calls")


def test_a_new_passphrase_takes_the_place_of_the_old_one() -> None:
    """Rewrapped to another passphrase of the same label, a keyring opens with it, and no longer with the old one."""
    old, new = PassphraseWrapper("correct horse battery staple"), PassphraseWrapper("incorrect horse battery staple")
    store = store_on(MemoryStorage(), wrapper=old)
    store.keyring(PATH, create=True)

    assert store.rewrap(new, dry_run=True) == [PATH]
    assert store.rewrap(new) == [PATH]

    document = store._storage.read(PATH) or b""
    assert open_keyring(document, wrapper=new).path == PATH
    with pytest.raises(DecryptionError):
        open_keyring(document, wrapper=old)
    assert store.rewrap(new) == []


def test_escrow_is_not_asked_whether_it_is_the_same() -> None:
    """A certificate's name is its public key; the private key, where it is at hand, opens what was wrapped to it."""
    _, store = _store([A, CERT])
    assert store.rewrap([A, certificate()]) == store.rewrap([local(0), escrow()]) == []
