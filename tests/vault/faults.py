# SPDX-License-Identifier: Apache-2.0
"""A proxy on a real socket, in front of the real server: it passes requests on, and does to them what a test tells it to."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Answer", "Fault", "Proxy", "Request", "closed_port", "full_backlog", "proxying"]

DRIP = 0.2  # seconds between two bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived, with all that was in it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, length: int | None = None) -> bytes:
        size = len(self.body) if length is None else length
        lines = [f"HTTP/1.1 {self.status} -", f"Content-Length: {size}", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


Fault = Callable[["Proxy", socket.socket, Request], object]
"""Does something to a request instead of passing it on."""


class Proxy:
    """Listens on a free port of this machine. ``fault`` happens to every request that ``when`` is true of, ``times`` times at most."""

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: set[socket.socket] = set()
        self.closing = threading.Event()
        self.requests: list[Request] = []
        self.connections = 0
        self.fault: Fault | None = None
        self.when: Callable[[Request], object] = lambda _: True
        self.times = 1 << 30
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._socket.getsockname()[1]}"

    def faulty(self, fault: Fault | None, *, path: str = "", methods: str = "", times: int = 1 << 30) -> None:
        """Let ``fault`` happen to the requests with ``path`` in their path and one of ``methods``, and forget the requests so far."""
        self.fault, self.times = fault, times
        self.when = lambda request: path in request.path and (not methods or request.method in methods)
        self.requests.clear()

    def seen(self, part: str = "") -> list[Request]:
        """Return the requests so far with ``part`` in their path."""
        return [request for request in self.requests if part in request.path]

    def forward(self, request: Request) -> Answer:
        """Ask the real server."""
        connection = HTTPConnection(self._upstream, timeout=60)
        with suppress_close(connection):
            connection.request(request.method, request.path, request.body or None, request.headers)
            answer: HTTPResponse = connection.getresponse()
            return Answer(answer.status, answer.read())

    def close(self) -> None:
        self.closing.set()
        self._socket.close()
        for connection in list(self._open):
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        self._open.add(connection)
        with suppress(OSError, ValueError):  # whatever the other side does, it is the test that looks at it
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.add(connection)
            with connection, connection.makefile("rb") as file:
                while request := _read(file):
                    self.requests.append(request)
                    if self.fault is not None and self.times > 0 and self.when(request):
                        self.times -= 1
                        self.fault(self, connection, request)
                    else:
                        connection.sendall(self.forward(request).encode())


@contextmanager
def suppress_close(connection: HTTPConnection) -> Iterator[None]:
    try:
        yield
    finally:
        connection.close()


@contextmanager
def proxying(upstream: str, *, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    proxy = Proxy(upstream, tls=tls)
    try:
        yield proxy
    finally:
        proxy.close()


def _read(file: Any) -> Request | None:
    first = file.readline().decode()
    if not first:
        return None
    method, path, _ = first.split(" ", 2)
    headers = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name] = value.strip()
    body = file.read(int(headers.get("Content-Length", 0)))
    return Request(method, path, headers, body)


# ------------------------------------------------------------------------------------------- what may happen


def status(code: int, body: bytes = b'{"errors":["as the test told it"]}', **headers: str) -> Fault:
    """Answer with a status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, connection, __: connection.sendall(Answer(code, body, named).encode())


def silent(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Take the request, and never answer."""
    proxy.closing.wait(30)


def drip_head(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Answer one byte at a time, from the first line on."""
    _drip(proxy, connection, proxy.forward(request).encode())


def drip_body(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Answer the body one byte at a time."""
    head, _, body = proxy.forward(request).encode().partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\n\r\n")
    _drip(proxy, connection, body)


def _drip(proxy: Proxy, connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        if proxy.closing.wait(DRIP):
            return


def reset_in_body(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Let the server do it, and break the connection in the middle of its answer."""
    data = proxy.forward(request).encode()
    connection.sendall(data[:-10])
    _reset(connection)


def lost_answer(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Let the server do it, and break the connection before its answer."""
    proxy.forward(request)
    _reset(connection)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    message = "closed"
    raise OSError(message)


def endless_body(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Answer with 1 GiB."""
    connection.sendall(Answer(200, b"").encode(length=1 << 30))
    for _ in range(1 << 14):
        connection.sendall(bytes(1 << 16))


def endless_chunk_line(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Answer in chunks, the size of the first of which has 1 GiB of digits."""
    connection.sendall(b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1 << 14):
        connection.sendall(b"0" * (1 << 16))


def compressed(proxy: Proxy, connection: socket.socket, request: Request) -> None:
    """Answer in a form that was not asked for, and that may be a bomb."""
    answer = proxy.forward(request)
    connection.sendall(Answer(200, gzip.compress(answer.body), {"Content-Encoding": "gzip"}).encode())


def redirect(to: str) -> Fault:
    """Send the client, and its token, elsewhere."""
    return lambda _, connection, request: connection.sendall(Answer(307, b"", {"Location": to + request.path}).encode())


def edited(change: Callable[[Any], object]) -> Fault:
    """Change the server's answer."""

    def fault(proxy: Proxy, connection: socket.socket, request: Request) -> None:
        answer = proxy.forward(request)
        value = json.loads(answer.body)
        change(value)
        connection.sendall(Answer(answer.status, json.dumps(value).encode()).encode())

    return fault


@contextmanager
def closed_port() -> Iterator[str]:
    """Give an address where connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def full_backlog() -> Iterator[str]:
    """Give an address where nothing is answered, not even the beginning of a connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            for each in waiting:
                each.close()
