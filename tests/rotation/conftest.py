# SPDX-License-Identifier: Apache-2.0
"""Keyrings with an old primary and a new one, and where runs keep their journals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, Engine

from securekit.keyring import Keyring, KeyStore, MemoryKeyStore
from securekit.testing import memory_store
from tests.rotation.parts import PATH


@pytest.fixture
def store() -> MemoryKeyStore:
    return memory_store()


@pytest.fixture
def ring(store: KeyStore) -> Keyring:
    return store.keyring(PATH, create=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "rotate.journal"


@pytest.fixture
def rotated(postgres: URL, engine: Engine) -> Iterator[URL]:
    """Where an empty schema of PostgreSQL is, in which the test is alone."""
    name = f"rotated_{uuid4().hex}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield postgres.update_query_dict({"options": f"-csearch_path={name}"})
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
