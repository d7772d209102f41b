# SPDX-License-Identifier: Apache-2.0
"""Encrypted values: ``ENC[sk1,<data key id>,<base64url>]``. The format is ``docs/spec/config.md``, section "Tokens"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from securekit._primitives.aead import OVERHEAD, KcXaes256Gcm
from securekit._primitives.hkdf import hkdf, hmac_sha256
from securekit._wire import base64url
from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError, FormatError
from securekit.secret import Secretive

from ._tree import Path, Scalar
from ._value import MAX_VALUE, STEP, decode_value, encode_value, pad, unpad

__all__ = ["DocumentKey", "Token", "foreign", "is_token", "must_open", "parse_token"]

_START = "ENC[sk1,"
_TOKEN = re.compile(r"ENC\[sk1,([0-9a-f]{8}),([A-Za-z0-9_-]+)\]")
# What other tools write in the place of a value: sops and hiera-eyaml, dotenvx, ansible-vault.
_FOREIGN = re.compile(r"\s*(ENC\[|\$ANSIBLE_VAULT;|encrypted:[A-Za-z0-9+/=]{64})")


class Token(NamedTuple):
    """A token's parts: the id of the data key, and ``nonce(24) ‖ commitment(32) ‖ ciphertext ‖ tag(16)``."""

    key_id: str
    sealed: bytes

    def __str__(self) -> str:
        """Return the token as it stands in a document."""
        return f"{_START}{self.key_id},{base64url.encode(self.sealed)}]"


def is_token(value: object) -> bool:
    """Whether ``value`` is meant as a token, well-formed or not."""
    return isinstance(value, str) and value.startswith(_START)


def foreign(value: object) -> bool:
    """Whether ``value`` is a text that holds a ciphertext and is no token: an application must never take it for the secret."""
    return isinstance(value, str) and (_START in value or _FOREIGN.match(value) is not None)


def parse_token(text: str) -> Token:
    """Return the parts of a token.

    Raises:
        securekit.exceptions.FormatError: It is not the one encoding of a token.
    """
    found = _TOKEN.fullmatch(text)
    if found is None:
        message = "a value begins like a token and is none"
        raise FormatError(message)
    sealed = base64url.decode(found[2])
    size = len(sealed) - OVERHEAD
    if not STEP <= size <= MAX_VALUE + STEP or size % STEP:
        message = "a token has an impossible length"
        raise FormatError(message)
    return Token(found[1], sealed)


class DocumentKey(Secretive):
    """A data key of a document.

    Args:
        key: 32 bytes.
        key_id: 8 hexadecimal digits.
        document: 16 bytes, the document's id.
        environment: The document's environment.
    """

    __slots__ = ("_binding", "_cipher", "_tag_key", "id", "value")

    def __init__(self, key: bytes, key_id: str, *, document: bytes, environment: str) -> None:
        self.id = key_id
        self.value = key
        self._binding: tuple[bytes | str, ...] = ("securekit/config/1 value", document, environment, bytes.fromhex(key_id))
        self._cipher = KcXaes256Gcm(hkdf(key, "securekit/config/1 values"))
        self._tag_key = hkdf(key, "securekit/config/1 tag")

    def seal(self, path: Path, value: Scalar) -> Token:
        """Encrypt ``value`` for ``path``."""
        return Token(self.id, self._cipher.encrypt(pad(encode_value(value)), self._bind(path)))

    def open(self, path: Path, token: Token) -> Scalar:
        """Return the value.

        Raises:
            securekit.exceptions.DecryptionError: It was encrypted for another path, document, environment or key, or was changed.
        """
        return decode_value(unpad(self._cipher.decrypt(token.sealed, self._bind(path))))

    def tag(self, body: bytes) -> bytes:
        """Return the document's integrity tag: HMAC-SHA-256, 32 bytes."""
        return hmac_sha256(self._tag_key, body)

    def _bind(self, path: Path) -> bytes:
        return pae((*self._binding, *[b"i%d" % segment if isinstance(segment, int) else b"k" + segment.encode() for segment in path]))


def must_open(keys: Mapping[str, DocumentKey], token: Token) -> DocumentKey:
    """Return the key of ``token``.

    Raises:
        securekit.exceptions.DecryptionError: The document has no such data key.
    """
    if token.key_id not in keys:
        raise DecryptionError
    return keys[token.key_id]
