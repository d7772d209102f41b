# SPDX-License-Identifier: Apache-2.0
"""The pre-authentication encoding, and contexts on top of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from securekit._wire.pae import MAX_CONTEXT_PAIRS, MAX_KEY_SIZE, MAX_VALUE_SIZE, ContextEncoder, encode_context, length, pae

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "pae.json").read_text())

parts = st.lists(st.binary(max_size=12), max_size=5)
contexts = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=5)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["encoded"][:24])
def test_pae_gives_the_bytes_of_the_paseto_specification(vector: dict[str, Any]) -> None:
    """The encoding is PASETO's, bit for bit."""
    assert pae(vector["parts"]).hex() == vector["encoded"]


@pytest.mark.parametrize("pair", VECTORS["unlike"], ids=lambda pair: pair["comment"])
def test_pae_tells_apart_lists_that_concatenate_alike(pair: dict[str, Any]) -> None:
    """Moving a boundary between parts changes the encoding."""
    assert pae(pair["one"]) != pae(pair["other"])


@given(parts)
def test_pae_can_be_read_back_so_no_two_lists_encode_alike(given_parts: list[bytes]) -> None:
    """The encoding is injective: a reader gets the same parts back and nothing is left over."""
    assert _read(pae(given_parts)) == given_parts


@given(parts, parts)
@example([b"a", b"b"], [b"ab"])
@example([], [b""])
def test_pae_is_equal_only_for_equal_lists(one: list[bytes], other: list[bytes]) -> None:
    """Two lists encode alike exactly if they are alike."""
    assert (pae(one) == pae(other)) == (one == other)


@given(parts, parts)
def test_no_encoding_is_a_proper_prefix_of_another(one: list[bytes], other: list[bytes]) -> None:
    """What follows an encoding can never be taken for a part of it."""
    assert one == other or not pae(other).startswith(pae(one))


@given(st.text(max_size=20))
def test_pae_takes_text_as_utf8(text: str) -> None:
    """Text and its UTF-8 bytes are the same part."""
    assert pae([text]) == pae([text.encode()])


@given(contexts)
def test_a_context_encodes_alike_in_whatever_order_it_was_written(context: dict[str, str]) -> None:
    """The order of a mapping carries no meaning."""
    assert encode_context(dict(reversed(context.items()))) == encode_context(context)


@given(contexts, contexts)
@example({"a": "bc"}, {"ab": "c"})
@example({"a": "b", "c": "d"}, {"a": "d", "c": "b"})
@example({}, {"a": ""})
def test_contexts_encode_alike_only_if_they_are_equal(one: dict[str, str], other: dict[str, str]) -> None:
    """No context can stand in for another one."""
    assert (encode_context(one) == encode_context(other)) == (one == other)


@given(contexts, contexts, st.text(max_size=300))
@example({"b": "1"}, {"a": "", "c": "ü"}, "v" * MAX_VALUE_SIZE)
def test_an_encoder_that_knows_the_keys_encodes_the_same(fixed: dict[str, str], context: dict[str, str], value: str) -> None:
    """The first context with a set of keys, and those after it, are encoded as `encode_context` does, fixed pairs included."""
    context = {key: text for key, text in context.items() if key not in fixed}
    encoder = ContextEncoder(fixed)

    for given_context in (context, dict.fromkeys(context, value), context):
        encoded = encode_context(fixed | given_context)
        assert encoder.encode(given_context) == length(len(encoded)) + encoded


@pytest.mark.parametrize("value", ["v" * (MAX_VALUE_SIZE + 1), "\ud800", 1, b"v", None], ids=["long", "surrogate", "int", "bytes", "None"])
def test_an_encoder_that_knows_the_keys_refuses_the_same(value: object) -> None:
    """A wrong value is refused as well when contexts with the same keys have been encoded before."""
    encoder = ContextEncoder()
    encoder.encode({"id": "42"})

    with pytest.raises((TypeError, ValueError), match="context"):
        encoder.encode({"id": value})  # type: ignore[dict-item]


def test_a_context_is_sorted_by_the_bytes_of_its_keys() -> None:
    """Keys are ordered by UTF-8, so that every language's implementation agrees."""
    encoded = encode_context({"\U0001f511": "4", "\u0100": "2", "\uffff": "3", "z": "1"})

    assert _read(encoded)[0::2] == [key.encode() for key in ("z", "\u0100", "\uffff", "\U0001f511")]
    assert _read(encoded)[1::2] == [b"1", b"2", b"3", b"4"]


def test_an_empty_context_is_an_empty_list() -> None:
    """No context at all has an encoding too."""
    assert encode_context({}) == pae([])


def test_strings_that_only_look_alike_are_different_contexts() -> None:
    """Nothing is normalised: composed and decomposed letters are different bytes."""
    assert encode_context({"name": "\u00e9"}) != encode_context({"name": "e\u0301"})


@pytest.mark.parametrize(
    "context",
    [
        {"k": "v" * MAX_VALUE_SIZE},
        {"k": "ü" * (MAX_VALUE_SIZE // 2)},
        {"k" * MAX_KEY_SIZE: ""},
        {str(number): "" for number in range(MAX_CONTEXT_PAIRS)},
    ],
    ids=["value", "value of two-byte letters", "key", "pairs"],
)
def test_a_context_may_reach_each_of_its_bounds(context: dict[str, str]) -> None:
    """A bound is the last allowed size, not the first refused one."""
    assert encode_context(context)


@pytest.mark.parametrize(
    "context",
    [
        {"k": "v" * (MAX_VALUE_SIZE + 1)},
        {"k": "ü" * (MAX_VALUE_SIZE // 2) + "v"},
        {"k" * (MAX_KEY_SIZE + 1): ""},
        {"": "v"},
        {str(number): "" for number in range(MAX_CONTEXT_PAIRS + 1)},
        {"k": "\ud800"},
        {"\udfff": "v"},
    ],
    ids=["value", "value of two-byte letters", "key", "empty key", "pairs", "lone surrogate in value", "in key"],
)
def test_a_context_past_a_bound_is_refused(context: dict[str, str]) -> None:
    """One byte or one pair too many is the caller's mistake, and is named."""
    with pytest.raises(ValueError, match="context"):
        encode_context(context)


@pytest.mark.parametrize(
    "context",
    [None, [("k", "v")], "k=v", {"k": b"v"}, {b"k": "v"}, {"k": 1}, {1: "v"}, {"k": None}],
    ids=repr,
)
def test_a_context_of_another_type_is_refused(context: Mapping[str, str]) -> None:
    """Only strings to strings: a number would encode in more than one way."""
    with pytest.raises(TypeError, match="context"):
        encode_context(context)


def test_a_message_about_a_context_does_not_repeat_its_values() -> None:
    """Contexts may hold customers' ids, which have no place in a log."""
    with pytest.raises(ValueError, match="context") as caught:
        encode_context({"k": "4711" * MAX_VALUE_SIZE})

    assert "4711" not in str(caught.value)


def _read(encoded: bytes) -> list[bytes]:
    """Read parts back: a decoder that the library does not need, to show that the encoding is injective."""
    numbers, rest = int.from_bytes(encoded[:8], "little"), encoded[8:]
    found = []
    for _ in range(numbers):
        size, rest = int.from_bytes(rest[:8], "little"), rest[8:]
        assert size <= len(rest)
        found.append(rest[:size])
        rest = rest[size:]
    assert rest == b""
    return found


# ------------------------------------------------------------------------------------------------ encoders with plans


def _last_part(context: Mapping[str, str]) -> bytes:
    """Return what an encoder returns, by the plain way."""
    encoded = encode_context(context)
    return pae([encoded])[8:]


@given(contexts, st.lists(st.dictionaries(st.sampled_from("abcdü\U0001f511\uffff"), st.text(max_size=8)), max_size=6))
def test_an_encoder_gives_the_plain_encoding(fixed: dict[str, str], many: list[dict[str, str]]) -> None:
    """With whatever is fixed, and however often the same keys come, the result is the last part of a `pae`."""
    encoder = ContextEncoder(fixed)
    for context in many * 3:
        if fixed.keys() & context.keys():
            with pytest.raises(ValueError, match="fixed by bind"):
                encoder.encode(context)
        else:
            assert encoder.encode(context) == _last_part(fixed | context)
            assert encoder.join(context) == fixed | context


def test_an_encoder_follows_the_order_of_the_keys_and_not_of_the_caller() -> None:
    """The same pairs in another order are the same context, planned or not."""
    encoder = ContextEncoder({"m": "0"})
    first = encoder.encode({"a": "1", "z": "2"})
    assert (
        encoder.encode({"z": "2", "a": "1"}) == first == encoder.encode({"a": "1", "z": "2"}) == _last_part({"a": "1", "m": "0", "z": "2"})
    )


def test_a_context_that_fits_a_plan_is_checked_all_the_same() -> None:
    """After a good context, a bad one with the same keys is the same mistake as before."""
    encoder = ContextEncoder()
    for _ in range(2):
        assert encoder.encode({"k": "v" * MAX_VALUE_SIZE}) == _last_part({"k": "v" * MAX_VALUE_SIZE})
        for value, error in [
            (1, TypeError),
            (b"v", TypeError),
            (None, TypeError),
            ("\ud800", ValueError),
            ("v" * (MAX_VALUE_SIZE + 1), ValueError),
        ]:
            with pytest.raises(error, match="context"):
                encoder.encode({"k": value})  # type: ignore[dict-item]
        for context in (["k"], "k", None, 1, [["k"]]):
            with pytest.raises(TypeError, match="mapping"):
                encoder.encode(context)  # type: ignore[arg-type]


def test_fixed_pairs_count_towards_the_bounds() -> None:
    """32 pairs are allowed together, and a fixed pair is checked when it is fixed."""
    encoder = ContextEncoder({str(number): "" for number in range(MAX_CONTEXT_PAIRS - 1)})
    assert encoder.encode({"x": "1"})
    with pytest.raises(ValueError, match="33 pairs"):
        encoder.encode({"x": "1", "y": "2"})
    with pytest.raises(TypeError, match="context"):
        ContextEncoder({"k": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="mapping"):
        encoder.join("x")  # type: ignore[arg-type]


def test_the_plans_are_bounded() -> None:
    """Contexts with ever new keys leave no more than 64 plans behind, and are encoded all the same."""
    encoder = ContextEncoder({"f": "x"})
    for number in range(1000):
        context = {f"key {number}": "v"}
        assert encoder.encode(context) == encoder.encode(context) == _last_part({"f": "x", **context})
        assert len(encoder._plans) <= 64


def test_an_encoder_does_not_show_what_is_fixed() -> None:
    """Fixed pairs may hold customers' ids."""
    encoder = ContextEncoder({"customer": "4711"})
    assert "4711" not in repr(encoder)
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        copy.copy(encoder)


def test_what_is_fixed_does_not_follow_the_callers_dictionary() -> None:
    """Changing the dictionary afterwards changes nothing."""
    fixed = {"a": "1"}
    encoder = ContextEncoder(fixed)
    fixed["a"] = "2"
    assert encoder.encode({}) == _last_part({"a": "1"})
