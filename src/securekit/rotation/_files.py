# SPDX-License-Identifier: Apache-2.0
"""Trees of sealed files: their recipients are exchanged in place, or, after a leak, the files are encrypted anew."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from securekit._wire.atomic import atomic_writer
from securekit.envelope import inspect_file
from securekit.exceptions import SecureKitError, WrapperUnavailableError
from securekit.wrappers._recipients import name_of

from ._job import Failure, Outcome, Sighting, Tally

if TYPE_CHECKING:
    from ._job import Kind
    from ._sealed import Exchange

__all__ = ["FilesJob", "SealedFiles"]

_BUFFER = 1 << 20  # bytes that are copied at a time
_LINK = "a link or another thing that is no file; it is left alone"

Context = Mapping[str, str] | Callable[[str], Mapping[str, str]]


class SealedFiles:
    """The sealed files below a directory: a source for `plan`, together with an envelope.

    Args:
        root: The directory.
        suffix: Which files: those whose name ends so.
        context: The context that they were sealed with, the same for all, in which ``{path}`` and ``{name}`` are the file's path below
            ``root`` and its name; or a function of that path. Only needed to verify them wholly, and to encrypt them anew.

    Raises:
        ValueError: ``root`` is no directory.
    """

    def __init__(self, root: str | os.PathLike[str], *, suffix: str = ".sk", context: Context | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            message = f"{self.root} is no directory"
            raise ValueError(message)
        self.suffix = suffix
        self._context = context

    @property
    def identity(self) -> str:
        """Names the directory, by its path without links, and which files are meant."""
        return f"files {os.path.realpath(self.root)}/**{self.suffix}"

    def context(self, place: str) -> Mapping[str, str] | None:
        """Return the context of the file at ``place``; None if it is not known."""
        if self._context is None or callable(self._context):
            return self._context(place) if callable(self._context) else None
        words = {"path": place, "name": place.rpartition("/")[2]}
        return {key: value.format_map(words) for key, value in self._context.items()}

    def walk(self, after: str = "") -> Iterator[str]:
        """Yield the paths of the files below the root that come behind ``after``, folder by folder, sorted.

        Raises:
            OSError: A folder cannot be listed: nothing is left out silently.
        """
        yield from self._walk("", tuple(after.split("/")) if after else ())

    def _walk(self, folder: str, after: tuple[str, ...]) -> Iterator[str]:
        with os.scandir(self.root / folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        first = after[0] if after else ""
        for name, is_folder in found:
            if name < first or (name == first and not is_folder):
                continue
            if is_folder:
                yield from self._walk(f"{folder}{name}/", after[1:] if name == first else ())
            elif name.endswith(self.suffix):
                yield f"{folder}{name}"


class FilesJob:
    """Sealed files, and who may open them from now on."""

    def __init__(self, source: SealedFiles, exchange: Exchange) -> None:
        self._source = source
        self._exchange = exchange
        self._walk: tuple[str, Iterator[str]] = ("", iter(()))
        if exchange.renew and source.context("") is None:
            message = "to encrypt files anew takes their context: SealedFiles(…, context=…)"
            raise ValueError(message)

    @property
    def kind(self) -> Kind:
        """What is done to the files."""
        return self._exchange.kind

    @property
    def identity(self) -> str:
        """The source's."""
        return self._source.identity

    @property
    def settings(self) -> Mapping[str, object]:
        """Who may open them from now on."""
        return self._exchange.settings

    def tallies(self) -> Iterator[Tally]:
        """Count the files by their recipients: their headers are read, and nothing else."""
        groups: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        sizes: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        for place in self._source.walk():
            group, size = self._group(place)
            groups[group] += 1
            sizes[group] += size
        for (keys, action, fault), items in sorted(groups.items()):
            yield Tally(keys, items, sizes[keys, action, fault], action=action, fault=fault)

    def targets(self) -> dict[str, str]:
        """There are no keyrings."""
        return {}

    def aim(self, targets: Mapping[str, str]) -> None:
        """There are no keyrings."""

    def places(self, after: str, limit: int) -> list[str]:
        """Return the next files. Asked for one batch after the other, the tree is walked once."""
        at, walk = self._walk
        if at != after or not after:
            walk = self._source.walk(after)
        found = list(islice(walk, limit))
        self._walk = (found[-1] if found else "", walk)
        return found

    all_places = places

    def left(self) -> None:
        """It takes reading all headers to count."""

    def work(self, places: Sequence[str]) -> Outcome:
        """Exchange the recipients of the files at ``places``."""
        outcome = Outcome()
        for place in places:
            file = self._source.root / place
            outcome.examined += 1
            try:
                _check_regular(file)
                outcome.size += file.stat().st_size
                changed = self._renew(file, place) if self._exchange.renew else self._exchange.rewrap_file(file)
            except FileNotFoundError:
                outcome.examined -= 1  # deleted meanwhile
            except BlockingIOError:
                outcome.busy += 1
            except WrapperUnavailableError:
                raise
            except (SecureKitError, OSError) as error:
                outcome.fail(place, _readable(error))
            else:
                outcome.changed += changed
                outcome.current += not changed
        return outcome

    def look(self, places: Sequence[str]) -> Iterator[Sighting]:
        """Open the files at ``places``: wholly, if their context is known, else their headers."""
        for place in places:
            file = self._source.root / place
            keys: tuple[str, ...] = ()
            try:
                _check_regular(file)
                keys = tuple(name_of(wrapped) for wrapped in inspect_file(file).recipients)
                self._open(file, place)
            except FileNotFoundError:
                continue
            except WrapperUnavailableError:
                raise
            except (SecureKitError, OSError) as error:
                yield Sighting(place, keys, Failure(place, type(error).__name__, str(_readable(error))))
            else:
                yield Sighting(place, keys)

    def _group(self, place: str) -> tuple[tuple[tuple[str, ...], str, str], int]:
        file = self._source.root / place
        try:
            _check_regular(file)
            found = inspect_file(file)
        except (SecureKitError, OSError) as error:
            return ((), "", str(_readable(error))), 0
        # Two headers that differ are an interrupted exchange, which a further one finishes.
        action = self._exchange.action(found.recipients) or (self._exchange.kind if found.faults and not self._exchange.renew else "")
        return (tuple(name_of(wrapped) for wrapped in found.recipients), action, ""), found.size

    def _open(self, file: Path, place: str) -> None:
        context = self._source.context(place)
        if context is None:
            self._exchange.open_headers(file)
            return
        with self._exchange.envelope.open_reader(file, context=context) as reader:
            while reader.read(_BUFFER):
                pass

    def _renew(self, file: Path, place: str) -> bool:
        """Encrypt a file anew that a dropped recipient could open. A crash leaves the old file, or the new one."""
        found = inspect_file(file)
        if not self._exchange.leaves(found.recipients):
            return False
        context = self._source.context(place) or {}
        envelope = self._exchange.envelope
        status = file.stat()
        mode = stat.S_IMODE(status.st_mode)

        def check() -> None:
            now = file.stat()
            if not os.path.samestat(now, status) or now.st_mtime_ns != status.st_mtime_ns:
                message = "it was written by somebody else meanwhile"
                raise BlockingIOError(message)

        with envelope.open_reader(file, context=context) as reader, atomic_writer(file, mode=mode, check=check) as target:
            with envelope.open_writer(target, context=context) as writer:
                shutil.copyfileobj(reader, writer, _BUFFER)
            os.fchown(target.fileno(), status.st_uid, status.st_gid)
        return True


def _check_regular(file: Path) -> None:
    if not stat.S_ISREG(file.lstat().st_mode):
        raise OSError(_LINK)


def _readable(error: Exception) -> Exception:
    """Return an error whose text does not repeat the file's name, which stands beside it."""
    return OSError(error.strerror) if isinstance(error, OSError) and error.strerror else error
