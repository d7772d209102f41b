# SPDX-License-Identifier: Apache-2.0
"""From stored bytes to an opened keyring: unwrap the secret, prove the document, decide whether to believe it.

Anyone can wrap to a public key, and so make a whole document that opens with an escrow certificate. A document is
believed only when its secret was unwrapped by a wrapper that outsiders cannot wrap with. An escrow certificate alone
opens a document whose id the caller has pinned, or when the caller says that this is a recovery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from securekit.exceptions import DecryptionError, KeyStoreError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper, WrappedKey
from securekit.wrappers._recipients import Report, check_mixture, describe, unwrap_first, wrap_to_each

from ._document import KeyringDocument, KeyringSecret

__all__ = ["Opened", "Trust", "unlock", "wrap_secret"]

_HINT = "add the wrapper to wrapper= or also_open= (--wrap or --also-open)"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trust:
    """What the caller accepts when a document opens through a public-key wrapper alone."""

    keyring_id: bytes | None = None
    recover: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Opened(Secretive):
    """A document that is genuine, and its secret. ``wrapper`` is the one that unwrapped it."""

    document: KeyringDocument
    secret: KeyringSecret
    data: bytes
    wrapper: KeyWrapper


def unlock(data: bytes, *, path: str, wrappers: Sequence[KeyWrapper], trust: Trust, report: Report) -> Opened:
    """Return the keyring that ``data`` holds.

    Wrappers that outsiders cannot wrap with come first. One that is unreachable is passed over if another one opens.

    Raises:
        securekit.exceptions.FormatError: ``data`` is no keyring document.
        securekit.exceptions.DecryptionError: It belongs to another path, or is not genuine.
        securekit.exceptions.KeyNotFoundError: None of ``wrappers`` is among its recipients.
        securekit.exceptions.KeyStoreError: Only a public-key wrapper opens it, and the caller did not vouch for it.
        securekit.exceptions.WrapperError: The holder of the KEK is unreachable, or said no.
    """
    sealed = KeyringDocument.decode(data)
    document = sealed.document
    if document.path != path:
        raise DecryptionError

    def accept(value: bytes) -> KeyringSecret:
        secret = KeyringSecret(value)
        del value  # error trackers show the variables of a frame that raises
        sealed.authenticate(secret)
        return secret

    wrapper, secret = unwrap_first(document.recipients, wrappers, document.binding, name=path, hint=_HINT, accept=accept, report=report)
    if wrapper.outsiders_can_wrap and not trust.recover and trust.keyring_id != document.id:
        message = (
            f"{path} opens only through {describe(wrapper.name, wrapper.key_ref)}, and anyone who has the certificate could have made it:"
            f" pin its id (keyring_id={document.id.hex()!r}), or say recover=True (securekit keys rewrap --recover),"
            " after checking where the document came from"
        )
        raise KeyStoreError(message)
    return Opened(document, secret, data, wrapper)


def wrap_secret(secret: KeyringSecret, document: KeyringDocument, wrappers: Sequence[KeyWrapper], report: Report) -> tuple[WrappedKey, ...]:
    """Return one wrapped copy of ``secret`` per wrapper, in the order in which they are stored.

    Raises:
        ValueError: Two wrappers name the same KEK, outsiders can wrap with all of them, or they are more than 64.
        securekit.exceptions.WrapperError: The holder of a KEK is unreachable, or said no.
    """
    if all(wrapper.outsiders_can_wrap for wrapper in wrappers):
        message = (
            "a keyring needs a wrapper that outsiders cannot wrap with (local, passphrase, keyring, Vault): add one beside the certificates"
        )
        raise ValueError(message)
    check_mixture((wrapper.name, wrapper.key_ref) for wrapper in wrappers)
    return wrap_to_each(secret.value, document.binding, wrappers, report)
