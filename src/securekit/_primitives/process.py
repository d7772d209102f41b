# SPDX-License-Identifier: Apache-2.0
"""Which process is this: a token that changes in every forked child.

The library keeps no other module-level state. This one is a fact about the process, like its pid, and asking
the kernel for the pid costs as much as a sixth of an encryption.
"""

from __future__ import annotations

import os

__all__ = ["process"]


class _Process:
    """Holds the token of the running process."""

    __slots__ = ("token",)

    def __init__(self) -> None:
        self.token = object()

    def renew(self) -> None:
        self.token = object()


process = _Process()
os.register_at_fork(after_in_child=process.renew)
