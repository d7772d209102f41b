# SPDX-License-Identifier: Apache-2.0
"""The five formats of configuration documents: text to a tree, and edits that leave everything else as it was."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from securekit.exceptions import ConfigError, FormatError

if TYPE_CHECKING:
    from securekit.config._tree import Source

__all__ = ["FORMATS", "format_of", "parse"]

# What a format is read with: module, class, and the package that an extra brings, if it needs one.
_READERS = {
    "yaml": ("_yaml", "YamlSource"),
    "json": ("_json", "JsonSource"),
    "toml": ("_toml", "TomlSource"),
    "env": ("_dotenv", "DotenvSource"),
    "ini": ("_ini", "IniSource"),
}
FORMATS = tuple(_READERS)
_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", ".env": "env", ".ini": "ini", ".cfg": "ini", ".conf": "ini"}
_PACKAGES = {"yaml", "dotenv"}


def parse(text: str, format: str) -> Source:  # noqa: A002 - the word for it
    """Return ``text``, which has no byte order mark, parsed.

    Raises:
        securekit.exceptions.FormatError: It is not in that format, or would not survive an edit; with line and reason.
        securekit.exceptions.ConfigError: The package that reads the format is not installed.
    """
    module, name = _READERS[format]
    try:
        reader: type[Source] = getattr(import_module(f".{module}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        message = f"reading {format} needs the package {error.name}: install securekit-platform[config]"
        raise ConfigError(message) from None
    return reader(text)  # type: ignore[call-arg]


def format_of(path: FilePath) -> str:
    """Return the format that a file's name tells: ``.env`` and ``.env.production`` count as ``production.env`` does.

    Raises:
        securekit.exceptions.FormatError: The name tells none of the five.
    """
    found = "env" if path.name.startswith(".env") else _SUFFIXES.get(path.suffix.lower())
    if found is None:
        message = f"{path.name} has none of the endings {', '.join(_SUFFIXES)}: say which format it is ({', '.join(FORMATS)})"
        raise FormatError(message)
    return found
