# SPDX-License-Identifier: Apache-2.0
"""Stores and wrappers from names, as they stand in environment variables, command lines and configuration.

=======================  =============================================================================================
store                    what it is
=======================  =============================================================================================
``file:keys/``           `securekit.FileKeyStore` in that directory
``vault:kv/keyrings``    `securekit.vault.KvKeyStore` in the engine mounted at ``kv``, below ``keyrings``
``sqlite:///keys.db``    `securekit.sql.SqlKeyStore` in that file; four slashes before an absolute path
``postgresql://…``       the same in PostgreSQL; with a driver as SQLAlchemy names it: ``postgresql+psycopg://user@host/name``
``memory:``              `securekit.MemoryKeyStore`
=======================  =============================================================================================

=======================  =============================================================================================
wrapper                  what it is
=======================  =============================================================================================
``local:root.key``       `securekit.LocalWrapper`, the key in that file
``passphrase:FILE``      `securekit.PassphraseWrapper`, the passphrase in that file (guarded like a key file)
``passphrase:``          the same, asked for at a prompt
``cert:ops.pem``         `securekit.CertificateWrapper` that only wraps to the certificate in that file
``cert:ops.pem?key=K``   the same with the private key in file K, so that it opens, too; ``cert:?key=K`` only opens
``pkcs12:host.p12``      the same with certificate and private key from a PKCS#12 file
``pq:ops.pub``           `securekit.wrappers.PostQuantumWrapper`; ``?key=`` as with ``cert:``
``vault:transit/app``    `securekit.vault.TransitWrapper`: the key ``app`` of the engine mounted at ``transit``
=======================  =============================================================================================

Where Vault is, and who asks it, say its own variables: see `securekit.vault.VaultConnection.from_env`.

Options follow a question mark and are joined by ``&``. ``label=eu`` goes with local, passphrase and Vault; ``ca=FILE`` (the
authorities that are believed) and ``password_file=FILE`` (guarded like a key file) go with certificates. A password that is
needed and not given so is asked for. No secret ever stands in a name, except that a URL of PostgreSQL may have a password: then
``SECUREKIT_STORE`` has it, or better a file that libpq reads (``PGPASSFILE``), and never a command line. It is never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack
from urllib.parse import parse_qsl, quote

from securekit.exceptions import KeyStoreError

if TYPE_CHECKING:
    from securekit.keyring import KeyStore, StoreOptions
    from securekit.vault import VaultConnection
    from securekit.wrappers import KeyWrapper

__all__ = ["STORE_VARIABLE", "WRAP_VARIABLE", "file_of", "kind_of", "open_store", "open_wrapper"]

STORE_VARIABLE = "SECUREKIT_STORE"
WRAP_VARIABLE = "SECUREKIT_WRAP"

_LOOK = 65_536  # bytes in which the kind of a key file shows
_PKCS12 = re.compile(rb"\x30([\x00-\x80]|\x81.|\x82..|\x83...)\x02\x01\x03", re.DOTALL)  # a sequence whose version is 3; keys have 0 or 1

AskPassphrase = Callable[[str], str]
"""Asks a person for the secret that the given text describes."""


def open_store(
    url: str | None = None,
    *,
    wrap: str | KeyWrapper | Sequence[str | KeyWrapper] | None = None,
    also_open: str | KeyWrapper | Sequence[str | KeyWrapper] = (),
    ask: AskPassphrase | None = None,
    environ: Mapping[str, str] | None = None,
    **options: Unpack[StoreOptions],
) -> KeyStore:
    """Return the store that ``url`` names, with the wrappers that ``wrap`` names.

    Args:
        url: For example ``file:keys/``; None takes ``SECUREKIT_STORE`` from the environment.
        wrap: One name or wrapper, or several, for example ``local:root.key``; None takes ``SECUREKIT_WRAP``, in which
            several names are separated by white space.
        also_open: What may open documents as well; see `securekit.KeyStore`.
        ask: Asks for a passphrase; the terminal's prompt if None.
        environ: Instead of ``os.environ``.
        options: As `securekit.KeyStore`: ``refresh``, ``stale_if_error``, ``on_event`` …

    Raises:
        ValueError: A name has another form, or is missing.
        securekit.exceptions.KeyFileError: A key file is missing or not guarded.
        securekit.exceptions.KeyStoreError: A package that the database needs is not installed.
    """
    variables = os.environ if environ is None else environ
    url = url or variables.get(STORE_VARIABLE)
    if not url:
        message = f"which keystore? Give a name such as file:keys/, or set {STORE_VARIABLE}"
        raise ValueError(message)
    names = wrap if wrap is not None else variables.get(WRAP_VARIABLE, "").split()
    vault = _connection(variables)
    wrappers = _open_wrappers(names, ask, vault)
    if not wrappers:
        message = f"which KEK? Give a name such as local:root.key, or set {WRAP_VARIABLE}"
        raise ValueError(message)
    kind, _, rest = url.partition(":")
    openers = _open_wrappers(also_open, ask, vault)
    if kind == "file" and rest:
        from securekit.keyring import FileKeyStore

        return FileKeyStore(Path(rest), wrapper=wrappers, also_open=openers, **options)
    if url == "memory:":
        from securekit.keyring import MemoryKeyStore

        return MemoryKeyStore(wrapper=wrappers, also_open=openers, **options)
    if kind == "vault" and rest:
        from securekit.vault import KvKeyStore

        mount, _, prefix = rest.partition("/")
        return KvKeyStore(vault(), mount=mount, prefix=prefix or "keyrings", wrapper=wrappers, also_open=openers, **options)
    if kind.partition("+")[0] in {"sqlite", "postgresql"} and rest:
        try:
            from securekit.sql import SqlKeyStore

            return SqlKeyStore(url, wrapper=wrappers, also_open=openers, **options)
        except ImportError as error:  # SQLAlchemy, or the driver
            missing = KeyStoreError(str(error))
        raise missing
    shown = re.sub(r"//.*@", "//…@", url)  # a password may stand there
    message = (
        f"{shown!r} names no keystore: file:DIRECTORY, sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME, vault:MOUNT/PREFIX or memory:"
    )
    raise ValueError(message)


def open_wrapper(name: str, *, ask: AskPassphrase | None = None, environ: Mapping[str, str] | None = None) -> KeyWrapper:
    """Return the wrapper that ``name`` names, for example ``local:root.key?label=eu``.

    Args:
        name: As in the table above.
        ask: Asks for a passphrase; the terminal's prompt if None.
        environ: Instead of ``os.environ``, for where Vault is.

    Raises:
        ValueError: ``name`` has another form.
        securekit.exceptions.KeyFileError: A key file is missing or not guarded.
    """
    return _open_wrapper(name, ask, _connection(os.environ if environ is None else environ))


def _open_wrapper(name: str, ask: AskPassphrase | None, vault: Callable[[], VaultConnection]) -> KeyWrapper:
    kind, colon, rest = name.partition(":")
    target, _, query = rest.partition("?")
    options = _options(name, query)
    if kind == "local" and target:
        _allow(name, options, {"label"})
        from securekit.wrappers import LocalWrapper

        return LocalWrapper.from_file(target, **options)
    if kind == "passphrase" and colon:
        _allow(name, options, {"label"})
        from securekit._wire.key_files import read_secret_text
        from securekit.wrappers import PassphraseWrapper

        return PassphraseWrapper(read_secret_text(target) if target else (ask or _ask)("passphrase"), **options)
    if kind == "cert" and (target or "key" in options):
        _allow(name, options, {"ca", "key", "password_file"})
        from securekit.wrappers import CertificateWrapper

        key = options.get("key")
        return CertificateWrapper.from_files(cert=target or None, key=key, password=_password(options, key, ask), ca=options.get("ca"))
    if kind == "pkcs12" and target:
        _allow(name, options, {"ca", "password_file"})
        from securekit.wrappers import CertificateWrapper

        return CertificateWrapper.from_pkcs12(target, password=_password(options, target, ask), ca=options.get("ca"))
    if kind == "pq" and (target or "key" in options):
        _allow(name, options, {"key"})
        from securekit.wrappers import PostQuantumWrapper

        return PostQuantumWrapper.from_files(public=target or None, key=options.get("key"))
    if kind == "vault" and "/" in target:
        _allow(name, options, {"label"})
        from securekit.vault import TransitWrapper

        mount, _, key = target.rpartition("/")
        return TransitWrapper(vault(), key, mount=mount, **options)
    message = f"{name!r} names no wrapper: local:FILE, passphrase:, passphrase:FILE, cert:FILE, pkcs12:FILE, pq:FILE or vault:MOUNT/KEY"
    raise ValueError(message)


def file_of(name: str) -> Path | None:
    """Return the file with the secret that ``name``, a wrapper's as `open_wrapper` takes it, opens with; None if it is in no file."""
    kind, _, rest = name.partition(":")
    target, _, query = rest.partition("?")
    file = _options(name, query).get("key") if kind in {"cert", "pq"} else target if kind in {"local", "passphrase", "pkcs12"} else None
    return Path(file) if file else None


def kind_of(name: str, *, opens: bool) -> str:
    """Return ``name`` as `open_wrapper` takes it: as it is, or, if it names a file, by what is in that file.

    Args:
        name: For example ``local:root.key``, or ``host.pem``.
        opens: Whether a private key is wanted, or a certificate or public key.

    Raises:
        ValueError: The file cannot be read, or holds nothing of that kind.
    """
    kind, colon, _ = name.partition(":")
    if colon and kind.isalnum() and not Path(name).exists():
        return name
    try:
        # O_NONBLOCK: a FIFO in place of the file must not block us.
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            begin = file.read(_LOOK)
    except OSError as error:
        message = f"{name}: {error.strerror}"
        raise ValueError(message) from None
    if begin.startswith(b"securekit-local-key-1:"):
        return f"local:{name}"
    if name.endswith((".p12", ".pfx")) or _PKCS12.match(begin):
        return f"pkcs12:{name}"
    if begin.startswith(b"securekit-pq-"):
        kind, private, public = "pq", begin.startswith(b"securekit-pq-private-"), begin.startswith(b"securekit-pq-public-")
    elif begin.startswith(b"\x30"):  # DER, which does not say what it is
        kind, private, public = "cert", True, True
    else:
        kind, private, public = "cert", b"PRIVATE KEY-----" in begin, b"-----BEGIN CERTIFICATE-----" in begin
    if opens and private:
        return f"{kind}:?key={quote(name, safe='/')}"
    if public and not opens:
        return f"{kind}:{name}"
    wanted = "a private key" if opens else "a certificate or a public key"
    message = f"{name} is {'only a private' if private else 'only a public' if public else 'no'} key; {wanted} is needed here"
    raise ValueError(message)


def _connection(variables: Mapping[str, str]) -> Callable[[], VaultConnection]:
    """Return what makes the one connection that a store and its wrappers share: one login, and one cooldown."""

    @cache
    def connect() -> VaultConnection:
        from securekit.vault import VaultConnection

        return VaultConnection.from_env(variables)

    return connect


def _open_wrappers(
    names: str | KeyWrapper | Sequence[str | KeyWrapper], ask: AskPassphrase | None, vault: Callable[[], VaultConnection]
) -> tuple[KeyWrapper, ...]:
    several = [names] if isinstance(names, str) or not isinstance(names, Sequence) else names
    return tuple(_open_wrapper(name, ask, vault) if isinstance(name, str) else name for name in several)


def _options(name: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError:
        pairs = [("", "")]
    options = dict(pairs)
    if len(options) != len(pairs) or not all(map(all, pairs)):
        message = f"the options of {name!r} are not of the form ?name=value&name=value, each name once"
        raise ValueError(message)
    return options


def _allow(name: str, options: Mapping[str, str], allowed: set[str]) -> None:
    unknown = sorted(options.keys() - allowed)
    if unknown:
        message = f"{name!r} has the unknown option {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}"
        raise ValueError(message)


def _password(options: Mapping[str, str], file: str | None, ask: AskPassphrase | None) -> Callable[[], str]:
    """Return who knows the password of ``file``; called only if the file turns out to be encrypted."""
    if "password_file" in options:
        from securekit._wire.key_files import read_secret_text

        return partial(read_secret_text, options["password_file"])
    return partial(ask or _ask, f"password of {file}")


def _ask(what: str) -> str:
    from getpass import getpass

    return getpass(f"{what}: ")
