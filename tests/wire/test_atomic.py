# SPDX-License-Identifier: Apache-2.0
"""A file is either the old bytes or the new ones: under kills, failing disks and other writers."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from securekit._wire import atomic
from securekit._wire.atomic import atomic_writer, sync_directory, write_atomic, write_new
from securekit.exceptions import ConflictError
from tests.conftest import Count

OLD, NEW = b"old" * 5000, b"new" * 7000
_fork = multiprocessing.get_context("fork")


@pytest.fixture(params=["unnamed", "named"])
def write_new_either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with files that have no name until they are complete, and as on a system that lacks them."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE")


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """The new bytes stand under the name, and nothing stands beside it."""
    target = tmp_path / "file"
    for data in (OLD, NEW, b""):
        write_atomic(target, data)
        assert target.read_bytes() == data
    assert _names(tmp_path) == ["file"]


@pytest.mark.usefixtures("write_new_either_way")
def test_a_file_is_made(tmp_path: Path) -> None:
    """The bytes stand under the name, which has no second one."""
    write_new(tmp_path / "file", NEW)

    assert (tmp_path / "file").read_bytes() == NEW
    assert (tmp_path / "file").stat().st_nlink == 1
    assert _names(tmp_path) == ["file"]


@pytest.mark.usefixtures("write_new_either_way")
@pytest.mark.parametrize("write", [write_atomic, write_new])
@pytest.mark.parametrize(("umask", "given", "mode"), [(0, None, 0o600), (0o022, 0o666, 0o644), (0o077, 0o644, 0o600)])
def test_modes(tmp_path: Path, write: Callable[..., None], umask: int, given: int | None, mode: int) -> None:
    """Without being told otherwise a file is closed to others, whatever the umask."""
    before = os.umask(umask)
    try:
        write(tmp_path / "file", NEW, **({} if given is None else {"mode": given}))
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_mode_and_owner_are_kept_where_that_is_asked_for(tmp_path: Path, mode: int) -> None:
    """Whatever the umask, and if root writes a file of somebody else, who has to read it afterwards as before."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    owner = (65534, 65534) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(path, *owner)
    path.chmod(mode)

    before = os.umask(0o077)
    try:
        write_atomic(path, NEW, expected=OLD, keep=path.stat())
    finally:
        os.umask(before)

    found = path.stat()
    assert (path.read_bytes(), stat.S_IMODE(found.st_mode)) == (NEW, mode)
    assert (found.st_uid, found.st_gid) == owner


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_a_relative_name_means_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None]) -> None:
    """A bare name is a name in the directory where the process is."""
    monkeypatch.chdir(tmp_path)
    write("file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.usefixtures("write_new_either_way")
@pytest.mark.parametrize("there", ["file", "directory", "link", "dangling link"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, there: str) -> None:
    """Whatever has the name keeps it, and a link is not followed to another file."""
    target, other = tmp_path / "target", tmp_path / "other"
    if there == "file":
        target.write_bytes(OLD)
    elif there == "directory":
        target.mkdir()
    else:
        target.symlink_to(other)
    if there == "link":
        other.write_bytes(OLD)
    before = _names(tmp_path)

    with pytest.raises(FileExistsError):
        write_new(target, NEW)

    assert _names(tmp_path) == before
    assert not target.is_file() or target.read_bytes() == OLD


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """A link in place of the target leads nobody's writes to another file."""
    (tmp_path / "other").write_bytes(OLD)
    (tmp_path / "target").symlink_to("other")

    write_atomic(tmp_path / "target", NEW)

    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "other").read_bytes() == OLD


# ------------------------------------------------------------------------------------------------ what is expected


def test_a_file_that_is_as_expected_is_replaced(tmp_path: Path) -> None:
    """Its bytes are the ones that its editor has read, even none."""
    target = tmp_path / "file"
    target.write_bytes(b"")
    for before, after in ((b"", OLD), (OLD, NEW), (NEW, b"")):
        write_atomic(target, after, expected=before)
        assert target.read_bytes() == after
    assert _names(tmp_path) == ["file"]


@pytest.mark.parametrize("there", [None, NEW, OLD + b"x", OLD[:-1], b""])
def test_a_file_that_somebody_changed_is_left(tmp_path: Path, there: bytes | None) -> None:
    """Changed, longer, shorter, empty or gone: nothing is written, nothing is left beside it, and the message says what to do."""
    target = tmp_path / "file"
    if there is not None:
        target.write_bytes(there)

    with pytest.raises(ConflictError) as caught:
        write_atomic(target, b"mine", expected=OLD)

    assert str(caught.value) == f"{target} was changed by somebody else meanwhile; nothing was written: run the command again"
    assert _names(tmp_path) == ([] if there is None else ["file"])
    assert there is None or target.read_bytes() == there


@pytest.mark.parametrize("kind", ["link", "dangling link"])
def test_a_link_is_no_expected_file(tmp_path: Path, kind: str) -> None:
    """Neither the link nor the file behind it is replaced; the error names that file."""
    (tmp_path / "d").mkdir()
    real, link = tmp_path / "d" / "real", tmp_path / "link"
    if kind == "link":
        real.write_bytes(OLD)
    link.symlink_to("d/real")

    with pytest.raises(OSError, match=f"name the file itself: {re.escape(str(real))}") as caught:
        write_atomic(link, NEW, expected=OLD)

    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(link))
    assert link.is_symlink()
    assert kind != "link" or real.read_bytes() == OLD
    assert _names(tmp_path) == ["d", "link"]


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_file_is_not_expected(tmp_path: Path, kind: str) -> None:
    """A pipe does not block, and neither it nor a directory is replaced."""
    target = tmp_path / "target"
    if kind == "fifo":
        os.mkfifo(target)
    else:
        target.mkdir()

    with pytest.raises((ConflictError, IsADirectoryError)):
        write_atomic(target, NEW, expected=OLD)

    assert _names(tmp_path) == ["target"]
    assert not target.is_file()


def test_of_two_editors_at_once_one_writes(tmp_path: Path, count: Count) -> None:
    """Of many writers that have read the same bytes, exactly one replaces them; the others are told."""
    target = tmp_path / "file"
    for _ in range(25):
        target.write_bytes(OLD)
        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(partial(_write_expected, target), range(4)))
        assert sorted(outcome for outcome in outcomes if outcome is not None) == [int(target.read_bytes())]
    count("races of editors with one winner", 25)


def _write_expected(target: Path, number: int) -> int | None:
    try:
        write_atomic(target, str(number).encode(), expected=OLD)
    except ConflictError:
        return None
    return number


@pytest.mark.parametrize("write", [write_atomic, write_new])
@pytest.mark.parametrize("left", ["file", "link"])
def test_what_a_killed_writer_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None], left: str
) -> None:
    """A temporary file of an earlier run is neither used nor followed, and is gone after the next run."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    (tmp_path / "bystander").write_bytes(OLD)
    if left == "link":
        (tmp_path / ".file.tmp").symlink_to("bystander")
    else:
        (tmp_path / ".file.tmp").write_bytes(b"half")

    write(tmp_path / "file", NEW)

    assert _names(tmp_path) == ["bystander", "file"]
    assert (tmp_path / "bystander").read_bytes() == OLD


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_a_missing_directory_is_an_error(tmp_path: Path, write: Callable[..., None]) -> None:
    """No directory is made on the way."""
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "missing" / "file", NEW)


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    """A directory under the name stays, and no temporary file is left."""
    (tmp_path / "target" / "content").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "target", NEW)
    assert _names(tmp_path) == ["target"]


def test_sync_directory_takes_directories_alone(tmp_path: Path) -> None:
    """A file in place of the directory is an error."""
    sync_directory(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")


# ------------------------------------------------------------------------------------------------ faults of the disk

WRITERS: dict[str, tuple[Callable[..., None], list[str]]] = {
    "write_atomic": (write_atomic, ["flock", "open", "write", "fsync", "rename", "close"]),
    "write_new": (write_new, ["open", "write", "fsync", "link", "close"]),
    "write_new, named": (write_new, ["flock", "open", "write", "fsync", "link", "close"]),
}


@contextlib.contextmanager
def _failing(monkeypatch: pytest.MonkeyPatch, call: str, code: int, *, sticky: bool) -> Iterator[list[int]]:
    """Let the operating system refuse ``call``, the first time or always, and count the refusals."""
    module = fcntl if call == "flock" else os
    real, failures = getattr(module, call), [0]

    def run(*args: object, **kwargs: object) -> object:
        concerned = call != "open" or kwargs.get("dir_fd") is not None  # not the opening of the directory itself
        if concerned and (sticky or not failures[0]):
            failures[0] += 1
            if call == "close":
                real(*args)  # as Linux does: the descriptor is gone even then
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    with monkeypatch.context() as faulty:
        faulty.setattr(module, call, run)
        yield failures


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EROFS", "EDQUOT"])
@pytest.mark.parametrize(("writer", "call"), [(writer, call) for writer, (_, calls) in WRITERS.items() for call in calls])
def test_a_failing_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count, *, writer: str, call: str, fault: str, sticky: bool
) -> None:
    """An error at any call is raised as it is; no half file and no temporary file is left, and a retry works."""
    write = WRITERS[writer][0]
    if writer.endswith("named"):
        monkeypatch.delattr(os, "O_TMPFILE")
    target = tmp_path / "file"
    if write is write_atomic:
        target.write_bytes(OLD)
    before = _names(tmp_path)

    code = getattr(errno, fault)
    with _failing(monkeypatch, call, code, sticky=sticky) as failures, pytest.raises(OSError, match=os.strerror(code)):
        write(target, NEW)

    assert failures[0]
    finished = write is write_new and call == "close" and not writer.endswith("named")  # the link was made before
    assert _names(tmp_path) == (["file"] if finished else before)
    assert not target.exists() or target.read_bytes() == (NEW if finished else OLD)
    target.unlink(missing_ok=write is write_new)
    write(target, NEW)
    assert target.read_bytes() == NEW
    count("failing calls survived", failures[0])


@pytest.mark.usefixtures("write_new_either_way")
@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None]) -> None:
    """A kernel that takes seven bytes at a time gets them all."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:7])))
    write(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_the_first_error_is_the_one_that_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the temporary file cannot even be removed, the error says why it could not be written; the next writer removes it."""
    real, failed = os.unlink, []

    def write(*_: object) -> int:
        failed.append(True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def unlink(name: str, *, dir_fd: int) -> None:
        if failed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(name, dir_fd=dir_fd)

    with monkeypatch.context() as faulty:
        faulty.setattr(os, "write", write)
        faulty.setattr(os, "unlink", unlink)
        with pytest.raises(OSError, match="No space"):
            write_atomic(tmp_path / "file", NEW)

    assert _names(tmp_path) == [".file.tmp"]
    write_atomic(tmp_path / "file", NEW)
    assert _names(tmp_path) == ["file"]


@pytest.mark.parametrize("put", [Path.hardlink_to, Path.symlink_to])
def test_what_somebody_puts_in_place_of_the_temporary_file_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path, Path], None]
) -> None:
    """In a directory that others can write to, neither a file nor a link of theirs receives the bytes."""
    real, place, theirs = os.unlink, tmp_path / ".file.tmp", tmp_path / "theirs"
    theirs.write_bytes(OLD)

    def unlink(name: str, *, dir_fd: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            real(name, dir_fd=dir_fd)
        put(place, theirs)

    with monkeypatch.context() as racing:
        racing.setattr(os, "unlink", unlink)
        with pytest.raises(FileExistsError):
            write_atomic(tmp_path / "file", NEW)
    place.unlink()

    assert _names(tmp_path) == ["theirs"]
    assert theirs.read_bytes() == OLD


@pytest.mark.parametrize("missing", ["EOPNOTSUPP", "EISDIR", "ENOENT"])
@pytest.mark.parametrize("call", ["open", "link"])
def test_a_file_system_without_unnamed_files_gets_a_named_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, missing: str
) -> None:
    """Where O_TMPFILE or /proc is not to be had, the file is made all the same."""
    with _failing(monkeypatch, call, getattr(errno, missing), sticky=False) as failures:
        write_new(tmp_path / "file", NEW)

    assert failures == [1]
    assert _names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a tmpfs of 64 KiB, what does not fit leaves the old file and no other."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=True)
    try:
        write_atomic(tmp_path / "file", bytes(40_000))
        for write, name in ((write_atomic, "file"), (write_new, "new")):
            with pytest.raises(OSError, match="No space"):
                write(tmp_path / name, bytes(40_000))
            assert _names(tmp_path) == ["file"]
        write_new(tmp_path / "new", bytes(10_000))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# ------------------------------------------------------------------------------------------------ other writers


def _write_many(target: Path, letter: bytes) -> None:
    for number in range(500):
        write_atomic(target, letter * (1000 + number))


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two processes write one file 500 times each, without a lock of their own: no write fails, no reader sees a mixture."""
    target = tmp_path / "file"
    write_atomic(target, b"x" * 1000)
    writers = [_fork.Process(target=_write_many, args=(target, letter)) for letter in (b"x", b"y")]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        assert re.fullmatch(rb"x{1000,}|y{1000,}", target.read_bytes())
        reads += 1

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(target.read_bytes()) == 1499
    assert reads > 100
    assert _names(tmp_path) == ["file"]


@pytest.mark.usefixtures("write_new_either_way")
def test_one_of_many_makes_the_file(tmp_path: Path) -> None:
    """Of eight processes that make the same file at once, one does, and the others hear that it is there."""

    def make(number: int) -> None:
        try:
            write_new(tmp_path / "file", bytes([number]) * 1000)
        except FileExistsError:
            sys.exit(17)

    makers = [_fork.Process(target=make, args=(number,)) for number in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert sorted(maker.exitcode or 0 for maker in makers) == [0] + [17] * 7
    winner = next(number for number, maker in enumerate(makers) if maker.exitcode == 0)
    assert (tmp_path / "file").read_bytes() == bytes([winner]) * 1000
    assert _names(tmp_path) == ["file"]


def test_a_writer_waits_for_its_turn_and_says_when_it_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that somebody keeps locked is an error that names it, after 30 seconds; then nothing was written."""
    clock = iter(range(0, 100, 10))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match=f"locked by another process: '{tmp_path}'"):
            write_atomic(tmp_path / "file", NEW)
    finally:
        os.close(descriptor)
    assert next(clock) == 40
    assert _names(tmp_path) == []


def test_a_child_forked_in_the_middle_of_a_write_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A child that was forked while the lock was held, and lives on, stops nobody."""
    with atomic._opened(tmp_path, atomic._DIRECTORY) as directory, atomic.locked(directory, tmp_path):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with atomic._opened(tmp_path, atomic._DIRECTORY) as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


# ------------------------------------------------------------------------------------------------ kills

_CALLS = "open,openat,write,fsync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,flock,close,rmdir"
_SCRIPT = """
import contextlib, os, sys
from securekit._wire import atomic
if sys.argv[2] == "named":
    del os.O_TMPFILE
write = atomic.write_atomic if sys.argv[1] == "write_atomic" else atomic.write_new
with contextlib.suppress(OSError):
    os.rmdir("/begin")
with contextlib.suppress(FileExistsError):
    write(sys.argv[3], b"new" * 7000)
with contextlib.suppress(OSError):
    os.rmdir("/end")
"""


def _trace(arguments: list[str], *, inject: str = "", log: str = "/dev/null") -> int:
    command = ["strace", "-qq", "-o", log, *(["-e", f"inject={inject}"] if inject else []), "-e", f"trace={_CALLS}"]
    return subprocess.run([*command, sys.executable, "-B", "-c", _SCRIPT, *arguments], check=False).returncode


def _calls_between_the_marks(log: Path) -> list[tuple[str, int]]:
    """Return each call of the write as its name, and how many calls of that name the process had made by then."""
    seen: dict[str, int] = {}
    calls, begun = [], False
    for line in log.read_text().splitlines():
        name = line.split("(", 1)[0]
        seen[name] = seen.get(name, 0) + 1
        if name == "rmdir":
            begun = "/begin" in line
        elif begun:
            calls.append((name, seen[name]))
    return calls


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_killed_at_any_system_call_leaves_the_old_or_the_new(tmp_path: Path, count: Count, writer: str) -> None:
    """SIGKILL at every system call: the target is whole, a reader sees no third state, and a rerun leaves no other file."""
    function, _, named = writer.partition(", ")
    old = OLD if function == "write_atomic" else None
    directory = tmp_path / "directory"
    target = directory / "file"
    arguments = [function, named or "unnamed", str(target)]

    def prepare() -> None:
        directory.mkdir(exist_ok=True)
        if old is None:
            target.unlink(missing_ok=True)
        else:
            target.write_bytes(old)

    prepare()
    assert _trace(arguments, log=str(tmp_path / "log")) == 0
    calls = _calls_between_the_marks(tmp_path / "log")
    steps = ["write", "fsync", "renameat" if old else "linkat", "fsync"]  # bytes are durable before they have a name
    assert [name for name, _ in calls if name in steps] == steps

    for name, number in calls:
        prepare()
        assert _trace(arguments, inject=f"{name}:signal=KILL:when={number}") != 0
        found = target.read_bytes() if target.exists() else None
        assert found in {old, NEW}
        if writer == "write_new":
            assert _names(directory) in ([], ["file"])  # no name but the target's at any time
        assert _trace(arguments) == 0
        assert target.read_bytes() == NEW
        assert _names(directory) == ["file"]
        assert target.stat().st_nlink == 1
    count("system calls of a file write killed at", len(calls))


# ------------------------------------------------------------------------------------------------ a file that is written bit by bit


@pytest.fixture(params=["unnamed", "named"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With O_TMPFILE, and where the system has none."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE")
    return str(request.param)


def test_a_file_written_bit_by_bit_appears_when_it_is_complete(tmp_path: Path, either_way: str) -> None:
    """Until the block ends the old file stands, and afterwards nothing but the new one, of mode 0600."""
    target = tmp_path / "file"
    target.write_bytes(OLD)
    with atomic_writer(target) as file:
        file.write(NEW[:3])
        file.flush()
        assert target.read_bytes() == OLD
        assert _names(tmp_path) == ["file"] or either_way == "named"
        file.write(NEW[3:])
    assert target.read_bytes() == NEW
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert _names(tmp_path) == ["file"]


@pytest.mark.usefixtures("either_way")
def test_an_exception_while_a_file_is_written_changes_nothing(tmp_path: Path) -> None:
    """The old file stands, and nothing is left beside it."""
    target = tmp_path / "file"
    target.write_bytes(OLD)

    def write() -> None:
        with atomic_writer(target) as file:
            file.write(NEW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert target.read_bytes() == OLD
    assert _names(tmp_path) == ["file"]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("call", ["open", "fsync", "link", "rename"])
def test_a_failing_disk_while_a_file_is_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The error is the system's, the old file stands, nothing is left beside it, and a retry works."""
    target = tmp_path / "file"
    target.write_bytes(OLD)
    with _failing(monkeypatch, call, errno.ENOSPC, sticky=False), pytest.raises(OSError, match="No space"), atomic_writer(target) as file:
        file.write(NEW)
    assert target.read_bytes() == OLD
    assert _names(tmp_path) == ["file"]
    with atomic_writer(target) as file:
        file.write(NEW)
    assert target.read_bytes() == NEW
