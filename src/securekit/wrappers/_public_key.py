# SPDX-License-Identifier: Apache-2.0
"""A recipient whose public key is all there is: what a document keeps to wrap to it again, without its certificate's file."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from securekit._primitives.asymmetric import PublicKey
from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError, FormatError, SecurityWarning

from ._post_quantum import PostQuantumWrapper
from ._protocol import WrappedKey, seal_package, unwrap_each, wrap_each

if TYPE_CHECKING:
    from ._protocol import Binding

__all__ = ["PublicKeyWrapper"]

_X509 = "x509-"
_FACTS = {"fingerprint", "not_after", "subject"}
_MAX_FACT = 256  # characters, as of a certificate's subject
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class PublicKeyWrapper:
    """Wraps keys to a public key that was taken out of a certificate or an X-Wing key file before.

    Its names and ciphertexts are those of the `CertificateWrapper` or `PostQuantumWrapper` that gave ``public_bytes``, so
    that the holder of the private key unwraps. What the certificate allowed was checked then; now only its last
    moment is looked at, and an expired one is a `securekit.exceptions.SecurityWarning`.

    Args:
        name: The kind of wrapper, for example ``"x509-hpke-p256"``.
        public: As `CertificateWrapper.public_bytes` or `PostQuantumWrapper.public_bytes`.
        about: Facts for display: of a certificate ``fingerprint``, ``subject`` and ``not_after``, as in `WrappedKey.about`.
        clock: Seconds since 1970, for tests.

    Raises:
        securekit.exceptions.FormatError: There is no such kind, ``public`` is not the canonical encoding of a key of it, or
            ``about`` is of another form.
    """

    __slots__ = ("_clock", "_expiry", "_public", "about", "key_ref", "name", "public_bytes")

    outsiders_can_wrap = True
    can_unwrap = False
    name: str
    key_ref: str
    public_bytes: bytes
    about: Mapping[str, str]

    def __init__(self, name: str, public: bytes, about: Mapping[str, str] | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.about = _check_facts(about or {})
        self._expiry = _expiry(self.about)
        if name == PostQuantumWrapper.name:
            self._public: PublicKey | PostQuantumWrapper = _x_wing(public)
            self.key_ref = self._public.key_ref
        else:
            self._public = PublicKey.parse(name.removeprefix(_X509) if name.startswith(_X509) else "", public)
            self.key_ref = self._public.reference
        self.name = name
        self.public_bytes = public
        self._clock = clock

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap ``key`` (32 bytes) as the wrapper that it came from."""
        if self._expiry is not None and datetime.fromtimestamp(self._clock(), UTC) > self._expiry:
            message = (
                f"the certificate of {self.about.get('subject', self.key_ref[:16])} expired on {self._expiry:%Y-%m-%d}:"
                " replace it with: securekit config recipients"
            )
            warnings.warn(message, SecurityWarning, stacklevel=2)
        if isinstance(self._public, PostQuantumWrapper):
            return replace(self._public.wrap(key, binding), about=self.about)
        info = pae(["securekit/wrap/1", self.name, self.key_ref])
        return WrappedKey(self.name, self.key_ref, self._public.encrypt(seal_package(key, binding), info=info), self.about)

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> NoReturn:  # noqa: ARG002 - the protocol's shape
        """Refuse: the private key is elsewhere.

        Raises:
            securekit.exceptions.DecryptionError: Always.
        """
        raise DecryptionError

    def opens(self, wrapped: WrappedKey) -> bool:  # noqa: ARG002 - the protocol's shape
        """False: the private key is elsewhere."""
        return False

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each ``(key, binding)``."""
        return wrap_each(self, items)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each ``(wrapped, binding)``, which raises if there is one."""
        return unwrap_each(self, items)

    def __repr__(self) -> str:
        """Name the key by its public reference."""
        return f"<PublicKeyWrapper {self.name} {self.key_ref[:16]}…>"


def _x_wing(public: bytes) -> PostQuantumWrapper:
    try:
        return PostQuantumWrapper(public)
    except ValueError as error:
        message = str(error)
    raise FormatError(message)


def _check_facts(about: Mapping[str, object]) -> dict[str, str]:
    """Return a copy of ``about``, which may come out of a document that anybody has written."""
    facts: dict[str, str] = {}
    for name, value in about.items():
        if name not in _FACTS or not isinstance(value, str) or len(value) > _MAX_FACT or not value.isprintable():
            message = f"the facts about a recipient are {', '.join(sorted(_FACTS))}: up to {_MAX_FACT} printable characters each"
            raise FormatError(message)
        facts[name] = value
    return facts


def _expiry(about: Mapping[str, str]) -> datetime | None:
    """Return the certificate's last moment, written as `CertificateWrapper.wrap` writes it."""
    if "not_after" not in about:
        return None
    try:
        found = datetime.strptime(about["not_after"], _MOMENT).replace(tzinfo=UTC)
    except ValueError:
        found = None
    if found is None or found.strftime(_MOMENT) != about["not_after"]:
        message = "a recipient's not_after is of the form 2026-11-25T00:00:00Z"
        raise FormatError(message)
    return found
