# SPDX-License-Identifier: Apache-2.0
"""Three old tables become one: nobody chooses a new password, all end on one profile under a pepper, and its key is exchanged offline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from django.contrib.auth import hashers
from passlib import hash as passlib

from securekit import rotation
from securekit.exceptions import PasswordError
from securekit.keyring import Keyring, MemoryKeyStore
from securekit.passwords import PasswordHasher, audit, import_table
from securekit.sql import SqlColumns
from securekit.testing import memory_store
from tests.conftest import Count

PATH = "eu/acme/passwords"
PROFILE = "owasp"  # as in production: only the old hashes are cheap, but for one of each
EACH = 8  # users of each table


class Service:
    """A service with a table of users in SQLite, and the login of the how-to page."""

    def __init__(self, folder: Path, pepper: Keyring) -> None:
        self.url = f"sqlite:///{folder}/app.db"
        self.engine = sa.create_engine(self.url)
        self.hasher = PasswordHasher(PROFILE, pepper=pepper)
        self.run("create table users (id integer primary key, password text)")

    def run(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        with self.engine.begin() as connection:
            done = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in done] if done.returns_rows else []

    def add(self, user: int, stored: str) -> None:
        self.run("insert into users values (:user, :stored)", user=user, stored=stored)

    def rows(self) -> dict[int, str]:
        return {int(str(user)): str(stored) for user, stored in self.run("select id, password from users")}

    def log_in(self, user: int, password: str) -> bool:
        """Return whether the hash was exchanged."""
        old = self.rows().get(user)
        new = self.hasher.verify(password, hash=old, user=str(user)).new_hash
        if new:
            self.run("update users set password = :new where id = :user and password = :old", new=new, user=user, old=old)
        return new is not None


@pytest.fixture
def store() -> MemoryKeyStore:
    return memory_store()


@pytest.fixture
def service(tmp_path: Path, store: MemoryKeyStore) -> Iterator[Service]:
    service = Service(tmp_path, store.keyring(PATH, create=True))
    yield service
    service.engine.dispose()


def password(user: int) -> str:
    return f"pässword of user {user}"


def django_table() -> list[tuple[int, str]]:
    """Return users 0 …; the first at Django's own cost of today."""
    django = hashers.PBKDF2PasswordHasher()
    return [(user, django.encode(password(user), "saltofdjango", iterations=1000 if user else None)) for user in range(EACH)]


def passlib_table() -> list[tuple[int, str]]:
    """Return users 100 …, of three schemes; the first at passlib's own cost."""
    schemes = [
        passlib.pbkdf2_sha256.using(rounds=1000),
        passlib.bcrypt.using(rounds=4),
        passlib.argon2.using(time_cost=1, memory_cost=1024, parallelism=2),
    ]
    cheap = [(user, schemes[user % 3].hash(password(user))) for user in range(101, 100 + EACH)]
    return [(100, passlib.bcrypt.hash(password(100))), *cheap]


def md5_table() -> list[tuple[int, str]]:
    """Return users 200 …, without salts."""
    return [(user, hashlib.md5(password(user).encode()).hexdigest()) for user in range(200, 200 + EACH)]


def test_three_tables_become_one(service: Service, store: MemoryKeyStore, tmp_path: Path, count: Count) -> None:
    """Nobody chooses a new password, no digest or hash of another user ever logs in, and in the end nothing needs the old key."""
    pepper = store.keyring(PATH)
    digests = md5_table()
    for user, stored in [*django_table(), *passlib_table()]:
        service.add(user, stored)
    for row in import_table(digests, "md5-hex", PROFILE):
        assert row.hash
        service.add(row.key, row.hash)
    users = sorted(service.rows())
    assert len({group.scheme for group in audit([("", stored) for stored in service.rows().values()])}) >= 4

    # Before their first login: others' passwords and the old digests are refused.
    for user in (users[0], users[EACH], users[-1]):
        for wrong in (password(user + 1), "", service.rows()[user], dict(digests).get(user, "x")):
            with pytest.raises(PasswordError):
                service.log_in(user, wrong)

    assert all(service.log_in(user, password(user)) for user in users)
    assert not any(service.log_in(user, password(user)) for user in users[::EACH])
    [group] = audit([(str(user), stored) for user, stored in service.rows().items()], profile=PROFILE, pepper=pepper)
    assert (group.form, group.scheme, group.count, group.below) == ("securekit, peppered", "argon2id", 3 * EACH, False)

    # The pepper's key is exchanged, without a password.
    old = pepper.primary()
    pepper.rotate()
    context = {"purpose": "password", "user": "{id}"}
    source = SqlColumns(service.url, table="users", key="id", columns="password", keyring=PATH, context=context)
    assert rotation.verify(source, store=store).needs(old.full_name) == 3 * EACH
    report = rotation.run(rotation.plan(source, store=store), journal=tmp_path / "journal")
    assert (report.changed, report.failed) == (3 * EACH, 0)
    assert rotation.verify(source, store=store).needs(old.full_name) == 0
    pepper.disable(old.id)

    assert not any(service.log_in(user, password(user)) for user in users)
    count("logins through a migration and a rotation", 2 * len(users))

    # Whoever can write the table gains nothing by copying a row whose password they know.
    service.run("update users set password = (select password from users where id = :mine) where id = :theirs", mine=1, theirs=2)
    with pytest.raises(PasswordError):
        service.log_in(2, password(1))
    with pytest.raises(PasswordError):
        service.log_in(2, password(2))
