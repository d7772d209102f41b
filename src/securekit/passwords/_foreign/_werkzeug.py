# SPDX-License-Identifier: Apache-2.0
"""Werkzeug's strings, which Flask stores: ``scrypt:n:r:p$salt$digest`` and ``pbkdf2:sha256:iterations$salt$digest``."""

from __future__ import annotations

from securekit.passwords._phc import parse_number

from ._hash import PBKDF2_DIGESTS, ForeignHash, hex_decode, pbkdf2_hash, refuse, scrypt_hash

__all__ = ["read"]


def read(text: str, *, legacy_truncate: bool) -> ForeignHash | None:  # noqa: ARG001 - Werkzeug has no bcrypt
    """Return the hash; None if the string is in another form."""
    method, _, rest = text.partition("$")
    salt, _, digest = rest.partition("$")
    match method.split(":"):
        case ["scrypt", n, r, p] if salt:
            numbers = {"n": parse_number(n), "r": parse_number(r), "p": parse_number(p)}
            return scrypt_hash("werkzeug", **numbers, salt=salt.encode(), digest=hex_decode(digest), least=64)
        case ["pbkdf2", name, iterations] if salt and name in PBKDF2_DIGESTS:
            return pbkdf2_hash("werkzeug", name, iterations=parse_number(iterations), salt=salt.encode(), digest=hex_decode(digest))
        case ["scrypt" | "pbkdf2", _, *_]:
            refuse("Werkzeug has scrypt:n:r:p or pbkdf2:sha256:iterations, and then salt and digest")
    return None
