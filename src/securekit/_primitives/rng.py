# SPDX-License-Identifier: Apache-2.0
"""The one source of randomness: the operating system's, which is safe across forks."""

from __future__ import annotations

from os import urandom as random_bytes

__all__ = ["random_bytes"]
