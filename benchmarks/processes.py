# SPDX-License-Identifier: Apache-2.0
"""Processes: how long the library and the command line take to start, beside what they are made of."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.ratio import Ratio, compare, show

ROUNDS = 61
COMMAND = Path(sys.executable).with_name("securekit")  # the entry point beside this interpreter, without uv in between


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table. All processes find compiled modules, as an installed package has them."""
    with TemporaryDirectory() as compiled:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}

        def process(*command: str | Path) -> Callable[[], object]:
            return lambda: subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        yield compare(
            process(sys.executable, "-c", "from securekit import FileKeyStore, LocalWrapper"),
            process(sys.executable, "-c", "import cryptography.hazmat.primitives.ciphers.aead"),
            name="`from securekit import FileKeyStore, LocalWrapper`, importing `AESGCM` alone; whole process",
            goal=2.0,
            rounds=ROUNDS,
            number=1,
        )
        yield compare(
            process(COMMAND, "--help"),
            process(sys.executable, "-c", "pass"),
            name="`securekit --help`, `python -c pass`; whole process",
            goal=6.0,
            rounds=ROUNDS,
            number=1,
        )


if __name__ == "__main__":
    show(*measure())
