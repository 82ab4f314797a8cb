"""The story of the demo, step by step: protect, trade, break, restore, prove.

It ends with an exit code: 0 only when what came back is what was there, and a drill says so too.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline import config
from backup_pipeline.demo.shop_postgres import DISASTER, Shop
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.errors import ConfigError, ProofFailed
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.project import Project

Say = Callable[[str], None]

_MARK = ".backup-pipeline-demo"

CONFIG = """\
# The demo's configuration: one system, one PostgreSQL database.
vault: ./vault
systems:
  shop:
    database: ${file:database-url}
    schedule: "0 2 * * *"
    timezone: Europe/Berlin
    exclude: [audit_log]
    groups:
      catalog: [products]
      sales: [customers, orders, order_items, payments]
    invariants:
      every payment is the sum of its items: >
        SELECT p.id FROM public.payments AS p JOIN public.order_items AS i USING (order_id)
        GROUP BY p.id, p.amount HAVING p.amount <> sum(i.total)
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """What the demo found, for `--json` and for the test that runs it."""

    folder: str
    before: dict[str, str]
    broken: dict[str, str]
    restored: dict[str, str]
    first_new_order: int
    recovery_seconds: float
    tables_compared: int
    rows_compared: int
    seconds: float


def run(folder: Path, *, say: Say, fresh: bool = True) -> Ending:
    """Tell the story in `folder`, which is emptied first if it is an earlier demo's."""
    began = time.monotonic()
    _prepare(folder, fresh=fresh)
    with EmbeddedPostgres.create() as server:
        shop = Shop(server.create_database("shop"))
        (folder / "backup.yaml").write_text(CONFIG, encoding="utf-8")
        (folder / "database-url").write_text(shop.url, encoding="utf-8")
        project = Project(config.load(folder / "backup.yaml"))
        return _tell(project, server, shop, folder, say, began)


def _tell(
    project: Project, server: EmbeddedPostgres, shop: Shop, folder: Path, say: Say, began: float
) -> Ending:
    from backup_pipeline.orchestration.launch import run_backup, run_drill

    shop.open_for_business()
    say(
        f"1. A shop on PostgreSQL {server.major}: customers, orders, payments, and an audit log that nobody needs."
    )

    first = run_backup(project, "shop")
    say(f"2. First backup:  {_described(project, first)}")
    for left in first.left_out:
        say(f"   left out:      {left.schema}.{left.name} ({left.reason})")

    shop.trade_for_a_day()
    second = run_backup(project, "shop")
    before = shop.facts()
    say(f"3. A day later:   {_described(project, second)}")

    report = project.verify("shop")
    say(
        f"4. Verified:      {report.counted['objects']} objects and {report.counted['rows']:,} rows read back,"
        f" {report.counted['references']} foreign keys followed, {len(report.errors)} errors"
    )
    if not report.ok:
        raise ProofFailed("the vault does not verify", remedy="run `backup-pipeline verify shop`")

    shop.suffer()
    broken = shop.facts()
    say("5. Friday, 18:55. Someone runs a migration on the live database:")
    for statement in DISASTER:
        say(f"      {statement};")

    target = server.url("shop_restored")
    result = project.restore("shop", "latest", target, create=True)
    again = Shop(target)
    restored = again.facts()
    say(f"6. Restored to a new database in {result.seconds['total']:.1f} s:")
    _table(say, before, broken, restored)
    if restored != before:
        raise ProofFailed("what came back is not what was there", remedy="this is a bug: please report it")
    order = again.first_new_order()
    say(f"   The first order after the restore got number {order}: the sequences are right, too.")

    drill = run_drill(project, "shop")
    if not drill.report.ok:
        raise ProofFailed(drill.report.errors[0].message, remedy="run `backup-pipeline drill shop`")
    counted = drill.report.counted
    say(
        f"7. Drill:         {counted['tables']} tables, {counted['rows']:,} rows compared with the backup,"
        f" {counted['sequences']} sequences, {counted['invariants']} invariant; recovered in {drill.recovery_seconds:.1f} s"
    )
    seconds = time.monotonic() - began
    say(f"   PROVEN         {project.show('shop').id}   ({seconds:.0f} s for all of this)")
    say("")
    say(f"Look around: backup-pipeline --config {folder / 'backup.yaml'} list | show shop | status | ui")
    return Ending(
        folder=str(folder),
        before=before,
        broken=broken,
        restored=restored,
        first_new_order=order,
        recovery_seconds=drill.recovery_seconds,
        tables_compared=counted["tables"],
        rows_compared=counted["rows"],
        seconds=seconds,
    )


def _described(project: Project, manifest: Manifest) -> str:
    line = project.listed(manifest.system, manifest.id)
    reused = (
        f", {line.reused_chunks} of {line.chunks} chunks unchanged and not read" if line.reused_chunks else ""
    )
    return (
        f"{line.tables} tables, {line.rows:,} rows, {line.bytes / 2**20:.1f} MiB"
        f" in {line.seconds:.1f} s{reused}"
    )


def _table(say: Say, before: dict[str, str], broken: dict[str, str], restored: dict[str, str]) -> None:
    say(f"      {'':<18} {'before':>14} {'broken':>14} {'restored':>14}")
    for name, value in before.items():
        say(f"      {name:<18} {value:>14} {broken[name]:>14} {restored[name]:>14}")


def _prepare(folder: Path, *, fresh: bool) -> None:
    """An earlier demo may be replaced; anything else in that folder may be somebody's."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise ConfigError(
                f"{folder} is not empty and is not a demo's", remedy="name another folder with --folder"
            )
        if fresh:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
