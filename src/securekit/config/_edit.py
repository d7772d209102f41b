# SPDX-License-Identifier: Apache-2.0
"""Editing sessions: what is written is encrypted under a fresh data key, which the session itself makes.

RULE of this file: a data key that was there before never encrypts anything. Whoever made it knows it, and must not be able to
read what others write later. An author who can read nothing can so write everything, and make the integrity tag as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from securekit._primitives.rng import random_bytes
from securekit.exceptions import ConfigError, DecryptionError
from securekit.secret import Secretive
from securekit.wrappers._recipients import check_mixture, describe, wrap_to_each

from ._block import ID_SIZE, MAX_KEYS, DataKey, MetadataBlock, Recipient, check_environment
from ._path import Pattern, Patterns, format_path
from ._token import DocumentKey, foreign
from ._tree import Path, Scalar
from ._value import MAX_VALUE, encode_value
from ._walk import Leaf, find, leaves, tokens

if TYPE_CHECKING:
    from securekit.wrappers import KeyWrapper, WrappedKey

    from ._document import Document, OpenDocument

__all__ = ["Edit"]

_KEY_SIZE = 32  # bytes

_Copies = dict[tuple[str, str], bytes]


class Edit(Secretive):
    """One editing session on one document. Made by `Document.edit`, or by `Document.encrypt` on one in clear text.

    Nothing is written before `finish`, which returns the new document; a session is used once.
    """

    __slots__ = ("_base", "_block", "_carried", "_changed", "_clock", "_document", "_key", "_opened", "_writers")

    def __init__(
        self,
        document: Document,
        block: MetadataBlock,
        *,
        writers: Sequence[KeyWrapper],
        opened: OpenDocument | None,
        adopt: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = document
        self._document = document
        self._block = block
        self._writers = {(wrapper.name, wrapper.key_ref): wrapper for wrapper in writers}
        self._opened = opened
        self._clock = clock
        self._carried = _copies(block)
        self._key = self._new_key(block)
        self._changed = adopt or document.block is None

    @classmethod
    def of_clear(
        cls, document: Document, *, environment: str, recipients: Sequence[KeyWrapper], clock: Callable[[], float] = time.time
    ) -> Edit:
        """Begin with a document in clear text, which becomes an encrypted one.

        Raises:
            securekit.exceptions.ConfigError: It is encrypted already.
            ValueError: The environment's name has another form.
        """
        if document.block is not None:
            message = f"{document.name} is encrypted already; to encrypt more of it, leave --environment and --recipient out"
            raise ConfigError(message)
        block = MetadataBlock(random_bytes(ID_SIZE), check_environment(environment), 0, (), ())
        return cls(document, block, writers=recipients, opened=None, clock=clock)

    @property
    def document(self) -> Document:
        """The document as it is edited so far; its metadata is still the old."""
        return self._document

    @property
    def opened(self) -> OpenDocument | None:
        """What this session can read of what was there; None for an author who can only write."""
        return self._opened

    def also_reads(self, other: OpenDocument | None) -> None:
        """Read with the data keys of another version of the document, too."""
        if self._opened is not None and other is not None:
            self._opened = self._opened.joined(other)

    def set(self, path: Path, value: Scalar, *, create: bool = False, clear: bool = False, protect: bool = False) -> None:
        """Set the value at ``path``; encrypted, unless ``clear`` says that it is no secret.

        Args:
            path: Of a single value.
            value: What it is set to.
            create: Make it, and the mappings above it, if it is not there.
            clear: Write it in clear text.
            protect: Add the path to the patterns that must be encrypted, if none matches it yet.

        Raises:
            securekit.exceptions.ConfigError: There is no such value; or it is covered by a pattern and ``clear`` is given, or by
                none and neither ``clear`` nor ``protect`` is; or the value is itself a ciphertext.
            securekit.exceptions.FormatError: The format cannot hold it there.
        """
        leaf = self.check_target(path, create=create, clear=clear, protect=protect)
        name = format_path(path)
        _check_value(name, value)
        if protect and not self._block.patterns.matches(path):
            self._block = replace(self._block, encrypt=(*self._block.encrypt, name))
        if leaf is not None and self._opened is not None and leaf == _find(self._base, path) and (leaf.token is None) == clear:
            old = self._opened.value(leaf)
            if type(old) is type(value) and old == value:
                return
        text = value if clear else str(self._key.seal(path, value))
        source = self._document.source
        self._take(source.replace({path: text}) if leaf is not None else source.insert(path, text))

    def check_target(self, path: Path, *, create: bool = False, clear: bool = False, protect: bool = False) -> Leaf | None:
        """Check that `set` may set the value at ``path``, before anybody is asked for it; arguments and errors as `set`.

        Returns:
            What is there now.
        """
        from ._document import find_leaf

        name = format_path(path)
        try:
            find(self._document.source.tree, path)
        except KeyError:
            if not create:
                find_leaf(self._document, path)
            leaf = None
        else:
            leaf = find_leaf(self._document, path)
        patterns = self._block.patterns
        covered = patterns.matches(path) or (leaf is not None and (leaf.token is not None or path in self._document.covered(patterns)))
        if clear and covered:
            message = f"{name} must be encrypted, so that it is not written in clear text"
            raise ConfigError(message)
        if not (clear or covered or protect):
            message = f"no pattern of the document covers {name}: protect it with --encrypt, or write it in clear text with --clear"
            raise ConfigError(message)
        return leaf

    def unset(self, path: Path) -> None:
        """Remove what is at ``path``: a value, or a mapping or list with all that is below it.

        Raises:
            securekit.exceptions.ConfigError: There is nothing; or secrets behind it in its list would move, which takes a reader.
            securekit.exceptions.FormatError: The format cannot leave it out.
        """
        from ._document import find_leaf

        try:
            find(self._document.source.tree, path)
        except KeyError:
            find_leaf(self._document, path)  # says what was perhaps meant
        moved = self._behind(path)
        if moved and self._opened is None:
            message = (
                f"without {format_path(path)}, the secret {moved[0].name} would move up in its list, where it does not decrypt;"
                " somebody who can read has to make this change"
            )
            raise ConfigError(message)
        values = {_moved_up(leaf.path, path): self._value(leaf) for leaf in moved}
        self._take(self._document.source.remove(path))
        self._seal(values)
        name = format_path(path)
        if name in self._block.encrypt:  # a pattern for this one value
            self.forget(name)

    def protect(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Add patterns, and encrypt everything in clear text that a pattern of the document matches.

        Returns:
            The paths that were encrypted now.

        Raises:
            securekit.exceptions.ConfigError: A new pattern matches nothing.
            ValueError: One has another form.
        """
        new = [text for text in dict.fromkeys(patterns) if text not in self._block.encrypt]
        paths = [path for path, _ in self._document.places()]
        for text in Patterns(new).unmatched(paths):
            from ._document import suggestion

            message = f"the pattern {text!r} matches nothing{suggestion(text, map(format_path, paths))}"
            raise ConfigError(message)
        self._block = replace(self._block, encrypt=(*self._block.encrypt, *new))
        self._changed = self._changed or bool(new)
        wanted = self._document.covered(self._block.patterns)
        found = [leaf for leaf in self._document.leaves() if leaf.token is None and leaf.path in wanted]
        for leaf in found:
            _check_value(leaf.name, leaf.value)
        self._seal({leaf.path: leaf.value for leaf in found})
        return tuple(leaf.name for leaf in found)

    def expect(self, patterns: Iterable[str]) -> None:
        """Add patterns for values that are still to come: they may match nothing yet.

        Raises:
            ValueError: One has another form.
        """
        new = [text for text in dict.fromkeys(patterns) if text not in self._block.encrypt]
        self._block = replace(self._block, encrypt=tuple(pattern.text for pattern in Patterns((*self._block.encrypt, *new)).patterns))
        self._changed = True

    def forget(self, pattern: str) -> None:
        """Remove a pattern. What it has encrypted stays so.

        Raises:
            securekit.exceptions.ConfigError: The document has no such pattern.
        """
        if pattern not in self._block.encrypt:
            message = f"{self._base.name} has no pattern {pattern!r}"
            raise ConfigError(message)
        self._block = replace(self._block, encrypt=tuple(text for text in self._block.encrypt if text != pattern))
        self._changed = True

    def rotate(self) -> None:
        """Encrypt every value anew, under the one new data key of this session.

        Raises:
            securekit.exceptions.ConfigError: This session cannot read.
        """
        self._must_read("rotate")
        self._seal({leaf.path: self._value(leaf) for leaf in self._document.leaves() if leaf.token is not None})
        self._changed = True

    def add_recipient(self, wrapper: KeyWrapper) -> None:
        """Let ``wrapper`` read everything. A renewed certificate over a key that is a recipient takes the old one's place.

        Raises:
            securekit.exceptions.ConfigError: This session cannot read, and the key is new.
        """
        if (wrapper.name, wrapper.key_ref) not in self._writers:
            self._must_read("add a recipient")
        self._writers[wrapper.name, wrapper.key_ref] = wrapper
        self._changed = True

    def remove_recipient(self, name: tuple[str, str]) -> tuple[str, ...]:
        """Let a recipient read nothing that is written from now on.

        Returns:
            The paths whose values must be changed at their source: the recipient could read them, and may have kept them.

        Raises:
            securekit.exceptions.ConfigError: There is no such recipient, it is the last one, or this session cannot read.
        """
        if name not in self._writers:
            message = f"{self._base.name} has no recipient {describe(*name)}"
            raise ConfigError(message)
        if len(self._writers) == 1:
            message = f"{describe(*name)} is the last recipient of {self._base.name}: add another one first"
            raise ConfigError(message)
        self._must_read("remove a recipient")
        del self._writers[name]
        self.rotate()
        return tuple(leaf.name for leaf in self._document.leaves() if leaf.token is not None)

    def take_text(self, text: str) -> None:
        """Take over a text that was edited as a whole. What is in clear text and must be encrypted is encrypted.

        Raises:
            securekit.exceptions.ConfigError: A token stands at another path than before.
            securekit.exceptions.FormatError: It is not in the document's format.
        """
        from ._base import check_moved

        edited = self._document.with_text(text)
        check_moved(self._base, edited)
        gone = self._block.patterns.unmatched(path for path, _ in edited.places())
        for pattern in gone:
            if Pattern(pattern).matches_any(path for path, _ in self._base.places()):
                message = f"the pattern {pattern!r} would match nothing any more: keep what it matches, or remove it with unset"
                raise ConfigError(message)
        self._take(text)
        self.protect(())

    def carry(self, other: MetadataBlock, text: str, patterns: Iterable[str], recipients: Iterable[KeyWrapper]) -> None:
        """Take over a text whose tokens come from this document and from ``other``, another version of it, with its data keys.

        Args:
            other: The metadata of that version.
            text: The text.
            patterns: All that there are from now on.
            recipients: Who reads from now on.
        """
        for key_id, (key, copies) in _copies(other).items():
            mine = self._carried.get(key_id)
            self._carried[key_id] = (key, copies if mine is None else copies | mine[1])
        self._block = replace(self._block, encrypt=tuple(patterns))
        self._writers = {(wrapper.name, wrapper.key_ref): wrapper for wrapper in recipients}
        self._take(text)

    def readable_by(self, recipients: Collection[tuple[str, str]]) -> tuple[str, ...]:
        """Return the paths of secrets under data keys of before that one of ``recipients`` has, or had, a copy of."""
        theirs = {key.id for key, copies in self._carried.values() if not copies.keys().isdisjoint(recipients)}
        return tuple(leaf.name for leaf in self._document.leaves() if (token := leaf.token) is not None and token.key_id in theirs)

    def finish(self, *, generation: int | None = None) -> Document:
        """Return the new document; the same one, if nothing was changed.

        Args:
            generation: Not one more than before, but this one.

        Raises:
            securekit.exceptions.ConfigError: Too many sessions have written; or a secret does not open where it stands.
            securekit.exceptions.CertificateError: A recipient's certificate must not be wrapped to.
        """
        if not self._changed:
            return self._base
        document = self._document
        self._check_tokens()
        check_mixture(self._writers)
        key = self._key
        wrappers = list(self._writers.values())
        copies = wrap_to_each(key.value, self._block.key_binding(key.id), wrappers, lambda *_: None)
        recipients = tuple(_recipient(copy, self._writers[copy.recipient]) for copy in copies)
        used = {token.key_id for _, token in tokens(document.source.tree)}
        kept = [self._rewrapped(old, there, recipients) for old, there in self._carried.values() if old.id in used]
        if len(kept) >= MAX_KEYS:
            message = (
                f"{MAX_KEYS} editing sessions have written to {self._base.name}: somebody who can read it must fold their data keys into"
                " one, with: securekit config rotate"
            )
            raise ConfigError(message)
        block = replace(
            self._block,
            generation=generation if generation is not None else self._block.generation + 1,
            recipients=recipients,
            keys=(*kept, DataKey(key.id, int(self._clock()), tuple(copy.ciphertext for copy in copies))),
            signatures=(),
        )
        from ._canonical import canonical

        block = replace(block, tag=key.tag(canonical(document.source.tree, block)))
        return document.with_block(block)

    def _rewrapped(self, key: DataKey, there: _Copies, recipients: Sequence[Recipient]) -> DataKey:
        """Return ``key``, of which copies are ``there``, with a copy for each of ``recipients``."""
        missing = [recipient.name for recipient in recipients if recipient.name not in there]
        if missing:
            opened = self._must_read("add a recipient").key(key.id)
            binding = self._block.key_binding(key.id)
            there = there | {name: self._writers[name].wrap(opened.value, binding).ciphertext for name in missing}
        return replace(key, copies=tuple(there[recipient.name] for recipient in recipients))

    def _check_tokens(self) -> None:
        """Check that what this session can read does open: a reader never blesses what is broken."""
        for leaf in self._document.leaves():
            token = leaf.token
            if token is None or token.key_id == self._key.id:
                continue
            if token.key_id not in self._carried:
                message = f"{leaf.name} is encrypted under a data key that the document does not have: set its value anew"
                raise ConfigError(message)
            if self._opened is not None:
                try:
                    self._opened.value(leaf)
                except DecryptionError:
                    message = f"{leaf.name} does not open where it stands: it was moved, or changed by hand; set its value anew"
                    raise ConfigError(message) from None

    def _value(self, leaf: Leaf) -> Scalar:
        token = leaf.token
        if token is not None and token.key_id == self._key.id:
            return self._key.open(leaf.path, token)
        return self._must_read("read").value(leaf)

    def _behind(self, path: Path) -> list[Leaf]:
        """Return the secrets behind ``path`` in its list, which move up when it goes."""
        *parent, last = path
        if not isinstance(last, int):
            return []
        items = find(self._document.source.tree, tuple(parent))
        return [leaf for leaf in leaves(items, tuple(parent)) if leaf.token is not None and _index(leaf.path, len(parent)) > last]

    def _seal(self, values: Mapping[Path, Scalar]) -> None:
        if values:
            self._take(self._document.source.replace({path: str(self._key.seal(path, value)) for path, value in values.items()}))

    def _take(self, text: str) -> None:
        self._document = self._document.with_text(text)
        self._changed = True

    def _must_read(self, what: str) -> OpenDocument:
        if self._opened is None:
            message = f"to {what} takes somebody who can read {self._base.name}: give the private key of a recipient with --identity"
            raise ConfigError(message)
        return self._opened

    @staticmethod
    def _new_key(block: MetadataBlock) -> DocumentKey:
        taken = {key.id for key in block.keys}
        while (key_id := random_bytes(4).hex()) in taken:
            pass
        return DocumentKey(random_bytes(_KEY_SIZE), key_id, document=block.document, environment=block.environment)


def _copies(block: MetadataBlock) -> dict[str, tuple[DataKey, _Copies]]:
    """Return each data key by its id, with its wrapped copies by the names of their recipients."""
    names = [recipient.name for recipient in block.recipients]
    return {key.id: (key, dict(zip(names, key.copies, strict=True))) for key in block.keys}


def _recipient(copy: WrappedKey, wrapper: KeyWrapper) -> Recipient:
    about = {name: copy.about[name] for name in ("fingerprint", "not_after", "subject") if name in copy.about}
    return Recipient(copy.wrapper, copy.key_ref, getattr(wrapper, "public_bytes", None), about)


def _find(document: Document, path: Path) -> Leaf | None:
    return next((leaf for leaf in document.leaves() if leaf.path == path), None)


def _index(path: Path, depth: int) -> int:
    segment = path[depth]
    return segment if isinstance(segment, int) else -1


def _moved_up(path: Path, removed: Path) -> Path:
    depth = len(removed) - 1
    return (*path[:depth], _index(path, depth) - 1, *path[depth + 1 :])


def _check_value(name: str, value: Scalar) -> None:
    """Check that ``value`` can be a secret of a document; no message repeats it."""
    fault = ""
    if foreign(value):
        fault = "is itself a ciphertext, which would reach the application as the secret: give the value in clear"
    else:
        try:
            too_large = len(encode_value(value)) > MAX_VALUE
        except ValueError as error:
            fault = str(error)
        else:
            fault = f"has more than {MAX_VALUE} bytes" if too_large else ""
    if fault:
        del value
        message = f"the value for {name} {fault}"
        raise ConfigError(message)
