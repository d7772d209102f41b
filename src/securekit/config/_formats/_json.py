# SPDX-License-Identifier: Apache-2.0
"""JSON as RFC 8259 has it, with nothing beside: read with the place of every value, edited by splicing."""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime, time
from json.decoder import scanstring  # type: ignore[attr-defined] # what json itself calls
from typing import NoReturn

from securekit.config._tree import MAX_DEPTH, MAX_LEAVES, METADATA, Metadata, Scalar, Tree
from securekit.exceptions import FormatError

from ._spans import Entry, Node, SpanSource, Unsuitable, checked_metadata, name, refusal
from ._wanted import Root

__all__ = ["JsonSource"]


class JsonSource(SpanSource):
    """A JSON text whose root is an object."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._root: Node | None = None
        quick = _quick(text)
        if quick is None:
            self._root, self.tree, self.metadata = _Reader(text).document()
        else:
            self.tree, self.metadata = quick, None
        if '":' in text and not re.search(r'":\s', text):
            self._gap, self._colon = ",", ":"

    def _scan(self) -> Node:
        if self._root is None:
            self._root = _Reader(self.text).document()[0]
        return self._root

    def _written(self, value: Scalar, *, brackets: bool) -> str:  # noqa: ARG002
        return written(value)


def written(value: Scalar) -> str:
    """Return a scalar in JSON."""
    if isinstance(value, bytes | date | datetime | time):
        reason = f"JSON has no form for {'bytes' if isinstance(value, bytes) else 'a date or a time'}: write it as text"
        raise Unsuitable(reason)
    if isinstance(value, float) and not math.isfinite(value):
        reason = "JSON has no infinity and no not-a-number"
        raise Unsuitable(reason)
    try:
        form = json.dumps(value, ensure_ascii=False)
        form.encode()
    except ValueError:  # a lone surrogate, or more digits than Python converts
        reason = "a lone surrogate or a number of more than 4,300 digits"
    else:
        return form
    raise Unsuitable(reason)


def _quick(text: str) -> Root | None:
    """Return the tree of a document by Python's own scanner, which is faster than ours and finds no places.

    None where that one is not known to say the same as ours: a document with metadata or escaped characters, and whatever is refused,
    for whose reason and line there is ours.
    """
    if METADATA in text or "\\u" in text:
        return None
    try:
        text.encode()  # a lone surrogate is refused
        tree = json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) and _bounded(tree) else None


def _unique(pairs: list[tuple[str, Tree]]) -> Root:
    members: Root = dict(pairs)
    if len(members) != len(pairs):
        _refuse("")
    return members


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(text)
    return value


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _bounded(tree: Root) -> bool:
    """Whether a document has no more values and levels than it may."""
    count = depth = 0
    level: list[Root | list[Tree]] = [tree]
    while level and depth < MAX_DEPTH and count <= MAX_LEAVES:
        items = [item for node in level for item in (node.values() if isinstance(node, dict) else node)]
        level = [item for item in items if isinstance(item, dict | list)]
        count += len(items)
        depth += 1
    return not level and count <= MAX_LEAVES


_WHITE = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?!\w)")
_WORDS: tuple[tuple[str, Scalar], ...] = (("true", True), ("false", False), ("null", None))
_DIGITS = 4300  # of a whole number: where Python stops converting, too


class _Reader:
    """Goes through the text once, building the tree and the nodes side by side."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._values = -1  # the document itself does not count
        self._depth = 0

    def document(self) -> tuple[Node, Root, Metadata | None]:
        start = self._skip(0)
        if not self._text.startswith("{", start):
            self._fail(start, "the document must be an object: { … }")
        tree, node = self._value(start)
        end = self._skip(node.end)
        if end < len(self._text):
            self._unexpected(end, "the end of the document")
        if not isinstance(tree, dict):  # pragma: no cover - it begins with a brace
            raise TypeError
        metadata = None
        if METADATA in tree:
            try:
                metadata = checked_metadata(tree.pop(METADATA))
            except FormatError as error:
                reason = str(error)
                self._fail(node.entries[METADATA].start, reason)
        return node, tree, metadata

    def _value(self, start: int) -> tuple[Tree, Node]:
        text = self._text
        first = text[start : start + 1]
        self._values += 1
        if self._values > MAX_LEAVES:
            self._fail(start, f"more than {MAX_LEAVES:,} values")
        if first == '"':
            string, end = self._string(start)
            return string, Node("scalar", start, end)
        if first in ("{", "["):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                self._fail(start, f"more than {MAX_DEPTH} objects and lists inside each other")
            found = self._object(start) if first == "{" else self._list(start)
            self._depth -= 1
            return found
        number = _NUMBER.match(text, start)
        if number:
            return self._number(number, start), Node("scalar", start, number.end())
        for word, value in _WORDS:
            if text.startswith(word, start):
                return value, Node("scalar", start, start + len(word))
        return self._unexpected(start, "a value")

    def _object(self, start: int) -> tuple[Tree, Node]:
        tree: Root = {}
        node = Node("mapping", start, start, brackets=True, content=start)
        place = self._skip(start + 1)
        more = not self._text.startswith("}", place)
        while more:
            if not self._text.startswith('"', place):
                self._unexpected(place, "a member's name in double quotes")
            key, end = self._string(place)
            if key in tree:
                self._fail(place, f"the name {name((key,))} occurs twice in one object")
            colon = self._skip(end)
            if not self._text.startswith(":", colon):
                self._unexpected(colon, "a colon")
            tree[key], child = self._value(self._skip(colon + 1))
            node.entries[key] = Entry(place, end, child)
            place, more = self._next(child.end, "}")
        node.end = place + 1
        return tree, node

    def _list(self, start: int) -> tuple[Tree, Node]:
        tree: list[Tree] = []
        node = Node("list", start, start, brackets=True, content=start)
        place = self._skip(start + 1)
        more = not self._text.startswith("]", place)
        while more:
            value, child = self._value(place)
            node.entries[len(tree)] = Entry(place, place, child)
            tree.append(value)
            place, more = self._next(child.end, "]")
        node.end = place + 1
        return tree, node

    def _next(self, end: int, bracket: str) -> tuple[int, bool]:
        """Return where the next entry begins and True, or where the bracket is and False."""
        comma = _COMMA.match(self._text, end)
        if comma:
            return comma.end(), True
        place = self._skip(end)
        if not self._text.startswith(bracket, place):
            self._unexpected(place, f"a comma or {bracket}")
        return place, False

    def _string(self, start: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self._text, start + 1, True)  # noqa: FBT003 - the scanner's own signature
            value.isascii() or value.encode()
        except json.JSONDecodeError:
            reason = "a string that does not end, or holds a control character or an unknown escape"
        except UnicodeEncodeError:
            reason = "a string with a lone surrogate"
        else:
            return value, end
        return self._fail(start, reason)

    def _number(self, number: re.Match[str], start: int) -> int | float:
        if not number["fraction"]:
            if len(number[0].removeprefix("-")) > _DIGITS:
                self._fail(start, f"a number of more than {_DIGITS:,} digits")
            return int(number[0])
        value = float(number[0])
        if math.isinf(value):
            self._fail(start, "a number too large to be read")
        return value

    def _skip(self, place: int) -> int:
        return _WHITE.match(self._text, place).end()  # type: ignore[union-attr]

    def _unexpected(self, place: int, expected: str) -> NoReturn:
        found = self._text[place : place + 1]
        if found == "#" or self._text.startswith(("//", "/*"), place):
            self._fail(place, "JSON has no comments")
        if self._text.startswith(("NaN", "Infinity", "-Infinity"), place):
            self._fail(place, "JSON has no infinity and no not-a-number")
        self._fail(place, f"expected {expected}" if found else "the document ends too soon")

    def _fail(self, place: int, reason: str) -> NoReturn:
        raise refusal(self._text.count("\n", 0, place) + 1, reason)
