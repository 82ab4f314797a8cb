from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.health import monitors, open_findings
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.manifest import Proof
from backup_pipeline.model.overview import CopyLag, SystemStatus
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault

NOTHING = SystemStatus(
    "shop", None, None, 0, None, False, (Finding.of("no-backup", system="shop"),), zone="UTC"
)


def test_a_system_without_a_backup_is_neither_fresh_nor_proven() -> None:
    assert not monitors.fresh(NOTHING).passed
    assert not monitors.proven(NOTHING).passed


def test_a_finding_of_proof_fails_only_the_check_of_proof() -> None:
    told = Finding.of("proof-too-old", age="9 days", system="shop", schedule="")
    status = SystemStatus("shop", None, None, 1, None, True, (told,), zone="UTC")
    assert monitors.fresh(status).passed
    assert monitors.proven(status).findings == (told,)


def test_a_verdict_fails_with_an_error() -> None:
    assert monitors.verdict("2026-11-01", ()).description == "the backup 2026-11-01 is made"
    assert monitors.verdict("2026-11-01", (Finding.of("no-backup", system="shop"),)).is_error


def test_a_copy_that_has_all_tells_its_newest_backup() -> None:
    lag = CopyLag("offsite", "shop", within=3600.0, backups=2, latest="b")
    assert monitors.copied(lag).description == "2 held, b the newest"


def test_the_size_of_a_vault_is_told_with_the_days_that_are_left() -> None:
    report = Report("storage", (), {"bytes": 2**20, "objects": 3, "days_left": 40})
    assert monitors.storage(report).description == "1.0 MiB in 3 objects; full in about 40 days"


def test_a_failed_proof_of_a_kind_that_this_version_does_not_know_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_findings, "manifest_of", lambda _: None)
    proof = Proof(kind="audit", at="2026-11-30T02:00:00Z", ok=False, seconds=1.0)
    (told,) = open_findings.of_backup(Vault(LocalStore(tmp_path)).backup("shop", "b"), (proof,), ())
    assert (told.severity, told.code) == ("error", "audit-failed")
