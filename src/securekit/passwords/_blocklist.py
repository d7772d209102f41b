# SPDX-License-Identifier: Apache-2.0
"""Passwords that others have used: the commonest, which come with the library, and lists of breached ones, which do not. Always offline.

The lists of breached passwords are those of haveibeenpwned.com (Pwned Passwords): SHA-1 digests with counts, either one file that is
ordered by digest, or one file per range: the first 5 hexadecimal digits are the file's name. They are looked up by a few reads, and
never loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

__all__ = ["Blocklist"]

_RANGE = 5  # hexadecimal digits of a range's name
_DIGEST = 40  # hexadecimal digits of SHA-1
_MAX_LINE = 128  # bytes: a digest, a colon, a count, and the line's end
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
        """Return a list of your own; capitals do not matter."""
        return cls([frozenset(word.casefold() for word in words).__contains__])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Blocklist:
        """Return the list in one file of lines ``SHA-1 digest:count`` that is ordered by digest, of whatever size.

        Raises:
            OSError: There is no such file.
            ValueError: It does not begin with such a line.
        """
        file = Path(path)
        with file.open("rb") as opened:
            if not _is_digest(opened.readline(_MAX_LINE).split(b":")[0].rstrip()):
                message = f"{file} is no list of SHA-1 digests with counts, such as haveibeenpwned.com publishes"
                raise ValueError(message)
        return cls([lambda password: _in_file(file, _digest(password))])

    @classmethod
    def from_ranges(cls, directory: str | os.PathLike[str]) -> Blocklist:
        """Return the list in a directory with a file per range, ``00000`` or ``00000.txt`` …, of lines ``rest of the digest:count``.

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

    text = (files("securekit.passwords") / "common_passwords.txt").read_text()
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def _digest(password: str) -> bytes:
    # The digests that are published are SHA-1: nothing is protected by it here.
    return hashlib.sha1(password.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest().upper().encode()


def _is_digest(text: bytes) -> bool:
    return len(text) == _DIGEST and not text.strip(b"0123456789ABCDEFabcdef")


def _in_range(root: Path, suffix: str, digest: bytes) -> bool:
    name, rest = digest[:_RANGE].decode(), digest[_RANGE:]
    try:
        with (root / f"{name}{suffix}").open("rb") as file:
            data = file.read(_MAX_RANGE)
    except FileNotFoundError:
        message = f"{root} lacks the range {name}: the list is not whole"
        raise ValueError(message) from None
    # A count of 0 is padding, which hides how large a range is.
    return any(line.split(b":")[0].strip().upper() == rest and line.split(b":")[-1].strip() != b"0" for line in data.splitlines())


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
            found = line.split(b":")[0].strip().upper()
            if not line or begin >= high:
                high = middle
            elif found == digest:
                return True
            elif found < digest:
                low = begin + len(line)
            else:
                high = middle
    return False
