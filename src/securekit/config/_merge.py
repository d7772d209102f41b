# SPDX-License-Identifier: Apache-2.0
"""Merging two versions of a document that have a common ancestor: for git, and for authors who can read nothing.

The texts without their metadata are merged by ``git merge-file``, so that comments and layout of both sides stay. Its result
counts only if it says of every value what a merge by paths says; else the values are merged into our side's text. The metadata is
made anew, under a fresh data key, and is never signed: whoever signs has looked at the result.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from securekit.exceptions import ConfigError, FormatError

from ._edit import Edit
from ._path import format_path
from ._tree import MERGE, Alias, Path, Scalar, Tree
from ._value import TYPES, type_name

if TYPE_CHECKING:
    from securekit.wrappers import KeyWrapper

    from ._document import Document

__all__ = ["Merged", "merge_into"]

T = TypeVar("T")
_EMPTY = {dict: "an empty mapping", list: "an empty list"}


@dataclass(frozen=True, slots=True)
class _Node:
    """What stands at a path: a scalar, an alias, or an empty mapping or list; compared with its type."""

    kind: str
    value: object


@dataclass(frozen=True, slots=True)
class Merged:
    """What has to be looked at after a merge.

    Attributes:
        conflicts: The paths that both sides have changed, differently: our value is kept there.
        exposed: The paths of secrets that a recipient could read whom one side has removed.
    """

    conflicts: tuple[str, ...]
    exposed: tuple[str, ...]


def merge_into(edit: Edit, *, base: Document | None, ours: Document, theirs: Document, wrappers: Sequence[KeyWrapper] = ()) -> Merged:
    """Merge what ``theirs`` has changed since ``base`` into ``edit``, an editing session on ``ours``.

    Values, patterns and recipients are merged. A recipient that one side has added takes a reader, if the other side has written
    under keys of its own since.

    Args:
        edit: The session.
        base: The common ancestor; None if there is none.
        ours: What the session was begun on.
        theirs: The other version.
        wrappers: What wraps to recipients that are no public keys.

    Raises:
        securekit.exceptions.ConfigError: They are not versions of one document; or both sides changed the same mappings or lists;
            or nobody could read the result.
    """
    mine, other = ours.required, theirs.required
    if (mine.document, mine.environment) != (other.document, other.environment):
        message = "the two sides are not versions of one document: their ids or environments differ"
        raise ConfigError(message)
    before = None if base is None or base.block is None or base.block.document != mine.document else base
    texts = [_bare(before), _bare(ours), _bare(theirs)]
    nodes = [_nodes(before), _nodes(ours), _nodes(theirs)]
    merged_text, clean = _merge_texts(*texts)
    wanted, conflicts = _merge_nodes(*nodes)
    blocks = [None if before is None else before.required, mine, other]
    patterns = _merge_sets(*(() if block is None else block.encrypt for block in blocks))
    old, here, there = ([] if block is None else [one.name for one in block.recipients] for block in blocks)
    if before is None and here != there:
        message = "the two sides have different recipients, and no common ancestor says who was removed: make them the same first"
        raise ConfigError(message)
    names = _merge_sets(old, here, there)
    if not names:
        message = "one side has removed the recipients that the other has kept, so that nobody could read the merge"
        raise ConfigError(message)
    known = {(one.name, one.key_ref): one for side in (theirs, ours) for one in side.writers(wrappers)}
    text = _accepted(ours, merged_text, wanted) if clean and not conflicts else None
    edit.carry(other, text if text is not None else _by_values(ours, nodes[1], wanted), patterns, [known[name] for name in names])
    return Merged(tuple(format_path(path) for path in conflicts), edit.readable_by(known.keys() - set(names)))


def _by_values(ours: Document, before: dict[Path, _Node], wanted: dict[Path, _Node]) -> str:
    """Return our side's text with the values of the merge."""
    try:
        accepted = _accepted(ours, _with_values(ours, before, wanted), wanted)
    except FormatError:  # such as a value where a list stands
        accepted = None
    if accepted is None:
        message = "the two sides changed the same lists or mappings"
        raise ConfigError(message)
    return accepted


def _with_values(ours: Document, before: dict[Path, _Node], wanted: dict[Path, _Node]) -> str:
    document = ours.with_text(_bare(ours))
    for path in sorted(before.keys() - wanted.keys(), key=_in_order, reverse=True):
        document = document.with_text(document.source.remove(path))
    changed: dict[Path, Scalar] = {}
    for path, node in wanted.items():
        if before.get(path) == node:
            continue
        if node.kind not in TYPES:
            message = f"both sides changed what is at or below {format_path(path)}"
            raise ConfigError(message)
        if path in before:
            changed[path] = node.value  # type: ignore[assignment]
        else:
            document = document.with_text(document.source.insert(path, node.value))  # type: ignore[arg-type]
    return document.source.replace(changed) if changed else document.source.text


def _in_order(path: Path) -> tuple[tuple[int, str], ...]:
    """Return what sorts paths by their keys and, as numbers, their indices."""
    return tuple((segment, "") if isinstance(segment, int) else (-1, segment) for segment in path)


def _accepted(ours: Document, text: str, wanted: dict[Path, _Node]) -> str | None:
    """Return ``text`` with our side's metadata, if it holds exactly the wanted values."""
    try:
        document = ours.with_text(text)
        if document.block is None and _nodes(document) == wanted:
            return document.source.with_metadata(ours.required.encode())
    except FormatError:
        pass
    return None


def _bare(document: Document | None) -> str:
    return "" if document is None else document.source.with_metadata(None)


def _nodes(document: Document | None) -> dict[Path, _Node]:
    found: dict[Path, _Node] = {}
    pending: list[tuple[Path, Tree]] = [] if document is None else [((), document.source.tree)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, dict) and node:
            if MERGE in node:  # what YAML merges in is one thing, and not merged inside
                found[path] = _Node("merge", repr(node[MERGE]))
            pending += [((*path, key), value) for key, value in reversed(node.items()) if isinstance(key, str)]
        elif isinstance(node, list) and node:
            pending += [((*path, index), node[index]) for index in range(len(node) - 1, -1, -1)]
        elif isinstance(node, dict | list):
            found[path] = _Node(_EMPTY[type(node)], None)
        elif isinstance(node, Alias):
            found[path] = _Node("alias", node.anchor)
        else:
            found[path] = _Node(type_name(node), node)
    return found


def _merge_nodes(base: dict[Path, _Node], ours: dict[Path, _Node], theirs: dict[Path, _Node]) -> tuple[dict[Path, _Node], list[Path]]:
    """Return the merged values, ours first, and the paths that both sides changed."""
    merged: dict[Path, _Node] = {}
    conflicts: list[Path] = []
    for path in dict.fromkeys((*ours, *theirs)):
        old, mine, other = base.get(path), ours.get(path), theirs.get(path)
        if mine != other and old not in (mine, other):
            conflicts.append(path)
        chosen = other if mine == old else mine
        if chosen is not None:
            merged[path] = chosen
    return merged, conflicts


def _merge_sets(base: Iterable[T], ours: Iterable[T], theirs: Iterable[T]) -> list[T]:
    """Return what both sides have, and what one of them has added; in order, ours first."""
    before, mine, other = set(base), list(ours), list(theirs)
    return [one for one in dict.fromkeys((*mine, *other)) if (one in mine and one in other) or one not in before]


def _merge_texts(base: str, ours: str, theirs: str) -> tuple[str, bool]:
    """Return what ``git merge-file`` makes of three texts, and whether it found no conflict."""
    with TemporaryDirectory() as folder:
        files = [FilePath(folder, name) for name in ("ours", "base", "theirs")]
        for file, text in zip(files, (ours, base, theirs), strict=True):
            file.write_bytes(text.encode())
        command = ["git", "merge-file", "-p", "-q", "-L", "ours", "-L", "base", "-L", "theirs", *map(str, files)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - fixed arguments, and files of ours
        except FileNotFoundError:
            return ours, False
        return done.stdout.decode(errors="replace"), done.returncode == 0
