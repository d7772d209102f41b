# SPDX-License-Identifier: Apache-2.0
"""What is wrapped with a public key alone is what its certificate would have wrapped; bytes that are no such key are refused."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from securekit.exceptions import DecryptionError, FormatError, SecurityWarning
from securekit.wrappers import CertificateWrapper, KeyWrapper, PostQuantumWrapper, PublicKeyWrapper, WrappedKey
from tests import der
from tests.conftest import Count
from tests.costs import processor_seconds
from tests.identities import DAY, KINDS, NOW, clock, issue, pem, private_key

KEY = bytes(range(32))
BINDING: list[bytes | str] = ["config", "id", "production", "0a0b0c0d"]
PQ = PostQuantumWrapper(seed=b"\x5e" * 32)
LATER = NOW + 366 * DAY  # when the certificates below have expired
EC_KEY, P256, RSA_KEY = (bytes.fromhex(oid) for oid in ("2a8648ce3d0201", "2a8648ce3d030107", "2a864886f70d010101"))
SMALL_ORDER = [  # RFC 7748, section 6.1, and https://cr.yp.to/ecdh.html#validate
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    *(bytes([low]) + b"\xff" * 30 + b"\x7f" for low in (0xEC, 0xED, 0xEE)),
]


@cache
def full(kind: str) -> CertificateWrapper | PostQuantumWrapper:
    """Return a wrapper that wraps and unwraps."""
    if kind == "pq":
        return PQ
    return CertificateWrapper.from_pem(issue("host", private_key(kind)).pem, key=pem(private_key(kind)), clock=clock())


def kept(one: CertificateWrapper | PostQuantumWrapper, **options: Any) -> PublicKeyWrapper:
    """Return what a document that keeps ``one`` makes of it."""
    return PublicKeyWrapper(one.name, one.public_bytes, one.wrap(KEY, BINDING).about, **{"clock": clock(), **options})


@pytest.mark.parametrize("kind", [*KINDS, "pq"])
def test_the_holder_of_the_private_key_unwraps(kind: str) -> None:
    """Name, reference, size and facts are those of the wrapper that it came from, and so is what comes out."""
    one = full(kind)
    public = kept(one)
    wrapped = public.wrap(KEY, BINDING)

    assert isinstance(public, KeyWrapper)
    assert wrapped.recipient == (one.name, one.key_ref)
    assert len(wrapped.ciphertext) == len(one.wrap(KEY, BINDING).ciphertext)
    assert wrapped.about == one.wrap(KEY, BINDING).about == public.about
    assert one.unwrap(wrapped, BINDING) == KEY
    assert [one.unwrap(each, BINDING) for each in public.wrap_many([(KEY, BINDING)] * 2)] == [KEY, KEY]
    assert public.outsiders_can_wrap
    assert public.public_bytes == one.public_bytes
    assert kept(one).public_bytes == PublicKeyWrapper(one.name, public.public_bytes).public_bytes
    assert repr(public) == f"<PublicKeyWrapper {one.name} {one.key_ref[:16]}…>"


@pytest.mark.parametrize("kind", [*KINDS, "pq"])
def test_it_unwraps_nothing(kind: str) -> None:
    """There is no private key, so that nothing is said to open and nothing does."""
    public = kept(full(kind))
    wrapped = public.wrap(KEY, BINDING)
    assert (public.can_unwrap, public.opens(wrapped)) == (False, False)
    for attempt in (wrapped, WrappedKey("local", "x", b"")):
        with pytest.raises(DecryptionError):
            public.unwrap(attempt, BINDING)
    with pytest.raises(DecryptionError):
        public.unwrap_many([(wrapped, BINDING)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_bare_private_key_gives_the_same_bytes(kind: str) -> None:
    """The public bytes are the key's, whether or not a certificate is there."""
    assert CertificateWrapper.from_pem(key=pem(private_key(kind))).public_bytes == full(kind).public_bytes


def test_an_expired_certificate_warns() -> None:
    """What is wrapped after its last moment comes with a warning that names subject, date and repair; before, with none."""
    one = full("p256")
    kept(one, clock=clock(NOW + 365 * DAY)).wrap(KEY, BINDING)
    late = kept(one, clock=clock(LATER))
    with pytest.warns(SecurityWarning, match=r"of CN=host expired on 2027-06-01: replace it with: securekit config recipients") as heard:
        wrapped = late.wrap(KEY, BINDING)
    assert [warning.filename for warning in heard] == [__file__]
    assert one.unwrap(wrapped, BINDING) == KEY
    with pytest.warns(SecurityWarning, match=f"of {one.key_ref[:16]} expired"):
        PublicKeyWrapper(one.name, one.public_bytes, {"not_after": "2020-01-01T00:00:00Z"}).wrap(KEY, BINDING)


@pytest.mark.parametrize(
    "about",
    [
        {"not_after": "2026"},
        {"not_after": "2026-1-1T00:00:00Z"},
        {"not_after": "2026-02-30T00:00:00Z"},
        {"not_after": "2026-01-01T00:00:00+00:00"},
        {"not_after": 1},
        {"subject": "a\x1b[2J"},
        {"subject": "x" * 257},
        {"more": "x"},
    ],
)
def test_facts_of_another_form_are_refused(about: dict[str, Any]) -> None:
    """A document's facts are few, short and printable, and its dates are dates."""
    with pytest.raises(FormatError):
        PublicKeyWrapper(PQ.name, PQ.public_bytes, about)


# ------------------------------------------------------------------------------------------------ bytes that are no such key


def refused(name: str, public: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        PublicKeyWrapper(name, public)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_key_goes_with_its_own_name_alone() -> None:
    """Every other name, known or not, refuses it."""
    names = {kind: full(kind).name for kind in (*KINDS, "pq")}
    unknown = ["", "local", "x509-", "x509-ed25519", "hpke-p256"]
    for kind, name in names.items():
        for other in {*names.values(), *unknown, name + "x"} - {name}:
            refused(other, full(kind).public_bytes)


@pytest.mark.parametrize("bits", [1024, 2047, 8193])
def test_rsa_keys_of_other_sizes_are_refused(bits: int) -> None:
    """Below 2,048 and above 8,192 bits nothing is wrapped to."""
    key = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) | (1 << 64) | 1).public_key()
    refused("x509-rsa-oaep-256", spki(key))


@pytest.mark.parametrize("exponent", [3, 65537, 2**255 + 1])
@pytest.mark.parametrize("bits", [2048, 8192])
def test_the_bounds_of_rsa_are_included(bits: int, exponent: int) -> None:
    """The smallest and the largest key are taken."""
    public = spki(rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) | (1 << 64) | 1).public_key())
    assert PublicKeyWrapper("x509-rsa-oaep-256", public).public_bytes == public


def test_a_huge_key_is_refused_by_its_length() -> None:
    """Nothing that is longer than any key is parsed, let alone computed with."""
    public = spki(rsa.RSAPublicNumbers(65537, (1 << (2**18 - 1)) | 1).public_key())

    assert processor_seconds(lambda: refused("x509-rsa-oaep-256", public)) < 0.001


def test_other_encodings_of_a_point_are_refused() -> None:
    """Compressed, off the curve, or on a curve that is spelt out: a key has one encoding."""
    key = private_key("p256").public_key()
    good = spki(key)
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = der.tlv(der.SEQUENCE, der.tlv(der.OID, EC_KEY), der.tlv(der.OID, P256))
    for other in (
        der.tlv(der.SEQUENCE, algorithm, der.tlv(3, b"\0" + point)),
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-64] + bytes(64),
        good + b"\0",
        b"",
        spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
    ):
        refused("x509-hpke-p256", other)


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_other_encodings_that_cryptography_reads_are_refused(action: Any) -> None:
    """A hybrid point, RSA without its NULL or for PSS alone, and Diffie-Hellman over finite fields, of a length that a key may have."""
    point = private_key("p256").public_key().public_numbers()
    rsa_key = private_key("rsa").public_key().public_numbers()
    hybrid = bytes([6 | point.y & 1]) + point.x.to_bytes(32) + point.y.to_bytes(32)
    pair = der.tlv(der.SEQUENCE, der.integer(rsa_key.n), der.integer(rsa_key.e))
    group = der.tlv(der.SEQUENCE, der.integer(rsa_key.n), der.integer(2))
    others = [
        ("x509-hpke-p256", der.tlv(der.OID, EC_KEY) + der.tlv(der.OID, P256), hybrid),
        ("x509-rsa-oaep-256", der.tlv(der.OID, RSA_KEY), pair),
        ("x509-rsa-oaep-256", der.tlv(der.OID, RSA_KEY[:-1] + b"\x0a"), pair),
        ("x509-rsa-oaep-256", der.tlv(der.OID, bytes.fromhex("2a864886f70d010301")) + group, der.integer(4)),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter(action)  # of cryptography, for keys of old kinds
        for name, algorithm, public in others:
            refused(name, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, algorithm), der.tlv(3, b"\0" + public)))


def test_points_of_small_order_are_refused(count: Count) -> None:
    """An X25519 point that agrees on nothing secret is no recipient, by itself or in an X-Wing key; nor is one beyond the prime."""
    beyond = [(2**255 - 19 + 9).to_bytes(32, "little"), b"\xff" * 32]
    beyond += [point[:31] + bytes([point[31] | 0x80]) for point in (*SMALL_ORDER, private_key("x25519").public_key().public_bytes_raw())]
    for point in (*SMALL_ORDER, *beyond):
        refused("x509-hpke-x25519", spki(X25519PublicKey.from_public_bytes(point)))
        refused(PQ.name, PQ.public_bytes[:-32] + point)
    count("X25519 points refused as recipients", len(SMALL_ORDER) + len(beyond))


@pytest.mark.parametrize("public", [b"\xff" * 1216, PQ.public_bytes[:-1], PQ.public_bytes + b"\0", b""])
def test_other_x_wing_keys_are_refused(public: bytes) -> None:
    """Numbers beyond ML-KEM's modulus, and other lengths."""
    refused(PQ.name, public)


@pytest.mark.parametrize("kind", [*KINDS, "pq"])
@given(data=st.data())
def test_mutated_keys_are_other_keys_or_refused(kind: str, data: st.DataObject) -> None:
    """Bytes changed, removed or put in give our error, or a key whose canonical encoding they are."""
    one = full(kind)
    place = data.draw(st.integers(0, len(one.public_bytes) - 1))
    changed = one.public_bytes[:place] + data.draw(st.binary(max_size=3)) + one.public_bytes[place + data.draw(st.integers(0, 3)) :]
    try:
        found = PublicKeyWrapper(one.name, changed)
    except FormatError:
        return
    assert (found.key_ref == one.key_ref) == (changed == one.public_bytes)


def spki(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
