# SPDX-License-Identifier: Apache-2.0
"""Encrypted production configuration: engineers write it, and only hosts read it.

>>> from securekit.config import load
>>> cfg = load("config/production.yaml", environment="production")
>>> cfg["db"]["password"]
<Secret ********>
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._document import Document, OpenDocument
    from ._edit import Edit
    from ._load import load
    from ._path import format_path, parse_path
    from ._pydantic_settings import SecureKitSettingsSource
    from ._resolver import Reference, Resolver
    from ._state import HostState
    from ._trust import DocumentTrust, Trust
    from ._watcher import Watcher

__all__ = [
    "Document",
    "DocumentTrust",
    "Edit",
    "HostState",
    "OpenDocument",
    "Reference",
    "Resolver",
    "SecureKitSettingsSource",
    "Trust",
    "Watcher",
    "format_path",
    "load",
    "parse_path",
]

_HOME = {
    "Document": "_document",
    "DocumentTrust": "_trust",
    "Edit": "_edit",
    "HostState": "_state",
    "OpenDocument": "_document",
    "Reference": "_resolver",
    "Resolver": "_resolver",
    "SecureKitSettingsSource": "_pydantic_settings",
    "Trust": "_trust",
    "Watcher": "_watcher",
    "format_path": "_path",
    "load": "_load",
    "parse_path": "_path",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    try:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("pydantic"):
            raise
        missing = error.name
    from securekit.exceptions import ConfigError

    message = f"{name} needs the package {missing}: install securekit-platform[pydantic]"
    raise ConfigError(message)
