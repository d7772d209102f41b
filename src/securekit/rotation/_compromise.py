# SPDX-License-Identifier: Apache-2.0
"""A key has leaked: what it opened, and the chain of steps after which it opens nothing that is written from now on.

RULES of this file:

1. A leaked *data key* opened the records under it, and every keyring wrapped under it. Its keyring rotates, and records move.
2. A leaked *KEK* opened every data key that is wrapped to it: a rewrap alone leaves these leaked. Keyrings are rewrapped without it and
   rotate; sealed messages and files that were wrapped to it are encrypted anew.
3. A leaked *certificate key* is a KEK. Of configuration documents it opened the secrets themselves: they are changed at their source.
4. What had to be done is written down before anything is done, so that a chain that was killed does nothing twice and nothing too late.
5. The chain ends before anything is disabled or destroyed: that is for people, who see the proof.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from securekit._wire.atomic import write_atomic
from securekit.exceptions import RotationError
from securekit.keyring._lifecycle import mark_due
from securekit.keyring._survey import survey
from securekit.wrappers._recipients import name_of

from ._documents import ConfigDocuments, find_documents, keys_of
from ._engine import run
from ._job import spellings
from ._journal import journal_of
from ._plan import plan
from ._verify import Verification, verify_jobs

if TYPE_CHECKING:
    from securekit.keyring import Keyring
    from securekit.keyring._document import KeyringDocument

    from ._engine import RunProgress
    from ._plan import Plan
    from ._report import Report
    from ._settings import Estate, EstateSource

__all__ = ["Blast", "Chain", "blast_radius", "run_chain"]

FORMAT = "securekit/rotation-compromise/1"


@dataclass(frozen=True, slots=True)
class Blast:
    """Something that a leaked key opened.

    Attributes:
        where: The store or source.
        kind: ``"key"`` (a data key), ``"keyring"``, ``"items"`` of a source, or ``"secret"`` (a value of a configuration document).
        what: The keyring, the key, or the value; empty for items.
        items: How many.
    """

    where: str
    kind: str
    what: str
    items: int


@dataclass(frozen=True, slots=True)
class Chain:
    """What was done about a leaked key.

    Attributes:
        key: Its name.
        rotated: The keyrings that have a new primary, by path: the full name of the new key.
        reports: Of the runs that re-encrypted.
        proof: The verification at the end; None if the chain was stopped before.
        commands: What is left for people to do, in order.
        needed: How many items still need the key, or a data key that it opened, by its name: empty if all went well.
    """

    key: str
    rotated: Mapping[str, str]
    reports: tuple[Report, ...]
    proof: Verification | None
    commands: tuple[str, ...]
    needed: Mapping[str, int] = field(default_factory=dict)


def blast_radius(estate: Estate, key: str) -> list[Blast]:
    """Return what a leaked key opened, in all stores and sources: nothing is changed.

    Args:
        estate: The stores and sources.
        key: The full name of a data key, ``path@id``; or of a KEK, such as ``local 0bac1fe1ddce8316``, or its reference alone: for a
            certificate, the fingerprint of its key.

    Raises:
        securekit.exceptions.SecureKitError, OSError: A store or source cannot be read.
    """
    return _blast(estate, _Leak(estate, key))


def run_chain(
    estate: Estate,
    key: str,
    *,
    workers: int = 1,
    say: Callable[[str], object] = lambda _: None,
    progress: Callable[[RunProgress], object] | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.time,
) -> Chain:
    """Rotate what a leaked key opened, wait until every process must have noticed, re-encrypt, and verify. Killed, it goes on.

    Args:
        estate: The stores and sources. For a leaked KEK, their wrappers are the new ones, and the old one is in ``also_open``.
        key: As `blast_radius`.
        workers: Threads that work side by side.
        say: Told what is done, line by line.
        progress: Told how far a run is.
        stop: Ends it after what is begun.
        clock: Seconds since 1970, for tests.

    Raises:
        securekit.exceptions.RotationError: The estate still wraps to the leaked KEK; or the key opens nothing that is known.
        securekit.exceptions.SecureKitError, OSError: As `securekit.rotation.run`.
    """
    stopping = stop or threading.Event()
    leak = _Leak(estate, key)
    leak.check_replaced()
    if not _Begun.file_of(estate.journals, key).exists() and not _blast(estate, leak):
        message = f"{key} opens nothing that is known: is it spelled as `securekit rotate plan` shows it?"
        raise RotationError(message)
    todo = _Begun(estate.journals, key, leak)
    leak.names.update(todo.leaked)  # which documents no longer tell, if the chain was killed
    rotated, latest = _rotate(estate, leak, todo, say)
    if latest > clock():
        say(f"waiting {latest - clock():.0f} seconds until every process has the new keys")
        if stopping.wait(latest - clock()):
            return Chain(key, rotated, (), None, (f"securekit rotate compromise {_quoted(key)}",))
    reports: list[Report] = []
    for source in estate.sources.values():
        for what in _plans(estate, source, leak):
            if what.todo and not stopping.is_set():
                say(f"{source.name}: {what.kind} {what.todo:,} items")
                journal = journal_of(estate.journals, source.name, what.identity())
                reports.append(run(what, journal=journal, workers=workers, progress=progress, stop=stopping))
    if stopping.is_set():
        return Chain(key, rotated, tuple(reports), None, (f"securekit rotate compromise {_quoted(key)}",))
    say("verifying")
    proof = verify_jobs(estate.jobs(), workers=workers, clock=clock)
    commands = tuple(_commands(estate, leak, todo))
    needed = {name: items for name in sorted(leak.names) if (items := proof.known(name))}
    if not needed and not any(report.failed or report.busy for report in reports):
        todo.file.unlink()  # else it goes on from here, when what is in the way has been repaired
    return Chain(key, rotated, tuple(reports), proof, commands, needed)


def _rotate(estate: Estate, leak: _Leak, todo: _Begun, say: Callable[[str], object]) -> tuple[dict[str, str], float]:
    """Rewrap and rotate what is to be; return the new primaries by path, and when every process has noticed."""
    rotated: dict[str, str] = {}
    latest = 0.0
    for store_name, path, old in todo.keyrings:
        store = estate.stores[store_name].open()
        if path in todo.rewrapped:
            store.rewrap(prefix=path, drop=leak.droppable(store_name, path))
        ring = store.keyring(path)
        ring.refresh()
        if ring.primary().id == old:
            ring.rotate()
        _forbid(ring, {name[-8:] for name in todo.leaked if name.rpartition("@")[0] == path})
        primary = ring.primary()
        rotated[path] = primary.full_name
        say(f"{store_name}: {primary.full_name} is primary now")
        since = (primary.promoted or primary.created).timestamp()
        latest = max(latest, since + ring.noticed_after)
    return rotated, latest


def _forbid(ring: Keyring, leaked: set[str]) -> None:
    """Mark leaked keys, so that nobody promotes one: it may be staged, and wait for that."""
    document = ring._cache.current().opened.document  # noqa: SLF001 - no verb of a keyring does that by itself
    if any(key.id in leaked and not key.due for key in document.keys):
        ring._cache.update(lambda opened, _: mark_due(opened.document, leaked))  # noqa: SLF001


class _Leak:
    """What a leaked key opened, from what documents say of themselves.

    Attributes:
        names: The key, and the data keys that it opened through keyrings.
        wrapped: The keyrings whose secret it opened, by store and path.
        data_keys: The data keys that it opened, by store and full name.
    """

    def __init__(self, estate: Estate, key: str) -> None:
        self._estate = estate
        self.key = key
        self.names: set[str] = {key}
        self.wrapped: list[tuple[str, str]] = []
        self.data_keys: list[tuple[str, str]] = []
        self._documents = {
            (store.name, path): found
            for store in estate.stores.values()
            for path, found in survey(store.open(), store.open().paths())
            if not isinstance(found, str)
        }
        self._follow()

    @property
    def is_data_key(self) -> bool:
        """Whether the key is one of a keyring: ``path@id``."""
        return re.fullmatch(r"[^ ]+@[0-9a-f]{8}", self.key) is not None

    def opened(self, keys: Iterable[str]) -> bool:
        """Whether one of ``keys`` was opened."""
        return any(self._is(name) for name in keys)

    def documents(self) -> Iterator[tuple[str, KeyringDocument]]:
        """Yield the keyrings that must rotate, with their stores: those that it opened, and its own, parents first."""
        for (store, path), document in sorted(self._documents.items(), key=lambda item: (item[0][1].count("/"), item[0])):
            own = (store, self.key) in self.data_keys and self.key.rpartition("@")[0] == path
            if own or (store, path) in self.wrapped:
                yield store, document

    def check_replaced(self) -> None:
        """Check that nothing is wrapped to the leaked KEK from now on.

        Raises:
            securekit.exceptions.RotationError: Something still is; or the key opens nothing.
        """
        if self.is_data_key:
            if not self.data_keys:
                message = f"no store has the key {self.key}"
                raise RotationError(message)
            return
        if re.search(r" v[0-9]+$", self.key):
            return
        for where, setting, (wrapper, reference) in self._written():
            name = f"{wrapper} {reference}".rstrip()
            if wrapper != "keyring" and self._is(name):  # keyrings rotate, and go on under another key
                message = (
                    f"{where} still wraps to {name}: give it another KEK in {setting}, name this one in also_open, and try again."
                    f" Of a Transit key that was rotated, name the version that leaked, such as: {name} v1"
                )
                raise RotationError(message)

    def droppable(self, store: str, path: str) -> list[str]:
        """Return the references to drop from a keyring: recipients of the leaked key that the store's own do not have."""
        writers = self._estate.stores[store].open()._source.writers(path)  # noqa: SLF001 - as `KeyStore.rewrap`
        stay = {(wrapper.name, wrapper.key_ref) for wrapper in writers}
        recipients = self._documents[store, path].recipients
        return [one.key_ref for one in recipients if self._is(name_of(one)) and one.recipient not in stay]

    def references(self) -> list[str]:
        """Return the references that sealed messages and files drop."""
        return sorted({name.partition(" ")[2].partition(" v")[0] or name for name in self.names} | {self.key})

    def _written(self) -> Iterator[tuple[str, str, tuple[str, str]]]:
        """Yield what wraps from now on: a store or source, the setting that says so, and a recipient."""
        for store, path in self.wrapped:
            for wrapper in self._estate.stores[store].open()._source.writers(path):  # noqa: SLF001 - as `KeyStore.rewrap`
                yield f"the store {store}", "wrap", (wrapper.name, wrapper.key_ref)
        for source in self._estate.sources.values():
            envelope = source.envelope()
            for wrapper in envelope.recipients if envelope else ():
                yield f"the source {source.name}", "recipients", (wrapper.name, wrapper.key_ref)
            opened = source.open() if source.kind == "config" else None
            for recipient in (opened.recipients or ()) if isinstance(opened, ConfigDocuments) else ():
                yield f"the source {source.name}", "recipients", recipient

    def _follow(self) -> None:
        """Find what the key opened, and what that opened in turn."""
        before = -1
        while before != len(self.names):
            before = len(self.names)
            for (store, path), document in self._documents.items():
                if (store, path) not in self.wrapped and self.opened(name_of(wrapped) for wrapped in document.recipients):
                    self.wrapped.append((store, path))
                    self._open(store, [f"{path}@{version.id}" for version in document.keys if version.sealed is not None])
                elif self.is_data_key and self.key.rpartition("@")[0] == path and document.key(self.key[-8:]) is not None:
                    self._open(store, [self.key])

    def _open(self, store: str, names: list[str]) -> None:
        self.names.update(names)
        self.data_keys += [(store, name) for name in names if (store, name) not in self.data_keys]

    def _is(self, name: str) -> bool:
        return not self.names.isdisjoint(spellings(name))


class _Begun:
    """What a chain has to do, written down when it begins: keyrings by store, path and the primary that leaked."""

    def __init__(self, directory: Path, key: str, leak: _Leak) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = self.file_of(directory, key)
        with suppress(FileNotFoundError):
            self._take(json.loads(self.file.read_bytes()))
            return
        keyrings = [(store, document.path, document.primary.id) for store, document in leak.documents()]
        rewrapped = sorted(path for _, path in leak.wrapped)
        leaked = [name for _, name in leak.data_keys]
        body = {"format": FORMAT, "key": key, "keyrings": keyrings, "rewrapped": rewrapped, "leaked": leaked}
        write_atomic(self.file, json.dumps(body).encode())
        self._take(body)

    @staticmethod
    def file_of(directory: Path, key: str) -> Path:
        """Return where a chain for ``key`` is written down."""
        return directory / f"compromise-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"

    def _take(self, body: Mapping[str, Any]) -> None:
        if body.get("format") != FORMAT:
            message = f"{self.file} is of another version of securekit: finish with that one, or move it away"
            raise RotationError(message)
        self.keyrings = [(str(store), str(path), str(old)) for store, path, old in body["keyrings"]]
        self.rewrapped = set(body["rewrapped"])
        self.leaked = [str(name) for name in body["leaked"]]


def _plans(estate: Estate, source: EstateSource, leak: _Leak) -> Iterator[Plan]:
    """Yield what is to be done at a source."""
    opened = source.open()
    if source.kind == "store":
        return
    if isinstance(opened, ConfigDocuments):
        yield plan(opened)
        return
    envelope = source.envelope()
    if envelope is None:
        yield estate.plan(source.name)
        return
    stay = {wrapper.key_ref for wrapper in envelope.recipients}
    drop = [reference for reference in leak.references() if reference not in stay]
    yield plan(opened, envelope=envelope, drop=drop, renew=True)  # the key itself is among them, or `check_replaced` had refused


def _blast(estate: Estate, leak: _Leak) -> list[Blast]:
    found = [Blast(store, "keyring", path, 1) for store, path in leak.wrapped]
    found += [Blast(store, "key", name, 1) for store, name in leak.data_keys]
    for source in estate.sources.values():
        if source.kind == "config":
            found += _secrets(source, leak)
        elif source.kind != "store":
            items = sum(tally.items for tally in estate.plan(source.name).tallies if leak.opened(tally.keys))
            found += [Blast(source.name, "items", "", items)] if items else []
    return found


def _secrets(source: EstateSource, leak: _Leak) -> Iterator[Blast]:
    """Yield the values of configuration documents that a leaked key opened."""
    documents = cast("ConfigDocuments", source.open())
    for place, found in find_documents(documents.root):
        if isinstance(found, str):
            continue
        if leak.opened(keys_of(found)):
            yield from (Blast(source.name, "secret", f"{place}: {leaf.name}", 1) for leaf in found.leaves() if leaf.token is not None)


def _commands(estate: Estate, leak: _Leak, todo: _Begun) -> Iterator[str]:
    """Yield what is left to do for people."""
    for source in estate.sources.values():
        if source.kind == "config" and any(True for _ in _secrets(source, leak)):
            yield f"securekit config recipients remove FILE {leak.key}, and change the values at their source ({source.name})"
    for name in todo.leaked:
        yield f"securekit rotate retire {name}"
        yield f"securekit rotate retire {name} --destroy"
    if not leak.is_data_key:
        yield f"remove {leak.key} from also_open, and destroy it where it is kept"


def _quoted(key: str) -> str:
    return f"'{key}'" if " " in key else key
