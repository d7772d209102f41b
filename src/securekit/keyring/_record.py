# SPDX-License-Identifier: Apache-2.0
"""Records: short messages under one key version of a keyring. The format is ``docs/spec/record.md``.

``0x01 ‖ key id(4) ‖ nonce(24) ‖ commitment(32) ‖ ciphertext(n) ‖ tag(16)``
"""

from __future__ import annotations

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
    """The key of one key version, ready for records: its cipher, and what their associated data begins with.

    Args:
        key: 32 bytes.
        path: The keyring's path.
        key_id: 8 hexadecimal digits.
    """

    __slots__ = ("associated_data", "cipher", "header", "key_id")

    def __init__(self, key: bytes, *, path: str, key_id: str) -> None:
        self.key_id: str = key_id
        self.header: bytes = VERSION + bytes.fromhex(key_id)
        self.cipher: KcXaes256Gcm = KcXaes256Gcm(key, prefix=self.header)
        # pae(["securekit/record/1", path, header, context]) up to its last part, which `ContextEncoder` gives.
        self.associated_data: bytes = length(4) + pae(["securekit/record/1", path, self.header])[8:]

    @property
    def units_used(self) -> int:
        """How many messages this object has encrypted, one more per further started 64 KiB of a message."""
        return self.cipher.units_used


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
