# SPDX-License-Identifier: Apache-2.0
"""Where a host keeps the private key that opens its configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from securekit.exceptions import KeyFileError

if TYPE_CHECKING:
    from securekit.wrappers import KeyWrapper

__all__ = ["CREDENTIAL", "IDENTITY_VARIABLE", "Identity", "find_identity"]

IDENTITY_VARIABLE = "SECUREKIT_IDENTITY"
CREDENTIAL = "securekit.identity"  # the name of the credential in systemd's $CREDENTIALS_DIRECTORY

Identity = "str | os.PathLike[str] | KeyWrapper | Sequence[str | os.PathLike[str] | KeyWrapper]"
"""A private key's file (PEM, encrypted PEM, PKCS#12, X-Wing), a name as `securekit.opening.open_wrapper` takes it, or a wrapper."""


def find_identity(
    identity: object = None,
    *,
    password: str | Callable[[], str] | None = None,
    environ: Mapping[str, str] | None = None,
    ask: Callable[[str], str] | None = None,
) -> tuple[list[KeyWrapper], Path | None]:
    """Return the wrappers that open, and the file that a private key comes from: of the first that comes from one.

    The order is: the argument, ``SECUREKIT_IDENTITY``, and ``securekit.identity`` in ``$CREDENTIALS_DIRECTORY`` (systemd).

    Args:
        identity: One or several of `Identity`.
        password: Of an encrypted private key.
        environ: Instead of ``os.environ``.
        ask: Asks a person for a password; nobody is asked if it is None.

    Raises:
        securekit.exceptions.KeyFileError: A file is missing, unguarded, or holds no private key.
    """
    variables = os.environ if environ is None else environ
    if identity is None:
        directory = variables.get("CREDENTIALS_DIRECTORY")
        credential = Path(directory, CREDENTIAL) if directory else None
        identity = variables.get(IDENTITY_VARIABLE) or (credential if credential is not None and credential.exists() else None)
    if identity is None:
        return [], None
    several = list(identity) if isinstance(identity, Sequence) and not isinstance(identity, str) else [identity]
    opened = [_open(one, password, ask) if isinstance(one, str | os.PathLike) else (cast("KeyWrapper", one), None) for one in several]
    return [wrapper for wrapper, _ in opened], next((file for _, file in opened if file is not None), None)


def _open(
    name: str | os.PathLike[str], password: str | Callable[[], str] | None, ask: Callable[[str], str] | None
) -> tuple[KeyWrapper, Path | None]:
    """Return what opens, and the file that it comes from: the trust beside it counts, however the file was named."""
    from securekit.opening import file_of, kind_of, open_wrapper

    def answer(what: str) -> str:
        if password is not None:
            return password() if callable(password) else password
        if ask is not None:
            return ask(what)
        message = f"{os.fspath(name)} is encrypted: give its password (password=, or cert:?key=FILE&password_file=FILE as the identity)"
        raise KeyFileError(message)

    try:
        kind = kind_of(os.fspath(name), opens=True)
        return open_wrapper(kind, ask=answer), file_of(kind)
    except ValueError as error:
        message = f"no identity: {error}"
    raise KeyFileError(message)
