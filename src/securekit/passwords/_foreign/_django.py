# SPDX-License-Identifier: Apache-2.0
"""Django's strings, ``algorithm$…``; passlib writes the same ones as ``django_…``."""

from __future__ import annotations

from securekit.passwords._phc import parse_number

from ._hash import ForeignHash, argon2_hash, base64_decode, pbkdf2_hash, refuse, scrypt_hash
from ._mcf import bcrypt

__all__ = ["read"]

_PBKDF2 = {"pbkdf2_sha256": "sha256", "pbkdf2_sha1": "sha1"}


def read(text: str, *, legacy_truncate: bool) -> ForeignHash | None:
    """Return the hash; None if the string is in another form."""
    name, found, rest = text.partition("$")
    if name in _PBKDF2:
        return _pbkdf2(rest, _PBKDF2[name])
    if name == "scrypt":
        return _scrypt(rest)
    if name == "bcrypt":
        return bcrypt("django", rest, legacy_truncate=legacy_truncate)
    if name == "bcrypt_sha256":
        return bcrypt("django", rest, sha256=True)
    if name == "argon2":
        if not rest.startswith("argon2"):
            refuse("Django's argon2 is followed by $argon2id$…")
        return argon2_hash("django", found + rest)
    return None


def _pbkdf2(rest: str, hash_name: str) -> ForeignHash:
    iterations, _, rest = rest.partition("$")
    salt, _, digest = rest.partition("$")
    return pbkdf2_hash("django", hash_name, iterations=parse_number(iterations), salt=_salt(salt), digest=base64_decode(digest))


def _scrypt(rest: str) -> ForeignHash:
    """Read ``n$salt$r$p$digest``."""
    parts = rest.split("$")
    if len(parts) != 5:  # noqa: PLR2004 - as the docstring has them
        refuse("Django's scrypt has n, salt, r, p and digest")
    n, r, p = (parse_number(parts[number]) for number in (0, 2, 3))
    return scrypt_hash("django", n=n, r=r, p=p, salt=_salt(parts[1]), digest=base64_decode(parts[4]), least=64)


def _salt(text: str) -> bytes:
    if not text:
        refuse("a salt is not empty")
    return text.encode()
