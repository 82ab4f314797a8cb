"""An object that earlier backups name is gone: the next backup is made, and does not hide the loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.cli.test_file_backups import media
from backup_pipeline_tests.harness.damage import alter

__all__ = ["media"]

CODE = "objects-missing-before"


def manifest_of(folder: Folder, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (folder.path / "vault" / "shop" / identifier / "manifest.json").read_bytes()
    )
    return found


def object_of(folder: Folder, reference: dict[str, Any]) -> Path:
    name = reference["sha256"]
    return folder.path / "vault" / "objects" / name[:2] / f"{name}{reference['suffix']}"


def errors(folder: Folder) -> set[str]:
    (one,) = folder.run("status", "--json").document["data"]["systems"]
    return {finding["code"] for finding in one["findings"] if finding["severity"] == "error"}


def told_once(folder: Folder, earlier: str, *record: str) -> None:
    """This backup says it, lacks nothing, and is proven like any other."""
    ended = folder.run("backup", "shop", *record)
    assert ended.code == 10, str(ended)
    assert f"ERROR {CODE}: the vault lacked 1 of " in ended.stdout
    assert f"objects that {earlier} names" in ended.stdout
    assert "`backup-pipeline verify shop all`" in ended.stdout
    assert CODE in errors(folder)
    assert "DEGRADED" not in folder.good("list", "shop").stdout
    newest = max((folder.path / "vault" / "shop").glob("*/RECOVER.md"))
    assert "was not whole" not in newest.read_text()
    folder.good("verify", "shop")
    folder.good("drill", "shop", "--no-record")


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_lost_pack_of_files_is_told_and_older_backups_stay_hurt(media: Folder, damage: str) -> None:
    earlier = media.backup()
    (tree,) = (one for one in manifest_of(media, earlier)["files"] if one["name"] == "media")
    (pack,) = (object_of(media, one) for one in tree["packs"])
    data = pack.read_bytes()
    pack.unlink()
    if damage == "cut":
        pack.write_bytes(data[:-1])
    (media.path / "media" / "0.txt").write_text("another file 0, so that the new pack has other bytes")
    told_once(media, earlier, "--no-record")
    media.backup()
    assert CODE not in errors(media)
    assert media.run("verify", "shop", "all").code == 10, "the older backup is hurt all the same"


@pytest.mark.parametrize("record", [(), ("--no-record",)], ids=["graph", "direct"])
def test_lost_rows_are_told_and_come_back(shop: Folder, record: tuple[str, ...]) -> None:
    earlier = shop.backup()
    (segment,) = manifest_of(shop, earlier)["image"]["segments"]
    object_of(shop, segment["packs"][0]).unlink()
    told_once(shop, earlier, *record)
    shop.good("verify", "shop", "all")
    shop.backup()
    assert CODE not in errors(shop)


def test_lost_chunks_are_told_behind_a_partial_backup(pg_shop: Folder) -> None:
    earlier = pg_shop.backup()
    pg_shop.good("backup", "shop", "--no-record", "--only", "orders")
    (table,) = (one for one in manifest_of(pg_shop, earlier)["tables"] if one["name"] == "customers")
    object_of(pg_shop, table["chunks"][0]["object"]).unlink()
    told_once(pg_shop, earlier, "--no-record")
    pg_shop.good("verify", "shop", "all")


def test_what_no_backup_names_any_more_and_what_was_set_aside_is_not_lost(media: Folder) -> None:
    first = media.backup()
    (tree,) = (one for one in manifest_of(media, first)["files"] if one["name"] == "media")
    (pack,) = (object_of(media, one) for one in tree["packs"])
    (media.path / "media" / "0.txt").write_text("another file")
    for number in range(1, 5):
        (media.path / "media" / f"{number}.txt").unlink()
    second = media.backup()
    (tree,) = (one for one in manifest_of(media, second)["files"] if one["name"] == "media")
    assert pack not in {object_of(media, one) for one in tree["packs"]}
    media.good("forget", "shop", first, "--yes")
    pack.unlink()
    media.backup()
    (segment,) = manifest_of(media, second)["image"]["segments"]
    hurt = object_of(media, segment["packs"][0])
    alter(hurt)
    assert media.run("repair", "shop", "--set-aside").code == 7
    media.backup()
    # It was stored anew. Lost again, it is lost: that it was set aside once says nothing.
    hurt.unlink()
    assert media.run("backup", "shop", "--no-record").code == 10
