# SPDX-License-Identifier: Apache-2.0
"""What a call costs: seconds of the processor, so that others on the machine do not count, and memory."""

from __future__ import annotations

import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["cost", "processor_seconds", "untraced"]


def cost(call: Callable[[], object]) -> tuple[float, int]:
    """Return the seconds that a call takes, and the peak of bytes of another one."""
    with untraced():
        taken = processor_seconds(call)
        tracemalloc.start()
        try:
            call()
            return taken, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def processor_seconds(call: Callable[[], object], *, times: int = 3) -> float:
    """Return the seconds that a call takes, the least of several times."""
    taken = []
    with untraced():
        for _ in range(times):
            begin = time.process_time()
            call()
            taken.append(time.process_time() - begin)
    return min(taken)


@contextmanager
def untraced() -> Iterator[None]:
    """Measure no coverage in the block: what that adds is not the call's."""
    tracer, tracer_of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
        threading.settrace(tracer_of_threads)
