"""Names in the graph, in one place, each with an example.

Dagster builds an output's name from an asset's key by turning `.` and `-` into `_`, and takes only letters, digits,
`_`, `-` and `.` to begin with. A database takes any name. So a name that is not plain gets a digest of the true
one behind it; the true name stands in the description and in the metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import dagster as dg

from backup_pipeline.model.schema import TableId

#: What a run's tags say about it; the launcher and the sensors look for them.
SYSTEM_TAG = "backup_pipeline/system"
#: Of the whole vault, whatever systems are in it.
SCRUB_KEY = dg.AssetKey(["vault", "scrub"])
SCRUB_JOB = "scrub"
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,80}")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_]+")


def backup_job(system: str) -> str:
    """backup_shop"""
    return f"backup_{system}"


def drill_job(system: str) -> str:
    """drill_shop"""
    return f"drill_{system}"


def copy_job(system: str) -> str:
    """copy_shop"""
    return f"copy_{system}"


def prune_job(system: str) -> str:
    """prune_shop"""
    return f"prune_{system}"


def migration_sensor(system: str) -> str:
    """pending_migrations_shop"""
    return f"pending_migrations_{system}"


def read_step(system: str) -> str:
    """shop__read"""
    return f"{system}__read"


def pool(system: str) -> str:
    """backup_shop — runs that share a pool wait for each other"""
    return f"backup_{system}"


def schema_key(system: str) -> dg.AssetKey:
    """shop/schema"""
    return dg.AssetKey([system, "schema"])


def manifest_key(system: str) -> dg.AssetKey:
    """shop/manifest"""
    return dg.AssetKey([system, "manifest"])


def copy_key(system: str, name: str) -> dg.AssetKey:
    """shop/copies/offsite"""
    return dg.AssetKey([system, "copies", name])


def copy_pool(system: str, name: str) -> str:
    """copy_shop_offsite — a copy of one system to one place waits for the one before it"""
    return f"copy_{system}_{name}"


def retention_key(system: str) -> dg.AssetKey:
    """shop/retention"""
    return dg.AssetKey([system, "retention"])


def drill_key(system: str) -> dg.AssetKey:
    """shop/drill"""
    return dg.AssetKey([system, "drill"])


def table_key(system: str, component: str) -> dg.AssetKey:
    """shop/tables/public.orders"""
    return dg.AssetKey([system, "tables", component])


def tree_key(system: str, name: str) -> dg.AssetKey:
    """shop/files/media"""
    return dg.AssetKey([system, "files", name])


def tree_step(system: str, name: str) -> str:
    """shop__files__media"""
    return tree_key(system, name).to_python_identifier()


def live_tree_key(system: str, name: str) -> dg.AssetKey:
    """shop/live/files/media"""
    return dg.AssetKey([system, "live", "files", name])


def live_key(system: str, component: str) -> dg.AssetKey:
    """shop/live/public.orders"""
    return dg.AssetKey([system, "live", component])


def table_components(tables: Iterable[TableId]) -> dict[TableId, str]:
    """public.orders → "public.orders"; public."order items" → "public.order_items-3b0c…" """
    return _distinct({table: _component(table.schema, table.name) for table in tables})


def schema_components(schemas: Iterable[str]) -> dict[str, str]:
    """public → "public", for a graph that shows one asset a schema."""
    return {schema: _component(schema) for schema in schemas}


def _component(*names: str) -> str:
    if all(_PLAIN.fullmatch(name) for name in names):
        return ".".join(names)
    # No plain component holds a "-": the two kinds cannot meet.
    readable = ".".join(_NOT_PLAIN.sub("_", name)[:40] for name in names)
    return f"{readable}-{_digest(names)}"


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _distinct(components: dict[TableId, str]) -> dict[TableId, str]:
    """`a.b_c` and `a_b.c` would both be the output `a_b_c`: the one with the shorter schema keeps its name."""
    found: dict[TableId, str] = {}
    taken: set[str] = set()
    for table in sorted(components, key=lambda table: (len(table.schema), table)):
        component = components[table]
        if _output(component) in taken:
            component = f"{component}-{_digest((table.schema, table.name))}"
        taken.add(_output(component))
        found[table] = component
    return found


def _output(component: str) -> str:
    return re.sub(r"[-.]", "_", component)
