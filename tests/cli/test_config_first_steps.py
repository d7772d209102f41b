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


def test_a_narrow_terminal_shows_whole_fingerprints(desk: Console) -> None:
    """What has to be compared sign by sign is folded into lines, and never cut."""
    desk.ok(*ENCRYPT)
    (recipient,) = desk.ok("config", "recipients", "list", "app.yaml", "--json").json
    desk.env["COLUMNS"] = "80"

    terminal = Terminal(desk, "config", "recipients", "list", "app.yaml")
    assert terminal.end() == 0

    cells = [line.split("│") for line in ESCAPES.sub(b"", terminal.text).decode().splitlines() if line.startswith("│")]
    assert "".join(cell[3].strip() for cell in cells) == recipient["fingerprint"]


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
