# SPDX-License-Identifier: Apache-2.0
"""A key has leaked: what it opened is listed, and after the chain it opens nothing that is there; killed anywhere, the chain goes on."""

from __future__ import annotations

import shutil
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from securekit import rotation
from securekit.config import Document
from securekit.config._state import HostState
from securekit.envelope import Envelope
from securekit.exceptions import KeyStateError, RotationError
from securekit.keyring import FileKeyStore, KeyringWrapper, KeyStore
from securekit.opening import open_wrapper
from securekit.rotation import Estate, blast_radius, do_what_is_due, find_due, run_chain
from securekit.wrappers import KeyWrapper, LocalWrapper
from tests.config.parts import host
from tests.conftest import Count
from tests.openbao import OpenBao

TOML = """
[[store]]
name = "keys"
url = "file:keys/"
wrap = ["local:{wrap}"]
also_open = ["local:root.key"]

[[store]]
name = "children"
url = "file:children/"
wrap = ["local:other.key"]

[[source]]
name = "customers"
kind = "sql"
url = "sqlite:///app.db"
table = "customers"
key = "id"
columns = "iban"
store = "keys"
keyring = "eu/{{account}}/customers"
context = {{ id = "{{id}}" }}

[[source]]
name = "files"
kind = "files"
root = "files"
context = {{ file = "{{name}}" }}
recipients = ["local:{wrap}"]
also_open = ["local:root.key"]

[[source]]
name = "configuration"
kind = "config"
root = "config"
identity = ["local:root.key", "local:new.key"]
recipients = ["local:{wrap}"]
"""
A, B = "eu/a/customers", "eu/b/customers"


def estate(wrap: str = "root.key") -> Estate:
    return Estate.of(tomllib.loads(TOML.format(wrap=wrap)))


def store(wrap: str = "root.key") -> KeyStore:
    return estate(wrap).stores["keys"].open()


def records() -> dict[int, bytes]:
    engine = sa.create_engine("sqlite:///app.db")
    with engine.connect() as connection:
        found = {number: bytes(record) for number, record in connection.execute(sa.text("select id, iban from customers"))}
    engine.dispose()
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two accounts with records, files and a document under one KEK, and documents that take effect after a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECUREKIT_STATE", str(tmp_path / "state"))
    for name in ("root", "new", "other"):
        LocalWrapper.generate(tmp_path / f"{name}.key")
    root = LocalWrapper.from_file("root.key")
    opened = FileKeyStore("keys", wrapper=root, refresh=1, stale_if_error=1)
    rings = {"a": opened.keyring(A, create=True), "b": opened.keyring(B, create=True)}
    engine = sa.create_engine("sqlite:///app.db")
    with engine.begin() as connection:
        connection.execute(sa.text("create table customers (id integer primary key, account text, iban blob)"))
        for number in range(20):
            account = "ab"[number % 2]
            record = rings[account].encrypt(f"{number}".encode(), context={"id": str(number)})
            row = {"id": number, "account": account, "iban": record}
            connection.execute(sa.text("insert into customers values (:id, :account, :iban)"), row)
    engine.dispose()
    Path("files").mkdir()
    for number in range(3):
        with Envelope(root).open_writer(f"files/{number}.sk", context={"file": f"{number}.sk"}) as writer:
            writer.write(f"{number}".encode())
    Path("config").mkdir()
    write_document(root)
    return tmp_path


def write_document(*recipients: KeyWrapper) -> None:
    clear = Document.parse(b"password: canary\nhost: db\n", format="yaml")
    document = clear.encrypt(environment="production", recipients=list(recipients), patterns=["password"]).finish()
    HostState.of_user().remember(document)
    document.write("config/app.yaml", expected=None)


def everything_opens(wrap: str) -> bool:
    opened = store(wrap)
    return all(
        opened.keyring(B if number % 2 else A).decrypt(record, context={"id": str(number)}) == f"{number}".encode()
        for number, record in records().items()
    )


def test_a_data_key_that_leaked_opened_its_records(folder: Path) -> None:
    """Its keyring rotates, its records move; those of others stay; the commands that end it are printed."""
    leaked = store().keyring(A).primary().full_name
    before = records()
    said: list[str] = []

    blast = blast_radius(estate(), leaked)
    chain = run_chain(estate(), leaked, say=said.append)

    assert [(one.where, one.kind, one.what, one.items) for one in blast] == [("keys", "key", leaked, 1), ("customers", "items", "", 10)]
    assert list(chain.rotated) == [A]
    assert chain.proof is not None
    assert (chain.proof.needs(leaked), chain.proof.failed) == (0, 0)
    assert chain.commands == (f"securekit rotate retire {leaked}", f"securekit rotate retire {leaked} --destroy")
    after = records()
    assert {number for number in before if before[number] != after[number]} == set(range(0, 20, 2))
    assert everything_opens("root.key")
    assert any(line.startswith("waiting ") for line in said)
    assert rotation.retire(leaked, store=store(), proof=chain.proof).state == "disabled"


def test_a_kek_that_leaked_opened_everything_under_it(folder: Path) -> None:
    """Every keyring rotates and is rewrapped without it, records move, files and documents are encrypted anew."""
    old = LocalWrapper.from_file("root.key")
    leaked = f"local {old.key_ref}"
    before, keys = records(), [store().keyring(path).primary().full_name for path in (A, B)]
    files = {file.name: file.read_bytes() for file in Path("files").iterdir()}

    blast = {(one.where, one.kind, one.what) for one in blast_radius(estate("new.key"), leaked)}
    chain = run_chain(estate("new.key"), leaked)

    assert blast == {
        ("keys", "keyring", A),
        ("keys", "keyring", B),
        *(("keys", "key", key) for key in keys),
        ("customers", "items", ""),
        ("files", "items", ""),
        ("configuration", "secret", "app.yaml: password"),
    }
    assert chain.proof is not None
    assert (chain.proof.needs(leaked), chain.proof.failed) == (0, 0)
    assert all(chain.proof.needs(key) == 0 for key in keys)
    assert not set(before.values()) & set(records().values())
    assert all(file.read_bytes()[8192:] != files[file.name][8192:] for file in Path("files").iterdir())
    assert everything_opens("new.key")
    assert [one.key_ref for one in Document.read("config/app.yaml").required.recipients] == [LocalWrapper.from_file("new.key").key_ref]
    assert chain.commands[-1] == f"remove {leaked} from also_open, and destroy it where it is kept"
    assert {f"securekit rotate retire {key} --destroy" for key in keys} < set(chain.commands)


def test_the_reference_alone_names_a_kek(folder: Path) -> None:
    """As it is shown, without its kind."""
    reference = LocalWrapper.from_file("root.key").key_ref
    assert blast_radius(estate(), reference) == blast_radius(estate(), f"local {reference}")


def test_a_kek_that_is_still_written_stops_the_chain(folder: Path) -> None:
    """Nothing is gained by rotating what is wrapped to the leaked KEK again: that is said before anything is done."""
    before = records()
    with pytest.raises(RotationError, match=r"still wraps to local .*: give it another KEK in wrap"):
        run_chain(estate(), f"local {LocalWrapper.from_file('root.key').key_ref}")
    assert records() == before
    with pytest.raises(RotationError, match="no store has the key"):
        run_chain(estate(), f"{A}@00000000")


def test_a_data_key_that_wrapped_keyrings_opened_them_too(folder: Path) -> None:
    """Children of a tenant's key rotate as well, and are wrapped under its successor."""
    parent = store().keyring(A)
    parent_key = parent.primary().full_name
    children = estate().stores["children"].open()
    wrapper = KeyringWrapper(parent)
    other = FileKeyStore("children", wrapper=wrapper, refresh=1, stale_if_error=1)
    child = other.keyring("eu/a/subject", create=True)
    leaked_child = child.primary().full_name
    assert children.paths() == ["eu/a/subject"]

    blast = {(one.kind, one.what) for one in blast_radius(estate(), parent_key)}

    assert {("key", parent_key), ("keyring", "eu/a/subject"), ("key", leaked_child), ("items", "")} == blast


def test_a_transit_version_that_leaked(folder: Path, bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotated in Vault first, and named with its version: keyrings are rewrapped under the new one, and rotate."""
    name = f"leak-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    monkeypatch.setenv("VAULT_TOKEN", bao.root_token)
    table = {"store": [{"name": "keys", "url": "file:transit/", "wrap": [f"vault:transit/{name}"]}]}
    from securekit import open_store

    ring = open_store("file:transit/", wrap=f"vault:transit/{name}", refresh=1, stale_if_error=1).keyring(A, create=True)
    with pytest.raises(RotationError, match=f"name the version that leaked, such as: vault-transit transit/{name} v1"):
        run_chain(Estate.of(table), f"vault-transit transit/{name}")
    bao.request("POST", f"transit/keys/{name}/rotate", {})

    chain = run_chain(Estate.of(table), f"vault-transit transit/{name} v1")

    ring.refresh()
    assert chain.proof is not None
    assert chain.proof.needs(f"vault-transit transit/{name} v1") == 0
    assert len(ring.keys()) == 2
    assert ring.recipients[0].ciphertext.startswith(b"vault:v2:")


class StoppedError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("kek", [False, True], ids=["data key", "KEK"])
def test_a_chain_that_is_killed_anywhere_goes_on(folder: Path, count: Count, *, kek: bool) -> None:
    """Killed at everything that it says, it rotates nothing twice, and ends as if nothing had happened."""
    leaked = f"local {LocalWrapper.from_file('root.key').key_ref}" if kek else store().keyring(A).primary().full_name
    wrap = "new.key" if kek else "root.key"
    kills = 0
    while True:
        left = iter(range(kills))

        def say(_: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise StoppedError

        try:
            chain = run_chain(estate(wrap), leaked, say=say)
        except StoppedError:
            kills += 1
            assert everything_opens(wrap)
            continue
        break

    assert kills >= 3
    assert chain.proof is not None
    assert (chain.proof.needs(leaked), chain.proof.failed) == (0, 0)
    assert [len(store(wrap).keyring(path).keys()) for path in (A, B)] == ([2, 2] if kek else [2, 1])
    assert everything_opens(wrap)
    count("chains after a leak killed and resumed", kills)


def test_a_chain_can_be_stopped(folder: Path) -> None:
    """While it waits, and before it encrypts anew: it says how it goes on."""
    leaked = store().keyring(A).primary().full_name
    stop = threading.Event()
    stop.set()
    chain = run_chain(estate(), leaked, stop=stop)
    assert chain.proof is None
    assert chain.commands == (f"securekit rotate compromise {leaked}",)
    time.sleep(1.1)
    again = run_chain(estate(), leaked, stop=stop)
    assert again.proof is None
    assert len(store().keyring(A).keys()) == 2
    assert run_chain(estate(), leaked).proof is not None


def test_a_begun_chain_of_another_version_is_not_touched(folder: Path) -> None:
    """What it has to do is not guessed."""
    leaked = store().keyring(A).primary().full_name
    stop = threading.Event()
    stop.set()
    run_chain(estate(), leaked, stop=stop)
    (begun,) = Path("rotation-journals").glob("compromise-*.json")
    begun.write_text('{"format":"securekit/rotation-compromise/2"}')
    with pytest.raises(RotationError, match="is of another version of securekit"):
        run_chain(estate(), leaked)


def test_secrets_of_documents_are_to_be_changed_at_their_source(folder: Path) -> None:
    """A host's key that leaked opened the secrets themselves: no rotation makes them unread."""
    shutil.rmtree("config")
    Path("config").mkdir()
    write_document(host(0).public, LocalWrapper.from_file("root.key"))
    table = tomllib.loads(TOML.format(wrap="root.key"))
    table["source"][-1].pop("recipients")
    fingerprint = host(0).name[1]
    Path("config/damaged.yaml").write_text("password: ENC[sk1,AAAA]\nsecurekit: {}\n")  # which is named by the verification
    blast = blast_radius(Estate.of(table), fingerprint)
    chain = run_chain(Estate.of(table), fingerprint)

    assert [(one.kind, one.what) for one in blast] == [("secret", "app.yaml: password")]
    assert chain.commands[0] == (
        f"securekit config recipients remove FILE {fingerprint}, and change the values at their source (configuration)"
    )


def test_a_kek_that_opens_nothing_is_spelled_wrongly(folder: Path) -> None:
    """No chain ends well because of a typing error: nothing is done, and nothing is said to be proven."""
    with pytest.raises(RotationError, match="local 00000000deadbeef opens nothing that is known"):
        run_chain(estate("new.key"), "local 00000000deadbeef")
    assert not Path("rotation-journals").exists()


def test_a_source_that_still_wraps_to_the_leaked_kek_stops_the_chain(folder: Path) -> None:
    """Files, messages and documents count as well as stores, before anything is done."""
    leaked = f"local {LocalWrapper.from_file('root.key').key_ref}"
    for number, name in (1, "files"), (2, "configuration"):
        table = tomllib.loads(TOML.format(wrap="new.key"))
        table["source"][number]["recipients"] = ["local:root.key"]
        with pytest.raises(RotationError, match=f"the source {name} still wraps to {leaked}: give it another KEK in recipients"):
            run_chain(Estate.of(table), leaked)
    assert len(store().keyring(A).keys()) == 1


def test_a_chain_that_could_not_do_everything_says_so_and_goes_on_later(folder: Path) -> None:
    """What still needs the leaked key is counted; repaired, it is done, and nothing rotates twice."""
    leaked = f"local {LocalWrapper.from_file('root.key').key_ref}"
    file = Path("files/1.sk")
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))

    first = run_chain(estate("new.key"), leaked)
    file.write_bytes(good)
    second = run_chain(estate("new.key"), leaked)

    assert first.needed == {leaked: 1}
    assert second.needed == {}
    assert [len(store("new.key").keyring(path).keys()) for path in (A, B)] == [2, 2]
    assert not list(Path("rotation-journals").glob("compromise-*"))


def test_files_that_a_leaked_kek_opened_through_a_keyring_are_encrypted_anew_after_a_kill(folder: Path) -> None:
    """Once its keyring is rewrapped, no document tells that the KEK opened its keys: it was written down."""
    leaked = f"local {LocalWrapper.from_file('root.key').key_ref}"
    old = store().keyring(A).primary().full_name
    for file in Path("files").iterdir():
        file.unlink()
    with Envelope(KeyringWrapper(store().keyring(A))).open_writer("files/0.sk", context={"file": "0.sk"}) as writer:
        writer.write(b"0")
    table = tomllib.loads(TOML.format(wrap="new.key"))
    table["source"][1] |= {"keyring": A, "store": "keys", "recipients": []}

    def kill(said: str) -> None:
        if said.startswith("waiting"):
            raise StoppedError

    with pytest.raises(StoppedError):
        run_chain(Estate.of(table), leaked, say=kill)
    chain = run_chain(Estate.of(table), leaked)

    assert chain.proof is not None
    assert (chain.needed, chain.proof.known(old), chain.proof.failed) == ({}, 0, 0)
    assert any(report.source.startswith("files") and report.changed == 1 for report in chain.reports)


def test_files_under_a_version_of_a_transit_key_that_leaked_are_encrypted_anew(
    folder: Path, bao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key stays, and so its reference: it is the version that is left behind."""
    name = f"leak-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    monkeypatch.setenv("VAULT_TOKEN", bao.root_token)
    source = {"name": "sealed", "kind": "files", "root": "sealed", "context": {}, "recipients": [f"vault:transit/{name}"]}
    Path("sealed").mkdir()
    with Envelope(open_wrapper(f"vault:transit/{name}")).open_writer("sealed/0.sk", context={}) as writer:
        writer.write(b"0")
    before = Path("sealed/0.sk").read_bytes()
    bao.request("POST", f"transit/keys/{name}/rotate", {})

    chain = run_chain(Estate.of({"source": [source]}), f"vault-transit transit/{name} v1")

    assert chain.needed == {}
    assert [(report.kind, report.changed) for report in chain.reports] == [("re-encrypt", 1)]
    assert Path("sealed/0.sk").read_bytes()[-17:] != before[-17:]


def test_what_a_kek_of_thousands_of_keyrings_opened_is_found_soon(folder: Path) -> None:
    """The work grows with the keyrings, and not with their square."""
    opened = store()
    for number in range(1500):
        opened.keyring(f"eu/c{number}/customers", create=True)
    begin = time.process_time()
    blast = blast_radius(estate(), LocalWrapper.from_file("root.key").key_ref)
    assert sum(one.kind == "keyring" for one in blast) == 1502
    assert time.process_time() - begin < 5


def test_a_staged_key_that_leaked_is_never_promoted(folder: Path) -> None:
    """It waits to be the next primary, which nobody makes it any more: not by hand, and not when promotions are due."""
    ring = store().keyring(A)
    staged = ring.rotate(promote=False).full_name

    run_chain(estate(), staged)
    time.sleep(1.1)
    do_what_is_due(estate())

    ring.refresh()
    assert ring.primary().full_name != staged
    with pytest.raises(KeyStateError, match="it must not encrypt any more"):
        ring.promote(staged)


def test_a_staged_key_that_a_dropped_kek_knew_stops_nothing_that_is_due(folder: Path) -> None:
    """It cannot be promoted, and so that is not due."""
    store().keyring(A).rotate(promote=False)
    run_chain(estate("new.key"), f"local {LocalWrapper.from_file('root.key').key_ref}")
    time.sleep(1.1)
    do_what_is_due(estate("new.key"))
    assert not [one for one in find_due(estate("new.key")) if one.automatic]


def test_a_keyring_of_the_same_path_in_another_store_stays(folder: Path) -> None:
    """It has other keys, of which none has leaked."""
    leaked = store().keyring(A).primary().full_name
    other = FileKeyStore("other", wrapper=LocalWrapper.from_file("other.key"), refresh=1, stale_if_error=1).keyring(A, create=True)
    table = tomllib.loads(TOML.format(wrap="root.key"))
    table["store"].append({"name": "other", "url": "file:other/", "wrap": ["local:other.key"]})

    chain = run_chain(Estate.of(table), leaked)

    other.refresh()
    assert len(other.keys()) == 1
    assert chain.rotated == {A: store().keyring(A).primary().full_name}


def test_documents_under_a_version_of_a_transit_key_are_known(folder: Path, bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody raises ``min_decryption_version`` over a document that still needs the old one, and its secrets were opened by it."""
    name = f"leak-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    monkeypatch.setenv("VAULT_TOKEN", bao.root_token)
    wrapper = open_wrapper(f"vault:transit/{name}")
    shutil.rmtree("config")
    Path("config").mkdir()
    write_document(wrapper)
    bao.request("POST", f"transit/keys/{name}/rotate", {})
    old = f"vault-transit transit/{name} v1"
    source = {"name": "configuration", "kind": "config", "root": "config", "identity": [f"vault:transit/{name}"]}

    proof = rotation.verify(rotation.ConfigDocuments("config", identity=wrapper))
    blast = blast_radius(Estate.of({"source": [source]}), old)

    assert (proof.counts, proof.needs(old)) == ({old: 1}, 1)
    assert [(one.kind, one.what) for one in blast] == [("secret", "app.yaml: password")]
