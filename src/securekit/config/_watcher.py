# SPDX-License-Identifier: Apache-2.0
"""Configuration that follows its file: always one that was verified and validated as a whole.

A thread of its own looks at the file in intervals. It follows links anew each time, so that a link which is set to another
folder, as Kubernetes does with ``..data``, is a change like any other. A forked child has no such thread until it asks for
the configuration.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Generic, Self, TypeVar, overload

from securekit.exceptions import SecureKitError

__all__ = ["Watcher"]

T = TypeVar("T")
Values = Mapping[str, object]


class Watch(Generic[T]):
    """What `Watcher` does, for any way of reading and of telling that there is something new.

    Args:
        read: Returns the values, and what is made of them.
        stamp: Returns something that is equal as long as there is nothing new; it is asked before `read`.
        name: What is watched, for the log.
        interval: Seconds between two looks.
        on_change: Called with what is new and the dotted paths that differ.
        on_error: Called with the error, once for each stamp that could not be read.
    """

    def __init__(
        self,
        read: Callable[[], tuple[Values, T]],
        stamp: Callable[[], object],
        *,
        name: str,
        interval: float,
        on_change: Callable[[T, tuple[str, ...]], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        if interval <= 0:
            message = "interval is a number of seconds above 0"
            raise ValueError(message)
        self._read, self._stamp, self._name, self._interval = read, stamp, name, interval
        self._on_change, self._on_error = on_change, on_error
        self._seen = stamp()
        self._reported: object = self._seen
        self._state = read()
        self._closed = self._forced = False
        self._handler: Callable[[int, FrameType | None], None] | None = None
        self._former: Any = None
        self._renew()
        renew = weakref.WeakMethod(self._renew)
        os.register_at_fork(after_in_child=lambda: (method := renew()) and method())
        self._start()

    @property
    def current(self) -> T:
        """The configuration: the last one that was whole, verified and valid."""
        if self._thread is None and not self._closed:  # in a forked child, for the first time, perhaps long after the fork
            self._look()
            self._start()
        return self._state[1]

    def reload(self) -> None:
        """Read the file now, whether it looks new or not.

        Raises:
            securekit.exceptions.SecureKitError: It is no good; `current` is what it was.
        """
        with self._lock:
            self._take(self._stamp())

    def reload_on_sighup(self) -> None:
        """Read the file at each SIGHUP, after a handler that is there already has been called; in the main thread only."""

        def handle(number: int, frame: FrameType | None) -> None:
            self._forced = True
            self._orders.put(None)  # of a queue that a signal may interrupt
            if callable(self._former):
                self._former(number, frame)

        if self._handler is None:
            self._former = signal.signal(signal.SIGHUP, handle)
            self._handler = handle

    def close(self) -> None:
        """End the thread, and give SIGHUP back if nobody else has taken it since. `current` stays."""
        self._closed = True
        self._orders.put(None)
        if self._handler is not None and threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGHUP) is self._handler:
                signal.signal(signal.SIGHUP, self._former if self._former is not None else signal.SIG_DFL)
            self._handler = None
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _renew(self) -> None:
        """Begin without a thread, as in a forked child, where locks may be held by threads that are not there."""
        self._lock = threading.RLock()
        self._orders: SimpleQueue[None] = SimpleQueue()
        self._orders.put(None)  # a look at once: a child may be late
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"watching {self._name}", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            with suppress(Empty):
                self._orders.get(timeout=self._interval)
            if not self._closed:
                self._look()

    def _look(self) -> None:
        """Read again if there is something new, and keep what there is if that fails; a failure is tried again at each look."""
        with self._lock:
            forced, self._forced = self._forced, False
            stamp = self._stamp()
            if stamp == self._seen and not forced:
                return
            try:
                self._take(stamp)
            except Exception as error:  # noqa: BLE001 - whatever a model's own code raises: what was good stays
                if stamp == self._reported and not forced:
                    return
                self._reported = stamp
                # The text of foreign errors may hold a value.
                reason = str(error) if isinstance(error, SecureKitError) else type(error).__name__
                _log().error("%s is not used, and what was read before stays: %s", self._name, reason)
                self._call(self._on_error, error)

    def _take(self, stamp: object) -> None:
        """Read, swap, and tell what is different."""
        values, new = self._read()
        before, self._state = self._state[0], (values, new)
        self._seen = self._reported = stamp
        changed = tuple(sorted(_changed(before, values)))
        if changed:
            _log().info("%s was read again; different: %s", self._name, ", ".join(changed))
            self._call(self._on_change, new, changed)

    def _call(self, callback: Callable[..., object] | None, *arguments: object) -> None:
        try:
            if callback is not None:
                callback(*arguments)
        except Exception as error:  # noqa: BLE001 - a broken callback must not end the thread, nor quote a value in the log
            _log().error("a callback of %s failed: %s", self._name, type(error).__name__)


class Watcher(Watch[T]):
    """An encrypted configuration that follows its file, and what its resolver has fetched: when the lease of that ends, it is read again.

    Example:
        ::

            with Watcher("production.yaml", environment="production", into=Settings) as watcher:
                connect(watcher.current.db.password.reveal())

    Args:
        path: The document; links are followed anew at each look.
        environment: The environment that the document has to be for.
        into: A pydantic model or a dataclass; without it `current` is the mapping that `securekit.config.load` returns.
        interval: Seconds between two looks.
        on_change: Called with the new configuration and the dotted paths that differ, never with values.
        on_error: Called with the error, once for each state of the file that is no good.
        load_options: What `securekit.config.load` takes besides.

    Raises:
        securekit.exceptions.SecureKitError: The document is no good now: there is nothing to begin with.
    """

    @overload
    def __init__(
        self: Watcher[Values],
        path: str | os.PathLike[str],
        *,
        environment: str,
        into: None = None,
        interval: float = 5.0,
        on_change: Callable[[Values, tuple[str, ...]], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
        **load_options: Any,  # noqa: ANN401 - what load takes
    ) -> None: ...

    @overload
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        environment: str,
        into: type[T],
        interval: float = 5.0,
        on_change: Callable[[T, tuple[str, ...]], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
        **load_options: Any,  # noqa: ANN401 - what load takes
    ) -> None: ...

    def __init__(
        self: Watcher[Any],
        path: str | os.PathLike[str],
        *,
        environment: str,
        into: type[Any] | None = None,
        interval: float = 5.0,
        on_change: Callable[[Any, tuple[str, ...]], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
        **load_options: Any,
    ) -> None:
        def read() -> tuple[Values, Any]:
            from securekit.config._load import load_both

            return load_both(path, environment=environment, into=into, **load_options)

        ended: float | None = None

        def stamp() -> object:
            nonlocal ended
            until = getattr(load_options.get("resolver"), "fresh_until", math.inf)
            if time.monotonic() >= until:
                ended = until
            return file_stamp(path), ended

        super().__init__(read, stamp, name=os.fspath(path), interval=interval, on_change=on_change, on_error=on_error)


def file_stamp(path: str | os.PathLike[str]) -> tuple[object, ...]:
    """Return what differs once there is another file at the path, or other content in it."""
    try:
        real = os.path.realpath(path, strict=True)
        found = Path(real).stat()
    except OSError as error:
        return ("missing", error.errno)
    return real, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _changed(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the dotted paths of values that differ, are new, or are gone."""
    old, new = _members(before), _members(after)
    if old is None or new is None:
        if type(before) is not type(after) or before != after:
            yield path
        return
    for key in old.keys() | new.keys():
        below = f"{path}.{key}" if path else str(key)
        if key in old and key in new:
            yield from _changed(old[key], new[key], below)
        else:
            yield below


def _members(value: object) -> Mapping[object, object] | None:
    if isinstance(value, Mapping):
        return value
    return dict(enumerate(value)) if isinstance(value, list | tuple) else None


def _log() -> logging.Logger:
    return logging.getLogger("securekit.config")
