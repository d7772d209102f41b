# SPDX-License-Identifier: Apache-2.0
"""Sealed files for the command line: one file, a pipe, or a tree of files; to recipients and back."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import click

from securekit.exceptions import DecryptionError, SecureKitError

from ._ui import FAILED, UNVERIFIED, fail, note, printable, progress

if TYPE_CHECKING:
    from securekit.envelope import Envelope, SealedReader, SealedWriter
    from securekit.wrappers import KeyWrapper

__all__ = [
    "SUFFIX",
    "FileJob",
    "Source",
    "for_each",
    "open_identities",
    "open_recipients",
    "parse_range",
    "sealed_files",
    "source_of",
    "writing",
]

SUFFIX = ".sk"
_STEP = 1024 * 1024  # bytes
_PEM = b"-----BEGIN "
_PUBLIC = b"securekit-pq-public-1:"
_PRIVATE = b"securekit-pq-private-1:"


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
            self._tree(source, output, self._open, lambda name: name.removesuffix(SUFFIX))
            return
        with progress("bytes", _size(source)) as advance:
            self._open(source, output, advance, part=part)

    def _tree(self, source: Path, output: Path | None, change: Change, rename: Callable[[str], str]) -> None:
        if output is None:
            message = f"{source} is a directory: name another one with -o, for the results"
            raise ValueError(message)
        files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
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
        with self.envelope.open_reader(source, context=self.context) as opened, writing(output) as out:
            if part is None:
                _copy(opened, out, advance)
            else:
                _copy_part(opened, out, advance, part)
        self._keep(source, output)

    def _keep(self, source: Source, target: Path | None) -> None:
        if self.preserve and isinstance(source, Path) and target is not None:
            facts = source.stat()
            target.chmod(facts.st_mode & 0o777)
            os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def source_of(file: Path | None) -> Source:
    """Return ``file``, or standard input, in a form that can be looked into, if it is None or ``-``."""
    return file if file is not None and str(file) != "-" else io.BufferedReader(cast("io.RawIOBase", sys.stdin.buffer))


def open_recipients(names: Sequence[str], *, passphrase: bool) -> list[KeyWrapper]:
    """Return the wrappers that ``--to`` names: as `open_wrapper`, or a file with a certificate or a post-quantum key."""
    from securekit.opening import open_wrapper

    wrappers = [open_wrapper(_with_kind(name, "")) for name in names]
    if passphrase:
        wrappers.append(open_wrapper("passphrase:", ask=_ask_twice))
    return wrappers


def open_identities(names: Sequence[str]) -> list[KeyWrapper]:
    """Return the wrappers that ``--identity`` names: as `open_wrapper`, or a file with a private key."""
    from securekit.opening import open_wrapper

    return [open_wrapper(_with_kind(name, "?key=")) for name in names]


def sealed_files(named: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and every file below named directories whose name ends in ``.sk``."""
    found = []
    for path in named:
        found += sorted(below for below in path.rglob(f"*{SUFFIX}") if below.is_file()) if path.is_dir() else [path]
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
    """Call ``change`` for every file, also after one has failed; then say which did, and end with the exit code that fits."""
    from concurrent.futures import ThreadPoolExecutor

    failures: list[Exception] = []

    def attempt(path: Path) -> None:
        try:
            change(path)
        except (SecureKitError, OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            note(printable(f"securekit: error: {path}: {reason}"))
            failures.append(error)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(attempt, files))
    if failures:
        code = UNVERIFIED if any(isinstance(error, DecryptionError) for error in failures) else FAILED
        fail(f"{len(failures)} of {len(files)} files failed; the others are done", code=code)


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


def _with_kind(name: str, option: str) -> str:
    """Return ``name`` as `open_wrapper` takes it, from the name of a file by what is in it."""
    kind, colon, _ = name.partition(":")
    if colon and kind.isalnum() and not Path(name).exists():
        return name
    try:
        with Path(name).open("rb") as file:
            begin = file.read(64)
    except OSError as error:
        message = f"{name}: {error.strerror}"
        raise ValueError(message) from None
    if begin.startswith((_PUBLIC, _PRIVATE)):
        return f"pq:{option}{name}"
    if name.endswith((".p12", ".pfx")):
        return f"pkcs12:{name}"
    if _PEM in begin or begin.startswith(b"\x30"):
        return f"cert:{option}{name}"
    return f"local:{name}"


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


def _copy(reading: BinaryIO | SealedReader, writing: BinaryIO | SealedWriter, advance: Callable[[int], None]) -> None:
    buffer = memoryview(bytearray(_STEP))
    while count := reading.readinto(buffer):  # type: ignore[union-attr]
        writing.write(buffer[:count])
        advance(count)


def _copy_part(opened: SealedReader, writing: BinaryIO, advance: Advance, part: tuple[int, int | None]) -> None:
    first, last = part
    size = opened.seek(0, os.SEEK_END)
    left = max(0, (size if last is None else min(last + 1, size)) - first)
    opened.seek(first)
    while left and (piece := opened.read(min(left, _STEP))):
        writing.write(piece)
        advance(len(piece))
        left -= len(piece)


def _size(source: Source) -> int | None:
    return source.stat().st_size if isinstance(source, Path) else None
