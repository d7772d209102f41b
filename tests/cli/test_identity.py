# SPDX-License-Identifier: Apache-2.0
"""``securekit identity new`` makes guarded files, and never a key in the clear where a password was asked for."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Console

NEW = ("identity", "new", "--key", "k", "--name", "web1.example")
PASSWORD = "canary-41ff"


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa3072", "ed25519"])
@pytest.mark.parametrize("public", ["--cert", "--csr"])
def test_a_new_identity(kind: str, public: str, empty: Console) -> None:
    """Two files with their modes, one line on stderr that says which of them is private, and nothing on stdout."""
    done = empty.ok(*NEW, public, "p", "--type", kind, "--days", "30")
    assert (done.out, done.err) == ("", "made k (private: keep it where only its owner reads it) and p (public)\n")
    assert {path.name: path.stat().st_mode & 0o777 for path in empty.folder.iterdir()} == {"k": 0o600, "p": 0o644}
    assert (b"BEGIN CERTIFICATE-" if public == "--cert" else b"BEGIN CERTIFICATE REQUEST-") in empty.read("p")


def test_a_signing_identity_is_not_wrapped_to(empty: Console) -> None:
    """The help says what it is for; wrapping to it is refused, and nothing is written."""
    assert "signs configuration documents, and cannot be wrapped to" in " ".join(empty.ok("identity", "new", "--help").out.split())
    empty.ok(*NEW, "--cert", "p", "--type", "ed25519")
    empty.ok("keys", "new-kek", "root.key")
    empty.ok("keys", "create", "a")
    before = empty.document("a").read_bytes()
    done = empty("keys", "rewrap", "--to", "local:root.key", "--to", "cert:p")
    assert (done.code, "(Ed25519PublicKey) is not wrapped to" in done.err) == (1, True)
    assert empty.document("a").read_bytes() == before


def test_a_password_from_a_prompt(empty: Console) -> None:
    """The password is asked for twice, must be the same, and encrypts the key; it is not shown."""
    done = empty.ok(*NEW, "--cert", "p", "--encrypt", stdin=f"{PASSWORD}\nother\n{PASSWORD}\n{PASSWORD}\n")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in empty.read("k")
    assert "do not match" in done.err
    assert PASSWORD not in done.out + done.err


def test_a_password_from_a_file(empty: Console) -> None:
    """The key that it encrypts opens with the same file."""
    empty.write("password", PASSWORD + "\n")
    empty.ok(*NEW, "--cert", "p", "--password-file", "password")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in empty.read("k")
    empty.ok("keys", "new-kek", "root.key")
    empty.ok("keys", "create", "a")
    empty.ok("keys", "rewrap", "--to", "local:root.key", "--to", "cert:p")
    empty.ok("keys", "rewrap", "--wrap", "cert:?key=k&password_file=password", "--recover", "--to", "local:root.key", "--to", "cert:p")


@pytest.mark.parametrize(
    ("contents", "mode", "code", "said"),
    [
        (b"\n", 0o600, 2, "a password has 1 to 1023 bytes, not 0"),
        (PASSWORD.encode() + b"\xff", 0o600, 1, "is not UTF-8 text"),
        (PASSWORD.encode(), 0o644, 1, "chmod 600"),
        (b"", 0o600, 1, "is empty"),
    ],
)
def test_a_bad_password_file_leaves_nothing(contents: bytes, mode: int, code: int, said: str, empty: Console) -> None:
    """An empty, foreign or readable password file is an error with its repair, and no key is written, least of all unencrypted."""
    empty.write("password", contents, mode)
    done = empty(*NEW, "--cert", "p", "--password-file", "password")
    assert done.code == code
    assert said in done.err
    assert PASSWORD not in done.err
    assert empty.names() == {"password"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 2),
        (["--cert", "p", "--csr", "q"], 2),
        (["--cert", "p", "--days", "0"], 2),
        (["--cert", "p", "--days", "36501"], 2),
        (["--cert", "no/p"], 1),
        (["--cert", "k"], 1),
        (["--cert", "p", "--encrypt"], 130),
    ],
)
def test_a_failed_run_leaves_nothing(options: list[str], code: int, empty: Console) -> None:
    """Whatever is wrong, the folder stays empty."""
    assert empty(*NEW, *options).code == code
    assert empty.names() == set()


def test_nothing_is_overwritten(empty: Console) -> None:
    """A second run keeps the first one's files."""
    empty.ok(*NEW, "--cert", "p")
    before = (empty.read("k"), empty.read("p"))
    for other in (["--cert", "p"], ["--cert", "new"]):
        done = empty(*NEW, *other)
        assert (done.code, "exists already and is not overwritten" in done.err) == (1, True)
    assert (empty.read("k"), empty.read("p")) == before
    assert empty.names() == {"k", "p"}


# Post-quantum key pairs.

PQ = ("identity", "new", "--pq", "--key", "k", "--public", "p")


def test_a_new_post_quantum_pair(empty: Console) -> None:
    """Two files with their modes, and the line that says which of them is private; what is sealed to one opens with the other."""
    done = empty.ok(*PQ)
    assert (done.out, done.err) == ("", "made k (private: keep it where only its owner reads it) and p (public)\n")
    assert {path.name: path.stat().st_mode & 0o777 for path in empty.folder.iterdir()} == {"k": 0o600, "p": 0o644}
    sealed = empty.ok("encrypt", "--to", "p", stdin=b"x").raw
    assert empty.ok("decrypt", "--identity", "k", stdin=sealed).raw == b"x"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        *(
            ([*PQ, *option], f"{option[0]} goes with certificates, not with --pq")
            for option in (["--cert", "c"], ["--csr", "c"], ["--name", "n"], ["--type", "p256"], ["--days", "365"], ["--encrypt"])
        ),
        ([*PQ, "--password-file", "p"], "--password-file goes with certificates, not with --pq"),
        (PQ[:5], "is made with --pq, --key FILE and --public FILE"),
        ([*PQ[:2], *PQ[3:]], "is made with --pq, --key FILE and --public FILE"),
        (["identity", "new", "--key", "k", "--cert", "c"], "--name is missing"),
    ],
)
def test_post_quantum_and_certificates_do_not_mix(typed: list[str], said: str, empty: Console) -> None:
    """An option that would have no effect is refused, even with its default, and nothing is made."""
    done = empty(*typed)
    assert (done.code, said in done.err) == (2, True)
    assert empty.names() == set()


@pytest.mark.parametrize("there", ["k", "p"])
def test_a_post_quantum_pair_overwrites_nothing(there: str, empty: Console) -> None:
    """If one of the files is there, it stays, and the other one is not made."""
    empty.write(there, b"before")
    done = empty(*PQ)
    assert (done.code, f"{there} exists already and is not overwritten" in done.err) == (1, True)
    assert (empty.names(), empty.read(there)) == ({there}, b"before")
