# SPDX-License-Identifier: Apache-2.0
"""Certificates say what they are; odd ones are judged as frozen here; chains lead to an authority that may issue, or nowhere."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.certificates import Certificate, read_certificates, request, self_signed, verify_chain
from securekit._primitives.der import elements
from securekit.exceptions import CertificateError
from tests import der
from tests.conftest import Count
from tests.identities import AUTHORITY, DAY, KINDS, NOW, Issued, issue, private_key, usage

ODD = Path(__file__).parents[1] / "vectors" / "pyca-x509-odd-certs"
# How the subject of what is read begins (its usage and dates are judged later), or why it cannot be read or used at all.
VERDICTS = {
    "all_key_usages.pem": "O=PyCA,CN=cryptography",
    "alternate-rsa-sha1-oid.der": "refused: RSA key of 1024 bits",
    "badasn1time.pem": "refused: encoding cannot be read",  # a time with a letter in it
    "bigoid.pem": "CN=Certificate Authority,O=IPA.LOCAL",
    "cryptography.io.chain.pem": "CN=www.cryptography.io,",
    "cryptography.io.chain_with_garbage.pem": "CN=www.cryptography.io,",  # text between PEM blocks is allowed
    "cryptography.io.pem": "CN=www.cryptography.io,",
    "cryptography.io.with_garbage.pem": "CN=www.cryptography.io,",
    "cryptography.io.with_headers.pem": "CN=www.cryptography.io,",
    "dsa_selfsigned_ca.pem": "refused: public key cannot be read",  # DSA only signs
    "ec_no_named_curve.pem": "CN=XYLI:",  # P-256, spelt out
    "ecdsa_null_alg.pem": "refused: encoding cannot be read",
    "ecdsa_root.pem": "CN=DigiCert Global Root G3,OU=www.digicert.com,O=DigiCert Inc,C=US",
    "invalid_signature_cert.pem": "CN=invalid_signature CRL test",  # who gave the certificate is believed, unless there are authorities
    "invalid_utf8_common_name.pem": "refused: subject cannot be read",
    "invalid_version.pem": "refused: encoding cannot be read",
    "long-form-name-attribute.pem": "refused: no certificate found",  # the label is X509 CERTIFICATE, which RFC 7468 has not
    "mismatch_inner_outer_sig_algorithm.der": "CN=www.cryptography.io,",  # as for an invalid signature
    "name_attribute_unsupported_tag.pem": "refused: subject cannot be read",
    "negative_serial.pem": "refused: encoding cannot be read|serial number",  # by cryptography where warnings are errors
    "rsa_pss_cert.pem": "refused: public key cannot be read",  # a key for PSS signatures alone
    "rsa_pss_cert_no_sig_params.der": "refused: public key cannot be read",
    "two_basic_constraints.pem": "refused: extensions cannot be read",
    "unsupported_extension_critical.pem": "CN=cryptography,O=PyCA",  # refused when something is to be wrapped to it
    "unsupported_subject_public_key_info.pem": "refused: public key cannot be read",
    "v1_cert.pem": "refused: RSA key of 512 bits",
    "valid_signature_cert.pem": "CN=invalid_signature CRL test",
    "verisign_md2_root.pem": "refused: RSA key of 1024 bits",
    "wosign-bc-invalid.pem": "refused: extensions cannot be read",
}


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_every_odd_certificate_is_judged_as_written(action: Any, count: Count) -> None:
    """Each of them is read, or refused with our own error, as the frozen list says, whether or not warnings are errors."""
    assert sorted(VERDICTS) == sorted(path.name for path in ODD.iterdir())
    for name, verdict in VERDICTS.items():
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            if verdict.startswith("refused: "):
                with pytest.raises(CertificateError, match=verdict.removeprefix("refused: ")):
                    read_certificates((ODD / name).read_bytes())
            else:
                assert read_certificates((ODD / name).read_bytes())[0].subject.startswith(verdict)
    count("odd certificates judged", len(VERDICTS))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_certificate_says(kind: str) -> None:
    """Subject, dates, fingerprint, usages and key are read, from PEM and from DER."""
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issued = issue("host.example", private_key(kind), usage("key_agreement", "crl_sign"), purposes)
    for data in (issued.pem, issued.der):
        (found,) = read_certificates(data)
        assert found.subject == "CN=host.example"
        assert (found.not_before, found.not_after) == (NOW - DAY, NOW + 365 * DAY)
        assert set(found.key_usage or ()) == {"key_agreement", "crl_sign"}
        assert set(found.extended_key_usage or ()) == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
        assert found.unknown_critical == ()
        assert repr(found) == f"<Certificate CN=host.example {found.fingerprint[:16]}…>"
    bare = read_certificates(issue("host", private_key(kind)).pem)[0]
    assert bare.key_usage is bare.extended_key_usage is None


def test_a_subject_cannot_steer_a_terminal() -> None:
    """Control characters in a name become question marks, and a long name is cut."""
    name = x509.Name(
        [x509.NameAttribute(NameOID.LOCALITY_NAME, "x" * 100)] * 5 + [x509.NameAttribute(NameOID.COMMON_NAME, "a\x1b[2Jb\u202ec")]
    )
    key = private_key("p256")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + DAY)
    certificate = builder.sign(key, SHA256())
    subject = Certificate(certificate).subject
    assert subject.isprintable()
    assert "a?[2Jb?c" in subject
    assert len(subject) == 256


def test_critical_extensions_that_are_not_understood_are_listed() -> None:
    """Only the critical ones: others may be passed over (RFC 5280, section 4.2)."""
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.5"), b"\x05\x00")
    issued = issue("host", private_key("p256"), strange, (other, False), x509.NameConstraints([x509.DNSName("x")], None))
    assert Certificate(issued.certificate).unknown_critical == ("1.2.3.4", "2.5.29.30")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no certificate found"),
        (b"hello", "no certificate found"),
        (b"\x30\x00", "encoding cannot be read"),
        (issue("host", private_key("p256")).der + b"\x00", "encoding cannot be read"),
        (issue("host", private_key("p256")).der[:-1], "encoding cannot be read"),
        (issue("host", private_key("p256")).pem * 65, "more than 64 certificates, or damaged ones"),
        (issue("host", private_key("p256")).pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n", "or damaged ones"),
        (issue("host", private_key("p256")).pem + b"x" * 65536, "at most 65536 bytes"),
        (issue("host", private_key("p521")).pem, "curve secp521r1"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "encoding cannot be read"),
    ],
)
def test_other_files_are_refused(data: bytes, reason: str) -> None:
    """No certificate, a damaged one, or too many: each has its own words."""
    with pytest.raises(CertificateError, match=reason):
        read_certificates(data)


@pytest.mark.parametrize("bits", [1024, 16384])
def test_rsa_keys_of_other_sizes_are_refused_at_once(bits: int) -> None:
    """A key that is too small or too large is refused by its size, in milliseconds."""
    sample = issue("host", private_key("rsa2048")).certificate
    key = private_key("rsa2048").public_key().public_numbers().n
    body = sample.tbs_certificate_bytes
    old = der.tlv(der.SEQUENCE, der.integer(key), der.integer(65537))
    new = der.tlv(der.SEQUENCE, der.integer((1 << (bits - 1)) | 1), der.integer(65537))
    assert old in body
    algorithm = der.tlv(der.SEQUENCE, der.tlv(der.OID, bytes.fromhex("2a864886f70d010101")), b"\x05\x00")
    old_info = der.tlv(der.SEQUENCE, algorithm, der.tlv(0x03, b"\x00", old))
    new_info = der.tlv(der.SEQUENCE, algorithm, der.tlv(0x03, b"\x00", new))
    assert old_info in body
    header = len(body) - len(inner(body))
    changed = der.tlv(der.SEQUENCE, body[header:].replace(old_info, new_info))
    signature = inner(sample.public_bytes(Encoding.DER))[len(body) :]
    begin = time.process_time()
    with pytest.raises(CertificateError, match=f"RSA key of {bits} bits is not wrapped to; 2048 to 8192"):
        read_certificates(der.tlv(der.SEQUENCE, changed, signature))
    assert time.process_time() - begin < 0.05


def inner(data: bytes) -> bytes:
    """Return the contents of one element."""
    return elements(data)[0][1]


ROOT = issue("root", private_key("p256", 10), *AUTHORITY)
INTERMEDIATE = issue("intermediate", private_key("p384", 10), *AUTHORITY, issuer=ROOT)
LEAF = issue("host", private_key("p256"), issuer=INTERMEDIATE)


def check(leaf: Issued, others: list[Issued], authorities: list[Issued], now: Any = NOW) -> None:
    verify_chain(
        Certificate(leaf.certificate),
        [Certificate(other.certificate) for other in others],
        b"".join(authority.pem for authority in authorities),
        now=now,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_through_an_intermediate(kind: str) -> None:
    """A certificate over every kind of key chains to its root, directly and through an intermediate."""
    check(issue("host", private_key(kind), issuer=INTERMEDIATE), [INTERMEDIATE], [ROOT])
    check(issue("host", private_key(kind), issuer=ROOT), [], [ROOT])
    check(issue("host", private_key(kind), issuer=ROOT), [INTERMEDIATE], [issue("unrelated", private_key("p256", 11), *AUTHORITY), ROOT])


def test_a_pinned_certificate_is_its_own_authority() -> None:
    """A certificate that stands among the authorities is believed, though it is none."""
    check(LEAF, [], [LEAF])
    check(LEAF, [], [ROOT, LEAF])


def without_flag() -> tuple[Any, ...]:
    return (x509.BasicConstraints(ca=False, path_length=None), usage("key_cert_sign"))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("another authority", "no authority with the issuer's name"),
        ("same name, another key", "signature does not match"),
        ("the intermediate is missing", "no authority with the issuer's name"),
        ("the intermediate has expired", "cert is not valid at validation time"),
        ("the root has expired", "cert is not valid at validation time"),
        ("the intermediate is no authority", "basicConstraints.cA must be asserted"),
        ("the intermediate says nothing", "CA certificate has no basicConstraints"),
        ("the intermediate must not sign", "the issuer's key must not sign certificates"),
        ("the path is too long", "path length constraint violated"),
        ("the signature is changed", "signature does not match"),
        ("the renewed pin", "CA certificate has no basicConstraints"),
    ],
)
def test_what_does_not_chain_is_refused(case: str, reason: str) -> None:
    """A chain that breaks anywhere is refused, and the reason is printable."""
    key, expired = private_key("p384", 10), {"begin": NOW - 9 * DAY, "end": NOW - DAY}
    twin = issue("root", private_key("p256", 12), *AUTHORITY)

    def through(*extensions: Any, **dates: Any) -> tuple[Issued, list[Issued], list[Issued]]:
        middle = issue("intermediate", key, *extensions, issuer=ROOT, **dates)
        return issue("host", private_key("p256"), issuer=middle), [middle], [ROOT]

    short = issue("root", private_key("p256", 10), x509.BasicConstraints(ca=True, path_length=0), usage("key_cert_sign"))
    old = issue("root", private_key("p256", 10), *AUTHORITY, begin=NOW - 9 * DAY, end=NOW - DAY)
    forged = LEAF.der[:-1] + bytes([LEAF.der[-1] ^ 1])
    chains: dict[str, tuple[Issued, list[Issued], list[Issued]]] = {
        "another authority": (LEAF, [INTERMEDIATE], [issue("other", private_key("p256", 11), *AUTHORITY)]),
        "same name, another key": (LEAF, [INTERMEDIATE], [twin]),
        "the intermediate is missing": (LEAF, [], [ROOT]),
        "the intermediate has expired": through(*AUTHORITY, **expired),
        "the root has expired": (LEAF, [INTERMEDIATE], [old]),
        "the intermediate is no authority": through(*without_flag()),
        "the intermediate says nothing": through(),
        "the intermediate must not sign": through(AUTHORITY[0], usage("digital_signature")),
        "the path is too long": (LEAF, [INTERMEDIATE], [short]),
        "the signature is changed": (Issued(x509.load_der_x509_certificate(forged), None), [INTERMEDIATE], [ROOT]),
        "the renewed pin": (issue("host", private_key("p256")), [], [issue("host", private_key("p256"))]),
    }
    with pytest.raises(CertificateError, match="the certificate of CN=host does not chain to the given authorities: ") as caught:
        check(*chains[case])
    said = str(caught.value).partition("authorities: ")[2]
    assert said.isprintable()
    assert reason in said


def test_a_root_that_is_no_authority_is_refused() -> None:
    """Being listed as an authority does not make one that may issue."""
    fake = issue("root", private_key("p256", 10), *without_flag())
    leaf = issue("host", private_key("p256"), issuer=fake)
    with pytest.raises(CertificateError, match="does not chain"):
        check(leaf, [], [fake])


def test_the_time_of_the_check_is_an_argument() -> None:
    """The same chain holds within its dates, and neither before nor after them."""
    for moment, holds in [(NOW, True), (NOW - 2 * DAY, False), (NOW + 366 * DAY, False)]:
        if holds:
            check(LEAF, [INTERMEDIATE], [ROOT], now=moment)
        else:
            with pytest.raises(CertificateError):
                check(LEAF, [INTERMEDIATE], [ROOT], now=moment)


@pytest.mark.parametrize("authorities", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_authorities_that_cannot_be_read_are_refused(authorities: bytes) -> None:
    """A file of authorities with nothing in it believes nobody."""
    with pytest.raises(CertificateError):
        verify_chain(Certificate(LEAF.certificate), [], authorities, now=NOW)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_a_certificate_of_our_own(kind: str) -> None:
    """It names the host, is no authority, and allows exactly what wrapping needs, or signing if the key can do nothing else."""
    key = private_key(kind)
    made = x509.load_pem_x509_certificate(self_signed(key, "web1.example", not_before=NOW, not_after=NOW + DAY))
    asked = x509.load_pem_x509_csr(request(key, "web1.example"))
    needed = {"rsa": "key_encipherment", "ed25519": "digital_signature"}.get(kind, "key_agreement")
    for found in (made, asked):
        assert found.subject.rfc4514_string() == "CN=web1.example"
        assert found.extensions.get_extension_for_class(x509.KeyUsage).value == usage(needed)
        assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["web1.example"]
    made.verify_directly_issued_by(made)
    assert asked.is_signature_valid
    assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=1)


@pytest.mark.parametrize("name", ["Anna Lindqvist", "schlüssel.example", "-web1", "a..b", "*.example", "a_b"])
def test_a_name_that_is_no_host_has_no_alternative_name(name: str) -> None:
    """What cannot stand in DNS is the subject's name alone."""
    made = x509.load_pem_x509_certificate(self_signed(private_key("p256"), name, not_before=NOW, not_after=NOW + DAY))
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == name
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x1b[2J"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    """Empty, longer than RFC 5280 allows, or not printable: a mistake of the caller."""
    with pytest.raises(ValueError, match="1 to 64 printable characters"):
        request(private_key("p256"), name)


SAMPLE = issue("host", private_key("p256"), usage("key_agreement"), x509.SubjectAlternativeName([x509.DNSName("host")])).der


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 3), st.binary(max_size=3))
def test_mutated_certificates_raise_only_our_errors(place: int, size: int, new: bytes) -> None:
    """Bytes changed, removed or put in give a certificate or our own error."""
    changed = SAMPLE[:place] + new + SAMPLE[place + size :]
    with suppress(CertificateError):
        assert read_certificates(changed)[0].subject.isprintable()


def test_every_bit_flip_of_a_certificate_breaks_its_chain(count: Count) -> None:
    """Whatever bit is wrong, the chain is refused. Only the octet that counts a signature's unused bits is nobody's."""
    encoded, authorities, between = LEAF.der, ROOT.pem, [Certificate(INTERMEDIATE.certificate)]
    unused = len(encoded) - len(LEAF.certificate.signature) - 1
    bits = [bit for bit in range(8 * len(encoded)) if bit // 8 != unused]
    for bit in bits:
        changed = bytearray(encoded)
        changed[bit // 8] ^= 1 << bit % 8
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cryptography, for a serial number that has become negative
            with pytest.raises(CertificateError):
                verify_chain(read_certificates(bytes(changed))[0], between, authorities, now=NOW)
    count("bit flips of a certificate refused by its chain", len(bits))


def test_a_serial_number_that_is_not_positive_is_refused() -> None:
    """Where warnings are no errors, the check is our own (RFC 5280, section 4.1.2.2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(CertificateError, match="serial number is not positive"):
            read_certificates((ODD / "negative_serial.pem").read_bytes())
