# SPDX-License-Identifier: Apache-2.0
"""An encrypted document as a source of pydantic-settings."""

from __future__ import annotations

import os
from typing import Any, cast

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ._settings import prepared

__all__ = ["SecureKitSettingsSource"]


class SecureKitSettingsSource(PydanticBaseSettingsSource):
    """A source for ``settings_customise_sources``: the values of an encrypted document.

    Args:
        settings_cls: The settings' class, as pydantic-settings hands it over.
        path: The document.
        environment: The environment that the document has to be for.
        load_options: What `securekit.config.load` takes besides.
    """

    def __init__(self, settings_cls: type[BaseSettings], path: str | os.PathLike[str], *, environment: str, **load_options: Any) -> None:  # noqa: ANN401
        super().__init__(settings_cls)
        self._path, self._environment, self._options = path, environment, load_options

    def __call__(self) -> dict[str, Any]:
        """Return the document's values, its secrets as pydantic's."""
        from securekit.config import load

        return cast("dict[str, Any]", prepared(load(self._path, environment=self._environment, **self._options)))

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return the value of one field, for sources that are asked so."""
        return self().get(field_name), field_name, False
