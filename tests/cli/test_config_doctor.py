# SPDX-License-Identifier: Apache-2.0
"""``securekit config doctor``: what keeps this host from reading, and who else could; with the command that repairs it."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from securekit.wrappers import new_identity
from tests.cli.config_desk import SECRETS, Desk
from tests.cli.conftest import Console
from tests.config.parts import FORMATS

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users need root")


def states(desk: Desk, *arguments: str, code: int = 0, **env: str | None) -> dict[str, str]:
    """Return each finding with its state."""
    done = desk.console("config", "doctor", *arguments, "--json", env=env)
    assert done.code == code, done.out + done.err
    assert not any(secret in done.out + done.err for secret in SECRETS)
    return {row["what"]: row["state"] for row in done.json}


def one(found: dict[str, str], part: str) -> str:
    """Return the state of the one finding that has ``part``."""
    (state,) = [state for what, state in found.items() if part in what]
    return state


def test_a_host_in_order(desk: Desk) -> None:
    """It says which key there is, which recipient this host is, and that everything opens."""
    file = desk.encrypted()
    desk.ok("recipients", "add", file, "host2.pem", "--identity", "host.key")

    found = states(desk, file, "--identity", "host.key")

    assert one(found, "private key: x509-hpke-p256") == "ok"
    assert one(found, "recipient CN=host.example") == "ok"
    assert one(found, "recipient CN=host2.example") == "note"
    assert one(found, "the integrity tag verifies, and 11 secrets open") == "ok"
    assert one(found, "its signatures were not checked") == "warning"


def test_people_read_lines(desk: Desk) -> None:
    """Each with its state, and the repair below it."""
    file = desk.encrypted()

    lines = desk.ok("doctor", file, "--identity", "host.key").out.splitlines()

    assert lines[0].startswith("     ok  private key: ")
    assert f"         name the signers with --signer, or set up a trust.toml: securekit config trust {file} --signer CERT" in lines


def test_without_a_private_key(desk: Desk) -> None:
    """It says where one is looked for, and goes on with what needs none."""
    file = desk.encrypted()

    found = states(desk, file, code=1)

    assert one(found, "there is no private key") == "error"
    assert one(found, "recipient CN=host.example") == "note"


def test_a_key_that_is_no_recipient(desk: Desk) -> None:
    """It names the command that has it encrypted for this host."""
    file = desk.encrypted()

    done = desk.refused("", "doctor", file, "--identity", "mallory.key")

    assert "this host does not read it" in done.out
    assert f"securekit config recipients add {file} CERTIFICATE" in done.out


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_the_repair_of_a_key_that_others_can_read(mode: int, desk: Desk) -> None:
    """The command that is printed repairs it."""
    file = desk.encrypted()
    key = desk.folder / "host's key"
    (desk.folder / "host.key").rename(key)
    key.chmod(mode)

    (what,) = [what for what, state in states(desk, file, "--identity", str(key), code=1).items() if state == "error" and "host's" in what]
    command = what.split("with: ")[1]
    subprocess.run(command, shell=True, check=True, cwd=desk.folder)  # noqa: S602 - as an operator would paste it

    assert one(states(desk, file, "--identity", str(key)), "secrets open") == "ok"


def test_a_certificate_that_ends_soon(desk: Desk) -> None:
    """Within 30 days it says how to replace it, for this host's own certificate."""
    new_identity("soon.example", key=desk.folder / "soon.key", cert=desk.folder / "soon.pem", days=20)
    file = desk.short("a: fake-1\n", "a", recipients=("soon.pem",))

    done = desk.ok("doctor", file, "--identity", "soon.key")

    assert "warning  this host's certificate ends on" in done.out
    assert f"securekit config recipients add {file} NEW.pem" in done.out


def test_documents_that_cannot_be_read(desk: Desk) -> None:
    """Missing, broken, in clear text, changed by hand: each is an error that says so."""
    file = desk.encrypted()
    desk.place("yaml", "clear")
    desk.console.write("broken.yaml", "a: [\n")
    desk.console.write("changed.yaml", desk.console.read(file).replace(b"5432", b"5433", 1))
    desk.console.write("moved.yaml", desk.console.read(file).replace(b"smtp:", b"mail:", 1))

    assert one(states(desk, "none.yaml", "--identity", "host.key", code=1), "cannot read none.yaml") == "error"
    assert one(states(desk, "broken.yaml", "--identity", "host.key", code=1), "broken.yaml: line") == "error"
    assert one(states(desk, "clear.yaml", "--identity", "host.key", code=1), "it is not encrypted") == "error"
    for name in ("changed.yaml", "moved.yaml"):
        assert one(states(desk, name, "--identity", "host.key", code=1), "this host does not read it") == "error"


def test_trust(desk: Desk) -> None:
    """The one that applies is named; one that cannot be read is an error; a document that it does not allow is one."""
    file = desk.encrypted()
    desk.ok("sign", file, "--sign", "alice.key")
    host = desk.folder / "etc"
    host.mkdir(mode=0o755)
    (desk.folder / "host.key").rename(host / "host.key")
    trust = host / "trust.toml"
    trust.write_text(desk.ok("trust", file, "--signer", "alice.pem").out)

    found = states(desk, file, "--identity", "etc/host.key")
    assert one(found, "trust: etc/trust.toml") == "ok"
    assert not [what for what in found if "signatures" in what]
    assert one(states(desk, file, "--trust", "none.toml", "--identity", "etc/host.key", code=1), "none.toml") == "error"
    desk.ok("set", file, "db.password", "--stdin", stdin="fake-2")
    assert one(states(desk, file, "--identity", "etc/host.key", code=1), "is not signed") == "error"
    trust.chmod(0o666)
    assert one(states(desk, file, "--identity", "etc/host.key", code=1), "trust.toml") == "error"


def test_the_identity_of_systemd(desk: Desk) -> None:
    """The credential is found where systemd puts it, and the variable comes before it."""
    file = desk.encrypted()
    credentials = desk.folder / "credentials"
    credentials.mkdir(mode=0o700)
    (desk.folder / "host.key").rename(credentials / "securekit.identity")

    assert one(states(desk, file, CREDENTIALS_DIRECTORY=str(credentials)), "secrets open") == "ok"
    found = states(desk, file, code=1, CREDENTIALS_DIRECTORY=str(credentials), SECUREKIT_IDENTITY="mallory.key")
    assert one(found, "this host does not read it") == "error"


# ------------------------------------------------------------------------------------------------ --as-user


@pytest.fixture
def open_desk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk into whose folder every user can look."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path in desk.folder.glob("*.*"):
            path.rename(folder / path.name)
        monkeypatch.chdir(folder)
        console = Console(folder, monkeypatch)
        console.env = {"SECUREKIT_STATE": str(folder / "state")}
        yield Desk(console)


@needs_root
def test_another_user_is_tried(open_desk: Desk) -> None:
    """Root tries to open the key as that user, whatever its modes say: the guard's verdict is one thing, this is another."""
    desk = open_desk
    file = desk.encrypted()

    assert one(states(desk, file, "--identity", "host.key", "--as-user", "nobody"), "nobody cannot read the private key") == "ok"
    (desk.folder / "host.key").chmod(0o644)
    done = desk.refused("", "doctor", file, "--identity", "host.key", "--as-user", "nobody")
    assert "warning  nobody can read the private key host.key" in done.out
    (repair,) = [line.split("itself: ")[1] for line in done.out.splitlines() if "is not the service itself" in line]
    subprocess.run(repair, shell=True, check=True)  # noqa: S602 - as an operator would paste it
    assert one(states(desk, file, "--identity", "host.key", "--as-user", "nobody"), "nobody cannot read") == "ok"
    (desk.folder / "host.key").chmod(0o644)
    desk.folder.chmod(0o700)
    assert one(states(desk, file, "--identity", "host.key", "--as-user", "nobody", code=1), "nobody cannot read") == "ok"


def test_a_user_who_is_not_there(desk: Desk) -> None:
    """A misspelt name is an error, and not a user who cannot read."""
    file = desk.encrypted()

    assert one(states(desk, file, "--identity", "host.key", "--as-user", "nobdy", code=1), "there is no user nobdy") == "error"


@needs_root
def test_trying_another_user_takes_root(open_desk: Desk) -> None:
    """Somebody else is told how to ask; about themselves they are answered."""
    desk = open_desk
    file = desk.encrypted()
    (desk.folder / "state").chmod(0o755)
    os.chown(desk.folder / "host.key", 65534, 65534)
    program = (
        "import os, sys, pwd\nfrom securekit.__main__ import main\nimport securekit._cli._config_doctor, securekit.config._examine\n"
        "try:\n    sys.argv = ['securekit', '--version']; main()\nexcept SystemExit: pass\n"
        f"sys.argv = ['securekit', 'config', 'doctor', {file!r}, '--identity', 'host.key', '--as-user', USER]\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\nmain()\n"
    )

    def ask(user: str) -> str:
        command = [sys.executable, "-c", program.replace("USER", repr(user))]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **desk.console.env}).stdout

    nobody = pwd.getpwuid(65534).pw_name
    assert f"{nobody} can read the private key host.key" in ask(nobody).split("private key: ")[-1]
    assert f"sudo securekit config doctor FILE --identity host.key --as-user {shlex.quote('root')}" in ask("root")


@pytest.mark.parametrize("form", FORMATS)
def test_a_realistic_document_of_every_format_is_in_order(form: str, desk: Desk) -> None:
    """The doctor reads documents of all five formats, and says how many secrets open."""
    done = desk.ok("doctor", desk.encrypted(form), "--identity", "host.key")
    assert "the integrity tag verifies, and 11 secrets open" in done.out
