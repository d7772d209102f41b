# SPDX-License-Identifier: Apache-2.0
"""What can be said of a document without any private key."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from securekit.config import Document
from securekit.config._examine import Severity, examine, suspicious
from tests.config.parts import author, from_text, path, reader, sealed, trust_in, write_only
from tests.identities import NOW, clock, issue, private_key


def found(document: Document, **options: object) -> list[tuple[str, str, str]]:
    """Return the findings without the one about signatures that were not checked."""
    findings = examine(document, **{"clock": clock(), **options})  # type: ignore[arg-type]
    return [(str(one.severity), one.path, one.what) for one in findings if "signatures were not checked" not in one.what]


def test_nothing_is_wrong() -> None:
    """A document whose secrets are encrypted and that was signed has no findings."""
    document = from_text("a: fake-1\n", "yaml", "a").sign(author().key)

    assert examine(document, trust=trust_in(document, author()), clock=clock()) == []
    assert examine(document, signers=[author().certificate], clock=clock()) == []


@pytest.mark.parametrize(
    ("text", "severity", "what"),
    [
        ("db_password: hunter2", "warning", "its name is that of a secret"),
        ("dbPasswd: hunter2", "warning", "its name is that of a secret"),
        ("apikey: hunter2", "warning", "its name is that of a secret"),
        ("api_key: [hunter2]", "warning", "its name is that of a secret"),
        ("signing_key: hunter2", "warning", "its name is that of a secret"),
        ("x: AKIAIOSFODNN7EXAMPLE", "error", "the form of an access key"),
        ("x: ghp_0123456789abcdefghijABCDEFGHIJ012345", "error", "the form of an access key"),
        ("x: postgres://app:hunter2@db/app", "error", "an address with a password"),
        ("x: '-----BEGIN EC PRIVATE KEY-----'", "error", "a private key in clear text"),
        ("x: q8Zr1LwVb3Nc7Ty5Ks9Dm2Xf", "warning", "looks like a random secret"),
        ("x: ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]", "error", "a ciphertext of another tool"),
        ("x: ENC[sk1,zz,zz]", "error", ""),
        ("x: $ANSIBLE_VAULT;1.1;AES256", "error", "a ciphertext of another tool"),
    ],
)
def test_what_looks_like_a_secret(text: str, severity: str, what: str) -> None:
    """By its name or its shape; and ciphertexts that would reach the application as they are."""
    base = from_text("a: fake-1\n", "yaml", "a")
    document = base.with_text(f"{text}\n{base.source.text}")

    ((level, _, said),) = found(document)

    assert level == severity
    assert what in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "text",
    [
        "password_file: /run/secrets/db",
        "password: ${DB_PASSWORD}",
        "password: vault:kv/app#password",
        "password: ''",
        "password: xxxxxx",
        "password: <none>",
        "key: example.com",
        "keyboard: qwerty",
        "password_length: 12",
        "x: https://example.com/a/b",
        "x: 0123456789abcdef0123456789abcdef",
        "x: the quick brown fox jumps over the lazy dog",
    ],
)
def test_what_does_not(text: str) -> None:
    """Names of files, placeholders, references, hashes and prose are no secrets."""
    base = from_text("a: fake-1\n", "yaml", "a")

    assert found(base.with_text(f"{text}\n{base.source.text}")) == []


def test_suspicions_leave_out_what_is_to_be_encrypted() -> None:
    """What a pattern covers is an error of its own, and no suspicion."""
    base = from_text("a: fake-1\nb: 1\n", "yaml", "a", "b")
    document = base.with_text(f"password: hunter2\n{base.source.text}")

    assert [leaf.name for leaf, _ in suspicious(document)] == ["password"]


def test_tokens_without_a_pattern_or_a_key() -> None:
    """A secret that no pattern covers could be written in clear next time; one under a lost data key opens nowhere."""
    edit = write_only(from_text("a: fake-1\nb: fake-2\n", "yaml", "a", "b"))
    edit.forget("b")
    document = edit.finish()
    lost = document.with_block(replace(document.required, keys=document.required.keys[-1:]))

    assert found(document) == [("warning", "b", "it is encrypted, and no pattern says that it must be")]
    assert ("error", "a", "it is encrypted under a data key that is not there") in found(lost)


def test_patterns_that_match_nothing() -> None:
    """Each is an error."""
    edit = reader(from_text("a: fake-1\n", "yaml", "a"))
    edit.expect(["smpt.password"])

    assert found(edit.finish()) == [("error", "", "the pattern 'smpt.password' matches nothing: is it misspelt?")]


@pytest.mark.parametrize(("days", "expected"), [(400, []), (20, ["warning"]), (-1, ["error"])])
def test_certificates_of_recipients(days: int, expected: list[str]) -> None:
    """Expiring within 30 days is a warning, expired an error."""
    from securekit.wrappers import CertificateWrapper

    end = NOW + timedelta(days=days)
    certificate = issue("web.example", private_key("p256", 7)).pem
    wrapper = CertificateWrapper.from_pem(certificate, clock=clock())
    until = CertificateWrapper.from_pem(certificate, clock=clock()).wrap(bytes(32), ("x",)).about["not_after"]
    document = Document.parse(b"a: fake-1\n", format="yaml").encrypt(
        environment="production", recipients=[wrapper], patterns=["a"], clock=clock()
    )

    shift = end - datetime.fromisoformat(until)
    severities = [level for level, _, what in found(document.finish(), clock=clock(NOW - shift)) if "certificate" in what]

    assert severities == expected


def test_many_and_old_data_keys() -> None:
    """Somebody who can read should fold them before there are too many."""
    document = from_text("\n".join(f"k{number}: fake" for number in range(60)), "yaml", "*")
    for number in range(50):
        edit = write_only(document)
        edit.set(path(f"k{number}"), "new")
        document = edit.finish()

    assert [what for _, _, what in found(document)] == ["it has 51 data keys of at most 64"]
    later = found(sealed("yaml"), clock=clock(NOW + timedelta(days=366)))
    assert ("warning", "", "its oldest data key is of 2026-06-01") in later


def test_errors_come_first() -> None:
    """And signers that have expired are warned of."""
    base = from_text("password: hunter2\na: fake-1\n", "yaml", "a")
    document = base.with_text(base.source.text.replace("password: hunter2", "password: hunter2\nx: AKIAIOSFODNN7EXAMPLE"))

    assert [one.severity for one in examine(document, clock=clock())] == [Severity.ERROR, Severity.WARNING, Severity.WARNING]
    signed = base.sign(author().key)
    expired = examine(signed, trust=trust_in(signed, author()), signers=[author().certificate], clock=clock())
    assert all(one.severity == Severity.WARNING for one in expired)


def test_a_document_that_is_not_encrypted() -> None:
    """That is the one finding."""
    (finding,) = examine(Document.parse(b"password: hunter2\n", format="yaml", name="a b.yaml"))

    assert finding.severity == Severity.ERROR
    assert finding.repair == "encrypt it with: securekit config encrypt 'a b.yaml'"
