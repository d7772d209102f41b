# SPDX-License-Identifier: Apache-2.0
"""Stored hashes that others made: by argon2, bcrypt, scrypt and PBKDF2 in the forms of crypt, Django, Werkzeug, passlib, Spring and LDAP.

A string is read strictly, without any work: what it may make us spend is compared with the ceilings of `securekit.passwords._cost` here.
"""

from __future__ import annotations

from securekit.exceptions import FormatError
from securekit.passwords._phc import MAX_TEXT
from securekit.passwords._stored import StoredHash

from . import _django, _mcf, _spring, _werkzeug

__all__ = ["parse"]


def parse(text: str, *, legacy_truncate: bool = False) -> StoredHash:
    """Return the hash that a string stands for.

    Args:
        text: As it was stored, without white space around it.
        legacy_truncate: bcrypt compares the first 72 bytes of a longer password, as it did for everybody before 2025; otherwise a longer
            password is a wrong one.

    Raises:
        securekit.exceptions.FormatError: It is in no form that is known, is malformed, or its cost is out of bounds. The message says
            which, and nothing of the hash.
    """
    try:
        return _read(text, legacy_truncate=legacy_truncate)
    except FormatError as error:
        message = str(error)
    del text  # raised out here, where no frame holds the hash
    raise FormatError(message)


def _read(text: str, *, legacy_truncate: bool) -> StoredHash:
    if len(text) > MAX_TEXT:
        message = f"a stored hash has at most {MAX_TEXT:,} characters"
    elif not (text.isascii() and text.isprintable()):
        message = "a stored hash has printable characters of ASCII alone"
    elif text.startswith("!"):
        message = "no password is set: Django marks this so"
    else:
        for read in (_mcf.read, _django.read, _werkzeug.read, _spring.read):
            if found := read(text, legacy_truncate=legacy_truncate):
                return found
        message = "a stored hash in no form that is known"
    raise FormatError(message)
