"""The tables of a database as a look at it finds them, without their rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Engine
from backup_pipeline.model.schema import TableId

#: Tables that hold rows themselves; the rows of the others live in partitions or on another server.
_WITH_ROWS = frozenset({"table", "virtual", "shadow"})


@dataclass(frozen=True, slots=True)
class InventoryTable:
    id: TableId
    kind: str
    columns: int
    #: An estimate from statistics: no table is counted for an inventory. Negative where it is not known.
    rows: int
    #: Negative where it is not known.
    bytes: int
    #: Why the selection leaves it out; None when it is taken.
    left_out: str | None = None
    #: Column → its type, as the database writes it.
    types: dict[str, str] = field(default_factory=dict)
    #: Its generated columns: their values are computed again, and are in no backup.
    computed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    engine: Engine
    tables: tuple[InventoryTable, ...]
    bytes: int = 0
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def taken(self) -> tuple[InventoryTable, ...]:
        """Those that a backup takes and that hold rows themselves."""
        return tuple(t for t in self.tables if t.left_out is None and t.kind in _WITH_ROWS)
