# SPDX-License-Identifier: Apache-2.0
"""Keyring documents as files below one directory, for one machine or a disk that several share.

``eu/acme/invoices`` is the file ``eu/acme/invoices@keyring.json``: no segment of a path holds an ``@``, so that no name
collides. Writes are atomic, durable and of mode 0600; writers hold ``flock`` on ``invoices@keyring.lock`` beside it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from securekit._wire.atomic import sync_directory, write_atomic
from securekit.exceptions import KeyStoreError, KeyStoreUnavailableError

from ._document import MAX_SIZE
from ._path import check_path
from ._storage import DocumentStorage, check_revision

__all__ = ["FileStorage"]

_DOCUMENT = "@keyring.json"
_LOCK = "@keyring.lock"
_MARK = "@keystore"  # tells a keystore's directory from an empty mount point
_MARK_TEXT = b"securekit keystore 1\n"
_POLL = 0.01  # seconds
_FINAL = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS}


class FileStorage(DocumentStorage):
    """The files below ``root``, which is made when the first keyring is. A writer waits ``lock_timeout`` seconds for another one."""

    def __init__(self, root: str | os.PathLike[str], *, lock_timeout: float = 30.0) -> None:
        self.root = Path(root)
        self._lock_timeout = lock_timeout

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None if there is no such file."""
        with _translated("read", self._file(path)):
            try:
                descriptor = os.open(self._file(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError:
                return None
            with os.fdopen(descriptor, "rb") as file:
                # One more than a document may have: the decoder refuses it. Asking for more than there is would reserve it.
                return file.read(min(os.fstat(descriptor).st_size, MAX_SIZE) + 1)

    def write(self, path: str, document: bytes, *, expected: int | None) -> None:
        """Replace the file by an atomic rename. The caller holds the lock."""
        check_revision(path, self.read(path), expected)
        with _translated("write", self._file(path)):
            write_atomic(self._file(path), document)

    def delete(self, path: str) -> None:
        """Remove the file, and the directories above it that are then empty."""
        file = self._file(path)
        with _translated("delete", file):
            file.unlink(missing_ok=True)
            sync_directory(file.parent)
            self._lock_file(path).unlink(missing_ok=True)
            with suppress(OSError):  # not empty: as far up as they are
                for parent in file.relative_to(self.root).parents[:-1]:
                    (self.root / parent).rmdir()

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of documents; a directory that cannot be read is an error, never an empty one."""
        root = os.fspath(self.root)
        with _translated("list", self.root):
            if prefix and self._file(prefix).exists():
                yield prefix
            for directory, _, files in os.walk(self.root / prefix, onerror=_raise_unless_gone):
                above = directory.removeprefix(root).strip("/")  # as text: a Path for each file would take longer than the walk
                for name in files:
                    if name.endswith(_DOCUMENT):
                        with suppress(ValueError):  # not written by us
                            yield check_path(f"{above}/{name.removesuffix(_DOCUMENT)}".lstrip("/"))

    @contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Hold ``flock`` on the lock file. The kernel frees it when its holder dies.

        Raises:
            securekit.exceptions.KeyStoreUnavailableError: Somebody else holds it for longer than the time that this one waits.
        """
        name = self._lock_file(path)
        with _translated("lock", name):
            self._make_directories(name.parent)
            descriptor = _acquire(name, self._lock_timeout)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that another thread forked in the meantime holds the descriptor too
            os.close(descriptor)

    def check(self) -> None:
        """Raise if the directory is not a keystore's, for example because the disk is not mounted."""
        if not (self.root / _MARK).exists():
            message = f"{self.root} holds no keystore (its file {_MARK} is missing); is the disk mounted?"
            raise KeyStoreUnavailableError(message)

    def _make_directories(self, directory: Path) -> None:
        if not (self.root / _MARK).exists():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_mark = os.open(self.root / _MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(write_mark, "wb") as file:
                file.write(_MARK_TEXT)
        if directory.is_dir():
            return
        missing = [directory, *directory.parents]
        missing = missing[: missing.index(self.root)]
        for level in reversed(missing):
            level.mkdir(mode=0o700, exist_ok=True)
            sync_directory(level.parent)

    def _file(self, path: str) -> Path:
        return self.root / f"{path}{_DOCUMENT}"

    def _lock_file(self, path: str) -> Path:
        return self.root / f"{path}{_LOCK}"


def _acquire(name: Path, timeout: float) -> int:
    """Return a descriptor that holds the lock of the file that is at ``name`` now."""
    deadline = time.monotonic() + timeout
    while True:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # deleted together with its keyring while we waited: make a new one
                if os.path.samestat(os.fstat(descriptor), name.lstat()):
                    return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                message = f"{name} is locked by another process for more than {timeout:.0f} seconds; find it with: fuser {name}"
                raise KeyStoreUnavailableError(message) from None
            time.sleep(_POLL)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextmanager
def _translated(verb: str, name: Path) -> Iterator[None]:
    """Turn errors of the operating system into ours; what was there before is intact."""
    try:
        yield
    except OSError as error:
        message = f"cannot {verb} {name}: {error.strerror}"
        if error.errno in _FINAL:
            raise KeyStoreError(message) from error
        raise KeyStoreUnavailableError(message) from error


def _raise_unless_gone(error: OSError) -> None:
    """Let a directory vanish while others delete in it; the root is missing before the first keyring."""
    if not isinstance(error, FileNotFoundError):
        raise error
