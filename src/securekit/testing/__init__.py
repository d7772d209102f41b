# SPDX-License-Identifier: Apache-2.0
"""What you need to test code that uses securekit: a store in memory, a clock to turn, a KEK that fails, passwords that cost nothing.

`securekit.testing.fixtures` has the same as fixtures for pytest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack

from securekit.exceptions import WrapperDeniedError, WrapperUnavailableError
from securekit.keyring import MemoryKeyStore
from securekit.passwords import Cost, PasswordRules, Profile
from securekit.wrappers import LocalWrapper, WrappedKey

if TYPE_CHECKING:
    from securekit.keyring import StoreOptions, Wrappers
    from securekit.wrappers import Binding, KeyWrapper

__all__ = ["FakeClock", "FlakyWrapper", "fast_passwords", "memory_store"]

_START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class _LeastCost(Profile):
    """A profile that no check of strength has seen."""

    __slots__ = ()

    def rules(self) -> PasswordRules:
        """Accept every password: what a test types is nobody's."""
        return _AnyPassword()

    def _check_strength(self, cost: Cost) -> None:
        pass


class _AnyPassword(PasswordRules):
    """Rules that refuse nothing."""

    def fault(self, password: str, words: Iterable[str] = ()) -> str:  # noqa: ARG002 - as it is called
        return ""


fast_passwords: Profile = _LeastCost("fast_passwords", "argon2id", {"m": 8, "t": 1, "p": 1}, "for tests alone", "")
"""The profile of least cost, for tests: ``PasswordHasher(fast_passwords)`` takes microseconds, and protects nothing."""


def memory_store(*, wrapper: Wrappers | None = None, **options: Unpack[StoreOptions]) -> MemoryKeyStore:
    """Return a store in memory, under a KEK that is the same in every test.

    Args:
        wrapper: Another KEK than the fixed one.
        options: As `securekit.KeyStore`. Its ``clock`` is a `FakeClock` if it is not given: it stands still.

    Example:
        >>> ring = memory_store().keyring("eu/acme/invoices", create=True)
        >>> ring.decrypt(ring.encrypt(b"secret", context={}), context={})
        b'secret'
    """
    options.setdefault("clock", FakeClock())
    return MemoryKeyStore(wrapper=LocalWrapper(bytes(range(32))) if wrapper is None else wrapper, **options)


class FakeClock:
    """A clock that stands still until it is turned.

    Args:
        time: Seconds since 1970; the beginning of 2026 if not given.
    """

    def __init__(self, time: float = _START) -> None:
        self._time = time
        self._monotonic = 1000.0

    def time(self) -> float:
        """Return the calendar's time."""
        return self._time

    def monotonic(self) -> float:
        """Return the time that only goes forward."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            message = "time does not pass backwards; jump() sets the calendar back"
            raise ValueError(message)
        self._time += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the calendar forward or back, as an operator or NTP may, without any time passing."""
        self._time += seconds


class FlakyWrapper:
    """A wrapper whose KEK can be made unreachable, or made to say no, to see what your code does then.

    Args:
        wrapper: What works while neither is set; a `securekit.LocalWrapper` with a fixed key if not given.
        unavailable: Raise `WrapperUnavailableError` at every call. May be set later.
        denied: Raise `WrapperDeniedError` at every call. May be set later.

    Attributes:
        calls: How many times it was asked, failures included.
    """

    def __init__(self, wrapper: KeyWrapper | None = None, *, unavailable: bool = False, denied: bool = False) -> None:
        self._wrapper: KeyWrapper = wrapper or LocalWrapper(bytes(range(32)))
        self.unavailable: bool = unavailable
        self.denied: bool = denied
        self.calls: int = 0

    @property
    def name(self) -> str:
        """As the wrapper within."""
        return self._wrapper.name

    @property
    def key_ref(self) -> str:
        """As the wrapper within."""
        return self._wrapper.key_ref

    @property
    def outsiders_can_wrap(self) -> bool:
        """As the wrapper within."""
        return self._wrapper.outsiders_can_wrap

    def opens(self, wrapped: WrappedKey) -> bool:
        """As the wrapper within."""
        return self._wrapper.opens(wrapped)

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap, or fail as told."""
        self._answer()
        return self._wrapper.wrap(key, binding)

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Unwrap, or fail as told."""
        self._answer()
        return self._wrapper.unwrap(wrapped, binding)

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each, in one call, or fail as told."""
        self._answer()
        return self._wrapper.wrap_many(items)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each, in one call, or fail as told."""
        self._answer()
        return self._wrapper.unwrap_many(items)

    def _answer(self) -> None:
        self.calls += 1
        if self.denied:
            message = "the KMS says no (as the test told it to)"
            raise WrapperDeniedError(message)
        if self.unavailable:
            message = "the KMS is unreachable (as the test told it to be)"
            raise WrapperUnavailableError(message)
