# SPDX-License-Identifier: Apache-2.0
"""The call to Vault that a thread is making: what its transport, far below hvac, has to know of it."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["Call", "calling"]


@dataclass(slots=True)
class Call:
    """The call that this thread is making.

    Attributes:
        deadline: When it must be over, as of `time.monotonic`.
        token: What it shows to Vault; none for a login.
        any_status: Whether every answer is wanted, whatever its status: health is told by the status.
        sent: Whether anything may have reached Vault.
    """

    deadline: float
    token: str | None = field(default=None, repr=False)
    any_status: bool = False
    sent: bool = False

    def left(self) -> float:
        """Return how many seconds are left.

        Raises:
            TimeoutError: None are.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            message = "no time is left"
            raise TimeoutError(message)
        return left


calling: ContextVar[Call] = ContextVar("securekit_vault_call")
