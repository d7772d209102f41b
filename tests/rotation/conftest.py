# SPDX-License-Identifier: Apache-2.0
"""Keyrings with an old primary and a new one, and where runs keep their journals."""

from __future__ import annotations

from pathlib import Path

import pytest

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
