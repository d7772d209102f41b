# SPDX-License-Identifier: Apache-2.0
"""What the tests of faults do to a file, here or in a process of its own: ``python fault_work.py VERB FILE SPARE``.

The spare file is worked on first, so that all is imported; the calls between the two marks are those of the work itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys

from securekit._wire.atomic import atomic_writer
from securekit.envelope import Envelope
from securekit.wrappers import LocalWrapper

CONTEXT = {"order": "7"}
DATA = bytes(range(256)) * 800  # 200 KiB: several writes
OLD, NEW = LocalWrapper(b"\1" * 32), LocalWrapper(b"\2" * 32)


def rewrap(path: str) -> None:
    """Exchange the recipients."""
    Envelope(NEW, also_open=[OLD]).rewrap_file(path)


def write(path: str) -> None:
    """Seal the data."""
    with Envelope(OLD).open_writer(path, context=CONTEXT) as writer:
        writer.write(DATA)


def decrypt(path: str) -> None:
    """Decrypt to a file beside it."""
    with Envelope([OLD, NEW]).open_reader(path, context=CONTEXT) as reader, atomic_writer(f"{path}.out") as target:
        shutil.copyfileobj(reader, target)


VERBS = {"rewrap": rewrap, "write": write, "decrypt": decrypt}


def mark(name: str) -> None:
    """Leave a line in the log of system calls."""
    with contextlib.suppress(FileNotFoundError):
        os.open(f"/{name} of the work", os.O_RDONLY)


if __name__ == "__main__":
    _, verb, file, spare = sys.argv
    VERBS[verb](spare)
    mark("begin")
    try:
        VERBS[verb](file)
    except OSError as error:
        os._exit(error.errno or 1)  # which tells the error even where nothing can be written
    mark("end")
