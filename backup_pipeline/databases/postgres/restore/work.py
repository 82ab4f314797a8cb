"""One restore under way: what it has to do, what it has done, and what is to be said of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

from backup_pipeline.databases.postgres.restore.definitions import Facts
from backup_pipeline.databases.postgres.restore.preflight import Prepared
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.databases.postgres.restore.undo import Made
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import Advance, Listener, Phase
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.backup import Backup


@dataclass
class Work:
    """One restore under way."""

    backup: Backup
    prepared: Prepared
    listener: Listener
    #: In this very database; the schemas and extensions of the plan may have been another's.
    facts: Facts
    dry_run: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    #: What has been committed, so that it can be taken back.
    made: Made = field(default_factory=Made)
    roles: list[str] = field(default_factory=list)

    #: A session of the superuser, where the target's login is none and the source is not trusted.
    superuser: Connection | None = None

    @property
    def manifest(self) -> Manifest:
        return self.backup.manifest

    def noting(self, connection: Connection) -> AbstractContextManager[None]:
        """A transaction. With two logins each statement is one: the other login must see it, and must not wait for it."""
        return self.made.noting(connection) if self.superuser is None else nullcontext()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begin

    def moved(self, table: TableId, count: int, size: int) -> None:
        self.rows += count
        self.bytes += size
        total_rows, total_bytes = self.totals
        self.listener(
            Advance("load", str(table), count, size, total_rows=total_rows, total_bytes=total_bytes)
        )

    @cached_property
    def totals(self) -> tuple[int, int]:
        return self.prepared.plan.rows, self.prepared.plan.bytes

    def take(self, found: Iterable[Finding | Left]) -> None:
        for one in found:
            if isinstance(one, Left):
                self.left.append(one)
            else:
                self.findings.append(one)

    def say(self, phase: Phase, subject: str) -> None:
        self.listener(Advance(phase, subject))

    @property
    def analyzed(self) -> list[TableId]:
        """Every table: also partitioned ones, which the server's autovacuum never looks at."""
        return [table.id for table in self.prepared.schema.tables if table.kind != "foreign"]
