# SPDX-License-Identifier: Apache-2.0
"""What YAML and JSON share: nodes that know where they stand, edits that are splices, and the proof that each reads back.

Every edit makes a few splices and the tree that it wants. The new text is parsed again; unless exactly that tree comes out,
the edit is refused. So a splice may be simple: what it gets wrong is never written.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from securekit.config._tree import METADATA, MergeKey, Metadata, Path, Scalar, Tree
from securekit.exceptions import FormatError

from ._wanted import Root, aliases, same, with_values, without

__all__ = ["Entry", "Node", "SpanSource", "Splice", "Unsuitable", "checked_metadata", "name", "refusal", "white_before"]

Splice = tuple[int, int, str]
"""Start, end and what stands there instead."""


class Unsuitable(Exception):  # noqa: N818 - not an error of ours: says only why, the caller adds where
    """A value has no form in this format."""


@dataclass(slots=True)
class Node:
    """A value and where it stands: ``text[start:end]``, an anchor and tag in front of it included."""

    kind: str  # mapping, list, scalar, alias
    start: int
    end: int
    style: str | None = None  # of a scalar: its quote, or the indicator of a block
    brackets: bool = False  # a collection written with brackets, or anything inside one
    content: int = 0  # where it begins behind its anchor and tag
    entries: dict[str | MergeKey | int, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One key with its value, or one item of a list."""

    start: int  # where the key, or the item, begins
    key_end: int
    value: Node


class SpanSource(ABC):
    """A text whose values have spans. Formats add how they are read and how a value is written."""

    text: str
    tree: Root
    metadata: Metadata | None

    @abstractmethod
    def __init__(self, text: str) -> None: ...

    def line(self, path: Path) -> int:
        """Return the line, from 1, on which the value at ``path`` begins; that of the alias if the path goes through one."""
        node = self._nodes
        for segment in path:
            if node.kind == "alias":
                break
            node = self._entry(node, segment, path).value
        return self._line(node.start)

    def replace(self, values: Mapping[Path, Scalar]) -> str:
        """Return the text with the scalars at these paths replaced."""
        nodes = {path: self._node(path) for path in values}
        for path, node in nodes.items():
            if node.kind != "scalar":
                raise self._refusal(node, f"{name(path)} is {_A[node.kind]}, not a single value")
        attempts = (self._replaced(values, nodes, literal=literal) for literal in (True, False))
        return self._proven(attempts, with_values(self.tree, values), self.metadata, values)

    def insert(self, path: Path, value: Scalar) -> str:
        """Return the text with a new scalar, behind the other entries of its mapping or list."""
        node, depth = self._nodes, 0
        while depth < len(path) and path[depth] in node.entries and not self._is_metadata(path[: depth + 1]):
            node, depth = node.entries[path[depth]].value, depth + 1
        missing = path[depth:]
        here = name(path[:depth]) or "the document"
        if not missing:
            raise self._refusal(node, f"{here} is there already")
        if node.kind not in {"mapping", "list"}:
            raise self._refusal(node, f"{here} is {_A[node.kind]}: nothing can be put into it")
        if self._is_metadata(path[:1]):
            raise FormatError(_RESERVED)
        for place, segment in enumerate(missing):
            kind = "list" if isinstance(segment, int) else "mapping"
            if place == 0 and kind != node.kind:
                raise self._refusal(node, f"{here} is {_A[node.kind]}")
            if isinstance(segment, int) and segment != (0 if place else len(node.entries)):
                raise self._refusal(node, f"{name(path[: depth + place + 1])} is not the next item of its list")
        attempts = (self._inserted(node, path, depth, value, literal=literal) for literal in (True, False))
        return self._proven(attempts, with_values(self.tree, {path: value}), self.metadata, [path])

    def remove(self, path: Path) -> str:
        """Return the text without the entry at ``path``."""
        if not path:
            message = "the document itself cannot be removed"
            raise FormatError(message)
        node = self._node(path)
        for alias in aliases(self.tree, outside=path):
            if alias.anchor[: len(path)] == path:
                raise self._refusal(node, f"{name(path)} has the anchor of an alias, which would be left alone")
        return self._proven([self._removed(path)], without(self.tree, path), self.metadata, [path])

    def with_metadata(self, metadata: Metadata | None) -> str:
        """Return the text with this metadata block, or without one."""
        if metadata is None and self.metadata is None:
            return self.text
        if metadata is None:
            attempts = (self._without_block(gap=gap) for gap in (True, False))
            return self._proven(attempts, self.tree, None, [(METADATA,)])
        metadata = checked_metadata(metadata)
        attempts = (self._with_block(metadata, gap=gap) for gap in (True, False))
        return self._proven(attempts, self.tree, metadata, [(METADATA,)])

    # What a format says of itself.

    @abstractmethod
    def _scan(self) -> Node:
        """Return the nodes of the text, which was found good."""

    @abstractmethod
    def _written(self, value: Scalar, *, brackets: bool) -> str:
        """Return ``value`` in one line; raise Unsuitable if the format has no form for it."""

    _gap = ", "
    """What stands between two entries in one line."""
    _colon = ": "

    # Edits between brackets, which are the same in both.

    def _replaced(self, values: Mapping[Path, Scalar], nodes: Mapping[Path, Node], *, literal: bool) -> list[Splice]:  # noqa: ARG002
        return [(nodes[path].start, nodes[path].end, self._form(path, value, brackets=True)) for path, value in values.items()]

    def _inserted(self, node: Node, path: Path, depth: int, value: Scalar, *, literal: bool) -> list[Splice]:  # noqa: ARG002
        return self._appended(node, self._chain(path, depth, value))

    def _removed(self, path: Path) -> list[Splice]:
        return self._cut(self._node(path[:-1]), path[-1])

    def _with_block(self, metadata: Metadata, *, gap: bool) -> list[Splice]:  # noqa: ARG002
        root = self._nodes
        if METADATA in root.entries:
            entry = root.entries[METADATA]
            return [(entry.value.start, entry.value.end, self._block(metadata, self._indentation(entry.start)))]
        if root.entries:
            indentation = self._indentation(next(iter(root.entries.values())).start)
            return self._appended(root, f'"{METADATA}"{self._colon}{self._block(metadata, indentation)}')
        block = f'"{METADATA}"{self._colon}{self._block(metadata, "  ")}'
        return [(root.content + 1, root.end - 1, f"{self._newline}  {block}{self._newline}")]

    def _without_block(self, *, gap: bool) -> list[Splice]:  # noqa: ARG002
        return self._cut(self._nodes, METADATA)

    def _block(self, metadata: Metadata, indentation: str | None) -> str:
        if indentation is None:
            return json.dumps(metadata, ensure_ascii=False, separators=(self._gap, self._colon))
        lines = json.dumps(metadata, ensure_ascii=False, indent=indentation or "  ").split("\n")
        return (self._newline + indentation).join(lines)

    def _chain(self, path: Path, depth: int, value: Scalar) -> str:
        """Return the entry at ``path[depth]`` with all that is inside it, between brackets, in one line."""
        form = self._form(path, value, brackets=True)
        for segment in reversed(path[depth + 1 :]):
            form = f"[{form}]" if isinstance(segment, int) else f"{{{self._form((segment,), segment, brackets=True)}{self._colon}{form}}}"
        segment = path[depth]
        return form if isinstance(segment, int) else f"{self._form((segment,), segment, brackets=True)}{self._colon}{form}"

    def _appended(self, node: Node, item: str) -> list[Splice]:
        """Put ``item`` behind the other entries of a collection in brackets, and in front of a metadata block at its end."""
        text = self.text
        entries = [entry for key, entry in node.entries.items() if not (node is self._nodes and key == METADATA)]
        if not entries and node.entries:
            start = node.entries[METADATA].start
            return [(start, start, item + "," + (white_before(text, start) or self._gap[1:]))]
        if not entries:
            return [(node.content + 1, node.end - 1, item)]
        last = entries[-1]
        gap = white_before(text, last.start)
        if "\n" not in gap:
            return [(last.value.end, last.value.end, self._gap + item)]
        comment = _COMMENT_BEHIND.match(text, last.value.end)
        if comment:
            return [(last.value.end, last.value.end, "," * (not comment["comma"])), (comment.end(), comment.end(), gap + item)]
        return [(last.value.end, last.value.end, "," + gap + item)]

    def _cut(self, node: Node, key: str | int) -> list[Splice]:
        entries = list(node.entries.values())
        place = list(node.entries).index(key)
        entry = entries[place]
        if place:
            start, end = entries[place - 1].value.end, entry.value.end
        elif len(entries) > 1:
            start, end = entry.start, entries[1].start
        else:
            start, end = node.content + 1, node.end - 1
        if "#" in self.text[start : entry.start] + self.text[entry.value.end : end]:
            raise self._refusal(entry.value, "a comment between brackets would be lost: remove it by hand")
        return [(start, end, "")]

    # Helpers

    @cached_property
    def _nodes(self) -> Node:
        return self._scan()

    @cached_property
    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _indentation(self, start: int) -> str | None:
        """Return the white space before what begins at ``start``, or None if something else stands on its line."""
        before = self.text[self.text.rfind("\n", 0, start) + 1 : start]
        return before if not before.strip(" \t") and "\n" in self.text[:start] else None

    def _form(self, path: Path, value: Scalar, *, brackets: bool) -> str:
        try:
            return self._written(value, brackets=brackets)
        except Unsuitable as error:
            message = f"{name(path)}: {error}"
        raise FormatError(message)

    def _line(self, place: int) -> int:
        return self.text.count("\n", 0, place) + 1

    def _refusal(self, node: Node, reason: str) -> FormatError:
        return refusal(self._line(node.start), reason)

    def _is_metadata(self, path: Path) -> bool:
        return path == (METADATA,)

    def _entry(self, node: Node, segment: str | int, path: Path) -> Entry:
        if self._is_metadata(path[:1]) and node is self._nodes:
            raise FormatError(_RESERVED)
        if node.kind == "alias":
            raise self._refusal(node, f"{name(path)} is reached through an alias: edit where its anchor is")
        entry = node.entries.get(segment)
        if entry is None:
            message = f"there is no {name(path)}"
            raise FormatError(message)
        return entry

    def _node(self, path: Path) -> Node:
        node = self._nodes
        for segment in path:
            node = self._entry(node, segment, path).value
        return node

    def _proven(self, attempts: Iterable[list[Splice]], wanted: Tree, metadata: Metadata | None, paths: Iterable[Path]) -> str:
        """Return the text of the first attempt that reads back as wanted; else refuse, naming ``paths``."""
        for splices in attempts:
            text = _spliced(self.text, splices)
            try:
                again: SpanSource | None = type(self)(text)
            except FormatError:
                again = None
            if again is not None and same(again.tree, wanted) and again.metadata == metadata:
                return text
        message = f"{', '.join(map(name, paths))}: the text would not read back as it was meant; make this change by hand"
        raise FormatError(message)


_A = {"mapping": "a mapping", "list": "a list", "scalar": "a single value", "alias": "an alias"}
_RESERVED = f"{METADATA} is the metadata block's own key"
_COMMENT_BEHIND = re.compile(r"[ \t]*(?P<comma>,?)[ \t]+#[^\r\n]*")


def white_before(text: str, end: int) -> str:
    """Return the blanks and line breaks in front of a place."""
    start = end
    while start and text[start - 1] in " \t\r\n":
        start -= 1
    return text[start:end]


def name(path: Path) -> str:
    """Return a path as messages show it."""
    shown = ".".join(map(str, path))
    return shown if shown.isprintable() else ascii(shown)


def refusal(line: int, reason: str) -> FormatError:
    """Return the error that names the line and why; the reason never has a value of the document."""
    return FormatError(f"line {line}: {reason}")


def checked_metadata(metadata: object) -> dict[str, str | Sequence[str]]:
    """Return a metadata block whose shape was checked: texts and lists of texts, each printable."""
    checked: dict[str, str | Sequence[str]] = {}
    if isinstance(metadata, Mapping):
        for key, value in metadata.items():
            texts = [value] if isinstance(value, str) else value
            if not isinstance(key, str) or not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
                break
            if not all(text.isprintable() for text in (key, *texts)):
                break
            checked[key] = value if isinstance(value, str) else list(texts)
        else:
            return checked
    message = f"{METADATA} must be a mapping of printable texts and lists of them"
    raise FormatError(message)


def _spliced(text: str, splices: Iterable[Splice]) -> str:
    parts: list[str] = []
    place = 0
    for start, end, new in sorted(splices):
        parts += text[place:start], new
        place = end
    return "".join([*parts, text[place:]])
