# SPDX-License-Identifier: Apache-2.0
"""PHC strings, read strictly: ``$scheme$v=19$m=65536,t=3,p=1$salt$digest``, each with one encoding.

Version and parameters may be absent. Numbers are decimal without leading zeros; salt and digest are base 64 in the standard alphabet
without padding.
"""

from __future__ import annotations

import binascii
from typing import Self

from securekit.exceptions import FormatError
from securekit.secret import Secretive

__all__ = ["Phc", "b64_decode", "b64_encode"]

MAX_TEXT = 1024  # characters
_MAX_NAME = 32  # characters, as in the specification of PHC strings
_MAX_NUMBER = 10  # digits
_MAX_PARAMETERS = 8
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_DIGITS = frozenset("0123456789")


class Phc(Secretive):
    """One string, taken apart.

    Attributes:
        scheme: Such as ``"argon2id"``.
        version: The number after ``v=``, if there is one.
        parameters: In the order of the string.
        salt: Its bytes.
        digest: Its bytes.
    """

    __slots__ = ("digest", "parameters", "salt", "scheme", "version")

    def __init__(self, scheme: str, parameters: dict[str, int], *, salt: bytes, digest: bytes, version: int | None = None) -> None:
        self.scheme: str = scheme
        self.version: int | None = version
        self.parameters: dict[str, int] = parameters
        self.salt: bytes = salt
        self.digest: bytes = digest

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a string apart.

        Raises:
            securekit.exceptions.FormatError: It is no PHC string with salt and digest, or not the one encoding of what it says.
        """
        first, *parts = text.split("$", 6) if len(text) <= MAX_TEXT else [text[:1]]
        version: int | None = None
        if len(parts) > 1 and parts[1].startswith("v="):
            version = parse_number(parts.pop(1)[2:])
        settings = parts.pop(1) if len(parts) == 4 else ""  # noqa: PLR2004 - scheme, parameters, salt, digest
        if first or len(parts) != 3 or not 0 < len(parts[0]) <= _MAX_NAME or not _NAME.issuperset(parts[0]):  # noqa: PLR2004 - as above
            message = "not a PHC string"
            raise FormatError(message)
        parsed = cls(parts[0], _parameters(settings), salt=b64_decode(parts[1]), digest=b64_decode(parts[2]), version=version)
        if parsed.text() != text:
            message = "not the canonical form of a PHC string"
            raise FormatError(message)
        return parsed

    def text(self) -> str:
        """Return the string."""
        version = "" if self.version is None else f"$v={self.version}"
        parameters = ",".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"${self.scheme}{version}{'$' if parameters else ''}{parameters}${b64_encode(self.salt)}${b64_encode(self.digest)}"


def parse_number(text: str) -> int:
    """Return the number; leading zeros are refused.

    Raises:
        securekit.exceptions.FormatError: It is none, or has more than ten digits.
    """
    if not 0 < len(text) <= _MAX_NUMBER or not _DIGITS.issuperset(text) or (text[0] == "0" and text != "0"):
        message = "not a decimal number of at most ten digits without leading zeros"
        raise FormatError(message)
    return int(text)


def b64_encode(data: bytes) -> str:
    """Return base 64 without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode()


def b64_decode(text: str) -> bytes:
    """Return the bytes.

    Raises:
        securekit.exceptions.FormatError: ``text`` is not their one encoding.
    """
    try:
        data = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:  # which binascii.Error is
        data = b""
    if b64_encode(data) != text:
        message = "not base 64 without padding"
        raise FormatError(message)
    return data


def _parameters(text: str) -> dict[str, int]:
    parameters: dict[str, int] = {}
    for pair in text.split(",", _MAX_PARAMETERS) if text else ():
        name, _, value = pair.partition("=")
        if not 0 < len(name) <= _MAX_NAME or not _NAME.issuperset(name) or name in parameters:
            message = "a PHC string has each parameter once, as name=number"
            raise FormatError(message)
        parameters[name] = parse_number(value)
    return parameters
