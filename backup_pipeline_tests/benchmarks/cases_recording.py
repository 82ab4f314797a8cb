"""The cost of a record: `backup` of a SQLite file with 3 and with 200 tables, with and without --no-record, in the same run.

The time of the processors is measured beside the wall clock: a busy machine hides a second of the wall clock, and not of the
processors. With `table_assets: 1000` each table is an asset; with the default 200 tables share one.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from backup_pipeline_tests.benchmarks.cases_postgres import Line
from backup_pipeline_tests.benchmarks.measure import Command, interleaved

#: What is measured → tables, and a setting of the system.
SHAPES = {
    "3 tables": (3, ""),
    "200 tables": (200, ""),
    "200 tables, each an asset": (200, ", table_assets: 1000"),
}


def recording(folder: Path, runs: int) -> list[Line]:
    return [line for name in SHAPES for line in _shape(folder / name, name, max(5, runs))]


def _shape(folder: Path, name: str, runs: int) -> list[Line]:
    tables, setting = SHAPES[name]
    folder.mkdir()
    with closing(sqlite3.connect(folder / "shop.sqlite3")) as connection, connection:
        for number in range(tables):
            connection.execute(f"CREATE TABLE t{number:03} (id INTEGER PRIMARY KEY, name TEXT)")
            rows = [(f"n{row}",) for row in range(50)]
            connection.executemany(f"INSERT INTO t{number:03} (name) VALUES (?)", rows)
    config = folder / "backup.yaml"
    config.write_text(f"vault: ./vault\nsystems:\n  shop: {{database: 'sqlite:///shop.sqlite3'{setting}}}\n")
    program = [str(Path(sys.executable).with_name("backup-pipeline")), "--config", str(config)]
    command = [*program, "backup", "shop", "--quiet"]
    ways = [Command("recorded", command), Command("--no-record", [*command, "--no-record"])]
    interleaved(ways, 1)  # the first run of each makes the vault and the Dagster home
    found = interleaved(ways, runs)
    ours, alone = found["recorded"], found["--no-record"]
    more = "≤ 0.7 s more" if tables == 3 else "≤ 1 s more"
    return [
        Line(
            f"recorded backup of {name}: wall clock",
            f"{ours.median:.2f} s",
            f"--no-record {alone.median:.2f} s",
            f"{ours.median - alone.median:+.2f} s",
            f"{more}, ≤ 1.2 s" if tables == 3 else more,
            f"{ours.peak:.0f} MiB",
        ),
        Line(
            f"recorded backup of {name}: processors",
            f"{ours.processor:.2f} s",
            f"--no-record {alone.processor:.2f} s",
            f"{ours.processor - alone.processor:+.2f} s",
            "",
        ),
    ]
