"""The backup before a restore: it costs nothing where nothing changed, and it takes the place of no other backup."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.config import parse
from backup_pipeline.model.ids import moment_of
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup, made_since
from backup_pipeline.operations.before_restore import back_up_before
from backup_pipeline.operations.reading import show
from backup_pipeline.operations.status import status_of
from backup_pipeline.vault.presence import everything
from backup_pipeline_tests.harness.backups import run_sql
from backup_pipeline_tests.harness.engines import MakePgDatabase, MakeSqliteFile

SCRIPT = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers, note TEXT);
"""
ROWS = """
INSERT INTO customers SELECT n, 'customer ' || n FROM {series};
INSERT INTO orders SELECT n, n, 'order ' || n FROM {series};
"""


def site_of(folder: Path, url: str, more: str = "") -> Site:
    text = f"vault: {folder}/vault\nsystems:\n  shop:\n    database: {url}\n{more}"
    return Site(parse(text, name="shop", base=folder, environ={}))


def stored(site: Site) -> int:
    return sum(stat.size for stat in everything(site.vault.store))


def takes_no_place(site: Site, full: str) -> None:
    assert site.vault.resolve("shop", "latest") == full
    found = status_of(site, "shop")
    assert found.latest is not None
    assert found.latest.id == full


def test_of_postgresql_only_the_touched_tables_are_in_it(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    url = make_pg_database()
    run_sql(url, SCRIPT + ROWS.format(series="generate_series(1, 5000) n"))
    site = site_of(tmp_path, url, "    exclude: [orders]\n")
    full = backup(site, BackupOrder("shop")).manifest
    before, told = stored(site), status_of(site, "shop").findings
    made = back_up_before(site, "shop", url, [TableId("public", "customers")])
    assert (made.kind, made.scope) == ("pre-restore", "partial")
    assert [(table.name, table.rows) for table in made.tables] == [("customers", 5000)]
    assert stored(site) == before
    takes_no_place(site, full.id)
    assert status_of(site, "shop").findings == told
    # What the configuration leaves out is touched as well.
    made = back_up_before(site, "shop", url, [TableId("public", "orders")])
    assert [(table.name, table.rows) for table in made.tables] == [("orders", 5000)]
    assert made_since(site, "shop", moment_of(full.id)) == [full.id]
    # And nothing follows it: the next backup is built as ever.
    again = backup(site, BackupOrder("shop")).manifest
    assert (again.scope, [table.name for table in again.tables]) == ("full", ["customers"])


@pytest.mark.parametrize("exclude", ["", "    exclude: [sessions]\n"])
def test_of_a_file_the_whole_is_in_it_so_that_it_shares_its_blocks(
    sqlite_file: MakeSqliteFile, tmp_path: Path, exclude: str
) -> None:
    series = (
        "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 40000) SELECT n FROM s)"
    )
    path = sqlite_file(script=SCRIPT + "CREATE TABLE sessions (id);" + ROWS.format(series=series))
    url = f"sqlite:///{path}"
    site = site_of(tmp_path, url, exclude)
    full = backup(site, BackupOrder("shop")).manifest
    before = stored(site)
    made = back_up_before(site, "shop", url, [TableId("main", "customers")])
    assert (made.kind, made.scope) == ("pre-restore", "partial")
    assert show(site, "shop", made.id).rows == 80000
    assert stored(site) == before
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE customers SET name = 'x' WHERE id < 10")
    back_up_before(site, "shop", url, [TableId("main", "customers")])
    # Without the rows that the configuration leaves out, a file is written anew.
    assert exclude or stored(site) - before < before / 10
    takes_no_place(site, full.id)
