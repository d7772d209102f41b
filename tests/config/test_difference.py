# SPDX-License-Identifier: Apache-2.0
"""What a person is shown of two versions of a document."""

from __future__ import annotations

from securekit.config import Document
from securekit.config._difference import differences
from tests.config.parts import encrypt

CLEAR = "db: {host: db1, password: fake-secret}\n"


def _shown(old: Document, new: Document) -> list[str]:
    return [str(difference) for difference in differences(old, new)]


def test_what_becomes_encrypted_is_not_shown() -> None:
    """A secret that is in clear text in one of the two versions is named, and its value is not."""
    before = Document.parse(CLEAR.encode(), format="yaml", name="old")
    after = encrypt(before, patterns=["db.password"])

    for old, new in ((before, after), (after, before)):
        shown = _shown(old, new)
        assert {line.split()[-1] for line in shown if "db.password" in line and "pattern" not in line} == {"db.password"}
        assert "fake-secret" not in str(shown)


def test_a_secret_written_by_hand_is_not_shown() -> None:
    """What a pattern covers is a secret, also where it stands in clear text for the first time."""
    before = encrypt(Document.parse(CLEAR.encode(), format="yaml", name="old"), patterns=["**.password"])
    after = before.with_text(before.source.text.replace("{host: db1", "{admin: {password: by-hand}, host: db2"))

    assert sorted(_shown(before, after)) == ["added value db.admin.password", "changed value db.host: 'db1' -> 'db2'"]
