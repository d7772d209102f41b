# SPDX-License-Identifier: Apache-2.0
"""``securekit vault``: what is wrong between a host and Vault, and the policy that is enough and no more."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from securekit.exceptions import SecureKitError
from securekit.vault import KvKeyStore, TransitWrapper, VaultConnection
from securekit.vault._policy import Use, least_policy, to_hcl
from tests.cli.conftest import Console, Done
from tests.openbao import OpenBao, running
from tests.vault.faults import Proxy, closed_port, proxying, status

PATH = "eu/acme/invoices"


class Ward:
    """A Transit key and a keystore of the test's own in the shared server, and a console that examines them."""

    def __init__(self, console: Console, bao: OpenBao) -> None:
        self.console, self.bao = console, bao
        self.name = f"w{time.monotonic_ns()}"
        self.env: dict[str, str | None] = {
            "VAULT_ADDR": bao.address,
            "SECUREKIT_STORE": f"vault:kv/{self.name}",
            "SECUREKIT_WRAP": f"vault:transit/{self.name}",
        }
        bao.request("POST", f"transit/keys/{self.name}", {"type": "aes256-gcm96"})

    def policy(self, use: Use = Use.OPERATOR) -> dict[str, frozenset[str]]:
        return least_policy(use, transit=[("transit", self.name)], kv=("kv", self.name))

    def token(self, policy: dict[str, frozenset[str]] | str, **options: Any) -> str:
        return self.bao.token(policy if isinstance(policy, str) else to_hcl(policy), **options)

    def doctor(self, token: str, *arguments: str, **env: str) -> Done:
        return self.console("vault", "doctor", *arguments, env={**self.env, "VAULT_TOKEN": token, **env})

    def symptoms(self, token: str, *arguments: str, **env: str) -> dict[str, list[str]]:
        """Return what was found, by state."""
        found: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
        done = self.doctor(token, "--json", *arguments, **env)
        for one in done.json:
            found[one["state"]].append(one["what"])
        assert done.code == bool(found["error"])
        return found


@pytest.fixture
def ward(empty: Console, bao: OpenBao) -> Ward:
    return Ward(empty, bao)


@pytest.fixture
def proxy(bao: OpenBao) -> Iterator[Proxy]:
    with proxying(bao.address) as between:
        yield between


def says(texts: list[str], part: str) -> bool:
    return any(part in text for text in texts)


# --------------------------------------------------------------------------------------------------------- policy


def test_the_policy_that_is_printed(ward: Ward) -> None:
    """It is in Vault's language, for a service or for an operator, of what is in use and nothing else."""
    service = ward.console.ok("vault", "policy", env=ward.env).out
    assert service == (
        f'path "transit/decrypt/{ward.name}" {{\n  capabilities = ["update"]\n}}\n\n'
        f'path "kv/data/{ward.name}/*" {{\n  capabilities = ["read"]\n}}\n'
    )
    operator = ward.console.ok("vault", "policy", "--operator", "--reference", "kv/app/db", env=ward.env).out
    assert operator == to_hcl(ward.policy() | {"kv/data/app/db": frozenset({"read"})})
    assert f'path "transit/encrypt/{ward.name}" {{\n  capabilities = ["update"]\n}}' in operator
    two = ward.console.ok("vault", "policy", env={**ward.env, "SECUREKIT_WRAP": "vault:a/b/one?label=eu cert:x.pem vault:c/two"}).out
    assert 'path "a/b/decrypt/one"' in two
    assert 'path "c/decrypt/two"' in two


def test_what_is_in_use_must_be_named(ward: Ward) -> None:
    """With nothing in Vault in use, there is nothing to print; what is no name is refused, and not put into a policy."""
    local: dict[str, str | None] = {"SECUREKIT_STORE": "file:keys/", "SECUREKIT_WRAP": "local:root.key"}
    for arguments in ([], ["--operator"]):
        done = ward.console("vault", "policy", *arguments, env=local)
        assert (done.code, "what is in use?" in done.err) == (2, True)
    for name in ("vault:transit", "vault:/app", "vault:t/a*", 'vault:t/a" {}', "vault:../sys/raw", "vault:t/+"):
        done = ward.console("vault", "policy", "--wrap", name, env={**local, "SECUREKIT_WRAP": None})
        assert (done.code, "is no path of Vault" in done.err) == (2, True)


def live(bao: OpenBao, name: str, token: str) -> None:
    """Do everything that an operator does with keyrings."""
    vault = VaultConnection(bao.address, token=token)
    wrapper = TransitWrapper(vault, name)
    store = KvKeyStore(vault, mount="kv", prefix=name, wrapper=wrapper)
    ring = store.keyring(PATH, create=True)
    message = ring.encrypt(b"x", context={})
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    ring.enable(old)
    wrapper.rewrap_many([wrapped for wrapped in ring.recipients if wrapper.opens(wrapped)])
    assert store.paths() == [PATH]
    assert KvKeyStore(vault, mount="kv", prefix=name, wrapper=wrapper).keyring(PATH).decrypt(message, context={}) == b"x"
    assert store.backup(PATH)
    versions = bao.request("GET", f"kv/metadata/{name}/{PATH}")["data"]["versions"]
    assert [facts["destroyed"] for _, facts in sorted(versions.items())] == [True, True, True, False]
    store.delete(PATH)


def serve(bao: OpenBao, name: str, token: str) -> None:
    """Do everything that a service does with a keyring that is there."""
    vault = VaultConnection(bao.address, token=token)
    ring = KvKeyStore(vault, mount="kv", prefix=name, wrapper=TransitWrapper(vault, name)).keyring(PATH)
    assert ring.decrypt(ring.encrypt(b"x", context={}), context={}) == b"x"
    ring.refresh()


@pytest.mark.parametrize(("use", "work"), [(Use.OPERATOR, live), (Use.SERVICE, serve)])
def test_the_policy_is_enough_and_no_more(use: Use, work: Callable[[OpenBao, str, str], None], ward: Ward) -> None:
    """A token of exactly this policy does all of its work; without any one of its capabilities it does not."""
    vault = VaultConnection(ward.bao.address, token=ward.bao.root_token)
    store = KvKeyStore(vault, mount="kv", prefix=ward.name, wrapper=TransitWrapper(vault, ward.name))
    policy = ward.policy(use)
    if use is Use.SERVICE:
        store.keyring(PATH, create=True)
    work(ward.bao, ward.name, ward.token(policy, no_default_policy=True))
    for path, names in policy.items():
        for name in names:
            less = {**policy, path: names - {name}}
            with pytest.raises((SecureKitError, AssertionError)):
                work(ward.bao, ward.name, ward.token({place: left for place, left in less.items() if left}))
            if use is Use.OPERATOR:
                ward.bao.request("DELETE", f"kv/metadata/{ward.name}/{PATH}")


def test_who_may_only_serve_makes_and_changes_nothing(ward: Ward) -> None:
    """With a service's policy a keyring can neither be made nor rotated nor deleted, and none can be forged."""
    vault = VaultConnection(ward.bao.address, token=ward.bao.root_token)
    KvKeyStore(vault, mount="kv", prefix=ward.name, wrapper=TransitWrapper(vault, ward.name)).keyring(PATH, create=True)
    vault = VaultConnection(ward.bao.address, token=ward.token(ward.policy(Use.SERVICE)))
    store = KvKeyStore(vault, mount="kv", prefix=ward.name, wrapper=TransitWrapper(vault, ward.name))
    for work in (store.keyring(PATH).rotate, lambda: store.delete(PATH), lambda: store.keyring("eu/other", create=True), store.paths):
        with pytest.raises(SecureKitError, match="403"):
            work()


# --------------------------------------------------------------------------------------------------------- doctor


def test_all_is_well(ward: Ward) -> None:
    """A token of the least policy, and a good key and engine: no warning, and code 0."""
    found = ward.symptoms(ward.token(ward.policy()), "--operator")
    assert found["warning"] == found["error"] == []
    for part in (
        "answers: version 2.",
        "the token may do what is needed, and no more",
        "is of type aes256-gcm96, at version 1",
        "of version 2",
    ):
        assert says(found["ok"], part)
    assert ward.symptoms(ward.token(ward.policy(Use.SERVICE)))["warning"] == []


def test_for_people(ward: Ward) -> None:
    """Each line begins with its state, and says below what to do."""
    done = ward.doctor(ward.bao.token('path "x" { capabilities = ["read"] }'))
    assert done.code == 1
    assert f"  error  the token may not update transit/decrypt/{ward.name}\n" in done.out
    assert f'         path "transit/decrypt/{ward.name}" {{\n' in done.out
    assert "     ok  http" in done.out


def test_a_server_that_does_not_answer(ward: Ward) -> None:
    """The first thing that is wrong is all that is said."""
    with closed_port() as address:
        found = ward.symptoms("t", VAULT_ADDR=address)
    assert found == {"ok": [], "warning": [], "error": ["Vault cannot be reached: the connection was refused"]}
    done = ward.doctor("t", VAULT_ADDR=ward.bao.address.replace("http:", "https:"))
    assert (done.code, "no TLS connection to Vault" in done.out) == (1, True)
    assert ward.doctor("t", VAULT_ADDR="http://vault.example").err.startswith("securekit: error: plain http is accepted for this machine")


def test_a_server_that_is_sealed(ward: Ward) -> None:
    """Sealed, or not even set up: nothing else can be looked at."""
    with running() as server:
        server.seal()
        assert ward.symptoms("t", VAULT_ADDR=server.address)["error"] == ["it is sealed"]
    with proxying(ward.bao.address) as proxy:
        proxy.faulty(status(501, json.dumps({"initialized": False, "sealed": True}).encode()))
        assert ward.symptoms("t", VAULT_ADDR=proxy.address)["error"] == ["it was never initialized"]


def test_a_standby_whose_clock_is_wrong(ward: Ward, proxy: Proxy) -> None:
    """Both are warnings."""
    health = {"initialized": True, "sealed": False, "standby": True, "server_time_utc": time.time() - 500, "version": "2"}
    proxy.faulty(status(429, json.dumps(health).encode()), path="sys/health")
    found = ward.symptoms(ward.token(ward.policy()), "--operator", VAULT_ADDR=proxy.address)
    assert says(found["warning"], "it is a standby")
    assert says(found["warning"], "differ by 50")


def test_tokens_that_are_not_as_they_should_be(ward: Ward) -> None:
    """Unknown is an error; root, and one that is about to end, are warnings."""
    assert says(ward.symptoms("unknown")["error"], "403")
    assert says(ward.symptoms(ward.bao.root_token)["warning"], "it is a root token, which may do everything")
    found = ward.symptoms(ward.token(ward.policy(), ttl="30s", renewable=False), "--operator")
    assert says(found["warning"], "s and cannot be renewed")


def test_capabilities_that_are_missing_or_too_many(ward: Ward) -> None:
    """Each is named with its path, and the policy that is needed is printed."""
    found = ward.symptoms(ward.token(ward.policy(Use.SERVICE)), "--operator")
    assert f"the token may not update transit/encrypt/{ward.name}" in found["error"]
    assert f"the token may not update kv/destroy/{ward.name}/*" in found["error"]
    assert f"the token may not create, update kv/data/{ward.name}/*" in found["error"]
    wide = 'path "transit/*" { capabilities = ["create", "read", "update", "sudo"] }\npath "kv/*" { capabilities = ["read"] }'
    found = ward.symptoms(ward.token(wide))
    assert found["error"] == []
    assert f"the token may create, read, sudo transit/decrypt/{ward.name}, which is not needed" in found["warning"]
    done = ward.doctor(ward.token(wide), "--json")
    assert done.json[-2]["repair"] == to_hcl(ward.policy(Use.SERVICE))


def test_keys_that_are_not_as_they_should_be(ward: Ward) -> None:
    """Missing or of another type is an error; exportable, in clear backups or deletable is a warning."""
    token = ward.token(ward.policy())
    ward.bao.request(
        "POST", f"transit/keys/{ward.name}/config", {"exportable": True, "allow_plaintext_backup": True, "deletion_allowed": True}
    )
    found = ward.symptoms(token, "--operator")
    for part in ("can be exported", "can be backed up in clear text", "can be deleted, with all that it wraps"):
        assert says(found["warning"], part)
    ward.bao.request("DELETE", f"transit/keys/{ward.name}")
    assert says(ward.symptoms(token, "--operator")["error"], "there is no Transit key")
    ward.bao.request("POST", f"transit/keys/{ward.name}", {"type": "aes256-gcm96", "derived": True})
    assert says(ward.symptoms(token, "--operator")["error"], "is of type derived aes256-gcm96")


def test_an_engine_that_is_not_as_it_should_be(ward: Ward) -> None:
    """A keystore in an engine of version 1 is an error, with the command that makes a right one."""
    ward.bao.request("POST", f"sys/mounts/{ward.name}", {"type": "kv", "options": {"version": "1"}})
    found = ward.symptoms(ward.bao.root_token, SECUREKIT_STORE=f"vault:{ward.name}")
    assert says(found["error"], f"bao secrets enable -path={ward.name} -version=2 kv")


def test_references_are_examined_too(ward: Ward) -> None:
    """A secret that configuration refers to has to be readable."""
    found = ward.symptoms(ward.token(ward.policy(Use.SERVICE)), "--reference", "kv/app/db")
    assert found["error"] == ["the token may not read kv/data/app/db", "the policy that is needed, and no more, is this:"]
    only: dict[str, str | None] = {**ward.env, "SECUREKIT_STORE": None, "SECUREKIT_WRAP": None, "VAULT_TOKEN": ward.bao.root_token}
    assert ward.console("vault", "doctor", "--reference", "kv/app/db", env=only).code == 0


def test_answers_of_another_shape(ward: Ward, proxy: Proxy) -> None:
    """What is not Vault's answer is no crash: it is said that capabilities are missing."""
    proxy.faulty(status(200, b'{"data":{"policies":7,"ttl":"x"}}'), path="-self")
    assert says(ward.symptoms("t", VAULT_ADDR=proxy.address)["error"], "the token may not read")
