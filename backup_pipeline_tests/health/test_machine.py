"""Is this machine ready? Each answer from a real folder, and nothing is left behind by asking."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.health.machine import Expected, inspect_machine
from backup_pipeline.model.findings import Report
from backup_pipeline.model.ids import backup_id
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault

NOW = datetime.now(UTC)


def look(folder: Path, *, expected: Expected | None = None) -> Report:
    return inspect_machine(
        LocalStore(folder), folder, folder.parent / "state", expected or Expected(), now=datetime.now(UTC)
    )


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if not finding.code.startswith("no-")}


def test_a_vault_that_is_fine_is_fine_and_stays_as_it_was(tmp_path: Path) -> None:
    Vault(LocalStore(tmp_path / "vault")).prepare()
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    report = look(tmp_path / "vault")
    assert report.ok
    assert codes(report) == set()
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_a_vault_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    report = look(tmp_path / "a" / "vault")
    assert report.ok
    assert codes(report) == {"vault-new"}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    assert codes(look(tmp_path)) == {"vault-foreign"}


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vault").touch()
    report = look(tmp_path / "vault")
    assert not report.ok
    assert "vault-not-a-folder" in codes(report)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_vault_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    Vault(LocalStore(tmp_path / "vault")).prepare()
    (tmp_path / "vault" / "tmp").mkdir(exist_ok=True)
    for folder in (tmp_path / "vault" / "tmp", tmp_path / "vault"):
        folder.chmod(0o500)
    try:
        assert "vault-not-writable" in codes(look(tmp_path / "vault"))
    finally:
        for folder in (tmp_path / "vault", tmp_path / "vault" / "tmp"):
            folder.chmod(0o700)


def test_a_backup_from_the_future_is_named(tmp_path: Path) -> None:
    newest = backup_id(NOW + timedelta(days=1))
    report = look(tmp_path / "vault", expected=Expected(newest=newest))
    assert not report.ok
    assert "clock-behind" in codes(report)


def test_a_new_vault_on_a_file_system_without_hard_links_is_refused_before_the_first_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FAT and exFAT answer: none can be mounted where tests run."""

    def refuse(source: object, target: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    report = look(tmp_path / "usb" / "vault")
    (finding,) = [one for one in report.findings if one.severity == "error"]
    assert finding.code == "vault-not-writable"
    assert f"{tmp_path}/usb/vault has no hard links" in finding.message
    assert list(tmp_path.iterdir()) == [], "nothing is left of the trial"
