# SPDX-License-Identifier: Apache-2.0
"""An application that reads and writes its customers without a pause: ``python service.py``, told by the environment where they are.

It ends when its standard input does, and prints how many requests it served and how many failed.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from typing import Any

import sqlalchemy as sa

from securekit import open_store
from securekit.keyring import Keyring

ACCOUNTS = 40


def context(number: int) -> dict[str, str]:
    """Return the context of a customer's bank account."""
    return {"table": "customers", "column": "iban", "id": str(number)}


def path(number: int) -> str:
    """Return where the keyring of a customer's account is."""
    return f"eu/a{number % ACCOUNTS}/customers"


class Service:
    """Requests of many kinds, one after the other."""

    def __init__(self) -> None:
        self._engine = sa.create_engine(os.environ["DATABASE_URL"])
        self._store = open_store()
        self._customers = int(os.environ["CUSTOMERS"])
        self._random = random.Random(os.getpid())
        self.served = self.written = self.failed = 0
        self.failures: list[str] = []

    def serve(self, ended: threading.Event) -> None:
        """Serve until the end."""
        while not ended.is_set():
            number = self._random.randrange(self._customers)
            try:
                self._request(number)
            except Exception as error:  # noqa: BLE001 - whatever it is, the customer has seen it
                self.failed += 1
                self.failures.append(f"{number}: {type(error).__name__}: {error}"[:300])
            self.served += 1

    def _request(self, number: int) -> None:
        ring = self._store.keyring(path(number))
        with self._engine.begin() as connection:
            if self._random.random() < 0.3:
                self._write(connection, ring, number)
                self.written += 1
            else:
                self._read(connection, ring, number)

    def _read(self, connection: Any, ring: Keyring, number: int) -> None:
        row = connection.execute(sa.text("select iban, version from customers where id = :id"), {"id": number}).one()
        if ring.decrypt(row.iban, context=context(number)) != f"IBAN of {number}, version {row.version}".encode():
            message = "another value than was written"
            raise ValueError(message)

    def _write(self, connection: Any, ring: Keyring, number: int) -> None:
        version = connection.execute(sa.text("select version from customers where id = :id for update"), {"id": number}).scalar_one() + 1
        record = ring.encrypt(f"IBAN of {number}, version {version}".encode(), context=context(number))
        connection.execute(
            sa.text("update customers set iban = :iban, version = :version where id = :id"),
            {"id": number, "version": version, "iban": record},
        )


def main() -> None:
    """Serve until standard input ends."""
    service = Service()
    ended = threading.Event()
    worker = threading.Thread(target=service.serve, args=(ended,))
    worker.start()
    sys.stdin.read()
    ended.set()
    worker.join()
    print(json.dumps({"served": service.served, "written": service.written, "failed": service.failed, "failures": service.failures[:5]}))  # noqa: T201


if __name__ == "__main__":
    main()
