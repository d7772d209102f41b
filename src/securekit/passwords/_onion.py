# SPDX-License-Identifier: Apache-2.0
"""Digests of old tables, which lie as one more layer under a strong hash until the next login.

A digest is hashed as what it is, in the text form that its name says: hexadecimal digits in lower case. At a login the password is turned
into the digest first, always; so a digest that leaked from the old table is no password.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from securekit._primitives import password_kdfs as kdfs
from securekit.exceptions import FormatError, PasswordBusyError
from securekit.secret import Secretive

from ._native import NativeHash
from ._profile import Profile, profile_of
from ._stored import Cost

__all__ = ["INTERPRETATIONS", "Imported", "check_layer", "import_table", "peel", "wrap"]

_MAX_SALT = 256  # bytes
_DIGITS = frozenset("0123456789abcdef")
_AHEAD = 4  # rows that are read ahead for each worker


class _Layer(NamedTuple):
    algorithm: str
    size: int  # bytes
    order: str = ""  # of salt and password, where there is a salt


_SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
_LAYERS = (
    {f"{name}-hex": _Layer(name, size) for name, size in _SIZES.items()}
    | {f"{name}-{order}": _Layer(name, size, order) for name, size in _SIZES.items() for order in ("salt-password", "password-salt")}
    | {"ntlm-hex": _Layer("md4", 16)}
)
INTERPRETATIONS: tuple[str, ...] = tuple(_LAYERS)
"""What a digest of an old table may have been made of: ``md5-hex`` of the password alone; ``md5-salt-password`` of the salt and then the
password; ``md5-password-salt`` the other way round; the same with SHA-1, SHA-256 and SHA-512; ``ntlm-hex`` is Windows' MD4."""

K = TypeVar("K")
Row: TypeAlias = tuple[K, str | None] | tuple[K, str | None, bytes | str]


@dataclass(frozen=True, slots=True, repr=False)
class Imported(Secretive, Generic[K]):
    """What became of one row of an old table.

    Attributes:
        key: The row's, as it was given.
        hash: What to store in the digest's place; None if there is a problem.
        problem: Why the row was not imported: a sentence without the digest.
    """

    key: K
    hash: str | None
    problem: str | None = None

    def __repr__(self) -> str:
        """Show the row's key and its problem, and nothing of the hash."""
        return f"Imported(key={self.key!r}, hash={'********' if self.hash else None}, problem={self.problem!r})"


def import_table(
    rows: Iterable[Row[K]],
    interpretation: str,
    profile: str | Profile = "modern",
    *,
    workers: int | None = None,
) -> Iterator[Imported[K]]:
    """Wrap a whole table of digests, without any password; the hashes are made in several threads at once.

    Args:
        rows: ``(key, digest)`` or ``(key, digest, salt)`` each. A salt of text is its UTF-8.
        interpretation: One of `INTERPRETATIONS`, which holds for all of these rows.
        profile: As for `PasswordHasher`.
        workers: Hashes at once, each with the profile's memory; as many as there are processors, if not given.

    Yields:
        One `Imported` for each row, in the order of the rows. A row that cannot be imported is reported and ends nothing.

    Raises:
        ValueError: There is no such interpretation or profile, or ``workers`` is less than 1.
        securekit.exceptions.FormatError: This Python cannot compute the digests.
        securekit.exceptions.PasswordBusyError: The system does not grant the memory. All that was yielded before is good.
    """
    cost = profile_of(profile).cost
    if interpretation not in INTERPRETATIONS:
        message = f"there is no interpretation {interpretation!r}; there are {', '.join(INTERPRETATIONS)}"
        raise ValueError(message)
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        message = f"workers must be at least 1, not {workers}"
        raise ValueError(message)
    check_layer(interpretation, b"salt" if _LAYERS[interpretation].order else b"")
    return _imported(rows, interpretation, cost, workers)


def wrap(digest: str, interpretation: str, *, salt: bytes | str = b"", profile: str | Profile = "modern") -> str:
    """Return a strong hash over the digest of an unknown password, to be stored in its place.

    Args:
        digest: Hexadecimal digits, of either case.
        interpretation: One of `INTERPRETATIONS`.
        salt: 1 to 256 bytes where the interpretation has one; text is its UTF-8.
        profile: As for `PasswordHasher`.

    Raises:
        ValueError: There is no such profile.
        securekit.exceptions.FormatError: There is no such interpretation, or not with such a digest and salt.
        MemoryError: The system does not grant the memory.
    """
    row = _Digest(digest, salt)
    del digest, salt
    problem = row.problem(interpretation)
    if problem:
        raise FormatError(problem)
    return row.wrapped(interpretation, profile_of(profile).cost)


def check_layer(name: str, salt: bytes) -> None:
    """Check that a layer is known, and has a salt where it needs one (``b""`` is none).

    Raises:
        securekit.exceptions.FormatError: It is not.
    """
    problem = _layer_problem(name, len(salt))
    del salt
    if problem:
        raise FormatError(problem)


def peel(name: str, salt: bytes, password: bytes) -> bytes:
    """Return the digest in the text form that the layer names, which is what was hashed at the import.

    Args:
        name: One of `INTERPRETATIONS`.
        salt: Empty where there is none.
        password: UTF-8, as given by the user.
    """
    layer = _LAYERS[name]
    if layer.algorithm == "md4":
        return kdfs.md4(password.decode().encode("utf-16-le")).hex().encode()
    data = salt + password if layer.order == "salt-password" else password + salt
    return hashlib.new(layer.algorithm, data, usedforsecurity=False).hexdigest().encode()


class _Digest(Secretive):
    """One digest of an old table."""

    __slots__ = ("_salt", "_text")

    def __init__(self, text: str | None, salt: bytes | str) -> None:
        self._text = text.lower() if isinstance(text, str) else ""
        self._salt = salt.encode(errors="surrogatepass") if isinstance(salt, str) else salt

    def problem(self, interpretation: str) -> str:
        """Return why it cannot be wrapped so, or nothing."""
        problem = _layer_problem(interpretation, len(self._salt))
        if problem:
            return problem
        digits = 2 * _LAYERS[interpretation].size
        if len(self._text) != digits or not _DIGITS.issuperset(self._text):
            return f"a digest of {interpretation} has {digits} hexadecimal digits"
        return ""

    def wrapped(self, interpretation: str, cost: Cost) -> str:
        return NativeHash.over(cost, self._text.encode(), layer=interpretation, salt=self._salt).text()


def _layer_problem(name: str, salt: int) -> str:
    """Return why there is no such layer, with so many bytes of salt, or nothing."""
    layer = _LAYERS.get(name)
    if layer is None:
        return f"there is no such layer of digests; there are {', '.join(INTERPRETATIONS)}"
    if not layer.order and salt:
        return f"{name} has no salt; with one, the name says where it stands"
    if layer.order and not 1 <= salt <= _MAX_SALT:
        return f"{name} has a salt of 1 to {_MAX_SALT} bytes"
    if layer.algorithm == "md4":
        try:
            kdfs.md4(b"")
        except NotImplementedError as error:
            return str(error)
    return ""


def _imported(rows: Iterable[Row[K]], interpretation: str, cost: Cost, workers: int) -> Iterator[Imported[K]]:
    """Keep the workers busy, and no more rows in memory than that takes."""
    pending: deque[Future[Imported[K] | None]] = deque()
    remaining = iter(rows)
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                ahead = islice(remaining, _AHEAD * workers - len(pending))
                pending.extend(pool.submit(_import_row, key, digest, interpretation, cost) for key, digest in map(_taken, ahead))
                if not pending:
                    return
                done = pending.popleft().result()
                if done is None:
                    break
                yield done
        finally:  # also where whoever takes the rows stops early
            pool.shutdown(wait=False, cancel_futures=True)
    message = "the system does not grant the memory for so many hashes at once: import with fewer workers"
    raise PasswordBusyError(message)


def _taken(row: Row[K]) -> tuple[K, _Digest]:
    key, text, *salt = row
    return key, _Digest(text, salt[0] if salt else b"")


def _import_row(key: K, digest: _Digest, interpretation: str, cost: Cost) -> Imported[K] | None:
    """Return None if the memory is not granted."""
    problem = digest.problem(interpretation)
    if problem:
        return Imported(key, None, problem)
    try:
        return Imported(key, digest.wrapped(interpretation, cost))
    except MemoryError:
        return None
