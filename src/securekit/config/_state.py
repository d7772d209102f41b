# SPDX-License-Identifier: Apache-2.0
"""What this host has seen: per document the last text that was verified, and the recipients that were confirmed.

It holds no secret: a document's text has its secrets encrypted. It is guarded like a key file all the same, since who
changes it decides what an editor believes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from securekit._wire.atomic import locked, write_atomic, write_new
from securekit._wire.key_files import read_key_file
from securekit.exceptions import ConfigError, ConflictError, KeyFileError

from ._document_trust import exists

if TYPE_CHECKING:
    from ._document import Document

__all__ = ["STATE_VARIABLE", "HostState", "Seen"]

STATE_VARIABLE = "SECUREKIT_STATE"
_MAX_DIGESTS = 256
_MAX_SIZE = 8 * 1024 * 1024  # bytes of one document's entry
_ATTEMPTS = 100  # of other processes that remember the same document at the same moment


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one document.

    Attributes:
        format: The format of ``text``.
        text: The last text that this host has verified or written; empty if there was none.
        digests: SHA-256 of what signatures cover of the versions that it has verified or written, in hexadecimal, the last ones:
            branches come and go. Comments are not covered, and may change.
        recipients: The pairs ``wrapper:key_ref`` that were confirmed.
    """

    format: str = ""
    text: str = ""
    digests: tuple[str, ...] = ()
    recipients: frozenset[str] = field(default_factory=frozenset)

    def knows(self, document: Document) -> bool:
        """Whether this host has verified or written ``document``; perhaps with other comments."""
        return _digest(document) in self.digests


class HostState:
    """The folder that remembers what was seen.

    Args:
        folder: Where; made when it is first written to, of mode 0700.
    """

    __slots__ = ("_held", "folder")

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._held = False

    @classmethod
    def of_user(cls, environ: Mapping[str, str] | None = None) -> HostState:
        """Return the state in ``SECUREKIT_STATE``, or else where the XDG base directories have it."""
        variables = os.environ if environ is None else environ
        named = variables.get(STATE_VARIABLE)
        if named:
            return cls(named)
        base = variables.get("XDG_STATE_HOME") or Path(variables.get("HOME") or Path.home(), ".local", "state")
        return cls(Path(base, "securekit"))

    def seen(self, document: bytes) -> Seen:
        """Return what was seen of the document with that id.

        Raises:
            securekit.exceptions.ConfigError: The entry is not guarded, or damaged; names the file.
        """
        return self._read(self._path(document))[1]

    @staticmethod
    def _read(path: Path) -> tuple[bytes | None, Seen]:
        """Return an entry's bytes, None if there are none, and what they say."""
        try:
            if not exists(path):
                return None, Seen()
            data = read_key_file(path, max_size=_MAX_SIZE)
            entry = json.loads(data)
            return data, Seen(
                str(entry["format"]), str(entry["text"]), tuple(map(str, entry["digests"])), frozenset(map(str, entry["recipients"]))
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            message = f"{path}, which remembers what this host has seen of a document, is damaged: remove it, and adopt the document anew"
        except KeyFileError as error:
            message = f"{error} (it remembers what this host has seen of a document)"
        raise ConfigError(message)

    def remember(self, document: Document) -> None:
        """Remember a document that was verified or is made here, and that its recipients are known.

        Raises:
            securekit.exceptions.ConfigError: The folder cannot be written to; names it.
        """
        path = self._path(document.required.document)
        digest = _digest(document)
        recipients = {f"{recipient.wrapper}:{recipient.key_ref}" for recipient in document.required.recipients}
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for _ in range(_ATTEMPTS):
                data, before = self._read(path)
                entry = {
                    "digests": [digest, *(old for old in before.digests if old != digest)][:_MAX_DIGESTS],
                    "format": document.format,
                    "recipients": sorted(before.recipients | recipients),
                    "text": document.source.text,
                }
                if _replace(path, data, json.dumps(entry, ensure_ascii=False).encode()):
                    return
            problem = "others change it all the time"
        except OSError as error:
            problem = str(error.strerror)
        self._refuse(problem)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of this state: of the processes that ask for it, only this one goes on. It may be held twice.

        Raises:
            securekit.exceptions.ConfigError: The folder cannot be made.
            BlockingIOError: Somebody else holds it for longer than 30 seconds.
        """
        if self._held:
            yield
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._refuse(str(error.strerror))
        try:
            with locked(descriptor, self.folder):
                self._held = True
                yield
        finally:
            self._held = False
            os.close(descriptor)

    def _refuse(self, problem: str) -> NoReturn:
        message = f"cannot remember the document in {self.folder}: {problem}; name another folder with {STATE_VARIABLE}"
        raise ConfigError(message) from None

    def _path(self, document: bytes) -> Path:
        return self.folder / "documents" / f"{document.hex()}.json"


def _replace(path: Path, before: bytes | None, data: bytes) -> bool:
    """Write an entry; False if another process was faster."""
    try:
        if before is None:
            write_new(path, data)
        else:
            write_atomic(path, data, expected=before)
    except (FileExistsError, ConflictError):
        return False
    return True


def _digest(document: Document) -> str:
    return hashlib.sha256(document.signed_bytes).hexdigest()
