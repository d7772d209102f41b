# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON (RFC 8785) of objects, arrays, strings, integers, booleans and null: one document, one encoding.

Without floating-point numbers, and with ASCII member names, the standard library's encoder already follows
RFC 8785: sorted members, no white space, the shortest escapes. The tests hold it to an independent implementation.
"""

from __future__ import annotations

import json
from typing import NoReturn

from securekit.exceptions import FormatError

__all__ = ["Json", "decode", "encode"]

Json = dict[str, "Json"] | list["Json"] | str | int | bool | None

_MAX_INTEGER = 2**53 - 1  # RFC 8785 section 3.2.2.3: what every reader holds exactly
_MAX_DEPTH = 32


def encode(value: Json) -> bytes:
    """Return the canonical encoding of ``value``, which holds no floating-point number."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decode(data: bytes, *, max_size: int) -> dict[str, Json]:
    """Return the object that ``data`` encodes, if ``data`` is its canonical encoding.

    Args:
        data: At most ``max_size`` bytes, UTF-8.
        max_size: In bytes; checked before anything is parsed.

    Raises:
        securekit.exceptions.FormatError: Too large, no JSON object, nested deeper than 32, with a number that is no integer
            below 2^53, with a duplicate member, or otherwise not canonical.
    """
    if len(data) > max_size:
        message = f"the document has {len(data)} bytes; at most {max_size} are read"
        raise FormatError(message)
    if _depth(data) > _MAX_DEPTH:
        message = f"the document is nested deeper than {_MAX_DEPTH}"
        raise FormatError(message)
    try:
        value = json.loads(data.decode(), parse_int=_integer, parse_float=_refuse, parse_constant=_refuse)
        canonical = isinstance(value, dict) and encode(value) == data
    except (UnicodeError, ValueError):  # a lone surrogate is found by encoding
        message = "not a JSON document of the form that securekit writes"
        raise FormatError(message) from None
    if not canonical:
        message = "the JSON document is not in canonical form (RFC 8785)"
        raise FormatError(message)
    return value  # type: ignore[no-any-return]


def _depth(data: bytes) -> int:
    """Return at least how deep ``data`` nests; brackets inside strings count too, which only matters to our own documents."""
    depth = deepest = 0
    for byte in data.translate(None, delete=_NOT_BRACKETS):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > _MAX_DEPTH:
                break
        else:
            depth -= 1
    return deepest


_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _integer(text: str) -> int:
    if len(text) > len(str(_MAX_INTEGER)) + 1 or abs(value := int(text)) > _MAX_INTEGER:
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    message = f"a number of {len(text)} characters is not an integer below 2^53"
    raise ValueError(message)
