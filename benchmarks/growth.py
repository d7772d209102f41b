# SPDX-License-Identifier: Apache-2.0
"""Growth: ten times the records, keyrings or key versions take at most 10.5 times the time, and no more memory for each."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.ratio import Ratio, compare, show
from securekit import FileKeyStore, LocalWrapper, MemoryKeyStore

TIME_GOAL = 10.5
MEMORY_GOAL = 1.05  # of the bytes per item: "no more", within the rounding of the allocator
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where a sync costs nothing, so that the disk's noise is not measured


def measure() -> Iterator[Ratio]:
    """Yield two ratios per subject: time, and memory for one item at the peak."""
    yield from records()
    with TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        yield from keyrings(Path(folder))
        yield from versions(Path(folder))


def records() -> Iterator[Ratio]:
    """Measure `encrypt_many` and `decrypt_many` over 10,000 and 1,000 records, and how a bare loop's time grows here.

    The fields are 64 bytes long. Ten thousand records of 1 KiB would be 11 MB of fresh memory, more than the caches of the
    processor hold, and a bare loop over them takes 11 to 14 times as long as over a thousand.
    """
    ring = MemoryKeyStore(wrapper=_wrapper()).keyring("eu/acme/invoices", create=True)
    items = [(bytes(64), {"table": "invoice", "id": str(row)}) for row in range(10_000)]
    records = [(record, context) for record, (_, context) in zip(ring.encrypt_many(items), items, strict=True)]

    def encrypt(count: int) -> None:
        assert len(ring.encrypt_many(items[:count])) == count

    def decrypt(count: int) -> None:
        assert len(ring.decrypt_many(records[:count])) == count

    def bare(count: int) -> None:
        assert len([gcm.encrypt(os.urandom(12), data, None) for data, _ in items[:count]]) == count

    gcm = AESGCM(os.urandom(32))
    large, small = partial(bare, 10_000), partial(bare, 1_000)
    yield compare(large, small, name="bare AES-GCM in a loop, 10,000 and 1,000 messages: time", goal=None, rounds=31, number=5)
    yield from _grow("`encrypt_many`, 10,000 and 1,000 records", encrypt, 1_000, number=5)
    yield from _grow("`decrypt_many`, 10,000 and 1,000 records", decrypt, 1_000, number=5)


def keyrings(folder: Path) -> Iterator[Ratio]:
    """Measure `paths` and `rewrap` over 1,000 and 100 keyrings in files, and how the time of walking the folders grows."""
    stores = {count: FileKeyStore(folder / str(count), wrapper=_wrapper()) for count in (100, 1_000)}
    for count, store in stores.items():
        for number in range(count):
            store.keyring(f"eu/tenant-{number}/invoices", create=True)

    def paths(count: int) -> None:
        assert len(stores[count].paths()) == count

    def rewrap(count: int) -> None:
        # A new object each time, which does not remember every KEK that it has ever seen.
        new = _wrapper()
        assert len(stores[count].rewrap(new)) == count
        stores[count] = FileKeyStore(folder / str(count), wrapper=new)

    def walk(count: int) -> None:
        assert sum(len(files) for _, _, files in os.walk(folder / str(count))) > count

    large, small = partial(walk, 1_000), partial(walk, 100)
    yield compare(large, small, name="bare `os.walk`, 1,000 and 100 keyrings: time", goal=None, rounds=31, number=5)
    yield from _grow("`FileKeyStore.paths`, 1,000 and 100 keyrings", paths, 100, number=5)
    yield from _grow("`FileKeyStore.rewrap`, 1,000 and 100 keyrings", rewrap, 100, number=1)


def versions(folder: Path) -> Iterator[Ratio]:
    """Measure opening a keyring and decrypting its oldest record, with 200 and 20 key versions."""
    wrapper = _wrapper()
    samples: dict[int, bytes] = {}
    for count in (20, 200):
        ring = FileKeyStore(folder, wrapper=wrapper).keyring(f"eu/versions/{count}", create=True)
        samples[count] = ring.encrypt(b"first", context={})
        for _ in range(count - 1):
            ring.rotate()

    def cold(count: int) -> None:
        assert FileKeyStore(folder, wrapper=wrapper).keyring(f"eu/versions/{count}").decrypt(samples[count], context={}) == b"first"

    yield from _grow("cold keyring and first decrypt, 200 and 20 key versions", cold, 20, number=10)


def _grow(name: str, work: Callable[[int], None], small: int, *, number: int) -> Iterator[Ratio]:
    """Compare ``work`` on ten times ``small`` items with ``work`` on ``small`` items."""
    large = 10 * small
    yield compare(partial(work, large), partial(work, small), name=f"{name}: time", goal=TIME_GOAL, rounds=31, number=number)
    yield Ratio(f"{name}: memory for one", _peak(work, large) / large, _peak(work, small) / small, MEMORY_GOAL, unit="bytes")


def _peak(work: Callable[[int], None], count: int) -> int:
    """Return by how many bytes the memory of Python objects grew while ``work`` ran."""
    work(count)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    work(count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def _wrapper() -> LocalWrapper:
    return LocalWrapper(os.urandom(32))


if __name__ == "__main__":
    show(*measure())
