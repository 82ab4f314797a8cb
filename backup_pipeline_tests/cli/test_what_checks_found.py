"""What the checks of a backup found is said where the backup was asked for, and not in the UI alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.engines import MakeSqliteFile

ROWS = "CREATE TABLE uploads (id INTEGER PRIMARY KEY, file TEXT); INSERT INTO uploads (file) VALUES ('a.txt'), ('gone.txt');"


@pytest.fixture
def app(sqlite_file: MakeSqliteFile) -> Folder:
    folder = Folder(sqlite_file("app.sqlite3", script=ROWS).parent, {})
    media: Path = folder.path / "media"
    media.mkdir()
    (media / "a.txt").write_text("a")
    (folder.path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  app:\n    database: sqlite:///app.sqlite3\n"
        "    files: {media: {path: ./media, refs: {uploads.file: path}}}\n"
    )
    return folder


def test_a_row_without_its_file_is_said_by_the_backup_that_stores_it(app: Folder) -> None:
    ended = app.run("--quiet", "backup", "app")
    assert ended.code == 10, "a cron job reads nothing else"
    shown = ended.stdout
    assert "ERROR file-missing" in shown
    assert "gone.txt" in shown
    assert app.good("list", "app").stdout.count("full") == 1, "the backup is made all the same"
    assert "FAILED" in app.good("list", "app").stdout
    told = json.loads(app.run("backup", "app", "--json").stdout)
    assert (told["ok"], told["data"]["backup"]["errors"]) == (False, 1)
    assert "file-missing" in {finding["code"] for finding in told["data"]["findings"]}


def test_what_the_judgement_found_is_not_a_verification_that_failed(shop: Folder) -> None:
    shop.backup()
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.execute("DELETE FROM orders")
    assert shop.run("backup", "shop", "--no-record").code == 10
    heads, _, line = shop.good("list", "shop").stdout.splitlines()[1:4]
    assert line[heads.index("VERIFIED") :].startswith("20")
    assert "1 error" in line[heads.index("NOTES") :]


def test_a_drill_that_failed_is_not_a_verification_that_failed(shop: Folder) -> None:
    """VERIFIED said FAILED, and PROVEN nothing."""
    shop.backup()
    shop.good("verify", "shop")
    with (shop.path / "backup.yaml").open("a") as config:
        config.write("    invariants: {none: select 1}\n")
    assert shop.run("drill", "shop", "--no-record").code == 10
    heads, line = shop.good("list", "shop").stdout.splitlines()[1:3]
    at, end = heads.index("VERIFIED"), heads.index("PROVEN")
    assert line[at:end].strip()[:2] == "20", "it was verified, on a day"
    assert line[end:].startswith("FAILED")
