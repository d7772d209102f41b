# SPDX-License-Identifier: Apache-2.0
"""The protocol between keyrings or envelopes and whoever holds a KEK, and the package that crosses it.

Whatever stands behind a wrapper protects the same 65 bytes, so that the binding does not depend on a KMS's
support for associated data: ``docs/spec/wrapped-key.md``, section "Package".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError, FormatError

__all__ = [
    "KEY_SIZE",
    "MAX_CIPHERTEXT_SIZE",
    "PACKAGE_SIZE",
    "Binding",
    "KeyWrapper",
    "VersionedWrapper",
    "WrappedKey",
    "labelled",
    "open_package",
    "seal_package",
    "unwrap_each",
    "wrap_each",
]

KEY_SIZE = 32  # bytes of a data key
PACKAGE_SIZE = 65  # bytes: version(1) ‖ key(32) ‖ SHA-256 of the binding(32)
MAX_CIPHERTEXT_SIZE = 3072  # bytes of one wrapped package; the largest is Vault Transit's, under 300

Binding = Sequence[bytes | str]
"""What a wrapped key belongs to, such as ``["keyring", path, keyring_id]``; never stored, always recomputed."""

_VERSION = b"\x01"
_LABEL = r"[a-z0-9][a-z0-9-]{0,31}"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One wrapped copy of a key.

    Attributes:
        wrapper: The name of the kind of wrapper, for example ``"local"`` or ``"x509-hpke-p256"``.
        key_ref: Names the KEK among those of its kind; never an address, a path to a file, or a credential.
        ciphertext: The wrapped package, at most 3,072 bytes.
        about: Public facts for display, such as a certificate's subject. No decision rests on them.
    """

    wrapper: str
    key_ref: str
    ciphertext: bytes
    about: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def recipient(self) -> tuple[str, str]:
        """The pair ``(wrapper, key_ref)``, unique within a document or envelope."""
        return self.wrapper, self.key_ref


@runtime_checkable
class KeyWrapper(Protocol):
    """Holds a KEK, and wraps and unwraps 32-byte keys with it.

    Security property: ``unwrap`` returns a key only if that key was wrapped under this KEK for an equal binding.
    It uses the KEK that it was configured with, never one that a ciphertext names. ``outsiders_can_wrap`` is true
    where wrapping needs only public knowledge (a certificate): a document is then not believed just because it opens.
    """

    @property
    def name(self) -> str:
        """The kind of wrapper, as it stands in `WrappedKey.wrapper`."""

    @property
    def key_ref(self) -> str:
        """Names the KEK, as it stands in `WrappedKey.key_ref`."""

    @property
    def outsiders_can_wrap(self) -> bool:
        """Whether someone without any secret can wrap under this KEK."""

    def opens(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` names a KEK that this wrapper holds; `unwrap` is tried on no other."""

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap a 32-byte ``key`` for ``binding``."""

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Return the 32-byte key; raise `DecryptionError` if it was not wrapped here for ``binding``."""

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap several keys, in as few calls as the KEK's holder allows."""

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap several keys, in as few calls as the KEK's holder allows."""


@runtime_checkable
class VersionedWrapper(Protocol):
    """A wrapper whose KEK has versions, of which the latest wraps: what an older one has wrapped is due to be wrapped anew."""

    def is_due(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` was wrapped under an older version of this KEK."""


def seal_package(key: bytes, binding: Binding) -> bytes:
    """Return the 65-byte package ``0x01 ‖ key ‖ SHA-256(pae(["securekit/wrap/1", *binding]))``."""
    if len(key) != KEY_SIZE:
        message = f"a key to wrap has {KEY_SIZE} bytes, not {len(key)}"
        raise ValueError(message)
    return _VERSION + key + _bind(binding)


def open_package(package: bytes, binding: Binding) -> bytes:
    """Return the key in ``package``, which is trusted to come out of an authenticated unwrap.

    Raises:
        securekit.exceptions.DecryptionError: The package has another shape, or another binding.
    """
    if len(package) != PACKAGE_SIZE or package[:1] != _VERSION or not hmac.compare_digest(package[33:], _bind(binding)):
        del package  # error trackers show the variables of a frame that raises
        raise DecryptionError
    return package[1:33]


def _bind(binding: Binding) -> bytes:
    return hashlib.sha256(pae(["securekit/wrap/1", *binding])).digest()


def labelled(label: str, reference: str) -> str:
    """Return ``reference`` with ``label`` before it: ``label:reference``, or the bare reference without a label.

    Raises:
        ValueError: ``label`` is not 1 to 32 of ``a-z``, ``0-9`` and ``-``.
    """
    if not label:
        return reference
    if not re.fullmatch(_LABEL, label):
        message = f"a wrapper's label is 1 to 32 of a-z, 0-9 and '-', not {label!r}"
        raise ValueError(message)
    return f"{label}:{reference}"


def check_recipient(wrapped: WrappedKey, wrapper: KeyWrapper, *, size: int) -> None:
    """Check that ``wrapped`` names ``wrapper`` and has the ``size`` that this wrapper makes, before any key is used.

    Raises:
        securekit.exceptions.DecryptionError: It was wrapped for another KEK.
        securekit.exceptions.FormatError: The ciphertext has another size, in bytes.
    """
    if wrapped.recipient != (wrapper.name, wrapper.key_ref):
        raise DecryptionError
    if len(wrapped.ciphertext) != size:
        message = f"a key wrapped by {wrapper.name!r} has {size} bytes, not {len(wrapped.ciphertext)}"
        raise FormatError(message)


def wrap_each(wrapper: KeyWrapper, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
    """Wrap one after the other: `KeyWrapper.wrap_many` where a KEK is in this process."""
    return [wrapper.wrap(key, binding) for key, binding in items]


def unwrap_each(wrapper: KeyWrapper, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
    """Unwrap one after the other: `KeyWrapper.unwrap_many` where a KEK is in this process."""
    return [wrapper.unwrap(wrapped, binding) for wrapped, binding in items]
