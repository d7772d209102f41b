# SPDX-License-Identifier: Apache-2.0
"""SQL databases, through SQLAlchemy 2: keyrings in SQLite, for one machine, or in PostgreSQL, for many; columns of ciphertexts.

>>> from securekit.sql import SqlKeyStore
>>> store = SqlKeyStore("postgresql+psycopg://app@db.example/app", wrapper=wrapper)
>>> store.create_schema()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._columns import SqlColumns
    from ._keystore import SqlKeyStore, keyring_table

__all__ = ["SqlColumns", "SqlKeyStore", "keyring_table"]

_LAZY = {"SqlColumns": "_columns", "SqlKeyStore": "_keystore", "keyring_table": "_keystore"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
