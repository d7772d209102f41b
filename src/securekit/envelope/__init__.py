# SPDX-License-Identifier: Apache-2.0
"""Envelopes: messages and files that carry their own data key, wrapped for each recipient."""

from __future__ import annotations

from ._envelope import Envelope
from ._inspect import EnvelopeInspection, inspect, inspect_file
from ._reader import SealedReader
from ._writer import SealedWriter

__all__ = ["Envelope", "EnvelopeInspection", "SealedReader", "SealedWriter", "inspect", "inspect_file"]
