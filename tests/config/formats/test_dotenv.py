# SPDX-License-Identifier: Apache-2.0
""".env: every edit is exact, everything beside it stays, and what cannot be exact is refused with its reason."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.config._formats._dotenv import DotenvSource
from securekit.exceptions import FormatError
from tests.config.formats.texts import METADATA, TOKEN, edited, leaves, mutated, only_ours, production, touched
from tests.conftest import Count
from tests.costs import cost

PRODUCTION = production("production.env")
SECRETS = [
    "APP_SECRET_KEY",
    "WEB_TLS_KEY_PASSWORD",
    "DB_PASSWORD",
    "DB_REPLICA_PASSWORD",
    "DB_MIGRATION_PASSWORD",
    "CACHE_PASSWORD",
    "SMTP_PASSWORD",
    "PAY_API_KEY",
    "PAY_WEBHOOK_SECRET",
    "S3_SECRET_KEY",
    "JOBS_SIGNING_KEY",
]
EXAMPLE = """\
# hi
export A='x' # about a
B=

  C = 1
D # nothing
E='several
lines # securekit tag x
# securekit tag y'
F="q"# c
G= # nothing, too
H=#h
"""


def read(text: str) -> dict[str, str | None]:
    """Return what python-dotenv gives to an application."""
    return dict(dotenv_values(stream=StringIO(text), interpolate=False))


def test_production_file_is_read() -> None:
    """A realistic file has 60 values or more, 11 secrets among them, and is read as python-dotenv reads it, interpolating nothing."""
    source = DotenvSource(PRODUCTION)

    assert len(source.tree) >= 60
    assert all("fake" in str(source.tree[key]).lower() for key in SECRETS)
    assert source.tree == read(PRODUCTION)
    assert source.tree["DB_URL"] == "postgresql://${DB_USER}@${DB_HOST}:${DB_PORT}/${DB_NAME}"
    assert source.tree["LOG_COLOUR"] is None
    assert source.metadata is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_replacing_changes_the_lines_of_the_value_alone(end: str, count: Count) -> None:
    """Any value of the production file becomes a bare token and comes back; no line but its own differs."""
    text = PRODUCTION.replace("\n", end)
    source = DotenvSource(text)
    for path, value in leaves(source.tree):
        result = source.replace({path: TOKEN})

        _, new = touched(text, result)
        assert read(result) == edited(source.tree, path, TOKEN)
        assert len(new) == 1
        assert f"={TOKEN}" in new[0].replace(" ", "")
        assert str(path[0]) in text.splitlines()[source.line(path) - 1]
        assert DotenvSource(DotenvSource(result).replace({path: value})).tree == source.tree
        count(".env values replaced", 1)


def test_what_stands_around_a_value_stays() -> None:
    """``export``, spaces, comments, blank lines and order around replaced values stay character for character."""
    source = DotenvSource(EXAMPLE)

    result = source.replace(
        {("A",): TOKEN, ("B",): "it's", ("C",): None, ("D",): "a\nb", ("E",): "${X} $(y)", ("F",): "z", ("G",): "g", ("H",): ""}
    )

    assert result == (
        f"# hi\nexport A={TOKEN} # about a\nB='it\\'s'\n\n  C\nD=\"a\\nb\" # nothing\nE='${{X}} $(y)'\nF='z'# c\nG= 'g'# nothing, too\nH=\n"
    )
    assert [source.line((str(key),)) for key in source.tree] == [2, 3, 5, 6, 7, 10, 11, 12]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_inserting_adds_behind_the_others(end: str, last: str) -> None:
    """A new key stands behind the others and before the metadata, and a missing final newline is still missing."""
    text = f"A=1\n# c\nB='x'{last}".replace("\n", end)

    alone = DotenvSource(text).insert(("NEW",), "v w")
    described = DotenvSource(DotenvSource(text).with_metadata(METADATA)).insert(("NEW",), "v w")

    assert alone == text.removesuffix(end) + f"{end}NEW='v w'" + (end if last else "")
    assert DotenvSource(described).with_metadata(None) == alone
    assert DotenvSource("").insert(("NEW",), None) == "NEW\n"
    assert DotenvSource("# c").insert(("NEW",), "") == "# c\nNEW="


def test_removing_takes_the_keys_own_lines(count: Count) -> None:
    """Any key of the production file can be removed; no line is lost but its own, and nothing else changes."""
    source = DotenvSource(PRODUCTION)
    for path, value in leaves(source.tree):
        result = source.remove(path)

        old, new = touched(PRODUCTION, result)
        assert len(old) == 1 + str(value).count("\n")
        assert new == []
        assert read(result) == edited(source.tree, path)
        count(".env values removed", 1)
    assert DotenvSource("A=1\r\n# c\r\nB=2").remove(("B",)) == "A=1\r\n# c"
    assert DotenvSource("A=1").remove(("A",)) == ""


TEXTS = st.text(max_size=20) | st.text(alphabet="a'\"\\#$ =\n\r\t\v`n", max_size=8)
KEYS = st.from_regex(r"[A-Z_][A-Z0-9_.]{0,3}", fullmatch=True)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Lines in all the forms that .env has."""
    lines = []
    for key in draw(st.lists(KEYS, unique=True, max_size=5)):
        text = draw(st.text(alphabet="ab#$ \\", max_size=5))
        form = draw(st.sampled_from(["{k}", "{k}={b}", "export {k} = '{t}' # c", '  {k}="{t}\\""', "{k}='{t}\n\n{t}'#c", "# c\n\n{k}={t}"]))
        lines.append(form.format(k=key, t=text.replace("\\", ""), b=text.strip()))
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, *draw(st.sampled_from([[], [""], ["# end"], ["", "", ""]]))])


@pytest.mark.repetitive
@settings(max_examples=500)
@given(text=documents(), value=TEXTS | st.none(), data=st.data())
def test_edits_of_any_document_read_back(text: str, value: str | None, data: st.DataObject) -> None:
    """In generated documents any key is given any text, is removed, and another added; python-dotenv reads what was wanted."""
    source = DotenvSource(text)
    assert source.tree == read(text)

    assert read(source.insert(("new",), value)) == {**source.tree, "new": value}
    if source.tree:
        key = str(data.draw(st.sampled_from([*source.tree])))
        assert read(source.replace({(key,): value})) == {**source.tree, key: value}
        assert read(source.remove((key,))) == edited(source.tree, (key,))


@pytest.mark.parametrize("text", ["", "\n", "A=1", "A=1\n", "A=1\r\nB=2", "A=1\n\n", "# c", "A='\n\n'\n", PRODUCTION, PRODUCTION.rstrip()])
def test_metadata_come_and_go(text: str) -> None:
    """Metadata are comments at the end, no part of the tree, survive edits, and taking them away gives the text from before."""
    source = DotenvSource(DotenvSource(text).with_metadata(METADATA))

    grown = DotenvSource(source.insert(("new",), "v"))

    assert source.text.startswith(text)
    assert source.metadata == METADATA == grown.metadata
    assert source.tree == read(text)
    assert source.with_metadata(METADATA) == source.text
    assert source.with_metadata(None) == text
    assert grown.text.rstrip().endswith(source.text[len(text) :].strip())
    assert DotenvSource(grown.remove(("new",))).metadata == METADATA


def test_metadata_have_one_form() -> None:
    """One line per text and per item of a list, below a line that explains; replaced where they stand; unnamed lists are empty."""
    text = "A=1\n\n# securekit format 0\nB=2\n"

    result = DotenvSource(text).with_metadata({"format": "1", "keys": ["x", "y z"]})

    explained = "# securekit: the lines below belong to this encrypted document; change it with: securekit config\n"
    assert result == f"A=1\n\n{explained}# securekit format 1\n# securekit keys x\n# securekit keys y z\nB=2\n"
    assert DotenvSource(result).metadata == {"format": "1", "keys": ["x", "y z"], "encrypt": [], "recipients": [], "signatures": []}
    assert DotenvSource(EXAMPLE).metadata is None


@pytest.mark.parametrize(
    ("text", "call", "reason"),
    [
        ("A=1", lambda source: source.replace({("B",): "1"}), "there is no B"),
        ("A=1", lambda source: source.replace({("A",): 1}), "A: .env holds text alone, not int"),
        ("A=1", lambda source: source.replace({("A",): "\ud800"}), "surrogate"),
        ("A=1", lambda source: source.insert(("A", "b"), "1"), "nothing below"),
        ("A=1", lambda source: source.insert((0,), "1"), "nothing below"),
        ("\nA=1", lambda source: source.insert(("A",), "1"), "line 2: A is there already"),
        ("A=1", lambda source: source.insert(("B C",), "1"), "letters, digits"),
        ("A=1", lambda source: source.insert(("B",), True), "B: .env holds text alone, not bool"),
        ("A=1", lambda source: source.remove(("B",)), "there is no B"),
        ("A=1", lambda source: source.with_metadata({"keys": "x"}), "keys is a list"),
        ("A=1", lambda source: source.with_metadata({"tag": ["x"]}), "tag is one text"),
        ("A=1", lambda source: source.with_metadata({"tag": "x\ny"}), "does not fit"),
        ("A=1", lambda source: source.with_metadata({"tag": ""}), "does not fit"),
        ("A=1", lambda source: source.with_metadata({"T": "x"}), "does not fit"),
        ("A=1\r", lambda source: source.with_metadata(METADATA), "carriage return"),
        ("A=1", lambda source: source.with_metadata({"keys": []}), "would not read back"),
    ],
)
def test_what_cannot_be_exact_is_refused(text: str, call: Any, reason: str) -> None:
    """An edit that .env has no form for is refused, and says why."""
    with pytest.raises(FormatError, match=reason):
        call(DotenvSource(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n\nB='hunter2", "line 3: neither"),
        ("A=1\nB hunter2", "line 2: neither"),
        ("A=1\n=hunter2", "line 2: neither"),
        ("A=1\n\nA=hunter2", "line 3: 'A' is there twice, first on line 1"),
        ("A\n" + "hunter2/" * 8 + "\nB\n" + "hunter2/" * 8, "line 4: a key is there twice, first on line 2"),
        ("A=1\n'B\nC'=hunter2", "line 2: a key that is not printable"),
        ("A=1\nB=hunter2" + " " * 300 + "x", "line 2: more than 256 spaces"),
        ("#\n" * 5001, "line 5001: more than 5,000"),
        ("# securekit tag x\n# securekit tag x\n", "line 2: the metadata names tag twice"),
        ("# securekit tag x\nA=1\n# securekit format x\n", "line 3: the lines of the metadata must stand together"),
        ("A=1\n# securekit Tag\n", "line 2: a line of metadata is"),
        ("A=1\n# securekit tag \x01\n", "line 2: a line of metadata is"),
    ],
)
def test_what_is_no_dotenv_is_refused_with_its_line(text: str, message: str) -> None:
    """Malformed lines, keys that are there twice and broken metadata are refused with their line, and no value is quoted."""
    with pytest.raises(FormatError) as caught:
        DotenvSource(text)

    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


COSTLY = [
    "\n".join(f"k{number}" for number in range(9_000)),
    "#\n" * 32_000,
    "A=x" + " " * 65_000 + "y",
    ("A=x" + " " * 256) * 250,
    'A="' + "\\n" * 32_000 + '"',
    'A="' + "\\n" * 32_000,
    "A=" + "'" * 65_000,
    " " * 65_536,
    "\n" * 65_536,
    "\r" * 65_536,
    "A=" + " #" * 32_000,
    "export " * 9_000,
]


@pytest.mark.parametrize("text", COSTLY)
def test_any_text_costs_little(text: str, count: Count) -> None:
    """64 KiB of what is most expensive to read take at most 100 ms and 64 MiB."""
    seconds, peak = cost(lambda: only_ours(lambda: DotenvSource(text[: 64 * 1024])))

    assert seconds <= 0.1
    assert peak <= 64 * 2**20
    count("costly .env texts", 1)


@pytest.mark.repetitive
@settings(max_examples=500)
@given(st.text(max_size=60) | st.text(alphabet="AB='\"\\# \n\r\t$", max_size=40) | mutated(EXAMPLE) | mutated(PRODUCTION))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Random and mutated text raises our own error alone; what is read is what python-dotenv reads, and can be edited."""

    def edit() -> None:
        source = DotenvSource(text)
        assert source.tree == read(text)
        for path, _ in [*leaves(source.tree)][:5]:
            only_ours(lambda path=path: source.remove(path))  # type: ignore[misc]
            only_ours(lambda path=path: source.replace({path: TOKEN}))  # type: ignore[misc]
        source.insert(("NEW",), TOKEN)
        described = DotenvSource(source.with_metadata(METADATA))
        assert source.metadata is not None or described.with_metadata(None) == text

    only_ours(edit)


def test_a_path_that_is_not_there_is_on_no_line() -> None:
    """Where no key is, there is no line either."""
    source = DotenvSource("A=1")

    assert [source.line(path) for path in [(), ("B",), ("A", "b")]] == [0, 0, 0]
