# SPDX-License-Identifier: Apache-2.0
"""What the tests of ``securekit config`` share: a desk with identities, and the realistic document of each format on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from securekit.config import Document, parse_path
from securekit.wrappers import CertificateWrapper, new_identity
from tests.cli.conftest import Console, Done
from tests.config.parts import CLEAR, ENVIRONMENT, FILES, PASSWORD, PATTERNS

SECRETS = ("fake-", "whsec_", "Pa55", "Hunter2", "AKIAFAKE", "_live_")
"""What the secrets of the realistic documents begin with, or hold."""


@cache
def identities() -> Path:
    """Return a folder with ``host.key``, ``host.pem``, and the same of others; made once for a run, since that takes a while."""
    folder = Path(mkdtemp(prefix="securekit-tests-"))
    for name in ("host", "host2", "mallory"):
        new_identity(f"{name}.example", key=folder / f"{name}.key", cert=folder / f"{name}.pem")
    for name in ("alice", "bob"):
        new_identity(name, key=folder / f"{name}.key", cert=folder / f"{name}.pem", kind="ed25519")
    return folder


@dataclass(frozen=True, slots=True)
class Desk:
    """A console in a folder that has identities, and a state of its own."""

    console: Console

    @property
    def folder(self) -> Path:
        return self.console.folder

    @property
    def memory(self) -> Path:
        """The folder in memory that commands make their private ones in."""
        return Path(self.console.env["XDG_RUNTIME_DIR"])

    def __call__(self, *arguments: str, stdin: bytes | str = b"", **env: str | None) -> Done:
        """Run ``securekit config`` with these arguments."""
        return self.console("config", *arguments, stdin=stdin, env=env)

    def ok(self, *arguments: str, stdin: bytes | str = b"", **env: str | None) -> Done:
        return self.console.ok("config", *arguments, stdin=stdin, env=env)

    def refused(self, message: str, *arguments: str, code: int = 1, stdin: bytes | str = b"", **env: str | None) -> Done:
        """Run, and see it refused with ``message`` in its error line, and without any secret."""
        done = self.console("config", *arguments, stdin=stdin, env=env)
        assert done.code == code, (done.code, done.out, done.err)
        assert message in done.err, done.err
        assert "Traceback" not in done.err
        assert not any(secret in done.err + done.out for secret in SECRETS), done.err
        return done

    def place(self, form: str = "yaml", name: str = "production") -> str:
        """Put the realistic document in clear text on the desk, and return its name."""
        return self.console.write(f"{name}.{form}", (FILES / f"production.{form}").read_bytes(), mode=0o644)

    def encrypted(self, form: str = "yaml", *, recipient: str = "host.pem", name: str = "production") -> str:
        """Put it there encrypted, and return its name."""
        file = self.place(form, name)
        options = [option for pattern in PATTERNS[form] for option in ("--encrypt", pattern)]
        self.ok("encrypt", file, "--environment", ENVIRONMENT, "--recipient", recipient, *options)
        return file

    def short(self, text: str, *patterns: str, name: str = "short.yaml", recipients: tuple[str, ...] = ("host.pem",)) -> str:
        """Put a short document there, encrypted."""
        self.console.write(name, text, mode=0o644)
        options = [option for pattern in patterns for option in ("--encrypt", pattern)]
        options += [option for recipient in recipients for option in ("--recipient", recipient)]
        self.ok("encrypt", name, "--environment", ENVIRONMENT, *options)
        return name

    def document(self, file: str) -> Document:
        return Document.read(self.folder / file)

    def value(self, file: str, path: str, key: str = "host.key") -> Any:
        """Return a value in clear, read by the library."""
        wrapper = CertificateWrapper.from_files(key=self.folder / key)
        return self.document(file).open([wrapper]).at(parse_path(path))

    def forget(self) -> None:
        """Let this host have seen nothing."""
        for entry in (self.folder / "state" / "documents").iterdir():
            entry.unlink()


def password(form: str) -> str:
    return PASSWORD[form]


def clear(form: str) -> str:
    return CLEAR[form]
