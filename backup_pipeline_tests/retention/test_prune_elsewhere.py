"""Pruning and scrubbing where no key is, and in a bucket."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.errors import KeyMissing
from backup_pipeline.health import overview
from backup_pipeline.retention.byhand import forget_one, pin, unpin
from backup_pipeline.retention.prune import Conditions, Rules, prune
from backup_pipeline.vault import layout
from backup_pipeline.verification.scrub import scrub
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.encrypted import Encrypted, change, make_shop
from backup_pipeline_tests.harness.engines import MakeSqliteFile
from backup_pipeline_tests.harness.stores import S3Server
from backup_pipeline_tests.scenarios.test_vault_in_a_bucket import SCRIPT, configured, good

pytestmark = pytest.mark.usefixtures("one_writer")

ONE = {"shop": Rules(RetentionSettings(last=1))}


@pytest.fixture
def encrypted(tmp_path: Path) -> Encrypted:
    """Four backups, the second of them before a migration that this host cannot name."""
    made = Encrypted.make(tmp_path)
    url = make_shop(tmp_path / "shop.db", rows=200)
    for _ in range(4):
        made.back_up(url, full=True)
        change(url)
    return made


def test_an_encrypted_vault_is_pruned_pinned_and_scrubbed_without_a_key(encrypted: Encrypted) -> None:
    keyless = encrypted.stranger
    first, second, third, fourth = keyless.ids("shop")
    with pytest.raises(KeyMissing):
        _ = encrypted.stranger.backup("shop", first).manifest
    now = datetime.now(UTC)
    pin(keyless.backup("shop", first), "the audit", now)
    assert overview.listed(keyless.backup("shop", first)).pinned == "the audit"
    report = prune(keyless, Conditions(ONE, timedelta(0), now + timedelta(minutes=10)))
    assert [one.code for one in report.findings] == []
    assert report.forgotten == (f"shop {second}", f"shop {third}")
    assert keyless.ids("shop") == (first, fourth)
    named = {
        one.sha256 + one.suffix
        for name in (first, fourth)
        for one in keyless.backup("shop", name).outline.objects
    }
    there = {stat.key.rpartition("/")[2] for stat in keyless.store.list(layout.OBJECTS)}
    assert there == named
    assert report.freed.objects > 0
    found = scrub(keyless, window=timedelta(days=30), interval=timedelta(days=30), now=now)
    assert found.report.findings == ()
    assert found.report.counted["objects"] == len(named)
    assert verify_all(encrypted.opened, "shop").errors == ()
    unpin(keyless.backup("shop", first))
    forget_one(keyless.backup("shop", first), why="", now=now + timedelta(minutes=20))
    assert not list(keyless.store.list(layout.backup_prefix("shop", first)))
    assert verify_all(encrypted.opened, "shop").errors == ()


def test_a_flipped_digit_in_an_outline_deletes_nothing(encrypted: Encrypted) -> None:
    """The outline is all that a prune without a key has: it is believed only where the seal says that it is whole."""
    vault = encrypted.stranger
    newest = vault.ids("shop")[-1]
    victim = vault.backup("shop", newest).outline.objects[0]
    path = encrypted.folder / layout.outline_key("shop", newest)
    digit = "0" if victim.sha256[0] != "0" else "1"
    rewrite(path, path.read_bytes().replace(victim.sha256.encode(), (digit + victim.sha256[1:]).encode()))
    before = {stat.key for stat in vault.store.list(layout.OBJECTS)}
    for minutes in (10, 20):
        moment = datetime.now(UTC) + timedelta(minutes=minutes)
        report = prune(vault, Conditions(ONE, timedelta(0), moment))
        assert [one.code for one in report.findings] == ["prune-blind"]
    assert {stat.key for stat in vault.store.list(layout.OBJECTS)} == before


def test_what_prune_writes_into_an_encrypted_vault_reveals_nothing(encrypted: Encrypted) -> None:
    keyless = encrypted.stranger
    prune(keyless, Conditions(ONE, timedelta(0), datetime.now(UTC) + timedelta(minutes=10)))
    for key in ("garbage.json", "shop/newest.json", *(s.key for s in keyless.store.list("shop/forgotten/"))):
        # Digests and fractions of a second are digits by chance, 3119 among them once in a while.
        data = re.sub(rb"[0-9a-f]{64}|\.\d{6}Z", b"", (encrypted.folder / key).read_bytes())
        assert not any(word in data for word in (b"zebra", b"quokka", b"3119", b"3,119"))


@pytest.mark.slow
def test_a_vault_in_a_bucket_is_pruned_and_scrubbed(
    s3_server: S3Server, tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    configured(tmp_path, s3_server, "sqlite:///app.sqlite3")
    path = tmp_path / "backup.yaml"
    path.write_text("retention: {last: 1, grace: 1s}\n" + path.read_text())
    for _ in range(3):
        good(tmp_path, "backup", "shop", "--full", "--no-record", "--json")
    report = good(tmp_path, "prune", "--json").data["report"]
    assert len(report["forgotten"]) == 2
    assert report["findings"] == []
    assert len(good(tmp_path, "list", "shop", "--json").data["backups"]) == 1
    assert good(tmp_path, "scrub", "--all", "--json").data["scrub"]["report"]["findings"] == []
    good(tmp_path, "verify", "shop", "all", "--json")
