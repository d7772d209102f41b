# SPDX-License-Identifier: Apache-2.0
"""Configuration in TOML: tomllib says what is in it, spans of our own say where.

The spans are found in text that tomllib has accepted, so that their scanner needs to know where a token ends and nothing about
what is allowed. Should it ever be wrong, the edit's result does not read back as wanted, and is refused.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import cast

from securekit.config._formats._edits import (
    above,
    appended,
    at,
    bounded,
    dotted,
    drop,
    has,
    newline,
    put,
    refused,
    replaced,
    splice,
    unwritable,
    verified,
)
from securekit.config._tree import MAX_DEPTH, METADATA, MergeKey, Metadata, Path, Scalar, Tree

__all__ = ["TomlSource"]

_INDENT = "    "
_MAX_CONTAINERS = 10_000  # tables and arrays, which cost tomllib more than other values
# Groups are atomic, and not repeated possessively, which Python before 3.11.5 matches wrongly (gh-106052).
# A string that is not closed ends where the text or its line does: tomllib says so later, and nothing is scanned twice.
_STRING = (
    r'"""(?>(?:[^"\\]++|\\.|"(?!""))*)(?:"{3,5}|\\?\Z)'
    r"|'''(?>(?:[^']++|'(?!''))*)(?:'{3,5}|\Z)"
    r'|"(?>(?:[^"\\\n]++|\\.)*)"?'
    r"|'[^'\n]*+'?"
)
_DOT = r'\.[ \t]*+(?>(?:[A-Za-z0-9_-]++|"(?>(?:[^"\\\n]++|\\.)*)"|\'[^\'\n]*+\')?)[ \t]*+'
_NESTING = re.compile(rf"{_STRING}|#[^\n]*+|[\[{{]|[\]}}]|(?:{_DOT}){{{MAX_DEPTH}}}", re.DOTALL)
_STRING_TOKEN = re.compile(_STRING, re.DOTALL)
_KEY_PART = re.compile(r"[ \t]*([A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]*|[^\s,\]}#]+")
_SPACE = re.compile(r"[ \t]*")
_FILL = re.compile(r"(?>(?:[ \t\r\n]++|#[^\n]*+)*)")  # space, line ends and comments between items
_REST_OF_LINE = re.compile(r"[^\n]*\n?")
_AT_LINE = re.compile(r"at line (\d+)")
# What tomllib says, without what it quotes.
_REASONS = (
    "Unterminated string",
    'Expected "\'"',
    "Expected \"'''\"",
    "Invalid date or datetime",
    "Invalid hex value",
    "Unescaped '\\' in a string",
    "Illegal character",
    "Unclosed array",
    "Unclosed inline table",
    "Duplicate inline table key",
    "Cannot mutate immutable namespace",
    "Cannot declare",
    "Cannot overwrite a value",
    "Cannot redefine namespace",
    "Expected '=' after a key in a key/value pair",
    "Expected ']' at the end of a table declaration",
    "Expected ']]' at the end of an array declaration",
    "Expected newline or end of document after a statement",
    "Invalid initial character for a key part",
    "Invalid statement",
    "Invalid value",
)


@dataclass(slots=True)
class _Value:
    """Where a value stands, and the key before it, if it has one; a table's header has no value."""

    start: int
    value: int
    end: int
    items: list[Path] = field(default_factory=list)  # of an array or inline table, in the order of the text
    inside: str = ""  # "[" or "{": what it is an item of


@dataclass(slots=True)
class _Body:
    """A table's header, or the top of the text, and where the key/value pairs under it end."""

    path: Path
    start: int
    header_end: int
    entries: list[Path] = field(default_factory=list)
    end: int = 0


class _Layout:
    """Where everything stands in a text that tomllib has accepted."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[Path, _Value] = {}
        self.bodies = [_Body((), 0, 0)]
        self._headers: dict[Path, _Body] = {(): self.bodies[0]}
        self._starts: list[int] = []  # of lines but the first
        self._lengths: dict[Path, int] = {}  # of arrays of tables
        position = _FILL.match(text, 0).end()  # type: ignore[union-attr]
        while position < len(text):
            position = self._header(position) if text[position] == "[" else self._pair(position, self.bodies[-1].path, None)
            position = _FILL.match(text, position).end()  # type: ignore[union-attr]

    def body(self, path: Path) -> _Body | None:
        """Return the table with a header of its own at ``path``, or the top of the text."""
        return self._headers.get(path)

    def line(self, position: int) -> int:
        """Return the line, from 1, that a position is on."""
        if not self._starts:
            self._starts = [match.end() for match in re.finditer("\n", self.text)]
        return bisect_right(self._starts, position) + 1

    def _header(self, position: int) -> int:
        double = self.text.startswith("[[", position)
        parts, end = self._key(position + 1 + double)
        path: Path = ()
        for part in parts[:-1]:
            path = self._last((*path, part))
        path = (*path, parts[-1])
        if double:
            index = self._lengths[path] = self._lengths.get(path, -1) + 1
            path = (*path, index)
        end += 1 + double
        self._headers[path] = _Body(path, position, end, [], self._line_end(end))
        self.bodies.append(self._headers[path])
        return end

    def _last(self, path: Path) -> Path:
        return (*path, self._lengths[path]) if path in self._lengths else path

    def _pair(self, position: int, table: Path, owner: _Value | None) -> int:
        """Scan ``key = value`` and return its end."""
        parts, end = self._key(position)
        path = (*table, *parts)
        start = _SPACE.match(self.text, end + 1).end()  # type: ignore[union-attr]
        found = self.values[path] = _Value(position, start, start, inside="{" if owner else "")
        found.end = end = self._value(start, path)
        if owner is None:
            self.bodies[-1].entries.append(path)
            self.bodies[-1].end = self._line_end(end)
        else:
            owner.items.append(path)
        return end

    def _value(self, position: int, path: Path) -> int:
        """Scan a value and return its end."""
        opening = self.text[position]
        if opening in "\"'":
            return _end(_STRING_TOKEN, self.text, position)
        if opening not in "[{":
            return _end(_BARE_VALUE, self.text, position)
        owner, position = self.values[path], _end(_FILL, self.text, position + 1)
        while self.text[position] not in "]}":
            if opening == "{":
                position = self._pair(position, path, owner)
            else:
                item = (*path, len(owner.items))
                owner.items.append(item)
                found = self.values[item] = _Value(position, position, position, inside="[")
                found.end = position = self._value(position, item)
            position = _end(_FILL, self.text, position)
            if self.text[position] == ",":
                position = _end(_FILL, self.text, position + 1)
        return position + 1

    def _key(self, position: int) -> tuple[list[str], int]:
        parts = []
        while True:
            match = cast("re.Match[str]", _KEY_PART.match(self.text, position))
            quoted = match[1].startswith(('"', "'"))
            parts.append(tomllib.loads(f"key = {match[1]}")["key"] if quoted else match[1])
            position = match.end()
            if self.text[position] != ".":
                return parts, position
            position += 1

    def _line_end(self, position: int) -> int:
        return _end(_REST_OF_LINE, self.text, position)


class TomlSource:
    """A TOML document, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = _tree(text)
        self.metadata = _metadata(self.tree.pop(METADATA, None))
        self._layout_: _Layout | None = None

    @property
    def _layout(self) -> _Layout:
        if self._layout_ is None:
            self._layout_ = _Layout(self.text)
        return self._layout_

    def line(self, path: Path) -> int:
        """Return the line on which a value begins, or the header of its table, from 1; 0 if neither is written down."""
        found, body = self._layout.values.get(path), self._layout.body(path) if path else None
        if found is None and body is None:
            return 0
        return self._layout.line(found.value if found else cast("_Body", body).start)

    def replace(self, values: Mapping[Path, Scalar]) -> str:
        """Return the text with these values replaced."""
        tree, found = replaced(self.tree, values), self._layout.values
        edits = [(found[path].value, found[path].end, _literal(path, value)) for path, value in values.items()]
        return self._checked(splice(self.text, edits), tree)

    def insert(self, path: Path, value: Scalar) -> str:
        """Return the text with a new value behind the others of its table or array, whose missing parents are made."""
        if path[:1] == (METADATA,):
            raise refused(0, f"{METADATA} is the table of the metadata")
        wanted = put(self.tree, path, value)
        present = 0  # how much of the path there is
        node: Tree = self.tree
        for part in path:
            if not has(node, part):
                break
            node = at(node, (part,))
            present += 1
        if present == len(path):
            raise refused(self.line(path), f"{dotted(path)} is there already")
        return self._checked(splice(self.text, [self._inserted(path, present, _literal(path, value))]), wanted)

    def remove(self, path: Path) -> str:
        """Return the text without the entry: its lines, or its part of an array or inline table."""
        at(self.tree, path)
        found = self._layout.values.get(path)
        if found is None:
            raise refused(self.line(path), f"{dotted(path)} is a table: remove its entries one by one")
        span = self._item_span(path, found) if found.inside else self._lines(found.start, found.end)
        wanted = drop(self.tree, path)
        for length in range(len(path) - 1, 0, -1):  # a table that only dotted keys made is gone with the last of them
            parent = path[:length]
            if at(wanted, parent) != {} or parent in self._layout.values or self._layout.body(parent):
                break
            wanted = drop(wanted, parent)
        return self._checked(splice(self.text, [(*span, "")]), wanted)

    def with_metadata(self, metadata: Metadata | None) -> str:
        """Return the text with this block of metadata, as the table ``[securekit]``."""
        text, end = self.text, newline(self.text)
        block = self._layout.body((METADATA,))
        if self.metadata is not None and block is None:
            raise refused(0, f"the metadata must stand in a table with the header [{METADATA}]")
        lines = end.join(_block(metadata)) if metadata is not None else ""
        if block is None:
            result = appended(text, lines, end) if lines else text
        elif not lines:
            result = splice(text, [(above(text, block.start, block.end), block.end, "")])
        else:
            result = splice(text, [(block.start, block.end, lines + (end if text[: block.end].endswith("\n") else ""))])
        wanted = metadata and {name: value if isinstance(value, str) else [*value] for name, value in metadata.items()}
        return verified(TomlSource(result), self.tree, wanted, "the metadata would not read back as it is")

    def _inserted(self, path: Path, present: int, literal: str) -> tuple[int, int, str]:
        """Return the edit that adds a value, of whose path the first ``present`` parts are there."""
        parent, missing = path[:present], path[present:]
        if isinstance(path[-1], int) and parent not in self._layout.values:
            raise refused(self.line(parent), f"{dotted(parent)} is an array of tables: a value goes into one of them")
        owner = self._layout.values.get(parent)
        if owner is not None:
            new = literal if isinstance(missing[0], int) else f"{_key(missing)} = {literal}"
            return self._item_added(owner, new)
        body = self._layout.body(parent)
        if body is not None and len(missing) == 1:
            return self._line_added(body, f"{_key(missing)} = {literal}")
        longer = (body for body in self._layout.bodies if len(body.path) < present)
        made = next((body for body in longer if any(entry[:present] == parent for entry in body.entries)), None)
        if made is not None:  # by dotted keys
            return self._line_added(made, f"{_key(path[len(made.path) :])} = {literal}", parent)
        header = [part for part in path[:-1] if isinstance(part, str)]
        brackets = ("[[", "]]") if isinstance(path[-2], int) and present < len(path) - 1 else ("[", "]")
        return self._table_added(parent, f"{brackets[0]}{_key(tuple(header))}{brackets[1]}", f"{_key(path[-1:])} = {literal}")

    def _line_added(self, body: _Body, line: str, below: Path = ()) -> tuple[int, int, str]:
        """Return the edit that adds a line behind the last entry of a table, or the last one ``below`` a path."""
        end, text = newline(self.text), self.text
        entries = [self._layout.values[entry] for entry in body.entries if entry[: len(below)] == below]
        if entries:
            last = entries[-1]
            indent = text[text.rfind("\n", 0, last.start) + 1 : last.start]
            position = _end(_REST_OF_LINE, text, last.end)
            line = indent + line
        elif body.path:
            position = body.end
        else:
            position = self._attached(self._layout.bodies[1].start) if len(self._layout.bodies) > 1 else len(text)
            if position < len(text):
                return position, position, line + end + end
        if position and not text[:position].endswith("\n"):
            return position, position, end + line
        return position, position, line + end

    def _table_added(self, ancestor: Path, header: str, line: str) -> tuple[int, int, str]:
        """Return the edit that adds a table behind the last one below ``ancestor``, but not behind the metadata at the end."""
        end, text, bodies = newline(self.text), self.text, self._layout.bodies
        last = max(
            index
            for index, body in enumerate(bodies)
            if body.path[: len(ancestor)] == ancestor and (index == 0 or body.path != (METADATA,))
        )
        new = f"{header}{end}{line}"
        following = bodies[last + 1] if last + 1 < len(bodies) else None
        if following is None:
            position = len(text)
        elif following.path == (METADATA,):
            position = above(text, following.start, following.end)
        else:
            position = self._attached(following.start)
            return position, position, new + end + end
        if not position:
            return 0, 0, new + end + (end if following else "")
        if not text[:position].endswith("\n"):
            return position, position, end + end + new
        return position, position, ("" if text[:position].endswith("\n" + end) else end) + new + end

    def _attached(self, position: int) -> int:
        """Return where the comment lines begin that stand directly above the line at ``position``."""
        start = self.text.rfind("\n", 0, position) + 1
        while start:
            above = self.text.rfind("\n", 0, start - 1) + 1
            if not self.text[above:start].lstrip().startswith("#"):
                break
            start = above
        return start

    def _item_added(self, owner: _Value, new: str) -> tuple[int, int, str]:
        """Return the edit that adds an item to an array or inline table, written as the last one is."""
        text, closing = self.text, owner.end - 1
        if not owner.items:
            inner = text[owner.value + 1 : closing]
            if inner.strip():  # comments: the item goes below them
                return closing, closing, f"{_INDENT}{new}{newline(text)}"
            return owner.value + 1, closing, f" {new} " if text[owner.value] == "{" else new
        last = self._layout.values[owner.items[-1]]
        comma = _end(_FILL, text, last.end)
        trailing = text[comma] == ","
        behind = comma + 1 if trailing else last.end
        if "\n" not in text[last.end : closing]:
            return behind, behind, f"{'' if trailing else ','} {new}{',' if trailing else ''}"
        line_start = text.rfind("\n", 0, last.start) + 1
        indent = cast("re.Match[str]", _SPACE.match(text, line_start))[0]
        line_end = text.index("\n", behind) + 1
        line = f"{indent}{new}{',' if trailing else ''}{newline(text)}"
        return last.end, line_end, ("" if trailing else ",") + text[last.end : line_end] + line

    def _item_span(self, path: Path, found: _Value) -> tuple[int, int]:
        """Return the span of an item, with the comma that it needs no longer, and its line if it stands alone there."""
        text = self.text
        owner = next(value for value in self._layout.values.values() if path in value.items)
        index = owner.items.index(path)
        after = _end(_FILL, text, found.end)
        comma = text[after] == ","
        start, end = self._lines(found.start, after + 1 if comma else found.end)
        beside = text[start : found.start] + text[after + 1 if comma else found.end : end].partition("#")[0]
        if not beside.strip():
            return start, end  # and in an array the comma above it may stay
        if comma:
            return found.start, _end(_SPACE, text, after + 1)
        before = self._layout.values[owner.items[index - 1]].end if index else found.start
        return (before if "\n" not in text[before : found.start] else found.start), found.end

    def _lines(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of whole lines; the last of the text, if nothing ends it, takes the end of the line above."""
        first, last = self.text.rfind("\n", 0, start) + 1, _end(_REST_OF_LINE, self.text, end)
        if not self.text[:last].endswith("\n"):
            first = len(self.text[:first].removesuffix(newline(self.text)))
        return first, last

    def _checked(self, text: str, tree: Tree) -> str:
        return verified(TomlSource(text), tree, self.metadata, "the TOML would not read back as it is wanted")


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    return cast("re.Match[str]", pattern.match(text, position)).end()


def _tree(text: str) -> dict[str | MergeKey, Tree]:
    """Return what tomllib reads, within our bounds."""
    _shallow(text)
    tree: dict[str | MergeKey, Tree] = {}
    line, reason = 0, ""
    try:
        tree = cast("dict[str | MergeKey, Tree]", tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        number = _AT_LINE.search(str(error))
        line = int(number[1]) if number else text.count("\n") + 1
        reason = next((known for known in _REASONS if str(error).startswith(known)), "not TOML")
        reason = reason[0].lower() + reason[1:]
    except ValueError:  # of int(), which bounds its digits
        reason = "a number has too many digits"
    if reason:
        raise refused(line, reason)  # not from within the handler: tomllib's error may hold the text
    bounded(tree)
    return tree


def _shallow(text: str) -> None:
    """Refuse text that is nested too deeply for tomllib, which recurses, and whose dotted keys cost the square of their length."""
    depth = containers = 0
    for match in _NESTING.finditer(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            containers += 1
        elif first in "]}":
            depth -= 1
        if first == "." or depth > MAX_DEPTH:
            raise refused(text.count("\n", 0, match.start()) + 1, f"tables and arrays inside each other more than {MAX_DEPTH} deep")
        if containers > _MAX_CONTAINERS:
            raise refused(text.count("\n", 0, match.start()) + 1, f"more than {_MAX_CONTAINERS:,} tables and arrays")


def _metadata(table: Tree) -> Metadata | None:
    if table is None:
        return None
    if not isinstance(table, dict) or not all(
        isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)) for value in table.values()
    ):
        raise refused(0, f"{METADATA} is the name of the metadata, a table of texts and lists of texts")
    return cast("Metadata", table)


def _block(metadata: Metadata) -> list[str]:
    """Return the lines of the table of the metadata."""
    lines = [f"[{METADATA}]"]
    for name, value in metadata.items():
        path = (METADATA, name)
        if isinstance(value, str):
            lines.append(f"{_key((name,))} = {_literal(path, value)}")
        elif not value:
            lines.append(f"{_key((name,))} = []")
        else:
            lines += [f"{_key((name,))} = [", *(f"{_INDENT}{_literal(path, item)}," for item in value), "]"]
    return lines


def _key(path: Path) -> str:
    """Return a dotted key."""
    return ".".join(str(part) if _BARE_KEY.fullmatch(str(part)) else _literal(path, str(part)) for part in path)


def _literal(path: Path, value: Scalar) -> str:
    """Return a scalar as it is written; a text as a basic string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if unwritable(value):
            raise refused(0, f"{dotted(path)}: the text has a lone surrogate, which no file can hold")
        return '"' + "".join(_escape(char) for char in value) + '"'
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        if abs(value) >= 2**63 and value != -(2**63):
            raise refused(0, f"{dotted(path)}: TOML's whole numbers have 64 bits")
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise refused(0, f"{dotted(path)}: TOML has no {'null' if value is None else type(value).__name__}")


def _escape(char: str) -> str:
    short = {"\b": r"\b", "\t": r"\t", "\n": r"\n", "\f": r"\f", "\r": r"\r", '"': r"\"", "\\": r"\\"}.get(char)
    return short or (char if char.isprintable() or ord(char) > 0x7F else f"\\u{ord(char):04x}")  # noqa: PLR2004 - the end of ASCII
