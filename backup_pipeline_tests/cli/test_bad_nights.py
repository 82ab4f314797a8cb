"""What is said, and what is still true, when something is already broken: a vault that was hurt, a folder that cannot
be written, a pattern with a typing error."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline_tests.cli.conftest import Folder


def lose_the_rows(folder: Folder) -> None:
    objects = folder.path / "vault" / "objects"
    for path in [*objects.rglob("*.blocks.zst"), *objects.rglob("*.tsv.zst")]:
        path.unlink()


def backup_folder(folder: Folder, identifier: str) -> Path:
    return folder.path / "vault" / "shop" / identifier


def codes(folder: Folder, *arguments: str) -> set[str]:
    document = folder.run(*arguments, "--json").document
    systems = document["data"]["systems"]
    return {finding["code"] for one in systems for finding in one["findings"]}


def with_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))


def test_a_drill_that_cannot_restore_takes_the_proof_away(shop: Folder) -> None:
    shop.backup()
    shop.good("drill", "shop", "--no-record")
    shop.accept_that_nothing_runs()
    assert "protected" in shop.good("status").stdout
    lose_the_rows(shop)
    ended = shop.run("drill", "shop", "--no-record", "--json")
    assert (ended.code, ended.error["code"]) == (7, "damaged")
    assert "drill-failed" in codes(shop, "status")
    assert "never-proven" not in codes(shop, "status"), "one cause is told once"
    assert shop.good("list", "--json").data["backups"][0]["proven_at"] is None


def test_a_restore_of_what_is_not_whole_says_what_is_lost_and_writes_nothing(shop: Folder) -> None:
    shop.backup()
    lose_the_rows(shop)
    for extra in ([], ["--dry-run"]):
        ended = shop.run("restore", "shop", "--to", "sqlite:///again.db", *extra, "--json")
        assert (ended.code, ended.error["code"]) == (7, "damaged")
        assert "the file itself" in ended.error["message"]
        assert "repair shop --set-aside" in ended.error["remedy"]
        assert "verify shop all" in ended.error["remedy"]
    assert not (shop.path / "again.db").exists()


def test_a_restore_names_the_tables_whose_rows_are_lost(pg_shop: Folder) -> None:
    pg_shop.backup()
    chunks = pg_shop.good("show", "shop", "--json").data["manifest"]["tables"]
    (orders,) = [table for table in chunks if table["name"] == "orders"]
    digest = orders["chunks"][0]["object"]["sha256"]
    (path,) = (pg_shop.path / "vault" / "objects").rglob(f"{digest}*")
    path.unlink()
    ended = pg_shop.run("restore", "shop", "--to", pg_shop.restored, "--create", "--json")
    assert (ended.code, ended.error["code"]) == (7, "damaged")
    assert "1 object" in ended.error["message"]
    assert ended.error["message"].endswith(": public.orders")


def test_a_query_of_lost_rows_is_not_called_wrong_sql(pg_shop: Folder) -> None:
    pg_shop.backup()
    lose_the_rows(pg_shop)
    ended = pg_shop.run("query", "shop", "latest", "select count(*) from orders", "--json")
    assert (ended.code, ended.error["code"]) == (7, "damaged")
    assert ended.error["message"].startswith("public.orders: ")


def test_a_vault_that_can_only_be_read_is_verified_and_drilled_all_the_same(shop: Folder) -> None:
    identifier = shop.backup()
    # Stands in the way of every proof, for root as well.
    shutil.rmtree(backup_folder(shop, identifier) / "proofs")
    (backup_folder(shop, identifier) / "proofs").write_text("")
    for arguments in (["verify", "shop"], ["verify", "shop", "all"], ["drill", "shop", "--no-record"]):
        data = shop.good(*arguments, "--json").data
        found = (data.get("report") or data)["findings"]
        assert "not-remembered" in {finding["code"] for finding in found}, arguments


def test_a_state_folder_that_cannot_be_written_stops_no_command(shop: Folder) -> None:
    config = shop.path / "backup.yaml"
    (shop.path / "in the way").write_text("")
    config.write_text(config.read_text() + "state: ./in the way\n")
    data = shop.good("inventory", "shop", "--json").data
    assert [finding["code"] for finding in data["findings"]] == ["inventory-not-kept"]
    shop.backup()


def test_a_manifest_that_was_deleted_or_edited_is_missed_by_status(shop: Folder) -> None:
    first = shop.backup()
    second = shop.backup()
    shop.good("drill", "shop", "--no-record")
    shop.accept_that_nothing_runs()
    assert shop.good("status", "--json").data["protected"]
    manifest = backup_folder(shop, second) / "manifest.json"
    written = manifest.read_bytes()
    manifest.chmod(0o644)
    manifest.write_bytes(written.replace(b'"rows":3', b'"rows":4'))
    assert "damaged" in codes(shop, "status")
    manifest.write_bytes(written)
    assert shop.good("status", "--json").data["protected"]
    manifest.unlink()
    assert "manifest-missing" in codes(shop, "status")
    listed = shop.run("list", "--json")
    assert listed.code == 10, "a list that is short says so"
    assert listed.document["data"]["backups"][-1]["id"] == first
    assert "manifest-missing" in shop.run("list").stdout


def test_a_table_that_came_out_empty_is_in_the_status(shop: Folder) -> None:
    shop.backup()
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.execute("DELETE FROM orders")
    for record in ([], ["--no-record"], ["--no-record"]):
        ended = shop.run("--quiet", "backup", "shop", *record)
        assert (ended.code, "table-became-empty" in ended.stdout) == (10, True), "each night, on every way"
        assert "table-became-empty: main.orders" in shop.run("status").stdout
        assert shop.run("status").code == 13
    shop.good("ack", "shop", "table-became-empty", "--for", "7d", "--because", "the season is over")
    assert "accepted until" in shop.run("status").stdout
    assert "the season is over" in shop.good("ack", "shop").stdout
    assert shop.good("--quiet", "backup", "shop", "--no-record").stdout == ""
    shop.good("ack", "shop", "table-became-empty", "--withdraw")
    assert shop.run("backup", "shop", "--no-record").code == 10
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.execute("INSERT INTO orders SELECT id, id, 0 FROM customers")
    shop.backup()
    assert "table-" not in shop.run("status").stdout, "it is mended"


def test_a_pattern_that_matches_nothing_is_pointed_out(shop: Folder) -> None:
    config = shop.path / "backup.yaml"
    text = config.read_text().replace("exclude: [audit_log]", "exclude: [audit_log, audit_lgo]")
    config.write_text(text + '      typed: ["ordres"]\n    expected_empty: [nothing_*]\n')
    said = shop.good("backup", "shop", "--no-record").stdout
    assert "`exclude: audit_lgo` matches no table" in said
    ended = shop.run("doctor", "shop", "--json")
    assert ended.code == 14, "a group of which nothing is there is asked for in vain"
    found = ended.document["data"]["systems"]["shop"]["findings"]
    idle = {finding["message"] for finding in found if finding["code"] == "pattern-without-table"}
    assert len(idle) == 3
    assert any("groups: typed: ordres" in message for message in idle)
    assert any("expected_empty: nothing_*" in message for message in idle)


def test_what_to_run_next_can_be_pasted(shop: Folder) -> None:
    assert "run `backup-pipeline backup shop`" in shop.run("status").stdout
    shop.backup()
    assert "run `backup-pipeline drill shop`" in shop.run("status").stdout
    partial = shop.good("backup", "shop", "--only", "sales", "--no-record").stdout
    identifier = shop.good("list", "--json").data["backups"][-1]["id"]
    assert f"backup-pipeline drill shop {identifier} " in partial
    (backup_folder(shop, identifier) / "manifest.json").chmod(0o644)
    (backup_folder(shop, identifier) / "manifest.json").write_bytes(b"")
    assert "`backup-pipeline verify shop all`" in shop.run("list").stderr


def test_a_refused_login_of_a_target_is_not_called_a_server_that_is_down(pg_shop: Folder) -> None:
    pg_shop.backup()
    ended = pg_shop.run("restore", "shop", "--to", with_user(pg_shop.restored, "nobody_here"), "--json")
    assert (ended.code, ended.error["code"]) == (9, "restore")
    assert "check the user" in ended.error["remedy"]


def test_a_backup_from_the_future_does_not_look_like_a_fresh_one(shop: Folder) -> None:
    site = Site.load(shop.path / "backup.yaml", environ={})
    site.clock = lambda: datetime.now(UTC) + timedelta(days=900)
    identifier = backup(site, BackupOrder("shop")).manifest.id
    assert "from-the-future" in codes(shop, "status")
    ended = shop.run("backup", "shop", "--no-record", "--json")
    assert (ended.code, ended.error["code"]) == (5, "already-exists")
    assert f"backup-pipeline forget shop {identifier} --force newest" in ended.error["remedy"]
    # What it says to do works.
    shop.good("forget", "shop", identifier, "--force", "newest", "--yes")
    shop.backup()
    assert "from-the-future" not in codes(shop, "status")
    shop.good("verify", "shop", "all")
