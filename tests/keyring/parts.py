# SPDX-License-Identifier: Apache-2.0
"""What several tests of keyrings are made of: stores on one storage, documents made by hand, flipped bits and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ParamSpec

from securekit._primitives.certificates import self_signed
from securekit._primitives.private_keys import generate, to_pem
from securekit.exceptions import DecryptionError, KeyStoreUnavailableError, SecureKitError
from securekit.keyring import KeyState, KeyStore, Wrappers
from securekit.keyring._document import KeyringDocument, KeyringSecret, KeyVersion
from securekit.keyring._storage import MemoryStorage
from securekit.keyring._unlocking import wrap_secret
from securekit.testing import FakeClock
from securekit.wrappers import CertificateWrapper, KeyWrapper, LocalWrapper

PATH = "eu/acme/invoices"
OTHER = "eu/globex/invoices"
CONTEXT = {"table": "invoice", "column": "iban", "id": "42"}
NOW = 1_767_225_600  # the beginning of 2026, where a FakeClock starts
OPAQUE = "decryption failed: wrong key, wrong context, or the message was changed"
LOCAL = LocalWrapper(bytes(range(32)))


def local(number: int) -> LocalWrapper:
    """Return one of several KEKs."""
    return LocalWrapper(bytes([number]) * 32)


@cache
def _identity() -> tuple[bytes, bytes]:
    key, now = generate("p256"), datetime.fromtimestamp(NOW, UTC)
    return self_signed(key, "escrow", not_before=now, not_after=now + timedelta(days=36_500)), to_pem(key)


def certificate() -> CertificateWrapper:
    """Return an escrow certificate, which everybody can have."""
    return CertificateWrapper.from_pem(_identity()[0])


def escrow() -> CertificateWrapper:
    """Return what opens with the private key of that certificate."""
    return CertificateWrapper.from_pem(key=_identity()[1])


def store_on(storage: MemoryStorage, *, wrapper: Wrappers = LOCAL, **options: Any) -> KeyStore:
    """Return a store, as another process has it, on a storage."""
    options.setdefault("clock", FakeClock())
    return KeyStore(storage, wrapper=wrapper, **options)


def storage_with(data: bytes, path: str = PATH) -> MemoryStorage:
    """Return a storage that holds one document."""
    storage = MemoryStorage()
    storage._documents[path] = data
    return storage


def open_keyring(data: bytes, *, wrapper: Wrappers = LOCAL, path: str = PATH, recover: bool = False) -> Any:
    """Open a document as a process does that meets it for the first time."""
    return store_on(storage_with(data, path), wrapper=wrapper).keyring(path, recover=recover)


class UnlockedStorage(MemoryStorage):
    """A storage whose lock does nothing, so that compare-and-swap alone decides. ``meanwhile`` runs before a write."""

    meanwhile: Callable[[], object] | None = None

    def lock(self, path: str) -> AbstractContextManager[object]:
        return nullcontext()

    def write(self, path: str, document: bytes, *, expected: int | None) -> None:
        if self.meanwhile is not None:
            self.meanwhile()
        with super().lock(path):  # a database compares and swaps in one step, too
            super().write(path, document, expected=expected)


class FailingStorage(MemoryStorage):
    """Fails at the call of number ``at``, counted from 0, and at all that follow if it does so ``for_good``."""

    at: int | None = None
    for_good = False
    calls = 0

    def fail_at(self, number: int | None, *, for_good: bool = False) -> None:
        self.calls, self.at, self.for_good = 0, number, for_good

    def read(self, path: str) -> bytes | None:
        self._count()
        return super().read(path)

    def write(self, path: str, document: bytes, *, expected: int | None) -> None:
        self._count()
        super().write(path, document, expected=expected)

    def delete(self, path: str) -> None:
        self._count()
        super().delete(path)

    def paths(self, prefix: str = "") -> Iterator[str]:
        self._count()
        return super().paths(prefix)

    def lock(self, path: str) -> AbstractContextManager[object]:
        self._count()
        return super().lock(path)

    def _count(self) -> None:
        number, self.calls = self.calls, self.calls + 1
        if self.at is not None and (number == self.at or (self.for_good and number > self.at)):
            message = "unreachable, as the test told it to be"
            raise KeyStoreUnavailableError(message)


SECRET = KeyringSecret(b"\x5e" * 32)


def version(number: int, state: KeyState = KeyState.ACTIVE, **changes: Any) -> KeyVersion:
    """Return a key version whose id and key are made of ``number``; it is sealed by `document`."""
    gone = state in {KeyState.DISABLED, KeyState.DESTROYED}
    times = {"promoted": NOW if state is KeyState.PRIMARY else None, "disabled": NOW if gone else None}
    fields: dict[str, Any] = {"created": NOW, "not_after": None, "due": False, "sealed": None, **times, **changes}
    return KeyVersion(id=f"{number:08x}", state=state, **fields)


def document(
    *,
    keys: Sequence[KeyVersion] = (),
    wrappers: Sequence[KeyWrapper] = (LOCAL,),
    secret: KeyringSecret = SECRET,
    path: str = PATH,
    keyring_id: bytes = b"\x1d" * 16,
    revision: int = 1,
    **changes: Any,
) -> bytes:
    """Return a genuine document of these keys; without any, of one primary."""
    versions = keys or (version(1, KeyState.PRIMARY),)
    made = KeyringDocument(
        path=path, id=keyring_id, revision=revision, created=NOW, refresh=60, stale_if_error=86_400, recipients=(), keys=()
    )
    sealed = tuple(
        key
        if key.sealed is not None or key.state is KeyState.DESTROYED
        else replace(key, sealed=secret.seal_key(made, key.id, bytes.fromhex(key.id) * 8))
        for key in versions
    )
    copies = wrap_secret_to(secret, made, wrappers)
    return replace(made, keys=sealed, recipients=copies, **changes).encode(secret)


def wrap_secret_to(secret: KeyringSecret, made: KeyringDocument, wrappers: Sequence[KeyWrapper]) -> Any:
    """Wrap as a store does; unlike one, an outsider may do so for certificates alone."""
    if all(wrapper.outsiders_can_wrap for wrapper in wrappers):
        return tuple(wrapper.wrap(secret.value, made.binding) for wrapper in wrappers)
    return wrap_secret(secret, made, wrappers, lambda *_: None)


def flips(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` with each single bit flipped, in order."""
    changed = bytearray(data)
    for place in range(len(changed)):
        for bit in range(8):
            changed[place] ^= 1 << bit
            yield bytes(changed)
            changed[place] ^= 1 << bit


P = ParamSpec("P")


def refusal(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> type[SecureKitError] | None:
    """Return the class of the error of a call, having checked that a `DecryptionError` says nothing; None if there is none."""
    try:
        call(*args, **kwargs)
    except SecureKitError as error:
        caught = error
    else:
        return None
    if isinstance(caught, DecryptionError):
        assert (str(caught), caught.args, vars(caught)) == (OPAQUE, (OPAQUE,), {})
        assert caught.__cause__ is None
        assert caught.__context__ is None
    return type(caught)
