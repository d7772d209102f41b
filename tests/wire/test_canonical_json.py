# SPDX-License-Identifier: Apache-2.0
"""One document has one encoding: RFC 8785, as an independent implementation writes it, and nothing else is read."""

from __future__ import annotations

import json
import random
import time

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from securekit._wire.canonical_json import Json, decode, encode
from securekit.exceptions import FormatError
from tests.conftest import Count

MAX = 1 << 22
LARGEST = 2**53 - 1

scalars = st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4), max_leaves=12
)
documents: st.SearchStrategy[dict[str, Json]] = st.dictionaries(st.text(max_size=6), values, max_size=5)


def _refusal(data: bytes, max_size: int = MAX) -> str:
    with pytest.raises(FormatError) as caught:
        decode(data, max_size=max_size)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@given(documents)
def test_the_encoding_is_that_of_another_implementation(document: dict[str, Json]) -> None:
    """Every document is written as the package rfc8785 writes it, and read back."""
    assert encode(document) == rfc8785.dumps(document)
    assert decode(encode(document), max_size=MAX) == document


@given(values)
def test_any_value_is_encoded_as_another_implementation_does(value: Json) -> None:
    """Lists, texts, numbers and constants of their own have the same encoding too."""
    assert encode(value) == rfc8785.dumps(value)


def test_the_example_of_the_rfc() -> None:
    """The members of RFC 8785, section 3.2.3, stand in the order of their UTF-16 code units."""
    names = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    document: dict[str, Json] = {name: number for number, name in enumerate(reversed(names))}

    assert list(decode(encode(document), max_size=MAX)) == names


def test_every_character_is_escaped_as_the_rfc_says() -> None:
    """Control characters have their shortest escape, and every other character of the first plane stands as itself."""
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000)]))
    assert encode({"a": text}) == rfc8785.dumps({"a": text})
    assert decode(encode({"a": text}), max_size=MAX) == {"a": text}


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"a":2}',
        '{"a":{"b":1,"b":1}}',
        '{"b":1,"a":2}',
        '{"a":{"c":1,"b":2}}',
        '{"\\ufb33":1,"\\ud83d\\ude00":2}',
        '{"\ufb33":1,"\U0001f600":2}',
    ],
)
def test_duplicate_and_reordered_members_are_refused(text: str) -> None:
    """No name stands twice, and there is one order."""
    assert "canonical" in _refusal(text.encode())


@pytest.mark.parametrize("space", [" ", "\n", "\r\n", "\t"])
@pytest.mark.parametrize("place", range(10))
def test_white_space_is_refused_wherever_it_stands(space: str, place: int) -> None:
    """There is none before, between or after the parts."""
    parts = ["{", '"a"', ":", "[", "1", ",", "2", "]", "}", ""]
    _refusal((space.join(["".join(parts[:place]), "".join(parts[place:])])).encode())


@pytest.mark.parametrize(
    "text", ["\\u0061", "\\/", "\\u000a", "\\u001F", "\\u00e9", "\\ud83d\\ude00", "\\u007f", "\\x41", "\n", "\x00", "\x1f"]
)
def test_other_escapes_are_refused(text: str) -> None:
    """A character has one spelling."""
    _refusal(f'{{"a":"{text}"}}'.encode())


@pytest.mark.parametrize("text", ["\\ud800", "\\udc00", "\\ude00\\ud83d", "\\ud83dx"])
@pytest.mark.parametrize("form", ['{{"a":"{}"}}', '{{"{}":1}}', '{{"a":1,"{}":1}}'])
def test_lone_surrogates_are_refused(text: str, form: str) -> None:
    """What is no text in UTF-8 is no text in a name or value either."""
    _refusal(form.format(text).encode())


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-be"),
    ],
)
def test_other_character_encodings_are_refused(data: bytes) -> None:
    """The bytes are UTF-8 without a byte order mark."""
    _refusal(data)


@pytest.mark.parametrize(
    "number",
    [
        *[
            "-0",
            "01",
            "+1",
            "1.0",
            "1.5",
            "1e3",
            "1E400",
            "-1e-7",
            "0x10",
            "1_000",
            "NaN",
            "Infinity",
            "-Infinity",
            ".5",
            "1.",
            "-",
            "\u0661",
        ],
        *[str(LARGEST + 1), str(-LARGEST - 1), "9" * 17, "-" + "9" * 17, "9" * 5000, "1" + "0" * 100_000],
    ],
    ids=lambda number: ascii(number[:20]),
)
def test_numbers_that_are_no_integers_below_2_53_are_refused(number: str) -> None:
    """Only what every reader holds exactly is a number, in one spelling."""
    _refusal(f'{{"a":{number}}}'.encode())


@pytest.mark.parametrize("number", [0, 1, -1, LARGEST, -LARGEST])
def test_numbers_up_to_the_bound_are_read(number: int) -> None:
    """The bound itself is allowed, on both sides."""
    assert decode(f'{{"a":{number}}}'.encode(), max_size=MAX) == {"a": number}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "true",
        "1",
        '"a"',
        "[]",
        "[{}]",
        "{",
        "}",
        "{}x",
        "{}{}",
        "{,}",
        '{"a"}',
        "{a:1}",
        "{'a':1}",
        '{"a":1,}',
        '{"a":undefined}',
    ],
)
def test_what_is_no_object_is_refused(text: str) -> None:
    """A document is one object, whole."""
    _refusal(text.encode())


def _nested(opening: str, closing: str, depth: int) -> bytes:
    return f'{{"a":{opening * (depth - 1)}0{closing * (depth - 1)}}}'.encode()


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ('{"a":', "}"), ('["]",', "]"), ('{"}":', "}"), ('["\\"]",', "]"), ('["\\\\]",', "]"), ('["\\\\\\"]]",', "]")],
)
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    """32 levels are read; 33, and 100,000, are refused before they are parsed, whatever stands in strings beside them."""
    document = decode(_nested(opening, closing, 32), max_size=MAX)
    assert encode(document) == _nested(opening, closing, 32)
    assert "deeper" in _refusal(_nested(opening, closing, 33))

    bomb = _nested(opening, closing, 100_000)
    begin = time.process_time()
    assert "deeper" in _refusal(bomb)
    assert time.process_time() - begin < 0.05


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"' + b"]" * 100_000 + b'","b":' + b"[" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a\\":' + b"[" * 100_000,
        b"\\" + b"[" * 100_000,
    ],
)
def test_nesting_that_is_never_closed_is_refused(data: bytes) -> None:
    """Neither an unfinished document nor brackets in strings exhaust the stack."""
    _refusal(data)


def test_brackets_in_strings_do_not_count() -> None:
    """Text may hold as many brackets as it likes."""
    document: dict[str, Json] = {"[{" * 100: "[{" * 100, '"[\\': ['\\"[[' * 50, "\\\\" * 3]}
    assert decode(encode(document), max_size=MAX) == document


def test_the_size_is_checked_before_anything_else() -> None:
    """The largest allowed size is read; one byte more is refused, with both numbers."""
    data = encode({"a": "x" * 100})
    assert decode(data, max_size=len(data))
    assert _refusal(data, len(data) - 1) == f"the document has {len(data)} bytes; at most {len(data) - 1} are read"


@given(documents, st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_another_document(document: dict[str, Json], position: int, bit: int) -> None:
    """No two byte strings are the same document."""
    data = bytearray(encode(document))
    data[position % len(data)] ^= 1 << bit
    try:
        found = decode(bytes(data), max_size=MAX)
    except FormatError:
        return
    assert found != document or repr(found) != repr(document)
    assert encode(found) == data


@given(st.binary(max_size=200) | st.text(st.sampled_from('{}[]",:\\u0019afe-+.nrtls '), max_size=60).map(str.encode))
def test_whatever_is_read_is_canonical(data: bytes) -> None:
    """Any bytes are either refused with a `FormatError`, or exactly what encoding gives back."""
    try:
        document = decode(data, max_size=MAX)
    except FormatError:
        return
    assert encode(document) == data


def test_mutated_documents_raise_nothing_but_our_own_error(count: Count) -> None:
    """Bytes changed, cut, doubled and swapped at random are refused or canonical."""
    chance = random.Random(8785)
    data = encode({"format": "x/1", "keys": [{"id": "0a0b", "n": 12, "t": 'é"\\\n'}] * 3, "z": None})
    accepted = 0
    for _ in range(20_000):
        mutated = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            at, other = chance.randrange(len(mutated)), chance.randrange(len(mutated))
            match chance.randrange(4):
                case 0:
                    mutated[at] = chance.randrange(256)
                case 1:
                    del mutated[at : at + chance.randint(1, 8)]
                case 2:
                    mutated[at:at] = mutated[other : other + chance.randint(1, 8)]
                case _:
                    mutated[at], mutated[other] = mutated[other], mutated[at]
            mutated = mutated or bytearray(b"{")
        try:
            found = decode(bytes(mutated), max_size=MAX)
        except FormatError:
            continue
        assert encode(found) == mutated
        accepted += 1
    assert accepted < 10_000
    count("mutated JSON documents refused", 20_000 - accepted)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_not_encoded(value: float) -> None:
    """NaN and the infinities have no JSON."""
    with pytest.raises(ValueError, match="Out of range"):
        encode({"a": value})  # type: ignore[dict-item]


def test_the_standard_library_reads_what_is_written() -> None:
    """The form is plain JSON."""
    document: dict[str, Json] = {"b": [1, None, True], "a": {"c": "ü"}}
    assert json.loads(encode(document)) == document
