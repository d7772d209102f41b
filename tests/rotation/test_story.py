# SPDX-License-Identifier: Apache-2.0
"""The whole story: 20,000 customers and 200 files, a KEK rotated in Vault, a data key rotated, killed, resumed, proven, destroyed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from securekit.envelope import Envelope
from securekit.sql import SqlKeyStore
from securekit.vault import TransitWrapper, VaultConnection
from tests.conftest import Count
from tests.openbao import OpenBao
from tests.rotation import service
from tests.rotation.service import ACCOUNTS, context, path

CUSTOMERS = 20_000
FILES = 200
REFRESH, STALE = 1, 2  # seconds

TOML = """
journals = "journals"

[[store]]
name = "keys"
url_variable = "DATABASE_URL"
wrap = ["vault:transit/story"]

[[source]]
name = "customers"
kind = "sql"
url_variable = "DATABASE_URL"
table = "customers"
key = "id"
columns = ["iban"]
store = "keys"
keyring = "eu/{account}/customers"
context = { table = "customers", column = "{column}", id = "{id}" }

[[source]]
name = "statements"
kind = "files"
root = "statements"
recipients = ["vault:transit/story"]
context = { file = "{name}" }
"""


class Desk:
    """Where the operator types, with a real database, a real Vault, and everything in place."""

    def __init__(self, folder: Path, database: sa.URL, bao: OpenBao) -> None:
        self.folder = folder
        self.bao = bao
        url = database.render_as_string(hide_password=False)
        vault = {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root_token}
        self.env = {**os.environ, **vault, "DATABASE_URL": url, "SECUREKIT_STORE": url, "SECUREKIT_WRAP": "vault:transit/story"}
        bao.request("POST", "transit/keys/story", {"type": "aes256-gcm96"})
        self.transit = TransitWrapper(VaultConnection(bao.address, token=bao.root_token), "story")
        self.store = SqlKeyStore(url, wrapper=self.transit, refresh=REFRESH, stale_if_error=STALE)
        self.store.create_schema()
        (folder / "rotation.toml").write_text(TOML)
        self.engine = sa.create_engine(database)
        self._fill()

    def _fill(self) -> None:
        rings = [self.store.keyring(path(number), create=True) for number in range(ACCOUNTS)]
        with self.engine.begin() as connection:
            connection.execute(sa.text("create table customers (id int primary key, account text, iban bytea, version int default 0)"))
            cursor = connection.connection.cursor()
            with cursor.copy("copy customers (id, account, iban) from stdin") as copy:
                for number in range(CUSTOMERS):
                    record = rings[number % ACCOUNTS].encrypt(f"IBAN of {number}, version 0".encode(), context=context(number))
                    copy.write_row((number, f"a{number % ACCOUNTS}", record))
        statements = self.folder / "statements"
        statements.mkdir()
        for number in range(FILES):
            with Envelope(self.transit).open_writer(statements / f"{number:03}.sk", context={"file": f"{number:03}.sk"}) as writer:
                writer.write(f"statement {number}\n".encode() * 100)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "securekit", *words]

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(self.command(*words), cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))

    @contextmanager
    def serving(self) -> Iterator[Mapping[str, Any]]:
        """Run the application meanwhile; what it has to say comes at the end."""
        said: dict[str, Any] = {}
        program = [sys.executable, service.__file__]
        environment = {**self.env, "CUSTOMERS": str(CUSTOMERS), "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield said
        finally:
            said |= json.loads(process.communicate(timeout=60)[0])

    def under(self, key: str) -> int:
        """Return how many customers' records name a key."""
        statement = sa.text("select count(*) from customers where account = :account and substr(iban, 1, 5) = :header")
        account, _, key_id = key.removeprefix("eu/").replace("/customers", "").partition("@")
        with self.engine.connect() as connection:
            return int(connection.execute(statement, {"account": account, "header": bytes.fromhex(f"01{key_id}")}).scalar_one())


@pytest.fixture
def desk(tmp_path: Path, rotated: sa.URL, bao: OpenBao) -> Iterator[Desk]:
    desk = Desk(tmp_path, rotated, bao)
    yield desk
    desk.engine.dispose()


@pytest.mark.timeout(300)
def test_everything_is_rotated_while_the_application_serves(desk: Desk, count: Count) -> None:
    """A new KEK version, everything rewrapped; one account's key rotated, re-encrypted, killed 20 times, resumed, proven, destroyed."""
    with desk.serving() as said:
        # The KEK.
        desk.bao.request("POST", "transit/keys/story/rotate", {})
        planned = desk.json("rotate", "plan")
        assert (planned["keys"]["todo"], planned["statements"]["todo"], planned["customers"]["todo"]) == (ACCOUNTS, FILES, 0)
        desk.run("rotate", "run")
        assert "0 items need vault-transit transit/story v1" in _note(desk, "rotate", "verify", "vault-transit transit/story v1")
        # The least version that decrypts: v1 is not needed by anything any more.
        desk.bao.request("POST", "transit/keys/story/config", {"min_decryption_version": 2})

        # A data key.
        keyring = "eu/a7/customers"
        old = desk.json("keys", "show", keyring)["keys"][0]["id"]
        key = f"{keyring}@{old}"
        desk.run("keys", "rotate", keyring)
        time.sleep(REFRESH + STALE)  # until every process has noticed
        assert desk.under(key) > 100
        kills = _kill_often(desk, 20)
        desk.run("rotate", "resume")
        assert desk.under(key) == 0
        desk.run("rotate", "retire", key)
        refused = subprocess.run(
            desk.command("rotate", "retire", key, "--destroy", "--yes"),
            cwd=desk.folder,
            env=desk.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "verify again after that" in refused.stderr
        time.sleep(REFRESH + STALE + 2)
        receipt = json.loads(desk.run("rotate", "retire", key, "--destroy", "--yes"))
        assert receipt["key_ids"] == [old]
        assert desk.json("rotate", "verify")["failed"] == 0

    assert (said["failed"], said["failures"]) == (0, [])
    assert said["written"] > 100
    with desk.engine.connect() as connection:
        for number, iban, version in connection.execute(sa.text("select id, iban, version from customers")):
            held = desk.store.keyring(path(number)).decrypt(iban, context=context(number))
            assert held == f"IBAN of {number}, version {version}".encode()
    count("requests served during rotations", said["served"])
    count("runs of rotation killed and resumed", kills)


def _kill_often(desk: Desk, times: int) -> int:
    """Start the run, slowly, and kill it: when its journal has grown, so that it was in the middle."""
    killed = 0
    for _ in range(times):
        before = _journal_size(desk)
        command = desk.command("rotate", "run", "customers", "--batch", "2", "--items-per-second", "20", "--workers", "2")
        process = subprocess.Popen(command, cwd=desk.folder, env=desk.env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while process.poll() is None and _journal_size(desk) < before + 300 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == times
    return killed


def _journal_size(desk: Desk) -> int:
    return sum(file.stat().st_size for file in desk.folder.glob("journals/customers-*.journal"))


def _note(desk: Desk, *words: str, code: int = 0) -> str:
    done = subprocess.run(desk.command(*words), cwd=desk.folder, env=desk.env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr
