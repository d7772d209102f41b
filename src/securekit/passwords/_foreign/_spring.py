# SPDX-License-Identifier: Apache-2.0
"""Strings that begin with ``{id}``: those of Spring Security's DelegatingPasswordEncoder, and of directories (RFC 2307).

Spring's PBKDF2 does not write its parameters down; the id stands for them. Its ids are from ``PasswordEncoderFactories`` of version 6.
"""

from __future__ import annotations

from ._hash import ForeignHash, argon2_hash, base64_decode, hex_decode, pbkdf2_hash, refuse, salted_digest, scrypt_hash
from ._mcf import bcrypt

__all__ = ["read"]

_NEW = "@springsecurity_v5_8"
# Pbkdf2PasswordEncoder: hash, iterations, bytes of the salt that stands before the digest. All digests have 32 bytes.
_PBKDF2 = {"pbkdf2": ("sha1", 185_000, 8), "pbkdf2" + _NEW: ("sha256", 310_000, 16)}
_PBKDF2_SIZE = 32  # bytes
_DIRECTORY = {"ssha": ("sha1", 20), "ssha256": ("sha256", 32), "ssha512": ("sha512", 64)}  # bytes before the salt
_LARGEST_LN, _BYTE = 64, 0xFF


def read(text: str, *, legacy_truncate: bool) -> ForeignHash | None:
    """Return the hash; None if the string is in another form."""
    name, found, rest = text[1:].partition("}")
    name = name.lower()
    if not (text.startswith("{") and found):
        return None
    if name == "ldap":
        inner = read(rest, legacy_truncate=legacy_truncate)
        return inner if inner and inner.form == "ldap" else None
    if name in _DIRECTORY:
        return _directory(rest, *_DIRECTORY[name])
    return _delegated(name, rest, legacy_truncate=legacy_truncate)


def _delegated(name: str, rest: str, *, legacy_truncate: bool) -> ForeignHash | None:
    if name == "bcrypt":
        return bcrypt("spring", rest, legacy_truncate=legacy_truncate)
    if name in _PBKDF2:
        return _pbkdf2(rest, *_PBKDF2[name])
    if name in {"scrypt", "scrypt" + _NEW}:
        return _scrypt(rest)
    if name in {"argon2", "argon2" + _NEW}:
        if not rest.startswith("$argon2"):
            refuse("Spring's {argon2} is followed by $argon2id$…")
        return argon2_hash("spring", rest)
    return None


def _directory(rest: str, hash_name: str, size: int) -> ForeignHash:
    both = base64_decode(rest)
    if len(both) <= size:
        refuse(f"a salted digest of {hash_name} has {size} bytes and then a salt")
    return salted_digest("ldap", hash_name, salt=both[size:], digest=both[:size])


def _pbkdf2(rest: str, hash_name: str, iterations: int, salt_size: int) -> ForeignHash:
    both = hex_decode(rest)
    if len(both) != salt_size + _PBKDF2_SIZE:
        refuse(f"Spring's PBKDF2 with this id has {salt_size} bytes of salt and {_PBKDF2_SIZE} of digest")
    return pbkdf2_hash("spring", hash_name, iterations=iterations, salt=both[:salt_size], digest=both[salt_size:], expected=_PBKDF2_SIZE)


def _scrypt(rest: str) -> ForeignHash:
    """Read ``$e0801$salt$digest``, where the hexadecimal number has p in its last byte, r in the one before, and ln above."""
    parts = rest.split("$")
    if len(parts) != 4 or parts[0]:  # noqa: PLR2004 - nothing, parameters, salt, digest
        refuse("Spring's scrypt has $parameters$salt$digest")
    numbers = int.from_bytes(hex_decode(parts[1].zfill(8)), "big")
    n = 1 << min(numbers >> 16, _LARGEST_LN)
    salt, digest = base64_decode(parts[2]), base64_decode(parts[3])
    return scrypt_hash("spring", n=n, r=numbers >> 8 & _BYTE, p=numbers & _BYTE, salt=salt, digest=digest)
