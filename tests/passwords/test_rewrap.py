# SPDX-License-Identifier: Apache-2.0
"""A whole table moves to a new key of its pepper, offline: every user logs in afterwards, and the old key is not needed any more."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from securekit import rotation
from securekit.exceptions import KeyStoreUnavailableError, PasswordError
from securekit.keyring import Keyring, MemoryKeyStore
from securekit.keyring._storage import MemoryStorage
from securekit.passwords import PasswordHasher, rewrap_all
from securekit.sql import SqlColumns
from securekit.testing import fast_passwords, memory_store

PATH = "eu/acme/passwords"


@pytest.fixture
def store() -> MemoryKeyStore:
    return memory_store()


@pytest.fixture
def pepper(store: MemoryKeyStore) -> Keyring:
    return store.keyring(PATH, create=True)


def table(hasher: PasswordHasher, count: int) -> dict[str, str]:
    return {str(number): hasher.hash(f"password {number}", user=str(number)) for number in range(count)}


def test_a_table_moves_to_the_primary(pepper: Keyring) -> None:
    """Only what is under an old key changes; everybody logs in."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    rows = table(hasher, 20)
    pepper.rotate()
    rows["new"] = hasher.hash("new", user="new")

    moved = dict(rewrap_all(rows.items(), pepper))
    rows |= moved  # type: ignore[arg-type]

    assert set(moved) == set(rows) - {"new"}
    assert not any(pepper.needs_reencrypt(stored) for stored in rows.values())
    assert all(hasher.verify(f"password {number}", hash=rows[str(number)], user=str(number)).new_hash is None for number in range(20))
    assert list(rewrap_all(rows.items(), pepper)) == []


def test_a_table_moves_to_another_pepper(store: MemoryKeyStore, pepper: Keyring) -> None:
    """And what had none gets one."""
    other = store.keyring("eu/acme/passwords2", create=True)
    rows = table(PasswordHasher(fast_passwords, pepper=pepper), 3) | {"bare": PasswordHasher(fast_passwords).hash("bare")}
    rows |= dict(rewrap_all(rows.items(), pepper, onto=other))  # type: ignore[arg-type]

    hasher = PasswordHasher(fast_passwords, pepper=other)
    hasher.verify("password 1", hash=rows["1"], user="1")
    hasher.verify("bare", hash=rows["bare"], user="bare")


def test_a_move_to_another_pepper_is_repeated_without_harm(store: MemoryKeyStore, pepper: Keyring) -> None:
    """What an interrupted run has moved is left, also where the new pepper got a new key in between."""
    other, third = (store.keyring(f"eu/acme/{name}", create=True) for name in ("passwords2", "passwords3"))
    rows = table(PasswordHasher(fast_passwords, pepper=pepper), 3)
    rows["0"] = str(next(rewrap_all(rows.items(), pepper, onto=other))[1])
    rows["third"] = PasswordHasher(fast_passwords, pepper=third).hash("third", user="third")

    again = dict(rewrap_all(rows.items(), pepper, onto=other))
    assert {user: type(new).__name__ for user, new in again.items()} == {"1": "str", "2": "str", "third": "KeyNotFoundError"}

    other.rotate()
    rows |= {user: new for user, new in rewrap_all(rows.items(), pepper, onto=other) if isinstance(new, str)}
    hasher = PasswordHasher(fast_passwords, pepper=other)
    assert all(hasher.verify(f"password {number}", hash=rows[str(number)], user=str(number)).new_hash is None for number in range(3))


def test_a_bare_table_moves_onto_its_own_pepper_once(pepper: Keyring) -> None:
    """What has the pepper already does not change, and who has no password is passed over."""
    rows: dict[str, str | None] = {"bare": PasswordHasher(fast_passwords).hash("bare"), "none": None}

    rows |= dict(rewrap_all(rows.items(), pepper, onto=pepper))  # type: ignore[arg-type]

    assert rows["none"] is None
    assert str(rows["bare"]).startswith("sk1.")
    assert list(rewrap_all(rows.items(), pepper, onto=pepper)) == []


def test_a_row_that_does_not_open_stops_no_other(pepper: Keyring) -> None:
    """Another user's hash, garbage, and one without a pepper are named, and stay."""
    rows = table(PasswordHasher(fast_passwords, pepper=pepper), 3)
    rows |= {"swapped": rows["0"], "garbage": "sk1.x", "bare": "$securekit$v=1"}
    pepper.rotate()
    moved = dict(rewrap_all(rows.items(), pepper))

    assert {user: type(error).__name__ for user, error in moved.items() if isinstance(error, Exception)} == {
        "swapped": "DecryptionError",
        "garbage": "FormatError",
        "bare": "FormatError",
    }
    assert sum(isinstance(new, str) for new in moved.values()) == 3


def test_a_pepper_that_is_away_ends_it(pepper: Keyring) -> None:
    """It is no failure of a row."""

    class Away(MemoryStorage):
        def read(self, path: str) -> bytes | None:
            raise KeyStoreUnavailableError

    store = memory_store()
    rows = table(PasswordHasher(fast_passwords, pepper=pepper), 1)
    ring = store.keyring(PATH, create=True)
    store._source.storage = Away()
    ring._cache.forget()
    with pytest.raises(KeyStoreUnavailableError):
        list(rewrap_all(rows.items(), ring))


def test_the_rotation_engine_moves_a_table_in_sql(store: MemoryKeyStore, pepper: Keyring, tmp_path: Path) -> None:
    """Planned, resumable and proven, like any other column of records."""
    hasher = PasswordHasher(fast_passwords, pepper=pepper)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    with engine.begin() as connection:
        connection.execute(sa.text("create table users (id integer primary key, password text)"))
        for user, stored in table(hasher, 30).items():
            connection.execute(sa.text("insert into users values (:id, :password)"), {"id": int(user), "password": stored})
    old = pepper.primary().full_name
    pepper.rotate()
    context = {"purpose": "password", "user": "{id}"}
    source = SqlColumns(f"sqlite:///{tmp_path}/app.db", table="users", key="id", columns="password", keyring=PATH, context=context)

    report = rotation.run(rotation.plan(source, store=store), journal=tmp_path / "journal")

    assert (report.changed, report.failed) == (30, 0)
    assert rotation.verify(source, store=store).needs(old) == 0
    with engine.connect() as connection:
        for number, stored in connection.execute(sa.text("select id, password from users")):
            assert hasher.verify(f"password {number}", hash=stored, user=str(number)).new_hash is None
            with pytest.raises(PasswordError):
                hasher.verify(f"password {number}", hash=stored, user=str(number + 1))
    engine.dispose()
