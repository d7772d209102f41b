# SPDX-License-Identifier: Apache-2.0
"""Values with their types as bytes: what a token holds, and what the integrity tag covers. ``docs/spec/config.md``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any, NoReturn

from securekit.exceptions import DecryptionError

from ._tree import Scalar

__all__ = ["MAX_VALUE", "STEP", "TYPES", "decode_value", "encode_value", "pad", "parse_text", "type_name", "unpad"]

STEP = 16  # bytes: short secrets do not show their length
MAX_VALUE = 1024 * 1024  # bytes of an encoded value
_MAX_DIGITS = 4300  # of an int, as Python's own limit
_MARK = b"\x80"  # ISO/IEC 7816-4 padding: this byte, then zeros

TYPES = ("str", "int", "float", "bool", "null", "bytes", "date")
"""The types of values. A date is a calendar date, a time of day, or both, with or without an offset from UTC."""


def type_name(value: Scalar) -> str:
    """Return which of `TYPES` the value is of."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case str() | int() | float() | bytes():
            return type(value).__name__
        case _:
            return "date"


def encode_value(value: Scalar) -> bytes:
    """Return the type, one letter, and the value.

    Raises:
        ValueError: It is a text that cannot be encoded as UTF-8, or an integer of more than 4,300 digits.
        TypeError: It is of no type that a document holds.
    """
    encoded = _ENCODERS.get(type(value))
    if encoded is not None:
        return encoded(value)
    message = f"a value of type {type(value).__name__} is none of {', '.join(TYPES)}"
    raise TypeError(message)


def decode_value(data: bytes) -> Scalar:
    """Return what `encode_value` was given.

    Raises:
        securekit.exceptions.DecryptionError: ``data`` is no such encoding. It has been authenticated: its author made it so.
    """
    kind, body = data[:1], data[1:]
    value: Scalar = None
    if kind == b"y":
        return body
    try:
        value = body.decode() if kind == b"s" else _parse(kind, body.decode())
        canonical = encode_value(value) == data
    except (ValueError, OverflowError):
        canonical = False
    if not canonical:
        del data, body, value  # error trackers show the variables of a frame that raises
        raise DecryptionError
    return value


def parse_text(text: str, kind: str) -> Scalar:
    """Return ``text``, as a person gives it, as a value of one of `TYPES`; ``bytes`` are given in hexadecimal.

    Raises:
        ValueError: It is no such value. The message does not repeat it.
    """
    if kind == "str":
        return text
    try:
        if kind == "bytes":
            return bytes.fromhex(text)
        if kind == "date":
            return _date(text)
        return _parse({"int": b"i", "float": b"f", "bool": b"b", "null": b"n"}[kind], "" if kind == "null" and text == "null" else text)
    except (ValueError, OverflowError):
        pass  # that error would carry the value
    message = f"the given value is not of type {kind}"
    del text
    raise ValueError(message)


def pad(data: bytes) -> bytes:
    """Return ``data ‖ 0x80 ‖ 0x00*``, a multiple of 16 bytes."""
    return data + _MARK + bytes(-(len(data) + 1) % STEP)


def unpad(data: bytes) -> bytes:
    """Return what `pad` was given.

    Raises:
        securekit.exceptions.DecryptionError: ``data`` is not so padded.
    """
    body = data.rstrip(b"\x00")
    if len(data) % STEP or len(data) - len(body) >= STEP or body[-1:] != _MARK:
        del data, body
        raise DecryptionError
    return body[:-1]


def _parse(kind: bytes, text: str) -> Scalar:
    match kind:
        case b"n" if not text:
            return None
        case b"b" if text in {"true", "false"}:
            return text == "true"
        case b"i" if len(text.removeprefix("-")) <= _MAX_DIGITS and re.fullmatch(r"-?[0-9]+", text):
            return int(text)
        case b"f" if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|-?inf|nan", text):
            return float(text)
        case b"d":
            return _date(text)
    return _refuse()


def _date(text: str) -> Scalar:
    if "-" not in text[1:5]:
        return time.fromisoformat(text)
    return date.fromisoformat(text) if len(text) == len("2026-11-25") else datetime.fromisoformat(text)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass  # that error would carry the text
    del text
    return _refuse("a text cannot be encoded as UTF-8")


def _refuse(message: str = "no such value") -> NoReturn:
    raise ValueError(message)


def _isoformat(value: Any) -> bytes:  # noqa: ANN401 - the three types have this in common
    return b"d" + str(value.isoformat()).encode()


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: lambda value: b"s" + _utf8(value),
    type(None): lambda _: b"n",
    bool: lambda value: b"btrue" if value else b"bfalse",
    int: lambda value: b"i%d" % value,
    float: lambda value: b"f" + repr(value).encode(),
    bytes: lambda value: b"y" + value,
    date: _isoformat,
    datetime: _isoformat,
    time: _isoformat,
}
