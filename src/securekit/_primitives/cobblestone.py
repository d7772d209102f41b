# SPDX-License-Identifier: Apache-2.0
"""Cobblestone-256 (C2SP *chunked encryption*): AES-256-GCM in chunks of 16 KiB, committing to its key.

``cryptography`` encrypts. Decryption is here, on the published construction, because it reads chunks in any order: chunk
``k`` of a message stands at offset ``56 + k · 16400``, and its nonce is the base nonce XOR ``k``.
"""

from __future__ import annotations

import hmac

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securekit.exceptions import DecryptionError
from securekit.secret import Secretive

from .hkdf import hkdf_expand

__all__ = [
    "CHUNK_SIZE",
    "HEADER_SIZE",
    "MAX_CHUNKS",
    "SEALED_CHUNK_SIZE",
    "ChunkOpener",
    "StreamEncryptor",
    "sealed_size",
]

CHUNK_SIZE = 16 * 1024  # bytes of plaintext in every chunk but the last, which is shorter
TAG_SIZE = 16  # bytes, AES-256-GCM
SEALED_CHUNK_SIZE = CHUNK_SIZE + TAG_SIZE
SALT_SIZE = 24  # bytes
COMMITMENT_SIZE = 32  # bytes
HEADER_SIZE = SALT_SIZE + COMMITMENT_SIZE  # bytes before the first chunk
MAX_CHUNKS = 1 << 38
_KEY_SIZE = 32  # bytes, AES-256
_NONCE_SIZE = 12  # bytes, AES-256-GCM
Buffer = bytes | bytearray | memoryview

_LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"

StreamEncryptor = Cobblestone256Encryptor
"""``update``, ``update_into`` and ``finalize``; the salt is drawn when it is made."""


class ChunkOpener(Secretive):
    """Decrypts single chunks of a message, in any order.

    Args:
        key: 32 bytes.
        context: As it was when the message was encrypted.
        header: The message's first 56 bytes: ``salt(24) ‖ commitment(32)``.

    Raises:
        securekit.exceptions.DecryptionError: The commitment is not that of key, context and salt.
    """

    __slots__ = ("_base_nonce", "_cipher")

    def __init__(self, key: bytes, context: bytes, header: bytes) -> None:
        if len(key) != _KEY_SIZE:
            message = f"a key has {_KEY_SIZE} bytes, not {len(key)}"
            raise ValueError(message)
        salt, commitment = header[:SALT_SIZE], header[SALT_SIZE:]
        derived = hkdf_expand(key, _LABEL + salt + context, size=_KEY_SIZE + _NONCE_SIZE + COMMITMENT_SIZE, digest="sha512")
        if len(header) != HEADER_SIZE or not hmac.compare_digest(derived[_KEY_SIZE + _NONCE_SIZE :], commitment):
            raise DecryptionError
        self._cipher = AESGCM(derived[:_KEY_SIZE])
        self._base_nonce = int.from_bytes(derived[_KEY_SIZE : _KEY_SIZE + _NONCE_SIZE])

    def open(self, number: int, chunk: Buffer) -> bytes:
        """Return the plaintext of chunk ``number``.

        Raises:
            securekit.exceptions.DecryptionError: It is not that chunk of this message.
        """
        try:
            return self._cipher.decrypt(self._nonce(number), chunk, None)
        except InvalidTag:
            pass
        raise DecryptionError

    def open_run(self, number: int, sealed: memoryview) -> list[bytes]:
        """Return the plaintexts of full chunks that follow each other, from chunk ``number`` on.

        Raises:
            securekit.exceptions.DecryptionError: They are not these chunks of this message.
        """
        base, decrypt = self._base_nonce, self._cipher.decrypt
        try:
            return [
                decrypt((base ^ (number + at // SEALED_CHUNK_SIZE)).to_bytes(_NONCE_SIZE), sealed[at : at + SEALED_CHUNK_SIZE], None)
                for at in range(0, len(sealed), SEALED_CHUNK_SIZE)
            ]
        except InvalidTag:
            pass
        raise DecryptionError

    def open_run_into(self, number: int, sealed: memoryview, target: memoryview) -> None:
        """Write the plaintexts of full chunks that follow each other into ``target``, which has exactly their size.

        Raises:
            securekit.exceptions.DecryptionError: They are not these chunks of this message; ``target`` is zeros.
        """
        base, decrypt_into, place = self._base_nonce, self._cipher.decrypt_into, 0
        try:
            for at in range(0, len(sealed), SEALED_CHUNK_SIZE):
                nonce = (base ^ number).to_bytes(_NONCE_SIZE)
                decrypt_into(nonce, sealed[at : at + SEALED_CHUNK_SIZE], None, target[place : place + CHUNK_SIZE])
                number += 1
                place += CHUNK_SIZE
        except InvalidTag:
            target[:] = bytes(len(target))  # whatever the cipher has written before it saw the tag
        else:
            return
        raise DecryptionError

    def _nonce(self, number: int) -> bytes:
        return (self._base_nonce ^ number).to_bytes(_NONCE_SIZE)


def sealed_size(size: int) -> int:
    """Return how many bytes a message of ``size`` bytes has when it is encrypted."""
    return HEADER_SIZE + size + TAG_SIZE * (size // CHUNK_SIZE + 1)
