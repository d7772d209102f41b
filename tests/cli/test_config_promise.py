# SPDX-License-Identifier: Apache-2.0
"""The promise, played to its end: engineers write production's passwords, and only production's hosts read them."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from securekit import Secret
from securekit.config import load
from securekit.exceptions import ConfigError, KeyNotFoundError
from tests.cli.conftest import Console

PRODUCTION = """\
# billing, production
db:
  host: db1.eu.example
  password: fake-first   # of the owner role
smtp: {host: mail.example, password: fake-mail}
"""
# Both do the same; the second after it has become another user. What the first has imported is there for the second, who
# perhaps cannot read this Python's own files.
TWICE = """
import os, sys
from securekit.__main__ import main
user, group = int(sys.argv.pop(1)), int(sys.argv.pop(1))
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
print("=", flush=True)
os.setgroups([]), os.setgid(group), os.setuid(user)
main()
"""


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A folder that every user of this machine can look into, unlike pytest's own."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        yield Console(Path(folder), monkeypatch)


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The production host: what it loads is what its service starts with."""

    def start(document: Path, identity: Path) -> dict[str, Any]:
        return load(document, environment="production", identity=identity)

    return start


def as_root_and_as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as this user, and then as another one."""
    user = pwd.getpwnam("nobody")
    command = [sys.executable, "-W", "ignore", "-c", TWICE, str(user.pw_uid), str(user.pw_gid), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming a second user takes root")
def test_engineers_write_and_only_hosts_read(desk: Console, host: Callable[..., dict[str, Any]]) -> None:
    """An administrator makes certificates, an engineer without private keys writes and signs, the host reads, nobody else does.

    Then the host's certificate is replaced with an overlap, the old one goes, and the document is rotated.
    """
    folder = desk.folder
    machine = folder / "etc"
    mine: dict[str, str | None] = {"SECUREKIT_STATE": "state", "SECUREKIT_SIGNING_KEY": "alice.key"}
    machine.mkdir(mode=0o755)
    document = folder / "production.yaml"

    # An administrator makes the host's identity on the host, and hands out its certificate.
    desk.ok("identity", "new", "--key", "etc/host.key", "--cert", "host.pem", "--name", "web1.example", "--days", "20")
    # An engineer makes an identity to sign with, and encrypts the file for the host.
    desk.ok("identity", "new", "--type", "ed25519", "--key", "alice.key", "--cert", "alice.pem", "--name", "alice")
    desk.write("production.yaml", PRODUCTION, mode=0o644)
    arguments = ("--environment", "production", "--recipient", "host.pem", "--encrypt", "**.password")
    desk.ok("config", "encrypt", "production.yaml", *arguments, env=mine)
    # The administrator says whom the host believes.
    trust = desk.ok("config", "trust", "production.yaml", "--signer", "alice.pem").out
    (machine / "trust.toml").write_text(trust)

    # The engineer adds and replaces secrets, and can read none of them.
    desk.ok("config", "set", "production.yaml", "db.password", "--stdin", stdin="fake-second", env=mine)
    desk.ok("config", "set", "production.yaml", "queue.password", "--stdin", "--create", stdin="fake-queue", env=mine)
    assert desk("config", "get", "production.yaml", "db.password", env=mine).code == 1
    assert not any(secret in document.read_text() for secret in ("fake-first", "fake-second", "fake-queue", "fake-mail"))

    # The host reads them.
    values = host(document, machine / "host.key")
    assert values["db"] == {"host": "db1.eu.example", "password": Secret("fake-second")}
    assert values["queue"] == {"password": Secret("fake-queue")}

    # Another engineer's account on the same machine does not: the key is not theirs to read. Their own key is no recipient.
    theirs = as_root_and_as_nobody("config", "get", "production.yaml", "db.password", "--identity", "etc/host.key")
    assert (theirs.returncode, theirs.stdout) == (1, "fake-second\n=\n"), theirs.stderr
    assert "Permission denied" in theirs.stderr
    desk.ok("identity", "new", "--key", "mallory.key", "--cert", "mallory.pem", "--name", "mallory")
    assert desk("config", "get", "production.yaml", "db.password", "--identity", "mallory.key", env=mine).code == 1
    doctor = desk.ok("config", "doctor", "production.yaml", "--identity", "etc/host.key", "--as-user", "nobody", env=mine)
    assert "nobody cannot read the private key" in doctor.out
    assert "this host's certificate ends on" in doctor.out

    # The certificate ends soon: a new key is added beside the old one, and both read.
    desk.ok("identity", "new", "--key", "etc/host2.key", "--cert", "host2.pem", "--name", "web1.example")
    both = ("--identity", "etc/host.key", "--trust", "desk.toml")
    trust = desk.ok("config", "trust", "production.yaml", "--signer", "alice.pem").out
    desk.write("desk.toml", trust.replace("]\ngeneration", f'  "{_reference(desk, "host2.pem")}",\n]\ngeneration'))
    (machine / "trust.toml").write_text((folder / "desk.toml").read_text())
    desk.ok("config", "recipients", "add", "production.yaml", "host2.pem", *both, env=mine)
    assert host(document, machine / "host.key") == host(document, machine / "host2.key")

    # The old one goes; what it could read is listed, to be changed at its source. It reads nothing any more.
    removed = desk.ok("config", "recipients", "remove", "production.yaml", "host.pem", *both, env=mine)
    assert removed.out.split() == ["db.password", "smtp.password", "queue.password"]
    with pytest.raises(KeyNotFoundError):
        host(document, machine / "host.key")

    # The document is rotated, by who can read it.
    before = document.read_text()
    desk.ok("config", "rotate", "production.yaml", "--identity", "etc/host2.key", "--trust", "desk.toml", env=mine)
    assert not {line for line in before.splitlines() if "ENC[" in line} & set(document.read_text().splitlines())
    assert host(document, machine / "host2.key")["smtp"] == {"host": "mail.example", "password": Secret("fake-mail")}

    # What nobody signed whom the host believes, it does not start with.
    desk.ok("config", "set", "production.yaml", "db.password", "--stdin", stdin="x", env={**mine, "SECUREKIT_SIGNING_KEY": None})
    with pytest.raises(ConfigError, match="is not signed"):
        host(document, machine / "host2.key")


def _reference(console: Console, certificate: str) -> str:
    """Return how a trust names a certificate's key."""
    from securekit.wrappers import CertificateWrapper

    wrapper = CertificateWrapper.from_files(cert=console.folder / certificate)
    return f"{wrapper.name}:{wrapper.key_ref}"
