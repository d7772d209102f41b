# SPDX-License-Identifier: Apache-2.0
"""An encrypted document is one source of pydantic-settings among others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

import securekit.config
from securekit.config._pydantic_settings import SecureKitSettingsSource
from securekit.secret import Secret

CANARY = "hunter2-Canary"


class Db(BaseModel):
    host: str
    password: Secret[str]
    pin: Secret[int]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")
    db: Db
    token: SecretStr
    workers: int = 1

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature of pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            SecureKitSettingsSource(settings_cls, Path("production.yaml"), environment="production", identity="host.key"),
        )


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    values: dict[str, Any] = {"db": {"host": "db1", "password": Secret(CANARY), "pin": Secret(4711)}, "token": Secret("t")}

    def load(path: Path, *, environment: str, identity: str) -> dict[str, Any]:
        assert (str(path), environment, identity) == ("production.yaml", "production", "host.key")
        return values

    monkeypatch.setattr(securekit.config, "load", load, raising=False)
    return values


def test_settings_come_from_the_document(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the document fill the settings, and an environment variable goes before them."""
    monkeypatch.setenv("APP_DB__HOST", "db9")

    settings = Settings.model_validate({})

    assert (settings.db.host, settings.db.password.reveal(), settings.db.pin.reveal()) == ("db9", CANARY, 4711)
    assert settings.token.get_secret_value() == "t"
    assert CANARY not in repr(settings)


def test_settings_that_fail_show_no_secret(document: dict[str, Any]) -> None:
    """An error of pydantic-settings has the secrets redacted."""
    del document["db"]["host"]

    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({})

    assert CANARY not in f"{caught.value} {caught.value.errors()} {caught.value.json()}"


def test_one_field_can_be_asked_for(document: dict[str, Any]) -> None:
    """The source answers for a single field, too."""
    source = SecureKitSettingsSource(Settings, "production.yaml", environment="production", identity="host.key")

    assert source.get_field_value(Settings.model_fields["token"], "token") == (SecretStr("t"), "token", False)
