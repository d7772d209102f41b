# SPDX-License-Identifier: Apache-2.0
"""One daemon thread per store, started when the first job comes, so that nobody who encrypts has to wait for I/O."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from securekit._primitives.process import process

__all__ = ["Background", "InPlace"]


class Background:
    """Runs jobs one after the other. A forked child starts a thread of its own, without the parent's jobs.

    Args:
        idle: Seconds without a job after which the thread ends.
    """

    __slots__ = ("_idle", "_jobs", "_process", "_thread")

    def __init__(self, *, idle: float = 10.0) -> None:
        self._idle = idle
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: Thread | None = None
        self._process = process.token

    def run(self, job: Callable[[], None]) -> None:
        """Run ``job`` soon."""
        if self._process is not process.token:
            self._jobs, self._thread, self._process = SimpleQueue(), None, process.token
        self._jobs.put(job)
        with process.lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._work, args=(self._jobs,), name="securekit-refresh", daemon=True)
                self._thread.start()

    def _work(self, jobs: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            try:
                job = jobs.get(timeout=self._idle)
            except Empty:
                with process.lock:
                    if jobs.empty():
                        self._thread = None
                        return
                continue
            try:
                job()
            except Exception:  # a job must not end the thread that all jobs share
                import logging  # in time for the first mistake: it is slow to import

                logging.getLogger("securekit").exception("a refresh in the background failed")


class InPlace:
    """Runs jobs at once, in the thread that has them."""

    __slots__ = ()

    def run(self, job: Callable[[], None]) -> None:
        """Run ``job`` now."""
        job()
