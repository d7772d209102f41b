# SPDX-License-Identifier: Apache-2.0
"""Realistic documents of every format: encrypted, read, changed and decrypted, everything else to the letter as it was."""

from __future__ import annotations

import difflib

import pytest

from securekit import Secret
from securekit.config import Document
from securekit.exceptions import ConfigError
from tests.config.parts import CLEAR, FORMATS, PASSWORD, SECRETS, clear, host, path, reader, sealed, write_only


@pytest.mark.parametrize("form", FORMATS)
def test_a_realistic_file_reads_as_it_was(form: str) -> None:
    """At least 60 values, 11 of them secret: what is read is what was written, with its types; secrets as `Secret`."""
    before, after = clear(form), sealed(form)
    values = [(leaf.name, leaf.value) for leaf in before.leaves()]
    opened = after.open([host().private])
    assert [(leaf.name, opened.value(leaf)) for leaf in after.leaves()] == values
    assert [type(opened.value(leaf)) for leaf in after.leaves()] == [type(value) for _, value in values]
    assert len(values) >= 60
    assert sum(leaf.token is not None for leaf in after.leaves()) == SECRETS


@pytest.mark.parametrize("form", FORMATS)
def test_encrypting_changes_the_lines_of_secrets_alone(form: str) -> None:
    """Comments, order, quotes and blank lines stay: without its metadata, the text differs where a secret was."""
    before = clear(form)
    bare = sealed(form).source.with_metadata(None)
    values = {leaf.path: leaf.value for leaf in sealed(form).leaves() if leaf.token is not None}
    assert before.source.replace(values) == bare
    assert before.source.with_metadata(None) == before.source.text


@pytest.mark.parametrize("form", FORMATS)
def test_decrypting_gives_the_same_values(form: str) -> None:
    """The document in clear text says what it said before, and its lines without secrets are the same."""
    before, after = clear(form), sealed(form).open([host().private]).decrypted()
    assert after.source.tree == before.source.tree
    assert after.block is None
    untouched = [line for line in sealed(form).source.with_metadata(None).splitlines() if "ENC[" not in line]
    for text in (before.source.text, after.source.text):
        lines = iter(text.splitlines())
        assert all(line in lines for line in untouched)  # in this order


@pytest.mark.parametrize("form", FORMATS)
def test_one_changed_secret_is_one_line_and_the_metadata(form: str) -> None:
    """The diff of changing one secret is the value's line, and at most five lines of the metadata."""
    before = sealed(form)
    edit = write_only(before)
    edit.set(path(PASSWORD[form]), "new-fake-password")
    after = edit.finish()
    changed = [line for line in difflib.ndiff(before.source.text.splitlines(), after.source.text.splitlines()) if line.startswith("+ ")]
    assert sum("ENC[sk1," in line for line in changed) == 1
    assert len(changed) <= 6
    assert after.open([host().private]).at(path(PASSWORD[form])) == "new-fake-password"


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_changed_is_nothing_written(form: str) -> None:
    """A reader who sets a value to what it is changes not a byte."""
    before = sealed(form)
    edit = reader(before)
    edit.set(path(PASSWORD[form]), before.open([host().private]).at(path(PASSWORD[form])))
    assert edit.finish().to_bytes() == before.to_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_values_come_as_an_application_wants_them(form: str) -> None:
    """Encrypted values are `Secret`, everything else is as it stands."""
    values = sealed(form).open([host().private]).reveal()

    def at(name: str) -> object:
        node: object = values
        for segment in path(name):
            node = node[segment]  # type: ignore[index]
        return node

    assert at(PASSWORD[form]) == Secret(next(leaf.value for leaf in clear(form).leaves() if leaf.name == PASSWORD[form]))
    assert isinstance(at(CLEAR[form]), str)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_marks_stay(form: str, line_end: str) -> None:
    """A file from Windows keeps its line ends and its mark through every change."""
    data = b"\xef\xbb\xbf" + clear(form).source.text.replace("\n", line_end).encode()
    document = Document.parse(data, format=form)
    assert document.to_bytes() == data
    edit = document.encrypt(environment="production", recipients=[host().public], patterns=[PASSWORD[form]])
    after = edit.finish()
    assert after.to_bytes().startswith(b"\xef\xbb\xbf")
    if line_end == "\r\n":
        assert after.to_bytes().count(b"\n") == after.to_bytes().count(b"\r\n")
    assert after.open([host().private]).decrypted().source.tree == document.source.tree


@pytest.mark.parametrize("form", FORMATS)
def test_a_misspelt_path_is_refused(form: str) -> None:
    """A path that is not there is not made unless asked for; the message says what was perhaps meant."""
    name = PASSWORD[form].replace("ss", "s", 1).replace("SS", "S", 1)
    with pytest.raises(ConfigError, match=f"has no .*{name}.*did you mean {PASSWORD[form]}"):
        write_only(sealed(form)).set(path(name), "x")
