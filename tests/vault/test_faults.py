# SPDX-License-Identifier: Apache-2.0
"""Whatever Vault, its network or its administrators do: a known error, in time, after few tries, and no token anywhere."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securekit.exceptions import (
    KeyStoreError,
    KeyStoreUnavailableError,
    SecureKitError,
    WrapperDeniedError,
    WrapperError,
    WrapperUnavailableError,
)
from securekit.vault import KvKeyStore, TransitWrapper, VaultConnection, VaultEvent
from securekit.vault._kv import KvStorage
from securekit.wrappers import WrappedKey
from tests.canaries import walk
from tests.conftest import Count
from tests.identities import AUTHORITY, DAY, Issued, issue, private_key
from tests.keyring.parts import document
from tests.openbao import OpenBao
from tests.vault import faults
from tests.vault.conftest import Authority
from tests.vault.faults import Fault, Proxy, closed_port, full_backlog, proxying, status

PAGE = Path(__file__).parents[2] / "docs/reference/vault-faults.md"
KEY, BINDING = bytes(range(32)), ["envelope", "x"]
IN_TIME = 0.5  # seconds after the deadline, at most
DEADLINE = 1.5  # seconds; 0.6 where all of it is waited for

UNAVAILABLE = (WrapperUnavailableError, KeyStoreUnavailableError, KeyStoreUnavailableError)
DENIED = (WrapperDeniedError, KeyStoreError, KeyStoreError)
REFUSED = (WrapperError, KeyStoreError, KeyStoreError)
MISSING = (WrapperError, None, KeyStoreError)


@dataclass(frozen=True, slots=True)
class Row:
    """What one fault comes to: for unwrapping, and for a store that reads and that writes. None is no error."""

    fault: Fault
    errors: tuple[type[SecureKitError] | None, ...] = UNAVAILABLE
    tries: int = 3
    waits: bool = False
    says: str = ""


def _shape(value: object) -> Fault:
    return status(200, json.dumps(value).encode())


FAULTS: dict[str, Row] = {
    "takes the request, and does not answer for 30 seconds": Row(faults.silent, tries=1, waits=True, says="in time"),
    "sends the head of its answer byte by byte": Row(faults.drip_head, tries=1, waits=True, says="in time"),
    "sends the body of its answer byte by byte": Row(faults.drip_body, tries=1, waits=True, says="in time"),
    "breaks the connection in the middle of its answer": Row(faults.reset_in_body, says="broke"),
    "breaks the connection before its answer": Row(faults.lost_answer, says="broke"),
    "400": Row(status(400), REFUSED, tries=1, says="400"),
    "403": Row(status(403), DENIED, tries=1, says="403"),
    "404": Row(status(404, b'{"errors":[]}'), MISSING, tries=1),
    "404 of something that is not Vault": Row(status(404, b"<html>nothing here</html>"), says="is this address Vault's"),
    "405": Row(status(405), REFUSED, tries=1, says="405"),
    "412": Row(status(412), says="caught up"),
    "413": Row(status(413), REFUSED, tries=1, says="413"),
    "429 without Retry-After": Row(status(429), says="fewer requests"),
    "429 with Retry-After: 1": Row(status(429, Retry_After="1"), tries=2, says="fewer requests"),
    "429 with Retry-After: 60": Row(status(429, Retry_After="60"), tries=1, says="fewer requests"),
    "472": Row(status(472), says="standby"),
    "473": Row(status(473), says="standby"),
    "500": Row(status(500), says="internal"),
    "502": Row(status(502, b"<html>bad gateway</html>"), says="gateway"),
    "503, sealed": Row(status(503, b'{"errors":["Vault is sealed"]}'), says="sealed"),
    "504": Row(status(504, b""), says="gateway"),
    "599": Row(status(599, b""), says="599"),
    "bad JSON": Row(status(200, b'{"data":'), says="no JSON object"),
    "HTML": Row(status(200, b"<html>log in to the hotel's network</html>"), says="no JSON object"),
    "JSON that is no object": Row(status(200, b"[]"), says="no JSON object"),
    "JSON of depth 100,000": Row(status(200, b"[" * 100_000), says="no JSON object"),
    "1 GiB": Row(faults.endless_body, says="more than 8388608 bytes"),
    "a chunk's size of 1 GiB of digits": Row(faults.endless_chunk_line),
    "a compressed body": Row(faults.compressed, says="compressed"),
    "something that is no HTTP": Row(lambda _, connection, __: connection.sendall(b"SSH-2.0-OpenSSH\r\n" * 9), says="broke"),
}
"""What stands between us and the server may do; the table in docs/reference/vault-faults.md is this one."""

CALLS = ("unwrap", "read", "write")


@dataclass(frozen=True, slots=True)
class Caller:
    """A service that has a token, a Transit key and a keystore, and that is told of every event."""

    vault: VaultConnection
    events: list[VaultEvent]
    wrapped: WrappedKey
    path: str
    token: str
    log: pytest.LogCaptureFixture

    def call(self, name: str) -> object:
        storage = KvStorage(self.vault, mount="kv", prefix="keyrings")
        if name == "unwrap":
            return TransitWrapper(self.vault, "app").unwrap(self.wrapped, BINDING)
        if name == "read":
            return storage.read(self.path)
        storage.write(self.path, document(path=self.path, revision=2), expected=1)
        return None

    def fails(self, name: str) -> tuple[SecureKitError | None, float]:
        """Return the error of a call, and how long it took."""
        begin = time.monotonic()
        try:
            self.call(name)
        except SecureKitError as error:
            return error, time.monotonic() - begin
        return None, time.monotonic() - begin

    def check_silence(self, error: BaseException | None) -> None:
        """Fail if the token, or the key that was asked for, is in anything that is left of a call."""
        shown = [repr(self.vault), repr(self.events), self.log.text, *map(repr, walk(error) if error else ())]
        for canary in (self.token, KEY.hex(), repr(KEY)[2:-1]):
            assert not [text for text in shown if canary in text]


@pytest.fixture(scope="session")
def wrapped(bao: OpenBao) -> WrappedKey:
    return TransitWrapper(VaultConnection(bao.address, token=bao.root_token), "app").wrap(KEY, BINDING)


@pytest.fixture
def caller(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey, caplog: pytest.LogCaptureFixture) -> Callable[..., Caller]:
    caplog.set_level(logging.DEBUG)

    def make(address: str = "", **options: Any) -> Caller:
        path = f"eu/t{time.monotonic_ns()}"
        KvStorage(VaultConnection(bao.address, token=bao.root_token), mount="kv", prefix="keyrings").write(
            path, document(path=path), expected=None
        )
        events: list[VaultEvent] = []
        options = {"deadline": DEADLINE, "cooldown": 0, "on_event": events.append, **options}
        vault = VaultConnection(address or proxy.address, token=bao.root_token, **options)
        return Caller(vault, events, wrapped, path, bao.root_token, caplog)

    return make


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_outcome(name: str, bao: OpenBao, caller: Callable[..., Caller], count: Count) -> None:
    """The class of the error, the time and the number of tries are those of the table; no token is left anywhere."""
    row = FAULTS[name]
    with ThreadPoolExecutor() as pool:  # nearly all of it is waiting
        list(pool.map(lambda call: _has_its_outcome(row, call, bao, caller), CALLS))
    count("outcomes of faults between us and Vault", len(CALLS))


def _has_its_outcome(row: Row, call: str, bao: OpenBao, caller: Callable[..., Caller]) -> None:
    deadline = 0.6 if row.waits else DEADLINE
    with proxying(bao.address) as proxy:
        _fails_as_told(row, call, proxy, caller(proxy.address, deadline=deadline), deadline)


def _fails_as_told(row: Row, call: str, proxy: Proxy, one: Caller, deadline: float) -> None:
    one.vault.call("warm", "", lambda client: client.auth.token.lookup_self())
    path, methods = ("transit/decrypt", "") if call == "unwrap" else ("kv/data", "GET" if call == "read" else "POST PUT")
    proxy.faulty(row.fault, path=path, methods=methods)

    error, seconds = one.fails(call)

    expected = row.errors[CALLS.index(call)]
    assert (type(error) if error else None) is expected
    assert error is None or row.says in str(error)
    assert error is None or (error.__cause__, error.__context__) == (None, None)
    assert seconds <= deadline + IN_TIME
    tries = [request for request in proxy.seen(path) if not methods or request.method in methods]
    assert len(tries) == row.tries
    one.check_silence(error)


@pytest.mark.parametrize("call", CALLS)
def test_a_redirect_gets_no_token(call: str, bao: OpenBao, caller: Callable[..., Caller]) -> None:
    """Another host that an answer points to is never spoken to, so that it gets no token."""
    path = "v1/transit" if call == "unwrap" else "v1/kv"

    def redirected(code: int) -> None:
        with proxying(bao.address) as proxy:
            one = caller(proxy.address)
            proxy.faulty(status(code, b"", Location=elsewhere.address + "/v1/x"), path=path)
            error, seconds = one.fails(call)
            assert type(error) in {WrapperUnavailableError, KeyStoreUnavailableError}
            assert "a redirect, which is not followed" in str(error)
            assert seconds <= DEADLINE + IN_TIME
            assert len(proxy.seen(path)) == 3
            one.check_silence(error)

    with proxying(bao.address) as elsewhere, ThreadPoolExecutor() as pool:
        list(pool.map(redirected, (301, 302, 303, 307, 308)))
        assert elsewhere.connections == 0


def _tls(cert: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*cert)
    return context


def _self_signed(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("stranger", issuer=_stranger())


def _stranger() -> Issued:
    now = datetime.now(UTC)
    return issue("another ca", private_key("p256", 901), *AUTHORITY, begin=now - DAY, end=now + DAY)


BAD_TLS: dict[str, Callable[[Authority], tuple[Path, Path]]] = {
    "an authority that is not believed": _self_signed,
    "another host's certificate": lambda authority: authority.issue("other", host="vault.example"),
    "an expired certificate": lambda authority: authority.issue("old", begin=datetime.now(UTC) - 3 * DAY, end=datetime.now(UTC) - DAY),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", BAD_TLS)
def test_tls_is_verified(name: str, call: str, bao: OpenBao, authority: Authority, caller: Callable[..., Caller]) -> None:
    """A server that does not prove who it is gets no request, and so no token."""
    with proxying(bao.address, tls=_tls(BAD_TLS[name](authority))) as impostor:
        one = caller(impostor.address, ca=authority.ca)
        error, seconds = one.fails(call)
        assert type(error) in {WrapperUnavailableError, KeyStoreUnavailableError}
        assert "TLS certificate is not trusted, or is another host's" in str(error)
        assert seconds <= DEADLINE + IN_TIME
        assert impostor.requests == []
        assert one.events[-1].tries == 3
        one.check_silence(error)


def test_good_tls_is_believed(bao: OpenBao, authority: Authority, caller: Callable[..., Caller]) -> None:
    """The same server with a right certificate is spoken to: what the tests above refuse is what is wrong with it."""
    with proxying(bao.address, tls=_tls(authority.issue("good"))) as server:
        assert caller(server.address, ca=authority.ca).call("unwrap") == KEY


@pytest.mark.parametrize("call", CALLS)
def test_plain_http_where_tls_is_spoken(call: str, proxy: Proxy, caller: Callable[..., Caller]) -> None:
    """A server that speaks no TLS is said to do so, within the deadline."""
    error, seconds = caller(proxy.address.replace("http:", "https:")).fails(call)
    assert type(error) in {WrapperUnavailableError, KeyStoreUnavailableError}
    assert "TLS" in str(error)
    assert seconds <= DEADLINE + IN_TIME


@pytest.mark.parametrize("call", CALLS)
def test_a_refused_connection(call: str, caller: Callable[..., Caller]) -> None:
    """Where nobody listens: unavailable, after three tries."""
    with closed_port() as address:
        one = caller(address)
        error, seconds = one.fails(call)
    assert type(error) in {WrapperUnavailableError, KeyStoreUnavailableError}
    assert str(error) == "Vault cannot be reached: the connection was refused"
    assert seconds <= DEADLINE + IN_TIME
    assert one.events[-1].tries == 3


@pytest.mark.parametrize("call", CALLS)
def test_a_black_hole(call: str, caller: Callable[..., Caller]) -> None:
    """Where packets vanish: unavailable, at the deadline."""
    with full_backlog() as address:
        error, seconds = caller(address, deadline=0.6).fails(call)
    assert type(error) in {WrapperUnavailableError, KeyStoreUnavailableError}
    assert str(error) == "Vault did not answer in time"
    assert 0.5 <= seconds <= 0.6 + IN_TIME


@pytest.mark.parametrize("call", CALLS)
def test_a_handshake_without_end(call: str, caller: Callable[..., Caller]) -> None:
    """A server that takes the connection, and says nothing while TLS is spoken: unavailable, at the deadline."""
    with proxying("http://unused") as hole:
        error, seconds = caller(hole.address.replace("http:", "https:"), deadline=0.6).fails(call)
    assert type(error) in {WrapperUnavailableError, KeyStoreUnavailableError}
    assert seconds <= 0.6 + IN_TIME


def test_an_answer_without_end_stays_small(proxy: Proxy, caller: Callable[..., Caller]) -> None:
    """Of 1 GiB, whether of a body or of a line between two chunks, no more than the cap is ever in memory."""
    one = caller()
    for fault in (faults.endless_body, faults.endless_chunk_line):
        proxy.faulty(fault, path="transit/decrypt")
        tracemalloc.start()
        error, _ = one.fails("unwrap")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(error, WrapperUnavailableError)
        assert peak < 32 << 20


SHAPES: list[Any] = [None, {}, {"data": None}, {"data": []}, {"data": {"batch_results": "x", "data": [], "keys": 5, "metadata": 7}}]
SHAPES += [{"data": {"batch_results": [None], "data": {"document": 7}, "metadata": {"version": "x"}}, "auth": "x", "lease_duration": "x"}]


@pytest.mark.parametrize("shape", SHAPES)
def test_json_of_another_shape(shape: object, proxy: Proxy, caller: Callable[..., Caller]) -> None:
    """What is JSON, and not what was asked for, is our error: nothing of ours trips over it."""
    one = caller()
    proxy.faulty(_shape(shape) if shape is not None else status(204, b""), path="/v1/")
    for call in CALLS:
        error, _ = one.fails(call)
        assert type(error) in {WrapperUnavailableError, KeyStoreUnavailableError}
    with pytest.raises(WrapperUnavailableError):
        TransitWrapper(one.vault, "app").wrap(KEY, BINDING)
    with pytest.raises(WrapperUnavailableError):
        one.vault.health()
    with pytest.raises(KeyStoreUnavailableError):
        KvKeyStore(one.vault, mount="kv", wrapper=TransitWrapper(one.vault, "app")).paths()
    with pytest.raises((WrapperUnavailableError, WrapperDeniedError)):
        TransitWrapper(VaultConnection(proxy.address, role_id="r", secret_id="s", deadline=1), "app").wrap(KEY, BINDING)


HEADS = [
    b"HTTP/1.1 200 -\r\n",
    b"HTTP/1.1 200 -\r\nContent-Length: ",
    b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 ",
    b"",
]
PARTS = [
    b"\r\n",
    b"\r\n\r\n",
    b"5",
    b"-1",
    b"1, 2",
    b"{}",
    b"ffffffff\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 100 -\r\n\r\n",
    b'{"data":',
    b"\xff\xfe",
    b":",
]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(HEADS), st.lists(st.sampled_from(PARTS) | st.binary(max_size=40), max_size=8))
def test_random_bytes_in_place_of_an_answer(proxy: Proxy, wrapped: WrappedKey, head: bytes, parts: list[bytes]) -> None:
    """Whatever comes instead of an answer, only our own errors come of it, in time."""

    def fault(_: Proxy, connection: socket.socket, __: faults.Request) -> None:
        connection.sendall(head + b"".join(parts))
        connection.close()
        message = "closed"
        raise OSError(message)

    proxy.faulty(fault)
    wrapper = TransitWrapper(VaultConnection(proxy.address, token="t", tries=1, deadline=DEADLINE), "app")
    begin = time.monotonic()
    with pytest.raises(WrapperError):
        wrapper.unwrap(wrapped, BINDING)
    assert time.monotonic() - begin < DEADLINE + IN_TIME


# ------------------------------------------------------------------------------ what really happens to a server


@pytest.fixture
def served(own: OpenBao) -> tuple[OpenBao, VaultConnection, WrappedKey]:
    vault = VaultConnection(own.address, token=own.root_token, deadline=DEADLINE, cooldown=0)
    return own, vault, TransitWrapper(vault, "app").wrap(KEY, BINDING)


def test_a_sealed_server(served: tuple[OpenBao, VaultConnection, WrappedKey]) -> None:
    """Sealed is unavailable; health says so; unsealed, it works again."""
    server, vault, wrapped = served
    server.seal()
    with pytest.raises(WrapperUnavailableError, match="503"):
        TransitWrapper(vault, "app").unwrap(wrapped, BINDING)
    assert vault.health().sealed
    server.unseal()
    assert TransitWrapper(vault, "app").unwrap(wrapped, BINDING) == KEY
    assert not vault.health().sealed


def test_a_killed_server(durable: OpenBao) -> None:
    """Killed is unavailable; started again, it is sealed; unsealed, it has everything and works again."""
    vault = VaultConnection(durable.address, token=durable.root_token, deadline=DEADLINE, cooldown=0)
    wrapper = TransitWrapper(vault, "app")
    wrapped = wrapper.wrap(KEY, BINDING)
    durable.kill()
    with pytest.raises(WrapperUnavailableError, match="refused"):
        wrapper.unwrap(wrapped, BINDING)
    durable.start()
    with pytest.raises(WrapperUnavailableError, match="503"):
        wrapper.unwrap(wrapped, BINDING)
    durable.unseal()
    assert wrapper.unwrap(wrapped, BINDING) == KEY


def test_a_deleted_key(bao: OpenBao, transit: TransitWrapper, key: str) -> None:
    """A key that is gone is said to be so, with the command that makes one; nothing makes it anew."""
    wrapped = transit.wrap(KEY, BINDING)
    bao.request("POST", f"transit/keys/{key}/config", {"deletion_allowed": True})
    bao.request("DELETE", f"transit/keys/{key}")
    for call in (lambda: transit.unwrap(wrapped, BINDING), lambda: transit.wrap(KEY, BINDING), lambda: transit.rewrap_many([wrapped])):
        with pytest.raises(WrapperError, match=f"there is no Transit key {key} at transit/: make it with: bao write -f") as caught:
            call()
        assert type(caught.value) is WrapperError
    assert key not in bao.request("LIST", "transit/keys")["data"]["keys"]


def test_a_revoked_token(bao: OpenBao, proxy: Proxy, wrapped: WrappedKey) -> None:
    """A token that was given, and is revoked in mid-run, is a denial, asked for once; there is none to replace it with."""
    token = bao.token('path "transit/decrypt/app" { capabilities = ["update"] }')
    wrapper = TransitWrapper(VaultConnection(proxy.address, token=token), "app")
    assert wrapper.unwrap(wrapped, BINDING) == KEY
    bao.request("POST", "auth/token/revoke", {"token": token})
    proxy.faulty(None)
    with pytest.raises(WrapperDeniedError):
        wrapper.unwrap(wrapped, BINDING)
    assert [request.path for request in proxy.requests] == ["/v1/transit/decrypt/app"]


def test_an_expired_token(bao: OpenBao, wrapped: WrappedKey) -> None:
    """A token whose life is over is a denial, too."""
    token = bao.token('path "transit/decrypt/app" { capabilities = ["update"] }', ttl="1s", renewable=False)
    wrapper = TransitWrapper(VaultConnection(bao.address, token=token), "app")
    assert wrapper.unwrap(wrapped, BINDING) == KEY
    time.sleep(1.3)
    with pytest.raises(WrapperDeniedError):
        wrapper.unwrap(wrapped, BINDING)


def test_a_version_below_the_minimum(bao: OpenBao, transit: TransitWrapper, key: str) -> None:
    """A version that min_decryption_version excludes is said to be so, and what to do."""
    wrapped = transit.wrap(KEY, BINDING)
    bao.request("POST", f"transit/keys/{key}/rotate")
    bao.request("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
    with pytest.raises(WrapperError, match="min_decryption_version excludes: lower that, rewrap, and raise it again") as caught:
        transit.unwrap(wrapped, BINDING)
    assert type(caught.value) is WrapperError
    bao.request("POST", f"transit/keys/{key}/config", {"min_decryption_version": 1})
    (fresh,) = transit.rewrap_many([wrapped])
    bao.request("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
    assert transit.unwrap(fresh, BINDING) == KEY


# ------------------------------------------------------------------------------------------------ the page


def _word(error: type[SecureKitError] | None) -> str:
    return "nothing there" if error is None else f"`{error.__name__}`"


def rows() -> Iterator[str]:
    """Yield the lines of the table on the page."""
    for name, row in FAULTS.items():
        errors = " | ".join(map(_word, row.errors))
        yield f"| {name} | {errors} | {'the deadline' if row.waits else 'less'} | {row.tries} | `test_each_fault_has_its_outcome` |"


def test_the_page_says_what_is_tested() -> None:
    """The page has exactly the rows of the table above, and every other row names a test of this file that is there."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    tables = [line for line in lines if "`test_" in line]
    assert [line for line in tables if line.endswith("`test_each_fault_has_its_outcome` |")] == list(rows())
    named = {line.split("`")[-2] for line in tables}
    here = Path(__file__).read_text()
    assert [name for name in named if f"\ndef {name}(" not in here] == []
    assert len(tables) > len(FAULTS) + 10
