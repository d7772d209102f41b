# SPDX-License-Identifier: Apache-2.0
"""What the tests of YAML and JSON share: paths of a tree, the lines that an edit left alone, an error's canaries, a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import unified_diff
from pathlib import Path as FilePath

import pytest

from securekit.config._tree import Alias, MergeKey, Path, Scalar, Source, Tree
from securekit.exceptions import FormatError
from tests.canaries import walk

FILES = FilePath(__file__).parent.parent / "files"
TOKEN = "ENC[sk1,0a1b2c3d,QUJD_-9]"
CANARY = "hunter2"
BLOCK: dict[str, str | list[str]] = {"format": "1", "document": "d0", "encrypt": ["db.password", '**."odd" \\ key'], "signatures": []}
SECRETS: list[Path] = [
    ("db", "password"),
    ("cache", "password"),
    ("smtp", "password"),
    ("stripe", "secret_key"),
    ("stripe", "webhook_secret"),
    ("sentry", "dsn"),
    ("tls", "private_key"),
    ("api", "tokens", 0),
    ("api", "tokens", 1),
    ("api", "tokens", 2),
    ("session", "signing_key"),
]


def scalars(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Scalar]]:
    """Yield every scalar with its path; aliases are none."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not isinstance(key, MergeKey):
                yield from scalars(value, (*path, key))
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield from scalars(value, (*path, place))
    elif not isinstance(tree, Alias):
        yield path, tree


def at(source: Source, path: Path) -> Tree:
    node: Tree = source.tree
    for segment in path:
        node = node[segment]  # type: ignore[index]
    return node


def changed(old: str, new: str) -> tuple[list[str], list[str]]:
    """Return the lines that went and those that came."""
    lines = list(unified_diff(old.splitlines(), new.splitlines(), n=0))[2:]
    return [line[1:] for line in lines if line.startswith("-")], [line[1:] for line in lines if line.startswith("+")]


def refused(action: Callable[[], object]) -> str:
    """Return the message of the FormatError that an action raises, which has no secret anywhere."""
    with pytest.raises(FormatError) as caught:
        action()
    assert not any(CANARY in repr(shown) for shown in walk(caught.value, frames_of=type("Never", (Exception,), {})))
    return str(caught.value)
