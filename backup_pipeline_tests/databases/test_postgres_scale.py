"""Many tables, and values that are larger than anything should be."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.postgres_rows import LivePostgres, run

MIB = 1024 * 1024


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    (tmp_path / "vault").mkdir()
    vault = Vault(LocalStore(tmp_path / "vault"))
    vault.prepare()
    return vault


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tables", [500, pytest.param(2000, marks=pytest.mark.soak)])
def test_many_tables_take_seconds(pg_database: str, vault: Vault, tables: int) -> None:
    for start in range(0, tables, 250):
        run(
            pg_database,
            "; ".join(
                f"CREATE TABLE t{n} (id serial PRIMARY KEY, a text, b int REFERENCES t{max(n - 1, 0)});"
                f" INSERT INTO t{n} (a) VALUES ('x')"
                for n in range(start, start + 250)
            ),
        )
    started = time.monotonic()
    live = LivePostgres(pg_database)
    taken = Taken(live, vault)
    seconds = time.monotonic() - started
    assert len(taken.export.tables) == tables
    assert all(entry.rows == 1 for entry in taken.export.tables)
    assert len(taken.export.sequences) == tables
    # pg_dump --schema-only is most of it, then one synced object a table.
    assert seconds < 90


MEASURE = """
import resource, sys
from pathlib import Path
from backup_pipeline.model.selection import Selection
from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
vault = Vault(LocalStore(Path(sys.argv[2])))
with PostgresSource(sys.argv[1]).snapshot(Selection(), Options(workers=int(sys.argv[3]))) as snapshot:
    export = snapshot.export(vault.writer, baselines={})
# Linux lets a program inherit ru_maxrss from the one that started it: a big test process would be measured.
status = Path("/proc/self/status")
if status.exists():
    ours = int(status.read_text().split("VmHWM:")[1].split()[0])
else:
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak = max(ours, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(peak * 1024, sum(entry.rows for entry in export.tables), sum(entry.bytes for entry in export.tables))
"""


def measured(url: str, folder: Path, workers: int = 2) -> tuple[int, int, int]:
    """(peak memory of the largest process, rows, bytes of text) of an export in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, url, str(folder), str(workers)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, rows, size = map(int, done.stdout.split())
    return peak, rows, size


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_500_mb_value_passes_in_three_times_its_size(pg_database: str, tmp_path: Path) -> None:
    """libpq holds a whole row, grows its buffer by doubling, and copies; so does the driver. Ours is nothing on top."""
    value = 500 * MIB
    run(pg_database, "CREATE TABLE huge (v text)", "ALTER TABLE huge ALTER v SET STORAGE EXTERNAL")
    run(pg_database, f"INSERT INTO huge SELECT repeat('0123456789abcdef', {value // 16})")
    (tmp_path / "vault").mkdir()
    peak, rows, size = measured(pg_database, tmp_path / "vault")
    assert (rows, size) == (1, value + 1)
    assert peak < 4 * value + 100 * MIB


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_table_of_many_rows_needs_no_more_memory_than_a_small_one(pg_database: str, tmp_path: Path) -> None:
    run(
        pg_database,
        "CREATE TABLE many AS SELECT g, repeat(md5(g::text), 20) t FROM generate_series(1, 400000) g",
    )
    for workers in (1, 2):
        folder = tmp_path / f"vault{workers}"
        folder.mkdir()
        peak, rows, _ = measured(pg_database, folder, workers)
        assert rows == 400_000
        assert peak < 120 * MIB
