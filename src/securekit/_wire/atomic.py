# SPDX-License-Identifier: Apache-2.0
"""Files that are either the old bytes or the new ones, whatever happens in between, and that others cannot read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import get_ident

__all__ = ["sync_directory", "write_atomic", "write_new"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomic(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file at ``path``, and return once that is durable.

    The caller holds a lock, so the temporary file ``.<name>.tmp`` beside it has one writer; one that a killed writer
    left behind is removed.

    Raises:
        OSError: As the operating system says; the old file is intact, and no temporary file is left.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    _fill(temporary, data, mode)
    try:
        temporary.rename(target)
    except OSError:
        temporary.unlink()
        raise
    sync_directory(target.parent)


def write_new(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600) -> None:
    """Make a file that is not there yet, complete from its first moment on, and return once that is durable.

    Raises:
        FileExistsError: Something is at ``path`` already; it is untouched.
        OSError: As the operating system says; no file is left.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{get_ident()}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    _fill(temporary, data, mode)
    try:
        os.link(temporary, target)  # unlike a rename, this never replaces what is there
    finally:
        temporary.unlink()
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable.

    Raises:
        OSError: As the operating system says.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fill(temporary: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(temporary, _NEW, mode)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        temporary.unlink()
        raise
