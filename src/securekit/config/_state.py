# SPDX-License-Identifier: Apache-2.0
"""What this host has seen: per document the last text that was verified, and the recipients that were confirmed.

It holds no secret: a document's text has its secrets encrypted. It is guarded like a key file all the same, since who
changes it decides what an editor believes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from securekit._wire.atomic import write_atomic
from securekit._wire.key_files import read_key_file
from securekit.exceptions import ConfigError, KeyFileError

__all__ = ["STATE_VARIABLE", "HostState", "Seen"]

STATE_VARIABLE = "SECUREKIT_STATE"
_MAX_DIGESTS = 256
_MAX_SIZE = 8 * 1024 * 1024  # bytes of one document's entry


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one document.

    Attributes:
        format: The format of ``text``.
        text: The last text that this host has verified or written; empty if there was none.
        digests: SHA-256 of the texts that it has verified or written, in hexadecimal, the last ones: branches come and go.
        recipients: The pairs ``wrapper:key_ref`` that were confirmed.
    """

    format: str = ""
    text: str = ""
    digests: tuple[str, ...] = ()
    recipients: frozenset[str] = field(default_factory=frozenset)

    def knows(self, text: str) -> bool:
        """Whether this host has verified or written ``text``, to the letter."""
        return _digest(text) in self.digests


class HostState:
    """The folder that remembers what was seen.

    Args:
        folder: Where; made when it is first written to, of mode 0700.
    """

    __slots__ = ("folder",)

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

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
        path = self._path(document)
        if not path.exists():
            return Seen()
        try:
            entry = json.loads(read_key_file(path, max_size=_MAX_SIZE))
            return Seen(
                str(entry["format"]), str(entry["text"]), tuple(map(str, entry["digests"])), frozenset(map(str, entry["recipients"]))
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            message = f"{path}, which remembers what this host has seen of a document, is damaged: remove it, and adopt the document anew"
        except KeyFileError as error:
            message = f"{error} (it remembers what this host has seen of a document)"
        raise ConfigError(message)

    def remember(self, document: bytes, *, text: str, format: str, recipients: Iterable[tuple[str, str]]) -> None:  # noqa: A002 - the word
        """Remember a document that was verified or written here, and that its recipients are known.

        Raises:
            securekit.exceptions.ConfigError: The folder cannot be written to; names it.
        """
        before = self.seen(document)
        digest = _digest(text)
        entry = {
            "digests": [digest, *(old for old in before.digests if old != digest)][:_MAX_DIGESTS],
            "format": format,
            "recipients": sorted(before.recipients | {f"{name}:{reference}" for name, reference in recipients}),
            "text": text,
        }
        path = self._path(document)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(path, json.dumps(entry, ensure_ascii=False).encode())
        except OSError as error:
            message = f"cannot remember the document in {path.parent}: {error.strerror}; name another folder with {STATE_VARIABLE}"
            raise ConfigError(message) from None

    def _path(self, document: bytes) -> Path:
        return self.folder / "documents" / f"{document.hex()}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
