# SPDX-License-Identifier: Apache-2.0
"""The generation that a host keeps, in what it starts with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from securekit.config import Document, load
from securekit.exceptions import ConfigError, SecureKitError
from tests.config.parts import author, from_text, host, path, reader, trust_in, write_only

BEFORE = from_text("a: fake\nb: 1\n", "yaml", "a")


@dataclass
class Settings:
    b: int


def newer(value: object = 2) -> Document:
    edit = write_only(BEFORE)
    edit.set(path("b"), value, clear=True)  # type: ignore[arg-type]
    return edit.finish()


def for_another_host() -> Document:
    edit = reader(BEFORE)
    edit.add_recipient(host(1).public)
    edit.remove_recipient(host(0).name)
    return edit.finish()


@pytest.fixture
def start(tmp_path: Path) -> Callable[[Document], Settings]:
    """An application on a host that keeps the highest generation."""
    state = tmp_path / "state"

    def begin(document: Document) -> Settings:
        file = tmp_path / "production.yaml"
        file.write_bytes(document.sign(author().key).to_bytes())
        recipients = frozenset({host(0).name, host(1).name})
        trust = trust_in(BEFORE, author(), state=state, recipients=recipients)
        return load(file, environment="production", identity=host().private, trust=trust, into=Settings)

    return begin


@pytest.mark.parametrize("bad", [for_another_host(), newer("no number")], ids=["not_for_this_host", "not_valid"])
def test_what_does_not_start_closes_no_way_back(start: Callable[[Document], Settings], bad: Document) -> None:
    """A later document that is signed, and that the application does not start with, is not kept: the one before still starts."""
    with pytest.raises(SecureKitError):
        start(bad)
    assert start(BEFORE) == Settings(1)
    assert start(newer()) == Settings(2)
    with pytest.raises(ConfigError, match="this host has seen 2"):
        start(BEFORE)
