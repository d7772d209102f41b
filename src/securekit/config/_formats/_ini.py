# SPDX-License-Identifier: Apache-2.0
"""Configuration in INI files: configparser says what is in them, spans of our own say where, and both have to agree.

Names keep their case, nothing is interpolated, ``[DEFAULT]`` is a section like others, and only whole lines are comments:
a value with ``;`` or ``#`` in it is the whole value.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import cast

from securekit.config._formats import _comments
from securekit.config._formats._edits import (
    above,
    at,
    bounded,
    dotted,
    drop,
    named,
    newline,
    put,
    refused,
    replaced,
    splice,
    unwritable,
    verified,
)
from securekit.config._tree import MergeKey, Metadata, Path, Scalar, Tree

__all__ = ["IniSource"]

_MAX_SPACES = 64  # white space in a row before a delimiter: configparser's regular expression costs the square of it
_MAX_SECTIONS = 2_000  # which cost configparser more than keys do
_SPACES = re.compile(rf"\s{{{_MAX_SPACES + 1}}}")
_SECTION = re.compile(r"\[(.+)\]")
_DELIMITER = re.compile(r"[=:]")
_SPACE = re.compile(r"[^\S\r\n]*")
_NO_SECTION = "\n"  # a name that no header can have
_INDENT = "    "


@dataclass(slots=True)
class _Option:
    """Where an option's lines begin and end, where its key ends and its value stands, and on which line its key is."""

    start: int
    key: int
    key_end: int
    value: int
    value_end: int
    end: int
    line: int
    lines: list[str] | None  # of the value, if there is a delimiter
    indent: str = ""  # of the value's second line
    commented: bool = False  # a comment stands between the value's lines

    @property
    def text(self) -> str | None:
        """The value."""
        return None if self.lines is None else "\n".join(self.lines).rstrip()


@dataclass(slots=True)
class _Section:
    line: int
    end: int  # of its header's line
    options: dict[str, _Option]


class IniSource:
    """An INI file, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._sections: dict[str, _Section] = {}
        self._block = _comments.find(text, self._scan())
        self.metadata = self._block.metadata if self._block else None
        self.tree: dict[str | MergeKey, Tree] = self._judged()

    def line(self, path: Path) -> int:
        """Return the line of a section's header or a key, from 1; 0 if there is none."""
        section = self._sections.get(str(path[0])) if path else None
        if section is None or len(path) > 2:  # noqa: PLR2004 - section and key
            return 0
        if len(path) == 1:
            return section.line
        option = section.options.get(str(path[1]))
        return option.line if option else 0

    def replace(self, values: Mapping[Path, Scalar]) -> str:
        """Return the text with the values of these keys replaced."""
        tree = replaced(self.tree, values)
        return self._checked(splice(self.text, [self._replaced(path, value) for path, value in values.items()]), tree)

    def insert(self, path: Path, value: Scalar) -> str:
        """Return the text with a new key behind the others of its section, which is made if it is missing."""
        if len(path) != 2 or not all(isinstance(part, str) for part in path):  # noqa: PLR2004 - section and key
            raise refused(0, f"{dotted(path)}: an INI file has sections, keys in them, and nothing below these")
        name, key = map(str, path)
        section = self._sections.get(name)
        if section is None:
            edit = self._with_section(name, _entry(path, " = ", value, "", newline(self.text)))
        elif key in section.options:
            raise refused(section.options[key].line, f"{dotted(path)} is there already")
        else:
            edit = self._with_entry(section, path, value)
        return self._checked(splice(self.text, [edit]), put(self.tree, path, value))

    def remove(self, path: Path) -> str:
        """Return the text without the key's lines."""
        if isinstance(at(self.tree, path), dict):
            raise refused(self.line(path), f"{dotted(path)} is a section: remove its keys one by one")
        option = self._option(path)
        start = option.start
        if not self.text[: option.end].endswith("\n"):  # the last line, without an end: now the one above it has none
            start = len(self.text[:start].removesuffix(newline(self.text)))
        return self._checked(splice(self.text, [(start, option.end, "")]), drop(self.tree, path))

    def with_metadata(self, metadata: Metadata | None) -> str:
        """Return the text with this block of metadata, as comment lines."""
        result = IniSource(_comments.rewrite(self.text, self._block, metadata))
        return verified(result, self.tree, _comments.complete(metadata), "the metadata would not read back as it is")

    def _scan(self) -> list[tuple[int, int, int]]:
        """Fill the sections as configparser would, and return the comments that begin a line."""
        comments: list[tuple[int, int, int]] = []
        section: _Section | None = None
        option: _Option | None = None
        indent = end = 0
        between: list[tuple[int, int, int]] = []  # comments since the option's last line
        for number, line in enumerate(StringIO(self.text), 1):
            start, end = end, end + len(line)
            content = line.strip()
            if content.startswith(("#", ";")):
                between.append((start, end, number))
                if line.startswith("#"):
                    comments.append(between[-1])
                continue
            if not content:
                if option is not None and option.lines is not None:
                    option.lines.append("")
                continue
            own = len(line) - len(line.lstrip())
            if option is not None and own > indent:
                self._continue(option, content, between, (start + own, end), number)
                between = []
                continue
            indent, between = own, []
            header = _SECTION.match(content)
            if header:
                section, option = self._open(header[1], end, number), None
            elif section is None:
                raise refused(number, "a key above the first [section]")
            else:
                option = _begin(section, line, start, number)
        return comments

    def _open(self, name: str, end: int, number: int) -> _Section:
        """Return the section that a header begins."""
        if name in self._sections:
            raise refused(number, f"the section {named(name)} is there twice, first on line {self._sections[name].line}")
        if len(self._sections) == _MAX_SECTIONS:
            raise refused(number, f"more than {_MAX_SECTIONS:,} sections")
        section = self._sections[name] = _Section(number, end, {})
        return section

    def _continue(self, option: _Option, content: str, between: list[tuple[int, int, int]], span: tuple[int, int], number: int) -> None:
        """Add a line to the option's value; its span is from its first character to the line's end."""
        start, end = span
        if option.lines is None:
            raise refused(number, "an indented line below a key without a value")
        for first, last, line in between:
            if _comments.claims(self.text[first:last]):
                raise refused(line, "a line of the metadata stands inside a value of several lines")
        option.lines.append(content)
        option.value_end, option.end = start + len(content), end
        option.commented = option.commented or bool(between)
        if not option.indent:
            option.indent = self.text[self.text.rfind("\n", 0, start) + 1 : start]

    def _judged(self) -> dict[str | MergeKey, Tree]:
        """Return the tree that configparser reads, which has to be the one of our spans."""
        parser = configparser.RawConfigParser(
            allow_no_value=True,
            delimiters=("=", ":"),
            comment_prefixes=("#", ";"),
            inline_comment_prefixes=None,
            strict=True,
            default_section=_NO_SECTION,
        )
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        failed = False
        try:
            parser.read_string(self.text)
        except configparser.Error:
            failed = True  # and not raised from here: its message quotes the text
        ours = {name: {key: option.text for key, option in section.options.items()} for name, section in self._sections.items()}
        theirs = {} if failed else {name: dict(parser.items(name)) for name in parser.sections()}
        for name, section in self._sections.items():
            if ours[name] != theirs.get(name):
                differing = [
                    option.line for key, option in section.options.items() if (key, option.text) not in theirs.get(name, {}).items()
                ]
                raise refused(min(differing, default=section.line), "configparser reads this otherwise than it is written")
        if theirs.keys() != ours.keys():
            raise refused(0, "configparser finds other sections than there are")
        tree: dict[str | MergeKey, Tree] = {name: {**cast("dict[str | MergeKey, Tree]", options)} for name, options in ours.items()}
        bounded(tree)
        return tree

    def _option(self, path: Path) -> _Option:
        return self._sections[str(path[0])].options[str(path[1])]

    def _replaced(self, path: Path, value: Scalar) -> tuple[int, int, str]:
        """Return the edit that gives the key the value."""
        option = self._option(path)
        if option.commented:
            raise refused(option.line, f"{dotted(path)}: comments stand inside the value, which replacing it would take away")
        if value is None:
            return option.key_end, option.value_end, ""
        indent = option.indent or self.text[option.start : option.key] + _INDENT
        new = _value(value, indent, newline(self.text), dotted(path))
        separator = self.text[option.key_end : option.value]
        if option.lines is None:
            return option.key_end, option.value_end, " = " + new
        return option.value, option.value_end, (" " if separator in {" =", " :"} else "") + new

    def _with_entry(self, section: _Section, path: Path, value: Scalar) -> tuple[int, int, str]:
        """Return the edit that adds a key to a section, written as the one above it."""
        end, indent, separator, position = newline(self.text), "", " = ", section.end
        for option in section.options.values():
            indent, position = self.text[option.start : option.key], option.end
            separator = self.text[option.key_end : option.value] or separator
        entry = _entry(path, separator, value, indent, end)
        return position, position, entry + end if self.text[:position].endswith("\n") else end + entry

    def _with_section(self, name: str, entry: str) -> tuple[int, int, str]:
        """Return the edit that adds a section at the end, above the metadata if they are there."""
        end, position, block = newline(self.text), len(self.text), self._block
        at_end = block is not None and not self.text[block.end :].strip()
        if block is not None and at_end:
            position = above(self.text, block.start, block.end)
        new = f"[{name}]{end}{entry}"
        if not position:
            return 0, 0, new + end + (end if at_end else "")
        if not self.text[:position].endswith("\n"):
            return position, position, end + end + new
        return position, position, ("" if self.text[:position].endswith("\n" + end) else end) + new + end

    def _checked(self, text: str, tree: Tree) -> str:
        reason = (
            "INI has no form for this that would read back as it is: a key is printable, without delimiter, and no line of a value "
            "begins or ends with white space, or begins with # or ;"
        )
        return verified(IniSource(text), tree, self.metadata, reason)


def _begin(section: _Section, line: str, start: int, number: int) -> _Option:
    """Return the option that the line begins, and add it to the section."""
    stripped = line.rstrip()
    own = len(line) - len(line.lstrip())
    delimiter = _DELIMITER.search(stripped)
    if _SPACES.search(stripped, own, delimiter.start() if delimiter else len(stripped)):
        raise refused(number, f"more than {_MAX_SPACES} spaces in a row within a key")
    key = stripped[own : delimiter.start() if delimiter else None].rstrip()
    if not key:
        raise refused(number, "no key before the delimiter")
    if key in section.options:
        raise refused(number, f"{named(key)} is there twice in its section, first on line {section.options[key].line}")
    key_end = start + own + len(key)
    option = _Option(start, start + own, key_end, key_end, key_end, start + len(line), number, None)
    if delimiter:
        option.value = start + delimiter.end() + len(_SPACE.match(line, delimiter.end())[0])  # type: ignore[index]
        option.value_end = max(option.value, start + len(stripped))
        option.lines = [stripped[delimiter.end() :].strip()]
    section.options[key] = option
    return option


def _entry(path: Path, separator: str, value: Scalar, indent: str, end: str) -> str:
    """Return the line, or lines, of a new key."""
    return indent + str(path[1]) + ("" if value is None else separator + _value(value, indent + _INDENT, end, dotted(path)))


def _value(value: Scalar, indent: str, end: str, name: str) -> str:
    """Return a text as it is written, with every line but the first indented."""
    if not isinstance(value, str):
        raise refused(0, f"{name}: INI holds text alone, not {type(value).__name__}")
    if unwritable(value):
        raise refused(0, f"{name}: the text has a lone surrogate, which no file can hold")
    first, *others = value.split("\n")
    return end.join([first, *(indent + line if line else "" for line in others)])
