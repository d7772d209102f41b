# SPDX-License-Identifier: Apache-2.0
"""Keyrings of a store get another KEK, or other recipients; their data keys stay, unless a recipient is dropped that knew them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from securekit.exceptions import ConflictError, KeyStoreUnavailableError, SecureKitError, WrapperUnavailableError
from securekit.keyring._source import resolve
from securekit.keyring._survey import survey
from securekit.keyring._unlocking import Trust
from securekit.wrappers._exchange import is_due_for
from securekit.wrappers._recipients import name_of

from ._job import Failure, Outcome, Sighting, Tally

if TYPE_CHECKING:
    from securekit.keyring import KeyStore, Wrappers
    from securekit.wrappers import KeyWrapper, WrappedKey

    from ._job import Kind

__all__ = ["Keyrings", "KeyringsJob"]


class Keyrings:
    """The keyrings of a store at or below a prefix: a source for `plan`. A store itself is one, too: all of its keyrings.

    Args:
        store: The store.
        prefix: Which keyrings.
        wrapper: All recipients from now on; None for the store's own, under the newest version of its KEK.
        drop: The ``key_ref`` of recipients, or their wrappers, to remove: these keyrings rotate, since it knew their keys.
    """

    def __init__(
        self, store: KeyStore, *, prefix: str = "", wrapper: Wrappers | None = None, drop: Iterable[str | KeyWrapper] = ()
    ) -> None:
        self.store = store
        self.prefix = prefix
        self.wrapper = wrapper
        self.drop = tuple(item if isinstance(item, str) else item.key_ref for item in drop)

    @property
    def identity(self) -> str:
        """Names which keyrings are meant; which store it is, the keyrings' ids say."""
        return f"keyrings {self.prefix or '(all)'}"

    def wrappers(self, path: str) -> tuple[KeyWrapper, ...]:
        """Return the recipients of ``path`` from now on."""
        return self.store._source.writers(path) if self.wrapper is None else resolve(self.wrapper, path)  # noqa: SLF001 - as `KeyStore.rewrap`


class KeyringsJob:
    """Keyrings, and who may open them from now on."""

    kind: Kind = "rewrap"

    def __init__(self, source: Keyrings) -> None:
        self._source = source
        self._met: dict[str, str] = {}
        self._paths: list[str] = source.store.paths(source.prefix)

    @property
    def identity(self) -> str:
        """The source's."""
        return self._source.identity

    @property
    def settings(self) -> Mapping[str, object]:
        """Whom to drop; the recipients are the targets of each keyring."""
        return {"drop": sorted(self._source.drop)}

    def tallies(self) -> Iterator[Tally]:
        """Count the keyrings by the KEKs that they are wrapped to. Documents are read, and not opened."""
        groups: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        for path, found in survey(self._source.store, self._source.store.paths(self._source.prefix)):
            if isinstance(found, str):
                groups[(), "", found] += 1
                continue
            wrappers = self._source.wrappers(path)
            names = sorted(f"{wrapper.name} {wrapper.key_ref}".rstrip() for wrapper in wrappers)
            self._met[path] = f"{found.id.hex()} to {', '.join(names)}"
            action = "rewrap" if is_due_for(found.recipients, wrappers, self._source.drop) else ""
            groups[tuple(name_of(wrapped) for wrapped in found.recipients), action, ""] += 1
        for (keys, action, fault), items in sorted(groups.items()):
            yield Tally(keys, items, action=action, fault=fault)

    def targets(self) -> dict[str, str]:
        """Return whom each keyring is to be wrapped to."""
        return dict(self._met)

    def aim(self, targets: Mapping[str, str]) -> None:
        """Nothing is to be known beside the source's wrappers."""

    def places(self, after: str, limit: int) -> list[str]:
        """Return the next paths. Asked for one batch after the other, the store lists them once."""
        if not after:
            self._paths = self._source.store.paths(self._source.prefix)
        begin = bisect_right(self._paths, after)
        return self._paths[begin : begin + limit]

    all_places = places

    def left(self) -> int:
        """Count the keyrings that are not wrapped as they shall be."""
        return sum(tally.items for tally in self.tallies() if tally.action)

    def work(self, places: Sequence[str]) -> Outcome:
        """Rewrap the keyrings of ``places``."""
        outcome = Outcome(examined=len(places))
        store, batch = self._source.store, len(places)
        for one in store._rewrap_paths(places, self._source.wrapper, drop=self._source.drop, batch=batch):  # noqa: SLF001 - as `KeyStore.rewrap`
            if one.error is None:
                outcome.changed += one.changed
                outcome.current += not one.changed
            elif isinstance(one.error, ConflictError):
                outcome.busy += 1
            elif isinstance(one.error, KeyStoreUnavailableError | WrapperUnavailableError):
                raise one.error
            else:
                outcome.fail(one.path, one.error)
        return outcome

    def look(self, places: Sequence[str]) -> Iterator[Sighting]:
        """Open the keyrings of ``places``."""
        for path, found in survey(self._source.store, places):
            recipients: tuple[WrappedKey, ...] = () if isinstance(found, str) else found.recipients
            keys = tuple(name_of(wrapped) for wrapped in recipients)
            try:
                self._source.store._source.load(path, None, Trust(), renew=True)  # noqa: SLF001 - not what this process has in memory
            except (KeyStoreUnavailableError, WrapperUnavailableError):
                raise
            except SecureKitError as error:
                yield Sighting(path, keys, Failure(path, type(error).__name__, str(error)))
            else:
                yield Sighting(path, keys)
