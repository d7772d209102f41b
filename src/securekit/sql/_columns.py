# SPDX-License-Identifier: Apache-2.0
"""The columns of a table that hold ciphertexts, as a source of rotation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from securekit.keyring._stored import Content, Group, StoredItem
from securekit.secret import Secretive

from ._engine import Database, exc
from ._failure import translated
from ._layout import Layout, reflect
from ._statements import MOST_KEPT, Statements
from ._swap import Change, Swap
from ._template import COLUMN, ContextOf, ContextTemplate, KeyringOf, KeyringTemplate

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine

__all__ = ["SqlColumns"]

T = TypeVar("T")

# Of ciphertexts in one batch. The driver, whoever decrypts and encrypts, and what is written back hold copies: about four times this.
BATCH_SIZE = 4 * 1024 * 1024  # bytes
WINDOW = 20_000  # rows that one statement walks over at most: where nothing is wanted for long, it ends all the same
_FEW = 512  # places that are asked for at first; more, when they turn out to be small
# A claim waits for no row, but for a lock that keeps everybody out of the table, such as a migration's. A limit of the user's stands.
_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', '10s', true) WHERE current_setting('lock_timeout') = '0'"


class SqlColumns(Secretive):
    """Ciphertexts in columns of a table, for ``securekit.rotation``: a `securekit.keyring.Source`.

    >>> source = SqlColumns(
    ...     "postgresql+psycopg://…",
    ...     table="customers",
    ...     key="id",
    ...     columns=["iban", "email"],
    ...     keyring="eu/{account}/customers",
    ...     context={"table": "customers", "column": "{column}", "id": "{id}"},
    ... )

    In templates, ``{name}`` is the value of the row's column of that name, and ``{column}`` the name of the column that the ciphertext
    stands in. A value has one text: a string is itself, an integer is decimal, a UUID has hyphens and small letters, and a date is
    ``2026-11-26``. A value that is NULL makes the ciphertext one that cannot be handled, and a column of any other type is refused:
    booleans, floats, decimals and times are written differently by different applications. Where yours puts one into a context,
    pass a function that writes it the same way. In the keyring's template a value fills exactly one segment of the path.

    A function gets the row, a mapping that cannot be changed: the columns of ``key`` and ``row`` as the driver has them, and
    ``"column"``. If it raises, the ciphertext is one that cannot be handled, and nothing of the error but its type is shown.

    Rows are updated with compare-and-swap, and nothing is touched but ciphertext columns in which a ciphertext changes. Triggers on
    UPDATE fire, as for any writer: one that sets ``updated_at`` does so. NULL is left out. A ciphertext is bytes (``BYTEA``, ``BLOB``),
    or the text form of a record (``TEXT``).

    Several workers on several hosts share a table on PostgreSQL, where rows are claimed by ``FOR NO KEY UPDATE SKIP LOCKED``: like an
    UPDATE, this lets others insert rows that refer to the claimed ones. SQLite locks no rows; there, workers can do the same row
    twice, of which one gives way. Methods are safe for threads, each call with a connection of its own, and in a forked child.

    Args:
        database: A URL of SQLAlchemy, ``postgresql+psycopg://…`` or ``sqlite:///…``, or a ready engine. Statements run in READ COMMITTED.
        table: The table's name, or ``schema.name``; as the database has it, capitals included.
        key: The column, or columns, that a row is found by: those of the primary key, or of a unique index.
        columns: The column, or columns, of ciphertexts.
        content: ``"records"``, or ``"envelopes"`` for sealed messages.
        keyring: Where the keyring of a record is: a template, or a function of the row. Envelopes have none.
        context: The context of a ciphertext: a mapping of templates, in which a brace is written twice, or a function of the row.
        row: Columns that the functions want besides the key.

    Raises:
        ValueError: The table, a column or a unique index is not there, or a column's type does not fit. Says what to do.
        ConnectionError: The database cannot be reached now.
        TimeoutError: It took too long.
        OSError: It refuses. No message shows a value or a password.
    """

    __slots__ = (
        "_ask",
        "_columns",
        "_content",
        "_context",
        "_database",
        "_identity",
        "_keyring",
        "_layout",
        "_names",
        "_statements",
        "_swap",
    )

    def __init__(
        self,
        database: str | URL | Engine,
        *,
        table: str,
        key: str | Sequence[str],
        columns: str | Sequence[str],
        context: ContextTemplate,
        keyring: KeyringTemplate | None = None,
        content: Content = "records",
        row: Sequence[str] = (),
    ) -> None:
        self._identity = f"sql {table}"  # until it is known
        key, self._columns = _names("key", key), _names("columns", columns)
        self._content = content
        self._context = ContextOf(context)
        self._keyring = _keyring(keyring, content)
        used = [template.names or frozenset() for template in (self._keyring, self._context) if template]
        texts = sorted(frozenset[str]().union(*used) - {COLUMN})
        if changing := {*self._columns} & {*key, *texts}:
            message = f"{', '.join(sorted(changing))}: what changes when a key is rotated can be no part of a key or of a template"
            raise ValueError(message)
        if COLUMN in row:
            message = f"a row's {COLUMN!r} is the name of the ciphertext's column: a column of that name cannot be among row"
            raise ValueError(message)
        read = tuple(dict.fromkeys([*texts, *row]))
        self._database = Database(database, ours=False)
        del database
        if self._database.connection is not None:
            message = "columns are worked on by several threads, each with a connection of its own: give the engine, not one connection"
            raise TypeError(message)
        if self._database.file is not None and not self._database.file.exists():  # SQLite would make it
            message = f"there is no file {self._database.file}"
            raise FileNotFoundError(message)
        with self._connected() as connection, warnings.catch_warnings():
            warnings.simplefilter("ignore", exc.SAWarning)  # of types and indexes that SQLAlchemy does not know, and we may not need
            layout = translated(lambda: reflect(connection, table, key=key, columns=self._columns, texts=texts, row=row))
        self._layout: Layout = layout
        if content == "envelopes" and layout.text:
            message = f"{', '.join(sorted(layout.text))}: a column of sealed messages holds bytes, not text"
            raise ValueError(message)
        self._statements = Statements(self._layout, columns=self._columns, read=(*read, *self._columns))
        self._names = (*layout.key, *read)
        self._swap = Swap(self._layout)
        self._identity = f"sql {self._layout.database}/{self._layout.name}({', '.join(sorted(self._columns))})"
        self._ask = _FEW

    @property
    def identity(self) -> str:
        """Names the database, the table and the columns, ``"sql app/customers(email, iban)"``, and nothing of where the server is.

        The columns are sorted, and the default schema is left out; of SQLite's file, it is the name without its directory.
        """
        return self._identity

    @property
    def content(self) -> Content:
        """Whether the columns hold records or sealed messages."""
        return self._content

    def places(self, after: str, limit: int, *, current: frozenset[str] = frozenset()) -> list[str]:
        """Return the next places, as `Source`: rows in the order of the key, with a ciphertext that is under no key of ``current``.

        They are fewer than ``limit`` where the ciphertexts are large: those of one batch have some 4 MiB, or stand in one row. A place is
        the JSON array of the key's values. More than 500 key ids are not looked at: then all rows with a ciphertext are returned.

        Raises:
            ValueError: ``after`` is no place of this table.
            OSError: As `Source`; or there are rows without a key.
        """
        last = self._layout.places.values(after) if after else []
        if len(current) > MOST_KEPT or self._content == "envelopes":
            current = frozenset()
        with self._connected() as connection:
            if not after and translated(lambda: self._statements.without_key(connection)):
                missing = " or ".join(self._layout.key)
                message = f"{self._layout.name} has rows whose {missing} is NULL: no key finds them again, so give them one"
                raise OSError(message)
            return translated(lambda: self._next(connection, last, limit, current))

    def read(self, places: Sequence[str]) -> list[StoredItem]:
        """Return the ciphertexts of these rows, as `Source`, whether somebody has locked them or not."""
        with self._connected() as connection:
            return translated(lambda: self._items(connection, places, lock=False))

    def reread(self, items: Sequence[StoredItem]) -> list[bytes | str | None]:
        """Return what is in the place of each item now, as `securekit.rotation.RereadingSource`."""
        with self._connected() as connection:
            rows = translated(lambda: self._rows(connection, list(dict.fromkeys(item.place for item in items)), lock=False))
        at = {column: number - len(self._columns) for number, column in enumerate(self._columns)}
        found: list[bytes | str | None] = []
        for item in items:
            data = rows[item.place][at[self._column(item)]] if item.place in rows else None
            found.append(bytes(data) if isinstance(data, memoryview) else data)
        return found

    def replace(self, changes: Sequence[tuple[StoredItem, bytes | str]]) -> list[bool]:
        """Replace ciphertexts that are still as they were read, in one transaction, as `Source`."""
        with self._connected(writing=True) as connection:
            done = self._replace(connection, changes)
            translated(connection.commit)
            return done

    @contextmanager
    def claim(self, places: Sequence[str]) -> Iterator[SqlClaim]:
        """Lock those of these rows that nobody else has locked, until the end of the block, which makes its changes durable.

        An exception undoes them. The locks are those of a transaction: a worker that dies frees its rows.
        """
        with self._connected(writing=True) as connection:
            items = translated(lambda: self._items(connection, places, lock=True))
            yield SqlClaim(items, lambda changes: self._replace(connection, changes))
            translated(connection.commit)

    def groups(self) -> Iterator[Group] | None:
        """Return what the database counts, as `CountingSource`; None for envelopes, and where the keyring is told by a function."""
        if self._keyring is None or self._keyring.names is None:
            return None
        return self._groups(self._keyring, self._keyring.names - {COLUMN})

    def __repr__(self) -> str:
        """Name the source, and nothing of where the server is."""
        return f"<SqlColumns {self._identity}>"

    @contextmanager
    def _connected(self, *, writing: bool = False) -> Iterator[Connection]:
        connection = translated(lambda: self._connect(writing=writing))
        try:
            yield connection
        finally:
            translated(connection.close)

    def _connect(self, *, writing: bool) -> Connection:
        connection = self._database.engine.connect()
        if self._database.kind == "postgresql":
            with ExitStack() as failed:
                failed.callback(connection.close)
                connection.execution_options(isolation_level="READ COMMITTED" if writing else "AUTOCOMMIT")
                if writing:
                    connection.exec_driver_sql(_LOCK_TIMEOUT)
                failed.pop_all()
        return connection

    def _next(self, connection: Connection, last: Sequence[object], limit: int, current: frozenset[str]) -> list[str]:
        width = len(self._layout.key)
        ask = min(limit, self._ask)
        found: list[str] = []
        window, walked, size = 2 * ask, 0, 0
        while True:
            row = None
            for row in self._statements.walk(connection, last, window=window, limit=ask, current=current):
                size += row.size if row.wanted else 0
                if found and size > BATCH_SIZE:
                    self._ask = 2 * len(found)  # so that large rows are not walked over again and again
                    return found
                if row.wanted:
                    found.append(self._layout.places.place(row[:width]))
                if len(found) == ask:
                    self._ask = max(self._ask, 2 * ask)
                    return found
            walked += window
            if row is None or row.number != window or (found and walked >= WINDOW):
                return found
            last, window = row[:width], min(4 * window, WINDOW)

    def _items(self, connection: Connection, places: Sequence[str], *, lock: bool) -> list[StoredItem]:
        wanted = list(dict.fromkeys(places))
        found = self._rows(connection, wanted, lock=lock)
        return [item for place in wanted if place in found for item in self._items_of(place, found[place])]

    def _rows(self, connection: Connection, places: Sequence[str], *, lock: bool) -> dict[str, Sequence[Any]]:
        width, place = len(self._layout.key), self._layout.places.place
        rows = self._statements.rows(connection, [self._layout.places.values(place) for place in places], lock=lock)
        return {place(row[:width]): row for row in rows}

    def _items_of(self, place: str, row: Sequence[Any]) -> Iterator[StoredItem]:
        about = dict(zip(self._names, row, strict=False))
        for column, data in zip(self._columns, row[-len(self._columns) :], strict=True):
            if data is not None:
                about[COLUMN] = column
                yield self._item(place, column, bytes(data) if isinstance(data, memoryview) else data, about)

    def _item(self, place: str, column: str, data: object, about: Mapping[str, object]) -> StoredItem:
        name, keyring, context = self._name(place, column), "", None
        if not isinstance(data, (bytes, str) if self._keyring else bytes):
            return StoredItem(name, b"", fault=f"it is no ciphertext: the value is a {type(data).__name__}", place=place)
        try:
            keyring = self._keyring(about) if self._keyring else ""
            context = self._context(about)
        except ValueError as error:
            return StoredItem(name, data, keyring, fault=str(error), place=place)
        return StoredItem(name, data, keyring, context, place=place)

    def _name(self, place: str, column: str) -> str:
        return f"{self._layout.name} {place[1:-1]} {column}"

    def _column(self, item: StoredItem) -> str:
        column = item.name.removeprefix(self._name(item.place, ""))
        if column not in self._columns:
            message = f"{item.name} is no item of {self._identity}"
            raise ValueError(message)
        return column

    def _replace(self, connection: Connection, changes: Sequence[tuple[StoredItem, bytes | str]]) -> list[bool]:
        wanted = [self._change(item, new) for item, new in changes]
        return translated(lambda: self._swap(connection, wanted))

    def _change(self, item: StoredItem, new: bytes | str) -> Change:
        column = self._column(item)
        if type(new) is not type(item.data):
            message = f"{item.name} is {type(item.data).__name__}, and so must its new ciphertext be, not {type(new).__name__}"
            raise TypeError(message)
        return Change(item.place, column, item.data, new)

    def _groups(self, keyring: KeyringOf, used: Iterable[str]) -> Iterator[Group]:
        by = sorted(used)
        present = sorted(((self._context.names or frozenset()) - {COLUMN, *by}) & self._layout.nullable)
        with self._connected(writing=True) as connection:  # in a transaction: groups are fetched little by little
            for column in self._columns:
                rows = self._statements.groups(connection, column, by=by, present=present)
                while (row := _next(rows)) is not None:
                    yield _group(keyring, dict(zip(by, row, strict=False)) | {COLUMN: column}, present, row[len(by) :])


class SqlClaim:
    """Rows that are locked: a `securekit.keyring` claim.

    Attributes:
        items: Their ciphertexts.
    """

    def __init__(self, items: Sequence[StoredItem], replace: Callable[[Sequence[tuple[StoredItem, bytes | str]]], list[bool]]) -> None:
        self.items = items
        self._replace = replace

    def replace(self, changes: Sequence[tuple[StoredItem, bytes | str]]) -> list[bool]:
        """Replace ciphertexts that are still as they were read; durable when the block ends."""
        return self._replace(changes)


def _next(rows: Iterator[T]) -> T | None:
    return translated(lambda: next(rows, None))


def _group(keyring: KeyringOf, about: Mapping[str, object], present: Sequence[str], counted: Sequence[Any]) -> Group:
    *are_null, prefix, items, size = counted
    path, faults = "", [f"{name} is NULL" for name, is_null in zip(present, are_null, strict=True) if is_null]
    try:
        path = keyring(about)
    except ValueError as error:
        faults = [str(error)]
    return Group(path, bytes(prefix) if isinstance(prefix, memoryview) else prefix, items, int(size), faults[0] if faults else "")


def _names(what: str, given: str | Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names or len(set(names)) < len(names):
        message = f"{what} must name one column or several, each once"
        raise ValueError(message)
    return names


def _keyring(template: KeyringTemplate | None, content: Content) -> KeyringOf | None:
    if content not in {"records", "envelopes"}:
        message = f'content must be "records" or "envelopes", not {content!r}'
        raise ValueError(message)
    if (template is None) != (content == "envelopes"):
        message = "records need keyring=, which tells where their keys are, and envelopes take none: they carry their key"
        raise ValueError(message)
    return None if template is None else KeyringOf(template)
