# SPDX-License-Identifier: Apache-2.0
"""The one way to a database: an engine, its transactions, and what its errors mean.

SQLAlchemy is imported here, and by the others of this package from here; whoever lacks it is told the extra.

No URL, password, statement or bound value is in any message. SQLAlchemy's errors are not kept as causes: they have statements
and values as attributes, and their frames the password.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import finalize

from securekit._primitives.process import process
from securekit.exceptions import KeyStoreError, KeyStoreUnavailableError
from securekit.secret import Secretive

try:
    import sqlalchemy
    from sqlalchemy import exc
except ModuleNotFoundError as error:
    _MESSAGE = "SQL databases are spoken to by the package SQLAlchemy: install securekit-platform[sql]"
    raise ImportError(_MESSAGE, name="sqlalchemy") from error

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

__all__ = ["Database", "exc", "is_transient", "no_such_table", "reason", "sqlalchemy", "store_error"]

T = TypeVar("T")

KINDS = ("postgresql", "sqlite")
_WAIT = 30  # seconds for a lock of another writer
_ERASE = 1  # seconds for readers to let go of the log
_CONNECT = 10  # seconds for a connection
_LIBPQ = {"psycopg", "psycopg2"}
# Primary result codes of SQLite: busy, locked, interrupted, I/O error, full, cannot open, locking protocol.
_SQLITE_TRANSIENT = {5, 6, 9, 10, 13, 14, 15}
# Classes of SQLSTATE: connection, no standby for writes, transaction rollback, resources, not in the right state, operator, system.
_STATES_TRANSIENT = ("08", "25006", "40", "53", "55", "57", "58")
_STATE_NO_TABLE = "42P01"


class Database(Secretive):
    """A database that is connected to when it is needed. Safe for threads, and in a forked child.

    Args:
        database: A URL of SQLAlchemy such as ``sqlite:///keys.db``, whose engine is made here; a ready engine, which is used as it
            is; or a connection: then everything happens in its transaction, and nothing is committed.
        ours: Whether the database is there for keyrings. The journal of another application's file is left as it is.

    Raises:
        ValueError: It is no such URL, or of another kind of database.
        ImportError: The database's driver is not installed.
    """

    __slots__ = ("__weakref__", "_pool", "connection", "file", "kind")

    def __init__(self, database: str | URL | Engine | Connection, *, ours: bool = True) -> None:
        self.connection: Connection | None = None
        self.file: Path | None = None
        own = False
        if isinstance(database, sqlalchemy.Connection):
            self.connection = database
            engine = database.engine
        elif isinstance(database, sqlalchemy.Engine):
            engine = database
        else:
            url = _url(database)
            del database  # error trackers show the variables of a frame that raises
            engine = _make(url, ours=ours)
            own = True
            self.file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self._pool = _Pool(engine)
        if own:
            finalize(self, self._pool.close)
        self.kind: str = engine.dialect.name
        if self.kind not in KINDS:
            message = f"keyrings and columns are kept in {' and '.join(KINDS)}, not in {self.kind}"
            raise ValueError(message)

    @property
    def engine(self) -> Engine:
        """The engine, with connections of this process."""
        return self._pool.engine()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` does in a transaction that changes nothing. Errors are SQLAlchemy's."""
        if self.connection is not None:
            return work(self.connection)
        with self._pool.engine().connect() as connection:
            return work(connection)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` does in one transaction, once that is durable. Errors are SQLAlchemy's."""
        if self.connection is not None:
            self._prepare(self.connection)
            return work(self.connection)
        with self._pool.engine().begin() as connection:
            self._prepare(connection)
            if self.kind == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}s'")
            return work(connection)

    def erase(self) -> bool:
        """Overwrite what SQLite's log still has of deleted and replaced rows; return whether that was possible now.

        It is not while somebody reads. In the caller's transaction it is left to the next change outside of one.
        """
        if self.kind != "sqlite" or self.connection is not None:
            return True
        with self._pool.engine().connect() as connection:
            if self.file is not None:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {_ERASE * 1000}")
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        return not busy

    def __repr__(self) -> str:
        """Name the kind of database, and nothing of where it is."""
        return f"<Database {self.kind}>"

    def _prepare(self, connection: Connection) -> None:
        if self.kind != "sqlite":
            return
        if self.file is None:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")  # of this connection, which somebody else has made
        if not getattr(connection.connection.driver_connection, "in_transaction", False):
            # Python's driver would begin at the first change, and not for a savepoint, whose end would then commit.
            connection.exec_driver_sql("BEGIN IMMEDIATE")


class _Pool:
    """An engine, whose connections are of one process."""

    __slots__ = ("_engine", "_process")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process = process.token

    def engine(self) -> Engine:
        """Return the engine; a forked child lets go of the connections that are its parent's."""
        if self._process is not process.token:
            self._engine.dispose(close=False)
            self._process = process.token
        return self._engine

    def close(self) -> None:
        """Close the connections that are of this process."""
        self.engine().dispose()


def is_transient(error: exc.SQLAlchemyError) -> bool:
    """Whether it may work later, unchanged: no connection, a lock of somebody else, a disk that is full, a server that stops."""
    if isinstance(error, (exc.TimeoutError, exc.DisconnectionError)):
        return True
    if not isinstance(error, exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_TRANSIENT
    state = _state(error)
    if state is not None:
        return state.startswith(_STATES_TRANSIENT)
    return isinstance(error, (exc.OperationalError, exc.InterfaceError))  # the connection itself failed


def no_such_table(error: exc.SQLAlchemyError) -> bool:
    """Whether the table is missing."""
    if not isinstance(error, exc.DBAPIError):
        return False
    return _state(error) == _STATE_NO_TABLE or str(error.orig).startswith("no such table")


def reason(error: exc.SQLAlchemyError) -> str:
    """Return what may be said of ``error``: its kind and its code, and nothing that stands in a URL, a statement or a row."""
    orig = getattr(error, "orig", None)
    code = getattr(orig, "sqlite_errorname", None) or (_state(error) if isinstance(error, exc.DBAPIError) else None)
    kind = type(error if orig is None else orig).__name__
    return f"{kind}, {code}" if code else kind


def store_error(error: exc.SQLAlchemyError, doing: str) -> KeyStoreError:
    """Return the keystore's error for ``error``, which happened while ``doing``."""
    if is_transient(error):
        return KeyStoreUnavailableError(f"the database cannot be reached, or is busy, while {doing} ({reason(error)})")
    return KeyStoreError(f"the database refused {doing} ({reason(error)})")


def _state(error: exc.DBAPIError) -> str | None:
    """Return the SQLSTATE that a server has answered with; None if none has answered."""
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state if isinstance(state, str) else None


def _url(database: str | URL) -> URL:
    try:
        return sqlalchemy.make_url(database)
    except exc.ArgumentError:
        pass
    del database
    message = "a database is named by a URL such as sqlite:///keys.db or postgresql+psycopg://user@host/name"
    raise ValueError(message)


def _make(url: URL, *, ours: bool) -> Engine:
    """Return an engine that neither logs nor raises with statements or values."""
    kind = url.get_backend_name()
    shown = url.render_as_string(hide_password=True)
    options: dict[str, Any] = {"hide_parameters": True}
    if kind == "sqlite":
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            message = f"{shown} names no file; keys that are to be gone with the process are in memory:"
            raise ValueError(message)
        # A connection for each transaction: none is ever carried across a fork, and the last one to close empties the log.
        options["poolclass"] = sqlalchemy.NullPool
        options["connect_args"] = {"timeout": _WAIT}
    try:
        if kind != "sqlite":
            options |= {"pool_pre_ping": True, "pool_timeout": _WAIT, "pool_recycle": 3600}
        if url.get_driver_name() in _LIBPQ:
            wanted = {"connect_timeout": _CONNECT, "tcp_user_timeout": _WAIT * 1000}
            options["connect_args"] = {name: value for name, value in wanted.items() if name not in url.query}
        if not url.get_dialect().is_async:
            engine = sqlalchemy.create_engine(url, **options)
            if kind == "sqlite" and ours:
                sqlalchemy.event.listen(engine, "connect", _set_up_sqlite)
            return engine
        message = f"{shown} names a driver for asyncio: give one for threads, such as psycopg, and use akeyring, or a connection"
        failure: Exception = ValueError(message)
    except exc.NoSuchModuleError:
        message = f"{shown} names no database that SQLAlchemy knows: sqlite:///FILE or postgresql+psycopg://…"
        failure = ValueError(message)
    except ImportError as error:
        failure = ImportError(f"{shown} needs the package {error.name}", name=error.name)
    del url
    raise failure


def _set_up_sqlite(connection: Any, record: object) -> None:  # noqa: ANN401, ARG001 - a connection of sqlite3, as SQLAlchemy passes it
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
