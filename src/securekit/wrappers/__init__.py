# SPDX-License-Identifier: Apache-2.0
"""Who holds the KEK: the protocol, and the wrappers that need no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._local import LocalWrapper
from ._protocol import Binding, KeyWrapper, WrappedKey

if TYPE_CHECKING:
    from ._certificate import CertificateWrapper
    from ._identity import new_identity
    from ._passphrase import PassphraseWrapper
    from ._post_quantum import PostQuantumWrapper
    from ._public_key import PublicKeyWrapper

__all__ = [
    "Binding",
    "CertificateWrapper",
    "KeyWrapper",
    "LocalWrapper",
    "PassphraseWrapper",
    "PostQuantumWrapper",
    "PublicKeyWrapper",
    "WrappedKey",
    "new_identity",
]

# Argon2 and X.509 are loaded by whoever uses them: they would double the time that the import takes.
_LAZY = {
    "CertificateWrapper": "_certificate",
    "PassphraseWrapper": "_passphrase",
    "PostQuantumWrapper": "_post_quantum",
    "PublicKeyWrapper": "_public_key",
    "new_identity": "_identity",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
