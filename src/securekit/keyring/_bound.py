# SPDX-License-Identifier: Apache-2.0
"""A keyring with part of the context fixed, and encoded in advance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from securekit._wire.pae import ContextEncoder

from ._verbs import DataVerbs

if TYPE_CHECKING:
    from ._live import LiveCache
    from ._source import StoreSource

__all__ = ["BoundKeyring"]

_NO_MORE: Mapping[str, str] = {}


class BoundKeyring(DataVerbs):
    """The data verbs of a keyring with part of the context fixed: made by `Keyring.bind`.

    The context of a call is added to what is bound; it may be left out where everything is. Naming a bound key again is
    a ``ValueError``.
    """

    __slots__ = ("_fixed",)

    def __init__(self, path: str, source: StoreSource, cache: LiveCache, fixed: Mapping[str, str]) -> None:
        super().__init__(path, source, cache, ContextEncoder(fixed))
        self._fixed = dict(fixed)

    def encrypt(self, data: bytes, *, context: Mapping[str, str] = _NO_MORE) -> bytes:
        """As `Keyring.encrypt`; ``context`` is added to what is bound."""
        return DataVerbs.encrypt(self, data, context=context)  # faster than through super()

    def decrypt(self, token: bytes, *, context: Mapping[str, str] = _NO_MORE) -> bytes:
        """As `Keyring.decrypt`; ``context`` is added to what is bound."""
        return DataVerbs.decrypt(self, token, context=context)

    def encrypt_text(self, text: str, *, context: Mapping[str, str] = _NO_MORE) -> str:
        """As `Keyring.encrypt_text`; ``context`` is added to what is bound."""
        return super().encrypt_text(text, context=context)

    def decrypt_text(self, token: str, *, context: Mapping[str, str] = _NO_MORE) -> str:
        """As `Keyring.decrypt_text`; ``context`` is added to what is bound."""
        return super().decrypt_text(token, context=context)

    def bind(self, **context: str) -> BoundKeyring:
        """Fix more of the context."""
        return BoundKeyring(self.path, self._source, self._cache, self._encoder.join(context))

    def __repr__(self) -> str:
        """Name the path and the bound keys; a context's values may be personal data."""
        return f"<BoundKeyring {self.path} ({', '.join(self._fixed)})>"
