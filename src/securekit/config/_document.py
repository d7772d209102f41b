# SPDX-License-Identifier: Apache-2.0
"""Documents: configuration in one of the formats, with the block that says who may read it and proves it whole."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from securekit._wire.pae import pae
from securekit.exceptions import ConfigError, FormatError, KeyNotFoundError
from securekit.secret import Secretive
from securekit.wrappers._recipients import describe

from . import _formats
from ._block import MetadataBlock, Signature
from ._canonical import canonical
from ._opening import check_tag, unwrap_keys
from ._path import Patterns, format_path
from ._token import DocumentKey, must_open
from ._tree import MAX_SIZE, Path, Scalar, Source
from ._walk import Leaf, find, leaves, places, reveal, tokens

if TYPE_CHECKING:
    from securekit._primitives.signatures import SigningKey
    from securekit.wrappers import KeyWrapper

    from ._edit import Edit
    from ._state import HostState
    from ._trust import Trust

__all__ = ["Document", "OpenDocument"]

_BOM = b"\xef\xbb\xbf"
_SIGNATURE_LABEL = "securekit/config/1 signature"


class Document:
    """A configuration document as it was read: immutable, and not verified.

    Made by `read` or `parse`. What it says is believed after `OpenDocument` has proven the integrity tag, or
    `securekit.config.Trust` a signature; `securekit.config.load` does both.

    Attributes:
        source: The text with its tree.
        format: ``"yaml"``, ``"json"``, ``"toml"``, ``"env"`` or ``"ini"``.
        name: What it is called in messages: its file.
        block: The metadata; None if nothing in it is encrypted yet.
    """

    def __init__(self, source: Source, format: str, *, name: str, block: MetadataBlock | None, bom: bytes = b"") -> None:  # noqa: A002 - the word
        self.source = source
        self.format = format
        self.name = name
        self.block = block
        self._bom = bom

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, format: str | None = None) -> Document:  # noqa: A002 - the word for it
        """Read a document from a file.

        Args:
            path: The file, at most 2 MiB.
            format: If its name does not tell.

        Raises:
            securekit.exceptions.ConfigError: The file cannot be read.
            securekit.exceptions.FormatError: It is no document of that format; with line and reason.
        """
        file = FilePath(path)
        return cls.parse(read_document(file), format=format or _formats.format_of(file), name=str(file))

    @classmethod
    def parse(cls, data: bytes, *, format: str, name: str = "the document") -> Document:  # noqa: A002 - the word for it
        """Take a document from memory; arguments and errors as `read`."""
        if format not in _formats.FORMATS:
            message = f"a document's format is one of {', '.join(_formats.FORMATS)}, not {format!r}"
            raise ValueError(message)
        if len(data) > MAX_SIZE:
            message = f"{name} has more than {MAX_SIZE} bytes"
            raise FormatError(message)
        bom = _BOM if data.startswith(_BOM) else b""
        try:
            text = data[len(bom) :].decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            message = f"{name}: line {line}: not UTF-8"
        else:
            try:
                source = _formats.parse(text, format)
                metadata = source.metadata
                block = None if metadata is None else MetadataBlock.decode(metadata)
            except FormatError as error:
                message = f"{name}: {error}"
            else:
                return cls(source, format, name=name, block=block, bom=bom)
        raise FormatError(message) from None

    def to_bytes(self) -> bytes:
        """Return the document as a file holds it."""
        return self._bom + self.source.text.encode()

    def with_text(self, text: str) -> Document:
        """Return another text of this document, parsed."""
        return Document.parse(self._bom + text.encode(), format=self.format, name=self.name)

    @cached_property
    def required(self) -> MetadataBlock:
        """The metadata of a document that has some.

        Raises:
            securekit.exceptions.ConfigError: Nothing in it is encrypted yet.
        """
        if self.block is None:
            message = f"{self.name} is not encrypted: it has no securekit block; encrypt it with: securekit config encrypt"
            raise ConfigError(message)
        return self.block

    @cached_property
    def canonical(self) -> bytes:
        """The canonical document, which the integrity tag covers."""
        return canonical(self.source.tree, self.required)

    @property
    def signed_bytes(self) -> bytes:
        """What signatures cover: the canonical document and the integrity tag."""
        return pae([_SIGNATURE_LABEL, self.canonical, self.required.tag])

    def leaves(self) -> Iterator[Leaf]:
        """Yield every value with its path, in the document's order."""
        return leaves(self.source.tree)

    def places(self) -> Iterator[tuple[Path, Leaf]]:
        """Yield every value with each path at which an application sees it: aliases and merge keys repeat values."""
        return places(self.source.tree)

    def clear_secrets(self) -> tuple[Leaf, ...]:
        """Return the values that a pattern wants encrypted, and that are in clear text."""
        covered = self.covered(self.required.patterns)
        return tuple(leaf for leaf in self.leaves() if leaf.token is None and leaf.path in covered)

    def covered(self, patterns: Patterns) -> frozenset[Path]:
        """Return the paths of the values that one of ``patterns`` matches, wherever an application sees them."""
        return frozenset(leaf.path for path, leaf in self.places() if patterns.matches(path))

    def check_environment(self, environment: str) -> None:
        """Check that the document belongs to ``environment``.

        Raises:
            securekit.exceptions.ConfigError: It belongs to another one.
        """
        if self.required.environment != environment:
            message = f"{self.name} belongs to the environment {self.required.environment!r}, and {environment!r} was asked for"
            raise ConfigError(message)

    def open(self, wrappers: Sequence[KeyWrapper], *, adopt: bool = False) -> OpenDocument:
        """Unwrap the data keys, and verify the integrity tag.

        Args:
            wrappers: What may open it.
            adopt: The caller takes over what was changed by hand: the tag is not looked at. Every value still has to decrypt
                where it stands.

        Raises:
            securekit.exceptions.ConfigError: It is not encrypted.
            securekit.exceptions.KeyNotFoundError: None of ``wrappers`` is a recipient.
            securekit.exceptions.DecryptionError: The document was changed, or belongs to other keys.
        """
        block = self.required
        used = {token.key_id for _, token in tokens(self.source.tree)}
        keys = unwrap_keys(block, wrappers, used, name=self.name)
        if not adopt:
            check_tag(block, self.canonical, keys)
        return OpenDocument(self, keys)

    def encrypt(
        self, *, environment: str, recipients: Sequence[KeyWrapper], patterns: Iterable[str], clock: Callable[[], float] = time.time
    ) -> Edit:
        """Begin an editing session that makes an encrypted document of this one, which is in clear text.

        Args:
            environment: Where it belongs, such as ``"production"``.
            recipients: Who can read it: wrappers made from certificates, post-quantum keys, keyrings …
            patterns: What must be encrypted, such as ``"db.password"`` and ``"**.secret*"``. Each matches something.
            clock: Seconds since 1970, for tests.

        Raises:
            securekit.exceptions.ConfigError: It is encrypted already, or a pattern matches nothing.
            ValueError: The environment or a pattern has another form.
        """
        from ._edit import Edit

        edit = Edit.of_clear(self, environment=environment, recipients=recipients, clock=clock)
        edit.protect(patterns)
        return edit

    def edit(
        self,
        *,
        wrappers: Sequence[KeyWrapper] = (),
        trust: Trust | None = None,
        state: HostState | None = None,
        confirmed: Collection[str] = (),
        adopt: bool = False,
        leaving: Collection[tuple[str, str]] = (),
        clock: Callable[[], float] = time.time,
    ) -> Edit:
        """Begin an editing session on this encrypted document, if it may be built upon.

        Args:
            wrappers: What may read it; and what wraps to those recipients that are no public keys. Without a reader, secrets
                can be written and not read.
            trust: Whom to believe.
            state: What this host has seen.
            confirmed: References of recipients that the caller has compared with their owners.
            adopt: The caller has looked at the changes of an unverified document, and takes them over.
            leaving: Names of recipients that are removed at once, as by `Edit.remove_recipient`: the trust need not allow them any more.
            clock: Seconds since 1970, for tests.

        Raises:
            securekit.exceptions.ConfigError: The document is not verified, or not as the trust wants it; or a recipient is not
                confirmed, or takes a secret to wrap to.
            securekit.exceptions.DecryptionError: The integrity tag does not verify.
        """
        from ._base import check_base, check_confirmed, unseen_recipients
        from ._edit import Edit

        opened = self.open_if_recipient(wrappers, adopt=adopt)
        check_base(self, opened=opened, trust=trust, state=state, adopt=adopt, leaving=leaving)
        unseen = [one for one in unseen_recipients(self, trust=trust, state=state) if one.name not in leaving]
        check_confirmed(unseen, confirmed)
        edit = Edit(self, self.required, writers=self.writers(wrappers, clock=clock), opened=opened, adopt=adopt, clock=clock)
        for name in leaving:
            edit.remove_recipient(name)
        return edit

    def writers(self, wrappers: Sequence[KeyWrapper], *, clock: Callable[[], float] = time.time) -> list[KeyWrapper]:
        """Return what wraps to each recipient: its public key from the metadata, or one of ``wrappers``.

        Raises:
            securekit.exceptions.ConfigError: A recipient takes a secret to wrap to, which is not given.
        """
        from securekit.wrappers import PublicKeyWrapper

        given = {(wrapper.name, wrapper.key_ref): wrapper for wrapper in wrappers}
        found: list[KeyWrapper] = []
        for recipient in self.required.recipients:
            if recipient.public is not None:
                found.append(PublicKeyWrapper(recipient.wrapper, recipient.public, about=recipient.about, clock=clock))
            elif recipient.name in given:
                found.append(given[recipient.name])
            else:
                message = f"to write to the recipient {describe(*recipient.name)} takes its secret: name it with --identity"
                raise ConfigError(message)
        return found

    def open_if_recipient(self, wrappers: Sequence[KeyWrapper], *, adopt: bool) -> OpenDocument | None:
        """Return the open document; None if none of ``wrappers`` is a recipient: its author may write, and not read."""
        if not wrappers:
            return None
        try:
            return self.open(wrappers, adopt=adopt)
        except KeyNotFoundError:
            return None

    def sign(self, key: SigningKey) -> Document:
        """Return the document with a signature of ``key``, beside those of others, in the place of an older one of its own."""
        block = self.required
        signature = Signature(key.reference, key.sign(self.signed_bytes))
        others = [other for other in block.signatures if other.reference != key.reference]
        return self.with_block(replace(block, signatures=tuple(sorted((*others, signature), key=lambda one: one.reference))))

    def with_block(self, block: MetadataBlock) -> Document:
        """Return the document with another metadata block."""
        block.check()
        written = self.with_text(self.source.with_metadata(block.encode()))
        if written.block != block or written.source.tree != self.source.tree:
            message = f"{self.name}: the securekit block does not read back as it was written; is something else called securekit?"
            raise FormatError(message)
        return written

    def write(self, path: str | os.PathLike[str], *, expected: Document | None) -> None:
        """Write the document to a file: atomically, and only if the file is still what it was.

        Args:
            path: The file. Its mode and owner are kept; a new one is readable by all: it holds no secret in clear text.
            expected: What the file held when it was read; None if there was no file.

        Raises:
            securekit.exceptions.ConflictError: Somebody else has changed or made the file meanwhile.
            securekit.exceptions.ConfigError: It cannot be written.
        """
        write_document(FilePath(path), self.to_bytes(), expected=None if expected is None else expected.to_bytes())


class OpenDocument(Secretive):
    """A document whose integrity tag was verified, with the data keys that open its values."""

    __slots__ = ("_keys", "document")

    def __init__(self, document: Document, keys: Mapping[str, DocumentKey]) -> None:
        self.document = document
        self._keys = keys

    def value(self, leaf: Leaf) -> Scalar:
        """Return the value of one of the document's leaves, in clear.

        Raises:
            securekit.exceptions.DecryptionError: It does not open where it stands.
        """
        token = leaf.token
        return leaf.value if token is None else must_open(self._keys, token).open(leaf.path, token)

    def at(self, path: Path) -> Scalar:
        """Return the value at ``path``, in clear.

        Raises:
            securekit.exceptions.ConfigError: There is none, or no single one.
        """
        return self.value(find_leaf(self.document, path))

    def reveal(self) -> dict[str, object]:
        """Return the values that an application gets: encrypted ones as `Secret`. Errors as `securekit.config.load`."""
        return reveal(self.document.source.tree, self.document.required.patterns, self._keys)

    def joined(self, other: OpenDocument) -> OpenDocument:
        """Return this document with the data keys of another version of it as well."""
        return OpenDocument(self.document, {**other._keys, **self._keys})

    def key(self, key_id: str) -> DocumentKey:
        """Return a data key: to wrap it to one more recipient."""
        return self._keys[key_id]

    def decrypted(self) -> Document:
        """Return the document with its values in clear, and without the metadata.

        Raises:
            securekit.exceptions.FormatError: The format cannot hold a value, or not where it stands.
        """
        document = self.document
        values = {leaf.path: self.value(leaf) for leaf in document.leaves() if leaf.token is not None}
        return document.with_text(document.with_text(document.source.replace(values)).source.with_metadata(None))


def find_leaf(document: Document, path: Path) -> Leaf:
    """Return the value at ``path``.

    Raises:
        securekit.exceptions.ConfigError: There is nothing, or a mapping or list; names what was perhaps meant.
    """
    name = format_path(path)
    try:
        node = find(document.source.tree, path)
    except KeyError:
        known = [leaf.name for leaf in document.leaves()]
        message = f"{document.name} has no {name}{suggestion(name, known)}"
        raise ConfigError(message) from None
    for leaf in leaves(node, path):
        if leaf.path == path:
            return leaf
        message = f"{name} is not a single value: name one below it, such as {leaf.name}"
        raise ConfigError(message)
    message = f"{name} is not a single value"
    raise ConfigError(message)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what was perhaps meant by ``name``, as the end of a message."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def read_document(path: FilePath) -> bytes:
    """Return the bytes of a document's file: one byte more than is allowed, if there are more.

    Raises:
        securekit.exceptions.ConfigError: It cannot be read.
    """
    try:
        # O_NONBLOCK: a FIFO in place of the file must not block us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                message = f"{path} is not a regular file"
                raise ConfigError(message)
            return file.read(MAX_SIZE + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise ConfigError(message) from None


def write_document(path: FilePath, data: bytes, *, expected: bytes | None) -> None:
    """Write a document's file; arguments and errors as `Document.write`."""
    from securekit._wire.atomic import write_atomic, write_new

    try:
        if expected is None:
            write_new(path, data, mode=0o644)
        else:
            write_atomic(path, data, expected=expected, keep=path.lstat())
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}; what was there before is intact"
        raise ConfigError(message) from None
