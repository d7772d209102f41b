# SPDX-License-Identifier: Apache-2.0
"""``load``: from a document's file to the values that an application starts with, or a refusal."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from securekit.exceptions import ConfigError, DecryptionError, SecurityWarning

from ._base import check_trust, remember_generation
from ._block import check_environment
from ._document import Document
from ._identity import find_identity
from ._resolver import Resolver, resolve
from ._trust import Trust, find_trust

if TYPE_CHECKING:
    from ._document import OpenDocument

__all__ = ["load", "load_both", "warn_of_forgery"]

T = TypeVar("T")


@overload
def load(
    path: str | os.PathLike[str],
    *,
    environment: str,
    identity: object = ...,
    password: str | Callable[[], str] | None = ...,
    trust: str | os.PathLike[str] | Trust | None = ...,
    resolver: Resolver | None = ...,
    into: None = ...,
    format: str | None = ...,
    environ: Mapping[str, str] | None = ...,
) -> dict[str, Any]: ...
@overload
def load(
    path: str | os.PathLike[str],
    *,
    environment: str,
    identity: object = ...,
    password: str | Callable[[], str] | None = ...,
    trust: str | os.PathLike[str] | Trust | None = ...,
    resolver: Resolver | None = ...,
    into: type[T],
    format: str | None = ...,
    environ: Mapping[str, str] | None = ...,
) -> T: ...
def load(
    path: str | os.PathLike[str],
    *,
    environment: str,
    identity: object = None,
    password: str | Callable[[], str] | None = None,
    trust: str | os.PathLike[str] | Trust | None = None,
    resolver: Resolver | None = None,
    into: type[T] | None = None,
    format: str | None = None,  # noqa: A002 - the word for it
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any] | T:
    """Read an encrypted configuration document, verify it, and return its values.

    What was encrypted comes as `securekit.Secret`; everything else as it stands. Nothing is returned unless the whole document is
    as its author left it, and no value is a ciphertext.

    Args:
        path: The document: ``.yaml``, ``.yml``, ``.json``, ``.toml``, ``.env``, ``.ini``, ``.cfg`` or ``.conf``.
        environment: Where this process runs; a document of another environment is refused.
        identity: The private key's file, a name such as ``"cert:?key=host.key&password_file=pw"``, or a wrapper. Without it,
            ``SECUREKIT_IDENTITY``, or ``securekit.identity`` in ``$CREDENTIALS_DIRECTORY``.
        password: Of an encrypted private key.
        trust: Whom to believe: the file ``trust.toml``. Without it, ``SECUREKIT_TRUST``, or the one beside the identity. With none
            at all, a warning says how to set it up.
        resolver: Fetches values that refer to Vault.
        into: A pydantic model or a dataclass that the values are validated into (``securekit-platform[pydantic]``).
        format: Of the document, if its name does not tell.
        environ: Instead of ``os.environ``.

    Returns:
        The values, as nested dictionaries and lists; or an ``into``.

    Raises:
        securekit.exceptions.ConfigError: The document is not encrypted, of another environment, not signed as the trust wants it, or
            holds in clear text what must be encrypted; or it does not validate.
        securekit.exceptions.FormatError: It is malformed; with line and reason.
        securekit.exceptions.KeyFileError: There is no identity, or its file is not guarded.
        securekit.exceptions.KeyNotFoundError: The identity is not a recipient.
        securekit.exceptions.DecryptionError: The document was changed since its author left it.
        securekit.exceptions.WrapperError: The holder of the KEK is unreachable, or said no.
    """
    return load_both(
        path,
        environment=environment,
        identity=identity,
        password=password,
        trust=trust,
        resolver=resolver,
        into=into,
        format=format,
        environ=environ,
    )[1]


def load_both(
    path: str | os.PathLike[str],
    *,
    environment: str,
    identity: object = None,
    password: str | Callable[[], str] | None = None,
    trust: str | os.PathLike[str] | Trust | None = None,
    resolver: Resolver | None = None,
    into: type[T] | None = None,
    format: str | None = None,  # noqa: A002 - the word for it
    environ: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any] | T]:
    """Return the values, and what `load` returns; arguments and errors as there."""
    check_environment(environment)
    document = Document.read(path, format=format)
    document.check_environment(environment)
    wrappers, file = find_identity(identity, password=password, environ=environ)
    believed = find_trust(explicit=trust, identity=file, environ=environ)
    if believed is None:
        warn_of_forgery(document)
    else:
        check_trust(document, believed)
    if not wrappers:
        message = (
            f"{document.name} is encrypted, and there is no identity: give the private key's file as identity, or set SECUREKIT_IDENTITY"
        )
        raise ConfigError(message)
    values = _open(document, wrappers).reveal()
    mounts = believed.entry(document.required.document.hex()).mounts if believed is not None else ()
    resolve(values, resolver, signed=believed is not None, mounts=mounts)
    configuration: dict[str, Any] | T = values
    if into is not None:
        from ._settings import validate

        configuration = validate(values, into)
    if believed is not None:
        remember_generation(document, believed)
    return values, configuration


def _open(document: Document, wrappers: Any) -> OpenDocument:  # noqa: ANN401 - as find_identity has returned them
    try:
        return document.open(wrappers)
    except DecryptionError as error:
        error.add_note(f"{document.name}: it was changed by hand or by a merge, or this is not its key")
        raise


def warn_of_forgery(document: Document) -> None:
    """Say that no trust of this host's own was asked about a document that a program starts with."""
    message = (
        f"nothing says who may sign {Path(document.name).name}, so that whoever can write it can forge it: set up a trust.toml beside the"
        " identity (securekit config trust)"
    )
    warnings.warn(message, SecurityWarning, stacklevel=4)
