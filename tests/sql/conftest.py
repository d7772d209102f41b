# SPDX-License-Identifier: Apache-2.0
"""Databases for the tests of this folder: SQLite and PostgreSQL, each with a table, or a schema, that no other test uses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import URL, Engine, MetaData, Table, create_engine, make_url

from securekit.sql import SqlKeyStore, keyring_table
from tests.keyring.parts import LOCAL
from tests.postgres import Postgres, stoppable_postgres


@dataclass(frozen=True, slots=True)
class Place:
    """A database as a user has it: a URL, an engine of the user's own, and the name of the table."""

    url: str
    engine: Engine
    table: Table

    @property
    def name(self) -> str:
        return self.table.name

    def store(self, database: Any = None, **options: Any) -> SqlKeyStore:
        """Return a store of its own engine, or of what is given."""
        return SqlKeyStore(self.url if database is None else database, table=self.name, **{"wrapper": LOCAL, **options})


def _table() -> Table:
    return keyring_table(MetaData(), f"keyrings_{time.monotonic_ns()}")


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Place]:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    engine = create_engine(url)
    place = Place(url, engine, _table())
    place.store().create_schema()
    yield place
    engine.dispose()


@pytest.fixture
def postgresql(engine: Engine) -> Place:
    place = Place(engine.url.render_as_string(hide_password=False), engine, _table())
    place.store(engine).create_schema()
    return place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server of the module's own, to be stopped and started again."""
    with stoppable_postgres() as postgres:
        yield postgres


@pytest.fixture
def schema(postgres: URL, engine: Engine) -> Iterator[URL]:
    """Where an empty schema of PostgreSQL is, in which the test is alone."""
    name = f"test_{uuid4().hex}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield postgres.update_query_dict({"options": f"-csearch_path={name}"})
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """Where an empty database of an application is, of each kind."""
    if request.param == "sqlite":
        return make_url(f"sqlite:///{tmp_path}/app.db")
    url: URL = request.getfixturevalue("schema")
    return url
