# SPDX-License-Identifier: Apache-2.0
"""A binary file with the data that was sealed: forward from a pipe, anywhere in a file.

RULE of this file: what is returned is authentic. The end of the data is believed only when the last chunk, which alone is
short, has been decrypted.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, cast

from securekit._primitives.cobblestone import CHUNK_SIZE, HEADER_SIZE, MAX_CHUNKS, SEALED_CHUNK_SIZE, TAG_SIZE, ChunkOpener
from securekit.exceptions import DecryptionError, FormatError, SecureKitError

from ._header import STREAM, Header, payload_context
from ._slots import Opened, open_slots
from ._source import FileSource, PathSource, PipeSource, Source

if TYPE_CHECKING:
    from ._envelope import Envelope

__all__ = ["SealedReader"]

_CHUNKS_AT_ONCE = 64  # so that one call of the system brings 1 MiB


class SealedReader(io.BufferedIOBase):
    """Made by `Envelope.open_reader`. It reads, and seeks if its source can. Not for several threads at once."""

    def __init__(self, envelope: Envelope, source: str | os.PathLike[str] | BinaryIO, *, context: Mapping[str, str]) -> None:
        self._source = _open(source)
        try:
            opened = _open_header(envelope, self._source)
            header = opened.found.header
            _check_stream(header)
            if isinstance(self._source, PipeSource):
                self._source.skip(opened.payload)
                stream_header = self._source.take(HEADER_SIZE)
                self._chunks: _Chunks | _Pipe = _Pipe(self._source)
            else:
                stream_header = self._source.read_at(opened.payload, HEADER_SIZE)
                self._chunks = _Chunks(self._source, opened.payload + HEADER_SIZE)
            self._opener = ChunkOpener(opened.key.payload_key(STREAM), payload_context(header, context), stream_header)
        except BaseException:
            self._source.close()
            raise
        self._position = 0
        self._number = -1  # of the chunk that is kept
        self._kept = b""
        self._end: int | None = None  # the size of the data, once it is authentic

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes: as many, unless the data ends; all that are left if negative or None."""
        self._check()
        return b"".join(self._pieces(None if size is None or size < 0 else size))

    def read1(self, size: int = -1, /) -> bytes:
        """Return at least one byte and at most ``size``, unless the data ends; what is at hand if negative."""
        self._check()
        return b"".join(self._pieces(CHUNK_SIZE if size < 0 else min(size, CHUNK_SIZE)))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill ``buffer``; return how many bytes were there: as many as it holds, unless the data ends."""
        self._check()
        target = memoryview(buffer).cast("B")
        done = 0
        while done < len(target):
            number, skip = divmod(self._position, CHUNK_SIZE)
            if not skip and (run := self._run(number, len(target) - done)):
                size = len(run) // SEALED_CHUNK_SIZE * CHUNK_SIZE
                self._opener.open_run_into(number, run, target[done : done + size])
                done += size
                self._position += size
                continue
            size = min(len(self._chunk(number)) - skip, len(target) - done)
            if size <= 0:
                break
            target[done : done + size] = self._kept[skip : skip + size]
            done += size
            self._position += size
        return done

    def readinto1(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill ``buffer`` as `readinto` does."""
        return self.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to ``offset``: from the beginning, from here, or from the end, which is then authenticated first.

        Raises:
            OSError: The source cannot be sought in.
            ValueError: The place is before the beginning.
            securekit.exceptions.DecryptionError: The data is truncated or changed at its end.
        """
        self._check()
        if not self.seekable():
            message = "a pipe cannot be sought in"
            raise io.UnsupportedOperation(message)
        if whence not in {os.SEEK_SET, os.SEEK_CUR, os.SEEK_END}:
            message = f"whence is 0, 1 or 2, not {whence}"
            raise ValueError(message)
        place = offset + (self._size() if whence == os.SEEK_END else self._position if whence == os.SEEK_CUR else 0)
        if place < 0:
            message = f"negative seek position {place}"
            raise ValueError(message)
        self._position = place
        return place

    def tell(self) -> int:
        """Return the position in the data."""
        self._check()
        return self._position

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether the source can be sought in."""
        return isinstance(self._chunks, _Chunks)

    def close(self) -> None:
        """Close the file, if it was opened by its path."""
        if hasattr(self, "_source"):  # it could be opened
            self._source.close()
        super().close()

    def _size(self) -> int:
        """Return the size of the data, having authenticated the last chunk. Only a source that can be sought in has one."""
        if self._end is None:
            last = cast("_Chunks", self._chunks).last
            self._end = last * CHUNK_SIZE + len(self._chunk(last))
        return self._end

    def _pieces(self, wanted: int | None) -> Iterator[bytes]:
        """Yield the next ``wanted`` bytes of the data in pieces, and move on."""
        left = wanted
        while left is None or left > 0:
            number, skip = divmod(self._position, CHUNK_SIZE)
            if not skip and (run := self._run(number, _CHUNKS_AT_ONCE * CHUNK_SIZE if left is None else left)):
                pieces = self._opener.open_run(number, run)
                yield from pieces
                size = len(pieces) * CHUNK_SIZE
                del pieces  # no variable holds plaintext: error trackers show those
                self._position += size
                left = None if left is None else left - size
                continue
            size = min(len(self._chunk(number)) - skip, CHUNK_SIZE if left is None else left)
            if size <= 0:
                return
            yield self._kept[skip : skip + size]
            self._position += size
            left = None if left is None else left - size

    def _run(self, number: int, size: int) -> memoryview | None:
        """Return the full sealed chunks from ``number`` on whose plaintext fits into ``size`` bytes; valid until the next call."""
        wanted = min(size // CHUNK_SIZE, _CHUNKS_AT_ONCE)
        if number == self._number or wanted < 2:  # noqa: PLR2004 - one chunk alone may as well be kept
            return None
        return self._chunks.run(number, wanted)

    def _chunk(self, number: int) -> bytes:
        """Return the plaintext of chunk ``number``, and keep it; nothing behind the end."""
        if number == self._number:
            return self._kept
        sealed = self._chunks.one(number)
        if sealed is None:
            self._size()  # only an authentic end is an end
            return b""
        self._kept = self._opener.open(number, sealed)
        self._number = number
        return self._kept

    def _check(self) -> None:
        if self.closed:
            message = "read of a closed file"
            raise ValueError(message)


class _Chunks:
    """The sealed chunks of a file, in any order. The size is that of the moment when it was opened."""

    def __init__(self, source: Source, begin: int) -> None:
        self._source = source
        self._begin = begin
        self._buffer = memoryview(b"")
        self.last, self._last_size = divmod(max(0, source.size - begin), SEALED_CHUNK_SIZE)

    def run(self, number: int, wanted: int) -> memoryview | None:
        """Return up to ``wanted`` full chunks from ``number`` on, in a buffer that the next call overwrites."""
        size = min(wanted, self.last - number) * SEALED_CHUNK_SIZE
        if size <= 0:
            return None
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        run = self._buffer[:size]
        if self._source.read_into(self._begin + number * SEALED_CHUNK_SIZE, run) != size:  # the file shrinks
            raise DecryptionError
        return run

    def one(self, number: int) -> bytes | None:
        """Return a sealed chunk; None behind the last one."""
        if number > self.last:
            return None
        size = self._last_size if number == self.last else SEALED_CHUNK_SIZE
        data = self._source.read_at(self._begin + number * SEALED_CHUNK_SIZE, size)
        if len(data) != size or size < TAG_SIZE or self.last >= MAX_CHUNKS:
            raise DecryptionError
        return data


class _Pipe:
    """The sealed chunks of a pipe, one after the other. A chunk that did not open is gone, and so is all behind it."""

    def __init__(self, source: PipeSource) -> None:
        self._source = source
        self._rest = memoryview(b"")
        self._next = 0
        self._ended = False

    def run(self, number: int, wanted: int) -> memoryview | None:
        """Return up to ``wanted`` full chunks, if number ``number`` comes next."""
        if number != self._next:
            return None
        self._fill()
        size = min(wanted, len(self._rest) // SEALED_CHUNK_SIZE) * SEALED_CHUNK_SIZE
        if not size:
            return None
        self._next = number + size // SEALED_CHUNK_SIZE
        return self._take(size)

    def one(self, number: int) -> bytes:
        """Return a sealed chunk. The last one is short, and nobody asks for one behind it."""
        self._fill()
        if number != self._next or number >= MAX_CHUNKS:
            raise DecryptionError
        chunk = self._take(SEALED_CHUNK_SIZE)
        self._next = number + 1
        if len(chunk) < TAG_SIZE:  # nothing at all: the last chunk is missing
            raise DecryptionError
        return bytes(chunk)

    def _take(self, size: int) -> memoryview:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _fill(self) -> None:
        if not self._rest and not self._ended:
            self._rest = memoryview(self._source.take(_CHUNKS_AT_ONCE * SEALED_CHUNK_SIZE))
            self._ended = len(self._rest) < _CHUNKS_AT_ONCE * SEALED_CHUNK_SIZE


def _check_stream(header: Header) -> None:
    if header.flags != STREAM:
        message = "this is a sealed message, not a sealed stream: open it with decrypt"
        raise FormatError(message)


def _open(source: str | os.PathLike[str] | BinaryIO) -> Source | PipeSource:
    if isinstance(source, str | os.PathLike):
        return PathSource(source)
    return FileSource(source) if source.seekable() else PipeSource(source)


def _open_header(envelope: Envelope, source: Source | PipeSource) -> Opened:
    """Open the header; of a file by its path once more, if its recipients were exchanged while it was read."""
    if not isinstance(source, PathSource):
        return open_slots(envelope, source.read_at)
    seen: dict[tuple[int, int], bytes] = {}

    def read_at(offset: int, size: int) -> bytes:
        seen[offset, size] = source.read_at(offset, size)
        return seen[offset, size]

    try:
        return open_slots(envelope, read_at)
    except SecureKitError as error:
        failure = error
    with source.unchanging():
        if any(source.read_at(*place) != data for place, data in seen.items()):
            return open_slots(envelope, source.read_at)
    raise failure
