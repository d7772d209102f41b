# SPDX-License-Identifier: Apache-2.0
"""A new identity is two guarded files, or none; openssl reads both, and what is wrapped to one opens with the other."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from securekit._primitives.signatures import SigningCertificate, SigningKey
from securekit.exceptions import CertificateError, KeyFileError
from securekit.wrappers import CertificateWrapper, new_identity
from securekit.wrappers._identity import KINDS

PASSWORD = "canary-93ab"


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ed25519"])
def test_openssl_reads_what_is_made(kind: str, tmp_path: Path, openssl: Callable[..., str]) -> None:
    """The certificate verifies, names the host, and is good for wrapping alone; the key belongs to it."""
    new_identity("web1.example", key=tmp_path / "key", cert=tmp_path / "cert", kind=kind, days=30)
    text = openssl("x509", "-in", "cert", "-noout", "-text")
    assert openssl("verify", "-CAfile", "cert", "cert") == "cert: OK\n"
    assert openssl("pkey", "-in", "key", "-pubout") == openssl("x509", "-in", "cert", "-noout", "-pubkey")
    assert "CA:FALSE" in text
    assert "DNS:web1.example" in text
    assert ("Key Encipherment" if kind.startswith("rsa") else "Key Agreement") in text
    one = CertificateWrapper.from_files(cert=tmp_path / "cert", key=tmp_path / "key")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.unwrap(one.wrap(bytes(32), ["a"]), ["a"]) == bytes(32)


def test_a_signing_identity(tmp_path: Path, openssl: Callable[..., str]) -> None:
    """An Ed25519 certificate verifies, allows signatures alone, and what its key signs verifies with it; nothing is wrapped to it."""
    new_identity("Anna Lindqvist", key=tmp_path / "key", cert=tmp_path / "cert", kind="ed25519", password=PASSWORD)
    text = openssl("x509", "-in", "cert", "-noout", "-text")
    assert openssl("verify", "-CAfile", "cert", "cert") == "cert: OK\n"
    assert "CA:FALSE" in text
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in text
    certificate = SigningCertificate.read((tmp_path / "cert").read_bytes())
    key = SigningKey.read((tmp_path / "key").read_bytes(), password=PASSWORD)
    certificate.verify(key.sign(b"m"), b"m")
    assert (certificate.algorithm, certificate.reference) == ("ed25519", key.reference)
    with pytest.raises(CertificateError, match=r"Ed25519.*is not wrapped to; RSA, P-256, P-384 and X25519 are"):
        CertificateWrapper.from_files(cert=tmp_path / "cert")
    with pytest.raises(CertificateError, match=r"Ed25519.*does not unwrap; RSA, P-256, P-384 and X25519 do"):
        CertificateWrapper.from_files(key=tmp_path / "key", password=PASSWORD)


def test_a_request_for_a_signing_certificate(tmp_path: Path, openssl: Callable[..., str]) -> None:
    """The request verifies and asks for signatures alone."""
    new_identity("anna", key=tmp_path / "key", csr=tmp_path / "csr", kind="ed25519")
    text = openssl("req", "-in", "csr", "-noout", "-verify", "-text")
    assert "verify OK" in text
    assert "Digital Signature\n" in text


@pytest.mark.parametrize("kind", ["p256", "rsa3072"])
def test_a_request_is_signed_by_an_authority(kind: str, tmp_path: Path, openssl: Callable[..., str]) -> None:
    """The request verifies, and an authority of openssl makes a certificate that goes with the key."""
    new_identity("web1.example", key=tmp_path / "key", csr=tmp_path / "csr", kind=kind)
    assert "verify OK" in openssl("req", "-in", "csr", "-noout", "-verify")
    root = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -subj /CN=root -days 30"
    openssl(*root.split())
    sign = "x509 -req -in csr -CA root.pem -CAkey root.key -CAcreateserial -copy_extensions copy -days 20 -out cert"
    openssl(*sign.split())
    one = CertificateWrapper.from_files(cert=tmp_path / "cert", key=tmp_path / "key", ca=tmp_path / "root.pem")
    assert one.unwrap(one.wrap(bytes(32), ["a"]), ["a"]) == bytes(32)


def test_the_files_have_their_modes_whatever_the_umask(tmp_path: Path) -> None:
    """The key is for its owner alone, the certificate for everybody, and nothing else is left."""
    before = os.umask(0o022)
    try:
        new_identity("a", key=tmp_path / "key", cert=tmp_path / "cert")
        os.umask(0)
        new_identity("a", key=tmp_path / "key2", csr=tmp_path / "csr")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"key": 0o600, "cert": 0o644, "key2": 0o600, "csr": 0o644}


def test_a_password_encrypts_the_key(tmp_path: Path, openssl: Callable[..., str]) -> None:
    """The key opens with the password, for openssl too, and with nothing else."""
    new_identity("a", key=tmp_path / "key", cert=tmp_path / "cert", password=PASSWORD)
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    assert "BEGIN PUBLIC KEY" in openssl("pkey", "-in", "key", "-passin", f"pass:{PASSWORD}", "-pubout")
    CertificateWrapper.from_files(key=tmp_path / "key", password=PASSWORD)
    with pytest.raises(KeyFileError, match="give its password"):
        CertificateWrapper.from_files(key=tmp_path / "key")


@pytest.mark.parametrize("password", ["", f"{PASSWORD}\udcff", "x" * 2000])
def test_a_password_that_cannot_encrypt_leaves_nothing(password: str, tmp_path: Path) -> None:
    """No file is made, least of all one with the key in the clear."""
    with pytest.raises(ValueError, match="password") as caught:
        new_identity("a", key=tmp_path / "key", cert=tmp_path / "cert", password=password)
    assert PASSWORD not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["key", "cert", "both"])
def test_nothing_is_overwritten(taken: str, tmp_path: Path) -> None:
    """A file that exists keeps its bytes, and the other one is not left behind."""
    names = ["key", "cert"] if taken == "both" else [taken]
    for name in names:
        (tmp_path / name).write_text("precious")
    with pytest.raises(KeyFileError, match="exists already and is not overwritten; choose another name"):
        new_identity("a", key=tmp_path / "key", cert=tmp_path / "cert")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "precious")


@pytest.mark.parametrize(("key", "cert"), [("no/key", "cert"), ("key", "no/cert"), ("same", "same"), ("cert/key", "cert")])
def test_when_one_cannot_be_written_neither_is_left(key: str, cert: str, tmp_path: Path) -> None:
    """A missing directory, or one name for both, is a KeyFileError, and the folder stays empty."""
    with pytest.raises(KeyFileError, match=r"cannot write .*: No|exists already|Not a directory"):
        new_identity("a", key=tmp_path / key, cert=tmp_path / cert)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "one of cert and csr"),
        ({"cert": "c", "csr": "r"}, "one of cert and csr"),
        ({"cert": "c", "kind": "x25519"}, "p256, p384, rsa3072, rsa4096, ed25519, not 'x25519'"),
        ({"cert": "c", "days": 0}, "days must be 1 to 36500, not 0"),
        ({"cert": "c", "days": 36_501}, "not 36501"),
        ({"cert": "c", "name": ""}, "1 to 64 printable"),
        ({"csr": "r", "name": "a\n"}, "1 to 64 printable"),
    ],
)
def test_other_arguments_are_a_mistake(arguments: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names what is allowed, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=reason):
        new_identity(**{"name": "a", "key": "k", **arguments})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_dates_come_from_the_clock(tmp_path: Path, openssl: Callable[..., str]) -> None:
    """Valid from an hour ago, since other clocks may be behind, for the days asked for; also at the ends of time."""
    for number, (moment, days, dates) in enumerate(
        [
            (1_780_272_000, 30, ("May 31 23:00:00 2026", "Jul  1 00:00:00 2026")),
            (0, 1, ("Dec 31 23:00:00 1969", "Jan  2 00:00:00 1970")),
            (2**31, 36_500, ("Jan 19 02:14:08 2038", "Dec 26 03:14:08 2137")),
        ]
    ):
        name = f"cert{number}"
        new_identity("a", key=tmp_path / f"key{number}", cert=tmp_path / name, days=days, clock=lambda moment=moment: moment)  # type: ignore[misc]
        text = openssl("x509", "-in", name, "-noout", "-dates")
        assert text == f"notBefore={dates[0]} GMT\nnotAfter={dates[1]} GMT\n"
