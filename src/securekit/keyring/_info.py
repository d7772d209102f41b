# SPDX-License-Identifier: Apache-2.0
"""What may be known of a keyring: key versions, what is due, and the receipt of an erasure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ._document import KeyringDocument, KeyState

__all__ = ["Action", "Due", "ErasureReceipt", "KeyInfo", "moment", "receipt"]

Action = Literal["rotate", "promote", "rewrap", "re-encrypt"]


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be known of a key version.

    Attributes:
        id: 8 hexadecimal digits.
        path: The keyring's path.
        state: Primary, active, disabled or destroyed.
        created: When it was made.
        promoted: When it became primary; None if it never was.
        disabled: When it was disabled; None if it is not.
        not_after: When it stops to encrypt; None if never.
        due: Whether what it encrypted shall be re-encrypted, because a former recipient knew it.
        messages: How many messages this process has encrypted with it; one more per further started 64 KiB of a message.
    """

    id: str
    path: str
    state: KeyState
    created: datetime
    promoted: datetime | None
    disabled: datetime | None
    not_after: datetime | None
    due: bool
    messages: int

    @property
    def full_name(self) -> str:
        """The path and the id: ``eu/acme/invoices@9f3a01c2``."""
        return f"{self.path}@{self.id}"


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


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased, when, and what else has to go before the erasure is complete.

    Attributes:
        path: The keyring's path.
        key_ids: The key versions that were erased.
        keyring_id: 32 hexadecimal digits.
        erased_at: When.
        revision: The revision of the document that no longer holds the keys.
        remaining: The KEKs under which older copies of the document (in backups, on disks) may still be opened; the
            erasure is complete when these KEK versions are destroyed, too.
    """

    path: str
    key_ids: tuple[str, ...]
    keyring_id: str
    erased_at: datetime
    revision: int
    remaining: tuple[str, ...]


def receipt(document: KeyringDocument, key_ids: tuple[str, ...], now: float) -> ErasureReceipt:
    """Return the receipt of an erasure that ``document`` is the result of."""
    return ErasureReceipt(
        path=document.path,
        key_ids=key_ids,
        keyring_id=document.id.hex(),
        erased_at=moment(int(now)),
        revision=document.revision,
        remaining=tuple(f"{wrapped.wrapper} {wrapped.key_ref}".rstrip() for wrapped in document.recipients),
    )


def moment(seconds: int) -> datetime:
    """Return the point in time, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
