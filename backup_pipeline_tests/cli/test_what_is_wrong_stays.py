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


def test_a_database_that_was_replaced_by_another_one_is_told_by_every_way(shop: Folder) -> None:
    shop.backup()
    (shop.path / "shop.db").unlink()
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE wp_posts (id INTEGER PRIMARY KEY)")
    assert shop.run("backup", "shop", "--no-record").code == 10
    assert codes(shop) >= {"another-database"}
    for code in ("another-database", "table-removed"):
        shop.good("ack", "shop", code, "--because", "a new site")
    shop.backup()
    assert codes(shop) == set()


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


def with_copy(shop: Folder, more: str = "") -> Path:
    config = shop.path / "backup.yaml"
    config.write_text(f"copies: {{second: ./second}}\n{more}" + config.read_text())
    return config


def edit(manifest: Path) -> None:
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows":3', b'"rows":4', 1))


def test_a_backup_after_an_altered_manifest_does_not_make_it_the_right_one(shop: Folder) -> None:
    with_copy(shop)
    first = shop.backup()
    manifest = shop.path / "vault" / "shop" / first / "manifest.json"
    written = manifest.read_bytes()
    edit(manifest)
    assert manifest.read_bytes() != written
    assert shop.run("backup", "shop", "--no-record").code == 10, "the one before it was altered"
    shop.good("repair", "shop")
    assert manifest.read_bytes() == written, "repair brings back what was written, and not what was altered"
    shop.good("verify", "shop", "all")


def test_a_failed_drill_is_told_until_a_drill_succeeds(shop: Folder) -> None:
    shop.backup()
    config = shop.path / "backup.yaml"
    text = config.read_text()
    config.write_text(text + "    invariants: {no orders: select id from orders}\n")
    assert shop.run("drill", "shop", "--no-record").code == 10
    assert "drill-failed" in codes(shop)
    shop.backup()
    assert "drill-failed" in codes(shop), "another backup mends nothing that a drill has found"
    config.write_text(text)
    shop.good("drill", "shop", "--no-record")
    assert codes(shop) == set()


def test_prune_keeps_the_backup_that_has_what_was_lost_until_the_loss_is_accepted(shop: Folder) -> None:
    config = shop.path / "backup.yaml"
    config.write_text(config.read_text() + "retention: {last: 1}\n")
    good = shop.backup()
    delete_rows(shop.path / "shop.db", "customers")
    for _ in range(3):
        assert shop.run("backup", "shop", "--no-record").code == 10
    shop.run("prune", "--despite-anomaly")
    kept = [line["id"] for line in shop.good("list", "--json").data["backups"]]
    assert good in kept, "status sends people to it"
    shop.good("ack", "shop", "table-became-empty")
    shop.backup()
    shop.good("prune", "--despite-anomaly")
    assert good not in [line["id"] for line in shop.good("list", "--json").data["backups"]]


def test_a_few_new_rows_mend_no_emptied_table_and_the_right_backup_is_named(shop: Folder) -> None:
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.executemany("INSERT INTO customers(name) VALUES (?)", [(str(n),) for n in range(100)])
    good = shop.backup()
    delete_rows(shop.path / "shop.db", "customers")
    assert shop.run("backup", "shop", "--no-record").code == 10
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.executemany("INSERT INTO customers(name) VALUES (?)", [(str(n),) for n in range(5)])
    ended = shop.run("--quiet", "backup", "shop", "--no-record")
    assert ended.code == 10
    assert f"main.customers has 5 rows; {good} had 10" in ended.stdout


def test_an_ack_of_an_event_covers_no_later_one(shop: Folder) -> None:
    shop.backup()
    (shop.path / "shop.db").rename(shop.path / "away.db")
    assert shop.run("backup", "shop", "--no-record").code == 4
    shop.good("ack", "shop", "last-run-failed", "--because", "we moved it")
    assert codes(shop) == set()
    (shop.path / "shop.db").write_bytes(b"no database at all" * 100)
    assert shop.run("backup", "shop", "--no-record").code == 4
    assert codes(shop) == {"last-run-failed"}


def test_a_copy_that_was_found_damaged_stands_in_status(shop: Folder) -> None:
    with_copy(shop)
    shop.good("backup", "shop", "--no-record")
    next(path for path in (shop.path / "second" / "objects").rglob("*") if path.is_file()).unlink()
    assert shop.run("verify", "shop", "--copy", "second").code == 10
    assert "last-run-failed" in codes(shop)
    shop.good("repair", "shop", "--copy", "second")
    shop.good("verify", "shop", "--copy", "second")
    assert codes(shop) == set()


def test_a_place_that_is_no_vault_is_said_and_an_ack_does_not_begin_one(shop: Folder) -> None:
    shop.backup()
    (shop.path / "vault" / "vault.json").unlink()
    assert "vault-mark-missing" in codes(shop)
    shutil.rmtree(shop.path / "vault")
    assert shop.run("ack", "shop", "vault-lost").code != 0
    assert not (shop.path / "vault").exists()


def test_a_system_that_cannot_be_judged_does_not_hide_the_others(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("shop.db", "blog.db"):
        make_shop(home / name, rows=20)
    key = keygen(capsys, "--out", "key.txt")
    config = configure(home, key["recipient"], home / "key.txt")
    with Path(config).open("a") as file:
        file.write(f"  blog:\n    database: sqlite:///{home}/blog.db\n")
    for system in ("shop", "shop", "blog"):
        assert run(capsys, "-q", "backup", system, "--no-record", "--no-copy", "--config", config)[0] == 0
    old, new = sorted((home / "vault" / "shop").glob("20*"))
    for file in old.glob("*.*"):
        (new / file.name).chmod(0o644)
        shutil.copyfile(file, new / file.name)
    code, out, _ = run(capsys, "status", "--config", config)
    assert code == 13
    shop, _, blog = out.partition("\nblog\n")
    assert "ERROR damaged" in shop
    assert "newest full backup  20" in blog
