# SPDX-License-Identifier: Apache-2.0
"""What a call to Vault can come to, before it is said in the words of wrappers or of keystores."""

from __future__ import annotations

from enum import StrEnum

from securekit.exceptions import KeyStoreError, KeyStoreUnavailableError, WrapperDeniedError, WrapperError, WrapperUnavailableError

__all__ = ["Outcome", "VaultFailureError"]


class Outcome(StrEnum):
    """How a call ended."""

    DONE = "done"
    UNAVAILABLE = "unavailable"
    """Not reached, no answer in time, sealed, overloaded, or an answer that is none: it may be better later."""
    DENIED = "denied"
    """Vault said no (403)."""
    MISSING = "missing"
    """There is nothing there (404)."""
    REFUSED = "refused"
    """Vault does not do what was asked (400 and others); ``reasons`` are its own words."""


class VaultFailureError(Exception):
    """A call that failed. Never leaves this package: adapters say it in their own errors.

    Attributes:
        outcome: How it ended.
        reasons: What Vault said, for comparison with known answers; never shown.
        body: What came with a refusal: batches have their items there.
        sent: Whether the request may have reached Vault.
        retry_after: Seconds after which Vault wants to be asked again; None if it did not say.
        away: Whether other calls would come to the same, so that none is made for a while.
    """

    def __init__(
        self,
        outcome: Outcome,
        message: str,
        *,
        reasons: tuple[str, ...] = (),
        body: object = None,
        sent: bool = True,
        retry_after: float | None = None,
        away: bool = True,
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.reasons = reasons
        self.body = body
        self.sent = sent
        self.retry_after = retry_after
        self.away = away

    def says(self, *texts: str) -> bool:
        """Whether one of Vault's own words has one of ``texts`` in it."""
        return any(text in reason for reason in self.reasons for text in texts)

    def as_wrapper_error(self) -> WrapperError:
        """Return what a wrapper raises for it."""
        kinds = {Outcome.UNAVAILABLE: WrapperUnavailableError, Outcome.DENIED: WrapperDeniedError}
        return kinds.get(self.outcome, WrapperError)(str(self))

    def as_store_error(self) -> KeyStoreError:
        """Return what a keystore raises for it."""
        return (KeyStoreUnavailableError if self.outcome is Outcome.UNAVAILABLE else KeyStoreError)(str(self))
