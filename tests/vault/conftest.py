# SPDX-License-Identifier: Apache-2.0
"""A real OpenBao for the tests of this folder, and names in it that no other test uses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from securekit.vault import TransitWrapper, VaultConnection
from tests.openbao import OpenBao, running


@pytest.fixture(scope="session")
def bao() -> Iterator[OpenBao]:
    """A server that tests share: none of them seals or kills it."""
    with running() as server:
        yield server


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
