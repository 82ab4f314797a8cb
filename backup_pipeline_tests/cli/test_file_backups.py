"""`backup` of a system with file trees: what is chosen, what is said, and how it ends when something is not in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from backup_pipeline.operations import Site
from backup_pipeline_tests.cli.conftest import Folder


@pytest.fixture
def media(shop: Folder) -> Folder:
    config = shop.path / "backup.yaml"
    config.write_text(
        config.read_text()
        + "      pictures: [files/media]\n    files: {media: {path: ./media}, settings: {paths: [backup.yaml]}}\n"
    )
    (shop.path / "media").mkdir()
    for number in range(5):
        (shop.path / "media" / f"{number}.txt").write_text(f"file {number}")
    return shop


def test_rows_and_files_are_one_backup(media: Folder) -> None:
    page = media.good("backup", "shop", "--no-record")
    assert "6 files" in page.stdout
    shown = media.good("show", "shop").stdout
    assert "media" in shown
    assert "settings" in shown
    assert media.good("verify", "shop").code == 0


@pytest.mark.parametrize("only", ["files.media", "files/media", "pictures"])
def test_a_tree_alone_is_a_partial_backup(media: Folder, only: str) -> None:
    media.backup()
    made = media.good("backup", "shop", "--no-record", "--only", only, "--json").data["backup"]
    assert (made["scope"], made["tables"], made["files"]) == ("partial", 0, 5)


def test_tables_alone_are_a_partial_backup_without_files(media: Folder) -> None:
    made = media.good("backup", "shop", "--no-record", "--only", "orders", "--json").data["backup"]
    assert (made["scope"], made.get("files", 0)) == ("partial", 0)


def test_a_name_that_is_neither_table_nor_tree_is_an_error(media: Folder) -> None:
    ended = media.run("backup", "shop", "--no-record", "--only", "files.nothing")
    assert ended.code == 2
    assert "pictures, files.media, files.settings" in ended.stderr


@pytest.mark.parametrize("record", [[], ["--no-record"]])
def test_a_degraded_backup_is_made_and_its_exit_code_says_so(media: Folder, record: list[str]) -> None:
    media.good("backup", "shop", "--no-record")
    for path in (media.path / "media").iterdir():
        path.unlink()
    ended = media.run("backup", "shop", *record)
    assert ended.code == 10
    assert "tree-became-empty" in ended.stdout
    assert "errors-found" in ended.stderr
    assert "DEGRADED" in media.good("list", "shop").stdout
    media.good("drill", "shop", "--no-record")
    status = media.run("status", "shop")
    assert status.code == 13, "a proven backup that lacks files is nothing to sleep well with"
    assert "tree-became-empty" in status.stdout


def test_an_emptied_tree_stays_an_error_every_night_until_it_is_accepted(media: Folder) -> None:
    media.good("backup", "shop", "--no-record")
    for path in (media.path / "media").iterdir():
        path.unlink()
    for _ in range(3):
        ended = media.run("backup", "shop", "--no-record")
        assert ended.code == 10
        assert "expected_empty: [files.media]" in ended.stdout
    assert "tree-empty" in media.run("doctor", "shop").stdout
    config = media.path / "backup.yaml"
    config.write_text(config.read_text() + "    expected_empty: [files.media]\n")
    assert "tree-" not in media.good("backup", "shop", "--no-record").stdout
    assert "tree-" not in media.good("doctor", "shop").stdout


def test_a_tree_around_its_own_vault_leaves_it_out_and_says_so(media: Folder) -> None:
    config = media.path / "backup.yaml"
    config.write_text(config.read_text().replace("{path: ./media}", "{path: .}"))
    (media.path / "way").symlink_to("vault")
    (media.path / "media" / "vault").mkdir()
    (media.path / "media" / "vault" / "of-the-user").write_text("kept")
    made = [media.good("backup", "shop", "--json").data["backup"] for _ in range(2)]
    assert made[0]["files"] == made[1]["files"]
    page = media.good("show", "shop").stdout
    assert "backups-inside" in page
    out = media.path.parent / "out"
    media.good("restore", "shop", "--files", "media", "--to", str(out))
    assert (out / "media" / "vault" / "of-the-user").read_text() == "kept"
    assert not (out / "vault").exists()
    assert (out / "way").is_symlink()
    assert "backups-inside" in media.good("doctor", "shop").stdout


def test_a_tree_inside_of_the_vault_is_an_error(media: Folder) -> None:
    media.good("backup", "shop", "--no-record")
    config = media.path / "backup.yaml"
    config.write_text(config.read_text().replace("{path: ./media}", "{path: ./vault/objects}"))
    ended = media.run("backup", "shop", "--no-record")
    assert ended.code == 2
    assert "where backups are kept" in ended.stderr


def test_a_folder_that_is_not_there_fails_the_backup_and_says_so(media: Folder) -> None:
    (media.path / "media").rename(media.path / "elsewhere")
    ended = media.run("backup", "shop", "--no-record")
    assert ended.code == 4
    assert "is it mounted?" in ended.stderr
    assert media.good("list", "shop", "--json").data["backups"] == []
    assert media.run("doctor", "shop").code == 14


@pytest.mark.parametrize("record", [[], ["--no-record"]])
def test_a_table_that_was_dropped_is_missed_in_a_backup_of_rows_and_files(
    media: Folder, record: list[str]
) -> None:
    media.good("backup", "shop", *record)
    with closing(sqlite3.connect(media.path / "shop.db")) as connection:
        connection.execute("ALTER TABLE orders RENAME TO purchases")
    ended = media.run("backup", "shop", "--json", *record)
    assert ended.code != 0
    newest = media.good("list", "shop", "--json").data["backups"][-1]
    assert (newest["tables"], newest["files"]) == (2, 6)
    assert [
        (one["code"], one["table"])
        for one in ended.document["data"]["findings"]
        if one["severity"] == "error"
    ] == [("table-removed", "main.orders")]
    known = Site.load(media.path / "backup.yaml", environ={}).known_inventory("shop")
    assert known is not None
    assert {table.id.name for table in known.taken} == {"customers", "purchases"}
    assert media.run("backup", "shop", *record).code == 10, "told until it is accepted"
    assert "table-removed" in media.run("status", "shop").stdout
    media.good("ack", "shop", "table-removed")
    media.good("backup", "shop", *record)
