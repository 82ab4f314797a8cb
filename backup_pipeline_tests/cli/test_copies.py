"""Copies from the command line: made with every backup, looked at, healed, and enough when nothing else is left."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.model.orders import CopyOrder
from backup_pipeline.model.progress import Advance
from backup_pipeline.operations import Site
from backup_pipeline.operations.copy import copy
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import lock
from backup_pipeline_tests.cli.conftest import CONFIG, Folder
from backup_pipeline_tests.harness.commands import Ended
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.stores import S3Server

COPIES = "copies:\n  disk: ./disk\n  offsite: {url: ./offsite, within: 2d}\n"


@pytest.fixture
def copied(shop: Folder) -> Folder:
    """The shop on SQLite with two copies, and nothing backed up yet."""
    (shop.path / "backup.yaml").write_text(COPIES + CONFIG % "sqlite:///shop.db")
    return shop


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "objects").rglob("*") if path.is_file())


def orders(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM orders").fetchone()
        assert isinstance(count, int)
        return count


@pytest.mark.parametrize("way", [["--no-record"], []], ids=["alone", "recorded"])
def test_a_backup_brings_its_copies_up_to_date(copied: Folder, way: list[str]) -> None:
    data = copied.good("backup", "shop", "--json", *way).data
    assert [(one["name"], one["report"]["copied"]) for one in data["copies"]] == [
        ("disk", [data["backup"]["id"]]),
        ("offsite", [data["backup"]["id"]]),
    ]
    assert (
        copied.good("list", "shop", "--copy", "offsite", "--json").data["backups"][0]["id"]
        == data["backup"]["id"]
    )


@pytest.mark.parametrize("way", [["--no-record"], []], ids=["alone", "recorded"])
def test_a_copy_that_fails_is_said_and_the_backup_and_the_other_copy_are_whole(
    copied: Folder, way: list[str]
) -> None:
    (copied.path / "disk").write_text("this is no folder")
    ended = copied.run("backup", "shop", "--json", *way)
    assert ended.code == 17
    assert ended.document["error"]["code"] == "copy-failed"
    assert "was committed and is whole" in ended.document["error"]["message"]
    assert "copy shop --to disk" in ended.document["error"]["remedy"]
    identifier = ended.document["data"]["backup"]["id"]
    copied.good("verify", "shop", identifier)
    assert copied.good("list", "--copy", "offsite", "--json").data["backups"][0]["id"] == identifier
    (copied.path / "disk").unlink()
    assert copied.good("copy", "shop", "--to", "disk", "--json").data["copies"][0]["report"]["copied"] == [
        identifier
    ]


def test_no_copy_leaves_the_copies_alone_and_status_says_how_far_they_are_behind(copied: Folder) -> None:
    assert re.search(r"copy disk +no backup\n", copied.run("status", "shop").stdout)
    copied.good("backup", "shop", "--no-record", "--no-copy")
    assert not (copied.path / "disk").exists()
    (one,) = copied.run("status", "--json").document["data"]["systems"]
    assert [(copy["copy"], len(copy["missing"])) for copy in one["copies"]] == [("disk", 1), ("offsite", 1)]
    assert "copy-behind" not in [finding["code"] for finding in one["findings"]]
    text = (copied.path / "backup.yaml").read_text().replace("within: 2d", "within: 1s")
    (copied.path / "backup.yaml").write_text(text)
    time.sleep(1.1)
    late = copied.run("status", "--json").document["data"]["systems"][0]
    assert "copy-behind" in [finding["code"] for finding in late["findings"]]
    assert "LATE" in copied.run("status").stdout


def test_the_copy_alone_is_enough_to_restore_drill_and_query(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    shutil.rmtree(copied.path / "vault")
    (copied.path / "shop.db").unlink()
    listed = copied.run("list", "shop")
    assert listed.code == 5
    assert "copy disk holds 1 backup of shop; copy offsite holds 1 backup of shop" in listed.stderr
    status = copied.run("status", "--json").document["data"]["systems"][0]
    assert "vault-lost" in [finding["code"] for finding in status["findings"]]
    gone = copied.run("restore", "shop", "--to", copied.restored)
    assert gone.code != 0
    assert "restore shop --from disk` needs no vault" in str(gone)
    copied.good("show", "shop", "--copy", "offsite")
    copied.good("drill", "shop", "--from", "offsite")
    assert (
        "3"
        in copied.good("query", "shop", "latest", "select count(*) from orders", "--from", "offsite").stdout
    )
    copied.good("restore", "shop", "--from", "offsite", "--to", copied.restored)
    assert orders(copied.path / "restored.db") == 3


def test_a_lost_vault_is_brought_back_by_one_command(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    copied.good("backup", "shop", "--no-record")
    shutil.rmtree(copied.path / "vault")
    copied.good("copy", "--from", "offsite", "--to", "vault")
    assert len(copied.good("list", "--json").data["backups"]) == 2
    copied.good("verify", "shop", "all")
    copied.good("backup", "shop", "--no-record")


def test_a_copy_is_verified_by_listing_and_by_reading_as_much_as_is_asked_for(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    assert (
        copied.good("verify", "shop", "--copy", "disk", "--json").data["report"]["counted"]["objects_read"]
        == 0
    )
    victim = objects(copied.path / "disk")[0]
    data = victim.read_bytes()
    rewrite(victim, data[:-1] + bytes([data[-1] ^ 1]))
    assert copied.run("verify", "shop", "--copy", "disk").code == 0, (
        "a flipped bit shows when the byte is read"
    )
    codes = [copied.run("verify", "shop", "--copy", "disk", "--read", "25%").code for _ in range(4)]
    assert codes.count(10) == 1, "in four looks of a quarter each, every object was read once"
    assert copied.run("verify", "shop", "--copy", "disk", "--read", "100%").code == 10
    victim.unlink()
    ended = copied.run("verify", "shop", "--copy", "disk")
    assert ended.code == 10
    assert "object-missing" in ended.stdout
    assert copied.run("verify", "shop", "--read", "5%").code == 2


def test_damage_is_healed_from_the_other_place_in_both_directions(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    for here, place in (("vault", []), ("disk", ["--copy", "disk"])):
        victim = objects(copied.path / here)[0]
        data = victim.read_bytes()
        rewrite(victim, b"not this")
        told = copied.good("repair", "shop", "--dry-run", "--json", *place).data
        assert victim.read_bytes() == b"not this"
        assert len(told["healed"]) == 1
        copied.good("repair", "shop", *place)
        assert victim.read_bytes() == data
    assert "nothing to heal" in copied.good("repair", "shop").stdout


def test_a_copy_in_a_bucket_is_verified_by_the_checksums_that_it_states(
    copied: Folder, moto_server: S3Server
) -> None:
    bucket = moto_server.make_bucket()
    access = ", ".join(line.strip() for line in moto_server.yaml().splitlines())
    config = copied.path / "backup.yaml"
    config.write_text(config.read_text().replace("./disk", f"{{url: s3://{bucket}, {access}}}"))
    copied.good("backup", "shop", "--no-record")

    def verified() -> tuple[int, int, int]:
        """The exit code, how many checksums were not compared, and how many findings there are."""
        ended = copied.run("verify", "shop", "--copy", "disk", "--json")
        report = ended.document["data"]["report"]
        counted = report["counted"]
        assert counted["objects_read"] == 0
        return ended.code, counted["objects"] - counted["objects_by_checksum"], len(report["findings"])

    assert verified() == (0, 0, 0)
    victim = objects(copied.path / "vault")[0]
    key = str(victim.relative_to(copied.path / "vault"))
    moto_server.client.put_object(Bucket=bucket, Key=key, Body=bytes(victim.stat().st_size))
    assert verified() == (10, 0, 1)
    shutil.rmtree(copied.path / "vault")
    code, unsaid, findings = verified()
    assert (code, findings) == (0, 0), "nothing is left that its checksum could be compared with"
    assert unsaid > 0


@pytest.mark.parametrize("way", ["refuses", "unset"])
def test_a_place_that_cannot_be_opened_does_not_keep_another_from_healing(
    copied: Folder, way: str, moto_server: S3Server
) -> None:
    copied.good("backup", "shop", "--no-record")
    bucket = ", ".join(line.strip() for line in moto_server.yaml().splitlines())
    away = {"unset": '"${env:NOT_SET_HERE}"', "refuses": f"{{url: s3://no-such-bucket, {bucket}}}"}
    config = copied.path / "backup.yaml"
    config.write_text(config.read_text().replace("./disk", away[way]))
    rewrite(objects(copied.path / "vault")[0], b"not this")
    told = copied.good("repair", "shop", "--json").data
    assert [one["source"] for one in told["healed"]] == ["offsite"]
    assert [one["code"] for one in told["findings"]] == ["copy-unreachable"]


def test_the_remedy_of_a_copy_that_failed_names_its_source(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    shutil.rmtree(copied.path / "vault")
    (copied.path / "vault").write_text("this is no folder")
    ended = copied.run("copy", "shop", "--from", "disk", "--to", "vault")
    assert ended.code == 17
    assert "copy shop --from disk --to vault" in ended.stderr


def test_a_disk_that_is_not_mounted_is_no_empty_vault(copied: Folder) -> None:
    """A backup to the folder below the mount would be good in every check, and hidden by the next mount."""
    copied.good("backup", "shop")
    (copied.path / "disk").rename(copied.path / "disk-away")
    ended = copied.run("backup", "shop", "--no-record")
    assert ended.code == 17
    assert "not mounted" in ended.stderr
    assert not (copied.path / "disk").exists()
    assert "not mounted" in copied.run("status").stdout
    assert copied.run("doctor").code == 14
    (copied.path / "disk-away").rename(copied.path / "disk")
    (copied.path / "vault").rename(copied.path / "vault-away")
    for way in (["--no-record"], []):
        ended = copied.run("backup", "shop", *way)
        assert (ended.code, "not mounted" in str(ended)) == (5, True), str(ended)
    assert not (copied.path / "vault").exists()
    (note,) = [Path(word) for word in ended.stderr.split() if "/places/" in word]
    note.unlink()
    copied.good("backup", "shop", "--no-record")


def test_of_several_copies_no_more_moves_than_was_told(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record", "--no-copy")
    steps: list[Advance] = []
    copy(Site.load(copied.path / "backup.yaml"), CopyOrder("shop"), steps.append)
    moved, totals = sum(step.bytes for step in steps), [step.total_bytes for step in steps]
    assert moved == max(total for total in totals if total is not None) > 0


def test_a_lost_vault_is_filled_again_on_request(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    shutil.rmtree(copied.path / "vault")
    copied.good("copy", "shop", "--from", "disk", "--to", "vault")
    copied.good("backup", "shop", "--no-record")


def test_what_no_place_has_right_is_said(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    for here in ("vault", "disk", "offsite"):
        rewrite(objects(copied.path / here)[0], b"not this")
    ended = copied.run("repair", "shop")
    assert ended.code == 7
    assert "not-healed" in ended.stdout


def test_what_is_damaged_is_not_copied(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record", "--no-copy")
    rewrite(objects(copied.path / "vault")[0], b"not this")
    ended = copied.run("copy", "shop")
    assert ended.code == 17
    assert "not-copied" in ended.stdout
    assert copied.good("list", "shop", "--copy", "disk", "--json").data["backups"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["copy", "shop", "--to", "nowhere"], 3, "no copy 'nowhere'"),
        (["list", "--copy", "ofsite"], 3, "did you mean offsite?"),
        (["copy", "shop", "2026-01-01T00-00-00-000Z"], 3, "there is no backup"),
        (["repair", "shop", "--from", "vault"], 2, "cannot be healed from itself"),
        (["copy", "shop", "--from", "disk"], 3, "there is no backup of shop"),
        (["copy", "shop", "--to", "vault"], 2, "cannot be where it is copied to"),
        (["copy", "shop", "--from", "disk", "--to", "offsite", "--to", "disk"], 2, "another place with --to"),
    ],
)
def test_a_place_that_means_nothing_is_an_error(
    copied: Folder, arguments: list[str], code: int, said: str
) -> None:
    copied.good("backup", "shop", "--no-record", "--no-copy")
    ended = copied.run(*arguments)
    assert (ended.code, said in str(ended)) == (code, True), str(ended)


def test_a_system_without_copies_is_told_how_to_have_some(shop: Folder) -> None:
    shop.backup()
    ended = shop.run("copy", "shop")
    assert ended.code == 2
    assert "copies:" in str(ended)


def test_the_doctor_sees_a_copy_that_would_not_survive_the_vault_and_one_that_is_away(copied: Folder) -> None:
    def codes(ended: Ended) -> list[str]:
        return [finding["code"] for finding in ended.document["data"]["machine"]["findings"]]

    assert codes(copied.run("doctor", "--json")).count("copy-on-same-disk") == 2
    (copied.path / "disk").write_text("this is no folder")
    text = (copied.path / "backup.yaml").read_text()
    (copied.path / "backup.yaml").write_text(text.replace("./offsite", '"${env:NOT_SET_HERE}"'))
    ended = copied.run("doctor", "--json")
    assert ended.code == 14
    assert "copy-unreachable" in codes(ended)
    (copied.path / "backup.yaml").write_text(CONFIG % "sqlite:///shop.db")
    assert "no-copies" in codes(copied.good("doctor", "--json"))


def test_a_backup_waits_for_a_copy_that_is_under_way_and_then_brings_its_own(copied: Folder) -> None:
    copied.good("backup", "shop", "--no-record")
    store = LocalStore(copied.path / "disk")
    held, done = threading.Event(), threading.Event()

    def somebody() -> None:
        with lock.hold(store, "shop", "copy of shop"):
            held.set()
            done.wait(30)

    other = threading.Thread(target=somebody)
    other.start()
    held.wait(30)
    try:
        assert copied.run("copy", "shop", "--to", "disk").code == 17, "who asks for a copy is told at once"
        threading.Timer(1.5, done.set).start()
        data = copied.good("backup", "shop", "--no-record", "--json").data
    finally:
        done.set()
        other.join()
    assert data["copies"][0]["report"]["copied"] == [data["backup"]["id"]]
