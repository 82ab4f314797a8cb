"""What was wrong once is told by every later backup and by `status`, until it is mended or accepted."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import backup_pipeline as bp
from backup_pipeline.errors import ErrorsFound
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.cli.test_keys import configure, home, keygen, run
from backup_pipeline_tests.harness.encrypted import make_shop

__all__ = ["home"]


def codes(shop: Folder) -> set[str]:
    (one,) = shop.run("status", "--json").document["data"]["systems"]
    return {finding["code"] for finding in one["findings"] if finding["severity"] == "error"}


def delete_rows(database: Path, table: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"DELETE FROM {table}")


@pytest.mark.rule("C4")
def test_a_newest_backup_that_was_deleted_is_missed_until_it_is_recorded(shop: Folder) -> None:
    shop.backup()
    gone = shop.backup()
    shutil.rmtree(shop.path / "vault" / "shop" / gone)
    assert codes(shop) == {"newest-missing"}
    for code in (10, 0):
        assert shop.run("backup", "shop", "--no-record").code == code, (
            "the next backup says so, and does not hide it"
        )
        assert "backup-missing" in codes(shop)
        assert shop.run("verify", "shop", "all").code == 10
    shop.good("forget", "shop", gone, "--yes")
    shop.good("verify", "shop", "all")
    assert codes(shop) == set()


def test_a_deleted_middle_backup_is_seen_by_status_and_stops_the_sweep(shop: Folder) -> None:
    ids = [shop.backup() for _ in range(3)]
    shutil.rmtree(shop.path / "vault" / "shop" / ids[1])
    assert codes(shop) == {"backup-missing"}
    config = shop.path / "backup.yaml"
    config.write_text(config.read_text() + "retention: {last: 5}\n")
    assert shop.run("prune").code == 18, "what it named may be needed for its repair"
    shop.good("forget", "shop", ids[1], "--yes")
    assert codes(shop) == {"last-run-failed"}, "the prune failed, and no other came after it"
    shop.good("prune")
    assert codes(shop) == set()


def test_python_raises_what_the_command_exits_with(shop: Folder) -> None:
    config = shop.path / "backup.yaml"
    bp.backup("shop", config=config)
    delete_rows(shop.path / "shop.db", "orders")
    for _ in range(2):
        with pytest.raises(ErrorsFound, match=r"is made, with an error: main\.orders is empty"):
            bp.backup("shop", config=config)
    assert codes(shop) == {"table-became-empty"}


def test_one_ack_covers_what_was_wrong_when_it_was_given(shop: Folder) -> None:
    shop.backup()
    delete_rows(shop.path / "shop.db", "orders")
    assert shop.run("backup", "shop", "--no-record").code == 10
    shop.good("ack", "shop", "table-became-empty")
    shop.backup()
    delete_rows(shop.path / "shop.db", "customers")
    ended = shop.run("--quiet", "backup", "shop", "--no-record")
    assert ended.code == 10
    assert "ERROR table-became-empty: main.customers" in ended.stdout
    assert "main.orders" not in ended.stdout
    unknown = shop.run("ack", "shop", "no-such-thing")
    assert (unknown.code, "table-became-empty" in unknown.stderr) == (3, True)


@pytest.mark.rule("K9", "E6")
def test_a_host_with_public_keys_remembers_what_is_wrong_and_tells_the_store_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_shop(home / "shop.db", rows=60)
    key = keygen(capsys, "--out", "key.txt")
    host = configure(home, key["recipient"], None)

    def backup() -> int:
        return run(capsys, "-q", "backup", "shop", "--no-record", "--no-copy", "--config", host)[0]

    assert backup() == 0
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        table = max(name for (name,) in named if connection.execute(f"SELECT 1 FROM {name}").fetchone())
    delete_rows(home / "shop.db", table)
    assert backup() == 10
    # A loss is remembered longer than what a backup needs to build on.
    for path in (home / "state-backup.yaml" / "known").rglob("content/*"):
        os.utime(path, (0, 0))
    assert [backup(), backup()] == [10, 10]
    assert f"main.{table} is empty" in run(capsys, "status", "--config", host)[1]
    because = "emptied by the yearly clean-up"
    ack = ["ack", "shop", "table-became-empty", "--for", "300d", "--because", because]
    assert run(capsys, *ack, "--config", host)[0] == 0
    assert backup() == 0
    for path in (home / "vault").rglob("*"):
        if path.is_file() and path.suffix != ".age":
            assert table.encode() not in path.read_bytes(), path
            assert because.encode() not in path.read_bytes(), path
    # Another host, that has the identity and none of that memory, is told the same.
    owner = configure(home, key["recipient"], home / "key.txt", "owner.yaml")
    told = json.loads(run(capsys, "status", "--json", "--config", owner)[1])
    (system,) = told["data"]["systems"]
    assert [(one["code"], one["because"]) for one in system["accepted"]] == [("table-became-empty", because)]
