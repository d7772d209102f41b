# SPDX-License-Identifier: Apache-2.0
"""Configuration documents: their recipients are exchanged, and their values move to a new data key when the old one has to go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from securekit.config import Document
from securekit.exceptions import ConflictError, SecureKitError, WrapperUnavailableError
from securekit.wrappers._recipients import name_of

from ._job import Failure, Outcome, Sighting, Tally

if TYPE_CHECKING:
    from securekit._primitives.signatures import SigningKey
    from securekit.wrappers import KeyWrapper

    from ._job import Kind

__all__ = ["ConfigDocuments", "DocumentsJob", "find_documents", "keys_of"]

_MAX_LOOK = 2 * 1024 * 1024  # bytes, as long as a document may be


class ConfigDocuments:
    """Encrypted configuration documents: a source for `plan`.

    Args:
        root: A document, or a directory with documents at and below it.
        identity: What reads them, as `securekit.config.load` takes it.
        recipients: All recipients from now on, as wrappers; None to leave them. Who is no longer among them loses access: everything
            is encrypted anew, and its values should be changed at their source, too.
        created_before: Documents with a data key that is older are encrypted anew, under one new data key.
        sign: The private key that signs what is written.
        trust: A ``trust.toml``; else the one that `securekit.config` finds.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        identity: object = None,
        recipients: Sequence[KeyWrapper] | None = None,
        created_before: datetime | None = None,
        sign: SigningKey | None = None,
        trust: str | os.PathLike[str] | None = None,
    ) -> None:
        from securekit.config._identity import find_identity

        self.root = Path(root)
        self.wrappers, self.identity_file = find_identity(identity)
        self.recipients = None if recipients is None else {(wrapper.name, wrapper.key_ref): wrapper for wrapper in recipients}
        self.created_before = created_before
        self.sign = sign
        self.trust = trust

    @property
    def identity(self) -> str:
        """Names the directory, by its path without links."""
        return f"documents {os.path.realpath(self.root)}"

    def older_than(self, moment: datetime) -> ConfigDocuments:
        """Return the same documents, of which those are encrypted anew that have a data key from before ``moment``."""
        other = copy(self)
        other.created_before = moment
        return other

    def file(self, place: str) -> Path:
        """Return the file of a place."""
        return self.root / place if self.root.is_dir() else self.root


class DocumentsJob:
    """Configuration documents, and who may read them from now on."""

    def __init__(self, source: ConfigDocuments) -> None:
        self._source = source

    @property
    def kind(self) -> Kind:
        """What is done to the documents."""
        return "rewrap" if self._source.created_before is None else "re-encrypt"

    @property
    def identity(self) -> str:
        """The source's."""
        return self._source.identity

    @property
    def settings(self) -> Mapping[str, object]:
        """Who reads from now on, and which data keys are too old."""
        recipients, before = self._source.recipients, self._source.created_before
        return {
            "recipients": None if recipients is None else sorted(f"{name} {reference}".rstrip() for name, reference in recipients),
            "created_before": None if before is None else before.isoformat(),
        }

    def tallies(self) -> Iterator[Tally]:
        """Count the documents by their recipients, without opening them."""
        groups: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        for _, found in find_documents(self._source.root):
            if isinstance(found, str):
                groups[(), "", found] += 1
            else:
                groups[keys_of(found), self._action(found), ""] += 1
        for (keys, action, fault), items in sorted(groups.items()):
            yield Tally(keys, items, action=action, fault=fault)

    def targets(self) -> dict[str, str]:
        """There are no keyrings."""
        return {}

    def aim(self, targets: Mapping[str, str]) -> None:
        """There are no keyrings."""

    def places(self, after: str, limit: int) -> list[str]:
        """Return the next documents."""
        return [place for place, _ in find_documents(self._source.root) if place > after][:limit]

    all_places = places

    def left(self) -> int:
        """Count the documents that something is to be done to."""
        return sum(tally.items for tally in self.tallies() if tally.action)

    def work(self, places: Sequence[str]) -> Outcome:
        """Change the documents at ``places``."""
        outcome = Outcome()
        for place in places:
            file = self._source.file(place)
            outcome.examined += 1
            try:
                outcome.size += file.stat().st_size
                changed = self._change(file)
            except FileNotFoundError:
                outcome.examined -= 1  # deleted meanwhile
            except ConflictError:
                outcome.busy += 1
            except WrapperUnavailableError:
                raise
            except (SecureKitError, OSError) as error:
                outcome.fail(place, error)
            else:
                outcome.changed += changed
                outcome.current += not changed
        return outcome

    def look(self, places: Sequence[str]) -> Iterator[Sighting]:
        """Open the documents at ``places``."""
        for place in places:
            keys: tuple[str, ...] = ()
            try:
                document = Document.read(self._source.file(place))
                keys = keys_of(document)
                document.open(self._source.wrappers).reveal()
            except WrapperUnavailableError:
                raise
            except SecureKitError as error:
                yield Sighting(place, keys, Failure(place, type(error).__name__, str(error)))
            else:
                yield Sighting(place, keys)

    def _action(self, document: Document) -> str:
        block = document.required
        before, wanted = self._source.created_before, self._source.recipients
        there = {recipient.name for recipient in block.recipients}
        if (before is not None and any(key.created < before.timestamp() for key in block.keys)) or (wanted and there - wanted.keys()):
            return "re-encrypt"
        return "rewrap" if wanted and wanted.keys() != there else ""

    def _change(self, file: Path) -> bool:
        """Change one document as `securekit config` does; return whether anything was written."""
        from securekit.config._base import check_policy
        from securekit.config._state import HostState
        from securekit.config._trust import find_trust

        source = self._source
        document = Document.read(file)
        action = self._action(document)
        if not action:
            return False
        wanted = source.recipients or {}
        leaving = [one.name for one in document.required.recipients if wanted and one.name not in wanted]
        explicit = None if source.trust is None else Path(source.trust)
        trust = find_trust(explicit=explicit, identity=source.identity_file, document=file, repository=True)
        state = HostState.of_user()
        # Who asks for these recipients has named them; any other one that this host has never written to is refused.
        confirmed = [reference for _, reference in wanted]
        there = {one.name for one in document.required.recipients}
        # The trust need not allow those that leave. If all do, the new ones come first: a document has one recipient at least.
        at_once = leaving if len(leaving) < len(there) else []
        edit = document.edit(wrappers=source.wrappers, trust=trust, state=state, confirmed=confirmed, leaving=at_once)
        for name, wrapper in wanted.items():
            if name not in there:
                edit.add_recipient(wrapper)
        for name in leaving:
            if name not in at_once:
                edit.remove_recipient(name)
        if action == "re-encrypt" and not leaving:
            edit.rotate()
        changed = edit.finish()
        if trust is not None:
            entry = trust.entry(document.required.document.hex())
            entry.check_recipients(one.name for one in changed.required.recipients)
            check_policy(changed, trust)
        if source.sign is not None:
            changed = changed.sign(source.sign)
        with state.alone():
            state.remember(changed)  # first, as `securekit config` does it
            changed.write(file, expected=document)
        return True


def find_documents(root: Path) -> Iterator[tuple[str, Document | str]]:
    """Yield the encrypted documents at and below ``root`` by their paths below it, sorted; and why one cannot be read that looks like one.

    Links, what lies in ``.git``, and what is in clear text are left out.
    """
    if not root.is_dir():
        yield root.name, _read(root) or f"{root} is not encrypted"
        return
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        if path.is_symlink() or not path.is_file() or ".git" in path.relative_to(root).parts:
            continue
        found = _read(path)
        if found is not None:
            yield path.relative_to(root).as_posix(), found


def _read(path: Path) -> Document | str | None:
    try:
        document = Document.read(path)
    except SecureKitError as error:
        return str(error) if _looks_encrypted(path) else None
    return document if document.block is not None else None


def _looks_encrypted(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LOOK)
    except OSError:
        return True  # it cannot be told, and so somebody should look
    return b"securekit" in data and b"ENC[sk1," in data


def keys_of(document: Document) -> tuple[str, ...]:
    """Return the full names of the keys that open a document's data keys; of a Transit key, each version that wrapped one."""
    block = document.required
    return tuple(sorted({name_of(wrapped) for key in block.keys for wrapped in key.wrapped(block.recipients)}))
