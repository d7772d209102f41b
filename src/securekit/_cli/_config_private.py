# SPDX-License-Identifier: Apache-2.0
"""Folders for secrets in clear text: of mode 0700, in memory where the system has such a place, and wiped afterwards.

RULES of this file:

1. While a folder is in use, its ``flock`` is held, which the kernel frees when its holder dies. So whoever makes one next
   finds those whose holder was killed, and wipes them.
2. No signal comes in between while a folder is wiped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from ._ui import note

__all__ = ["STOPS", "private_folder", "wipe"]

STOPS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""The signals that end a process which a person or the system wants to end."""

_PREFIX = "securekit-private-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Where systems have a file system in memory; the first that is there, writable and one is taken.
_IN_MEMORY = ("XDG_RUNTIME_DIR", "/run/user/{uid}", "/dev/shm")  # noqa: S108 - a folder of mode 0700 is made in it
_TMPFS = {"tmpfs", "ramfs"}
_MOUNTS = Path("/proc/self/mounts")


@contextmanager
def private_folder() -> Iterator[tuple[Path, int]]:
    """Give a new folder of mode 0700, whose files are overwritten and removed when the block ends, whatever ends it.

    With it comes the descriptor that holds its lock: a child that inherits it keeps the folder, also if this process is killed.
    """
    base = _place()
    if base is None:
        note("securekit: warning: there is no file system in memory here: secrets are on disk for a while, and wiped as well as can be")
    place = Path(gettempdir()) if base is None else base
    _wipe_orphans(place)
    folder, lock = _made(place)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        try:
            yield folder, lock
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    finally:  # also if a signal came just before they were blocked
        wipe(folder)
        os.close(lock)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _made(place: Path) -> tuple[Path, int]:
    """Make a folder, and hold its lock; again, if another process took it for an orphan in between."""
    while True:
        folder = Path(mkdtemp(prefix=_PREFIX, dir=place))  # of mode 0700
        with suppress(FileNotFoundError):
            lock = os.open(folder, _FOLDER)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _wipe_orphans(place: Path) -> None:
    """Wipe what killed processes of this user left in ``place``."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is in use, somebody else's, or gone
            lock = os.open(folder, _FOLDER)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    wipe(folder)
            finally:
                os.close(lock)


def wipe(folder: Path) -> None:
    """Overwrite every file below ``folder``, and remove it. On disks that copy on write, the old bytes may stay."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with suppress(OSError), path.open("r+b", buffering=0) as file:
                file.write(bytes(path.stat().st_size))
                os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path | None:
    mounts = _memory_mounts()
    for name in _IN_MEMORY:
        place = Path(os.environ.get(name, "")) if name.isupper() else Path(name.format(uid=os.getuid()))
        if place.is_absolute() and place.is_dir() and os.access(place, os.W_OK | os.X_OK) and _mount_of(place) in mounts:
            return place
    return None


def _memory_mounts() -> set[Path]:
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return set()
    return {Path(fields[1]) for line in lines if len(fields := line.split()) > 2 and fields[2] in _TMPFS}  # noqa: PLR2004 - device, folder, type


def _mount_of(place: Path) -> Path:
    place = place.resolve()
    while not place.is_mount():
        place = place.parent
    return place
