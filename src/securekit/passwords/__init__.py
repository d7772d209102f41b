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
    from ._audit import HashGroup, audit, identify
    from ._blocklist import Blocklist
    from ._budget import Budget
    from ._calibrate import Calibration, calibrate
    from ._hasher import PasswordHasher, Verified
    from ._onion import INTERPRETATIONS, Imported, import_table
    from ._profile import PROFILES, Profile
    from ._rewrap import rewrap_all
    from ._rules import PasswordRules
    from ._stored import Cost, StoredHash

__all__ = [
    "INTERPRETATIONS",
    "PROFILES",
    "Blocklist",
    "Budget",
    "Calibration",
    "Cost",
    "HashGroup",
    "Imported",
    "PasswordHasher",
    "PasswordRules",
    "Profile",
    "StoredHash",
    "Verified",
    "audit",
    "calibrate",
    "identify",
    "import_table",
    "rewrap_all",
]

_HOME = {
    "INTERPRETATIONS": "_onion",
    "PROFILES": "_profile",
    "Blocklist": "_blocklist",
    "Budget": "_budget",
    "Calibration": "_calibrate",
    "Cost": "_stored",
    "HashGroup": "_audit",
    "Imported": "_onion",
    "PasswordHasher": "_hasher",
    "PasswordRules": "_rules",
    "Profile": "_profile",
    "StoredHash": "_stored",
    "Verified": "_hasher",
    "audit": "_audit",
    "calibrate": "_calibrate",
    "identify": "_audit",
    "import_table": "_onion",
    "rewrap_all": "_rewrap",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)
