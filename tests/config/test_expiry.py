# SPDX-License-Identifier: Apache-2.0
"""A host's certificate that has expired stops nobody at night: what was written for it loads, and whoever writes is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from securekit import Secret
from securekit.config import Document, load
from securekit.config._examine import Severity, examine
from securekit.exceptions import CertificateError, SecurityWarning
from tests.config.parts import Host, author, path, trust_in
from tests.identities import DAY, NOW, clock, issue, pem, private_key

OLD = Host(issue("old.example", private_key("p256", 300), end=NOW + DAY))
LATER = clock(NOW + 30 * DAY)


@pytest.fixture
def document() -> Document:
    """A document that was written while the certificate was valid."""
    clear = Document.parse(b"db:\n  password: fake\n", format="yaml")
    return clear.encrypt(environment="production", recipients=[OLD.public], patterns=["**"], clock=clock()).finish()


def test_a_host_loads_after_its_certificate_has_expired(document: Document, tmp_path: Path) -> None:
    """The private key opens the document whatever the date, without a word."""
    file, key = tmp_path / "production.yaml", tmp_path / "host.key"
    signed = document.sign(author().key)
    file.write_bytes(signed.to_bytes())
    key.touch(mode=0o600)
    key.write_bytes(pem(OLD.issued.key))

    values = load(file, environment="production", identity=key, trust=trust_in(signed, author()))

    assert values == {"db": {"password": Secret("fake")}}


def test_an_author_is_warned_and_can_still_change_a_password(document: Document) -> None:
    """An expired recipient is named, and does not keep a leaked password in place."""
    edit = document.edit(adopt=True, confirmed=[OLD.name[1]], clock=LATER)
    edit.set(path("db.password"), "fake-new")
    with pytest.warns(SecurityWarning, match=r"old\.example.*expired"):
        changed = edit.finish()
    assert changed.open([OLD.private]).at(path("db.password")) == "fake-new"


def test_verification_fails_on_it_and_nothing_new_is_wrapped_to_it(document: Document) -> None:
    """`config verify` calls it an error, and no document begins with an expired certificate."""
    found = examine(document, clock=LATER)
    assert [finding.severity for finding in found if "expired" in finding.what] == [Severity.ERROR]
    clear = Document.parse(b"a: fake\n", format="yaml")
    expired = type(OLD.public).from_pem(OLD.issued.pem, clock=LATER)
    with pytest.raises(CertificateError, match="expired"):
        clear.encrypt(environment="production", recipients=[expired], patterns=["a"], clock=LATER).finish()
