# SPDX-License-Identifier: Apache-2.0
"""How much memory, and how many cores, passwords may take at once. Who does not fit waits in line, and if the line is full, is refused."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, RLock
from typing import TYPE_CHECKING

from securekit._primitives.process import process
from securekit.exceptions import PasswordBusyError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Budget"]

_MAX_MEMORY = 512  # MiB
_MAX_WAITING = 64


class Budget:
    """Memory and cores for passwords. Hashers that share one object share what it allows.

    Args:
        max_memory: MiB that all verifications and hashes at work may take together.
        max_waiting: How many may wait for their turn; the next one is refused with `securekit.exceptions.PasswordBusyError` at once.
        max_running: How many work at once, whatever their memory; as many as the process may use cores, if not given.

    Raises:
        ValueError: A number is not positive (``max_waiting``: negative).
    """

    __slots__ = ("_line", "_lock", "_memory", "_running", "_token", "max_memory", "max_running", "max_waiting")

    def __init__(self, *, max_memory: int = _MAX_MEMORY, max_waiting: int = _MAX_WAITING, max_running: int | None = None) -> None:
        for name, value, least in (("max_memory", max_memory, 1), ("max_waiting", max_waiting, 0), ("max_running", max_running, 1)):
            if value is not None and value < least:
                message = f"{name} must be at least {least}, not {value}"
                raise ValueError(message)
        self.max_memory: int = max_memory
        self.max_waiting: int = max_waiting
        self.max_running: int = max_running or _cores()
        self._renew()

    def grants(self, memory: int) -> bool:
        """Whether so many KiB are ever granted."""
        return memory <= self.max_memory * 1024

    @contextmanager
    def admitted(self, memory: int) -> Iterator[None]:
        """Wait for ``memory`` KiB and a core, and hold them in the block.

        Raises:
            securekit.exceptions.PasswordBusyError: Too many wait already.
        """
        turn = Lock()
        turn.acquire()
        token = self._enter(memory, turn.release)
        try:
            turn.acquire()
        except BaseException:
            self._withdraw(memory, turn.release, token)
            raise
        try:
            yield
        finally:
            self._leave(memory, token)

    async def aadmit(self, memory: int) -> Callable[[], None]:
        """Wait likewise, without a thread; return what gives them back, to be called once, by whoever ends the work.

        Raises:
            securekit.exceptions.PasswordBusyError: Too many wait already.
        """
        import asyncio  # which takes long to import

        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()

        def grant() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, turn)

        token = self._enter(memory, grant)
        try:
            await turn
        except BaseException:
            self._withdraw(memory, grant, token)
            raise
        return lambda: self._leave(memory, token)

    def _enter(self, memory: int, grant: Callable[[], object]) -> object:
        """Grant at once, or stand in line."""
        if self._token is not process.token:
            with process.lock:  # in a forked child, nobody of the parent's is at work
                if self._token is not process.token:
                    self._renew()
        with self._lock:
            if not self._line and self._fits(memory):
                self._take(memory)
                grant()
                return self._token
            if len(self._line) < self.max_waiting:
                self._line.append((memory, grant))
                return self._token
        message = f"{self.max_waiting} passwords are waiting to be hashed already; try again in a moment"
        raise PasswordBusyError(message)

    def _leave(self, memory: int, token: object) -> None:
        if token is not process.token:
            return  # a child that was forked within the block owes its own budget nothing
        with self._lock:
            self._running -= 1
            self._memory -= memory
            self._admit()

    def _withdraw(self, memory: int, grant: Callable[[], object], token: object) -> None:
        """Leave the line; or give back what was granted at the same moment."""
        with self._lock:
            waiting = (memory, grant) in self._line
            if waiting:
                self._line.remove((memory, grant))
                self._admit()  # those behind, if it was the first and needed more than they
        if not waiting:
            self._leave(memory, token)

    def _admit(self) -> None:
        while self._line and self._fits(self._line[0][0]):
            needed, grant = self._line.popleft()
            self._take(needed)
            grant()

    def _fits(self, memory: int) -> bool:
        return self._running < self.max_running and self._memory + memory <= self.max_memory * 1024

    def _take(self, memory: int) -> None:
        self._running += 1
        self._memory += memory

    def _renew(self) -> None:
        self._lock = RLock()  # within it, a collection of garbage may end a coroutine that waited, and so withdraw it
        self._line: deque[tuple[int, Callable[[], object]]] = deque()
        self._memory = 0  # KiB that are taken
        self._running = 0
        self._token = process.token


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():  # whoever waits was cancelled, and withdraws
        turn.set_result(None)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has no affinity
