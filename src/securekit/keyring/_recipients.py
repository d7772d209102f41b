# SPDX-License-Identifier: Apache-2.0
"""Who may open a keyring from now on: what a rewrap adds, keeps, replaces and drops. Nobody is lost silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from securekit.exceptions import DecryptionError, KeyStoreError
from securekit.wrappers import KeyWrapper, WrappedKey

from ._document import KeyringDocument
from ._unlocking import describe

__all__ = ["RecipientPlan", "check_kept", "plan_recipients"]

Recipient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class RecipientPlan:
    """What a rewrap does to the recipients of one document.

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

    @staticmethod
    def keep(document: KeyringDocument, fresh: Sequence[WrappedKey]) -> tuple[WrappedKey, ...]:
        """Return the copies that are there already, and of ``fresh`` only those for recipients that are new."""
        copies = {wrapped.recipient: wrapped for wrapped in (*fresh, *document.recipients)}
        return tuple(copies[recipient] for recipient in sorted(copies))


def plan_recipients(
    document: KeyringDocument, wrappers: Sequence[KeyWrapper], *, own: Sequence[KeyWrapper], dropped: set[str]
) -> RecipientPlan:
    """Return what it takes to have exactly ``wrappers`` as recipients.

    A recipient that is not among ``wrappers`` goes only if the caller has named it, or if it is a KEK that this process
    itself opens with and another KEK of that kind, one that outsiders cannot wrap with, takes its place.

    Raises:
        ValueError: A recipient is among ``wrappers`` and ``dropped`` at once.
        securekit.exceptions.KeyStoreError: Some other recipient would be lost.
    """
    there = {wrapped.recipient: wrapped for wrapped in document.recipients}
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
        message = f"{document.path} would lose {names}: give its wrapper as well, or drop it for good with drop=[{references}]"
        raise KeyStoreError(message)
    return RecipientPlan(frozenset(added), frozenset(ours), frozenset(named))


def check_kept(document: KeyringDocument, wrappers: Sequence[KeyWrapper], *, own: Sequence[KeyWrapper]) -> None:
    """Check that ``wrappers`` named like recipients that are there are these KEKs, as far as they are new to this process.

    Two passphrases have one name unless they have labels: a new one would be taken for the old one, and nothing changed.

    Raises:
        securekit.exceptions.KeyStoreError: One is another KEK of the same name.
        securekit.exceptions.WrapperError: The holder of the KEK is unreachable, or said no.
    """
    there = {wrapped.recipient: wrapped for wrapped in document.recipients}
    for wrapper in wrappers:
        wrapped = there.get((wrapper.name, wrapper.key_ref))
        if wrapped is None or wrapper in own or not wrapper.opens(wrapped):
            continue
        try:
            wrapper.unwrap(wrapped, document.binding)
        except DecryptionError:
            name = describe(*wrapped.recipient)
        else:
            continue
        message = f"{document.path} is wrapped to another KEK that is called {name}, too: give the new one a label"
        raise KeyStoreError(message)
