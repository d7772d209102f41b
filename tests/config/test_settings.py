# SPDX-License-Identifier: Apache-2.0
"""Configuration becomes models and dataclasses, and no error shows a secret."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Self

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PostgresDsn,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticSerializationError

from securekit.config._settings import prepared, validate
from securekit.exceptions import ConfigError
from securekit.secret import Secret
from tests.canaries import walk
from tests.conftest import Count

CANARY = "hunter2-Canary"
VALUES: dict[str, Any] = {
    "debug": False,
    "db": {"host": "db1", "port": 5432, "password": Secret(CANARY), "hosts": ["a", "b"]},
    "keys": [Secret(CANARY.encode()), Secret(b"y")],
    "pin": Secret(4711),
}


class Db(BaseModel):
    host: str
    port: int
    password: Secret[str]
    hosts: list[str] = []


class Settings(BaseModel):
    debug: bool
    db: Db
    keys: list[Secret[bytes]]
    pin: Secret[int]


@dataclass
class Inner:
    password: Secret[str]
    port: int = 1


@dataclass
class Outer:
    db: Inner
    names: list[str] = field(default_factory=list)


def test_models_get_their_secrets() -> None:
    """A pydantic model is filled, and its secrets are ours, redacted."""
    settings = validate(VALUES, Settings)

    assert settings.db.password.reveal() == CANARY
    assert [key.reveal() for key in settings.keys] == [CANARY.encode(), b"y"]
    assert settings.pin.reveal() == 4711
    assert (settings.db.host, settings.db.port, settings.debug) == ("db1", 5432, False)
    assert CANARY not in repr(settings)


def test_pydantics_own_secrets_work_as_well() -> None:
    """Fields may be ``SecretStr`` and ``SecretBytes``."""

    class Mixed(BaseModel):
        text: SecretStr
        data: SecretBytes

    mixed = validate({"text": Secret("x"), "data": Secret(b"y")}, Mixed)

    assert (mixed.text.get_secret_value(), mixed.data.get_secret_value()) == ("x", b"y")


def test_dataclasses_get_their_secrets() -> None:
    """A plain dataclass, and one inside it, is filled as a model is."""
    outer = validate({"db": {"password": Secret("x"), "port": "5"}, "names": ["a"]}, Outer)

    assert (outer.db.password.reveal(), outer.db.port, outer.names) == ("x", 5, ["a"])


@pytest.mark.parametrize("given", [Secret("5"), Secret(5), SecretStr("5"), SecretBytes(b"5")])
@pytest.mark.parametrize("strict", [False, True])
def test_the_value_inside_is_converted(given: object, strict: bool) -> None:
    """``Secret[int]`` takes every kind of secret and converts its value, also in a strict model."""

    class Model(BaseModel):
        model_config = ConfigDict(strict=strict)
        pin: Secret[int]
        other: Secret = Field(default_factory=lambda: Secret(1))  # type: ignore[type-arg]

    model = Model.model_validate({"pin": given, "other": given})

    assert model.pin.reveal() == 5
    assert isinstance(model.other, Secret)


def test_dumps_keep_secrets_and_json_is_refused() -> None:
    """A dump in Python keeps the secret as it is; JSON is refused; a JSON schema is written."""

    class Model(BaseModel):
        pin: Secret[int]

    model = Model(pin=Secret(5))

    assert model.model_dump() == {"pin": Secret(5)}
    for dump in (lambda: model.model_dump(mode="json"), model.model_dump_json):
        with pytest.raises(PydanticSerializationError, match="not written as JSON"):
            dump()
    assert Model.model_json_schema()["properties"]["pin"]["type"] == "integer"


@pytest.mark.parametrize(
    ("annotation", "secret", "advice"),
    [
        (str, Secret(CANARY), "Secret[str] or SecretStr"),
        (int, Secret(4711), "Secret[int]"),
        (bytes, Secret(b"hunter2"), "Secret[bytes] or SecretBytes"),
        (SecretStr, Secret(4711), "Secret[int]"),
        (date, Secret(date(2026, 1, 1)), "Secret[date]"),
        (PostgresDsn, Secret(CANARY), "Secret[str] or SecretStr"),
        (list[str], Secret(CANARY), "Secret[str] or SecretStr"),
        (dict[str, str], Secret(CANARY), "Secret[str] or SecretStr"),
        (Db, Secret(CANARY), "Secret[str] or SecretStr"),
        (bool, Secret(CANARY), "Secret[str] or SecretStr"),
    ],
)
def test_a_field_that_takes_no_secret_is_told_so(annotation: Any, secret: Secret[Any], advice: str) -> None:
    """A secret never becomes an ordinary value; the error says how to annotate the field."""

    class Inner(BaseModel):
        password: annotation

    class Outer(BaseModel):
        db: Inner

    with pytest.raises(ConfigError) as caught:
        validate({"db": {"password": secret}}, Outer)

    assert str(caught.value).splitlines()[1:] == [f"  db.password is a secret: annotate the field as {advice}"]


def test_every_problem_is_listed() -> None:
    """All that is wrong is named at once: pydantic's words where no secret is, types where one is."""

    class Short(BaseModel):
        password: Annotated[SecretStr, Field(min_length=99)]
        pin: Secret[int]
        port: int
        name: str

    values = {"password": Secret(CANARY), "pin": Secret(CANARY), "port": "x"}

    with pytest.raises(ConfigError) as caught:
        validate({"db": values, "debug": "maybe"}, create_model("Model", db=Short, debug=bool))

    assert str(caught.value).splitlines() == [
        "the configuration does not fit Model:",
        "  db.password: too_short",
        "  db.pin: the secret's value does not fit: int_parsing",
        "  db.port: Input should be a valid integer, unable to parse string as an integer",
        "  db.name: Field required",
        "  debug: Input should be a valid boolean, unable to interpret input",
    ]


# ------------------------------------------------------------------------------------------------ canaries


def _quoting(value: object) -> object:
    message = f"bad: {value!r} {value}"
    if isinstance(value, SecretStr):
        message += value.get_secret_value()
    if isinstance(value, Secret):
        message += str(value.reveal())
    raise ValueError(message)


def _custom(value: str) -> str:
    raise PydanticCustomError(value, value)


class MissingOther(BaseModel):
    password: SecretStr
    needed: int


class WrongType(BaseModel):
    password: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    password: Secret[int]


class Inside(BaseModel):
    password: Secret[Annotated[str, AfterValidator(_quoting)]]


class InsideCustom(BaseModel):
    password: Secret[Annotated[str, AfterValidator(_custom)]]


class InsideShape(BaseModel):
    password: Secret[PostgresDsn]


class InsideUnion(BaseModel):
    password: Secret[int | float]


class OwnField(BaseModel):
    password: Annotated[SecretStr, AfterValidator(_quoting)]


class OwnSecret(BaseModel):
    password: Annotated[Secret[str], AfterValidator(_quoting)]


class Constrained(BaseModel):
    password: Annotated[SecretStr, Field(min_length=50)]


class SeveralTypes(BaseModel):
    password: int | bool | SecretBytes


class Before(BaseModel):
    password: SecretStr

    @model_validator(mode="before")
    @classmethod
    def check(cls, data: Any) -> Any:
        return _quoting(data["password"])


class After(BaseModel):
    password: Secret[str]

    @model_validator(mode="after")
    def check(self) -> Self:
        _quoting(self.password)
        return self


class Sibling(BaseModel):
    password: SecretStr
    host: str

    @field_validator("host")
    @classmethod
    def check(cls, _: str, info: ValidationInfo) -> object:
        return _quoting(info.data["password"])


class Parent(BaseModel):
    inner: MissingOther | WrongType | Strict

    @model_validator(mode="before")
    @classmethod
    def wrap(cls, data: Any) -> Any:
        return {"inner": data}


@dataclass
class Plain:
    password: str
    host: int


FAILING: list[type] = [
    MissingOther,
    WrongType,
    Strict,
    Inside,
    InsideCustom,
    InsideShape,
    InsideUnion,
    OwnField,
    OwnSecret,
    Constrained,
    SeveralTypes,
    Before,
    After,
    Sibling,
    Parent,
    Plain,
]


@pytest.mark.parametrize("model", FAILING)
@pytest.mark.parametrize("nested", [False, True])
def test_no_error_shows_a_secret(model: type, nested: bool, count: Count) -> None:
    """However validation fails, the secret is in no text, attribute, cause, context or variable of the error."""
    values: Mapping[str, Any] = {"password": Secret(CANARY), "host": "db1"}
    if nested:
        values, model = {"items": [values]}, create_model("Nested", items=list[model])  # type: ignore[valid-type]

    with pytest.raises(ConfigError) as caught:
        validate(values, model)

    shown = [*walk(caught.value), "".join(traceback.format_exception(caught.value)), caught.getrepr(showlocals=True)]
    assert CANARY not in "\n".join(f"{item!r} {item}" for item in shown)
    assert caught.value.__context__ is None
    assert len(str(caught.value).splitlines()) > 1
    count("failing models without a secret in their errors", 1)


@pytest.mark.parametrize(
    "model", [MissingOther, WrongType, Strict, Inside, InsideCustom, InsideShape, InsideUnion, Constrained, SeveralTypes, Plain]
)
def test_pydantics_own_error_shows_no_secret_either(model: type) -> None:
    """Without `validate`, too: pydantic's error over prepared values has the secret in no text, no list of errors and no JSON."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(model).validate_python(prepared({"password": Secret(CANARY), "host": "x"}))

    error = caught.value
    assert CANARY not in f"{error} {error!r} {error.args} {error.errors()} {error.errors()[0].get('ctx')} {error.json()}"
    assert CANARY not in "\n".join(f"{item!r} {item}" for item in walk(error))
    assert json.loads(error.json())


def test_a_value_in_clear_is_no_secret() -> None:
    """Where a model wants a secret, a value that lay in clear in the document is refused."""
    with pytest.raises(ConfigError, match="password: a secret is needed, not a value in clear"):
        validate({"password": "clear", "host": "x", "port": 1}, Db)


@pytest.mark.measured
def test_a_document_without_pydantic_says_what_to_install() -> None:
    """Where pydantic is missing, the error names the extra; and our modules do not import it before it is needed."""
    program = """
import sys
import securekit.config._settings, securekit.config._watcher, securekit.secret
assert "pydantic" not in sys.modules
sys.modules["pydantic"] = None
securekit.config._settings.validate({}, dict)
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "ConfigError: validating configuration needs pydantic: install securekit-platform[pydantic]" in done.stderr
