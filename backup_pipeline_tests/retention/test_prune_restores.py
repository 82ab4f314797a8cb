"""The records of restores under `prune` and `forget`: they live exactly as long as the backup that was made before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.errors import ConfigError
from backup_pipeline.retention import sweep
from backup_pipeline.retention.byhand import forget_one, forget_restore_by_hand
from backup_pipeline.retention.prune import Rules
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.opening import open_store
from backup_pipeline.vault import layout
from backup_pipeline.vault.restores import Restore, Restores
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness import restoring
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.encrypted import Encrypted
from backup_pipeline_tests.harness.handmade import back_up_by_hand, identifier_of, shop, shop_vault
from backup_pipeline_tests.harness.restoring import BEFORE
from backup_pipeline_tests.harness.stores import S3Server
from backup_pipeline_tests.retention.pruning import NOW, objects, pruned

#: Counted from NOW, 18 days after the backup before the restore.
UNDOABLE, OVER, FREED = 11 * 24, 13 * 24, 15 * 24
RULES = {"shop": Rules(RetentionSettings(last=1, grace=86400))}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Two nights, a backup before a restore, two more nights."""
    made = shop_vault(tmp_path / "vault", nights=2)
    back_up_by_hand(made, shop(2)[:1], 3, kind="pre-restore")
    for night in (4, 5):
        back_up_by_hand(made, shop(night), night)
    return made


PRE = identifier_of(3)


def restored(vault: Vault, **more: str | bytes) -> Restore:
    """An hour after the backup before it."""
    then = replace(vault, clock=lambda: datetime(2026, 11, 3, 3, tzinfo=UTC))
    return replace(restoring.restored(then, **more), vault=vault)  # type: ignore[arg-type]


def names(restore: Restore) -> set[str]:
    return {one.sha256 + one.suffix for one in restore.outline.objects}


@pytest.mark.rule("U11", "K5")
def test_a_record_lives_as_long_as_the_backup_that_was_made_before(vault: Vault) -> None:
    restore, other = restored(vault, pre_restore=PRE), restored(vault, before=b"9\tZoe\n")
    assert len(names(restore)) == 2
    for hours in (0, 48, UNDOABLE):
        pruned(vault, RULES, hours=hours)
        assert PRE in vault.ids("shop")
        assert names(restore) <= objects(vault)
        assert Restores(vault, "shop").get(restore.id).state == "done"
    plan = pruned(vault, RULES, hours=OVER, dry_run=True)
    (going,) = (one for one in plan.systems[0].backups if one.id == PRE)
    assert (going.keep, going.restores) == (False, (restore.id,))
    (own,) = names(restore) - names(other)
    sizes = {one.sha256 + one.suffix: one.size for one in restore.outline.objects}
    assert going.own >= sizes[own]
    pruned(vault, RULES, hours=OVER)
    assert PRE not in vault.ids("shop")
    assert [one.id for one in Restores(vault, "shop").all()] == [other.id]
    assert not list(vault.store.list(layout.restore_prefix("shop", restore.id)))
    assert names(restore) <= objects(vault), "the grace time begins when nothing names them any more"
    pruned(vault, RULES, hours=FREED)
    assert names(restore) & objects(vault) == names(restore) & names(other)
    assert b"".join(other.rows(other.prepared.images[0])) == b"9\tZoe\n"
    assert verify_all(vault, "shop").ok


def test_a_restore_that_is_recorded_while_prune_looks_keeps_its_objects(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = restored(vault)
    forget_restore_by_hand(vault, "shop", first.id)
    pruned(vault, RULES, hours=0)
    looked, made = sweep.look, []

    def look(*about: object) -> sweep.Unnamed:
        found = looked(*about)  # type: ignore[arg-type]
        made.append(restored(vault))
        return found

    monkeypatch.setattr(sweep, "look", look)
    pruned(vault, RULES, hours=48)
    assert names(made[0]) <= objects(vault)
    assert b"".join(made[0].rows(made[0].prepared.images[0])) == BEFORE


def test_a_record_that_cannot_be_read_keeps_all_objects_until_a_person_removes_it(vault: Vault) -> None:
    restore = restored(vault, pre_restore=PRE)
    stray = vault.writer.write_bytes(b"named by nothing", ".tsv.zst")
    assert vault.store.folder is not None
    path = vault.store.folder / layout.restore_prefix("shop", restore.id) / "outline.json"
    rewrite(path, path.read_bytes()[:-9])
    for hours in (0, 48):
        report = pruned(vault, RULES, hours=hours)
        assert "prune-blind" in [one.code for one in report.findings]
    assert stray.sha256 + stray.suffix in objects(vault)
    assert forget_restore_by_hand(vault, "shop", restore.id).was_damaged
    for hours in (49, 98):
        assert pruned(vault, RULES, hours=hours).findings == ()
    assert stray.sha256 + stray.suffix not in objects(vault)


def test_who_forgets_the_backup_before_a_restore_is_told_what_that_takes_away(vault: Vault) -> None:
    restore = restored(vault, pre_restore=PRE)
    backup = vault.backup("shop", PRE)
    with pytest.raises(ConfigError, match="can be undone"):
        forget_one(backup, why="", now=NOW)
    assert Restores(vault, "shop").get(restore.id)
    report = forget_one(backup, why="", now=NOW, force=["pre-restore"])
    assert report.restores == (restore.id,)
    assert Restores(vault, "shop").all() == ()


def test_what_a_killed_restore_left_is_swept_away_after_a_week(vault: Vault) -> None:
    restore = restored(vault)
    vault.store.delete(restore.keys[0])
    pruned(vault, RULES, hours=-12 * 24)
    assert list(vault.store.list(layout.restore_prefix("shop", restore.id)))
    pruned(vault, RULES, hours=0)
    assert not list(vault.store.list(layout.restore_prefix("shop", restore.id)))


class _Killed(BaseException):
    pass


class _Dying(LocalStore):
    left = 0

    def _count(self) -> None:
        _Dying.left -= 1
        if _Dying.left == 0:
            raise _Killed

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        self._count()
        super().put(key, data, overwrite=overwrite)

    def delete(self, key: str, *, durable: bool = True) -> None:
        self._count()
        super().delete(key, durable=durable)


@pytest.mark.rule("U11")
def test_a_prune_that_is_killed_anywhere_leaves_whole_records(vault: Vault, tmp_path: Path) -> None:
    restore = restored(vault, pre_restore=PRE)
    pruned(vault, RULES, hours=0)
    dying = Vault(_Dying(tmp_path / "vault"))
    seen = set()
    for moment in range(1, 200):
        _Dying.left = moment
        with suppress(_Killed):
            pruned(dying, RULES, hours=OVER)
        for one in Restores(vault, "shop").all():
            assert b"".join(one.rows(one.prepared.images[0])) == BEFORE
        there = restore.id in [one.id for one in Restores(vault, "shop").all()]
        seen.add((PRE in vault.ids("shop"), there))
        if _Dying.left > 0:
            break
    assert seen == {(True, True), (False, True), (False, False)}
    assert not list(vault.store.list(layout.restores_prefix("shop")))
    assert verify_all(vault, "shop").ok


def test_a_record_in_an_encrypted_vault_is_pruned_without_a_key(tmp_path: Path) -> None:
    made = Encrypted.make(tmp_path)
    keyless, host = made.stranger, replace(made.closed, clock=lambda: datetime(2026, 11, 3, 3, tzinfo=UTC))
    host.prepare()
    back_up_by_hand(host, shop(1)[:1], 3, kind="pre-restore")
    restore = restoring.restored(host, pre_restore=PRE)
    for night in (4, 5):
        back_up_by_hand(host, shop(night), night)
    pruned(keyless, RULES, hours=0)
    assert names(restore) <= objects(keyless)
    for hours in (OVER, FREED):
        assert pruned(keyless, RULES, hours=hours).findings == ()
    assert not names(restore) & objects(keyless)
    assert not list(keyless.store.list(layout.restores_prefix("shop")))


@pytest.mark.usefixtures("one_writer")
def test_a_record_in_a_bucket_is_written_copied_and_pruned(
    vault: Vault, moto_server: S3Server, tmp_path: Path
) -> None:
    options = moto_server.options(f"s3://{moto_server.make_bucket()}/vault", tmp_path / "staging")
    bucket = Vault(open_store(options))
    restore = restored(vault, pre_restore=PRE)
    assert replicate(vault, bucket, "shop").ok
    there = restored(bucket, pre_restore=PRE, before=b"7\tEve\n")
    assert len(Restores(bucket, "shop").ids) == 2
    assert b"".join(there.rows(there.prepared.images[0])) == b"7\tEve\n"
    assert verify_all(bucket, "shop").ok
    for hours in (OVER, FREED):
        pruned(bucket, RULES, hours=hours)
    assert Restores(bucket, "shop").all() == ()
    assert not (names(restore) | names(there)) & objects(bucket)
