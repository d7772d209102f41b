# SPDX-License-Identifier: Apache-2.0
"""From stored bytes to an opened keyring: unwrap the secret, prove the document, decide whether to believe it.

Anyone can wrap to a public key, and so make a whole document that opens with an escrow certificate. A document is
believed only when its secret was unwrapped by a wrapper that outsiders cannot wrap with. An escrow certificate alone
opens a document whose id the caller has pinned, or when the caller says that this is a recovery.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from securekit.exceptions import DecryptionError, KeyNotFoundError, KeyStoreError, WrapperDeniedError, WrapperError, WrapperUnavailableError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper, WrappedKey

from ._document import MAX_RECIPIENTS, KeyringDocument, KeyringSecret, SealedDocument

__all__ = ["Opened", "Trust", "describe", "unlock", "wrap_secret"]

_LINE = 40  # characters of a reference that fit a message; public-key hashes have 64
Report = Callable[[KeyWrapper, str, float], None]
"""Told of every call to a wrapper: which, the verb, and how many seconds it took."""


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
    sealed = KeyringDocument.decode(data)
    document = sealed.document
    if document.path != path:
        raise DecryptionError
    candidates = [(wrapper, wrapped) for wrapper in wrappers for wrapped in document.recipients if wrapper.opens(wrapped)]
    candidates.sort(key=lambda candidate: candidate[0].outsiders_can_wrap)
    if not candidates:
        have = ", ".join(describe(wrapper.name, wrapper.key_ref) for wrapper in wrappers) or "no wrapper"
        want = ", ".join(describe(*wrapped.recipient) for wrapped in document.recipients)
        message = (
            f"{path} is wrapped to {want}, and this store opens with {have}: add the wrapper to wrapper= or also_open="
            " (--wrap or --also-open)"
        )
        raise KeyNotFoundError(message)
    wrapper, secret = _first_that_opens(sealed, candidates, report)
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
    if len(wrappers) > MAX_RECIPIENTS:
        message = f"a keyring has at most {MAX_RECIPIENTS} recipients, not {len(wrappers)}"
        raise ValueError(message)
    copies: list[WrappedKey] = []
    for wrapper in wrappers:
        with _timed(wrapper, "wrap", report):
            copies.append(wrapper.wrap(secret.value, document.binding))
    if len({copy.recipient for copy in copies}) != len(copies):
        message = "two of the wrappers name the same KEK; give one of them a label, or leave it out"
        raise ValueError(message)
    return tuple(sorted(copies, key=lambda copy: copy.recipient))


def describe(name: str, key_ref: str) -> str:
    """Return a recipient as people read it: ``local 0bac1fe1ddce8316``; a long reference is cut."""
    reference = key_ref if len(key_ref) <= _LINE or name == "keyring" else f"{key_ref[:16]}…"
    return f"{name} {reference}".rstrip()


def _first_that_opens(
    sealed: SealedDocument, candidates: list[tuple[KeyWrapper, WrappedKey]], report: Report
) -> tuple[KeyWrapper, KeyringSecret]:
    failures: list[WrapperError] = []
    binding = sealed.document.binding
    for wrapper, wrapped in candidates:
        try:
            with _timed(wrapper, "unwrap", report):
                secret = KeyringSecret(wrapper.unwrap(wrapped, binding))  # never a variable: error trackers show those
        except WrapperError as error:
            failures.append(error)
            continue
        sealed.authenticate(secret)
        return wrapper, secret
    # A plain no outweighs "not reachable", which would allow to serve on from memory.
    raise min(failures, key=lambda error: (not isinstance(error, WrapperDeniedError), isinstance(error, WrapperUnavailableError)))


@contextmanager
def _timed(wrapper: KeyWrapper, verb: str, report: Report) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        report(wrapper, verb, time.perf_counter() - begin)
