# SPDX-License-Identifier: Apache-2.0
"""Envelopes: messages and files that carry their own data key, wrapped for each recipient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._envelope import Envelope

if TYPE_CHECKING:
    from ._inspect import EnvelopeInspection, inspect, inspect_file
    from ._reader import SealedReader
    from ._writer import SealedWriter

__all__ = ["Envelope", "EnvelopeInspection", "SealedReader", "SealedWriter", "inspect", "inspect_file"]

# Not every process needs these; looking at other formats loads keyrings, too.
_LAZY = {
    "EnvelopeInspection": "_inspect",
    "SealedReader": "_reader",
    "SealedWriter": "_writer",
    "inspect": "_inspect",
    "inspect_file": "_inspect",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
