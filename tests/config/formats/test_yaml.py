# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.config._formats._yaml import YamlSource
from securekit.config._tree import MAX_DEPTH, MAX_LEAVES, MERGE, Alias, Path, Scalar, Tree
from securekit.exceptions import FormatError
from tests.config.formats.spans import BLOCK, FILES, SECRETS, TOKEN, at, changed, refused, scalars
from tests.conftest import Count
from tests.costs import cost

PRODUCTION = (FILES / "production.yaml").read_text()
BLOCK_TEXT = """\
securekit:
  format: "1"
  document: "d0"
  encrypt:
    - "db.password"
    - "**.\\"odd\\" \\\\ key"
  signatures: []
"""


def expanded(tree: Tree, root: Tree) -> Any:
    """Return the tree as a reader of YAML sees it: aliases and merges in place."""
    if isinstance(tree, Alias):
        node = root
        for segment in tree.anchor:
            node = node[segment]  # type: ignore[index]
        return expanded(node, root)
    if isinstance(tree, list):
        return [expanded(item, root) for item in tree]
    if not isinstance(tree, dict):
        return tree
    merged = tree.get(MERGE, [])
    made: dict[object, object] = {}
    for alias in reversed(merged if isinstance(merged, list) else [merged]):
        made |= expanded(alias, root)
    return made | {key: expanded(value, root) for key, value in tree.items() if key is not MERGE}


# ------------------------------------------------------------------------------------------------- reading


def test_production_reads_as_pyyaml() -> None:
    """A production file's values are those that PyYAML's safe loader reads, aliases and merges included."""
    source = YamlSource(PRODUCTION)

    read = expanded(source.tree, source.tree)

    assert read == yaml.load(PRODUCTION, Loader=yaml.CSafeLoader)
    assert len(list(scalars(source.tree))) >= 60
    assert source.metadata is None


def test_aliases_and_merges_are_kept_as_such() -> None:
    """An alias is the path of its anchor, and a merge key is no text; a quoted one is."""
    text = 'a: &a {x: 1}\nb: [&s s]\nc: *a\nd: {<<: *a, "<<": *s}\ne:\n  <<: [*a, *a]\n'

    tree = YamlSource(text).tree

    assert tree["c"] == Alias(("a",))
    assert tree["d"] == {MERGE: Alias(("a",)), "<<": Alias(("b", 0))}
    assert tree["e"] == {MERGE: [Alias(("a",)), Alias(("a",))]}


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "--- # c\n...\n", "%YAML 1.1\n---\n{}\n", "{}"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    """A document without a value is an empty mapping."""
    assert YamlSource(text).tree == {}


FORMS = [
    "yes",
    "no",
    "on",
    "Off",
    "TRUE",
    "y",
    "n",
    "~",
    "null",
    "Null",
    "''",
    "0",
    "-1",
    "+7",
    "007",
    "0o7",
    "0x1F",
    "0b11",
    "1_000",
    "190:20:30",
    "1.5",
    "-.5",
    "1e3",
    "1.0e+3",
    "1e+3",
    ".inf",
    "-.INF",
    ".nan",
    "190:20:30.15",
    "2001-12-14",
    "2001-1-1",
    "2001-12-14T21:59:43.10-05:00",
    "2001-12-14t21:59:43Z",
    "2001-12-14T21:59:43",
    "12:30",
    "12:30:45",
    "1.2.3",
    "-",
    "0b",
    "0x",
    "!!str",
    "{str}",
    "a:b",
    "ENC[a,b]",
    '"yes"',
    "'1'",
    '"\\u00e9\\U0001d11e"',
    "𝄞",
    "é",
]


@pytest.mark.parametrize(
    "form",
    [
        *FORMS,
        "!!str 12",
        '!!int "0x_1f"',
        "!!float 3",
        '!!bool "on"',
        "!!null x",
        "!!binary aGk=",
        '!!timestamp "2001-01-01"',
        "2001-12-14 21:59:43.1 +2",
    ],
)
def test_scalars_resolve_as_in_pyyaml(form: str) -> None:
    """Every form of a scalar has the value and the type that PyYAML's safe loader gives it, or is refused where that fails."""
    try:
        value = yaml.load(f"k: {form}\n", Loader=yaml.CSafeLoader)["k"]
    except (yaml.YAMLError, ValueError, AttributeError, LookupError):
        refused(lambda: YamlSource(f"k: {form}\n"))
        return

    read = YamlSource(f"k: {form}\n").tree["k"]

    assert (repr(read), type(read)) == (repr(value), type(value))


HUNTER = "hunter2"
REFUSED = {
    "a: hunter2\na: hunter2\n": "line 2: the key a occurs twice",
    "a:\n  1: hunter2\n": "line 2: a key that is no text: quote it",
    "yes: hunter2\n": "line 1: a key that is no text: quote it",
    "2020-01-01: hunter2\n": "line 1: a key that is no text: quote it",
    "~: hunter2\n": "line 1: a key that is no text: quote it",
    "=: hunter2\n": "line 1: a value that is not of its type",
    "[hunter2]: 1\n": "line 1: a key must be a text",
    "&k a: hunter2\n": "line 1: an anchor on a key",
    "b: &k a\n*k : hunter2\n": "line 2: a key must be a text",
    "a: !vault hunter2\n": "line 1: a tag that is not known",
    "a: ! hunter2\n": "line 1: a tag that is not known",
    "a: !!python/object/apply:os.system [hunter2]\n": "line 1: a tag that is not known",
    "a: !!set {hunter2}\n": "line 1: a tag that is not known",
    "a: !!omap [hunter2: 1]\n": "line 1: a tag that is not known",
    "a: !!pairs [hunter2: 1]\n": "line 1: a tag that is not known",
    "a: !!int hunter2\n": "line 1: a value that is not of its type",
    "a: !!bool hunter2\n": "line 1: a value that is not of its type",
    "a: !!float hunter2\n": "line 1: a value that is not of its type",
    "a: !!timestamp hunter2\n": "line 1: a value that is not of its type",
    "a: 2020-13-41\n": "line 1: a value that is not of its type",
    "a: =\n": "line 1: a value that is not of its type",
    "a: <<\n": "line 1: << that is no key",
    "a: &x [<<]\n": "line 1: << that is no key",
    "a: hunter2\n---\nb: 1\n": "line 2: a second document",
    "- hunter2\n": "line 1: the document must be a mapping",
    "hunter2": "line 1: the document must be a mapping",
    "&x {}": "line 1: an anchor on the whole document",
    "a: &x [*x]\n": "line 1: an alias inside its own anchor",
    "a: &x {b: {<<: *x}}\n": "line 1: an alias inside its own anchor",
    "a: *x\n": "line 1: an alias without an anchor",
    "a: &x 1\nb: &x 2\n": "line 2: an anchor that is there already",
    "a: {<<: {b: hunter2}}\n": "line 1: << takes aliases of mappings only",
    "a: &x {b: 1}\nc: {<<: [*x, {d: hunter2}]}\n": "line 2: << takes aliases of mappings only",
    "a: &x {b: 1}\nc: {<<: &y [*x]}\n": "line 2: << takes aliases of mappings only",
    "a: &x hunter2\nb: {<<: *x}\n": "line 2: << takes an alias of a mapping",
    "a: &x {b: 1}\nc:\n  <<: *x\n  <<: *x\n": "line 4: the key << occurs twice",
    "%TAG ! tag:x,2000:\n---\na: hunter2\n": "line 1: a directive %TAG",
    "%YAML 2.0\n---\na: hunter2\n": "line 1: found incompatible YAML document",
    "a: hunter2\n\tb: 1\n": "line 2: ",
    "a: [hunter2\n": "line 2: did not find expected ',' or ']'",
    "a: hunter2\nb: \x07\n": "line 2: a control character",
    "a: hunter2\rb: 1\n": "line 1: a control character",
    "a: hunter2\u2028b: 1\n": "line 1: a control character",
    "a: hunter2\x85\n": "line 1: a control character",
    "a: \ud800\n": "line 1: a control character",
    "a: \ufeff\n": "line 1: a control character",
    f"a: {'9' * 4301}\n": "line 1: a value that is not of its type",
    f"a: 0x{'f' * 4000}\n": "line 1: a value that is not of its type",
    "securekit: hunter2\n": "line 1: securekit must be a mapping",
    "securekit: {a: 1}\n": "line 1: securekit must be a mapping",
    "securekit: {a: [[hunter2]]}\n": "line 1: securekit must be a mapping",
    'securekit: {a: "hunter2\\n"}\n': "line 1: securekit must be a mapping",
    "securekit: {}\nb: 1\nsecurekit: {}\n": "line 3: the key securekit occurs twice",
    "securekit: &x {}\n": "line 1: an anchor or alias in securekit",
    "securekit: {a: &x hunter2}\nb: *x\n": "line 1: an anchor or alias in securekit",
    "a: &x hunter2\nsecurekit: {a: *x}\n": "line 2: an anchor or alias in securekit",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_kept_is_refused(text: str) -> None:
    """What YAML leaves open, or an edit could not keep, is refused with its line and reason, and without a value."""
    message = refused(lambda: YamlSource(text))

    assert message.startswith(REFUSED[text])


def test_line_is_where_the_value_begins() -> None:
    """The line of a path is the one on which its value begins; through an alias, the alias's own."""
    source = YamlSource("# c\na: &a\n  b: 1\n\n  c: [x,\n    y]\nd: *a\n")

    assert [source.line(path) for path in [("a", "b"), ("a", "c"), ("a", "c", 1), ("d",), ("d", "b")]] == [3, 5, 6, 7, 7]
    assert refused(lambda: source.line(("a", "z"))) == "there is no a.z"


# ------------------------------------------------------------------------------------------------- replacing


@pytest.mark.parametrize("path", SECRETS)
def test_one_secret_changes_its_own_lines(path: Path) -> None:
    """In a production file, a token in place of a secret changes the lines of that value, and back again."""
    source = YamlSource(PRODUCTION)
    value = at(source, path)
    assert isinstance(value, str | bytes)

    sealed = source.replace({path: TOKEN})
    opened = YamlSource(sealed).replace({path: value})

    gone, came = changed(PRODUCTION, sealed)
    assert len(came) == 1
    assert len(gone) == (5 if path == ("tls", "private_key") else 1)
    assert came[0].partition("#")[2] == gone[0].partition("  #")[2].removeprefix(" #") or "not # real" in gone[0]
    assert YamlSource(opened).tree == source.tree
    assert len(opened.splitlines()) == len(PRODUCTION.splitlines())


def test_all_secrets_at_once_are_the_sum_of_each() -> None:
    """Replacing every secret at once gives the text that one after the other gives."""
    one_by_one = PRODUCTION
    for path in SECRETS:
        one_by_one = YamlSource(one_by_one).replace({path: TOKEN})

    assert YamlSource(PRODUCTION).replace(dict.fromkeys(SECRETS, TOKEN)) == one_by_one


VARIANTS = {
    "as it is": PRODUCTION,
    "with CRLF": PRODUCTION.replace("\n", "\r\n"),
    "without a last line break": PRODUCTION.rstrip("\n"),
    "with a block": PRODUCTION + "\n" + BLOCK_TEXT,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_value_of_production_can_be_edited(variant: str, count: Count) -> None:
    """Every value of a production file can be replaced and removed, and every collection takes a new one; the other lines stay."""
    source = YamlSource(VARIANTS[variant])
    places = dict(scalars(source.tree))
    edits: list[tuple[str, int]] = [(source.insert(("new", "below", 0), "p\nq\n"), 0)]

    for path in places:
        node = source._node(path)
        lines = max(2, source.text.count("\n", node.start, node.end) + 1)
        inside = at(source, path[:-1])
        beside: Path = (*path[:-1], "new" if isinstance(inside, dict) else len(inside))  # type: ignore[arg-type]
        edits += [(source.replace({path: new}), lines) for new in (TOKEN, "p\nq: #\n")]
        edits.append((source.insert(beside, TOKEN), 1))
        if path != ("db", "host"):  # an anchor that an alias uses
            edits.append((source.remove(path), lines))

    for text, lines in edits:
        assert (Counter(source.text.splitlines(keepends=True)) - Counter(text.splitlines(keepends=True))).total() <= lines
    count("edits of a production file", len(edits))


T = TOKEN
REPLACED: list[tuple[str, Path, Scalar, str]] = [
    ("a: old\n", ("a",), T, f"a: {T}\n"),
    ("a: 'old'   # c", ("a",), T, f"a: {T}   # c"),
    ("a: old\r\nb: 1\r\n", ("a",), T, f"a: {T}\r\nb: 1\r\n"),
    ('a: "o\n  l\n  d"\nb: 1\n', ("a",), T, f"a: {T}\nb: 1\n"),
    ("a: o\n  l # c\nb: 1\n", ("a",), T, f"a: {T} # c\nb: 1\n"),
    ("a: {b: old, c: 𝄞, d: 1}\n", ("a", "d"), T, f'a: {{b: old, c: 𝄞, d: "{T}"}}\n'),
    ("a: [1, old ]\n", ("a", 1), T, f'a: [1, "{T}" ]\n'),
    ("a: &x old\nb: *x\n", ("a",), T, f"a: &x {T}\nb: *x\n"),
    ("a: &x !!int 3\nb: *x\n", ("a",), T, f"a: &x {T}\nb: *x\n"),
    ("a: !!int &x 3\n", ("a",), T, f"a: &x {T}\n"),
    ("a: !!str 3\n", ("a",), T, f"a: !!str {T}\n"),
    ("a: !!str 3 # !!c\n", ("a",), 4, "a: 4 # !!c\n"),
    ("a: &x # !!c\n  v\n", ("a",), T, f"a: &x # !!c\n  {T}\n"),
    ("a:\nb: 1\n", ("a",), T, f"a: {T}\nb: 1\n"),
    ("a: # c\n", ("a",), T, f"a: {T} # c\n"),
    ("a: &x\nb: *x\n", ("a",), T, f"a: &x {T}\nb: *x\n"),
    ("a: !!null\n", ("a",), "v", "a:  v\n"),
    ("a: !!str\nb: 1\n", ("a",), "v", "a: !!str v\nb: 1\n"),
    ("a:\n-\n- 1\n", ("a", 0), T, f"a:\n- {T}\n- 1\n"),
    ("{a: , b}", ("a",), T, f'{{a: "{T}" , b}}'),
    ("{a: , b}", ("b",), T, f'{{a: , b: "{T}"}}'),
    ("? a\n: old\n", ("a",), T, f"? a\n: {T}\n"),
    ("a: |\n  x\n  y\n\n# c\nb: 1\n", ("a",), T, f"a: {T}\n\n# c\nb: 1\n"),
    ("a: >-  # c\n  x\n\n  y\nb: 1\n", ("a",), T, f"a: {T}  # c\nb: 1\n"),
    ("a: |+\n  x\n\n\nb: 1\n", ("a",), T, f"a: {T}\nb: 1\n"),
    ("a: |2\n    x", ("a",), T, f"a: {T}"),
    ("a: |\r\n  x\r\nb: 1\r\n", ("a",), T, f"a: {T}\r\nb: 1\r\n"),
    ("a:\n  - &x |\n    x\n  - *x\n", ("a", 0), T, f"a:\n  - &x {T}\n  - *x\n"),
    ("a: |\n  x\n  y\nb: 1\n", ("a",), "p\nq", "a: |-\n  p\n  q\nb: 1\n"),
    (f"a: {T}  # c\nb: 1\n", ("a",), "x\ny\n", "a: |  # c\n  x\n  y\nb: 1\n"),
    (f"a:\n    b:\n    - c: {T}\n", ("a", "b", 0, "c"), "x\n\n y\n", "a:\n    b:\n    - c: |\n        x\n\n         y\n"),
    (f"a: {T}\nb: 1\n", ("a",), " x\ny\n\n", "a: |2+\n   x\n  y\n\nb: 1\n"),
    (f"a: {T}\r\nb: 1\r\n", ("a",), "x\ny", "a: |-\r\n  x\r\n  y\r\nb: 1\r\n"),
    (f"a: {T}\nb: 1\n", ("a",), "x\r\ny", 'a: "x\\r\\ny"\nb: 1\n'),
    (f"a: {T}\n\nb: 1\n", ("a",), "x\n\n", 'a: "x\\n\\n"\n\nb: 1\n'),
    (f"a: {T}", ("a",), "x\ny\n", 'a: "x\\ny\\n"'),
    ("a: 1\n", ("a",), "\n \n", 'a: "\\n \\n"\n'),
    ("a: 1\n", ("a",), "plain text/1", "a: plain text/1\n"),
    ("a: 1\n", ("a",), "https://x.example:80", "a: https://x.example:80\n"),
    ("a: 1\n", ("a",), "yes", 'a: "yes"\n'),
    ("a: 1\n", ("a",), "null", 'a: "null"\n'),
    ("a: 1\n", ("a",), "", 'a: ""\n'),
    ("a: 1\n", ("a",), "1e3", 'a: "1e3"\n'),
    ("a: 1\n", ("a",), "x: y", 'a: "x: y"\n'),
    ("a: 1\n", ("a",), "x #y", 'a: "x #y"\n'),
    ("a: 1\n", ("a",), "x ", 'a: "x "\n'),
    ("a: 1\n", ("a",), "\x00\x7f\x85\u2028\ufeff\ufffe𝄞é", 'a: "\\u0000\\u007f\\u0085\\u2028\\ufeff\\ufffe𝄞é"\n'),
    ("a: 1\n", ("a",), 10**30, f"a: {10**30}\n"),
    ("a: 1\n", ("a",), -7, "a: -7\n"),
    ("a: 1\n", ("a",), True, "a: true\n"),
    ("a: 1\n", ("a",), None, "a: null\n"),
    ("a: 1\n", ("a",), 1e22, "a: 1.0e+22\n"),
    ("a: 1\n", ("a",), 1.5e-7, "a: 1.5e-07\n"),
    ("a: 1\n", ("a",), -0.0, "a: -0.0\n"),
    ("a: 1\n", ("a",), float("-inf"), "a: -.inf\n"),
    ("a: 1\n", ("a",), float("nan"), "a: .nan\n"),
    ("a: 1\n", ("a",), b"\x00hi", 'a: !!binary "AGhp"\n'),
    ("a: [1]\n", ("a", 0), b"", 'a: [!!binary ""]\n'),
    ("a: !!binary aGk=\n", ("a",), b"\xff", 'a: !!binary "/w=="\n'),
    ("a: 1\n", ("a",), date(987, 1, 2), "a: 0987-01-02\n"),
    ("a: 1\n", ("a",), datetime(2026, 1, 2, 3, 4, 5, 60), "a: 2026-01-02 03:04:05.000060\n"),  # noqa: DTZ001 - without a zone
    ("a: [1]\n", ("a", 0), datetime(2026, 1, 2, tzinfo=UTC), "a: [2026-01-02 00:00:00+00:00]\n"),
    ("a: 1\n", ("a",), datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3))), "a: 2026-01-02 00:00:00-03:00\n"),
]


@pytest.mark.parametrize(("text", "path", "value", "wanted"), REPLACED, ids=range(len(REPLACED)))
def test_replaced(text: str, path: Path, value: Scalar, wanted: str) -> None:
    """A value is replaced in the simplest form that reads back as itself, and nothing beside it changes."""
    new = YamlSource(text).replace({path: value})

    assert new == wanted
    read = at(YamlSource(new), path)
    assert (repr(read), type(read)) == (repr(value), type(value))


NOT_REPLACED: list[tuple[str, Path, Scalar, str]] = [
    ("a: {b: 1}\n", ("a",), "hunter2", "line 1: a is a mapping, not a single value"),
    ("a: &x 1\nb: *x\n", ("b",), "hunter2", "line 2: b is an alias, not a single value"),
    ("a: &x {c: 1}\nb: *x\n", ("b", "c"), "hunter2", "line 2: b.c is reached through an alias"),
    ("a: &x {c: 1}\nb: {<<: *x}\n", ("b", "c"), "hunter2", "there is no b.c"),
    ("a: 1\n", ("b",), "hunter2", "there is no b"),
    ("a: 1\n", ("a\x1b[31m",), "hunter2", "there is no 'a\\x1b[31m'"),
    ("a: 1\nsecurekit: {v: '1'}\n", ("securekit", "v"), "hunter2", "securekit is the metadata block's own key"),
    ("a: 1\n", ("a",), time(1, 2), "a: YAML has no form for a time of day"),
    ("a: 1\n", ("a",), "hunter2\ud800", "a: a text with a lone surrogate"),
    ("a: 1\n", ("a",), 10**4300, "a: a number of more than 4,300 digits"),
    ("a: 1\n", ("a",), datetime(2026, 1, 2, tzinfo=timezone(timedelta(seconds=7))), "a: the text would not read back"),
]


@pytest.mark.parametrize(("text", "path", "value", "reason"), NOT_REPLACED, ids=range(len(NOT_REPLACED)))
def test_not_replaced(text: str, path: Path, value: Scalar, reason: str) -> None:
    """A replacement that has no exact result is refused with the reason, and without the value."""
    assert refused(lambda: YamlSource(text).replace({path: value})).startswith(reason)


# ------------------------------------------------------------------------------------------------- inserting, removing


INSERTED: list[tuple[str, Path, Scalar, str]] = [
    ("", ("a",), 1, "a: 1\n"),
    ("# c", ("a",), 1, "# c\na: 1"),
    ("a: 1", ("b",), 2, "a: 1\nb: 2"),
    ("a: 1  # c\n\n# end\n", ("b",), 2, "a: 1  # c\nb: 2\n\n# end\n"),
    ("a: 1\r\n", ("b",), 2, "a: 1\r\nb: 2\r\n"),
    ("a:\n    b: 1\n\nc: 1\n", ("a", "d"), T, f"a:\n    b: 1\n    d: {T}\n\nc: 1\n"),
    ("a:\n  b: |\n    x\n\nc: 1\n", ("a", "d"), 1, "a:\n  b: |\n    x\n  d: 1\n\nc: 1\n"),
    ("a:\n- 1\nc: 1\n", ("a", 1), 2, "a:\n- 1\n- 2\nc: 1\n"),
    ("a:\n  - 1\n  - b: 2\n    c: 3\n", ("a", 1, "d"), 4, "a:\n  - 1\n  - b: 2\n    c: 3\n    d: 4\n"),
    ("a: &x\n  # c\n  b: 1\n", ("a", "d"), 4, "a: &x\n  # c\n  b: 1\n  d: 4\n"),
    ("a: &x\n  # -\n  - 1\n", ("a", 1), 4, "a: &x\n  # -\n  - 1\n  - 4\n"),
    ("a:\n  b: 1\n", ("a", "d"), "x\ny\n", "a:\n  b: 1\n  d: |\n    x\n    y\n"),
    ("a: {}\n", ("a", "b"), T, f'a: {{b: "{T}"}}\n'),
    ("a: []\n", ("a", 0), 1, "a: [1]\n"),
    ("a: {b: 1}\n", ("a", "c", "d", 0), 1, "a: {b: 1, c: {d: [1]}}\n"),
    ("a: {\n  b: 1\n}\n", ("a", "c"), 1, "a: {\n  b: 1,\n  c: 1\n}\n"),
    ("a: {\n  b: 1, # x\n}\n", ("a", "c"), 1, "a: {\n  b: 1, # x\n  c: 1\n}\n"),
    ("a: {\n  b: 1 # x\n}\n", ("a", "c"), 1, "a: {\n  b: 1, # x\n  c: 1\n}\n"),
    ("a: 1\n", ("b", "c", 0, "d"), 1, "a: 1\nb:\n  c:\n    - d: 1\n"),
    ("a: 1\n", ("needs: quotes",), 1, 'a: 1\n"needs: quotes": 1\n'),
    ("a: 1\n", ("<<",), 1, 'a: 1\n"<<": 1\n'),
    ("a: 1\n", ("yes",), 1, 'a: 1\n"yes": 1\n'),
    ("a: 1\n\nsecurekit: {}\n", ("b",), 2, "a: 1\nb: 2\n\nsecurekit: {}\n"),
    ("securekit: {}\n", ("b",), 2, "b: 2\n\nsecurekit: {}\n"),
    ("{a: 1, securekit: {}}", ("b",), 2, "{a: 1, b: 2, securekit: {}}"),
    ("{securekit: {}}", ("b",), 2, "{b: 2, securekit: {}}"),
    ("---\na: 1\n...\n", ("b",), 2, "---\na: 1\nb: 2\n...\n"),
    ("---\n...\n", ("b",), 2, "---\nb: 2\n...\n"),
]


@pytest.mark.parametrize(("text", "path", "value", "wanted"), INSERTED)
def test_inserted(text: str, path: Path, value: Scalar, wanted: str) -> None:
    """A new value stands behind the others of its collection, in their indentation, in front of the metadata block."""
    assert YamlSource(text).insert(path, value) == wanted


NOT_INSERTED: list[tuple[str, Path, str]] = [
    ("a: 1\n", ("a",), "line 1: a is there already"),
    ("a: hunter2\n", ("a", "b"), "line 1: a is a single value: nothing can be put into it"),
    ("a: &x {}\nb: *x\n", ("b", "c"), "line 2: b is an alias: nothing can be put into it"),
    ("a: [hunter2]\n", ("a", 3), "line 1: a.3 is not the next item of its list"),
    ("a: [hunter2]\n", ("a", "b"), "line 1: a is a list"),
    ("a: {b: 1}\n", ("a", 0), "line 1: a is a mapping"),
    ("a: 1\n", ("b", 1), "line 1: b.1 is not the next item of its list"),
    ("a: 1\n", ("securekit", "b"), "securekit is the metadata block's own key"),
    ("a: 1\n", (), "line 1: the document is there already"),
    ("a: 1\n", ("b" * 2000,), "b" * 2000 + ": the text would not read back"),
    ("a: 1\n", ("\ud800",), "'\\ud800': a text with a lone surrogate"),
]


@pytest.mark.parametrize(("text", "path", "reason"), NOT_INSERTED)
def test_not_inserted(text: str, path: Path, reason: str) -> None:
    """An insertion that cannot be made exactly is refused with the reason."""
    assert refused(lambda: YamlSource(text).insert(path, "hunter2")).startswith(reason)


REMOVED: list[tuple[str, Path, str]] = [
    ("a: 1\n# above\nb: 2  # own\n\nc: 3\n", ("b",), "a: 1\n# above\n\nc: 3\n"),
    ("a: 1\nb: 2", ("b",), "a: 1"),
    ("a: 1\r\nb: 2", ("b",), "a: 1"),
    ("a: 1\n", ("a",), ""),
    ("a: 1", ("a",), ""),
    ("# c\na: 1\n", ("a",), "# c\n"),
    ("a: |\n  x\n\nb: 2\n", ("a",), "\nb: 2\n"),
    ("a:\n  - x:\n      y: 1\n  # c\nb: 2\n", ("a",), "  # c\nb: 2\n"),
    ("a:\n  b: 1\nc: 2\n", ("a", "b"), "a: {}\nc: 2\n"),
    ("a: &x  # c\n  b: 1\nc: *x\n", ("a", "b"), "a: &x {}  # c\nc: *x\n"),
    ("a:\n- 1\nc: 2\n", ("a", 0), "a: []\nc: 2\n"),
    ("a:\n- b: 1\nc: 2\n", ("a", 0, "b"), "a:\n- {}\nc: 2\n"),
    ("a:\n-\n  b: 1\nc: 2\n", ("a", 0, "b"), "a:\n- {}\nc: 2\n"),
    ("a:\n- b: 1\n  c: 2\n", ("a", 0, "b"), "a:\n- c: 2\n"),
    ("a:\n- b: 1\n  c: 2\n", ("a", 0, "c"), "a:\n- b: 1\n"),
    ("a:\n- - 1\n  - 2\n", ("a", 0, 0), "a:\n- - 2\n"),
    ("a:\n- # x-y\n  1\n- 2\n", ("a", 0), "a:\n- 2\n"),
    ("a:\n  - 1 # - x\n  # - y\n  - # z\n    2\n  - 3\n", ("a", 1), "a:\n  - 1 # - x\n  # - y\n  - 3\n"),
    ("a:\n  - - x\n  -\n    # -\n    - y\n", ("a", 1, 0), "a:\n  - - x\n  - []\n    # -\n"),
    ("a:\n- 1 # c\n- 2\n", ("a", 1), "a:\n- 1 # c\n"),
    ("a: {b: 1, c: 2, d: 3}\n", ("a", "b"), "a: {c: 2, d: 3}\n"),
    ("a: {b: 1, c: 2, d: 3}\n", ("a", "c"), "a: {b: 1, d: 3}\n"),
    ("a: {b: 1, c: 2, d: 3,}\n", ("a", "d"), "a: {b: 1, c: 2,}\n"),
    ("a: [ 1, ]\n", ("a", 0), "a: []\n"),
    ("a: &x [1]\nb: *x\n", ("b",), "a: &x [1]\n"),
    ("a:\n  - &x 1\n  - *x\nb: 2\n", ("a",), "b: 2\n"),
    ("a: 1\n\nsecurekit: {}\n", ("a",), "\nsecurekit: {}\n"),
]


@pytest.mark.parametrize(("text", "path", "wanted"), REMOVED)
def test_removed(text: str, path: Path, wanted: str) -> None:
    """An entry goes with its lines and the comment on them; comments above stay; a last entry leaves an empty collection."""
    assert YamlSource(text).remove(path) == wanted


def test_aliases_follow_the_items_that_move() -> None:
    """When an item of a list goes, the aliases of what stood behind it still point to the same values."""
    source = YamlSource("a:\n- 1\n- &x 2\nb: *x\n")

    assert YamlSource(source.remove(("a", 0))).tree == {"a": [2], "b": Alias(("a", 0))}


NOT_REMOVED: list[tuple[str, Path, str]] = [
    ("? a\n: hunter2\n", ("a",), "line 2: a shares its line with others"),
    ("? a\n: hunter2\nb: 2\n", ("a",), "a: the text would not read back"),
    ("a: 1\n", (), "the document itself cannot be removed"),
    ("a: 1\n", ("b",), "there is no b"),
    ("securekit: {}\n", ("securekit",), "securekit is the metadata block's own key"),
    ("a: &x hunter2\nb: *x\n", ("a",), "line 1: a has the anchor of an alias"),
    ("a:\n  b: [&x hunter2]\nc: {d: *x}\n", ("a",), "line 2: a has the anchor of an alias"),
    ("a:\n- b: 1\n  # hunter2\n  c: 2\n", ("a", 0, "b"), "line 2: a.0.b shares its line with others"),
    ("a: [1, # hunter2\n  2]\n", ("a", 1), "line 2: a comment between brackets would be lost"),
]


@pytest.mark.parametrize(("text", "path", "reason"), NOT_REMOVED)
def test_not_removed(text: str, path: Path, reason: str) -> None:
    """A removal that would lose something else is refused with the reason."""
    assert refused(lambda: YamlSource(text).remove(path)).startswith(reason)


# ------------------------------------------------------------------------------------------------- the metadata block


def test_block_is_appended_in_its_one_form() -> None:
    """The metadata block stands at the end behind a blank line, each text and item on its own line, and can be read back."""
    new = YamlSource(PRODUCTION).with_metadata(BLOCK)

    assert new == PRODUCTION + "\n" + BLOCK_TEXT
    assert YamlSource(new).metadata == BLOCK
    assert YamlSource(new).tree == YamlSource(PRODUCTION).tree


ENDS = [
    "",
    "\n",
    "# c",
    "# c\n",
    "a: 1",
    "a: 1\n",
    "a: 1\n\n\n",
    "a: 1\r\n",
    "a: 1\r\nb: 2",
    "{}",
    "{a: 1}\n",
    "a: |+\n  x\n\n",
    "a: |\n  x\n",
    "---\na: 1\n...\n",
    '{\n  "a": 1\n}\n',
    "a: 1\n  ",
    "  a: 1\n  b:\n  - 2\n",
    "--- # c\n",
]


@pytest.mark.parametrize("text", ENDS)
def test_block_comes_and_goes(text: str) -> None:
    """Whatever the end of the text, adding a block and removing it gives the text back; so does another block between."""
    other = {"format": "2", "keys": ["k"]}

    with_block = YamlSource(text).with_metadata(BLOCK)
    with_other = YamlSource(with_block).with_metadata(other)

    assert YamlSource(with_other).with_metadata(BLOCK) == with_block
    assert YamlSource(with_other).with_metadata(None) == text
    assert YamlSource(text).with_metadata(None) == text


def test_block_keeps_its_place() -> None:
    """A block that stands elsewhere, in another form, is replaced where it is, and nothing around it changes."""
    text = "a: 1\n\n'securekit' :  # c\n   {format: '0', encrypt: [x]}   # d\n\n# e\nb: 2\n"

    new = YamlSource(text).with_metadata(BLOCK)

    assert new == f"a: 1\n\n{BLOCK_TEXT}\n# e\nb: 2\n"
    assert YamlSource(new).with_metadata(None) == "a: 1\n\n# e\nb: 2\n"
    assert YamlSource(f"{BLOCK_TEXT}\na: 1\n").with_metadata(None) == "a: 1\n"


@pytest.mark.parametrize("metadata", [{"a": 1}, {"a": ["x\ny"]}, {"a\n": "x"}, {"a": "\u2028"}, {"a": {"b": "c"}}, {1: "x"}])
def test_block_of_another_shape_is_refused(metadata: dict[str, str]) -> None:
    """A block holds printable texts and lists of them, and nothing else."""
    assert refused(lambda: YamlSource("a: 1\n").with_metadata(metadata)).startswith("securekit must be a mapping of printable texts")


def test_a_text_that_cannot_take_a_block_is_refused() -> None:
    """Where a block at the end would change the last value, it is refused."""
    assert refused(lambda: YamlSource("a: |\n  x").with_metadata(BLOCK)).startswith("securekit: the text would not read back")


# ------------------------------------------------------------------------------------------------- hostile texts


def aliases_of_aliases(kind: str) -> str:
    start, end = kind[0], kind[1]
    lines = [f"a0: &a0 {start}{end}"]
    for n in range(1, 12):
        items = (f"k{i}: *a{n - 1}" if kind == "{}" else f"*a{n - 1}" for i in range(9))
        lines.append(f"a{n}: &a{n} {start}{', '.join(items)}{end}")
    return "\n".join(lines)


BOMBS = {
    "brackets": "a: " + "[" * 100_000,
    "braces": "{a: " * 25_000,
    "dashes": "a:\n " + "- " * 100_000,
    "question marks": "? " * 100_000,
    "keys below keys": "\n".join(" " * n + "k:" for n in range(2000)),
    "aliases of lists": aliases_of_aliases("[]"),
    "aliases of mappings": aliases_of_aliases("{}"),
    "a tower of aliases": "\n".join(["a0: &a0 [[[[[[[[[[x]]]]]]]]]]", *(f"a{n}: &a{n} [[[[[[[*a{n - 1}]]]]]]]" for n in range(1, 2000))]),
    "merges": "a: &a0 {x: 1}\n" + "\n".join(f"b{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 99)),
    "a long number": "a: 0x" + "f" * 60_000,
    "a long sexagesimal": "a: 1" + ":1" * 30_000,
    "a long float": "a: 1" + ":1" * 30_000 + ".0",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_refused_at_once(bomb: str) -> None:
    """Nesting, aliases and numbers that would grow are refused in less than 50 ms and 32 MiB."""
    seconds, peak = cost(lambda: refused(lambda: YamlSource(BOMBS[bomb])))

    assert seconds < 0.05
    assert peak < 32 * 2**20


def test_bounds_are_exact() -> None:
    """As many values and as much depth as allowed are read, and one more is refused."""
    deep = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    long = "a: [" + "x," * (MAX_LEAVES - 1) + "]"
    twice = f"a: &a [{'x,' * (MAX_LEAVES // 2 - 1)}]\nb: *a\n"

    assert all(YamlSource(text).tree for text in (deep, long, twice))
    refused(lambda: YamlSource(deep.replace("[]", "[[]]")))
    refused(lambda: YamlSource(long.replace("x", "x,x", 1)))
    refused(lambda: YamlSource(twice.replace("x", "x,x", 1)))
    refused(lambda: YamlSource(long.replace("x", "x,x,x", 9)))
    refused(lambda: YamlSource("".join(f"k{n}: x\n" for n in range(MAX_LEAVES + 1))))


def nested(depth: int, inside: str) -> str:
    return "[" * depth + inside + "]" * depth


@pytest.mark.parametrize("anchors", ["&x {40}", "&x [&y {39}]", "&y {38}\nc: &x [{1}*y]", "[{50}, &x [{39}, &y {1}]]"])
def test_depth_counts_through_aliases(anchors: str) -> None:
    """An alias counts as deep as what it stands for, so that nobody who follows aliases goes deeper than the bound."""
    for number in (1, 38, 39, 40, 50):
        anchors = anchors.replace(f"{{{number}}}*y", nested(number, "*y")).replace(f"{{{number}}}", nested(number, ""))

    assert YamlSource(f"a: {anchors}\nb: {nested(MAX_DEPTH - 41, '*x')}\n").tree
    assert "inside each other" in refused(lambda: YamlSource(f"a: {anchors}\nb: {nested(MAX_DEPTH - 40, '*x')}\n"))


DENSE = [
    "a: [" + "1," * 32_000 + "]",
    "a: [" + "x," * 32_000 + "]",
    "a:\n" + "-\n" * 32_000,
    "a: [" + "[]," * 21_000 + "]",
    "{" + ",".join(f"k{n:x}" for n in range(11_000)) + "}",
    "a: [" + "1:1," * 16_000 + "]",
    "a: [" + "*a," * 9_000,
    "a: '" + "''" * 30_000 + "'",
    "a: |\n" + " x\n" * 20_000,
    "#" * 65_000,
    "a: [" + "&a" * 30_000,
    "a: " + "!!" * 30_000,
    "a: [" + "2020-02-02," * 5_900 + "]",
]


@pytest.mark.parametrize("text", DENSE, ids=range(len(DENSE)))
def test_dense_text_is_cheap(text: str) -> None:
    """The densest 64 KiB are read or refused within 100 ms and 64 MiB."""

    def read() -> None:
        try:
            YamlSource(text)
        except FormatError:
            return

    seconds, peak = cost(read)

    assert seconds < 0.1
    assert peak < 64 * 2**20


def agreed(text: str) -> bool:
    """Read a text and compare with PyYAML; tell whether it was accepted."""
    try:
        source = YamlSource(text)
    except FormatError:
        return False
    read = expanded(source.tree, source.tree)
    other = yaml.load(text, Loader=yaml.CSafeLoader) or {}
    other.pop("securekit", None)
    assert repr(read) == repr(other) or sorted(map(repr, read.items())) == sorted(map(repr, other.items()))
    return True


ALPHABET = "ab1:-?[]{},&*!|>'\"%@` \n\r\t#~=<.\x00\x85\ufeff𝄞é"


@settings(max_examples=500)
@given(st.text(ALPHABET, max_size=60) | st.text(max_size=40))
def test_random_text_raises_only_our_error(text: str) -> None:
    """Random text is read as PyYAML reads it, or refused with our own error."""
    agreed(text)


def edit_at_random(source: YamlSource, pick: random.Random) -> None:
    """Make an edit of each kind; it succeeds or is refused with our own error."""
    path = pick.choice([path for path, _ in scalars(source.tree)])
    with suppress(FormatError):
        source.replace({path: pick.choice([TOKEN, "p\nq\n", " p\n\n", ""])})
    with suppress(FormatError):
        source.remove(path[: pick.randint(1, len(path))])
    with suppress(FormatError):
        source.insert((*path[: pick.randint(0, len(path))], "new", 0), TOKEN)


@pytest.mark.repetitive
def test_mutated_production_raises_only_our_error(count: Count) -> None:
    """A production file with characters changed, put in or left out is read as PyYAML reads it, or refused with our own error."""
    text = YamlSource(PRODUCTION).with_metadata(BLOCK)
    pick = random.Random(4)
    accepted = 0

    for _ in range(1500):
        mutant = text
        for _ in range(pick.randint(1, 3)):
            place = pick.randrange(len(mutant))
            mutant = mutant[:place] + pick.choice([*ALPHABET, "", "  ", "<<: ", "\n- "]) + mutant[place + pick.randint(0, 2) :]
        if agreed(mutant):
            accepted += 1
            edit_at_random(YamlSource(mutant), pick)

    assert 100 < accepted < 1400
    count("mutated YAML texts, read as PyYAML or refused", 1500)


# ------------------------------------------------------------------------------------------------- random documents


names = st.text("abcyn01_ é:#", min_size=1, max_size=6) | st.sampled_from(["yes", "null", "<<", "1", "k: v", "securekit2"])
texts = st.text(max_size=12) | st.text(" \nab#:-", max_size=10) | st.sampled_from([TOKEN, "yes", "1.5", "a b", "-----\nPEM\n-----\n"])
values: st.SearchStrategy[Scalar] = (
    texts.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.binary(max_size=9)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC)).map(lambda moment: moment.replace(fold=0))
)
trees: st.SearchStrategy[Tree] = st.recursive(
    values, lambda below: st.lists(below, max_size=4) | st.dictionaries(names, below, max_size=4), max_leaves=12
)


Document = tuple[YamlSource, dict[str, Tree]]


def quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


class Writer:
    """Writes a tree as people do: in block or brackets, with comments and blank lines, lists indented or not."""

    def __init__(self, pick: random.Random) -> None:
        self.pick = pick
        self.step = pick.choice([2, 2, 4, 3])
        self.end = pick.choice(["\n", "\n", "\r\n"])

    def document(self, tree: Mapping[str, Tree]) -> str:
        text = self.end.join([*self.noise(""), *self.mapping(tree, ""), *self.noise("")])
        return text + self.end * self.pick.randint(0, 2)

    def noise(self, indentation: str) -> list[str]:
        return self.pick.choice(
            [[], [], [], [""], [f"{indentation}# a comment: 'with' [signs]"], [f"{indentation}# one", "", f"{indentation}# two"]]
        )

    def mapping(self, tree: Mapping[Any, Tree], indentation: str) -> list[str]:
        return [
            line
            for key, value in tree.items()
            for line in self.entry(f"{indentation}{json.dumps(key, ensure_ascii=False)}:", value, indentation)
        ]

    def entry(self, start: str, value: Tree, indentation: str) -> list[str]:
        comment = self.pick.choice(["", "", "  # why", " #"])
        below = indentation + " " * self.step
        if isinstance(value, dict) and value and self.pick.random() < 0.7:
            return [*self.noise(indentation), start + comment, *self.mapping(value, below)]
        if isinstance(value, list) and value and self.pick.random() < 0.7:
            dashes = self.pick.choice([below, indentation]) if start.endswith(":") else below
            return [*self.noise(indentation), start + comment, *(line for item in value for line in self.entry(f"{dashes}-", item, dashes))]
        return [*self.noise(indentation), f"{start} {self.flow(value)}{comment}"]

    def flow(self, value: Tree) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{quoted(str(key))}: {self.flow(below)}" for key, below in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(self.flow, value)) + "]"
        return YamlSource("{a: 1}").replace({("a",): value})[4:-1]  # type: ignore[dict-item]


@st.composite
def documents(draw: st.DrawFn) -> Document:
    tree = draw(st.dictionaries(names, trees, max_size=5))
    return YamlSource(Writer(random.Random(draw(st.integers(0, 2**32)))).document(tree)), tree


def same(one: object, other: object) -> bool:
    return repr(one) == repr(other)


@given(documents(), values, st.data())
def test_replacing_leaves_the_other_lines(document: Document, value: Scalar, data: st.DataObject) -> None:
    """In any document, replacing a value changes its own lines alone and reads back as wanted."""
    source, tree = document
    assert same(source.tree, tree)
    places = list(scalars(source.tree))
    if not places:
        return
    path = data.draw(st.sampled_from([path for path, _ in places]))

    new = source.replace({path: value})

    gone, _ = changed(source.text, new)
    assert len(gone) <= 1
    assert same(at(YamlSource(new), path), value)
    assert [shown for shown in scalars(YamlSource(new).tree) if shown[0] != path].__repr__() == [
        p for p in places if p[0] != path
    ].__repr__()
    back = YamlSource(new).replace({path: dict(places)[path]})
    assert same(YamlSource(back).tree, tree)
    assert source.text.splitlines()[: source.line(path) - 1] == back.splitlines()[: source.line(path) - 1]


@given(documents(), values, names, st.data())
def test_inserting_leaves_the_other_lines(
    document: tuple[YamlSource, dict[str, Tree]], value: Scalar, name: str, data: st.DataObject
) -> None:
    """In any document, a new value changes no other line, but the one of a collection in brackets; without it, the tree is as before."""
    source, tree = document
    collections: list[Path] = [()]

    def walk(node: Tree, path: Path) -> None:
        if isinstance(node, dict | list):
            collections.append(path)
            for key, below in node.items() if isinstance(node, dict) else enumerate(node):
                walk(below, (*path, key))  # type: ignore[arg-type]

    walk(source.tree, ())
    holder = data.draw(st.sampled_from(collections))
    inside = at(source, holder)
    assert isinstance(inside, dict | list)
    path = (*holder, len(inside) if isinstance(inside, list) else name + "_new")

    new = source.insert(path, value)

    gone, _ = changed(source.text, new)
    assert len(gone) <= 1
    assert same(at(YamlSource(new), path), value)
    assert same(YamlSource(YamlSource(new).remove(path)).tree, tree)


@given(documents(), st.data())
def test_removing_leaves_the_other_lines(document: Document, data: st.DataObject) -> None:
    """In any document, removing a value takes lines away and adds at most the one that says a collection is empty."""
    source, _ = document
    places = list(scalars(source.tree))
    if not places:
        return
    path = data.draw(st.sampled_from([path for path, _ in places]))

    new = source.remove(path)

    came = Counter(new.splitlines()) - Counter(source.text.splitlines())
    assert came.total() <= 1
    assert len(list(scalars(YamlSource(new).tree))) == len(places) - 1


@given(
    documents(),
    st.dictionaries(
        st.text("abcxyz", min_size=1), st.text('ab "\\é𝄞#:', max_size=9) | st.lists(st.text("ab:", max_size=4), max_size=3), max_size=4
    ),
)
def test_any_block_comes_and_goes(document: Document, block: dict[str, str | list[str]]) -> None:
    """In any document, a block is added without a change elsewhere, read back, and removed without a trace."""
    source, tree = document

    new = source.with_metadata(block)

    assert new.startswith(source.text.rstrip("{}\r\n"))
    assert YamlSource(new).metadata == block
    assert same(YamlSource(new).tree, tree)
    assert YamlSource(new).with_metadata(None) == source.text
