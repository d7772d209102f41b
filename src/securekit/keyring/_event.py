# SPDX-License-Identifier: Apache-2.0
"""What a store tells its operators: which key is used for what, and how the keystore and the KMS answer. Never a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Event", "EventKind", "OnEvent"]


class EventKind(StrEnum):
    """What happened."""

    LOADED = "loaded"
    """A keyring was read and opened for the first time in this process."""
    REFRESHED = "refreshed"
    """A keyring's document was read again; ``detail`` says whether it had changed."""
    STALE = "stale"
    """The keystore or the KMS is unreachable; the keys in memory serve on."""
    REFUSED = "refused"
    """A document was refused: rolled back, or not genuine; or the KMS said no."""
    KMS_CALL = "kms-call"
    """A wrapper was asked to wrap or unwrap; ``detail`` names the wrapper. If it was for many keyrings at once, ``path`` is the first's."""
    ROTATED = "rotated"
    """A new key version was made."""
    CHANGED = "changed"
    """The document was written for another reason; ``detail`` says which."""
    OLD_KEY_USED = "old-key-used"
    """A message was decrypted under a key that is not primary: it is due for re-encryption."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a keyring.

    Attributes:
        kind: What happened.
        path: The keyring's path.
        key_id: The key version concerned, if one is.
        detail: A word or two for people; public.
        seconds: How long it took, where that is worth knowing.
    """

    kind: EventKind
    path: str
    key_id: str | None = None
    detail: str = ""
    seconds: float | None = None


OnEvent = Callable[[Event], None]
"""Called synchronously, also from the background thread; an exception from it is logged and goes no further."""
