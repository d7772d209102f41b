# SPDX-License-Identifier: Apache-2.0
"""Scalars of YAML 1.1: what a text means, exactly as PyYAML's SafeLoader has it, and how a value is written."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime

from yaml import ScalarNode
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from securekit.config._tree import MERGE, MergeKey, Scalar

from ._spans import Unsuitable

__all__ = ["FIRST", "KNOWN_TAGS", "PREFIX", "UNREADABLE", "can_be_literal", "constructed", "form", "plain", "quoted"]

UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What YAML does not allow as it is, and what it would take for a line's end beside LF and CRLF."""

_WORDS: dict[str, Scalar] = {
    form: value for word, value in SafeConstructor.bool_values.items() for form in (word, word.capitalize(), word.upper())
} | {"": None, "~": None, "null": None, "Null": None, "NULL": None}
FIRST = frozenset(first for first in Resolver.yaml_implicit_resolvers if first)
PREFIX = "tag:yaml.org,2002:"
_DIGITS = 4300  # characters of a number: where Python stops converting, too
_BITS = 14_280  # of a number in hexadecimal and the like: fewer than 4,300 digits
_CONSTRUCTOR = SafeConstructor()
KNOWN_TAGS: dict[str, Callable[[ScalarNode], Scalar]] = {
    PREFIX + "str": _CONSTRUCTOR.construct_yaml_str,
    PREFIX + "int": _CONSTRUCTOR.construct_yaml_int,
    PREFIX + "float": _CONSTRUCTOR.construct_yaml_float,
    PREFIX + "bool": _CONSTRUCTOR.construct_yaml_bool,
    PREFIX + "null": _CONSTRUCTOR.construct_yaml_null,
    PREFIX + "timestamp": _CONSTRUCTOR.construct_yaml_timestamp,
    PREFIX + "binary": _CONSTRUCTOR.construct_yaml_binary,
}


def plain(value: str) -> Scalar | MergeKey:
    """Return what a plain scalar means; ValueError (any of its kin) if it looks like a number or a date and is none."""
    if value in _WORDS:
        return _WORDS[value]
    if value[0] not in FIRST:
        return value
    if value.isdecimal() and value.isascii() and value[0] != "0":
        return int(value)
    for tag, pattern in Resolver.yaml_implicit_resolvers[value[0]]:
        if pattern.match(value):
            if tag == PREFIX + "merge":
                return MERGE
            return constructed(tag, value)
    return value


def constructed(tag: str, value: str) -> Scalar:
    if len(value) > _DIGITS and tag != PREFIX + "str" and tag != PREFIX + "binary":
        raise ValueError
    made = KNOWN_TAGS[tag](ScalarNode(tag, value))
    if isinstance(made, int) and made.bit_length() > _BITS and not value.isdecimal():
        raise ValueError
    return made


_WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+=-]*(?: [A-Za-z0-9_./@+=-]+)*(?::[A-Za-z0-9_./@+=-]+)*")
_TOKEN = re.compile(r"ENC\[[A-Za-z0-9_,-]*\]")
_NOT_LITERAL = re.compile(UNREADABLE.pattern + "|\r")


def form(value: Scalar, *, brackets: bool) -> str:  # noqa: PLR0911 - one for each type
    if isinstance(value, str):
        return value if _TOKEN.fullmatch(value) and not brackets else _text(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:
            reason = "a number of more than 4,300 digits"
        raise Unsuitable(reason)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bytes):
        return f'!!binary "{base64.b64encode(value).decode()}"'
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    reason = "YAML has no form for a time of day: write it as text"
    raise Unsuitable(reason)


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    form = repr(value)
    return form if "." in form else form.replace("e", ".0e")  # YAML 1.1 takes 1e+20 for a text


def _text(value: str) -> str:
    return value if _WORD.fullmatch(value) and plain(value) is value else quoted(value)


def quoted(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        reason = "a text with a lone surrogate"
    else:
        return UNREADABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    raise Unsuitable(reason)


def can_be_literal(value: str) -> bool:
    return "\n" in value and not _NOT_LITERAL.search(value) and bool(value.strip(" \t\n"))
