# SPDX-License-Identifier: Apache-2.0
"""Paths and patterns as people write them, against a matcher that goes segment by segment."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from securekit.config._path import Pattern, Patterns, encode_path, format_path, parse_path
from securekit.config._tree import Path
from tests.config.test_value import TEXTS
from tests.conftest import Count
from tests.costs import processor_seconds

KEYS = TEXTS | st.text('ab.*[]"\\ 0\x1e\x1f\n', max_size=6)
PATHS = st.lists(KEYS | st.integers(0, 999_999_999), min_size=1, max_size=5).map(tuple)
LITERALS = st.text("ab01\x1e\x1f", max_size=3)
GLOBS = st.text("ab*", min_size=1, max_size=5)
PIECES = st.lists(
    st.tuples(st.just("literal"), LITERALS)
    | st.tuples(st.just("index"), st.integers(0, 12))
    | GLOBS.map(lambda text: ("glob", text))
    | st.sampled_from([("deep", None), ("any", None), ("any index", None)]),
    min_size=1,
    max_size=5,
)
SHORT_PATHS = st.lists(st.text("ab01\x1e\x1f", max_size=4) | st.integers(0, 12), max_size=6).map(tuple)
Piece = tuple[str, str | int | None]


def text_of(pieces: list[Piece]) -> str:
    """Return a pattern as it is written."""
    text = ""
    for kind, value in pieces:
        if kind == "index":
            text += f"[{value}]"
        elif kind == "any index":
            text += "[*]"
        else:
            written = {"deep": "**", "any": "*"}.get(kind) or (format_path((str(value),)) if kind == "literal" else str(value))
            text += "." * bool(text) + written
    return text


def glob(pattern: str, key: str) -> bool:
    """Whether ``*`` in the pattern can stand for characters of the key so that both are equal."""
    if not pattern:
        return not key
    if pattern[0] == "*":
        return any(glob(pattern[1:], key[skipped:]) for skipped in range(len(key) + 1))
    return key[:1] == pattern[0] and glob(pattern[1:], key[1:])


def naive(pieces: list[Piece], path: Path) -> bool:
    """Whether the pieces describe the path, or one above it."""
    if not pieces:
        return True
    (kind, value), rest = pieces[0], pieces[1:]
    if kind == "deep":
        return any(naive(rest, path[skipped:]) for skipped in range(len(path) + bool(rest)))
    if not path:
        return False
    here = path[0]
    matches = {
        "literal": here == value and isinstance(here, str),
        "index": here == value and isinstance(here, int),
        "any": True,
        "any index": isinstance(here, int),
        "glob": isinstance(here, str) and glob(str(value), here),
    }[kind]
    return matches and naive(rest, path[1:])


@given(PATHS)
@example(("", "a.b", 0, "\x1f", "é", "\u2028", "\x00"))
def test_a_path_comes_back(path: Path) -> None:
    """What `format_path` writes, `parse_path` reads as the same path."""
    text = format_path(path)
    assume(len(text) <= 512)

    assert parse_path(text) == path


@given(PATHS, PATHS)
def test_two_paths_are_written_apart(one: Path, two: Path) -> None:
    """No text stands for two paths, neither as people write it nor as patterns are matched against it."""
    assert (format_path(one) == format_path(two)) == (one == two)
    assert (encode_path(one) == encode_path(two)) == (one == two)


@given(PATHS)
def test_a_path_is_a_pattern_of_itself(path: Path) -> None:
    """A path that is written as a pattern matches itself and what is below, and nothing beside it."""
    text = format_path(path)
    assume(len(text) <= 512)
    pattern = Pattern(text)

    assert pattern.matches(path)
    assert pattern.matches((*path, "x", 0))
    assert not pattern.matches(path[:-1])
    assert not pattern.matches((*path[:-1], str(path[-1]) + "x"))


@given(PIECES, SHORT_PATHS)
@example([("glob", "*1")], ("x\x1f",))
@example([("deep", None)], ())
@example([("deep", None), ("deep", None)], ("a",))
def test_patterns_match_as_a_walk_by_segments_does(pieces: list[Piece], path: Path) -> None:
    """A pattern matches exactly what an independent matcher says, alone and among others."""
    assume(sum(kind == "deep" or (kind == "glob" and set(str(value)) == {"*"}) for kind, value in pieces) <= 2)
    assume(not any(kind == "glob" and set(str(value)) == {"*"} for kind, value in pieces))
    text = text_of(pieces)

    expected = naive(pieces, path)
    assert Pattern(text).matches(path) is expected
    assert Patterns(["zz", text, "[99]"]).matches(path) is expected
    assert Patterns([text]).match(encode_path(path)) is expected


@given(st.text() | st.text('ab.*[]"\\0 ', max_size=12))
def test_a_text_is_a_path_or_a_value_error(text: str) -> None:
    """Whatever is given is read, or is a ValueError; and what is read as a path is a pattern that matches it."""
    try:
        path = parse_path(text)
    except ValueError:
        return
    assert parse_path(format_path(path)) == path
    assert Pattern(text).matches(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a[",
        "a]",
        "a[]",
        "a[-1]",
        "a[01]",
        "a[1.5]",
        "a[1]b",
        '"a',
        '"a"b',
        'a"b"',
        '"\\x"',
        '"\\ud800"',
        "a\\",
        "[0].[1]",
        "x" * 513,
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    """A path and a pattern have the written form, and at most 512 characters."""
    with pytest.raises(ValueError, match="path"):
        parse_path(text)
    with pytest.raises(ValueError, match="pattern"):
        Pattern(text)


@pytest.mark.parametrize("text", ["*", "**", "a*", "a[*]", "**.a"])
def test_a_pattern_is_no_path(text: str) -> None:
    """Where one path is wanted, a pattern is refused, and the quoting is told."""
    with pytest.raises(ValueError, match="quoted"):
        parse_path(text)


@pytest.mark.parametrize("text", ["**.a.**.b.**", "a*" * 17])
def test_a_pattern_that_would_be_slow_is_refused(text: str) -> None:
    """A pattern has at most two ``**`` and 16 ``*``, and a document at most 256 patterns."""
    with pytest.raises(ValueError, match="several patterns"):
        Pattern(text)
    with pytest.raises(ValueError, match="256"):
        Patterns(["a"] * 257)


def test_patterns_that_match_nothing_are_named() -> None:
    """Of several patterns, those that match none of the paths are told."""
    patterns = Patterns(["a.*", "b", "**.c"])

    assert patterns.unmatched([("a", "x"), ("d", 0, "c", "e")]) == ("b",)
    assert not Patterns([]).matches(("a",))


SIZE = 64 * 1024
HOSTILE = [
    ("*a*a*a*a*b", ("a" * SIZE,)),
    ("*" + "a*" * 15 + "b", ("a" * SIZE,)),
    ("**.*a*a*a*b", ("a" * (SIZE // 2), "a" * (SIZE // 2))),
    ("**.*a*a.**.*a*a*b", tuple("a" * 1000 for _ in range(64))),
    ("**.a.**.b", ("a",) * 64),
    ("**.*.**.*b", ("a" * 1000,) * 64),
    ("*" + "ab*" * 15, ("ab" * (SIZE // 2),)),
]


def test_many_hostile_patterns_cost_as_much_as_the_path_is_long() -> None:
    """As many patterns as a document may have, against its deepest path, take a few milliseconds."""
    slow = [
        Patterns([text.format(number) for number in range(256)]) for text in ("**.a*a*.**.a*a*b{}", "**.*.*.*.*.*.*.**.b{}", "**.a.**.b{}")
    ]

    assert not any(matcher.matches(("aa",) * 64) for matcher in slow)
    assert processor_seconds(lambda: [matcher.matches(("aa",) * 64) for matcher in slow]) < 0.1


@pytest.mark.parametrize(("pattern", "path"), HOSTILE)
def test_hostile_patterns_are_matched_in_linear_time(pattern: str, path: Path, count: Count) -> None:
    """64 KiB of key against many stars take less than 100 ms."""
    matcher = Patterns([pattern])

    assert processor_seconds(lambda: matcher.matches(path)) < 0.1
    count("hostile patterns matched", 1)
