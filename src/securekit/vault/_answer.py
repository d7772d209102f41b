# SPDX-License-Identifier: Apache-2.0
"""Answers of Vault are looked into with care: what is not where it should be is None, whatever is there instead."""

from __future__ import annotations

import math

__all__ = ["mapping", "member", "number"]


def member(answer: object, *names: str) -> object:
    """Return what an answer has under ``names``, each an object within the one before; None if it has not."""
    for name in names:
        if not isinstance(answer, dict):
            return None
        answer = answer.get(name)
    return answer


def mapping(answer: object, *names: str) -> dict[str, object]:
    """Return the object under ``names``; an empty one if there is none."""
    found = member(answer, *names)
    return found if isinstance(found, dict) else {}


def number(value: object) -> float:
    """Return a number of an answer; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
