# SPDX-License-Identifier: Apache-2.0
"""Key files of every form that openssl makes are read; whatever costs too much or is damaged is refused before any work."""

from __future__ import annotations

import random
import subprocess
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securekit._primitives.private_keys import KINDS, MAX_ITERATIONS, generate, load_pem, read_pem, read_pkcs12, to_pem
from securekit.exceptions import CertificateError, KeyFileError, SecureKitError
from tests import der
from tests.conftest import Count
from tests.identities import KINDS as KEY_KINDS
from tests.identities import issue, pem, private_key
from tests.vectors.golden import reference

PASSWORD = "canary-5f2b"
TOO_MANY = 2**31
REFERENCE = reference.spki_hash(private_key("p256").public_key())


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[[str], bytes]:
    """Run openssl beside a P-256 key (``key``), an RSA key (``rsa``) and a certificate (``cert``), and return the file OUT."""
    (tmp_path / "key").write_bytes(pem(private_key("p256")))
    (tmp_path / "rsa").write_bytes(pem(private_key("rsa")))
    (tmp_path / "cert").write_bytes(issue("host", private_key("p256")).pem)

    def run(command: str) -> bytes:
        subprocess.run(["openssl", *command.replace("PASS", f"pass:{PASSWORD}").split()], cwd=tmp_path, capture_output=True, check=True)
        return (tmp_path / "OUT").read_bytes()

    return run


@pytest.mark.parametrize(
    "command",
    [
        "pkey -in key -out OUT",
        "ec -in key -out OUT",  # SEC 1
        "pkcs8 -topk8 -in key -v2 aes-256-cbc -passout PASS -out OUT",
        "pkcs8 -topk8 -in key -v2 aes-128-cbc -v2prf hmacWithSHA1 -iter 100000 -passout PASS -out OUT",
        "pkcs8 -topk8 -in key -scrypt -scrypt_N 16384 -passout PASS -out OUT",
        "pkcs8 -topk8 -in key -v1 PBE-SHA1-3DES -passout PASS -out OUT",
    ],
)
def test_every_pem_form_of_openssl_is_read(openssl: Callable[[str], bytes], command: str) -> None:
    """Plain, SEC 1, and encrypted under PBKDF2, scrypt and the older derivations: all give the key."""
    assert read_pem(openssl(command), password=PASSWORD).public.reference == REFERENCE


def test_the_older_form_of_rsa_is_read(openssl: Callable[[str], bytes]) -> None:
    """PKCS#1, which older tools write, is read."""
    data = openssl("rsa -in rsa -traditional -out OUT")
    assert data.startswith(b"-----BEGIN RSA PRIVATE KEY")
    assert read_pem(data).public.bits == 3072


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-legacy",
        "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
        "-nomaciter",
        "-nomac",
        "-keypbe NONE -certpbe NONE",
        "-iter 100000",
    ],
)
def test_every_pkcs_12_form_of_openssl_is_read(openssl: Callable[[str], bytes], options: str) -> None:
    """Today's, legacy, weakly and not encrypted, with and without a MAC: all give the key and its certificate."""
    key, certificate, others = read_pkcs12(
        openssl(f"pkcs12 -export -inkey key -in cert -passout PASS {options} -out OUT"), password=PASSWORD
    )
    assert key.public.reference == certificate.public_key.reference == REFERENCE
    assert others == []


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_each_kind_of_key_is_read_in_each_form(kind: str) -> None:
    """PEM, encrypted PEM, and PEM among certificates and comments."""
    key, expected = private_key(kind), reference.spki_hash(private_key(kind).public_key())
    certificate = issue("host", key).pem
    for data, password in [
        (pem(key), None),
        (pem(key, PASSWORD.encode()), PASSWORD),
        (b"Bag Attributes\n    friendlyName: host\n" + certificate + pem(key) + certificate, None),
        (pem(key).replace(b"\n", b"\r\n"), None),
    ]:
        assert read_pem(data, password=password).public.reference == expected


@pytest.mark.parametrize("kind", KINDS)
def test_generated_keys_come_back(kind: str) -> None:
    """What is generated is of its kind, and is read again, plain and encrypted."""
    key = generate(kind)
    assert kind_of(key) == kind
    for password in (None, PASSWORD):
        data = to_pem(key, password=password)
        assert (b"ENCRYPTED" in data) == (password is not None)
        again: Any = load_pem(data, password=password)
        assert kind_of(again) == kind
        assert again.public_key() == key.public_key()


def kind_of(key: object) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return f"rsa{key.key_size}"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {"secp256r1": "p256", "secp384r1": "p384"}[key.curve.name]
    return "ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "another"


@pytest.mark.parametrize(
    ("password", "reason"), [("", "1 to 1023 bytes, not 0"), ("x" * 1024, "not 1024"), (f"{PASSWORD}\udcff", "not text")]
)
def test_a_password_that_cannot_encrypt_is_refused(password: str, reason: str) -> None:
    """An empty password never leaves a key unencrypted, and no error carries the password."""
    with pytest.raises(ValueError, match=reason) as caught:
        to_pem(ec.generate_private_key(ec.SECP256R1()), password=password)
    assert_clean(caught.value)


def assert_clean(error: BaseException) -> None:
    """Nothing of the password is in the error, nor in what is attached to it."""
    assert PASSWORD not in f"{error!s} {error!r} {error.args} {error.__dict__}"
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    assert PASSWORD not in repr(getattr(error.__context__, "object", None))


@pytest.mark.parametrize("password", [None, "", "wrong", f"{PASSWORD} ", f"{PASSWORD}\udcff", "x" * 5000])
@pytest.mark.parametrize("form", ["pem", "pkcs12"])
def test_a_wrong_or_missing_password_is_a_key_file_error(form: str, password: str | None) -> None:
    """The message says which of both it is, and nothing of the password."""
    key = private_key("p256")
    encryption = BestAvailableEncryption(PASSWORD.encode())
    reader: Callable[..., Any] = read_pem if form == "pem" else read_pkcs12
    certificate = issue("host", key).certificate
    data = pem(key, PASSWORD.encode()) if form == "pem" else serialize_key_and_certificates(b"host", key, certificate, None, encryption)
    reason = "give its password" if password is None else "not text" if "\udcff" in password else "the password is wrong, or the file"
    with pytest.raises(KeyFileError, match=reason) as caught:
        reader(data, password=password)
    assert_clean(caught.value)


def test_a_password_is_asked_for_only_if_it_is_needed() -> None:
    """A function is called once for an encrypted key, and not at all for a plain or a refused one."""
    asked = []

    def ask() -> str:
        asked.append(1)
        return PASSWORD

    read_pem(pem(private_key("p256")), password=ask)
    with pytest.raises(KeyFileError):
        read_pem(der.encrypted_pem(der.pbkdf2(TOO_MANY)), password=ask)
    assert asked == []
    read_pem(pem(private_key("p256"), PASSWORD.encode()), password=ask)
    assert asked == [1]


BOMBS = {
    "PBKDF2 with 2^31 iterations": der.encrypted_pem(der.pbkdf2(TOO_MANY)),
    "PBKDF2 with 2^63 iterations": der.encrypted_pem(der.pbkdf2(2**63)),
    "PBKDF2 with one iteration too many": der.encrypted_pem(der.pbkdf2(MAX_ITERATIONS + 1)),
    "PBKDF2 with no iteration": der.encrypted_pem(der.pbkdf2(0)),
    "PBKDF2 with a negative number": der.encrypted_pem(der.pbkdf2(-1)),
    "PBKDF2 without a number": der.encrypted_pem(der.pbes2(der.PBKDF2)),
    "PBKDF2 with a salt for a number": der.encrypted_pem(der.pbes2(der.PBKDF2, der.tlv(der.OCTETS, b"\x01"))),
    "scrypt with N = 2^30": der.encrypted_pem(der.scrypt(2**30)),
    "scrypt with r = 2^30": der.encrypted_pem(der.scrypt(2, 2**30)),
    "scrypt with p = 2^30": der.encrypted_pem(der.scrypt(16384, 8, 2**30)),
    "scrypt with N = -2": der.encrypted_pem(der.scrypt(-2)),
    "scrypt without r and p": der.encrypted_pem(der.pbes2(der.SCRYPT, der.integer(16384))),
    "PBES1 with 2^31 iterations": der.encrypted_pem(der.pbes1(der.PBE_MD5_DES, TOO_MANY)),
    "PKCS#12 derivation with 2^31 iterations": der.encrypted_pem(der.pbes1(der.PBE_SHA1_3DES, TOO_MANY)),
    "an unknown derivation": der.encrypted_pem(der.pbes2(der.DATA, der.integer(1))),
    "MAC with 2^31 iterations": der.pkcs12(der.key_bag(der.pbkdf2(2048)), mac_iterations=TOO_MANY),
    "MAC with 2^63 iterations": der.pkcs12(der.key_bag(der.pbkdf2(2048)), mac_iterations=2**63),
    "MAC with a negative number": der.pkcs12(der.key_bag(der.pbkdf2(2048)), mac_iterations=-1),
    "key bag with 2^31 iterations": der.pkcs12(der.key_bag(der.pbkdf2(TOO_MANY))),
    "key bag with scrypt N = 2^30": der.pkcs12(der.key_bag(der.scrypt(2**30))),
    "second key bag with 2^31 iterations": der.pkcs12(der.key_bag(der.pbkdf2(2048)), der.key_bag(der.pbes1(der.PBE_SHA1_3DES, TOO_MANY))),
    "not encrypted, without a MAC": der.pkcs12(mac_iterations=None),
    "indefinite length": b"\x30\x80\x02\x01\x03\x00\x00",
    "encrypted PEM of indefinite length": der.to_pem("ENCRYPTED PRIVATE KEY", b"\x30\x80" + der.pbkdf2(2048) + b"\x00\x00"),
    "a length of 4 GiB": b"\x30\x84\xff\xff\xff\xff" + bytes(100),
    "a thousand lengths of 4 GiB": b"\x30\x84\xff\xff\xff\xff" * 1000,
    "many empty sequences": der.tlv(der.SEQUENCE, b"\x30\x00" * 32_000),
    "an algorithm cut short": der.encrypted_pem(
        der.tlv(der.SEQUENCE, der.tlv(der.OID, der.PBKDF2), der.tlv(der.SEQUENCE, b"\x02\x05\x01"))
    ),
}


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = der.tlv(der.SEQUENCE, data)
    return data


def read(data: bytes) -> object:
    return read_pem(data, password=PASSWORD) if data.startswith(b"-----") else read_pkcs12(data, password=PASSWORD)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in BOMBS.items()])
def test_a_bomb_is_refused_before_it_goes_off(data: bytes, count: Count) -> None:
    """What asks for endless work, or hides how much it asks for, is refused in milliseconds and with its repair."""
    with pytest.raises(KeyFileError, match="openssl pkc"):
        measured(lambda: read(data))
    count("key file bombs refused", 1)


def measured(call: Callable[[], object], seconds: float = 0.05) -> None:
    """Call, within the seconds (of the quickest of three attempts, since machines are shared) and 32 MiB."""
    times, error = [], None
    for _ in range(3):
        begin = time.perf_counter()
        try:
            call()
        except SecureKitError as raised:
            error = raised
        times.append(time.perf_counter() - begin)
    assert min(times) < seconds
    tracemalloc.start()
    try:
        call()
    except SecureKitError:
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()
    if error:
        raise error


@pytest.mark.parametrize("depth", [40, 1000, 16_000])
@pytest.mark.parametrize("label", ["ENCRYPTED PRIVATE KEY", None])
def test_deep_nesting_is_refused(depth: int, label: str | None) -> None:
    """Sequences in sequences, as deep as the largest file holds, end in our own error."""
    data = nested(depth)
    with pytest.raises(KeyFileError, match="damaged"):
        measured(lambda: read(der.to_pem(label, data) if label else data), seconds=0.1)


def test_nesting_of_100_000_is_refused() -> None:
    """Lengths that lie make 100,000 levels possible in 600 kB; the guarded reader's limit and the parser refuse them alike."""
    with pytest.raises(KeyFileError, match="damaged"):
        measured(lambda: read(b"\x30\x84\x00\x09\x27\xc0" * 100_000), seconds=0.1)


@pytest.mark.parametrize("form", ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "shrouded bag", "plain bag"])
def test_a_huge_rsa_key_is_refused_by_its_size(form: str) -> None:
    """An RSA key of 16,384 bits, whose check takes many seconds, is refused in every form before it is parsed."""
    numbers = [der.integer((1 << bits) - 1) for bits in (16384, 17, 16384, 8192, 8192, 8192, 8192, 8192)]
    rsa_key = der.tlv(der.SEQUENCE, der.integer(0), *numbers)
    algorithm = der.tlv(der.SEQUENCE, der.tlv(der.OID, bytes.fromhex("2a864886f70d010101")), b"\x05\x00")
    pkcs8 = der.tlv(der.SEQUENCE, der.integer(0), algorithm, der.tlv(der.OCTETS, rsa_key))
    data = {
        "PRIVATE KEY": der.to_pem("PRIVATE KEY", pkcs8),
        "RSA PRIVATE KEY": der.to_pem("RSA PRIVATE KEY", rsa_key),
        "ENCRYPTED PRIVATE KEY": der.encrypted_pem(der.pbkdf2(2048), size=len(pkcs8)),
        "shrouded bag": der.pkcs12(der.key_bag(der.pbkdf2(2048), size=len(pkcs8))),
        "plain bag": der.pkcs12(der.tlv(der.SEQUENCE, der.tlv(der.OID, der.PLAIN), der.tlv(0xA0, pkcs8))),
    }[form]
    with pytest.raises(CertificateError, match="at most 6144 are read"):
        measured(lambda: read(data))


def test_the_largest_allowed_key_is_read() -> None:
    """The bound on size lets RSA-8192 pass: its encoding has fewer bytes."""
    largest = der.tlv(der.SEQUENCE, der.integer(0), *(der.integer((1 << bits) - 1) for bits in (8192, 17, 8192, *[4096] * 5)))
    assert len(largest) + 40 < 6 * 1024
    with pytest.raises(KeyFileError, match="the private key is damaged"):  # since these are no primes
        read_pem(der.to_pem("RSA PRIVATE KEY", largest))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no private key in PEM form"),
        (b"\x30\x03\x02\x01\x00", "holds no private key in PEM form"),
        (issue("host", private_key("p256")).pem, "holds no private key in PEM form"),
        (pem(private_key("p256")) * 2, "holds 2 private keys; leave one of them in it"),
        (pem(private_key("p256")) + der.to_pem("EC PRIVATE KEY", b"x"), "holds 2 private keys; leave one"),
        (pem(private_key("p256")).replace(b"-----END", b"----END"), "the private key is damaged"),
        (pem(private_key("p256"))[:-40], "the private key is damaged"),
        (pem(private_key("p256")).replace(b"\nM", b"\n*", 1), "the private key is damaged"),
        (der.to_pem("PRIVATE KEY", b""), "the private key is damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAAA\n-----END PRIVATE KEY-----\n", "the private key is damaged"),
        (der.to_pem("DSA PRIVATE KEY", b"\x30\x00"), "the form 'DSA PRIVATE KEY' is not read; convert it with: openssl pkcs8"),
        (
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            "DEK-Info",
        ),
    ],
)
def test_other_files_are_refused_with_their_repair(data: bytes, message: str) -> None:
    """No key, several, damaged ones and other forms: each has its own words."""
    with pytest.raises(KeyFileError, match=message):
        read_pem(data, password=PASSWORD)


def test_the_repair_of_an_older_form_works(openssl: Callable[[str], bytes], tmp_path: Path) -> None:
    """A key in the DEK-Info form is read once the command in the message has been run."""
    data = openssl("ec -in key -aes256 -passout PASS -out OUT")
    with pytest.raises(KeyFileError, match=r"DEK-Info.*convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"):
        read_pem(data, password=PASSWORD)
    (tmp_path / "OLD").write_bytes(data)
    openssl("pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW -passin PASS -passout PASS")
    assert read_pem((tmp_path / "NEW").read_bytes(), password=PASSWORD).public.reference == REFERENCE


def test_the_repair_of_an_openssh_key_works(tmp_path: Path) -> None:
    """A key as ssh-keygen makes it is read once the command in the message has been run on a copy."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "COPY"], cwd=tmp_path, check=True)
    with pytest.raises(KeyFileError, match="convert a copy of it with: ssh-keygen -p -m PKCS8 -f COPY"):
        read_pem((tmp_path / "COPY").read_bytes())
    subprocess.run(
        ["ssh-keygen", "-p", "-m", "PKCS8", "-f", "COPY", "-N", "", "-P", ""], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL
    )
    assert read_pem((tmp_path / "COPY").read_bytes()).public.algorithm == "hpke-p256"


@pytest.mark.parametrize("options", ["-nokeys -in cert", "-nocerts -inkey key"])
def test_a_pkcs_12_file_must_hold_both(openssl: Callable[[str], bytes], options: str) -> None:
    """A key without its certificate, or the other way round, is said to be missing."""
    data = openssl(f"pkcs12 -export {options} -passout PASS -out OUT")
    with pytest.raises(KeyFileError, match="no private key with its certificate"):
        read_pkcs12(data, password=PASSWORD)


def test_a_pkcs_12_file_gives_the_chain(openssl: Callable[[str], bytes], tmp_path: Path) -> None:
    """The certificates beside the key's own are returned."""
    (tmp_path / "more").write_bytes(issue("authority", private_key("p384")).pem)
    data = openssl("pkcs12 -export -inkey key -in cert -certfile more -passout PASS -out OUT")
    assert [other.subject for other in read_pkcs12(data, password=PASSWORD)[2]] == ["CN=authority"]


SAMPLES = [
    pem(private_key("p256"), PASSWORD.encode()),
    pem(private_key("x25519")),
    serialize_key_and_certificates(
        b"host", private_key("p256"), issue("host", private_key("p256")).certificate, None, BestAvailableEncryption(PASSWORD.encode())
    ),
]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SAMPLES), st.data())
def test_mutated_files_raise_only_our_errors(sample: bytes, data: st.DataObject) -> None:
    """Bytes changed, removed or put in give a key or one of our errors, without the password in it."""
    changed = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    refused(bytes(changed))


def test_a_warning_of_cryptography_is_our_error_where_warnings_are_errors() -> None:
    """A PKCS#12 file that is not quite DER, here for its version, is refused, rather than an exception of others raised."""
    changed = SAMPLES[2].replace(b"\x02\x01\x03", b"\x02\x01\xe1", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyFileError, match="damaged"):
            read(changed)


def test_every_truncation_is_refused(count: Count) -> None:
    """No beginning of a file is taken for the file, except that a PEM file may lack its last newline."""
    for sample in SAMPLES:
        for size in range(len(sample) - 1):
            assert refused(sample[:size])
        count("truncated key files refused", len(sample) - 1)


@given(st.binary(max_size=300))
def test_random_files_are_refused(data: bytes) -> None:
    """Whatever the bytes are, they are refused with one of our errors by both readers."""
    assert refused(data)
    with pytest.raises(SecureKitError):
        read_pem(data)


def refused(data: bytes) -> bool:
    message = ""
    try:
        read(data)
    except SecureKitError as error:
        message = str(error)
    assert PASSWORD not in message
    return bool(message)


@pytest.mark.slow
def test_a_longer_fuzz_of_der(count: Count) -> None:
    """A hundred thousand mutations of a PKCS#12 file's structure raise only our errors."""
    source = random.Random(1)
    sample = SAMPLES[2]
    for _ in range(100_000):
        changed = bytearray(sample)
        changed[source.randrange(200)] ^= 1 << source.randrange(8)
        changed[source.randrange(len(changed))] = source.randrange(256)
        refused(bytes(changed))
    count("mutated PKCS#12 files judged", 100_000)
