"""Who writes to the store: what is told of it afterwards, and what goes on all the same."""

from __future__ import annotations

import shutil

from backup_pipeline_tests.attacks.test_store_writer import (
    BRACKETS,
    backups,
    codes,
    folder,
    say,
    shop,
    status,
)
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.damage import rewrite

__all__ = ["shop"]


def test_what_a_copy_brought_back_is_not_told_as_gone(shop: Folder) -> None:
    """After `copy --from second --to vault` all was there, and `status` and `list` went on calling it lost and FAILED."""
    config = shop.path / "backup.yaml"
    config.write_text("copies: {second: ./second}\n" + config.read_text())
    backups(shop, "first")
    newest_json = (shop.path / "vault" / "shop" / "newest.json").read_bytes()
    (lost,) = backups(shop, "second")
    shop.good("copy", "shop")
    shutil.rmtree(folder(shop, lost))
    rewrite(shop.path / "vault" / "shop" / "newest.json", newest_json)
    say(shop, "third")
    assert shop.run("backup", "shop", "--no-record").code == 10
    told = shop.run("status").stdout
    assert "does not hold it" in told
    shop.good("copy", "shop", "--from", "second", "--to", "vault")
    shop.good("verify", "shop", "all")
    assert "does not hold it" not in shop.run("status").stdout
    assert not [one for one in shop.good("list", "--json").data["backups"] if one["errors"]]


def test_a_proof_of_brackets_proves_nothing_and_stops_nothing(shop: Folder) -> None:
    """Each backup ended with `damaged` after its commit and before its copies, and `prune` with 18: no manifest
    was said to tell what the backup names."""
    config = shop.path / "backup.yaml"
    config.write_text("copies: {second: ./second}\nretention: {last: 2}\n" + config.read_text())
    _, second = backups(shop, "first", "second")
    bad = folder(shop, second) / "proofs" / "verify-2026-11-30T00-00-00-000Z.json"
    bad.write_bytes(BRACKETS)
    say(shop, "third")
    third = shop.backup()
    assert (shop.path / "second" / "shop" / third / "manifest.json").exists()
    (told,) = [
        one
        for one in shop.run("status", "--json").document["data"]["systems"][0]["findings"]
        if one["code"] == "proof-unreadable"
    ]
    assert f"shop/{second}/proofs/{bad.name}" in told["message"]
    assert "proof-unreadable" in codes(shop.good("verify", "shop", second, "--json"))
    shop.good("prune")
    assert [one["id"] for one in shop.good("list", "--json").data["backups"]] == [second, third]
    bad.unlink()
    assert "proof-unreadable" not in status(shop)
