# SPDX-License-Identifier: Apache-2.0
"""What an edit is checked with tells apart all that a reader of the file could."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

import pytest

from securekit.config._formats._edits import bounded, dotted, replaced, same
from securekit.config._tree import MAX_DEPTH, MAX_LEAVES
from securekit.exceptions import FormatError

VALUES: list[Any] = [
    None,
    False,
    True,
    0,
    1,
    0.0,
    -0.0,
    1.0,
    math.nan,
    "",
    "1",
    "True",
    b"1",
    [],
    {},
    [1],
    [True],
    {"a": 1},
    {"a": 1.0},
    {"b": 1},
    {"a": 1, "b": 2},
    date(2026, 1, 1),
    datetime(2026, 1, 1),  # noqa: DTZ001 - without a zone on purpose
    datetime(2026, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("one", VALUES)
def test_a_value_is_the_same_as_itself_alone(one: Any) -> None:
    """No two of these are the same, whatever Python's ``==`` says, and each is the same as itself, also inside others."""
    assert [other for other in VALUES if same({"k": [one]}, {"k": [other]})] == [one]
    assert same(one, one)


def test_the_order_of_keys_is_free_and_that_of_items_is_not() -> None:
    """Mappings are compared by key, lists by place."""
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not same([1, 2], [2, 1])
    assert not same([1], [1, 2])


def test_bounds_are_exact() -> None:
    """As many and as deep as is allowed passes, one more does not."""
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]

    bounded(deep)
    bounded([0] * MAX_LEAVES)
    with pytest.raises(FormatError, match="deep"):
        bounded([deep])
    with pytest.raises(FormatError, match="more than 50,000 values"):
        bounded({"a": [0] * MAX_LEAVES, "b": 0})


def test_replacing_leaves_the_tree_as_it_was() -> None:
    """The tree that is given does not change."""
    tree: Any = {"a": [1, {"b": 2}]}

    assert replaced(tree, {("a", 0): 3, ("a", 1, "b"): 4}) == {"a": [3, {"b": 4}]}
    assert tree == {"a": [1, {"b": 2}]}


def test_paths_in_messages() -> None:
    """A path is shown with dots, and a key that is not a plain word in quotes."""
    assert dotted(("db", "hosts", 0, "a.b", "c d", "é")) == "db.hosts.0.'a.b'.'c d'.é"
