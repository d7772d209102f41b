# SPDX-License-Identifier: Apache-2.0
"""Starts the example services of ``docs/how-to/examples`` by the command lines that their page shows."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

__all__ = ["EXAMPLES", "Service", "eventually", "running_service"]

EXAMPLES = Path(__file__).parents[2] / "docs/how-to/examples"
_PATIENCE = 30.0  # seconds until something that must happen has happened


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: a client whose every request is a connection of its own, and what the processes have logged."""

    name: str
    workers: int
    client: httpx.Client
    log_file: Path

    def call(self, method: str, path: str, *, account: str, json: Mapping[str, str] | None = None) -> httpx.Response:
        return self.client.request(method, path, headers={"X-Account": account}, json=json)

    def log(self) -> str:
        return self.log_file.read_text()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() >= deadline:
            message = f"in vain: {what}"
            raise AssertionError(message)
        time.sleep(0.05)


@contextmanager
def running_service(name: str, environment: Mapping[str, str], directory: Path) -> Iterator[Service]:
    """Run the line ``name:`` of the Procfile on a free port until the block ends; then nothing of it is left."""
    (line,) = re.findall(rf"^{name}: (.+)$", (EXAMPLES / "Procfile").read_text(), re.MULTILINE)
    (workers,) = re.findall(r"--workers (\d+)", line)
    port = _free_port()
    log_file = directory / f"{name}.log"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=EXAMPLES,
            env={**os.environ, **environment, "PATH": path, "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # Not by a pool that keeps nothing alive: its threads close each other's connections when they tidy up.
    alone = {"Connection": "close"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=alone, timeout=_PATIENCE, trust_env=False) as client:
            service = Service(name, int(workers), client, log_file)
            eventually(lambda: _is_ready(service, process), f"{name} is ready")
            yield service
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_ready(service: Service, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        message = f"{service.name} ended with {process.returncode}:\n{service.log()}"
        raise AssertionError(message)
    try:
        return service.client.get("/ready").is_success
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
