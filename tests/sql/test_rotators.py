# SPDX-License-Identifier: Apache-2.0
"""Two processes that rotate one keyring while a third one reads; and one that is killed in the middle."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import Any

import pytest

from securekit.exceptions import ConflictError
from securekit.keyring import Keyring, KeyState
from tests.conftest import Count
from tests.keyring.parts import PATH, document
from tests.sql.conftest import Place

_fork = multiprocessing.get_context("fork")
ROTATIONS = 200


def _rotate(ring: Keyring) -> tuple[str, int]:
    """Rotate, as often as another writer comes in between; return the new key and how often that was."""
    conflicts = 0
    while True:
        try:
            return ring.rotate().id, conflicts
        except ConflictError:
            conflicts += 1


def _rotator(place: Place, pipe: Any) -> None:
    ring = place.store().keyring(PATH)
    pipe.send([_rotate(ring) for _ in range(ROTATIONS)])


def _reader(place: Place, tokens: list[bytes], stop: Any, pipe: Any) -> None:
    """Read the keyring anew without end: every old record opens, and one key is primary."""
    reads = 0
    while not stop.is_set():
        ring = place.store().keyring(PATH)
        assert {ring.decrypt(token, context={}) for token in tokens} == {b"x"}
        assert [key.state for key in ring.keys()].count(KeyState.PRIMARY) == 1
        tokens.append(ring.encrypt(b"x", context={}))
        reads += 1
        time.sleep(0.01)
    pipe.send((reads, tokens))


def test_two_rotators_lose_no_key(place: Place, count: Count) -> None:
    """Of 2 x 200 rotations every key is there, one is primary, and a reader throughout opens every record."""
    first = place.store().keyring(PATH, create=True)
    tokens, stop = [first.encrypt(b"x", context={})], _fork.Event()
    place.engine.dispose()
    pipes = [_fork.Pipe(duplex=False) for _ in range(3)]
    processes = [_fork.Process(target=_rotator, args=(place, sending)) for _, sending in pipes[:2]]
    processes.append(_fork.Process(target=_reader, args=(place, tokens, stop, pipes[2][1])))
    for process in processes:
        process.start()
    made = []
    for receiving, _ in pipes[:2]:
        assert receiving.poll(100)
        made += receiving.recv()
    stop.set()
    assert pipes[2][0].poll(30)
    reads, tokens = pipes[2][0].recv()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0

    ring = place.store().keyring(PATH)
    assert {key.id for key in ring.keys()[1:]} == {key_id for key_id, _ in made}
    assert len(ring.keys()) == 1 + 2 * ROTATIONS
    assert ring.revision == 1 + 2 * ROTATIONS
    assert [key.state for key in ring.keys()].count(KeyState.PRIMARY) == 1
    assert set(ring.decrypt_many([(token, {}) for token in tokens])) == {b"x"}
    count(f"rotations of two processes in {place.engine.dialect.name}", len(made))
    count(f"reads meanwhile in {place.engine.dialect.name}", reads)
    assert reads > 5


@pytest.mark.parametrize("when", range(3))
def test_a_killed_writer_blocks_nobody(place: Place, when: int, count: Count) -> None:
    """Whoever dies in the middle of a transaction holds nothing any more, and what it has not committed is not there."""
    ring = place.store().keyring(PATH, create=True)
    place.engine.dispose()

    def writer(pipe: Any) -> None:
        storage: Any = place.store()._storage

        def work(connection: Any) -> None:
            connection.execute(
                storage._statements.update, {"at": PATH, "expected": 1, "new_revision": 2, "new_document": document(revision=2)}
            )
            pipe.send("written")
            time.sleep(60)

        storage.database.write(work)

    receiving, sending = _fork.Pipe(duplex=False)
    process = _fork.Process(target=writer, args=(sending,))
    process.start()
    assert receiving.poll(30)
    receiving.recv()
    time.sleep(0.05 * when)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(30)

    begin = time.monotonic()
    new = ring.rotate().id
    assert time.monotonic() - begin < 10
    assert [key.id for key in place.store().keyring(PATH).keys()][1:] == [new]
    count("killed writers that block nobody", 1)
