# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
from datetime import date, time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.config._formats._json import JsonSource
from securekit.config._tree import MAX_DEPTH, MAX_LEAVES, Path, Scalar, Tree
from securekit.exceptions import FormatError
from tests.config.formats.spans import BLOCK, FILES, SECRETS, TOKEN, at, changed, refused, scalars
from tests.conftest import Count
from tests.costs import cost

PRODUCTION = (FILES / "production.json").read_text()


# ------------------------------------------------------------------------------------------------- reading


def test_production_reads_as_json() -> None:
    """A production file's values are those that Python's own module reads."""
    source = JsonSource(PRODUCTION)

    assert source.tree == json.loads(PRODUCTION)
    assert len(list(scalars(source.tree))) >= 60
    assert source.metadata is None


REFUSED = {
    "": "line 1: the document must be an object",
    '["hunter2"]': "line 1: the document must be an object",
    '"hunter2"': "line 1: the document must be an object",
    '{"a": 1,\n"a": "hunter2"}': "line 2: the name a occurs twice in one object",
    '{"a": NaN}': "line 1: JSON has no infinity and no not-a-number",
    '{"a": -Infinity}': "line 1: JSON has no infinity and no not-a-number",
    '{"a": 1} // hunter2': "line 1: JSON has no comments",
    '{\n// hunter2\n"a": 1}': "line 2: JSON has no comments",
    '{"a": /* hunter2 */ 1}': "line 1: JSON has no comments",
    '{"a": 1\n# hunter2\n}': "line 2: JSON has no comments",
    '{"a": 1,}': "line 1: expected a member's name in double quotes",
    "{'a': 1}": "line 1: expected a member's name in double quotes",
    '{"a": [1,]}': "line 1: expected a value",
    '{"a": hunter2}': "line 1: expected a value",
    '{"a": truely}': "line 1: expected a comma or }",
    '{"a" "hunter2"}': "line 1: expected a colon",
    '{"a": 1 "hunter2"}': "line 1: expected a comma or }",
    '{"a": [1 2]}': "line 1: expected a comma or ]",
    '{"a": 01}': "line 1: expected a value",
    '{"a": +1}': "line 1: expected a value",
    '{"a": .5}': "line 1: expected a value",
    '{"a": 1.}': "line 1: expected a comma or }",
    '{"a": 0x1}': "line 1: expected a value",
    '{"a": \u0661}': "line 1: expected a value",
    '{"a": "hunter2': "line 1: a string that does not end",
    '{"a": "hunter2\n"}': "line 1: a string that does not end",
    '{"a": "hunter2\\x"}': "line 1: a string that does not end",
    '{"a": "hunter2\\ud800"}': "line 1: a string with a lone surrogate",
    '{"a": "hunter2\ud800"}': "line 1: a string with a lone surrogate",
    '{"\\ud800": "hunter2"}': "line 1: a string with a lone surrogate",
    '{"a": "hunter2"': "line 1: the document ends too soon",
    '{"a":': "line 1: the document ends too soon",
    "{": "line 1: the document ends too soon",
    '{"a": 1}\n{"b": "hunter2"}': "line 2: expected the end of the document",
    '\ufeff{"a": 1}': "line 1: the document must be an object",
    '{"a":\u00a01}': "line 1: expected a value",
    '{"a": 1e999}': "line 1: a number too large to be read",
    f'{{"a": {"9" * 4301}}}': "line 1: a number of more than 4,300 digits",
    f'{{"a": -{"9" * 9999}}}': "line 1: a number of more than 4,300 digits",
    '{\n"securekit": "hunter2"}': "line 2: securekit must be a mapping of printable texts",
    '{"securekit": {"a": ["hunter2\\n"]}}': "line 1: securekit must be a mapping of printable texts",
    '{"securekit": {"a": null}}': "line 1: securekit must be a mapping of printable texts",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_json_is_refused(text: str) -> None:
    """What RFC 8259 does not have, or leaves open, is refused with its line and reason, and without a value."""
    assert refused(lambda: JsonSource(text)).startswith(REFUSED[text])


def test_numbers_are_exact() -> None:
    """Whole numbers of up to 4,300 digits are exact, with a sign too; other numbers are floats."""
    big = "9" * 4300

    assert JsonSource(f'{{"a": -{big}, "b": 1.0, "c": 1E3, "d": -0.0}}').tree == {"a": -int(big), "b": 1.0, "c": 1000.0, "d": -0.0}


def test_line_is_where_the_value_begins() -> None:
    """The line of a path is the one on which its value begins."""
    source = JsonSource('{\n "a":\n  [1,\n   2]}')

    assert [source.line(path) for path in [("a",), ("a", 0), ("a", 1)]] == [3, 3, 4]


# ------------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("path", SECRETS)
def test_one_secret_changes_its_own_line(path: Path) -> None:
    """In a production file, a token in place of a secret changes that value's characters alone, and back again."""
    source = JsonSource(PRODUCTION)
    value = at(source, path)
    assert isinstance(value, str)

    sealed = source.replace({path: TOKEN})

    gone, came = changed(PRODUCTION, sealed)
    assert gone[0].replace(json.dumps(value), json.dumps(TOKEN)) == came[0]
    assert JsonSource(sealed).replace({path: value}) == PRODUCTION


def test_all_secrets_at_once_are_the_sum_of_each() -> None:
    """Replacing every secret at once gives the text that one after the other gives."""
    one_by_one = PRODUCTION
    for path in SECRETS:
        one_by_one = JsonSource(one_by_one).replace({path: TOKEN})

    assert JsonSource(PRODUCTION).replace(dict.fromkeys(SECRETS, TOKEN)) == one_by_one


EDITED: list[tuple[str, str, tuple[object, ...], str]] = [
    ('{"a": [1, 2]}', "replace", ({("a", 1): "é𝄞\u2028\n"},), '{"a": [1, "é𝄞\u2028\\n"]}'),
    ('{"a": 1.50}', "replace", ({("a",): -0.0},), '{"a": -0.0}'),
    ('{"a": 1, "b": 1.50e0}', "replace", ({("a",): None},), '{"a": null, "b": 1.50e0}'),
    ("{}", "insert", (("a",), 1), '{"a": 1}'),
    ('{"a":1}', "insert", (("b", "c"), 1), '{"a":1,"b":{"c":1}}'),
    ('{"a": [1]}', "insert", (("a", 1), 2), '{"a": [1, 2]}'),
    ('{"a": []}', "insert", (("a", 0, "b"), 2), '{"a": [{"b": 2}]}'),
    ('{\n  "a": {\n    "b": 1\n  }\n}\n', "insert", (("a", "c"), 2), '{\n  "a": {\n    "b": 1,\n    "c": 2\n  }\n}\n'),
    ('{\r\n\t"a": 1\r\n}', "insert", (("b",), True), '{\r\n\t"a": 1,\r\n\t"b": true\r\n}'),
    ('{"a": 1, "securekit": {}}', "insert", (("b",), 2), '{"a": 1, "b": 2, "securekit": {}}'),
    ('{\n  "securekit": {}\n}', "insert", (("b",), 2), '{\n  "b": 2,\n  "securekit": {}\n}'),
    ('{"a": 1, "b": 2, "c": 3}', "remove", (("a",),), '{"b": 2, "c": 3}'),
    ('{"a": 1, "b": 2, "c": 3}', "remove", (("b",),), '{"a": 1, "c": 3}'),
    ('{\n  "a": 1,\n  "b": 2\n}', "remove", (("b",),), '{\n  "a": 1\n}'),
    ('{"a": [ 1 ]}', "remove", (("a", 0),), '{"a": []}'),
    ('{"a": ["#", 2]}', "remove", (("a", 1),), '{"a": ["#"]}'),
    ('{\n  "a": 1\n}', "remove", (("a",),), "{}"),
    ('{"a":1}', "with_metadata", ({"v": "1", "keys": ["x"]},), '{"a":1,"securekit":{"v":"1","keys":["x"]}}'),
    ('{"a": 1}', "with_metadata", ({"v": "1", "keys": []},), '{"a": 1, "securekit": {"v": "1", "keys": []}}'),
    (
        '{\n\t"a": 1\n}\n',
        "with_metadata",
        ({"v": "1", "keys": ["x"], "none": []},),
        '{\n\t"a": 1,\n\t"securekit": {\n\t\t"v": "1",\n\t\t"keys": [\n\t\t\t"x"\n\t\t],\n\t\t"none": []\n\t}\n}\n',
    ),
    ('{"securekit":\n {}, "a": 1}', "with_metadata", ({"v": "1"},), '{"securekit":\n {"v": "1"}, "a": 1}'),
]


@pytest.mark.parametrize(("text", "edit", "arguments", "wanted"), EDITED)
def test_edited(text: str, edit: str, arguments: tuple[object, ...], wanted: str) -> None:
    """An edit writes in the text's own manner and changes nothing beside it."""
    assert getattr(JsonSource(text), edit)(*arguments) == wanted


NOT_EDITED: list[tuple[str, tuple[object, ...], str]] = [
    ("replace", ({("a",): b"hunter2"},), "a: JSON has no form for bytes"),
    ("replace", ({("a",): date(2026, 1, 2)},), "a: JSON has no form for a date or a time"),
    ("replace", ({("a",): time(1, 2)},), "a: JSON has no form for a date or a time"),
    ("replace", ({("a",): float("nan")},), "a: JSON has no infinity and no not-a-number"),
    ("replace", ({("a",): "hunter2\ud800"},), "a: a lone surrogate or a number of more than 4,300 digits"),
    ("replace", ({("a",): 10**4300},), "a: a lone surrogate or a number of more than 4,300 digits"),
    ("replace", ({("b",): "hunter2"},), "line 1: b is a list, not a single value"),
    ("replace", ({("c",): "hunter2"},), "there is no c"),
    ("insert", (("a",), "hunter2"), "line 1: a is there already"),
    ("insert", (("a", "b"), "hunter2"), "line 1: a is a single value: nothing can be put into it"),
    ("insert", (("b", 2), "hunter2"), "line 1: b.2 is not the next item of its list"),
    ("insert", (("\ud800",), "hunter2"), "'\\ud800': a lone surrogate"),
    ("remove", ((),), "the document itself cannot be removed"),
    ("remove", (("b", 1),), "there is no b.1"),
    ("with_metadata", ({"a": "hunter2\n"},), "securekit must be a mapping of printable texts"),
]


@pytest.mark.parametrize(("edit", "arguments", "reason"), NOT_EDITED, ids=range(len(NOT_EDITED)))
def test_not_edited(edit: str, arguments: tuple[object, ...], reason: str) -> None:
    """An edit that has no exact result is refused with the reason, and without a value."""
    source = JsonSource('{"a": 1, "b": [true]}')

    assert refused(lambda: getattr(source, edit)(*arguments)).startswith(reason)


# ------------------------------------------------------------------------------------------------- hostile texts


BOMBS = {
    "lists": '{"a":' + "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "lists to their end": '{"a":' + "[" * 30_000 + "]" * 30_000 + "}",
    "a long number": '{"a":' + "9" * 65_000 + "}",
    "a long fraction": '{"a":1.' + "9" * 65_000 + "e9999999999}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_refused_at_once(bomb: str) -> None:
    """Nesting and numbers that would grow are refused in less than 50 ms and 32 MiB."""
    seconds, peak = cost(lambda: refused(lambda: JsonSource(BOMBS[bomb])))

    assert seconds < 0.05
    assert peak < 32 * 2**20


def test_bounds_are_exact() -> None:
    """As many values and as much depth as allowed are read, and one more is refused."""
    deep = '{"a": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    long = '{"a": [' + "1," * (MAX_LEAVES - 2) + "1]}"

    wide = '{"a": [' + "[]," * 100 + "{}]}"

    assert all(JsonSource(text).tree for text in (deep, long, wide))
    refused(lambda: JsonSource(deep.replace("[]", "[[]]")))
    refused(lambda: JsonSource(long.replace("1", "1,1", 1)))


DENSE = [
    '{"a":[' + "1," * 32_000 + "1]}",
    '{"a":[' + "[]," * 21_000 + "1]}",
    '{"a":[' + '"",' * 21_000 + "1]}",
    "{" + ",".join(f'"{n:x}":1' for n in range(7_500)) + "}",
    '{"a":"' + "\\u00e9" * 10_900 + '"}',
    '{"a":"' + "\\" * 65_000,
    " " * 65_000,
]


@pytest.mark.parametrize("text", DENSE, ids=range(len(DENSE)))
def test_dense_text_is_cheap(text: str) -> None:
    """The densest 64 KiB are read or refused within 100 ms and 64 MiB."""

    def read() -> None:
        try:
            JsonSource(text)
        except FormatError:
            return

    seconds, peak = cost(read)

    assert seconds < 0.1
    assert peak < 64 * 2**20


def agreed(text: str) -> bool:
    """Read a text and compare with Python's module; tell whether it was accepted."""
    try:
        source = JsonSource(text)
    except FormatError:
        return False
    other = json.loads(text)
    other.pop("securekit", None)
    assert repr(source.tree) == repr(other)
    return True


@settings(max_examples=500)
@given(st.text('{}[]":,01.-eE \\untfalsr/#\n\x00é', max_size=50) | st.text(max_size=40).map(lambda text: '{"a": ' + text + "}"))
def test_random_text_raises_only_our_error(text: str) -> None:
    """Random text is read as Python reads it, or refused with our own error."""
    agreed(text)


def test_mutated_production_raises_only_our_error(count: Count) -> None:
    """A production file with characters changed, put in or left out is read as Python reads it, or refused with our own error."""
    text = JsonSource(PRODUCTION).with_metadata(BLOCK)
    pick = random.Random(4)
    accepted = 0

    for _ in range(1500):
        place = pick.randrange(len(text))
        accepted += agreed(text[:place] + pick.choice([*'{}[]":,01.-e \\\n\x00é', "", "\\u0", "null"]) + text[place + pick.randint(0, 2) :])

    assert 100 < accepted < 1400
    count("mutated JSON texts, read as Python reads them or refused", 1500)


# ------------------------------------------------------------------------------------------------- random documents


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(lambda name: name != "securekit")
values: st.SearchStrategy[Scalar] = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
    | st.just(TOKEN)
)
trees: st.SearchStrategy[Tree] = st.recursive(
    values, lambda below: st.lists(below, max_size=4) | st.dictionaries(names, below, max_size=4), max_leaves=12
)
styles: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}, {"indent": 4, "ensure_ascii": False}]
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[JsonSource, dict[str, Tree]]:
    tree = draw(st.dictionaries(names, trees, max_size=5))
    text = json.dumps(tree, **draw(styles))
    return JsonSource(text.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))) + draw(st.sampled_from(["", "\n"]))), tree


@given(documents(), values, names, st.data())
def test_edits_leave_the_rest(document: tuple[JsonSource, dict[str, Tree]], value: Scalar, name: str, data: st.DataObject) -> None:
    """In any document, a value replaced and put back, inserted and removed, gives the text back; each step reads as wanted."""
    source, tree = document
    assert repr(source.tree) == repr(tree)
    places = dict(scalars(source.tree))
    path: Path = (name + "_new",)

    inserted = JsonSource(source.insert(path, value))

    assert repr(inserted.tree) == repr(tree | {name + "_new": value})
    assert inserted.remove(path) == source.text
    for place in data.draw(st.sampled_from([list(places)[n : n + 2] for n in range(len(places) + 1)])):
        replaced = JsonSource(source.replace({place: value}))
        assert repr(at(replaced, place)) == repr(value)
        assert JsonSource(replaced.replace({place: places[place]})).tree == tree
        assert len(list(scalars(JsonSource(source.remove(place)).tree))) == len(places) - 1


@given(
    documents(),
    st.dictionaries(
        st.text("abcxyz", min_size=1), st.text('ab "\\é𝄞', max_size=9) | st.lists(st.text("ab", max_size=4), max_size=3), max_size=4
    ),
)
def test_any_block_comes_and_goes(document: tuple[JsonSource, dict[str, Tree]], block: dict[str, str | list[str]]) -> None:
    """In any document, a block is added as the last member, read back, and removed without a trace."""
    source, tree = document

    new = source.with_metadata(block)

    assert JsonSource(new).metadata == block
    assert repr(JsonSource(new).tree) == repr(tree)
    assert JsonSource(new).with_metadata(None) == source.text
    assert JsonSource(new).with_metadata(block) == new
