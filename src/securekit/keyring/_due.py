# SPDX-License-Identifier: Apache-2.0
"""What should be done to a keyring soon. Nothing is ever refused because it is due."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from ._document import KeyState

if TYPE_CHECKING:
    from ._document import KeyringDocument, KeyVersion

__all__ = ["Action", "Due", "find_due"]

Action = Literal["rotate", "promote", "rewrap", "re-encrypt"]


@dataclass(frozen=True, slots=True)
class Due:
    """Something that should be done to a keyring soon.

    Attributes:
        action: ``"rotate"``, ``"promote"``, ``"rewrap"`` or ``"re-encrypt"``.
        path: The keyring's path.
        key_id: The key version concerned, if one is.
        reason: Why, for people.
    """

    action: Action
    path: str
    key_id: str | None
    reason: str


def find_due(
    document: KeyringDocument, *, now: float, rotate_after: float, max_messages: int, messages: int, targets: Collection[tuple[str, str]]
) -> list[Due]:
    """Return what is due.

    Args:
        document: The keyring's.
        now: Seconds since 1970.
        rotate_after: Seconds after which a primary is to be replaced.
        max_messages: Messages of this process after which it is to be replaced.
        messages: How many there were.
        targets: The recipients that the store's wrappers make.
    """
    found = [Due("rotate", document.path, document.primary.id, reason) for reason in _reasons_to_rotate(document, now, rotate_after)]
    if messages >= max_messages:
        found.append(Due("rotate", document.path, document.primary.id, f"encrypted {messages} messages in this process alone"))
    for key in document.keys:
        if _is_staged(key) and now - key.created > document.refresh:
            found.append(Due("promote", document.path, key.id, "staged for longer than the refresh time: every process knows it"))
        if key.due and key.state is not KeyState.DESTROYED:
            found.append(Due("re-encrypt", document.path, key.id, "a recipient that was dropped since knew this key"))
    if not {wrapped.recipient for wrapped in document.recipients}.issuperset(targets):
        found.append(Due("rewrap", document.path, None, "one of the store's wrappers is not a recipient of the document"))
    return found


def _reasons_to_rotate(document: KeyringDocument, now: float, rotate_after: float) -> Iterator[str]:
    primary = document.primary
    age = now - (primary.promoted or primary.created)
    if age >= rotate_after:
        yield f"primary for {timedelta(seconds=int(age))}, longer than {timedelta(seconds=int(rotate_after))}"
    if primary.not_after is not None and now >= primary.not_after:
        yield "is past its not_after and no longer encrypts"
    elif primary.not_after is not None and now >= primary.not_after - document.refresh:
        yield "reaches its not_after within the refresh time"


def _is_staged(key: KeyVersion) -> bool:
    return key.state is KeyState.ACTIVE and key.promoted is None and not key.due  # which could not be promoted
