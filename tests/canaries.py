# SPDX-License-Identifier: Apache-2.0
"""What the tests of canaries share: all that an error tracker could show of an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import securekit

PACKAGE = Path(securekit.__file__).parent


def walk(error: BaseException, *, frames_of: type[BaseException] = BaseException) -> Iterator[object]:
    """Yield an error's text, attributes and causes, and the variables of our frames if it is a ``frames_of``."""
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or current in seen:
            continue
        seen.append(current)
        pending += [current.__cause__, current.__context__]
        yield from (current, current.args, vars(current), getattr(current, "__notes__", []))
        yield from (getattr(current, name, None) for name in dir(current) if not name.startswith("__"))
        if isinstance(error, frames_of):
            yield from _variables(current.__traceback__)


def _variables(trace: TracebackType | None) -> Iterator[object]:
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).is_relative_to(PACKAGE):
            yield from trace.tb_frame.f_locals.values()
        trace = trace.tb_next
