# SPDX-License-Identifier: Apache-2.0
"""A KEK in Vault's Transit engine: it never leaves Vault, which wraps and unwraps with it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from securekit.exceptions import DecryptionError, FormatError, SecureKitError, WrapperError, WrapperUnavailableError
from securekit.secret import Secretive
from securekit.wrappers import WrappedKey
from securekit.wrappers._protocol import check_recipient, labelled, open_package, seal_package

from ._answer import mapping, member, number
from ._failure import Outcome, VaultFailureError

if TYPE_CHECKING:
    from securekit.wrappers import Binding

    from ._connection import VaultConnection

__all__ = ["TransitWrapper"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
# Vault's own form around 12 bytes of nonce, the package and 16 bytes of tag: 93 bytes, whose base64 has no padding.
_CIPHERTEXT = re.compile(rb"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]{124}")
_TYPES = {"aes256-gcm96", "chacha20-poly1305"}
_LATEST_FOR = 60.0  # seconds for which the latest version is not asked for again
_FIRST_BATCH = 250  # items; OpenBao 2.7 refuses JSON with more than about 500 texts
_TOO_MANY = ("too large", "too many", "complexity", "exceeded maximum", "entity too large")
_WRONG = ("message authentication failed", "invalid ciphertext", "could not decode", "version is too new", "cipher:")
_TOO_OLD = "too old"


class TransitWrapper(Secretive):
    """Wraps keys under a key of Vault's Transit engine.

    The token needs ``update`` on ``transit/encrypt/KEY`` and ``transit/decrypt/KEY`` and ``read`` on ``transit/keys/KEY``; with
    ``create`` on the first, Vault would make a key that is not there, so that the key is read before anything is wrapped.

    Args:
        vault: The connection.
        key: The name of the Transit key; not derived, so that what it wraps can be rewrapped.
        mount: Where the engine is mounted.
        label: Tells this key from one of the same name in another cluster, such as ``"eu"``: 1 to 32 of ``a-z``, ``0-9``, ``-``.

    Raises:
        ValueError: A name has another form.
    """

    __slots__ = ("_batch", "_key", "_latest", "_mount", "_vault", "key_ref", "name")

    name: str
    key_ref: str
    outsiders_can_wrap = False

    def __init__(self, vault: VaultConnection, key: str, *, mount: str = "transit", label: str = "") -> None:
        if not _NAME.fullmatch(key) or not _MOUNT.fullmatch(mount):
            message = f"a Transit key and its mount are named by letters, digits, '_', '-' and '.', not {key!r} in {mount!r}"
            raise ValueError(message)
        self._vault = vault
        self._key = key
        self._mount = mount
        self._batch = _FIRST_BATCH
        self._latest = (0.0, 0)  # when it was asked for, and the version
        self.name = "vault-transit"
        self.key_ref = labelled(label, f"{mount}/{key}")

    def opens(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` names this key."""
        return wrapped.recipient == (self.name, self.key_ref)

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Wrap a 32-byte ``key``: ``vault:v<version>:<base64>``.

        Raises:
            securekit.exceptions.WrapperUnavailableError: Vault cannot be reached now, or is sealed.
            securekit.exceptions.WrapperDeniedError: Vault said no.
            securekit.exceptions.WrapperError: There is no such key, or it is of another kind.
        """
        packages = [_sealed(key, binding)]
        del key  # error trackers show the variables of the frames that an error passes
        return self._wrap(packages)[0]

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Return the 32-byte key.

        Raises:
            securekit.exceptions.DecryptionError: It was not wrapped here for ``binding``.
            securekit.exceptions.FormatError: It is not of the form that Transit gives.
            securekit.exceptions.WrapperUnavailableError: Vault cannot be reached now, or is sealed.
            securekit.exceptions.WrapperDeniedError: Vault said no.
            securekit.exceptions.WrapperError: There is no such key; or it was wrapped under a version that the key's
                ``min_decryption_version`` excludes.
        """
        return self.unwrap_many([(wrapped, binding)])[0]

    def wrap_many(self, items: Iterable[tuple[bytes, Binding]]) -> list[WrappedKey]:
        """Wrap each ``(key, binding)``, in as few calls as the server allows. Errors as `wrap`."""
        packages = [_sealed(key, binding) for key, binding in items]
        del items
        return self._wrap(packages)

    def unwrap_many(self, items: Iterable[tuple[WrappedKey, Binding]]) -> list[bytes]:
        """Unwrap each ``(wrapped, binding)``, in as few calls as the server allows. Errors as `unwrap`; one bad item fails all."""
        pairs = list(items)
        packages = self._batched("decrypt", [{"ciphertext": self._checked(wrapped)} for wrapped, _ in pairs])
        keys: list[bytes] = []
        try:
            for place, (_, binding) in enumerate(pairs):
                keys.append(open_package(_decoded(packages[place]), binding))  # no variable holds one
        except DecryptionError:
            packages.clear()
            keys.clear()
            raise
        return keys

    def rewrap_many(self, items: Iterable[WrappedKey]) -> list[WrappedKey]:
        """Wrap each anew under the key's latest version, inside of Vault: no key comes here. Errors as `unwrap`."""
        results = self._batched("rewrap", [{"ciphertext": self._checked(wrapped)} for wrapped in items])
        return [self._wrapped(ciphertext) for ciphertext in results]

    def version_of(self, wrapped: WrappedKey) -> int:
        """Return the version of the Transit key that ``wrapped`` was wrapped under.

        Raises:
            securekit.exceptions.FormatError: It is not of the form that Transit gives.
        """
        return _version(wrapped.ciphertext)

    def latest_version(self) -> int:
        """Return the version that wraps now. Errors as `wrap`."""
        return int(number(self.check()["latest_version"]))

    def is_due(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` was wrapped under an older version than the one that wraps now, as it was at most a minute ago.

        `securekit.KeyStore.rewrap` then wraps it anew. Errors as `wrap`.
        """
        if not self.opens(wrapped):
            return False
        asked, latest = self._latest
        if not latest or time.monotonic() - asked > _LATEST_FOR:
            self._latest = (time.monotonic(), latest := self.latest_version())
        return _version(wrapped.ciphertext) < latest

    def check(self) -> dict[str, object]:
        """Return what Vault says of the key, if it is one that can wrap.

        Raises:
            securekit.exceptions.WrapperError: There is no such key, or it is of another kind. Errors as `wrap`.
        """
        try:
            answer = self._vault.call(
                "transit/keys", self.key_ref, lambda client: client.secrets.transit.read_key(name=self._key, mount_point=self._mount)
            )
        except VaultFailureError as failure:
            error = self._said(failure)
        else:
            facts = mapping(answer, "data")
            if not isinstance(facts.get("latest_version"), int):
                message = f"Vault's answer about the key {self._mount}/{self._key} is malformed"
                raise WrapperUnavailableError(message)
            if facts.get("type") not in _TYPES or facts.get("derived"):
                kind = f"derived {facts.get('type')}" if facts.get("derived") else facts.get("type")
                message = f"the Transit key {self._mount}/{self._key} is of type {kind}: make one of type {min(_TYPES)}, not derived"
                raise WrapperError(message)
            return facts
        raise error

    async def awrap(self, key: bytes, binding: Binding) -> WrappedKey:
        """Do `wrap` in a worker thread. Cancelled, the thread goes on for at most the deadline, and its result is dropped."""
        import asyncio  # which takes long to import

        return await asyncio.to_thread(self.wrap, key, binding)

    async def aunwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        """Do `unwrap` in a worker thread. Cancelled, the thread goes on for at most the deadline, and its result is dropped."""
        import asyncio  # which takes long to import

        return await asyncio.to_thread(self.unwrap, wrapped, binding)

    def __repr__(self) -> str:
        """Name the key and where it is."""
        return f"<TransitWrapper {self.key_ref} at {self._vault.address}>"

    def _wrap(self, packages: list[dict[str, str]]) -> list[WrappedKey]:
        if not packages:
            return []
        try:
            self.check()
        except SecureKitError:
            packages.clear()
            raise
        return [self._wrapped(ciphertext) for ciphertext in self._batched("encrypt", packages)]

    def _batched(self, verb: str, items: list[dict[str, str]]) -> list[str]:
        """Send items in as large batches as the server takes, and return one result per item; forget all of them at a failure."""
        results: list[str] = []
        error: SecureKitError | None = None
        while len(results) < len(items) and error is None:
            size = min(self._batch, len(items) - len(results))
            try:
                results += self._send(verb, items[len(results) : len(results) + size])
            except VaultFailureError as failure:
                if size > 1 and failure.outcome is Outcome.REFUSED and failure.says(*_TOO_MANY):
                    self._batch = size // 2
                else:
                    error = self._said(failure)
        if error is not None:
            items.clear()
            results.clear()
            raise error
        return results

    def _send(self, verb: str, batch: Sequence[dict[str, str]]) -> list[str]:
        url = f"/v1/{self._mount}/{verb}/{self._key}"
        answer: object
        try:
            answer = self._vault.call(
                f"transit/{verb}", self.key_ref, lambda client: client.adapter.post(url=url, json={"batch_input": batch})
            )
        except VaultFailureError as failure:
            # One bad item makes the whole answer a refusal, which has the results of the others in it.
            if failure.outcome is not Outcome.REFUSED or member(failure.body, "data", "batch_results") is None:
                raise
            answer = failure.body
        results = member(answer, "data", "batch_results")
        if not isinstance(results, list) or len(results) != len(batch):
            raise _malformed(verb)
        for result in results:
            if error := member(result, "error"):
                raise VaultFailureError(Outcome.REFUSED, "Vault refused an item", reasons=(str(error)[:512],))
        texts = [member(result, "plaintext" if verb == "decrypt" else "ciphertext") for result in results]
        if not all(isinstance(text, str) and (verb == "decrypt" or _is_wrapped(text)) for text in texts):
            raise _malformed(verb)
        return cast("list[str]", texts)

    def _said(self, failure: VaultFailureError) -> SecureKitError:
        """Return a failure in our words; wrong key and changed bytes are the one opaque error."""
        if failure.outcome is Outcome.REFUSED and failure.says(_TOO_OLD):
            message = (
                f"it was wrapped under a version of {self._mount}/{self._key} that min_decryption_version excludes: lower that,"
                " rewrap, and raise it again"
            )
            return WrapperError(message)
        if failure.outcome is Outcome.MISSING or failure.says("encryption key not found", "no handler for route"):
            message = f"there is no Transit key {self._key} at {self._mount}/: make it with: bao write -f {self._mount}/keys/{self._key}"
            return WrapperError(message)
        if failure.outcome is Outcome.REFUSED and failure.says(*_WRONG):
            return DecryptionError()
        return failure.as_wrapper_error()

    def _checked(self, wrapped: WrappedKey) -> str:
        check_recipient(wrapped, self, size=len(wrapped.ciphertext))
        _version(wrapped.ciphertext)
        return wrapped.ciphertext.decode("ascii")

    def _wrapped(self, ciphertext: str) -> WrappedKey:
        data = ciphertext.encode()
        return WrappedKey(self.name, self.key_ref, data, {"version": str(_version(data))})


def _sealed(key: bytes, binding: Binding) -> dict[str, str]:
    return {"plaintext": base64.b64encode(seal_package(key, binding)).decode()}


def _malformed(verb: str) -> VaultFailureError:
    return VaultFailureError(Outcome.UNAVAILABLE, f"Vault's answer to {verb} is malformed: it has not one result per item")


def _is_wrapped(text: str) -> bool:
    return _CIPHERTEXT.fullmatch(text.encode(errors="replace")) is not None


def _version(ciphertext: bytes) -> int:
    found = _CIPHERTEXT.fullmatch(ciphertext)
    if found is None:
        message = "a key wrapped by 'vault-transit' is of the form vault:v1:… around 65 bytes"
        raise FormatError(message)
    return int(found[1])


def _decoded(plaintext: str) -> bytes:
    try:
        return base64.b64decode(plaintext, validate=True)
    except ValueError:
        return b""
