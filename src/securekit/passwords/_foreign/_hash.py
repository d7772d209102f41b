# SPDX-License-Identifier: Apache-2.0
"""A stored hash that others made, and what the schemes have in common whoever writes them down."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from typing import NoReturn, final

from securekit._primitives import password_kdfs as kdfs
from securekit.exceptions import FormatError
from securekit.passwords._cost import argon2_cost, bcrypt_cost, pbkdf2_cost, scrypt_cost
from securekit.passwords._phc import Phc, parse_number
from securekit.passwords._stored import Cost
from securekit.secret import Secretive

__all__ = [
    "PBKDF2_DIGESTS",
    "ForeignHash",
    "argon2_hash",
    "base64_decode",
    "bcrypt_hash",
    "hex_decode",
    "pbkdf2_hash",
    "refuse",
    "salted_digest",
    "scrypt_hash",
]

PBKDF2_DIGESTS = {"sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}  # bytes of each
_LEAST_DIGEST, _MOST_DIGEST = 12, 64  # bytes, as in the specification of PHC strings; a shorter one is matched by chance
_LEAST_ARGON2_SALT = 8  # bytes, RFC 9106 section 3.1
_ARGON2_VERSIONS = {None: 0x10, 0x10: 0x10, 0x13: 0x13}  # strings from before 2016 have none
_BCRYPT_LONGEST = 72  # bytes of a password that bcrypt looks at
_BCRYPT_SALT, _BCRYPT_SALT_TEXT = 16, 22  # bytes, characters
_BCRYPT_TEXT = _BCRYPT_SALT_TEXT + 31  # characters


@final
class ForeignHash(Secretive):
    """One stored hash, parsed and within bounds.

    Args:
        form: Who writes it so.
        cost: What a verification costs.
        work: What makes a digest of a password.
        digest: The one that is stored.
    """

    __slots__ = ("_digest", "_work", "cost", "form")

    def __init__(self, form: str, cost: Cost, work: Callable[[bytes], bytes], digest: bytes) -> None:
        self.form: str = form
        self.cost: Cost = cost
        self._work = work
        self._digest = digest

    def matches(self, password: bytes) -> bool:
        """Whether ``password`` (UTF-8, as given by the caller) is the one, compared in constant time. Does the work."""
        return hmac.compare_digest(self._work(password), self._digest)


def argon2_hash(form: str, text: str) -> ForeignHash:
    """Return the hash of a PHC string of Argon2, in any of its variants and versions."""
    phc = Phc.parse(text)
    if phc.parameters.keys() != {"m", "t", "p"} or phc.version not in _ARGON2_VERSIONS or len(phc.salt) < _LEAST_ARGON2_SALT:
        refuse(f"{phc.scheme} has m, t and p, version 16 or 19, and a salt of {_LEAST_ARGON2_SALT} bytes or more")
    size = _checked_size(phc.digest)
    m, t, p = (phc.parameters[name] for name in "mtp")
    cost = argon2_cost(phc.scheme, m=m, t=t, p=p, bits=8 * size)
    version = _ARGON2_VERSIONS[phc.version]
    work = partial(kdfs.argon2, salt=phc.salt, memory=m, passes=t, lanes=p, size=size, variant=phc.scheme, version=version)
    return ForeignHash(form, cost, work, phc.digest)


def scrypt_hash(form: str, *, n: int, r: int, p: int, salt: bytes, digest: bytes, least: int = 32) -> ForeignHash:
    """Return a hash of scrypt, whose digest has ``least`` bytes or more: a shorter one was cut off, and would match all the same."""
    size = _checked_size(digest)
    cost = scrypt_cost(n=n, r=r, p=p, bits=8 * size)
    if size < least:
        refuse(f"a digest of scrypt has {least} bytes or more here: this one was cut off")
    return ForeignHash(form, cost, partial(kdfs.scrypt, salt=salt, n=n, r=r, p=p, size=size), digest)


def pbkdf2_hash(form: str, hash_name: str, *, iterations: int, salt: bytes, digest: bytes, expected: int | None = None) -> ForeignHash:
    """Return a hash of PBKDF2.

    Args:
        form: Who writes it so.
        hash_name: One of `PBKDF2_DIGESTS`.
        iterations: As they stand in the string.
        salt: Its bytes.
        digest: Its bytes.
        expected: How many bytes the digest was made with, if not those of the hash. One that was cut off would match all the same.
    """
    size = _checked_size(digest)
    blocks = -(-size // PBKDF2_DIGESTS[hash_name])  # each is as much work
    pbkdf2_cost(hash_name, iterations=iterations * blocks, bits=8 * size)
    cost = pbkdf2_cost(hash_name, iterations=iterations, bits=8 * size)
    if size != (PBKDF2_DIGESTS[hash_name] if expected is None else expected):
        refuse("a digest of PBKDF2 has as many bytes as its hash here: this one was cut off, or is another's")
    return ForeignHash(form, cost, partial(kdfs.pbkdf2, salt=salt, iterations=iterations, size=size, digest=hash_name), digest)


def bcrypt_hash(
    form: str,
    *,
    rounds: str,
    text: str,
    before: Callable[[bytes], bytes] | None = None,
    legacy_truncate: bool = False,
) -> ForeignHash:
    """Return a hash of bcrypt.

    Args:
        form: Who writes it so.
        rounds: Decimal, as it stands in the string; its exponent of two.
        text: 22 characters of salt and 31 of digest.
        before: What is done to the password first.
        legacy_truncate: A longer password than 72 bytes is cut off, and not a wrong one.
    """
    cost = bcrypt_cost(rounds=parse_number(rounds))
    try:
        raw = text.encode()
        salt = kdfs.bcrypt_decode(raw[:_BCRYPT_SALT_TEXT], size=_BCRYPT_SALT)
        digest = kdfs.bcrypt_decode(raw[_BCRYPT_SALT_TEXT:], size=kdfs.BCRYPT_SIZE)
    except ValueError:
        refuse(f"bcrypt has {_BCRYPT_TEXT} characters of salt and digest, in its base 64")

    def work(password: bytes) -> bytes:
        given = before(password) if before else password
        derived = kdfs.bcrypt(given[:_BCRYPT_LONGEST], salt=salt, rounds=cost.parameters["rounds"])
        wrong = _repeats(given) or (len(given) > _BCRYPT_LONGEST and not legacy_truncate)
        return b"" if wrong else derived  # which no digest equals

    return ForeignHash(form, cost, work, digest)


def salted_digest(form: str, hash_name: str, *, salt: bytes, digest: bytes) -> ForeignHash:
    """Return a digest of the password and, after it, the salt: no work to speak of."""
    cost = Cost(hash_name, 0, {}, 8 * len(digest))
    return ForeignHash(form, cost, lambda password: hashlib.new(hash_name, password + salt, usedforsecurity=False).digest(), digest)


def base64_decode(text: str) -> bytes:
    """Return the bytes of base 64 with padding, which has to be their one encoding."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # which binascii.Error is
        data = b""
    if binascii.b2a_base64(data, newline=False).decode() != text:
        refuse("not base 64 with padding")
    return data


def hex_decode(text: str) -> bytes:
    """Return the bytes of lower-case hexadecimal digits."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:
        refuse("not hexadecimal digits in lower case")
    return data


def refuse(message: str) -> NoReturn:
    """Raise `securekit.exceptions.FormatError`."""
    raise FormatError(message)


def _repeats(password: bytes) -> bool:
    """Whether bcrypt cannot tell a password from a shorter one: it reads 72 bytes of the password and a NUL, again and again."""
    places = (place for place, byte in enumerate(password[:_BCRYPT_LONGEST]) if not byte)
    return any(_key(password[:place]) == _key(password) for place in places)


def _key(password: bytes) -> bytes:
    return ((password[:_BCRYPT_LONGEST] + b"\0") * _BCRYPT_LONGEST)[:_BCRYPT_LONGEST]


def _checked_size(digest: bytes) -> int:
    if not _LEAST_DIGEST <= len(digest) <= _MOST_DIGEST:
        refuse(f"a digest has {_LEAST_DIGEST} to {_MOST_DIGEST} bytes")
    return len(digest)
