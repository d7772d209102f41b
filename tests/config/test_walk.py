# SPDX-License-Identifier: Apache-2.0
"""Aliases and merge keys: a secret is a secret at every path at which an application sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securekit import Secret
from securekit.config import Document
from securekit.config._examine import Severity, examine
from securekit.config._path import Patterns
from securekit.config._walk import places
from securekit.exceptions import ConfigError
from tests.config.parts import from_text, host, path, write_only

TEXT = """\
other: {password: unrelated}
shared:
  - &pw hunter2
  - &more {user: app, word: two, password: overridden}
db: {password: *pw, tls: *more}
web:
  <<: [*more]
  password: own
"""


def test_a_value_is_seen_at_its_own_path_and_at_those_of_its_aliases() -> None:
    """Every scalar comes with each path at which an application finds it, and the path at which it stands."""
    document = Document.parse(TEXT.encode(), format="yaml")

    found = {seen: leaf.path for seen, leaf in places(document.source.tree)}

    assert found[path("db.password")] == path("shared[0]")
    assert found[path("db.tls.word")] == path("shared[1].word")
    assert found[path("web.word")] == path("shared[1].word")
    assert found[path("web.password")] == path("web.password")
    assert {seen for seen, real in found.items() if seen == real} == {leaf.path for leaf in document.leaves()}


def test_a_merge_of_merges_is_seen_whole() -> None:
    """What a merged mapping has merged is seen, too; of several, the first counts."""
    text = b"a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: &c {y: 3, z: 3}\nd: {<<: [*b, *c]}\n"
    found = {seen: leaf.path for seen, leaf in places(Document.parse(text, format="yaml").source.tree)}

    assert [found[path(name)] for name in ("d.x", "d.y", "d.z")] == [path("a.x"), path("b.y"), path("c.z")]


@pytest.mark.parametrize("pattern", ["db.password", "**.password", "db"])
def test_a_pattern_encrypts_what_an_alias_repeats(pattern: str) -> None:
    """A value that is seen where a pattern matches is encrypted where it stands, and arrives as a secret in both places."""
    document = from_text(TEXT, "yaml", pattern)

    values = document.open([host().private]).reveal()

    assert values["db"]["password"] == Secret("hunter2")  # type: ignore[index]
    assert "hunter2" not in document.source.text
    assert not document.clear_secrets()


@pytest.mark.parametrize("pattern", ["db.password", "db.tls.user", "db.tls", "web.word", "*.word"])
def test_a_clear_value_that_an_alias_brings_under_a_pattern_is_refused(pattern: str) -> None:
    """No application gets a clear value where it must be encrypted, be it through an alias, below one, or through a merge."""
    good = from_text(TEXT, "yaml", "other.password")
    matches = good.covered(Patterns([pattern]))
    changed = good.with_block(replace(good.required, encrypt=(pattern,)))

    with pytest.raises(ConfigError, match="in clear text"):
        changed.open([host().private], adopt=True).reveal()
    assert {leaf.path for leaf in changed.clear_secrets()} == matches
    assert any(finding.severity is Severity.ERROR and "in clear text" in finding.what for finding in examine(changed))
    with pytest.raises(ConfigError, match="must be encrypted"):
        write_only(changed).set(min(matches, key=str), "x", clear=True)


def test_a_value_that_a_merge_overrides_is_not_seen() -> None:
    """A clear value that nobody sees at the pattern's path may stay clear."""
    document = from_text(TEXT, "yaml", "web.password")

    assert document.open([host().private]).reveal()["web"]["password"] == Secret("own")  # type: ignore[index]
    assert "overridden" in document.source.text
