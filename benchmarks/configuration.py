# SPDX-License-Identifier: Apache-2.0
"""Configuration: loading an encrypted document, beside PyYAML on the clear file and a ``sops -d`` process."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks.ratio import Ratio, compare, show
from securekit.config import Document, load
from securekit.exceptions import SecurityWarning
from securekit.wrappers import CertificateWrapper, new_identity

PRODUCTION = Path(__file__).parents[1] / "tests" / "config" / "files" / "production.yaml"
PATTERNS = ("**.password", "stripe.*secret*", "sentry.dsn", "tls.private_key", "api.tokens", "session.signing_key")
SOPS = Path(sys.executable).with_name("sops")


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    # Whom to believe is measured apart, with a signature to verify.
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        desk = _Desk(Path(folder))
        small = desk.encrypt(PRODUCTION.read_text(), PATTERNS)
        leaves, secrets = _counts(small)
        what = f"`config.load` of {leaves} values, {secrets} secrets"
        yield compare(desk.load(small), desk.clear(small), name=f"{what}; PyYAML's C loader, clear", goal=4.0, rounds=41, number=10)
        signed = desk.sign(small)
        yield compare(signed, desk.clear(small), name=f"{what}, with a trust and a signature; the same", goal=None, rounds=41, number=10)
        sops = desk.sops(small)
        yield compare(desk.load(small), sops, name=f"{what}; a `sops -d` process", goal=10.0, at_least=True, rounds=21, number=1)
        large = desk.encrypt(_large(400), ["**.password"])
        leaves, secrets = _counts(large)
        what = f"`config.load` of {leaves:,} values, {secrets} secrets"
        yield compare(desk.load(large), desk.clear(large), name=f"{what}; PyYAML's C loader, clear", goal=2.5, rounds=21, number=1)
        tenth = desk.encrypt(_large(40), ["**.password"])
        yield compare(desk.clear(large), desk.clear(tenth), name="PyYAML's C loader alone; a tenth of it", goal=None, rounds=21, number=1)
        yield compare(desk.load(large), desk.load(tenth), name=f"{what}; a tenth of it", goal=10.5, rounds=21, number=1)


class _Desk:
    """A folder with a host's certificate and key, and documents for that host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        new_identity("web1.example", key=folder / "host.key", cert=folder / "host.pem")

    def encrypt(self, text: str, patterns: list[str] | tuple[str, ...]) -> Path:
        """Return the encrypted document of a text, whose clear file stands beside it."""
        self._made += 1
        path = self._folder / f"document{self._made}.yaml"
        path.with_suffix(".clear").write_text(text)
        wrapper = CertificateWrapper.from_files(cert=self._folder / "host.pem")
        document = Document.parse(text.encode(), format="yaml")
        edit = document.encrypt(environment="production", recipients=[wrapper], patterns=patterns)
        edit.finish().write(path, expected=None)
        return path

    def load(self, path: Path) -> Callable[[], object]:
        return lambda: load(path, environment="production", identity=self._folder / "host.key")

    def clear(self, path: Path) -> Callable[[], object]:
        def read() -> object:
            with path.with_suffix(".clear").open() as file:
                return yaml.load(file, Loader=yaml.CSafeLoader)

        return read

    def sign(self, path: Path) -> Callable[[], object]:
        """Return what loads the document signed, with a trust that wants the signature."""
        command = Path(sys.executable).with_name("securekit")
        cert, key = self._folder / "alice.pem", self._folder / "alice.key"
        new_identity("alice", key=key, cert=cert, kind="ed25519")
        signed, trust = self._folder / "signed.yaml", self._folder / "signed.toml"
        signed.write_bytes(path.read_bytes())
        environment = os.environ | {"SECUREKIT_STATE": str(self._folder / "state")}
        sign: list[str | Path] = [command, "config", "sign", signed, "--sign", key, "--adopt", "--yes", "--confirm", self._reference(path)]
        subprocess.run(sign, check=True, env=environment, capture_output=True)
        done = subprocess.run([command, "config", "trust", signed, "--signer", cert], check=True, capture_output=True, env=environment)
        trust.write_bytes(done.stdout)
        return lambda: load(signed, environment="production", identity=self._folder / "host.key", trust=trust)

    def sops(self, path: Path) -> Callable[[], object]:
        """Return what decrypts the same values with sops, for an age key."""
        key = self._folder / "age.key"
        subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
        public = next(line.split()[-1] for line in key.read_text().splitlines() if "public key" in line)
        encrypted = self._folder / "sops.yaml"
        clear = "".join(line for line in path.with_suffix(".clear").read_text().splitlines(keepends=True) if "<<:" not in line)
        encrypted.write_text(clear)
        names = "^(password|secret_key|webhook_secret|dsn|private_key|tokens|signing_key)$"
        environment = os.environ | {"SOPS_AGE_KEY_FILE": str(key)}
        command: list[str | Path] = [SOPS, "--disable-version-check", "-e", "-i", "--age", public, "--encrypted-regex", names, encrypted]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        return lambda: subprocess.run([SOPS, "-d", encrypted], check=True, env=environment, capture_output=True)

    @staticmethod
    def _reference(path: Path) -> str:
        return Document.read(path).required.recipients[0].key_ref


def _counts(path: Path) -> tuple[int, int]:
    leaves = list(Document.read(path).leaves())
    return len(leaves), sum(leaf.token is not None for leaf in leaves)


def _large(groups: int) -> str:
    """Return a document of six values per group, one of them a password."""
    names = ("host", "user", "database", "region", "owner")
    lines = [
        line
        for number in range(groups)
        for line in (f"service{number}:", *(f"  {name}: {name}-{number}.example" for name in names), f"  password: fake-{number:06}")
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    show(*measure())
