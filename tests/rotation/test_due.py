# SPDX-License-Identifier: Apache-2.0
"""What a policy wants to be done: found without changing anything, and done as far as a program may."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from securekit.config import Document
from securekit.config._state import HostState
from securekit.envelope import Envelope
from securekit.keyring import KeyStore
from securekit.rotation import Due, Estate, do_what_is_due, find_due
from securekit.wrappers import CertificateWrapper, LocalWrapper
from tests.config.parts import host
from tests.identities import issue, private_key
from tests.openbao import OpenBao

DAY = 24 * 3600
PATH = "eu/acme/customers"

TOML = """
[policy]
data_key_max_age = "90d"
kek_max_age = "365d"
certificate_warning = "30d"
config_data_key_max_age = "180d"
max_messages = 50
grace = "7d"

[[store]]
name = "keys"
url = "file:keys/"
wrap = ["local:root.key"]
also_open = []

[[source]]
name = "customers"
kind = "sql"
url = "sqlite:///app.db"
table = "customers"
key = "id"
columns = "iban"
store = "keys"
keyring = "eu/{account}/customers"
context = { id = "{id}" }

[[source]]
name = "files"
kind = "files"
root = "files"
recipients = ["local:root.key"]

[[source]]
name = "configuration"
kind = "config"
root = "config"
identity = ["local:root.key"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that is rotated, in order, as it was made a moment ago."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECUREKIT_STATE", str(tmp_path / "state"))
    kek = LocalWrapper.generate(tmp_path / "root.key")
    (tmp_path / "rotation.toml").write_text(TOML)
    ring = estate().stores["keys"].open().keyring(PATH, create=True)
    engine = sa.create_engine("sqlite:///app.db")
    with engine.begin() as connection:
        connection.execute(sa.text("create table customers (id integer primary key, account text, iban blob)"))
        for number in range(20):
            record = ring.encrypt(b"iban", context={"id": str(number)})
            connection.execute(sa.text("insert into customers values (:id, 'acme', :iban)"), {"id": number, "iban": record})
    engine.dispose()
    (tmp_path / "files").mkdir()
    with Envelope(kek).open_writer("files/a.sk", context={}) as writer:
        writer.write(b"data")
    (tmp_path / "config").mkdir()
    clear = Document.parse(b"password: canary\n", format="yaml")
    edit = clear.encrypt(environment="production", recipients=[kek], patterns=["password"], clock=lambda: time.time() - 3600)
    document = edit.finish()
    HostState.of_user().remember(document)  # as `securekit config encrypt` does on the author's host
    document.write("config/app.yaml", expected=None)
    return tmp_path


def estate() -> Estate:
    return Estate.read("rotation.toml")


def store() -> KeyStore:
    return estate().stores["keys"].open()


def actions(found: list[Due]) -> set[tuple[str, str, str]]:
    return {(one.action, one.where, one.what) for one in found}


def test_nothing_is_due_at_first(folder: Path) -> None:
    """What was made a moment ago is in order, and nothing is done."""
    assert find_due(estate()) == []
    assert do_what_is_due(estate()) == []


def test_ages_become_due(folder: Path) -> None:
    """A data key, a KEK's file, and a data key of a configuration document."""
    now = time.time()
    assert actions(find_due(estate(), now=now + 91 * DAY)) == {("rotate", "keys", PATH)}
    assert actions(find_due(estate(), now=now + 181 * DAY)) == {("rotate", "keys", PATH), ("re-encrypt", "configuration", "")}
    (kek,) = [one for one in find_due(estate(), now=now + 366 * DAY) if one.action == "renew KEK"]
    assert (kek.what, kek.automatic) == ("local:root.key", False)
    assert "366 days" in kek.reason


def test_what_is_due_is_done(folder: Path) -> None:
    """Keyrings rotate, records move, documents are encrypted anew; a second time there is nothing to do."""
    now = time.time() + 181 * DAY
    said: list[str] = []
    before = (store().keyring(PATH).primary().id, Path("config/app.yaml").read_bytes())

    reports = do_what_is_due(estate(), now=now, say=said.append)

    assert store().keyring(PATH).primary().id != before[0]
    assert Path("config/app.yaml").read_bytes() != before[1]
    assert [(report.kind, report.changed, report.failed) for report in reports] == [("re-encrypt", 20, 0), ("re-encrypt", 1, 0)]
    assert said[0].endswith("is primary now")
    assert find_due(estate()) == []
    assert do_what_is_due(estate()) == []


def test_a_new_kek_is_due_for_everything_that_it_wraps(folder: Path) -> None:
    """Deployed with a new one that is written, keyrings and files are rewrapped."""
    LocalWrapper.generate(folder / "new.key")
    text = TOML.replace('wrap = ["local:root.key"]\nalso_open = []', 'wrap = ["local:new.key"]\nalso_open = ["local:root.key"]')
    text = text.replace('recipients = ["local:root.key"]', 'recipients = ["local:new.key"]\nalso_open = ["local:root.key"]')
    (folder / "rotation.toml").write_text(text)

    assert actions(find_due(estate())) == {("rewrap", "keys", ""), ("rewrap", "files", "")}
    assert [(report.kind, report.changed) for report in do_what_is_due(estate())] == [("rewrap", 1), ("rewrap", 1)]
    assert find_due(estate()) == []


def test_many_messages_make_a_keyring_due(folder: Path) -> None:
    """They are counted by the database."""
    (folder / "rotation.toml").write_text(TOML.replace("max_messages = 50", "max_messages = 20"))
    (due,) = find_due(estate())
    assert (due.action, due.where, due.what) == ("rotate", "keys", PATH)
    assert "20 records of customers are under its primary" in due.reason


def test_staged_keys_are_promoted(folder: Path) -> None:
    """Once every process knows them."""
    fresh = store().keyring(PATH).rotate(promote=False)
    assert find_due(estate()) == []
    now = time.time() + 61
    assert actions(find_due(estate(), now=now)) == {("promote", "keys", fresh.full_name)}
    do_what_is_due(estate(), now=now)
    assert store().keyring(PATH).primary().id == fresh.id


def test_disabled_keys_are_to_be_destroyed_by_people(folder: Path) -> None:
    """After the grace; and keys that a dropped recipient knew are to be retired."""
    ring = store().keyring(PATH)
    old = ring.primary()
    ring.rotate()
    do_what_is_due(estate())
    ring.disable(old.id)
    assert find_due(estate()) == []
    (due,) = find_due(estate(), now=time.time() + 7 * DAY + 60)
    assert (due.action, due.what, due.automatic, due.command) == (
        "destroy",
        old.full_name,
        False,
        f"securekit rotate retire {old.full_name} --destroy",
    )


def test_keys_that_a_dropped_recipient_knew_are_to_be_retired(folder: Path) -> None:
    """Their keyring was rotated when it was dropped; what is under them moves, and then they end."""
    other = LocalWrapper(b"\7" * 32)
    opened = store()
    opened.rewrap([LocalWrapper.from_file("root.key"), other])
    opened.rewrap([LocalWrapper.from_file("root.key")], drop=[other])
    found = find_due(estate())
    assert {(one.action, one.where) for one in found} == {("destroy", "keys"), ("re-encrypt", "customers")}
    assert do_what_is_due(estate())[0].changed == 20


def test_certificates_that_end_are_told(folder: Path) -> None:
    """Of keyrings and of configuration documents, before they end and after."""
    now = time.time()
    certificate = issue("escrow", private_key("p256"))
    opened = store()
    opened.rewrap([LocalWrapper.from_file("root.key"), CertificateWrapper.from_pem(certificate.pem)])
    (folder / "escrow.pem").write_bytes(certificate.pem)
    text = TOML.replace('wrap = ["local:root.key"]', 'wrap = ["local:root.key", "cert:escrow.pem"]')
    (folder / "rotation.toml").write_text(text)
    clear = Document.parse(b"password: canary\n", format="yaml")
    edit = clear.encrypt(environment="production", recipients=[host(0).public], patterns=["password"], clock=lambda: now)
    edit.finish().write("config/host.yaml", expected=None)

    late = [one for one in find_due(estate(), now=now + 3650 * DAY) if one.action == "renew certificate"]

    assert {one.where for one in late} == {"keys", "configuration"}
    assert all("the certificate ended on" in one.reason and not one.automatic for one in late)
    assert not [one for one in find_due(estate()) if one.action == "renew certificate"]


def test_what_cannot_be_handled_is_to_be_looked_at(folder: Path) -> None:
    """A damaged keyring, garbage in a column, a file that is none, a broken document."""
    documents = next(path for path in Path("keys").rglob("*") if path.is_file() and path.read_bytes().startswith(b"{"))
    (documents.parent / documents.name.replace("customers", "orders")).write_bytes(b"garbage")
    Path("files/b.sk").write_bytes(b"garbage")
    Path("config/bad.yaml").write_bytes(Path("config/app.yaml").read_bytes().replace(b"recipients", b"recipient"))
    engine = sa.create_engine("sqlite:///app.db")
    with engine.begin() as connection:
        connection.execute(sa.text("update customers set iban = :iban where id = 3"), {"iban": b"garbage"})
    engine.dispose()

    looks = {one.where: one for one in find_due(estate()) if one.action == "look"}

    assert looks.keys() == {"keys", "customers", "files", "configuration"}
    assert not any(one.automatic for one in looks.values())


def test_transit_keys_become_due(folder: Path, bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old version is to be rotated in Vault by people; then keyrings are rewrapped under the new one."""
    name = f"due-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    monkeypatch.setenv("VAULT_TOKEN", bao.root_token)
    (folder / "rotation.toml").write_text(f'[[store]]\nname = "keys"\nurl = "file:other/"\nwrap = ["vault:transit/{name}"]\n')
    store().keyring(PATH, create=True)

    assert find_due(estate()) == []
    (kek,) = [one for one in find_due(estate(), now=time.time() + 366 * DAY) if one.action == "renew KEK"]
    assert kek.command.startswith(f"bao write -f transit/keys/{name}/rotate, then: ")
    bao.request("POST", f"transit/keys/{name}/rotate", {})
    (rewrap,) = find_due(estate())
    assert (rewrap.action, rewrap.automatic) == ("rewrap", True)
    assert do_what_is_due(estate())[0].changed == 1
    assert find_due(estate()) == []


def test_what_is_due_can_be_stopped(folder: Path) -> None:
    """Between two things, nothing is half done."""
    stop = threading.Event()
    stop.set()
    before = store().keyring(PATH).primary().id
    assert do_what_is_due(estate(), now=time.time() + 181 * DAY, stop=stop) == []
    assert store().keyring(PATH).primary().id == before
    assert not Path("rotation-journals").exists()


def test_a_keyring_that_is_due_for_several_reasons_gets_one_new_primary(folder: Path) -> None:
    """Old, and with too many records; and where one is staged, that is the new one."""
    (folder / "rotation.toml").write_text(TOML.replace("max_messages = 50", "max_messages = 20"))
    now = time.time() + 91 * DAY
    assert [one.action for one in find_due(estate(), now=now)] == ["rotate", "rotate"]
    do_what_is_due(estate(), now=now)
    assert len(store().keyring(PATH).keys()) == 2

    staged = store().keyring(PATH).rotate(promote=False)
    do_what_is_due(estate(), now=now)
    assert store().keyring(PATH).primary().id == staged.id
    assert len(store().keyring(PATH).keys()) == 3


def test_what_another_process_has_done_meanwhile_is_not_done_again(folder: Path) -> None:
    """Two that do what is due at once make one new primary for each keyring."""
    paths = (PATH, "eu/beta/customers", "eu/gamma/customers")
    for path in paths[1:]:
        store().keyring(path, create=True)
    now = time.time() + 91 * DAY
    others = iter([estate()])

    def say(_: str) -> None:
        if (other := next(others, None)) is not None:
            do_what_is_due(other, now=now)

    do_what_is_due(estate(), now=now, say=say)

    # The first one is old once more to the one that comes in between: for it, 91 days have gone by since.
    assert [len(store().keyring(path).keys()) for path in paths] == [3, 2, 2]


def test_one_rotation_is_due_whatever_the_reasons(folder: Path) -> None:
    """Past its end, and too old."""
    store().keyring(PATH).rotate(not_after=datetime.now(UTC) + timedelta(days=1))
    assert [one.what for one in find_due(estate(), now=time.time() + 91 * DAY) if one.action == "rotate"] == [PATH]
