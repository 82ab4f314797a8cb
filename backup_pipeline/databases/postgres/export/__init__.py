"""PostgreSQL 13 to 18: one snapshot, read by worker processes in COPY's text format.

One file, one job: `session` what every reading session looks like, `connect` addresses and errors, `catalog` the
queries, `inspect` and `objects` catalog → model, `rights` what we may read, `snapshot` the transaction, `plan`
chunks, `unchanged` the rule that spares reading, `copyout` and `reading` one chunk, `worker` what a process does,
`export` the conductor, `source` what is offered to the rest, `applied` migrations, `ddl` pg_dump, `reflection` what replaces it, `doctor` the diagnosis.

The driver is psycopg2: its COPY loop hands rows to a C buffer and spends half the time that psycopg 3 does
(1.5 M short rows: 0.32 s against 0.65 s, and a `psql` pipe at 0.42 s).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backup_pipeline.databases.postgres.export.session import session_settings

if TYPE_CHECKING:
    from backup_pipeline.databases.postgres.export.source import PostgresSource

__all__ = ["PostgresSource", "session_settings"]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: a worker process needs a third of this package, and starts in a third of the time.
    if name == "PostgresSource":
        from backup_pipeline.databases.postgres.export.source import PostgresSource

        return PostgresSource
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
