# SPDX-License-Identifier: Apache-2.0
"""The tree that an edit wants, and whether what was read back is that tree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime

from securekit.config._tree import Alias, MergeKey, Path, Scalar, Tree

__all__ = ["Root", "aliases", "same", "with_values", "without"]

Root = dict[str | MergeKey, Tree]
"""The tree of a whole document."""


def same(one: Tree, other: Tree) -> bool:
    """Tell whether two trees are equal with their types: 1, 1.0 and True differ, and not-a-number is itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return len(one) == len(other) and all(key in other and same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other) if one == other else math.isnan(one) and math.isnan(other)
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and one.utcoffset() == other.utcoffset()
    return one == other


def with_values(tree: Root, values: Mapping[Path, Scalar]) -> Root:
    """Return the tree with other scalars at these paths, whose missing parents are made."""
    made: Root = {key: _copied(value) for key, value in tree.items()}
    for path, value in values.items():
        node: Tree = made
        for place, segment in enumerate(path):
            below: Tree = value if place == len(path) - 1 else [] if isinstance(path[place + 1], int) else {}
            if isinstance(node, list) and isinstance(segment, int):
                if segment == len(node):
                    node.append(below)
                elif place == len(path) - 1:
                    node[segment] = value
                node = node[segment]
            elif isinstance(node, dict) and isinstance(segment, str):
                if segment not in node or place == len(path) - 1:
                    node[segment] = below
                node = node[segment]
    return made


def _copied(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return list(map(_copied, tree)) if isinstance(tree, list) else tree


def without(tree: Tree, path: Path) -> Tree:
    """Return the tree without ``path``; aliases of what stands behind a removed item of a list follow it."""
    last = path[-1]

    def moved(anchor: Path) -> Path:
        place = anchor[len(path) - 1] if len(anchor) >= len(path) and anchor[: len(path) - 1] == path[:-1] else None
        if isinstance(last, int) and isinstance(place, int) and place > last:
            return (*path[:-1], place - 1, *anchor[len(path) :])
        return anchor

    def copy(node: Tree, here: Path | None) -> Tree:
        if isinstance(node, dict):
            below = [(key, value, None if here is None else (*here, key)) for key, value in node.items()]
            return {key: copy(value, deeper) for key, value, deeper in below if deeper != path}  # type: ignore[arg-type]
        if isinstance(node, list):
            return [copy(item, (*here, place)) for place, item in enumerate(node) if (*here, place) != path]  # type: ignore[misc]
        return Alias(moved(node.anchor)) if isinstance(node, Alias) else node

    return copy(tree, ())


def aliases(node: Tree, *, outside: Path, here: tuple[object, ...] = ()) -> Iterator[Alias]:
    """Yield the aliases of a tree that do not stand inside ``outside``."""
    if isinstance(node, Alias):
        yield node
    elif isinstance(node, dict | list) and here != outside:
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from aliases(child, outside=outside, here=(*here, key))
