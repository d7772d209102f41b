# SPDX-License-Identifier: Apache-2.0
"""A rotation of sealed files, a keystore or a table, here or in a process of its own: ``python fault_work.py FOLDER WHAT``.

The calls between the two marks are those of the rotation itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from securekit import rotation
from securekit.envelope import Envelope
from securekit.exceptions import SecureKitError
from securekit.keyring import FileKeyStore
from securekit.sql import SqlColumns
from securekit.wrappers import LocalWrapper

OLD, NEW = LocalWrapper(b"\1" * 32), LocalWrapper(b"\2" * 32)
FILES = 20
PATH = "eu/acme/customers"


def make(folder: Path, *, files: int = FILES, rows: int = 40) -> None:
    """Make sealed files, a store with two keyrings under the old KEK, and a table of records, of which the keyring was rotated."""
    import sqlite3

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    for number in range(files):
        with Envelope(OLD).open_writer(folder / f"files/{number:05}.sk", context={}) as writer:
            writer.write(f"file {number}".encode())
    store = FileKeyStore(folder / "keys", wrapper=OLD)
    store.keyring("eu/acme/orders", create=True)
    ring = store.keyring(PATH, create=True)
    with contextlib.closing(sqlite3.connect(folder / "table.db")) as database, database:
        database.execute("create table customers (id integer primary key, iban blob)")
        for number in range(rows):
            record = ring.encrypt(f"row {number}".encode(), context={"id": str(number)})
            database.execute("insert into customers values (?, ?)", (number, record))
    ring.rotate()


def rotate(folder: Path, what: str = "") -> None:
    """Rewrap the files and the keyrings to the new KEK, and move the records to the primary; or only ``what`` of these."""
    store = FileKeyStore(folder / "keys", wrapper=NEW, also_open=OLD)
    columns = SqlColumns(f"sqlite:///{folder}/table.db", table="customers", key="id", columns="iban", keyring=PATH, context={"id": "{id}"})
    plans: dict[str, Callable[[], rotation.Plan]] = {
        "files": lambda: rotation.plan(rotation.SealedFiles(folder / "files"), envelope=Envelope(NEW, also_open=[OLD])),
        "keyrings": lambda: rotation.plan(store),
        "rows": lambda: rotation.plan(columns, store=store),
    }
    for name in [what] if what else plans:
        report = rotation.run(plans[name](), journal=folder / f"{name}.journal", batch=7, patience=0)
        if report.failed or report.busy:
            message = "; ".join(f"{failure.item}: {failure.reason}" for failure in report.failures)
            raise OSError(5, message)


def mark(name: str) -> None:
    """Leave a line in the log of system calls."""
    with contextlib.suppress(FileNotFoundError):
        os.open(f"/{name} of the work", os.O_RDONLY)


if __name__ == "__main__":
    _, folder, what = sys.argv
    mark("begin")
    try:
        rotate(Path(folder), what)
    except (OSError, SecureKitError) as error:
        with contextlib.suppress(OSError):  # which may be what fails
            os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(3)
    mark("end")
