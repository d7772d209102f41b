# SPDX-License-Identifier: Apache-2.0
"""Values of a configuration that live in Vault: read once, from where the trust allows, and again when their lease ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from securekit.config import Reference, Watcher, load
from securekit.exceptions import ConfigError, WrapperDeniedError, WrapperUnavailableError
from securekit.vault import VaultConnection, VaultReferences
from tests.config.parts import author, from_text, host, trust_in
from tests.openbao import OpenBao
from tests.vault.faults import Proxy, edited, status

ENVIRONMENT = "production"


@dataclass(frozen=True, slots=True)
class Service:
    """A host with a signed document that refers to secrets below one folder."""

    folder: Path
    place: str
    proxy: Proxy
    bao: OpenBao

    def put(self, name: str, **fields: str) -> None:
        self.bao.request("POST", f"kv/data/{self.place}/{name}", {"data": fields})

    def document(self, text: str, **trust: Any) -> dict[str, Any]:
        """Write a document, and return what `load` takes besides its path."""
        made = from_text(text.replace("HERE", f"vault:kv/{self.place}") + "\nlocal: secret\n", "yaml", "local").sign(author().key)
        (self.folder / "production.yaml").write_text(made.source.text)
        believed = trust_in(made, author(), **{"mounts": (f"kv/{self.place}",), **trust})
        return {"environment": ENVIRONMENT, "identity": host().private, "trust": believed}

    def load(self, text: str, resolver: VaultReferences | None = None, **trust: Any) -> dict[str, Any]:
        resolver = resolver or VaultReferences(VaultConnection(self.proxy.address, token=self.bao.root_token, cooldown=0))
        return load(self.folder / "production.yaml", **self.document(text, **trust), resolver=resolver)


@pytest.fixture
def service(tmp_path: Path, proxy: Proxy, bao: OpenBao) -> Service:
    made = Service(tmp_path, f"app{time.monotonic_ns()}", proxy, bao)
    made.put("db", user="app", password="first")
    return made


def test_references_are_resolved_when_a_document_is_loaded(service: Service) -> None:
    """Each reference becomes a Secret, wherever in the document it stands; what is encrypted in the document is there, too."""
    service.put("db", user="app", password="second")
    values = service.load("db:\n  user: HERE/db#user\n  passwords:\n  - HERE/db#password\n  - HERE/db#password@1\nport: 5432")
    assert [secret.reveal() for secret in (values["db"]["user"], *values["db"]["passwords"], values["local"])] == [
        "app",
        "second",
        "first",
        "secret",
    ]
    assert values["port"] == 5432
    assert "second" not in repr(values)


def test_every_path_is_read_once(service: Service) -> None:
    """Ten fields of one secret, one field of another and one old version cost three reads, and one look at the mount."""
    service.put("many", **{f"f{number}": str(number) for number in range(10)})
    lines = [f"f{number}: HERE/many#f{number}" for number in range(10)]
    service.load("\n".join([*lines, "user: HERE/db#user", "again: HERE/many#f0", "old: HERE/many#f0@1"]))
    paths = [request.path for request in service.proxy.requests if "lookup-self" not in request.path]
    assert len(paths) == len(set(paths)) == 4


@pytest.mark.parametrize("name", ["HERE/none#x", "HERE/db#none", "HERE/db#user@9"])
def test_what_is_not_there_is_said_by_its_place(service: Service, name: str) -> None:
    """A missing secret, field or version names the value of the document and the place in Vault."""
    with pytest.raises(ConfigError, match=f"db refers to Vault, and there is nothing at kv/{service.place}/"):
        service.load(f"db: {name}")


def test_only_what_the_trust_allows_is_read(service: Service) -> None:
    """A place that the trust does not allow is not asked for; nor is anything for a document that nobody vouches for."""
    with pytest.raises(ConfigError, match="the trust does not allow kv/"):
        service.load("db: HERE/db#user", mounts=("kv/other", f"kv/{service.place[:-1]}"))
    assert service.proxy.requests == []
    with pytest.raises(ConfigError, match="nothing was given that resolves it"):
        load(service.folder / "production.yaml", **service.document("db: HERE/db#user"))


def test_a_no_is_a_no_and_an_outage_an_outage(service: Service) -> None:
    """The errors of Vault come through as those of the holder of a KEK."""
    token = service.bao.token('path "kv/data/other" { capabilities = ["read"] }')
    with pytest.raises(WrapperDeniedError):
        service.load("db: HERE/db#user", VaultReferences(VaultConnection(service.bao.address, token=token)))
    service.proxy.faulty(status(503), path="kv/data")
    with pytest.raises(WrapperUnavailableError):
        service.load("db: HERE/db#user")


@pytest.mark.parametrize(
    "change", [lambda answer: answer.update(data=7), lambda answer: answer["data"].update(data=[]), lambda answer: answer.clear()]
)
def test_answers_of_another_shape_hold_nothing(service: Service, change: Callable[[Any], object]) -> None:
    """A malformed answer gives no value, and no error of another library."""
    service.proxy.faulty(edited(change), path="kv/data")
    with pytest.raises(ConfigError, match="there is nothing at"):
        service.load("db: HERE/db#user")


def test_other_engines_are_read_by_their_path(service: Service) -> None:
    """What has no versions is read as it is: key-value of version 1, and engines that make what they give."""
    service.bao.request("POST", f"sys/mounts/{service.place}", {"type": "kv", "options": {"version": "1"}})
    service.bao.request("POST", f"{service.place}/db", {"password": "plain"})
    service.bao.request("POST", f"sys/mounts/totp{service.place}", {"type": "totp"})
    key = {"generate": True, "issuer": "x", "account_name": "y"}
    service.bao.request("POST", f"totp{service.place}/keys/app", key)
    text = f"db: vault:{service.place}/db#password\ncode: vault:totp{service.place}/code/app#code"
    values = service.load(text, mounts=(service.place, f"totp{service.place}"))
    assert values["db"].reveal() == "plain"
    assert len(values["code"].reveal()) == 6


def test_what_was_read_is_fresh_until_its_lease_ends(service: Service) -> None:
    """The shortest lease counts, and without any the time that was given; a fifth of it is kept in reserve."""
    service.bao.request("POST", f"sys/mounts/{service.place}", {"type": "kv", "options": {"version": "1"}})
    service.bao.request("POST", f"{service.place}/db", {"password": "plain", "ttl": "50s"})
    vault = VaultConnection(service.bao.address, token=service.bao.root_token)
    references = VaultReferences(vault, refresh=100)
    assert references.fresh_until == math.inf
    assert references([]) == {}
    assert references.fresh_until == math.inf
    versioned, leased = Reference("kv", f"{service.place}/db", "user", None), Reference(service.place, "db", "password", None)
    assert references([versioned]) == {versioned: "app"}
    assert 79 < references.fresh_until - time.monotonic() <= 80
    assert references([versioned, leased])[leased] == "plain"
    assert 39 < references.fresh_until - time.monotonic() <= 40
    assert "plain" not in repr(references)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)


def test_a_watcher_reads_again_when_the_lease_ends(service: Service) -> None:
    """A secret that is changed in Vault is changed in the service, although its document has not changed."""
    vault = VaultConnection(service.proxy.address, token=service.bao.root_token, cooldown=0)
    options = service.document("db: HERE/db#password")
    seen: list[tuple[str, ...]] = []
    errors: list[Exception] = []
    with Watcher(
        service.folder / "production.yaml",
        resolver=VaultReferences(vault, refresh=0.4),
        interval=0.05,
        on_change=lambda _, paths: seen.append(paths),
        on_error=errors.append,
        **options,
    ) as watcher:
        assert watcher.current["db"].reveal() == "first"
        service.put("db", password="second")
        until(lambda: watcher.current["db"].reveal() == "second")
        assert seen == [("db",)]
        reads = len(service.proxy.seen("kv/data"))
        assert reads >= 2
        service.proxy.faulty(status(503), path="kv/data")
        until(lambda: errors)
        assert watcher.current["db"].reveal() == "second"
        service.put("db", password="third")
        time.sleep(1)
        assert len(errors) == 1
        service.proxy.faulty(None)
        until(lambda: watcher.current["db"].reveal() == "third")


def test_a_watcher_asks_no_more_often_than_leases_end(service: Service) -> None:
    """As long as what was read is fresh, nothing is asked, however often the watcher looks."""
    vault = VaultConnection(service.proxy.address, token=service.bao.root_token)
    options = service.document("db: HERE/db#password")
    with Watcher(service.folder / "production.yaml", resolver=VaultReferences(vault, refresh=60), interval=0.02, **options):
        time.sleep(0.5)
    assert len(service.proxy.seen("kv/data")) == 1


def test_credentials_with_a_lease_are_made_anew(service: Service) -> None:
    """An engine that makes credentials, such as for a database, is asked again before these end."""
    vault = VaultConnection(service.proxy.address, token=service.bao.root_token)
    made = iter(range(1000))

    def creds(answer: dict[str, Any]) -> None:
        answer.update(lease_duration=0.4, data={"password": f"made-{next(made)}"})

    service.bao.request("POST", f"sys/mounts/{service.place}", {"type": "kv", "options": {"version": "1"}})
    service.bao.request("POST", f"{service.place}/creds/app", {"x": "y"})
    service.proxy.faulty(edited(creds), path="creds/app")
    options = service.document(f"db: vault:{service.place}/creds/app#password", mounts=(service.place,))
    with Watcher(service.folder / "production.yaml", resolver=VaultReferences(vault), interval=0.02, **options) as watcher:
        assert watcher.current["db"].reveal() == "made-0"
        until(lambda: watcher.current["db"].reveal() == "made-2")
