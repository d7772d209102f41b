# SPDX-License-Identifier: Apache-2.0
"""What a place must be able to do to hold keyring documents; and the simplest such place, memory.

A storage moves bytes. It never sees a key, and it decides nothing about a document except whether its revision is the
expected one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from threading import RLock
from typing import Protocol

from securekit._primitives.process import process
from securekit.exceptions import ConflictError, KeyStoreError

from ._document import KeyringDocument
from ._path import is_under

__all__ = ["DocumentStorage", "MemoryStorage", "check_revision"]


class DocumentStorage(Protocol):
    """Holds one document per path, with compare-and-swap on the document's revision.

    Every method raises `KeyStoreUnavailableError` when the place cannot be reached now, and `KeyStoreError` when it
    refuses. Paths have been checked. A place that derives from this class and knows no batches inherits what goes one by one.
    """

    def read(self, path: str) -> bytes | None:
        """Return the document, or None if there is none at ``path``."""

    def write(self, path: str, document: bytes, *, expected: int | None) -> None:
        """Replace the document of revision ``expected`` (None: there must be none), and return once it is durable.

        Raises:
            securekit.exceptions.ConflictError: Another revision is there; nothing was written.
        """

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes | KeyStoreError]:
        """Return what is there: each document, or why that one cannot be read. Paths without a document are left out."""
        found: dict[str, bytes | KeyStoreError] = {}
        for path in paths:
            try:
                document = self.read(path)
            except KeyStoreError as error:
                found[path] = error.with_traceback(None)
            else:
                if document is not None:
                    found[path] = document
        return found

    def write_many(self, items: Sequence[tuple[str, bytes, int | None]]) -> dict[str, KeyStoreError]:
        """Do `write` for each ``(path, document, expected)``, whose locks nobody holds here; return what was not written, and why."""
        failed: dict[str, KeyStoreError] = {}
        for path, document, expected in items:
            try:
                with self.lock(path):
                    self.write(path, document, expected=expected)
            except KeyStoreError as error:
                failed[path] = error.with_traceback(None)
        return failed

    def delete(self, path: str) -> None:
        """Remove the document, and what the place can erase of it."""

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Return every path at or below ``prefix`` that has a document, in no particular order, without loading documents."""

    def lock(self, path: str) -> AbstractContextManager[object]:
        """Return a lock that other writers of ``path`` respect; compare-and-swap decides where there is no such lock."""

    def check(self) -> None:
        """Raise `KeyStoreUnavailableError` if the whole place is missing, so that nobody takes it for an empty one."""


class MemoryStorage(DocumentStorage):
    """Documents in this process, gone with it."""

    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}
        self._lock = RLock()
        self._process = process.token

    def read(self, path: str) -> bytes | None:
        """Return the document, or None."""
        return self._documents.get(path)

    def write(self, path: str, document: bytes, *, expected: int | None) -> None:
        """Replace the document of revision ``expected``."""
        with self.lock(path):
            check_revision(path, self._documents.get(path), expected)
            self._documents[path] = document

    def delete(self, path: str) -> None:
        """Forget the document."""
        self._documents.pop(path, None)

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Return the paths."""
        return iter([path for path in list(self._documents) if is_under(path, prefix)])

    def lock(self, path: str) -> AbstractContextManager[object]:  # noqa: ARG002 - one lock for all
        """Return the one lock; a forked child has copies of the documents and a lock of its own."""
        if self._process is not process.token:
            self._lock, self._process = RLock(), process.token
        return self._lock

    def check(self) -> None:
        """Memory is always there."""


def check_revision(path: str, current: bytes | None, expected: int | None) -> None:
    """Compare what is stored with what the writer has read.

    Raises:
        securekit.exceptions.ConflictError: They differ.
    """
    revision = None if current is None else KeyringDocument.decode(current).document.revision
    if revision != expected:
        message = f"{path} is at {_name(revision)} and not at {_name(expected)}: another process wrote first; read it again and retry"
        raise ConflictError(message)


def _name(revision: int | None) -> str:
    return "no revision" if revision is None else f"revision {revision}"
