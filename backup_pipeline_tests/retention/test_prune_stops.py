"""What makes a prune stop: collapsed backups, clocks, damage, refusals; and pins that pin nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.errors import StoreUnavailable, VaultError
from backup_pipeline.retention.byhand import forget_one
from backup_pipeline.retention.prune import Rules
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, records
from backup_pipeline.vault.committing import read_garbage
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.handmade import (
    Made,
    back_up_by_hand,
    identifier_of,
    prepared,
    shop,
    shop_vault,
    table,
)
from backup_pipeline_tests.retention.pruning import NOW, named, objects, pruned


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Four nights of the shop."""
    return shop_vault(tmp_path / "vault", nights=4)


def test_a_collapse_freezes_the_system_until_a_person_accepts_it(vault: Vault) -> None:
    tiny = (table("customers", {"id": "integer"}, b"1\n"),)
    back_up_by_hand(vault, tiny, 5)
    report = pruned(vault)
    assert report.forgotten == ()
    assert [one.code for one in report.findings] == ["prune-frozen"]
    assert "--despite-anomaly" in report.findings[0].remedy
    assert len(vault.ids("shop")) == 5
    report = pruned(vault, despite_anomaly=True)
    assert len(report.forgotten) == 4
    back_up_by_hand(vault, tiny, 6)
    assert [one.code for one in pruned(vault).findings] == []


@pytest.mark.rule("K8")
def test_what_was_accepted_stands_in_the_vault(vault: Vault) -> None:
    back_up_by_hand(vault, (table("customers", {"id": "integer"}, b"1\n"),), 5)
    assert pruned(vault).forgotten == ()
    pruned(vault, despite_anomaly=True)
    assert records.accepted(vault.store, "shop") == identifier_of(5)
    held = json.loads((Path(vault.store.address) / "shop/accepted.json").read_bytes())
    assert held["id"] == identifier_of(5)


def test_rows_that_are_gone_freeze_also_where_media_are_most_of_the_bytes(tmp_path: Path) -> None:
    """The orders were emptied; next to the media that is not even a percent of the bytes."""
    media = table("media", {"id": "integer", "image": "text"}, b"1\t%s\n" % (b"x" * 100_000))

    def night(orders: int) -> list[Made]:
        rows = b"".join(b"%d\n" % number for number in range(orders))
        return [media, table("orders", {"id": "integer"}, rows)]

    vault = prepared(tmp_path / "vault")
    for number, orders in enumerate((500, 500, 500, 3), start=1):
        back_up_by_hand(vault, night(orders), number)
    report = pruned(vault)
    assert report.forgotten == ()
    (finding,) = report.findings
    assert finding.code == "prune-frozen"
    assert "has 4 rows; the 3 full backups before it had 501 (the middle one)" in finding.message


def test_the_only_good_backup_is_not_traded_for_an_empty_one(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    back_up_by_hand(vault, (table("customers", {"id": "integer"}, b"1\n"),), 2)
    assert [one.code for one in pruned(vault).findings] == ["prune-frozen"]
    assert len(vault.ids("shop")) == 2


def test_a_clock_that_was_set_back_freezes_until_a_person_looked(vault: Vault) -> None:
    pruned(vault, {}, hours=48)
    nobody = vault.writer.write_bytes(b"1\tnobody's\n", ".tsv.zst")
    before = read_garbage(vault.store)
    for _ in range(2):
        report = pruned(vault, grace=0)
        assert [one.code for one in report.findings] == ["prune-frozen"]
        assert "clock" in report.findings[0].remedy
        assert len(vault.ids("shop")) == 4
        # What it would mark now would be of a time that never was.
        assert read_garbage(vault.store) == before
        assert vault.writer.holds(nobody)
    assert len(pruned(vault, grace=0, despite_anomaly=True).forgotten) == 3
    assert not vault.writer.holds(nobody)
    assert pruned(vault).findings == ()


def test_what_is_accepted_because_of_a_clock_accepts_no_collapse(vault: Vault) -> None:
    """A backup of the year 2099 must not accept every collapse until then."""
    back_up_by_hand(vault, shop(4), 5, identifier="2099-01-01T02-00-00-000Z")
    assert [one.code for one in pruned(vault).findings] == ["prune-frozen"]
    pruned(vault, despite_anomaly=True)
    assert records.accepted(vault.store, "shop") == ""


def test_a_pin_of_the_configuration_that_pins_nothing_is_said(vault: Vault) -> None:
    wrong = "2026-11-01T02-00-00-001Z"
    rules = {
        name: Rules(RetentionSettings(last=1, pin=(identifier_of(2), wrong))) for name in ("shop", "office")
    }
    report = pruned(vault, rules, dry_run=True)
    (finding,) = report.findings
    assert (finding.severity, finding.code) == ("warning", "pin-of-nothing")
    assert wrong in finding.message
    assert [one.keep for one in report.systems[0].backups] == [False, True, False, True]


@pytest.mark.rule("K5")
def test_while_a_manifest_is_damaged_or_missing_no_object_is_deleted(vault: Vault) -> None:
    everything = objects(vault)
    broken = Path(vault.store.address) / layout.manifest_key("shop", identifier_of(1))
    whole = broken.read_bytes()
    broken.unlink()
    report = pruned(vault, grace=0)
    assert [one.code for one in report.findings] == ["prune-blind"]
    assert objects(vault) == everything
    assert vault.ids("shop") == (identifier_of(4),)
    broken.write_bytes(whole[:-20])
    assert [one.code for one in pruned(vault, grace=0).findings] == ["prune-blind"]
    forget_one(vault.backup("shop", identifier_of(1)), why="damaged", now=NOW)
    assert pruned(vault, grace=0).findings == ()
    assert objects(vault) == named(vault)
    assert verify_all(vault, "shop").ok


@pytest.mark.rule("K4", "K5")
def test_a_newest_backup_that_was_taken_away_is_missed_and_its_objects_stay(vault: Vault) -> None:
    assert verify_all(vault, "shop", quick=True).ok
    everything = objects(vault)
    for stat in list(vault.store.list(layout.backup_prefix("shop", identifier_of(4)))):
        vault.store.delete(stat.key)
    (finding,) = verify(vault.backup("shop", vault.resolve("shop", None)), quick=True).findings
    assert finding.code == "newest-missing"
    assert [one.code for one in pruned(vault, grace=0).findings] == ["prune-blind"]
    assert objects(vault) == everything
    forget_one(vault.backup("shop", identifier_of(4)), why="it was on purpose", now=NOW)
    assert verify(vault.backup("shop", vault.resolve("shop", None)), quick=True).findings == ()
    assert pruned(vault, grace=0).findings == ()


class _Guarded(LocalStore):
    """A bucket whose rights, or locks, refuse some deletions."""

    refused: tuple[str, ...] = ()

    def delete(self, key: str, *, durable: bool = True) -> None:
        if any(part in key for part in self.refused):
            raise VaultError(f"cannot delete {key}: access denied")
        super().delete(key, durable=durable)


def test_refused_deletions_are_counted_and_leave_everything_consistent(vault: Vault) -> None:
    guarded = Vault(_Guarded(Path(vault.store.address)))
    _Guarded.refused = ("manifest.json",)
    try:
        report = pruned(guarded)
        assert report.forgotten == ()
        assert [(one.code, one.severity) for one in report.findings] == [("delete-refused", "error")]
        assert "3 manifests" in report.findings[0].message
        assert records.forgotten_ids(vault.store, "shop") == ()
        assert verify_all(vault, "shop").findings == ()
        _Guarded.refused = ("objects/", "RECOVER.md")
        report = pruned(guarded, grace=0)
        assert len(report.forgotten) == 3
        assert {one.message.split(",")[0] for one in report.findings} == {
            "the store refused to delete 3 files beside manifests",
            f"the store refused to delete {report.waiting.objects} objects",
        }
        assert verify_all(vault, "shop").findings == ()
    finally:
        _Guarded.refused = ()
    assert pruned(guarded, grace=0, hours=1).findings == ()
    assert objects(vault) == named(vault)
    assert not list(vault.store.list(layout.backup_prefix("shop", identifier_of(1))))


def test_a_store_that_stops_answering_ends_the_prune_and_the_next_one_goes_on(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    inner = LocalStore.delete

    def failing(self: LocalStore, key: str, *, durable: bool = True) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StoreUnavailable("the share is gone")
        inner(self, key, durable=durable)

    monkeypatch.setattr(LocalStore, "delete", failing)
    with pytest.raises(StoreUnavailable):
        pruned(vault, grace=0)
    assert verify_all(vault, "shop").ok
    pruned(vault, grace=0)
    assert vault.ids("shop") == (identifier_of(4),)
    assert objects(vault) == named(vault)
    assert verify_all(vault, "shop").findings == ()


class _Failing(LocalStore):
    """A disk that is full, or gone, from one deed on."""

    #: Deeds that go well; those of which kind fail; and how many there were.
    good = 0
    verb = "put"
    deeds = 0

    def _deed(self, verb: str) -> None:
        if verb == _Failing.verb:
            _Failing.deeds += 1
            if _Failing.deeds > _Failing.good:
                raise VaultError("the disk is full", remedy="free space")

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        self._deed("put")
        super().put(key, data, overwrite=overwrite)

    def delete(self, key: str, *, durable: bool = True) -> None:
        if key != layout.PRUNE_LOCK:  # one that cannot be given back is free in five minutes
            self._deed("delete")
        super().delete(key, durable=durable)


@pytest.mark.parametrize("verb", ["put", "delete"])
def test_a_disk_that_fails_from_any_deed_on_hurts_nothing_and_the_next_prune_finishes(
    tmp_path: Path, verb: str
) -> None:
    _Failing.verb, moments = verb, 0
    while True:
        vault = shop_vault(tmp_path / f"{moments}", nights=3)
        _Failing.good, _Failing.deeds = moments, 0
        report = None
        with suppress(VaultError):
            report = pruned(Vault(_Failing(Path(vault.store.address))), grace=0)
        assert verify_all(vault, "shop").findings == (), moments
        assert named(vault) <= objects(vault), moments
        assert pruned(vault, grace=0, hours=1).findings == ()
        assert vault.ids("shop") == (identifier_of(3),)
        assert objects(vault) == named(vault)
        assert verify_all(vault, "shop").findings == ()
        if _Failing.deeds <= moments:
            break
        assert report is None or report.findings, "it went well although something failed"
        moments += 1
    assert moments > 5, "it failed at too few moments to show anything"
