"""A vault on a disk and its copies in a bucket and on an SFTP server: made with the backup, enough without the vault."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.copies import compare
from backup_pipeline.operations import Site
from backup_pipeline_tests.harness.commands import Ended, invoke
from backup_pipeline_tests.harness.damage import alter
from backup_pipeline_tests.harness.engines import MakeSqliteFile
from backup_pipeline_tests.harness.sftp_server import SftpServer
from backup_pipeline_tests.harness.stores import S3Server

pytestmark = pytest.mark.usefixtures("one_writer")

SCRIPT = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), note BLOB);
INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob');
"""


def good(folder: Path, *arguments: str) -> Ended:
    ended = invoke(*arguments, cwd=folder)
    assert ended.code == 0, str(ended)
    return ended


def change(folder: Path, rows: int) -> None:
    with closing(sqlite3.connect(folder / "app.sqlite3")) as connection:
        connection.executemany(
            "INSERT INTO orders (customer_id, note) VALUES (1, randomblob(?))", [(20_000,)] * rows
        )
        connection.commit()


@pytest.fixture
def project(
    tmp_path: Path, sqlite_file: MakeSqliteFile, rclone_server: S3Server, rclone_sftp: SftpServer
) -> Path:
    sqlite_file("app.sqlite3", script=SCRIPT)
    change(tmp_path, 300)
    path = rclone_sftp.fresh()
    sftp = rclone_sftp.options(path, path)
    bucket = "".join(f"  {line}\n" for line in rclone_server.yaml().splitlines())
    (tmp_path / "backup.yaml").write_text(
        f"vault: ./vault\ncopies:\n  bucket:\n    url: s3://{rclone_server.make_bucket()}/copies/a\n{bucket}"
        f"  far:\n    url: {sftp.url}\n    key_file: {sftp.key_file}\n    known_hosts: {sftp.known_hosts}\n"
        "systems:\n  shop:\n    database: sqlite:///app.sqlite3\n"
    )
    return tmp_path


def test_copies_are_made_far_away_and_bring_everything_back(project: Path) -> None:
    first = good(project, "backup", "shop", "--no-record", "--json").data
    assert [(one["name"], one["report"]["copied"]) for one in first["copies"]] == [
        ("bucket", [first["backup"]["id"]]),
        ("far", [first["backup"]["id"]]),
    ]
    change(project, 3)
    second = good(project, "backup", "shop", "--no-record", "--json").data
    for one in second["copies"]:
        assert one["report"]["skipped"] > 0
        assert one["report"]["bytes"] < first["copies"][0]["report"]["bytes"]
    opened = Site.load(project / "backup.yaml")
    for name in ("bucket", "far"):
        assert compare(opened.vault, opened.copy(name), "shop").same
        assert len(good(project, "list", "shop", "--copy", name, "--json").data["backups"]) == 2
        good(project, "verify", "shop", "--copy", name)
        good(project, "verify", "shop", "--copy", name, "--read", "30%")
    good(project, "verify", "shop", "--copy", "bucket", "--read", "100%")
    shutil.rmtree(project / "vault")
    good(project, "restore", "shop", "--from", "bucket", "--to", "sqlite:///from_bucket.db")
    good(project, "drill", "shop", "--from", "far")
    with closing(sqlite3.connect(project / "from_bucket.db")) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (303,)
    good(project, "copy", "--from", "bucket", "--to", "vault")
    good(project, "verify", "shop", "all")
    assert compare(opened.vault, opened.copy("far"), "shop").same


def test_a_damaged_vault_is_healed_from_far_away_and_a_lost_object_there_from_here(project: Path) -> None:
    good(project, "backup", "shop", "--no-record")
    victim = max((project / "vault" / "objects").rglob("*.zst"), key=lambda path: path.stat().st_size)
    data = victim.read_bytes()
    alter(victim)
    report = good(project, "repair", "shop", "--from", "bucket", "--json").data
    assert [one["source"] for one in report["healed"]] == ["bucket"]
    assert victim.read_bytes() == data
    key = str(victim.relative_to(project / "vault"))
    store = Site.load(project / "backup.yaml").copy("bucket").store
    store.delete(key)
    assert invoke("verify", "shop", "--copy", "bucket", cwd=project).code == 10
    good(project, "repair", "shop", "--copy", "bucket", "--quick")
    good(project, "verify", "shop", "--copy", "bucket", "--read", "100%")
