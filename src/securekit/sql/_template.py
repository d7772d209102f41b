# SPDX-License-Identifier: Apache-2.0
"""The keyring and the context of a stored ciphertext, from the row that it stands in.

The text of a value goes into a path and into authenticated data, where two applications must come to the same one: so it
has one text, or it is refused. ``str(1.10)`` and ``str(Decimal("1.10"))`` differ, and so do ``true``, ``True`` and ``1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TypeVar
from uuid import UUID

from securekit._wire.pae import MAX_VALUE_SIZE, encode_context
from securekit.keyring import check_path, fill_path

__all__ = ["COLUMN", "ContextOf", "ContextTemplate", "KeyringOf", "KeyringTemplate", "Row", "as_text"]

T = TypeVar("T")
Row = Mapping[str, object]
KeyringTemplate = str | Callable[[Row], str]
ContextTemplate = Mapping[str, str] | Callable[[Row], Mapping[str, str]]

COLUMN = "column"  # the name under which a row knows the column of the ciphertext

_FIELD = r"\{([A-Za-z_][A-Za-z0-9_]*)\}"
_TOKENS = rf"\{{\{{|\}}\}}|{_FIELD}|[{{}}]"
_PATHS_KEPT = 4096
# What a function of the user's may raise at a row that it does not understand; anything else ends the work.
_UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def as_text(name: str, value: object) -> str:
    """Return the one text of a value: a string itself, an integer in decimal, a UUID with hyphens, a date as ``2026-11-26``.

    Raises:
        ValueError: It is NULL, or of a type whose values have several texts. The message names the column, never the value.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    what = "is NULL" if value is None else f"is a {type(value).__name__}, which has no single text: give a function for it"
    message = f"{name} {what}"
    raise ValueError(message)


class KeyringOf:
    """Tells the path of a row's keyring.

    Args:
        template: As `SqlColumns`.

    Attributes:
        names: The names that the template uses; None for a function.
    """

    def __init__(self, template: KeyringTemplate) -> None:
        self._template = template
        self.names: frozenset[str] | None = None
        if isinstance(template, str):
            self.names = frozenset(re.findall(_FIELD, template))
            check_path(re.sub(_FIELD, "x", template))
            self._order = tuple(sorted(self.names))
            self._filled = lru_cache(_PATHS_KEPT)(self._fill)
        elif not callable(template):
            message = f"keyring must be a template or a function of the row, not {type(template).__name__}"
            raise TypeError(message)

    def __call__(self, row: Row) -> str:
        """Return the path.

        Raises:
            ValueError: There is none; the message says why, without a value.
        """
        if isinstance(self._template, str):
            return self._filled(*[as_text(name, row[name]) for name in self._order]) if self._order else self._template
        return _ask("keyring", self._template, row, check_path)

    def _fill(self, *texts: str) -> str:
        template = str(self._template)
        try:
            return fill_path(template, dict(zip(self._order, texts, strict=True)))
        except ValueError:  # which may show the value
            message = f"{' and '.join(self._order)} does not fill one segment of the path {template}"
        raise ValueError(message)


class ContextOf:
    """Tells the context of a row's ciphertext.

    Args:
        template: As `SqlColumns`.

    Attributes:
        names: The names that the template uses; None for a function.
    """

    def __init__(self, template: ContextTemplate) -> None:
        self._function: Callable[[Row], Mapping[str, str]] | None = None
        self.names: frozenset[str] | None = None
        if isinstance(template, Mapping):
            encode_context(template)  # its bounds, and that all of it is text
            parts = {key: _parts(value) for key, value in template.items()}
            self.names = frozenset(name for some in parts.values() for name in some[1::2])
            self._fixed = {key: some[0] for key, some in parts.items() if len(some) == 1}
            self._alone = {key: some[1] for key, some in parts.items() if len(some) == 3 and not some[0] and not some[2]}  # noqa: PLR2004
            self._mixed = {key: some for key, some in parts.items() if key not in self._fixed and key not in self._alone}
        elif callable(template):
            self._function = template
        else:
            message = f"context must be a mapping of templates or a function of the row, not {type(template).__name__}"
            raise TypeError(message)

    def __call__(self, row: Row) -> Mapping[str, str]:
        """Return the context.

        Raises:
            ValueError: There is none; the message says why, without a value.
        """
        if self._function is not None:
            return _ask("context", self._function, row, encode_context)
        context = self._fixed.copy()
        for key, name in self._alone.items():  # the common case, once for each ciphertext
            context[key] = _bounded(key, as_text(name, row[name]))
        for key, parts in self._mixed.items():
            context[key] = _bounded(key, "".join(as_text(part, row[part]) if number % 2 else part for number, part in enumerate(parts)))
        return context


def _parts(template: str) -> list[str]:
    """Return literal text and names, alternating: ``a{b}c`` is ``["a", "b", "c"]``."""
    parts, end = [""], 0
    for match in re.finditer(_TOKENS, template):
        parts[-1] += template[end : match.start()]
        end = match.end()
        if match[1]:
            parts += [match[1], ""]
        elif len(match[0]) > 1:
            parts[-1] += match[0][0]
        else:
            message = (
                f"{template!r} has a brace that belongs to no {{name}}; a brace itself is written twice, and other names need a function"
            )
            raise ValueError(message)
    parts[-1] += template[end:]
    return parts


def _bounded(key: str, text: str) -> str:
    if 4 * len(text) > MAX_VALUE_SIZE and len(text.encode()) > MAX_VALUE_SIZE:  # 4 bytes of UTF-8 at most for a character
        message = f"the context's {key} is longer than {MAX_VALUE_SIZE} bytes"
        raise ValueError(message)
    return text


def _ask(what: str, function: Callable[[Row], T], row: Row, check: Callable[[T], object]) -> T:
    """Return what a user's function says of a row, if ``check`` finds nothing wrong with it."""
    try:
        answer = function(MappingProxyType(dict(row)))
        check(answer)
    except _UNFIT as error:  # whose message may show the row
        message = f"the function for the {what} raised {type(error).__name__}, or gave what is none"
    else:
        return answer
    raise ValueError(message)
