# SPDX-License-Identifier: Apache-2.0
"""Sealed files as the rest of the world's code uses files: read and written through what takes a binary file."""

from __future__ import annotations

import asyncio
import csv
import errno
import gzip
import io
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from securekit.envelope import Envelope, SealedReader, SealedWriter, inspect_file
from securekit.exceptions import DecryptionError
from tests.conftest import Count
from tests.envelope.parts import CONTEXT, LOCAL, Pipe, read, slotted, stream

ENVELOPE = Envelope(LOCAL)
CHUNK = 16384
DATA = random.Random(3).randbytes(5 * CHUNK + 1234)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a sealed file may be written."""
    return tmp_path / "file.sk"


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------------------------------- written and read by others


def test_copyfileobj(path: Path) -> None:
    """``shutil.copyfileobj`` copies into and out of a sealed file."""
    with ENVELOPE.open_writer(path, context=CONTEXT) as writer:
        shutil.copyfileobj(io.BytesIO(DATA), writer)
    target = io.BytesIO()
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader:
        shutil.copyfileobj(reader, target)

    assert target.getvalue() == DATA
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("write", "reading"), [("w:gz", "r:gz"), ("w|", "r|"), ("w:", "r:"), ("w:xz", "r:*")])
def test_tarfile(path: Path, write: Any, reading: Any) -> None:
    """``tarfile`` packs into a sealed file and unpacks, compressed and as a stream."""
    members = {"one": DATA, "two": b"", "three": b"x" * 100_000}
    with ENVELOPE.open_writer(path, context=CONTEXT) as writer, tarfile.open(fileobj=writer, mode=write) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader, tarfile.open(fileobj=reader, mode=reading) as archive:
        found = {member.name: cast("Any", archive.extractfile(member)).read() for member in archive}

    assert found == members


def test_zipfile_and_gzip(path: Path) -> None:
    """``zipfile`` writes as to a stream, and finds its directory from the end; ``gzip`` reads on."""
    with ENVELOPE.open_writer(path, context=CONTEXT) as writer, zipfile.ZipFile(writer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", DATA)
        archive.writestr("two", b"2")
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader, zipfile.ZipFile(reader) as archive:
        assert (archive.testzip(), archive.read("two"), archive.read("one")) == (None, b"2", DATA)

    with ENVELOPE.open_writer(path, context=CONTEXT) as writer, gzip.GzipFile(fileobj=writer, mode="wb") as packed:
        packed.write(DATA)
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader, gzip.open(reader) as unpacked:
        assert unpacked.read() == DATA


def test_csv_through_text(path: Path) -> None:
    """Text is written and read through ``io.TextIOWrapper``."""
    rows = [[str(number), "Grüße", "a\nb"] for number in range(5000)]
    with ENVELOPE.open_writer(path, context=CONTEXT) as writer:
        text = io.TextIOWrapper(cast("Any", writer), "utf-8", newline="")
        csv.writer(text).writerows(rows)
        text.detach()
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader, io.TextIOWrapper(cast("Any", reader), "utf-8", newline="") as lines:
        assert list(csv.reader(lines)) == rows


def test_buffered_reader_and_pickle(path: Path) -> None:
    """A buffer around the reader peeks and reads lines; ``pickle`` reads from the bare reader."""
    lines = [b"%d\n" % number for number in range(9000)]
    path.write_bytes(slotted(b"".join(lines)))
    with io.BufferedReader(ENVELOPE.open_reader(path, context=CONTEXT)) as reader:
        assert reader.peek(1)[:2] == b"0\n"
        assert list(reader) == lines
    with ENVELOPE.open_reader(path, context=CONTEXT) as bare:
        assert list(bare) == lines
    value = {"a": list(range(10_000))}
    path.write_bytes(slotted(pickle.dumps(value, protocol=5)))
    with ENVELOPE.open_reader(path, context=CONTEXT) as bare:
        assert pickle.load(bare) == value


def test_parquet(path: Path) -> None:
    """``pyarrow`` writes a table, reads it, and reads single columns and row groups at their offsets."""
    table = pa.table({"id": list(range(50_000)), "iban": [f"DE{number:020}" for number in range(50_000)]})
    with ENVELOPE.open_writer(path, context=CONTEXT) as writer:
        parquet.write_table(table, writer, row_group_size=10_000)
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader:
        assert parquet.read_table(reader).equals(table)
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader:
        group = parquet.ParquetFile(reader).read_row_group(3, columns=["id"])
    assert group.column("id").to_pylist() == list(range(30_000, 40_000))


def test_files_of_fsspec() -> None:
    """A file of an object store is written as a stream, and read by ranges."""
    with fsspec.open("memory://bucket/file.sk", "wb") as target, ENVELOPE.open_writer(target, context=CONTEXT) as writer:
        writer.write(DATA)
    asked: list[tuple[int, int]] = []

    class Ranges(fsspec.spec.AbstractBufferedFile):  # type: ignore[misc]
        def _fetch_range(self, start: int, end: int) -> bytes:
            asked.append((start, end))
            return bytes(self.fs.cat_file(self.path, start, end))

    memory = fsspec.filesystem("memory")
    source = Ranges(memory, "/bucket/file.sk", block_size=20_000, cache_type="readahead", size=memory.size("/bucket/file.sk"))
    with ENVELOPE.open_reader(source, context=CONTEXT) as reader:
        asked.clear()
        reader.seek(3 * CHUNK + 10)
        assert reader.read(100) == DATA[3 * CHUNK + 10 :][:100]
        assert sum(end - begin for begin, end in asked) < 50_000
        assert reader.seek(0, os.SEEK_END) == len(DATA)
    with memory.open("/bucket/file.sk", "rb") as again:
        assert ENVELOPE.open_reader(again, context=CONTEXT).read() == DATA


def test_a_pipe_between_processes(path: Path) -> None:
    """What another process writes into a pipe is read on; what cannot be sought in gets one header."""
    path.write_bytes(stream(DATA))
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE, bufsize=0) as cat:
        assert cat.stdout is not None
        with ENVELOPE.open_reader(cast("BinaryIO", cat.stdout), context=CONTEXT) as reader:
            assert not reader.seekable()
            assert reader.read(10) + reader.read() == DATA
            with pytest.raises(io.UnsupportedOperation, match="a pipe cannot be sought in"):
                reader.seek(0)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        with cat.stdin, ENVELOPE.open_writer(cast("BinaryIO", cat.stdin), context=CONTEXT) as writer:
            writer.write(b"small")
        sealed = cat.stdout.read()
    assert len(sealed) < 1000
    assert read(sealed, ENVELOPE) == b"small"


def test_a_socket() -> None:
    """A stream goes through a socket, in whatever pieces the network makes of it."""
    one, other = socket.socketpair()

    def send() -> None:
        with one, one.makefile("wb", buffering=0) as target, ENVELOPE.open_writer(cast("BinaryIO", target), context=CONTEXT) as writer:
            for begin in range(0, len(DATA), 777):
                writer.write(DATA[begin : begin + 777])

    sender = threading.Thread(target=send)
    sender.start()
    with other, other.makefile("rb") as source:
        assert ENVELOPE.open_reader(source, context=CONTEXT).read() == DATA
    sender.join()


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_a_source_of_short_reads(at_once: int) -> None:
    """A source that gives less than it is asked for is asked again."""
    data = DATA[:40_000]
    for sealed in (stream(data), slotted(data)):
        with ENVELOPE.open_reader(cast("BinaryIO", Pipe(sealed, at_once)), context=CONTEXT) as reader:
            assert reader.read() == data


def test_asyncio_through_a_thread(path: Path) -> None:
    """A task reads and writes in a worker thread."""

    async def work() -> bytes:
        def write() -> None:
            with ENVELOPE.open_writer(path, context=CONTEXT) as writer:
                writer.write(DATA)

        await asyncio.to_thread(write)
        reader = await asyncio.to_thread(ENVELOPE.open_reader, path, context=CONTEXT)
        with reader:
            return await asyncio.to_thread(reader.read)

    assert asyncio.run(work()) == DATA


def test_a_file_behind_other_bytes() -> None:
    """Reading begins at the position of the file that is given, and writing as well."""
    file = io.BytesIO(b"before")
    file.seek(0, os.SEEK_END)
    with ENVELOPE.open_writer(file, context=CONTEXT) as writer:
        writer.write(DATA)
    file.seek(len(b"before"))

    with ENVELOPE.open_reader(file, context=CONTEXT) as reader:
        reader.seek(-5, os.SEEK_END)
        assert reader.read() == DATA[-5:]
    assert not file.closed


# ---------------------------------------------------------------------------------------------- the reader


moves = st.one_of(
    st.tuples(st.just("seek"), st.integers(0, len(DATA) + 3 * CHUNK)),
    st.tuples(st.just("from here"), st.integers(-2 * CHUNK, 2 * CHUNK)),
    st.tuples(st.just("from end"), st.integers(-len(DATA), CHUNK)),
    st.tuples(st.sampled_from(["read", "read1", "readinto", "readinto1"]), st.integers(0, 4 * CHUNK)),
    st.tuples(st.just("readline"), st.just(0)),
    st.tuples(st.just("rest"), st.just(0)),
)


@given(st.lists(moves, max_size=20), st.sampled_from([len(DATA), 5 * CHUNK, CHUNK - 1, 0]))
def test_any_walk_reads_what_a_plain_file_would(steps: list[tuple[str, int]], size: int) -> None:
    """Seeks and reads of any kind and size give what ``io.BytesIO`` gives."""
    plain = io.BytesIO(DATA[:size])
    with ENVELOPE.open_reader(io.BytesIO(_sealed(size)), context=CONTEXT) as reader:
        for verb, number in steps:
            assert _step(reader, plain, verb, number)
            assert reader.tell() == plain.tell()


_SEALED: dict[int, bytes] = {}


def _sealed(size: int) -> bytes:
    if size not in _SEALED:
        _SEALED[size] = slotted(DATA[:size])
    return _SEALED[size]


def _step(reader: SealedReader, plain: io.BytesIO, verb: str, number: int) -> bool:
    """Do the same to both, and tell whether the same came out."""
    if verb in {"seek", "from here", "from end"}:
        whence = {"seek": os.SEEK_SET, "from here": os.SEEK_CUR, "from end": os.SEEK_END}[verb]
        number = max(number, -[0, plain.tell(), len(plain.getvalue())][whence])
        return reader.seek(number, whence) == plain.seek(number, whence)
    if verb == "read1":
        data = reader.read1(number)
        return data == plain.read(len(data)) and bool(data or not number or not plain.read(1))
    if verb in {"readinto", "readinto1"}:
        ours, theirs = bytearray(number), bytearray(number)
        return (getattr(reader, verb)(ours), ours) == (plain.readinto(theirs), theirs)
    if verb == "readline":
        return reader.readline(500) == plain.readline(500)
    size = number if verb == "read" else None
    return reader.read(size) == plain.read(size)


def test_a_place_before_the_beginning_is_refused() -> None:
    """Seeks to nowhere change nothing."""
    with ENVELOPE.open_reader(io.BytesIO(_sealed(len(DATA))), context=CONTEXT) as reader:
        reader.seek(5)
        with pytest.raises(ValueError, match="negative seek position -1"):
            reader.seek(-1)
        with pytest.raises(ValueError, match="negative seek position"):
            reader.seek(-len(DATA) - 1, os.SEEK_END)
        with pytest.raises(ValueError, match="whence is 0, 1 or 2, not 4"):
            reader.seek(0, 4)
        assert reader.tell() == 5
        with pytest.raises(io.UnsupportedOperation):
            reader.write(b"x")
        with pytest.raises(io.UnsupportedOperation):
            reader.fileno()
        assert (reader.readable(), reader.writable(), reader.seekable()) == (True, False, True)


def test_a_closed_reader_does_not_read(path: Path) -> None:
    """Every use is a ``ValueError``; closing again does nothing; the descriptor is given back."""
    path.write_bytes(slotted(DATA))
    before = open_files()
    reader = ENVELOPE.open_reader(path, context=CONTEXT)
    reader.close()
    reader.close()
    for use in (reader.read, reader.read1, reader.tell, lambda: reader.seek(0), lambda: reader.readinto(bytearray(1)), reader.readline):
        with pytest.raises(ValueError, match="closed"):
            use()
    for wrong in ({}, CONTEXT | {"more": ""}):
        with pytest.raises(DecryptionError):
            ENVELOPE.open_reader(path, context=wrong)
    with pytest.raises(FileNotFoundError):
        ENVELOPE.open_reader(path.with_name("missing"), context=CONTEXT)
    assert open_files() == before


@pytest.mark.parametrize("how", ["path", "file"])
def test_a_file_that_grows_while_it_is_read(path: Path, how: str) -> None:
    """Bytes that come after the opening are not looked at."""
    path.write_bytes(slotted(DATA))
    with path.open("rb") as file, ENVELOPE.open_reader(path if how == "path" else file, context=CONTEXT) as reader:
        assert reader.read(10) == DATA[:10]
        with path.open("ab") as more:
            more.write(bytes(3 * CHUNK))
        assert reader.read() == DATA[10:]
        assert reader.seek(0, os.SEEK_END) == len(DATA)


@pytest.mark.parametrize("how", ["path", "file"])
@pytest.mark.parametrize("left", [0, 100, 8192 + 56, 8192 + 56 + 16400, 8192 + 56 + 3 * 16400 + 5])
def test_a_file_that_shrinks_while_it_is_read(path: Path, how: str, left: int) -> None:
    """What is gone is a decryption error, and no end of the data."""
    path.write_bytes(slotted(DATA))
    with path.open("rb", buffering=0) as file, ENVELOPE.open_reader(path if how == "path" else file, context=CONTEXT) as reader:
        assert reader.read(10) == DATA[:10]
        os.truncate(path, left)
        given: list[bytes] = []
        with pytest.raises(DecryptionError):
            given.extend(iter(lambda: reader.read(1024), b""))
        assert DATA[10:].startswith(b"".join(given))
        with pytest.raises(DecryptionError):
            reader.seek(0, os.SEEK_END)
        with pytest.raises(DecryptionError):
            reader.read()


def test_a_file_that_shrinks_before_it_is_read_at_once(path: Path) -> None:
    """Many chunks that are asked for together, and are gone, are a decryption error."""
    path.write_bytes(slotted(DATA))
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader:
        os.truncate(path, 20_000)
        with pytest.raises(DecryptionError):
            reader.read()


def test_a_system_that_reads_little_at_once_is_asked_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that gives 1,000 bytes at a time gives everything."""
    path.write_bytes(slotted(DATA))
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: real(descriptor, min(size, 1000), offset))
    with ENVELOPE.open_reader(path, context=CONTEXT) as reader:
        assert reader.read() == DATA


# ---------------------------------------------------------------------------------------------- the writer


class StoppedError(Exception):
    """Raised in the middle of the writing."""


@pytest.mark.parametrize("written", [0, 10, 100_000])
def test_an_exception_leaves_no_file(path: Path, written: int) -> None:
    """Nothing appears, and nothing lies beside it; a file that was there stays as it was."""
    for before in (None, b"as it was"):
        if before is not None:
            path.write_bytes(before)
        with pytest.raises(StoppedError):
            interrupted(path, bytes(written))
        assert names(path.parent) == ([] if before is None else ["file.sk"])
    assert path.read_bytes() == b"as it was"


def test_an_exception_leaves_nothing_that_opens_in_a_file_that_was_given() -> None:
    """There is no last chunk in it, and it stays open."""
    for target in (io.BytesIO(), _without_seek()):
        with pytest.raises(StoppedError):
            interrupted(target, bytes(100_000))
        with pytest.raises(DecryptionError):
            read(target.getvalue(), ENVELOPE)


def interrupted(target: Path | BinaryIO, data: bytes) -> None:
    """Write, and then raise."""
    with ENVELOPE.open_writer(target, context=CONTEXT) as writer:
        writer.write(data)
        raise StoppedError


def _without_seek() -> io.BytesIO:
    target = io.BytesIO()
    target.seekable = lambda: False  # type: ignore[method-assign]
    return target


@pytest.mark.parametrize("end", ["del", "abort"])
def test_what_nobody_closed_does_not_appear(path: Path, end: str) -> None:
    """A writer that is forgotten, or given up, leaves no file, no descriptor and no warning."""
    before = open_files()
    writer = ENVELOPE.open_writer(path, context=CONTEXT)
    writer.write(bytes(100_000))
    if end == "del":
        del writer
    else:
        writer.abort()
        writer.abort()
        writer.close()
    assert names(path.parent) == []
    assert open_files() == before


def test_a_closed_writer_does_not_write(path: Path) -> None:
    """Closing twice is closing once; writing then is refused."""
    writer = ENVELOPE.open_writer(path, context=CONTEXT)
    assert (writer.write(b"secret"), writer.tell(), writer.writable(), writer.readable(), writer.seekable()) == (6, 6, True, False, False)
    writer.flush()
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="write to a closed file"):
        writer.write(b"x")
    assert ENVELOPE.open_reader(path, context=CONTEXT).read() == b"secret"


@pytest.mark.parametrize("data", ["text", 7, memoryview(bytes(8))[::2]])
def test_what_is_no_bytes_is_not_written(path: Path, data: Any) -> None:
    """A mistake of the caller is a ``TypeError`` and leaves the writer as it was."""
    with ENVELOPE.open_writer(path, context=CONTEXT) as writer:
        with pytest.raises(TypeError):
            writer.write(data)
        writer.write(memoryview(b"secret"))
    assert ENVELOPE.open_reader(path, context=CONTEXT).read() == b"secret"


class Failing(io.RawIOBase):
    """Takes seven bytes at a time, and fails at one call."""

    def __init__(self, at: int, *, answer: BaseException | int | None = None, at_once: int = 7) -> None:
        self.data, self._at, self._answer, self._at_once = bytearray(), at, answer, at_once

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        self._at -= 1
        if self._at < 0:
            if isinstance(self._answer, BaseException):
                raise self._answer
            return self._answer
        self.data += bytes(data[: self._at_once])
        return min(len(data), self._at_once)


def test_short_writes_are_completed() -> None:
    """A target that takes seven bytes at a time gets everything."""
    target = Failing(1 << 30)
    with ENVELOPE.open_writer(cast("BinaryIO", target), context=CONTEXT) as writer:
        writer.write(DATA[:50_000])
    assert read(bytes(target.data), ENVELOPE) == DATA[:50_000]


@pytest.mark.parametrize("answer", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken"), BrokenPipeError(), None, 0])
def test_a_write_that_fails_ends_the_writer(answer: Any, count: Count) -> None:
    """At whichever call: bytes are missing then, so that no last chunk is written even if the caller goes on."""
    tried = 0
    for at in range(40):
        target = Failing(at, answer=answer, at_once=20_000)
        try:
            writer = ENVELOPE.open_writer(cast("BinaryIO", target), context=CONTEXT)
        except OSError:
            tried += 1
            continue
        with pytest.raises(OSError):  # noqa: PT011 - each of them is one
            writer.writelines([bytes(20_000)] * 40)
        target._at = 1 << 30
        for use in (lambda: writer.write(b"x"), writer.close):  # noqa: B023 - called at once
            with pytest.raises(ValueError, match="an earlier write failed, so that nothing was sealed: begin again"):
                use()
        with pytest.raises(DecryptionError):
            read(bytes(target.data), ENVELOPE)
        tried += 1
    count("failing writes of a sealed stream", tried)


def test_a_last_chunk_that_cannot_be_written_is_an_error(path: Path) -> None:
    """``close`` raises, and the writer is closed."""
    target = Failing(1 << 30)
    writer = ENVELOPE.open_writer(cast("BinaryIO", target), context=CONTEXT)
    target._at, target._answer = 0, OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"):
        writer.close()
    assert writer.closed


_FORK = """
import os, sys
from securekit.envelope import Envelope
from securekit.wrappers import LocalWrapper
if sys.argv[2] == "named":
    del os.O_TMPFILE
envelope = Envelope(LocalWrapper(bytes(range(32))))
writer = envelope.open_writer(sys.argv[1], context={})
writer.write(b"before " * 5000)
child = os.fork()
if not child:
    for use in (lambda: writer.write(b"x"), writer.close):
        try:
            use()
        except ValueError as error:
            assert "before a fork" in str(error)
        else:
            os._exit(9)
    if sys.argv[3] == "abort":
        writer.abort()
    sys.exit(3)  # an ordinary end, with garbage collection
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert not os.path.exists(sys.argv[1])
writer.write(b"after")
writer.close()
assert envelope.open_reader(sys.argv[1], context={}).read() == b"before " * 5000 + b"after"
"""


@pytest.mark.measured
@pytest.mark.parametrize("named", ["unnamed", "named"])
@pytest.mark.parametrize("end", ["exit", "abort"])
def test_a_forked_child_does_not_write(path: Path, named: str, end: str) -> None:
    """Carried across a fork with data in it, a writer refuses in the child, leaves nothing at its end, and goes on in the parent."""
    done = subprocess.run([sys.executable, "-B", "-W", "error", "-c", _FORK, path, named, end], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert names(path.parent) == ["file.sk"]


def test_a_writer_of_another_process_is_left_alone(path: Path) -> None:
    """Who did not open a writer can neither write nor close, and giving it up does not touch the file."""
    writer = ENVELOPE.open_writer(path, context=CONTEXT)
    writer._process = object()
    with pytest.raises(ValueError, match="before a fork: open one of your own"):
        writer.write(b"x")
    with pytest.raises(ValueError, match="before a fork"):
        writer.close()
    writer.abort()
    assert names(path.parent) == []


def test_a_writer_that_was_never_made_goes_quietly() -> None:
    """A mistake in the call is a ``TypeError`` alone."""
    with pytest.raises(TypeError):
        SealedWriter()  # type: ignore[call-arg]


_GROW = """
import re, sys
from securekit.envelope import Envelope
from securekit.wrappers import LocalWrapper
envelope, piece, buffer = Envelope(LocalWrapper(bytes(range(32)))), bytes(1 << 20), bytearray(1 << 20)

def peak():  # not getrusage's, which is that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

def work(count):
    with envelope.open_writer(sys.argv[1], context={}) as writer:
        for _ in range(count):
            writer.write(piece)
    with envelope.open_reader(sys.argv[1], context={}) as reader:
        while reader.readinto(buffer):
            pass
    with open(sys.argv[1], "rb", buffering=0) as file, envelope.open_reader(file, context={}) as reader:
        while reader.read(1 << 18):
            pass

work(4)
before = peak()
work(256)
print(peak() - before)
"""


def test_memory_does_not_grow(path: Path, count: Count) -> None:
    """Writing and reading 256 MiB takes at most 8 MiB more than 4 MiB do."""
    done = subprocess.run([sys.executable, "-c", _GROW, path], capture_output=True, text=True, check=True)

    grown = int(done.stdout)
    assert grown <= 8 << 10
    count("KiB more memory for 256 MiB", grown)


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_the_mode_of_the_file_is_the_given_one(path: Path, mode: int) -> None:
    """A sealed file is as private as its maker says."""
    with ENVELOPE.open_writer(path, context=CONTEXT, mode=mode) as writer:
        writer.write(b"x")
    assert path.stat().st_mode & 0o777 == mode
    assert inspect_file(path).plaintext_size == 1
