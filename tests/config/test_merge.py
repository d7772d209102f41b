# SPDX-License-Identifier: Apache-2.0
"""Merging two versions of a document; under git it is tested by the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from securekit.config import Document, Edit
from securekit.config._merge import Merged, merge_into
from securekit.exceptions import ConfigError
from tests.config.parts import FORMATS, PASSWORD, from_text, host, path, reader, sealed, write_only


def changed(document: Document, work: Callable[[Edit], object]) -> Document:
    edit = reader(document)
    work(edit)
    return edit.finish()


def merged(base: Document | None, ours: Document, theirs: Document, *, reads: bool = False) -> tuple[Document, Merged]:
    edit = reader(ours) if reads else write_only(ours)
    if reads:
        edit.also_reads(theirs.open([host().private]))
    found = merge_into(edit, base=base, ours=ours, theirs=theirs)
    return edit.finish(), found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("reads", [True, False])
def test_a_merge_with_itself_is_itself(form: str, reads: bool) -> None:
    """Every value is there once; the tag is made anew."""
    document, found = merged(sealed(form), sealed(form), sealed(form), reads=reads)

    assert found == Merged((), ())
    assert [leaf.value for leaf in document.leaves()] == [leaf.value for leaf in sealed(form).leaves()]
    document.open([host().private]).reveal()


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_change_on_both_sides(form: str) -> None:
    """Two ciphertexts of one secret are two changes; one and the same is none."""
    base = sealed(form)
    once = changed(base, lambda edit: edit.set(path(PASSWORD[form]), "same"))
    again = changed(base, lambda edit: edit.set(path(PASSWORD[form]), "same"))

    assert merged(base, once, once)[1].conflicts == ()
    assert merged(base, once, again)[1].conflicts == (PASSWORD[form],)


def test_values_of_a_yaml_document() -> None:
    """Types, aliases, merge keys, empty mappings and lists are compared as what they are."""
    text = "a: fake-1\nd: &d {x: 1}\ne: {<<: *d, y: 2}\nf: *d\ng: []\nh: {}\ni: ~\nj: 1\n"
    base = from_text(text, "yaml", "a")
    theirs = changed(base, lambda edit: edit.set(path("i"), "new", clear=True))
    ours = changed(base, lambda edit: edit.set(path("j"), "1", clear=True))

    document, found = merged(base, ours, theirs)

    assert found.conflicts == ()
    values = document.open([host().private]).reveal()
    assert (values["i"], values["j"], values["e"], values["g"], values["h"]) == ("new", "1", {"x": 1, "y": 2}, [], {})


def test_what_cannot_be_merged_by_values() -> None:
    """Both sides changed what is below one list or mapping in a way that no text and no single value shows."""
    base = from_text("a: fake-1\nl: [1, 2]\nm: 5\n", "yaml", "a")

    def text(new: str) -> Document:
        return changed(base, lambda edit: edit.take_text(base.source.text.replace("l: [1, 2]\nm: 5", new)))

    with pytest.raises(ConfigError, match="both sides changed what is at or below l"):
        merged(base, text("l: [1, 2]\nm: 6"), text("l: []\nm: 7"))
    with pytest.raises(ConfigError, match="the two sides changed the same lists or mappings"):
        merged(base, text("l: [1, 2, 3]\nm: 6"), text("l: {x: 1}\nm: 7"))


def test_items_at_the_end_of_a_long_list_go() -> None:
    """From the last one on, by their numbers, also where another conflict keeps the texts from being merged."""
    items = "".join(f"- {number}\n" for number in range(12))
    base = from_text(f"a: fake-1\nl:\n{items}m: 5\n", "yaml", "a")

    def shorter(edit: Edit) -> None:
        for number in range(11, 7, -1):
            edit.unset(path(f"l[{number}]"))
        edit.set(path("m"), 6, clear=True)

    theirs = changed(base, shorter)
    document, found = merged(base, changed(base, lambda edit: edit.set(path("m"), 7, clear=True)), theirs)

    assert found.conflicts == ("m",)
    assert document.open([host().private]).reveal()["l"] == list(range(8))


def test_other_documents_and_environments() -> None:
    """Only versions of one document are merged; an ancestor that is another one is none."""
    one, two = from_text("a: fake-1\n", "yaml", "a"), from_text("a: fake-1\n", "yaml", "a")

    with pytest.raises(ConfigError, match="not versions of one document"):
        merged(one, one, two)
    later = changed(one, lambda edit: edit.set(path("b"), 1, create=True, clear=True))
    assert [leaf.name for leaf in merged(two, one, later)[0].leaves()] == ["a", "b"]
    assert [leaf.name for leaf in merged(Document.parse(b"", format="yaml"), one, later)[0].leaves()] == ["a", "b"]


def test_patterns_of_both_sides() -> None:
    """One that a side has added is there, one that a side has removed is not."""
    base = from_text("a: fake-1\nb: fake-2\nc: 3\nd: 4\n", "yaml", "a", "b")
    ours = changed(changed(base, lambda edit: edit.forget("a")), lambda edit: edit.protect(["c"]))
    theirs = changed(base, lambda edit: edit.protect(["d"]))

    assert set(merged(base, ours, theirs)[0].required.encrypt) == {"b", "c", "d"}
