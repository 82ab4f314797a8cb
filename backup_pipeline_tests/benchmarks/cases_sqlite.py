"""What a SQLite drill is measured against: a restore of the same backup."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline_tests.benchmarks.cases_postgres import Bench, Line, drilled
from backup_pipeline_tests.benchmarks.measure import interleaved

_TABLES = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, key TEXT, at TEXT, amount REAL, note TEXT, flag INT);
CREATE TABLE lines (orderkey INT, number INT, what TEXT, PRIMARY KEY (orderkey, number)) WITHOUT ROWID;
CREATE INDEX by_key ON orders (key);
"""
_ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO "
_ORDERS = (
    _ROWS
    + "orders SELECT i, hex(randomblob(8)), datetime(i * 60, 'unixepoch'), i / 7.0, hex(randomblob(40)), i % 2 FROM n"
)
_LINES = _ROWS + "lines SELECT i / 3, i % 3, hex(randomblob(8)) FROM n"


def drill(bench: Bench, scale: float) -> list[Line]:
    source = bench.folder / "orders.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript(_TABLES)
        for statement in (_ORDERS, _LINES):
            connection.execute(statement, (int(2_000_000 * scale),))
        connection.commit()
    config = bench.config("sqlite", f"sqlite:///{source}")
    backup(Site.load(config), BackupOrder("shop"))
    target = Path(f"{source}.restored")
    found = interleaved(
        [
            bench.ours(
                "SQLite: restore",
                config,
                "restore",
                lambda: target.unlink(missing_ok=True),
                to=f"sqlite:///{target}",
            ),
            bench.ours("SQLite: drill", config, "drill", lambda: None),
        ],
        bench.runs,
    )
    what = f"SQLite, {source.stat().st_size / 2**20:,.0f} MiB"
    return [drilled(what, found["SQLite: restore"], found["SQLite: drill"])]
