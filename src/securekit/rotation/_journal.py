# SPDX-License-Identifier: Apache-2.0
"""The journal of a run: what it is for, how far it is, what failed. The format is ``docs/reference/rotation-journal.md``.

RULES of this file:

1. A journal only grows: one JSON object per line, written whole and made durable before the run goes on.
2. A last line that was not written to its end is cut off. Any other line that cannot be read is damage, and stops everything.
3. A journal belongs to one plan, and at one moment to one process. It holds names of items and keys, and nothing secret.
4. Losing it costs time, never data: a run without it looks at everything once more.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from securekit._wire.atomic import sync_directory
from securekit.exceptions import RotationError

from ._job import Failure

if TYPE_CHECKING:
    from types import TracebackType

    from ._job import Outcome

__all__ = ["FORMAT", "Journal", "Progress", "Totals", "is_unfinished", "journal_of", "source_of", "unfinished", "whoami"]

FORMAT = "securekit/rotation-journal/1"
MAX_FAILURES = 1000  # that are kept in memory and reported one by one; the journal has all
_MAX_LINE = 64 * 1024 * 1024  # bytes
_BEGINNING = f'{{"journal":"{FORMAT}"'.encode()
# What a line raises that is JSON, or nearly so, and not what we write.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(slots=True)
class Totals:
    """What a run has done so far, over all its attempts. See `Outcome`."""

    examined: int = 0
    changed: int = 0
    current: int = 0
    busy: int = 0
    size: int = 0
    failed: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count a batch."""
        self.examined += outcome.examined
        self.changed += outcome.changed
        self.current += outcome.current
        self.busy += outcome.busy
        self.size += outcome.size
        self.failed += len(outcome.failures)


@dataclass(slots=True)
class Progress:
    """How far a journal says that its run is."""

    place: str = ""
    round: int = 1
    finished: bool = False
    totals: Totals = field(default_factory=Totals)
    failures: list[Failure] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)


class Journal:
    """An open journal, locked for this process. Use it in a ``with`` block.

    Args:
        path: The file; made if it is not there.
        plan: What the plan is, as it stands in the first line.

    Raises:
        securekit.exceptions.RotationError: It belongs to another plan, another process works with it, or it is damaged.
        OSError: It cannot be made, read or written.
    """

    def __init__(self, path: str | os.PathLike[str], plan: Mapping[str, Any]) -> None:
        self.path = Path(path)
        new = not self.path.exists()
        # O_NONBLOCK: a FIFO in its place must not block us.
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            self._lock()
            if new:
                sync_directory(self.path.parent)
            self.plan, self.progress = self._read(plan)
        except BaseException:
            os.close(self._descriptor)
            raise

    def begin(self, now: str) -> None:
        """Note that an attempt begins."""
        if self.progress.finished:
            self.next_round()
        attempt = {"at": now, "by": whoami(), "securekit": version("securekit-platform")}
        self._append({"attempt": attempt})
        self.progress.attempts.append(attempt)

    def checkpoint(self, place: str, outcome: Outcome) -> None:
        """Note that everything up to ``place`` is done, and what became of it."""
        progress = self.progress
        progress.totals.add(outcome)
        progress.place = place
        room = MAX_FAILURES - len(progress.failures)
        progress.failures += outcome.failures[: max(room, 0)]
        lines = [{"failed": asdict(failure)} for failure in outcome.failures]
        self._append(*lines, {"done": {"place": place, "totals": asdict(progress.totals)}})

    def next_round(self) -> None:
        """Note that the end is reached, and that it goes on from the beginning."""
        entry = {"round": self.progress.round + 1}
        self._append(entry)
        _take(self.progress, self.plan, entry)

    def finish(self, now: str, *, busy: int = 0) -> None:
        """Note that nothing is left to do, but for what others are ``busy`` with."""
        progress = self.progress
        progress.finished, progress.totals.busy = True, busy
        self._append({"done": {"place": progress.place, "totals": asdict(progress.totals)}}, {"finished": now})

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let others have it."""
        os.close(self._descriptor)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return
        message = f"another run works with the journal {self.path}: wait for it, or give this one a journal of its own"
        raise RotationError(message)

    def _read(self, plan: Mapping[str, Any]) -> tuple[dict[str, Any], Progress]:
        progress = Progress()
        size = 0
        torn = b""
        first: dict[str, Any] | None = None
        with open(self._descriptor, "rb", closefd=False) as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b""), 1):
                if not line.endswith(b"\n"):
                    torn = line
                    break
                try:
                    entry = json.loads(line)
                    if first is None:
                        first = {**entry}
                    else:
                        _take(progress, first, entry)
                except _MALFORMED:
                    raise self._damaged(number) from None
                size += len(line)
        of_another = torn[: len(_BEGINNING)] != _BEGINNING[: len(torn)]
        fault = _disagreement(first, plan) if first is not None else _FOREIGN if of_another else ""
        if fault:
            message = f"{self.path}: {fault}"
            raise RotationError(message)
        os.ftruncate(self._descriptor, size)  # now that it is known to be ours
        if first is None:
            first = {"journal": FORMAT, **plan}
            self._append(first)
        if more := {path: target for path, target in plan["targets"].items() if path not in first["targets"]}:
            self._append({"targets": more})  # keyrings that came after the plan
            first["targets"] = {**first["targets"], **more}
        return first, progress

    def _damaged(self, number: int) -> RotationError:
        message = f"line {number} of the journal {self.path} is damaged: move it away and start again, which looks at everything once more"
        return RotationError(message)

    def _append(self, *entries: Mapping[str, Any]) -> None:
        data = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)
        before = os.fstat(self._descriptor).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, before)
            hint = "make room" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "repair that"
            message = f"the journal {self.path} cannot be written: {error.strerror}; what was done stands: {hint}, and run again"
            raise RotationError(message) from error


def journal_of(directory: Path, name: str, plan: Mapping[str, Any]) -> Path:
    """Return the journal in ``directory`` of a plan for the source ``name``: the one of a run that is not finished, or a new one.

    Args:
        directory: Made if it is not there.
        name: What the file is called, followed by a number.
        plan: What the plan is.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = [(int(number), file) for file in directory.glob("*.journal") if (number := _number(file.name, name))]
    last, file = max(there, default=(0, None))
    if file is not None and is_unfinished(file, plan):
        return file
    return directory / f"{name}-{last + 1:04}.journal"


def is_unfinished(file: Path, plan: Mapping[str, Any] | None = None) -> bool:
    """Whether ``file`` is the journal of a run that can go on; of ``plan``, if that is given."""
    first: dict[str, Any] | None = None
    progress = Progress()
    with suppress(*_MALFORMED), file.open("rb") as lines:  # the last line; if it is another one, opening the journal says so
        for line in lines:
            entry = json.loads(line)
            if first is None:
                first = {**entry}
            else:
                _take(progress, first, entry)
    return first is not None and not progress.finished and (plan is None or not _disagreement(first, plan))


def unfinished(directory: Path) -> list[str]:
    """Return the names of the sources whose last journal in ``directory`` is that of a run that can go on."""
    last: dict[str, tuple[int, Path]] = {}
    for file in directory.glob("*.journal"):
        if name := source_of(file):
            last[name] = max(last.get(name, (0, file)), (int(_number(file.name, name)), file))
    return sorted(name for name, (_, file) in last.items() if is_unfinished(file))


def source_of(file: Path) -> str:
    """Return the name of the source that a journal which `journal_of` has named is for; empty if it has another name."""
    match = re.fullmatch(r"(.+)-[0-9]{4,}\.journal", file.name)
    return match[1] if match else ""


def whoami() -> str:
    """Return who works here: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # of a container without a user database
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _number(file: str, name: str) -> str:
    match = re.fullmatch(rf"{re.escape(name)}-([0-9]{{4,}})\.journal", file)
    return match[1] if match else ""


_FOREIGN = f"no journal of the format {FORMAT}: it is another file, or from a newer securekit"


def _disagreement(first: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Return why the journal that begins with ``first`` does not go with ``plan``; empty if it does."""
    if first.get("journal") != FORMAT or not isinstance(first.get("targets"), dict):
        return _FOREIGN
    for name in ("kind", "source", "settings"):
        if first.get(name) != plan[name]:
            return f"the journal belongs to another plan ({name} differs): give this one a journal of its own"
    moved = sorted(path for path, target in plan["targets"].items() if first["targets"].get(path, target) != target)
    if moved:
        more = f", and {len(moved) - 1} more" if len(moved) > 1 else ""
        return f"the journal's plan is for another key of {moved[0]}{more}: this is a new plan, which needs a journal of its own"
    return ""


def _take(progress: Progress, first: dict[str, Any], entry: dict[str, Any]) -> None:
    """Follow one line. Members that are not known are those of a newer securekit, and change nothing."""
    if not {**entry}:
        raise ValueError
    if "attempt" in entry:
        progress.attempts.append({name: str(entry["attempt"][name]) for name in ("at", "by", "securekit")})
    elif "failed" in entry:
        if len(progress.failures) < MAX_FAILURES:
            progress.failures.append(Failure(**{name: str(entry["failed"].get(name, "")) for name in ("item", "error", "reason")}))
    elif "done" in entry:
        progress.place = str(entry["done"]["place"])
        progress.totals = Totals(**{name: int(entry["done"]["totals"].get(name, 0)) for name in Totals.__dataclass_fields__})
    elif "round" in entry:
        progress.round = int(entry["round"])
        progress.place, progress.finished, progress.failures = "", False, []
        progress.totals.failed = progress.totals.busy = 0  # they are looked at once more
    elif "targets" in entry:
        first["targets"] = {**first["targets"], **entry["targets"]}
    elif "finished" in entry:
        progress.finished = True
