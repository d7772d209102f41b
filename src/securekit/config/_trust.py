# SPDX-License-Identifier: Apache-2.0
"""Whom to believe about a configuration document: a policy that stands outside of it.

RULES of this file:

1. What is not understood is refused: a misspelt key, an empty list, or a file that cannot be read never means "anything goes".
2. A policy of the host is read, with the certificates that it names, through the reader that refuses what others could have written.
   One out of a repository is what its reviewers let in; it keeps no state, since it must not choose what is written on this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from securekit._primitives.certificates import read_certificates
from securekit._primitives.signatures import SigningCertificate
from securekit._wire.key_files import read_policy_file
from securekit.exceptions import CertificateError, ConfigError, FormatError, KeyFileError
from securekit.wrappers import PostQuantumWrapper

from ._document_trust import DocumentTrust, Recipient, by_key, exists

__all__ = ["DocumentTrust", "Recipient", "Trust", "find_trust"]

FilePath = str | os.PathLike[str]

_VARIABLE = "SECUREKIT_TRUST"
_NAME = "trust.toml"
_MAX_SIZE = 64 * 1024  # bytes of a trust file, and of each file of a certificate
_MAX_DOCUMENTS = 1000
_MAX_ENTRIES = 64  # signers, recipients and mounts of one document, each
_MAX_TEXT = 256  # characters of an environment or a reference
_MAX_NUMBER = 2**63 - 1
_SHOWN = 100  # characters of a name in a message
_ID = re.compile(r"[0-9a-f]{32}")
_NAMED = re.compile(r"([a-z0-9][a-z0-9-]*):(.*)", re.DOTALL)
_HASH = re.compile(r"[0-9a-f]{64}")
_MOUNT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_BEGIN = "-----BEGIN "
_PQ_PUBLIC = b"securekit-pq-public-1:"
_KINDS: dict[type, str] = {str: "text", int: "number", list: "list"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe about which documents. Made by `read` or `parse`.

    Attributes:
        documents: By the document's id.
        source: The file.
        guarded: Whether it is this host's own. One out of a repository is in the hands of who writes the documents beside it,
            until a reviewer has looked.
    """

    documents: Mapping[str, DocumentTrust]
    source: Path
    guarded: bool = True

    @classmethod
    def read(cls, path: FilePath, *, guarded: bool = True) -> Trust:
        """Read a trust file and the certificates that it names, relative to its folder.

        Args:
            path: The file, in TOML.
            guarded: Whether it is this host's own, and so nobody else may have written it. Otherwise it is a repository's.

        Raises:
            securekit.exceptions.ConfigError: A file is missing, unguarded, or of another form; with the entry and the repair.
        """
        source = Path(path)
        try:
            text = _read_bytes(source, guarded=guarded).decode()
        except UnicodeDecodeError:
            message = f"{source} is not UTF-8 text"
            raise ConfigError(message) from None
        except KeyFileError as error:
            raise ConfigError(str(error)) from None
        return cls.parse(text, source.parent, source=source, guarded=guarded)

    @classmethod
    def parse(cls, text: str, folder: FilePath, *, source: FilePath | None = None, guarded: bool = True) -> Trust:
        """Take the text of a trust file, whose certificates are in ``folder``. Errors as `read`."""
        import tomllib

        name = Path(folder) / _NAME if source is None else Path(source)
        if len(text) > _MAX_SIZE:
            message = f"{name} has more than {_MAX_SIZE} characters"
            raise ConfigError(message)
        try:
            top = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"{name} is not TOML: {error}"
            raise ConfigError(message) from None
        table = _Table(top, str(name), name)
        entries = table.take("document", list, [])
        table.done()
        if len(entries) > _MAX_DOCUMENTS:
            table.refuse(f"has {len(entries)} documents; at most {_MAX_DOCUMENTS} are read: divide it")
        documents: dict[str, DocumentTrust] = {}
        states: set[Path] = set()
        for number, entry in enumerate(entries, 1):
            found = _document(_Table(entry, f"{name}, document {number}", name), Path(folder), guarded=guarded)
            if found.id in documents:
                table.refuse(f"has two entries for document {found.id}: join them")
            if found.state in states:
                table.refuse(f"has two documents with the state {found.state}: give each its own")
            documents[found.id] = found
            states |= {found.state} if found.state else set()
        return cls(documents, name, guarded)

    def entry(self, document_id: str) -> DocumentTrust:
        """Return what is said about a document.

        Raises:
            securekit.exceptions.ConfigError: Nothing is; the message says what to add.
        """
        if document_id in self.documents:
            return self.documents[document_id]
        message = (
            f"{self.source} does not name document {document_id}: if it is to be believed, add a [[document]] with"
            f' id = "{document_id}", its signers and its recipients'
        )
        raise ConfigError(message)


def find_trust(
    *,
    explicit: FilePath | Trust | None = None,
    identity: FilePath | None = None,
    environ: Mapping[str, str] | None = None,
    document: FilePath | None = None,
    repository: bool = False,
) -> Trust | None:
    """Return the policy that applies: the first that there is of the following, or None.

    Args:
        explicit: The caller's.
        environ: Its ``SECUREKIT_TRUST`` names a file; ``os.environ`` unless given.
        identity: The file of the private key, beside which ``trust.toml`` may stand.
        document: The file of the document; and, only if
        repository: is true, the nearest ``trust.toml`` beside it or above, up to the folder that has ``.git``.

    Raises:
        securekit.exceptions.ConfigError: The one that applies cannot be read. No other one is taken in its place.
    """
    if isinstance(explicit, Trust):
        return explicit
    if explicit is not None:
        return Trust.read(explicit)
    named = (os.environ if environ is None else environ).get(_VARIABLE)
    if named == "":
        message = f"{_VARIABLE} is empty: let it name the trust file, or unset it"
        raise ConfigError(message)
    if named is not None:
        return Trust.read(named)
    try:
        if identity is not None and exists(beside := Path(identity).parent / _NAME):
            return Trust.read(beside)
        if document is not None and repository:
            for folder in _within_repository(Path(document)):
                if exists(folder / _NAME):
                    return Trust.read(folder / _NAME, guarded=False)
    except KeyFileError as error:
        raise ConfigError(str(error)) from None
    return None


def _within_repository(document: Path) -> list[Path]:
    """Return the document's folder and those above it, up to the repository's; its folder alone if it is in none."""
    own = Path(os.path.realpath(document)).parent
    folders = [own, *own.parents]
    for number, folder in enumerate(folders, 1):
        if exists(folder / ".git"):
            return folders[:number]
    return [own]


# ------------------------------------------------------------------------------------------------ reading


class _Table:
    """A table of the file, from which every key is taken once: whatever is left over is a mistake."""

    def __init__(self, values: object, where: str, source: Path) -> None:
        self.where = where
        self.source = source
        if not isinstance(values, dict):
            self.refuse("is no table: write [[document]] above its lines")
        self._left = dict(values)

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Return the value of ``key``, exactly of this type: true is no number."""
        value = self._left.pop(key, default)
        if value is None:
            self.refuse(f"has no {key}: add it")
        if type(value) is not kind:
            self.refuse(f"has a {key} that is no {_KINDS[kind]}")
        return value

    def number(self, key: str, *, least: int, default: int) -> int:
        value = self.take(key, int, default)
        if not least <= value <= _MAX_NUMBER:
            self.refuse(f"has a number for {key} that is not {least} or more, and below 2^63")
        return value

    def text(self, key: str) -> str | None:
        if key not in self._left:
            return None
        value = self.take(key, str)
        if not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
            self.refuse(f"has a {key} that is not 1 to {_MAX_TEXT} printable characters")
        return value

    def texts(self, key: str, *, least: int) -> list[str]:
        values: list[object] = self.take(key, list, None if least else [])
        if not least <= len(values) <= _MAX_ENTRIES:
            self.refuse(f"has {len(values)} {key}; {least} to {_MAX_ENTRIES} are read")
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) != len(values):
            self.refuse(f"has {key} that are not all texts")
        return texts

    def done(self) -> None:
        for key in self._left:
            self.refuse(f"has the unknown key {key[:_MAX_TEXT]!r}: correct or remove it")

    def refuse(self, problem: str) -> NoReturn:
        message = f"{self.where} {problem}"
        raise ConfigError(message) from None


def _document(table: _Table, folder: Path, *, guarded: bool) -> DocumentTrust:
    identifier = table.take("id", str)
    if not _ID.fullmatch(identifier):
        table.refuse("has an id that is not 32 hexadecimal digits: copy it from the document's metadata")
    table.where += f" ({identifier})"
    state = table.text("state")
    found = DocumentTrust(
        id=identifier,
        environment=table.text("environment"),
        signers=tuple(_signer(table, name, folder, guarded=guarded) for name in table.texts("signers", least=1)),
        required=table.number("signatures", least=1, default=1),
        recipients=frozenset(_recipient(table, name, folder, guarded=guarded) for name in table.texts("recipients", least=1)),
        generation=table.number("generation", least=0, default=0),
        state=folder / state if state is not None and guarded else None,
        mounts=tuple(_mount(table, name) for name in table.texts("mounts", least=0)),
        source=table.source,
    )
    table.done()
    keys = len(by_key(found.signers))
    if found.required > keys:
        table.refuse(f"asks for {found.required} signatures and has {keys} signers with keys of their own: add signers, or ask for fewer")
    return found


def _signer(table: _Table, name: str, folder: Path, *, guarded: bool) -> SigningCertificate:
    try:
        return SigningCertificate.read(_read_named(name, folder, guarded=guarded))
    except (CertificateError, KeyFileError) as error:
        table.refuse(f"has the signer {_shown(name)}, which cannot be used: {error}")


def _recipient(table: _Table, name: str, folder: Path, *, guarded: bool) -> Recipient:
    named = _NAMED.fullmatch(name)
    if named:
        kind, reference = named.groups()
        public = kind.startswith(("x509-", "hpke-"))
        if len(reference) > _MAX_TEXT or not reference.isprintable() or (public and not _HASH.fullmatch(reference)):
            table.refuse(f"has the recipient {_shown(name)}, whose reference is of another form: copy it from the document's metadata")
        return kind, reference
    try:
        data = _read_named(name, folder, guarded=guarded)
        if data.startswith(_PQ_PUBLIC):
            wrapper = PostQuantumWrapper.from_public(data)
            return wrapper.name, wrapper.key_ref
        key = read_certificates(data)[0].public_key
    except (CertificateError, FormatError, KeyFileError) as error:
        table.refuse(f"has the recipient {_shown(name)}, which cannot be used: {error}")
    return f"x509-{key.algorithm}", key.reference


def _mount(table: _Table, name: str) -> str:
    if len(name) > _MAX_TEXT or not _MOUNT.fullmatch(name):
        table.refuse(f"has the mount {_shown(name)}: it is a path such as kv/app")
    return name


def _read_named(name: str, folder: Path, *, guarded: bool) -> bytes:
    """Return a certificate: the text itself, or what is in the file of that name."""
    if name.lstrip().startswith(_BEGIN):
        return name.encode(errors="replace")
    if not name or not name.isprintable():
        message = "it is neither PEM nor the name of a file"
        raise CertificateError(message)
    return _read_bytes(folder / name, guarded=guarded)


def _read_bytes(path: Path, *, guarded: bool) -> bytes:
    if guarded:
        return read_policy_file(path, max_size=_MAX_SIZE)
    try:
        if not path.is_file():
            message = f"{path} is not there, or no file"
            raise KeyFileError(message)
        with path.open("rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise KeyFileError(message) from None
    if len(data) > _MAX_SIZE:
        message = f"{path} has more than {_MAX_SIZE} bytes"
        raise KeyFileError(message)
    return data


def _shown(name: str) -> str:
    """Return a name out of the file as a message shows it: a certificate's text is cut."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")
