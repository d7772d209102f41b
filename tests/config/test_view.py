# SPDX-License-Identifier: Apache-2.0
"""What an editor is shown, and what becomes of what it leaves; the command is tested with real editors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.config import Document
from securekit.config._view import apply_view, view
from securekit.exceptions import ConfigError
from tests.config.parts import FORMATS, clear, from_text, host, path, reader, sealed, write_only


@pytest.mark.parametrize("form", FORMATS)
def test_a_reader_sees_the_clear_document(form: str) -> None:
    """The same values as before it was encrypted."""
    opened = sealed(form).open([host().private])

    assert Document.parse(view(sealed(form), opened).encode(), format=form).source.tree == clear(form).source.tree


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("reads", [True, False])
def test_a_view_that_is_left_changes_no_value(form: str, reads: bool) -> None:
    """Every token stays as it is."""
    document = sealed(form)
    edit = reader(document) if reads else write_only(document)

    apply_view(edit, document, edit.opened, view(document, edit.opened))

    assert [leaf.value for leaf in edit.document.leaves()] == [leaf.value for leaf in document.leaves()]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=5), st.booleans())
def test_placeholders_in_any_order_open_or_are_refused(order: list[str], reads: bool) -> None:
    """Whatever an editor does to lines, each secret still opens where it stands, or the edit is refused."""
    document = from_text("a: fake-1\nb: fake-2\nc: fake-3\nx: 1\n", "yaml", "a", "b", "c")
    edit = reader(document) if reads else write_only(document)
    lines = view(document, edit.opened).splitlines()
    mixed = {name: line.partition(": ")[2] for name, line in zip(dict.fromkeys(order), lines, strict=False)}

    try:
        apply_view(edit, document, edit.opened, "".join(f"{name}: {value}\n" for name, value in mixed.items()))
        after = edit.finish()
    except ConfigError:
        return

    opened = after.open([host().private])
    assert all(opened.value(leaf) is not None for leaf in after.leaves())
    assert not [leaf for leaf in after.leaves() if leaf.token is None and "fake" in str(leaf.value)]


def test_a_reader_may_move_secrets_under_a_pattern() -> None:
    """They are encrypted anew for their new place."""
    document = from_text("a: {password: fake-1}\nb: {x: 1}\n", "yaml", "**.password")
    edit = reader(document)

    apply_view(edit, document, edit.opened, "b: {x: 1, password: fake-1}\n")

    assert edit.finish().open([host().private]).at(path("b.password")) == "fake-1"
