# SPDX-License-Identifier: Apache-2.0
"""Sealed messages in columns and other places: their recipients are exchanged, and the payload is not touched.

Replaced as the rules of `work_at` say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securekit.envelope import inspect
from securekit.exceptions import FormatError, SecureKitError, WrapperUnavailableError
from securekit.wrappers._exchange import is_due_for
from securekit.wrappers._recipients import name_of

from ._job import Failure, Outcome, Sighting, Tally, spellings
from ._places import walk, work_at

if TYPE_CHECKING:
    from securekit.envelope import Envelope
    from securekit.keyring._stored import Source, StoredItem
    from securekit.wrappers import WrappedKey

    from ._job import Kind
    from ._places import Change, Settled

__all__ = ["Exchange", "SealedJob"]

_PAGE = 100  # messages that are read at a time to count them


class Exchange:
    """Who may open from now on: an envelope with the new recipients, which also opens what is there, and whom to drop.

    Args:
        envelope: Its wrappers are the recipients from now on; ``also_open`` opens what is still wrapped to others.
        drop: The ``key_ref`` of recipients that are to be lost. With ``renew``, also the full name of a key, such as that of one version
            of a Transit key that stays.
        renew: Items that a dropped recipient could open are encrypted anew, under a new data key: it may have kept the old one.
    """

    def __init__(self, envelope: Envelope, *, drop: Sequence[str] = (), renew: bool = False) -> None:
        self.envelope = envelope
        self.drop = tuple(drop)
        self.renew = renew
        if renew and not drop:
            message = "renew=True encrypts anew what a dropped recipient could open: name it with drop="
            raise ValueError(message)

    @property
    def kind(self) -> Kind:
        """What is done to the items."""
        return "re-encrypt" if self.renew else "rewrap"

    @property
    def settings(self) -> Mapping[str, object]:
        """The recipients, and those that go."""
        recipients = sorted(f"{wrapper.name} {wrapper.key_ref}".rstrip() for wrapper in self.envelope.recipients)
        return {"recipients": recipients, "drop": sorted(self.drop), "renew": self.renew}

    def action(self, recipients: Sequence[WrappedKey]) -> str:
        """Return what an item for ``recipients`` needs, as far as can be told without opening it."""
        if self.leaves(recipients):
            return self.kind
        return "rewrap" if not self.renew and is_due_for(recipients, self.envelope.recipients, self.drop) else ""

    def rewrap_file(self, file: Path) -> bool:
        """Exchange the recipients of a sealed file in place; return whether anything was written. Errors as `Envelope.rewrap_file`."""
        return self.envelope.rewrap_file(file, drop=self.drop)

    def open_headers(self, file: Path) -> None:
        """Open the header of a sealed file that counts, and leave its payload alone. Errors as `Envelope.open_reader`."""
        from securekit.envelope._slots import open_slots
        from securekit.envelope._source import PathSource

        source = PathSource(file)
        try:
            open_slots(self.envelope, source.read_at)
        finally:
            source.close()

    def leaves(self, recipients: Sequence[WrappedKey]) -> bool:
        """Whether a recipient is among them that is to be dropped."""
        if not self.renew:
            return any(wrapped.key_ref in self.drop for wrapped in recipients)
        return any(not spellings(name_of(wrapped)).isdisjoint(self.drop) for wrapped in recipients)


class SealedJob:
    """The sealed messages of a source, and who may open them from now on."""

    def __init__(self, source: Source, exchange: Exchange) -> None:
        self._source = source
        self._exchange = exchange

    @property
    def kind(self) -> Kind:
        """What is done to the messages."""
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
        """Count the messages by their recipients, by reading all of them."""
        groups: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        sizes: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        for places in walk(self._source.places, _PAGE):
            for item in self._source.read(places):
                group = self._group(item)
                groups[group] += 1
                sizes[group] += len(item.data)
        for (keys, action, fault), items in sorted(groups.items()):
            yield Tally(keys, items, sizes[keys, action, fault], action=action, fault=fault)

    def targets(self) -> dict[str, str]:
        """There are no keyrings."""
        return {}

    def aim(self, targets: Mapping[str, str]) -> None:
        """There are no keyrings."""

    def places(self, after: str, limit: int) -> list[str]:
        """Return the next places."""
        return self._source.places(after, limit)

    all_places = places

    def left(self) -> None:
        """It takes reading all of them to count."""

    def work(self, places: Sequence[str]) -> Outcome:
        """Exchange the recipients of what is at ``places``."""
        return work_at(self._source, places, self._changes, self.look)

    def look(self, places: Sequence[str]) -> Iterator[Sighting]:
        """Open what is at ``places``."""
        for item in self._source.read(places):
            keys: tuple[str, ...] = ()
            try:
                sealed, recipients = _read(item)
                keys = tuple(name_of(wrapped) for wrapped in recipients)
                self._exchange.envelope.decrypt(sealed, context=item.context or {})
            except WrapperUnavailableError:
                raise
            except SecureKitError as error:
                yield Sighting(item.name, keys, Failure(item.name, type(error).__name__, str(error)))
            else:
                yield Sighting(item.name, keys)

    def _group(self, item: StoredItem) -> tuple[tuple[str, ...], str, str]:
        try:
            _, recipients = _read(item)
        except FormatError as error:
            return (), "", str(error)
        return tuple(name_of(wrapped) for wrapped in recipients), self._exchange.action(recipients), ""

    def _changes(self, items: Sequence[StoredItem], settled: Settled) -> list[Change]:
        changes: list[Change] = []
        for item in items:
            try:
                new = self._changed(item)
            except WrapperUnavailableError:
                raise
            except SecureKitError as error:
                settled.fail(item, error)
            else:
                if new is None:
                    settled.keep(item)
                else:
                    changes.append((item, new))
        return changes

    def _changed(self, item: StoredItem) -> bytes | None:
        """Return the message for its new recipients, having opened it; None if it needs nothing."""
        sealed, recipients = _read(item)
        envelope, context = self._exchange.envelope, item.context or {}
        if self._exchange.renew:
            if not self._exchange.leaves(recipients):
                return None
            try:
                return envelope.encrypt(envelope.decrypt(sealed, context=context), context=context)
            except SecureKitError as error:
                raise error.with_traceback(None)  # noqa: B904 - the same error: trackers show the frames below, which have the plaintext
        new = envelope.rewrap(sealed, drop=self._exchange.drop)
        return None if new == sealed else new


def _read(item: StoredItem) -> tuple[bytes, tuple[WrappedKey, ...]]:
    """Return the message of an item, and its recipients.

    Raises:
        securekit.exceptions.FormatError: It is none.
    """
    if item.fault:
        raise FormatError(item.fault)
    if not isinstance(item.data, bytes):
        message = "a sealed message is bytes, and this is text"
        raise FormatError(message)
    found = inspect(item.data)
    if found.kind not in {"message", "stream"}:
        message = f"not a sealed message but a {found.kind}"
        raise FormatError(message)
    return item.data, found.recipients
