# SPDX-License-Identifier: Apache-2.0
"""Keyring documents: what a keystore stores. Bytes to values and back, and the proof that they are genuine.

The format is ``docs/spec/keyring.md``. Nothing here reads a clock, a file or a network.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

from securekit._primitives.aead import KcXaes256Gcm
from securekit._primitives.hkdf import hkdf, hmac_sha256
from securekit._wire import base64url, canonical_json
from securekit._wire.canonical_json import Json
from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError, FormatError
from securekit.secret import Secretive
from securekit.wrappers._protocol import MAX_CIPHERTEXT_SIZE, WrappedKey

from ._clock import format_time, parse_time
from ._path import check_path

__all__ = [
    "FORMAT",
    "MAX_KEYS",
    "MAX_RECIPIENTS",
    "MAX_SIZE",
    "KeyState",
    "KeyVersion",
    "KeyringDocument",
    "KeyringSecret",
    "SealedDocument",
]

FORMAT = "securekit/keyring/1"
MAX_SIZE = 2 * 1024 * 1024  # bytes of a document
MAX_KEYS = 4096
MAX_RECIPIENTS = 64
MAX_REVISION = 2**53 - 1  # the largest integer that canonical JSON holds
MAX_PERIOD = 366 * 24 * 3600  # seconds
ID_SIZE = 16  # bytes of a keyring id
KEY_ID_SIZE = 4  # bytes
_MAC_SIZE = 32  # bytes, HMAC-SHA-256
_SEALED_KEY_SIZE = 24 + 32 + 32 + 16  # bytes: nonce ‖ commitment ‖ key ‖ tag
# Compiled when they are first needed, and kept by the re module.
_KEY_ID = r"[0-9a-f]{8}"
_NAME = r"[a-z0-9-]{1,64}"
_REFERENCE = r"[\x21-\x7e]{0,700}"
_MAX_ABOUT = 8  # members
_MAX_ABOUT_TEXT = 512  # characters
_TOP = {"created", "format", "id", "keys", "mac", "path", "recipients", "refresh", "revision", "stale_if_error"}
_KEY = {"created", "disabled", "due", "id", "key", "not_after", "promoted", "state"}
_RECIPIENT = {"about", "ciphertext", "key_ref", "wrapper"}


class KeyState(StrEnum):
    """What may be done with a key version."""

    PRIMARY = "primary"
    """Encrypts and decrypts. Exactly one key of a keyring is primary."""
    ACTIVE = "active"
    """Decrypts only: retired, or staged and not yet promoted."""
    DISABLED = "disabled"
    """Refuses, and can come back."""
    DESTROYED = "destroyed"
    """The key's bytes are gone; the id stays, so that it is known what it was."""


_STATES = {state.value: state for state in KeyState}


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One key version as the document holds it. Times are whole seconds since 1970; ``sealed`` is the encrypted key."""

    id: str
    state: KeyState
    created: int
    promoted: int | None
    disabled: int | None
    not_after: int | None
    due: bool
    sealed: bytes | None


@dataclass(frozen=True, slots=True)
class KeyringDocument:
    """A keyring document. ``id`` is 16 bytes; ``refresh`` and ``stale_if_error`` are seconds."""

    path: str
    id: bytes
    revision: int
    created: int
    refresh: int
    stale_if_error: int
    recipients: tuple[WrappedKey, ...]
    keys: tuple[KeyVersion, ...]

    @property
    def binding(self) -> tuple[str, str, bytes]:
        """What the wrapped copies of the keyring secret are bound to."""
        return ("keyring", self.path, self.id)

    @property
    def primary(self) -> KeyVersion:
        """The one primary key version."""
        return next(key for key in self.keys if key.state is KeyState.PRIMARY)

    def key(self, key_id: str) -> KeyVersion | None:
        """Return the key version of that id, if there is one."""
        return next((key for key in self.keys if key.id == key_id), None)

    def with_key(self, changed: KeyVersion) -> KeyringDocument:
        """Return the document with the key version of the same id replaced, or appended."""
        if self.key(changed.id) is None:
            return replace(self, keys=(*self.keys, changed))
        return replace(self, keys=tuple(changed if key.id == changed.id else key for key in self.keys))

    def encode(self, secret: KeyringSecret) -> bytes:
        """Return the document's one encoding, authenticated under ``secret``.

        Raises:
            securekit.exceptions.FormatError: It is out of bounds: what could not be read again is never written.
        """
        body = self._body()
        for item in _list(body["recipients"], 1, MAX_RECIPIENTS):
            _recipient(item)  # the one part that comes from elsewhere
        _integer(self.revision, 1, MAX_REVISION)
        body["mac"] = base64url.encode(bytes(_MAC_SIZE))
        data = canonical_json.encode(body)
        before, _, after = data.partition(_member(body["mac"]))
        data = before + _member(base64url.encode(secret.mac(before + after))) + after
        if len(data) > MAX_SIZE:
            message = f"the keyring document would have {len(data)} bytes; at most {MAX_SIZE} are read"
            raise FormatError(message)
        return data

    @classmethod
    def decode(cls, data: bytes) -> SealedDocument:
        """Return what ``data`` says. It is not proven genuine yet: see `SealedDocument.authenticate`.

        Raises:
            securekit.exceptions.FormatError: ``data`` is not the one encoding of a keyring document within bounds.
        """
        top = canonical_json.decode(data, max_size=MAX_SIZE)
        if top.get("format") != FORMAT:
            message = f"not a keyring document of format {FORMAT}"
            raise FormatError(message)
        _expect(set(top) == _TOP, "has other members than a keyring document")
        document = cls(
            path=_path(top["path"]),
            id=_bytes(top["id"], ID_SIZE),
            revision=_integer(top["revision"], 1, MAX_REVISION),
            created=parse_time(top["created"]),
            refresh=_integer(top["refresh"], 1, MAX_PERIOD),
            stale_if_error=_integer(top["stale_if_error"], 0, MAX_PERIOD),
            recipients=tuple(_recipient(item) for item in _list(top["recipients"], 1, MAX_RECIPIENTS)),
            keys=tuple(_key(item) for item in _list(top["keys"], 1, MAX_KEYS)),
        )
        mac = _bytes(top["mac"], _MAC_SIZE)
        order = [wrapped.recipient for wrapped in document.recipients]
        _expect(order == sorted(set(order)), "has recipients that are out of order or twice the same")
        _expect(len({key.id for key in document.keys}) == len(document.keys), "has one key id twice")
        _expect(sum(key.state is KeyState.PRIMARY for key in document.keys) == 1, "has not exactly one primary key")
        # Nothing before it has a member of that name, and in texts quotes are escaped: the first one is the document's own.
        body = data.replace(_member(top["mac"]), b"", 1)
        return SealedDocument(document, body, mac)

    def _body(self) -> dict[str, Json]:
        return {
            "created": format_time(self.created),
            "format": FORMAT,
            "id": base64url.encode(self.id),
            "keys": [
                {
                    "created": format_time(key.created),
                    "disabled": _optional_time(key.disabled),
                    "due": key.due,
                    "id": key.id,
                    "key": None if key.sealed is None else base64url.encode(key.sealed),
                    "not_after": _optional_time(key.not_after),
                    "promoted": _optional_time(key.promoted),
                    "state": key.state.value,
                }
                for key in self.keys
            ],
            "path": self.path,
            "recipients": [
                {
                    "about": dict(wrapped.about),
                    "ciphertext": base64url.encode(wrapped.ciphertext),
                    "key_ref": wrapped.key_ref,
                    "wrapper": wrapped.wrapper,
                }
                for wrapped in sorted(self.recipients, key=lambda wrapped: wrapped.recipient)
            ],
            "refresh": self.refresh,
            "revision": self.revision,
            "stale_if_error": self.stale_if_error,
        }


class SealedDocument:
    """A document as it was read, before and after it is proven genuine."""

    __slots__ = ("_body", "_mac", "document")

    def __init__(self, document: KeyringDocument, body: bytes, mac: bytes) -> None:
        self.document: KeyringDocument = document
        self._body = body
        self._mac = mac

    def authenticate(self, secret: KeyringSecret) -> None:
        """Check that the document was made by someone who knew ``secret``.

        Raises:
            securekit.exceptions.DecryptionError: It was not.
        """
        if not hmac.compare_digest(self._mac, secret.mac(self._body)):
            raise DecryptionError


class KeyringSecret(Secretive):
    """The 32 bytes that a KEK wraps: they authenticate the document and encrypt its key versions."""

    __slots__ = ("_cipher", "_mac_key", "value")

    def __init__(self, value: bytes) -> None:
        self.value: bytes = value
        self._mac_key = hkdf(value, "securekit/keyring/1 document")
        self._cipher = KcXaes256Gcm(hkdf(value, "securekit/keyring/1 keys"))

    def mac(self, body: bytes) -> bytes:
        """Return the HMAC-SHA-256 of a document without its ``mac`` member."""
        return hmac_sha256(self._mac_key, body)

    def seal_key(self, document: KeyringDocument, key_id: str, key: bytes) -> bytes:
        """Return ``nonce(24) ‖ commitment(32) ‖ encrypted key(32) ‖ tag(16)``."""
        return self._cipher.encrypt(key, _key_binding(document, key_id))

    def open_key(self, document: KeyringDocument, key_id: str, sealed: bytes) -> bytes:
        """Return the 32 bytes of a key version.

        Raises:
            securekit.exceptions.DecryptionError: It was sealed for another keyring or id, or is changed.
        """
        return self._cipher.decrypt(sealed, _key_binding(document, key_id))


def _member(mac: Json) -> bytes:
    """Return the member ``mac`` as it stands in a document, between ``keys`` and ``path``."""
    return f'"mac":"{mac}",'.encode("ascii")


def _key_binding(document: KeyringDocument, key_id: str) -> bytes:
    return pae(["securekit/keyring/1 key", document.path, document.id, bytes.fromhex(key_id)])


def _optional_time(seconds: int | None) -> str | None:
    return None if seconds is None else format_time(seconds)


def _expect(condition: bool, fault: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not condition:
        message = f"the keyring document {fault}"
        raise FormatError(message)


def _path(value: Json) -> str:
    try:
        return check_path(cast("str", value))
    except (TypeError, ValueError):
        message = "the keyring document has a path of another form"
        raise FormatError(message) from None


def _integer(value: Json, least: int, most: int) -> int:
    _expect(type(value) is int and least <= value <= most, f"has a number that is not an integer from {least} to {most}")
    return cast("int", value)


def _text(value: Json, form: str, what: str) -> str:
    _expect(isinstance(value, str) and re.fullmatch(form, value) is not None, f"has a {what} of another form")
    return cast("str", value)


def _bytes(value: Json, size: int) -> bytes:
    _expect(isinstance(value, str) and len(value) == -(-size * 4 // 3), f"lacks a value of {size} bytes")
    return base64url.decode(cast("str", value))


def _list(value: Json, least: int, most: int) -> Sequence[Json]:
    _expect(isinstance(value, list) and least <= len(value) <= most, f"has a list that is not of {least} to {most} items")
    return cast("list[Json]", value)


def _members(value: Json, names: set[str]) -> dict[str, Json]:
    _expect(isinstance(value, dict) and set(value) == names, f"has an entry with other members than {', '.join(sorted(names))}")
    return cast("dict[str, Json]", value)


def _maybe_time(value: Json) -> int | None:
    return None if value is None else parse_time(value)


def _recipient(value: Json) -> WrappedKey:
    entry = _members(value, _RECIPIENT)
    about = entry["about"]
    _expect(
        isinstance(about, dict)
        and len(about) <= _MAX_ABOUT
        and all(
            re.fullmatch(_NAME, name.replace("_", "-")) and isinstance(text, str) and len(text) <= _MAX_ABOUT_TEXT
            for name, text in about.items()
        ),
        "has a description of a recipient that is out of bounds",
    )
    ciphertext = entry["ciphertext"]
    _expect(
        isinstance(ciphertext, str) and 0 < len(ciphertext) <= -(-MAX_CIPHERTEXT_SIZE * 4 // 3), "has a wrapped key that is out of bounds"
    )
    return WrappedKey(
        wrapper=_text(entry["wrapper"], _NAME, "wrapper name"),
        key_ref=_text(entry["key_ref"], _REFERENCE, "key reference"),
        ciphertext=base64url.decode(cast("str", ciphertext)),
        about=cast("dict[str, str]", about),
    )


def _key(value: Json) -> KeyVersion:
    entry = _members(value, _KEY)
    state = entry["state"]
    _expect(isinstance(state, str) and state in _STATES, "has a key in an unknown state")
    _expect(isinstance(entry["due"], bool), "has a key whose due mark is not a boolean")
    key = KeyVersion(
        id=_text(entry["id"], _KEY_ID, "key id"),
        state=_STATES[cast("str", state)],
        created=parse_time(entry["created"]),
        promoted=_maybe_time(entry["promoted"]),
        disabled=_maybe_time(entry["disabled"]),
        not_after=_maybe_time(entry["not_after"]),
        due=cast("bool", entry["due"]),
        sealed=None if entry["key"] is None else _bytes(entry["key"], _SEALED_KEY_SIZE),
    )
    _expect((key.sealed is None) == (key.state is KeyState.DESTROYED), "has a key whose bytes do not fit its state")
    _expect(
        (key.disabled is not None) == (key.state in {KeyState.DISABLED, KeyState.DESTROYED}), "has a key whose times do not fit its state"
    )
    _expect(key.promoted is not None or key.state is not KeyState.PRIMARY, "has a primary key that was never promoted")
    return key
