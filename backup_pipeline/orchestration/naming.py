"""Names in the graph, in one object, each with an example.

Several configurations in one code location are told apart by a prefix: `build_defs(…, prefix="team_a")` puts it before
every name. Dagster builds an output's name from an asset's key by turning `.` and `-` into `_`. It takes only letters,
digits, `_`, `-` and `.`. A database takes any name. So a name that is not plain gets a digest of the true
one behind it; the true name stands in the description and in the metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from backup_pipeline.errors import ConfigError
from backup_pipeline.model.schema import TableId

#: What a run's tags say about it; the launcher and the sensors look for them.
SYSTEM_TAG = "backup_pipeline/system"
_PREFIX = re.compile(r"[a-z][a-z0-9_]*")
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,80}")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one configuration. The examples are those of `Names()` and of `Names("team_a")`."""

    prefix: str = ""

    def __post_init__(self) -> None:
        if self.prefix and not _PREFIX.fullmatch(self.prefix):
            raise ConfigError(
                f"{self.prefix!r} cannot stand before the names of the graph",
                remedy="use a lower-case letter followed by lower-case letters, digits or _",
            )

    def of(self, name: str) -> str:
        """watch · team_a_watch — jobs, sensors, schedules, groups, pools and resources"""
        return f"{self.prefix}_{name}" if self.prefix else name

    def key(self, *parts: str) -> dg.AssetKey:
        """shop/manifest · team_a/shop/manifest"""
        return dg.AssetKey([self.prefix, *parts] if self.prefix else parts)

    def system_of_key(self, key: dg.AssetKey) -> str:
        """shop/manifest → shop; "" where the asset is none of ours"""
        own = [self.prefix] if self.prefix else []
        rest = key.path[len(own) :]
        return rest[0] if list(key.path[: len(own)]) == own and len(rest) > 1 else ""

    def tag(self, system: str) -> str:
        """shop · team_a/shop — the value of SYSTEM_TAG"""
        return f"{self.prefix}/{system}" if self.prefix else system

    # ── jobs, what starts them, what looks

    def backup_job(self, system: str) -> str:
        """backup_shop · team_a_backup_shop"""
        return self.of(f"backup_{system}")

    def drill_job(self, system: str) -> str:
        """drill_shop"""
        return self.of(f"drill_{system}")

    def copy_job(self, system: str) -> str:
        """copy_shop"""
        return self.of(f"copy_{system}")

    def restore_job(self, system: str) -> str:
        """restore_shop"""
        return self.of(f"restore_{system}")

    def undo_job(self, system: str) -> str:
        """undo_shop"""
        return self.of(f"undo_{system}")

    def prune_job(self, system: str) -> str:
        """prune_shop"""
        return self.of(f"prune_{system}")

    @property
    def scrub_job(self) -> str:
        """scrub — of the whole vault, with all systems in it"""
        return self.of("scrub")

    @property
    def daily_job(self) -> str:
        """daily_checks"""
        return self.of("daily_checks")

    def schedule(self, job: str) -> str:
        """backup_shop_schedule"""
        return f"{job}_schedule"

    def migration_sensor(self, system: str) -> str:
        """pending_migrations_shop"""
        return self.of(f"pending_migrations_{system}")

    @property
    def watch_sensor(self) -> str:
        """watch"""
        return self.of("watch")

    @property
    def history_sensor(self) -> str:
        """history"""
        return self.of("history")

    @property
    def alert_sensor(self) -> str:
        """failure_alert"""
        return self.of("failure_alert")

    # ── what belongs together, and what waits for each other

    def group(self, system: str) -> str:
        """shop · team_a_shop"""
        return self.of(system)

    @property
    def vault_group(self) -> str:
        """vault"""
        return self.of("vault")

    @property
    def resource(self) -> str:
        """backups"""
        return self.of("backups")

    def pool(self, system: str) -> str:
        """backup_shop — runs that share a pool wait for each other"""
        return self.of(f"backup_{system}")

    def copy_pool(self, system: str, name: str) -> str:
        """copy_shop_offsite — a copy of one system to one place waits for the one before it"""
        return self.of(f"copy_{system}_{name}")

    # ── steps

    def step(self, *parts: str) -> str:
        """shop__read · team_a__shop__read — as Dagster calls the step of an asset"""
        return self.key(*parts).to_python_identifier()

    def read_step(self, system: str) -> str:
        """shop__read"""
        return self.step(system, "read")

    def tree_step(self, system: str, name: str) -> str:
        """shop__files__media"""
        return self.step(system, "files", name)

    def retention_step(self, system: str) -> str:
        """shop__retention"""
        return self.step(system, "retention")

    def drill_step(self, system: str) -> str:
        """shop__drill"""
        return self.step(system, "drill")

    # ── assets

    def schema_key(self, system: str) -> dg.AssetKey:
        """shop/schema"""
        return self.key(system, "schema")

    def manifest_key(self, system: str) -> dg.AssetKey:
        """shop/manifest"""
        return self.key(system, "manifest")

    def copy_key(self, system: str, name: str) -> dg.AssetKey:
        """shop/copies/offsite"""
        return self.key(system, "copies", name)

    def retention_key(self, system: str) -> dg.AssetKey:
        """shop/retention"""
        return self.key(system, "retention")

    def drill_key(self, system: str) -> dg.AssetKey:
        """shop/drill"""
        return self.key(system, "drill")

    def restores_key(self, system: str) -> dg.AssetKey:
        """shop/restores"""
        return self.key(system, "restores")

    @property
    def scrub_key(self) -> dg.AssetKey:
        """vault/scrub"""
        return self.key("vault", "scrub")

    def table_key(self, system: str, component: str) -> dg.AssetKey:
        """shop/tables/public.orders"""
        return self.key(system, "tables", component)

    def live_key(self, system: str, component: str = "") -> dg.AssetKey:
        """shop/live · shop/live/public.orders"""
        return self.key(system, "live", *filter(None, [component]))

    def tree_key(self, system: str, name: str) -> dg.AssetKey:
        """shop/files/media"""
        return self.key(system, "files", name)

    def live_tree_key(self, system: str, name: str) -> dg.AssetKey:
        """shop/live/files/media"""
        return self.key(system, "live", "files", name)


#: Of a configuration that has the code location to itself, and of runs from the command line.
PLAIN = Names()


def table_components(tables: Iterable[TableId]) -> dict[TableId, str]:
    """public.orders → "public.orders"; public."order items" → "public.order_items-3b0c…" """
    ordered = sorted(tables, key=lambda table: (len(table.schema), table))
    return dict(zip(ordered, components((table.schema, table.name) for table in ordered), strict=True))


def components(named: Iterable[tuple[str, ...]]) -> list[str]:
    """("public",) → "public"; ("main", "blog") → "main.blog". `a.b_c` and `a_b.c` would both be the output `a_b_c`: the one
    that comes first keeps its name."""
    found: list[str] = []
    taken: set[str] = set()
    for words in named:
        component = _component(*words)
        if _output(component) in taken:
            component = f"{component}-{_digest(words)}"
        taken.add(_output(component))
        found.append(component)
    return found


def _component(*names: str) -> str:
    if all(_PLAIN.fullmatch(name) for name in names):
        return ".".join(names)
    # No plain component holds a "-": the two kinds cannot meet.
    readable = ".".join(_NOT_PLAIN.sub("_", name)[:40] for name in names)
    return f"{readable}-{_digest(names)}"


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _output(component: str) -> str:
    return re.sub(r"[-.]", "_", component)
