# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON (RFC 8785) of objects, arrays, strings, integers, booleans and null: one document, one encoding.

Without floating-point numbers, the standard library's encoder already follows RFC 8785 but for one thing, the order of
member names beyond ASCII: sorted members, no white space, the shortest escapes. The tests hold it to an independent
implementation.
"""

from __future__ import annotations

import json
from typing import NoReturn

from securekit.exceptions import FormatError

__all__ = ["Json", "decode", "encode"]

Json = dict[str, "Json"] | list["Json"] | str | int | bool | None

_MAX_INTEGER = 2**53 - 1  # RFC 8785 section 3.2.2.3: what every reader holds exactly
_MAX_DEPTH = 32
_MAX_COMMAS = 50_000  # of a keyring document with 4,096 keys: 33,500


def encode(value: Json) -> bytes:
    """Return the canonical encoding of ``value``, which holds no floating-point number."""
    text = _dump(value, sort_keys=True)
    return (text if text.isascii() else _dump(_in_order(value), sort_keys=False)).encode()


def decode(data: bytes, *, max_size: int) -> dict[str, Json]:
    """Return the object that ``data`` encodes, if ``data`` is its canonical encoding.

    Args:
        data: At most ``max_size`` bytes, UTF-8.
        max_size: In bytes; checked before anything is parsed.

    Raises:
        securekit.exceptions.FormatError: Too large, no JSON object, nested deeper than 32, of more than 50,000 members and
            items, with a number that is no integer below 2^53, with a duplicate member, or otherwise not canonical.
    """
    if len(data) > max_size:
        message = f"the document has {len(data)} bytes; at most {max_size} are read"
        raise FormatError(message)
    if not _is_bounded(data):
        message = f"the document is nested deeper than {_MAX_DEPTH}, or has more than {_MAX_COMMAS} members and items"
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


def _dump(value: Json, *, sort_keys: bool) -> str:
    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _in_order(value: Json) -> Json:
    """Return ``value`` with its members in the order of their names' UTF-16 code units (RFC 8785 section 3.2.3)."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value, key=_utf16)}
    if isinstance(value, list):
        return [_in_order(item) for item in value]
    return value


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _is_bounded(data: bytes) -> bool:
    """Whether ``data`` nests and lists no more than it may, at least as far as a parser gets before it finds that it is no JSON."""
    # In the order in which they stand, escaped backslashes and then escaped quotes go; every second part is outside of strings.
    bare = data.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > 4 * _MAX_COMMAS:  # two strings per member
        return False
    outside = b"".join(bare.split(b'"')[::2])
    return outside.count(b",") <= _MAX_COMMAS and _depth(outside) <= _MAX_DEPTH


def _depth(outside: bytes) -> int:
    """Return how deep the brackets nest, or the first depth that is too deep."""
    depth = deepest = 0
    for byte in outside.translate(None, delete=_NOT_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > deepest:
            deepest = depth
            if deepest > _MAX_DEPTH:
                break
    return deepest


_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _integer(text: str) -> int:
    if len(text) > len(str(_MAX_INTEGER)) + 1 or abs(value := int(text)) > _MAX_INTEGER:
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    message = f"a number of {len(text)} characters is not an integer below 2^53"
    raise ValueError(message)
