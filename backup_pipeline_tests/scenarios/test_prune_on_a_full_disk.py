"""A disk that backups have filled: prune still works there, and where it cannot it says so and hurts nothing."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.errors import VaultError
from backup_pipeline.retention.prune import Conditions, Rules, prune
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.presence import missing
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.scripted import ScriptedSource

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
RULES = {"shop": Rules(RetentionSettings(last=1))}


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        yield Vault(LocalStore(tmp_path / "vault"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def backed_up_until_full(vault: Vault) -> int:
    dice = random.Random(7)

    def nights() -> None:
        for _ in range(100):
            # Text that does not shrink: about 150 kB a night.
            rows = b"".join(b"%s\n" % dice.randbytes(60).hex().encode() for _ in range(2500))
            back_up(vault, ScriptedSource({"orders": rows}), Order("shop", pauses=()))

    with pytest.raises(VaultError, match="full"):
        nights()
    return len(vault.ids("shop"))


def sound(vault: Vault) -> None:
    # The scripted source writes no fingerprints.
    found = verify_all(vault, "shop", quick=True).errors
    assert {one.code for one in found} <= {"fingerprint"}
    for identifier in vault.ids("shop"):
        assert missing(vault.store, vault.backup("shop", identifier).manifest.objects()) == []


def test_a_disk_that_backups_have_filled_is_made_free_by_prune(vault: Vault) -> None:
    made = backed_up_until_full(vault)
    assert made > 3
    sound(vault)
    report = prune(vault, Conditions(RULES, timedelta(0), datetime.now(UTC) + timedelta(minutes=6)))
    assert len(report.forgotten) == made - 1
    assert report.freed.bytes > 100_000
    sound(vault)
    back_up(vault, ScriptedSource({"orders": b"1\n" * 100}), Order("shop", pauses=()))
    sound(vault)


def test_a_disk_without_a_single_block_is_an_error_with_a_remedy_and_nothing_is_hurt(vault: Vault) -> None:
    made = backed_up_until_full(vault)
    ballast = Path(vault.store.address).parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                break
    with pytest.raises(VaultError, match="full") as caught:
        prune(vault, Conditions(RULES, timedelta(0), datetime.now(UTC) + timedelta(minutes=6)))
    assert "free space" in caught.value.remedy
    sound(vault)
    ballast.unlink()
    report = prune(vault, Conditions(RULES, timedelta(0), datetime.now(UTC) + timedelta(minutes=6)))
    assert len(report.forgotten) == made - 1
    sound(vault)
