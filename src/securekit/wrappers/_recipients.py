# SPDX-License-Identifier: Apache-2.0
"""Recipients: the wrapped copies of one key that a document or an envelope holds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from securekit.exceptions import KeyNotFoundError, SecureKitError, WrapperDeniedError, WrapperError, WrapperUnavailableError

from ._protocol import KeyWrapper, WrappedKey

if TYPE_CHECKING:
    from ._protocol import Binding

__all__ = [
    "MAX_RECIPIENTS",
    "Report",
    "candidates",
    "check_mixture",
    "check_number",
    "describe",
    "name_of",
    "one_each",
    "unwrap_first",
    "weightiest",
    "wrap_to_each",
]

MAX_RECIPIENTS = 64
_POST_QUANTUM = "hpke-mlkem768-x25519"
_CLASSICAL = "x509-"
_LINE = 40  # characters of a reference that fit a message; public-key hashes have 64

T = TypeVar("T")
Report = Callable[[KeyWrapper, str, float], None]
"""Told of every call to a wrapper: which, the verb, and how many seconds it took."""


def wrap_to_each(key: bytes, binding: Binding, wrappers: Sequence[KeyWrapper], report: Report) -> tuple[WrappedKey, ...]:
    """Return one wrapped copy of ``key`` per wrapper, sorted by wrapper and reference.

    Raises:
        ValueError: There is no wrapper, or more than 64, or two name the same KEK.
        securekit.exceptions.WrapperError: The holder of a KEK is unreachable, or said no.
    """
    check_number(wrappers)
    copies: list[WrappedKey] = []
    try:
        for wrapper in wrappers:
            begin = time.perf_counter()
            try:
                copies.append(wrapper.wrap(key, binding))
            finally:
                report(wrapper, "wrap", time.perf_counter() - begin)
    except SecureKitError as error:
        del key  # error trackers show the variables of this frame, and of those below it, which have the key as well
        raise error.with_traceback(None)  # noqa: B904 - it is the same error
    return one_each(copies)


def one_each(copies: Sequence[WrappedKey]) -> tuple[WrappedKey, ...]:
    """Return ``copies`` sorted by wrapper and reference.

    Raises:
        ValueError: Two name the same KEK.
    """
    if len({copy.recipient for copy in copies}) != len(copies):
        message = "two of the wrappers name the same KEK; give one of them a label, or leave it out"
        raise ValueError(message)
    return tuple(sorted(copies, key=lambda copy: copy.recipient))


def check_number(wrappers: Sequence[KeyWrapper]) -> None:
    """Check that there are 1 to 64 wrappers.

    Raises:
        ValueError: There are none, or more.
    """
    if not 1 <= len(wrappers) <= MAX_RECIPIENTS:
        message = f"1 to {MAX_RECIPIENTS} wrappers are needed, not {len(wrappers)}"
        raise ValueError(message)


def check_mixture(recipients: Iterable[tuple[str, str]], *, hint: str = "leave the certificate out") -> None:
    """Check that nothing that is safe from a quantum computer stands beside a public key that is not.

    Args:
        recipients: Pairs of wrapper name and reference.
        hint: What can be done about it, for the error.

    Raises:
        ValueError: There are a post-quantum recipient and a certificate.
    """
    names = {name for name, _ in recipients}
    if _POST_QUANTUM in names and any(name.startswith(_CLASSICAL) for name in names):
        message = f"a post-quantum recipient beside a certificate, whose key may be broken in the future, which opens it, too; {hint}"
        raise ValueError(message)


def unwrap_first(
    recipients: Sequence[WrappedKey],
    wrappers: Sequence[KeyWrapper],
    binding: Binding,
    *,
    name: str,
    hint: str,
    accept: Callable[[bytes], T],
    report: Report,
) -> tuple[KeyWrapper, T]:
    """Unwrap with the first wrapper that is a recipient, and return it with what ``accept`` makes of the key.

    Wrappers that outsiders cannot wrap with come first. One whose KEK cannot be reached, or that says no, is passed over if
    another one opens; a decryption error is final, so that a forged header costs one operation per configured wrapper.

    Args:
        recipients: The wrapped copies.
        wrappers: What may open them.
        binding: What they are bound to.
        name: What they are the recipients of, for messages.
        hint: What to do if none of ``wrappers`` is a recipient.
        accept: Checks that the key is the right one; raises `DecryptionError` otherwise.
        report: Told of every call.

    Raises:
        securekit.exceptions.KeyNotFoundError: None of ``wrappers`` is among the recipients.
        securekit.exceptions.DecryptionError: What is there is not genuine.
        securekit.exceptions.WrapperError: The holder of the KEK is unreachable, or said no.
    """
    failures: list[WrapperError] = []
    for wrapper, wrapped in candidates(recipients, wrappers, name=name, hint=hint):
        begin = time.perf_counter()
        try:
            return wrapper, accept(wrapper.unwrap(wrapped, binding))  # the key is never a variable: error trackers show those
        except WrapperError as error:
            failures.append(error)
        finally:
            report(wrapper, "unwrap", time.perf_counter() - begin)
    raise weightiest(failures)


def candidates(
    recipients: Sequence[WrappedKey], wrappers: Sequence[KeyWrapper], *, name: str, hint: str
) -> list[tuple[KeyWrapper, WrappedKey]]:
    """Return which wrapper may open which recipient, in the order in which they are asked. Arguments as `unwrap_first`.

    Raises:
        securekit.exceptions.KeyNotFoundError: None of ``wrappers`` is among the recipients.
    """
    found = [(wrapper, wrapped) for wrapper in wrappers for wrapped in recipients if wrapper.opens(wrapped)]
    found.sort(key=lambda candidate: candidate[0].outsiders_can_wrap)
    if not found:
        named = {wrapped.recipient for wrapped in recipients}
        have = ", ".join(
            describe(*recipient) + (" (without its private key)" if recipient in named else "")
            for recipient in ((wrapper.name, wrapper.key_ref) for wrapper in wrappers)
        )
        want = ", ".join(describe(*wrapped.recipient) for wrapped in recipients)
        message = f"{name} is wrapped to {want}, and is to be opened with {have or 'no wrapper'}: {hint}"
        raise KeyNotFoundError(message)
    return found


def weightiest(failures: Sequence[WrapperError]) -> WrapperError:
    """Return the failure to report: a plain no outweighs "not reachable", which would allow to serve on from memory."""
    return min(failures, key=lambda error: (not isinstance(error, WrapperDeniedError), isinstance(error, WrapperUnavailableError)))


def describe(name: str, key_ref: str) -> str:
    """Return a recipient as people read it: ``local 0bac1fe1ddce8316``; a long reference is cut."""
    reference = key_ref if len(key_ref) <= _LINE or name == "keyring" else f"{key_ref[:16]}…"
    return f"{name} {reference}".rstrip()


def name_of(wrapped: WrappedKey) -> str:
    """Return the full name of the key that ``wrapped`` was wrapped under, from what stands in it; nothing of it is proven.

    ``path@id`` of a keyring's key, ``vault-transit MOUNT/KEY vN`` with the version, else wrapper and reference:
    ``local 0bac1fe1ddce8316``.
    """
    if wrapped.wrapper == "keyring":
        return wrapped.key_ref
    version = re.match(rb"vault:(v[0-9]{1,9}):", wrapped.ciphertext) if wrapped.wrapper == "vault-transit" else None
    return f"{wrapped.wrapper} {wrapped.key_ref}{f' {version[1].decode()}' if version else ''}".rstrip()
