"""Changing keys: what is new is for the new ones, and `rekey` says what is not and brings the newest backup over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.backups.rekey import rekey, under_others
from backup_pipeline.databases.engines import open_source
from backup_pipeline.drills import drill
from backup_pipeline.errors import ConfigError, KeyMissing
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.crypto import Given, Keys
from backup_pipeline.vault.images import write_image
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.encrypted import Encrypted, change, make_shop
from backup_pipeline_tests.harness.restoring import restored


@pytest.fixture
def old(tmp_path: Path) -> Encrypted:
    return Encrypted.make(tmp_path)


@pytest.fixture
def new(old: Encrypted, tmp_path: Path) -> Encrypted:
    return replace(Encrypted.make(tmp_path), folder=old.folder, state=old.state)


def both(old: Encrypted, new: Encrypted) -> Vault:
    """Writes for the new key, reads with either."""
    keys = Keys((new.public,), Given(f"{new.secret}\n{old.secret}"))
    return Vault(LocalStore(old.folder), keys, old.state.with_name("other"))


def test_after_a_change_new_content_is_for_the_new_key_and_the_rest_is_named(
    old: Encrypted, new: Encrypted, tmp_path: Path
) -> None:
    url = make_shop(tmp_path / "shop.db")
    first = old.back_up(url)
    change(url)
    second = new.back_up(url)

    fingerprints = {one.recipients for one in second.objects()}
    assert fingerprints == {old.keys.fingerprint, new.keys.fingerprint}
    found = {one.id: one for one in under_others(new.stranger, "shop")}
    assert found[first.id].manifest
    assert found[first.id].objects == len(first.objects())
    assert not found[second.id].manifest
    mixed = [one for one in second.objects() if one.recipients == old.keys.fingerprint]
    assert (found[second.id].objects, found[second.id].bytes) == (len(mixed), sum(one.size for one in mixed))
    assert second.image
    with pytest.raises(KeyMissing):
        write_image(new.opened.objects, second.image, tmp_path / "back.db")


def test_the_record_of_a_restore_that_only_the_old_key_opens_is_named(
    old: Encrypted, new: Encrypted, tmp_path: Path
) -> None:
    old.back_up(make_shop(tmp_path / "shop.db"))
    first, second = restored(old.closed), restored(new.closed)
    found = {one.id: one for one in under_others(new.stranger, "shop")}
    assert (found[first.id].objects, found[first.id].manifest) == (2, True)
    assert second.id not in found
    with pytest.raises(KeyMissing):
        _ = Restores(new.opened, "shop").get(first.id).prepared


def test_rekey_makes_a_backup_of_the_same_moment_that_the_new_key_alone_opens(
    old: Encrypted, new: Encrypted, tmp_path: Path
) -> None:
    url = make_shop(tmp_path / "shop.db")
    old.back_up(url)
    change(url)
    before = old.back_up(url)
    assert before.image is not None
    assert any(segment.map for segment in before.image.segments), "a map names packs, which get new names"

    asked = rekey(new.stranger, "shop", dry_run=True)
    assert asked.new_id is None
    assert asked.objects == len(before.objects())
    report = rekey(both(old, new), "shop")

    assert report.new_id is not None
    made = new.opened.backup("shop", report.new_id).manifest
    assert (made.snapshot_at, made.tables, made.kind) == (before.snapshot_at, before.tables, before.kind)
    assert {one.recipients for one in made.objects()} == {new.keys.fingerprint}
    assert verify(new.opened.backup("shop", report.new_id)).ok
    assert made.image is not None
    for vault, image, name in ((old.opened, before.image, "a"), (new.opened, made.image, "b")):
        write_image(vault.objects, image, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [one.id for one in report.others] == list(new.stranger.ids("shop")[:-1])
    assert verify_all(both(old, new), "shop").ok
    again = rekey(new.stranger, "shop")
    assert again.new_id is None, "there is nothing left to do, and no key is needed to know it"


def test_the_next_backup_builds_on_what_was_written_anew(
    old: Encrypted, new: Encrypted, tmp_path: Path
) -> None:
    url = make_shop(tmp_path / "shop.db")
    old.back_up(url)
    rekey(replace(both(old, new), local=old.state), "shop")
    third = new.back_up(url)
    assert {one.recipients for one in third.objects()} == {new.keys.fingerprint}
    assert third.image is not None
    assert all(segment.reused_from for segment in third.image.segments)


@pytest.mark.parametrize("identity", [False, True])
def test_a_host_whose_key_was_changed_goes_on_from_what_it_remembers(
    old: Encrypted, new: Encrypted, tmp_path: Path, identity: bool
) -> None:
    url = make_shop(tmp_path / "shop.db")
    first = old.back_up(url)
    change(url)
    keys = new.keys if identity else Keys((new.public,))
    vault = Vault(LocalStore(new.folder), keys, new.state)

    second = new.back_up(url, vault=vault)

    assert second.schema == first.schema, "it did not change, and is not written anew"
    assert second.image is not None
    assert any(segment.map for segment in second.image.segments)
    if identity:
        with pytest.raises(KeyMissing):
            drill(vault.backup_of(second))
        (locked,) = verify(vault.backup("shop", second.id)).errors
        assert locked.code == "key-missing"


def test_rekey_without_the_old_key_changes_nothing(old: Encrypted, new: Encrypted, tmp_path: Path) -> None:
    old.back_up(make_shop(tmp_path / "shop.db"))
    with pytest.raises(KeyMissing):
        rekey(new.opened, "shop")
    with pytest.raises(KeyMissing):
        rekey(new.stranger, "shop")
    assert len(new.stranger.ids("shop")) == 1


def test_a_plain_vault_has_no_key_to_change(tmp_path: Path) -> None:
    vault = Vault(LocalStore(tmp_path / "vault"))
    back_up(vault, open_source(make_shop(tmp_path / "shop.db")), Order("shop"))
    with pytest.raises(ConfigError, match="not encrypted"):
        rekey(vault, "shop")


def test_a_clock_that_was_set_back_files_nothing_before_what_there_is(
    old: Encrypted, new: Encrypted, tmp_path: Path
) -> None:
    old.back_up(make_shop(tmp_path / "shop.db"))
    early = datetime.now(UTC) - timedelta(days=1)
    with pytest.raises(Exception, match="clock"):
        rekey(both(old, new), "shop", clock=lambda: early)
    assert len(new.stranger.ids("shop")) == 1
