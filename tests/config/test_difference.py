# SPDX-License-Identifier: Apache-2.0
"""What differs between two versions: clear values are shown, and nothing that is, was, or must be a secret."""

from __future__ import annotations

from securekit.config import Document
from securekit.config._difference import Difference, differences
from tests.config.parts import FORMATS, clear, encrypt, from_text, host, path, reader, sealed, write_only

TEXT = "a: fake-1\nb: 2\nc: [1, 2]\n"


def lines(old: Document | None, new: Document) -> list[str]:
    return [str(difference) for difference in differences(old, new)]


def test_nothing_differs() -> None:
    """A document differs from itself in nothing; rotation changes ciphertexts, which is said."""
    document = sealed("yaml")
    edit = reader(document)
    edit.rotate()

    assert differences(document, document) == []
    assert {str(found) for found in differences(document, edit.finish())} >= {"changed secret db.password"}


def test_clear_values_are_shown() -> None:
    """Before and after, with their types."""
    document = from_text(TEXT, "yaml", "a")
    changed = document.with_text(document.source.text.replace("b: 2", 'b: "2"').replace("[1, 2]", "[1]"))

    assert lines(document, changed) == ["changed value b: 2 -> '2'", "removed value c[1]: 2"]
    assert lines(changed, document) == ["changed value b: '2' -> 2", "added value c[1]: 2"]


def test_secrets_are_not_shown() -> None:
    """Neither what is encrypted now, nor what stands in clear where a secret was or must be."""
    before = Document.parse(TEXT.encode(), format="yaml")
    document = from_text(TEXT, "yaml", "a")
    by_hand = document.with_text("a: fake-by-hand" + document.source.text[document.source.text.index("\n") :])

    assert "removed value a" in lines(before, document)
    assert lines(document, by_hand) == ["removed secret a", "added value a"]
    assert lines(by_hand, document) == ["removed value a", "added secret a"]
    assert lines(by_hand, by_hand.with_text(by_hand.source.text.replace("by-hand", "again"))) == ["changed value a"]


def test_no_secret_of_any_format_is_shown() -> None:
    """Encrypting the realistic documents shows none of their secrets."""
    for form in FORMATS:
        document = sealed(form)
        opened = document.open([host().private])
        secrets = [opened.value(leaf) for leaf in document.leaves() if leaf.token is not None]

        shown = "\n".join(lines(clear(form), document))

        assert len(secrets) == 11
        assert not any(repr(secret) in shown for secret in secrets)


def test_recipients_patterns_and_environment_are_shown() -> None:
    """Who can read, and what must be encrypted, is what an attacker would change."""
    document = from_text(TEXT, "yaml", "a")
    edit = reader(document)
    edit.add_recipient(host(1).public)
    edit.protect(["c"])

    found = differences(document, edit.finish())

    assert Difference("added", "recipient", f"CN=web1.example (x509-hpke-p256 {host(1).name[1][:16]}…)") in found
    assert Difference("added", "pattern", "c") in found
    assert "added environment production" in lines(None, document)


def test_replaced_secrets_are_named() -> None:
    """A write-only author's new value is a changed secret."""
    document = from_text(TEXT, "yaml", "a")
    edit = write_only(document)
    edit.set(path("a"), "new")

    assert lines(document, edit.finish()) == ["changed secret a"]


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
