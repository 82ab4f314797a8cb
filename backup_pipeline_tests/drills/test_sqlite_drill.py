"""A SQLite drill passes on what is whole, finds what is not, and leaves no file."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.databases.base import DrillOptions
from backup_pipeline.databases.sqlite import drill as sqlite_drill
from backup_pipeline.drills import drill
from backup_pipeline.errors import Damaged
from backup_pipeline.vault import layout
from backup_pipeline_tests.harness.backups import Backed, backed_up
from backup_pipeline_tests.harness.engines import MakeSqliteFile
from backup_pipeline_tests.restores.test_sqlite_restore import SCRIPT


@pytest.fixture
def backed(sqlite_file: MakeSqliteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backed:
    found = backed_up(f"sqlite:///{sqlite_file(script=SCRIPT)}", tmp_path / "vault")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return found


@pytest.fixture(params=["alone", "with workers"])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is large enough for workers, or too small for them."""
    if request.param == "with workers":
        monkeypatch.setattr(sqlite_drill, "WORTH_WORKERS", 0)


@pytest.mark.usefixtures("cores")
def test_a_drill_passes_and_leaves_no_file(backed: Backed, tmp_path: Path) -> None:
    report = drill(
        backed.backup, DrillOptions(invariants={"holds": "SELECT * FROM parent WHERE name IS NULL"})
    )
    assert report.ok, report.report.errors
    assert report.report.counted["tables"] == len(backed.manifest.tables)
    assert report.report.counted["rows"] == backed.manifest.rows
    assert report.report.counted["writes"] == 2
    assert 0 < report.recovery_seconds < report.report.seconds
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.usefixtures("cores")
def test_a_table_that_is_not_what_was_recorded_is_found(backed: Backed) -> None:
    tables = tuple(
        replace(entry, fingerprint=entry.fingerprint[:-1] + ("0" if entry.fingerprint[-1] != "0" else "1"))
        if entry.name == "odd"
        else entry
        for entry in backed.manifest.tables
    )
    report = drill(backed.vault.backup_of(replace(backed.manifest, tables=tables)))
    assert [(finding.code, finding.table) for finding in report.report.errors] == [
        ("rows-differ", "main.odd")
    ]


def test_invariants_are_asked(backed: Backed) -> None:
    asked = {
        "broken": "SELECT id FROM parent",
        "wrong": "SELECT * FROM nowhere",
        "write": "DELETE FROM parent",
    }
    report = drill(backed.backup, DrillOptions(invariants=asked))
    assert [finding.code for finding in report.report.errors] == [
        "invariant-broken",
        "invariant-fails",
        "invariant-fails",
    ]


def test_damage_is_an_error_and_leaves_no_file(backed: Backed, tmp_path: Path) -> None:
    assert backed.manifest.image is not None
    path = backed.folder / layout.object_key(backed.manifest.image.segments[0].packs[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(Damaged):
        drill(backed.backup)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_sequence_that_was_behind_in_the_source_is_a_warning(
    sqlite_file: MakeSqliteFile, tmp_path: Path
) -> None:
    source = sqlite_file(
        "behind.db",
        script="CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v NOT NULL CHECK (v = id));"
        "INSERT INTO t VALUES (5, 5); UPDATE sqlite_sequence SET seq = 1",
    )
    behind = backed_up(f"sqlite:///{source}", tmp_path / "other")
    report = drill(behind.backup)
    assert report.ok
    assert "sequence-behind" in {finding.code for finding in report.findings}


def test_an_empty_database_passes_and_says_so(sqlite_file: MakeSqliteFile, tmp_path: Path) -> None:
    empty = backed_up(f"sqlite:///{sqlite_file('e.db', script='CREATE TABLE t (x)')}", tmp_path / "other")
    report = drill(empty.backup)
    assert report.ok
    assert "nothing-in-it" in {finding.code for finding in report.findings}
