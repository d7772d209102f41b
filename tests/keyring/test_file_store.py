# SPDX-License-Identifier: Apache-2.0
"""Keyrings as files: killed writers, full disks, two writers at once, and many readers. Nothing is ever lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from securekit.exceptions import ConflictError, DecryptionError, KeyNotFoundError, KeyStoreError, KeyStoreUnavailableError
from securekit.keyring import FileKeyStore, KeyState, KeyStore
from securekit.keyring._file import FileStorage
from securekit.wrappers import LocalWrapper
from tests.costs import untraced

KEK = bytes(range(32))
PATH = "eu/acme/invoices"
_fork = multiprocessing.get_context("fork")


def _open(root: Path) -> FileKeyStore:
    return FileKeyStore(root, wrapper=LocalWrapper(KEK))


def _document(root: Path) -> Path:
    return root / f"{PATH}@keyring.json"


def _left_over(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.name.endswith(".tmp"))


def test_names_do_not_collide(tmp_path: Path) -> None:
    """A keyring may lie below the path of another one, and prefixes match whole segments."""
    store = _open(tmp_path)
    for path in ("a/b", "a/b/c", "a/bc"):
        store.keyring(path, create=True)
    assert store.paths() == ["a/b", "a/b/c", "a/bc"]
    assert store.paths("a/b") == ["a/b", "a/b/c"]


def test_files_that_are_not_ours_are_not_listed(tmp_path: Path) -> None:
    """A name that no keyring can have is passed over, and does not pass for the folder that it lies in."""
    store = FileKeyStore(tmp_path, wrapper=LocalWrapper(bytes(32)))
    store.keyring("eu/acme/invoices", create=True)
    for name in ("@keyring.json", "eu/@keyring.json", "eu/Not A Segment@keyring.json", "eu/notes.txt"):
        (tmp_path / name).touch()

    assert store.paths() == ["eu/acme/invoices"]


def test_files_and_directories_are_private(tmp_path: Path) -> None:
    """Documents are of mode 0600, directories of mode 0700."""
    root = tmp_path / "keys"
    _open(root).keyring(PATH, create=True)
    assert _document(root).stat().st_mode & 0o777 == 0o600
    assert {directory.stat().st_mode & 0o777 for directory in (root, root / "eu", root / "eu" / "acme")} == {0o700}


def test_delete_leaves_nothing_but_the_mark(tmp_path: Path) -> None:
    """After the last keyring is deleted, no name of a tenant is left."""
    store = _open(tmp_path)
    store.keyring(PATH, create=True)
    assert store.delete(PATH).remaining == (f"local {LocalWrapper(KEK).key_ref}",)
    assert [path.name for path in tmp_path.rglob("*")] == ["@keystore"]
    with pytest.raises(KeyNotFoundError):
        store.delete(PATH)


def test_a_disk_that_is_not_mounted_is_not_an_empty_store(tmp_path: Path) -> None:
    """When the whole directory is gone, keys in memory serve on; a single missing document is a no."""
    root, away = tmp_path / "keys", tmp_path / "away"
    store = _open(root)
    ring = store.keyring(PATH, create=True)
    root.rename(away)
    with pytest.raises(KeyStoreUnavailableError, match="is the disk mounted"):
        ring.refresh()
    ring.encrypt(b"x", context={})


def test_a_missing_document_is_a_no(tmp_path: Path) -> None:
    """Where the directory is there and the document is not, the keyring is gone, and memory does not serve on."""
    ring = _open(tmp_path).keyring(PATH, create=True)
    _document(tmp_path).unlink()
    with pytest.raises(KeyNotFoundError, match="is gone"):
        ring.refresh()
    with pytest.raises(KeyNotFoundError):
        ring.encrypt(b"x", context={})


def test_a_store_that_cannot_be_listed_is_not_an_empty_one(tmp_path: Path) -> None:
    """Listing says what the operating system says; only a root that is not there yet holds no keyrings."""
    (tmp_path / "file").touch()

    with pytest.raises(KeyStoreError, match="cannot list"):
        _open(tmp_path / "file").paths()
    assert _open(tmp_path / "missing").paths() == []


def test_a_document_that_was_moved_is_not_believed(tmp_path: Path) -> None:
    """A keyring's file under the name of another path does not open."""
    store = _open(tmp_path)
    store.keyring("eu/acme/invoices", create=True)
    store.keyring("eu/globex/invoices", create=True)
    (tmp_path / "eu/acme/invoices@keyring.json").rename(tmp_path / "eu/globex/invoices@keyring.json")
    with pytest.raises(DecryptionError):
        _open(tmp_path).keyring("eu/globex/invoices")


_ROTATE_ONCE = """
import sys
from securekit.keyring import FileKeyStore
from securekit.wrappers import LocalWrapper
FileKeyStore(sys.argv[1], wrapper=LocalWrapper(bytes(range(32)))).keyring("eu/acme/invoices").rotate()
"""

_CHANGES = (
    "open,openat,creat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,"
    "unlink,unlinkat,link,linkat,ftruncate,flock,mkdir,mkdirat,close"
)


def _strace(inject: str, root: Path, *, log: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(log or "/dev/null"),
        *(["-e", f"inject={inject}"] if inject else []),
        "-e",
        f"trace={_CHANGES}",
    ]
    return subprocess.run([*command, sys.executable, "-B", "-c", _ROTATE_ONCE, str(root)], capture_output=True, text=True, check=False)


def _calls_on(root: Path, log: Path) -> dict[str, list[int]]:
    """Return, per system call, which of its occurrences concern the store: those after its lock was opened."""
    seen: dict[str, int] = {}
    found: dict[str, list[int]] = {}
    begun = False
    for line in log.read_text().splitlines():
        name = line.split(maxsplit=1)[1].split("(", 1)[0]
        if name not in _CHANGES.split(","):
            continue
        seen[name] = seen.get(name, 0) + 1
        begun = begun or "@keyring.lock" in line
        if begun:
            found.setdefault(name, []).append(seen[name])
        if begun and name == "close" and len(found.get("fsync", [])) >= 2 and str(root) not in line and len(found["close"]) > 6:
            break
    return found


@pytest.mark.repetitive
def test_a_writer_killed_at_any_system_call_loses_nothing(tmp_path: Path, count: Callable[[str, int], None]) -> None:
    """SIGKILL at every state-changing system call of a rotation: every key stays, a rerun completes, no file is left over."""
    root = tmp_path / "keys"
    ring = _open(root).keyring(PATH, create=True)
    token = ring.encrypt(b"kept", context={})
    assert _strace("", root, log=tmp_path / "log").returncode == 0
    points = [(name, number) for name, numbers in _calls_on(root, tmp_path / "log").items() for number in numbers]
    assert {"fsync", "renameat", "write", "flock"} <= {name for name, _ in points}
    killed = 0
    for name, number in points:
        before = {key.id for key in _open(root).keyring(PATH).keys()}
        result = _strace(f"{name}:signal=KILL:when={number}", root)
        killed += result.returncode != 0
        after = _open(root).keyring(PATH)
        assert before <= {key.id for key in after.keys()}
        assert after.decrypt(token, context={}) == b"kept"
        after.rotate()
        assert _left_over(root) == []
    assert killed >= len(points) - 2
    count("system calls of a rotation killed at", killed)


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EROFS", "EDQUOT"])
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "openat"])
@pytest.mark.parametrize("sticky", [False, True])
def test_a_failing_disk_keeps_the_old_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, call: str, *, sticky: bool
) -> None:
    """An error of the disk, once or for good, is our own error; the old document is intact, and a retry works."""
    root = tmp_path / "keys"
    store = _open(root)
    ring = store.keyring(PATH, create=True)
    before = _document(root).read_bytes()
    code = getattr(errno, fault)
    failures = 0

    def failing(real: object) -> object:
        def run(*args: object, **kwargs: object) -> object:
            nonlocal failures
            concerned = call != "openat" or ".tmp" in str(args[0])
            if concerned and (sticky or not failures):
                failures += 1
                raise OSError(code, os.strerror(code))
            return real(*args, **kwargs)  # type: ignore[operator]

        return run

    target = {"write": (os, "write"), "fsync": (os, "fsync"), "rename": (os, "rename"), "openat": (os, "open")}[call]
    with monkeypatch.context() as faulty:
        faulty.setattr(target[0], target[1], failing(getattr(target[0], target[1])))
        with pytest.raises(KeyStoreError):
            ring.rotate()
    assert failures
    if call != "fsync":  # the directory's fsync fails after the rename: then the new document stands
        assert _document(root).read_bytes() == before
    assert _left_over(root) == []
    ring.rotate()
    assert _open(root).keyring(PATH).decrypt(ring.encrypt(b"x", context={}), context={}) == b"x"


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes seven bytes at a time gets the whole document."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:7])))
    ring = _open(tmp_path).keyring(PATH, create=True)
    assert _open(tmp_path).keyring(PATH).id == ring.id


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a tmpfs of 64 KiB that is full, a rotation fails cleanly; when there is room again it works."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        ring = _open(disk / "keys").keyring(PATH, create=True)
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(KeyStoreUnavailableError, match="No space"):
            ring.rotate()
        assert _left_over(disk) == []
        ring.encrypt(b"x", context={})
        filler.unlink()
        assert ring.rotate().state is KeyState.PRIMARY
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _rotate_many(root: Path, count: int) -> None:
    ring = _open(root).keyring(PATH)
    with untraced():
        for _ in range(count):
            ring.rotate()


@pytest.mark.repetitive
def test_two_rotators_lose_nothing(tmp_path: Path) -> None:
    """Two processes that rotate 200 times each, with a reader throughout: 401 keys, exactly one primary."""
    reader = _open(tmp_path).keyring(PATH, create=True)
    token = reader.encrypt(b"x", context={})
    writers = [_fork.Process(target=_rotate_many, args=(tmp_path, 200)) for _ in range(2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        assert _open(tmp_path).keyring(PATH).decrypt(token, context={}) == b"x"
        reads += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    keys = _open(tmp_path).keyring(PATH).keys()
    assert len({key.id for key in keys}) == 401
    assert sum(key.state is KeyState.PRIMARY for key in keys) == 1
    assert reads


def test_threads_that_rotate_at_once_lose_nothing(tmp_path: Path) -> None:
    """Four threads with a store each, and four that share one, rotate at once."""
    shared = _open(tmp_path)
    shared.keyring(PATH, create=True)
    rings = [_open(tmp_path).keyring(PATH) for _ in range(4)] + [shared.keyring(PATH)] * 4
    threads = [threading.Thread(target=lambda ring=ring: [ring.rotate() for _ in range(10)]) for ring in rings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_open(tmp_path).keyring(PATH).keys()) == 81


def test_creation_races_give_one_keyring(tmp_path: Path) -> None:
    """Eight stores that create the same keyring at once all get the same one."""
    barrier = threading.Barrier(8)
    ids: list[str] = []

    def create() -> None:
        store = _open(tmp_path)
        barrier.wait()
        ids.append(store.keyring(PATH, create=True).id)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_the_lock_of_a_dead_holder_is_free(tmp_path: Path) -> None:
    """A process killed while it holds the lock does not stop others."""
    ring = _open(tmp_path).keyring(PATH, create=True)
    holding, hold = _fork.Pipe()

    def die_holding() -> None:
        with _open(tmp_path)._storage.lock(PATH):
            hold.send(b"locked")
            time.sleep(60)

    holder = _fork.Process(target=die_holding)
    holder.start()
    assert holding.recv() == b"locked"
    holder.kill()
    holder.join()
    begin = time.monotonic()
    ring.rotate()
    assert time.monotonic() - begin < 5


def test_a_lock_that_is_held_for_too_long_is_an_error(tmp_path: Path) -> None:
    """A writer does not wait for ever: it says which file is locked, and how to find out by whom."""
    _open(tmp_path).keyring(PATH, create=True)
    impatient = KeyStore(FileStorage(tmp_path, lock_timeout=0.05), wrapper=LocalWrapper(KEK)).keyring(PATH)
    descriptors = _descriptors()
    with _open(tmp_path)._storage.lock(PATH):
        with pytest.raises(KeyStoreUnavailableError, match="is locked by another process for more than 0 seconds; find it with: fuser"):
            impatient.rotate()
        assert len(_descriptors()) == len(descriptors) + 1
    impatient.rotate()
    assert _descriptors() == descriptors


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_lock_that_went_with_its_keyring_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_anew: bool) -> None:
    """Who opened the lock file of a keyring that is then deleted takes the file that everybody else will take."""
    store = _open(tmp_path)
    store.keyring(PATH, create=True)
    lock = tmp_path / f"{PATH}@keyring.lock"
    real, deletions = fcntl.flock, [lock]

    def delete_first(descriptor: int, operation: int) -> None:
        for name in deletions:
            name.unlink()
            if made_anew:
                name.touch(mode=0o600)
        deletions.clear()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    with store._storage.lock(PATH), pytest.raises(KeyStoreUnavailableError), FileStorage(tmp_path, lock_timeout=0).lock(PATH):
        pass
    assert not deletions


def test_a_lock_that_cannot_be_taken_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file system refuses to lock, nothing stays open."""
    ring = _open(tmp_path).keyring(PATH, create=True)
    descriptors = _descriptors()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as faulty:
        faulty.setattr(fcntl, "flock", refuse)
        with pytest.raises(KeyStoreUnavailableError, match="cannot lock"):
            ring.rotate()
    assert _descriptors() == descriptors
    ring.rotate()


def _descriptors() -> list[Path]:
    return sorted(Path("/dev/fd").iterdir())


def test_a_child_forked_in_the_middle_of_a_write_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A worker that was forked while another thread held the lock, and lives on, stops no writer."""
    ring = _open(tmp_path).keyring(PATH, create=True)
    with _open(tmp_path)._storage.lock(PATH):
        child = _fork.Process(target=time.sleep, args=(60,))
        child.start()
    begin = time.monotonic()
    ring.rotate()
    child.kill()
    child.join()
    assert time.monotonic() - begin < 5


def test_compare_and_swap_refuses_a_stale_writer(tmp_path: Path) -> None:
    """A writer that expects another revision gets ConflictError, and nothing is written."""
    store = _open(tmp_path)
    store.keyring(PATH, create=True).rotate()
    before = _document(tmp_path).read_bytes()
    with pytest.raises(ConflictError, match="at revision 2 and not at revision 1"):
        store._storage.write(PATH, before, expected=1)
    assert _document(tmp_path).read_bytes() == before


def test_prefork_workers_repeat_no_nonce(tmp_path: Path) -> None:
    """Four children forked from a warm parent encrypt 100,000 values: no nonce repeats, no head is shared, all open."""
    ring = _open(tmp_path).keyring(PATH, create=True)
    warm = ring.encrypt(b"warm", context={})

    def work(pipe: object) -> None:
        pipe.send([ring.encrypt(b"v", context={}) for _ in range(25_000)])  # type: ignore[attr-defined]

    pipes = [_fork.Pipe(duplex=False) for _ in range(4)]
    children = [_fork.Process(target=work, args=(sending,)) for _, sending in pipes]
    for child in children:
        child.start()
    batches = [receiving.recv() for receiving, _ in pipes]
    for child in children:
        child.join()
    tokens = [token for batch in batches for token in batch]
    assert len({token[5:29] for token in tokens}) == 100_000
    heads = [{token[5:17] for token in batch} for batch in batches]
    assert sum(len(head) for head in heads) == len(set().union(*heads))
    assert warm[5:17] not in set().union(*heads)
    assert ring.decrypt_many([(token, {}) for token in tokens]) == [b"v"] * 100_000


def test_a_fork_in_the_middle_of_a_refresh_does_not_hang(tmp_path: Path) -> None:
    """A child forked while another thread holds the keyring's locks can encrypt, rotate and load."""
    store = _open(tmp_path)
    ring = store.keyring(PATH, create=True)

    def child_works() -> None:
        ring.encrypt(b"x", context={})
        ring.refresh()
        ring.rotate()
        store.keyring("eu/globex/invoices", create=True)

    with ring._cache._mutex():
        child = _fork.Process(target=child_works)
        child.start()
        child.join(20)
    assert child.exitcode == 0
