"""Dagster's SQLite storage for a run in this process: the same files, written without waiting for each line.

Dagster opens a connection for every event and waits for the disk after each, which is most of what a small backup
costs (about 80 events). Here a connection is kept for the length of the run, and SQLite's write-ahead log is not
synced at every commit: a power cut may lose the last lines of a run's log, and harms neither the log nor, of course,
the backup. Other processes (the UI, the daemon) use Dagster's own classes on the same files at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

#: As Dagster has it: how long to wait for another process that writes.
_BUSY_SECONDS = 20


class _Engines:
    """One engine a database file; its pool keeps the connection that was used last."""

    def __init__(self) -> None:
        self._found: dict[str, Engine] = {}

    def of(self, address: str) -> Engine:
        if address not in self._found:
            self._found[address] = create_engine(
                address,
                poolclass=QueuePool,
                pool_size=1,
                connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            )
        return self._found[address]

    def close(self) -> None:
        for engine in self._found.values():
            engine.dispose()
        self._found.clear()


class _EventLog(SqliteEventLogStorage):
    def __init__(self, base_dir: str) -> None:
        self._engines = _Engines()
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engines.of(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with _at_ease(engine) as connection, connection.begin():
                yield connection

    def dispose(self) -> None:
        super().dispose()
        self._engines.close()


class _Runs(SqliteRunStorage):
    def __init__(self, conn_string: str, inst_data: Any = None) -> None:
        self._engines = _Engines()
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with _at_ease(self._engines.of(self._conn_string)) as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        super().dispose()
        self._engines.close()


@contextmanager
def _at_ease(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        if not connection.info.get("at_ease"):
            connection.execute(text("PRAGMA synchronous=NORMAL"))
            connection.commit()
            connection.info["at_ease"] = True
        yield connection


class LocalStorage(DagsterSqliteStorage):
    """Put in the place of Dagster's by `instance.open_instance`, never written into a dagster.yaml."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage.dispose()
        self._run_storage.dispose()
        self._event_log_storage = _EventLog(self._event_log_storage._base_dir)
        self._run_storage = _Runs(self._run_storage._conn_string)
