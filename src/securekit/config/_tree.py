# SPDX-License-Identifier: Apache-2.0
"""What a configuration document holds, whatever its format: a tree of mappings, lists and typed scalars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum
from typing import Protocol

__all__ = [
    "MAX_DEPTH",
    "MAX_LEAVES",
    "MAX_SIZE",
    "MERGE",
    "METADATA",
    "METADATA_LISTS",
    "Alias",
    "MergeKey",
    "Metadata",
    "Path",
    "Scalar",
    "Source",
    "Tree",
]

MAX_SIZE = 2 * 1024 * 1024  # bytes of a document
MAX_DEPTH = 64  # mappings and lists inside each other
MAX_LEAVES = 50_000  # scalars, and with every alias expanded

METADATA = "securekit"
"""The key of the metadata block, and the first word of its comment lines in .env and INI."""

METADATA_LISTS = frozenset({"encrypt", "recipients", "keys", "signatures"})
"""The names in the metadata block that hold a list, of any length; every other one holds a single text."""

Path = tuple[str | int, ...]
"""Where a value is: the keys of mappings and the indices of lists from the root on."""

Scalar = str | int | float | bool | None | bytes | date | datetime | time
"""A value. A format that has only text (.env, INI) yields `str` and None alone."""

Metadata = Mapping[str, str | Sequence[str]]
"""The block called ``securekit`` as it is written: names to a text, or to a list of texts, one line each."""


class MergeKey(Enum):
    """The key ``<<`` of YAML's merges: not the text, which a mapping may hold as an ordinary key."""

    MERGE = "<<"


MERGE = MergeKey.MERGE


@dataclass(frozen=True, slots=True)
class Alias:
    """``*name`` in YAML: the value that stands at ``anchor`` stands here, too."""

    anchor: Path


Tree = dict[str | MergeKey, "Tree"] | list["Tree"] | Scalar | Alias


class Source(Protocol):
    """A text in one of the formats, parsed. It never changes; every edit returns a new text.

    What an edit does not name stays character for character as it was. An edit whose result would not read back as exactly
    the wanted tree is refused with a `securekit.exceptions.FormatError`, and so is a text that has no such guarantee.
    """

    @property
    def text(self) -> str:
        """The whole text, without a byte order mark."""

    @property
    def tree(self) -> dict[str | MergeKey, Tree]:
        """The values, without the metadata block. Tokens are the text that they are."""

    @property
    def metadata(self) -> Metadata | None:
        """The metadata block, if there is one."""

    def line(self, path: Path) -> int:
        """Return the line, from 1, on which the value at ``path`` begins; 0 if the format's parser does not tell."""

    def replace(self, values: Mapping[Path, Scalar]) -> str:
        """Return the text with the scalars at these paths replaced. Each path holds a scalar now."""

    def insert(self, path: Path, value: Scalar) -> str:
        """Return the text with a new scalar: behind the other entries of its mapping or list, whose missing parents are made."""

    def remove(self, path: Path) -> str:
        """Return the text without the entry at ``path``: its key, its value, and the line's end."""

    def with_metadata(self, metadata: Metadata | None) -> str:
        """Return the text with this metadata block in the place of the present one, at the end if there is none, or without one."""
