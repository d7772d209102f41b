# SPDX-License-Identifier: Apache-2.0
"""The command line as an operator has it: a folder, a store, a KEK, and commands typed one after the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from securekit.__main__ import main

if TYPE_CHECKING:
    from tests.cli.config_desk import Desk


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: its exit code and both of its outputs."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class Console:
    """Runs commands in ``folder``, in this process, or as real ones."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.env = {"SECUREKIT_STORE": "file:keys/", "SECUREKIT_WRAP": "local:root.key"}

    def __call__(self, *arguments: str, stdin: bytes | str = b"", env: dict[str, str | None] | None = None) -> Done:
        """Run the program's own entry point with these arguments."""
        self._monkeypatch.setattr(sys, "argv", ["securekit", *arguments])
        code: object = None
        with CliRunner().isolation(stdin, env={**self.env, **(env or {})}) as (out, err, _):
            try:
                main()
            except SystemExit as end:
                code = end.code
            sys.stdout.flush()
            sys.stderr.flush()
        assert isinstance(code, int)
        return Done(code, out.getvalue(), err.getvalue().decode())

    def ok(self, *arguments: str, stdin: bytes | str = b"", env: dict[str, str | None] | None = None) -> Done:
        """Run, and see it succeed."""
        done = self(*arguments, stdin=stdin, env=env)
        assert done.code == 0, done.err
        return done

    def process(self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Done:
        """Run a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "securekit", *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=self.folder,
            env={**os.environ, **self.env, **(env or {})},
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def write(self, name: str, data: bytes | bytearray | str, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)
        return name

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def document(self, path: str) -> Path:
        """Return the file of a keyring's document."""
        return self.folder / "keys" / f"{path}@keyring.json"

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Console(tmp_path, monkeypatch)


@pytest.fixture
def desk(empty: Console) -> Iterator[Desk]:
    """A desk with identities, and nobody's home on it; with a place in memory of its own."""
    from tests.cli.config_desk import Desk, identities

    for path in identities().iterdir():
        shutil.copy(path, empty.folder)
    with TemporaryDirectory(prefix="securekit-tests-", dir="/dev/shm") as memory:
        empty.env = {"SECUREKIT_STATE": str(empty.folder / "state"), "XDG_RUNTIME_DIR": memory}
        yield Desk(empty)


@pytest.fixture
def console(empty: Console) -> Console:
    """A console with a KEK in ``root.key`` and the keyring ``eu/acme/invoices`` in ``keys/``."""
    empty.ok("keys", "new-kek", "root.key")
    empty.ok("keys", "create", "eu/acme/invoices")
    return empty
