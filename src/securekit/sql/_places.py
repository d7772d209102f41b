# SPDX-License-Identifier: Apache-2.0
"""Where a row is: the JSON array of its key's values, in the one way that each is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple
from uuid import UUID

__all__ = ["BYTES", "DATE", "DECIMAL", "INTEGER", "TEXT", "TIME", "UNIQUE", "Kind", "Places"]

_KEPT = 8192  # places whose values are asked for again soon, when what was read is replaced


class Kind(NamedTuple):
    """How the values of a key's column stand in a place: as an integer or as text, and back without loss."""

    python: type
    to_json: Callable[[Any], str]
    from_json: Callable[[Any], object]


INTEGER = Kind(int, repr, int)
TEXT = Kind(str, encode_basestring_ascii, str)  # ASCII, so that no terminal is deceived
BYTES = Kind(bytes, lambda value: f'"{value.hex()}"', bytes.fromhex)
UNIQUE = Kind(UUID, lambda value: f'"{value}"', UUID)
TIME = Kind(datetime, lambda value: f'"{value.isoformat()}"', datetime.fromisoformat)
DATE = Kind(date, lambda value: f'"{value.isoformat()}"', date.fromisoformat)
DECIMAL = Kind(Decimal, lambda value: f'"{value}"', Decimal)


class Places:
    """The places of one table.

    Args:
        table: Its name.
        kinds: Of its key's columns.
    """

    def __init__(self, table: str, kinds: Sequence[Kind]) -> None:
        self._table = table
        self._kinds = kinds
        self._kept: dict[str, list[Any]] = {}

    def place(self, values: Sequence[object]) -> str:
        """Return the place of the row with these values of the key.

        Raises:
            OSError: A value has another type than its column, as SQLite allows.
        """
        texts, kept = [], []
        for kind, given in zip(self._kinds, values, strict=True):
            value = bytes(given) if type(given) is memoryview else given
            if type(value) is not kind.python:
                message = f"a key of {self._table} is a {type(value).__name__}, where the column's type promises {kind.python.__name__}"
                raise OSError(message)
            kept.append(value)
            texts.append(kind.to_json(value))
        place = f"[{','.join(texts)}]"
        if len(self._kept) >= _KEPT:
            self._kept = {}
        self._kept[place] = kept
        return place

    def values(self, place: str) -> list[Any]:
        """Return the values of the key of which `place` made ``place``.

        Raises:
            ValueError: It is no place of this table.
        """
        return self._kept.get(place) or self._parsed(place)

    def _parsed(self, place: str) -> list[Any]:
        try:
            values = [kind.from_json(value) for kind, value in zip(self._kinds, json.loads(place), strict=True)]
            if self.place(values) == place:
                return values
        except (ArithmeticError, AttributeError, TypeError, ValueError):
            pass
        message = f"{place[:200]!r} is no place of {self._table}"
        raise ValueError(message)
