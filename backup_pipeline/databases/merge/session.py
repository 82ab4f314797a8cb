"""What an engine gives a merge: one connection in one transaction, a place for staging, and its own ways of doing things.

The steps are SQLAlchemy Core on `connection`. A statement that one engine writes otherwise is a construct of
`constructs`, compiled for each dialect. Only what SQL cannot say the same way is a method here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import Schema, TableId

if TYPE_CHECKING:
    import sqlalchemy as sa

    from backup_pipeline.databases.merge.asked import Triggers
    from backup_pipeline.databases.merge.images import Keeper
    from backup_pipeline.databases.merge.plan import Rejected
    from backup_pipeline.vault.backup import Backup


@dataclass(frozen=True, slots=True)
class Staged:
    """The columns of a staging table: those of the backup, in its order, and the type that each has there."""

    table: TableId
    #: In the backup.
    columns: tuple[str, ...]
    #: In SQL of the engine: `character varying(20)`, `public.citext`; "" is its type for text.
    types: tuple[str, ...]
    #: In the staging schema. Its columns are n, c0, c1 …; n numbers the rows from 1.
    name: str


@dataclass(frozen=True, slots=True)
class Filled:
    rows: int
    #: Rows that do not fit the types of the target; they are not in staging.
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What a merge remembers in its target; nothing without a lineage and without an id."""

    #: Of the database that the backup was made of: one map for all of its backups.
    lineage: str = ""
    #: Of the record.
    restore_id: str = ""
    #: Until when the restore can be undone, as 2026-12-30T00:00:00Z; "": for ever.
    until: str = ""


#: Rows inserted, updated and deleted.
Counts = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Counted:
    total: int
    #: Empty where the engine counts all tables together.
    tables: Mapping[TableId, Counts] = field(default_factory=dict)


class Session(Protocol):
    @property
    def connection(self) -> sa.Connection: ...

    @property
    def staging(self) -> str:
        """The schema of staging tables; a temporary one, gone with the session."""

    @property
    def schema(self) -> Schema:
        """Of the target, as the transaction sees it."""

    @property
    def address(self) -> str: ...

    @property
    def state(self) -> Mapping[str, str]:
        """What tells one database from another; empty where the engine cannot say. As `Manifest.state` keeps it."""

    def row_name(self, table: TableId) -> str:
        """The column that names a row where the table has no primary key: ctid, rowid."""

    def stage(self, backup: Backup, staged: Staged, listener: Listener) -> Filled:
        """Make the staging table and fill it."""

    def fill(self, staged: Staged, blocks: Iterable[bytes]) -> int:
        """Make a staging table and fill it with row text that `out` gave; the number of rows."""

    def fresh(self, table: TableId, target: sa.FromClause) -> sa.ColumnElement[bool]:
        """Of rows without a key: those that this transaction has created since `ready_to_write`."""

    def own_table(self, name: str) -> tuple[str, str]:
        """Schema and name of a table that a merge leaves in the target: see `databases/own_names`."""

    def has_own_place(self) -> bool:
        """Whether such tables, where they are there, are of merges and not of the application."""

    def make_own_place(self) -> str:
        """Make the schema of such tables, where the engine has schemas; why it cannot be made, or ""."""

    def analyze(self, name: str) -> None:
        """Statistics of a table in the staging schema, where the planner needs them."""

    def lock(self, tables: Sequence[TableId], *, waiting: float) -> None:
        """Until the end: no other session writes to these tables. Readers go on. Raises after so many seconds."""

    def locks(self, rows: Mapping[TableId, int]) -> tuple[str, ...]:
        """What a merge holds until its end that writes so many rows into each table, for people. Nothing is changed."""

    def hindrances(self, tables: Sequence[TableId]) -> tuple[Finding, ...]:
        """What keeps this login from writing to these tables: missing rights, row security. For a plan; nothing is changed."""

    def ready_to_write(self, tables: Sequence[TableId], triggers: Triggers) -> tuple[Finding, ...]:
        """Deferred foreign keys, triggers. Raises where something hinders. What could not be done as asked is told."""

    def written(self) -> None:
        """After the last write: deferred constraints are checked, and triggers are as they were."""

    def checked(self) -> None:
        """Each deferred constraint holds now; a data error else."""

    def fast(self, rows: Mapping[TableId, int]) -> AbstractContextManager[None]:
        """So many rows are created or updated in each table inside the block. Where they are many, foreign keys may be
        checked all at once at its end."""

    def next_keys(self, table: TableId, column: str, *, above: int) -> sa.ColumnElement[int] | None:
        """An expression that gives an unused key above this number for each row that it is evaluated for (nextval); None:
        take the numbers after it."""

    def raise_sequences(self, tables: Sequence[TableId]) -> tuple[Finding, ...]:
        """So that the next INSERT of the application works. Sequences only move up. One at its end is told."""

    def counted(self) -> Counted:
        """The rows that this transaction has written, by the engine's own counters. Rows of a savepoint that was taken back
        are counted as well."""

    def write_together(self, statements: Sequence[sa.Executable]) -> None:
        """The INSERTs, or the DELETEs, of a circle of tables: foreign keys are checked after the last of them."""

    def out(self, query: sa.Select[tuple[object, ...]]) -> Iterator[bytes]:
        """Rows as row text of this engine, as a backup keeps them."""

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    #: Only counts: no lock is taken, and no row of the target can be changed.
    read_only: bool = False
    #: Seconds to wait for locks.
    waiting: float = 60.0
    listener: Listener = silent
    #: Keeps the touched rows, before and after; None: nothing is kept.
    keeper: Keeper | None = None
    #: None: nothing is remembered, and nothing is looked up.
    memory: Memory | None = None
    #: Where rejected rows are written.
    rejects: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


class Opening(Protocol):
    """How an engine opens the session of a merge: the entry of `databases/engines.py`."""

    def __call__(self, url: str, options: SessionOptions) -> AbstractContextManager[Session]: ...
