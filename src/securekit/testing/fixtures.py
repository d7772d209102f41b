# SPDX-License-Identifier: Apache-2.0
"""Fixtures for pytest: ``pytest_plugins = ["securekit.testing.fixtures"]`` in your top-level ``conftest.py``."""

from __future__ import annotations

import pytest

from securekit.keyring import MemoryKeyStore

from . import FakeClock, memory_store

__all__ = ["securekit_clock", "securekit_store"]


@pytest.fixture
def securekit_clock() -> FakeClock:
    """A clock that stands still until it is turned."""
    return FakeClock()


@pytest.fixture
def securekit_store(securekit_clock: FakeClock) -> MemoryKeyStore:
    """A store in memory on that clock, under a fixed KEK."""
    return memory_store(clock=securekit_clock)
