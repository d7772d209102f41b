# SPDX-License-Identifier: Apache-2.0
"""YAML to a tree, under a strict reading of what PyYAML's C parser tells.

The values are those of `yaml.CSafeLoader`. What it reads in a way that an edit or a reader could take otherwise is refused:
two equal keys, keys that are no text, tags beyond the scalars', several documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yaml import YAMLError
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # which the stubs leave out
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from securekit.config._tree import MAX_DEPTH, MAX_LEAVES, MERGE, METADATA, Alias, MergeKey, Metadata, Path, Scalar, Tree
from securekit.exceptions import FormatError

from ._spans import checked_metadata, refusal
from ._wanted import Root
from ._yaml_values import FIRST, KNOWN_TAGS, PREFIX, UNREADABLE, constructed, plain

__all__ = ["Reader"]

_Event = Any  # the stubs call every mark of an event optional


@dataclass(frozen=True, slots=True)
class _Anchor:
    path: Path
    size: int  # values, with every alias expanded
    height: int  # collections inside each other
    mapping: bool


class Reader:
    """Goes through the parser's events once; keeps nothing of them but the values."""

    def __init__(self, text: str) -> None:
        bad = UNREADABLE.search(text) or _LONE_RETURN.search(text)
        if bad:
            raise refusal(text.count("\n", 0, bad.start()) + 1, "a control character, or another that YAML does not allow as it is")
        self._next: Callable[[], _Event] = CParser(text).get_event
        self._anchors: dict[str, _Anchor | None] = {}  # None while the value is not at its end
        self._values = 0
        self._deepest = 0
        self._aliases = 0
        self._metadata: Metadata | None = None

    def document(self) -> tuple[Root, Metadata | None]:
        try:
            self._next()
            start = self._next()
            if isinstance(start, StreamEndEvent):
                return {}, None
            if isinstance(start, DocumentStartEvent) and start.tags:
                raise _refused(start, "a directive %TAG")
            root = self._root(self._next())
            self._next()
            end = self._next()
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 0
            reason = getattr(error, "problem", None) or "not readable"  # the parser's own sentences: no word of the text
        else:
            if not isinstance(end, StreamEndEvent):
                raise _refused(end, "a second document")
            return root, self._metadata
        raise refusal(line, reason)

    def _root(self, event: _Event) -> Root:
        if isinstance(event, ScalarEvent) and not (event.value or event.style or event.anchor or event.tag):
            return {}
        if not isinstance(event, MappingStartEvent):
            raise _refused(event, "the document must be a mapping")
        if event.anchor:
            raise _refused(event, "an anchor on the whole document")
        _check_tag(event, "map")
        return self._mapping(event, ())

    def _value(self, event: _Event, path: Path, key: str | int) -> Tree:
        if type(event) is ScalarEvent:
            if event.anchor is None and event.tag is None:
                value: str = event.value
                if not event.implicit[0] or (value and value[0] not in FIRST):
                    return value
                return self._scalar(event)
            if event.anchor is not None:
                self._open(event)
                self._anchors[event.anchor] = _Anchor((*path, key), 1, 0, mapping=False)
            return self._scalar(event)
        if isinstance(event, AliasEvent):
            return Alias(self._alias(event, len(path) + 1).path)
        below = (*path, key)
        if not isinstance(event, CollectionStartEvent) or event.anchor is None:
            return self._collection(event, below)
        self._open(event)
        before, deepest, self._deepest = self._values, self._deepest, len(below)
        made = self._collection(event, below)
        self._anchors[event.anchor] = _Anchor(below, self._values - before + 1, self._deepest - len(below), mapping=isinstance(made, dict))
        self._deepest = max(deepest, self._deepest)
        return made

    def _collection(self, event: _Event, path: Path) -> Tree:
        if isinstance(event, MappingStartEvent):
            _check_tag(event, "map")
            return self._mapping(event, path)
        _check_tag(event, "seq")
        return self._list(event, path)

    def _mapping(self, event: _Event, path: Path) -> Root:
        self._enter(event, len(path) + 1)
        tree: Root = {}
        step = self._next
        event = step()
        while type(event) is not MappingEndEvent:
            key = self._key(event)
            if key in tree:
                raise _refused(event, f"the key {key if isinstance(key, str) else key.value} occurs twice in one mapping")
            if key is MERGE:
                tree[MERGE] = self._merge(step(), len(path))
            elif key == METADATA and not path:
                self._block(event)
            else:
                tree[key] = self._value(step(), path, key)
            if len(tree) > MAX_LEAVES:
                break
            event = step()
        self._count(event, len(tree))
        return tree

    def _list(self, event: _Event, path: Path) -> list[Tree]:
        self._enter(event, len(path) + 1)
        tree: list[Tree] = []
        step = self._next
        while type(event := step()) is not SequenceEndEvent:
            if len(tree) > MAX_LEAVES:
                break
            tree.append(self._value(event, path, len(tree)))
        self._count(event, len(tree))
        return tree

    def _key(self, event: _Event) -> str | MergeKey:
        if type(event) is not ScalarEvent:
            raise _refused(event, "a key must be a text")
        if event.anchor is not None:
            raise _refused(event, "an anchor on a key")
        value: str = event.value
        if event.tag is None and (not event.implicit[0] or (value and value[0] not in FIRST)):
            return value
        key = self._meant(event)
        if not isinstance(key, str | MergeKey):
            raise _refused(event, "a key that is no text: quote it")
        return key

    def _scalar(self, event: _Event) -> Scalar:
        made = self._meant(event)
        if isinstance(made, MergeKey):
            raise _refused(event, "<< that is no key: quote it")
        return made

    def _meant(self, event: _Event) -> Scalar | MergeKey:
        if event.tag is not None and event.tag not in KNOWN_TAGS:
            raise _refused(event, "a tag that is not known here")
        try:
            if event.tag is not None:
                return constructed(event.tag, event.value)
            return plain(event.value) if event.implicit[0] else str(event.value)
        except (ValueError, ArithmeticError, AttributeError, LookupError, YAMLError):
            pass
        raise _refused(event, "a value that is not of its type, a plain =, or a number of too many digits: quote it")

    def _merge(self, event: _Event, depth: int) -> Tree:
        if not isinstance(event, SequenceStartEvent) or event.anchor or event.tag:
            return self._merged(event, depth)
        merged: list[Tree] = []
        while type(event := self._next()) is not SequenceEndEvent:
            merged.append(self._merged(event, depth))
        self._count(event, len(merged))
        return merged

    def _merged(self, event: _Event, depth: int) -> Alias:
        if not isinstance(event, AliasEvent):
            raise _refused(event, "<< takes aliases of mappings only: give the mapping an anchor")
        anchor = self._alias(event, depth)
        if not anchor.mapping:
            raise _refused(event, "<< takes an alias of a mapping")
        return Alias(anchor.path)

    def _alias(self, event: _Event, depth: int) -> _Anchor:
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            raise _refused(event, "an alias inside its own anchor" if event.anchor in self._anchors else "an alias without an anchor")
        self._aliases += 1
        self._enter(event, depth + anchor.height)
        self._count(event, anchor.size - 1)
        return anchor

    def _open(self, event: _Event) -> None:
        if event.anchor in self._anchors:
            raise _refused(event, "an anchor that is there already")
        self._anchors[event.anchor] = None

    def _block(self, event: _Event) -> None:
        """Read the metadata block, whose key was read."""
        if self._metadata is not None:
            raise _refused(event, f"the key {METADATA} occurs twice in one mapping")
        anchors, aliases = len(self._anchors), self._aliases
        value = self._value(self._next(), (), METADATA)
        if (anchors, aliases) != (len(self._anchors), self._aliases):
            raise _refused(event, f"an anchor or alias in {METADATA}")
        try:
            self._metadata = checked_metadata(value)
        except FormatError as error:
            reason = str(error)
        else:
            return
        raise _refused(event, reason)

    def _enter(self, event: _Event, depth: int) -> None:
        self._deepest = max(self._deepest, depth)
        if depth > MAX_DEPTH:
            raise _refused(event, f"more than {MAX_DEPTH} mappings and lists inside each other")

    def _count(self, event: _Event, number: int) -> None:
        self._values += number
        if self._values > MAX_LEAVES:
            raise _refused(event, f"more than {MAX_LEAVES:,} values, aliases expanded")


_LONE_RETURN = re.compile(r"\r(?!\n)")


def _refused(event: _Event, reason: str) -> FormatError:
    return refusal(event.start_mark.line + 1, reason)


def _check_tag(event: _Event, kind: str) -> None:
    if isinstance(event, CollectionStartEvent) and event.tag not in (None, PREFIX + kind):
        raise _refused(event, "a tag that is not known here")
