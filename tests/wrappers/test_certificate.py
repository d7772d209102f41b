# SPDX-License-Identifier: Apache-2.0
"""A key wrapped to a certificate opens with its private key, for its binding, and in no other way."""

from __future__ import annotations

import copy
import pickle
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from securekit.exceptions import CertificateError, DecryptionError, FormatError, KeyFileError, SecurityWarning
from securekit.opening import open_wrapper
from securekit.wrappers import CertificateWrapper, KeyWrapper, WrappedKey
from tests.conftest import Count
from tests.identities import AUTHORITY, DAY, KINDS, NOW, clock, issue, pem, private_key, usage
from tests.vectors.golden import reference

KEY = bytes(range(32))
BINDING: list[bytes | str] = ["keyring", "eu/acme/invoices", bytes(16)]
PASSWORD = "canary-71c0"
NAMES = {"rsa": "x509-rsa-oaep-256", "p256": "x509-hpke-p256", "p384": "x509-hpke-p384", "x25519": "x509-hpke-x25519"}
SIZES = {"rsa": 384, "p256": 65 + 65 + 16, "p384": 97 + 65 + 16, "x25519": 32 + 65 + 16}


def wrapper(kind: str, number: int = 0, *, key: bool = True, at: datetime = NOW) -> CertificateWrapper:
    private = private_key(kind, number)
    return CertificateWrapper.from_pem(issue("host", private).pem, key=pem(private) if key else None, clock=clock(at))


def forms(kind: str, folder: Path) -> dict[str, CertificateWrapper]:
    """Return the same identity from every form of file."""
    key = private_key(kind)
    root = issue("root", private_key("p256", 10), *AUTHORITY)
    issued = issue("host", key, issuer=root)
    for name, data in {
        "key.pem": pem(key),
        "encrypted.pem": pem(key, PASSWORD.encode()),
        "cert.pem": issued.pem,
        "cert.der": issued.der,
        "chain.pem": issued.pem + root.pem,
        "root.pem": root.pem,
        "password": PASSWORD.encode() + b"\n",
        "both.p12": b"",
    }.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    export = "openssl pkcs12 -export -inkey key.pem -in chain.pem -passout file:password -out both.p12"
    subprocess.run(export.split(), cwd=folder, check=True)
    at, base = clock(), str(folder)
    make = CertificateWrapper.from_files
    return {
        "PEM": make(cert=folder / "cert.pem", key=folder / "key.pem", clock=at),
        "encrypted PEM": make(cert=f"{base}/cert.pem", key=folder / "encrypted.pem", password=PASSWORD, clock=at),
        "DER": make(cert=folder / "cert.der", key=folder / "encrypted.pem", password=lambda: PASSWORD, clock=at),
        "chain": make(cert=folder / "chain.pem", key=folder / "key.pem", ca=folder / "root.pem", clock=at),
        "PKCS#12": CertificateWrapper.from_pkcs12(folder / "both.p12", password=PASSWORD, ca=folder / "root.pem", clock=at),
        "key alone": make(key=folder / "key.pem"),
        "memory": CertificateWrapper.from_pem(issued.pem.decode(), key=pem(key), ca=root.pem, clock=at),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_file_gives_the_same_wrapper(kind: str, tmp_path: Path) -> None:
    """What one form wraps, every other form unwraps; name, reference and size are as specified."""
    made = forms(kind, tmp_path)
    for form, one in made.items():
        if form == "key alone":
            continue
        wrapped = one.wrap(KEY, BINDING)
        assert isinstance(one, KeyWrapper)
        assert (wrapped.wrapper, wrapped.key_ref) == (NAMES[kind], reference.spki_hash(private_key(kind).public_key())), form
        assert len(wrapped.ciphertext) == SIZES[kind]
        assert dict(wrapped.about) | {"fingerprint": ""} == {"fingerprint": "", "not_after": "2027-06-01T00:00:00Z", "subject": "CN=host"}
        assert [other.unwrap(wrapped, BINDING) for other in made.values()] == [KEY] * len(made)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_the_command_line(kind: str, tmp_path: Path) -> None:
    """``cert:`` and ``pkcs12:`` open the same wrappers, and ask for a password only where one is needed."""
    forms(kind, tmp_path)
    base, asked = f"{tmp_path}/", list[str]()

    def ask(what: str) -> str:
        asked.append(what)
        return PASSWORD

    wrapped = wrapper(kind).wrap(KEY, BINDING)
    only = open_wrapper(f"cert:{base}cert.pem", ask=ask)
    assert not only.opens(wrapped)
    quiet = [f"cert:{base}cert.pem?key={base}key.pem", f"cert:?key={base}key.pem", f"pkcs12:{base}both.p12?password_file={base}password"]
    quiet.append(f"cert:{base}cert.pem?key={base}encrypted.pem&ca={base}root.pem&password_file={base}password")
    for name in quiet:
        assert open_wrapper(name, ask=ask).unwrap(wrapped, BINDING) == KEY
    assert asked == []
    for name in [f"cert:{base}cert.pem?key={base}encrypted.pem", f"pkcs12:{base}both.p12?ca={base}root.pem"]:
        assert open_wrapper(name, ask=ask).unwrap(wrapped, BINDING) == KEY
    assert asked == [f"password of {base}encrypted.pem", f"password of {base}both.p12"]


@pytest.mark.parametrize(
    "name", ["cert:", "pkcs12:", "cert:?ca=x", "cert:x?label=a", "cert:x?key=", "cert:x?key=a&key=b", "pkcs12:x?key=a"]
)
def test_names_of_another_form_are_refused(name: str) -> None:
    """A name without a file, with an unknown option, an empty one or one twice is a mistake of the caller."""
    with pytest.raises(ValueError, match=r"names no wrapper|unknown option|not of the form"):
        open_wrapper(name)


def test_a_password_file_must_be_text(tmp_path: Path) -> None:
    """A password file that is not UTF-8 is a KeyFileError with nothing of it attached."""
    forms("p256", tmp_path)
    (tmp_path / "password").write_bytes(PASSWORD.encode() + b"\xff")
    with pytest.raises(KeyFileError, match="is not UTF-8 text") as caught:
        open_wrapper(f"pkcs12:{tmp_path}/both.p12?password_file={tmp_path}/password")
    assert PASSWORD not in f"{caught.value!r} {caught.value.__context__!r}"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_certificate_alone_wraps_and_the_key_alone_unwraps(kind: str) -> None:
    """Each half does its own part, and says what it lacks for the other."""
    public, private = wrapper(kind, key=False), CertificateWrapper.from_pem(key=pem(private_key(kind)), clock=clock())
    wrapped = public.wrap(KEY, BINDING)
    assert (public.can_unwrap, public.opens(wrapped), private.can_unwrap, private.opens(wrapped)) == (False, False, True, True)
    assert public.outsiders_can_wrap
    assert private.unwrap(wrapped, BINDING) == KEY
    with pytest.raises(DecryptionError):
        public.unwrap(wrapped, BINDING)
    with pytest.raises(CertificateError, match="only the private key is here: give its certificate"):
        private.wrap(KEY, BINDING)


@pytest.mark.repetitive
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(key=st.binary(min_size=32, max_size=32), parts=st.lists(st.text(max_size=20) | st.binary(max_size=20), max_size=4))
def test_the_reference_unwraps_what_we_wrap(kind: str, key: bytes, parts: list[bytes | str]) -> None:
    """The bytes are those of the specification: package, info and suite, for every key and binding."""
    wrapped = wrapper(kind).wrap(key, parts)
    private = private_key(kind)
    if kind == "rsa":
        again = reference.rsa_oaep(private.public_key(), reference.package(key, parts), bytes(32))
        assert wrapper(kind).unwrap(replace(wrapped, ciphertext=again), parts) == key
        return
    info = reference.pae("securekit/wrap/1", wrapped.wrapper, wrapped.key_ref)
    assert reference.hpke_open(kind, private, wrapped.ciphertext, info=info) == reference.package(key, parts)


def test_a_renewed_certificate_unwraps_what_its_predecessor_wrapped() -> None:
    """The reference is that of the key, not of the certificate."""
    key = private_key("p256")
    old = CertificateWrapper.from_pem(issue("old", key).pem, clock=clock())
    new = CertificateWrapper.from_pem(issue("new", key, end=NOW + 3650 * DAY).pem, key=pem(key), clock=clock(NOW + 400 * DAY))
    assert new.unwrap(old.wrap(KEY, BINDING), BINDING) == KEY
    assert new.key_ref == old.key_ref


@pytest.mark.parametrize(("cert", "key"), [("p256", "p384"), ("rsa", "p256"), ("x25519", "rsa"), ("p256", "p256")])
def test_a_certificate_and_a_key_that_do_not_belong_together_are_refused(cert: str, key: str) -> None:
    """Another kind, or another key of the same kind, is refused before anything is wrapped."""
    with pytest.raises(CertificateError, match="the private key is not that of the certificate of CN=host"):
        CertificateWrapper.from_pem(issue("host", private_key(cert)).pem, key=pem(private_key(key, 1)))


def test_nothing_at_all_is_refused() -> None:
    """Neither a certificate nor a key is a mistake of the caller."""
    with pytest.raises(ValueError, match="a certificate, a private key, or both are needed"):
        CertificateWrapper.from_files()


@pytest.mark.repetitive
@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_flip_is_refused(kind: str, count: Count) -> None:
    """No changed ciphertext unwraps: always the one error, with nothing attached."""
    whole = wrapper(kind)
    wrapped = whole.wrap(KEY, BINDING)
    for bit in range(8 * len(wrapped.ciphertext)):
        changed = bytearray(wrapped.ciphertext)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionError) as caught:
            whole.unwrap(replace(wrapped, ciphertext=bytes(changed)), BINDING)
        assert caught.value.__cause__ is caught.value.__context__ is None
    count("bit flips of keys wrapped to certificates refused", 8 * len(wrapped.ciphertext))


@pytest.mark.parametrize("kind", KINDS)
def test_another_length_is_a_format_error(kind: str) -> None:
    """Every truncation and extension is told apart by its public length, before the private key is used."""
    whole = wrapper(kind)
    wrapped = whole.wrap(KEY, BINDING)
    others = [wrapped.ciphertext[:size] for size in range(len(wrapped.ciphertext))]
    for ciphertext in [*others, *(wrapped.ciphertext + bytes(more) for more in range(1, 65))]:
        with pytest.raises(FormatError, match=f"has {SIZES[kind]} bytes, not {len(ciphertext)}"):
            whole.unwrap(replace(wrapped, ciphertext=ciphertext), BINDING)


@pytest.mark.parametrize("kind", KINDS)
def test_other_keys_names_and_bindings_are_refused(kind: str) -> None:
    """A key wrapped for another holder, renamed to us, or asked for under another binding does not open."""
    whole, other = wrapper(kind), wrapper(kind, 1)
    wrapped = whole.wrap(KEY, BINDING)
    attempts: list[tuple[WrappedKey, list[bytes | str]]] = [
        (wrapped, [*BINDING[:1], "eu/globex/invoices", BINDING[2]]),
        (wrapped, BINDING[:2]),
        (wrapped, [*BINDING, ""]),
        (wrapped, []),
        (replace(wrapped, wrapper="local"), BINDING),
        (replace(wrapped, key_ref=other.key_ref), BINDING),
    ]
    for attempt, binding in attempts:
        with pytest.raises(DecryptionError):
            whole.unwrap(attempt, binding)
    transplanted = replace(wrapped, ciphertext=other.wrap(KEY, BINDING).ciphertext)
    with pytest.raises(DecryptionError):
        whole.unwrap(transplanted, BINDING)


def test_several_at_once() -> None:
    """Many keys are wrapped and unwrapped in order."""
    whole = wrapper("p256")
    items = [(bytes([n]) * 32, [str(n)]) for n in range(5)]
    wrapped = whole.wrap_many(items)
    assert whole.unwrap_many([(one, binding) for one, (_, binding) in zip(wrapped, items, strict=True)]) == [key for key, _ in items]


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_a_mistake(size: int) -> None:
    """Only 32 bytes are wrapped."""
    with pytest.raises(ValueError, match="32 bytes"):
        wrapper("p256").wrap(bytes(size), BINDING)


def test_an_expired_certificate_unwraps_with_a_warning() -> None:
    """What was wrapped in time is not lost: wrapping is refused with the repair, unwrapping warns with it."""
    wrapped = wrapper("p256").wrap(KEY, BINDING)
    late = wrapper("p256", at=NOW + 366 * DAY)
    with pytest.raises(CertificateError, match=r"CN=host expired on 2027-06-01 00:00Z: renew it"):
        late.wrap(KEY, BINDING)
    with pytest.warns(SecurityWarning, match=r"CN=host expired on 2027-06-01: renew it, and rewrap"):
        assert late.unwrap(wrapped, BINDING) == KEY


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (NOW - DAY, None),
        (NOW - 1.001 * DAY, "not valid before 2026-05-31 00:00Z: check the clock of this machine"),
        (NOW + 365 * DAY, None),
        (NOW + 365.001 * DAY, "expired on 2027-06-01"),
        (datetime(1970, 1, 1, tzinfo=UTC), "not valid before"),
        (datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC), "expired on"),
        (datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC), "expired on"),
    ],
)
def test_the_dates_of_a_certificate_are_kept(at: datetime, reason: str | None) -> None:
    """From its first to its last moment, whatever the clock says, and never outside of them."""
    one = wrapper("p256", key=False, at=at)
    if reason is None:
        one.wrap(KEY, BINDING)
        return
    with pytest.raises(CertificateError, match=reason):
        one.wrap(KEY, BINDING)


def test_a_certificate_beyond_2038_is_used() -> None:
    """Dates after 2038 and after 2049, where their encoding changes, are understood."""
    issued = issue("host", private_key("p256"), end=datetime(2060, 1, 1, tzinfo=UTC))
    for at in (datetime(2038, 1, 20, tzinfo=UTC), datetime(2059, 12, 31, tzinfo=UTC)):
        one = CertificateWrapper.from_pem(issued.pem, clock=clock(at))
        assert one.wrap(KEY, BINDING).about["not_after"] == "2060-01-01T00:00:00Z"


def test_the_chain_is_checked_when_something_is_wrapped() -> None:
    """With authorities, a certificate that they did not issue is not wrapped to; unwrapping needs no authority."""
    root, other = (issue(name, private_key("p256", number), *AUTHORITY) for name, number in [("root", 10), ("other", 11)])
    middle = issue("intermediate", private_key("p384", 10), *AUTHORITY, issuer=root)
    leaf = issue("host", private_key("p256"), issuer=middle)
    make = CertificateWrapper.from_pem
    wrapped = make(leaf.pem + middle.pem, ca=other.pem + root.pem, clock=clock()).wrap(KEY, BINDING)
    for cert, authority in [(leaf.pem + middle.pem, other.pem), (leaf.pem, root.pem), (issue("host", private_key("p256")).pem, root.pem)]:
        one = make(cert, key=pem(private_key("p256")), ca=authority, clock=clock())
        with pytest.raises(CertificateError, match="does not chain"):
            one.wrap(KEY, BINDING)
        assert one.unwrap(wrapped, BINDING) == KEY
    assert make(leaf.pem, ca=leaf.pem, clock=clock()).wrap(KEY, BINDING).key_ref == wrapped.key_ref


def test_the_weakness_of_a_key_is_a_warning() -> None:
    """RSA of 2,048 bits wraps, with a warning that names what is better."""
    with pytest.warns(SecurityWarning, match="RSA key of 2048 bits; 3072 or more, or P-256, are better"):
        wrapper("rsa2048").wrap(KEY, BINDING)


@pytest.mark.parametrize("which", ["cert", "ca", "key"])
def test_a_missing_file_is_named(which: str, tmp_path: Path) -> None:
    """The message names the file and what the system said."""
    (tmp_path / "cert").write_bytes(issue("host", private_key("p256")).pem)
    files: dict[str, Path] = {"cert": tmp_path / "cert", which: tmp_path / "missing"}
    with pytest.raises((CertificateError, KeyFileError), match=r"cannot read the .* file .*/missing: No such file"):
        CertificateWrapper.from_files(**files)  # type: ignore[arg-type]


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Private keys go through the guarded reader, also in PKCS#12; certificates are public."""
    forms("p256", tmp_path)
    for name in ("key.pem", "both.p12", "cert.pem"):
        (tmp_path / name).chmod(0o644)
    open_wrapper(f"cert:{tmp_path}/cert.pem")
    for name in (f"cert:?key={tmp_path}/key.pem", f"pkcs12:{tmp_path}/both.p12?password_file={tmp_path}/password"):
        with pytest.raises(KeyFileError, match="chmod 600"):
            open_wrapper(name)


@pytest.mark.parametrize("key", [True, False])
def test_a_wrapper_shows_nothing(key: bool) -> None:
    """The repr names the public reference alone, and the wrapper is neither pickled nor copied."""
    one = wrapper("p256", key=key)
    assert repr(one) == f"<CertificateWrapper x509-hpke-p256 {one.key_ref[:16]}… {'opens' if key else 'wraps only'}>"
    for leak in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="holds a secret"):
            leak(one)


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[[str], None]:
    def run(command: str) -> None:
        subprocess.run(f"openssl {command}", shell=True, cwd=tmp_path, capture_output=True, check=True)  # noqa: S602 - fixed commands

    return run


@pytest.mark.parametrize(
    "algorithm", ["EC -pkeyopt ec_paramgen_curve:P-256", "EC -pkeyopt ec_paramgen_curve:P-384", "RSA -pkeyopt rsa_keygen_bits:3072"]
)
def test_an_authority_of_openssl(openssl: Callable[[str], None], tmp_path: Path, algorithm: str) -> None:
    """Root, request and certificate made with openssl alone: the wrapper wraps to it, believes its chain, and unwraps."""
    (tmp_path / "ext").write_text(
        "keyUsage=critical,keyAgreement,keyEncipherment\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
    )
    openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -subj /CN=root -days 30")
    openssl(f"genpkey -algorithm {algorithm} -out host.key")
    openssl("req -new -key host.key -subj /CN=host -out host.csr")
    openssl("x509 -req -in host.csr -CA root.pem -CAkey root.key -CAcreateserial -days 20 -extfile ext -out host.pem")
    (tmp_path / "host.key").chmod(0o600)
    one = CertificateWrapper.from_files(cert=tmp_path / "host.pem", key=tmp_path / "host.key", ca=tmp_path / "root.pem")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.unwrap(one.wrap(KEY, BINDING), BINDING) == KEY


def test_an_rsa_key_of_an_odd_size_unwraps() -> None:
    """A modulus whose size is no multiple of eight bits has a ciphertext of one byte more, which unwraps."""
    key = rsa.generate_private_key(65537, 3074)
    one = CertificateWrapper.from_pem(issue("host", key).pem, key=pem(key), clock=clock())
    wrapped = one.wrap(KEY, BINDING)
    assert len(wrapped.ciphertext) == 385
    assert one.unwrap(wrapped, BINDING) == KEY


def test_a_large_rsa_key_wraps() -> None:
    """RSA of 8,192 bits is wrapped to, and the result is within the bound of a recipient."""
    public = rsa.RSAPublicNumbers(65537, (1 << 8191) | (1 << 64) | 1).public_key()

    class Holder:
        def public_key(self) -> rsa.RSAPublicKey:
            return public

    wrapped = CertificateWrapper.from_pem(issue("host", Holder(), usage("key_encipherment")).pem, clock=clock()).wrap(KEY, BINDING)
    assert len(wrapped.ciphertext) == 1024
