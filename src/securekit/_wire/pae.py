# SPDX-License-Identifier: Apache-2.0
"""Unambiguous encodings: PASETO's pre-authentication encoding, and contexts on top of it.

``pae(parts) = LE64(count) ‖ (LE64(len(part)) ‖ part)*`` with the top bit of every LE64 clear (PASETO
specification, "Common", section "PAE definition"). Two different lists of parts never encode alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct

from securekit.secret import Secretive

__all__ = ["MAX_CONTEXT_PAIRS", "MAX_KEY_SIZE", "MAX_VALUE_SIZE", "ContextEncoder", "encode_context", "length", "pae"]

MAX_CONTEXT_PAIRS = 32
MAX_KEY_SIZE = 128  # bytes of UTF-8
MAX_VALUE_SIZE = 4096  # bytes of UTF-8

length = Struct("<Q").pack  # LE64; no part comes near 2^63 bytes, so the top bit is always clear

_LENGTHS = list(map(length, range(MAX_VALUE_SIZE + 1)))  # indexing a list is faster than packing
_PLANS_KEPT = 64


def pae(parts: Iterable[bytes | str]) -> bytes:
    """Return the pre-authentication encoding of ``parts``; text is encoded as UTF-8."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    pieces = [length(len(encoded))]
    for part in encoded:
        pieces += (length(len(part)), part)
    return b"".join(pieces)


def encode_context(context: Mapping[str, str]) -> bytes:
    """Return the canonical encoding of a context: `pae` of keys and values, alternating, sorted by the key's UTF-8 bytes.

    Args:
        context: At most 32 pairs; keys of 1 to 128 bytes and values of 0 to 4,096 bytes of UTF-8.

    Raises:
        TypeError: ``context`` is no mapping of strings to strings.
        ValueError: A bound is exceeded, or a string is not encodable as UTF-8 (a lone surrogate).
    """
    if not isinstance(context, Mapping):
        message = f"context must be a mapping of str to str, not {type(context).__name__}; {{}} is no context"
        raise TypeError(message)
    if len(context) > MAX_CONTEXT_PAIRS:
        message = f"context has {len(context)} pairs; at most {MAX_CONTEXT_PAIRS} are allowed"
        raise ValueError(message)
    pairs = sorted((_encode(key, "key", 1, MAX_KEY_SIZE), _encode(value, "value", 0, MAX_VALUE_SIZE)) for key, value in context.items())
    return pae([part for pair in pairs for part in pair])


class ContextEncoder(Secretive):
    """Encodes many contexts with the same few sets of keys, optionally with some pairs fixed in advance.

    The result is the last part of a `pae`: the length of the encoded context, and the encoded context. A *plan* is the
    encoding with holes for the values; there is one per set of keys. Whatever does not fit a plan, and so every mistake
    of a caller, goes through `encode_context`.

    Args:
        fixed: Pairs that are part of every context.
    """

    __slots__ = ("_fixed", "_plans")  # not callable itself: a bound method is called faster than an object

    def __init__(self, fixed: Mapping[str, str] | None = None) -> None:
        self._fixed = dict(fixed or {})
        encode_context(self._fixed)
        # Per set of keys: what stands before the first value's length, then for each value its key and what stands after it.
        self._plans: dict[tuple[str, ...], tuple[bytes, list[tuple[str, bytes]]]] = {}

    def encode(self, context: Mapping[str, str]) -> bytes:
        """Return ``LE64(n) ‖ encode_context(fixed and context)``, n being the length of the latter.

        Raises:
            TypeError: As `encode_context`.
            ValueError: As `encode_context`, or ``context`` names a fixed key.
        """
        try:
            encoded, holes = self._plans[tuple(context)]
            for key, after in holes:
                value = context[key].encode()
                encoded += _LENGTHS[len(value)] + value + after
        except (KeyError, IndexError, AttributeError, TypeError, UnicodeEncodeError):
            pass  # left behind before anything is raised: the codec's error holds the value
        else:
            return length(len(encoded)) + encoded
        return self._without_plan(context)

    def join(self, context: Mapping[str, str]) -> dict[str, str]:
        """Return the fixed pairs and ``context`` as one.

        Raises:
            TypeError: ``context`` is no mapping.
            ValueError: ``context`` names a fixed key.
        """
        if not isinstance(context, Mapping):
            encode_context(context)
        twice = sorted(self._fixed.keys() & context.keys())
        if twice:
            message = f"the context already has {', '.join(twice)}: fixed by bind"
            raise ValueError(message)
        return self._fixed | dict(context)

    def _without_plan(self, context: Mapping[str, str]) -> bytes:
        joined = self.join(context)
        encoded = encode_context(joined)
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        runs, keys = [length(2 * len(joined))], []
        for key in sorted(joined, key=str.encode):
            runs[-1] += length(len(key.encode())) + key.encode()
            if key in self._fixed:
                value = self._fixed[key].encode()
                runs[-1] += length(len(value)) + value
            else:
                keys.append(key)
                runs.append(b"")
        self._plans[tuple(context)] = (runs[0], list(zip(keys, runs[1:], strict=True)))
        return length(len(encoded)) + encoded


def _encode(text: str, what: str, least: int, most: int) -> bytes:
    if not isinstance(text, str):
        message = f"context {what}s must be str, not {type(text).__name__}"
        raise TypeError(message)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = None  # nothing is raised here: the codec's error holds the text
    if encoded is None:
        message = f"a context {what} cannot be encoded as UTF-8"
        raise ValueError(message)
    if not least <= len(encoded) <= most:
        message = f"a context {what} has {len(encoded)} bytes of UTF-8; {least} to {most} are allowed"
        raise ValueError(message)
    return encoded
