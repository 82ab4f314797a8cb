"""prune, pin, unpin, forget, scrub, as they are typed."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.model.ids import timestamp
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.damage import alter

RULES = "retention: {last: 1, grace: 1s}\n"


@pytest.fixture
def kept(shop: Folder) -> tuple[Folder, list[str]]:
    """Three backups, and a rule that wants one."""
    project = shop
    path = project.path / "backup.yaml"
    path.write_text(RULES + path.read_text(encoding="utf-8"), encoding="utf-8")
    for _ in range(3):
        project.good("backup", "shop", "--no-record", "--full")
    listed = json.loads(project.good("list", "shop", "--json").stdout)["data"]["backups"]
    return project, [line["id"] for line in listed]


def test_a_dry_run_shows_each_backup_and_why_and_then_prune_does_it(kept: tuple[Folder, list[str]]) -> None:
    project, (first, second, third) = kept
    said = project.good("prune", "--dry-run").stdout
    assert "shop: 3 backups, 1 stay" in said
    for identifier, word, why in (
        (first, "FORGET", "no rule wants it"),
        (second, "FORGET", "no rule wants it"),
        (third, "keep", "the newest full backup; last 1 of 1"),
    ):
        (line,) = [line for line in said.splitlines() if line.startswith(identifier)]
        assert f" {word} " in line
        assert line.endswith(why)
    assert "2 backups would be forgotten" in said
    assert len(json.loads(project.good("list", "--json").stdout)["data"]["backups"]) == 3
    done = json.loads(project.good("prune", "shop", "--json").stdout)["data"]["report"]
    assert done["forgotten"] == [f"shop {first}", f"shop {second}"]
    assert done["systems"][0]["backups"][2]["reasons"] == ["the newest full backup", "last 1 of 1"]
    assert "1 backup" in project.good("list").stdout
    project.good("verify", "shop", "all")


@pytest.mark.usefixtures("no_log")
def test_pins_hold_are_listed_and_go(kept: tuple[Folder, list[str]]) -> None:
    project, (first, second, _) = kept
    project.good("pin", "shop", first, "--reason", "before the audit")
    (line,) = [line for line in project.good("list", "shop").stdout.splitlines() if line.startswith(first)]
    assert "pinned: before the audit" in line
    assert "2 backups, 2 stay" not in project.good("prune", "--dry-run").stdout
    assert project.good("prune", "shop").stderr == ""
    listed = json.loads(project.good("list", "--json").stdout)["data"]["backups"]
    assert listed[0]["id"] == first
    assert "is not pinned any more" in project.good("unpin", "shop", first).stdout
    assert "was not pinned" in project.good("unpin", "shop", first).stdout
    assert project.run("pin", "shop", second).code == 3
    assert "1 backup forgotten" in project.good("prune", "shop").stdout


def test_forget_asks_for_yes_and_refuses_what_is_never_removed(kept: tuple[Folder, list[str]]) -> None:
    project, (first, _, third) = kept
    asked = project.run("forget", "shop", first)
    assert asked.code == 2
    assert "--yes" in asked.stderr
    refused = project.run("forget", "shop", third, "--yes")
    assert refused.code == 2
    assert "the newest full backup" in refused.stderr
    assert f"backup-pipeline forget shop {third} --force newest --yes" in refused.stderr
    assert "is forgotten" in project.good("forget", "shop", first, "--yes", "--reason", "a mistake").stdout
    project.good("forget", "shop", third, "--yes", "--force", "newest")
    assert project.good("verify", "shop", "all").code == 0
    record = json.loads((project.path / f"vault/shop/forgotten/{first}.json").read_bytes())
    assert record["why"] == "forget: a mistake"


def test_prune_without_rules_says_that_everything_stays(shop: Folder) -> None:
    ended = shop.run("prune")
    assert ended.code == 2
    assert "no `retention:`" in ended.stderr


def test_a_frozen_system_ends_with_its_own_exit_code(kept: tuple[Folder, list[str]]) -> None:
    project, identifiers = kept
    (project.path / "vault/garbage.json").write_text('{"at":"2999-01-01T00:00:00.000000Z","format":1}\n')
    ended = project.run("prune", "shop")
    assert ended.code == 18
    assert "--despite-anomaly" in ended.stderr
    assert all((project.path / f"vault/shop/{name}/manifest.json").exists() for name in identifiers)
    project.good("prune", "shop", "--despite-anomaly")


def test_scrub_reads_a_part_remembers_it_and_names_what_is_hurt(kept: tuple[Folder, list[str]]) -> None:
    project, identifiers = kept
    # By hand only: then one call reads a quarter of the window's work.
    config = project.path / "backup.yaml"
    config.write_text(config.read_text() + "scrub: {schedule: null}\n")
    said = project.good("scrub").stdout
    assert "read 25% of the vault now; 25% within the window" in said
    assert (
        "read 100% of the vault now; 100% within the window, the oldest of it"
        in project.good("scrub", "--all").stdout
    )
    victim = max(Path(project.path / "vault/objects").rglob("*.zst"), key=lambda path: path.stat().st_size)
    alter(victim)
    bad = project.run("scrub", "--all", "--json")
    assert bad.code == 10
    (finding,) = json.loads(bad.stdout)["data"]["scrub"]["report"]["findings"]
    assert finding["code"] == "object-altered"
    assert set(finding["examples"]) <= {f"shop {name}" for name in identifiers}


def test_status_misses_a_newest_backup_whose_folder_was_deleted(kept: tuple[Folder, list[str]]) -> None:
    project, identifiers = kept
    shutil.rmtree(project.path / "vault/shop" / identifiers[-1])
    ended = project.run("status")
    assert ended.code == 13
    assert f"{identifiers[-1]} was written last, and it is gone" in ended.stdout
    project.good("forget", "shop", identifiers[-1], "--yes")
    assert "was written last" not in project.run("status").stdout


def test_a_copy_keeps_what_the_vault_keeps_and_then_follows_the_rules(shop: Folder) -> None:
    path = shop.path / "backup.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(RULES + "copies: {other: ./other}\n" + text, encoding="utf-8")
    for _ in range(3):
        shop.good("backup", "shop", "--no-record", "--full")
    shop.good("copy", "shop")
    identifiers = sorted(one.name for one in (shop.path / "other/shop").glob("20*"))
    assert len(identifiers) == 3
    assert "0 backups forgotten" in shop.good("prune", "--copy", "other").stdout
    kept = shop.good("prune", "--copy", "other", "--dry-run").stdout
    assert kept.count("the vault still has it") == 3
    refused = shop.run("forget", "shop", identifiers[0], "--copy", "other", "--yes")
    assert refused.code == 2
    assert "--force locked" in refused.stderr
    shop.good("prune")
    report = json.loads(shop.good("prune", "--copy", "other", "--json").stdout)["data"]["report"]
    assert report["forgotten"] == [f"shop {name}" for name in identifiers[:2]]
    shop.good("verify", "shop", "all", "--copy", "other")
    shutil.rmtree(shop.path / "vault")
    assert shop.run("prune", "--copy", "other").code == 0
    assert "the copy is all there is" in shop.good("prune", "--copy", "other", "--dry-run").stdout
    refused = shop.run("forget", "shop", identifiers[2], "--copy", "other", "--yes")
    assert refused.code == 2
    assert "the copy is all there is" in refused.stderr


def test_status_says_what_the_rules_promise_and_is_not_there(kept: tuple[Folder, list[str]]) -> None:
    project, _ = kept
    path = project.path / "backup.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("last: 1", "last: 1, daily: 30"), encoding="utf-8"
    )
    assert "retention-short" not in project.run("status").stdout
    # There were backups half a year ago, and they were removed.
    folder = project.path / "vault/shop/forgotten"
    folder.mkdir(exist_ok=True)
    (folder / "2026-01-01T02-00-00-000Z.json").write_text("{}")
    ended = project.run("status", "shop")
    assert ended.code == 13
    assert "retention-short" in ended.stdout


def test_status_says_when_the_disk_of_the_vault_is_full_soon(kept: tuple[Folder, list[str]]) -> None:
    project, _ = kept
    assert project.run("status", "--json").document["data"]["storage"] == []
    file = project.path / ".backup-pipeline/storage.json"
    held = json.loads(file.read_text())
    ((address, (now,)),) = held["places"].items()
    earlier = datetime.now(UTC) - timedelta(days=2)
    before = {**now, "at": timestamp(earlier), "free": 3 * now["free"]}
    file.chmod(0o644)
    file.write_text(json.dumps({"places": {address: [before]}}))
    ended = project.run("status")
    assert ended.code == 13
    assert "disk-full-soon" in ended.stdout
    assert "everything on the disk together" in ended.stdout
