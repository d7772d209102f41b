# SPDX-License-Identifier: Apache-2.0
"""Envelope encryption, keyrings and encrypted configuration for platforms with many tenants.

    >>> from securekit import FileKeyStore, LocalWrapper
    >>> store = FileKeyStore("keys/", wrapper=LocalWrapper.from_file("root.key"))
    >>> ring = store.keyring("eu/acme/invoices", create=True)
    >>> token = ring.encrypt(b"DE89 3704 0044", context={"table": "invoice", "column": "iban", "id": "42"})

Names are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .envelope import Envelope, inspect
    from .exceptions import DecryptionError, FormatError, SecureKitError
    from .keyring import Event, FileKeyStore, Keyring, KeyringWrapper, KeyStore, MemoryKeyStore
    from .opening import open_store
    from .secret import Secret
    from .wrappers import CertificateWrapper, KeyWrapper, LocalWrapper, PassphraseWrapper, WrappedKey

__all__ = [
    "CertificateWrapper",
    "DecryptionError",
    "Envelope",
    "Event",
    "FileKeyStore",
    "FormatError",
    "KeyStore",
    "KeyWrapper",
    "Keyring",
    "KeyringWrapper",
    "LocalWrapper",
    "MemoryKeyStore",
    "PassphraseWrapper",
    "Secret",
    "SecureKitError",
    "WrappedKey",
    "inspect",
    "open_store",
]

_HOME = {
    "CertificateWrapper": "wrappers",
    "DecryptionError": "exceptions",
    "Envelope": "envelope",
    "Event": "keyring",
    "FileKeyStore": "keyring",
    "FormatError": "exceptions",
    "KeyStore": "keyring",
    "KeyWrapper": "wrappers",
    "Keyring": "keyring",
    "KeyringWrapper": "keyring",
    "LocalWrapper": "wrappers",
    "MemoryKeyStore": "keyring",
    "PassphraseWrapper": "wrappers",
    "Secret": "secret",
    "SecureKitError": "exceptions",
    "WrappedKey": "wrappers",
    "inspect": "envelope",
    "open_store": "opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
