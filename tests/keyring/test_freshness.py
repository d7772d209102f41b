# SPDX-License-Identifier: Apache-2.0
"""How old what a keyring knows may be, and what happens when nothing answers."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from securekit.exceptions import (
    DecryptionError,
    KeyNotFoundError,
    KeyStoreError,
    KeyStoreUnavailableError,
    WrapperDeniedError,
    WrapperUnavailableError,
)
from securekit.keyring import Event, EventKind, KeyStore
from securekit.keyring._storage import MemoryStorage
from securekit.testing import FakeClock, FlakyWrapper
from securekit.wrappers import LocalWrapper

PATH = "eu/acme/invoices"
HOUR = 3600.0


class CountingStorage(MemoryStorage):
    """Memory that counts reads, and can be made unreachable or slow."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.unreachable = False
        self.delay = 0.0

    def read(self, path: str) -> bytes | None:
        self.reads += 1
        time.sleep(self.delay)
        if self.unreachable:
            message = "unreachable, as the test told it to be"
            raise KeyStoreUnavailableError(message)
        return super().read(path)


class World:
    """A writer and a reader on one storage, the reader with a KMS that can fail."""

    def __init__(self, *, document_refresh: float = 60, **options: float) -> None:
        self.clock = FakeClock()
        self.storage = CountingStorage()
        self.kms = FlakyWrapper()
        self.events: list[Event] = []
        self.writer = KeyStore(self.storage, wrapper=LocalWrapper(bytes(range(32))), clock=self.clock, refresh=document_refresh)
        self.writing = self.writer.keyring(PATH, create=True)
        self.reader = KeyStore(self.storage, wrapper=self.kms, clock=self.clock, on_event=self.events.append, **options)  # type: ignore[arg-type]
        self.ring = self.reader.keyring(PATH)

    def settle(self) -> None:
        """Wait until the background thread has done what it was given."""
        done = threading.Event()
        self.reader._source._background.run(done.set)
        assert done.wait(10)

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


def test_a_fresh_keyring_does_no_io() -> None:
    """Within 80 % of refresh, neither the store nor the KMS is asked."""
    world = World()
    reads, calls = world.storage.reads, world.kms.calls
    world.clock.advance(0.79 * 60)
    token = world.ring.encrypt(b"x", context={})
    assert world.ring.decrypt(token, context={}) == b"x"
    assert (world.storage.reads, world.kms.calls) == (reads, calls)


def test_it_is_refreshed_ahead_in_the_background() -> None:
    """After 80 % of refresh, a call is served at once and the document is read by another thread."""
    world = World()
    world.storage.delay = 0.2
    world.writing.rotate()
    world.clock.advance(50)
    begin = time.perf_counter()
    world.ring.encrypt(b"x", context={})
    assert time.perf_counter() - begin < 0.1
    world.settle()
    assert world.ring.revision == 2
    assert world.kms.calls == 1  # the secret is the same: the KMS was not asked again


def test_the_document_is_never_older_than_refresh() -> None:
    """After refresh, the next call reads the document before it is served."""
    world = World()
    fresh = world.writing.rotate()
    world.clock.advance(61)
    assert world.ring.encrypt(b"x", context={})[1:5].hex() == fresh.id


def test_the_kms_is_asked_again_after_cache_ttl() -> None:
    """The secret is unwrapped again within cache_ttl, whatever the document says."""
    world = World()
    for _ in range(70):
        world.clock.advance(61)
        world.ring.encrypt(b"x", context={})
    world.settle()
    assert 2 <= world.kms.calls <= 3


def test_an_unreachable_store_is_survived_for_stale_if_error() -> None:
    """Keys in memory serve on for stale_if_error after the last success, and not longer."""
    world = World(stale_if_error=HOUR, cache_ttl=10 * HOUR)
    token = world.ring.encrypt(b"x", context={})
    world.storage.unreachable = True
    for _ in range(59):
        world.clock.advance(61)
        assert world.ring.decrypt(token, context={}) == b"x"
        world.settle()
    assert EventKind.STALE in world.kinds()
    world.clock.advance(61)
    world.settle()
    with pytest.raises(KeyStoreUnavailableError):
        world.ring.encrypt(b"y", context={})
    world.storage.unreachable = False
    world.clock.advance(2)
    assert world.ring.decrypt(token, context={}) == b"x"


def test_an_unreachable_kms_is_survived_for_stale_if_error() -> None:
    """The same holds for the KMS."""
    world = World(stale_if_error=2 * HOUR, cache_ttl=HOUR)
    world.kms.unavailable = True
    for _ in range(118):
        world.clock.advance(61)
        world.ring.encrypt(b"x", context={})
        world.settle()
    world.clock.advance(61)
    world.settle()
    with pytest.raises(WrapperUnavailableError):
        world.ring.encrypt(b"y", context={})


def test_no_means_no() -> None:
    """A KMS that says no is obeyed at the next refresh; nothing is served from memory after it."""
    world = World(cache_ttl=HOUR)
    world.kms.denied = True
    world.clock.advance(HOUR + 1)
    with pytest.raises(WrapperDeniedError):
        world.ring.encrypt(b"x", context={})
    with pytest.raises(WrapperDeniedError):
        world.ring.encrypt(b"x", context={})
    assert world.kms.calls == 2  # the second no came from a memory of one second, not from the KMS
    assert EventKind.REFUSED in world.kinds()


def test_a_no_in_the_background_is_obeyed() -> None:
    """A refresh ahead that is denied empties the cache."""
    world = World(cache_ttl=HOUR, document_refresh=2 * HOUR, refresh=2 * HOUR)
    world.clock.advance(0.85 * HOUR)  # cache_ttl is jittered between 0.9 and 1 hour
    world.kms.denied = True
    world.ring.encrypt(b"x", context={})
    world.settle()
    with pytest.raises(WrapperDeniedError):
        world.ring.encrypt(b"x", context={})


def test_stale_if_error_of_zero_serves_nothing_stale() -> None:
    """With stale_if_error=0 an unreachable store is an error as soon as refresh is over."""
    world = World(stale_if_error=0)
    world.storage.unreachable = True
    world.clock.advance(61)
    with pytest.raises(KeyStoreUnavailableError):
        world.ring.encrypt(b"x", context={})


def test_readers_obey_the_smaller_time() -> None:
    """The refresh that stands in the document holds for every reader that was told a longer one."""
    clock, storage, kek = FakeClock(), CountingStorage(), LocalWrapper(bytes(32))
    writing = KeyStore(storage, wrapper=kek, clock=clock, refresh=10, stale_if_error=20).keyring(PATH, create=True)
    ring = KeyStore(storage, wrapper=kek, clock=clock, refresh=1000).keyring(PATH)
    fresh = writing.rotate()
    clock.advance(11)
    assert ring.encrypt(b"", context={})[1:5].hex() == fresh.id
    storage.unreachable = True
    clock.advance(21)
    with pytest.raises(KeyStoreUnavailableError):
        ring.encrypt(b"", context={})


def test_a_record_under_a_key_of_a_moment_ago_needs_no_reencryption() -> None:
    """Whether a record is to be moved forward is told of a key that another process has just made, too: the document is read again."""
    world = World()
    old = world.ring.encrypt(b"x", context={})
    world.writing.rotate()
    new = world.writing.encrypt(b"x", context={})

    assert not world.ring.needs_reencrypt(new)
    assert world.ring.needs_reencrypt(old)
    assert world.ring.revision == 2


def test_an_unknown_key_is_looked_for_once_per_second() -> None:
    """A record under a key made elsewhere opens at once; made-up ids force at most one read per second."""
    world = World()
    world.writing.rotate()
    token = world.writing.encrypt(b"x", context={})
    assert world.ring.decrypt(token, context={}) == b"x"
    reads = world.storage.reads
    for number in range(100):
        with pytest.raises(KeyNotFoundError):
            world.ring.decrypt(b"\x01" + number.to_bytes(4) + bytes(80), context={})
    assert world.storage.reads == reads
    world.clock.advance(1.1)
    with pytest.raises(KeyNotFoundError):
        world.ring.decrypt(b"\x01" + bytes(84), context={})
    assert world.storage.reads == reads + 1


def test_a_rollback_under_a_running_process_is_refused() -> None:
    """A document of a lower revision than one seen is an error that says what to do, and is not used."""
    world = World()
    old = world.storage.read(PATH)
    assert old is not None
    world.writing.rotate()
    world.ring.refresh()
    world.storage._documents[PATH] = old
    world.clock.advance(61)
    with pytest.raises(KeyStoreError, match="rolled back: the document is of revision 1, and this process has seen, or was told of, 2"):
        world.ring.encrypt(b"x", context={})
    world.clock.advance(2)
    with pytest.raises(KeyStoreError, match="rolled back"):
        world.ring.refresh()


def test_nothing_is_changed_on_top_of_a_rollback() -> None:
    """A rotation or rewrap of an older document than one seen is refused before it is written: it would pass for a newer one."""
    world = World()
    old = world.storage.read(PATH)
    assert old is not None
    world.writing.rotate()
    world.storage._documents[PATH] = old

    for change in (world.writing.rotate, lambda: world.writer.rewrap(FlakyWrapper()), lambda: world.writer.backup(PATH)):
        with pytest.raises(KeyStoreError, match="rolled back"):
            change()
    assert world.storage.read(PATH) == old


def test_a_changed_document_is_refused() -> None:
    """A document that was changed by someone without the secret is DecryptionError, with nothing attached."""
    world = World()
    data = world.storage.read(PATH)
    assert data is not None
    world.storage._documents[PATH] = data.replace(b'"refresh":60', b'"refresh":99')
    world.clock.advance(61)
    with pytest.raises(DecryptionError) as caught:
        world.ring.encrypt(b"x", context={})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_deleted_keyring_is_gone() -> None:
    """When the document is deleted, the keys in memory go at the next refresh."""
    world = World()
    world.writer.delete(PATH)
    world.clock.advance(61)
    with pytest.raises(KeyNotFoundError):
        world.ring.encrypt(b"x", context={})
    with pytest.raises(KeyNotFoundError):
        world.writing.encrypt(b"x", context={})


def test_a_keyring_that_is_gone_is_not_made_anew() -> None:
    """Where this process has seen a keyring, create=True makes no other one in its place: an unmounted disk looks the same."""
    world = World()
    world.storage._documents.clear()
    world.clock.advance(61)
    with pytest.raises(KeyNotFoundError, match="is gone: it was deleted, or has to be restored"):
        world.writer.keyring(PATH, create=True)
    with pytest.raises(KeyStoreError, match="gone, and this process has seen, or was told of, its revision 1: restore it"):
        world.writer.keyring(PATH, create=True)
    assert list(world.storage.paths()) == []


def test_a_keyring_that_this_process_deleted_is_made_anew() -> None:
    """After delete, create=True makes a new keyring, with another id."""
    world = World()
    former = world.writing.id
    world.writer.delete(PATH)
    assert world.writer.keyring(PATH, create=True).id != former


def test_a_hook_may_use_the_keyring_that_it_is_told_of() -> None:
    """An on_event that encrypts in the middle of a refresh neither waits for itself nor fails."""
    records: list[bytes] = []
    storage, clock = CountingStorage(), FakeClock()
    KeyStore(storage, wrapper=LocalWrapper(bytes(32))).keyring(PATH, create=True)

    def audit(event: Event) -> None:
        if event.kind is EventKind.REFRESHED:
            records.append(ring.encrypt(b"log", context={}))

    ring = KeyStore(storage, wrapper=LocalWrapper(bytes(32)), clock=clock, on_event=audit).keyring(PATH)
    clock.advance(59)
    ring.refresh()
    assert len(records) == 1


def test_concurrent_first_uses_make_one_kms_call() -> None:
    """Sixteen threads that ask for a cold keyring make one call to the KMS."""
    storage = CountingStorage()
    KeyStore(storage, wrapper=LocalWrapper(bytes(range(32)))).keyring(PATH, create=True)
    storage.delay = 0.05
    kms = FlakyWrapper()
    store = KeyStore(storage, wrapper=kms)
    with ThreadPoolExecutor(16) as pool:
        rings = list(pool.map(lambda _: store.keyring(PATH), range(16)))
    assert len(set(map(id, rings))) == 1
    assert kms.calls == 1


def test_waiters_share_a_failure() -> None:
    """Threads that waited for a failed load get its error, and do not ask the KMS again one by one."""
    world = World(stale_if_error=0, cache_ttl=HOUR)
    clock_error = []
    store = KeyStore(world.storage, wrapper=world.kms)
    ring = store.keyring(PATH)
    ring._cache.live = None
    world.kms.unavailable = True
    world.storage.delay = 0.1
    calls = world.kms.calls

    def use(_: int) -> None:
        try:
            ring.encrypt(b"x", context={})
        except WrapperUnavailableError as error:
            clock_error.append(error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert len(clock_error) == 8
    assert world.kms.calls == calls + 1


def test_the_calendar_may_jump() -> None:
    """A day forward, a day back, 1970 and 2038: ages follow the monotonic clock alone."""
    world = World()
    reads = world.storage.reads
    token = world.ring.encrypt(b"x", context={})
    for jump in (86_400.0, -2 * 86_400.0, -world.clock.time(), 2_145_916_800.0):
        world.clock.jump(jump)
        assert world.ring.decrypt(token, context={}) == b"x"
    assert world.storage.reads == reads


def test_a_clock_set_back_destroys_nothing_early() -> None:
    """A key that was disabled in the future, as a clock set back sees it, is not destroyed."""
    world = World()
    old = world.writing.primary().id
    world.writing.rotate()
    world.writing.disable(old)
    world.clock.jump(-86_400.0 * 10)
    with pytest.raises(Exception, match="disabled for longer"):
        world.writing.destroy(old)


def test_akeyring_reads_in_a_worker_thread() -> None:
    """The event loop goes on while a keyring is loaded, and a fresh one costs no thread."""
    world = World()
    world.storage.delay = 0.2
    store = KeyStore(world.storage, wrapper=LocalWrapper(bytes(range(32))))

    async def main() -> int:
        ticks = 0
        loading = asyncio.create_task(store.akeyring(PATH))
        while not loading.done():
            ticks += 1
            await asyncio.sleep(0.01)
        ring = await loading
        begin = time.perf_counter()
        assert await store.akeyring(PATH) is ring
        assert time.perf_counter() - begin < 0.1
        return ticks

    assert asyncio.run(main()) > 5


def test_akeyring_keeps_the_keyrings_that_are_asked_for() -> None:
    """Of more keyrings than ``cache_size``, the one that was asked for least recently is let go."""
    storage = CountingStorage()
    store = KeyStore(storage, wrapper=LocalWrapper(bytes(32)), cache_size=2)
    for path in ("busy", "idle"):
        store.keyring(path, create=True)

    asyncio.run(_ask(store, "busy"))
    store.keyring("new", create=True)

    before = storage.reads
    asyncio.run(_ask(store, "busy"))
    assert storage.reads == before


async def _ask(store: KeyStore, path: str) -> None:
    await store.akeyring(path)


def test_a_broken_hook_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An exception from on_event is logged, and the call goes on."""

    def broken(event: Event) -> None:
        message = f"cannot count {event.kind}"
        raise RuntimeError(message)

    ring = KeyStore(MemoryStorage(), wrapper=LocalWrapper(bytes(32)), on_event=broken).keyring(PATH, create=True)
    token = ring.encrypt(b"x", context={})
    ring.rotate()
    assert ring.decrypt(token, context={}) == b"x"
    assert "on_event failed" in caplog.text


def test_events_tell_what_operators_need() -> None:
    """Loads, KMS calls, refreshes, rotations and the use of old keys are reported, never a secret."""
    world = World()
    token = world.ring.encrypt(b"x", context={})
    world.ring.rotate()
    world.ring.decrypt(token, context={})
    world.clock.advance(61)
    world.ring.encrypt(b"x", context={})
    wanted = {EventKind.LOADED, EventKind.KMS_CALL, EventKind.ROTATED, EventKind.OLD_KEY_USED, EventKind.REFRESHED}
    assert wanted <= set(world.kinds())
    assert all(event.path == PATH for event in world.events)
