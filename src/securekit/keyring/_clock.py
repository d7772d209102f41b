# SPDX-License-Identifier: Apache-2.0
"""Where time enters: one object, so that tests patch nothing."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import ClassVar, Protocol

from securekit.exceptions import FormatError

__all__ = ["Clock", "SystemClock", "format_time", "moment", "parse_time"]

# Later versions of Python read 24:00:00 as the next day, which would be a second text for one moment.
_RFC3339 = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?!24)[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


class Clock(Protocol):
    """Two clocks: the calendar's, which may jump, and one that only goes forward."""

    def time(self) -> float:
        """Return seconds since 1970-01-01T00:00:00Z: for what is written down."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment, never less than before: for ages of caches."""


class SystemClock:
    """The operating system's clocks."""

    __slots__ = ()

    monotonic: ClassVar[staticmethod[[], float]] = staticmethod(time.monotonic)
    time: ClassVar[staticmethod[[], float]] = staticmethod(time.time)


def format_time(seconds: int) -> str:
    """Return the moment as RFC 3339 in UTC with whole seconds: ``2026-11-23T09:30:00Z``."""
    # Not strftime, whose %Y has fewer than four digits for early years on Linux.
    return moment(seconds).isoformat().replace("+00:00", "Z")


def moment(seconds: int) -> datetime:
    """Return the point in time, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def parse_time(text: object) -> int:
    """Return the seconds that `format_time` was given.

    Raises:
        securekit.exceptions.FormatError: ``text`` is anything else than `format_time` gives.
    """
    if isinstance(text, str) and re.fullmatch(_RFC3339, text):
        try:
            return int(datetime.fromisoformat(text).timestamp())
        except ValueError:
            pass
    message = "a time in the document is not of the form 2026-11-23T09:30:00Z"
    raise FormatError(message)
