# SPDX-License-Identifier: Apache-2.0
"""Records: short messages under one key version of a keyring. The format is ``docs/spec/record.md``.

``0x01 ‖ key id(4) ‖ nonce(24) ‖ commitment(32) ‖ ciphertext(n) ‖ tag(16)``
"""

from __future__ import annotations

from collections.abc import Sequence

from securekit._primitives import aead
from securekit._primitives.aead import KcXaes256Gcm
from securekit._wire import base64url
from securekit._wire.pae import length, pae
from securekit.exceptions import FormatError
from securekit.secret import Secretive

__all__ = ["HEADER_SIZE", "MAX_SIZE", "OVERHEAD", "TEXT_PREFIX", "RecordKey", "check_record", "from_text", "to_text"]

VERSION = b"\x01"
HEADER_SIZE = 5  # bytes: version(1) ‖ key id(4)
OVERHEAD = HEADER_SIZE + aead.OVERHEAD  # 77 bytes
MAX_SIZE = OVERHEAD + aead.MAX_PLAINTEXT_SIZE  # bytes
TEXT_PREFIX = "sk1."
_MAX_TEXT = len(TEXT_PREFIX) + -(-MAX_SIZE * 4 // 3)  # characters


class RecordKey(Secretive):
    """The key of one key version, ready to encrypt and decrypt records.

    Args:
        key: 32 bytes.
        path: The keyring's path.
        key_id: 8 hexadecimal digits.
    """

    __slots__ = ("_associated_data", "_cipher", "header", "key_id")

    def __init__(self, key: bytes, *, path: str, key_id: str) -> None:
        self._cipher = KcXaes256Gcm(key)
        self.key_id = key_id
        self.header = VERSION + bytes.fromhex(key_id)
        # pae(["securekit/record/1", path, header, context]) up to the length of the context.
        self._associated_data = length(4) + pae(["securekit/record/1", path, self.header])[8:]

    @property
    def units_used(self) -> int:
        """How many messages this object has encrypted, one more per further started 64 KiB of a message."""
        return self._cipher.units_used

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Return the record of ``plaintext``; ``context`` is encoded already."""
        associated_data = self._associated_data + length(len(context)) + context
        return self._cipher.encrypt(plaintext, associated_data, prefix=self.header)

    def decrypt(self, record: bytes, context: bytes) -> bytes:
        """Return the plaintext of ``record``, whose header was checked and names this key."""
        return self._cipher.decrypt(record, self._associated_data + length(len(context)) + context, offset=HEADER_SIZE)

    def encrypt_as(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Return a record with associated data of another kind than that of data: for `KeyringWrapper`."""
        return self._cipher.encrypt(plaintext, associated_data, prefix=self.header)

    def decrypt_as(self, record: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext of what `encrypt_as` returned."""
        return self._cipher.decrypt(record, associated_data, offset=HEADER_SIZE)

    def encrypt_each(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Return the record of each ``(plaintext, encoded context)``."""
        start = self._associated_data
        return self._cipher.encrypt_each(
            [(plaintext, start + length(len(context)) + context) for plaintext, context in items], prefix=self.header
        )


def check_record(record: bytes) -> str:
    """Return the key id that ``record`` names, if it has the shape of a record.

    Raises:
        TypeError: ``record`` is not bytes.
        securekit.exceptions.FormatError: Another version, too short, or too long.
    """
    if not isinstance(record, bytes):
        message = f"a record is bytes, not {type(record).__name__}; its text form is read by decrypt_text"
        raise TypeError(message)
    if record[:1] != VERSION:
        message = "not a securekit record: it does not begin with the version byte 0x01"
        raise FormatError(message)
    if not OVERHEAD <= len(record) <= MAX_SIZE:
        message = f"a record has {OVERHEAD} to {MAX_SIZE} bytes, not {len(record)}"
        raise FormatError(message)
    return record[1:HEADER_SIZE].hex()


def to_text(record: bytes) -> str:
    """Return ``sk1.`` followed by the record in base64url without padding."""
    return TEXT_PREFIX + base64url.encode(record)


def from_text(text: str) -> bytes:
    """Return the record that ``text`` is the text form of.

    Raises:
        TypeError: ``text`` is not ``str``.
        securekit.exceptions.FormatError: It has no ``sk1.`` before it, is not canonical base64url, or is too long.
    """
    if not isinstance(text, str):
        message = f"the text form of a record is str, not {type(text).__name__}; bytes are read by decrypt"
        raise TypeError(message)
    if not text.startswith(TEXT_PREFIX):
        message = f"not the text form of a securekit record: it does not begin with {TEXT_PREFIX!r}"
        raise FormatError(message)
    if len(text) > _MAX_TEXT:
        message = f"the text form of a record has at most {_MAX_TEXT} characters"
        raise FormatError(message)
    return base64url.decode(text[len(TEXT_PREFIX) :])
