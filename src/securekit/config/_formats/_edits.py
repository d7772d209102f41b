# SPDX-License-Identifier: Apache-2.0
"""What an edit wants, and whether it came out so: a tree with a value put or an entry dropped, and exact equality."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import TypeVar, cast

from securekit.config._tree import MAX_DEPTH, MAX_LEAVES, Metadata, Path, Scalar, Source, Tree
from securekit.exceptions import FormatError

__all__ = [
    "above",
    "appended",
    "at",
    "bounded",
    "dotted",
    "drop",
    "has",
    "named",
    "newline",
    "put",
    "refused",
    "replaced",
    "same",
    "splice",
    "unwritable",
    "verified",
]

T = TypeVar("T")
_SHORT_KEY = re.compile(r"[\w.-]{1,40}")
_PLAIN_KEY = re.compile(r"[\w-]+")


def refused(line: int, reason: str) -> FormatError:
    """Return the error that names a line of the text, and never what stands in it."""
    return FormatError(f"line {line}: {reason}" if line else reason)


def dotted(path: Path) -> str:
    """Return the path as messages show it: ``db.hosts.0``, with quotes around a key that is not a plain word."""
    return ".".join(str(part) if isinstance(part, int) or _PLAIN_KEY.fullmatch(str(part)) else repr(part) for part in path)


def named(key: str) -> str:
    """Return a key for a message about text that may be no key at all, such as a line of a private key that was not indented."""
    return repr(key) if _SHORT_KEY.fullmatch(key) else "a key"


def at(tree: Tree, path: Path) -> Tree:
    """Return what stands at ``path``; a FormatError if nothing does."""
    for depth, part in enumerate(path):
        if not has(tree, part):
            raise refused(0, f"there is no {dotted(path[: depth + 1])}")
        tree = cast("dict[str | int, Tree]", tree)[part]
    return tree


def has(tree: Tree, part: str | int) -> bool:
    """Tell whether the mapping or list has this key or index."""
    if isinstance(part, int):
        return isinstance(tree, list) and 0 <= part < len(tree)
    return isinstance(tree, dict) and part in tree


def put(tree: T, path: Path, value: Tree) -> T:
    """Return the tree with ``value`` at ``path``, whose missing parents are made as mappings; the tree given stays as it is."""
    if not path:
        return cast("T", value)
    first, rest = path[0], path[1:]
    if isinstance(tree, list) and isinstance(first, int) and 0 <= first <= len(tree):
        return cast("T", [*tree[:first], put(tree[first] if first < len(tree) else {}, rest, value), *tree[first + 1 :]])
    if isinstance(tree, dict) and isinstance(first, str):
        return cast("T", {**tree, first: put(tree.get(first, {}), rest, value)})
    raise refused(0, f"{first!r} cannot be added to a value that is not a mapping, or to the middle of a list")


def replaced(tree: T, values: Mapping[Path, Scalar]) -> T:
    """Return the tree with other scalars at paths that hold scalars; the tree given stays as it is."""
    new = _copied(cast("Tree", tree))
    for path, value in values.items():
        if isinstance(at(new, path), dict | list):
            raise refused(0, f"{dotted(path)} holds others: only a single value is replaced")
        cast("dict[str | int, Tree]", at(new, path[:-1]))[path[-1]] = value
    return cast("T", new)


def _copied(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def drop(tree: T, path: Path) -> T:
    """Return the tree without the entry at ``path``, which is there."""
    first, rest = path[0], path[1:]
    if isinstance(tree, list) and isinstance(first, int):
        return cast("T", [*tree[:first], *([drop(tree[first], rest)] if rest else []), *tree[first + 1 :]])
    if not isinstance(tree, dict):  # pragma: no cover - `at` has been asked before
        raise refused(0, "not a mapping")
    if rest:
        return cast("T", {**tree, first: drop(tree[first], rest)})
    return cast("T", {key: value for key, value in tree.items() if key != first})


def same(one: object, other: object) -> bool:
    """Tell whether two trees are equal in types, too, so that ``1``, ``1.0`` and ``True`` differ; the order of keys is free."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)  # tells 0.0 from -0.0, and takes nan for nan
    if isinstance(one, date | time) and isinstance(other, date | time):
        return one.isoformat() == other.isoformat()
    return bool(one == other)


def bounded(tree: Tree) -> None:
    """Refuse a tree that is deeper, or has more leaves, than a document may."""
    leaves, level, depth = 0, [tree], 0
    while level:
        below: list[Tree] = []
        for node in level:
            if isinstance(node, dict):
                below += node.values()
            elif isinstance(node, list):
                below += node
            else:
                leaves += 1
        level, depth = below, depth + 1
        if depth > MAX_DEPTH + 1:
            raise refused(0, f"mappings and lists inside each other more than {MAX_DEPTH} deep")
        if leaves + len(level) > MAX_LEAVES:
            raise refused(0, f"more than {MAX_LEAVES:,} values")


def verified(result: Source, tree: Tree, metadata: Metadata | None, reason: str) -> str:
    """Return the text of an edit's result if it reads back as what was wanted; else refused, with the reason."""
    if not same(result.tree, tree) or result.metadata != metadata:
        raise refused(0, reason)
    return result.text


def splice(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Return the text with each ``(start, end, new)`` put in the place of ``text[start:end]``; they do not overlap."""
    parts, position = [], 0
    for start, end, new in sorted(edits):
        parts += [text[position:start], new]
        position = end
    return "".join([*parts, text[position:]])


def appended(text: str, block: str, end: str) -> str:
    """Return the text with a block of lines at its end, below a blank line; `above` finds where that was.

    Where nothing ends the text's last line, nothing ends the block's: that is how taking it away knows what was there before.
    """
    if text.endswith("\r"):
        raise refused(0, "a carriage return alone ends the text: nothing can be added behind it and taken away again")
    if not text:
        return block + end
    return text + end + block + end if text.endswith("\n") else text + end + end + block


def above(text: str, start: int, end: int) -> int:
    """Return where the text above the block from ``start`` to ``end`` ends: before what `appended` has put there."""
    line_end = newline(text)
    margin = len(text[:start].removesuffix(line_end))
    if not text[:end].endswith("\n"):
        return len(text[:margin].removesuffix(line_end))
    return margin if not margin or text[:margin].endswith("\n") else start


def newline(text: str) -> str:
    """Return how the text ends its lines: as it ends the first one."""
    end = text.find("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def unwritable(text: str) -> bool:
    """Tell whether no file can hold the text, because it has a lone surrogate."""
    return re.search("[\ud800-\udfff]", text) is not None
