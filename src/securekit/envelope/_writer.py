# SPDX-License-Identifier: Apache-2.0
"""A binary file that seals what is written to it.

RULE of this file: the last chunk, without which nothing opens, is written by an explicit `close` in the process that opened
the writer, and never by a garbage collector, at the end of a process, or after an exception.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from securekit._primitives.cobblestone import CHUNK_SIZE, SEALED_CHUNK_SIZE, StreamEncryptor
from securekit._primitives.process import process
from securekit._wire.atomic import atomic_writer

from ._header import MAX_SLOT, MIN_SLOT, STREAM, Header, payload_context

if TYPE_CHECKING:
    from types import TracebackType

    from ._envelope import Envelope

__all__ = ["SealedWriter"]

_STEP = 16 * CHUNK_SIZE  # bytes encrypted at once
_BUFFER = (_STEP // CHUNK_SIZE + 2) * SEALED_CHUNK_SIZE  # bytes: what one step can give, the stream's own header included


class SealedWriter(io.BufferedIOBase):
    """Made by `Envelope.open_writer`. Use it in a ``with`` block; or call `close` when all is written, or `abort`."""

    def __init__(self, envelope: Envelope, target: str | os.PathLike[str] | BinaryIO, *, context: Mapping[str, str], mode: int) -> None:
        self._stack = ExitStack()
        self._process = process.token
        self._written = 0
        self._failed = False
        self._buffer = memoryview(bytearray(_BUFFER))
        header, key = envelope.new_header(STREAM)
        bound = payload_context(header, context)
        if isinstance(target, str | os.PathLike):
            self._target = self._stack.enter_context(atomic_writer(target, mode=mode, buffering=0))
            slotted = True
        else:
            self._target = target
            slotted = target.seekable()
        try:
            self._encryptor = StreamEncryptor(key.payload_key(STREAM), bound)
            if slotted:
                header = _with_slots(header, len(header.seal(key)))
                self._put(header.seal(key).ljust(header.slot_size, b"\0") * 2)
            else:
                self._put(header.seal(key))
        except BaseException:
            self.abort()
            raise

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Seal ``data``; return how many bytes that were: all.

        Raises:
            OSError: It cannot be written. The writer has then given up, as after `abort`.
            ValueError: The writer is closed, has given up, or was carried across a fork.
        """
        self._check()
        view = memoryview(data).cast("B")
        try:
            for begin in range(0, len(view), _STEP):
                count = self._encryptor.update_into(view[begin : begin + _STEP], self._buffer)
                self._put(self._buffer[:count])
        except BaseException:  # bytes are missing from here on, so there must be no last chunk
            self._failed = True
            self.abort()
            raise
        self._written += len(view)
        return len(view)

    def close(self) -> None:
        """Write the last chunk, and make the file appear, durably.

        Raises:
            OSError: It cannot be written; then no file appears.
            ValueError: The writer was carried across a fork; or a write has failed, and no file appears.
        """
        if self._failed:
            self._check()
        if self.closed:
            return
        self._check()
        try:
            self._put(self._encryptor.finalize())
            self._target.flush()
        except BaseException:
            self.abort()
            raise
        super().close()
        self._stack.close()

    def abort(self) -> None:
        """Give up: no file appears, and what was written to a file that was given does not open."""
        if self.closed:
            return
        super().close()
        stack = self._stack.pop_all()
        if self._process is process.token:
            stack.__exit__(_Aborted, _Aborted(), None)

    def writable(self) -> bool:
        """Whether it can be written to: yes."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._written

    def flush(self) -> None:
        """Do nothing: a chunk is written when it is full, and the last one by `close`."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close; after an exception, abort."""
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        """Abort what nobody closed."""
        if hasattr(self, "_stack"):
            self.abort()

    def _check(self) -> None:
        if self._failed:
            message = "an earlier write failed, so that nothing was sealed: begin again"
            raise ValueError(message)
        if self.closed:
            message = "write to a closed file"
            raise ValueError(message)
        if self._process is not process.token:
            message = "this writer was opened by another process, before a fork: open one of your own"
            raise ValueError(message)

    def _put(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            count = self._target.write(rest)
            if not count:  # None, by a file that does not block
                raise BlockingIOError(errno.EAGAIN, "the target takes no bytes at the moment: give one that blocks")
            rest = rest[count:]


class _Aborted(Exception):  # noqa: N818 - never seen by anybody
    """Makes the file that is written aside go away."""


def _with_slots(header: Header, size: int) -> Header:
    """Return ``header`` with the smallest slots that leave as much room again as it needs now."""
    exponent = max(MIN_SLOT, min(MAX_SLOT, (2 * size - 1).bit_length()))  # the largest holds the longest header there can be
    return Header(header.flags, header.message_id, exponent, header.generation, header.recipients)
