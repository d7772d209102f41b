# SPDX-License-Identifier: Apache-2.0
"""The life of key versions: which states follow which. Documents in, documents out; nothing here does any I/O.

::

    (new) ──rotate──────────────▶ primary ◀──promote── active ◀──enable── disabled ──destroy──▶ destroyed
      └──rotate(promote=False)──▶ active   ──(another is promoted)──▶ active ──disable──▶ disabled

The primary can be neither disabled nor destroyed: promote another first. Destroyed is for ever.
"""

from __future__ import annotations

from dataclasses import replace

from securekit._primitives.aead import KEY_SIZE
from securekit._primitives.rng import random_bytes
from securekit.exceptions import KeyNotFoundError, KeyStateError
from securekit.wrappers import WrappedKey

from ._clock import moment
from ._document import ID_SIZE, KEY_ID_SIZE, MAX_KEYS, KeyringDocument, KeyringSecret, KeyState, KeyVersion

__all__ = ["destroy", "disable", "enable", "mark_due", "new_document", "new_secret", "promote", "renew_secret", "require", "rotate"]


def new_secret() -> KeyringSecret:
    """Return a fresh keyring secret."""
    return KeyringSecret(random_bytes(KEY_SIZE))


def new_document(path: str, *, now: int, refresh: int, stale_if_error: int) -> KeyringDocument:
    """Return a document without recipients and keys, of revision 0, for `rotate` to fill and a store to complete."""
    return KeyringDocument(
        path=path,
        id=random_bytes(ID_SIZE),
        revision=0,
        created=now,
        refresh=refresh,
        stale_if_error=stale_if_error,
        recipients=(),
        keys=(),
    )


def rotate(document: KeyringDocument, secret: KeyringSecret, *, now: int, promoted: bool, not_after: int | None = None) -> KeyringDocument:
    """Return the document with a new key version, which is primary if ``promoted``, else staged as active.

    Raises:
        securekit.exceptions.KeyStateError: The document holds 4,096 key versions already.
    """
    if len(document.keys) >= MAX_KEYS:
        message = f"{document.path} holds {MAX_KEYS} key versions already, the most a keyring can; start a new keyring"
        raise KeyStateError(message)
    drawn = iter(lambda: random_bytes(KEY_ID_SIZE).hex(), None)
    key_id = next(key_id for key_id in drawn if document.key(key_id) is None)
    fresh = KeyVersion(
        id=key_id,
        state=KeyState.ACTIVE,
        created=now,
        promoted=None,
        disabled=None,
        not_after=not_after,
        due=False,
        sealed=secret.seal_key(document, key_id, random_bytes(KEY_SIZE)),
    )
    document = document.with_key(fresh)
    return promote(document, key_id, now=now) if promoted else document


def promote(document: KeyringDocument, key_id: str, *, now: int) -> KeyringDocument:
    """Return the document with that key primary; the one that was becomes active.

    Raises:
        securekit.exceptions.KeyNotFoundError: No such key.
        securekit.exceptions.KeyStateError: It is disabled, destroyed, past its ``not_after``, or due for re-encryption.
    """
    key = require(document, key_id)
    if key.state is KeyState.PRIMARY:
        return document
    if key.state is not KeyState.ACTIVE:
        _refuse(document, key, "promoted", "enable it first" if key.state is KeyState.DISABLED else "rotate to get a new key")
    if key.due or (key.not_after is not None and key.not_after <= now):
        _refuse(document, key, "promoted", "it must not encrypt any more; rotate to get a new key")
    demoted = tuple(replace(other, state=KeyState.ACTIVE) if other.state is KeyState.PRIMARY else other for other in document.keys)
    return replace(document, keys=demoted).with_key(replace(key, state=KeyState.PRIMARY, promoted=now))


def disable(document: KeyringDocument, key_id: str, *, now: int) -> KeyringDocument:
    """Return the document with that key disabled: it refuses to decrypt, and can come back.

    Raises:
        securekit.exceptions.KeyNotFoundError: No such key.
        securekit.exceptions.KeyStateError: It is primary or destroyed.
    """
    key = require(document, key_id)
    if key.state is KeyState.DISABLED:
        return document
    if key.state is not KeyState.ACTIVE:
        _refuse(document, key, "disabled", "promote another key first" if key.state is KeyState.PRIMARY else "destroyed is for ever")
    return document.with_key(replace(key, state=KeyState.DISABLED, disabled=now))


def enable(document: KeyringDocument, key_id: str) -> KeyringDocument:
    """Return the document with that disabled key active again.

    Raises:
        securekit.exceptions.KeyNotFoundError: No such key.
        securekit.exceptions.KeyStateError: It is destroyed.
    """
    key = require(document, key_id)
    if key.state in {KeyState.ACTIVE, KeyState.PRIMARY}:
        return document
    if key.state is KeyState.DESTROYED:
        _refuse(document, key, "enabled", "destroyed is for ever")
    return document.with_key(replace(key, state=KeyState.ACTIVE, disabled=None))


def destroy(document: KeyringDocument, key_id: str, *, now: int, force: bool) -> KeyringDocument:
    """Return the document without that key's bytes; its id stays.

    A key goes only when every reader must have noticed that it is disabled, ``refresh + stale_if_error`` after it was;
    ``force`` skips that wait, and the need to disable, but not the rule that the primary stays.

    Raises:
        securekit.exceptions.KeyNotFoundError: No such key.
        securekit.exceptions.KeyStateError: It is primary, or was not disabled for long enough.
    """
    key = require(document, key_id)
    if key.state is KeyState.DESTROYED:
        return document
    if key.state is KeyState.PRIMARY:
        _refuse(document, key, "destroyed", "promote another key first")
    wait = document.refresh + document.stale_if_error
    if not force and (key.disabled is None or now - key.disabled <= wait):
        when = "disable it first" if key.disabled is None else f"try again after {moment(key.disabled + wait):%Y-%m-%d %H:%M:%S}Z"
        why = f"it must have been disabled for longer than {wait} seconds, so that no process still uses it; {when}"
        _refuse(document, key, "destroyed", why)
    disabled = now if key.disabled is None else key.disabled
    return document.with_key(replace(key, state=KeyState.DESTROYED, disabled=disabled, sealed=None))


def renew_secret(document: KeyringDocument, old: KeyringSecret, new: KeyringSecret, recipients: tuple[WrappedKey, ...]) -> KeyringDocument:
    """Return the document with the same data keys sealed under ``new``, whose wrapped copies are ``recipients``."""
    keys = tuple(
        key if key.sealed is None else replace(key, sealed=new.seal_key(document, key.id, old.open_key(document, key.id, key.sealed)))
        for key in document.keys
    )
    return replace(document, keys=keys, recipients=recipients)


def mark_due(document: KeyringDocument, key_ids: set[str]) -> KeyringDocument:
    """Return the document with these keys marked: what they encrypted shall be re-encrypted."""
    return replace(document, keys=tuple(replace(key, due=True) if key.id in key_ids else key for key in document.keys))


def require(document: KeyringDocument, key_id: str) -> KeyVersion:
    """Return the key version of that id.

    Raises:
        securekit.exceptions.KeyNotFoundError: No such key.
    """
    key = document.key(key_id)
    if key is None:
        message = f"{document.path} has no key {key_id[:80]}"
        raise KeyNotFoundError(message)
    return key


def _refuse(document: KeyringDocument, key: KeyVersion, verb: str, hint: str) -> None:
    message = f"{document.path}@{key.id} is {key.state} and cannot be {verb}: {hint}"
    raise KeyStateError(message)
