# SPDX-License-Identifier: Apache-2.0
"""Files that are either the old bytes or the new ones, whatever happens in between, and that others cannot read.

RULES of this file:

1. Every name is looked up in the one directory whose descriptor is open, and writers to it take turns: they hold
   ``flock`` on that descriptor, which the kernel frees when its holder dies.
2. So a temporary file may have a fixed name, by which the next writer removes what a killed one left behind.
3. A new file has no name at all until it is complete, where the system can make such files (Linux, most file systems).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import BinaryIO

from securekit.exceptions import ConflictError

__all__ = ["atomic_writer", "locked", "sync_directory", "write_atomic", "write_new"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT}  # no O_TMPFILE here, or no /proc
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LOCK_TIMEOUT = 30.0  # seconds
_POLL = 0.01  # seconds


def write_atomic(
    path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600, expected: bytes | None = None, keep: os.stat_result | None = None
) -> None:
    """Replace the file at ``path``, and return once that is durable.

    Args:
        path: The file; a symbolic link there is replaced, and not written through.
        data: What it holds from now on.
        mode: What the new file's mode is, less the umask.
        expected: What it holds now, as its editor has read it. Then a symbolic link is refused.
        keep: Whose mode, owner and group the new file has, as far as this process may give it away.

    Raises:
        securekit.exceptions.ConflictError: The file is gone, or holds something else than ``expected``; nothing was written.
        OSError: As the operating system says; the old file is intact, and no temporary file is left. If only the last
            step fails, the ``fsync`` of the directory, the new file stands.
    """
    target = Path(path)
    with _opened(target.parent, _DIRECTORY) as directory:
        with locked(directory, target.parent), _temporary(directory, target.name, data, mode, keep) as temporary:
            if expected is not None:
                _check_unchanged(directory, target, expected)
            os.rename(temporary, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


@contextmanager
def atomic_writer(
    path: str | os.PathLike[str], *, mode: int = 0o600, buffering: int = -1, check: Callable[[], object] = lambda: None
) -> Iterator[BinaryIO]:
    """Give a binary file that replaces the one at ``path`` when the block ends, durably; after an exception nothing changes.

    However long the writing takes, the file has no name until it is complete, and no lock is held.

    Args:
        path: The file.
        mode: What the new file's mode is, less the umask.
        buffering: As for `open`.
        check: Called when all is written, while no other writer of this kind can come in between; what it raises ends it.

    Raises:
        OSError: As the operating system says; the old file is intact.
    """
    target = Path(path)
    with _opened(target.parent, _DIRECTORY) as directory:
        with _unnamed(directory, target.name, mode, buffering) as (file, source):
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary = f".{target.name}.tmp"
            with locked(directory, target.parent):
                check()
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
                try:
                    os.link(source(file.fileno()), temporary, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)
                    os.rename(temporary, target.name, src_dir_fd=directory, dst_dir_fd=directory)
                except BaseException:
                    with suppress(OSError):  # it was not made, or the next writer removes it
                        os.unlink(temporary, dir_fd=directory)
                    raise
        os.fsync(directory)


def write_new(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600) -> None:
    """Make a file that is not there yet, complete from its first moment on, and return once that is durable.

    Raises:
        FileExistsError: Something is at ``path`` already; it is untouched.
        OSError: As the operating system says; no file is left.
    """
    target = Path(path)
    with _opened(target.parent, _DIRECTORY) as directory:
        if not _link_unnamed(directory, target.name, data, mode):
            with locked(directory, target.parent), _temporary(directory, target.name, data, mode) as temporary:
                # Unlike a rename, a link never replaces what is there.
                os.link(temporary, target.name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        os.fsync(directory)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable.

    Raises:
        OSError: As the operating system says.
    """
    with _opened(directory, _DIRECTORY) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(path: str | Path, flags: int, mode: int = 0, *, directory: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, mode, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked(descriptor: int, name: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold ``flock`` on ``descriptor``, which is open for ``name``: alone, or with others who only read.

    Raises:
        BlockingIOError: Another process holds it for longer than 30 seconds.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise BlockingIOError(errno.EWOULDBLOCK, "locked by another process", str(name)) from None
        time.sleep(_POLL)
    try:
        yield
    finally:
        # Not left to close: a child that another thread forked in the meantime holds the descriptor too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def _temporary(directory: int, name: str, data: bytes, mode: int, keep: os.stat_result | None = None) -> Iterator[str]:
    """Yield the name of a complete and durable file beside ``name``, which is gone afterwards."""
    temporary = f".{name}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    try:
        with _opened(temporary, _NEW, mode, directory=directory) as descriptor:
            if keep is not None:
                with suppress(OSError):  # only root gives files away; who else may write here leaves its own
                    os.fchown(descriptor, keep.st_uid, keep.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(keep.st_mode))
            _fill(descriptor, data)
        yield temporary
    finally:
        with suppress(OSError):  # it was renamed, or the next writer removes it
            os.unlink(temporary, dir_fd=directory)


def _check_unchanged(directory: int, target: Path, expected: bytes) -> None:
    try:
        # O_NONBLOCK: a FIFO in place of the file must not block us.
        with (
            _opened(target.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, directory=directory) as descriptor,
            open(descriptor, "rb", closefd=False) as file,
        ):
            found: bytes | None = file.read(len(expected) + 1)
    except FileNotFoundError:
        found = None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        message = f"a symbolic link is not written through; name the file itself: {os.path.realpath(target)}"
        raise OSError(errno.ELOOP, message, str(target)) from None
    if found != expected:
        message = f"{target} was changed by somebody else meanwhile; nothing was written: run the command again"
        raise ConflictError(message)


def _link_unnamed(directory: int, name: str, data: bytes, mode: int) -> bool:
    """Make the file without a temporary name; False where the system cannot."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        with _opened(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, mode, directory=directory) as descriptor:
            _fill(descriptor, data)
            os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=directory, follow_symlinks=True)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


@contextmanager
def _unnamed(directory: int, name: str, mode: int, buffering: int) -> Iterator[tuple[BinaryIO, Callable[[int], str]]]:
    """Give a file without a name, and how to say what it is linked from; with a name of its own where the system cannot."""
    try:
        descriptor = os.open(".", os.O_RDWR | getattr(os, "O_TMPFILE", 0) | os.O_CLOEXEC, mode, dir_fd=directory)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    else:
        with os.fdopen(descriptor, "w+b", buffering) as file:
            yield file, "/proc/self/fd/{}".format
        return
    process = os.getpid()
    own = f".{name}.{process}-{get_ident()}.tmp"
    descriptor = os.open(own, _NEW, mode, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb", buffering) as file:
            yield file, lambda _: own
    finally:
        if os.getpid() == process:  # a forked child that ends has this block open, too, and the file is not its own
            os.unlink(own, dir_fd=directory)


def _fill(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)
