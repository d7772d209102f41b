# SPDX-License-Identifier: Apache-2.0
"""Base64url is decoded strictly: every byte string has exactly one text."""

from __future__ import annotations

import base64
from itertools import product
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._wire.base64url import decode, encode
from securekit.exceptions import FormatError
from tests.conftest import Count

ALPHABET = ascii_letters + digits + "-_"


@given(st.binary(max_size=100))
def test_what_was_encoded_is_decoded(data: bytes) -> None:
    """Encoding and decoding are inverse."""
    assert decode(encode(data)) == data


@given(st.binary(max_size=100))
def test_encoding_is_the_standard_one_without_padding(data: bytes) -> None:
    """The text is RFC 4648's, section 5, without padding."""
    assert encode(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"\xfb\xff\xbf", "-_-_")],
)
def test_known_answers(data: bytes, text: str) -> None:
    """The vectors of RFC 4648, section 10, and both characters that differ from plain base64."""
    assert encode(data) == text
    assert decode(text) == data


@given(st.text(max_size=40) | st.text(ALPHABET, max_size=40))
def test_whatever_is_decoded_has_no_other_text(text: str) -> None:
    """A text is either refused with a `FormatError` or the only one for its bytes."""
    try:
        data = decode(text)
    except FormatError:
        return

    assert encode(data) == text


def test_every_text_of_two_characters_is_canonical_or_refused() -> None:
    """Of 4,096 texts, the 256 with zero trailing bits decode, each to a byte of its own."""
    accepted = {decode(text) for text in map("".join, product(ALPHABET, repeat=2)) if _is_accepted(text)}
    count = sum(_is_accepted("".join(text)) for text in product(ALPHABET, repeat=2))

    assert count == len(accepted) == 256


@pytest.mark.parametrize("data", [b"\x00", b"\xff", b"\x00\x00", b"\xa5\x5a", b"12345678", b"1234567890"])
def test_every_trailing_bit_variant_is_refused(data: bytes) -> None:
    """The unused bits of the last character are zero in the one accepted text."""
    text = encode(data)
    others = [text[:-1] + last for last in ALPHABET if last != text[-1] and _lenient(text[:-1] + last) == data]

    assert len(others) == {1: 15, 2: 3}[len(data) % 3]
    assert not any(map(_is_accepted, others))


@pytest.mark.parametrize(
    "text",
    [
        "Zg==",
        "Zg=",
        "Zm8=",
        "Zm9v=",
        "Zm9v====",
        "=",
        "====",
        "Z=g",
        "=Zg",
        " Zm9v",
        "Zm9v ",
        "Zm 9v",
        "Zm9v\n",
        "Zm9v\r\n",
        "Zm9v\r\nZm9v",
        "\tZm9v",
        "Zm9v\x00",
        "Zm\x0b9v",
        "\ufeffZm9v",
        "Zm9v\u200b",
        "+_-_",
        "-/-_",
        "+/+/",
        "Z",
        "Zm9vY",
        "Zm9.",
        "Zm9,",
        "Zm9é",
        "\uff3a\uff4d\uff19\uff56",
        "Zm9\ud800",
    ],
    ids=ascii,
)
def test_everything_but_the_canonical_text_is_refused(text: str) -> None:
    """Padding, white space, the plain alphabet, impossible lengths and foreign letters are no base64url."""
    with pytest.raises(FormatError) as caught:
        decode(text)

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_change_of_case_never_goes_unseen(data: bytes, draw: st.DataObject) -> None:
    """A text in another case stands for other bytes, or for none."""
    text = encode(data)
    at = draw.draw(st.integers(0, len(text) - 1))
    swapped = text[:at] + text[at].swapcase() + text[at + 1 :]

    assert swapped == text or not _is_accepted(swapped) or decode(swapped) != data


@given(st.binary(max_size=40), st.sampled_from(["=", "==", " ", "\n", "\r\n", "\t", "\x00", "\xa0"]), st.data())
def test_a_foreign_character_is_refused_wherever_it_stands(data: bytes, foreign: str, draw: st.DataObject) -> None:
    """Nothing is skipped or stripped, at any position."""
    text = encode(data)
    at = draw.draw(st.integers(0, len(text)))

    assert not _is_accepted(text[:at] + foreign + text[at:])


def _is_accepted(text: str) -> bool:
    try:
        decode(text)
    except FormatError:
        return False
    return True


def _lenient(text: str) -> bytes:
    """Decode as the standard library does, which ignores the trailing bits."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_every_flip_of_a_text_is_refused_or_other_bytes(count: Count) -> None:
    """Every flip of a text is refused or stands for other bytes."""
    data = bytes(range(256)) + b"\x01"
    text = encode(data)
    refused = 0
    for position in range(len(text)):
        for bit in range(7):
            changed = text[:position] + chr(ord(text[position]) ^ 1 << bit) + text[position + 1 :]
            accepted = _is_accepted(changed)
            assert not accepted or decode(changed) != data
            refused += not accepted
    count("bit flips of base64url refused", refused)
