# SPDX-License-Identifier: Apache-2.0
"""What a certificate says that it is for is obeyed before anything is wrapped to it."""

from __future__ import annotations

import warnings
from itertools import combinations

import pytest
from cryptography import x509

from securekit.exceptions import CertificateError, SecurityWarning
from securekit.wrappers import CertificateWrapper
from tests.conftest import Count
from tests.identities import KINDS, clock, issue, private_key, usage

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)
ALLOWED = {
    "any": "2.5.29.37.0",
    "TLS server": "1.3.6.1.5.5.7.3.1",
    "TLS client": "1.3.6.1.5.5.7.3.2",
    "e-mail": "1.3.6.1.5.5.7.3.4",
    "encrypting file system": "1.3.6.1.4.1.311.10.3.4",
    "document encryption": "1.3.6.1.4.1.311.80.1",
}
FORBIDDEN = {
    "code signing": "1.3.6.1.5.5.7.3.3",
    "time stamping": "1.3.6.1.5.5.7.3.8",
    "OCSP": "1.3.6.1.5.5.7.3.9",
    "smart card logon": "1.3.6.1.4.1.311.20.2.2",
    "unknown": "1.2.3.4",
}


def verdict(kind: str, *extensions: x509.ExtensionType) -> str:
    """Return "wraps", "warns" or "refuses"; a warning points at the caller of ``wrap``."""
    one = CertificateWrapper.from_pem(issue("host", private_key(kind), *extensions).pem, clock=clock())
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            one.wrap(bytes(32), ["a"])
        except CertificateError:
            return "refuses"
    assert all(warning.category is SecurityWarning and warning.filename == __file__ for warning in heard)
    return "warns" if heard else "wraps"


@pytest.mark.parametrize("kind", KINDS)
def test_every_combination_of_key_usages(kind: str, count: Count) -> None:
    """An RSA key needs keyEncipherment, and is refused without; the others warn without keyAgreement."""
    needed, otherwise = ("key_encipherment", "refuses") if kind == "rsa" else ("key_agreement", "warns")
    sets = [names for size in range(1, 8) for names in combinations(USAGES, size)]
    for names in sets:
        assert verdict(kind, usage(*names)) == ("wraps" if needed in names else otherwise), names
    assert verdict(kind) == "wraps"  # a certificate that does not say is for everything (RFC 5280, section 4.2.1.3)
    count("key usages judged", len(sets))


def test_the_words_of_a_usage_that_forbids() -> None:
    """The message says what is missing, and what is there."""
    one = CertificateWrapper.from_pem(issue("host", private_key("rsa"), usage("digital_signature", "crl_sign")).pem, clock=clock())
    with pytest.raises(CertificateError, match="does not allow keyEncipherment, only crl sign, digital signature"):
        one.wrap(bytes(32), ["a"])
    two = CertificateWrapper.from_pem(issue("host", private_key("p256"), usage("digital_signature")).pem, clock=clock())
    with pytest.warns(SecurityWarning, match="does not list keyAgreement, only digital signature"):
        two.wrap(bytes(32), ["a"])


@pytest.mark.parametrize("critical", [True, False])
def test_every_purpose(critical: bool, count: Count) -> None:
    """A certificate for machines, mail, files or any purpose wraps; one for signing code and the like is refused; one of each wraps."""
    for name, oid in (ALLOWED | FORBIDDEN).items():
        purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid)])
        one = CertificateWrapper.from_pem(issue("host", private_key("p256"), (purposes, critical)).pem, clock=clock())
        if name in ALLOWED:
            one.wrap(bytes(32), ["a"])
            continue
        with pytest.raises(CertificateError, match=rf"is for other purposes \(extended key usage {oid}\)"):
            one.wrap(bytes(32), ["a"])
    mixed = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in (FORBIDDEN["code signing"], ALLOWED["e-mail"])])
    assert verdict("p256", mixed) == "wraps"
    count("extended key usages judged", len(ALLOWED) + len(FORBIDDEN) + 1)


def test_an_unknown_critical_extension_is_refused() -> None:
    """What must be understood and is not forbids wrapping (RFC 5280, section 4.2), and the message names it."""
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    one = CertificateWrapper.from_pem(issue("host", private_key("p256"), strange).pem, clock=clock())
    with pytest.raises(CertificateError, match=r"has a critical extension that is not understood: 1\.2\.3\.4"):
        one.wrap(bytes(32), ["a"])
    assert (
        verdict("p256", x509.BasicConstraints(ca=False, path_length=None), x509.SubjectAlternativeName([x509.DNSName("host")])) == "wraps"
    )
