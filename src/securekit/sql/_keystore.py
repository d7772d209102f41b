# SPDX-License-Identifier: Apache-2.0
"""Keyring documents in a table of SQLite or PostgreSQL: one row per keyring, compare-and-swap in one statement.

A row has the revision of its document beside it, so that one ``UPDATE`` can compare and replace. Readers check that the two
agree: a row that somebody else has made is refused, and is never the ground for a change.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from securekit.exceptions import ConflictError, KeyStoreError, KeyStoreUnavailableError
from securekit.keyring import KeyStore, check_path
from securekit.keyring._document import MAX_SIZE, KeyringDocument
from securekit.keyring._path import is_under
from securekit.keyring._storage import DocumentStorage

from ._engine import Database, exc, no_such_table, sqlalchemy, store_error

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Executable, MetaData, Table

    from securekit.keyring import StoreOptions, Wrappers

__all__ = ["SqlKeyStore", "SqlStorage", "keyring_table"]

T = TypeVar("T")
TABLE = "securekit_keyrings"

_NAME = r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}"
_PATH_SIZE = 8 * 64 + 7  # characters
# The end of canonical JSON, whose members are sorted: no text within can look like it, since quotes in texts are escaped.
_REVISION = re.compile(rb'"revision":(\d{1,16}),"stale_if_error":\d{1,8}\}\Z')

_log = logging.getLogger("securekit.sql")


def keyring_table(metadata: MetaData, name: str = TABLE) -> Table:
    """Return the table of keyrings as part of ``metadata``: for migrations, such as Alembic's, that make it with the other tables.

    Args:
        metadata: Of your own tables.
        name: The table's name, after its schema and a dot if it is in another one than the database's usual.

    Raises:
        ValueError: ``name`` has another form.
    """
    if not re.fullmatch(_NAME, name):
        message = f"a table is named by letters, digits and '_', after a schema and a dot if it is in one, not {name!r}"
        raise ValueError(message)
    schema, _, bare = name.rpartition(".")
    path = sqlalchemy.String(_PATH_SIZE)
    return sqlalchemy.Table(
        bare,
        metadata,
        # Compared byte for byte, so that the index also serves what is below a prefix.
        sqlalchemy.Column("path", path.with_variant(sqlalchemy.String(_PATH_SIZE, collation="C"), "postgresql"), primary_key=True),
        sqlalchemy.Column("revision", sqlalchemy.BigInteger, nullable=False),
        sqlalchemy.Column("document", sqlalchemy.LargeBinary, nullable=False),
        sqlalchemy.Column("updated", sqlalchemy.DateTime(timezone=True), nullable=False, server_default=sqlalchemy.func.now()),
        schema=schema or None,
    )


class SqlStorage(DocumentStorage):
    """The rows of a table. There are no locks between processes: each ``UPDATE`` says which revision it replaces.

    In the caller's transaction (a connection is given), `written` has the paths that were written in it, until it ends.
    """

    def __init__(self, database: str | URL | Engine | Connection, *, table: str = TABLE) -> None:
        self.database = Database(database)
        del database  # error trackers show the variables of a frame that raises
        self.table = keyring_table(sqlalchemy.MetaData(), table)
        self.written: set[str] = set()
        self._statements = _Statements(self.table, self.database.kind)

    def read(self, path: str) -> bytes | None:
        """Return the document, or None if there is none."""
        found = self.read_many([path]).get(path)
        if isinstance(found, KeyStoreError):
            raise found
        return found

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes | KeyStoreError]:
        """Return the documents that are there, read by one statement."""
        rows = self._read(lambda connection: connection.execute(self._statements.select, {"paths": list(paths)}).all())
        return {path: _document(path, revision, data) for path, revision, data in rows}

    def write(self, path: str, document: bytes, *, expected: int | None) -> None:
        """Replace the document of revision ``expected``."""
        for error in self.write_many([(path, document, expected)]).values():
            raise error

    def write_many(self, items: Sequence[tuple[str, bytes, int | None]]) -> dict[str, KeyStoreError]:
        """Replace documents in one transaction; those that another process wrote first are left as they are."""
        if self.database.file is not None and any(expected is None for _, _, expected in items):
            self.create_schema()  # like the directory of a store in files, when the first keyring is made
        conflicts = self._run(lambda connection: self._write_all(connection, items), "writing keyrings", write=True)
        if self.database.connection is not None:
            self.written.update(path for path, _, _ in items)
        self._erase()
        return {
            path: ConflictError(f"{path} was written, made or deleted by another process first: read it again and retry")
            for path in conflicts
        }

    def delete(self, path: str) -> None:
        """Remove the row, overwrite it and its traces in SQLite's log; PostgreSQL does so when it vacuums."""
        self._run(lambda connection: connection.execute(self._statements.delete, {"at": path}), "deleting a keyring", write=True)
        if self.database.connection is not None:
            self.written.add(path)
        self._erase()

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Return the paths of all rows at or below ``prefix``; rows that no keyring can be called are passed over."""
        column = self.table.c.path
        statement = sqlalchemy.select(column)
        if prefix:
            statement = statement.where((column == prefix) | column.startswith(f"{prefix}/", autoescape=True))
        found = self._read(lambda connection: connection.execute(statement).scalars().all())
        return (path for path in found if _is_path(path) and is_under(path, prefix))

    def lock(self, path: str) -> AbstractContextManager[object]:  # noqa: ARG002 - compare-and-swap decides
        """Return no lock: compare-and-swap decides between processes, and a process that dies holds nothing."""
        return nullcontext()

    def check(self) -> None:
        """Raise `KeyStoreUnavailableError` if the table is missing, so that nobody takes another database for an empty store."""
        there = self._run(self._has_table, "looking for the table") if self._is_file_there() else False
        if not there:
            raise self._no_table()

    def create_schema(self) -> None:
        """Make the table, and SQLite's file, if they are not there; safe when many do it at once."""
        if self.database.file is not None:
            _make_file(os.fspath(self.database.file))
        self._run(self._create, "making the table", write=True)

    def _create(self, connection: Connection) -> None:
        if self.database.kind == "postgresql":  # where IF NOT EXISTS fails for one of two that come at once
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext('securekit.create_schema'))"))
        connection.execute(sqlalchemy.schema.CreateTable(self.table, if_not_exists=True))

    def _write_all(self, connection: Connection, items: Sequence[tuple[str, bytes, int | None]]) -> list[str]:
        """Write each item whose expected revision is there, and return the paths of the others."""
        updates: list[dict[str, Any]] = [
            {"at": path, "expected": expected, "new_revision": _revision(document), "new_document": document}
            for path, document, expected in items
            if expected is not None
        ]
        updates.sort(key=lambda each: each["at"])  # in one order everywhere, so that two of these never wait for each other
        inserts = [(path, document) for path, document, expected in items if expected is None]
        conflicts = self._update(connection, updates)
        for path, document in inserts:
            values = {"path": path, "revision": _revision(document), "document": document}
            if not connection.execute(self._statements.insert, values).rowcount:
                conflicts.append(path)
        return conflicts

    def _update(self, connection: Connection, updates: list[dict[str, Any]]) -> list[str]:
        if len(updates) > 1 and self._statements.update_many is not None:
            columns = {name: [each[name] for each in updates] for name in updates[0]}
            written = set(connection.execute(self._statements.update_many, columns).scalars())
            return [each["at"] for each in updates if each["at"] not in written]
        return [each["at"] for each in updates if not connection.execute(self._statements.update, each).rowcount]

    def _has_table(self, connection: Connection) -> bool:
        return sqlalchemy.inspect(connection).has_table(self.table.name, schema=self.table.schema)

    def _is_file_there(self) -> bool:
        """Whether there is a file to look into: SQLite would make one, empty, where the disk is not mounted."""
        return self.database.file is None or self.database.file.exists()

    def _read(self, work: Callable[[Connection], Sequence[Any]]) -> Sequence[Any]:
        """Read, where there is a file; a file of ours without the table has no keyrings yet."""
        if not self._is_file_there():
            return ()
        try:
            return self._run(work, "reading keyrings")
        except _NoTableError:
            if self.database.file is not None:
                return ()
        raise self._no_table()

    def _run(self, work: Callable[[Connection], T], doing: str, *, write: bool = False) -> T:
        """Return what ``work`` does; errors are ours, and have no causes, in which the password and rows would be."""
        failure: KeyStoreError
        try:
            return self.database.write(work) if write else self.database.read(work)
        except exc.SQLAlchemyError as error:
            failure = _NoTableError(str(self._no_table())) if no_such_table(error) else store_error(error, doing)
        raise failure

    def _erase(self) -> None:
        """Let SQLite's log go, which has what was replaced: keys that may have been destroyed."""
        failure = "somebody is reading"
        try:
            if self.database.erase():
                return
        except exc.SQLAlchemyError as error:
            failure = str(store_error(error, "emptying the log"))
        # The row itself is written by now, durably; the next write makes up for it.
        _log.warning("replaced documents stay in the log of the database until the next change of a keyring: %s", failure)

    def _no_table(self) -> KeyStoreUnavailableError:
        return KeyStoreUnavailableError(
            f"there is no table {self.table.fullname} in the database: make it with SqlKeyStore.create_schema(), or by a migration"
        )


class SqlKeyStore(KeyStore):
    """Keyrings in a table of SQLite or PostgreSQL. Arguments as `securekit.KeyStore`.

    **In the caller's transaction.** Given a connection, everything is read and written in its transaction, and nothing is committed:
    a tenant's rows and its keyring become durable together, or not at all. Make such a store for the transaction, as you do with
    the connection, and use it in the same thread. A keyring that was made or rotated there encrypts with its new key at once, so
    store what it encrypts in the same transaction and nowhere else: then a key and what needs it share one fate. When the
    transaction, or a savepoint in it, is rolled back, the store's keyrings forget what they know, so that no key is used
    that has never been. Other processes and stores see the new key when it is committed, as always.

    **What deletion erases.** SQLite: the row is overwritten with zeros (``secure_delete``) and the log is emptied; in the caller's
    transaction, at the next change outside of one. PostgreSQL keeps a deleted or replaced row until ``VACUUM``, its write-ahead
    log and its backups for as long as you keep those. Nothing erases copies of disks. A receipt names the KEKs that such
    copies still open with.

    Args:
        database: A URL of SQLAlchemy, such as ``sqlite:///keys.db`` or ``postgresql+psycopg://app@db.example/app``; a ready
            ``Engine``; or a ``Connection``. A password in a URL is never shown; the driver's own ways (``PGPASSFILE``) need none
            there. SQLite breaks in a child that is forked while connections are open: give a ready engine of it a ``NullPool``,
            which the store's own has.
        table: The table's name, after a schema and a dot if it is in one.
        wrapper: As `securekit.KeyStore`.
        also_open: As `securekit.KeyStore`.
        options: As `securekit.KeyStore`.

    Raises:
        ValueError: ``database`` or ``table`` has another form, or names another kind of database.
        ImportError: The driver that the URL names is not installed.
    """

    def __init__(
        self,
        database: str | URL | Engine | Connection,
        *,
        table: str = TABLE,
        wrapper: Wrappers,
        also_open: Wrappers = (),
        **options: Unpack[StoreOptions],
    ) -> None:
        storage = SqlStorage(database, table=table)
        del database  # error trackers show the variables of a frame that raises
        super().__init__(storage, wrapper=wrapper, also_open=also_open, **options)
        connection = storage.database.connection
        if connection is not None:
            self._source.refresh_in_place()  # a connection belongs to one thread
            sqlalchemy.event.listen(connection, "commit", lambda _: storage.written.clear())
            sqlalchemy.event.listen(connection, "rollback", lambda _: self._roll_back(storage))
            sqlalchemy.event.listen(connection, "rollback_savepoint", lambda *_: self._roll_back(storage))

    def create_schema(self) -> None:
        """Make the table if it is not there; safe when many do it at once. A store in SQLite does so with its first keyring.

        Raises:
            securekit.exceptions.KeyStoreUnavailableError: The database cannot be reached now.
            securekit.exceptions.KeyStoreError: The database refused.
        """
        cast("SqlStorage", self._storage).create_schema()

    def _roll_back(self, storage: SqlStorage) -> None:
        """Forget what was written in a transaction that has not come to be."""
        for path in storage.written:
            self._source.floors.pop(path, None)
            self._forget(path)


class _NoTableError(KeyStoreUnavailableError):
    """There is no table."""


class _Statements:
    """The statements on one table, made once: SQLAlchemy keeps their compiled forms."""

    def __init__(self, table: Table, kind: str) -> None:
        bind, column = sqlalchemy.bindparam, table.c
        # As the driver gives it, since SQLite may hold a value of another type; and not more than a document may have, and one.
        document = sqlalchemy.type_coerce(sqlalchemy.func.substr(column.document, 1, MAX_SIZE + 1), sqlalchemy.types.NullType())
        self.select = sqlalchemy.select(column.path, column.revision, document).where(column.path.in_(bind("paths", expanding=True)))
        self.update = (
            sqlalchemy.update(table)
            .where(column.path == bind("at"), column.revision == bind("expected"))
            .values(revision=bind("new_revision"), document=bind("new_document"), updated=sqlalchemy.func.now())
        )
        self.update_many = None if kind == "sqlite" else _update_many(table)  # SQLite is no faster for all at once: it is no server
        self.delete = sqlalchemy.delete(table).where(column.path == bind("at"))
        from sqlalchemy.dialects import postgresql, sqlite

        insert = sqlite.insert(table) if kind == "sqlite" else postgresql.insert(table)
        # An error would end the caller's transaction; the number of rows is only kept if asked for.
        self.insert = insert.on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def _update_many(table: Table) -> Executable:
    """Return one statement of PostgreSQL for many rows, which tells whose revision was the expected one."""
    from sqlalchemy.dialects.postgresql import ARRAY

    types = {"at": table.c.path, "expected": table.c.revision, "new_revision": table.c.revision, "new_document": table.c.document}
    arrays = [sqlalchemy.cast(sqlalchemy.bindparam(name), ARRAY(column.type)) for name, column in types.items()]
    names = [sqlalchemy.column(name, column.type) for name, column in types.items()]
    fresh = sqlalchemy.func.unnest(*arrays).table_valued(*names).render_derived(name="fresh")
    return (
        sqlalchemy.update(table)
        .where(table.c.path == fresh.c.at, table.c.revision == fresh.c.expected)
        .values(revision=fresh.c.new_revision, document=fresh.c.new_document, updated=sqlalchemy.func.now())
        .returning(table.c.path)
    )


def _document(path: str, revision: object, data: object) -> bytes | KeyStoreError:
    """Return the document of a row whose revision is the document's own. What is no document at all is the decoder's to refuse."""
    if not isinstance(data, (bytes, memoryview)):
        return KeyStoreError(f"what the table has at {path} is no keyring document")
    document = bytes(data)
    found = _REVISION.search(document)
    if found is not None and int(found[1]) != revision:
        return KeyStoreError(
            f"the row of {path} says revision {revision}, and its document {int(found[1])}: something else has written it;"
            " restore the row, or put the document's number into it, after finding out what that was"
        )
    return document


def _revision(document: bytes) -> int:
    found = _REVISION.search(document)
    return int(found[1]) if found else KeyringDocument.decode(document).document.revision


def _is_path(text: str) -> bool:
    try:
        check_path(text)
    except (TypeError, ValueError):
        return False
    return True


def _make_file(name: str) -> None:
    """Make an empty file of mode 0600, which SQLite gives to its log as well; one that is there stays."""
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        failure = KeyStoreError(f"cannot make {name}: {error.strerror}")
    else:
        return
    raise failure
