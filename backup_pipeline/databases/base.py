"""The contracts of an engine: its source, from which a backup is read, and its target, to which a backup goes back.
`backup_pipeline_tests/contracts/source_contract.py` and `target_contract.py` hold every engine to them.

A source reads; it never writes to the database that it protects, and it does not know the vault: what it
reads goes into a `Sink`. The life of a backup, seen from here:

    with source.snapshot(selection, options) as snapshot:   # one consistent moment, tables locked
        snapshot.schema, snapshot.left_out, snapshot.state  # what is there, what is not taken and why
        snapshot.ddl()                                      # the definitions, of the same moment
        snapshot.export(sink, baselines, …)                 # the rows, of the same moment

- Everything that a snapshot hands out is of one moment, also beside writers.
- Full fidelity or NotSupported, before a byte is stored.
- A connection that dies, a server that restarts: SourceUnavailable. A table that is dropped or altered
  between listing and locking: SourceChanged. Both are worth a new snapshot. A missing right is
  PermissionMissing, with the GRANT in the remedy, for every missing right at once.
- Nothing that a source says (errors, findings, details) contains a password.
- Each way out of the `with` block ends every session and worker that was begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.inventory import Inventory
from backup_pipeline.model.manifest import (
    EarlierImage,
    Engine,
    FileImage,
    LeftOut,
    ObjectRef,
    SequenceState,
    TableEntry,
)
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.model.selection import Selection

if TYPE_CHECKING:
    # Not loaded here, because a worker process that loads this module needs none of it.
    from backup_pipeline.databases.postgres.restore.terms import Terms
    from backup_pipeline.databases.restore_plan import RestorePlan, RestoreResult
    from backup_pipeline.vault.backup import Backup

#: Row text, one line a row, in COPY's text format.
ROWS_SUFFIX = ".tsv.zst"


class Sink(Protocol):
    """Where a source puts what it reads. It can be pickled into a worker process."""

    def write(self, blocks: Iterable[bytes], suffix: str, known: Sequence[ObjectRef] = ()) -> ObjectRef:
        """Store a stream as one object. If its plain content is that of a `known` object, nothing is
        stored and that reference is returned."""

    def write_file(
        self,
        path: Path,
        name: str,
        block_size: int,
        previous: EarlierImage | None,
        advanced: Callable[[int], None] = lambda _: None,
    ) -> FileImage:
        """Store a file as blocks; those that `previous` has are not stored again. `advanced` is told how many bytes are done."""


def unheard(_: str) -> None:
    """For callers who do not want to know what is waited for."""


@dataclass(frozen=True, slots=True)
class Options:
    workers: int = 2
    #: How much heap one chunk covers.
    chunk_bytes: int = 16 * 1024 * 1024
    #: Read everything, recognise nothing as unchanged.
    full: bool = False
    #: "refuse": a database with large objects is NotSupported · "exclude": left out and named in every report
    large_objects: str = "refuse"
    #: The source tells for which session it waits: a backup that stands still must say why.
    waiting: Callable[[str], None] = unheard


@dataclass(frozen=True, slots=True)
class Baseline:
    """What an earlier backup (or an interrupted one) holds of a table."""

    backup_id: str
    #: The identity of that backup's snapshot (`Snapshot.state`).
    state: Mapping[str, str]
    entry: TableEntry


@dataclass(frozen=True, slots=True)
class Export:
    tables: tuple[TableEntry, ...]
    sequences: tuple[SequenceState, ...] = ()
    image: FileImage | None = None
    findings: tuple[Finding, ...] = ()


class Snapshot(Protocol):
    @property
    def taken_at(self) -> datetime: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def schema(self) -> Schema:
        """Everything in the database, also what is left out of this backup."""

    @property
    def selected(self) -> tuple[TableId, ...]:
        """The tables whose rows this backup takes, in schema order."""

    @property
    def left_out(self) -> tuple[LeftOut, ...]: ...

    @property
    def state(self) -> dict[str, str]:
        """The identity of this snapshot in the live database; empty when nothing can be built on it."""

    @property
    def tools(self) -> dict[str, str]:
        """The programs that were used and their versions."""

    def ddl(self) -> tuple[tuple[str, str, bytes], ...]:
        """(section, made by, SQL text): "pre-data" and "post-data"."""

    def export(
        self,
        sink: Sink,
        *,
        baselines: Mapping[TableId, Baseline],
        previous: EarlierImage | None = None,
        listener: Listener = silent,
        journal: Callable[[TableEntry], None] = lambda _: None,
    ) -> Export:
        """Read every selected table. `journal` is told of chunks as they are finished (an entry that holds
        just those), so that an interrupted run need not read them again."""


class Source(Protocol):
    @property
    def engine_name(self) -> str: ...

    @property
    def address(self) -> str:
        """For people and reports; without a secret."""

    @property
    def location(self) -> str:
        """Where the database is, without the login. Two addresses with the same location mean the same database; nothing is
        asked for it, so another name of the same server is another location."""

    def inventory(self, selection: Selection) -> Inventory: ...

    def diagnose(self, selection: Selection) -> Report:
        """Can this be backed up as it should be? Every missing right, with its GRANT; every danger."""

    def refused(self, queries: Mapping[str, str]) -> dict[str, str]:
        """Of named queries: those that the database would not answer, and why. They are prepared, and not run."""

    def snapshot(self, selection: Selection, options: Options) -> AbstractContextManager[Snapshot]: ...

    def applied_migrations(self, tool: str) -> tuple[str, ...] | None:
        """What the tool's own table says was applied; None when there is no such table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    #: Make the target database, where the engine has a server that makes databases.
    create: bool = False
    jobs: int = 2
    #: Do all of the work, and keep nothing of it.
    dry_run: bool = False
    #: What is left out and what is forgiven. None: nothing.
    terms: Terms | None = None


class Target(Protocol):
    """A new or an empty database, to which a backup goes back.

    - `plan` writes nothing. Each reason against the restore is in `refused`, with its remedy.
    - `restore` does all or nothing: after an error or an interruption the target is as it was.
    - A target that holds rows is refused before a byte is written.
    """

    def plan(self, backup: Backup, options: RestoreOptions) -> RestorePlan: ...

    def restore(self, backup: Backup, options: RestoreOptions, listener: Listener) -> RestoreResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOptions:
    #: A server on which a database may be made and is dropped again. None: a private server is started.
    scratch_url: str | None = None
    #: Name → SQL that must return no row.
    invariants: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 2
    now: datetime | None = None
