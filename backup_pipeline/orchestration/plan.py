"""Which assets the graph of a system has: from the inventory that was last taken, and from nothing else.

Up to `table_assets` tables each table has its asset; above that a schema has one, with its tables in the metadata,
because every asset that is recorded costs about 50 ms. Where no inventory was taken yet there is no table asset:
the backup takes every table all the same.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import TableId
from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.naming import PLAIN, Names
from backup_pipeline.project import Project
from backup_pipeline.sources.base import InventoryTable


@dataclass(frozen=True, slots=True)
class TableAsset:
    key: dg.AssetKey
    #: The live table, or the live schema, that it is read from.
    live: dg.AssetKey
    tables: tuple[InventoryTable, ...]
    #: Set where the asset stands for all the tables of a schema.
    schema: str | None = None

    @property
    def title(self) -> str:
        return self.schema if self.schema is not None else str(self.tables[0].id)

    def globs(self) -> tuple[str, ...]:
        """What to ask `Project.export` for, to get these tables and no other."""
        if self.schema is not None:
            return (f"{glob.escape(self.schema)}.*",)
        return tuple(glob.escape(str(table.id)) for table in self.tables)

    def holds(self, table: TableId) -> bool:
        if self.schema is not None:
            return table.schema == self.schema
        return any(mine.id == table for mine in self.tables)


@dataclass(frozen=True, slots=True)
class SystemPlan:
    system: str
    #: postgres | sqlite | "" where that is not known yet
    engine: str
    assets: tuple[TableAsset, ...]
    left_out: tuple[InventoryTable, ...]
    inventoried: bool
    #: The names of its file trees.
    trees: tuple[str, ...] = ()
    names: Names = PLAIN

    def key_of(self, table: TableId) -> dg.AssetKey | None:
        return next((asset.key for asset in self.assets if asset.holds(table)), None)

    def selected(self, keys: Iterable[dg.AssetKey]) -> tuple[TableAsset, ...]:
        chosen = set(keys)
        return tuple(asset for asset in self.assets if asset.key in chosen)

    def unknown(self, manifest: Manifest) -> tuple[TableId, ...]:
        """Tables that were backed up and have no asset yet."""
        if not self.inventoried:
            return ()
        known = {table.id for asset in self.assets for table in asset.tables}
        return tuple(table.id for table in manifest.tables if table.id not in known)


def plan_of(project: Project, system: str, names: Names = PLAIN) -> SystemPlan:
    inventory = project.known_inventory(system)
    trees = tuple(sorted(project.system(system).files))
    if inventory is None:
        return SystemPlan(system, "", (), (), inventoried=False, trees=trees, names=names)
    taken = inventory.taken
    left_out = tuple(t for t in inventory.tables if t.left_out is not None)
    if len(taken) > project.system(system).table_assets:
        assets = _one_a_schema(names, system, taken)
    else:
        assets = _one_a_table(names, system, taken)
    return SystemPlan(
        system, inventory.engine.name, assets, left_out, inventoried=True, trees=trees, names=names
    )


def _one_a_table(names: Names, system: str, tables: tuple[InventoryTable, ...]) -> tuple[TableAsset, ...]:
    components = naming.table_components(table.id for table in tables)
    return tuple(
        TableAsset(
            names.table_key(system, components[table.id]),
            names.live_key(system, components[table.id]),
            (table,),
        )
        for table in tables
    )


def _one_a_schema(names: Names, system: str, tables: tuple[InventoryTable, ...]) -> tuple[TableAsset, ...]:
    by_schema: dict[str, list[InventoryTable]] = {}
    for table in tables:
        by_schema.setdefault(table.id.schema, []).append(table)
    components = naming.schema_components(by_schema)
    return tuple(
        TableAsset(
            names.table_key(system, components[schema]),
            names.live_key(system, components[schema]),
            tuple(members),
            schema,
        )
        for schema, members in sorted(by_schema.items())
    )
