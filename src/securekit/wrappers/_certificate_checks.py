# SPDX-License-Identifier: Apache-2.0
"""What a certificate must be before a key is wrapped to it. RFC 5280, section 4.2, says what the extensions mean."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from securekit._primitives.certificates import verify_chain
from securekit.exceptions import CertificateError, SecurityWarning

if TYPE_CHECKING:
    from securekit._primitives.certificates import Certificate

__all__ = ["MAX_FILE_SIZE", "check_for_wrapping"]

MAX_FILE_SIZE = 64 * 1024  # bytes of a file of certificates

# A certificate that says what it is for must be for one of these: any purpose (RFC 5280, section 4.2.1.12), TLS server
# or client (machine certificates), e-mail, Microsoft's encrypting file system, and Microsoft's document encryption.
_PURPOSES = {
    "2.5.29.37.0",
    "1.3.6.1.5.5.7.3.1",
    "1.3.6.1.5.5.7.3.2",
    "1.3.6.1.5.5.7.3.4",
    "1.3.6.1.4.1.311.10.3.4",
    "1.3.6.1.4.1.311.80.1",
}


def check_for_wrapping(certificate: Certificate, chain: Sequence[Certificate], authorities: bytes | None, *, now: datetime) -> None:
    """Check that ``certificate`` may be wrapped to.

    Raises:
        securekit.exceptions.CertificateError: It is not valid now, is for other purposes, has a critical extension that is
            not understood, or does not chain to ``authorities``.
    """
    who = f"the certificate of {certificate.subject}"
    if now < certificate.not_before:
        _refuse(f"{who} is not valid before {certificate.not_before:%Y-%m-%d %H:%M}Z: check the clock of this machine")
    if now > certificate.not_after:
        _refuse(f"{who} expired on {certificate.not_after:%Y-%m-%d %H:%M}Z: renew it")
    if certificate.unknown_critical:
        _refuse(f"{who} has a critical extension that is not understood: {certificate.unknown_critical[0]}")
    if certificate.extended_key_usage is not None and not certificate.extended_key_usage & _PURPOSES:
        _refuse(f"{who} is for other purposes (extended key usage {', '.join(sorted(certificate.extended_key_usage))})")
    _check_key_usage(certificate, who)
    if authorities is not None:
        verify_chain(certificate, chain, authorities, now=now)
    if certificate.public_key.is_weak:
        _warn(f"{who} has an RSA key of {certificate.public_key.bits} bits; 3072 or more, or P-256, are better")


def _check_key_usage(certificate: Certificate, who: str) -> None:
    if certificate.key_usage is None:
        return
    if certificate.public_key.algorithm.startswith("rsa"):
        if "key_encipherment" not in certificate.key_usage:
            _refuse(f"{who} does not allow keyEncipherment, only {_listed(certificate.key_usage)}")
    elif "key_agreement" not in certificate.key_usage:
        # Many authorities omit it, and nothing else can be done with the key that wrapping needs.
        _warn(f"{who} does not list keyAgreement, only {_listed(certificate.key_usage)}")


def _listed(usages: frozenset[str]) -> str:
    return ", ".join(sorted(usage.replace("_", " ") for usage in usages)) or "nothing"


def _refuse(message: str) -> None:
    raise CertificateError(message)


def _warn(message: str) -> None:
    warnings.warn(message, SecurityWarning, stacklevel=5)
