# SPDX-License-Identifier: Apache-2.0
"""How a process comes to Vault: who it is, that its token is good, how long it waits, and when it does not ask."""

from __future__ import annotations

import base64
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hvac
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from securekit.exceptions import KeyFileError, SecureKitError, WrapperDeniedError, WrapperUnavailableError
from securekit.vault import TransitWrapper, VaultConnection, VaultEvent
from securekit.vault._call import Call
from securekit.vault._failure import Outcome, VaultFailureError
from securekit.wrappers import WrappedKey
from tests.conftest import Count
from tests.identities import private_key
from tests.openbao import OpenBao, running
from tests.vault import faults
from tests.vault.conftest import Authority
from tests.vault.faults import Proxy, closed_port, status

KEY, BINDING = bytes(range(32)), ["envelope", "x"]
POLICY = 'path "transit/*" { capabilities = ["read", "update"] }'
LOGIN = "/login"


@pytest.fixture(scope="module")
def wrapped(bao: OpenBao) -> WrappedKey:
    return TransitWrapper(VaultConnection(bao.address, token=bao.root_token), "app").wrap(KEY, BINDING)


@pytest.fixture(scope="module")
def approle(bao: OpenBao) -> str:
    """The id of a role whose tokens live for 100 seconds."""
    bao.request("PUT", "sys/policies/acl/app", {"policy": POLICY})
    bao.request("POST", "sys/auth/approle", {"type": "approle"})
    bao.request("POST", "auth/approle/role/app", {"token_policies": ["app"], "token_ttl": "100s"})
    return str(bao.request("GET", "auth/approle/role/app/role-id")["data"]["role_id"])


def secret_id(bao: OpenBao, role: str = "app") -> str:
    return str(bao.request("POST", f"auth/approle/role/{role}/secret-id")["data"]["secret_id"])


def short_role(bao: OpenBao, name: str, **options: Any) -> dict[str, str]:
    """Return how to log in by a role of short leases."""
    bao.request("POST", f"auth/approle/role/{name}", {"token_policies": ["app"], **options})
    return {"role_id": str(bao.request("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]), "secret_id": secret_id(bao, name)}


def opens(vault: VaultConnection, wrapped: WrappedKey) -> bool:
    return TransitWrapper(vault, "app").unwrap(wrapped, BINDING) == KEY


def write(path: Path, text: str) -> Path:
    """Replace a guarded file as a whole."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.chmod(0o600)
    return fresh.replace(path)


# ------------------------------------------------------------------------------------------------ ways to log in


def test_a_token(bao: OpenBao, wrapped: WrappedKey) -> None:
    """A token that is given is used, also if it may not look at itself."""
    assert opens(VaultConnection(bao.address, token=bao.root_token), wrapped)
    assert opens(VaultConnection(bao.address, token=bao.token(POLICY, no_default_policy=True)), wrapped)


def test_a_token_file_that_an_agent_replaces(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey, tmp_path: Path) -> None:
    """A dead token in a sink is replaced by what is there now, once; while nothing new is there, it is a denial, once."""
    tokens = [bao.token(POLICY) for _ in range(2)]
    sink = write(tmp_path / "sink", tokens[0] + "\n")
    vault = VaultConnection(proxy.address, token_file=sink)
    assert opens(vault, wrapped)
    bao.request("POST", "auth/token/revoke", {"token": tokens[0]})
    proxy.faulty(None)
    with pytest.raises(WrapperDeniedError):
        opens(vault, wrapped)
    assert len(proxy.seen("decrypt")) == 2
    write(sink, tokens[1])
    assert opens(vault, wrapped)


def test_a_token_file_is_guarded(bao: OpenBao, wrapped: WrappedKey, tmp_path: Path) -> None:
    """Others may not read it, it has one token in it, and what is wrong with it shows nothing of it."""
    sink = write(tmp_path / "sink", "hvs.canary")
    sink.chmod(0o644)
    with pytest.raises(WrapperDeniedError, match="chmod 600"):
        opens(VaultConnection(bao.address, token_file=sink), wrapped)
    with pytest.raises(WrapperDeniedError, match="has signs that no token has") as caught:
        opens(VaultConnection(bao.address, token_file=write(sink, "hvs.canary\nX-Evil: 1")), wrapped)
    assert "canary" not in str(caught.value)


def test_an_approle(bao: OpenBao, approle: str, wrapped: WrappedKey, tmp_path: Path) -> None:
    """A role logs in with its secret id, or with the one that is in a guarded file at that moment."""
    assert opens(VaultConnection(bao.address, role_id=approle, secret_id=secret_id(bao)), wrapped)
    file = write(tmp_path / "secret-id", "of-yesterday")
    vault = VaultConnection(bao.address, role_id=approle, secret_id_file=file)
    with pytest.raises(WrapperDeniedError, match=r"refused the login \(AppRole\): check the role, the credential and the mount"):
        opens(vault, wrapped)
    write(file, secret_id(bao))
    assert opens(vault, wrapped)


def test_a_wrapped_secret_id(bao: OpenBao, approle: str, wrapped: WrappedKey, tmp_path: Path) -> None:
    """The wrapping token is opened once, and what was in it serves the next login; a wrapping token of another's is refused."""
    inner = secret_id(bao)

    def wrapping(body: dict[str, str]) -> str:
        answer = _wrapping(bao, body)
        return str(answer["wrap_info"]["token"])

    file = write(tmp_path / "secret-id", wrapping({"secret_id": inner}))
    vault = VaultConnection(bao.address, role_id=approle, secret_id_file=file, secret_id_wrapped=True)
    assert opens(vault, wrapped)
    bao.request("POST", "auth/token/revoke", {"token": vault._tokens._token.value})  # type: ignore[union-attr]
    assert opens(vault, wrapped)
    for content in (wrapping({"other": "x"}), "hvs.used-already"):
        write(file, content)
        with pytest.raises(WrapperDeniedError, match="refused the login"):
            opens(VaultConnection(bao.address, role_id=approle, secret_id_file=file, secret_id_wrapped=True), wrapped)


def _wrapping(bao: OpenBao, body: dict[str, str]) -> Any:
    import httpx

    headers = {"X-Vault-Token": bao.root_token, "X-Vault-Wrap-TTL": "60"}
    with httpx.Client(trust_env=False) as client:
        return client.post(f"{bao.address}/v1/sys/wrapping/wrap", json=body, headers=headers).json()


def jwt(claims: dict[str, object]) -> str:
    """Return a token signed by a key of the test's own."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "ES256", "typ": "JWT"}, claims)]
    r, s = decode_dss_signature(private_key("p256", 903).sign(b".".join(parts), ECDSA(SHA256())))
    signature = base64.urlsafe_b64encode(r.to_bytes(32) + s.to_bytes(32)).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


@pytest.fixture(scope="module")
def jwt_auth(bao: OpenBao, approle: str) -> None:
    public = private_key("p256", 903).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    bao.request("POST", "sys/auth/ci", {"type": "jwt"})
    bao.request("POST", "auth/ci/config", {"jwt_validation_pubkeys": [public]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": ["app"]}
    bao.request("POST", "auth/ci/role/app", role)


def test_a_jwt(jwt_auth: None, bao: OpenBao, wrapped: WrappedKey, tmp_path: Path) -> None:
    """A token that a platform writes to a file logs in, at another mount, too; one of another audience does not."""
    claims = {"sub": "job 7", "aud": "vault", "iat": int(time.time()), "exp": int(time.time()) + 60}
    file = tmp_path / "jwt"
    file.write_text(jwt(claims) + "\n")
    vault = VaultConnection(bao.address, jwt_role="app", jwt_file=file, auth_mount="ci")
    assert opens(vault, wrapped)
    file.write_text(jwt({**claims, "aud": "another"}))
    with pytest.raises(WrapperDeniedError, match="JwtFile"):
        opens(VaultConnection(bao.address, jwt_role="app", jwt_file=file, auth_mount="ci"), wrapped)
    file.unlink()
    with pytest.raises(WrapperDeniedError, match=f"cannot read the token file {file}: No such file"):
        opens(VaultConnection(bao.address, jwt_role="app", jwt_file=file, auth_mount="ci"), wrapped)


class _TokenReview(BaseHTTPRequestHandler):
    """Kubernetes' answer to whether a service account's token is genuine."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = asked["spec"]["token"] == GENUINE
        user = {"username": "system:serviceaccount:shop:app", "uid": "u", "groups": []} if good else {}
        told = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {"authenticated": good, "user": user}}
        body = json.dumps(told).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


SHOP = {"namespace": "shop", "serviceaccount": {"name": "app", "uid": "u"}}
GENUINE = jwt({"sub": "system:serviceaccount:shop:app", "kubernetes.io": SHOP})


def test_a_kubernetes_service_account(authority: Authority, approle: str, bao: OpenBao, wrapped: WrappedKey, tmp_path: Path) -> None:
    """A pod logs in with its service account's token, which Vault asks Kubernetes about."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _TokenReview)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bao.request("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
    host = f"http://127.0.0.1:{server.server_port}"
    config = {"kubernetes_host": host, "token_reviewer_jwt": GENUINE, "kubernetes_ca_cert": authority.ca.read_text()}
    bao.request("POST", "auth/kubernetes/config", config)
    role = {"bound_service_account_names": ["app"], "bound_service_account_namespaces": ["shop"], "token_policies": ["app"]}
    bao.request("POST", "auth/kubernetes/role/app", role)
    file = tmp_path / "token"
    file.write_text(GENUINE)

    assert opens(VaultConnection(bao.address, kubernetes_role="app", jwt_file=file), wrapped)
    file.write_text(GENUINE[:-4] + "AAAA")
    with pytest.raises(WrapperDeniedError, match="KubernetesAccount"):
        opens(VaultConnection(bao.address, kubernetes_role="app", jwt_file=file), wrapped)
    server.shutdown()
    server.server_close()


def test_a_client_certificate(authority: Authority) -> None:
    """A host logs in with its TLS certificate, over verified TLS; its key must be guarded."""
    cert = authority.issue("web1")
    with running(tls=authority.issue("server")) as server:
        server.request("PUT", "sys/policies/acl/app", {"policy": POLICY})
        server.request("POST", "sys/auth/cert", {"type": "cert"})
        server.request("POST", "auth/cert/certs/web", {"certificate": authority.ca.read_text(), "token_policies": ["app"]})
        for role in ("web", ""):
            vault = VaultConnection(server.address, cert_role=role, cert=cert, ca=authority.ca)
            wrapper = TransitWrapper(vault, "app")
            assert wrapper.unwrap(wrapper.wrap(KEY, BINDING), BINDING) == KEY
        variables = {"SSL_CERT_FILE": str(authority.ca), "VAULT_ADDR": server.address, "VAULT_TOKEN": server.root_token}
        code = "from securekit.vault import *; print(TransitWrapper(VaultConnection.from_env(), 'app').latest_version())"
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, check=False)
        assert done.stdout == b"1\n", done.stderr  # without ca=, the authorities are the system's
        with pytest.raises(WrapperUnavailableError, match="file of authorities, or of the client certificate or its key, is not there"):
            VaultConnection(server.address, token="t", ca=authority.folder / "none").health()
    cert[1].chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        VaultConnection("https://vault.example", cert_role="", cert=cert)


# ------------------------------------------------------------------------------------------- arguments, environment


@pytest.mark.parametrize(
    "address",
    [
        "http://vault.example:8200",
        "http://10.0.0.1",
        "http://127.0.0.1.evil.example",
        "ftp://127.0.0.1",
        "vault.example:8200",
        "https://",
        "https://user:secret@vault.example",
        "https://vault.example?x",
        "https://vault.example#x",
        "",
        "http://localhost.evil.example",
    ],
)
def test_addresses_that_are_refused(address: str) -> None:
    """Plain http goes to this machine alone, and an address is nothing but an address."""
    with pytest.raises(ValueError, match=r"plain http is accepted for this machine itself alone|is of the form https") as caught:
        VaultConnection(address, token="t")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://localhost:8200", "http://[::1]:8200", "http://127.1.2.3", "https://vault.example/"])
def test_addresses_that_are_taken(address: str) -> None:
    """Loopback in all of its forms, and https everywhere."""
    assert VaultConnection(address, token="t").address == address.rstrip("/")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one way to log in to Vault, not none: token, token_file, role_id"),
        ({"token": "t", "token_file": "f"}, "not token and token_file"),
        ({"role_id": "r"}, "one of secret_id and secret_id_file"),
        ({"role_id": "r", "secret_id": "s", "secret_id_file": "f"}, "one of secret_id and secret_id_file"),
        ({"jwt_role": "r"}, "with jwt_role goes jwt_file"),
        ({"cert_role": "r"}, "with cert_role goes cert"),
        ({"token": "t", "deadline": 0}, "deadline must be more than 0"),
        ({"token": "t", "tries": 4}, "tries 1 to 3"),
        ({"token": "t", "cooldown": -1}, "cooldown at least 0"),
    ],
)
def test_arguments_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    """One way to log in, with all that belongs to it; numbers within bounds."""
    with pytest.raises(ValueError, match=message):
        VaultConnection("https://vault.example", **options)


def test_a_token_that_no_header_can_hold() -> None:
    """It is refused before it is sent, and not shown."""
    with pytest.raises(KeyFileError, match="signs that no token has") as caught:
        VaultConnection("https://vault.example", token="hvs.canary\r\nX: y")
    assert "canary" not in str(caught.value)


def test_the_standard_variables(bao: OpenBao, approle: str, wrapped: WrappedKey, tmp_path: Path, authority: Authority) -> None:
    """BAO_ counts before VAULT_, an argument before both, and a token before a role before the user's own file."""
    env = {"VAULT_ADDR": "https://elsewhere.example", "BAO_ADDR": bao.address, "HOME": str(tmp_path)}
    assert opens(VaultConnection.from_env({**env, "VAULT_TOKEN": bao.root_token}), wrapped)
    file = write(tmp_path / "secret-id", secret_id(bao))
    role = {**env, "VAULT_ROLE_ID": approle, "VAULT_SECRET_ID_FILE": str(file)}
    assert opens(VaultConnection.from_env(role), wrapped)
    with pytest.raises(ValueError, match="give one way to log in"):
        VaultConnection.from_env(env)
    write(tmp_path / ".vault-token", bao.root_token)
    assert opens(VaultConnection.from_env(env), wrapped)
    assert "AppRole" in repr(VaultConnection.from_env(role))
    assert "AppRole" in repr(VaultConnection.from_env({**env, "VAULT_TOKEN": "t"}, role_id=approle, secret_id="s"))
    assert "StaticToken" in repr(VaultConnection.from_env({**role, "VAULT_TOKEN": "t"}))
    cert = authority.issue("web2")
    more = {"VAULT_NAMESPACE": "team", "VAULT_CACERT": str(authority.ca), "VAULT_CLIENT_TIMEOUT": "90s", "VAULT_MAX_RETRIES": "9"}
    more |= {"VAULT_CLIENT_CERT": str(cert[0]), "VAULT_CLIENT_KEY": str(cert[1]), "VAULT_ADDR": "https://v.example", "VAULT_TOKEN": "t"}
    vault = VaultConnection.from_env(more)
    assert (vault._namespace, vault._ca, vault._cert) == ("team", str(authority.ca), tuple(map(str, cert)))
    assert (vault._deadline, vault._tries, vault.address) == (90, 3, "https://v.example")
    vault = VaultConnection.from_env(
        {**more, "VAULT_CLIENT_TIMEOUT": "1m", "VAULT_MAX_RETRIES": "0"}, address="https://w.example", deadline=3
    )
    assert (vault._deadline, vault._tries, vault.address) == (3, 1, "https://w.example")
    assert VaultConnection.from_env({**more, "VAULT_CLIENT_TIMEOUT": "1m"})._deadline == 60


def test_tls_cannot_be_switched_off() -> None:
    """VAULT_SKIP_VERIFY is refused, with what to do instead; and an address is needed."""
    env = {"VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": "t"}
    for value in ("1", "true", "yes"):
        with pytest.raises(ValueError, match="TLS is verified always: name the authority with VAULT_CACERT"):
            VaultConnection.from_env({**env, "VAULT_SKIP_VERIFY": value})
    assert VaultConnection.from_env({**env, "VAULT_SKIP_VERIFY": "false"}).address == "https://vault.example"
    with pytest.raises(ValueError, match="set VAULT_ADDR"):
        VaultConnection.from_env({})


def test_a_namespace(bao: OpenBao) -> None:
    """Calls go to the namespace; the server's health is outside of it; one that is not there is an error, and nothing missing."""
    bao.request("POST", "sys/namespaces/team")
    vault = VaultConnection(bao.address, token=bao.root_token, namespace="team")
    vault.call("mount", "", lambda client: client.sys.enable_secrets_engine("transit"))
    vault.call("make", "", lambda client: client.secrets.transit.create_key("theirs"))
    assert TransitWrapper(vault, "theirs").latest_version() == 1
    assert not vault.health().sealed


# -------------------------------------------------------------------------------------------------- tokens in time


def test_a_token_is_renewed_and_then_replaced(bao: OpenBao, approle: str, proxy: Proxy, wrapped: WrappedKey) -> None:
    """At two thirds of its lease a token is renewed; when that ends, the role logs in anew; no call ever fails."""
    role = short_role(bao, "brief", token_ttl="2s", token_max_ttl="3s")
    vault = VaultConnection(proxy.address, **role)  # type: ignore[arg-type]
    end = time.monotonic() + 20
    while len(proxy.seen("renew-self")) < 2 or len(proxy.seen(LOGIN)) < 2:
        assert time.monotonic() < end, "in vain"
        assert opens(vault, wrapped)
        time.sleep(0.05)
    assert 2 <= len(proxy.seen(LOGIN)) <= 4


def test_a_token_that_cannot_be_renewed_is_replaced_in_time(bao: OpenBao, approle: str, proxy: Proxy, wrapped: WrappedKey) -> None:
    """A batch token, which cannot be renewed, is replaced at two thirds of its life."""
    vault = VaultConnection(proxy.address, **short_role(bao, "batch", token_ttl="10m", token_type="batch"))  # type: ignore[arg-type]
    logins = []
    for seconds in (0, 350, 50, 350, 50):
        assert opens(vault, wrapped)
        aged(vault, seconds)
        assert opens(vault, wrapped)
        logins.append(len(proxy.seen(LOGIN)))
    assert logins == [1, 1, 2, 2, 3]
    assert proxy.seen("renew-self") == []


def aged(vault: VaultConnection, seconds: float) -> None:
    """Let a connection have got its token so many seconds earlier."""
    token = vault._tokens._token
    assert token is not None
    vault._tokens._token = replace(token, renew_at=token.renew_at - seconds, ends_at=token.ends_at - seconds)


def test_a_token_goes_on_while_vault_cannot_renew_it(bao: OpenBao, approle: str, proxy: Proxy, wrapped: WrappedKey) -> None:
    """If the renewal gets no answer, the token is used as long as it lives, and its renewal is tried again now and then."""
    vault = VaultConnection(proxy.address, **short_role(bao, "lively", token_ttl="10m"))  # type: ignore[arg-type]
    assert opens(vault, wrapped)
    proxy.faulty(status(503), path="renew-self")
    aged(vault, 400)
    assert all(opens(vault, wrapped) for _ in range(10))
    assert len(proxy.seen("renew-self")) == 1
    aged(vault, 20)
    assert all(opens(vault, wrapped) for _ in range(10))
    assert len(proxy.seen("renew-self")) == 2
    proxy.faulty(status(400), path="renew-self")
    aged(vault, 20)
    assert opens(vault, wrapped)
    assert len(proxy.seen(LOGIN)) == 1


def test_others_go_on_while_one_renews(bao: OpenBao, approle: str, proxy: Proxy, wrapped: WrappedKey) -> None:
    """A renewal without an answer holds up the thread that makes it for a part of its time, and no other."""
    vault = VaultConnection(proxy.address, **short_role(bao, "slow", token_ttl="10m"), deadline=0.8)  # type: ignore[arg-type]
    assert opens(vault, wrapped)
    proxy.faulty(faults.silent, path="renew-self")
    aged(vault, 400)
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(opens, vault, wrapped)
        _until(lambda: proxy.seen("renew-self"))
        begin = time.monotonic()
        assert opens(vault, wrapped)
        assert not renewing.done()
        assert renewing.result()
        assert time.monotonic() - begin < 0.6


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.005)


def test_a_given_token_near_its_end(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey) -> None:
    """A given token that cannot be renewed is used until Vault refuses it; nothing is asked for in vain."""
    vault = VaultConnection(proxy.address, token=bao.token(POLICY, ttl="10m", renewable=False))
    assert opens(vault, wrapped)
    proxy.faulty(None)
    aged(vault, 420)
    assert opens(vault, wrapped)
    assert proxy.seen("renew-self") == []


def test_a_revoked_token_is_replaced_once(bao: OpenBao, approle: str, proxy: Proxy, wrapped: WrappedKey) -> None:
    """The call after a revocation works, by one login; where every token is refused, one login is tried and the answer is no."""
    vault = VaultConnection(proxy.address, role_id=approle, secret_id=secret_id(bao))
    assert opens(vault, wrapped)
    bao.request("POST", "auth/token/revoke", {"token": vault._tokens._token.value})  # type: ignore[union-attr]
    proxy.faulty(None)
    assert opens(vault, wrapped)
    assert (len(proxy.seen(LOGIN)), len(proxy.seen("decrypt"))) == (1, 2)
    proxy.faulty(status(403), path="")
    proxy.when = lambda request: "/login" not in request.path
    with pytest.raises(WrapperDeniedError):
        opens(vault, wrapped)
    assert (len(proxy.seen(LOGIN)), len(proxy.seen("decrypt"))) == (1, 2)


def test_a_denial_is_not_a_dead_token(bao: OpenBao, approle: str, proxy: Proxy) -> None:
    """A no to a good token is asked for once, and is no reason to log in; nor is it one if nobody can say what the token is."""
    vault = VaultConnection(proxy.address, role_id=approle, secret_id=secret_id(bao))
    for fault in (None, status(503)):
        proxy.faulty(fault, path="lookup-self")
        with pytest.raises(VaultFailureError) as caught:
            vault.call("forbidden", "", lambda client: client.adapter.get("/v1/kv/data/forbidden"))
        assert caught.value.outcome is Outcome.DENIED
        assert len(proxy.seen("forbidden")) == 1
        assert len(proxy.seen(LOGIN)) == (fault is None)


def test_many_threads_log_in_once(bao: OpenBao, approle: str, proxy: Proxy, wrapped: WrappedKey) -> None:
    """64 threads that need a token get one, and when it is revoked, they get one again."""
    vault = VaultConnection(proxy.address, role_id=approle, secret_id=secret_id(bao))
    with ThreadPoolExecutor(64) as pool:
        for _ in range(2):
            proxy.faulty(None)
            assert all(pool.map(lambda _: opens(vault, wrapped), range(64)))
            assert len(proxy.seen(LOGIN)) == 1
            bao.request("POST", "auth/token/revoke", {"token": vault._tokens._token.value})  # type: ignore[union-attr]


def test_waiting_for_a_login_ends_at_the_deadline(bao: OpenBao, approle: str, proxy: Proxy, wrapped: WrappedKey) -> None:
    """Threads that wait for one that logs in wait no longer than their own deadline."""
    proxy.faulty(faults.silent, path=LOGIN)
    vault = VaultConnection(proxy.address, role_id=approle, secret_id=secret_id(bao), deadline=0.6, cooldown=0)

    def fails(_: object) -> float:
        begin = time.monotonic()
        with pytest.raises(WrapperUnavailableError):
            opens(vault, wrapped)
        return time.monotonic() - begin

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(fails, range(8))) < 1.1


# ------------------------------------------------------------------------------------------------ processes, threads


def _unwrap_many(vault: VaultConnection, items: list[tuple[WrappedKey, list[str], bytes]]) -> bool:
    wrapper = TransitWrapper(vault, "app")
    return all(wrapper.unwrap(wrapped, binding) == key for wrapped, binding, key in items * 5)


def test_forked_children_have_sockets_of_their_own(bao: OpenBao, count: Count) -> None:
    """Parent and children that ask at once never get each other's answers."""
    vault = VaultConnection(bao.address, token=bao.root_token)
    wrapper = TransitWrapper(vault, "app")
    keys = [bytes([number]) * 32 for number in range(20)]
    items = [(wrapper.wrap(key, ["n", str(key[0])]), ["n", str(key[0])], key) for key in keys]
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(5)  # then they all have the one connection that is open and idle now

    def work() -> bool:
        start.wait(10)
        return _unwrap_many(vault, items)

    children = [fork.Process(target=lambda: os._exit(not work())) for _ in range(4)]
    for child in children:
        child.start()
    assert work()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 4
    count("answers to parent and forked children, none mixed up", 5 * 100)


def test_connections_are_kept(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey) -> None:
    """Calls in turn share one connection, also after a no and after something that is not there."""
    vault = VaultConnection(proxy.address, token=bao.root_token)
    for _ in range(10):
        opens(vault, wrapped)
        with pytest.raises(VaultFailureError):
            vault.call("x", "", lambda client: client.adapter.get("/v1/kv/data/none"))
    assert proxy.connections == 1


# ------------------------------------------------------------------------------------------------- cooldown, deadline


def test_a_dead_server_is_asked_by_one_caller_once_per_cooldown(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey) -> None:
    """After a call without an answer others fail at once; then one asks, and the others fail at once still, until it is back."""
    events: list[VaultEvent] = []
    vault = VaultConnection(proxy.address, token=bao.root_token, deadline=0.6, cooldown=0.4, on_event=events.append)
    assert opens(vault, wrapped)
    proxy.faulty(faults.silent, path="decrypt")
    with pytest.raises(WrapperUnavailableError, match="in time"):
        opens(vault, wrapped)

    begin = time.monotonic()
    for _ in range(50):
        with pytest.raises(WrapperUnavailableError, match=r"did not answer a moment ago, and it is asked again in 0\.\d s"):
            opens(vault, wrapped)
    assert time.monotonic() - begin < 0.2
    assert len(proxy.seen("decrypt")) == 1
    assert events[-1].tries == 0

    time.sleep(0.45)
    said = []

    def ask(_: object) -> None:
        with pytest.raises(WrapperUnavailableError) as caught:
            opens(vault, wrapped)
        said.append(str(caught.value))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    assert len(proxy.seen("decrypt")) == 2
    assert sum("it is being asked whether it is back" in text for text in said) == 15

    proxy.faulty(None)
    time.sleep(0.45)
    assert opens(vault, wrapped)
    assert opens(vault, wrapped)


def test_vault_may_ask_for_a_longer_pause(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey) -> None:
    """A Retry-After counts if it is longer than the cooldown, up to a minute."""
    for asked, left in (("30", r"asked again in \d\d\.\d s"), ("86400", r"asked again in [56]\d\.\d s"), ("tomorrow", r"again in 0\.\d s")):
        vault = VaultConnection(proxy.address, token=bao.root_token, cooldown=0.5)
        proxy.faulty(status(429, Retry_After=asked), path="decrypt")
        with pytest.raises(WrapperUnavailableError, match="429"):
            opens(vault, wrapped)
        with pytest.raises(WrapperUnavailableError, match=left):
            opens(vault, wrapped)


def test_one_path_that_fails_is_no_reason_to_stop_asking_for_others(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey) -> None:
    """An internal error, such as of an engine whose database is down, begins no cooldown."""
    vault = VaultConnection(proxy.address, token=bao.root_token)
    proxy.faulty(status(500), path="database/creds")
    with pytest.raises(VaultFailureError):
        vault.call("read", "", lambda client: client.adapter.get("/v1/database/creds/app"))
    assert opens(vault, wrapped)


def test_what_may_not_be_repeated_is_sent_once(bao: OpenBao, proxy: Proxy) -> None:
    """A call that is not repeatable is sent again only if it cannot have reached Vault: after no connection, and not after no answer."""
    events: list[VaultEvent] = []
    vault = VaultConnection(proxy.address, token=bao.root_token, cooldown=0, on_event=events.append)

    def once() -> None:
        vault.call("once", "", lambda client: client.adapter.post("/v1/kv/data/once", json={"data": {}}), repeatable=False)

    once()
    proxy.faulty(faults.lost_answer, path="once")
    with pytest.raises(VaultFailureError):
        once()
    assert len(proxy.seen("once")) == 1
    with closed_port() as address, pytest.raises(VaultFailureError):
        VaultConnection(address, token="t", on_event=events.append).call("x", "", lambda client: client.adapter.get("/"), repeatable=False)
    assert [event.tries for event in events] == [1, 1, 3]


def test_a_login_without_an_answer_is_no_call(bao: OpenBao, approle: str, proxy: Proxy) -> None:
    """What may not be repeated was not sent while only the login failed, and so is sent once the login works."""
    vault = VaultConnection(proxy.address, role_id=approle, secret_id=secret_id(bao))
    proxy.faulty(faults.lost_answer, path=LOGIN, times=2)
    vault.call("once", "", lambda client: client.adapter.get("/v1/transit/keys/app"), repeatable=False)
    assert (len(proxy.seen(LOGIN)), len(proxy.seen("keys/app"))) == (3, 1)


def test_a_caller_that_is_late_does_not_begin(bao: OpenBao, wrapped: WrappedKey) -> None:
    """A deadline that has passed already is no answer in time, whatever the server."""
    with pytest.raises(WrapperUnavailableError, match="in time"):
        opens(VaultConnection(bao.address, token=bao.root_token, deadline=1e-9), wrapped)


# -------------------------------------------------------------------------------------------------- health, events


def test_health(bao: OpenBao, proxy: Proxy) -> None:
    """Version, seal, standby and skew are told without a token, and also while the connection cools down."""
    vault = VaultConnection(proxy.address, token="unknown")
    health = vault.health()
    assert (health.initialized, health.sealed, health.standby) == (True, False, False)
    assert health.version.startswith("2.")
    assert abs(health.clock_skew) < 5
    assert "X-Vault-Token" not in proxy.seen("health")[0].headers
    standby = {"initialized": True, "sealed": False, "standby": True, "server_time_utc": int(time.time()) + 300, "version": "9"}
    proxy.faulty(status(429, json.dumps(standby).encode()))
    health = vault.health()
    assert (health.standby, health.version) == (True, "9")
    assert 290 < health.clock_skew < 310
    for fault in (status(502, b"<html>"), status(307, b"", Location="http://elsewhere"), status(404, b'{"errors":[]}')):
        proxy.faulty(fault)
        with pytest.raises(WrapperUnavailableError):
            vault.health()


def test_events_and_logs_tell_of_every_call(bao: OpenBao, wrapped: WrappedKey, caplog: pytest.LogCaptureFixture) -> None:
    """Operation, key, time, outcome and tries; a callback that fails is logged and harms nobody; no token and no key is in any."""
    caplog.set_level(logging.DEBUG)
    events: list[VaultEvent] = []

    def on_event(event: VaultEvent) -> None:
        events.append(event)
        if len(events) == 2:
            message = "a bug in the caller's own function"
            raise RuntimeError(message)

    vault = VaultConnection(bao.address, token=bao.root_token, on_event=on_event)
    assert opens(vault, wrapped)
    with pytest.raises(SecureKitError):
        TransitWrapper(vault, "missing").wrap(KEY, BINDING)
    with pytest.raises(SecureKitError):
        TransitWrapper(vault, "app").unwrap(WrappedKey("vault-transit", "transit/app", b"vault:v1:" + b"A" * 124), BINDING)
    told = [(event.operation, event.target, event.outcome, event.tries) for event in events]
    assert told == [
        ("transit/decrypt", "transit/app", "done", 1),
        ("transit/keys", "transit/missing", "missing", 1),
        ("transit/decrypt", "transit/app", "refused", 1),
    ]
    assert all(0 < event.seconds < 10 for event in events)
    assert "on_event raised" in caplog.text
    levels = [record.levelname for record in caplog.records if record.name == "securekit.vault"]
    assert levels == ["DEBUG", "DEBUG", "ERROR", "WARNING"]
    assert not [canary for canary in (bao.root_token, KEY.hex(), base64.b64encode(KEY).decode()) if canary in caplog.text + repr(events)]


def test_a_connection_shows_and_gives_away_nothing(bao: OpenBao) -> None:
    """Its representation has the address and the way to log in; it is neither pickled nor copied."""
    vault = VaultConnection(bao.address, token=bao.root_token)
    assert repr(vault) == f"<VaultConnection {bao.address} StaticToken>"
    assert bao.root_token not in repr(Call(0.0, token=bao.root_token))
    for holder in (vault, vault._tokens, vault._login):
        assert bao.root_token not in repr(holder)
        with pytest.raises(TypeError):
            pickle.dumps(holder)


def test_the_environment_changes_nothing(bao: OpenBao, wrapped: WrappedKey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a proxy nor .netrc nor a token of the environment has a part in a connection that was given its own."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    for name, value in {
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "VAULT_TOKEN": "x",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    assert opens(VaultConnection(bao.address, token=bao.root_token), wrapped)


@pytest.mark.measured
def test_without_the_extra(tmp_path: Path) -> None:
    """Where hvac is not installed, the error names the extra."""
    code = (
        "import sys; sys.modules['hvac'] = None\n"
        "from securekit.vault import VaultConnection\n"
        "try: VaultConnection('https://v.example', token='t')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"WrapperError Vault is spoken to by the package hvac: install securekit-platform[vault]\n"


@contextmanager
def timed(limit: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < limit


def test_names_with_several_addresses_share_the_time(proxy: Proxy, bao: OpenBao, wrapped: WrappedKey) -> None:
    """A name whose first address refuses is reached at its next one."""
    vault = VaultConnection(proxy.address.replace("127.0.0.1", "localhost"), token=bao.root_token)
    with timed(2):
        assert opens(vault, wrapped)
    with pytest.raises(WrapperUnavailableError, match="there is no such host"):
        VaultConnection("https://nowhere.invalid", token="t", deadline=2).health()
    with pytest.raises(WrapperUnavailableError, match="there is no such host"):
        VaultConnection(f"https://{'a' * 64}.example", token="t", deadline=2).health()


def test_a_ready_client(bao: OpenBao, key: str) -> None:
    """A client of hvac's tells address and token; one that does not verify TLS, or has no token, is refused."""
    with_token = hvac.Client(url=bao.address, token=bao.root_token)
    assert TransitWrapper(VaultConnection.from_client(with_token), key).latest_version() == 1
    role = VaultConnection.from_client(hvac.Client(url=bao.address, token=""), token=bao.root_token)
    assert TransitWrapper(role, key).latest_version() == 1
    with pytest.raises(ValueError, match="way to log in"):
        VaultConnection.from_client(hvac.Client(url=bao.address, token=""))
    with pytest.raises(ValueError, match="does not verify TLS"):
        VaultConnection.from_client(hvac.Client(url="https://127.0.0.1:1", token="x", verify=False))
    told = hvac.Client(url="https://127.0.0.1:1", token="x", verify="ca.pem", namespace="team")
    assert VaultConnection.from_client(told)._ca == "ca.pem"
