# SPDX-License-Identifier: Apache-2.0
"""Folders for secrets in clear text: of mode 0700, in memory where the system has such a place, and wiped afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from ._ui import note

__all__ = ["private_folder", "wipe"]

# Where systems have a file system in memory; the first that is there, writable and one is taken.
_IN_MEMORY = ("XDG_RUNTIME_DIR", "/run/user/{uid}", "/dev/shm")  # noqa: S108 - a folder of mode 0700 is made in it
_TMPFS = {"tmpfs", "ramfs"}
_MOUNTS = Path("/proc/self/mounts")


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a new folder of mode 0700, whose files are overwritten and removed when the block ends, whatever ends it."""
    base = _place()
    if base is None:
        note("securekit: warning: there is no file system in memory here: secrets are on disk for a while, and wiped as well as can be")
    folder = Path(mkdtemp(prefix="securekit-", dir=base))  # of mode 0700
    try:
        yield folder
    finally:
        wipe(folder)


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
