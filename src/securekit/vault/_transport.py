# SPDX-License-Identifier: Apache-2.0
"""How bytes get to Vault and back: hvac's requests on connections of our own.

RULES of this file:

1. One deadline bounds a whole call, whatever the server does: each wait for the socket gets what is left of it. (The time limits
   of HTTP libraries bound one read, and a server that sends a byte now and then keeps them waiting for ever.)
2. An answer is read up to a cap, its head and the lines between its chunks included, and never decompressed.
3. A redirect is an error: the token would go to wherever it points.
4. Nothing comes from the environment but what the caller has read from there: no proxies, no ``.netrc``.
"""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Mapping
from typing import Any, cast

import requests
from hvac.adapters import Adapter
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from ._answer import member
from ._call import calling
from ._failure import Outcome, VaultFailureError

__all__ = ["Transport"]

MAX_ANSWER = 8 * 1024 * 1024  # bytes; a keyring document of 2 MiB as JSON in JSON has less
_MAX_RETRY_AFTER = 60.0  # seconds; whoever answers must not keep us from asking for long
_PIECE = 64 * 1024  # bytes
_UNAVAILABLE = {
    412: "it has not caught up with the last change",
    429: "it is overloaded, or asks for fewer requests",
    472: "it is a standby of a recovery cluster",
    473: "it is a standby",
    500: "it has an internal error",
    502: "the gateway before it has no answer",
    503: "it is sealed, or down for maintenance",
    504: "the gateway before it has no answer in time",
}
_ONE_PATH = {412, 500}  # which say nothing of other paths: behind one may be a database that is down
_OK = 200
_NOT_OK = 300
_BAD = 400
_DENIED = 403
_MISSING = 404


class Transport(Adapter):  # type: ignore[misc]  # hvac has no types
    """Sends hvac's requests. The token and the deadline are those of the `Call` that the thread is making."""

    def __init__(self, address: str, *, ca: str | None, cert: tuple[str, str] | None, namespace: str | None) -> None:
        session = requests.Session()
        session.trust_env = False
        session.verify = ca if ca is not None else True
        session.cert = cert
        for scheme in ("https://", "http://"):
            session.mount(scheme, _DeadlineAdapter(max_retries=0, pool_maxsize=64))
        super().__init__(base_uri=address, session=session, namespace=namespace, allow_redirects=False)

    def get_login_token(self, response: Mapping[str, Any]) -> str:
        """Return the token of a login's answer."""
        return str(response["auth"]["client_token"])

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        raise_exception: bool = True,  # noqa: FBT001, FBT002, ARG002
        **kwargs: Any,  # noqa: ANN401
    ) -> dict[str, Any] | None:
        """Send one request, and return the JSON object that is answered; None for an empty answer.

        Raises:
            VaultFailureError: There is no such answer.
        """
        call = calling.get()
        sent = {"Accept-Encoding": "identity", "X-Vault-Request": "true", **(headers or {})}
        if call.token is not None:
            sent["X-Vault-Token"] = call.token
        if self.namespace and not call.any_status:  # a server has one health, and tells it outside of namespaces
            sent["X-Vault-Namespace"] = self.namespace
        options = {name: kwargs[name] for name in ("json", "params") if kwargs.get(name) is not None}
        try:
            response = self.session.request(
                method.upper(),
                self.urljoin(self.base_uri, url),
                headers=sent,
                stream=True,
                allow_redirects=False,
                timeout=call.left(),
                **options,
            )
            with response:
                status, retry_after, body = response.status_code, response.headers.get("Retry-After"), _read(response)
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = _not_reached(error, sent=call.sent)
        else:
            if call.any_status or _OK <= status < _NOT_OK:
                return _parse(body)
            failure = _answered(status, retry_after, body)
        raise failure


def _read(response: requests.Response) -> bytes:
    """Return the body, if it is not compressed."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        message = "Vault's answer is compressed, which was not asked for"
        raise VaultFailureError(Outcome.UNAVAILABLE, message)
    body = bytearray()
    for piece in response.raw.stream(_PIECE, decode_content=False):
        body += piece
    return bytes(body)


def _parse(body: bytes) -> dict[str, Any] | None:
    if not body.strip():
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        message = "Vault's answer is no JSON object: is this address Vault's?"
        raise VaultFailureError(Outcome.UNAVAILABLE, message)
    return value


def _answered(status: int, retry_after: str | None, body: bytes) -> VaultFailureError:
    """Return the failure that an answer with this status is. Vault's own words are kept for comparison, and not shown."""
    answer: dict[str, Any] | None
    try:
        answer = _parse(body)
    except VaultFailureError:
        answer = None
    errors = member(answer, "errors")
    reasons = tuple(str(error)[:512] for error in errors[:16]) if isinstance(errors, list) else ()
    if status in _UNAVAILABLE or status > max(_UNAVAILABLE):
        message = f"Vault answered {status}: {_UNAVAILABLE.get(status, 'it cannot answer now')}"
        away = status not in _ONE_PATH
        return VaultFailureError(Outcome.UNAVAILABLE, message, reasons=reasons, retry_after=_seconds(retry_after), away=away)
    if status < _BAD:
        message = f"Vault answered {status}, a redirect, which is not followed: name the address of the active server"
        return VaultFailureError(Outcome.UNAVAILABLE, message)
    if status == _DENIED:
        return VaultFailureError(Outcome.DENIED, "Vault said no (403): the token's policies do not allow this", reasons=reasons)
    if answer is None or not {"errors", "data"} & answer.keys():
        message = f"the answer {status} is not Vault's: is this address Vault's?"
        return VaultFailureError(Outcome.UNAVAILABLE, message)
    if status == _MISSING:
        return VaultFailureError(Outcome.MISSING, "there is nothing at this path in Vault (404)", reasons=reasons, body=answer)
    return VaultFailureError(Outcome.REFUSED, f"Vault refused the request ({status})", reasons=reasons, body=answer)


def _not_reached(error: Exception, *, sent: bool) -> VaultFailureError:
    """Return the failure of a request that got no answer; no text of the HTTP library is in it."""
    text = type(error).__name__ + str(error)
    if "invalid path" in text:  # of requests, which looks for the files that it is given
        message = "no TLS connection to Vault: the file of authorities, or of the client certificate or its key, is not there"
        return VaultFailureError(Outcome.UNAVAILABLE, message, sent=False)
    if "CERTIFICATE_VERIFY_FAILED" in text or "doesn't match" in text or "Hostname mismatch" in text:
        message = "Vault's TLS certificate is not trusted, or is another host's: name its authority with ca= (VAULT_CACERT)"
        return VaultFailureError(Outcome.UNAVAILABLE, message, sent=False)
    if "SSL" in text:
        message = "no TLS connection to Vault: its address, its version of TLS, or the client certificate does not fit"
        return VaultFailureError(Outcome.UNAVAILABLE, message, sent=sent)
    if "refused" in text:
        return VaultFailureError(Outcome.UNAVAILABLE, "Vault cannot be reached: the connection was refused", sent=False)
    if isinstance(error, TimeoutError | requests.Timeout) or "timed out" in text or "no time is left" in text:
        return VaultFailureError(Outcome.UNAVAILABLE, "Vault did not answer in time", sent=sent)
    return VaultFailureError(Outcome.UNAVAILABLE, "Vault cannot be reached: the connection broke, or there is no such host", sent=sent)


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After; its form as a date is not sent by Vault."""
    return min(float(text), _MAX_RETRY_AFTER) if text is not None and text.isascii() and text.isdecimal() else None


class _DeadlineAdapter(HTTPAdapter):
    """Makes connections whose sockets know the deadline."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests has it
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ANN401 - as requests has it
        super().cert_verify(conn, url, verify, cert)
        if verify is True:
            conn.ca_certs = None  # the system's authorities, and not the list that requests brings along


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self._dns_host, self.port)

    def connect(self) -> None:
        super().connect()
        self.sock = cast("socket.socket", _DeadlineSocket(self.sock))


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self._dns_host, self.port)

    def connect(self) -> None:
        super().connect()
        self.sock = cast("socket.socket", _DeadlineSocket(self.sock))


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _connected(host: str, port: int) -> socket.socket:
    """Return a socket to the first address of a host that answers; each gets its share of the time that is left."""
    failure = OSError("no such host")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # of a name that no host can have
        addresses = []
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(calling.get().left() / (len(addresses) - number))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(calling.get().left())  # for TLS, before the socket is a `_DeadlineSocket`
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


class _DeadlineSocket:
    """A socket that gives each wait what is left of the call's time."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401 - plain or of TLS
        self._sock = sock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the socket has
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        call = calling.get()
        self._sock.settimeout(call.left())
        call.sent = True
        self._sock.sendall(data)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        """Return what HTTP's parser reads from."""
        return io.BufferedReader(_DeadlineReader(self._sock))


class _DeadlineReader(io.RawIOBase):
    """Reads one answer: HTTP's parser makes one for each."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401 - plain or of TLS
        self._sock = sock
        self._room = MAX_ANSWER + _PIECE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - a writable buffer
        self._sock.settimeout(calling.get().left())
        size = int(self._sock.recv_into(buffer))
        self._room -= size
        if self._room < 0:
            message = f"Vault's answer has more than {MAX_ANSWER} bytes"
            raise VaultFailureError(Outcome.UNAVAILABLE, message, away=False)
        return size
