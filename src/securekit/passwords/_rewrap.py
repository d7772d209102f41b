# SPDX-License-Identifier: Apache-2.0
"""A whole table moves to the pepper's present key, offline: no password is needed, since the pepper is a layer around finished hashes.

A peppered hash is a record of the pepper's keyring in its text form, so that `securekit.rotation` does the same to a table in SQL,
resumable and proven: ``SqlColumns(…, columns="password", keyring=PATH, context={"purpose": "password", "user": "{id}"})``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from securekit.exceptions import FormatError, KeyNotFoundError, KeyStoreError, SecureKitError, WrapperError

from ._hasher import peppered_context

if TYPE_CHECKING:
    from securekit.keyring import Keyring

__all__ = ["rewrap_all"]


def rewrap_all(
    rows: Iterable[tuple[str, str | None]], pepper: Keyring, *, onto: Keyring | None = None
) -> Iterator[tuple[str, str | SecureKitError]]:
    """Yield what changes of a table of peppered hashes, so that an old key of the pepper can be retired.

    Args:
        rows: ``(user, hash)`` for each row: the user's id as it was given to `PasswordHasher.hash`, and what is
            stored; a row with None, which has no password, is passed over.
        pepper: The keyring that the hashes are under.
        onto: The keyring that they are to be under from now on; the same one's primary if it is not given. Hashes without a pepper
            are put under it, and those that are under its primary already are left, so that a run can be repeated.

    Yields:
        ``(user, new hash)`` for each row that is to be written, in order: only if the old one is still there. ``(user, error)`` for
        one that cannot be moved, and stays as it is.

    Raises:
        securekit.exceptions.KeyStoreError: The pepper's keyring cannot be read.
        securekit.exceptions.WrapperError: Its KEK cannot be asked, or said no.
    """
    for user, stored in rows:
        if stored is None:
            continue
        try:
            moved = _moved(user, stored, pepper, onto)
        except SecureKitError as error:
            error.__context__ = None
            if isinstance(error, KeyStoreError | WrapperError):  # it is none of the row's
                raise error.with_traceback(None) from None  # whose frames hold the hash
            yield user, error.with_traceback(None)
        else:
            if moved is not None:
                yield user, moved


def _moved(user: str, stored: str, pepper: Keyring, onto: Keyring | None) -> str | None:
    target, context = onto or pepper, peppered_context(user)
    if not stored.startswith("sk1."):
        if onto is None:
            message = "the hash has no pepper"
            raise FormatError(message)
        return target.encrypt_text(stored, context=context)
    if target is pepper and not pepper.needs_reencrypt(stored):
        return None
    try:
        inner = pepper.decrypt_text(stored, context=context)
    except KeyNotFoundError:
        if target is pepper:
            raise
        if not target.needs_reencrypt(stored):
            return None  # moved already, by a run that did not come to its end
        inner = target.decrypt_text(stored, context=context)
    return target.encrypt_text(inner, context=context)
