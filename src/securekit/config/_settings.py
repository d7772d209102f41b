# SPDX-License-Identifier: Apache-2.0
"""Configuration as a pydantic model or a dataclass: validated, and without a secret in any error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, get_args

from securekit.exceptions import ConfigError
from securekit.secret import Secret

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["prepared", "validate"]

T = TypeVar("T")
# Errors that say where something is, not what.
_PLACES = {"missing", "extra_forbidden", "missing_argument", "unexpected_keyword_argument"}
# Errors of a field that does not take a secret; beside these, every type that ends in `_type`.
_MISMATCHES = {"enum", "literal_error", "is_instance_of", "is_subclass_of", "none_required", "ip_any_address"}


def validate(values: Mapping[str, object], into: type[T]) -> T:
    """Return the configuration as an instance of a model.

    A field that holds a secret is annotated as ``Secret[T]``, or as pydantic's ``SecretStr`` or ``SecretBytes``.

    Args:
        values: Nested mappings and lists, whose secrets are `securekit.Secret` objects.
        into: A pydantic model or a dataclass, which may hold others.

    Raises:
        securekit.exceptions.ConfigError: The values do not fit, with every path and what is wrong there; or pydantic is missing.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ModuleNotFoundError:
        message = "validating configuration needs pydantic: install securekit-platform[pydantic]"
        raise ConfigError(message) from None

    try:
        return TypeAdapter(into).validate_python(prepared(values))
    except ValidationError as error:
        problems = [*_problems(error, values)]
    # Not from within the handler: pydantic's error quotes what it was given, and what validators say of it.
    message = f"the configuration does not fit {into.__name__}:\n" + "\n".join(f"  {problem}" for problem in problems)
    raise ConfigError(message)


def prepared(values: object) -> object:
    """Return the values as pydantic takes them: a secret text as ``SecretStr``, secret bytes as ``SecretBytes``, others as they are."""
    from pydantic import SecretBytes, SecretStr

    if isinstance(values, Mapping):
        return {key: prepared(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [prepared(value) for value in values]
    if isinstance(values, Secret):
        value = values.reveal()
        return SecretStr(value) if isinstance(value, str) else SecretBytes(value) if isinstance(value, bytes) else values
    return values


def _problems(error: ValidationError, values: object) -> Iterator[str]:
    """Yield a line per error: pydantic's message only where it cannot speak of a secret, or else the error's type."""
    from pydantic_core import core_schema

    known = {"secret_type", "secret_value", *get_args(core_schema.ErrorType)}
    texts = {text for secret in _secrets(values) for text in _texts(secret.reveal()) if text}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        node, kind, message = _at(values, problem["loc"]), problem["type"], problem["msg"]
        path = ".".join(map(str, problem["loc"])) or "the whole"
        speaks = any(_secrets(node)) or any(text in message for text in texts)
        if isinstance(node, Secret) and (kind in _MISMATCHES or (kind.endswith("_type") and kind != "secret_type")):
            yield f"{path} is a secret: annotate the field as {_annotation(node)}"
        elif kind in _PLACES or kind == "secret_value" or not speaks:
            yield f"{path}: {message}"
        else:
            yield f"{path}: {kind if kind in known else 'value_error'}"


def _at(values: object, path: Sequence[str | int]) -> object:
    """Return what an error speaks of, or what holds it: parts that name no value, such as a union's, are passed over."""
    for part in path:
        members = values if isinstance(values, Mapping) else dict(enumerate(values)) if isinstance(values, list | tuple) else {}
        values = members.get(part, values)
    return values


def _secrets(values: object) -> Iterator[Secret[object]]:
    """Yield every secret at or below."""
    if isinstance(values, Secret):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _secrets(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _secrets(value)


def _texts(value: object) -> Iterator[str]:
    """Yield how a message might quote a secret."""
    yield str(value)
    if isinstance(value, bytes):
        yield value.decode(errors="replace")


def _annotation(secret: Secret[object]) -> str:
    value = secret.reveal()
    ours = f"Secret[{type(value).__name__}]"
    return f"{ours} or SecretStr" if isinstance(value, str) else f"{ours} or SecretBytes" if isinstance(value, bytes) else ours
