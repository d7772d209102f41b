# SPDX-License-Identifier: Apache-2.0
"""Stores: copies, backups and deletion, writers at once without a lock, and places that fail at any call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from securekit._primitives.process import process
from securekit.exceptions import (
    ConflictError,
    DecryptionError,
    FormatError,
    KeyNotFoundError,
    KeyStoreError,
    KeyStoreUnavailableError,
    SecureKitError,
)
from securekit.keyring import Event, EventKind, Keyring, KeyState, KeyStore, MemoryKeyStore
from securekit.keyring._background import Background
from securekit.keyring._storage import MemoryStorage
from securekit.testing import FakeClock, memory_store
from tests.conftest import Count
from tests.keyring.conftest import Place
from tests.keyring.parts import (
    LOCAL,
    OTHER,
    PATH,
    FailingStorage,
    UnlockedStorage,
    certificate,
    document,
    escrow,
    local,
    refusal,
    storage_with,
    store_on,
)


def test_paths_are_sorted_and_bounded_by_whole_segments(place: Place) -> None:
    """A prefix names a keyring and all below it, and is checked like a path."""
    store = place.store()
    for path in ("eu/b", "eu/a", "eu/ab", "eu/a/x", "us"):
        store.keyring(path, create=True)
    assert store.paths() == ["eu/a", "eu/a/x", "eu/ab", "eu/b", "us"]
    assert store.paths("eu/a") == ["eu/a", "eu/a/x"]
    assert store.paths("nowhere") == []
    with pytest.raises(ValueError, match="no segment"):
        store.paths("eu/")


def test_a_keyring_is_one_object(place: Place) -> None:
    """Whoever asks for a path gets the same object, as long as somebody holds it."""
    store = place.store()
    assert store.keyring(PATH, create=True) is store.keyring(PATH)
    assert repr(store) == f"<{type(store).__name__}>"


def test_what_is_missing_says_how_to_make_it(place: Place) -> None:
    """The error for an unknown path has the command."""
    with pytest.raises(KeyNotFoundError, match=f"create=True or: securekit keys create {PATH}"):
        place.store().keyring(PATH)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refresh": 0.5}, "refresh must be 1 to"),
        ({"refresh": float("nan")}, "refresh must be"),
        ({"refresh": 367 * 86400}, "refresh must be"),
        ({"stale_if_error": -1}, "stale_if_error must be 0 to"),
        ({"cache_ttl": 0}, "cache_ttl must be"),
        ({"cache_size": 0}, "cache_size must be"),
    ],
)
def test_numbers_out_of_bounds_are_refused(options: dict[str, float], message: str) -> None:
    """A store says which number is wrong, and what it may be."""
    with pytest.raises(ValueError, match=message):
        MemoryKeyStore(wrapper=LOCAL, **options)  # type: ignore[arg-type]


def test_a_copy_is_the_same_keyring_under_another_kek(places: Callable[[], Place]) -> None:
    """Same id, keys and revision; the other store's KEKs; and it follows the original when it is copied again."""
    here, there = places().store(), places().store(wrapper=local(1))
    ring = here.keyring(PATH, create=True)
    token = ring.encrypt(b"x", context={})
    old = ring.primary().id
    ring.rotate()

    copied = here.copy(PATH, there)
    assert (copied.id, copied.revision) == (ring.id, ring.revision)
    assert [replace(key, messages=0) for key in copied.keys()] == [replace(key, messages=0) for key in ring.keys()]
    assert copied.decrypt(token, context={}) == b"x"
    assert {wrapped.key_ref for wrapped in copied.recipients} == {local(1).key_ref}

    with pytest.raises(ConflictError, match="is at revision 2 there, which is not older than 2"):
        here.copy(PATH, there)
    ring.disable(old)
    here.copy(PATH, there).refresh()
    assert [key.state for key in copied.keys()] == [KeyState.DISABLED, KeyState.PRIMARY]
    copied.rotate()
    with pytest.raises(ConflictError, match="not older than"):
        here.copy(PATH, there)


def test_a_copy_does_not_replace_another_keyring(places: Callable[[], Place]) -> None:
    """A keyring with another id at the same path is not overwritten."""
    here, there = places().store(), places().store()
    here.keyring(PATH, create=True)
    other = there.keyring(PATH, create=True)
    with pytest.raises(ConflictError, match=f"another keyring there .id {other.id}.; delete it first"):
        here.copy(PATH, there)


def test_a_copy_out_of_escrow_needs_the_callers_word() -> None:
    """What opens through the certificate alone is copied only if the caller says that this is a recovery."""
    storage = MemoryStorage()
    store_on(storage, wrapper=[LOCAL, certificate()]).keyring(PATH, create=True)
    rescue = store_on(storage, wrapper=escrow())
    with pytest.raises(KeyStoreError, match="recover=True"):
        rescue.copy(PATH, memory_store())
    assert rescue.copy(PATH, memory_store(), recover=True).path == PATH


def test_a_backup_is_put_back() -> None:
    """After a loss the backup restores every key; over the same or a newer revision it does not."""
    storage = MemoryStorage()
    store = store_on(storage)
    ring = store.keyring(PATH, create=True)
    token = ring.encrypt(b"x", context={})
    backup = store.backup(PATH)
    with pytest.raises(ConflictError, match="is at revision 1 there"):
        store.restore(backup)
    ring.rotate()
    with pytest.raises(ConflictError, match="is at revision 2 there, which is not older than 1"):
        store.restore(backup)

    storage._documents.clear()
    with pytest.raises(KeyStoreError, match="rolled back"):  # this process has seen revision 2: what is older is not put back silently
        store.restore(backup)
    assert store.paths() == []
    assert store_on(storage).restore(backup).decrypt(token, context={}) == b"x"
    assert store.paths() == [PATH]


def test_a_backup_of_another_keyring_is_not_put_back(place: Place) -> None:
    """A keyring that was made anew at the path stays."""
    store = place.store()
    store.keyring(PATH, create=True)
    backup = store.backup(PATH)
    store.delete(PATH)
    store.keyring(PATH, create=True)
    with pytest.raises(ConflictError, match="another keyring there"):
        store.restore(backup)


def test_only_what_is_genuine_is_put_back(place: Place) -> None:
    """A changed backup, and bytes that are none, are refused, and nothing is written."""
    store = place.store()
    store.keyring(PATH, create=True)
    backup = store.backup(PATH)
    store.delete(PATH)
    assert refusal(store.restore, backup.replace(b'"refresh":60', b'"refresh":61')) is DecryptionError
    assert refusal(store.restore, b"{}") is FormatError
    assert store.paths() == []
    assert store.restore(backup).path == PATH


def test_events_tell_of_every_change(places: Callable[[], Place]) -> None:
    """Copied, restored, rewrapped and deleted are told, each with its path."""
    events: list[Event] = []
    here, there = (places().store(on_event=events.append) for _ in range(2))
    here.keyring(PATH, create=True)
    here.copy(PATH, there)
    backup = there.backup(PATH)
    there.delete(PATH)
    there.restore(backup)
    there.rewrap(local(1))
    assert [event.detail for event in events if event.kind is EventKind.CHANGED] == ["copied", "deleted", "restored", "rewrapped"]
    assert {event.path for event in events} == {PATH}


def test_deleting_says_what_else_must_go(place: Place) -> None:
    """The receipt has the ids of all keys, and the KEKs that old copies open with; the keyring is gone at once."""
    clock = FakeClock()
    store = place.store(clock=clock)
    ring = store.keyring(PATH, create=True)
    ring.rotate()
    ids, keyring_id = tuple(key.id for key in ring.keys()), ring.id
    clock.advance(5)

    receipt = store.delete(PATH)

    assert (receipt.path, receipt.key_ids, receipt.keyring_id, receipt.revision) == (PATH, ids, keyring_id, 2)
    assert receipt.erased_at.timestamp() == clock.time()
    assert receipt.remaining == (f"{place.wrapper.name} {place.wrapper.key_ref}",)
    assert refusal(ring.encrypt, b"x", context={}) is KeyNotFoundError
    assert refusal(store.delete, PATH) is KeyNotFoundError


def test_deleting_what_nobody_uses() -> None:
    """A keyring that this process has not opened is deleted, too; what is no document is not."""
    storage = MemoryStorage()
    store_on(storage).keyring(PATH, create=True)
    store = store_on(storage, wrapper=local(7))  # which could not open it
    assert store.delete(PATH).path == PATH
    storage._documents[PATH] = b"something else"
    assert refusal(store.delete, PATH) is FormatError
    assert storage._documents[PATH] == b"something else"


def test_writers_at_once_lose_nothing(place: Place, count: Count) -> None:
    """Four processes that change one keyring: each change is in the document, or its caller got ConflictError; one key is primary."""
    place.store().keyring(PATH, create=True)

    def rotate(_: int) -> list[str]:
        ring, made = place.store().keyring(PATH), []
        for _ in range(8):
            with suppress(ConflictError):
                made.append(ring.rotate().id)
        return made

    with ThreadPoolExecutor(4) as pool:
        made = [key_id for keys in pool.map(rotate, range(4)) for key_id in keys]

    keys = place.store().keyring(PATH).keys()
    assert sorted(key.id for key in keys[1:]) == sorted(made)
    assert len(made) > 4
    assert [key.state for key in keys].count(KeyState.PRIMARY) == 1
    count("rotations by several writers at once", len(made))


def test_many_that_create_at_once_get_one_keyring(place: Place) -> None:
    """Whoever is late takes the keyring that is there."""
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: place.store().keyring(PATH, create=True).id, range(8)))
    assert len(ids) == 1


def test_a_new_kek_without_an_outage(place: Place) -> None:
    """A reader that may open with both KEKs reads on while every keyring gets the new one; then the old one is not needed."""
    reader = place.store(also_open=[local(1)])
    token = reader.keyring(PATH, create=True).encrypt(b"x", context={})
    assert place.store(also_open=[local(1)]).rewrap(local(1)) == [PATH]
    reader.keyring(PATH).refresh()
    assert reader.keyring(PATH).decrypt(token, context={}) == b"x"
    assert place.store(wrapper=local(1)).keyring(PATH).decrypt(token, context={}) == b"x"
    assert refusal(place.store().keyring, PATH) is KeyNotFoundError


def test_writers_without_a_lock_lose_nothing(count: Count) -> None:
    """Where the lock does nothing, compare-and-swap decides: a change is in the document, or its caller got ConflictError."""
    storage = UnlockedStorage()
    store_on(storage).keyring(PATH, create=True)
    rings = [store_on(storage).keyring(PATH) for _ in range(4)]

    def rotate(ring: Keyring) -> list[str]:
        made = []
        for _ in range(25):
            try:
                made.append(ring.rotate().id)
            except ConflictError:
                continue
        return made

    with ThreadPoolExecutor(4) as pool:
        made = [key_id for keys in pool.map(rotate, rings) for key_id in keys]

    keys = store_on(storage).keyring(PATH).keys()
    assert [key.id for key in keys[1:]] == sorted(made, key=[key.id for key in keys].index)
    assert len(made) == len(set(made)) == len(keys) - 1 > 0
    assert [key.state for key in keys].count(KeyState.PRIMARY) == 1
    count("rotations without a lock", len(made))


@pytest.mark.parametrize(("conflicts", "error"), [(1, None), (4, None), (5, ConflictError)])
def test_a_conflict_is_tried_again(conflicts: int, error: type[SecureKitError] | None) -> None:
    """A change is made anew on what another writer wrote, five times at most; both changes are there, or the error says so."""
    storage = UnlockedStorage()
    other = store_on(storage).keyring(PATH, create=True)
    ring = store_on(storage).keyring(PATH)
    left = conflicts

    def meanwhile() -> None:
        nonlocal left
        if left:
            left -= 1
            storage.meanwhile = None
            other.rotate()
            storage.meanwhile = meanwhile

    storage.meanwhile = meanwhile
    assert refusal(ring.rotate) is error
    assert len(store_on(storage).keyring(PATH).keys()) == 1 + conflicts + (error is None)


def test_two_that_create_at_once_without_a_lock_get_one_keyring() -> None:
    """The one that came too late takes the keyring that is there."""
    storage = UnlockedStorage()
    first = store_on(storage)
    made: list[Keyring] = []

    def meanwhile() -> None:
        storage.meanwhile = None
        made.append(first.keyring(PATH, create=True))

    storage.meanwhile = meanwhile
    assert store_on(storage).keyring(PATH, create=True).id == made[0].id


def test_threads_that_change_one_memory_store_lose_nothing() -> None:
    """Eight threads through one store, and eight stores on one memory: every key is there, one is primary."""
    storage = MemoryStorage()
    shared = store_on(storage)
    rings = [shared.keyring(PATH, create=True)] * 8 + [store_on(storage).keyring(PATH) for _ in range(8)]
    with ThreadPoolExecutor(16) as pool:
        made = [key for keys in pool.map(lambda ring: [ring.rotate().id for _ in range(10)], rings) for key in keys]
    keys = store_on(storage).keyring(PATH).keys()
    assert {key.id for key in keys[1:]} == set(made)
    assert len(made) == 160
    assert [key.state for key in keys].count(KeyState.PRIMARY) == 1


def _rotate_and_promote(store: KeyStore) -> None:
    ring = store.keyring(PATH)
    ring.promote(ring.rotate(promote=False).id)


def _stage_and_destroy(store: KeyStore) -> None:
    ring = store.keyring(PATH)
    staged = ring.rotate(promote=False).id
    ring.disable(staged)
    ring.enable(staged)
    ring.destroy(staged, force=True)


OPERATIONS: dict[str, Callable[[KeyStore], object]] = {
    "create": lambda store: store.keyring(OTHER, create=True),
    "open": lambda store: store.keyring(PATH),
    "refresh": lambda store: store.keyring(PATH).refresh(),
    "rotate": lambda store: store.keyring(PATH).rotate(),
    "rotate and promote": _rotate_and_promote,
    "stage and destroy": _stage_and_destroy,
    "rewrap": lambda store: store.rewrap(local(1)),
    "paths": lambda store: store.paths(),
    "copy": lambda store: store.copy(PATH, memory_store()),
    "backup": lambda store: store.backup(PATH),
}


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_place_that_fails_at_any_call_loses_nothing(operation: str, for_good: bool, cold: bool, count: Count) -> None:
    """Whichever call fails, once or for good: our own error, every old key is there, records open, and a retry works."""
    failures = 0
    for at in range(16):
        storage = FailingStorage()
        store = store_on(storage)
        token = store.keyring(PATH, create=True).encrypt(b"x", context={})
        key_id = store.keyring(PATH).primary().id
        if cold:
            store = store_on(storage)

        storage.fail_at(at, for_good=for_good)
        error = refusal(OPERATIONS[operation], store)
        storage.fail_at(None)

        after = store_on(storage, wrapper=[LOCAL, local(1)]).keyring(PATH)
        assert after.decrypt(token, context={}) == b"x"
        assert key_id in {key.id for key in after.keys()}
        assert [key.state for key in after.keys()].count(KeyState.PRIMARY) == 1
        store._source.clock.advance(2)  # type: ignore[attr-defined]
        OPERATIONS[operation](store)
        assert store.keyring(PATH).decrypt(token, context={}) == b"x"
        failures += error is not None
        assert error in {None, KeyStoreUnavailableError}
    count("failing calls of a keystore survived", failures)
    assert failures or (operation == "open" and not cold)  # what is warm is not read


@pytest.mark.parametrize("number", range(6))
def test_restoring_and_deleting_survive_a_failing_place(number: int) -> None:
    """When they fail, the keyring is there as it was or not at all; trying again works."""
    storage = FailingStorage()
    store = store_on(storage)
    token = store.keyring(PATH, create=True).encrypt(b"x", context={})
    backup = store.backup(PATH)
    storage.fail_at(number)
    deleted = refusal(store.delete, PATH)
    storage.fail_at(None)
    assert (store.paths() == [PATH]) == (deleted is KeyStoreUnavailableError)
    if deleted:
        store.delete(PATH)
    storage.fail_at(number)
    refusal(store.restore, backup)
    storage.fail_at(None)
    if not store.paths():
        store.restore(backup)
    assert store.keyring(PATH).decrypt(token, context={}) == b"x"


def test_a_change_that_failed_is_looked_for() -> None:
    """When a write failed after all, or succeeded although it said that it had failed, the next call reads what is there."""

    class Forgetful(MemoryStorage):
        broken = False

        def write(self, path: str, document: bytes, *, expected: int | None) -> None:
            super().write(path, document, expected=expected)
            if self.broken:
                message = "the answer was lost"
                raise KeyStoreUnavailableError(message)

    storage = Forgetful()
    store = store_on(storage)
    ring = store.keyring(PATH, create=True)
    storage.broken = True
    assert refusal(ring.rotate) is KeyStoreUnavailableError
    ring.encrypt(b"x", context={})
    _settle(store)
    assert len(ring.keys()) == 2


def test_a_change_before_the_first_load_works(place: Place) -> None:
    """A keyring object whose memory was emptied can still change."""
    ring = place.store().keyring(PATH, create=True)
    ring._cache.forget()
    assert ring.rotate().state is KeyState.PRIMARY
    ring._cache.forget()
    assert refusal(ring.promote, "00000000") is KeyNotFoundError


def test_only_what_changes_is_written(place: Place) -> None:
    """Disabling what is disabled, promoting what is primary and the like write nothing and keep the revision."""
    ring = place.store().keyring(PATH, create=True)
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    before = ring.revision
    ring.disable(old)
    ring.promote(ring.primary().id)
    ring.enable(ring.primary().id)
    assert ring.revision == before
    ring.destroy(old, force=True)
    ring.destroy(old)
    assert ring.revision == before + 1


def test_the_background_thread_survives_a_broken_storage(caplog: pytest.LogCaptureFixture) -> None:
    """A storage with a bug is logged, and the next refresh in the background is made all the same."""

    class Buggy(MemoryStorage):
        broken = False

        def read(self, path: str) -> bytes | None:
            if self.broken:
                message = "a bug in a storage"
                raise RuntimeError(message)
            return super().read(path)

    storage, clock = Buggy(), FakeClock()
    store = store_on(storage, clock=clock)
    ring = store.keyring(PATH, create=True)
    storage.broken = True
    clock.advance(50)
    ring.encrypt(b"x", context={})
    _settle(store)
    assert "a refresh in the background failed" in caplog.text
    storage.broken = False
    store_on(storage, clock=clock).keyring(PATH).rotate()
    clock.advance(9)
    ring.refresh()
    assert ring.revision == 2


def _settle(store: KeyStore) -> None:
    done = threading.Event()
    store._source.schedule(done.set)
    assert done.wait(10)


def test_an_idle_background_thread_ends_and_starts_again() -> None:
    """A thread with nothing to do goes away; the next job starts another one."""
    background, ran = Background(idle=0.01), threading.Event()
    background.run(ran.set)
    thread = background._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    ran.clear()
    background.run(ran.set)
    assert ran.wait(10)


def test_a_job_that_comes_as_the_thread_ends_is_done() -> None:
    """Between the thread's last look and its end, a job may come: then it goes on."""
    background, ran = Background(idle=0.01), threading.Event()
    background.run(lambda: None)
    with process.lock:
        time.sleep(0.2)  # the thread waits for the lock, to end
        background._jobs.put(ran.set)
    assert ran.wait(10)


def test_another_keyring_at_the_same_path_is_opened_anew() -> None:
    """When a keyring was made anew elsewhere and has gone beyond the revision known here, the new one is what is used."""
    storage = storage_with(document())
    ring = store_on(storage).keyring(PATH)
    assert ring.id == "1d" * 16
    storage._documents[PATH] = document(keyring_id=bytes(16), revision=2)
    ring.refresh()
    store = store_on(storage, clock=(clock := FakeClock()))
    known = store.keyring(PATH)
    storage._documents[PATH] = document(keyring_id=b"\x2d" * 16, revision=3)
    clock.advance(61)
    assert (ring.id, known.id) == ("00" * 16, "2d" * 16)
