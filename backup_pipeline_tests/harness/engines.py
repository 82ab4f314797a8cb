"""Real database engines for tests: throw-away PostgreSQL servers, fresh databases in them, SQLite files.

Servers are started when the first test asks, once per test process (with pytest-xdist: once per worker), and
are gone when it ends, however it ends. Databases are cheap (about 60 ms) and belong to one test.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import pytest

from backup_pipeline.databases.postgres import server as embedded
from backup_pipeline.databases.postgres.server import EmbeddedPostgres

#: Set by `make test-versions` (more_servers.py): every test that can choose its server takes this major.
MAJOR_VARIABLE = "BACKUP_PIPELINE_TEST_MAJOR"
_ONLY = tuple(int(major) for major in os.environ.get(MAJOR_VARIABLE, "").split())
#: Every major version that can be run on this machine, oldest first.
MAJORS: tuple[int, ...] = tuple(sorted(embedded.servers()))
#: The two ends of it: what passes on both usually passes between them.
ENDS: tuple[int, ...] = _ONLY or tuple(dict.fromkeys(MAJORS[:1] + MAJORS[-1:]))
#: The major of `pg_server`, for tests that need a server to themselves.
NEWEST: int | None = ENDS[-1] if ENDS else None

_database_numbers = itertools.count(1)


class Servers(Mapping[int, EmbeddedPostgres]):
    """major → server, started at the first look."""

    def __init__(self) -> None:
        self._running: dict[int, EmbeddedPostgres] = {}
        self._stack = contextlib.ExitStack()

    def __getitem__(self, major: int) -> EmbeddedPostgres:
        if major not in MAJORS:
            raise KeyError(major)
        if major not in self._running:
            self._running[major] = self._stack.enter_context(EmbeddedPostgres.create(major=major))
        return self._running[major]

    def __iter__(self) -> Iterator[int]:
        return iter(MAJORS)

    def __len__(self) -> int:
        return len(MAJORS)

    def close(self) -> None:
        self._stack.close()
        self._running.clear()


class MakePgDatabase(Protocol):
    def __call__(self, name: str | None = None, *, server: EmbeddedPostgres | None = None) -> str: ...


class MakeSqliteFile(Protocol):
    def __call__(self, name: str = "app.sqlite3", *, script: str = "") -> Path: ...


@pytest.fixture(scope="session")
def pg_servers() -> Iterator[Servers]:
    """Every major version on this machine; each server starts when it is asked for."""
    if not MAJORS:
        pytest.skip(f"no PostgreSQL server on this machine: {embedded.INSTALL}")
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def pg_server(pg_servers: Servers) -> EmbeddedPostgres:
    """A running server of the newest major version. Do not stop it: other tests use it."""
    assert NEWEST is not None
    return pg_servers[NEWEST]


@pytest.fixture(scope="session", params=ENDS, ids=lambda major: f"pg{major}")
def pg_major_server(request: pytest.FixtureRequest, pg_servers: Servers) -> EmbeddedPostgres:
    """Runs the test twice: on the oldest and on the newest major version there is."""
    return pg_servers[request.param]


@pytest.fixture
def make_pg_database(request: pytest.FixtureRequest) -> Iterator[MakePgDatabase]:
    """A factory of empty databases, on `pg_server` unless told; all are dropped after the test."""
    made: list[tuple[EmbeddedPostgres, str]] = []

    def make(name: str | None = None, *, server: EmbeddedPostgres | None = None) -> str:
        on: EmbeddedPostgres = server or request.getfixturevalue("pg_server")
        name = name or f"test_{next(_database_numbers)}"
        url = on.create_database(name)
        made.append((on, name))
        return url

    yield make
    for server, name in made:
        if server.pid is not None:
            server.drop_database(name)


@pytest.fixture
def pg_database(make_pg_database: MakePgDatabase) -> str:
    """The URL of an empty database on the newest server."""
    return make_pg_database()


@pytest.fixture
def pg_major_database(pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase) -> str:
    """The URL of an empty database; the test runs on the oldest and on the newest major version."""
    return make_pg_database(server=pg_major_server)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that cannot be read is asked again at once, as many times as ever."""
    monkeypatch.setattr("backup_pipeline.databases.patience.time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def sqlite_file(tmp_path: Path) -> MakeSqliteFile:
    """A factory of paths for SQLite databases; with a `script` the file exists and has been filled by it."""

    def make(name: str = "app.sqlite3", *, script: str = "") -> Path:
        path = tmp_path / name
        if script:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.executescript(script)
        return path

    return make


def wait_for(condition: Callable[[], bool], *, seconds: float = 10.0) -> bool:
    """Whether `condition` came true in time. For what another process does; never for our own code."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
