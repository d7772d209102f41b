# SPDX-License-Identifier: Apache-2.0
"""What every test shares: Hypothesis' profile, slow tests only when asked for, what is measured, counts for the summary, no skips in CI."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.costs import untraced

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

    from tests.openbao import OpenBao

# With it in their environment, coverage measures the processes that tests start, which takes each of them 0.2 s and more.
_MEASURING = "COVERAGE_PROCESS_CONFIG"
_measuring = os.environ.pop(_MEASURING, None)

_left_out = pytest.StashKey[int]()
_counts = pytest.StashKey[Counter[str]]()

# Derandomised, so that a failure in one run is a failure in the next; without deadlines, since machines are shared.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
# For a long search by hand: uv run pytest --hypothesis-profile=explore
settings.register_profile("explore", max_examples=10_000, deadline=timedelta(seconds=10))
settings.load_profile("ci")


# Programs that tests run and that no Python package brings, with Debian's package of each; .ci/run installs them.
PROGRAMS = {"openssl": "openssl", "ssh-keygen": "openssh-client", "strace": "strace"}


class Count(Protocol):
    """Adds to a number that the summary of the run prints."""

    def __call__(self, what: str, number: int, /) -> None: ...


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """Report how much a test tried, such as ``count("bit flips refused", 4096)``; equal names are added up."""
    counts = request.config.stash.setdefault(_counts, Counter())

    def add(what: str, number: int, /) -> None:
        counts[what] += number

    return add


@pytest.fixture(scope="session")
def bao() -> Iterator[OpenBao]:
    """A real server of Vault's API that tests share: none of them seals or kills it."""
    from tests.openbao import running

    with running() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """Where a real PostgreSQL is that tests share: none of them stops it."""
    from sqlalchemy import URL

    from tests.postgres import running_postgres

    with running_postgres() as variables:
        host, user, database = (variables[name] for name in ("PGHOST", "PGUSER", "PGDATABASE"))
        yield URL.create("postgresql+psycopg", username=user, database=database, query={"host": host})


@pytest.fixture(scope="session")
def engine(postgres: URL) -> Iterator[Engine]:
    """A pool of connections to it."""
    from sqlalchemy import create_engine

    engine = create_engine(postgres, pool_size=20)
    yield engine
    engine.dispose()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    config.stash[_left_out] = len(slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with _processes_measured() if item.get_closest_marker("measured") else nullcontext():
        return (yield)


@contextmanager
def _processes_measured() -> Iterator[None]:
    if _measuring is not None:
        os.environ[_MEASURING] = _measuring
    try:
        yield
    finally:
        os.environ.pop(_MEASURING, None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with _skipped_without_programs():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with _skipped_without_programs(), untraced() if item.get_closest_marker("repetitive") else nullcontext():
        yield


@contextmanager
def _skipped_without_programs() -> Iterator[None]:
    """Skip a test that needs a program of the system which is not there: `uv run pytest` needs nothing but Python and uv."""
    try:
        yield
    except FileNotFoundError as error:
        if error.filename in PROGRAMS:
            pytest.skip(f"{error.filename} is not installed; on Debian: apt-get install {PROGRAMS[error.filename]}")
        raise


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, number in sorted(config.stash.get(_counts, Counter()).items()):
        terminalreporter.write_line(f"{number:>9,} {what}")
    left_out = config.stash.get(_left_out, 0)
    if left_out:
        terminalreporter.write_line(f"{left_out:>9,} slow tests left out; --slow runs them")
    if _skips_count(config) and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("skipped tests fail a run in CI", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _skips_count(session.config) and reporter and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips_count(config: pytest.Config) -> bool:
    """In CI, everything that a test needs is there: a skip would hide that something is not."""
    return os.environ.get("CI") == "true" and not config.option.collectonly
