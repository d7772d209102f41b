# SPDX-License-Identifier: Apache-2.0
"""Passwords that others have used: the commonest, which come with the library, and lists of breached ones, which do not. Always offline.

The lists of breached passwords are those of haveibeenpwned.com (Pwned Passwords): SHA-1 digests with counts, either one file that is
ordered by digest, or one file per range: the first 5 hexadecimal digits are the file's name. They are looked up by a few reads, and
never loaded.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

__all__ = ["Blocklist", "folded_text"]

_RANGE = 5  # hexadecimal digits of a range's name
_DIGEST = 40  # hexadecimal digits of SHA-1
_MAX_LINE = 128  # bytes: a digest, a colon, a count, and the line's end
_SAMPLES = 64  # lines of a file that are looked at first
_MAX_RANGE = 4 * 1024 * 1024  # bytes of a range's file


class Blocklist:
    """Passwords that are refused because others have used them. Made by `common`, `from_words`, `from_file` and `from_ranges`.

    Lists are joined by ``|``: ``Blocklist.common() | Blocklist.from_ranges("pwned/")``.
    """

    def __init__(self, lookups: Iterable[Callable[[str], bool]]) -> None:
        self._lookups = tuple(lookups)

    @classmethod
    def common(cls) -> Blocklist:
        """Return the commonest passwords, which come with the library: some hundreds, in small letters."""
        return cls([_common().__contains__])

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Blocklist:
        """Return a list of your own; capitals do not matter, nor how a letter is composed."""
        return cls([frozenset(map(folded_text, words)).__contains__])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Blocklist:
        """Return the list in one file of lines ``SHA-1 digest:count`` that is ordered by digest, of whatever size.

        Raises:
            OSError: There is no such file.
            ValueError: It does not begin with such a line, or is not ordered by digest: so a part of it would never be found.
        """
        file = Path(path)
        samples = _samples(file)
        if not _is_hexadecimal(samples[0], _DIGEST):
            message = f"{file} is no list of SHA-1 digests with counts, such as haveibeenpwned.com publishes"
            raise ValueError(message)
        if samples != sorted(samples) or not all(_is_hexadecimal(sample, _DIGEST) for sample in samples):
            message = f"{file} is not ordered by digest; haveibeenpwned.com publishes a list that is, and one by count, which is of no use"
            raise ValueError(message)
        return cls([lambda password: _in_file(file, _digest(password))])

    @classmethod
    def from_ranges(cls, directory: str | os.PathLike[str]) -> Blocklist:
        """Return the list in a directory with a file per range, ``00000`` or ``00000.txt`` …, of lines ``rest of the digest:count``.

        A range that is missing, empty or no list raises ``ValueError`` when a password of it is looked up.

        Raises:
            ValueError: There is no such directory, or no such file in it.
        """
        root = Path(directory)
        names = [name for name in ("00000", "00000.txt") if (root / name).is_file()]
        if not names:
            message = f"{root} holds no ranges of SHA-1 digests, which are files 00000 to FFFFF, such as haveibeenpwned.com publishes"
            raise ValueError(message)
        suffix = names[0][_RANGE:]
        return cls([lambda password: _in_range(root, suffix, _digest(password))])

    def __contains__(self, password: object) -> bool:
        """Whether others have used it."""
        return isinstance(password, str) and any(lookup(password) for lookup in self._lookups)

    def __or__(self, other: Blocklist) -> Blocklist:
        """Return what is in one of two lists."""
        return Blocklist((*self._lookups, *other._lookups))


@cache
def _common() -> frozenset[str]:
    from importlib.resources import files

    text = (files("securekit.passwords") / "common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def folded_text(text: str) -> str:
    """Return text as it is looked up: in Unicode's form NFKC, and in small letters."""
    return unicodedata.normalize("NFKC", text).casefold()


def _digest(password: str) -> bytes:
    # The digests that are published are SHA-1: nothing is protected by it here.
    return hashlib.sha1(password.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest().upper().encode()


def _is_hexadecimal(text: bytes, digits: int) -> bool:
    return len(text) == digits and not text.strip(b"0123456789ABCDEFabcdef")


def _first(line: bytes) -> bytes:
    """Return what stands before the count."""
    return line.split(b":")[0].strip().upper()


def _samples(path: Path) -> list[bytes]:
    """Return the digests of the first line and of some more, evenly spread."""
    with path.open("rb") as file:
        samples = [_first(file.readline(_MAX_LINE))]
        size = file.seek(0, os.SEEK_END)
        for number in range(1, _SAMPLES):
            file.seek(size * number // _SAMPLES)
            file.readline(_MAX_LINE)  # to the beginning of the next line
            line = file.readline(_MAX_LINE)
            if line.strip():
                samples.append(_first(line))
    return samples


def _in_range(root: Path, suffix: str, digest: bytes) -> bool:
    name, rest = digest[:_RANGE].decode(), digest[_RANGE:]
    try:
        with (root / f"{name}{suffix}").open("rb") as file:
            data = file.read(_MAX_RANGE + 1).removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        message = f"{root} lacks the range {name}: the list is not whole"
        raise ValueError(message) from None
    # Such as a download that was interrupted, or the page of an error: no password is accepted because of it.
    if len(data) > _MAX_RANGE or not _is_hexadecimal(_first(data.partition(b"\n")[0]), len(rest)):
        message = f"the range {name} in {root} holds no digests with counts, or too many: the list is not whole"
        raise ValueError(message)
    # A count of 0 is padding, which hides how large a range is.
    return any(_first(line) == rest and line.split(b":")[-1].strip() != b"0" for line in data.splitlines())


def _in_file(path: Path, digest: bytes) -> bool:
    """Search an ordered file by halving it."""
    with path.open("rb") as file:
        low, high = 0, file.seek(0, os.SEEK_END)  # the line that is looked for, if any, begins at low at least and before high
        while low < high:
            middle = (low + high) // 2
            file.seek(middle)
            if middle:
                file.seek(middle - 1)
                file.readline(_MAX_LINE)  # to the beginning of the next line
            begin = file.tell()
            line = file.readline(_MAX_LINE)
            found = _first(line)
            if not line or begin >= high:
                high = middle
            elif found == digest:
                return True
            elif found < digest:
                low = begin + len(line)
            else:
                high = middle
    return False
