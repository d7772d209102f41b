# SPDX-License-Identifier: Apache-2.0
"""Values that must not leak by accident: into a repr, a log line, a pickle, a copy or JSON."""

from __future__ import annotations

import hmac
from typing import ClassVar, Generic, NoReturn, TypeVar, final

__all__ = ["Secret", "Secretive"]

T = TypeVar("T")


class Secretive:
    """Base of every class whose instances hold a secret: a redacted repr, and neither pickled nor copied.

    CPython cannot promise that memory is wiped; what it can promise is that the object does not write
    itself anywhere on its own.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Name the class and nothing that it holds."""
        return f"<{type(self).__name__} ********>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled, and so to be copied with the copy module."""
        message = f"{type(self).__name__} holds a secret and is neither pickled nor copied"
        raise TypeError(message)


@final
class Secret(Secretive, Generic[T]):
    """A value that is shown only when asked for by name.

    Equality is compared in constant time for ``bytes`` and ``str``. A secret is not hashable, so it cannot
    become a dictionary key by accident.

    Example:
        >>> password = Secret("correct horse")
        >>> password
        <Secret ********>
        >>> password.reveal()
        'correct horse'
    """

    __slots__ = ("_value",)
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value itself."""
        return self._value

    def __str__(self) -> str:
        """Return the redacted form, so that f-strings do not leak."""
        return repr(self)

    def __format__(self, spec: str, /) -> str:
        """Return the redacted form whatever the format specification."""
        return repr(self)

    def __eq__(self, other: object) -> bool:
        """Compare with another secret, in constant time where the values are bytes or text."""
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = self._value, other._value
        if isinstance(mine, str) and isinstance(theirs, str):
            # A lone surrogate is compared too: an error that it is none would carry the secret.
            return hmac.compare_digest(mine.encode(errors="surrogatepass"), theirs.encode(errors="surrogatepass"))
        if isinstance(mine, bytes) and isinstance(theirs, bytes):
            return hmac.compare_digest(mine, theirs)
        return bool(mine == theirs)
