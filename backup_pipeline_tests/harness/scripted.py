"""A source that does what a test scripts: it fails on cue, loses a table, holds given rows.

Real engines are tested elsewhere; this one is for what they do only on a bad day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backup_pipeline.databases.base import ROWS_SUFFIX, Baseline, Export, Options, Sink
from backup_pipeline.model.findings import Report
from backup_pipeline.model.inventory import Inventory, InventoryTable
from backup_pipeline.model.manifest import Chunk, EarlierImage, Engine, LeftOut, TableEntry
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import Column, Schema, Table, TableId
from backup_pipeline.model.selection import Selection


@dataclass
class ScriptedSource:
    #: Table name → its rows as COPY text.
    tables: dict[str, bytes]
    #: Raised, one an attempt, when a snapshot is taken; None lets that attempt pass.
    faults: list[Exception | None] = field(default_factory=list)
    #: Tables that are selected and silently not exported.
    loses: frozenset[str] = frozenset()
    #: Called after each table, with the journal's entry already noted.
    after_table: Callable[[str], None] = lambda _: None
    snapshots: int = 0
    baselines_seen: dict[TableId, Baseline] = field(default_factory=dict)
    options_seen: Options | None = None
    engine_name: str = "postgres"
    address: str = "scripted"

    def inventory(self, selection: Selection) -> Inventory:
        return Inventory(
            Engine("postgres", "16.0"),
            tuple(
                InventoryTable(_id(name), "table", 1, rows.count(b"\n"), len(rows), selection.reason_to_leave_out(_id(name)))
                for name, rows in self.tables.items()
            ),
        )  # fmt: skip

    def diagnose(self, selection: Selection) -> Report:
        return Report("scripted")

    def refused(self, queries: Mapping[str, str]) -> dict[str, str]:
        return {}

    def applied_migrations(self, tool: str) -> tuple[str, ...] | None:
        return None

    @contextmanager
    def snapshot(self, selection: Selection, options: Options) -> Iterator[ScriptedSnapshot]:
        self.snapshots += 1
        self.options_seen = options
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        yield ScriptedSnapshot(self, selection)


@dataclass
class ScriptedSnapshot:
    source: ScriptedSource
    selection: Selection
    taken_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    engine: Engine = field(default_factory=lambda: Engine("postgres", "16.0"))
    tools: dict[str, str] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=lambda: {"snapshot_xmin": "7"})

    @property
    def schema(self) -> Schema:
        return Schema(
            "postgres", tuple(Table(_id(n), columns=(Column("id", "bigint"),)) for n in self.source.tables)
        )

    @property
    def selected(self) -> tuple[TableId, ...]:
        ids = (_id(name) for name in self.source.tables)
        return tuple(table for table in ids if self.selection.reason_to_leave_out(table) is None)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        reasons = ((_id(name), self.selection.reason_to_leave_out(_id(name))) for name in self.source.tables)
        return tuple(LeftOut(table.schema, table.name, "table", why) for table, why in reasons if why)

    def ddl(self) -> tuple[tuple[str, str, bytes], ...]:
        return (("pre-data", "scripted", b"CREATE TABLE t ();\n"),)

    def export(
        self,
        sink: Sink,
        *,
        baselines: Mapping[TableId, Baseline],
        previous: EarlierImage | None = None,
        listener: Listener = silent,
        journal: Callable[[TableEntry], None] = lambda _: None,
    ) -> Export:
        self.source.baselines_seen = dict(baselines)
        entries = []
        for table in self.selected:
            if table.name in self.source.loses:
                continue
            rows = self.source.tables[table.name]
            entry = TableEntry(table.schema, table.name, rows.count(b"\n"), ("id",), bytes=len(rows))
            if rows:
                reference = sink.write((rows,), ROWS_SUFFIX)
                entry = replace(entry, chunks=(Chunk(reference, entry.rows, 0),))
            journal(entry)
            self.source.after_table(table.name)
            entries.append(entry)
        return Export(tuple(entries))


def _id(name: str) -> TableId:
    return TableId("public", name)
