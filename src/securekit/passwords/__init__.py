# SPDX-License-Identifier: Apache-2.0
"""Passwords as salted hashes that grow stronger.

>>> from securekit.passwords import PasswordHasher
>>> hasher = PasswordHasher()
>>> stored = hasher.hash("correct horse battery staple")
>>> verified = hasher.verify("correct horse battery staple", hash=stored)
>>> if verified.new_hash:  # a stronger one, to be stored
...     stored = verified.new_hash
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._budget import Budget
    from ._hasher import PasswordHasher, Verified
    from ._onion import INTERPRETATIONS, Imported, import_table
    from ._profile import PROFILES, Profile
    from ._stored import Cost, StoredHash

__all__ = [
    "INTERPRETATIONS",
    "PROFILES",
    "Budget",
    "Cost",
    "Imported",
    "PasswordHasher",
    "Profile",
    "StoredHash",
    "Verified",
    "import_table",
]

_HOME = {
    "INTERPRETATIONS": "_onion",
    "PROFILES": "_profile",
    "Budget": "_budget",
    "Cost": "_stored",
    "Imported": "_onion",
    "PasswordHasher": "_hasher",
    "Profile": "_profile",
    "StoredHash": "_stored",
    "Verified": "_hasher",
    "import_table": "_onion",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)
