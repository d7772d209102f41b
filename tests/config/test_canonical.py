# SPDX-License-Identifier: Apache-2.0
"""The canonical document: one byte string for each document, whatever stands in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from securekit.config._canonical import canonical
from securekit.config._tree import MERGE, Alias, Tree
from tests.config.parts import sealed
from tests.config.test_value import SCALARS
from tests.vectors.golden import config_reference as reference

# Few and short, so that two that are drawn are often alike; and with what stands for something else in the canonical form.
KEYS = st.sampled_from(["", "a", "b", "k", "<", "<<", "{1", "[0", "*0", "sx", "i0", "ka", "\x00"])
ALIASES = st.lists(KEYS | st.integers(0, 2), max_size=2).map(lambda path: Alias(tuple(path)))
LEAVES = KEYS | SCALARS | ALIASES
TREES: st.SearchStrategy[Any] = st.dictionaries(
    KEYS | st.just(MERGE),
    st.recursive(LEAVES, lambda tree: st.lists(tree, max_size=3) | st.dictionaries(KEYS, tree, max_size=3)),
    max_size=3,
)
BLOCK = sealed("yaml").required


def referred(tree: Tree) -> Any:
    """Return a tree in the words of the reference."""
    if isinstance(tree, dict):
        return {reference.MERGE if key is MERGE else key: referred(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return list(map(referred, tree))
    return reference.Alias(tree.anchor) if isinstance(tree, Alias) else tree


@given(TREES)
def test_the_reference_has_the_same_canonical_form(tree: Any) -> None:
    """Any tree has the canonical form that the page describes."""
    assert canonical(tree, BLOCK) == reference.canonical(referred(tree), BLOCK.encode())


@given(TREES, TREES)
def test_two_trees_have_two_canonical_forms(one: Any, two: Any) -> None:
    """Trees that differ in a value, a type, a key, an order, an alias or a kind have different canonical forms."""
    assert (canonical(one, BLOCK) == canonical(two, BLOCK)) == (repr(one) == repr(two))


@given(st.lists(KEYS, max_size=3), st.lists(KEYS, max_size=3), TREES, TREES)
def test_metadata_and_tree_are_told_apart(patterns: list[str], others: list[str], one: Any, two: Any) -> None:
    """What stands in the metadata cannot be taken for something in the tree, nor the other way round."""
    first, second = (replace(BLOCK, encrypt=tuple(found)) for found in (patterns, others))

    assert (canonical(one, first) == canonical(two, second)) == (patterns == others and repr(one) == repr(two))
