# SPDX-License-Identifier: Apache-2.0
"""The end of a data key: disabled when nothing needs it, and destroyed when nobody can have written under it since.

A process may go on to write under a primary that it has in memory for ``refresh + stale_if_error`` after another one was
promoted. So the proof that allows to disable a key is begun after it ceased to be primary; and the one that allows to destroy it,
that long after it was disabled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from securekit.exceptions import KeyNotFoundError, KeyStateError, RotationError
from securekit.keyring import KeyState

if TYPE_CHECKING:
    from securekit.keyring import ErasureReceipt, KeyInfo, Keyring, KeyStore

    from ._verify import Verification

__all__ = ["Retirement", "destroyable_at", "retire"]


@dataclass(frozen=True, slots=True)
class Retirement:
    """How far the end of a key is.

    Attributes:
        key: Its full name.
        state: ``"disabled"`` or ``"destroyed"``.
        destroyable_at: When a proof that allows to destroy it may begin, in seconds since 1970; None if it is destroyed.
        receipt: What an erasure leaves to do; None if it is not destroyed.
    """

    key: str
    state: str
    destroyable_at: int | None
    receipt: ErasureReceipt | None


def retire(
    key: str,
    *,
    store: KeyStore,
    proof: Verification | None = None,
    destroy: bool = False,
    force: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Retirement:
    """Disable a data key that nothing needs any more; later, destroy it.

    Args:
        key: The full name, ``path@id``.
        store: Where its keyring is.
        proof: What `verify` has found over everything that may be encrypted under the key.
        destroy: Destroy it, if it has been disabled for long enough, and the proof was begun later than that.
        force: The full name of the key once more: do it without a proof, and without waiting. What it encrypted is lost.
        clock: Seconds since 1970, for tests.

    Raises:
        ValueError: ``force`` is not the name of the key.
        securekit.exceptions.RotationError: Something needs the key, or the proof does not show that nothing does.
        securekit.exceptions.KeyNotFoundError: There is no such key.
        securekit.exceptions.KeyStateError: It is primary; or it is to be destroyed, and is not disabled.
        securekit.exceptions.KeyStoreError: The store failed.
    """
    if force is not None and force != key:
        message = f"to force it, give the full name of the key once more: force={key!r}"
        raise ValueError(message)
    path, _, key_id = key.rpartition("@")
    ring = store.keyring(path)
    ring.refresh()  # whatever this process has in memory
    info = _info(ring, key, key_id)
    if info.state is KeyState.DESTROYED:
        return Retirement(key, "destroyed", None, None)
    if force is None:
        _check_proof(proof, ring, info, destroy=destroy, now=clock())
    if destroy:
        # Forced, it need not be disabled; proven, it has been for long enough by the clock of this host.
        return Retirement(key, "destroyed", None, ring.destroy(key_id, force=force is not None))
    if info.state is not KeyState.DISABLED:
        info = ring.disable(key_id)
    return Retirement(key, "disabled", destroyable_at(ring, info, int(clock())), None)


def destroyable_at(ring: Keyring, info: KeyInfo, now: int) -> int:
    """Return when a proof that allows to destroy a disabled key may begin, in seconds since 1970."""
    disabled = now if info.disabled is None else int(info.disabled.timestamp())
    return disabled + ring.staleness + 1


def _info(ring: Keyring, key: str, key_id: str) -> KeyInfo:
    versions = ring.keys()
    for info in versions:
        if info.id == key_id:
            return info
    message = f"there is no key {key}"
    raise KeyNotFoundError(message)


def _check_proof(proof: Verification | None, ring: Keyring, info: KeyInfo, *, destroy: bool, now: float) -> None:
    key = info.full_name
    if info.state is KeyState.PRIMARY:
        message = f"{key} is primary: rotate {ring.path}, re-encrypt what is under the key, and verify"
        raise KeyStateError(message)
    if proof is None:
        message = f"whether something needs {key} is not known: verify everything that may be encrypted under it"
        raise RotationError(message)
    if proof.began > now:
        message = "the proof was begun later than it is now: a clock was wrong; verify again"
        raise RotationError(message)
    if needed := proof.needs(key):
        message = f"{needed:,} items need {key}: re-encrypt them, and verify again"
        raise RotationError(message)
    if destroy and info.disabled is None:
        message = f"{key} is {info.state}: disable it first, and see whether anything misses it"
        raise KeyStateError(message)
    since = destroyable_at(ring, info, 0) if destroy else int((ring.primary().promoted or ring.primary().created).timestamp())
    if proof.began < since:
        when = datetime.fromtimestamp(since, UTC)
        why = "processes may have written under it until then" if destroy else "it was primary until then"
        message = f"the proof was begun before {when:%Y-%m-%d %H:%M:%S}Z, and {why}: verify again after that"
        raise RotationError(message)
