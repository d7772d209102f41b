# SPDX-License-Identifier: Apache-2.0
"""The functions that hash passwords: each releases the interpreter's lock while it works.

Of two implementations the faster one is called: scrypt and PBKDF2 of ``cryptography`` take 0.9 and 0.6 times as long as those of
``hashlib``. Argon2 is argon2-cffi's, since ``cryptography``'s with more than one lane dead-locks two threads in version 50.
Each package is imported at its first use: no process needs all of them.
"""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["ARGON2_VERSION", "BCRYPT_SIZE", "argon2", "bcrypt", "bcrypt_decode", "bcrypt_encode", "hmac_sha384", "md4", "pbkdf2", "scrypt"]

ARGON2_VERSION = 0x13  # RFC 9106, section 3.1
BCRYPT_SIZE = 23  # bytes of the 24 that bcrypt computes: 184 bits

_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TO_BCRYPT = bytes.maketrans(_STANDARD, _BCRYPT)
# Characters outside bcrypt's alphabet are mapped to one that is in no alphabet.
_FROM_BCRYPT = bytes.maketrans(_BCRYPT + b"+=", _STANDARD + b"\x00\x00")


def argon2(
    password: bytes,
    *,
    salt: bytes,
    memory: int,
    passes: int,
    lanes: int,
    size: int,
    variant: str = "argon2id",
    version: int = ARGON2_VERSION,
) -> bytes:
    """Return ``size`` bytes of Argon2 (RFC 9106).

    Args:
        password: Any bytes.
        salt: 8 bytes or more.
        memory: KiB, at least 8 for each lane; bounded by the caller, as all numbers here.
        passes: Iterations over the memory.
        lanes: Degree of parallelism.
        size: At least 4 bytes.
        variant: ``"argon2id"``, ``"argon2i"`` or ``"argon2d"``.
        version: 0x13, or 0x10 for hashes made before 2016.

    Raises:
        MemoryError: The system does not grant the memory, or the threads.
    """
    from argon2.exceptions import HashingError
    from argon2.low_level import Type, hash_secret_raw

    kind = {"argon2id": Type.ID, "argon2i": Type.I, "argon2d": Type.D}[variant]
    try:
        return hash_secret_raw(password, salt, passes, memory, lanes, size, kind, version)
    except HashingError:
        pass  # nothing is raised here: the frames of argon2-cffi hold the password
    del password
    message = f"Argon2 was not granted {memory} KiB of memory"
    raise MemoryError(message)


def scrypt(password: bytes, *, salt: bytes, n: int, r: int, p: int, size: int) -> bytes:
    """Return ``size`` bytes of scrypt (RFC 7914), which takes 128 · ``n`` · ``r`` bytes of memory.

    Raises:
        MemoryError: The system does not grant the memory.
    """
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt, size, n, r, p).derive(password)


def pbkdf2(password: bytes, *, salt: bytes, iterations: int, size: int, digest: str = "sha256") -> bytes:
    """Return ``size`` bytes of PBKDF2 (RFC 8018, section 5.2) with HMAC of ``digest``: ``"sha1"``, ``"sha224"``, …, ``"sha512"``."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    kind: hashes.HashAlgorithm = getattr(hashes, digest.upper())()
    return PBKDF2HMAC(kind, size, salt, iterations).derive(password)


def bcrypt(password: bytes, *, salt: bytes, rounds: int) -> bytes:
    """Return the 23 bytes of bcrypt in its version 2b, after 2 to the power of ``rounds`` rounds.

    Args:
        password: At most 72 bytes; a NUL is a byte like others.
        salt: 16 bytes.
        rounds: 4 to 31.
    """
    import bcrypt as library

    setting = b"$2b$%02d$" % rounds + bcrypt_encode(salt)
    return bcrypt_decode(library.hashpw(password, setting)[len(setting) :], size=BCRYPT_SIZE)


def bcrypt_encode(data: bytes) -> bytes:
    """Return ``data`` in the base 64 of bcrypt, which has an alphabet of its own: 22 characters of a salt, 31 of a digest."""
    import binascii

    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_BCRYPT)


def bcrypt_decode(text: bytes, *, size: int) -> bytes:
    """Return the ``size`` bytes that ``text`` stands for.

    Raises:
        ValueError: It is not the one encoding of so many bytes.
    """
    import binascii

    padded = text.translate(_FROM_BCRYPT) + b"=" * (-len(text) % 4)
    data = binascii.a2b_base64(padded, strict_mode=True)
    if len(data) != size or bcrypt_encode(data) != text:
        message = f"not bcrypt's base 64 of {size} bytes"
        raise ValueError(message)
    return data


def hmac_sha384(key: bytes, message: bytes) -> bytes:
    """Return the 48 bytes of HMAC-SHA-384."""
    return hmac.digest(key, message, "sha384")


def md4(data: bytes) -> bytes:
    """Return the 16 bytes of MD4 (RFC 1320), which only digests of NTLM need.

    Raises:
        NotImplementedError: OpenSSL has it in its "legacy" provider alone, which Python does not load.
    """
    try:
        return hashlib.new("md4", data, usedforsecurity=False).digest()
    except ValueError:
        del data
    message = "this Python has no MD4: its OpenSSL does not load the provider that NTLM's digests need"
    raise NotImplementedError(message)
