# SPDX-License-Identifier: Apache-2.0
"""A command in a process of its own that is traced: ``python config_fault_work.py SPARE FILE COMMAND…``, with ``{}`` for the file.

The spare file is worked on first, so that all is imported; the calls between the two marks are those of the work itself.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

from securekit.__main__ import main

VALUE = b"fake-new"


def run(file: str, command: list[str]) -> int:
    """Run the command on a file, and return its exit code."""
    sys.argv = ["securekit", "config", *(word.replace("{}", file) for word in command)]
    sys.stdin = io.TextIOWrapper(io.BytesIO(VALUE))
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def mark(name: str) -> None:
    """Leave a line in the log of system calls."""
    with contextlib.suppress(OSError):
        os.open(f"/{name} of the work", os.O_RDONLY)


if __name__ == "__main__":
    _, spare, file, *command = sys.argv
    assert run(spare, command) == 0
    mark("begin")
    code = run(file, command)
    mark("end")
    os._exit(code)
