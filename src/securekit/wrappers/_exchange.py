# SPDX-License-Identifier: Apache-2.0
"""Who may open from now on: what a rewrap adds, keeps, replaces and drops. Nobody is lost silently."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from securekit.exceptions import DecryptionError, SecureKitError, WrapperError

from ._protocol import Binding, KeyWrapper, VersionedWrapper, WrappedKey
from ._recipients import describe

__all__ = ["RecipientPlan", "is_due_for", "plan_recipients"]

Recipient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class RecipientPlan:
    """What a rewrap does to recipients.

    Attributes:
        added: Recipients that are new.
        replaced: KEKs of ours whose place a new one takes.
        dropped: Recipients that the caller named to be removed.
    """

    added: frozenset[Recipient]
    replaced: frozenset[Recipient]
    dropped: frozenset[Recipient]

    @property
    def changes(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.added or self.replaced or self.dropped)

    @property
    def renews(self) -> bool:
        """Whether the keyring secret is renewed: somebody who knows it is no longer to read what comes."""
        return bool(self.replaced or self.dropped)

    @property
    def drops(self) -> bool:
        """Whether the keyring rotates as well: a dropped recipient knew its keys."""
        return bool(self.dropped)

    def keep(self, recipients: Sequence[WrappedKey], fresh: Sequence[WrappedKey]) -> tuple[WrappedKey, ...]:
        """Return the copies that stay, and of ``fresh`` those for recipients that are new, in their order."""
        stay = (wrapped for wrapped in recipients if wrapped.recipient not in self.replaced | self.dropped)
        copies = {wrapped.recipient: wrapped for wrapped in (*fresh, *stay)}
        return tuple(copies[recipient] for recipient in sorted(copies))


def plan_recipients(
    recipients: Sequence[WrappedKey],
    wrappers: Sequence[KeyWrapper],
    *,
    binding: Binding,
    name: str,
    own: Sequence[KeyWrapper],
    dropped: set[str],
    error: type[SecureKitError],
) -> RecipientPlan:
    """Return what it takes to have exactly ``wrappers`` as recipients.

    A recipient that is not among ``wrappers`` goes only if the caller has named it, or if it is a KEK that this process
    itself opens with and another KEK of that kind, one that outsiders cannot wrap with, takes its place. A passphrase has no
    reference of its own: another one under the same label is a new KEK in the place of the old.

    Raises:
        ValueError: A recipient is among ``wrappers`` and ``dropped`` at once.
        securekit.exceptions.SecureKitError: Some other recipient would be lost; it is of the class ``error``.
    """
    there = {wrapped.recipient: wrapped for wrapped in recipients}
    target = {(wrapper.name, wrapper.key_ref): wrapper for wrapper in wrappers}
    if contradicted := sorted(recipient for recipient in target if recipient[1] in dropped):
        names = ", ".join(describe(*recipient) for recipient in contradicted)
        message = f"{names} is to be dropped, and is among the wrappers that stay: give the other wrappers, without it"
        raise ValueError(message)
    added = target.keys() - there.keys()
    leaving = there.keys() - target.keys()
    named = {recipient for recipient in leaving if recipient[1] in dropped}
    ours = {
        recipient
        for recipient in leaving - named
        if any(wrapper.opens(there[recipient]) and not wrapper.outsiders_can_wrap for wrapper in own)
    }
    places = sum(not target[recipient].outsiders_can_wrap for recipient in added)
    lost = leaving - named - (ours if len(ours) <= places else set())
    if lost:
        names = ", ".join(describe(*recipient) for recipient in sorted(lost))
        references = ", ".join(repr(recipient[1]) for recipient in sorted(lost))
        message = f"{name} would lose {names}: give its wrapper as well, or drop it for good with drop=[{references}] (--drop)"
        raise error(message)
    renewed = {
        recipient
        for recipient in target.keys() & there.keys()
        if (target[recipient] not in own and _is_another(target[recipient], there[recipient], binding))
        or _is_due(target[recipient], there[recipient])
    }
    return RecipientPlan(frozenset(added | renewed), frozenset(ours | renewed), frozenset(named))


def is_due_for(recipients: Sequence[WrappedKey], wrappers: Sequence[KeyWrapper], dropped: Collection[str]) -> bool:
    """Whether ``recipients`` are not exactly what ``wrappers`` would make now, as far as can be told without any secret."""
    there = {wrapped.recipient: wrapped for wrapped in recipients}
    target = {(wrapper.name, wrapper.key_ref): wrapper for wrapper in wrappers}
    return (
        there.keys() != target.keys()
        or any(reference in dropped for _, reference in there)
        or any(_is_due(wrapper, there[name]) for name, wrapper in target.items())
    )


def _is_due(wrapper: KeyWrapper, wrapped: WrappedKey) -> bool:
    """Whether ``wrapped`` was wrapped under an older version of the KEK of ``wrapper``."""
    # Much faster than asking whether it follows the protocol.
    return hasattr(wrapper, "is_due") and cast("VersionedWrapper", wrapper).is_due(wrapped)


def _is_another(wrapper: KeyWrapper, wrapped: WrappedKey, binding: Binding) -> bool:
    """Whether ``wrapped``, which names the KEK of ``wrapper``, was wrapped under another one."""
    try:
        if wrapper.opens(wrapped):
            wrapper.unwrap(wrapped, binding)
    except DecryptionError:
        return True
    except WrapperError:
        return False  # its holder cannot be asked; references of such KEKs are their own
    return False
