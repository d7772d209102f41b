# SPDX-License-Identifier: Apache-2.0
"""A KEK from a passphrase: for escrow on paper and for people, not for services."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from securekit._primitives.aead import OVERHEAD, KcXaes256Gcm
from securekit._primitives.argon2 import argon2id
from securekit._primitives.rng import random_bytes
from securekit._wire.pae import pae
from securekit.exceptions import FormatError, WrapperUnavailableError
from securekit.secret import Secretive

from ._protocol import PACKAGE_SIZE, WrappedKey, check_recipient, labelled, open_package, seal_package, unwrap_each, wrap_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._protocol import Binding

__all__ = ["PassphraseWrapper"]

# The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
MEMORY = 64 * 1024  # KiB
PASSES = 3
LANES = 4
# What a reader is willing to spend on parameters that stand in a file: 1 GiB, and about ten seconds.
MAX_MEMORY = 1024 * 1024  # KiB
MAX_PASSES = 16
MAX_LANES = 16
MAX_WORK = 4 * 1024 * 1024  # KiB times passes
SALT_SIZE = 16  # bytes, RFC 9106 section 3.1
_PARAMETERS = Struct(">16sIBB")  # salt ‖ memory in KiB ‖ passes ‖ lanes
MIN_PASSPHRASE = 8  # characters; a slip on the keyboard is not a passphrase
_KEYS_KEPT = 64


class PassphraseWrapper(Secretive):
    """Wraps keys under Argon2id of a passphrase.

    Deriving the key takes a fraction of a second and 64 MiB, once for each salt: this object wraps everything under one
    fresh salt, and remembers the keys of the salts that it has opened.

    Args:
        passphrase: At least 8 characters, as UTF-8. It is used as given, neither stripped nor normalised.
        label: Optional; 1 to 32 of ``a-z``, ``0-9`` and ``-``. Two passphrases of one document need different labels.

    Raises:
        TypeError: ``passphrase`` is not ``str``.
        ValueError: ``passphrase`` is too short or not encodable, or ``label`` has another form.
    """

    __slots__ = ("_keys", "_parameters", "_passphrase", "key_ref")

    name = "passphrase"
    outsiders_can_wrap = False
    key_ref: str

    def __init__(self, passphrase: str, *, label: str = "") -> None:
        if not isinstance(passphrase, str):
            message = f"passphrase must be str, not {type(passphrase).__name__}"
            raise TypeError(message)
        if len(passphrase) < MIN_PASSPHRASE:
            message = f"a passphrase has at least {MIN_PASSPHRASE} characters"
            raise ValueError(message)
        if any("\ud800" <= character <= "\udfff" for character in passphrase):  # the codec's error would carry the passphrase
            message = "a passphrase is text that UTF-8 can encode; this one has a lone surrogate"
            raise ValueError(message)
        self._passphrase = passphrase.encode()
        self.key_ref = labelled(label, "")
        self._parameters = _PARAMETERS.pack(random_bytes(SALT_SIZE), MEMORY, PASSES, LANES)
        self._keys: dict[bytes, KcXaes256Gcm] = {}

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap ``key`` as ``salt(16) ‖ memory(4) ‖ passes(1) ‖ lanes(1) ‖ nonce(24) ‖ commitment(32) ‖ package(65) ‖ tag(16)``.

        Raises:
            securekit.exceptions.WrapperUnavailableError: The system does not grant 64 MiB of memory.
        """
        package = seal_package(key, binding)
        sealed = self._cipher(self._parameters).encrypt(package, self._associated_data(self._parameters))
        return WrappedKey(self.name, self.key_ref, sealed)

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Return the 32-byte key.

        Raises:
            securekit.exceptions.DecryptionError: Wrong passphrase, wrong binding, or changed bytes.
            securekit.exceptions.FormatError: Another length, or parameters out of bounds; nothing was derived.
        """
        check_recipient(wrapped, self, size=_PARAMETERS.size + OVERHEAD + PACKAGE_SIZE)
        parameters = wrapped.ciphertext[: _PARAMETERS.size]
        _check(parameters)
        package = self._cipher(parameters).decrypt(wrapped.ciphertext, self._associated_data(parameters))
        return open_package(package, binding)

    def opens(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` names this KEK."""
        return wrapped.recipient == (self.name, self.key_ref)

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each ``(key, binding)``, with one derivation for all."""
        return wrap_each(self, items)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each ``(wrapped, binding)``, with one derivation per salt."""
        return unwrap_each(self, items)

    def _cipher(self, parameters: bytes) -> KcXaes256Gcm:
        cipher = self._keys.get(parameters)
        if cipher is None:
            salt, memory, passes, lanes = _PARAMETERS.unpack(parameters)
            try:
                key = argon2id(self._passphrase, salt=salt, memory=memory, passes=passes, lanes=lanes)
            except MemoryError:
                message = f"Argon2id needs {memory} KiB of memory, which the system does not grant now"
                raise WrapperUnavailableError(message) from None
            cipher = KcXaes256Gcm(key, prefix=parameters)
            if len(self._keys) >= _KEYS_KEPT:
                self._keys = {}
            self._keys[parameters] = cipher
        return cipher

    def _associated_data(self, parameters: bytes) -> bytes:
        return pae(["securekit/wrap/passphrase/1", self.key_ref, parameters])


def _check(parameters: bytes) -> None:
    """Bound what a stored salt may make us spend, before anything is derived."""
    _, memory, passes, lanes = _PARAMETERS.unpack(parameters)
    if not (
        8 * lanes <= memory <= MAX_MEMORY  # at least 8 KiB per lane, RFC 9106 section 3.1
        and 1 <= passes <= MAX_PASSES
        and 1 <= lanes <= MAX_LANES
        and memory * passes <= MAX_WORK
    ):
        message = f"Argon2id parameters out of bounds: {memory} KiB, {passes} passes, {lanes} lanes"
        raise FormatError(message)
