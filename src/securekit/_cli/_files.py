# SPDX-License-Identifier: Apache-2.0
"""Sealed files for the command line: one file, a pipe, or a tree of files; to recipients and back."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import click

from securekit.exceptions import SecureKitError

from ._ui import fail_with, note, printable, progress

if TYPE_CHECKING:
    from securekit.envelope import Envelope, SealedReader, SealedWriter
    from securekit.wrappers import KeyWrapper

__all__ = [
    "SUFFIX",
    "FileJob",
    "Source",
    "for_each",
    "is_sealed",
    "open_identities",
    "open_recipients",
    "output_of",
    "parse_range",
    "references",
    "sealed_files",
    "source_of",
    "writing",
]

SUFFIX = ".sk"
_STEP = 1024 * 1024  # bytes
_MAGIC = b"sk-envelope/1\n"
_MESSAGE = _MAGIC + b"\0"  # the flags of what `Envelope.encrypt` makes
_MAX_MESSAGE = 65 * 1024 * 1024  # bytes: 64 MiB, with the longest header

Advance = Callable[[int], None]
Source = Path | io.BufferedReader


class Change(Protocol):
    """What is done to one file."""

    def __call__(self, source: Source, output: Path | None, advance: Advance, /) -> None: ...


@dataclass(frozen=True, slots=True)
class FileJob:
    """What is done to every file: ``context`` is the same for all; ``preserve`` keeps mode and time of change."""

    envelope: Envelope
    context: dict[str, str]
    workers: int
    preserve: bool

    def seal(self, source: Source, output: Path | None) -> None:
        """Seal a file, standard input, or every file below a directory."""
        if isinstance(source, Path) and source.is_dir():
            self._tree(source, output, self._seal, lambda name: name + SUFFIX)
            return
        with progress("bytes", _size(source)) as advance:
            self._seal(source, output, advance)

    def open(self, source: Source, output: Path | None, *, part: tuple[int, int | None] | None = None) -> None:
        """Open what `seal` made; of one file, perhaps only a part."""
        if isinstance(source, Path) and source.is_dir():
            if part:
                message = f"--range goes with one file, and {source} is a directory"
                raise ValueError(message)
            self._tree(source, output, self._open, lambda name: name.removesuffix(SUFFIX))
            return
        with progress("bytes", None if part else _size(source)) as advance:
            self._open(source, output, advance, part=part)

    def _tree(self, source: Path, output: Path | None, change: Change, rename: Callable[[str], str]) -> None:
        if output is None:
            message = f"{source} is a directory: name another one with -o, for the results"
            raise ValueError(message)
        files = _files_below(source)
        with progress("bytes", sum(path.stat().st_size for path in files)) as advance:

            def one(path: Path) -> None:
                target = output / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                change(path, target.with_name(rename(target.name)), advance)

            for_each(files, one, workers=self.workers)

    def _seal(self, source: Source, output: Path | None, advance: Advance) -> None:
        target = output if output is not None else cast("BinaryIO", _OneWay(sys.stdout.buffer))
        with _reading(source) as reading, self.envelope.open_writer(target, context=self.context) as sealed:
            _copy(reading, sealed, advance)
        self._keep(source, output)

    def _open(self, source: Source, output: Path | None, advance: Advance, *, part: tuple[int, int | None] | None = None) -> None:
        with self._reader(source) as opened, writing(output) as out:
            if part is None:
                _copy(opened, out, advance)
            else:
                _copy_part(opened, out, advance, part)
        self._keep(source, output)

    def _reader(self, source: Source) -> BinaryIO | SealedReader:
        if not _begins(source, _MESSAGE):
            return self.envelope.open_reader(source, context=self.context)
        with _reading(source) as file:
            return io.BytesIO(self.envelope.decrypt(file.read(_MAX_MESSAGE), context=self.context))

    def _keep(self, source: Source, target: Path | None) -> None:
        if self.preserve and isinstance(source, Path) and target is not None:
            facts = source.stat()
            target.chmod(facts.st_mode & 0o777)
            os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def source_of(file: Path | None) -> Source:
    """Return ``file``; a pipe, or standard input for None or ``-``, in a form that can be looked into."""
    if file is None or str(file) == "-":
        return io.BufferedReader(cast("io.RawIOBase", sys.stdin.buffer))
    if file.is_file() or file.is_dir():
        return file
    pipe = click.get_current_context().with_resource(file.open("rb"))
    return io.BufferedReader(cast("io.RawIOBase", pipe))


def output_of(output: Path | None, source: Source) -> Path | None:
    """Return ``output``, or None for standard output; a device or pipe is not replaced by a file."""
    if output is None or str(output) == "-":
        return None
    if isinstance(source, Path) and source.is_dir():
        kind, fits = "directory", output.is_dir()
    else:
        kind, fits = "regular file", output.is_file()
    if output.exists() and not fits:
        message = f"{output} is there, and is no {kind}"
        raise ValueError(message)
    return output


def is_sealed(source: Source) -> bool:
    """Whether the first bytes are those of sealed data; of a directory, it is taken for granted."""
    return (isinstance(source, Path) and source.is_dir()) or _begins(source, _MAGIC)


def open_recipients(names: Sequence[str], *, passphrase: bool) -> list[KeyWrapper]:
    """Return the wrappers that ``--to`` names: as `open_wrapper`, or a file with a certificate or a post-quantum key."""
    from securekit.opening import kind_of, open_wrapper

    wrappers = [open_wrapper(kind_of(name, opens=False)) for name in names]
    if passphrase:
        wrappers.append(open_wrapper("passphrase:", ask=_ask_twice))
    return wrappers


def open_identities(names: Sequence[str]) -> list[KeyWrapper]:
    """Return the wrappers that ``--identity`` names: as `open_wrapper`, or a file with a private key."""
    from securekit.opening import kind_of, open_wrapper

    return [open_wrapper(kind_of(name, opens=True)) for name in names]


def references(names: Sequence[str]) -> list[str]:
    """Return what ``--drop`` names: references, or those of the certificates and keys in files."""
    return [wrapper.key_ref for wrapper in open_recipients([name for name in names if Path(name).is_file()], passphrase=False)] + [
        name for name in names if not Path(name).is_file()
    ]


def sealed_files(named: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and every file below named directories whose name ends in ``.sk``."""
    found = []
    for path in named:
        found += _files_below(path, suffix=SUFFIX) if path.is_dir() else [path]
    return found


def parse_range(text: str | None) -> tuple[int, int | None] | None:
    """Return first and last byte of ``A-B``, both included as in HTTP; ``A-`` goes to the end."""
    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not dash or not first.isdecimal() or (last and not last.isdecimal()) or (last and int(last) < int(first)):
        message = f"a range is A-B or A-, in bytes from 0, not {text!r}"
        raise ValueError(message)
    return int(first), int(last) if last else None


def for_each(files: Sequence[Path], change: Callable[[Path], object], *, workers: int) -> None:
    """Call ``change`` for every file, also after one has failed; then end with the exit code that fits."""
    from concurrent.futures import ThreadPoolExecutor

    failures: list[int] = []

    def attempt(path: Path) -> None:
        try:
            change(path)
        except (SecureKitError, OSError, ValueError) as error:
            try:
                fail_with(error, str(path))
            except SystemExit as end:
                failures.append(int(str(end.code)))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(attempt, files))
    if len(files) > 1 and failures:
        note(f"securekit: error: {len(failures)} of {len(files)} files failed; the others are done")
    if failures:
        sys.exit(max(failures))


@contextmanager
def writing(output: Path | None) -> Iterator[BinaryIO]:
    """Give a file that is ``output`` once it is complete, or standard output."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from securekit._wire.atomic import atomic_writer

    with atomic_writer(output) as file:
        yield file


def _ask_twice(what: str) -> str:
    answer: str = click.prompt(what.capitalize(), hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _files_below(directory: Path, *, suffix: str = "") -> list[Path]:
    """Return the regular files below ``directory``. What cannot be looked into is an error, and never left out silently."""

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    others = 0
    for folder, folders, names in os.walk(directory, onerror=refuse):
        for path in (Path(folder, name) for name in (*folders, *names) if name.endswith(suffix)):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(path)
            others += not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    if others:
        note(f"securekit: warning: left out below {printable(str(directory))}: {others} links or other things that are no files")
    return sorted(found)


def _begins(source: Source, begin: bytes) -> bool:
    if not isinstance(source, Path):
        return source.peek(len(begin))[: len(begin)] == begin
    with source.open("rb") as file:
        return file.read(len(begin)) == begin


@contextmanager
def _reading(source: Source) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        yield source
        return
    with source.open("rb") as file:
        yield file


class _OneWay:
    """Standard output as a pipe, whatever it is: what is sealed to it has one header, and nobody looks back."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
        self.flush = file.flush

    def seekable(self) -> bool:
        return False


def _copy(reading: BinaryIO | SealedReader, writing: BinaryIO | SealedWriter, advance: Advance) -> None:
    buffer = memoryview(bytearray(_STEP))
    while count := reading.readinto(buffer):  # type: ignore[union-attr]
        writing.write(buffer[:count])
        advance(count)


def _copy_part(opened: BinaryIO | SealedReader, writing: BinaryIO, advance: Advance, part: tuple[int, int | None]) -> None:
    if not opened.seekable():
        message = "--range goes with a file: in a pipe, nothing can be skipped"
        raise ValueError(message)
    first, last = part
    size = opened.seek(0, os.SEEK_END)
    if first > size:
        message = f"the range begins at {first}, behind the end of the data at {size}"
        raise ValueError(message)
    left = (size if last is None else min(last + 1, size)) - first
    opened.seek(first)
    while left and (piece := opened.read(min(left, _STEP))):
        writing.write(piece)
        advance(len(piece))
        left -= len(piece)


def _size(source: Source) -> int | None:
    return source.stat().st_size if isinstance(source, Path) else None
