# SPDX-License-Identifier: Apache-2.0
"""Every kind of place that keyrings lie in, under every kind of KEK that opens without a person: what holds for one holds for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from securekit.keyring import FileKeyStore, KeyStore
from securekit.keyring._storage import MemoryStorage
from securekit.sql import SqlKeyStore
from securekit.wrappers import KeyWrapper
from tests.keyring.parts import LOCAL, store_on
from tests.openbao import OpenBao

# Each under a local KEK and one in Vault; it is enough for the databases to be met under one of them.
KINDS = (
    *(f"{store}-{wrapper}" for store in ("memory", "file", "kv") for wrapper in ("local", "transit")),
    "sqlite-local",
    "postgresql-local",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that stores are opened on again and again, as many processes do."""

    open: Callable[..., KeyStore]
    wrapper: KeyWrapper

    def store(self, **options: Any) -> KeyStore:
        return self.open(**{"wrapper": self.wrapper, **options})


@pytest.fixture(params=KINDS)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Place]:
    """Makes empty places, all of one kind."""
    store, _, wrapper = request.param.partition("-")
    bao: OpenBao | None = request.getfixturevalue("bao") if store == "kv" or wrapper == "transit" else None

    def make() -> Place:
        name = f"t{time.monotonic_ns()}"
        kek = LOCAL if bao is None or wrapper == "local" else _transit(bao)
        if store == "memory":
            storage = MemoryStorage()
            return Place(lambda **options: store_on(storage, **options), kek)
        if store == "file":
            return Place(lambda **options: FileKeyStore(tmp_path / name, **options), kek)
        if store == "sqlite":
            return Place(lambda **options: SqlKeyStore(f"sqlite:///{tmp_path}/{name}.db", **options), kek)
        if store == "postgresql":
            engine, table = request.getfixturevalue("engine"), f"keyrings_{name}"
            SqlKeyStore(engine, table=table, wrapper=kek).create_schema()
            return Place(lambda **options: SqlKeyStore(engine, table=table, **options), kek)
        from securekit.vault import KvKeyStore, VaultConnection

        assert bao is not None
        vault = VaultConnection(bao.address, token=bao.root_token)
        return Place(lambda **options: KvKeyStore(vault, mount="kv", prefix=name, **options), kek)

    return make


def _transit(bao: OpenBao) -> KeyWrapper:
    from securekit.vault import TransitWrapper, VaultConnection

    return TransitWrapper(VaultConnection(bao.address, token=bao.root_token), "app")


@pytest.fixture
def place(places: Callable[[], Place]) -> Place:
    return places()
