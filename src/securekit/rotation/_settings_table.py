# SPDX-License-Identifier: Apache-2.0
"""Tables of settings, read strictly: what is missing, of another type, or not understood is a mistake that is named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NoReturn, TypeVar, cast

from securekit.exceptions import ConfigError

__all__ = ["SettingsTable", "parse_duration"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}

T = TypeVar("T")


class SettingsTable:
    """A table of the file, whose members are taken one by one; what is left over is a mistake."""

    def __init__(self, table: object, name: str) -> None:
        if not isinstance(table, Mapping):
            message = f"{name} is to be a table"
            raise ConfigError(message)
        self._left = dict(table)
        self._known: list[str] = []
        self.name = name

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        return self._take(name, str, default)

    def number(self, name: str, default: int) -> int:
        """Return a number above 0."""
        value = self._take(name, int, default)
        if value < 1:
            self._fail(f"{name} is to be at least 1")
        return value

    def duration(self, name: str, default: int) -> int:
        """Return the seconds of a duration."""
        text = self.text(name, f"{default}s")
        try:
            return parse_duration(text)
        except ValueError as error:
            self._fail(f"{name}: {error}")

    def texts(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return a text, or several."""
        value = self._take(name, object, default)
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, list | tuple) or not all(isinstance(one, str) for one in several):
            self._fail(f"{name} is to be a text, or a list of texts")
        return tuple(several)

    def mapping(self, name: str) -> dict[str, str] | None:
        """Return a table of texts; None if there is none."""
        if name not in self._left:
            self._known.append(name)
            return None
        value = self._take(name, dict, None)
        if not all(isinstance(one, str) for one in value.values()):
            self._fail(f"the values of {name} are to be texts")
        return cast("dict[str, str]", value)

    def table(self, name: str) -> SettingsTable:
        """Return a table; an empty one if there is none."""
        return SettingsTable(self._take(name, dict, {}), f"{self.name}: [{name}]")

    def tables(self, name: str) -> list[SettingsTable]:
        """Return a list of tables."""
        found = self._take(name, list, [])
        return [SettingsTable(one, f"{self.name}: [[{name}]] number {number}") for number, one in enumerate(found, 1)]

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._left

    def end(self) -> None:
        """Refuse what nobody has asked for."""
        for name in self._left:
            close = get_close_matches(name, self._known, 1)
            self._fail(f"{name!r} is not understood{f'; is it {close[0]!r}?' if close else ''}")

    def _take(self, name: str, kind: type[T], default: T | None) -> T:
        self._known.append(name)
        if name not in self._left:
            if default is None:
                self._fail(f"{name} is missing")
            return default
        value = self._left.pop(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            self._fail(f"{name} is of another type")
        return value

    def _fail(self, what: str) -> NoReturn:
        message = f"{self.name}: {what}"
        raise ConfigError(message) from None


def parse_duration(text: str) -> int:
    """Return the seconds of a duration such as ``"90d"``, ``"12h"``, ``"30m"``, ``"45s"``, ``"2w"``.

    Raises:
        ValueError: ``text`` has another form.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if match is None:
        message = f'a duration is a number and one of s, m, h, d, w, such as "90d", not {text!r}'
        raise ValueError(message)
    return int(match[1]) * _UNITS[match[2]]
