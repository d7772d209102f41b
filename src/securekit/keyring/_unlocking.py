# SPDX-License-Identifier: Apache-2.0
"""From stored bytes to an opened keyring: unwrap the secret, prove the document, decide whether to believe it.

Anyone can wrap to a public key, and so make a whole document that opens with an escrow certificate. A document is
believed only when its secret was unwrapped by a wrapper that outsiders cannot wrap with. An escrow certificate alone
opens a document whose id the caller has pinned, or when the caller says that this is a recovery.
"""

from __future__ import annotations

from collections.abc import Sequence

from securekit.exceptions import DecryptionError, KeyStoreError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper, WrappedKey
from securekit.wrappers._recipients import Report, candidates, check_mixture, check_number, describe, unwrap_first, wrap_to_each

from ._document import KeyringDocument, KeyringSecret

__all__ = ["Locked", "Opened", "Trust", "check_wrappers", "unlock", "wrap_secret"]

_HINT = "add the wrapper to wrapper= or also_open= (--wrap or --also-open)"


class Trust:
    """What the caller accepts when a document opens through a public-key wrapper alone."""

    __slots__ = ("keyring_id", "recover")

    def __init__(self, keyring_id: bytes | None = None, *, recover: bool = False) -> None:
        self.keyring_id: bytes | None = keyring_id
        self.recover: bool = recover


class Opened(Secretive):
    """A document that is genuine, and its secret. ``wrapper`` is the one that unwrapped it. Never changed."""

    __slots__ = ("data", "document", "secret", "wrapper")

    def __init__(self, document: KeyringDocument, secret: KeyringSecret, data: bytes, wrapper: KeyWrapper) -> None:
        self.document: KeyringDocument = document
        self.secret: KeyringSecret = secret
        self.data: bytes = data
        self.wrapper: KeyWrapper = wrapper

    def with_document(self, document: KeyringDocument, data: bytes) -> Opened:
        """Return another document that the same secret has proven."""
        return Opened(document, self.secret, data, self.wrapper)


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
    locked = Locked(data, path=path)
    document = locked.document
    wrapper, secret = unwrap_first(
        document.recipients, wrappers, document.binding, name=path, hint=_HINT, accept=locked.accept, report=report
    )
    return locked.believe(wrapper, secret, trust)


class Locked:
    """A document of ``path`` as it was read, before it is opened.

    Raises:
        securekit.exceptions.FormatError: ``data`` is no keyring document.
        securekit.exceptions.DecryptionError: It belongs to another path.
    """

    __slots__ = ("_data", "_sealed", "document")

    def __init__(self, data: bytes, *, path: str) -> None:
        self._data = data
        self._sealed = KeyringDocument.decode(data)
        self.document: KeyringDocument = self._sealed.document
        if self.document.path != path:
            raise DecryptionError

    def candidates(self, wrappers: Sequence[KeyWrapper]) -> list[tuple[KeyWrapper, WrappedKey]]:
        """Return which wrapper may open which recipient, in the order in which they are asked."""
        return candidates(self.document.recipients, wrappers, name=self.document.path, hint=_HINT)

    def accept(self, value: bytes) -> KeyringSecret:
        """Return the secret, if it proves the document.

        Raises:
            securekit.exceptions.DecryptionError: It does not.
        """
        secret = KeyringSecret(value)
        del value  # error trackers show the variables of a frame that raises
        self._sealed.authenticate(secret)
        return secret

    def believe(self, wrapper: KeyWrapper, secret: KeyringSecret, trust: Trust) -> Opened:
        """Return the keyring, if it may be believed: ``wrapper`` has unwrapped the secret that `accept` returned.

        Raises:
            securekit.exceptions.KeyStoreError: Outsiders can wrap with it, and the caller did not vouch for the document.
        """
        document = self.document
        if wrapper.outsiders_can_wrap and not trust.recover and trust.keyring_id != document.id:
            message = (
                f"{document.path} opens only through {describe(wrapper.name, wrapper.key_ref)}, and anyone who has the certificate could"
                f" have made it: pin its id (keyring_id={document.id.hex()!r}), or say recover=True (securekit keys rewrap --recover),"
                " after checking where the document came from"
            )
            raise KeyStoreError(message)
        return Opened(document, secret, self._data, wrapper)


def wrap_secret(secret: KeyringSecret, document: KeyringDocument, wrappers: Sequence[KeyWrapper], report: Report) -> tuple[WrappedKey, ...]:
    """Return one wrapped copy of ``secret`` per wrapper, in the order in which they are stored.

    Raises:
        ValueError: Two wrappers name the same KEK, outsiders can wrap with all of them, or they are more than 64.
        securekit.exceptions.WrapperError: The holder of a KEK is unreachable, or said no.
    """
    check_wrappers(wrappers)
    return wrap_to_each(secret.value, document.binding, wrappers, report)


def check_wrappers(wrappers: Sequence[KeyWrapper]) -> None:
    """Check that a keyring may be wrapped to these.

    Raises:
        ValueError: Outsiders can wrap with all of them, they are more than 64, or one is post-quantum beside a certificate.
    """
    if all(wrapper.outsiders_can_wrap for wrapper in wrappers):
        message = (
            "a keyring needs a wrapper that outsiders cannot wrap with (local, passphrase, keyring, Vault): add one beside the certificates"
        )
        raise ValueError(message)
    check_mixture((wrapper.name, wrapper.key_ref) for wrapper in wrappers)
    check_number(wrappers)
