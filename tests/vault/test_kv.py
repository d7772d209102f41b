# SPDX-License-Identifier: Apache-2.0
"""Keyrings in Vault's key-value engine: many hosts write at once, answers get lost, secrets are erased, and Vault goes away."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from securekit import FileKeyStore, LocalWrapper
from securekit.exceptions import (
    ConflictError,
    KeyNotFoundError,
    KeyStoreError,
    KeyStoreUnavailableError,
    WrapperDeniedError,
    WrapperUnavailableError,
)
from securekit.keyring import Event, EventKind, KeyState, KeyStore
from securekit.opening import open_store
from securekit.testing import FakeClock
from securekit.vault import KvKeyStore, TransitWrapper, VaultConnection
from securekit.vault._kv import KvStorage
from tests.cli.conftest import Console
from tests.conftest import Count
from tests.keyring.parts import LOCAL, PATH, document
from tests.openbao import OpenBao
from tests.vault import faults
from tests.vault.faults import Proxy, edited, proxying, status

_fork = multiprocessing.get_context("fork")
DAY = 24 * 3600


@pytest.fixture
def prefix() -> str:
    """A place in the engine that no other test uses."""
    return f"p{time.monotonic_ns()}"


@pytest.fixture
def store(vault: VaultConnection, prefix: str) -> KvKeyStore:
    return KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=LOCAL)


def storage_of(proxy: Proxy, bao: OpenBao, prefix: str) -> KvStorage:
    return KvStorage(VaultConnection(proxy.address, token=bao.root_token, cooldown=0), mount="kv", prefix=prefix)


def status_of(bao: OpenBao, path: str) -> int:
    with httpx.Client(trust_env=False) as client:
        return client.get(f"{bao.address}/v1/{path}", headers={"X-Vault-Token": bao.root_token}).status_code


# ------------------------------------------------------------------------------------------------------ documents


def test_a_document_is_one_secret(bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """A keyring is the field ``document`` of one secret, and every change of it is a version."""
    ring = store.keyring(PATH, create=True)
    ring.rotate()
    data = bao.request("GET", f"kv/data/{prefix}/{PATH}")["data"]
    assert list(data["data"]) == ["document"]
    assert json.loads(data["data"]["document"])["revision"] == data["metadata"]["version"] == 2


def test_listing(vault: VaultConnection, bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """Paths are found at every depth, also one below another; what no keyring can be called is passed over."""
    assert store.paths() == []
    paths = ["a/b", "a/b/c", "a/bc", "x", "1/2/3/4/5/6/7/8"]
    for path in paths:
        store.keyring(path, create=True)
    for other in ("Not A Path", "1/2/3/4/5/6/7/8/9", "UPPER/x"):
        bao.request("POST", f"kv/data/{prefix}/{other}", {"data": {"x": "y"}})
    assert store.paths() == sorted(paths)
    assert store.paths("a/b") == ["a/b", "a/b/c"]


def test_a_prefix_may_be_left_out(bao: OpenBao, vault: VaultConnection) -> None:
    """Then the engine holds keyrings and nothing else."""
    bao.request("POST", "sys/mounts/shared/keys", {"type": "kv", "options": {"version": "2"}})
    storage = KvStorage(vault, mount="shared/keys", prefix="")
    data = document()
    _until(lambda: storage.write(PATH, data, expected=None))
    assert storage.read(PATH) == data
    assert list(storage.paths()) == [PATH]


def _until(work: Callable[[], object]) -> None:
    """Do something until it works: a new engine upgrades itself for a moment."""
    for _ in range(100):
        try:
            work()
        except KeyStoreError:
            time.sleep(0.05)
        else:
            return
    work()


@pytest.mark.parametrize(
    ("mount", "prefix"), [("", "x"), ("kv/", "x"), ("../sys", "x"), ("kv", "a//b"), ("kv", "/a"), ("kv", "a?b"), ("k v", "")]
)
def test_places_that_lead_elsewhere(vault: VaultConnection, mount: str, prefix: str) -> None:
    """Mount and prefix are parts of a path, and cannot change what the rest of it means."""
    with pytest.raises(ValueError, match="names joined by '/'"):
        KvStorage(vault, mount=mount, prefix=prefix)


def test_what_is_no_document(bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """A secret of somebody else's in the place of a keyring is left alone."""
    bao.request("POST", f"kv/data/{prefix}/{PATH}", {"data": {"password": "x"}})
    for call in (lambda: store.keyring(PATH), lambda: store.keyring(PATH, create=True), lambda: store.delete(PATH)):
        with pytest.raises(KeyStoreError, match=f"what Vault has at kv/{prefix}/{PATH} is no keyring document"):
            call()
    assert bao.request("GET", f"kv/data/{prefix}/{PATH}")["data"]["data"] == {"password": "x"}


# ------------------------------------------------------------------------------------------------------- engines


def test_a_mount_that_is_not_there(vault: VaultConnection) -> None:
    """It is not taken for an empty store; the error has the command that makes it."""
    store = KvKeyStore(vault, mount="nowhere", prefix="x", wrapper=LOCAL)
    for call in (store.paths, lambda: store.keyring(PATH), lambda: store.keyring(PATH, create=True)):
        with pytest.raises(KeyStoreUnavailableError, match="bao secrets enable -path=nowhere -version=2 kv"):
            call()


def test_an_engine_of_version_1(bao: OpenBao, vault: VaultConnection) -> None:
    """It has no check-and-set, and would take any write: nothing is written to it, or read from it."""
    name = f"kv{time.monotonic_ns()}"
    bao.request("POST", f"sys/mounts/{name}", {"type": "kv", "options": {"version": "1"}})
    store = KvKeyStore(vault, mount=name, prefix="x", wrapper=LOCAL)
    with pytest.raises(KeyStoreUnavailableError, match="no key-value engine of version 2"):
        store.keyring(PATH, create=True)
    assert status_of(bao, f"{name}/data/x/{PATH}") == 404
    bao.request("POST", f"{name}/data/x/{PATH}", {"data": {"document": document().decode()}})
    with pytest.raises(KeyStoreUnavailableError, match="no key-value engine of version 2"):
        store.keyring(PATH)


def test_an_engine_of_another_kind(vault: VaultConnection) -> None:
    """Neither Transit nor Vault's own paths hold keyrings."""
    for mount in ("transit", "sys", "cubbyhole"):
        with pytest.raises(KeyStoreError):
            KvKeyStore(vault, mount=mount, prefix="x", wrapper=LOCAL).keyring(PATH, create=True)


def test_a_store_that_lost_its_engine_is_not_empty(bao: OpenBao, vault: VaultConnection) -> None:
    """When the mount is gone, keys in memory serve on: this is an outage, and no deletion of keyrings."""
    name = f"kv{time.monotonic_ns()}"
    bao.request("POST", f"sys/mounts/{name}", {"type": "kv", "options": {"version": "2"}})
    store = KvKeyStore(vault, mount=name, prefix="x", wrapper=LOCAL)
    _until(lambda: store.keyring(PATH, create=True))
    ring = store.keyring(PATH)
    bao.request("DELETE", f"sys/mounts/{name}")
    with pytest.raises(KeyStoreUnavailableError):
        ring.refresh()
    ring.encrypt(b"x", context={})


def test_a_document_that_is_gone_is_a_no(bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """Where the engine is there and the document is not, the keyring is gone, and memory does not serve on."""
    ring = store.keyring(PATH, create=True)
    bao.request("DELETE", f"kv/metadata/{prefix}/{PATH}")
    with pytest.raises(KeyNotFoundError, match="is gone"):
        ring.refresh()
    with pytest.raises(KeyNotFoundError):
        ring.encrypt(b"x", context={})


def test_who_may_not_read(bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """A 403 of the store is a no of the store."""
    store.keyring(PATH, create=True)
    token = bao.token(f'path "kv/data/{prefix}/us/*" {{ capabilities = ["read"] }}')
    reader = KvKeyStore(VaultConnection(bao.address, token=token), mount="kv", prefix=prefix, wrapper=LOCAL)
    for call in (lambda: reader.keyring(PATH), reader.paths):
        with pytest.raises(KeyStoreError, match="403") as caught:
            call()
        assert type(caught.value) is KeyStoreError


# -------------------------------------------------------------------------------------------------- several writers


def test_processes_that_create_at_once(bao: OpenBao, prefix: str, count: Count) -> None:
    """Eight processes that make the same keyring at once get the same one."""

    def create(connection: Any) -> None:
        vault = VaultConnection(bao.address, token=bao.root_token)
        store = KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=TransitWrapper(vault, "app"))
        connection.send(store.keyring(PATH, create=True).id)
        os._exit(0)

    pipes = [_fork.Pipe() for _ in range(8)]
    children = [_fork.Process(target=create, args=(there,)) for _, there in pipes]
    for child in children:
        child.start()
    ids = {here.recv() for here, _ in pipes}
    for child in children:
        child.join()
    assert len(ids) == 1
    count("processes that made one keyring", 8)


def test_processes_that_rotate_at_once(bao: OpenBao, store: KvKeyStore, prefix: str, count: Count) -> None:
    """Two processes that rotate again and again lose no key: check-and-set refuses what was made on top of an old version."""
    store.keyring(PATH, create=True)

    def rotate(connection: Any) -> None:
        ring = KvKeyStore(VaultConnection(bao.address, token=bao.root_token), mount="kv", prefix=prefix, wrapper=LOCAL).keyring(PATH)
        made: list[str] = []
        while len(made) < 20:
            try:
                made.append(ring.rotate().id)
            except ConflictError:
                continue
        connection.send(made)
        os._exit(0)

    pipes = [_fork.Pipe() for _ in range(2)]
    children = [_fork.Process(target=rotate, args=(there,)) for _, there in pipes]
    for child in children:
        child.start()
    made = [key_id for here, _ in pipes for key_id in here.recv()]
    for child in children:
        child.join()
    keys = KvKeyStore(VaultConnection(bao.address, token=bao.root_token), mount="kv", prefix=prefix, wrapper=LOCAL).keyring(PATH).keys()
    assert {key.id for key in keys[1:]} == set(made)
    assert [key.state for key in keys].count(KeyState.PRIMARY) == 1
    count("rotations by two processes at once", len(made))


@pytest.mark.parametrize("fault", [faults.lost_answer, faults.reset_in_body])
def test_an_answer_that_was_lost(fault: faults.Fault, bao: OpenBao, proxy: Proxy, prefix: str) -> None:
    """A write that arrived, and whose answer did not, is done, and done once."""
    storage = storage_of(proxy, bao, prefix)
    for revision, expected in ((1, None), (2, 1)):
        data = document(revision=revision)
        proxy.faulty(fault, path="kv/data", methods="POST PUT", times=1)
        storage.write(PATH, data, expected=expected)
        assert bao.request("GET", f"kv/data/{prefix}/{PATH}")["data"]["metadata"]["version"] == revision
        assert storage.read(PATH) == data


def test_somebody_else_wrote_between_read_and_write(bao: OpenBao, proxy: Proxy, prefix: str) -> None:
    """The write that came too late is a conflict, and what is there stays."""
    storage = storage_of(proxy, bao, prefix)
    other = KvStorage(VaultConnection(bao.address, token=bao.root_token), mount="kv", prefix=prefix)
    storage.write(PATH, document(), expected=None)
    theirs = document(revision=2)

    def overtaken(between: Proxy, connection: Any, request: faults.Request) -> None:
        other.write(PATH, theirs, expected=1)
        connection.sendall(between.forward(request).encode())

    proxy.faulty(overtaken, path="kv/data", methods="POST PUT", times=1)
    with pytest.raises(ConflictError, match=f"{PATH} was written by another process first"):
        storage.write(PATH, document(revision=2), expected=1)
    assert storage.read(PATH) == theirs
    with pytest.raises(ConflictError):
        storage.write(PATH, document(revision=2), expected=1)
    with pytest.raises(ConflictError):
        storage.write(PATH, document(), expected=None)


def test_a_keyring_survives_lost_answers(bao: OpenBao, proxy: Proxy, prefix: str) -> None:
    """Whichever answers of a rotation are lost, exactly one key more is there."""
    vault = VaultConnection(proxy.address, token=bao.root_token, cooldown=0)
    ring = KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=TransitWrapper(vault, "app")).keyring(PATH, create=True)
    for times in (1, 2):
        proxy.faulty(faults.lost_answer, times=times)
        ring.rotate()
        assert len(ring.keys()) == 1 + times


# ------------------------------------------------------------------------------------------------------- deletion


def test_deleting_destroys_every_version(bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """Neither an old version nor the metadata is left, so that nothing can be undeleted."""
    ring = store.keyring(PATH, create=True)
    ring.rotate()
    receipt = store.delete(PATH)
    assert (receipt.path, receipt.revision, receipt.remaining) == (PATH, 2, (f"local {LOCAL.key_ref}",))
    for place in (f"data/{prefix}/{PATH}?version=1", f"data/{prefix}/{PATH}", f"metadata/{prefix}/{PATH}"):
        assert status_of(bao, f"kv/{place}") == 404
    with pytest.raises(httpx.HTTPStatusError):
        bao.request("LIST", f"kv/metadata/{prefix}")
    assert store.paths() == []


def test_a_destroyed_key_is_in_no_old_version(bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """What a document replaces is destroyed with it: the engine would keep it, with every key that was destroyed since."""
    ring = store.keyring(PATH, create=True)
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    ring.destroy(old, force=True)
    metadata = bao.request("GET", f"kv/metadata/{prefix}/{PATH}")["data"]["versions"]
    assert [facts["destroyed"] for _, facts in sorted(metadata.items())] == [True, True, True, False]


def test_what_could_not_be_destroyed_is_so_at_the_next_change(
    bao: OpenBao, proxy: Proxy, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A change is made even if Vault does not answer in between; the log says what is left, and the next change destroys it."""
    storage = storage_of(proxy, bao, prefix)
    storage.write(PATH, document(), expected=None)
    proxy.faulty(status(503), path="kv/destroy")
    storage.write(PATH, document(revision=2), expected=1)
    assert f"kv/{prefix}/{PATH}: versions before the latest are not destroyed until its next change: Vault answered 503" in caplog.text
    assert status_of(bao, f"kv/data/{prefix}/{PATH}?version=1") == 200
    proxy.faulty(None)
    storage.write(PATH, document(revision=3), expected=2)
    assert [status_of(bao, f"kv/data/{prefix}/{PATH}?version={number}") for number in (1, 2, 3)] == [404, 404, 200]


def test_deleting_when_vault_is_away(bao: OpenBao, proxy: Proxy, prefix: str) -> None:
    """A deletion that failed says so, and one whose answer was lost is done."""
    storage = storage_of(proxy, bao, prefix)
    storage.write(PATH, document(), expected=None)
    proxy.faulty(status(503), methods="DELETE")
    with pytest.raises(KeyStoreUnavailableError):
        storage.delete(PATH)
    assert storage.read(PATH)
    proxy.faulty(faults.lost_answer, methods="DELETE", times=1)
    storage.delete(PATH)
    assert storage.read(PATH) is None


def test_a_secret_that_somebody_deleted_softly(bao: OpenBao, store: KvKeyStore, prefix: str) -> None:
    """A keyring whose latest version is marked as deleted is not there; another one can be made, and comes after it."""
    store.keyring(PATH, create=True)
    bao.request("DELETE", f"kv/data/{prefix}/{PATH}")
    another = KvKeyStore(VaultConnection(bao.address, token=bao.root_token), mount="kv", prefix=prefix, wrapper=LOCAL)
    with pytest.raises(KeyNotFoundError):
        another.keyring(PATH)
    another.keyring(PATH, create=True)
    assert bao.request("GET", f"kv/data/{prefix}/{PATH}")["data"]["metadata"]["version"] == 2
    bao.request("PUT", f"kv/destroy/{prefix}/{PATH}", {"versions": [2]})
    assert KvStorage(VaultConnection(bao.address, token=bao.root_token), mount="kv", prefix=prefix).read(PATH) is None


# ---------------------------------------------------------------------------------------------------- from names


@pytest.fixture
def environ(bao: OpenBao) -> dict[str, str]:
    return {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root_token}


def test_from_names(environ: dict[str, str], prefix: str) -> None:
    """The one line that moves a service to Vault."""
    store = open_store(f"vault:kv/{prefix}", wrap="vault:transit/app", environ=environ)
    token = store.keyring(PATH, create=True).encrypt(b"x", context={})
    again = open_store(environ={**environ, "SECUREKIT_STORE": f"vault:kv/{prefix}", "SECUREKIT_WRAP": "vault:transit/app"})
    assert again.keyring(PATH).decrypt(token, context={}) == b"x"
    assert again.keyring(PATH).recipients[0].key_ref == "transit/app"


def test_moving_to_vault_and_back_without_an_outage(environ: dict[str, str], prefix: str, tmp_path: Path, vault: VaultConnection) -> None:
    """By also_open, rewrap and copy: at every step the readers of before and of after read everything."""
    root, transit = LocalWrapper.generate(tmp_path / "root.key"), TransitWrapper(vault, "app")
    here = FileKeyStore(tmp_path / "keys", wrapper=root, also_open=[transit])
    token = here.keyring(PATH, create=True).encrypt(b"x", context={})

    def reads(*stores: KeyStore) -> bool:
        return all(store.keyring(PATH).decrypt(token, context={}) == b"x" for store in stores)

    assert here.rewrap(transit) == [PATH]  # the KEK first
    assert reads(here, FileKeyStore(tmp_path / "keys", wrapper=transit))
    there = KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=transit, also_open=[root])
    here.copy(PATH, there)  # then the documents
    assert reads(here, there, KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=transit))
    newer = there.keyring(PATH)
    newer.rotate()
    token = newer.encrypt(b"x", context={})
    there.rewrap([root])
    back = FileKeyStore(tmp_path / "keys", wrapper=root)
    there.copy(PATH, back)
    assert reads(there, back, FileKeyStore(tmp_path / "keys", wrapper=root))


def test_moving_by_the_command_line(
    bao: OpenBao, environ: dict[str, str], prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``keys copy`` and ``keys rewrap`` know Vault's names, there and back."""
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    console = Console(tmp_path, monkeypatch)
    console.ok("keys", "new-kek", "root.key")
    console.ok("keys", "create", PATH)
    token = console.ok("encrypt", "--keyring", PATH, stdin=b"data").raw
    names = {"SECUREKIT_STORE": f"vault:kv/{prefix}", "SECUREKIT_WRAP": "vault:transit/app"}
    console.ok("keys", "copy", PATH, names["SECUREKIT_STORE"], "--other-wrap", names["SECUREKIT_WRAP"])
    in_vault: dict[str, str | None] = {**names}
    assert console.ok("decrypt", "--keyring", PATH, stdin=token, env=in_vault).raw == b"data"
    assert console.ok("keys", "list", env=in_vault).out.split() == [PATH]
    console.ok("keys", "rotate", PATH, env=in_vault)
    newer = console.ok("encrypt", "--keyring", PATH, stdin=b"newer", env=in_vault).raw
    console.ok("keys", "copy", PATH, "file:keys/", "--other-wrap", "local:root.key", env=in_vault)
    assert console.ok("decrypt", "--keyring", PATH, stdin=newer).raw == b"newer"


# -------------------------------------------------------------------------------------------------------- outages


def service(address: str, token: str, prefix: str, **options: Any) -> KvKeyStore:
    vault = VaultConnection(address, token=token, deadline=2, cooldown=0)
    return KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=TransitWrapper(vault, "app"), **options)


@pytest.mark.parametrize("outage", ["seal", "kill"])
def test_keyrings_serve_on_while_vault_is_away(outage: str, own: OpenBao) -> None:
    """Sealed or dead, keys in memory serve on for stale_if_error and not a second longer."""
    clock = FakeClock()
    events: list[Event] = []
    ring = service(own.address, own.root_token, "x", clock=clock, on_event=events.append).keyring(PATH, create=True)
    token = ring.encrypt(b"x", context={})
    getattr(own, outage)()
    for seconds in (61, 3600, DAY - 3600 - 61 - 60):
        clock.advance(seconds)
        assert ring.decrypt(token, context={}) == b"x"
        ring.encrypt(b"y", context={})
        clock.advance(6)
    assert EventKind.STALE in {event.kind for event in events}
    clock.advance(120)
    with pytest.raises((KeyStoreUnavailableError, WrapperUnavailableError)):
        ring.decrypt(token, context={})
    with pytest.raises((KeyStoreUnavailableError, WrapperUnavailableError)):
        ring.encrypt(b"x", context={})


def test_a_no_ends_the_service_at_once(bao: OpenBao, prefix: str) -> None:
    """A revoked token is a 403: what is in memory does not serve on, and nothing is tried again for it."""
    clock = FakeClock()
    token = bao.token('path "kv/*" { capabilities = ["read", "create", "update"] }\npath "transit/*" { capabilities = ["read", "update"] }')
    ring = service(bao.address, token, prefix, clock=clock).keyring(PATH, create=True)
    bao.request("POST", "auth/token/revoke", {"token": token})
    ring.encrypt(b"x", context={})  # within refresh, nobody asks
    clock.advance(61)
    for _ in range(2):
        with pytest.raises(KeyStoreError, match="403"):
            ring.encrypt(b"x", context={})


def test_a_no_of_the_kms_ends_the_service_at_once(bao: OpenBao, prefix: str) -> None:
    """Who may read the document and no longer unwrap it gets WrapperDeniedError once the secret is due, and is not served."""
    clock = FakeClock()
    policy = 'path "kv/*" { capabilities = ["read", "create", "update"] }\n'
    token = bao.token(policy + 'path "transit/*" { capabilities = ["read", "update"] }')
    ring = service(bao.address, token, prefix, clock=clock).keyring(PATH, create=True)
    (name,) = _policies(bao, token)
    bao.request("PUT", f"sys/policies/acl/{name}", {"policy": policy})
    clock.advance(3601)
    for _ in range(2):
        with pytest.raises(WrapperDeniedError):
            ring.encrypt(b"x", context={})
        clock.advance(2)


def _policies(bao: OpenBao, token: str) -> list[str]:
    found = bao.request("POST", "auth/token/lookup", {"token": token})["data"]["policies"]
    return [name for name in found if name != "default"]


# ---------------------------------------------------------------------------------------------------- calls of the KMS


def test_one_call_per_keyring_and_cache_ttl(bao: OpenBao, prefix: str, proxy: Proxy, count: Count) -> None:
    """64 threads at three keyrings make one call for each, and one more when their time is up."""
    paths = [f"eu/acme/{name}" for name in ("invoices", "orders", "people")]
    setting = service(bao.address, bao.root_token, prefix)
    for path in paths:
        setting.keyring(path, create=True)
    clock = FakeClock()
    store = service(proxy.address, bao.root_token, prefix, clock=clock)

    def use(number: int) -> bytes:
        ring = store.keyring(paths[number % 3])
        return ring.decrypt(ring.encrypt(b"x", context={}), context={})

    with ThreadPoolExecutor(64) as pool:
        for _ in range(3):
            proxy.faulty(None)
            assert set(pool.map(use, range(640))) == {b"x"}
            assert len(proxy.seen("transit/")) == 3
            clock.advance(3601)
    count("uses of keyrings by 64 threads, one KMS call per keyring and cache_ttl", 3 * 640)


def test_encryption_makes_no_calls(bao: OpenBao, prefix: str, proxy: Proxy, count: Count) -> None:
    """10,000 encryptions make at most one call."""
    service(bao.address, bao.root_token, prefix).keyring(PATH, create=True)
    ring = service(proxy.address, bao.root_token, prefix).keyring(PATH)
    for number in range(10_000):
        ring.encrypt(b"x", context={"id": str(number)})
    assert len(proxy.seen("transit/")) == 1
    assert len(proxy.requests) <= 3
    count("encryptions after one KMS call", 10_000)


def test_asyncio(bao: OpenBao, prefix: str, proxy: Proxy) -> None:
    """Akeyring does not block the loop while Vault is slow; a task that is cancelled leaves nothing half done."""
    store = service(proxy.address, bao.root_token, prefix)

    async def play() -> None:
        proxy.faulty(faults.silent, path="encrypt", times=1)
        slow = asyncio.create_task(store.akeyring(PATH, create=True))
        longest, last = 0.0, time.monotonic()
        for _ in range(20):
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert longest < 0.2
        assert store.paths() == []
        ring = await store.akeyring(PATH, create=True)
        assert ring.decrypt(ring.encrypt(b"x", context={}), context={}) == b"x"

    asyncio.run(play())


def test_lists_of_another_shape(bao: OpenBao, prefix: str, proxy: Proxy) -> None:
    """A list that is none is malformed, and no empty store."""
    storage = storage_of(proxy, bao, prefix)
    storage.write(PATH, document(), expected=None)
    proxy.faulty(edited(lambda answer: answer["data"].update(keys=None)), path="metadata")
    with pytest.raises(KeyStoreUnavailableError, match="malformed"):
        list(storage.paths())
    proxy.faulty(status(404, b'{"errors":["something else"]}'), path="kv/")
    with pytest.raises(KeyStoreError):
        list(storage.paths())
    with pytest.raises(KeyStoreError):
        storage.read(PATH)


def test_three_regions_with_a_cluster_each(bao: OpenBao, own: OpenBao, prefix: str, tmp_path: Path) -> None:
    """Three clusters with one key name each are told apart by their labels; a region's keyring needs its own cluster alone."""
    with proxying(bao.address) as third:
        clusters = {"eu": bao.address, "us": own.address, "ap": third.address}
        tokens = {"eu": bao.root_token, "us": own.root_token, "ap": bao.root_token}
        wrappers = {
            region: TransitWrapper(VaultConnection(address, token=tokens[region], deadline=1), "app", label=region)
            for region, address in clusters.items()
        }
        store = FileKeyStore(tmp_path, wrapper=lambda path: wrappers[path.split("/")[0]])
        for region in clusters:
            assert store.keyring(f"{region}/acme", create=True).recipients[0].key_ref == f"{region}:transit/app"
        own.seal()
        again = FileKeyStore(tmp_path, wrapper=lambda path: wrappers[path.split("/")[0]])
        assert again.keyring("eu/acme").encrypt(b"x", context={})
        assert again.keyring("ap/acme").encrypt(b"x", context={})
        with pytest.raises(WrapperUnavailableError):
            again.keyring("us/acme")


def test_a_new_version_of_the_kek_is_due_at_once(bao: OpenBao, vault: VaultConnection, key: str, prefix: str) -> None:
    """After the Transit key was rotated, a rewrap wraps every keyring under the new version, once; then the old one may be excluded."""
    store = KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=TransitWrapper(vault, key))
    for path in ("eu/acme/invoices", "eu/globex/invoices"):
        store.keyring(path, create=True)
    token = store.keyring("eu/acme/invoices").encrypt(b"x", context={})
    bao.request("POST", f"transit/keys/{key}/rotate")

    wrapper = TransitWrapper(vault, key)
    assert store.rewrap(wrapper, dry_run=True) == ["eu/acme/invoices", "eu/globex/invoices"]
    assert store.rewrap(wrapper) == ["eu/acme/invoices", "eu/globex/invoices"]
    assert store.rewrap(wrapper) == []

    bao.request("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
    fresh = KvKeyStore(vault, mount="kv", prefix=prefix, wrapper=TransitWrapper(vault, key))
    assert fresh.keyring("eu/acme/invoices").decrypt(token, context={}) == b"x"
