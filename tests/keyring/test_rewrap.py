# SPDX-License-Identifier: Apache-2.0
"""Many keyrings rewrapped at a time: few calls, and one that fails, or is written by somebody else, harms no other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from securekit.exceptions import (
    ConflictError,
    DecryptionError,
    FormatError,
    KeyNotFoundError,
    KeyStoreError,
    KeyStoreUnavailableError,
    WrapperDeniedError,
    WrapperError,
    WrapperUnavailableError,
)
from securekit.keyring import Event, EventKind, KeyringWrapper, KeyStore
from securekit.keyring._document import KeyringDocument
from securekit.keyring._storage import MemoryStorage
from securekit.testing import FlakyWrapper
from securekit.wrappers import Binding, KeyWrapper, WrappedKey
from tests.keyring.conftest import Place
from tests.keyring.parts import UnlockedStorage, certificate, document, escrow, local, refusal, store_on

A, B = local(0), local(1)
PATHS = [f"eu/t{number}" for number in range(10)]


class Counted(UnlockedStorage):
    """A storage that counts its calls, and fails as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.writes: list[int] = []
        self.failing = ""

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes | KeyStoreError]:
        self.reads.append(len(paths))
        self._fail("read")
        return super().read_many(paths)

    def write_many(self, items: Sequence[tuple[str, bytes, int | None]]) -> dict[str, KeyStoreError]:
        self.writes.append(len(items))
        self._fail("write")
        return super().write_many(items)

    def _fail(self, verb: str) -> None:
        if self.failing == verb:
            message = "unreachable, as the test told it to be"
            raise KeyStoreUnavailableError(message)


class Choosy(FlakyWrapper):
    """A KEK whose holder answers with an error because of some keyrings."""

    def __init__(self, wrapper: KeyWrapper, errors: dict[str, Exception]) -> None:
        super().__init__(wrapper)
        self.errors = errors

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        pairs = list(items)
        self._check(binding for _, binding in pairs)
        return super().wrap_many(pairs)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        pairs = list(items)
        self._check(binding for _, binding in pairs)
        return super().unwrap_many(pairs)

    def _check(self, bindings: Iterable[Binding]) -> None:
        for binding in bindings:
            if error := self.errors.get(str(binding[1])):
                raise error


def _filled(storage: MemoryStorage, *, wrapper: KeyWrapper | Sequence[KeyWrapper] = A) -> MemoryStorage:
    for path in PATHS:
        store_on(storage, wrapper=wrapper).keyring(path, create=True)
    return storage


def _revisions(storage: MemoryStorage) -> list[int]:
    return [KeyringDocument.decode(storage._documents[path]).document.revision for path in PATHS]


def _errors(store: KeyStore, wrapper: KeyWrapper | None = B) -> list[type[Exception] | None]:
    return [None if outcome.error is None else type(outcome.error) for outcome in store._rewrap_paths(PATHS, wrapper)]


def test_many_cost_few_calls() -> None:
    """Ten keyrings in batches of four: three reads, three writes, and three calls to each KEK."""
    storage, events = Counted(), list[Event]()
    old, new = FlakyWrapper(A), FlakyWrapper(B)
    _filled(storage, wrapper=old)
    old.calls = 0
    store = store_on(storage, wrapper=old, on_event=events.append)

    assert store.rewrap(new, batch=4) == PATHS

    assert (storage.reads, storage.writes) == ([4, 4, 2], [4, 4, 2])
    assert (old.calls, new.calls) == (3, 3)
    calls = [(event.path, event.detail) for event in events if event.kind is EventKind.KMS_CALL]
    assert calls[:2] == [(PATHS[0], "unwrap local × 4"), (PATHS[0], "wrap local × 4")]
    assert [event.path for event in events if event.detail == "rewrapped"] == PATHS
    assert store_on(storage, wrapper=B).keyring(PATHS[9]).revision == 2
    storage.writes.clear()
    assert store.rewrap(new) == []
    assert storage.writes == []


def test_every_place_rewraps_many(place: Place) -> None:
    """In files, memory, Vault and databases: all keyrings are under the new KEK, with the same keys, and again nothing to do."""
    store = place.store()
    tokens = {path: store.keyring(path, create=True).encrypt(b"x", context={}) for path in PATHS}
    assert store.rewrap(B, batch=4) == PATHS
    after = place.store(wrapper=B)
    assert {after.keyring(path).decrypt(token, context={}) for path, token in tokens.items()} == {b"x"}
    assert after.rewrap(B) == []


def test_batches_have_one_at_least() -> None:
    """A batch of none would rewrap nothing, silently."""
    with pytest.raises(ValueError, match="1 or more at a time, not 0"):
        store_on(MemoryStorage()).rewrap(B, batch=0)


def test_what_others_write_meanwhile_is_taken_again() -> None:
    """A rotation between the read and the write of a batch is kept: that keyring is read again, and rewrapped as well."""
    storage = Counted()
    _filled(storage)
    other = store_on(storage, wrapper=A)
    made: list[str] = []

    def meanwhile() -> None:
        storage.meanwhile = None
        made.extend(other.keyring(path).rotate().id for path in PATHS[:3])

    storage.meanwhile = meanwhile
    store = store_on(storage, wrapper=A)
    assert store.rewrap(B) == PATHS
    after = store_on(storage, wrapper=B)
    assert [after.keyring(path).primary().id for path in PATHS[:3]] == made
    assert _revisions(storage) == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]


def test_somebody_who_always_writes_first() -> None:
    """After five attempts the conflict is the outcome, of that keyring alone."""
    storage = Counted()
    _filled(storage)
    other = store_on(storage, wrapper=A).keyring(PATHS[3])

    def meanwhile() -> None:
        storage.meanwhile = None
        other.rotate()
        storage.meanwhile = meanwhile

    storage.meanwhile = meanwhile
    store = store_on(storage, wrapper=A)
    assert _errors(store) == [None, None, None, ConflictError, *[None] * 6]
    assert refusal(store.rewrap, B) is ConflictError


def test_a_keyring_that_was_rewrapped_meanwhile_is_unchanged() -> None:
    """When another process has done the same in between, there is nothing left to do, and nothing is counted twice."""
    storage = Counted()
    _filled(storage)

    def meanwhile() -> None:
        storage.meanwhile = None
        store_on(storage, wrapper=A).rewrap(B)

    storage.meanwhile = meanwhile
    store = store_on(storage, wrapper=A, also_open=B)
    assert store.rewrap(B) == []
    assert _revisions(storage) == [2] * 10


def test_what_fails_fails_alone() -> None:
    """Garbage, a document of another path, one that is gone, one that nothing opens: each is told, and the others are done."""
    storage = _filled(MemoryStorage())
    good = dict(storage._documents)
    storage._documents[PATHS[1]] = b"garbage"
    storage._documents[PATHS[2]] = good[PATHS[3]]
    del storage._documents[PATHS[4]]
    storage._documents[PATHS[5]] = document(path=PATHS[5], wrappers=[local(7)])
    storage._documents[PATHS[6]] = good[PATHS[6]].replace(b'"refresh":60', b'"refresh":61')
    storage._documents[PATHS[7]] = document(path=PATHS[7], wrappers=[A, certificate()])
    store = store_on(storage, wrapper=A)

    outcomes = list(store._rewrap_paths(PATHS, B))

    assert [outcome.path for outcome in outcomes] == PATHS
    assert [type(outcome.error) for outcome in outcomes[1:8]] == [
        FormatError,
        DecryptionError,
        type(None),
        KeyNotFoundError,
        KeyNotFoundError,
        DecryptionError,
        KeyStoreError,
    ]
    assert [outcome.changed for outcome in outcomes] == [True, False, False, True, False, False, False, False, True, True]


def test_rewrap_stops_at_the_first_failure() -> None:
    """Those before it in order are done, it is raised, and everything after it is as it was."""
    storage = _filled(MemoryStorage())
    storage._documents[PATHS[6]] = b"garbage"
    done: list[str] = []
    assert refusal(store_on(storage, wrapper=A).rewrap, B, report=done.append, batch=4) is FormatError
    assert done == PATHS[:6]
    stopped = list(store_on(storage, wrapper=A, also_open=B)._rewrap_paths(PATHS, B, batch=4, stop=True))
    assert [outcome.path for outcome in stopped] == PATHS[:7]
    del storage._documents[PATHS[6]]
    assert store_on(storage, wrapper=A).paths() == [*PATHS[:6], *PATHS[7:]]
    assert [KeyringDocument.decode(storage._documents[path]).document.revision for path in (*PATHS[:6], *PATHS[7:])] == [2] * 6 + [1] * 3


@pytest.mark.parametrize("error", [DecryptionError(), FormatError("x"), WrapperError("too old")])
@pytest.mark.parametrize("opening", [True, False])
def test_a_kek_that_refuses_some_is_asked_for_the_others(error: Exception, opening: bool) -> None:
    """One bad item makes a KMS refuse the whole call: in halves, it is found, and only that one fails."""
    storage = _filled(MemoryStorage())
    choosy = Choosy(A if opening else B, {PATHS[2]: error, PATHS[9]: error})
    store = store_on(storage, wrapper=choosy if opening else A)
    outcomes = _errors(store, B if opening else choosy)
    assert outcomes == [type(error) if number in {2, 9} else None for number in range(10)]
    assert choosy.calls <= 10


@pytest.mark.parametrize("error", [WrapperUnavailableError, WrapperDeniedError])
@pytest.mark.parametrize("opening", [True, False])
def test_a_kek_that_is_away_is_asked_once(error: type[WrapperError], opening: bool) -> None:
    """When nobody answers, or the answer is no, it is not asked for every single keyring; nothing is written."""
    storage = _filled(Counted())
    kms = FlakyWrapper(A if opening else B, unavailable=error is WrapperUnavailableError, denied=error is WrapperDeniedError)
    store = store_on(storage, wrapper=kms if opening else A)
    assert _errors(store, B if opening else kms) == [error] * 10
    assert kms.calls == 1
    assert _revisions(storage) == [1] * 10


def test_another_wrapper_opens_what_the_first_cannot() -> None:
    """As when a keyring is loaded: a KEK that is away is passed over if another one opens; if none does, a no outweighs."""
    storage = _filled(MemoryStorage(), wrapper=[A, B])
    away, at_hand = FlakyWrapper(A, unavailable=True), FlakyWrapper(B)
    target: list[KeyWrapper] = [away, at_hand, local(2)]
    store = store_on(storage, wrapper=[away, at_hand])
    at_hand.denied = True
    assert _errors(store, None) == [WrapperDeniedError] * 10
    at_hand.denied = False
    assert refusal(store.rewrap, target) is None
    assert at_hand.calls == 2  # the secret stays: only the new recipient's copy is made


def test_a_place_that_is_away() -> None:
    """When reading or writing fails as a whole, that is every keyring's outcome, and later it works."""
    storage = Counted()
    _filled(storage)
    store = store_on(storage, wrapper=A)
    for verb in ("read", "write"):
        storage.failing = verb
        assert _errors(store) == [KeyStoreUnavailableError] * 10
        assert refusal(store.rewrap, B) is KeyStoreUnavailableError
    storage.failing = ""
    assert store.rewrap(B) == PATHS


def test_a_mistake_of_the_caller_is_told_for_each() -> None:
    """Certificates alone, and a recipient that is dropped and kept, are errors of the value, found before anything is wrapped."""
    storage = _filled(MemoryStorage())
    kms = FlakyWrapper(A)
    store = store_on(storage, wrapper=kms)
    assert {type(outcome.error) for outcome in store._rewrap_paths(PATHS, certificate(), drop=[A])} == {ValueError}
    assert {type(outcome.error) for outcome in store._rewrap_paths(PATHS, A, drop=[A])} == {ValueError}
    assert kms.calls == 2


def test_escrow_needs_the_callers_word() -> None:
    """A batch believes what opens through the certificate alone only if it is a recovery."""
    storage = _filled(MemoryStorage(), wrapper=[A, certificate()])
    store = store_on(storage, wrapper=escrow())
    wrappers: list[KeyWrapper] = [B, certificate()]
    assert {type(outcome.error) for outcome in store._rewrap_paths(PATHS, wrappers, drop=[A])} == {KeyStoreError}
    assert [outcome.changed for outcome in store._rewrap_paths(PATHS, wrappers, drop=[A], recover=True)] == [True] * 10
    assert len(store_on(storage, wrapper=B).keyring(PATHS[0]).keys()) == 2


def test_keyrings_under_several_keks_are_asked_by_kek() -> None:
    """Each path's own KEK is asked for its keyrings, once for each batch."""
    keks = {path: FlakyWrapper(local(number % 2)) for number, path in enumerate(PATHS)}
    regions = [FlakyWrapper(local(0)), FlakyWrapper(local(1))]
    storage = MemoryStorage()
    for path in PATHS:
        store_on(storage, wrapper=keks[path]).keyring(path, create=True)
    store = store_on(storage, wrapper=lambda path: regions[int(path[-1]) % 2])
    assert store.rewrap(lambda path: local(int(path[-1]) % 2 + 2)) == PATHS
    assert [region.calls for region in regions] == [1, 1]


def test_under_a_keyring_that_has_lost_a_key() -> None:
    """What was wrapped under a destroyed key of the keyring above is refused; what was wrapped under another one is not."""
    above = store_on(MemoryStorage()).keyring("eu/kek", create=True)
    storage = MemoryStorage()
    store = store_on(storage, wrapper=KeyringWrapper(above))
    for path in PATHS[:5]:
        store.keyring(path, create=True)
    old = above.primary().id
    above.rotate()
    for path in PATHS[5:]:
        store.keyring(path, create=True)
    above.destroy(old, force=True)
    assert _errors(store_on(storage, wrapper=KeyringWrapper(above))) == [WrapperDeniedError] * 5 + [None] * 5
