# SPDX-License-Identifier: Apache-2.0
"""Which key: keyrings, their life, and the stores that hold them. Knows wrappers only by their protocol."""

from __future__ import annotations

from ._bound import BoundKeyring
from ._clock import Clock, SystemClock
from ._document import KeyState
from ._event import Event, EventKind, OnEvent
from ._info import Due, ErasureReceipt, KeyInfo
from ._inspect import Inspection, inspect
from ._keyring import Keyring
from ._keyring_wrapper import KeyringWrapper
from ._path import check_path, fill_path
from ._record import from_text, to_text
from ._source import Wrappers
from ._storage import DocumentStorage
from ._store import FileKeyStore, KeyStore, MemoryKeyStore, StoreOptions

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
    "StoreOptions",
    "SystemClock",
    "Wrappers",
    "check_path",
    "fill_path",
    "from_text",
    "inspect",
    "to_text",
]
