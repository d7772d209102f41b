# SPDX-License-Identifier: Apache-2.0
"""Threads, forks and tasks through one keyring: no nonce repeats, everything opens, and what is remembered stays remembered."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from securekit.exceptions import KeyNotFoundError, KeyStoreError, SecureKitError, WrapperDeniedError
from securekit.keyring import Event, EventKind, Keyring, from_text
from securekit.keyring._storage import MemoryStorage
from securekit.testing import FakeClock, FlakyWrapper, memory_store
from tests.conftest import Count
from tests.keyring.parts import CONTEXT, OTHER, PATH, FailingStorage, refusal, store_on

_fork = multiprocessing.get_context("fork")


def test_threads_that_mix_all_verbs_while_another_one_rotates(count: Count) -> None:
    """Eight threads encrypt and decrypt in every way through one keyring while it rotates: no nonce repeats, all open."""
    ring = memory_store().keyring(PATH, create=True)
    bound = ring.bind(**CONTEXT)
    ready, stop = threading.Barrier(9), threading.Event()

    def work(number: int) -> list[bytes]:
        ready.wait()
        made: list[bytes] = []
        for turn in range(150):
            data = f"{number}/{turn}"
            tokens = [
                ring.encrypt(data.encode(), context=CONTEXT),
                bound.encrypt(data.encode()),
                from_text(ring.encrypt_text(data, context=CONTEXT)),
                from_text(bound.encrypt_text(data)),
                *ring.encrypt_many([(data.encode(), CONTEXT)] * 8),
                *bound.encrypt_many([(data.encode(), {})] * 8),
            ]
            assert {bound.decrypt(token) for token in tokens} == {data.encode()}
            assert set(ring.decrypt_many([(token, CONTEXT) for token in tokens])) == {data.encode()}
            made += tokens
        return made

    def rotate() -> None:
        ready.wait()
        while not stop.wait(0.005):
            ring.promote(ring.rotate(promote=False).id)

    with ThreadPoolExecutor(9) as pool:
        rotating = pool.submit(rotate)
        batches = list(pool.map(work, range(8)))
        stop.set()
        rotating.result()
    tokens = [token for batch in batches for token in batch]

    assert len({token[5:29] for token in tokens}) == len(tokens) == 8 * 150 * 20
    assert len({token[1:5] for token in tokens}) > 2
    assert None not in ring.decrypt_many([(token, CONTEXT) for token in tokens])
    assert sum(key.messages for key in ring.keys()) <= len(tokens)
    count("nonces of 8 threads that do not repeat", len(tokens))


VERBS: dict[str, Callable[[Keyring, bytes], object]] = {
    "encrypt": lambda ring, _: ring.encrypt(b"x", context={}),
    "decrypt": lambda ring, token: ring.decrypt(token, context={}),
    "encrypt_many": lambda ring, _: ring.encrypt_many([(b"x", {})] * 3),
    "decrypt_many": lambda ring, token: ring.decrypt_many([(token, {})] * 3),
    "needs_reencrypt": lambda ring, token: ring.needs_reencrypt(token),
    "unknown id": lambda ring, token: refusal(ring.decrypt, b"\x01none" + token[5:], context={}),
    "rotate": lambda ring, _: ring.rotate(),
    "refresh": lambda ring, _: ring.refresh(),
    "keys": lambda ring, _: ring.keys(),
    "due": lambda ring, _: ring.due(),
}


@pytest.mark.repetitive
@pytest.mark.parametrize("verb", VERBS)
def test_a_child_forked_in_the_middle_of_a_verb_works(verb: str) -> None:
    """Whatever other threads of the parent do at the moment of the fork, the child does all of it, and draws its own nonces."""
    store = store_on(MemoryStorage(), clock=FakeClock())
    ring = store.keyring(PATH, create=True)
    token = ring.encrypt(b"x", context={})
    stop = threading.Event()
    for use in VERBS.values():  # Python itself hangs in a child that was forked while a module was imported for the first time
        use(ring, token)

    def keep_busy() -> None:
        while not stop.is_set():
            store._source.clock.advance(1)  # type: ignore[attr-defined]
            VERBS[verb](ring, token)

    def child(pipe: Any) -> None:
        for use in VERBS.values():
            use(ring, token)
        store.keyring(OTHER, create=True)
        pipe.send(ring.encrypt(b"child", context={}))
        os.kill(os.getpid(), signal.SIGKILL)  # which skips what would end the test run, and is slow where coverage is measured

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        received = []
        for _ in range(4):
            receiving, sending = _fork.Pipe(duplex=False)
            process = _fork.Process(target=child, args=(sending,))
            process.start()
            assert receiving.poll(10)
            received.append(receiving.recv())
            process.join(30)
            assert process.exitcode == -signal.SIGKILL
    finally:
        stop.set()
        busy.join()
    heads = {record[5:17] for record in [*received, token, ring.encrypt(b"parent", context={})]}
    assert len(heads) >= 5


def test_a_forked_child_refreshes_in_the_background() -> None:
    """The child has no thread of its parent's, and starts its own."""
    clock, storage = FakeClock(), MemoryStorage()
    store = store_on(storage, clock=clock)
    ring = store.keyring(PATH, create=True)
    clock.advance(50)
    ring.encrypt(b"x", context={})
    _settle(store)

    def child(pipe: Any) -> None:
        store_on(storage, clock=clock).keyring(PATH).rotate()
        clock.advance(50)
        ring.encrypt(b"x", context={})
        _settle(store)
        pipe.send(ring.revision)

    receiving, sending = _fork.Pipe(duplex=False)
    process = _fork.Process(target=child, args=(sending,))
    process.start()
    assert receiving.poll(10)
    assert receiving.recv() == 2
    process.join(30)


def _settle(store: Any) -> None:
    done = threading.Event()
    store._source.schedule(done.set)
    assert done.wait(10)


def test_a_hundred_tasks_make_one_load() -> None:
    """Concurrent akeyring() calls for a cold keyring read the store once and call the KMS once, and get one object."""
    storage, kms = FailingStorage(), FlakyWrapper()
    store_on(storage).keyring(PATH, create=True)
    storage.fail_at(None)
    store = store_on(storage, wrapper=kms)

    async def main() -> list[Keyring]:
        return await asyncio.gather(*(store.akeyring(PATH) for _ in range(100)))

    rings = asyncio.run(main())
    assert len(set(map(id, rings))) == 1
    assert (kms.calls, storage.calls) == (1, 1)


def test_akeyring_takes_what_keyring_takes() -> None:
    """Arguments such as create, keyring_id, minimum_revision and recover mean the same, also for a keyring that is fresh."""
    store = memory_store()

    async def main() -> None:
        ring = await store.akeyring(PATH, create=True)
        assert await store.akeyring(PATH, keyring_id=ring.id) is ring
        assert await store.akeyring(PATH, recover=True) is ring
        with pytest.raises(KeyStoreError, match="not the one given"):
            await store.akeyring(PATH, keyring_id="00" * 16)
        with pytest.raises(KeyStoreError, match=r"rolled back: the document is of revision 1, .* or was told of, 2"):
            await store.akeyring(PATH, minimum_revision=2)
        with pytest.raises(KeyNotFoundError):
            await store.akeyring(OTHER)

    asyncio.run(main())


@pytest.mark.parametrize("warm", [False, True])
def test_a_minimum_revision_is_pinned(warm: bool) -> None:
    """A document older than the caller knows is refused before and after the first load; one that is newer is fine."""
    storage = MemoryStorage()
    writing = store_on(storage).keyring(PATH, create=True)
    store = store_on(storage)
    if warm:
        store.keyring(PATH)
    with pytest.raises(KeyStoreError, match="or was told of, 2"):
        store.keyring(PATH, minimum_revision=2)
    store._source.clock.advance(2)  # type: ignore[attr-defined]
    with pytest.raises(KeyStoreError, match="or was told of, 2"):
        store.keyring(PATH)
    writing.rotate()
    store._source.clock.advance(2)  # type: ignore[attr-defined]
    assert store.keyring(PATH, minimum_revision=1).revision == 2


def test_a_revision_that_was_seen_outlives_the_keyring_object() -> None:
    """With a cache of one keyring, an older document is refused although nothing else of it is remembered."""
    storage = MemoryStorage()
    store = store_on(storage, cache_size=1)
    store.keyring(PATH, create=True)
    old_document = storage._documents[PATH]
    store.keyring(PATH).rotate()
    store.keyring(OTHER, create=True)
    gc.collect()
    assert PATH not in store._rings
    storage._documents[PATH] = old_document
    with pytest.raises(KeyStoreError, match="rolled back"):
        store.keyring(PATH)


def test_a_keyring_that_somebody_holds_stays_one_object() -> None:
    """Being let go from the cache makes no second object beside one that is in use."""
    store = memory_store(cache_size=1)
    ring = store.keyring(PATH, create=True)
    store.keyring(OTHER, create=True)
    gc.collect()
    assert store.keyring(PATH) is ring


def test_a_refusal_is_remembered_for_a_second_and_shared() -> None:
    """Threads that ask again at once get the same answer, as an error of their own, without a call to the KMS."""
    clock, kms = FakeClock(), FlakyWrapper()
    store = store_on(MemoryStorage(), wrapper=kms, clock=clock, cache_ttl=60)
    ring = store.keyring(PATH, create=True)
    kms.denied = True
    clock.advance(61)
    calls = kms.calls
    errors: list[SecureKitError] = []
    for _ in range(5):
        with pytest.raises(WrapperDeniedError) as caught:
            ring.encrypt(b"x", context={})
        errors.append(caught.value)
    assert kms.calls == calls + 1
    assert len(set(map(id, errors))) == 5
    kms.denied = False
    clock.advance(1.1)
    ring.encrypt(b"x", context={})


def test_waiting_for_another_threads_refresh_makes_no_second_one() -> None:
    """Of eight threads that find a keyring stale at once, one reads."""
    clock, storage = FakeClock(), FailingStorage()
    store = store_on(storage, clock=clock)
    ring = store.keyring(PATH, create=True)
    clock.advance(61)
    storage.fail_at(None)
    barrier = threading.Barrier(8)

    def use(_: int) -> bytes:
        barrier.wait()
        return ring.encrypt(b"x", context={})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert storage.calls == 1


def test_a_dead_cache_in_the_background_is_empty() -> None:
    """When a refresh ahead fails and stale_if_error is over meanwhile, the next call asks, and raises what it is told."""
    clock, storage = FakeClock(), FailingStorage()
    store = store_on(storage, clock=clock, stale_if_error=0)
    ring = store.keyring(PATH, create=True)
    clock.advance(50)
    storage.fail_at(0, for_good=True)
    with ring._cache._mutex():  # the background thread waits for us
        ring.encrypt(b"x", context={})
        clock.advance(20)
    _settle(store)
    assert ring._cache.live is None
    assert refusal(ring.encrypt, b"x", context={}) is not None
    storage.fail_at(None)
    clock.advance(2)
    ring.encrypt(b"x", context={})


def test_a_job_for_a_keyring_that_was_emptied_does_nothing() -> None:
    """A refresh in the background that finds nothing to refresh leaves it to the next call."""
    clock = FakeClock()
    events: list[Event] = []
    store = store_on(MemoryStorage(), clock=clock, on_event=events.append)
    ring = store.keyring(PATH, create=True)
    clock.advance(50)
    with ring._cache._mutex():
        ring.encrypt(b"x", context={})
        ring._cache.forget()
    _settle(store)
    assert EventKind.REFRESHED not in [event.kind for event in events]
    assert ring.decrypt(ring.encrypt(b"x", context={}), context={}) == b"x"
