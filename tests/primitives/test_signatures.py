# SPDX-License-Identifier: Apache-2.0
"""A signature is made and verified in the one way that the key has; certificates for other purposes verify nothing."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x448
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.certificates import self_signed
from securekit._primitives.signatures import SigningCertificate, SigningKey, VerifyingKey
from securekit.exceptions import CertificateError, KeyFileError
from tests.conftest import Count
from tests.identities import DAY, NOW, SIGNING_KINDS, issue, pem, private_key, usage
from tests.vectors.golden import reference

VECTORS = Path(__file__).parents[1] / "vectors"
MESSAGE = b"a document"
PASSWORD = "canary-0b7e"
ALGORITHMS = {"ed25519": "ed25519", "p256": "ecdsa-p256-sha256", "p384": "ecdsa-p384-sha384", "rsa": "rsa-pss-sha256"}
SIZES = {"ed25519": 64, "p256": 64, "p384": 96, "rsa": 384}


def verifies(key: VerifyingKey | SigningCertificate, signature: bytes, message: bytes = MESSAGE) -> bool:
    try:
        key.verify(signature, message)
    except CertificateError as error:
        refused = error
    else:
        return True
    assert refused.__cause__ is refused.__context__ is None
    return False


# ------------------------------------------------------------------------------------------------ published vectors


@pytest.mark.parametrize(
    ("name", "algorithm", "valid", "invalid"),
    [
        ("ed25519", "ed25519", 88, 63),
        ("ecdsa_secp256r1_sha256_p1363", "ecdsa-p256-sha256", 173, 89),
        ("rsa_pss_2048_sha256_mgf1_32", "rsa-pss-sha256", 63, 45),
    ],
)
def test_every_wycheproof_vector(name: str, algorithm: str, valid: int, invalid: int, count: Count) -> None:
    """Every valid signature verifies, and every invalid one does not."""
    vectors: dict[str, Any] = json.loads((VECTORS / "wycheproof" / f"{name}_test.json").read_text())
    outcomes = {True: 0, False: 0}
    for group in vectors["testGroups"]:
        key = VerifyingKey.of(load_der_public_key(bytes.fromhex(group["publicKeyDer"])))
        assert key.algorithm == algorithm
        for case in group["tests"]:
            verified = verifies(key, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            assert verified == (case["result"] == "valid"), case
            outcomes[verified] += 1
    assert outcomes == {True: valid, False: invalid}
    count("Wycheproof signatures judged", vectors["numberOfTests"])


def test_every_vector_of_p_384(count: Count) -> None:
    """The signatures of RFC 6979 verify, and those with another last bit do not."""
    vectors: dict[str, Any] = json.loads((VECTORS / "rfc6979-p384-sha384.json").read_text())
    key = VerifyingKey.of(load_der_public_key(bytes.fromhex(vectors["publicKeyDer"])))
    assert key.algorithm == "ecdsa-p384-sha384"
    for case in vectors["tests"]:
        assert verifies(key, bytes.fromhex(case["r"] + case["s"]), case["message"].encode()) == (case["result"] == "valid")
    count("signatures of RFC 6979 judged", len(vectors["tests"]))


# ------------------------------------------------------------------------------------------------ signing


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_what_a_key_signs_its_certificate_verifies(kind: str) -> None:
    """From PEM and DER, plain and encrypted; algorithm, reference and size are the key's."""
    key = private_key(kind)
    issued = issue("anna", key, usage("digital_signature"))
    for encoded, password in ((pem(key), None), (pem(key, PASSWORD.encode()), PASSWORD)):
        signing = SigningKey.read(encoded, password=password)
        signature = signing.sign(MESSAGE)
        assert len(signature) == SIZES[kind] == signing.public.signature_size
        for data in (issued.pem, issued.der):
            certificate = SigningCertificate.read(data)
            certificate.verify(signature, MESSAGE)
            assert certificate.algorithm == signing.algorithm == ALGORITHMS[kind]
            assert certificate.reference == signing.reference == reference.spki_hash(key.public_key())
            assert certificate.fingerprint == hashlib.sha256(issued.der).hexdigest()
            assert (certificate.subject, certificate.not_before, certificate.not_after) == ("CN=anna", NOW - DAY, NOW + 365 * DAY)
            assert repr(certificate) == f"<SigningCertificate CN=anna {certificate.fingerprint[:16]}…>"


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_nothing_else_verifies(kind: str, count: Count) -> None:
    """No flipped bit, other length, message or key: one error that names the signer and nothing more."""
    certificate = SigningCertificate.read(issue("anna", private_key(kind)).pem)
    signing = SigningKey(private_key(kind))
    signature = signing.sign(MESSAGE)
    bits = range(0, 8 * len(signature), 5 if kind == "rsa" else 1)
    for bit in bits:
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verifies(certificate, bytes(changed))
    for other in (b"", signature[:-1], signature + b"\0", b"\0" + signature, bytes(len(signature)), b"\xff" * len(signature)):
        assert not verifies(certificate, other)
    assert not verifies(certificate, signature, MESSAGE + b"\0")
    assert not verifies(certificate, SigningKey(private_key(kind, 1) if kind != "rsa" else private_key("rsa2048")).sign(MESSAGE))
    with pytest.raises(CertificateError, match=r"^the signature of CN=anna does not verify$"):
        certificate.verify(bytes(64), MESSAGE)
    with pytest.raises(CertificateError, match=r"^the signature does not verify$"):
        signing.public.verify(bytes(64), MESSAGE)
    count("bit flips of signatures refused", len(bits))


@pytest.mark.parametrize("salt", [0, 20, 31, 33, PSS.MAX_LENGTH])
def test_another_length_of_salt_is_refused(salt: int) -> None:
    """A PSS signature with another salt than 32 bytes does not verify, though its holder made it."""
    key = private_key("rsa")
    signature = key.sign(MESSAGE, PSS(MGF1(SHA256()), salt), SHA256())
    assert not verifies(VerifyingKey.of(key.public_key()), signature)


def test_openssl_agrees_on_pss(tmp_path: Path) -> None:
    """What openssl signs with PSS and a salt as long as the hash verifies."""
    (tmp_path / "key").write_bytes(pem(private_key("rsa")))
    (tmp_path / "message").write_bytes(MESSAGE)
    command = "openssl dgst -sha256 -sign key -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -out signature message"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    assert verifies(VerifyingKey.of(private_key("rsa").public_key()), (tmp_path / "signature").read_bytes())


@pytest.mark.parametrize(("kind", "digest"), [("p256", SHA256()), ("p384", SHA384())])
def test_ecdsa_has_one_encoding_and_one_hash(kind: str, digest: Any) -> None:
    """``r ‖ s`` verifies; the same numbers in DER or with a zero before them do not, nor a signature over another hash."""
    key = private_key(kind)
    signature = SigningKey(key).sign(MESSAGE)
    half = len(signature) // 2
    der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    key.public_key().verify(der, MESSAGE, ec.ECDSA(digest))
    assert not verifies(VerifyingKey.of(key.public_key()), der)
    assert not verifies(VerifyingKey.of(key.public_key()), signature[:half] + b"\0" + signature[half:])
    wrong = decode_dss_signature(key.sign(MESSAGE, ec.ECDSA(SHA384() if kind == "p256" else SHA256())))
    assert not verifies(VerifyingKey.of(key.public_key()), b"".join(number.to_bytes(half) for number in wrong))


@given(st.binary(max_size=400))
def test_random_signatures_raise_only_our_error(signature: bytes) -> None:
    """Whatever the bytes are, they do not verify, and nothing else is raised."""
    for kind in SIGNING_KINDS:
        assert not verifies(VerifyingKey.of(private_key(kind).public_key()), signature)


# ------------------------------------------------------------------------------------------------ certificates


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ([usage("digital_signature", "key_agreement")], None),
        ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])], None),
        ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])], None),
        ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.SERVER_AUTH])], None),
        ([usage("digital_signature"), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])], None),
        ([(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False)], None),
        ([usage("key_agreement")], "does not allow signatures, only key agreement; make one that signs with: securekit identity new"),
        ([usage("key_cert_sign", "crl_sign")], "only crl sign, key cert sign"),
        ([usage()], "only nothing"),
        ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])], r"other purposes than signing \(extended key usage 1.3.6.1.5.5.7.3.1"),
        ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])], "other purposes"),
        ([x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")], "not understood: 1.2.3.4"),
    ],
)
def test_what_a_certificate_is_for(extensions: list[Any], reason: str | None) -> None:
    """If it says what it is for, that must be signing; what is critical must be understood."""
    data = issue("anna", private_key("p256"), *extensions).pem
    if reason is None:
        assert verifies(SigningCertificate.read(data), SigningKey(private_key("p256")).sign(MESSAGE))
        return
    with pytest.raises(CertificateError, match=f"the certificate of CN=anna .*{reason}"):
        SigningCertificate.read(data)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa"])
def test_a_certificate_for_wrapping_signs_nothing(kind: str) -> None:
    """One that `identity new` makes for wrapping is refused, with the command that makes one for signing."""
    data = self_signed(private_key(kind), "web1.example", not_before=NOW, not_after=NOW + DAY)
    with pytest.raises(CertificateError, match=r"securekit identity new --type ed25519 --key NAME.key --cert NAME.pem --name NAME"):
        SigningCertificate.read(data)
    assert SigningCertificate.read(self_signed(private_key("ed25519"), "anna", not_before=NOW, not_after=NOW + DAY)).subject == "CN=anna"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no certificate found"),
        (issue("a", private_key("ed25519")).pem * 2, "2 certificates in one file"),
        (issue("a", private_key("x25519")).pem, "X25519PublicKey.*make one that signs with"),
        (issue("a", private_key("p521")).pem, r"curve secp521r1\) does not sign here; Ed25519, P-256, P-384 and RSA do"),
        (issue("a", private_key("ed25519")).der[:-1], "encoding cannot be read"),
    ],
)
def test_other_certificates_are_refused(data: bytes, reason: str) -> None:
    """None, several, damaged ones, and keys that cannot sign."""
    with pytest.raises(CertificateError, match=reason):
        SigningCertificate.read(data)


def test_dates_are_checked_before_signing_alone() -> None:
    """`check_valid` refuses outside of the dates; verifying does not look at them."""
    certificate = SigningCertificate.read(issue("anna", private_key("ed25519"), begin=NOW, end=NOW + DAY).pem)
    certificate.check_valid(NOW)
    certificate.check_valid(NOW + DAY)
    with pytest.raises(CertificateError, match="the certificate of CN=anna is not valid before 2026-06-01 00:00Z: check the clock"):
        certificate.check_valid(NOW - DAY / 86400)
    with pytest.raises(CertificateError, match="the certificate of CN=anna expired on 2026-06-02 00:00Z: renew it"):
        certificate.check_valid(NOW + DAY + DAY / 86400)
    assert verifies(certificate, SigningKey(private_key("ed25519")).sign(MESSAGE))


SAMPLE = issue("anna", private_key("ed25519"), usage("digital_signature")).der


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 3), st.binary(max_size=3))
def test_mutated_certificates_raise_only_our_errors(place: int, size: int, new: bytes) -> None:
    """Bytes changed, removed or put in give a certificate or our own error."""
    with warnings.catch_warnings(), suppress(CertificateError):
        warnings.simplefilter("ignore")  # of cryptography, for odd serial numbers
        assert SigningCertificate.read(SAMPLE[:place] + new + SAMPLE[place + size :]).subject.isprintable()


# ------------------------------------------------------------------------------------------------ keys


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits are not believed; 2048 to 8192 are allowed"),  # noqa: S505 - to be refused
        (lambda: private_key("p521"), "curve secp521r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "curve secp256k1"),
        (lambda: private_key("x25519"), "X25519.*does not sign here"),
        (x448.X448PrivateKey.generate, "X448"),
        (lambda: dsa.generate_private_key(1024), "DSA"),  # noqa: S505 - to be refused
    ],
)
def test_other_keys_are_refused(make: Any, reason: str) -> None:
    """Another kind, curve or size is refused as private and as public key, and the message names it."""
    key = make()
    with pytest.raises(CertificateError, match=reason):
        SigningKey(key)
    with pytest.raises(CertificateError, match=reason):
        VerifyingKey.of(key.public_key())


@pytest.mark.parametrize(("bits", "allowed"), [(2047, False), (2048, True), (2049, True), (8192, True), (8193, False), (16384, False)])
def test_the_bounds_of_rsa(bits: int, allowed: bool) -> None:
    """From 2,048 to 8,192 bits are believed."""
    key = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) | (1 << 64) | 1).public_key()
    if allowed:
        assert VerifyingKey.of(key).signature_size == -(-bits // 8)
        return
    with pytest.raises(CertificateError, match=f"RSA key of {bits} bits"):
        VerifyingKey.of(key)


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def _x_of(y: int) -> int:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    root = root if root * root % P == square else root * pow(2, (P - 1) // 4, P) % P
    assert root * root % P == square
    return root


def test_ed25519_keys_of_small_order_are_refused(count: Count) -> None:
    """Every y whose point vanishes when it is doubled three times, with either sign, also written beyond the prime; no other key."""
    eighth = next(point for point in map(_torsion, range(2, 50)) if _order(point) == 8)
    ys = {_multiple(eighth, n)[1] for n in range(8)}
    encodings = {y + extra for y in ys for extra in (0, P) if y + extra < 2**255}
    assert len(encodings) == 7
    for encoding in encodings:
        for sign in (0, 1 << 255):
            with pytest.raises(CertificateError, match="small order, under which everybody can sign"):
                VerifyingKey.of(Ed25519PublicKey.from_public_bytes((encoding | sign).to_bytes(32, "little")))
    count("Ed25519 keys of small order refused", 2 * len(encodings))


def _add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def _multiple(point: tuple[int, int], n: int) -> tuple[int, int]:
    result = (0, 1)
    for bit in f"{n:b}":
        result = _add(result, result)
        if bit == "1":
            result = _add(result, point)
    return result


def _torsion(y: int) -> tuple[int, int]:
    """Return a point times the order of the prime subgroup: what is left is of order 1, 2, 4 or 8."""
    try:
        point = (_x_of(y), y)
    except AssertionError:
        return 0, 1
    return _multiple(point, 2**252 + 27742317777372353535851937790883648493)


def _order(point: tuple[int, int]) -> int:
    return next(n for n in (1, 2, 4, 8) if _multiple(point, n) == (0, 1))


def test_other_files_are_no_keys() -> None:
    """A certificate, a wrong password and a missing one are errors of the key's file."""
    for data, password in (
        (issue("a", private_key("p256")).pem, None),
        (pem(private_key("p256"), b"x"), PASSWORD),
        (pem(private_key("p256"), b"x"), None),
    ):
        with pytest.raises(KeyFileError) as caught:
            SigningKey.read(data, password=password)
        assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_a_signing_key_shows_nothing(kind: str) -> None:
    """The repr is redacted, and the key is neither pickled nor copied."""
    key = SigningKey(private_key(kind))
    assert repr(key) == "<SigningKey ********>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a secret"):
            leak(key)
