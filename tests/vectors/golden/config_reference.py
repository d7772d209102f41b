# SPDX-License-Identifier: Apache-2.0
"""Configuration documents once more, written from ``docs/spec/config.md`` and without any of securekit's code.

It knows trees, not texts: how the five formats are parsed is left to them. As in `reference`, randomness is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from tests.vectors.golden.reference import base64url, hkdf, kc_xaes, pae, xor

Path = tuple[str | int, ...]
Tree = Any
Block = Mapping[str, str | Sequence[str]]
ENTRIES = ("format", "document", "environment", "generation", "encrypt", "recipients", "keys", "tag", "signatures")


class Merge(Enum):
    """The key ``<<``."""

    MERGE = "<<"


MERGE = Merge.MERGE


@dataclass(frozen=True, slots=True)
class Alias:
    """``*name``: the path of its anchor."""

    anchor: Path


def encoded(value: object) -> bytes:  # noqa: PLR0911 - one for each type
    """A scalar as bytes: its type, then its value."""
    match value:
        case str():
            return b"s" + value.encode()
        case bool():
            return b"b" + (b"true" if value else b"false")
        case int():
            return b"i" + str(value).encode()
        case float():
            return b"f" + repr(value).encode()
        case None:
            return b"n"
        case bytes():
            return b"y" + value
        case date() | time():
            return b"d" + value.isoformat().encode()
    raise TypeError


def segment(value: str | int) -> bytes:
    """A path's segment as bytes."""
    return b"i" + str(value).encode() if isinstance(value, int) else b"k" + value.encode()


def written(path: Path) -> str:
    """A path as people write it."""
    text = ""
    for value in path:
        if isinstance(value, int):
            text += f"[{value}]"
        else:
            text += "." * bool(text) + (json.dumps(value) if not value or re.search(r'[.\[\]"\\\s*]', value) else value)
    return text


def padded(plaintext: bytes) -> bytes:
    """Padded to the shortest multiple of 16 bytes that has a 0x80 behind it."""
    return plaintext + b"\x80" + bytes(-(len(plaintext) + 1) % 16)


def token(key_id: str, sealed: bytes) -> str:
    """The text of an encrypted value."""
    return f"ENC[sk1,{key_id},{base64url(sealed)}]"


def sealed_value(
    data_key: bytes, plaintext: bytes, *, document: bytes, environment: str, key_id: str, path: Path, nonce: bytes
) -> dict[str, bytes]:
    """What a token holds, of a padded plaintext, with what it was made of."""
    place = [segment(value) for value in path]
    associated = pae("securekit/config/1 value", document, environment, bytes.fromhex(key_id), *place)
    return {**kc_xaes(hkdf(data_key, "securekit/config/1 values"), nonce, plaintext, associated), "associated_data": associated}


def canonical(tree: Tree, block: Block) -> bytes:
    """The canonical document."""
    entries: list[bytes | str] = []
    for name in ENTRIES:
        value = {"tag": "", "signatures": []}.get(name, block[name])
        texts = [value] if isinstance(value, str) else value
        entries += [name, str(len(texts)), *texts]
    return pae("securekit/config/1 document", *entries, *_parts(tree))


def _parts(tree: Tree) -> Iterator[bytes]:
    if isinstance(tree, dict):
        yield b"{" + str(len(tree)).encode()
        for key, value in tree.items():
            yield b"<" if key is MERGE else b"k" + key.encode()
            yield from _parts(value)
    elif isinstance(tree, list):
        yield b"[" + str(len(tree)).encode()
        for item in tree:
            yield from _parts(item)
    elif isinstance(tree, Alias):
        yield b"*" + str(len(tree.anchor)).encode()
        yield from map(segment, tree.anchor)
    else:
        yield encoded(tree)


def integrity_tag(data_key: bytes, document: bytes) -> bytes:
    """The integrity tag of a canonical document."""
    return hmac.digest(hkdf(data_key, "securekit/config/1 tag"), document, "sha256")


def signed(document: bytes, tag: bytes) -> bytes:
    """What is signed."""
    return pae("securekit/config/1 signature", document, tag)


def signature(key: Any, message: bytes) -> bytes:
    """A signature that comes out the same every time: RFC 6979's for the curves, and a salt from a hash for RSA."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return rsa_pss(key, message, hashlib.sha256(message).digest())
    digest = SHA256() if key.curve.name == "secp256r1" else SHA384()
    numbers = decode_dss_signature(key.sign(message, ec.ECDSA(digest, deterministic_signing=True)))
    return b"".join(number.to_bytes(key.curve.key_size // 8) for number in numbers)


def rsa_pss(key: rsa.RSAPrivateKey, message: bytes, salt: bytes) -> bytes:
    """RSASSA-PSS (RFC 8017, sections 8.1.1 and 9.1.1) with SHA-256, MGF1 with SHA-256 and the given 32-byte salt."""
    numbers = key.private_numbers()
    bits = key.key_size - 1
    size = (bits + 7) // 8
    hashed = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + salt).digest()
    block = bytes(size - len(salt) - 34) + b"\x01" + salt
    mask = b"".join(hashlib.sha256(hashed + counter.to_bytes(4)).digest() for counter in range(-(-len(block) // 32)))[: len(block)]
    masked = xor(block, mask)
    first = masked[0] & (0xFF >> (8 * size - bits))
    number = int.from_bytes(bytes([first]) + masked[1:] + hashed + b"\xbc")
    return pow(number, numbers.d, numbers.public_numbers.n).to_bytes((key.key_size + 7) // 8)
