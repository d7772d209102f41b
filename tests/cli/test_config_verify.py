# SPDX-License-Identifier: Apache-2.0
"""``securekit config verify``, as CI and pre-commit hooks run it: without any private key."""

from __future__ import annotations

import re

import pytest

from tests.cli.config_desk import SECRETS, Desk
from tests.config.parts import FORMATS, PASSWORD


@pytest.fixture
def bare(desk: Desk) -> Desk:
    """A desk on which no private key is used."""
    return desk


@pytest.mark.parametrize("form", FORMATS)
def test_a_document_in_order(form: str, bare: Desk) -> None:
    """Exit code 0, the warnings with their lines, and what to do about each."""
    file = bare.encrypted(form)

    done = bare.ok("verify", file)

    assert "its signatures were not checked" in done.out
    assert f"securekit config trust {file} --signer CERT" in done.out
    assert done.err == "1 of 1 documents are in order\n"
    suspicions = re.findall(rf"^{re.escape(file)}:(\d+): warning: ([^:]+): its name is that of a secret", done.out, re.MULTILINE)
    assert len(suspicions) == 1
    lines = bare.console.read(file).decode().splitlines()
    for number, path in suspicions:
        assert path.rsplit(".")[-1].strip('"') in lines[int(number) - 1]


@pytest.mark.parametrize("form", FORMATS)
def test_a_secret_put_there_in_clear(form: str, bare: Desk) -> None:
    """It is an error with its line, and is not shown."""
    file = bare.encrypted(form)
    text = bare.console.read(file).decode()
    token = re.search(r"ENC\[sk1,[^\]]*\]", text)
    assert token
    bare.console.write(file, text.replace(token[0], "fake-in-clear"), mode=0o644)

    done = bare.refused("0 of 1 documents are in order", "verify", file, code=3)

    assert "error: " in done.out
    assert "it must be encrypted, and is in clear text" in done.out
    assert f"securekit config encrypt {file} --adopt" in done.out


@pytest.mark.parametrize("form", FORMATS)
def test_repairs_do_repair(form: str, bare: Desk) -> None:
    """The command that is printed for a value in clear text encrypts it, so that the next run finds nothing."""
    import shlex

    file = bare.encrypted(form)
    (repair,) = {line.strip().split(";")[0] for line in bare.ok("verify", file).out.splitlines() if "--encrypt" in line}
    program, group, *command = shlex.split(repair)

    assert (program, group) == ("securekit", "config")
    bare.ok(*command)

    assert "its name is that of a secret" not in bare.ok("verify", file).out


def test_signers(bare: Desk) -> None:
    """--signer names who must have signed; --strict takes warnings for errors."""
    file = bare.short("a: fake-1\n", "a")

    assert "is not signed: let CN=alice sign it" in bare.refused("0 of 1", "verify", file, "--signer", "alice.pem", code=3).out
    bare.ok("sign", file, "--sign", "alice.key")
    assert bare.ok("verify", file, "--signer", "alice.pem", "--strict").out == ""
    bare.refused("0 of 1", "verify", file, "--strict", code=3)
    assert "is signed only by keys that --signer does not allow" in bare("verify", file, "--signer", "bob.pem").out
    bare.refused("does not allow signatures", "verify", file, "--signer", "host.pem")
    bare.refused("none.pem: No such file", "verify", file, "--signer", "none.pem")


def test_what_was_changed_after_it_was_signed(bare: Desk) -> None:
    """A signature covers every value, in clear or not."""
    file = bare.short("a: fake-1\nb: 1\n", "a")
    bare.ok("sign", file, "--sign", "alice.key")
    bare.console.write(file, bare.console.read(file).replace(b"b: 1", b"b: 2"))

    done = bare.refused("0 of 1", "verify", file, "--signer", "alice.pem", code=3)

    assert "was changed since CN=alice signed it" in done.out


def test_the_repositorys_policy(bare: Desk) -> None:
    """A trust.toml beside the document, or above it in the repository, is what CI verifies against; with other signers too."""
    file = bare.short("a: fake-1\n", "a")
    bare.ok("sign", file, "--sign", "alice.key")
    bare.console.write("trust.toml", bare.ok("trust", file, "--signer", "alice.pem").out)

    assert bare.ok("verify", file, "--strict").out == ""
    assert bare.ok("verify", file, "--strict", "--signer", "alice.pem").out == ""
    assert "bob" in bare("verify", file, "--signer", "bob.pem").out
    bare.ok("recipients", "add", file, "host2.pem", "--identity", "host.key", "--sign", "alice.key", "--trust", _wider(bare))
    done = bare.refused("0 of 1", "verify", file, code=3)
    assert "may be read by" in done.out


def _wider(desk: Desk) -> str:
    from securekit.wrappers import CertificateWrapper

    wrapper = CertificateWrapper.from_files(cert=desk.folder / "host2.pem")
    policy = desk.console.read("trust.toml").decode()
    return desk.console.write("wider.toml", policy.replace("]\ngeneration", f'  "{wrapper.name}:{wrapper.key_ref}",\n]\ngeneration'))


def test_many_files(bare: Desk) -> None:
    """Each is looked at, whatever is wrong with the others: one that is missing, broken, or not encrypted."""
    good = bare.short("a: fake-1\n", "a", name="good.yaml")
    bare.console.write("clear.yaml", "a: fake-1\n")
    bare.console.write("broken.yaml", "a: [\n")
    bare.console.write("odd.txt", "a: [\n")

    done = bare.refused(
        "1 of 5 documents are in order", "verify", good, "clear.yaml", "broken.yaml", "none.yaml", "odd.txt", "--json", code=3
    )

    found = done.json
    assert set(found) == {"good.yaml", "clear.yaml", "broken.yaml", "none.yaml", "odd.txt"}
    assert found["clear.yaml"][0]["what"] == "it is not encrypted: there is no securekit block"
    assert "line" in found["broken.yaml"][0]["what"]
    assert "No such file" in found["none.yaml"][0]["what"]
    assert {finding["severity"] for name in found if name != good for finding in found[name]} == {"error"}
    assert set(found[good][0]) == {"severity", "path", "line", "what", "repair"}


def test_days(bare: Desk) -> None:
    """A certificate that ends within so many days is a warning; one that has ended is an error."""
    bare.console.ok("identity", "new", "--key", "soon.key", "--cert", "soon.pem", "--name", "soon.example", "--days", "20")
    file = bare.short("a: fake-1\n", "a", recipients=("soon.pem",))

    assert "the certificate of the recipient CN=soon.example" in bare.ok("verify", file).out
    assert "expires on" in bare.ok("verify", file).out
    assert "expires on" not in bare.ok("verify", file, "--days", "10").out


@pytest.mark.parametrize("form", FORMATS)
def test_unmatched_patterns(form: str, bare: Desk) -> None:
    """A pattern that matches nothing is more often misspelt than meant."""
    file = f"new.{form}"
    bare.ok("init", file, "--environment", "production", "--recipient", "host.pem", "--encrypt", "*PASSWORT")

    done = bare.refused("0 of 1", "verify", file, code=3)

    assert "the pattern '*PASSWORT' matches nothing: is it misspelt?" in done.out
    assert f"securekit config unset {file} --pattern '*PASSWORT'" in done.out


def test_nothing_secret_is_shown(bare: Desk) -> None:
    """Neither what was encrypted, nor what looks like a secret and is not."""
    for form in FORMATS:
        file = bare.encrypted(form)
        path = PASSWORD[form]
        bare.ok("unset", file, path)
        done = bare.ok("verify", file)
        assert not any(secret in done.out + done.err for secret in SECRETS)
