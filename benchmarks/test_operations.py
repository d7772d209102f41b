# SPDX-License-Identifier: Apache-2.0
"""Single operations under pytest-benchmark: to compare two commits, by ``--benchmark-autosave`` and ``--benchmark-compare``.

The figures that count are the ratios of the scripts beside this file.
"""

from __future__ import annotations

import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from securekit import Keyring, LocalWrapper, MemoryKeyStore

DATA = os.urandom(1024)
CONTEXT = {"table": "invoice", "id": "42"}


@pytest.fixture
def ring() -> Keyring:
    """Return a keyring in memory."""
    return MemoryKeyStore(wrapper=LocalWrapper(os.urandom(32))).keyring("eu/acme/invoices", create=True)


def test_encrypt(benchmark: BenchmarkFixture, ring: Keyring) -> None:
    """Encrypt 1 KiB."""
    benchmark(ring.encrypt, DATA, context=CONTEXT)


def test_decrypt(benchmark: BenchmarkFixture, ring: Keyring) -> None:
    """Decrypt 1 KiB."""
    assert benchmark(ring.decrypt, ring.encrypt(DATA, context=CONTEXT), context=CONTEXT) == DATA


def test_bound_encrypt(benchmark: BenchmarkFixture, ring: Keyring) -> None:
    """Encrypt 1 KiB with a context that is bound in advance."""
    benchmark(ring.bind(**CONTEXT).encrypt, DATA)


def test_rotate(benchmark: BenchmarkFixture) -> None:
    """Rotate a keyring in memory; each round rotates a fresh one, because versions add up."""

    def fresh() -> tuple[tuple[Keyring], dict[str, object]]:
        return (MemoryKeyStore(wrapper=LocalWrapper(os.urandom(32))).keyring("eu/acme/invoices", create=True),), {}

    benchmark.pedantic(Keyring.rotate, setup=fresh, rounds=200)
