"""A backup that was killed between its commit and its checks: the loss in it is told all the same."""

from __future__ import annotations

import shutil
import sqlite3

from backup_pipeline_tests.cli.conftest import Folder


def killed_before_its_checks(shop: Folder) -> str:
    """Every run of the killed backup ended right after the commit: no proof lies beside the manifest."""
    made = shop.run("backup", "shop", "--no-record", "--json")
    newest = max(path.parent for path in (shop.path / "vault" / "shop").glob("*/manifest.json"))
    assert made.code in (0, 10), str(made)
    shutil.rmtree(newest / "proofs")
    return newest.name


def empty(shop: Folder) -> None:
    with sqlite3.connect(shop.path / "shop.db") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM orders")


def told(shop: Folder) -> set[str]:
    (one,) = shop.run("status", "--json").document["data"]["systems"]
    return {finding["code"] for finding in one["findings"] if finding["severity"] == "error"}


def test_status_tells_the_loss_in_a_backup_that_only_a_verification_has_looked_at(shop: Folder) -> None:
    shop.backup()
    empty(shop)
    killed_before_its_checks(shop)
    assert told(shop) == {"table-became-empty"}
    shop.good("verify", "shop")
    shop.good("drill", "shop", "--no-record")
    assert told(shop) == {"table-became-empty"}
    ended = shop.run("backup", "shop", "--no-record")
    assert ended.code == 10
    assert "table-became-empty" in ended.stdout
    assert told(shop) == {"table-became-empty"}


def test_a_backup_is_compared_with_the_oldest_one_without_a_judgement(shop: Folder) -> None:
    killed_before_its_checks(shop)
    assert told(shop) == set()
    empty(shop)
    killed_before_its_checks(shop)
    assert told(shop) == {"table-became-empty"}
    assert shop.run("backup", "shop", "--no-record").code == 10
    assert told(shop) == {"table-became-empty"}
