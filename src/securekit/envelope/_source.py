# SPDX-License-Identifier: Apache-2.0
"""Where sealed bytes come from: a file by its path, a binary file that can be sought in, or a pipe."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from securekit._wire.atomic import locked

__all__ = ["FileSource", "PathSource", "PipeSource", "Source"]


class PathSource:
    """A file by its path, read without a position of its own, so that threads and forks do not disturb each other."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the bytes at ``offset``; fewer at the end of the file."""
        data = os.pread(self._descriptor, size, offset)
        while data and len(data) < size:
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` with the bytes at ``offset``; return how many there were."""
        done = 0
        while done < len(buffer) and (count := os.preadv(self._descriptor, [buffer[done:]], offset + done)):
            done += count
        return done

    def unchanging(self) -> AbstractContextManager[None]:
        """Keep everybody from exchanging the recipients meanwhile."""
        return locked(self._descriptor, self._path, shared=True)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FileSource:
    """A binary file that can be sought in; the sealed bytes begin at its position. It is not closed here."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begin = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self._begin

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the bytes at ``offset``; fewer at the end of the file."""
        self._file.seek(self._begin + offset)
        return _read_fully(self._file, size)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` with the bytes at ``offset``; return how many there were."""
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Leave the file open: it is its owner's."""


class PipeSource:
    """A binary file that can only be read on. What comes before the payload is kept until `skip`. It is not closed here."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._kept = bytearray()

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the bytes at ``offset``, having read no further; fewer at the end."""
        self._kept += _read_fully(self._file, offset + size - len(self._kept))
        return bytes(self._kept[offset : offset + size])

    def skip(self, size: int) -> None:
        """Let `take` begin behind the first ``size`` bytes."""
        self.read_at(0, size)
        del self._kept[:size]

    def take(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        if not self._kept:
            return _read_fully(self._file, size)
        kept = bytes(self._kept[:size])
        del self._kept[:size]
        return kept + _read_fully(self._file, size - len(kept))

    def close(self) -> None:
        """Leave the file open: it is its owner's."""


Source = PathSource | FileSource
"""What can be read at an offset."""


def _read_fully(file: BinaryIO, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
