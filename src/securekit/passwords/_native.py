# SPDX-License-Identifier: Apache-2.0
"""Our own strings: what was done to the password before it was hashed, and then a string in the scheme's usual form.

::

    $securekit$v=1,n=nfkc$argon2id$v=19$m=65536,t=3,p=1$SALT$DIGEST
    $securekit$v=1,n=nfkc$scrypt$ln=17,r=8,p=1$SALT$DIGEST
    $securekit$v=1,n=nfkc$pbkdf2-sha256$i=600000$SALT$DIGEST
    $securekit$v=1,n=nfkc,pre=hmac-sha384$2b$12$SALTDIGEST
    $securekit$v=1,n=none,onion=md5-hex$argon2id$…

Salts have 16 bytes, digests 32 (bcrypt's 23). Each string has one encoding: what is read is written again and compared.
"""

from __future__ import annotations

import binascii
import hmac
import unicodedata
from typing import Self

from securekit._primitives import password_kdfs as kdfs
from securekit._primitives.rng import random_bytes
from securekit.exceptions import FormatError
from securekit.secret import Secretive

from ._cost import cost_of
from ._phc import MAX_TEXT, Phc, b64_decode, b64_encode, parse_number
from ._stored import Cost

__all__ = ["PREFIX", "NativeHash", "normalised"]

PREFIX = "$securekit$"
SALT_SIZE = 16  # bytes, RFC 9106 section 3.1
DIGEST_SIZE = 32  # bytes
_NFKC = "v=1,n=nfkc"
_AS_GIVEN = "v=1,n=none"
_PRE = ",pre=hmac-sha384"
_BCRYPT = "2b$"
_BCRYPT_SALT = 22  # characters
_BCRYPT_ROUNDS = 2  # digits
_BCRYPT_SIZE = len("12$") + _BCRYPT_SALT + 31  # characters after the version


class NativeHash(Secretive):
    """One hash of ours.

    Args:
        cost: The scheme and its parameters.
        salt: 16 bytes.
        digest: 32 bytes, or 23 of bcrypt.
        layer: The name of the digest that lies underneath, if the hash was made of one and not of a password.
        layer_salt: The salt of that digest, if it has one.
    """

    __slots__ = ("_digest", "_salt", "cost", "layer", "layer_salt")

    form = "securekit"

    def __init__(self, cost: Cost, *, salt: bytes, digest: bytes, layer: str = "", layer_salt: bytes = b"") -> None:
        self.cost: Cost = cost
        self.layer: str = layer
        self.layer_salt: bytes = layer_salt
        self._salt = salt
        self._digest = digest

    @classmethod
    def create(cls, cost: Cost, password: bytes) -> Self:
        """Hash a password (UTF-8, as given) with a fresh salt."""
        salt = random_bytes(SALT_SIZE)
        return cls(cost, salt=salt, digest=_derive(cost, salt, normalised(password)))

    @classmethod
    def over(cls, cost: Cost, digest: bytes, *, layer: str, salt: bytes = b"") -> Self:
        """Hash a digest of an old table, in the text form that ``layer`` names.

        Raises:
            securekit.exceptions.FormatError: There is no such layer, or not with such a salt.
        """
        from ._onion import check_layer

        check_layer(layer, salt)
        fresh = random_bytes(SALT_SIZE)
        return cls(cost, salt=fresh, digest=_derive(cost, fresh, digest), layer=layer, layer_salt=salt)

    @classmethod
    def decoy(cls, cost: Cost) -> Self:
        """Return a hash of nothing: it costs as much as others, and no password matches."""
        return cls(cost, salt=random_bytes(SALT_SIZE), digest=random_bytes(_digest_size(cost)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a string of ours.

        Raises:
            securekit.exceptions.FormatError: It is none, not the one encoding of what it says, or its cost is out of bounds.
        """
        if not text.startswith(PREFIX) or len(text) > MAX_TEXT:
            message = f"not a hash of ours: it does not begin with {PREFIX}, or is too long"
            raise FormatError(message)
        settings, _, inner = text[len(PREFIX) :].partition("$")
        layer, layer_salt = _read_layer(settings)
        cost, salt, digest = _read_bcrypt(inner) if inner.startswith(_BCRYPT) else _read_phc(inner)
        parsed = cls(cost, salt=salt, digest=digest, layer=layer, layer_salt=layer_salt)
        if parsed.text() != text:
            message = "not the canonical form of a hash of ours"
            raise FormatError(message)
        return parsed

    def text(self) -> str:
        """Return the string."""
        numbers, before = self.cost.parameters, _AS_GIVEN if self.layer else _NFKC
        if self.cost.scheme == "bcrypt":
            before += _PRE
            digest = (kdfs.bcrypt_encode(self._salt) + kdfs.bcrypt_encode(self._digest)).decode()
            inner = f"${_BCRYPT}{numbers['rounds']:02}${digest}"
        else:
            version = None
            if self.cost.scheme == "argon2id":
                version = kdfs.ARGON2_VERSION
            elif self.cost.scheme == "scrypt":
                numbers = {"ln": numbers["n"].bit_length() - 1, "r": numbers["r"], "p": numbers["p"]}
            else:
                numbers = {"i": numbers["iterations"]}
            inner = Phc(self.cost.scheme, numbers, salt=self._salt, digest=self._digest, version=version).text()
        if self.layer:
            before += f",onion={self.layer}" + (f",salt={b64_encode(self.layer_salt)}" if self.layer_salt else "")
        return f"{PREFIX}{before}{inner}"

    def matches(self, password: bytes) -> bool:
        """Whether ``password`` (UTF-8, as given by the caller) is the one, compared in constant time. Does the work."""
        hashed = normalised(password)  # also where it is not used: a long password takes as long for every row
        if self.layer:
            from ._onion import peel

            hashed = peel(self.layer, self.layer_salt, password)
        return hmac.compare_digest(_derive(self.cost, self._salt, hashed), self._digest)


def normalised(password: bytes) -> bytes:
    """Return the password in Unicode's form NFKC, so that it is the same from every keyboard (NIST SP 800-63B-4, section 3.1.1.2)."""
    return password if password.isascii() else unicodedata.normalize("NFKC", password.decode()).encode()


def _derive(cost: Cost, salt: bytes, password: bytes) -> bytes:
    numbers = cost.parameters
    if cost.scheme == "argon2id":
        return kdfs.argon2(password, salt=salt, memory=numbers["m"], passes=numbers["t"], lanes=numbers["p"], size=DIGEST_SIZE)
    if cost.scheme == "scrypt":
        return kdfs.scrypt(password, salt=salt, n=numbers["n"], r=numbers["r"], p=numbers["p"], size=DIGEST_SIZE)
    if cost.scheme == "bcrypt":
        # 64 characters without NUL: whatever the password, bcrypt sees less than its 72 bytes. Keyed by the salt, so that digests that
        # leaked elsewhere cannot be tried in its place.
        keyed = binascii.b2a_base64(kdfs.hmac_sha384(salt, password), newline=False)
        return kdfs.bcrypt(keyed, salt=salt, rounds=numbers["rounds"])
    return kdfs.pbkdf2(password, salt=salt, iterations=numbers["iterations"], size=DIGEST_SIZE)


def _digest_size(cost: Cost) -> int:
    return kdfs.BCRYPT_SIZE if cost.scheme == "bcrypt" else DIGEST_SIZE


def _read_layer(settings: str) -> tuple[str, bytes]:
    """Return the layer's name and salt; that the settings are written in their one way is seen when they are written again."""
    if ",onion=" not in settings:
        return "", b""
    from ._onion import check_layer

    layer, _, salt = settings.partition(",onion=")[2].partition(",salt=")
    decoded = b64_decode(salt)
    check_layer(layer, decoded)
    return layer, decoded


def _read_bcrypt(inner: str) -> tuple[Cost, bytes, bytes]:
    rounds, _, digest = inner[len(_BCRYPT) :].partition("$")
    if len(inner) != len(_BCRYPT) + _BCRYPT_SIZE or len(rounds) != _BCRYPT_ROUNDS:
        message = "not a string of bcrypt, version 2b"
        raise FormatError(message)
    cost = cost_of("bcrypt", {"rounds": parse_number(rounds.removeprefix("0"))})
    try:
        raw = digest.encode("ascii")
        return (
            cost,
            kdfs.bcrypt_decode(raw[:_BCRYPT_SALT], size=SALT_SIZE),
            kdfs.bcrypt_decode(raw[_BCRYPT_SALT:], size=kdfs.BCRYPT_SIZE),
        )
    except ValueError:
        message = "not bcrypt's base 64"
        raise FormatError(message) from None


def _read_phc(inner: str) -> tuple[Cost, bytes, bytes]:
    phc = Phc.parse("$" + inner)
    numbers = phc.parameters
    if phc.scheme == "scrypt" and "ln" in numbers:
        ln = numbers.pop("ln")
        numbers = {"n": 1 << min(ln, 64), **numbers}
    elif phc.scheme == "pbkdf2-sha256" and "i" in numbers:
        numbers = {"iterations": numbers.pop("i"), **numbers}
    cost = cost_of(phc.scheme, numbers)
    if len(phc.salt) != SALT_SIZE or len(phc.digest) != DIGEST_SIZE:
        message = f"a hash of ours has a salt of {SALT_SIZE} bytes and a digest of {DIGEST_SIZE}"
        raise FormatError(message)
    return cost, phc.salt, phc.digest
