# SPDX-License-Identifier: Apache-2.0
"""The header of an envelope: bytes to values and back. The format is ``docs/spec/envelope.md``.

::

    magic(14) ‖ flags(1) ‖ message id(16) ‖ slot exponent(1) ‖ generation(4) ‖ recipient count(1) ‖ recipients ‖ MAC(32)
    recipient = size(2) ‖ name(1 + n) ‖ key_ref(2 + n) ‖ ciphertext(2 + n) ‖ count(1) ‖ (name(1 + n) ‖ text(2 + n))*

Nothing here is trusted before `SealedHeader.authenticate`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from securekit._primitives.aead import KEY_SIZE
from securekit._primitives.hkdf import hkdf_expand, hkdf_extract, hmac_sha256
from securekit._wire.pae import encode_context, pae
from securekit.exceptions import DecryptionError, FormatError
from securekit.secret import Secretive
from securekit.wrappers import WrappedKey
from securekit.wrappers._protocol import MAX_CIPHERTEXT_SIZE
from securekit.wrappers._recipients import MAX_RECIPIENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAGIC", "MAX_GENERATION", "MAX_SLOT", "MESSAGE", "MIN_SLOT", "STREAM", "DataKey", "Header", "SealedHeader", "read_header"]

MAGIC = b"sk-envelope/1\n"
MESSAGE = 0
STREAM = 1  # flag, bit 0
MESSAGE_ID_SIZE = 16  # bytes
MAC_SIZE = 32  # bytes, HMAC-SHA-256
MAX_RECIPIENT_SIZE = 4096  # bytes, its own size included
MIN_SLOT, MAX_SLOT = 12, 19  # exponents of two: 4 to 512 KiB
MAX_GENERATION = 2**32 - 1
_FIXED_SIZE = len(MAGIC) + 1 + MESSAGE_ID_SIZE + 1 + 4 + 1  # bytes before the recipients
_MAX_ABOUT = 8  # facts for display
_MAX_ABOUT_TEXT = 512  # characters
_MAX_NAME = 64  # bytes
_MAX_REFERENCE = 700  # bytes

Take = Callable[[int], bytes]
"""Returns the next so many bytes, or fewer at the end."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says. ``slot`` is the exponent of the slot's size, 0 for a header without slots."""

    flags: int
    message_id: bytes
    slot: int
    generation: int
    recipients: tuple[WrappedKey, ...]

    @property
    def binding(self) -> tuple[str, bytes]:
        """What the wrapped copies of the data key are bound to."""
        return ("envelope", self.message_id)

    @property
    def slot_size(self) -> int:
        """Bytes of one slot; 0 for a header without slots."""
        return 1 << self.slot if self.slot else 0

    def seal(self, key: DataKey) -> bytes:
        """Return the header's one encoding, authenticated under ``key``."""
        body = self._body()
        return body + key.header_mac(body)

    def _body(self) -> bytes:
        recipients = [_encode_recipient(wrapped) for wrapped in self.recipients]
        return b"".join(
            [
                MAGIC,
                bytes([self.flags]),
                self.message_id,
                bytes([self.slot]),
                self.generation.to_bytes(4),
                bytes([len(recipients)]),
                *recipients,
            ]
        )


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """A header as it was read: what it says, the bytes before its MAC, and the MAC."""

    header: Header
    body: bytes
    mac: bytes

    @property
    def size(self) -> int:
        """Bytes of the header, the MAC included, without the padding of a slot."""
        return len(self.body) + MAC_SIZE

    def authenticate(self, key: DataKey) -> None:
        """Check that it was made by someone who knew the data key.

        Raises:
            securekit.exceptions.DecryptionError: It was not.
        """
        if not hmac.compare_digest(self.mac, key.header_mac(self.body)):
            raise DecryptionError


class DataKey(Secretive):
    """The 32 bytes that recipients unwrap: they authenticate the header and encrypt the payload."""

    __slots__ = ("_extracted", "_value")

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._extracted = hkdf_extract(value)

    def header_mac(self, body: bytes) -> bytes:
        """Return the HMAC-SHA-256 of a header without its MAC."""
        return hmac_sha256(hkdf_expand(self._extracted, b"securekit/envelope/1 header", size=KEY_SIZE), body)

    def payload_key(self, flags: int) -> bytes:
        """Return the 32-byte key of the payload."""
        return hkdf_expand(self._extracted, _payload_label(flags).encode(), size=KEY_SIZE)

    def equals(self, other: DataKey) -> bool:
        """Say whether both are the same, in constant time."""
        return hmac.compare_digest(self._value, other._value)

    def reveal(self) -> bytes:
        """Return the 32 bytes, to be wrapped."""
        return self._value


def payload_context(header: Header, context: Mapping[str, str]) -> bytes:
    """Return what the payload is bound to: the associated data of a message, the context of a stream."""
    return pae([_payload_label(header.flags), bytes([header.flags]), header.message_id, encode_context(context)])


def read_header(take: Take) -> SealedHeader:
    """Read a header, and not a byte beyond it.

    Raises:
        securekit.exceptions.FormatError: It is no envelope, truncated, out of bounds, or not in its one encoding.
    """
    fixed = take(_FIXED_SIZE)
    if fixed[: len(MAGIC)] != MAGIC:
        message = "not a sealed message: it does not begin with 'sk-envelope/1'"
        raise FormatError(message)
    _expect(len(fixed) == _FIXED_SIZE, "is truncated")
    flags, message_id = fixed[14], fixed[15:31]
    slot, generation, count = fixed[31], int.from_bytes(fixed[32:36]), fixed[36]
    _expect(flags in {MESSAGE, STREAM}, "has unknown flags")
    _expect(slot == 0 or (flags == STREAM and MIN_SLOT <= slot <= MAX_SLOT), "has a slot size out of bounds")
    _expect(slot != 0 or generation == 0, "has a generation and no slots")
    _expect(1 <= count <= MAX_RECIPIENTS, f"has not 1 to {MAX_RECIPIENTS} recipients")
    pieces, recipients = [fixed], []
    for _ in range(count):
        size = take(2)
        length = int.from_bytes(size)
        _expect(len(size) == 2 and length <= MAX_RECIPIENT_SIZE - 2, "has a recipient out of bounds")  # noqa: PLR2004 - two bytes hold it
        encoded = take(length)
        _expect(len(encoded) == length, "is truncated")
        pieces += (size, encoded)
        recipients.append(_decode_recipient(encoded))
    order = [wrapped.recipient for wrapped in recipients]
    _expect(order == sorted(set(order)), "has recipients that are out of order or twice the same")
    mac = take(MAC_SIZE)
    _expect(len(mac) == MAC_SIZE, "is truncated")
    return SealedHeader(Header(flags, message_id, slot, generation, tuple(recipients)), b"".join(pieces), mac)


def _payload_label(flags: int) -> str:
    return "securekit/envelope/1 stream" if flags & STREAM else "securekit/envelope/1 message"


def _encode_recipient(wrapped: WrappedKey) -> bytes:
    """Return the one encoding. What a wrapper gave is checked as a reader will: a header that nobody can read is not written."""
    before, behind = _encode_around(wrapped.wrapper, wrapped.key_ref, tuple(sorted(wrapped.about.items())))
    size = len(wrapped.ciphertext)
    fits = 0 < size <= MAX_CIPHERTEXT_SIZE and len(before) + 2 + size + len(behind) <= MAX_RECIPIENT_SIZE - 2
    _expect(fits, "would have a recipient out of bounds")
    return _long(b"".join((before, _long(wrapped.ciphertext), behind)))


@lru_cache(maxsize=256)  # the same for every message to a recipient, and a fifth of the time that a small one takes
def _encode_around(wrapper: str, key_ref: str, about: tuple[tuple[str, str], ...]) -> tuple[bytes, bytes]:
    """Return what stands before and behind a recipient's ciphertext."""
    try:
        before = _short(wrapper.encode()) + _long(key_ref.encode())
        behind = bytes([len(about)]) + b"".join(_short(name.encode()) + _long(text.encode()) for name, text in about)
    except (OverflowError, ValueError):
        before = behind = b""
    _expect(before != b"", "would have a recipient out of bounds")
    _decode_recipient(before + _long(b"ciphertext") + behind)
    return before, behind


def _decode_recipient(encoded: bytes) -> WrappedKey:
    fields = _Fields(encoded)
    wrapper, key_ref = fields.text(1, _MAX_NAME), fields.text(2, _MAX_REFERENCE)
    ciphertext = fields.data(2, MAX_CIPHERTEXT_SIZE)
    count = fields.number(1)
    _expect(count <= _MAX_ABOUT and ciphertext != b"" and wrapper != "", "has a recipient out of bounds")
    facts = [(fields.text(1, _MAX_NAME), fields.text(2, 4 * _MAX_ABOUT_TEXT)) for _ in range(count)]
    names = [name.encode() for name, _ in facts]
    _expect(names == sorted(set(names)) and all(len(text) <= _MAX_ABOUT_TEXT for _, text in facts), "has a description out of bounds")
    fields.end()
    return WrappedKey(wrapper, key_ref, ciphertext, dict(facts))


class _Fields:
    """Reads length-prefixed fields, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size))

    def data(self, prefix: int, most: int) -> bytes:
        size = self.number(prefix)
        _expect(size <= most, "has a recipient out of bounds")
        return self._take(size)

    def text(self, prefix: int, most: int) -> str:
        try:
            text = self.data(prefix, most).decode()
        except UnicodeDecodeError:
            text = "\0"
        _expect("\0" not in text, "has text that is not UTF-8")
        return text

    def end(self) -> None:
        _expect(self._position == len(self._data), "has bytes behind a recipient")

    def _take(self, size: int) -> bytes:
        taken = self._data[self._position : self._position + size]
        _expect(len(taken) == size, "has a truncated recipient")
        self._position += size
        return taken


def _short(data: bytes) -> bytes:
    return len(data).to_bytes(1) + data


def _long(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def _expect(condition: bool, fault: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not condition:
        message = f"the header of the sealed message {fault}"
        raise FormatError(message)
