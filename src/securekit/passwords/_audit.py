# SPDX-License-Identifier: Apache-2.0
"""What a table of hashes is made of: schemes, costs, and how many are below the policy. No password is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securekit.exceptions import FormatError, KeyStoreError, SecureKitError, WrapperError

from ._hasher import parse_hash, peppered_context
from ._profile import Profile, profile_of
from ._strength import strengthened

if TYPE_CHECKING:
    from securekit.keyring import Keyring

__all__ = ["HashGroup", "audit", "identify"]

_PEPPERED = "sk1."


@dataclass(frozen=True, slots=True)
class HashGroup:
    """Hashes of a table that are alike.

    Attributes:
        form: Who writes them so: ``"securekit"``, ``"django"`` …; ``"peppered"`` where the pepper was not given; ``"unknown"``.
        scheme: ``"argon2id"``, ``"bcrypt"`` …; empty if it is not known.
        parameters: Their numbers, such as ``"m=65536, t=3, p=1"``; or why they cannot be read.
        bits: Of the digest.
        count: How many there are.
        below: Whether the next login makes a stronger one, or should: whether they are below the profile.
    """

    form: str
    scheme: str
    parameters: str
    bits: int
    count: int
    below: bool


def audit(rows: Iterable[tuple[str, str | None]], *, profile: str | Profile = "modern", pepper: Keyring | None = None) -> list[HashGroup]:
    """Return what a table of hashes is made of, the most first.

    Args:
        rows: ``(user, hash)`` for each row; the user only counts where there is a pepper. A row with None, which has no password, does not
            count.
        profile: What is compared with.
        pepper: The keyring of the pepper, to look below it. A hash without a pepper is below the policy then.

    Raises:
        ValueError: There is no such profile.
        securekit.exceptions.KeyStoreError: The pepper's keyring cannot be read.
        securekit.exceptions.WrapperError: Its KEK cannot be asked, or said no.
    """
    wanted = profile_of(profile)
    groups: Counter[HashGroup] = Counter()
    for user, stored in rows:
        if stored is None:
            continue
        groups[_group(user, stored, wanted, pepper)] += 1
    return [HashGroup(group.form, group.scheme, group.parameters, group.bits, count, group.below) for group, count in groups.most_common()]


def identify(stored: str, *, profile: str | Profile = "modern") -> HashGroup:
    """Return what one hash is; arguments as `audit`."""
    return audit([("", stored)], profile=profile)[0]


def _group(user: str, stored: str, profile: Profile, pepper: Keyring | None) -> HashGroup:
    peppered = stored.startswith(_PEPPERED)
    if peppered and pepper is None:
        return HashGroup("peppered", "", "give the pepper's keyring to look below it", 0, 0, below=False)
    try:
        inner = pepper.decrypt_text(stored, context=peppered_context(user)) if peppered and pepper else stored
        found = parse_hash(inner)
    except FormatError as error:
        return HashGroup("unknown", "", str(error), 0, 0, below=True)
    except (KeyStoreError, WrapperError):
        raise  # it is none of the row's
    except SecureKitError as error:
        return HashGroup("unknown", "", f"the pepper does not open it ({type(error).__name__})", 0, 0, below=True)
    cost = found.cost
    parameters = ", ".join(f"{name}={number}" for name, number in cost.parameters.items())
    layer = getattr(found, "layer", "")
    below = strengthened(profile.cost, found) is not None or (pepper is not None and not peppered)
    form = f"{found.form}, peppered" if peppered else found.form
    return HashGroup(form, f"{cost.scheme} over {layer}" if layer else cost.scheme, parameters, cost.bits, 0, below=below)
