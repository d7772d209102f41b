# SPDX-License-Identifier: Apache-2.0
"""Servers for the tests of this folder, and names in them that no other test uses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from securekit.vault import TransitWrapper, VaultConnection
from tests.identities import AUTHORITY, DAY, Issued, issue, pem, private_key
from tests.openbao import OpenBao, running
from tests.vault.faults import Proxy, proxying


@pytest.fixture
def own() -> Iterator[OpenBao]:
    """A server of the test's own, to be sealed and broken."""
    with running() as server:
        yield server


@pytest.fixture
def durable() -> Iterator[OpenBao]:
    """A server of the test's own, to be killed and started again."""
    with running(durable=True) as server:
        yield server


@pytest.fixture
def vault(bao: OpenBao) -> VaultConnection:
    return VaultConnection(bao.address, token=bao.root_token)


@pytest.fixture
def key(bao: OpenBao) -> str:
    """A Transit key of the test's own."""
    name = f"key-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    return name


@pytest.fixture
def transit(vault: VaultConnection, key: str) -> TransitWrapper:
    return TransitWrapper(vault, key)


@pytest.fixture
def proxy(bao: OpenBao) -> Iterator[Proxy]:
    """What stands between the test and the shared server."""
    with proxying(bao.address) as between:
        yield between


@dataclass(frozen=True, slots=True)
class Authority:
    """Who issues certificates for the servers and clients of tests, into a folder."""

    folder: Path
    issued: Issued

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *, host: str = "127.0.0.1", issuer: Issued | None = None, **dates: Any) -> tuple[Path, Path]:
        """Return the files of a certificate for a host, and of its key."""
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)])
        issued = issue(
            name, private_key("p256", hash(name)), names, issuer=issuer or self.issued, **{"begin": now - DAY, "end": now + DAY, **dates}
        )
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(issued.pem)
        key.write_bytes(pem(issued.key))
        key.chmod(0o600)
        return cert, key


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    now = datetime.now(UTC)
    made = Authority(tmp_path_factory.mktemp("tls"), issue("ca", private_key("p256", 900), *AUTHORITY, begin=now - DAY, end=now + DAY))
    made.ca.write_bytes(made.issued.pem)
    return made
