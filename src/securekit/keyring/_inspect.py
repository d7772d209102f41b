# SPDX-License-Identifier: Apache-2.0
"""What a message is, without any secret: its kind, its keys, its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from securekit.exceptions import FormatError
from securekit.wrappers import WrappedKey

from . import _record as record
from ._document import FORMAT, KeyringDocument

__all__ = ["Inspection", "inspect"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What can be told of a message without any secret. Nothing of it is authenticated.

    Attributes:
        kind: ``"record"`` or ``"keyring"``.
        format: The name of the format's version.
        size: Bytes of the message.
        plaintext_size: Bytes of the data in it, for a record.
        key_id: The key version that it names (record) or that is primary (keyring).
        path: The keyring's path, for a keyring document.
        keyring_id: 32 hexadecimal digits, for a keyring document.
        revision: Of a keyring document.
        key_count: How many key versions a keyring document holds.
        recipients: To whom a keyring document is wrapped.
    """

    kind: str
    format: str
    size: int
    plaintext_size: int | None = None
    key_id: str | None = None
    path: str | None = None
    keyring_id: str | None = None
    revision: int | None = None
    key_count: int | None = None
    recipients: tuple[WrappedKey, ...] = ()


def inspect(message: bytes | str) -> Inspection:
    """Return what ``message`` is: a record, its text form, or a keyring document.

    Raises:
        TypeError: ``message`` is neither bytes nor str.
        securekit.exceptions.FormatError: It is in none of the formats.
    """
    if not isinstance(message, bytes | str):
        error = f"a message is bytes or str, not {type(message).__name__}"
        raise TypeError(error)
    data = message if isinstance(message, bytes) else message.encode(errors="surrogatepass")
    if data.startswith(record.TEXT_PREFIX.encode()):
        return _record(record.from_text(data.decode("ascii", errors="replace")))
    if data[:1] == b"{":
        return _keyring(data)
    if isinstance(message, bytes) and data[:1] == record.VERSION:
        return _record(data)
    error = "neither a securekit record, nor its text form (sk1.…), nor a keyring document"
    raise FormatError(error)


def _record(message: bytes) -> Inspection:
    key_id = record.check_record(message)
    return Inspection("record", "securekit/record/1", len(message), plaintext_size=len(message) - record.OVERHEAD, key_id=key_id)


def _keyring(message: bytes) -> Inspection:
    document = KeyringDocument.decode(message).document
    return Inspection(
        "keyring",
        FORMAT,
        len(message),
        key_id=document.primary.id,
        path=document.path,
        keyring_id=document.id.hex(),
        revision=document.revision,
        key_count=len(document.keys),
        recipients=document.recipients,
    )
