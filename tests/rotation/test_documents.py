# SPDX-License-Identifier: Apache-2.0
"""Configuration documents as a source: their recipients are exchanged, and old data keys are folded into a new one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from securekit import rotation
from securekit.config import Document
from securekit.exceptions import ConflictError, WrapperUnavailableError
from securekit.rotation import ConfigDocuments
from securekit.testing import FlakyWrapper
from securekit.wrappers import KeyWrapper
from tests.config.parts import Host, author, host

TEXT = b"db:\n  host: db.example\n  password: hunter2-canary\n"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has seen nothing."""
    monkeypatch.setenv("SECUREKIT_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("SECUREKIT_IDENTITY", raising=False)


def write(file: Path, *hosts: Host, made: datetime = LONG_AGO) -> None:
    """Write an encrypted document for hosts, as its author has it."""
    from securekit.config._state import HostState

    file.parent.mkdir(parents=True, exist_ok=True)
    clear = Document.parse(TEXT, format="yaml", name=str(file))
    edit = clear.encrypt(environment="production", recipients=[one.public for one in hosts], patterns=["**.password"], clock=made.timestamp)
    document = edit.finish()
    HostState.of_user().remember(document)
    document.write(file, expected=None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "config"
    write(root / "a.yaml", host(0))
    write(root / "b/c.yaml", host(0))
    (root / "clear.yaml").write_text("a: 1\n")
    (root / "link.yaml").symlink_to(root / "a.yaml")
    (root / ".git").mkdir()
    write(root / ".git/x.yaml", host(0))
    return root


def password(file: Path, one: Host) -> str:
    return str(Document.read(file).open([one.private]).at(("db", "password")))


def recipients(file: Path) -> list[str]:
    return [one.key_ref for one in Document.read(file).required.recipients]


def test_a_renewed_host_takes_the_old_ones_place(root: Path, journal: Path) -> None:
    """The new certificate reads everything; the old one reads nothing that is written from now on."""
    source = ConfigDocuments(root, identity=host(0).private, recipients=[host(1).public])
    before = {name: Document.read(root / name).required.keys[0].id for name in ("a.yaml", "b/c.yaml")}
    plan = rotation.plan(source)
    report = rotation.run(plan, journal=journal)

    assert (plan.kind, plan.items, plan.todo, report.changed, report.failed) == ("rewrap", 2, 2, 2, 0)
    for name, key_id in before.items():
        assert recipients(root / name) == [host(1).name[1]]
        assert password(root / name, host(1)) == "hunter2-canary"
        assert Document.read(root / name).required.keys[0].id != key_id
    assert rotation.plan(ConfigDocuments(root, identity=host(1).private, recipients=[host(1).public])).todo == 0


def test_one_more_host_reads_the_same_data_keys(root: Path, journal: Path) -> None:
    """Where nobody leaves, the values stay as they are."""
    source = ConfigDocuments(root, identity=host(0).private, recipients=[host(0).public, host(1).public])
    token = [leaf.token for leaf in Document.read(root / "a.yaml").leaves() if leaf.token]
    report = rotation.run(rotation.plan(source), journal=journal)
    proof = rotation.verify(ConfigDocuments(root, identity=host(1).private))

    assert report.changed == 2
    assert [leaf.token for leaf in Document.read(root / "a.yaml").leaves() if leaf.token] == token
    assert (proof.items, proof.failed) == (2, 0)
    assert proof.needs(" ".join(host(0).name)) == 2


def test_old_data_keys_are_folded_into_a_new_one(root: Path, journal: Path) -> None:
    """Documents with a data key from before a moment are encrypted anew; younger ones stay."""
    write(root / "young.yaml", host(0), made=LONG_AGO + timedelta(days=100))
    source = ConfigDocuments(root, identity=host(0).private, created_before=LONG_AGO + timedelta(days=50))
    young = (root / "young.yaml").read_bytes()
    plan = rotation.plan(source)
    report = rotation.run(plan, journal=journal)

    assert (plan.kind, plan.todo, report.changed, report.current) == ("re-encrypt", 2, 2, 1)
    assert (root / "young.yaml").read_bytes() == young
    assert password(root / "a.yaml", host(0)) == "hunter2-canary"
    assert source.older_than(LONG_AGO).created_before == LONG_AGO


def test_a_single_document_is_a_source(root: Path, journal: Path) -> None:
    """Named as a file."""
    source = ConfigDocuments(root / "a.yaml", identity=host(0).private, recipients=[host(1).public])
    assert rotation.run(rotation.plan(source), journal=journal).changed == 1
    assert recipients(root / "b/c.yaml") == [host(0).name[1]]
    (tally,) = rotation.plan(ConfigDocuments(root / "clear.yaml")).tallies
    assert "is not encrypted" in tally.fault


def test_what_is_written_is_signed(root: Path, journal: Path) -> None:
    """With the key that is given, so that hosts whose trust wants it believe it."""
    source = ConfigDocuments(root, identity=host(0).private, recipients=[host(1).public], sign=author("anna").key)
    rotation.run(rotation.plan(source), journal=journal)
    assert [one.reference for one in Document.read(root / "a.yaml").required.signatures] == [author("anna").key.reference]


def test_a_trust_that_allows_other_recipients_alone_refuses(root: Path, journal: Path, tmp_path: Path) -> None:
    """Who may read is not decided by a rotation."""
    block = Document.read(root / "a.yaml").required
    trust = tmp_path / "trust.toml"
    pem = author("anna").certificate.pem
    name = ":".join(host(0).name)
    trust.write_text(
        f'[[document]]\nid = "{block.document.hex()}"\nenvironment = "production"\nsigners = ["""\n{pem}"""]\nrecipients = ["{name}"]\n'
        "generation = 1\n"
    )
    trust.chmod(0o600)
    source = ConfigDocuments(root / "a.yaml", identity=host(0).private, recipients=[host(1).public], trust=trust)
    report = rotation.run(rotation.plan(source), journal=journal)

    assert [failure.error for failure in report.failures] == ["ConfigError"]
    assert recipients(root / "a.yaml") == [host(0).name[1]]


def test_what_cannot_be_handled_is_named(root: Path, journal: Path) -> None:
    """Somebody else's document, and one that is damaged, stop no other."""
    write(root / "other.yaml", host(2))
    (root / "broken.yaml").write_bytes((root / "a.yaml").read_bytes().replace(b"recipients", b"recipient"))
    source = ConfigDocuments(root, identity=host(0).private, recipients=[host(1).public])
    plan = rotation.plan(source)
    report = rotation.run(plan, journal=journal)
    proof = rotation.verify(ConfigDocuments(root, identity=host(1).private))

    assert report.changed == 2
    assert {failure.item for failure in report.failures} <= {"other.yaml", "broken.yaml"}
    assert "other.yaml" in {failure.item for failure in report.failures}
    assert sum(tally.items for tally in plan.faults) == 1
    assert (proof.failed, proof.unknown) == (2, 1)


def test_a_document_that_others_write_is_busy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their change stays; the next run takes it."""
    job = rotation.plan(ConfigDocuments(root, identity=host(0).private, recipients=[host(1).public])).job

    def refuse(*_: object, **__: object) -> None:
        raise ConflictError

    monkeypatch.setattr(Document, "write", refuse)
    assert job.work(["a.yaml"]).busy == 1


def test_a_document_that_is_deleted_meanwhile_is_no_failure(root: Path) -> None:
    """It needs nothing any more."""
    job = rotation.plan(ConfigDocuments(root, identity=host(0).private, recipients=[host(1).public])).job
    (root / "a.yaml").unlink()
    assert job.work(["a.yaml", "b/c.yaml"]).examined == 1


def test_a_kms_that_is_away_delays_documents(root: Path, journal: Path) -> None:
    """It is not a failure of the documents."""
    away: KeyWrapper = FlakyWrapper(host(0).private, unavailable=True)
    source = ConfigDocuments(root, identity=away, recipients=[host(1).public])
    with pytest.raises(WrapperUnavailableError):
        rotation.run(rotation.plan(source), journal=journal, patience=0)
    with pytest.raises(WrapperUnavailableError):
        rotation.verify(source, patience=0)


def test_documents_take_no_store(root: Path) -> None:
    """They bring their own keys."""
    from securekit.testing import memory_store

    with pytest.raises(TypeError, match="takes no store= and envelope="):
        rotation.plan(ConfigDocuments(root), store=memory_store())


def test_a_document_that_cannot_be_read_is_to_be_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whether it is encrypted."""
    opened = Path.open
    (root / "other.yaml").write_text("a: [")

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "other.yaml":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    (fault,) = [tally.fault for tally in rotation.plan(ConfigDocuments(root, identity=host(0).private)).tallies if tally.fault]
    assert "other.yaml" in fault
