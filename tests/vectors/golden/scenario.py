# SPDX-License-Identifier: Apache-2.0
"""What the scenarios of all formats share: names, bytes that stand for random ones, and a way to spoil them."""

from __future__ import annotations

import hashlib
from typing import Any

PATH, OTHER_PATH, KEY_ID = "eu/acme/invoices", "eu/globex/invoices", "9f3a01c2"
Scenario = dict[str, Any]
Scenarios = dict[str, Scenario]


def drawn(label: str, size: int) -> bytes:
    """Bytes that stand for random ones, from a label."""
    return hashlib.shake_256(f"securekit golden {label}".encode()).digest(size)


def changed(text: str, position: int, bit: int = 1) -> str:
    """Return hexadecimal ``text`` with one bit of one byte flipped."""
    data = bytearray.fromhex(text)
    data[position] ^= bit
    return data.hex()
