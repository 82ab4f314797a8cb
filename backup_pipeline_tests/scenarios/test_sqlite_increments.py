"""What the second backup of a SQLite file costs, with a partial one in between."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from backup_pipeline import config
from backup_pipeline.operations import Project


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
    project = Project(config.load(tmp_path / "backup.yaml"))
    project.backup("app")
    project.backup("app", only=["small"])
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO big VALUES (99999, randomblob(900))")
    connection.close()
    before = _stored(project)
    manifest = project.backup("app")
    assert _stored(project) - before < 0.05 * before
    assert project.verify("app", manifest.id).ok


def _stored(project: Project) -> int:
    return sum(stat.size for stat in project.vault.store.list("objects/"))
