# SPDX-License-Identifier: Apache-2.0
"""Which process is this: a token, and a lock, that are new in every forked child.

The library keeps no other module-level state. This one is a fact about the process, like its pid; asking the kernel
for the pid would cost a sixth of an encryption. A lock that another thread held at the moment of the fork would stay
locked in the child for ever, so the child gets its own.
"""

from __future__ import annotations

import os
from threading import Lock

__all__ = ["process"]


class _Process:
    """The token and the lock of the running process."""

    __slots__ = ("lock", "token")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.token = object()
        self.lock = Lock()


process = _Process()
os.register_at_fork(after_in_child=process.renew)
