"""A restored SQLite file is the source again, byte for byte where it can be; a failure leaves the target as it was."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.errors import Damaged, RestoreError, TargetNotEmpty
from backup_pipeline.model.manifest import LeftOut
from backup_pipeline.restores import plan_restore, restore
from backup_pipeline.vault import layout
from backup_pipeline_tests.harness.backups import Backed, backed_up
from backup_pipeline_tests.harness.engines import MakeSqliteFile

SCRIPT = """
PRAGMA journal_mode = WAL;
PRAGMA user_version = 42;
CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
INSERT INTO parent (name) VALUES ('a'), ('b'), ('it''s'), ('\\N');
DELETE FROM parent WHERE id = 4;
CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent, g AS (id * 2));
INSERT INTO child (p) VALUES (1), (2), (NULL);
CREATE TABLE odd (x, "we""ird
name" BLOB);
INSERT INTO odd VALUES (1, x'00ff'), (1.0, '1'), ('1', NULL), (9e999, '');
CREATE TABLE strict_one (k TEXT PRIMARY KEY, v INT) STRICT, WITHOUT ROWID;
INSERT INTO strict_one VALUES ('a', 1);
CREATE VIRTUAL TABLE found USING fts5(words);
INSERT INTO found VALUES ('some words to find');
CREATE VIEW v AS SELECT name FROM parent;
CREATE TRIGGER t AFTER INSERT ON parent BEGIN INSERT INTO odd VALUES (new.id, NULL); END;
CREATE TABLE empty_one (x);
"""


@pytest.fixture
def backed(sqlite_file: MakeSqliteFile, tmp_path: Path) -> Backed:
    return backed_up(f"sqlite:///{sqlite_file(script=SCRIPT)}", tmp_path / "vault")


def dump(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_restored_file_is_the_source_again_and_takes_new_rows(backed: Backed, tmp_path: Path) -> None:
    target = tmp_path / "out" / "restored.db"
    target.parent.mkdir()
    result = restore(backed.backup, url(target))
    assert result.rows == backed.manifest.rows
    assert dump(target) == dump(Path(backed.url.removeprefix("sqlite:///")))
    assert files(target.parent) == {"restored.db"}
    assert target.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(target)) as connection:
        connection.execute("INSERT INTO parent (name) VALUES ('new')")
        assert connection.execute("SELECT max(id) FROM parent").fetchone() == (5,)
        assert connection.execute("PRAGMA user_version").fetchone() == (42,)
        assert connection.execute("SELECT words FROM found WHERE found MATCH 'find'").fetchall()


def test_a_file_that_holds_a_table_is_refused_and_left_alone(
    backed: Backed, sqlite_file: MakeSqliteFile
) -> None:
    target = sqlite_file("precious.db", script="CREATE TABLE precious (x); INSERT INTO precious VALUES (1)")
    before = target.read_bytes()
    with pytest.raises(TargetNotEmpty, match="it holds precious"):
        restore(backed.backup, url(target))
    assert target.read_bytes() == before


def test_a_table_that_is_still_in_the_journal_counts(backed: Backed, tmp_path: Path) -> None:
    target = tmp_path / "wal.db"
    with contextlib.closing(sqlite3.connect(target)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE precious (x)")
        connection.commit()
        with pytest.raises(TargetNotEmpty, match="precious"):
            restore(backed.backup, url(target))


@pytest.mark.parametrize("content", [b"", b"not a database, but somebody's file"])
def test_an_empty_file_may_be_written_over_and_any_other_file_may_not(
    backed: Backed, tmp_path: Path, content: bytes
) -> None:
    target = tmp_path / "there.db"
    target.write_bytes(content)
    target.chmod(0o640)
    if content:
        with pytest.raises(TargetNotEmpty):
            restore(backed.backup, url(target))
        assert target.read_bytes() == content
    else:
        restore(backed.backup, url(target))
        assert target.stat().st_mode & 0o777 == 0o640
        assert dump(target)


def test_a_database_without_tables_may_be_written_over(backed: Backed, sqlite_file: MakeSqliteFile) -> None:
    target = sqlite_file(
        "made.db", script="PRAGMA user_version = 1; CREATE TABLE x (y); DROP TABLE x; VACUUM"
    )
    restore(backed.backup, url(target))
    assert dump(target) == dump(Path(backed.url.removeprefix("sqlite:///")))


def test_journals_of_an_older_file_of_that_name_are_not_played_into_the_new_one(
    backed: Backed, tmp_path: Path
) -> None:
    target = tmp_path / "gone.db"
    for suffix in ("-wal", "-shm", "-journal"):
        (tmp_path / f"gone.db{suffix}").write_bytes(b"stale" * 1000)
    restore(backed.backup, url(target))
    assert not (tmp_path / "gone.db-journal").exists()
    assert dump(target) == dump(Path(backed.url.removeprefix("sqlite:///")))


def test_damage_leaves_no_file(backed: Backed, tmp_path: Path) -> None:
    assert backed.manifest.image is not None
    path = backed.folder / layout.object_key(backed.manifest.image.segments[0].packs[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Damaged):
        restore(backed.backup, url(out / "x.db"))
    assert files(out) == set()


def test_a_dry_run_proves_the_file_and_leaves_none(backed: Backed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    result = restore(backed.backup, url(out / "x.db"), RestoreOptions(dry_run=True))
    assert result.dry_run
    assert result.seconds["check"] > 0
    assert files(out) == set()


def test_a_folder_that_does_not_exist_is_said_in_the_plan(backed: Backed, tmp_path: Path) -> None:
    plan = plan_restore(backed.backup, url(tmp_path / "no" / "x.db"))
    assert [finding.code for finding in plan.refused] == ["no-folder"]


def test_broken_references_of_the_source_are_reported_and_restored(
    sqlite_file: MakeSqliteFile, tmp_path: Path
) -> None:
    source = sqlite_file(
        script="CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p);"
        "INSERT INTO c VALUES (7), (8); CREATE TABLE q (x REFERENCES nowhere); INSERT INTO q VALUES (1)"
    )
    backed = backed_up(url(source), tmp_path / "vault")
    result = restore(backed.backup, url(tmp_path / "x.db"))
    assert {finding.code for finding in result.findings} == {"dangling-reference"}
    assert all(finding.severity == "warning" for finding in result.findings)


def test_a_backup_of_sqlite_is_not_restored_to_postgres(backed: Backed) -> None:
    with pytest.raises(RestoreError, match="a sqlite database, and the target is postgres"):
        restore(backed.backup, "postgresql://u@nowhere/x")


def test_a_table_that_an_older_backup_lacks_wholly_is_named(backed: Backed, tmp_path: Path) -> None:
    gone = (
        LeftOut("main", "django_session", "table", "excluded by `exclude: django_session`"),
        LeftOut("main", "active", "view", "reads main.django_session, which is left out"),
    )
    manifest = replace(backed.manifest, left_out=gone)
    result = restore(backed.vault.backup_of(manifest), url(tmp_path / "x.db"))
    found = {finding.code: finding for finding in result.findings}
    assert {"tables-without-rows", "left-out"} <= found.keys()
    messages = [finding.message for finding in result.findings if finding.code == "left-out"]
    assert len(messages) == 2
    assert any("not even there without rows: django_session" in message for message in messages)
