"""What the second backup of a SQLite file costs, with a partial one in between."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from backup_pipeline import config
from backup_pipeline.model.orders import BackupOrder, VerifyOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.verify import verify


def test_a_partial_backup_in_between_does_not_make_the_next_full_one_dear(tmp_path: Path) -> None:
    path = tmp_path / "app.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, payload BLOB)")
        connection.execute("CREATE TABLE small (id INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO big VALUES (?, randomblob(900))", ((n,) for n in range(20_000)))
    connection.close()
    (tmp_path / "backup.yaml").write_text(
        f"vault: ./vault\nsystems:\n  app:\n    database: sqlite:///{path}\n", encoding="utf-8"
    )
    site = Site(config.load(tmp_path / "backup.yaml"))
    backup(site, BackupOrder("app"))
    backup(site, BackupOrder("app", only=["small"]))
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO big VALUES (99999, randomblob(900))")
    connection.close()
    before = _stored(site)
    manifest = backup(site, BackupOrder("app")).manifest
    assert _stored(site) - before < 0.05 * before
    assert verify(site, VerifyOrder("app", manifest.id)).ok


def _stored(site: Site) -> int:
    return sum(stat.size for stat in site.vault.store.list("objects/"))
