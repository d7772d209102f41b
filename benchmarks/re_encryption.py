# SPDX-License-Identifier: Apache-2.0
"""Re-encryption: records of a table move to a new primary, beside the same reads, compare-and-swap writes and read-back in psycopg."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from sqlalchemy import URL

from benchmarks.ratio import Ratio, compare, show
from securekit import LocalWrapper, MemoryKeyStore, rotation
from securekit.keyring import Keyring
from securekit.sql import SqlColumns
from tests.postgres import running_postgres

ROWS = 100_000
BATCH = 500
PLAINTEXT = b"DE89 3704 0044 0532 0130 00"
PATH = "eu/acme/customers"

_PAGE = "SELECT id, octet_length(iban) FROM {} WHERE id > %s AND iban IS NOT NULL ORDER BY id LIMIT %s"
_CLAIM = "SELECT id, iban FROM {} WHERE id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED"
_SWAP = (
    "UPDATE {} AS c SET iban = n.new FROM unnest(%s::int[], %s::bytea[], %s::bytea[]) AS n(id, old, new)"
    " WHERE c.id = n.id AND c.iban = n.old RETURNING c.id"
)
_BACK = "SELECT id, iban FROM {} WHERE id = ANY(%s)"


class Table:
    """A table of customers with one encrypted column."""

    def __init__(self, variables: dict[str, str], name: str, rows: int) -> None:
        self._where = {"host": variables["PGHOST"], "user": variables["PGUSER"], "dbname": variables["PGDATABASE"]}
        query = {"host": variables["PGHOST"]}
        self.url = URL.create("postgresql+psycopg", username=variables["PGUSER"], database=variables["PGDATABASE"], query=query)
        self.name, self.rows = name, rows
        self.store = MemoryKeyStore(wrapper=LocalWrapper(os.urandom(32)))
        self.ring: Keyring = self.store.keyring(PATH, create=True)
        self.size = len(self.ring.encrypt(PLAINTEXT, context={"id": "0"}))
        with psycopg.connect(**self._where) as connection, connection.cursor() as cursor:  # type: ignore[arg-type]
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
            cursor.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, iban bytea)")
            with cursor.copy(f"COPY {name} FROM STDIN") as copy:
                for number in range(rows):
                    copy.write_row((number, self.ring.encrypt(PLAINTEXT, context={"id": str(number)})))

    def re_encrypt(self, folder: Path, workers: int = 1) -> None:
        """Rotate, and move every record."""
        self.ring.rotate()
        source = SqlColumns(self.url, table=self.name, key="id", columns="iban", keyring=PATH, context={"id": "{id}"})
        plan = rotation.plan(source, store=self.store)
        report = rotation.run(plan, journal=folder / os.urandom(8).hex(), workers=workers, batch=BATCH)
        assert (report.changed, report.failed) == (self.rows, 0)

    def replace(self) -> None:
        """Do the same with random bytes of the same size."""
        page, claim, swap, back = (text.format(self.name) for text in (_PAGE, _CLAIM, _SWAP, _BACK))
        after, changed = -1, 0
        with psycopg.connect(**self._where) as connection, connection.cursor() as cursor:  # type: ignore[arg-type]
            while places := cursor.execute(page, (after, BATCH)).fetchall():
                connection.commit()
                ids = [number for number, _ in places]
                rows = cursor.execute(claim, (ids,)).fetchall()
                new = [os.urandom(self.size) for _ in rows]
                changed += len(cursor.execute(swap, ([number for number, _ in rows], [old for _, old in rows], new)).fetchall())
                connection.commit()
                there: dict[int, bytes] = dict(cursor.execute(back, (ids,)).fetchall())
                assert all(there[number] == data for (number, _), data in zip(rows, new, strict=True))
                connection.commit()
                after = ids[-1]
        assert changed == self.rows


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    with TemporaryDirectory() as name, running_postgres() as variables:
        folder = Path(name)
        records, bytes_ = Table(variables, "records", ROWS), Table(variables, "bytes", ROWS)
        for workers in (1, 2):
            yield compare(
                partial(records.re_encrypt, folder, workers),
                bytes_.replace,
                name=f"re-encrypting {ROWS:,} rows, {workers} worker{'s' if workers > 1 else ''}; the same statements, bare psycopg",
                goal=2.0,
                rounds=5,
                number=1,
                items=ROWS,
            )
        few, many, most = (Table(variables, name, rows) for name, rows in (("few", ROWS // 10), ("many", ROWS), ("most", ROWS * 10)))
        for more, fewer, rounds in ((many, few, 5), (most, many, 3)):
            yield compare(
                partial(more.re_encrypt, folder),
                partial(fewer.re_encrypt, folder),
                name=f"the same, {more.rows:,} rows; {fewer.rows:,} rows",
                goal=10.5,
                rounds=rounds,
                number=1,
            )
        yield Ratio(
            name="memory that Python allocates at most meanwhile, 100,000 rows; 64 MiB",
            subject=_peak(partial(many.re_encrypt, folder)),
            reference=64 * 1024 * 1024,
            goal=1.0,
            unit="bytes",
        )


def _peak(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    show(*measure())
