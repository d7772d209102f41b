# SPDX-License-Identifier: Apache-2.0
"""Configuration in .env files: python-dotenv's parser says what is in them, spans of our own say where.

Nothing is interpolated: ``${NAME}`` is the text that it is. A key without ``=`` has the value None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO

from dotenv.parser import Binding, parse_stream

from securekit.config._formats import _comments
from securekit.config._formats._edits import above, at, dotted, drop, named, newline, put, refused, replaced, splice, unwritable, verified
from securekit.config._tree import MergeKey, Metadata, Path, Scalar, Tree

__all__ = ["DotenvSource"]

# Both bound what the parser's regular expressions cost, which is the square of the one and linear in the other.
_MAX_SPACES = 256  # white space in a row within a line
_MAX_LINES = 5_000  # keys and comments

_SPACES = re.compile(rf"[^\S\r\n]{{{_MAX_SPACES + 1}}}")
_LINE_END = re.compile(r"\r\n|\n|\r")
# As in dotenv.parser, whose regular expressions run one after the other and never go back.
_ENTRY = re.compile(
    r"""(?P<before>\s*+(?>(?:export[^\S\r\n]++)?)(?:'[^']++'|[^=\#\s]++))
        (?>(?P<equals>[^\S\r\n]*+=[^\S\r\n]*+)?)
        (?P<value>'(?>(?:\\.|[^'\\])*)'|"(?>(?:\\.|[^"\\])*)"|(?!['"])[^\r\n]*+)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"\s+#.*")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=\[\]-]*")
_NEW_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ESCAPES = {"\\": r"\\", '"': r"\"", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a key's own lines begin and end, what of them is ``=`` and value, and on which line the key stands."""

    start: int
    equals: int
    value: int
    value_end: int
    end: int
    line: int


class DotenvSource:
    """A .env file, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree: dict[str | MergeKey, Tree] = {}
        self._entries: dict[str, _Entry] = {}
        comments = self._read()
        self._block = _comments.find(text, comments)
        self.metadata = self._block.metadata if self._block else None

    def line(self, path: Path) -> int:
        """Return the line of a key, from 1; 0 if there is none."""
        entry = self._entries.get(str(path[0])) if len(path) == 1 else None
        return entry.line if entry else 0

    def replace(self, values: Mapping[Path, Scalar]) -> str:
        """Return the text with the values of these keys replaced; ``export``, spaces and comments around them stay."""
        tree = replaced(self.tree, values)
        return self._checked(splice(self.text, [self._replaced(str(path[0]), value) for path, value in values.items()]), tree)

    def insert(self, path: Path, value: Scalar) -> str:
        """Return the text with a new key behind the others."""
        if len(path) != 1 or not isinstance(path[0], str):
            raise refused(0, f"{dotted(path)}: a .env file has keys, and nothing below them")
        key = path[0]
        if key in self.tree:
            raise refused(self.line(path), f"{key} is there already")
        if not _NEW_KEY.fullmatch(key):
            raise refused(0, f"{key!r}: a new key of a .env file consists of letters, digits, '_', '.' and '-'")
        entry = key + _forms(key, value)[0]
        return self._checked(self._with_line(entry), put(self.tree, path, value))

    def remove(self, path: Path) -> str:
        """Return the text without the key's lines."""
        at(self.tree, path)
        entry = self._entries[str(path[0])]
        start = entry.start
        if self.text[entry.end - 1] not in "\r\n":  # the last line, without an end: now the one above it has none
            start = len(self.text[:start].removesuffix(newline(self.text)))
        return self._checked(splice(self.text, [(start, entry.end, "")]), drop(self.tree, path))

    def with_metadata(self, metadata: Metadata | None) -> str:
        """Return the text with this block of metadata, as comment lines."""
        result = DotenvSource(_comments.rewrite(self.text, self._block, metadata))
        return verified(result, self.tree, _comments.complete(metadata), "the metadata would not read back as it is")

    def _read(self) -> list[tuple[int, int, int]]:
        """Fill the tree and the entries, and return the comments that begin a line."""
        comments, position = [], 0
        long = _SPACES.search(self.text)
        if long:
            raise refused(_line(self.text, long.start()), f"more than {_MAX_SPACES} spaces in a row")
        for count, binding in enumerate(parse_stream(StringIO(self.text)), 1):
            whole = binding.original.string
            own = len(whole) - len(whole.lstrip())
            number = binding.original.line + len(_LINE_END.findall(whole, 0, own))
            if count > _MAX_LINES:
                raise refused(number, f"more than {_MAX_LINES:,} keys and comments")
            if binding.error or not self.text.startswith(whole, position):
                raise refused(number, "neither KEY=VALUE nor a comment; is a quote not closed?")
            if binding.key is not None:
                self._add(binding, position, number)
            elif whole[own:].startswith("#") and (position + own == 0 or self.text[position + own - 1] in "\r\n"):
                comments.append((position + own, position + len(whole), number))
            position += len(whole)
        return comments

    def _add(self, binding: Binding, position: int, number: int) -> None:
        key, whole = str(binding.key), binding.original.string
        match = _ENTRY.match(whole)
        if not key.isprintable() or match is None:
            raise refused(number, "a key that is not printable")
        if key in self.tree:
            raise refused(number, f"{named(key)} is there twice, first on line {self._entries[key].line}")
        equals, start, end = match.end("before"), match.start("value"), match.end("value")
        if match["equals"] is None:
            start = end = equals
        elif not match["value"].startswith(("'", '"')):
            empty = match["value"].startswith("#") and not match["equals"].endswith("=")
            value = "" if empty else _COMMENT.sub("", match["value"]).rstrip()
            end = start + len(value)
        blank = len(whole) - len(whole.lstrip())
        above = max(whole.rfind("\n", 0, blank), whole.rfind("\r", 0, blank)) + 1
        self.tree[key] = binding.value
        self._entries[key] = _Entry(position + above, position + equals, position + start, position + end, position + len(whole), number)

    def _replaced(self, key: str, value: Scalar) -> tuple[int, int, str]:
        """Return the edit that gives the key the value, in the first form that the parser reads as it."""
        entry = self._entries[key]
        start, new = 0, ""
        for form in _forms(key, value):
            has_equals = entry.value > entry.equals
            start, new = (entry.value, form.removeprefix("=")) if form and has_equals else (entry.equals, form)
            if _means(self.text[entry.start : start] + new + self.text[entry.value_end : entry.end], key, value):
                break
        return start, entry.value_end, new

    def _with_line(self, entry: str) -> str:
        """Return the text with a line behind the last key, or else above the metadata."""
        end = newline(self.text)
        position, margin = max((other.end for other in self._entries.values()), default=len(self.text)), ""
        if not self._entries and self._block is not None:
            position = above(self.text, self._block.start, self._block.end)
            margin = "" if position else end
        if position and self.text[position - 1] not in "\r\n":
            return splice(self.text, [(position, position, end + entry)])
        return splice(self.text, [(position, position, entry + end + margin)])

    def _checked(self, text: str, tree: Tree) -> str:
        return verified(DotenvSource(text), tree, self.metadata, "the .env file would not read back as it is wanted")


def _forms(key: str, value: Scalar) -> list[str]:
    """Return what may stand behind the key for this value, the simplest form first; each reads back on a line of its own."""
    if value is None:
        return [""]
    if not isinstance(value, str):
        raise refused(0, f"{key}: .env holds text alone, not {type(value).__name__}")
    if unwritable(value):
        raise refused(0, f"{key}: the text has a lone surrogate, which no file can hold")
    forms = ["=" + value] if _BARE.fullmatch(value) else []
    if value.isprintable():
        forms.append("='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'")
    return [*forms, '="' + "".join(_ESCAPES.get(char, char) for char in value) + '"']


def _means(text: str, key: str, value: Scalar) -> bool:
    """Tell whether the parser reads the text as this key with this value, and nothing more."""
    found = [(binding.key, binding.value, binding.error) for binding in parse_stream(StringIO(text))]
    return found == [(key, value, False)]


def _line(text: str, position: int) -> int:
    return len(_LINE_END.findall(text, 0, position)) + 1
