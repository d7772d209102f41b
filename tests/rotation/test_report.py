# SPDX-License-Identifier: Apache-2.0
"""Reports: for machines, for people, and signed for auditors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securekit import rotation
from securekit._primitives.signatures import SigningCertificate, SigningKey
from securekit.exceptions import CertificateError, FormatError
from securekit.keyring import Keyring, KeyStore
from securekit.rotation import Failure, SignedReport
from tests.identities import SIGNING_KINDS, issue, pem, private_key
from tests.rotation.parts import PATH, Table, filled


@pytest.fixture
def report(store: KeyStore, ring: Keyring, journal: Path) -> rotation.Report:
    table = Table(filled(ring, 20) | {"gar|bage\x1b": b""})
    ring.rotate()
    return rotation.run(rotation.plan(table, store=store), journal=journal)


def test_a_report_is_json(report: rotation.Report) -> None:
    """It says who, when, which keys, what was done, and what failed."""
    told = json.loads(json.dumps(report.to_json()))
    assert told["format"] == "securekit/rotation-report/1"
    assert (told["kind"], told["state"], told["changed"], told["failed"]) == ("re-encrypt", "finished", 20, 1)
    assert told["failures"][0]["error"] == "FormatError"
    assert told["attempts"][0].keys() == {"at", "by", "securekit"}
    assert set(told["targets"]) == {PATH}


def test_a_report_is_a_page(report: rotation.Report) -> None:
    """What is in names cannot break its tables, or steer a terminal."""
    page = report.page()
    assert "# Rotation report: re-encrypt, finished" in page
    assert "| changed | 20 |" in page
    assert "customers gar\\|bage\ufffd" in page
    assert "\x1b" not in page


def test_a_page_says_how_many_failures_it_leaves_out(report: rotation.Report) -> None:
    """The journal has all of them."""
    from dataclasses import replace

    assert "and 1,999 more, which are in the journal" in replace(report, failed=2000).page()
    forged = Failure("x", "E |\n# Heading", "r")
    assert "\n# Heading" not in replace(report, failures=(forged,)).page()
    assert "What failed" not in replace(report, failures=(), failed=0, targets={}).page()


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_a_report_is_signed(report: rotation.Report, kind: str) -> None:
    """Who has the signer's certificate sees that nothing was changed."""
    key = private_key(kind)
    certificate = SigningCertificate.read(issue("auditor", key).pem)
    signed = report.sign(SigningKey.read(pem(key)))
    assert SignedReport.verify(signed, certificate) == json.loads(json.dumps(report.to_json()))


def test_a_changed_report_is_refused(report: rotation.Report) -> None:
    """So is another signer's, and what is no signed report."""
    certificate = SigningCertificate.read(issue("auditor", private_key("ed25519")).pem)
    signed = report.sign(SigningKey.read(pem(private_key("ed25519"))))
    with pytest.raises(CertificateError):
        SignedReport.verify(signed.replace(b'\\"changed\\":20', b'\\"changed\\":21'), certificate)
    with pytest.raises(CertificateError):
        SignedReport.verify(report.sign(SigningKey.read(pem(private_key("ed25519", 1)))), certificate)
    for other in (b"{}", b"", b'{"report":1,"signature":"","signer":""}', json.dumps(report.to_json()).encode()):
        with pytest.raises(FormatError):
            SignedReport.verify(other, certificate)
