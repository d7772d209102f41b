# SPDX-License-Identifier: Apache-2.0
"""The path of a keyring: ``region/tenant/purpose``. Every store checks it here."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["MAX_SEGMENTS", "check_path", "fill_path", "is_under"]

MAX_SEGMENTS = 8
# Patterns are compiled (and kept, by the re module) when they are first needed: at import they would cost more than the rest.
_SEGMENT = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_FIELD = r"\{([A-Za-z_][A-Za-z0-9_]*)\}"


def check_path(path: str) -> str:
    """Return ``path`` if it is 1 to 8 segments of ``[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?`` joined by ``/``.

    Raises:
        TypeError: ``path`` is not ``str``.
        ValueError: ``path`` has another form; the message names the segment at fault.
    """
    if not isinstance(path, str):
        message = f"a keyring path must be str, not {type(path).__name__}"
        raise TypeError(message)
    segments = path.split("/")
    if len(segments) > MAX_SEGMENTS:
        message = f"a keyring path has at most {MAX_SEGMENTS} segments, not {len(segments)}"
        raise ValueError(message)
    for segment in segments:
        if not re.fullmatch(_SEGMENT, segment):
            form = "1 to 64 of a-z, 0-9, '.', '_' and '-', the first and the last a letter or a digit"
            message = f"{segment[:80]!r} is no segment of a keyring path: {form}"
            raise ValueError(message)
    return path


def fill_path(template: str, values: Mapping[str, object]) -> str:
    """Return ``template`` with each ``{name}`` replaced by ``values[name]``, which must be exactly one segment.

    Args:
        template: For example ``"eu/{account}/customers"``.
        values: For example ``{"account": "acme"}``.

    Raises:
        KeyError: A name is missing.
        ValueError: A value is no single segment, so that ``"x/../y"`` cannot climb into another tenant; or the result is no path.
    """

    def fill(match: re.Match[str]) -> str:
        value = values[match[1]]
        if not isinstance(value, str) or not re.fullmatch(_SEGMENT, value):
            message = f"the value of {{{match[1]}}} does not fill one segment of the path {template!r}"
            raise ValueError(message)
        return value

    return check_path(re.sub(_FIELD, fill, template))


def is_under(path: str, prefix: str) -> bool:
    """Whether ``path`` is ``prefix`` or lies below it, by whole segments; everything lies below the empty prefix."""
    return not prefix or path == prefix or path.startswith(f"{prefix}/")
