# SPDX-License-Identifier: Apache-2.0
"""Which key: keyrings, their life, and the stores that hold them. Knows wrappers only by their protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._bound import BoundKeyring
from ._clock import Clock, SystemClock
from ._document import KeyState
from ._event import Event, EventKind, OnEvent
from ._keyring import Keyring
from ._path import check_path, fill_path
from ._record import from_text, to_text
from ._source import Wrappers
from ._storage import DocumentStorage
from ._store import FileKeyStore, KeyStore, MemoryKeyStore, StoreOptions

if TYPE_CHECKING:
    from ._due import Due
    from ._info import ErasureReceipt, KeyInfo
    from ._inspect import Inspection, inspect
    from ._keyring_wrapper import KeyringWrapper
    from ._stored import Source, StoredItem

__all__ = [
    "BoundKeyring",
    "Clock",
    "DocumentStorage",
    "Due",
    "ErasureReceipt",
    "Event",
    "EventKind",
    "FileKeyStore",
    "Inspection",
    "KeyInfo",
    "KeyState",
    "KeyStore",
    "Keyring",
    "KeyringWrapper",
    "MemoryKeyStore",
    "OnEvent",
    "Source",
    "StoreOptions",
    "StoredItem",
    "SystemClock",
    "Wrappers",
    "check_path",
    "fill_path",
    "from_text",
    "inspect",
    "to_text",
]

# Not every process needs these.
_LAZY = {
    "Due": "_due",
    "ErasureReceipt": "_info",
    "Inspection": "_inspect",
    "KeyInfo": "_info",
    "KeyringWrapper": "_keyring_wrapper",
    "Source": "_stored",
    "StoredItem": "_stored",
    "inspect": "_inspect",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
