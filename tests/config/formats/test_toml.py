# SPDX-License-Identifier: Apache-2.0
"""TOML: every edit is exact, everything beside it stays, and what cannot be exact is refused with its reason."""

from __future__ import annotations

import math
import tomllib
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.config._formats._toml import TomlSource
from securekit.config._tree import MAX_DEPTH, Path, Scalar
from securekit.exceptions import FormatError
from tests.config.formats.texts import METADATA, TOKEN, edited, leaves, mutated, only_ours, production, touched
from tests.conftest import Count
from tests.costs import cost, processor_seconds

PRODUCTION = production("production.toml")
SECRETS: list[Path] = [
    ("web", "secret_key"),
    ("web", "tls", "key_password"),
    ("db", "password"),
    ("db", "replicas", 0, "password"),
    ("db", "replicas", 1, "password"),
    ("cache", "password"),
    ("smtp", "password"),
    ("payments", "api_key"),
    ("payments", "webhook_secret"),
    ("storage", "secret_key"),
    ("jobs", "signing_key"),
]
EXAMPLE = """\
# top
title = "x" # the title
a.b = 1
a.'c d' = 'lit' # kept

# about the database
[db]
host = "h"   # comment
ports = [1, 2,3]
names = [
  "a", # first
  "b" # second
]
inline = { x = 1, "q.r" = 'two' }
when = 1979-05-27 07:32:00
text = \"\"\"
not # a comment
[nor.a.header]\"\"\"

[[servers]]
name = "a"
[servers.tags]
k = 1
[[servers]]
name = "b"
"""


def plain(tree: Any) -> Any:
    """Return what tomlkit has read, as tomllib would."""
    return tree.unwrap() if hasattr(tree, "unwrap") else tree


def test_production_file_is_read() -> None:
    """A realistic file has 60 values or more, 11 secrets among them, and is read as tomllib reads it."""
    source = TomlSource(PRODUCTION)

    found = dict(leaves(source.tree))

    assert len(found) >= 60
    assert all("fake" in found[path].lower() for path in SECRETS)
    assert source.tree == tomllib.loads(PRODUCTION)
    assert source.metadata is None


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_replacing_changes_the_lines_of_the_value_alone(end: str, count: Count) -> None:
    """Any value of the production file becomes a token and comes back; no line but its own differs, and tomlkit reads the same."""
    text = PRODUCTION.replace("\n", end)
    source = TomlSource(text)
    for path, value in leaves(source.tree):
        result = source.replace({path: TOKEN})

        old, new = touched(text, result)
        assert tomllib.loads(result) == edited(source.tree, path, TOKEN) == plain(tomlkit.parse(result.replace(end, "\n")))
        assert len(new) == 1
        assert text.count("\n", 0, text.index("".join(old))) + 1 == source.line(path)
        assert TomlSource(TomlSource(result).replace({path: value})).tree == source.tree
        count("TOML values replaced", 1)


def test_what_stands_around_a_value_stays() -> None:
    """Comments, quotes, spacing and order around replaced values stay character for character."""
    result = TomlSource(EXAMPLE).replace(
        {
            ("title",): TOKEN,
            ("a", "c d"): 2,
            ("db", "ports", 1): True,
            ("db", "names", 1): 'z"\n',
            ("db", "inline", "q.r"): 1.5,
            ("db", "when"): date(2026, 3, 1),
            ("db", "text"): "t",
            ("servers", 1, "name"): "c",
        }
    )

    assert result == (
        EXAMPLE.replace('"x"', f'"{TOKEN}"')
        .replace("'lit'", "2")
        .replace("[1, 2,3]", "[1, true,3]")
        .replace('"b" # second', '"z\\"\\n" # second')
        .replace("'two'", "1.5")
        .replace("1979-05-27 07:32:00", "2026-03-01")
        .replace('"""\nnot # a comment\n[nor.a.header]"""', '"t"')
        .replace('name = "b"', 'name = "c"')
    )


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (("n",), [], ["a.'c d' = 'lit' # kept", 'n = "v"']),
        (("a", "d"), [], ["a.d"]),
        (("a", "e", "f"), [], ["a.e.f"]),
        (("db", "ports", 3), ["ports = [1, 2,3]"], ['ports = [1, 2,3, "v"]']),
        (("db", "names", 2), ['  "b" # second'], ['  "b", # second', '  "v"']),
        (("db", "inline", "y"), ["\"q.r\" = 'two' }"], ['"q.r" = \'two\', y = "v" }']),
        (("db", "new key"), [], ['"new key" = "v"']),
        (("new", "x"), [], ["[new]", 'x = "v"']),
        (("db", "deep", "er", "k"), [], ["[db.deep.er]", 'k = "v"']),
        (("servers", 0, "t"), [], ['name = "a"', 't = "v"', "[servers.tags]"]),
        (("servers", 0, "tags", "k2"), [], ["k = 1", 'k2 = "v"', "[[servers]]"]),
        (("servers", 0, "more", "k2"), [], ["[servers.more]", 'k2 = "v"', "", "[[servers]]", 'name = "b"']),
        (("servers", 2, "name"), [], ["[[servers]]", 'name = "v"']),
    ],
)
def test_inserting_adds_behind_the_others(path: Path, old: list[str], new: list[str]) -> None:
    """A new value stands behind the others of its table, array or inline table, and the rest stays."""
    result = TomlSource(EXAMPLE).insert(path, "v")

    assert "\n".join(new) in result
    assert tomllib.loads(result) == edited(tomllib.loads(EXAMPLE), path, "v") == plain(tomlkit.parse(result))
    assert len(touched(EXAMPLE, result)[0]) == len(old)


@pytest.mark.parametrize(
    "text", ["", "\n", "# c", "[t]", "[t]\n\n\n", "x = {}", "x = []", "x = [ # c\n]", "x = [\n 1,\n]", "x = [1,]", "[[x]]\n\n[y]\n"]
)
@pytest.mark.parametrize("path", [("k",), ("x", "k"), ("x", 0), ("x", 1), ("x", 0, "k"), ("t", "u"), ("y", "z", "k")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_inserting_into_little(text: str, path: Path, end: str) -> None:
    """Also next to nothing, an insertion reads back as wanted, with the lines' ends as they are, or is refused."""
    text = text.replace("\n", end)
    try:
        result = TomlSource(text).insert(path, "v")
    except FormatError:
        return

    assert tomllib.loads(result) == edited(tomllib.loads(text), path, "v")
    assert end not in text or "\n" not in result.replace(end, "")


def test_inserting_at_the_top_leaves_comments_to_their_tables() -> None:
    """A first value above all tables does not come between a header and the comment above it."""
    text = "# the file's\n\n# a's\n# too\n[a]\n"

    assert TomlSource(text).insert(("k",), 1) == "# the file's\n\nk = 1\n\n# a's\n# too\n[a]\n"


def test_removing_takes_the_entrys_own_lines(count: Count) -> None:
    """Any value of the production file can be removed; no line is lost but its own, and comments of other lines stay."""
    source = TomlSource(PRODUCTION)
    for path, _ in leaves(source.tree):
        result = source.remove(path)

        old, new = touched(PRODUCTION, result)
        assert len(old) <= 5
        assert len(new) <= 1
        wanted = edited(source.tree, path)
        assert tomllib.loads(result) == wanted
        count("TOML values removed", 1)


@pytest.mark.parametrize(
    ("text", "path", "result"),
    [
        ("x = [\n  1, # one\n  2 # two\n]\n", ("x", 1), "x = [\n  1, # one\n]\n"),
        ("x = [\n  1, # one\n  2 # two\n]\n", ("x", 0), "x = [\n  2 # two\n]\n"),
        ("x = [\n  1\n  , 2\n]\n", ("x", 0), "x = [\n  2\n]\n"),
        ("x = [1, # one\n 2]\n", ("x", 1), "x = [1, # one\n ]\n"),
        ("x = [1]", ("x", 0), "x = []"),
        ("x = { a = 1, b = 2 }\n", ("x", "b"), "x = { a = 1 }\n"),
        ("x = { a = 1, b = 2 }\n", ("x", "a"), "x = { b = 2 }\n"),
        ("a.b.c = 1\nd = 2\n", ("a", "b", "c"), "d = 2\n"),
        ("[t]\nk = 1 # c\n", ("t", "k"), "[t]\n"),
        ("a = 1\nb = 2", ("b",), "a = 1"),
        ("a = 1\r\nb = 2", ("b",), "a = 1"),
        ("b = 2", ("b",), ""),
        ('b = """\n\n"""\n# c', ("b",), "# c"),
    ],
)
def test_removing_is_exact(text: str, path: Path, result: str) -> None:
    """An entry goes with its comma or its line; tables that have a header or braces stay, if empty."""
    assert TomlSource(text).remove(path) == result


SCALARS: st.SearchStrategy[Scalar] = (
    st.text()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.booleans()
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])).map(lambda moment: moment.replace(fold=0))
    | st.dates()
    | st.times().map(lambda moment: moment.replace(fold=0))
)
KEYS = st.text(alphabet="ab-_. \"'é\n#", min_size=1, max_size=4)
TREES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    KEYS,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8),
    max_size=4,
)


def exact(one: Any) -> Any:
    """Return something equal for equal trees alone: with types, the sign of zero, and not-a-number equal to itself."""
    if isinstance(one, dict):
        return {key: exact(value) for key, value in one.items()}
    return [exact(value) for value in one] if isinstance(one, list) else (type(one), repr(one))


@settings(max_examples=300)
@given(tree=TREES, value=SCALARS, ends=st.sampled_from(["\n", "\r\n"]), data=st.data())
def test_edits_of_any_document_read_back(tree: dict[str, Any], value: Scalar, ends: str, data: st.DataObject) -> None:
    """In documents that tomlkit writes, each scalar is replaced, added beside and removed, and tomllib reads what was wanted."""
    text = tomlkit.dumps(tree).replace("\n", ends)
    source = TomlSource(text)
    present = [*leaves(source.tree)]
    if not present:
        return
    path = data.draw(st.sampled_from([path for path, _ in present]))
    beside = (*path[:-1], len(path) * 1000 if isinstance(path[-1], int) else path[-1] + "+")

    replaced = source.replace({path: value})
    removed = source.remove(path)

    assert exact(tomllib.loads(replaced)) == exact(edited(source.tree, path, value))
    assert exact(tomllib.loads(removed)) == exact(edited(source.tree, path))
    if isinstance(beside[-1], str):
        assert exact(tomllib.loads(source.insert(beside, value))) == exact(edited(source.tree, beside, value))


@pytest.mark.parametrize(
    "text",
    ["", "\n", "a = 1", "a = 1\n", "a = 1\r\nb = 2", "a = 1\n\n", "# c", "[a]\n\n\n", "[[a]]\nb = 1\n", PRODUCTION, PRODUCTION.rstrip()],
)
def test_metadata_come_and_go(text: str) -> None:
    """Metadata are a table at the end, are no part of the tree, survive edits, and taking them away gives the text from before."""
    plain_source = TomlSource(text)
    source = TomlSource(plain_source.with_metadata(METADATA))

    grown = TomlSource(source.insert(("new", "key"), "v"))

    assert source.text.startswith(text)
    assert source.metadata == METADATA == grown.metadata
    assert source.tree == plain_source.tree
    assert source.with_metadata(METADATA) == source.text
    assert source.with_metadata(None) == text
    assert grown.text.rstrip().endswith(source.text[len(text) :].strip())
    assert TomlSource(grown.remove(("new", "key"))).metadata == METADATA


def test_metadata_stay_where_they_are() -> None:
    """Metadata that stand in the middle are replaced there; a list has one line per item."""
    text = 'a = 1\n\n[securekit]\nformat = "0"\n\n# about b\n[b]\nc = 2\n'

    result = TomlSource(text).with_metadata({"format": "1", "keys": ["x", "y"], "encrypt": []})

    assert result == text.replace('format = "0"', 'format = "1"\nkeys = [\n    "x",\n    "y",\n]\nencrypt = []')


@pytest.mark.parametrize(
    ("text", "call", "reason"),
    [
        ("a = 1", lambda source: source.replace({("b",): 1}), "there is no b"),
        ("a = {}", lambda source: source.replace({("a",): 1}), "a holds others"),
        ("a = 1", lambda source: source.replace({("a",): None}), "a: TOML has no null"),
        ("a = 1", lambda source: source.insert(("b", "c"), b"x"), "b.c: TOML has no bytes"),
        ("a = 1", lambda source: source.insert(("b",), 2**63), "64 bits"),
        ("a = 1", lambda source: source.insert(("b",), "\ud800"), "surrogate"),
        ("a = 1", lambda source: source.insert(("a", "b"), 1), "not a mapping"),
        ("\na = 1", lambda source: source.insert(("a",), 1), "line 2: a is there already"),
        ("a = [1]", lambda source: source.insert(("a", 5), 1), "middle of a list"),
        ("[[a]]", lambda source: source.insert(("a", 1), 1), "array of tables"),
        ("[a]\nb = 1", lambda source: source.remove(("a",)), "line 1: a is a table: remove its entries"),
        ("a = 1", lambda source: source.remove(("a", "b")), r"there is no a\.b"),
        ("a = 1", lambda source: source.insert(("securekit", "tag"), "x"), "the table of the metadata"),
        ("securekit.tag = 'x'", lambda source: source.with_metadata(None), "header"),
        ("a = 1", lambda source: source.with_metadata({"a": "\ud800"}), "surrogate"),
    ],
)
def test_what_cannot_be_exact_is_refused(text: str, call: Any, reason: str) -> None:
    """An edit that TOML has no form for is refused, and says why."""
    with pytest.raises(FormatError, match=reason):
        call(TomlSource(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = hunter2", "line 2: invalid value"),
        ("a = 1\na = 'hunter2'", "line 2: cannot overwrite a value"),
        ("\n\na = 'hunter2", 'line 3: expected "\'"'),
        ("a = {x = 'hunter2', x = 'hunter2'}", "line 1: "),
        ("[a]\n[a]", "line 2: cannot declare"),
        ('a = "hunter2\\q"', "line 1: unescaped"),
        ("a = " + "9" * 5000, "a number has too many digits"),
        ("hunter2", "line 1: expected '=' after a key"),
        ("a = 'hunter2\x00'", "line 1: "),
        ("securekit = 1", "securekit is the name of the metadata"),
        ("[securekit]\na = 1", "securekit is the name of the metadata"),
        ("[securekit.b]\na = 'x'", "securekit is the name of the metadata"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(text: str, message: str) -> None:
    """A syntax error names line and reason, quotes nothing, and drags no foreign error along."""
    with pytest.raises(FormatError) as caught:
        TomlSource(text)

    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 65_000,
        "a = " + "[" * 100_000 + "]" * 100_000,
        "a = " + "[" * 5_000 + "]" * 5_000,
        "a = " + "{a=" * 100_000,
        ".".join("a" * 100_000) + " = 1",
        "[" + ".".join("a" * 100_000) + "]",
        ".".join(["'a'"] * 100_000) + " = 1",
        "[" * 65_000,
        "a = [" + "{}," * 100_000 + "]",
        "a = [" + "1," * 50_001 + "]",
    ],
)
def test_bombs_are_refused(text: str, count: Count) -> None:
    """Depth and number are refused before they cost anything: in 50 ms and 32 MiB."""
    with pytest.raises(FormatError, match=r"deep|more than"):
        TomlSource(text)

    seconds, peak = cost(lambda: only_ours(lambda: TomlSource(text)))
    assert seconds < (0.05 if "1,1," not in text else 0.2)
    assert peak < 32 * 2**20
    count("TOML bombs refused", 1)


def test_depth_is_exact() -> None:
    """As deep as is allowed is read, one deeper is not, and brackets in texts and comments are no depth."""
    quoted = 'a = "' + "[" * 100 + '" # ' + "[" * 100 + "\nb = '''\n" + "{\n" * 100 + "'''\n"

    TomlSource("a = " + "[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1))
    TomlSource(".".join("a" * MAX_DEPTH) + " = 1")
    assert TomlSource(quoted).tree == tomllib.loads(quoted)
    with pytest.raises(FormatError, match="deep"):
        TomlSource("a = " + "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)


COSTLY = [
    "a=[" + "1," * 32_700 + "]",
    "a=[" + "'',\n" * 16_000 + "]",
    'a="""' + '\\"""' * 16_000,
    'a="' + "\\n" * 32_000 + '"',
    "\n".join(f"k{number}=1" for number in range(9_000)),
    "\n".join(f"[k{number}]" for number in range(7_000)),
    "\n".join("[" + ".".join("abcdefgh" * 7) + f".k{number}]" for number in range(500)),
    "'" * 65_536,
    '"' * 65_536,
    "a=[" + "{}," * 9_999 + "]",
    "a." * 32_000,
    "a=1." * 16_000,
    "#" * 65_536,
    " " * 65_536,
    "\r" * 65_536,
]


@pytest.mark.parametrize("text", COSTLY)
def test_any_text_costs_little(text: str, count: Count) -> None:
    """64 KiB of what is most expensive to read take at most 100 ms and 64 MiB."""
    seconds, peak = cost(lambda: only_ours(lambda: TomlSource(text[: 64 * 1024])))

    assert seconds <= 0.1
    assert peak <= 64 * 2**20
    count("costly TOML texts", 1)


@settings(max_examples=500)
@given(st.text(max_size=60) | st.text(alphabet="ab=.[]{},'\"\\#\n 1", max_size=60) | mutated(EXAMPLE) | mutated(PRODUCTION[:1500]))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Random and mutated text raises our own error alone; what is read can be located and edited, or that is refused."""

    def edit() -> None:
        source = TomlSource(text)
        for path, _ in [*leaves(source.tree)][:5]:
            assert 0 < source.line(path) <= text.count("\n") + 1
            only_ours(lambda path=path: source.remove(path))  # type: ignore[misc]
            source.replace({path: TOKEN})
        source.insert(("new", "key"), TOKEN)
        described = TomlSource(source.with_metadata(METADATA))
        assert source.metadata is not None or described.with_metadata(None) == text

    only_ours(edit)


def test_edits_of_a_large_document_take_less_than_two_seconds(count: Count) -> None:
    """An edit of a document of 20,000 dotted keys, 1 MiB, takes less than 2 s."""
    text = "".join(f"service{number}.database.primary.password = 'fake-password-{number}' # comment\n" for number in range(14_000))
    source = TomlSource(text)

    taken = processor_seconds(lambda: source.replace({("service7", "database", "primary", "password"): TOKEN}), times=1)

    assert taken < 2
    count("milliseconds for an edit of 1 MiB of TOML", int(taken * 1000))


def test_times_and_numbers_keep_their_type() -> None:
    """Each kind of scalar that TOML has is written so that it reads back as the same, special numbers too."""
    values: list[Scalar] = [
        "",
        "\x7f\x00\u2028\\\"'",
        True,
        -(2**63),
        0.1,
        -0.0,
        math.inf,
        -math.inf,
        1e300,
        time(1, 2, 3, 4),
        date(1, 1, 1),
        datetime(2026, 1, 1, tzinfo=UTC),
    ]
    source = TomlSource("a = 1")
    for value in values:
        read = tomllib.loads(source.replace({("a",): value}))["a"]

        assert (type(read), repr(read)) == (type(value), repr(value))
    assert math.isnan(tomllib.loads(source.replace({("a",): math.nan}))["a"])
