# SPDX-License-Identifier: Apache-2.0
"""What the tests of formats share: leaves of trees, mutated text, what a call costs, and what an edit has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

from hypothesis import strategies as st

from securekit.config._tree import Metadata, Path
from securekit.exceptions import FormatError

FILES = FilePath(__file__).parent.parent / "files"
TOKEN = "ENC[sk1,0a1b2c3d,QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo_-w]"
METADATA: Metadata = {
    "format": "1",
    "document": "9f3a01c2",
    "encrypt": ["db.password", "**.secret*"],
    "recipients": ["x509-hpke-p256 AAAA CN=web1.example", "x509-hpke-p256 BBBB CN=web2.example"],
    "keys": ["0a1b2c3d x"],
    "tag": "QUJD",
    "signatures": [],
}


def production(name: str) -> str:
    return (FILES / name).read_bytes().decode()


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every scalar of a tree with its path."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        yield path, tree
    else:
        for key, value in items:
            yield from leaves(value, (*path, key))


def edited(tree: Any, path: Path, *value: Any) -> Any:
    """Return the tree with the value at ``path``, or without the entry if no value is given."""
    if not path:
        return value[0]
    new = dict(tree) if isinstance(tree, dict) else dict(enumerate(tree))
    if len(path) == 1 and not value:
        del new[path[0]]
    else:
        new[path[0]] = edited(new.get(path[0], {}), path[1:], *value)
    return new if isinstance(tree, dict) else list(new.values())


def touched(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the lines that differ, once those that both begin and end with are taken away."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return old, new


@st.composite
def mutated(draw: st.DrawFn, original: str) -> str:
    """Cut, repeat, replace and insert pieces of a valid text."""
    text = original
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        piece = draw(
            st.sampled_from(["", "\x00", '"', "'", "\\", "[", "{", "#", "=", "\n", "\r", "\n ", text[begin:end]]) | st.text(max_size=9)
        )
        text = text[:begin] + piece + text[min(end, begin + draw(st.sampled_from([0, 1, 4, 100]))) :]
    return text


def only_ours(call: Callable[[], object]) -> None:
    with contextlib.suppress(FormatError):
        call()
