# SPDX-License-Identifier: Apache-2.0
"""Wrap keyrings to other KEKs, many at a time: one read, one call per KEK for each direction, and one write for all of them.

A keyring whose KEK is replaced gets a new secret, also where the "other" KEK is only a newer version of the same key: whoever
gets hold of the old version reads nothing that comes later. So the secret has to be unwrapped and wrapped; a KMS that would
wrap it anew without showing it could not help, since the document is authenticated under the secret.

What fails because of one keyring fails for that keyring alone. A document that somebody else writes in between is taken again,
by itself and under its lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar, cast

from securekit.exceptions import ConflictError, KeyStoreError, SecureKitError, WrapperDeniedError, WrapperError, WrapperUnavailableError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper, WrappedKey
from securekit.wrappers._exchange import RecipientPlan, plan_recipients
from securekit.wrappers._recipients import one_each, weightiest

from . import _lifecycle as lifecycle
from ._event import Event, EventKind
from ._source import ATTEMPTS, StoreSource, Wrappers, no_keyring, resolve
from ._unlocking import Locked, Opened, Trust, check_wrappers

if TYPE_CHECKING:
    from ._document import KeyringSecret

__all__ = ["Rewrap", "RewrapOutcome"]

Answer = TypeVar("Answer")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RewrapOutcome:
    """What became of one keyring. It is unchanged if it was wrapped to exactly these recipients already."""

    path: str
    changed: bool
    error: SecureKitError | ValueError | None


class Rewrap(Secretive):
    """What to wrap keyrings to. Arguments as `securekit.KeyStore.rewrap`.

    Args:
        source: The store.
        wrapper: All recipients from now on; None for the store's own.
        dropped: The ``key_ref`` of recipients to remove.
        recover: Believe documents that open through an escrow certificate alone.
        dry_run: Open, and neither wrap nor write.
        stop: Leave everything after the first failure as it is.
    """

    __slots__ = ("_dropped", "_dry_run", "_source", "_stop", "_trust", "_wrapper")

    def __init__(
        self, source: StoreSource, *, wrapper: Wrappers | None, dropped: set[str], recover: bool, dry_run: bool, stop: bool
    ) -> None:
        self._source = source
        self._wrapper = wrapper
        self._dropped = dropped
        self._trust = Trust(recover=recover)
        self._dry_run = dry_run
        self._stop = stop

    def run(self, paths: Sequence[str]) -> list[RewrapOutcome]:
        """Rewrap the keyrings of ``paths``, and return an outcome for each, in order; up to the first failure, if that stops all."""
        items = [_Item(path) for path in paths]
        self._prepare(items)
        ready = [item for item in self._sound(items) if item.data]
        failed: Mapping[str, SecureKitError] = {}
        if ready:
            try:
                failed = self._source.storage.write_many([item.written for item in ready])
            except SecureKitError as error:
                failed = dict.fromkeys((item.path for item in ready), error.with_traceback(None))
        for item in ready:
            item.error = failed.get(item.path)
            if isinstance(item.error, ConflictError):
                self._again(item)
            self._tell(item)
        outcomes = [RewrapOutcome(item.path, item.changed and item.error is None, item.error) for item in items]
        if self._stop:
            sound = len(list(takewhile(lambda outcome: outcome.error is None, outcomes)))
            return outcomes[: sound + 1]
        return outcomes

    def _again(self, item: _Item) -> None:
        """Do one by itself under its lock, as often as another writer comes in between where there is no lock."""
        storage = self._source.storage
        for _ in range(ATTEMPTS):
            item.reset()
            with _captured(item), storage.lock(item.path):
                self._prepare([item])
                if item.data and item.error is None:
                    path, data, expected = item.written
                    storage.write(path, data, expected=expected)
            if not isinstance(item.error, ConflictError):
                return

    def _prepare(self, items: Sequence[_Item]) -> None:
        """Find out for each what is to be written, if anything."""
        self._read(items)
        self._open(self._sound(items))
        self._plan(self._sound(items))
        changing = [item for item in self._sound(items) if item.changed]
        if not self._dry_run:
            self._wrap(changing)
            for item in self._sound(changing):
                with _captured(item):
                    self._finish(item)

    def _read(self, items: Sequence[_Item]) -> None:
        try:
            found: Mapping[str, bytes | SecureKitError] = self._source.storage.read_many([item.path for item in items])
        except SecureKitError as error:
            found = dict.fromkeys((item.path for item in items), error.with_traceback(None))
        for item in items:
            data = found.get(item.path) or no_keyring(item.path)
            with _captured(item):
                if isinstance(data, SecureKitError):
                    raise data
                item.locked = Locked(data, path=item.path)
                item.openers = self._source.openers(item.path)
                item.candidates = item.locked.candidates(item.openers)

    def _open(self, items: Sequence[_Item]) -> None:
        """Unwrap the secrets: each with the first wrapper that answers, as when a keyring is loaded."""
        while items:
            by_kek = _grouped(items, lambda item: (id(item.candidates[0][0]), item.candidates[0][1].recipient))
            for group in by_kek:
                wrapper = group[0].candidates[0][0]
                for item, answer in zip(group, self._ask(wrapper, "unwrap", _unwrap, group), strict=True):
                    with _captured(item):
                        self._accept(item, answer)
            items = [item for item in items if item.opened is None and item.error is None]

    def _accept(self, item: _Item, answer: bytes | SecureKitError) -> None:
        locked = cast("Locked", item.locked)
        wrapper, _ = item.candidates.pop(0)
        if isinstance(answer, WrapperError):
            item.failures.append(answer)
            if not item.candidates:
                raise weightiest(item.failures)
        elif isinstance(answer, SecureKitError):
            raise answer
        else:
            item.opened = self._source.at_floor(locked.believe(wrapper, locked.accept(answer), self._trust))

    def _plan(self, items: Sequence[_Item]) -> None:
        for item in items:
            with _captured(item):
                document = cast("Opened", item.opened).document
                item.wrappers = self._source.writers(item.path) if self._wrapper is None else resolve(self._wrapper, item.path)
                item.plan = plan_recipients(
                    document.recipients,
                    item.wrappers,
                    binding=document.binding,
                    name=item.path,
                    own=item.openers,
                    dropped=self._dropped,
                    error=KeyStoreError,
                )
                item.changed = item.plan.changes
                if item.changed and not self._dry_run:
                    check_wrappers(item.wrappers)

    def _wrap(self, items: Sequence[_Item]) -> None:
        """Wrap the secrets: a new one to every recipient, or the one that stays to those that are new."""
        pairs: list[tuple[_Item, KeyWrapper]] = []
        for item in items:
            plan = cast("RecipientPlan", item.plan)
            item.secret = lifecycle.new_secret() if plan.renews else cast("Opened", item.opened).secret
            pairs += [(item, wrapper) for wrapper in item.wrappers if plan.renews or (wrapper.name, wrapper.key_ref) in plan.added]
        for group in _grouped(pairs, lambda pair: id(pair[1])):
            wrapped = [item for item, _ in group]
            for item, answer in zip(wrapped, self._ask(group[0][1], "wrap", _wrap, wrapped), strict=True):
                if isinstance(answer, SecureKitError):
                    item.error = item.error or answer
                else:
                    item.copies.append(answer)

    def _finish(self, item: _Item) -> None:
        """Make the new document."""
        opened, plan, secret = cast("Opened", item.opened), cast("RecipientPlan", item.plan), cast("KeyringSecret", item.secret)
        document, copies = opened.document, one_each(item.copies)
        if plan.renews:
            document = lifecycle.renew_secret(document, opened.secret, secret, copies)
        else:
            document = replace(document, recipients=plan.keep(document.recipients, copies))
        if plan.drops:
            now = int(self._source.clock.time())
            old = {key.id for key in document.keys}
            document = lifecycle.mark_due(lifecycle.rotate(document, secret, now=now, promoted=True), old)
        item.data = replace(document, revision=document.revision + 1).encode(secret)

    def _tell(self, item: _Item) -> None:
        if item.changed and item.error is None:
            self._source.adopt(item.wrappers)
            self._source.emit(Event(EventKind.CHANGED, item.path, detail="rewrapped"))

    def _ask(
        self, wrapper: KeyWrapper, verb: str, call: Callable[[KeyWrapper, Sequence[_Item]], Sequence[Answer]], items: Sequence[_Item]
    ) -> list[Answer | SecureKitError]:
        """Call a wrapper for all items at once; if that fails because of one of them, for each half, so that it fails alone."""
        begin = time.perf_counter()
        try:
            return [*call(wrapper, items)]
        except (WrapperUnavailableError, WrapperDeniedError) as error:
            return [error.with_traceback(None)] * len(items)  # the others would be told the same
        except SecureKitError as error:
            if len(items) == 1:
                return [error.with_traceback(None)]
        finally:
            detail = f"{verb} {wrapper.name}" if len(items) == 1 else f"{verb} {wrapper.name} × {len(items)}"
            self._source.emit(Event(EventKind.KMS_CALL, items[0].path, detail=detail, seconds=time.perf_counter() - begin))
        half = len(items) // 2
        return [*self._ask(wrapper, verb, call, items[:half]), *self._ask(wrapper, verb, call, items[half:])]

    def _sound(self, items: Sequence[_Item]) -> list[_Item]:
        """Return those to go on with."""
        if self._stop:
            return list(takewhile(lambda item: item.error is None, items))
        return [item for item in items if item.error is None]


class _Item(Secretive):
    """One keyring on its way."""

    __slots__ = (
        "candidates",
        "changed",
        "copies",
        "data",
        "error",
        "failures",
        "locked",
        "opened",
        "openers",
        "path",
        "plan",
        "secret",
        "wrappers",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self.locked: Locked | None = None
        self.candidates: list[tuple[KeyWrapper, WrappedKey]] = []
        self.failures: list[WrapperError] = []
        self.openers: tuple[KeyWrapper, ...] = ()
        self.opened: Opened | None = None
        self.wrappers: tuple[KeyWrapper, ...] = ()
        self.plan: RecipientPlan | None = None
        self.changed = False
        self.secret: KeyringSecret | None = None
        self.copies: list[WrappedKey] = []
        self.data = b""
        self.error: SecureKitError | ValueError | None = None

    @property
    def binding(self) -> tuple[str, str, bytes]:
        """What copies of the secret are bound to."""
        return cast("Locked", self.locked).document.binding

    @property
    def written(self) -> tuple[str, bytes, int]:
        """What a storage is given: path, document, and the revision that it replaces."""
        return self.path, self.data, cast("Opened", self.opened).document.revision


class _captured:  # noqa: N801 - as contextlib names its own, and faster than one of its generators
    """Keep an error as the item's outcome, without the frames that it passed, which have secrets."""

    __slots__ = ("_item",)

    def __init__(self, item: _Item) -> None:
        self._item = item

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, (SecureKitError, ValueError)):
            self._item.error = error.with_traceback(None)
            return True
        return False


def _unwrap(wrapper: KeyWrapper, items: Sequence[_Item]) -> list[bytes]:
    return wrapper.unwrap_many([(item.candidates[0][1], item.binding) for item in items])


def _wrap(wrapper: KeyWrapper, items: Sequence[_Item]) -> list[WrappedKey]:
    return wrapper.wrap_many([(cast("KeyringSecret", item.secret).value, item.binding) for item in items])


def _grouped(items: Sequence[Item], key: Callable[[Item], object]) -> list[list[Item]]:
    """Return items of equal ``key`` together, otherwise in their order."""
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
