# SPDX-License-Identifier: Apache-2.0
"""Argon2id agrees with published answers, and fails as a lack of memory where there is none."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from securekit._primitives.argon2 import argon2id
from tests.conftest import Count
from tests.little_memory import little_memory

VECTORS = Path(__file__).parents[1] / "vectors" / "pyca-kdf" / "argon2id.txt"
# What we have no way to ask for: a secret or associated data besides the passphrase, and another length than 32 bytes.
NOT_OURS = {"0": "secret and associated data", "3": "64 bytes", "4": "8 bytes", "5": "4 bytes"}


def test_every_published_vector_of_our_form(count: Count) -> None:
    """32 bytes from a passphrase and a salt are as published; the other vectors are a frozen list."""
    blocks = VECTORS.read_text().split("COUNT = ")[1:]
    cases = {block.split()[0]: dict(re.findall(r"^(\w+) = ?(\S*)$", block, re.MULTILINE)) for block in blocks}
    left_out = set()
    for number, case in cases.items():
        if "secret" in case or case["length"] != "32":
            left_out.add(number)
            continue
        derived = argon2id(
            bytes.fromhex(case["pass"]),
            salt=bytes.fromhex(case["salt"]),
            memory=int(case["memcost"]),
            passes=int(case["iter"]),
            lanes=int(case["lanes"]),
        )
        assert derived.hex() == case["output"]
    assert left_out == NOT_OURS.keys()
    assert len(cases) == 6
    count("Argon2id vectors", len(cases) - len(left_out))


def test_memory_that_is_not_granted_is_a_memory_error() -> None:
    """Where the system refuses the memory, the error says how much it was, and holds no passphrase."""
    with little_memory(), pytest.raises(MemoryError, match="not granted 8388608 KiB") as caught:
        argon2id(b"correct horse", salt=bytes(16), memory=8 << 20, passes=1, lanes=1)
    assert "correct horse" not in repr(caught.value)


@pytest.mark.timeout(60)
def test_threads_with_several_lanes_do_not_wait_for_each_other_for_ever() -> None:
    """Eight threads derive with four lanes each at once: nothing dead-locks, and all agree."""

    def derive(_: int) -> bytes:
        return argon2id(b"passphrase", salt=bytes(16), memory=256, passes=2, lanes=4)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(derive, range(64)))) == 1
