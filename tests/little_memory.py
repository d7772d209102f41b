# SPDX-License-Identifier: Apache-2.0
"""A system that does not grant memory."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["little_memory"]


@contextmanager
def little_memory(more: int = 512 << 20) -> Iterator[None]:
    """Grant this process so many bytes more at most: enough for a new thread, which without any would never say that it began."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
