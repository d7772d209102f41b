# SPDX-License-Identifier: Apache-2.0
"""A command on a pseudo-terminal, with somebody who types."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

from tests.cli.conftest import Console

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal, which is all that its standard streams are."""

    def __init__(self, console: Console, *typed: str) -> None:
        parent, child = pty.openpty()
        self._screen = parent
        self.text = b""
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **console.env}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "securekit", *typed],
            cwd=console.folder,
            env=environment,
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
        )
        os.close(child)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + 30
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            if not self._read():
                break
        assert text in self.text

    def type(self, text: bytes) -> None:
        os.write(self._screen, text)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._screen)
        return self._process.wait(30)

    def _read(self) -> bool:
        if not select.select([self._screen], [], [], 30)[0]:
            return False
        try:
            more = os.read(self._screen, 65536)
        except OSError:  # the other end is closed, and all was read
            more = b""
        self.text += more
        return bool(more)

    @property
    def plain(self) -> str:
        return ESCAPES.sub(b"", self.text).decode()
