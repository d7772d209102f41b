# SPDX-License-Identifier: Apache-2.0
"""What a newcomer types into ``securekit config``, and is told."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Console
from tests.cli.terminal import ESCAPES, Terminal

CLEAR = "db:\n  host: db1.example\n  password: fake-secret\n"
ENCRYPT = ("config", "encrypt", "app.yaml", "--environment", "production", "--recipient", "host.pem", "--encrypt", "**.password")


@pytest.fixture
def desk(empty: Console) -> Console:
    """A host's identity, and a document in clear text."""
    empty.env = {"SECUREKIT_STATE": "state"}
    empty.ok("identity", "new", "--key", "host.key", "--cert", "host.pem", "--name", "web1.example")
    empty.write("app.yaml", CLEAR)
    return empty


def test_a_dry_run_of_the_first_encryption_shows_no_secret(desk: Console) -> None:
    """It says what would be encrypted, writes nothing, and keeps the values out of terminals and logs of CI."""
    done = desk.ok(*ENCRYPT, "--dry-run")

    assert done.out == "db.password\n"
    assert "fake-secret" not in done.err
    assert desk.read("app.yaml").decode() == CLEAR


def test_an_edit_that_fails_is_told_once(desk: Console) -> None:
    """Where nobody can be asked to edit again, the error is printed once."""
    desk.ok(*ENCRYPT)

    done = desk("config", "edit", "app.yaml", env={"VISUAL": "sed -i s/host:/[/"})

    assert (done.code, done.err.count("securekit: error: ")) == (1, 1)


def test_nobody_is_added_whom_the_trust_does_not_allow(desk: Console) -> None:
    """A recipient that hosts would refuse is refused before anything is written; once the trust names it, it is added."""
    desk.ok("identity", "new", "--type", "ed25519", "--key", "anna.key", "--cert", "anna.pem", "--name", "Anna")
    desk.ok("identity", "new", "--key", "host2.key", "--cert", "host2.pem", "--name", "web2.example")
    desk.ok(*ENCRYPT, "--sign", "anna.key")
    trust = desk.ok("config", "trust", "app.yaml", "--signer", "anna.pem").out
    desk.write("trust.toml", trust)
    before = desk.read("app.yaml")
    add = ("config", "recipients", "add", "app.yaml", "host2.pem", "--identity", "host.key")

    refused = desk(*add)
    assert (refused.code, desk.read("app.yaml")) == (1, before)
    assert "trust.toml does not allow: remove them, or add them to its recipients" in refused.err

    desk.write("trust.toml", trust.replace("recipients = [", 'recipients = [\n  "host2.pem",'))
    desk.ok(*add)
    assert desk.ok("config", "recipients", "list", "app.yaml").out.count("web2.example") == 1


def test_a_run_over_many_documents_names_each_failure_once(desk: Console) -> None:
    """An error of ``rotate --all`` has the document's path, once."""
    desk.ok(*ENCRYPT)

    done = desk("config", "rotate", "--all", ".", env={"SECUREKIT_STATE": "other"})

    assert done.code == 1
    assert done.err.startswith("securekit: error: app.yaml was last changed by somebody")


@pytest.mark.measured
def test_a_narrow_terminal_shows_whole_fingerprints(desk: Console) -> None:
    """What has to be compared sign by sign is folded into lines, and never cut."""
    desk.ok(*ENCRYPT)
    (recipient,) = desk.ok("config", "recipients", "list", "app.yaml", "--json").json
    desk.env["COLUMNS"] = "80"

    terminal = Terminal(desk, "config", "recipients", "list", "app.yaml")
    assert terminal.end() == 0

    cells = [line.split("│") for line in ESCAPES.sub(b"", terminal.text).decode().splitlines() if line.startswith("│")]
    assert "".join(cell[3].strip() for cell in cells) == recipient["fingerprint"]


@pytest.mark.measured
def test_an_edit_that_is_given_up_is_told_once(desk: Console) -> None:
    """Who does not want to edit again has read the error already, and nothing is written."""
    desk.ok(*ENCRYPT)
    before = desk.read("app.yaml")
    desk.env["VISUAL"] = "sed -i s/host:/[/"

    terminal = Terminal(desk, "config", "edit", "app.yaml")
    terminal.wait_for(b"Edit again?")
    terminal.type(b"n\n")

    assert (terminal.end(), terminal.text.count(b"securekit: error: ")) == (1, 1)
    assert desk.read("app.yaml") == before


def test_only_what_starts_is_remembered(desk: Console) -> None:
    """A state keeps the generation that a program has started with, and none that somebody has looked at, checked or edited.

    Otherwise root's look at a draft would stop the service with the version that is deployed.
    """
    desk.ok("identity", "new", "--type", "ed25519", "--key", "anna.key", "--cert", "anna.pem", "--name", "Anna")
    desk.ok(*ENCRYPT, "--sign", "anna.key")
    desk.write("trust.toml", desk.ok("config", "trust", "app.yaml", "--signer", "anna.pem", "--state", "generation").out)
    host = ("--identity", "host.key")

    desk.ok("config", "doctor", "app.yaml", *host)
    desk.ok("config", "verify", "app.yaml", "--trust", "trust.toml")
    desk.ok("config", "get", "app.yaml", "db.password", *host)
    desk.ok("config", "set", "app.yaml", "db.host", "--stdin", "--clear", *host, "--sign", "anna.key", stdin="db2.example")
    assert "generation" not in desk.names()

    assert desk.process("config", "exec", "app.yaml", *host, "--", "true").code == 0
    assert b'"generation": 2' in desk.read("generation")


def test_no_program_starts_with_what_is_not_signed(desk: Console) -> None:
    """`exec` asks for the signatures that the trust wants, also of what was written on this machine, which `get` shows."""
    desk.ok("identity", "new", "--type", "ed25519", "--key", "anna.key", "--cert", "anna.pem", "--name", "Anna")
    desk.ok(*ENCRYPT)
    desk.write("trust.toml", desk.ok("config", "trust", "app.yaml", "--signer", "anna.pem").out)

    desk.ok("config", "get", "app.yaml", "db.password", "--identity", "host.key")
    done = desk.process("config", "exec", "app.yaml", "--identity", "host.key", "--", "true")

    assert done.code == 1
    assert "is not signed: let CN=Anna sign it" in done.err


def test_whom_the_trust_does_not_allow_any_more_can_be_removed(desk: Console) -> None:
    """The trust may come first: who was taken out of it is then removed from the document, as its message says."""
    desk.ok("identity", "new", "--type", "ed25519", "--key", "anna.key", "--cert", "anna.pem", "--name", "Anna")
    desk.ok("identity", "new", "--key", "host2.key", "--cert", "host2.pem", "--name", "web2.example")
    desk.ok(*ENCRYPT, "--recipient", "host2.pem", "--sign", "anna.key")
    trust = desk.ok("config", "trust", "app.yaml", "--signer", "anna.pem").out
    (gone,) = [one["fingerprint"] for one in desk.ok("config", "recipients", "list", "app.yaml", "--json").json if "web2" in one["subject"]]
    desk.write("trust.toml", trust.replace(f'  "x509-hpke-p256:{gone}",\n', ""))
    host = ("--identity", "host.key")
    assert "does not allow: remove them" in desk("config", "get", "app.yaml", "db.password", *host).err

    done = desk.ok("config", "recipients", "remove", "app.yaml", "host2.pem", *host, "--sign", "anna.key")

    assert done.out == "db.password\n"
    assert desk.ok("config", "get", "app.yaml", "db.password", *host).out == "fake-secret\n"
