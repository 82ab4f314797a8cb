"""The session of a merge into a SQLite file. The backup's own file is attached, so staging is an INSERT … SELECT."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from backup_pipeline.databases.merge.session import Counted, Filled, SessionOptions, Staged
from backup_pipeline.databases.own_names import OWN_PREFIX
from backup_pipeline.databases.sqlite.export.address import file_of
from backup_pipeline.databases.sqlite.export.explaining import explain, explained, told
from backup_pipeline.databases.sqlite.export.inspection import inspect
from backup_pipeline.databases.sqlite.export.opening import check_file, check_library
from backup_pipeline.databases.sqlite.export.rows import (
    BATCH,
    Value,
    as_lines,
    from_lines,
    quoted,
    rowid_name,
)
from backup_pipeline.databases.sqlite.restore import image_of
from backup_pipeline.errors import Damaged, RowsRefused
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.processes.scratch import Scratch

if TYPE_CHECKING:
    from backup_pipeline.databases.merge.asked import Triggers
    from backup_pipeline.vault.backup import Backup

_DAMAGED = "`verify` says whether the backup is whole; restore another one"
_STAGING = "bp_stage"
_BACKUP = "bp_backup"


@dataclass(frozen=True, slots=True)
class Trigger:
    name: str
    table: str
    text: str


def _told(code: str, triggers: Sequence[Trigger]) -> Iterator[Finding]:
    for table in dict.fromkeys(one.table for one in triggers):
        names = ", ".join(f"trigger {one.name}" for one in triggers if one.table == table)
        yield Finding.of(code, table=TableId("main", table), names=names)


@dataclass
class SqliteSession:
    connection: sa.Connection
    raw: sqlite3.Connection
    path: Path
    options: SessionOptions
    stack: ExitStack
    staging: str = _STAGING
    state: Mapping[str, str] = field(default_factory=dict)
    _attached: str = ""
    _disabled: tuple[str, ...] = ()
    #: The highest row of tables without a key, before the first write.
    _last: dict[TableId, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"sqlite:///{self.path}"

    @cached_property
    def schema(self) -> Schema:
        with explained(self.path):
            return inspect(self.raw).schema

    def row_name(self, table: TableId) -> str:
        return rowid_name(self.raw, table.name) or "rowid"

    def stage(self, backup: Backup, staged: Staged, listener: Listener) -> Filled:
        self._attach(backup)
        name = f"{_STAGING}.{quoted(staged.name)}"
        # SQLite compares by the collation of the left side: staged rows have that of the target.
        known = self.schema.table(staged.table)
        collations = (
            {one.name: f" COLLATE {one.collation}" for one in known.columns if one.collation} if known else {}
        )
        columns = "".join(
            f", c{at} {kind}{collations.get(name, '')}"
            for at, (name, kind) in enumerate(zip(staged.columns, staged.types, strict=True))
        )
        with explained(self.path):
            self.raw.execute(f"CREATE TABLE {name} (n INTEGER PRIMARY KEY{columns})")
            into = ", ".join(f"c{at}" for at in range(len(staged.columns)))
            what = ", ".join(map(quoted, staged.columns))
            self._demand_rows(staged)
            table = f"{_BACKUP}.{quoted(staged.table.name)}"
            if staged.columns:
                filled = self.raw.execute(f"INSERT INTO {name} ({into}) SELECT {what} FROM {table}").rowcount
            else:
                filled = self.raw.execute(f"INSERT INTO {name} (n) SELECT NULL FROM {table}").rowcount
        listener(Advance("load", str(staged.table), rows=filled))
        entry = backup.manifest.table(staged.table)
        if entry is None or entry.rows != filled:
            said = "no rows" if entry is None else f"{entry.rows:,} rows"
            raise Damaged(
                f"{staged.table}: the file of the backup has {filled:,} rows, and the manifest says {said}",
                remedy=_DAMAGED,
            )
        return Filled(filled)

    def _demand_rows(self, staged: Staged) -> None:
        """A view or a virtual table in the place of a table would run what its maker wrote."""
        found = self.raw.execute(
            f"SELECT 1 FROM {_BACKUP}.sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = ?",
            (staged.table.name,),
        ).fetchone()
        if found is None:
            raise Damaged(f"{staged.table}: the file of the backup has no such table", remedy=_DAMAGED)

    def _attach(self, backup: Backup) -> None:
        if self._attached == backup.id:
            return
        image = self.stack.enter_context(backup.door.image(image_of(backup.manifest)))
        with explained(image):
            self.raw.execute(f"ATTACH ? AS {_BACKUP}", (f"{image.absolute().as_uri()}?mode=ro&immutable=1",))
        self._attached = backup.id

    def fill(self, staged: Staged, blocks: Iterable[bytes]) -> int:
        name = f"{_STAGING}.{quoted(staged.name)}"
        columns = "".join(f", c{at} {quoted(kind) if kind else ''}" for at, kind in enumerate(staged.types))
        places = ", ".join("?" for _ in staged.columns)
        into = ", ".join(f"c{at}" for at in range(len(staged.columns)))
        with explained(self.path):
            self.raw.execute(f"CREATE TABLE {name} (n INTEGER PRIMARY KEY{columns})")
            rows = from_lines(blocks, staged.types)
            return self.raw.executemany(f"INSERT INTO {name} ({into}) VALUES ({places})", rows).rowcount

    def fresh(self, table: TableId, target: sa.FromClause) -> sa.ColumnElement[bool]:
        return target.c[self.row_name(table)] > self._last.get(table, 0)

    def own_table(self, name: str) -> tuple[str, str]:
        return "main", OWN_PREFIX + name

    def has_own_place(self) -> bool:
        return True

    def make_own_place(self) -> str:
        return ""

    def analyze(self, name: str) -> None:
        """SQLite plans by its indexes; statistics of a staging table change nothing."""

    def lock(self, tables: Sequence[TableId], *, waiting: float) -> None:
        """The transaction was begun as a writing one: no other session writes to the file."""

    def ready_to_write(self, tables: Sequence[TableId], triggers: Triggers) -> tuple[Finding, ...]:
        for table in tables:
            if (described := self.schema.table(table)) and not described.primary_key:
                row, name = quoted(self.row_name(table)), quoted(table.name)
                last = self.raw.execute(f"SELECT max({row}) FROM main.{name}").fetchone()[0]
                self._last[table] = last or 0
        found = self._triggers({table.name.lower() for table in tables})
        off = [one for one in found if triggers == "off" or (triggers == "auto" and not self._indexes(one))]
        for one in off:
            self.raw.execute(f"DROP TRIGGER main.{quoted(one.name)}")
        self._disabled = tuple(one.text for one in off)
        fire = [one for one in found if one not in off]
        return (*_told("triggers-off", off), *_told("triggers-fire", fire))

    def _triggers(self, tables: set[str]) -> list[Trigger]:
        rows = self.raw.execute(
            "SELECT name, tbl_name, sql FROM main.sqlite_master WHERE type = 'trigger' ORDER BY rowid"
        ).fetchall()
        return [Trigger(*row) for row in rows if row[1].lower() in tables]

    def _indexes(self, trigger: Trigger) -> bool:
        """It keeps a search index: without it the index would not have the rows."""
        virtual = {table.id.name.lower() for table in self.schema.tables if table.kind == "virtual"}
        words = set(re.findall(r"\w+", trigger.text.lower()))
        return any(set(re.findall(r"\w+", name)) <= words for name in virtual)

    def written(self) -> None:
        for text in self._disabled:
            self.raw.execute(text)
        self._disabled = ()

    def next_keys(self, table: TableId, column: str, *, above: int) -> sa.ColumnElement[int] | None:
        return None

    def raise_sequences(self, tables: Sequence[TableId]) -> tuple[Finding, ...]:
        """An INSERT with a rowid moves the counter of AUTOINCREMENT by itself."""
        return ()

    def locks(self, rows: Mapping[TableId, int]) -> tuple[str, ...]:
        return ("the file, against other writers",)

    def hindrances(self, tables: Sequence[TableId]) -> tuple[Finding, ...]:
        return ()

    def counted(self) -> Counted:
        return Counted(self.raw.total_changes)

    def fast(self, rows: Mapping[TableId, int]) -> nullcontext[None]:
        return nullcontext()

    def write_together(self, statements: Sequence[sa.Executable]) -> None:
        for statement in statements:
            self.connection.execute(statement)

    def checked(self) -> None:
        """The commit checks the foreign keys, because they are deferred."""

    def out(self, query: sa.Select[tuple[object, ...]]) -> Iterator[bytes]:
        kinds = [column.type.compile(self.connection.dialect) for column in query.selected_columns]
        found = self.connection.execution_options(yield_per=BATCH).execute(query)
        for rows in found.partitions():
            yield as_lines([cast(tuple[Value, ...], tuple(row)) for row in rows], kinds)

    def commit(self) -> None:
        with explained(self.path):
            self.raw.execute("COMMIT")

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")


@contextmanager
def open_session(url: str, options: SessionOptions) -> Iterator[SqliteSession]:
    path = file_of(url)
    check_library()
    check_file(path)
    path = path.resolve()
    with ExitStack() as stack, explained(path):
        scratch = stack.enter_context(Scratch.make(0))
        uri = f"{path.as_uri()}{'?mode=ro' if options.read_only else '?mode=rw'}"
        raw = stack.enter_context(
            closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=options.waiting))
        )
        _prepare(raw, scratch.folder / "staging.sqlite3")
        engine = sa.create_engine("sqlite://", creator=_given(raw), poolclass=StaticPool)
        _translate(engine, path)
        with engine.connect() as connection:
            # After SQLAlchemy's first look at the library, which ends with a rollback.
            raw.execute("BEGIN" if options.read_only else "BEGIN IMMEDIATE")
            # For this transaction only: rows of tables in a circle go in one after the other.
            raw.execute("PRAGMA defer_foreign_keys = ON")
            session = SqliteSession(connection, raw, path, options, stack)
            try:
                yield session
            finally:
                session.rollback()


def _translate(engine: sa.Engine, path: Path) -> None:
    """What the merge's steps run raises errors of ours, and not of the driver."""

    @sa.event.listens_for(engine, "handle_error")
    def handle(context: sa.engine.ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, sqlite3.IntegrityError):
            raise RowsRefused(
                f"merging: {told(error)}", remedy="--allow-rejects sets rows aside that the database refuses"
            ) from error
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error


def _given(raw: sqlite3.Connection) -> Callable[[], Any]:
    return lambda: raw


def _prepare(raw: sqlite3.Connection, staging: Path) -> None:
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute("PRAGMA recursive_triggers = OFF")
    raw.execute(f"ATTACH ? AS {_STAGING}", (f"{staging.as_uri()}?mode=rwc",))
    raw.execute(f"PRAGMA {_STAGING}.journal_mode = OFF")
    raw.execute(f"PRAGMA {_STAGING}.synchronous = OFF")
