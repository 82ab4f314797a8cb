"""What the doctor and the inventory say of a SQLite file."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.model.selection import Selection
from backup_pipeline_tests.harness.sqlite_rows import connect, new_database, run


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = new_database(tmp_path / "app.db")
    run(path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1), (2)")
    return path


def source(path: Path) -> SqliteSource:
    return SqliteSource(str(path), busy_seconds=0.2)


def test_the_doctor_names_what_is_dangerous(database: Path) -> None:
    run(
        database,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent)",
        "INSERT INTO child VALUES (1, 99), (2, 98)",
    )
    database.chmod(0o666)
    os.link(database, database.with_name("other-name.db"))
    report = source(database).diagnose(Selection())
    codes = {finding.code: finding for finding in report.findings}
    assert codes.keys() >= {"dangling-reference", "writable-by-everybody", "hard-links", "writers-wait"}
    assert codes["dangling-reference"].table == "main.child"
    assert codes["dangling-reference"].examples == ("rowid 1", "rowid 2")
    assert report.ok


def test_the_doctor_says_what_a_backup_would_say(database: Path) -> None:
    with closing(connect(database)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        (error,) = source(database).diagnose(Selection()).errors
        assert error.code == "source-unavailable"
        holder.execute("ROLLBACK")
    assert source(database).diagnose(Selection(exclude=("*",))).findings[0].code == "nothing-selected"


def test_rows_are_guessed_for_an_inventory(database: Path) -> None:
    run(
        database,
        "CREATE TABLE big (id INTEGER PRIMARY KEY)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO big SELECT i FROM n",
    )
    guess = {table.id.name: table.rows for table in source(database).inventory(Selection()).tables}
    assert guess == {"t": 2, "big": 5000}
    run(database, "DELETE FROM big WHERE id < 1001", "ANALYZE")
    guess = {table.id.name: table.rows for table in source(database).inventory(Selection()).tables}
    assert guess["big"] == 4000
