"""Which assets the graph of a system has: from the inventory that was last taken, and from nothing else.

Up to `table_assets` tables each table has its asset. Above that a graph is a wall that no person reads, and every
recorded asset costs about 50 ms. So the tables of a group of `groups:` share one asset, then the tables of a schema. In
a schema that is too large, tables whose names begin alike share one (`blog_…`, as Django's applications do). Their
tables stand in the metadata. Where no inventory was taken yet there is no table asset: the backup takes every table all
the same.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from backup_pipeline.model.inventory import InventoryTable
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import matches
from backup_pipeline.operations import Site
from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.naming import PLAIN, Names


@dataclass(frozen=True, slots=True)
class TableAsset:
    key: dg.AssetKey
    #: What of the living database it is read from.
    live: dg.AssetKey
    tables: tuple[InventoryTable, ...]
    ids: frozenset[TableId]
    #: What its tables are together; "" where it is one table.
    together: str = ""
    #: Set where it stands for a whole schema: also for a table that appears later.
    schema: str | None = None

    @property
    def title(self) -> str:
        return self.together or str(self.tables[0].id)

    def globs(self) -> tuple[str, ...]:
        """What to ask `Site.export` for, to get these tables and no other."""
        if self.schema is not None:
            return (f"{glob.escape(self.schema)}.*",)
        return tuple(glob.escape(str(table.id)) for table in self.tables)

    def holds(self, table: TableId) -> bool:
        return table in self.ids or table.schema == self.schema


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


def plan_of(site: Site, system: str, names: Names = PLAIN) -> SystemPlan:
    inventory, settings = site.known_inventory(system), site.system(system)
    trees = tuple(sorted(settings.files))
    if inventory is None:
        return SystemPlan(system, "", (), (), inventoried=False, trees=trees, names=names)
    taken = inventory.taken
    left_out = tuple(t for t in inventory.tables if t.left_out is not None)
    if len(taken) > settings.table_assets:
        parts = list(_parts(taken, settings.groups, settings.table_assets))
        named = list(zip(naming.components(part.words for part in parts), parts, strict=True))
    else:
        single = naming.table_components(table.id for table in taken)
        named = [(single[table.id], _Part((), (table,))) for table in taken]
    each = settings.live_assets == "tables"
    assets = tuple(
        TableAsset(
            names.table_key(system, component),
            names.live_key(system, component if each else ""),
            part.tables,
            frozenset(table.id for table in part.tables),
            part.together,
            part.schema,
        )
        for component, part in named
    )
    return SystemPlan(
        system, inventory.engine.name, assets, left_out, inventoried=True, trees=trees, names=names
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Tables that share an asset, and the words of its name."""

    words: tuple[str, ...]
    tables: tuple[InventoryTable, ...]
    together: str = ""
    schema: str | None = None


def _parts(
    tables: Sequence[InventoryTable], groups: Mapping[str, Sequence[str]], most: int
) -> Iterator[_Part]:
    left = list(tables)
    for name, globs in groups.items():
        mine = tuple(table for table in left if any(matches(glob, table.id) for glob in globs))
        if mine:
            in_it = {table.id for table in mine}
            left = [table for table in left if table.id not in in_it]
            yield _Part(("groups", name), mine, f"group {name}")
    whole = len(left) == len(tables)
    for schema in sorted({table.id.schema for table in left}):
        there = [table for table in left if table.id.schema == schema]
        by_prefix = _by_prefix(there, most) if len(there) > most else {}
        for prefix, alike in sorted(by_prefix.items()):
            yield _Part((schema, prefix), tuple(alike), f"{schema}.{prefix}_*")
        in_one = {table.id for alike in by_prefix.values() for table in alike}
        others = tuple(table for table in there if table.id not in in_one)
        if whole and not by_prefix:
            yield _Part((schema,), others, schema, schema)
        elif others:
            yield _Part((schema,), others, f"the other tables of {schema}")


def _by_prefix(tables: Sequence[InventoryTable], most: int) -> dict[str, list[InventoryTable]]:
    """blog_post and blog_page → blog: the largest ones, where there are too many."""
    found: dict[str, list[InventoryTable]] = {}
    for table in tables:
        prefix, _, more = table.id.name.partition("_")
        if prefix and more:
            found.setdefault(prefix, []).append(table)
    several = sorted(
        (prefix for prefix, alike in found.items() if len(alike) > 1), key=lambda p: -len(found[p])
    )
    return {prefix: found[prefix] for prefix in several[: max(most, 1)]}
