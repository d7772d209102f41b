# SPDX-License-Identifier: Apache-2.0
"""Keystores: what it costs to open a keyring that this process has not used yet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.ratio import Ratio, compare, show
from securekit import FileKeyStore, LocalWrapper

PATH = "eu/acme/invoices"
VERSIONS = 20


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    wrapper = LocalWrapper(os.urandom(32))
    with TemporaryDirectory() as folder:
        ring = FileKeyStore(folder, wrapper=wrapper).keyring(PATH, create=True)
        for _ in range(VERSIONS - 1):
            ring.rotate()
        record = ring.encrypt(b"DE89 3704 0044", context={})
        document = Path(folder, f"{PATH}@keyring.json")

        def cold() -> bytes:
            return FileKeyStore(folder, wrapper=wrapper).keyring(PATH).decrypt(record, context={})

        def parse() -> int:
            return len(json.loads(document.read_bytes())["keys"])

        assert cold() == b"DE89 3704 0044"
        assert parse() == len(ring.keys()) == VERSIONS
        yield compare(
            cold,
            parse,
            name=f"cold `FileKeyStore.keyring()` and first decrypt, {VERSIONS} versions; reading and parsing the same JSON",
            goal=20,
            rounds=51,
            number=100,
        )


if __name__ == "__main__":
    show(*measure())
