# SPDX-License-Identifier: Apache-2.0
"""Values as bytes: one encoding each, padded in steps, strictly decoded."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit.config._tree import Scalar
from securekit.config._value import decode_value, encode_value, pad, parse_text, type_name, unpad
from securekit.exceptions import DecryptionError
from tests.conftest import Count

ZONES = st.just(UTC) | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS: st.SearchStrategy[Any] = (
    TEXTS
    | st.integers()
    | st.integers(-(10**4300) + 1, 10**4300 - 1)
    | st.floats()
    | st.booleans()
    | st.none()
    | st.binary()
    | st.dates()
    | st.times(timezones=st.none() | ZONES).map(lambda value: value.replace(fold=0))  # which no format has
    | st.datetimes(timezones=st.none() | ZONES).map(lambda value: value.replace(fold=0))
)


def same(one: Scalar, two: Scalar) -> bool:
    """Whether two values have the same type and cannot be told apart."""
    return type(one) is type(two) and repr(one) == repr(two)


@given(SCALARS)
def test_a_value_comes_back_with_its_type(value: Scalar) -> None:
    """What is decoded is of the same type, and cannot be told from what was encoded."""
    assert same(decode_value(encode_value(value)), value)


@pytest.mark.parametrize(
    "value", [10**4300 - 1, -(10**4300) + 1, -0.0, math.inf, -math.inf, 5e-324, 1e16, time.max, datetime(1, 1, 1, tzinfo=UTC), date.max]
)
def test_the_last_value_of_a_type_comes_back(value: Scalar) -> None:
    """Values at the bounds of their type come back."""
    assert same(decode_value(encode_value(value)), value)


@given(SCALARS, SCALARS)
def test_two_values_have_two_encodings(one: Scalar, two: Scalar) -> None:
    """No encoding stands for two values."""
    assert (encode_value(one) == encode_value(two)) == same(one, two)


@given(st.binary() | st.builds(lambda kind, text: (kind + text).encode(), st.sampled_from("sifbnyd"), st.text("0123456789-+.:TZeinfa _\n")))
def test_decoding_is_strict(data: bytes) -> None:
    """Bytes are the one encoding of a value, or the one decryption error."""
    try:
        value = decode_value(data)
    except DecryptionError as caught:
        error = caught
    else:
        assert encode_value(value) == data
        return
    assert (error.__cause__, error.__context__, error.args) == (None, None, DecryptionError().args)


@given(SCALARS, st.data())
def test_a_changed_encoding_is_another_value_or_none(value: Scalar, data: st.DataObject) -> None:
    """A byte inserted, removed or changed never yields the same value."""
    encoded = encode_value(value)
    place, kind = data.draw(st.integers(0, len(encoded) - 1)), data.draw(st.sampled_from(["insert", "remove", "change"]))
    new = bytes([data.draw(st.integers(0, 255))]) if kind != "remove" else b""
    changed = encoded[:place] + new + encoded[place + (kind != "insert") :]
    try:
        found = decode_value(changed)
    except DecryptionError:
        return
    assert same(found, value) == (changed == encoded)


@given(st.binary(max_size=100))
def test_padding_hides_the_length_and_comes_off(data: bytes) -> None:
    """Padding fills up to a multiple of 16 bytes, by at most 16, and comes off again."""
    padded = pad(data)

    assert len(padded) % 16 == 0
    assert len(data) < len(padded) <= len(data) + 16
    assert unpad(padded) == data


def test_every_other_padding_is_refused(count: Count) -> None:
    """Of all the last 16 bytes with one that is neither the mark nor a zero, and of all lengths, only `pad`'s own come off."""
    tried = [bytes(size) for size in range(50)] + [b"x" * size for size in range(50)] + [pad(b"x") + bytes(size) for size in range(1, 40)]
    for text, place, byte in product((pad(b""), pad(b"x" * 5), pad(b"x" * 15)), range(16), (1, 0x7F, 0x81)):
        tried.append(text[:place] + bytes([byte]) + text[place + 1 :])
    for padded in tried:
        with suppress(DecryptionError):
            assert pad(unpad(padded)) == padded
    count("paddings tried", len(tried))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "null", "null"),
        ("int", "-12", -12),
        ("float", "1", 1.0),
        ("float", "1e5", 1e5),
        ("bool", "false", False),
        ("null", "", None),
        ("null", "null", None),
        ("bytes", "00ff", b"\x00\xff"),
        ("date", "2026-11-25", date(2026, 11, 25)),
        ("date", "09:30", time(9, 30)),
        ("date", "2026-11-25 09:30:00+02:00", datetime(2026, 11, 25, 9, 30, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_a_value_is_given_as_text(kind: str, text: str, value: Scalar) -> None:
    """A person's text of a type is the value, and its type is called so."""
    assert same(parse_text(text, kind), value)
    assert type_name(value) == kind


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "0x10"),
        ("int", "1_0"),
        ("int", "1" * 4301),
        ("float", "one"),
        ("bool", "yes"),
        ("null", "none"),
        ("bytes", "0"),
        ("date", "soon"),
    ],
)
def test_a_text_of_another_type_is_refused_and_not_repeated(kind: str, text: str) -> None:
    """A text that is no value of its type is a ValueError that does not hold it."""
    with pytest.raises(ValueError, match=f"^the given value is not of type {kind}$") as caught:
        parse_text(text, kind)
    assert caught.value.__context__ is None


def test_what_no_document_holds_is_refused() -> None:
    """A value of another type, a text that is none, and an integer that is too long, are not encoded."""
    with pytest.raises(TypeError, match="complex"):
        encode_value(1j)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="UTF-8") as caught:
        encode_value("\ud800")
    assert caught.value.__context__ is None
    with pytest.raises(ValueError, match="4300"):
        encode_value(10**4300)
