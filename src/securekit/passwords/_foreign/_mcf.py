# SPDX-License-Identifier: Apache-2.0
"""Strings that begin with ``$``: PHC strings, those of crypt, and those of passlib."""

from __future__ import annotations

import base64
import hashlib
import hmac

from securekit.passwords._phc import Phc, b64_decode, parse_number

from ._hash import ForeignHash, argon2_hash, bcrypt_hash, pbkdf2_hash, refuse, scrypt_hash

__all__ = ["bcrypt", "read"]

_BCRYPT_TEXT = len("$2b$12$") + 53  # characters
_FAULTY = {
    "2": "bcrypt's first version ($2$) hashed a password without its end: have its user choose a new one",
    "2x": "$2x$ marks hashes that a fault in crypt_blowfish made, which mixes up passwords beyond ASCII: have its user choose a new one",
}
_PBKDF2 = {"pbkdf2": "sha1", "pbkdf2-sha1": "sha1", "pbkdf2-sha256": "sha256", "pbkdf2-sha512": "sha512"}
_HIGHEST_LN = 64  # the ceiling is far below


def read(text: str, *, legacy_truncate: bool) -> ForeignHash | None:
    """Return the hash; None if the string is in another form."""
    name = text[1:].partition("$")[0]
    if not text.startswith("$"):
        return None
    if name in _FAULTY:
        refuse(_FAULTY[name])
    if name in {"2a", "2b", "2y"}:
        return bcrypt("mcf", text, legacy_truncate=legacy_truncate)
    if name in {"argon2id", "argon2i", "argon2d"}:
        return argon2_hash("phc", text)
    if name == "scrypt":
        return _scrypt(text)
    if name == "bcrypt-sha256":
        return _bcrypt_sha256(text)
    return _pbkdf2(text, _PBKDF2[name]) if name in _PBKDF2 else None


def bcrypt(form: str, text: str, *, sha256: bool = False, legacy_truncate: bool = False) -> ForeignHash:
    """Return a hash of bcrypt in the form of crypt, ``$2b$12$…``.

    Args:
        form: Who writes it so.
        text: The string.
        sha256: The password was replaced by the hexadecimal digits of its SHA-256, as Django does.
        legacy_truncate: As in `parse`.
    """
    version, rounds, rest = text[:4], text[4:6], text[7:]
    if len(text) != _BCRYPT_TEXT or version not in {"$2a$", "$2b$", "$2y$"} or text[6] != "$":
        refuse(f"bcrypt has {_BCRYPT_TEXT} characters, such as $2b$12$…")
    before = _sha256_hex if sha256 else None
    return bcrypt_hash(form, rounds=rounds.removeprefix("0"), text=rest, before=before, legacy_truncate=legacy_truncate)


def _scrypt(text: str) -> ForeignHash:
    phc = Phc.parse(text)
    if phc.parameters.keys() != {"ln", "r", "p"} or phc.version is not None:
        refuse("scrypt has ln, r and p, and no version")
    n = 1 << min(phc.parameters["ln"], _HIGHEST_LN)
    return scrypt_hash("phc", n=n, r=phc.parameters["r"], p=phc.parameters["p"], salt=phc.salt, digest=phc.digest)


def _pbkdf2(text: str, hash_name: str) -> ForeignHash:
    """Read passlib's ``$pbkdf2-sha256$29000$…``, which has a dot for the plus of base 64, or a PHC string with ``i=29000``."""
    if "=" in text:
        phc = Phc.parse(text)
        numbers = phc.parameters
        expected = numbers.get("l")
        if numbers.keys() | {"l"} != {"i", "l"} or expected not in {None, len(phc.digest)} or phc.version is not None:
            refuse("pbkdf2 has i, no version, and perhaps l, the length of its digest")
        return pbkdf2_hash("phc", hash_name, iterations=numbers["i"], salt=phc.salt, digest=phc.digest, expected=expected)
    parts = text.split("$")
    if len(parts) != 5 or "+" in text:  # noqa: PLR2004 - nothing, name, iterations, salt, digest
        refuse("pbkdf2 has iterations, salt and digest")
    salt, digest = (b64_decode(part.replace(".", "+")) for part in parts[3:])
    return pbkdf2_hash("passlib", hash_name, iterations=parse_number(parts[2]), salt=salt, digest=digest)


def _bcrypt_sha256(text: str) -> ForeignHash:
    """Read passlib's ``$bcrypt-sha256$v=2,t=2b,r=12$SALT$DIGEST``, or ``$bcrypt-sha256$2b,12$SALT$DIGEST`` from before 2020."""
    settings, _, rest = text.removeprefix("$bcrypt-sha256$").partition("$")
    salt, _, digest = rest.partition("$")
    first, _, rounds = settings.rpartition(",")
    if first in {"v=2,t=2a", "v=2,t=2b"} and rounds.startswith("r="):
        key = salt.encode()

        def before(password: bytes) -> bytes:
            return base64.b64encode(hmac.digest(key, password, "sha256"))

        return bcrypt_hash("passlib", rounds=rounds.removeprefix("r="), text=salt + digest, before=before)
    if first not in {"2a", "2b"}:
        refuse("passlib's bcrypt-sha256 has v=2,t=2b,r=12, or 2b,12, and then salt and digest")
    return bcrypt_hash("passlib", rounds=rounds.removeprefix("0"), text=salt + digest, before=_sha256_base64)


def _sha256_hex(password: bytes) -> bytes:
    return hashlib.sha256(password).hexdigest().encode()


def _sha256_base64(password: bytes) -> bytes:
    return base64.b64encode(hashlib.sha256(password).digest())
