# SPDX-License-Identifier: Apache-2.0
"""What may be known of a keyring: its key versions, and the receipt of an erasure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ._clock import moment

if TYPE_CHECKING:
    from ._document import KeyringDocument, KeyState, KeyVersion

__all__ = ["ErasureReceipt", "KeyInfo", "key_info", "receipt"]


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


def key_info(key: KeyVersion, *, path: str, messages: int) -> KeyInfo:
    """Return what may be known of ``key``."""
    return KeyInfo(
        id=key.id,
        path=path,
        state=key.state,
        created=moment(key.created),
        promoted=None if key.promoted is None else moment(key.promoted),
        disabled=None if key.disabled is None else moment(key.disabled),
        not_after=None if key.not_after is None else moment(key.not_after),
        due=key.due,
        messages=messages,
    )


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
