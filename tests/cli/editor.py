# SPDX-License-Identifier: Apache-2.0
"""An editor for tests, which does what ``EDITOR_DOES`` says to the file that it is given, as a process of its own.

``replace OLD NEW`` (once or several, separated by lines), ``show COPY`` to copy what it sees, ``wait`` for a signal, ``fail``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

file = Path(sys.argv[1])
for step in os.environ["EDITOR_DOES"].splitlines():
    verb, *words = step.split("\t")
    if verb == "replace":
        text = file.read_bytes()
        assert words[0].encode() in text, words[0]
        file.write_bytes(text.replace(words[0].encode(), words[1].encode().decode("unicode_escape").encode("latin-1"), 1))
    elif verb == "show":
        Path(words[0]).write_bytes(file.read_bytes())
        Path(words[0] + ".where").write_text(f"{file} {file.stat().st_mode & 0o777:o} {file.parent.stat().st_mode & 0o777:o}")
    elif verb == "wait":
        file.with_name("copy~").write_bytes(file.read_bytes())  # as editors make them
        Path(words[0]).write_text(str(file.parent))
        time.sleep(30)
    elif verb == "remove":
        file.unlink()
    elif verb == "fail":
        sys.exit(3)
