# SPDX-License-Identifier: Apache-2.0
"""Just enough of DER (ITU-T X.690) to see what a key file asks us to compute before we compute it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from securekit.exceptions import FormatError

__all__ = ["INTEGER", "OBJECT_IDENTIFIER", "OCTET_STRING", "SEQUENCE", "Element", "elements", "sequences"]

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
_CONSTRUCTED = 0x20  # a bit of the identifier octet, X.690 section 8.1.2.5
_HIGH_TAG = 0x1F  # identifiers of several octets, X.690 section 8.1.2.4
_EXPLICIT_0 = 0xA0
_PKCS7_DATA = bytes.fromhex("2a864886f70d010701")  # 1.2.840.113549.1.7.1, RFC 2315 section 14
_MAX_DEPTH = 32
_MAX_ELEMENTS = 4096  # a PKCS#12 file with a long chain has a few hundred outside of its octet strings

Element = tuple[int, bytes]
"""The identifier octet and the contents."""


def elements(data: bytes) -> list[Element]:
    """Return the elements that ``data`` is made of, one after the other.

    Raises:
        securekit.exceptions.FormatError: ``data`` is not DER: indefinite or oversized lengths, or a truncated element; or has too many.
    """
    found: list[Element] = []
    position = 0
    while position < len(data):
        if len(found) == _MAX_ELEMENTS or len(data) - position < 2 or data[position] & _HIGH_TAG == _HIGH_TAG:
            _refuse()
        tag, size = data[position], data[position + 1]
        position += 2
        if size & 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 4 or len(data) - position < octets:
                _refuse()
            size = int.from_bytes(data[position : position + octets])
            position += octets
        if size > len(data) - position:
            _refuse()
        found.append((tag, data[position : position + size]))
        position += size
    return found


def sequences(data: bytes) -> Iterator[list[Element]]:
    """Yield every SEQUENCE in ``data``, however deep, also inside PKCS#7 data (RFC 2315, section 8), as PKCS#12 has it.

    Raises:
        securekit.exceptions.FormatError: ``data`` or such inner data is not DER, nested deeper than 32, or of more than 4,096
            elements.
    """
    pending = [(0, data, 0)]
    seen = 0
    while pending:
        tag, contents, depth = pending.pop()
        inner = elements(contents)
        seen += len(inner)
        if depth > _MAX_DEPTH or seen > _MAX_ELEMENTS:
            _refuse()
        if tag == SEQUENCE:
            yield inner
        pending += [(inner_tag, octets, depth + 1) for inner_tag, octets in inner if inner_tag & _CONSTRUCTED]
        if inner[:1] == [(OBJECT_IDENTIFIER, _PKCS7_DATA)] and inner[1:] and inner[1][0] == _EXPLICIT_0:
            for inner_tag, octets in elements(inner[1][1]):
                if inner_tag != OCTET_STRING:
                    _refuse()
                pending.append((0, octets, depth + 1))


def _refuse() -> NoReturn:
    message = "not DER: a truncated element, a length of another form, or too many elements"
    raise FormatError(message)
