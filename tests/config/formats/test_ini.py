# SPDX-License-Identifier: Apache-2.0
"""INI: every edit is exact, everything beside it stays, and what cannot be exact is refused with its reason."""

from __future__ import annotations

import configparser
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.config._formats._ini import IniSource
from securekit.config._tree import Path
from securekit.exceptions import FormatError
from tests.config.formats.texts import METADATA, TOKEN, edited, leaves, mutated, only_ours, production, touched
from tests.conftest import Count
from tests.costs import cost

PRODUCTION = production("production.ini")
SECRETS: list[Path] = [
    ("app", "secret_key"),
    ("web.tls", "key_password"),
    ("db", "password"),
    ("db", "migration_password"),
    ("db.replica", "password"),
    ("cache", "password"),
    ("smtp", "password"),
    ("payments", "api_key"),
    ("payments", "webhook_secret"),
    ("storage", "secret_key"),
    ("jobs", "signing_key"),
]
EXAMPLE = """\
; top
[a]
x = 1
  two

  three
Y: p@ss;word#1
z
# about b
[b]
  k=
  l =
[DEFAULT]
u = %(x)s ${y}
"""


def read(text: str) -> dict[str, dict[str, str | None]]:
    """Return what an application reads that cuts no value and interpolates nothing."""
    parser = configparser.ConfigParser(interpolation=None, allow_no_value=True, default_section="\n")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return {name: dict(parser.items(name)) for name in parser.sections()}


def test_production_file_is_read() -> None:
    """A realistic file has 60 values or more, 11 secrets among them, and is read as configparser reads it, cutting nothing."""
    source = IniSource(PRODUCTION)

    found = dict(leaves(source.tree))

    assert len(found) >= 60
    assert all("fake" in found[path].lower() for path in SECRETS)
    assert found["smtp", "password"] == "fake;smtp#pass=word"
    assert source.tree == read(PRODUCTION)
    assert source.metadata is None


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_replacing_changes_the_lines_of_the_value_alone(end: str, count: Count) -> None:
    """Any value of the production file becomes a token and comes back; no line but its own differs."""
    text = PRODUCTION.replace("\n", end)
    source = IniSource(text)
    for path, value in leaves(source.tree):
        result = source.replace({path: TOKEN})

        old, new = touched(text, result)
        assert read(result) == edited(source.tree, path, TOKEN)
        assert len(new) == 1
        assert len(old) == 1 + str(value).count("\n")
        assert str(path[1]) in text.splitlines()[source.line(path) - 1]
        assert IniSource(IniSource(result).replace({path: value})).tree == source.tree
        count("INI values replaced", 1)


def test_what_stands_around_a_value_stays() -> None:
    """Comments, indentation, delimiters, blank lines and order around replaced values stay character for character."""
    source = IniSource(EXAMPLE)

    result = source.replace(
        {
            ("a", "x"): "one\n\nthree",
            ("a", "Y"): TOKEN,
            ("a", "z"): "v",
            ("b", "k"): "1\n2",
            ("b", "l"): "2",
            ("DEFAULT", "u"): None,
        }
    )

    assert result == (f"; top\n[a]\nx = one\n\n  three\nY: {TOKEN}\nz = v\n# about b\n[b]\n  k=1\n      2\n  l = 2\n[DEFAULT]\nu\n")
    assert [source.line(path) for path, _ in leaves(source.tree)] == [3, 7, 8, 11, 12, 14]
    assert [source.line(path) for path in [("b",), (), ("c",), ("b", "c"), ("b", "k", "x")]] == [10, 0, 0, 0, 0]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_inserting_adds_behind_the_others(end: str, last: str) -> None:
    """A new key stands behind the others of its section and is written as they are; a missing section is made before the metadata."""
    text = f"[a]\nk: 1\n# c\n[b]\n  x=1\n    2{last}".replace("\n", end)
    source = IniSource(text)
    lines = text.removesuffix(end).split(end)

    assert source.insert(("a", "n"), "v").split(end)[:5] == ["[a]", "k: 1", "n: v", "# c", "[b]"]
    assert source.insert(("b", "n"), "v\nw") == end.join([*lines, "  n=v", "      w"]) + (end if last else "")
    alone = source.insert(("c", "n"), "v")
    assert alone == end.join([*lines, "", "[c]", "n = v"]) + (end if last else "")
    described = IniSource(source.with_metadata(METADATA)).insert(("c", "n"), "v")
    assert IniSource(described).with_metadata(None) == alone
    assert IniSource("").insert(("c", "n"), None) == "[c]\nn\n"
    assert IniSource("[c]").insert(("c", "n"), "v") == "[c]\nn = v"


def test_removing_takes_the_keys_own_lines(count: Count) -> None:
    """Any key of the production file can be removed; no line is lost but its own, and nothing else changes."""
    source = IniSource(PRODUCTION)
    for path, value in leaves(source.tree):
        result = source.remove(path)

        old, new = touched(PRODUCTION, result)
        assert len(old) == 1 + str(value).count("\n")
        assert new == []
        assert read(result) == edited(source.tree, path)
        count("INI values removed", 1)
    assert IniSource("[a]\r\nk=1").remove(("a", "k")) == "[a]"


NAMES = st.text(alphabet="ab .%$", min_size=1, max_size=4).map(lambda name: "n" + name.strip())
TEXTS = st.text(max_size=10) | st.text(alphabet="ab =:;#%[]\n\r\t", max_size=10)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Lines in all the forms that INI has."""
    lines = []
    for section in draw(st.lists(NAMES, unique=True, max_size=3)):
        lines.append(f"[{section}]")
        indent = draw(st.sampled_from(["", "  "]))
        for key in draw(st.lists(NAMES, unique=True, max_size=4)):
            text = draw(st.text(alphabet="ab=;# ", max_size=6)).strip()
            form = draw(
                st.sampled_from(
                    ["{k} = {t}", "{k}:{t}", "{k}", "{k} =\n    x{t}\n\n    x{t}", "# {t}\n\n{k}={t}", "{k} = x\n    # {t}\n    y"]
                )
            )
            lines += [indent + line if line else "" for line in form.format(k=key, t=text).split("\n")]
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, *draw(st.sampled_from([[], [""], ["# end"], ["", ""]]))])


@settings(max_examples=500)
@given(text=documents(), value=TEXTS | st.none(), data=st.data())
def test_edits_of_any_document_read_back(text: str, value: str | None, data: st.DataObject) -> None:
    """In generated documents any key is given any text, removed, or joined by another: what was wanted is read, or it is refused."""
    source = IniSource(text)
    assert source.tree == read(text)
    simple = value is None or (value == value.strip() and value.isprintable() and not value.startswith(("#", ";")))

    def tried(call: Any, wanted: Any, *, sure: bool) -> None:
        try:
            result = call()
        except FormatError:
            assert not sure
        else:
            assert read(result) == wanted

    tried(lambda: source.insert(("new", "key"), value), edited(source.tree, ("new", "key"), value), sure=simple)
    present = [*leaves(source.tree)]
    if present:
        path, _ = data.draw(st.sampled_from(present))
        whole = re.search("\n +# ", text) is None
        tried(lambda: source.replace({path: value}), edited(source.tree, path, value), sure=simple and whole)
        tried(lambda: source.remove(path), edited(source.tree, path), sure=True)
        beside = (path[0], "key")
        tried(lambda: source.insert(beside, value), edited(source.tree, beside, value), sure=simple)


@pytest.mark.parametrize(
    "text", ["", "\n", "[a]", "[a]\n", "[a]\r\nb=2", "[a]\n\n", "# c", "[a]\nb =\n  c\n\n  d\n", PRODUCTION, PRODUCTION.rstrip()]
)
def test_metadata_come_and_go(text: str) -> None:
    """Metadata are comments at the end, no part of the tree, survive edits, and taking them away gives the text from before."""
    source = IniSource(IniSource(text).with_metadata(METADATA))

    grown = IniSource(source.insert(("new", "key"), "v"))

    assert source.text.startswith(text)
    assert source.metadata == METADATA == grown.metadata
    assert source.tree == read(text)
    assert source.with_metadata(METADATA) == source.text
    assert source.with_metadata(None) == text
    assert grown.text.rstrip().endswith(source.text[len(text) :].strip())
    assert IniSource(grown.remove(("new", "key"))).metadata == METADATA


@pytest.mark.parametrize(
    ("text", "call", "reason"),
    [
        ("[a]\nb=1", lambda source: source.replace({("a", "c"): "1"}), r"there is no a\.c"),
        ("\n[a]\nb=1", lambda source: source.replace({("a",): "1"}), "a holds others"),
        ("[a]\nb=1", lambda source: source.replace({("a", "b"): 1}), r"a\.b: INI holds text alone, not int"),
        ("[a]\nb=1", lambda source: source.replace({("a", "b"): "\ud800"}), "surrogate"),
        ("[a]\nb=1", lambda source: source.replace({("a", "b"): " x"}), "INI has no form"),
        ("[a]\nb=1", lambda source: source.replace({("a", "b"): "x\n# y"}), "INI has no form"),
        ("[a]\nb=1", lambda source: source.replace({("a", "b"): "x\n"}), "INI has no form"),
        ("[a]\nb=1\n # c\n  2", lambda source: source.replace({("a", "b"): "x"}), "line 2: a.b: comments stand inside"),
        ("[a]\nb=1", lambda source: source.insert(("a",), "1"), "nothing below"),
        ("[a]\nb=1", lambda source: source.insert(("a", "b", "c"), "1"), "nothing below"),
        ("[a]\nb=1", lambda source: source.insert(("a", "b"), "1"), r"line 2: a\.b is there already"),
        ("[a]\nb=1", lambda source: source.insert(("a", "c=d"), "1"), "INI has no form"),
        ("[a]\nb=1", lambda source: source.insert(("a", "[c]"), "1"), "INI has no form|line"),
        ("[a]\nb=1", lambda source: source.insert(("a", "#c"), "1"), "INI has no form"),
        ("[a]\nb=1", lambda source: source.insert(("a", "c\n# securekit tag x\nd"), "1"), "INI has no form"),
        ("[a]\nb=1", lambda source: source.insert(("c]\n[d", "e"), "1"), "INI has no form"),
        ("[a]\nb=1", lambda source: source.remove(("a",)), "line 1: a is a section: remove its keys"),
        ("[a]\nb=1", lambda source: source.with_metadata({"tag": "x\ny"}), "does not fit"),
        ("[a]\nb=1", lambda source: source.with_metadata({"tag": " x"}), "does not fit"),
    ],
)
def test_what_cannot_be_exact_is_refused(text: str, call: Any, reason: str) -> None:
    """An edit that INI has no form for is refused, and says why."""
    with pytest.raises(FormatError, match=reason):
        call(IniSource(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nhunter2 = 1", "line 2: a key above the first [section]"),
        ("[a]\n= hunter2", "line 2: no key before the delimiter"),
        ("[a]\nb = hunter2\nb = hunter2", "line 3: 'b' is there twice in its section, first on line 2"),
        ("[a]\n[b]\n[a]", "line 3: the section 'a' is there twice, first on line 1"),
        ("[a]\nb = x\nhunter2 and more\nhunter2 and more", "line 4: a key is there twice in its section, first on line 3"),
        ("[a]\nb\n  hunter2", "line 3: an indented line below a key without a value"),
        ("[a]\nb" + " " * 65 + "hunter2", "line 2: more than 64 spaces in a row within a key"),
        ("[a]\nb = 1\n# securekit tag hunter2\n  2", "line 3: a line of the metadata stands inside a value of several lines"),
        ("".join(f"[{number}]\n" for number in range(2_001)), "line 2001: more than 2,000 sections"),
        ("# securekit tag x\n# securekit tag x\n", "line 2: the metadata names tag twice"),
        ("# securekit tag x\n\n# securekit format x\n", "line 3: the lines of the metadata must stand together"),
    ],
)
def test_what_is_no_ini_is_refused_with_its_line(text: str, message: str) -> None:
    """Malformed lines and names that are there twice are refused with their line; no value is quoted, no foreign error dragged along."""
    with pytest.raises(FormatError) as caught:
        IniSource(text)

    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("read_instead", "message"),
    [
        ("[a]\nb = 1\nc = 3\n[d]\n", "line 3: configparser"),
        ("[a]\n[d]\n", "line 2: configparser"),
        ("[a", "line 2: configparser"),
        ("[a]\nb = 1\nc = 2\n", "line 4: configparser"),
        ("[a]\nb = 1\nc = 2\n[d]\n[e]\n", "other sections"),
    ],
)
def test_a_file_that_configparser_reads_otherwise_is_refused(read_instead: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should configparser ever disagree on a section, key or value, the file is refused with the line."""
    original = configparser.RawConfigParser.read_string
    monkeypatch.setattr(configparser.RawConfigParser, "read_string", lambda parser, _: original(parser, read_instead))

    with pytest.raises(FormatError, match=message):
        IniSource("[a]\nb = 1\nc = 2\n[d]\n")


COSTLY = [
    "[a]\n" + "\n".join(f"k{number}" for number in range(9_000)),
    "\n".join(f"[k{number}]" for number in range(7_000)),
    "#\n" * 32_000,
    "[a]\nx = y" + "\n z" * 20_000,
    "[a]\nx = y" + "\n" * 65_000,
    "[a]\nx" + " " * 65_000 + "y",
    "[a]\n" + ("x" + " " * 64) * 1_000,
    "[a]\nx =" + " " * 65_000 + "y",
    "[a]\n" + "[" * 65_000,
    "[a]\nx" + "=:" * 32_000,
    " " * 65_536,
    "\r" * 65_536,
]


@pytest.mark.parametrize("text", COSTLY)
def test_any_text_costs_little(text: str, count: Count) -> None:
    """64 KiB of what is most expensive to read take at most 100 ms and 64 MiB."""
    seconds, peak = cost(lambda: only_ours(lambda: IniSource(text[: 64 * 1024])))

    assert seconds <= 0.1
    assert peak <= 64 * 2**20
    count("costly INI texts", 1)


@pytest.mark.repetitive
@settings(max_examples=500)
@given(
    (st.text(max_size=60) | st.text(alphabet="ab=:[]#; \n\r\t\x0b\x1f\x85", max_size=40)).map(lambda text: "[a]\n" + text)
    | mutated(EXAMPLE)
    | mutated(PRODUCTION)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Random and mutated text raises our own error alone; what is read is what configparser reads, and can be edited."""

    def edit() -> None:
        source = IniSource(text)
        assert source.tree == read(text)
        for path, _ in [*leaves(source.tree)][:5]:
            only_ours(lambda path=path: source.remove(path))  # type: ignore[misc]
            only_ours(lambda path=path: source.replace({path: TOKEN}))  # type: ignore[misc]
        source.insert(("new", "key"), TOKEN)
        described = IniSource(source.with_metadata(METADATA))
        assert source.metadata is not None or described.with_metadata(None) == text

    only_ours(edit)
