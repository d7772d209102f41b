# SPDX-License-Identifier: Apache-2.0
"""The services of the page "In a real service": real servers, a real database, several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from securekit import FileKeyStore, LocalWrapper
from securekit.keyring import inspect
from tests.conftest import Count
from tests.docs.services import EXAMPLES, Service, eventually, running_service
from tests.postgres import running_postgres

REFRESH = 1.0  # seconds
WARM = "warm"  # the account whose keyring is there before the services start
SERVICES = ("fastapi", "django")

Row = dict[str, str]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with ``keys/`` and ``root.key``; the keyrings of the probe and of one account are there already."""
    directory = tmp_path_factory.mktemp("keystore")
    store = FileKeyStore(directory / "keys", wrapper=LocalWrapper.generate(directory / "root.key"), refresh=REFRESH)
    for path in ("eu/probe/ready", f"eu/{WARM}/customers"):
        store.keyring(path, create=True)
    return directory


@pytest.fixture(scope="module")
def environment(keys: Path) -> Iterator[dict[str, str]]:
    with running_postgres() as postgres, _connect(postgres) as database:
        database.execute((EXAMPLES / "customer.sql").read_bytes())
        yield postgres | {
            "KEY_REFRESH": str(REFRESH),
            "SECUREKIT_STORE": f"file:{keys / 'keys'}",
            "SECUREKIT_WRAP": f"local:{keys / 'root.key'}",
        }


@pytest.fixture(scope="module")
def services(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """Both services on one database and one keystore."""
    directory = tmp_path_factory.mktemp("logs")
    with ExitStack() as stack:
        yield {name: stack.enter_context(running_service(name, environment, directory)) for name in SERVICES}


@pytest.fixture(params=SERVICES)
def service(services: dict[str, Service], request: pytest.FixtureRequest) -> Service:
    return services[request.param]


@pytest.fixture
def database(environment: dict[str, str]) -> Iterator[psycopg.Connection]:
    with _connect(environment) as connection:
        yield connection


@pytest.fixture
def store(keys: Path) -> FileKeyStore:
    """The services' keystore, as another process opens it."""
    return FileKeyStore(keys / "keys", wrapper=LocalWrapper.from_file(keys / "root.key"), refresh=REFRESH)


def test_three_accounts_at_once_leave_no_plaintext(service: Service, database: psycopg.Connection, count: Count) -> None:
    """What all workers write for three accounts at once comes back through any of them, and is nowhere in the database."""
    accounts = [_new_account() for _ in range(3)]
    rows = [(account, _row(number)) for number in range(60) for account in accounts]
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda account: service.call("PUT", "/account", account=account), accounts * 4))
        created = list(pool.map(lambda item: service.call("POST", "/customers", account=item[0], json=item[1]), rows))
        ids = [answer.json()["id"] for answer in created]
        read = list(pool.map(lambda item, row_id: service.call("GET", f"/customers/{row_id}", account=item[0]), rows, ids))

    stored = database.execute("SELECT name, iban, email FROM customer WHERE account = ANY(%s)", [accounts]).fetchall()
    tokens = [token for row in stored for token in row]
    texts = [text.encode() for _, row in rows for text in row.values()]
    everything = b"".join(tokens)

    assert {answer.status_code for answer in opened} == {204}
    assert {answer.status_code for answer in created} == {201}
    assert [answer.json() for answer in read] == [row for _, row in rows]
    assert len({answer.headers["X-Worker"] for answer in created + read}) == service.workers
    assert len({token[5:29] for token in tokens}) == len(tokens) == len(texts)
    assert len({inspect(token).key_id for token in tokens}) == 3
    assert not [text for text in texts if text in everything]
    count("values written and read through several processes", len(tokens))


def test_what_one_service_writes_the_other_reads(services: dict[str, Service]) -> None:
    """Table, column and id are the whole context: FastAPI and Django share rows."""
    rows = {name: _create(services[name], WARM, _row(1)) for name in SERVICES}

    assert _get(services["django"], WARM, rows["fastapi"]) == _row(1)
    assert _get(services["fastapi"], WARM, rows["django"]) == _row(1)


def test_a_rotation_reaches_every_worker(service: Service, database: psycopg.Connection, environment: dict[str, str]) -> None:
    """After `securekit keys rotate` old rows open everywhere, new rows get the new key, and read rows move to it."""
    account = _open_account(service)
    old = [_create(service, account, _row(number)) for number in range(40)]
    (old_key,) = _key_ids(database, old)

    command = [sys.executable, "-m", "securekit", "keys", "rotate", f"eu/{account}/customers"]
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    assert _get(service, account, old[0]) == _row(0)
    time.sleep(2 * REFRESH)

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: service.call("POST", "/customers", account=account, json=_row(number)), range(80)))
        new = [UUID(answer.json()["id"]) for answer in created]
        read = list(pool.map(lambda row_id: service.call("GET", f"/customers/{row_id}", account=account), old + new))
    (new_key,) = _key_ids(database, new)

    assert len({answer.headers["X-Worker"] for answer in created}) == service.workers
    assert len({answer.headers["X-Worker"] for answer in read}) == service.workers
    assert new_key != old_key
    assert [answer.json() for answer in read] == [*map(_row, range(40)), *map(_row, range(80))]
    assert _key_ids(database, old) == {new_key}


def test_a_key_that_a_worker_does_not_know_is_looked_up(service: Service, database: psycopg.Connection, store: FileKeyStore) -> None:
    """A value under a key that was made a moment ago opens at once, without waiting for the refresh."""
    account = _open_account(service)
    row_id = _create(service, account, _row(1))
    assert _get(service, account, row_id) == _row(1)
    ring = store.keyring(f"eu/{account}/customers")
    ring.rotate()
    token = ring.bind(table="customer", column="iban").encrypt(b"GB29 NWBK", context={"id": str(row_id)})
    database.execute("UPDATE customer SET iban = %s WHERE id = %s", [token, row_id])

    assert _get(service, account, row_id) == _row(1) | {"iban": "GB29 NWBK"}


def test_a_moved_ciphertext_is_an_alarm(service: Service, database: psycopg.Connection) -> None:
    """A value that was copied to another row is a 500 that says nothing, and a line in the log that says where."""
    account = _open_account(service)
    victim, other = (_create(service, account, _row(number)) for number in (1, 2))
    database.execute("UPDATE customer SET iban = (SELECT iban FROM customer WHERE id = %s) WHERE id = %s", [victim, other])

    answer = service.call("GET", f"/customers/{other}", account=account)

    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert f"CRITICAL customers.keys DecryptionError at '/customers/{other}'" in service.log()
    assert not [text for text in _row(1).values() if text in service.log()]
    assert _get(service, account, victim) == _row(1)


def test_an_account_does_not_see_the_rows_of_another(service: Service) -> None:
    """Another account's row is a 404, whether or not it exists."""
    account, stranger = _open_account(service), _open_account(service)
    row_id = _create(service, account, _row(1))

    assert service.call("GET", f"/customers/{row_id}", account=stranger).status_code == 404
    assert service.call("GET", f"/customers/{uuid4()}", account=stranger).status_code == 404


def test_a_keystore_that_cannot_be_read_is_a_503(service: Service, keys: Path) -> None:
    """What may be better in a moment is a 503 that says when to come back."""
    account = _new_account()
    (keys / "keys/eu" / account / "customers@keyring.json").mkdir(parents=True)  # reading a directory is an I/O error

    answer = service.call("POST", "/customers", account=account, json=_row(1))

    assert (answer.status_code, answer.json()) == (503, {"detail": "Service Unavailable"})
    assert answer.headers["Retry-After"] == "5"
    assert account not in answer.text


def test_the_service_goes_on_while_the_keystore_is_away(service: Service, keys: Path) -> None:
    """Workers that hold an account's keys serve on when the disk with the keystore is gone, and say so in the log."""
    account = _open_account(service)
    row_ids = [_create(service, account, _row(1)) for _ in range(40)]
    _reach_all(service, "/ready")
    _reach_all(service, f"/customers/{row_ids[0]}", account)
    (keys / "keys").rename(keys / "away")
    try:
        time.sleep(2 * REFRESH)
        assert [_get(service, account, row_id) for row_id in row_ids] == [_row(1)] * 40
        assert _workers(service)
    finally:
        (keys / "away").rename(keys / "keys")

    assert f"stale eu/{account}/customers KeyStoreUnavailableError" in service.log()


def test_the_service_survives_the_loss_of_a_worker(service: Service) -> None:
    """A killed worker is replaced, and its successor opens what it wrote."""
    account = _open_account(service)
    row_id = _create(service, account, _row(1))
    before = _workers(service)
    victim = min(before)

    os.kill(victim, signal.SIGKILL)
    eventually(lambda: bool(_workers(service) - before), "another worker takes the place of the killed one")

    answers = [service.call("GET", f"/customers/{row_id}", account=account) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert victim not in {int(answer.headers["X-Worker"]) for answer in answers}


def test_prefork_workers_inherit_the_open_keyrings(services: dict[str, Service]) -> None:
    """With --preload the KEK is asked once, by the master: each worker has the keys from birth."""
    django = services["django"]
    row_id = _create(django, WARM, _row(1))
    _reach_all(django, f"/customers/{row_id}")

    assert _get(django, WARM, row_id) == _row(1)
    assert Counter(line.split(" ", 1)[1] for line in django.log().splitlines() if f"eu/{WARM}/" in line) == {
        f"INFO customers.keys kms-call eu/{WARM}/customers unwrap local": 1,
        f"INFO customers.keys loaded eu/{WARM}/customers ": 1,
    }


def _connect(environment: dict[str, str]) -> psycopg.Connection:
    return psycopg.connect(host=environment["PGHOST"], user=environment["PGUSER"], dbname=environment["PGDATABASE"], autocommit=True)


def _new_account() -> str:
    return f"account-{uuid4().hex[:12]}"


def _open_account(service: Service) -> str:
    account = _new_account()
    service.call("PUT", "/account", account=account).raise_for_status()
    return account


def _row(number: int) -> Row:
    return {"name": f"Zoë Ångström {number}", "iban": f"DE89 3704 0044 {number:010}", "email": f"zoe.{number}@example.com"}


def _create(service: Service, account: str, row: Row) -> UUID:
    return UUID(service.call("POST", "/customers", account=account, json=row).raise_for_status().json()["id"])


def _get(service: Service, account: str, row_id: UUID) -> Row:
    row: Row = service.call("GET", f"/customers/{row_id}", account=account).raise_for_status().json()
    return row


def _key_ids(database: psycopg.Connection, row_ids: list[UUID]) -> set[str | None]:
    rows = database.execute("SELECT name, iban, email FROM customer WHERE id = ANY(%s)", [row_ids]).fetchall()
    return {inspect(token).key_id for row in rows for token in row}


def _workers(service: Service, path: str = "/ready", account: str = WARM) -> set[int]:
    """Return the processes that answer when many ask at once."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.call("GET", path, account=account), range(32)))
    return {int(answer.raise_for_status().headers["X-Worker"]) for answer in answers}


def _reach_all(service: Service, path: str, account: str = WARM) -> None:
    eventually(lambda: len(_workers(service, path, account)) == service.workers, f"every worker answers {path}")
