"""Pruning a vault: what goes, in which order, and what is deleted when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.errors import ConfigError, NotFound, VaultBusy
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import backup_id
from backup_pipeline.model.manifest import ObjectRef, Proof
from backup_pipeline.model.vault_records import Garbage, Pin
from backup_pipeline.retention.byhand import forget_one, pin, unpin
from backup_pipeline.retention.prune import Conditions, prune
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import journal, layout, lock, records
from backup_pipeline.vault.committing import committing, read_garbage
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.handmade import (
    back_up_by_hand,
    identifier_of,
    shop,
    shop_vault,
)
from backup_pipeline_tests.retention.pruning import NOW, ONE, TWO, named, objects, pruned


def only_in(vault: Vault, night: int, *others: int) -> set[str]:
    def names(number: int) -> set[str]:
        return {
            one.sha256 + one.suffix for one in vault.backup("shop", identifier_of(number)).manifest.objects()
        }

    return names(night) - set().union(*(names(other) for other in others))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Four nights of the shop."""
    return shop_vault(tmp_path / "vault", nights=4)


@pytest.mark.rule("K2", "K3", "C5")
def test_what_is_forgotten_leaves_a_record_and_a_history_that_holds(vault: Vault) -> None:
    digests = {name: vault.backup("shop", name).link for name in vault.ids("shop")}
    report = pruned(vault, TWO)
    assert report.forgotten == (f"shop {identifier_of(1)}", f"shop {identifier_of(2)}")
    assert vault.ids("shop") == (identifier_of(3), identifier_of(4))
    for night in (1, 2):
        name = identifier_of(night)
        record = records.forgotten(vault.backup("shop", name))
        assert record is not None
        assert record.link == digests[name]
        assert record.previous == (digests[identifier_of(1)] if night == 2 else None)
        assert record.why == "prune: no rule wants it"
        assert "@" in record.by
        assert not list(vault.store.list(layout.backup_prefix("shop", name)))
        with pytest.raises(NotFound):
            verify(vault.backup("shop", name))
    assert verify_all(vault, "shop").findings == ()
    # A backup that is taken away by hand is no forgotten one.
    vault.store.delete(layout.forgotten_key("shop", identifier_of(2)))
    assert [one.code for one in verify_all(vault, "shop", quick=True).findings] == ["chain-broken"]


@pytest.mark.rule("C5")
def test_what_is_missing_behind_a_forgotten_backup_is_noticed(vault: Vault) -> None:
    forget_one(vault.backup("shop", identifier_of(3)), why="", now=NOW)
    assert verify_all(vault, "shop", quick=True).ok
    for stat in list(vault.store.list(layout.backup_prefix("shop", identifier_of(2)))):
        vault.store.delete(stat.key)
    (finding,) = verify(vault.backup("shop", identifier_of(4)), quick=True).findings
    assert finding.code == "chain-broken"
    assert identifier_of(2) in finding.message


def test_a_dry_run_says_it_all_and_changes_nothing(vault: Vault) -> None:
    before = {stat.key: stat.modified for stat in vault.store.list()}
    report = pruned(vault, dry_run=True)
    assert {stat.key: stat.modified for stat in vault.store.list()} == before
    (plan,) = report.systems
    assert [one.keep for one in plan.backups] == [False, False, False, True]
    assert plan.backups[-1].promises == ("newest",)
    assert report.forgotten == ()
    assert (report.freed.objects, report.waiting.objects) == (0, len(objects(vault) - only_in(vault, 4)))
    assert all(one.own > 0 for one in plan.backups)


@pytest.mark.rule("K5", "O5")
def test_objects_go_after_the_grace_time_and_those_that_are_named_stay(vault: Vault) -> None:
    keep = {one.sha256 + one.suffix for one in vault.backup("shop", identifier_of(4)).manifest.objects()}
    everything = objects(vault)
    first = pruned(vault)
    assert objects(vault) == everything
    assert first.freed.objects == 0
    assert first.waiting.objects == len(everything - keep)
    assert first.next_at == "2026-11-22T12:00:00.000000Z"
    marks = json.loads((Path(vault.store.address) / "garbage.json").read_bytes())["marked"]
    assert marks == {"2026-11-21T12:00:00.000000Z": sorted(everything - keep)}
    assert pruned(vault, hours=23.9).freed.objects == 0
    second = pruned(vault, hours=24)
    assert second.freed == first.waiting
    assert objects(vault) == keep
    assert verify_all(vault, "shop").findings == ()
    assert read_garbage(vault.store) == Garbage("2026-11-22T12:00:00.000000Z")


def test_an_object_that_is_named_again_begins_its_grace_anew(vault: Vault) -> None:
    pruned(vault)
    # The first night's rows come back, in the very same bytes, and are forgotten again at once.
    back_up_by_hand(vault, shop(1), 5)
    again = {one.sha256 + one.suffix for one in vault.backup("shop", identifier_of(5)).manifest.objects()}
    forget_one(
        vault.backup("shop", identifier_of(5)),
        why="a mistake",
        now=NOW + timedelta(hours=23),
        force=["newest"],
    )
    pruned(vault, hours=24.5)
    assert again <= objects(vault)
    pruned(vault, hours=60)
    assert objects(vault) == named(vault)


def test_what_another_system_names_stays(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=3)
    back_up_by_hand(vault, shop(1), 1, system="office")
    pruned(vault, grace=0)
    assert vault.ids("office") == (identifier_of(1),)
    assert verify_all(vault, "office").findings == ()
    assert objects(vault) == named(vault)


def test_what_drafts_and_journals_name_stays_until_they_are_abandoned(vault: Vault) -> None:
    real = datetime.now(UTC)
    waits = vault.writer.write_bytes(b"1\twaits for its commit\n", ".tsv.zst")
    noted = vault.writer.write_bytes(b"1\tof a killed run\n", ".tsv.zst")
    nobody = vault.writer.write_bytes(b"1\tnobody's\n", ".tsv.zst")
    manifest = vault.backup("shop", identifier_of(4)).manifest
    draft = replace(
        manifest,
        id=backup_id(real),
        tables=(replace(manifest.tables[0], chunks=(replace(manifest.tables[0].chunks[0], object=waits),)),),
    )
    vault.store.put(layout.draft_key("shop", "token"), canonical.encode(draft))
    notes = journal.Journal(vault.backup("shop", backup_id(real - timedelta(minutes=1))), {})
    notes.note(replace(manifest.tables[0], chunks=(replace(manifest.tables[0].chunks[0], object=noted),)))
    notes.flush()

    def there(reference: ObjectRef) -> bool:
        return vault.writer.holds(reference)

    prune(vault, Conditions({}, timedelta(0), real))
    assert (there(waits), there(noted), there(nobody)) == (True, True, False)
    prune(vault, Conditions({}, timedelta(0), real + timedelta(days=8)))
    assert (there(waits), there(noted)) == (False, False)
    assert not list(vault.store.list("shop/drafts/"))


def test_a_place_that_is_no_vault_is_left_alone(tmp_path: Path) -> None:
    """A disk that is not mounted must not become a folder that no vault can be made in."""
    place = Vault(LocalStore(tmp_path / "not-mounted"))
    for deed in (
        lambda: pruned(place),
        lambda: forget_one(place.backup("shop", identifier_of(1)), why="", now=NOW),
        lambda: pruned(place, dry_run=True),
    ):
        with pytest.raises(NotFound, match="no vault"):
            deed()
    assert not (tmp_path / "not-mounted").exists()


# ── beside others


@pytest.mark.rule("K6")
def test_one_prune_at_a_time(vault: Vault) -> None:
    with lock.hold_key(vault.store, layout.PRUNE_LOCK, "prune"), pytest.raises(VaultBusy):
        pruned(vault)
    assert len(vault.ids("shop")) == 4


@pytest.mark.rule("K5")
def test_what_a_running_backup_may_still_want_is_spared(vault: Vault) -> None:
    """It began before the objects lost their last name: it may have planned to name them again."""
    real = datetime.now(UTC)
    # However long ago the nights of this vault are: after months of silence a prune would freeze.
    rules = {"shop": replace(ONE["shop"], silent_after=timedelta(days=36_500))}
    with lock.hold(vault.store, "office", "backup of office"):
        prune(vault, Conditions(rules, timedelta(0), real))
        report = prune(vault, Conditions(rules, timedelta(0), real + timedelta(seconds=2)))
        assert report.freed.objects == 0
        assert report.spared.objects == report.waiting.objects > 0
    report = prune(vault, Conditions(rules, timedelta(0), real + timedelta(seconds=4)))
    assert report.freed.objects > 0
    assert objects(vault) == named(vault)


@pytest.mark.rule("K1")
def test_a_pinned_backup_stays_and_goes_when_it_is_unpinned(vault: Vault) -> None:
    pin(vault.backup("shop", identifier_of(1)), "the audit", NOW)
    report = pruned(vault)
    assert [one.pinned for one in report.systems[0].backups] == [True, False, False, False]
    assert vault.ids("shop") == (identifier_of(1), identifier_of(4))
    vault.store.put(layout.pin_key("shop", identifier_of(1)), b"unreadable", overwrite=True)
    assert pruned(vault).forgotten == ()
    held = unpin(vault.backup("shop", identifier_of(1)))
    assert held == Pin(at="", reason="the pin itself cannot be read")
    assert len(pruned(vault).forgotten) == 1
    with pytest.raises(NotFound):
        pin(vault.backup("shop", identifier_of(1)), "", NOW)


def test_forget_refuses_what_is_never_removed_and_says_how_to_insist(vault: Vault) -> None:
    identifier = identifier_of(4)
    pin(vault.backup("shop", identifier), "keep", NOW)
    vault.backup("shop", identifier).remember(
        Proof(
            "drill",
            "2026-11-05T02:00:00.000000Z",
            True,
            1.0,
            manifest_sha256=vault.backup("shop", identifier).link.sha256,
        ),
    )
    with pytest.raises(ConfigError) as caught:
        forget_one(vault.backup("shop", identifier), why="", now=NOW, force=["newest"])
    assert "the newest proven backup; pinned: keep" in caught.value.message
    assert "--force newest --force proven --force pinned" in caught.value.remedy
    with pytest.raises(ConfigError, match="not a promise"):
        forget_one(vault.backup("shop", identifier), why="", now=NOW, force=["everything"])
    done = forget_one(vault.backup("shop", identifier), why="", now=NOW, force=["newest", "proven", "pinned"])
    assert done.own > 0
    assert vault.ids("shop")[-1] == identifier_of(3)
    assert verify_all(vault, "shop").findings == ()


def test_forget_keeps_a_pinned_backup_that_is_damaged_until_it_is_told_otherwise(vault: Vault) -> None:
    identifier = identifier_of(2)
    pin(vault.backup("shop", identifier), "the audit", NOW)
    path = Path(vault.store.address) / layout.manifest_key("shop", identifier)
    rewrite(path, path.read_bytes()[:-20])
    policy = RetentionSettings(last=1, pin=(identifier_of(3),))
    with pytest.raises(ConfigError, match="the audit") as caught:
        forget_one(vault.backup("shop", identifier), why="", now=NOW, policy=policy)
    assert "--force pinned" in caught.value.remedy
    forget_one(vault.backup("shop", identifier), why="", now=NOW, policy=policy, force=["pinned"])
    path = Path(vault.store.address) / layout.manifest_key("shop", identifier_of(3))
    path.unlink()
    with pytest.raises(ConfigError, match="pinned"):
        forget_one(vault.backup("shop", identifier_of(3)), why="", now=NOW, policy=policy)
    forget_one(vault.backup("shop", identifier_of(3)), why="", now=NOW, policy=policy, force=["pinned"])
    assert verify_all(vault, "shop").findings == ()


def test_a_copy_of_a_forgotten_backup_may_come_back(vault: Vault) -> None:
    """A backup with its manifest is a backup, also with a record; the next prune takes the record away, or the
    backup."""
    record = records.write_forgotten
    pruned(vault, TWO)
    held = records.forgotten(vault.backup("shop", identifier_of(2)))
    assert held is not None
    del record
    made = back_up_by_hand(vault, shop(9), 9)
    records.write_forgotten(vault.store, replace(held, id=made.id))
    assert verify_all(vault, "shop").ok
    pruned(vault, {})
    assert records.forgotten(vault.backup("shop", made.id)) is None
    assert verify_all(vault, "shop").findings == ()


# ── the protocol of committing


@pytest.mark.rule("K6")
def test_a_commit_announces_itself_and_prune_waits_for_it(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup_pipeline.retention import sweep

    monkeypatch.setattr(sweep, "PATIENCE", 0.3)
    old = vault.writer.write_bytes(b"nobody's\n", ".tsv.zst")
    pruned(vault, {}, grace=24)
    with lock.hold(vault.store, "office", "backup of office") as held:
        with committing(vault.store, held, [old]):
            current = lock.current(vault.store, layout.lock_key("office"))
            assert current is not None
            assert current.committing
            # The mark is older than the lock by far, in the times that this test pretends.
            _marked_long_ago(vault, old)
            assert pruned(vault, {}, hours=48).freed.objects == 0
            assert vault.writer.holds(old)
        current = lock.current(vault.store, layout.lock_key("office"))
        assert current is not None
        assert not current.committing
        assert pruned(vault, {}, hours=48).freed.objects == 1


def _marked_long_ago(vault: Vault, *references: ObjectRef) -> None:
    names = tuple(sorted(one.sha256 + one.suffix for one in references))
    garbage = Garbage("2026-01-01T00:00:00.000000Z", {"2026-01-01T00:00:00.000000Z": names})
    vault.store.put(layout.GARBAGE, canonical.encode(garbage), overwrite=True)
