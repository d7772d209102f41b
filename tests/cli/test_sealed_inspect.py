# SPDX-License-Identifier: Apache-2.0
"""``securekit inspect`` of sealed data: of any size, from files and pipes, with its faults, and without a secret."""

from __future__ import annotations

import subprocess
import sys

import pytest

from securekit import CertificateWrapper, Envelope
from tests.cli.conftest import Console
from tests.identities import NOW, issue, private_key

TIB = 1 << 40


@pytest.fixture
def host(empty: Console) -> Console:
    """A console with a key pair, and a sealed file of 100,000 bytes; the private key is elsewhere."""
    empty.ok("identity", "new", "--key", "host.key", "--cert", "host.pem", "--name", "host.example")
    (empty.folder / "host.key").unlink()
    empty.write("data", bytes(100_000))
    empty.ok("encrypt", "data", "--to", "host.pem", "-o", "data.sk")
    empty.env = {}
    return empty


def test_everything_that_can_be_told(host: Console) -> None:
    """The JSON form has every member, also those that are empty, and whom it is wrapped to; the same from a file and a pipe."""
    found = host.ok("inspect", "--json", "data.sk").json
    assert found == host.ok("inspect", "--json", stdin=host.read("data.sk")).json
    (recipient,) = found.pop("recipients")
    assert len(found.pop("message_id")) == 32
    assert found == {
        "kind": "stream", "format": "securekit/envelope/1", "size": len(host.read("data.sk")), "plaintext_size": 100_000,
        "slot_size": 4096, "generation": 0, "faults": [],
    }  # fmt: skip
    assert recipient["key_ref"] == CertificateWrapper.from_files(cert="host.pem").key_ref
    assert recipient["about"]["subject"] == "CN=host.example"


def test_it_is_shown_in_lines(host: Console) -> None:
    """Without --json there is a line for each thing that is known."""
    lines = host.ok("inspect", "data.sk").out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "kind", "format", "size", "plaintext_size", "message_id", "slot_size", "generation", "recipient",
    ]  # fmt: skip
    assert "(fingerprint " in lines[-1]
    assert "subject CN=host.example" in lines[-1]


def test_a_message(host: Console) -> None:
    """What was made in code is told apart."""
    message = Envelope(CertificateWrapper.from_files(cert="host.pem")).encrypt(b"12345", context={})
    found = host.ok("inspect", "--json", stdin=message).json
    assert (found["kind"], found["plaintext_size"], found["slot_size"]) == ("message", 5, None)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("cut", "the data is truncated"),
        ("first", "header 1: not a sealed message: it does not begin with 'sk-envelope/1'"),
        ("second", "header 2: not a sealed message: it does not begin with 'sk-envelope/1'"),
        ("padding", "header 2: the header of the sealed message is not padded with zeros to its slot's size"),
        ("differ", "the two headers differ: a rewrap was interrupted, or one of them is damaged; rewrap the file again"),
    ],
)
def test_faults_are_shown(damage: str, fault: str, host: Console) -> None:
    """A damaged header, headers that differ and data that ends too early are reported, in both forms."""
    sealed = bytearray(host.read("data.sk"))
    if damage == "cut":
        del sealed[8200:]
    else:
        sealed[{"first": 3, "second": 4099, "padding": 8191, "differ": 4096 + 100}[damage]] ^= 1
    host.write("data.sk", sealed)
    for typed, stdin in [(["data.sk"], b""), ([], bytes(sealed))]:
        assert host.ok("inspect", "--json", *typed, stdin=stdin).json["faults"] == [fault]
        assert f"faults: {fault}\n" in host.ok("inspect", *typed, stdin=stdin).out


def test_a_file_of_a_tebibyte(host: Console) -> None:
    """Only the headers of a file are read, whether it is named or is standard input."""
    with (host.folder / "data.sk").open("r+b") as file:
        file.truncate(TIB)
    assert host.ok("inspect", "--json", "data.sk").json["size"] == TIB
    with (host.folder / "data.sk").open("rb") as file:
        done = subprocess.run([sys.executable, "-m", "securekit", "inspect"], stdin=file, capture_output=True, check=True)
    assert f"size: {TIB}\n".encode() in done.stdout


@pytest.mark.measured
def test_a_pipe_is_read_to_its_end(host: Console) -> None:
    """More than memory should hold is counted, and not kept."""
    line = f"{{ cat data.sk; head -c 600000000 /dev/zero; }} | (ulimit -v 400000; exec {sys.executable} -m securekit inspect)"
    done = subprocess.run(["bash", "-c", line], cwd=host.folder, capture_output=True, check=False)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert f"size: {len(host.read('data.sk')) + 600_000_000}\n".encode() in done.stdout


def test_a_certificate_cannot_steer_the_terminal(host: Console) -> None:
    """Names in a header come from anybody: control characters in them never reach the terminal."""
    host.write("evil.pem", issue("\x1b[2J\u202eevil", private_key("p256"), end=NOW.replace(year=2090)).pem)
    sealed = Envelope(CertificateWrapper.from_files(cert="evil.pem")).encrypt(b"", context={})
    assert b"evil" in sealed
    for forged in (sealed, sealed.replace(b"?[2J", b"\xc2\x9b2J").replace(b"?evil", b"\x1bevil")):
        for typed in (["inspect"], ["inspect", "--json"]):
            shown = host.ok(*typed, stdin=forged).out
            assert "evil" in shown
            assert not {"\x1b", "\u202e", "\x9b"} & set(shown)


@pytest.mark.parametrize("data", [b"sk-", b"sk-envelope/2\n" + bytes(200), b"sk-envelope/1\n", b""])
def test_what_is_no_sealed_data_is_an_error(data: bytes, host: Console) -> None:
    """One line, and exit code 1."""
    done = host("inspect", stdin=data)
    assert (done.code, done.raw, done.err.count("\n")) == (1, b"", 1)
