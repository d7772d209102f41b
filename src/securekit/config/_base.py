# SPDX-License-Identifier: Apache-2.0
"""Whether a document may be built upon: nobody's change is blessed by the next author without somebody having looked."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from securekit.exceptions import ConfigError
from securekit.wrappers._recipients import describe

from ._path import format_path
from ._walk import tokens

if TYPE_CHECKING:
    from ._block import Recipient
    from ._document import Document, OpenDocument
    from ._state import HostState
    from ._trust import DocumentTrust, Trust

__all__ = [
    "check_base",
    "check_confirmed",
    "check_moved",
    "check_policy",
    "check_signed",
    "check_trust",
    "remember_generation",
    "unseen_recipients",
]


def check_base(
    document: Document,
    *,
    opened: OpenDocument | None,
    trust: Trust | None,
    state: HostState | None,
    adopt: bool = False,
    leaving: Collection[tuple[str, str]] = (),
) -> None:
    """Check that the document is what somebody who is believed has made.

    That is: this host has verified or written this very version; or allowed signers have signed it; or, where there is no trust, its
    integrity tag was verified with a private key (``opened``); or the caller has looked at the changes and adopts them. Unless it
    is adopted, it is no older than the trust wants it. Recipients that are ``leaving`` need not be allowed any more.

    Raises:
        securekit.exceptions.ConfigError: None of these; or the trust does not allow its recipients, environment or generation.
    """
    block = document.required
    entry = None if trust is None else check_policy(document, trust, leaving)
    if adopt:
        return
    known = state is not None and state.seen(block.document).knows(document)
    if entry is not None:
        try:
            _check_author(document, entry, known=known)
        except ConfigError as error:
            message = f"{document.name}: {error}; look at what has changed, and take it over with --adopt, or have its author sign it"
            raise ConfigError(message) from None
    elif opened is None and not known:
        message = (
            f"{document.name} was last changed by somebody whom nothing here can verify: look at what has changed, and take it over with"
            " --adopt; or verify it with --identity, or by signatures (docs: trust.toml)"
        )
        raise ConfigError(message)


def check_trust(document: Document, trust: Trust, *, known: bool = False) -> None:
    """Check everything that trust says of a document: environment, recipients, signatures unless it is ``known``, and generation.

    Raises:
        securekit.exceptions.ConfigError: Something is not as the trust wants it.
    """
    _check_author(document, check_policy(document, trust), known=known)


def remember_generation(document: Document, trust: Trust) -> None:
    """Keep the generation of a document that ``check_trust`` has let pass, and that an application starts with: it opens, and is valid.

    What people look at or edit is not kept: it is perhaps never deployed, and root's file in the service's place would stop the
    service. Nor is what does not open here: the way back to the last good document stays.

    Raises:
        securekit.exceptions.ConfigError: This host has seen a later one meanwhile; or it cannot be recorded.
    """
    block = document.required
    trust.entry(block.document.hex()).check_generation(block.generation, remember=True)


def _check_author(document: Document, entry: DocumentTrust, *, known: bool) -> None:
    if not known:
        check_signed(document, entry)
    entry.check_generation(document.required.generation, remember=False)


def check_policy(document: Document, trust: Trust, leaving: Collection[tuple[str, str]] = ()) -> DocumentTrust:
    """Check what trust says of a document whoever wrote it, its environment and recipients, and return what it says.

    Raises:
        securekit.exceptions.ConfigError: Something is not as the trust wants it.
    """
    block = document.required
    entry = trust.entry(block.document.hex())
    if entry.environment is not None:
        document.check_environment(entry.environment)
    entry.check_recipients(recipient.name for recipient in block.recipients if recipient.name not in leaving)
    return entry


def check_signed(document: Document, entry: DocumentTrust) -> None:
    """Check that enough of those who may sign have signed the document as it is.

    Raises:
        securekit.exceptions.ConfigError: They have not.
    """
    signatures = [(signature.reference, signature.value) for signature in document.required.signatures]
    entry.check_signatures(signatures, document.signed_bytes)


def unseen_recipients(document: Document, *, trust: Trust | None, state: HostState | None) -> tuple[Recipient, ...]:
    """Return the recipients that neither the trust allows nor this host has confirmed: nobody wraps to them unasked.

    What a repository's trust allows is taken over when this host first meets the document. Later it counts no more: a branch that
    nobody has reviewed may have changed both.
    """
    block = document.required
    seen = state.seen(block.document) if state is not None else None
    known: Collection[str] = seen.recipients if seen is not None else ()
    believed = trust if trust is not None and (trust.guarded or not known) else None
    allowed = believed.entry(block.document.hex()).recipients if believed is not None else frozenset()
    return tuple(
        recipient
        for recipient in block.recipients
        if recipient.name not in allowed and f"{recipient.wrapper}:{recipient.key_ref}" not in known
    )


def check_confirmed(unseen: Collection[Recipient], confirmed: Collection[str]) -> None:
    """Check that each of ``unseen`` was confirmed by its reference.

    Raises:
        securekit.exceptions.ConfigError: One was not; with its full reference.
    """
    for recipient in unseen:
        if recipient.key_ref not in confirmed:
            message = (
                f"this host has never written to the recipient {recipient.subject} ({describe(*recipient.name)}): compare its fingerprint"
                f" with its owner, then confirm it with --confirm {recipient.key_ref or recipient.wrapper}"
            )
            raise ConfigError(message)


def check_moved(before: Document, after: Document) -> None:
    """Check that no token of ``before`` stands at another path in ``after``, where it would not decrypt.

    Raises:
        securekit.exceptions.ConfigError: One does; names both paths.
    """
    old = {token: path for path, token in tokens(before.source.tree)}
    for leaf in after.leaves():
        token = leaf.token
        if token is not None and old.get(token, leaf.path) != leaf.path:
            was = format_path(old[token])
            message = (
                f"the secret of {was} now stands at {leaf.name}, where it does not decrypt, since a secret is bound to its path: set its"
                " value anew, or let somebody who can read it make this change (an item put into a list moves those below it)"
            )
            raise ConfigError(message)
