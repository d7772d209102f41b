# SPDX-License-Identifier: Apache-2.0
"""Paths to values, and patterns over paths, as people write them.

::

    db.password             the key password in the mapping db
    servers[0].token        the key token in the first item of the list servers
    "app.kubernetes.io".x   a key with a sign in it, as a JSON string

    db.*                    every entry of db
    **.secret*              every key that begins with secret, at any depth
    tokens[*]               every item of the list tokens

A pattern that matches a mapping or a list matches everything below it. A quoted key in a pattern is literal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ._tree import Path

__all__ = ["MAX_PATTERN", "Pattern", "Patterns", "encode_path", "format_path", "parse_path"]

MAX_PATTERN = 512  # characters
_MAX_PATTERNS = 256
_MAX_DEEP = 2  # ``**`` in one pattern: more would make matching slow
_MAX_STARS = 16  # ``*`` in one pattern

_SEGMENT = re.compile(r'(?P<index>\[(?:0|[1-9][0-9]{0,8})\])|(?P<any>\[\*\])|\.?(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<bare>[^.\[\]"\s\\]+))')
_BARE = re.compile(r'[^.\[\]"*\s\\\x00-\x20\x7f]+')


def parse_path(text: str) -> Path:
    """Return the path that ``text`` names.

    Raises:
        ValueError: It has another form.
    """
    path: list[str | int] = []
    for kind, value in _segments(text, what="path"):
        if kind == "any" or (kind == "bare" and "*" in value):
            message = f'{text!r} is a pattern, and one path is wanted here; a key that has a * in it is quoted: "a*b"'
            raise ValueError(message)
        path.append(int(value) if kind == "index" else value)
    return tuple(path)


def format_path(path: Path) -> str:
    """Return ``path`` in the form that `parse_path` reads."""
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        else:
            text += ("." if text else "") + (segment if _BARE.fullmatch(segment) else json.dumps(segment))
    return text


def encode_path(path: Path) -> str:
    """Return ``path`` as the text that patterns are matched against: per segment a separator, its kind and its name.

    The separator is a lone surrogate, the one thing that no key can hold.
    """
    return "".join([f"\ud800i{segment}" if isinstance(segment, int) else f"\ud800k{segment}" for segment in path])


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern over paths.

    Attributes:
        text: As people write it.

    Raises:
        ValueError: ``text`` has another form, or is out of bounds.
    """

    text: str
    expression: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expression", _translate(self.text))

    def matches(self, path: Path) -> bool:
        """Whether ``path`` is at or below what the pattern names."""
        return re.match(self.expression, encode_path(path)) is not None

    def matches_any(self, paths: Iterable[Path]) -> bool:
        """Whether it matches one of ``paths``."""
        return any(map(self.matches, paths))


class Patterns:
    """Several patterns, matched at once.

    Args:
        texts: At most 256.
    """

    __slots__ = ("_match", "patterns")

    def __init__(self, texts: Iterable[str]) -> None:
        self.patterns = tuple(Pattern(text) for text in texts)
        if len(self.patterns) > _MAX_PATTERNS:
            message = f"there are {len(self.patterns)} patterns; at most {_MAX_PATTERNS} are allowed"
            raise ValueError(message)
        joined = "|".join(f"(?:{pattern.expression})" for pattern in self.patterns)
        self._match = re.compile(joined or r"(?!)").match

    def match(self, encoded: str) -> bool:
        """Whether one of them matches the path that `encode_path` gave as ``encoded``."""
        return self._match(encoded) is not None

    def matches(self, path: Path) -> bool:
        """Whether one of them matches ``path``."""
        return self.match(encode_path(path))

    def unmatched(self, paths: Iterable[Path]) -> tuple[str, ...]:
        """Return the texts of those patterns that match none of ``paths``."""
        there = list(paths)
        return tuple(pattern.text for pattern in self.patterns if not pattern.matches_any(there))


def _segments(text: str, *, what: str) -> Iterable[tuple[str, str]]:
    """Yield the kind and the value of each segment."""
    if not 0 < len(text) <= MAX_PATTERN:
        message = f"a {what} has 1 to {MAX_PATTERN} characters, not {len(text)}"
        raise ValueError(message)
    at = 0
    while at < len(text):
        found = _SEGMENT.match(text, at)
        if found is None or (text[at] == ".") != (at > 0 and found.lastgroup in {"quoted", "bare"}):
            message = f'{text!r} is no {what}: write keys with dots and indices in brackets, as in servers[0].token; quote odd keys: "a.b"'
            raise ValueError(message)
        at = found.end()
        kind = found.lastgroup or ""
        value = found[kind]
        if kind == "index":
            yield kind, value[1:-1]
        elif kind == "quoted":
            yield kind, _unquote(value, text, what)
        else:
            yield kind, value


def _unquote(quoted: str, text: str, what: str) -> str:
    try:
        key: str = json.loads(quoted)
        key.encode()  # a lone surrogate is no text
    except ValueError:
        message = f"{text!r} is no {what}: its quoted key is not a JSON string"
        raise ValueError(message) from None
    return key


def _translate(text: str) -> str:
    """Return the expression of a pattern.

    Of the places where what stands between two ``**`` matches, the first leaves the most to the rest: atomic groups take
    it and never go back, so that the cost does not grow with the square of the depth.
    """
    pieces: list[str] = []
    deep = stars = 0
    for kind, value in _segments(text, what="pattern"):
        if kind == "index":
            pieces.append(rf"\ud800i{value}(?![0-9])")
        elif kind == "any":
            pieces.append(r"\ud800i[0-9]++")
        elif kind == "quoted":
            pieces.append(rf"\ud800k{re.escape(value)}(?![^\ud800])")
        elif value == "**":
            pieces.append((")" if deep else "") + r"(?>(?:\ud800[^\ud800]*+)*?")
            deep += 1
        elif value == "*":
            pieces.append(r"\ud800[^\ud800]*+")
        else:
            stars += value.count("*")
            pieces.append(r"\ud800k" + _glob(value))
    if deep > _MAX_DEEP or stars > _MAX_STARS:
        message = f"the pattern {text!r} has more than {_MAX_DEEP} ** or {_MAX_STARS} *: use several patterns"
        raise ValueError(message)
    end = r"\ud800" if value == "**" else r"(?=\ud800|\Z)"  # behind ** there is something
    return "".join(pieces) + end + (")" if deep else "")


def _glob(value: str) -> str:
    """Return the expression of a key with stars in it; atomic groups keep the matching linear, as in `fnmatch`."""
    first, *rest = [re.escape(part) for part in re.split(r"\*+", value)]
    if not rest:
        return first + r"(?![^\ud800])"
    *middle, last = rest
    return first + "".join(rf"(?>[^\ud800]*?{part})" for part in middle) + rf"[^\ud800]*{last}(?=\ud800|\Z)"
