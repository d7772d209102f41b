# SPDX-License-Identifier: Apache-2.0
"""Keyrings in SQL databases: rows, compare-and-swap, the caller's transaction, deletion, threads and forks."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, NullPool, create_engine, delete, event, insert, inspect, select, text, update

from securekit._wire.base64url import encode
from securekit.exceptions import ConflictError, DecryptionError, FormatError, KeyNotFoundError, KeyStoreError, KeyStoreUnavailableError
from securekit.keyring import Keyring
from securekit.keyring._document import KeyringDocument
from securekit.opening import open_store
from securekit.sql import SqlKeyStore, keyring_table
from securekit.sql._keystore import SqlStorage
from securekit.testing import FakeClock
from tests.keyring.parts import LOCAL, OTHER, PATH, document, local, refusal
from tests.sql.conftest import Place

_fork = multiprocessing.get_context("fork")


def _storage(place: Place) -> SqlStorage:
    return SqlStorage(place.url, table=place.name)


def _row(place: Place, path: str = PATH) -> Any:
    with place.engine.connect() as connection:
        return connection.execute(select(place.table).where(place.table.c.path == path)).one()


def _change(place: Place, **values: Any) -> None:
    with place.engine.begin() as connection:
        connection.execute(update(place.table).values(**values))


def test_a_row_is_a_keyring(place: Place) -> None:
    """Each keyring is one row: its path, the document's revision, the document, and when it was written."""
    place.store().keyring(PATH, create=True).rotate()
    row = _row(place)
    assert (row.path, row.revision) == (PATH, 2)
    assert KeyringDocument.decode(row.document).document.revision == 2
    assert abs(row.updated.timestamp() - time.time()) < 86_400


def test_names_choose_the_store(sqlite: Place, tmp_path: Path) -> None:
    """Command lines and configuration name a database by its URL; a file is made with the first keyring, for its owner alone."""
    store = open_store(f"sqlite:///{tmp_path}/new.db", wrap=LOCAL)
    assert isinstance(store, SqlKeyStore)
    assert store.paths() == []
    assert not (tmp_path / "new.db").exists()
    store.keyring(PATH, create=True)
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600
    assert open_store(f"sqlite:///{tmp_path}/new.db", wrap=LOCAL).paths() == [PATH]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"])
def test_a_database_in_memory_is_no_place_for_keys(url: str) -> None:
    """It would be gone with its connection."""
    with pytest.raises(ValueError, match="names no file; keys that are to be gone"):
        SqlKeyStore(url, wrapper=LOCAL)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("not a URL", ValueError, "a database is named by a URL such as"),
        ("oracle://u:canary@h/d", ImportError, r"oracle://u:\*\*\*@h/d needs the package oracledb|cx_Oracle"),
        ("sqlite+aiosqlite:///keys.db", ValueError, r"sqlite\+aiosqlite:///keys.db names a driver for asyncio"),
        ("nosuch://u:canary@h/d", ValueError, r"nosuch://u:\*\*\*@h/d names no database"),
    ],
)
def test_urls_of_another_form(url: str, error: type[Exception], message: str) -> None:
    """What names no database that can be used says so, without the password."""
    with pytest.raises(error, match=message):
        SqlKeyStore(url, wrapper=LOCAL)


def test_another_kind_of_database_is_refused() -> None:
    """Only what is tested is used: the statements are those of SQLite and PostgreSQL."""
    engine = create_engine("sqlite://")
    engine.dialect.name = "mysql"
    with pytest.raises(ValueError, match="are kept in postgresql and sqlite, not in mysql"):
        SqlKeyStore(engine, wrapper=LOCAL)


@pytest.mark.parametrize("table", ["", "a b", "x;--", "a.b.c", "1x", "x" * 64])
def test_tables_of_another_name(table: str) -> None:
    """A table is named by letters, digits and underscores, and so is its schema."""
    with pytest.raises(ValueError, match="a table is named by"):
        keyring_table(MetaData(), table)


def test_a_table_may_be_in_a_schema(postgresql: Place) -> None:
    """The name of the schema stands before a dot."""
    with postgresql.engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA s_{postgresql.name}"))
    store = SqlKeyStore(postgresql.engine, table=f"s_{postgresql.name}.rings", wrapper=LOCAL)
    store.create_schema()
    store.keyring(PATH, create=True)
    assert inspect(postgresql.engine).get_table_names(schema=f"s_{postgresql.name}") == ["rings"]
    store._storage.check()


def test_migrations_see_the_table(place: Place) -> None:
    """The table in a MetaData is the one that create_schema makes, so that a migration and the store agree."""
    columns = {column["name"]: str(column["type"]) for column in inspect(place.engine).get_columns(place.name)}
    metadata = MetaData()
    other = keyring_table(metadata, f"{place.name}_b")
    metadata.create_all(place.engine)
    made = {column["name"]: str(column["type"]) for column in inspect(place.engine).get_columns(other.name)}
    assert made == columns
    assert list(columns) == ["path", "revision", "document", "updated"]


def test_alembic_has_nothing_to_add(place: Place) -> None:
    """Autogenerate proposes the table where it is missing, and nothing where create_schema has made it."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    metadata = MetaData()
    keyring_table(metadata, place.name)
    keyring_table(metadata, f"{place.name}_f")
    with place.engine.connect() as connection:
        names = {"include_name": lambda name, kind, _: kind != "table" or name.startswith(place.name)}
        context = MigrationContext.configure(connection, opts=names)
        proposed = compare_metadata(context, metadata)
        connection.rollback()
    assert [(verb, table.name) for verb, table in proposed] == [("add_table", f"{place.name}_f")]


def test_many_make_the_table_at_once(place: Place) -> None:
    """create_schema can be called by every process at its start."""
    name = f"{place.name}_c"
    stores = [SqlKeyStore(place.url, table=name, wrapper=LOCAL) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(SqlKeyStore.create_schema, stores))
    stores[0].keyring(PATH, create=True)
    stores[0].create_schema()
    assert stores[1].paths() == [PATH]


def test_a_missing_table_is_no_empty_store(postgresql: Place) -> None:
    """Nobody takes another database for a store without keyrings; the message says how to make the table."""
    store = SqlKeyStore(postgresql.engine, table=f"{postgresql.name}_d", wrapper=LOCAL)
    calls: list[Callable[[], object]] = [
        store.paths,
        lambda: store.keyring(PATH),
        lambda: store.keyring(PATH, create=True),
        lambda: store.delete(PATH),
    ]
    for call in calls:
        with pytest.raises(KeyStoreUnavailableError, match=r"there is no table keyrings_\d+_d in the database: make it with"):
            call()


def test_keys_in_memory_serve_on_while_the_table_is_away(place: Place) -> None:
    """A database that was set up anew, or is not mounted, is an outage, and no order to forget the keys."""
    clock = FakeClock()
    store = place.store(clock=clock)
    ring = store.keyring(PATH, create=True)
    with place.engine.begin() as connection:
        place.table.drop(connection)
    clock.advance(61)
    ring.encrypt(b"x", context={})
    with pytest.raises(KeyStoreUnavailableError):
        ring.refresh()


def test_a_file_that_is_gone_is_not_made_by_reading(sqlite: Place, tmp_path: Path) -> None:
    """Where the disk is not mounted, reading leaves no empty database behind, and keys in memory serve on."""
    clock = FakeClock()
    ring = sqlite.store(clock=clock).keyring(PATH, create=True)
    for file in tmp_path.iterdir():
        file.unlink()
    clock.advance(61)
    ring.encrypt(b"x", context={})
    with pytest.raises(KeyStoreUnavailableError, match="there is no table"):
        ring.refresh()
    assert list(tmp_path.iterdir()) == []


def test_what_like_would_match_is_no_prefix(place: Place) -> None:
    """Underscores in paths are underscores; other rows of the table that are no keyrings are passed over."""
    store = place.store()
    for path in ("eu/a_c", "eu/a_c/x", "eu/abc/x", "eu/a_cd", "eu"):
        store.keyring(path, create=True)
    with place.engine.begin() as connection:
        connection.execute(insert(place.table).values(path="EU/A_C/Y", revision=1, document=b""))
        connection.execute(insert(place.table).values(path="eu/a_c/no path", revision=1, document=b""))
    assert store.paths("eu/a_c") == ["eu/a_c", "eu/a_c/x"]
    assert store.paths("e") == []
    assert store.paths() == ["eu", "eu/a_c", "eu/a_c/x", "eu/a_cd", "eu/abc/x"]


def test_compare_and_swap(place: Place) -> None:
    """A write replaces exactly the revision that it names; what is there already, or is not, is a conflict."""
    one, other = _storage(place), _storage(place)
    one.write(PATH, document(), expected=None)
    late = [(PATH, document(), None), (PATH, document(revision=3), 2), (OTHER, document(path=OTHER, revision=2), 1)]
    for path, data, expected in late:
        with pytest.raises(ConflictError, match="was written, made or deleted by another process first"):
            other.write(path, data, expected=expected)
    other.write(PATH, document(revision=2), expected=1)
    assert KeyringDocument.decode(one.read(PATH) or b"").document.revision == 2
    assert one.read(OTHER) is None


def test_many_are_written_in_one_transaction_and_conflicts_are_named(place: Place) -> None:
    """All but those that somebody else wrote first are written; the others are left as they are."""
    storage = _storage(place)
    paths = [f"eu/t{number}" for number in range(6)]
    assert storage.write_many([(path, document(path=path), None) for path in paths]) == {}
    storage.write(paths[2], document(path=paths[2], revision=2), expected=1)

    failed = storage.write_many(
        [(path, document(path=path, revision=7), 1) for path in paths]
        + [(PATH, document(), None), (paths[0], document(path=paths[0]), None)]
    )

    assert set(failed) == {paths[2], paths[0]}
    assert all(type(error) is ConflictError for error in failed.values())
    found = storage.read_many([*paths, PATH, OTHER])
    revisions = {path: KeyringDocument.decode(data).document.revision for path, data in found.items() if isinstance(data, bytes)}
    assert revisions == {**dict.fromkeys(paths, 7), paths[2]: 2, PATH: 1}
    assert storage.write_many([(path, document(path=path, revision=8), 7) for path in paths if path != paths[2]]) == {}


@pytest.mark.parametrize("revision", [1, 3, 2**62])
def test_a_row_that_disagrees_with_its_document_is_refused(place: Place, revision: int) -> None:
    """A revision beside the document that is not the document's own is never the ground for a change."""
    ring = place.store().keyring(PATH, create=True)
    ring.rotate()
    _change(place, revision=revision)
    before = _row(place)
    with pytest.raises(KeyStoreError, match=f"says revision {revision}, and its document 2"):
        place.store().keyring(PATH)
    assert refusal(ring.rotate) is KeyStoreError
    assert _row(place) == before


@pytest.mark.parametrize("garbage", [b"", b"{}", b"\x00" * 100, b'"revision":1,"stale_if_error":86400}', b"x" * 2_200_000])
def test_a_row_with_garbage(place: Place, garbage: bytes) -> None:
    """It is refused like garbage in a file, also by deletion, and harms no other keyring."""
    store = place.store()
    store.keyring(PATH, create=True)
    _change(place, document=garbage)
    other = store.keyring(OTHER, create=True)
    assert refusal(place.store().keyring, PATH) in {FormatError, KeyStoreError}  # SQLite's substr of nothing is no value
    assert refusal(store.delete, PATH) in {FormatError, KeyStoreError}
    assert other.decrypt(other.encrypt(b"x", context={}), context={}) == b"x"
    assert store.paths() == [PATH, OTHER]


@pytest.mark.parametrize("garbage", ["'text'", "5", "x'00'", "zeroblob(3000000)"])
def test_a_value_of_another_type(sqlite: Place, garbage: str) -> None:
    """SQLite lets a row hold anything: numbers and texts are no documents."""
    sqlite.store().keyring(PATH, create=True)
    with sqlite.engine.begin() as connection:
        connection.execute(text(f"UPDATE {sqlite.name} SET document = {garbage}"))  # noqa: S608
    assert refusal(sqlite.store().keyring, PATH) in {KeyStoreError, FormatError}


def test_a_document_in_another_row_is_refused(place: Place) -> None:
    """A genuine document under another tenant's path opens nothing."""
    store = place.store()
    store.keyring(PATH, create=True)
    store.keyring(OTHER, create=True)
    with place.engine.begin() as connection:
        connection.execute(delete(place.table).where(place.table.c.path == OTHER))
        connection.execute(update(place.table).values(path=OTHER))
    assert refusal(place.store().keyring, OTHER) is DecryptionError


def test_a_row_that_was_rolled_back_is_refused(place: Place) -> None:
    """An older row, put back, is not taken by a process that has seen the newer one."""
    store = place.store(clock=(clock := FakeClock()))
    ring = store.keyring(PATH, create=True)
    old = _row(place)
    ring.rotate()
    _change(place, revision=old.revision, document=old.document)
    clock.advance(61)
    with pytest.raises(KeyStoreError, match="rolled back"):
        ring.refresh()


@pytest.mark.parametrize("given", [False, True])
def test_deleting_leaves_nothing_in_sqlite(sqlite: Place, tmp_path: Path, given: bool) -> None:
    """Neither the file nor its log holds the document, or one that was replaced, whoever made the engine and however SQLite was built."""
    event.listen(sqlite.engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete = OFF"))
    store = sqlite.store(sqlite.engine if given else None)
    store.keyring(OTHER, create=True)
    ring = store.keyring(PATH, create=True)
    ring.rotate()
    marks = [encode(key.sealed).encode() for key in ring._cache.current().opened.document.keys if key.sealed]
    with sqlite.engine.connect() as other:  # the log is not emptied just because its last user leaves
        other.execute(select(sqlite.table)).all()
        other.rollback()

        store.delete(PATH)

        written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert len(marks) == 2
    assert [mark for mark in marks if mark in written] == []
    assert OTHER.encode() in written


def test_a_reader_keeps_the_log(sqlite: Place, caplog: pytest.LogCaptureFixture) -> None:
    """While somebody reads, the log cannot be emptied: that is told, and the next change makes up for it."""
    store = sqlite.store()
    ring = store.keyring(PATH, create=True)
    with sqlite.engine.connect() as reader:
        reader.execute(select(sqlite.table)).all()
        reader.exec_driver_sql("BEGIN")
        reader.execute(select(sqlite.table)).all()
        ring.rotate()
        assert "replaced documents stay in the log of the database until the next change" in caplog.text
    caplog.clear()
    ring.rotate()
    assert caplog.text == ""


# ------------------------------------------------------------------------------------------- the caller's transaction


def _customers(place: Place, connection: Connection) -> None:
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS c_{place.name} (account TEXT, iban TEXT)"))


def test_a_tenant_and_its_keyring_are_committed_together(place: Place) -> None:
    """In the caller's transaction nothing is committed before the caller does it; then both are there."""
    with place.engine.connect() as connection:
        ring = place.store(connection).keyring(PATH, create=True)
        token = ring.encrypt(b"x", context={})
        _customers(place, connection)
        assert place.store(place.engine).paths() == []
        connection.commit()
    assert place.store().keyring(PATH).decrypt(token, context={}) == b"x"


@pytest.mark.parametrize("savepoint", [False, True])
def test_a_key_of_a_transaction_that_is_rolled_back_is_not_used(place: Place, savepoint: bool) -> None:
    """What never came to be never encrypts: the keyring goes back to the keys that are there, and can rotate again."""
    first = place.store().keyring(PATH, create=True).primary().id
    with place.engine.connect() as connection:
        store = place.store(connection)
        ring = store.keyring(PATH)
        connection.execute(select(place.table)).all()
        begun = connection.begin_nested() if savepoint else None
        second = ring.rotate().id
        made = store.keyring(OTHER, create=True)
        assert ring.primary().id == second != first
        (begun or connection).rollback()

        assert ring.primary().id == first
        assert refusal(made.encrypt, b"x", context={}) is KeyNotFoundError
        assert [key.id for key in ring.keys()] == [first]
        third = ring.rotate().id
        connection.commit()
        assert ring.primary().id == third
    assert [key.id for key in place.store().keyring(PATH).keys()] == [first, third]


def test_after_a_commit_a_rollback_keeps_what_was_committed(place: Place) -> None:
    """A connection goes on to the next transaction: only that one is forgotten."""
    with place.engine.connect() as connection:
        ring = place.store(connection).keyring(PATH, create=True)
        key_id = ring.rotate().id
        connection.commit()
        with pytest.raises(KeyNotFoundError):
            place.store(connection).keyring(OTHER)
        connection.rollback()
        assert ring.primary().id == key_id
        assert ring.revision == 2


def test_the_connection_closes_without_a_commit(place: Place) -> None:
    """What was not committed is gone, and its keyring knows no key any more."""
    with place.engine.connect() as connection:
        ring = place.store(connection).keyring(PATH, create=True)
    assert ring._cache.live is None
    assert place.store().paths() == []


def test_deleting_in_a_transaction_that_is_rolled_back(place: Place) -> None:
    """The keyring is still there."""
    token = place.store().keyring(PATH, create=True).encrypt(b"x", context={})
    with place.engine.connect() as connection:
        store = place.store(connection)
        store.keyring(PATH)
        store.delete(PATH)
        assert store.paths() == []
        connection.rollback()
        assert store.keyring(PATH).decrypt(token, context={}) == b"x"


def test_the_schema_in_a_transaction(place: Place) -> None:
    """The table, too, is made in the caller's transaction, as a migration does it."""
    with place.engine.connect() as connection:
        store = SqlKeyStore(connection, table=f"{place.name}_e", wrapper=LOCAL)
        store.create_schema()
        store.keyring(PATH, create=True)
        connection.rollback()
    assert not inspect(place.engine).has_table(f"{place.name}_e")


def test_a_long_transaction_refreshes_in_its_own_thread(place: Place) -> None:
    """A connection belongs to one thread: no refresh ahead in the background touches it."""
    clock, events = FakeClock(), list[tuple[str, str]]()
    with place.engine.connect() as connection:
        store = place.store(connection, clock=clock, on_event=lambda event: events.append((event.kind, threading.current_thread().name)))
        ring = store.keyring(PATH, create=True)
        clock.advance(50)
        ring.encrypt(b"x", context={})
        assert ("refreshed", threading.current_thread().name) in events
        connection.rollback()


def test_rewrap_in_a_transaction(place: Place) -> None:
    """Many keyrings are rewrapped and not committed; a rollback leaves all of them as they were."""
    paths = [f"eu/t{number}" for number in range(5)]
    before = place.store()
    for path in paths:
        before.keyring(path, create=True)
    with place.engine.connect() as connection:
        assert place.store(connection).rewrap(local(1)) == paths
        connection.rollback()
    assert place.store().rewrap(local(1), dry_run=True) == paths


# ------------------------------------------------------------------------------------------- threads and processes


def _rotate(ring: Keyring) -> str:
    """Rotate, as often as another writer comes in between."""
    while True:
        try:
            return ring.rotate().id
        except ConflictError:
            continue


def test_a_forked_child_has_connections_of_its_own(place: Place) -> None:
    """A child does not speak on its parent's connections, whether the engine is the store's or the caller's."""
    given = create_engine(place.url, poolclass=NullPool if place.engine.dialect.name == "sqlite" else None)
    for database in (None, given):
        store = place.store(database)
        path = f"eu/{'own' if database is None else 'given'}"
        ring = store.keyring(path, create=True)

        def child(pipe: Any, store: SqlKeyStore = store, path: str = path) -> None:
            pipe.send([_rotate(store.keyring(path)) for _ in range(5)])

        pipes = [_fork.Pipe(duplex=False) for _ in range(3)]
        children = [_fork.Process(target=child, args=(sending,)) for _, sending in pipes]
        for process in children:
            process.start()
        made = [_rotate(ring) for _ in range(5)]
        for receiving, _ in pipes:
            assert receiving.poll(30)
            made += receiving.recv()
        for process in children:
            process.join(30)
        ring.refresh()
        assert {key.id for key in ring.keys()[1:]} == set(made)
        assert len(made) == 20
    given.dispose()


def test_threads_share_a_store(place: Place) -> None:
    """Eight threads open, rotate, list and read through one store."""
    store = place.store()

    def work(number: int) -> int:
        ring = store.keyring(f"eu/t{number}", create=True)
        for _ in range(5):
            ring.rotate()
            store.paths("eu")
            ring.refresh()
        return ring.revision

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [6] * 8


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy table answers like any module does."""
    import securekit.sql

    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(securekit.sql, "no_such_name")  # noqa: B009 - the type checker knows that it does not exist


VERBS: dict[str, Callable[[SqlKeyStore], object]] = {
    "repr": repr,
    "repr of the storage": lambda store: repr(store._storage),
    "repr of the database": lambda store: repr(store._storage.database),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_shown_names_no_place(verb: str) -> None:
    """A store, its storage and its database show no URL."""
    store = SqlKeyStore("postgresql+psycopg://app:canary@db.example/app", wrapper=LOCAL)
    assert "canary" not in str(VERBS[verb](store))
    assert "db.example" not in str(VERBS[verb](store))
