# SPDX-License-Identifier: Apache-2.0
"""Values that must not leak by accident: into a repr, a log line, a pickle, a copy or JSON."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar, final, get_args

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

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

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic how a field ``Secret[T]`` is validated, for models that have one.

        It takes a secret, ours or pydantic's ``SecretStr`` and ``SecretBytes``, whose value becomes a ``T`` in lax mode.
        What is wrong with the value is told by the error's type alone. JSON is refused.
        """
        from pydantic import TypeAdapter
        from pydantic_core import core_schema

        (inner,) = get_args(source) or (Any,)
        adapter = TypeAdapter[T](inner)
        return core_schema.no_info_plain_validator_function(
            lambda given: _validated(given, adapter),
            json_schema_input_schema=handler.generate_schema(inner),
            serialization=core_schema.plain_serializer_function_ser_schema(_refuse_json, when_used="json"),
        )


def _validated(given: object, adapter: TypeAdapter[T]) -> Secret[T]:
    """Return the secret with its value validated; what pydantic adds to an error of ours is ``given``, which is redacted."""
    from pydantic import SecretBytes, SecretStr, ValidationError
    from pydantic_core import PydanticCustomError, core_schema

    kind = "secret_type", "a secret is needed, not a value in clear"
    if not isinstance(given, Secret | SecretStr | SecretBytes):
        raise PydanticCustomError(*kind)
    try:
        return Secret(adapter.validate_python(given.reveal() if isinstance(given, Secret) else given.get_secret_value()))
    except ValidationError as error:
        known = get_args(core_schema.ErrorType)
        found = {problem["type"] for problem in error.errors(include_url=False, include_context=False, include_input=False)}
    # Not from within the handler: pydantic's error quotes the value.
    reasons = ", ".join(sorted(reason if reason in known else "value_error" for reason in found))
    kind = "secret_value", "the secret's value does not fit: {reasons}"
    raise PydanticCustomError(*kind, {"reasons": reasons})


def _refuse_json(_: object) -> NoReturn:
    message = "a secret is not written as JSON"
    raise TypeError(message)
