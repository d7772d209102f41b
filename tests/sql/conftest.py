# SPDX-License-Identifier: Apache-2.0
"""Databases for the tests of SQL: a schema of its own in a real PostgreSQL, and a file of SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa


@pytest.fixture
def schema(postgres: sa.URL, engine: sa.Engine) -> Iterator[sa.URL]:
    """Where an empty schema of PostgreSQL is, in which the test is alone."""
    name = f"test_{uuid4().hex}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield postgres.update_query_dict({"options": f"-csearch_path={name}"})
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> sa.URL:
    """Where an empty database is, of each kind."""
    if request.param == "sqlite":
        return sa.make_url(f"sqlite:///{tmp_path}/app.db")
    url: sa.URL = request.getfixturevalue("schema")
    return url
