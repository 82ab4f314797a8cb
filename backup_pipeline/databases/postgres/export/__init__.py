"""PostgreSQL 13 to 18: one snapshot, read by worker processes in COPY's text format.

Belongs here: one file a job. `source` is the contract's implementation, and `export` the conductor. `session` opens
reading sessions, `connect` has addresses and errors. `catalog` has the queries; `inspect` and `objects` turn the
catalog into the model. `rights` checks the login's rights. `snapshot` is the transaction, `chunks` their ranges,
`unchanged` the rule that spares reading. `copyout` and `reading` take one chunk, `worker` is the process. `ddl` runs
pg_dump, and `reflection` replaces it. `applied` reads migrations, `doctor` is the diagnosis. Not here: writing to a
database (`restore`), and the vault, which a source never learns.

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
