"""One moment of a SQLite database, as a private copy, and what a backup takes of it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from backup_pipeline.databases.base import Baseline, Export, Options, Sink
from backup_pipeline.databases.sqlite import header
from backup_pipeline.databases.sqlite.export import looking, own_tables, soundness
from backup_pipeline.databases.sqlite.export.choosing import Choice, choose
from backup_pipeline.databases.sqlite.export.definitions import VirtualSql, parse_virtual
from backup_pipeline.databases.sqlite.export.excluding import views_read, without
from backup_pipeline.databases.sqlite.export.explaining import explained
from backup_pipeline.databases.sqlite.export.inspection import definitions, inspect, sequence_states
from backup_pipeline.databases.sqlite.export.opening import reading
from backup_pipeline.databases.sqlite.export.rows import reading_file
from backup_pipeline.databases.sqlite.header import is_wal
from backup_pipeline.errors import SourceChanged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import EarlierImage, Engine, FileImage, LeftOut, TableEntry
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.model.schema import Schema, Table, TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.processes.scratch import Scratch

#: Files are stored in blocks of a page, or of several small pages: a digest a block must not cost more than it saves.
SMALLEST_BLOCK = 4096
#: A file that was read without a lock (`opening`) and was touched meanwhile is read again.
_ATTEMPTS = 3
#: How often the storing of the file is reported while nothing else happens.
_PULSE = 0.5


@contextmanager
def take(path: Path, selection: Selection, options: Options, seconds: float) -> Iterator[SqliteSnapshot]:
    """Copy the database, prove the copy sound, take out the rows that are excluded; the copies go when the block ends."""
    with ExitStack() as stack:
        for _ in range(_ATTEMPTS - 1):
            with suppress(SourceChanged):
                copied = _copied(stack, path, selection, seconds)
                break
        else:
            copied = _copied(stack, path, selection, seconds)
        yield _prepare(path, copied, selection, options)


@dataclass(frozen=True, slots=True)
class _Copied:
    scratch: Scratch
    file: Path
    taken_at: datetime


def _copied(stack: ExitStack, path: Path, selection: Selection, seconds: float) -> _Copied:
    """The live database is open for as long as this takes, and not a moment longer."""
    with reading(path, seconds=seconds) as opened:
        taken_at = datetime.now(UTC)
        with explained(path):
            choice = choice_of(opened.connection, inspect(opened.connection).schema, selection)
            size = size_of(opened.connection)
        scratch = stack.enter_context(Scratch.make(size * (2 if choice.dropped else 1)))
        copy = scratch.file("copy.db")
        copy_database(opened.connection, copy, path)
    return _Copied(scratch, copy, taken_at)


def size_of(connection: sqlite3.Connection) -> int:
    """Of the database, with what is still in its -wal."""
    sql = "SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size)"
    return int(connection.execute(sql).fetchone()[0])


def copy_database(connection: sqlite3.Connection, copy: Path, path: Path) -> None:
    """All pages in one step. Smaller steps begin again at every commit of another process, and under a busy
    writer they never end (measured). In WAL mode the writer goes on meanwhile."""
    with explained(path), closing(sqlite3.connect(copy, isolation_level=None)) as target:
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            target.execute(f"PRAGMA {pragma}")
        connection.backup(target, pages=-1)


def _prepare(path: Path, copied: _Copied, selection: Selection, options: Options) -> SqliteSnapshot:
    copy = copied.file
    with explained(path):
        own_tables.drop(copy)
    with explained(path), reading_file(copy) as connection:
        inspected = inspect(connection)
        choice = choice_of(connection, inspected.schema, selection)
        before, after = definitions(connection)
    checked = soundness.quick_check(copy, (t.id.name for t in inspected.schema.tables if t.kind != "virtual"))
    soundness.refuse_damage(path, checked.damage)
    findings = [*inspected.findings, *checked.findings()]
    stored = copy
    if choice.dropped:
        stored = copied.scratch.folder / "kept.db"
        findings += without(path, copy, stored, inspected.schema, choice)
        copy.unlink()
    schema = replace(
        inspected.schema, settings={**inspected.schema.settings, "journal_mode": _journal_mode(stored)}
    )
    return SqliteSnapshot(
        name=path.name,
        path=path,
        stored=stored,
        options=options,
        taken_at=copied.taken_at,
        schema=schema,
        selected=choice.selected,
        left_out=choice.left_out,
        definitions=(before, after),
        findings=tuple(findings),
    )


def _journal_mode(path: Path) -> str:
    """A file says only whether it is in WAL mode; every other mode belongs to a connection."""
    with path.open("rb") as file:
        return "wal" if is_wal(file.read(header.SIZE)) else "delete"


def choice_of(connection: sqlite3.Connection, schema: Schema, selection: Selection) -> Choice:
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND rootpage = 0"
    ).fetchall()
    virtual: dict[str, VirtualSql] = {name: parse_virtual(sql or "") for name, sql in rows}
    return choose(schema, selection, virtual, views_read(connection))


@dataclass
class SqliteSnapshot:
    name: str
    path: Path
    #: The private file that is stored: the copy, or the copy without the rows that are excluded.
    stored: Path
    options: Options
    taken_at: datetime
    schema: Schema
    selected: tuple[TableId, ...]
    left_out: tuple[LeftOut, ...]
    definitions: tuple[bytes, bytes]
    findings: tuple[Finding, ...] = ()

    @property
    def engine(self) -> Engine:
        return engine(self.name, self.schema)

    @property
    def state(self) -> dict[str, str]:
        """Nothing: what did not change is recognised by its content."""
        return {}

    @property
    def tools(self) -> dict[str, str]:
        return {"sqlite": sqlite3.sqlite_version}

    def ddl(self) -> tuple[tuple[str, str, bytes], ...]:
        before, after = self.definitions
        return (("pre-data", "sqlite_schema", before), ("post-data", "sqlite_schema", after))

    def export(
        self,
        sink: Sink,
        *,
        baselines: Mapping[TableId, Baseline],
        previous: EarlierImage | None = None,
        listener: Listener = silent,
        journal: Callable[[TableEntry], None] = lambda _: None,
    ) -> Export:
        """The file goes into the sink while the workers look at the tables; with an earlier image to build on
        it goes first, since a file that did not change need not be looked at again. `journal` is for sources that
        store table by table: blocks are recognised by their content."""
        previous = None if self.options.full else previous
        gathered = looking.Gathered()
        with ThreadPoolExecutor(1) as side:
            storing = _Storing(self.name, self.stored.stat().st_size, listener)
            waiting = side.submit(self._store, sink, previous, storing.advanced)
            if previous is None:
                self._look(gathered, listener, storing)
            storing.wait(waiting)
            image = waiting.result()
        tables = self._unchanged(image, previous, baselines)
        if tables is None:
            if previous is not None:
                self._look(gathered, listener, storing)
            soundness.refuse_damage(self.path, gathered.damage)
            with reading_file(self.stored) as connection:
                sizes = page_bytes(connection)
            tables = tuple(self._entry(table, gathered, sizes) for table in self._tables())
        with reading_file(self.stored) as connection:
            taken = set(self.selected)
            sequences = sequence_states(connection, (s for s in self.schema.sequences if s.id in taken))
        findings = dict.fromkeys((*self.findings, *gathered.notes, *self._uncounted(gathered)))
        return Export(tables, sequences, image, tuple(findings))

    def _unchanged(
        self,
        image: FileImage,
        previous: EarlierImage | None,
        baselines: Mapping[TableId, Baseline],
    ) -> tuple[TableEntry, ...] | None:
        """What was seen of the tables when the very same file was last stored; None when it has to be seen anew."""
        if previous is None or previous.backup_id is None or image.sha256 != previous.image.sha256:
            return None
        known = [baselines.get(identifier) for identifier in self.selected]
        at = previous.backup_id
        found = [b.entry for b in known if b is not None and b.backup_id == at and b.entry.fingerprint]
        return tuple(found) if len(found) == len(self.selected) else None

    def _store(self, sink: Sink, previous: EarlierImage | None, advanced: Callable[[int], None]) -> FileImage:
        block = max(int(self.schema.settings["page_size"]), SMALLEST_BLOCK)
        return sink.write_file(self.stored, self.name, block, previous, advanced)

    def _look(self, gathered: looking.Gathered, listener: Listener, storing: _Storing) -> None:
        def told(task: looking.Task, seen: looking.TableContent) -> None:
            gathered.add(task, seen)
            rows = seen.fingerprint.rows if seen.fingerprint else 0
            listener(Advance("export", f"main.{task.table}", rows=rows))
            storing.report()

        tasks = looking.plan(self.stored, self._tables())
        looking.look_at(self.stored, tasks, self.options.workers, told)

    def _tables(self) -> list[Table]:
        chosen = set(self.selected)
        return [table for table in self.schema.tables if table.id in chosen]

    def _entry(self, table: Table, gathered: looking.Gathered, sizes: Mapping[str, int]) -> TableEntry:
        found = gathered.fingerprints.get(table.id.name)
        return TableEntry(
            schema=table.id.schema,
            name=table.id.name,
            rows=found.rows if found else 0,
            columns=table.exported_columns,
            bytes=sizes.get(table.id.name, 0),
            fingerprint=found.hexdigest() if found else "",
        )

    def _uncounted(self, gathered: looking.Gathered) -> Iterator[Finding]:
        for name, why in sorted(gathered.unreadable.items()):
            yield Finding.of("not-counted", table=f"main.{name}", name=name, why=why)


@dataclass
class _Storing:
    """Progress of the file, told from the thread that listens and not from the one that stores."""

    name: str
    total: int
    listener: Listener
    _done: int = 0
    _told: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def advanced(self, size: int) -> None:
        with self._guard:
            self._done += size

    def report(self) -> None:
        with self._guard:
            news = self._done - self._told
            self._told = self._done
        if news:
            self.listener(Advance("export", self.name, bytes=news, total_bytes=self.total))

    def wait(self, image: Future[FileImage]) -> None:
        while wait((image,), _PULSE).not_done:
            self.report()
        self.report()


def engine(name: str, schema: Schema) -> Engine:
    details = {"file": name, **schema.settings}
    return Engine("sqlite", sqlite3.sqlite_version, details)


def page_bytes(connection: sqlite3.Connection) -> dict[str, int]:
    """Table → the bytes of its pages, without its indexes; empty where this SQLite is built without dbstat."""
    try:
        return dict(connection.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = 1").fetchall())
    except sqlite3.OperationalError:
        return {}
