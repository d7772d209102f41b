# SPDX-License-Identifier: Apache-2.0
"""Walks over a document's tree: its leaves, what is wrong with them, and the values that an application gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from securekit.exceptions import ConfigError, FormatError
from securekit.secret import Secret

from ._path import Patterns, encode_path, format_path
from ._token import DocumentKey, Token, foreign, is_token, must_open, parse_token
from ._tree import MERGE, Alias, MergeKey, Path, Scalar, Tree

__all__ = ["Leaf", "find", "leaves", "places", "reveal", "tokens"]

Root = dict[str | MergeKey, Tree]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar of a document: a clear value, or a token."""

    path: Path
    value: Scalar

    @property
    def name(self) -> str:
        """The path as people write it."""
        return format_path(self.path)

    @property
    def token(self) -> Token | None:
        """The token, if the value is encrypted.

        Raises:
            securekit.exceptions.FormatError: It begins like a token, and is none.
        """
        return token_at(self.path, self.value) if isinstance(self.value, str) and is_token(self.value) else None


def token_at(path: Path, text: str) -> Token:
    """Return the parts of the token at ``path``.

    Raises:
        securekit.exceptions.FormatError: It is none; the message names the path.
    """
    try:
        return parse_token(text)
    except FormatError as error:
        message = f"{format_path(path)}: {error}"
    raise FormatError(message)


def leaves(tree: Tree, path: Path = ()) -> Iterator[Leaf]:
    """Yield every scalar with its path, in the document's order. What an alias repeats is not repeated here."""
    pending: list[tuple[Path, Tree]] = [(path, tree)]
    while pending:
        here, node = pending.pop()
        if isinstance(node, dict):
            pending += [((*here, key), value) for key, value in reversed(node.items()) if key is not MERGE]
        elif isinstance(node, list):
            pending += [((*here, index), node[index]) for index in range(len(node) - 1, -1, -1)]
        elif not isinstance(node, Alias):
            yield Leaf(here, node)


def places(tree: Root) -> Iterator[tuple[Path, Leaf]]:
    """Yield every scalar with each path at which an application sees it: its own, and those of aliases and merges."""
    pending: list[tuple[Path, Path, Tree]] = [((), (), tree)]
    while pending:
        seen, here, node = pending.pop()
        if isinstance(node, Alias):
            here, node = node.anchor, find(tree, node.anchor)
        if isinstance(node, dict):
            pending += [((*seen, key), *found) for key, found in reversed(_entries(tree, here, node).items())]
        elif isinstance(node, list):
            pending += [((*seen, index), (*here, index), node[index]) for index in range(len(node) - 1, -1, -1)]
        else:
            yield seen, Leaf(here, cast("Scalar", node))


def _entries(tree: Root, here: Path, node: Root) -> dict[str, tuple[Path, Tree]]:
    """Return the entries of a mapping by their keys, with the paths at which they stand, merges resolved."""
    merged: dict[str, tuple[Path, Tree]] = {}
    for alias in reversed(_merged(node)):
        merged |= _entries(tree, alias.anchor, cast("Root", find(tree, alias.anchor)))
    return merged | {key: ((*here, key), value) for key, value in node.items() if not isinstance(key, MergeKey)}


def _merged(node: Root) -> list[Alias]:
    """Return the aliases that a mapping merges; the first of them counts most."""
    value = node.get(MERGE, [])
    return cast("list[Alias]", value if isinstance(value, list) else [value])


def tokens(tree: Tree) -> Iterator[tuple[Path, Token]]:
    """Yield every token with its path."""
    for leaf in leaves(tree):
        if (token := leaf.token) is not None:
            yield leaf.path, token


def find(tree: Tree, path: Path) -> Tree:
    """Return what stands at ``path``.

    Raises:
        KeyError: There is nothing.
        securekit.exceptions.ConfigError: The path leads through an alias; the message names the path of its anchor.
    """
    node = tree
    for depth, segment in enumerate(path):
        if isinstance(node, Alias):
            real = format_path((*node.anchor, *path[depth:]))
            message = f"{format_path(path)} stands at {real}, of which {format_path(path[:depth])} is an alias: name that path"
            raise ConfigError(message)
        items: Any = dict(enumerate(node)) if isinstance(node, list) else node if isinstance(node, dict) else {}
        node = items[segment]
    return node


def check_clear(name: str, value: Scalar, *, protected: bool) -> None:
    """Check a value that is not a token.

    Raises:
        securekit.exceptions.ConfigError: It had to be encrypted, or holds a ciphertext that nothing here opens.
    """
    if protected:
        message = f"{name} is in clear text, and a pattern says that it must be encrypted: securekit config encrypt"
        raise ConfigError(message)
    if foreign(value):
        message = f"{name} holds a ciphertext that is not read here, and must not reach an application: set its value anew"
        raise ConfigError(message)


def reveal(tree: Root, patterns: Patterns, keys: Mapping[str, DocumentKey]) -> dict[str, object]:
    """Return the values that an application gets: encrypted ones as `Secret`, aliases and merges resolved.

    Raises:
        securekit.exceptions.ConfigError: A value is in clear text that must be encrypted; or is some other ciphertext.
        securekit.exceptions.FormatError: A token is malformed.
        securekit.exceptions.DecryptionError: A token does not open where it stands.
    """
    return _Revealing(patterns, keys).root(tree)


class _Revealing:
    """One walk. An anchor stands before its aliases, so that the values that an alias needs are there already."""

    __slots__ = ("_keys", "_match", "_root")

    def __init__(self, patterns: Patterns, keys: Mapping[str, DocumentKey]) -> None:
        self._match = patterns.match
        self._keys = keys
        self._root: dict[str, object] = {}

    def root(self, tree: Root) -> dict[str, object]:
        self._fill(self._root, tree, (), "")
        return self._root

    def _fill(self, values: dict[str, object], node: Root, path: Path, encoded: str) -> None:
        for key, value in node.items():
            if not isinstance(key, MergeKey):
                self._put(values, key, value, (*path, key), encoded)
        if MERGE in node:
            own, merged = dict(values), self._merge(node)
            for key in merged.keys() - own.keys():
                self._check_repeated(merged[key], (*path, key), encoded + encode_path((key,)))
            values.clear()
            values.update(merged | own)

    def _put(self, into: dict[str, object] | list[object], key: str | int, node: Tree, path: Path, encoded: str) -> None:
        """Put the value of ``node`` into its mapping or list before what is below it, where aliases may look for it."""
        encoded += encode_path((key,))
        place = cast("dict[str | int, object]", into)
        if isinstance(node, dict):
            place[key] = values = dict[str, object]()
            self._fill(values, node, path, encoded)
        elif isinstance(node, list):
            place[key] = items = list[object](node)
            for index, item in enumerate(node):
                self._put(items, index, item, (*path, index), encoded)
        elif isinstance(node, Alias):
            place[key] = self._at(node)
            self._check_repeated(place[key], path, encoded)
        elif isinstance(node, str) and is_token(node):
            token = token_at(path, node)
            place[key] = Secret(must_open(self._keys, token).open(path, token))
        else:
            protected = self._match(encoded)
            if protected or isinstance(node, str):
                check_clear(format_path(path), node, protected=protected)
            place[key] = node

    def _at(self, alias: Alias) -> object:
        node: object = self._root
        for segment in alias.anchor:
            node = cast("dict[str | int, object]", node)[segment]
        return node

    def _merge(self, node: Root) -> dict[str, object]:
        merged: dict[str, object] = {}
        for alias in reversed(_merged(node)):
            merged.update(cast("dict[str, object]", self._at(alias)))
        return merged

    def _check_repeated(self, value: object, path: Path, encoded: str) -> None:
        """Check that what is seen at ``path``, too, is not in clear text there against a pattern."""
        if isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                self._check_repeated(item, (*path, key), encoded + encode_path((key,)))
        elif self._match(encoded) and not isinstance(value, Secret):
            check_clear(format_path(path), cast("Scalar", value), protected=True)
