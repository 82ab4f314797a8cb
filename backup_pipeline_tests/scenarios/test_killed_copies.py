"""A copy may be killed with -9 at any moment: the copy lists whole backups only, and the next run goes on from there."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

import pytest

from backup_pipeline.copies.compare import compare
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.errors import VaultError
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness import warm
from backup_pipeline_tests.harness.handmade import back_up_by_hand, shop, shop_vault
from backup_pipeline_tests.harness.processes import run_for
from backup_pipeline_tests.harness.soak import SEED, time_is_over

_COPY = "import sys; from backup_pipeline_tests.harness.dying_copy import main; main(*sys.argv[1:])"


def _copy(vault: Vault, copy: Vault, number: int = 0, moment: str = "before") -> int | None:
    """How many deeds there were; None when it was killed at one of them."""
    child = warm.start(_COPY, vault.store.address, copy.store.address, str(number), moment)
    ended, deeds, errors = child.ended()
    if ended == -signal.SIGKILL:
        return None
    assert ended == 0, errors
    return int(deeds)


def _sound(copy: Vault) -> None:
    if not copy.ids("shop"):
        return
    report = verify_all(copy, "shop", quick=True)
    assert report.errors == ()
    # What was listed and not sealed, or not bridged, when the process died is said, and is no damage.
    assert {finding.code for finding in report.findings} <= {"not-sealed"}


def _scenario(folder: Path, kills: int, seed: int = 20261121) -> None:
    vault, copy = shop_vault(folder / "vault", nights=2), Vault(LocalStore(folder / "copy"))
    dice = random.Random(seed)
    killed, night, deeds = 0, 2, 40
    while killed < kills and not time_is_over():
        done = _copy(vault, copy, dice.randrange(1, deeds), dice.choice(("before", "after")))
        _sound(copy)
        if done is None:
            killed += 1
            continue
        night += 1
        if night <= 28:
            back_up_by_hand(vault, shop(night), night)
        else:
            for path in sorted((folder / "copy").rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
    assert _copy(vault, copy) is not None
    assert compare(vault, copy, "shop").same
    report = verify_all(copy, "shop")
    assert report.findings == ()
    assert list(copy.store.staging().iterdir()) == []
    assert copy.interrupted("shop") == ()
    assert copy.store.stat(layout.lock_key("shop")) is None


def test_a_killed_copy_lists_nothing_half_and_the_next_one_finishes(tmp_path: Path) -> None:
    _scenario(tmp_path, 6)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_copy_survives_a_hundred_kills(tmp_path: Path) -> None:
    _scenario(tmp_path, 100, SEED)


@pytest.mark.soak
def test_a_copy_that_is_killed_after_some_time_finishes_with_the_next(tmp_path: Path) -> None:
    vault, copy = shop_vault(tmp_path / "vault", nights=20), Vault(LocalStore(tmp_path / "copy"))
    dice = random.Random(SEED)
    for _ in range(30):
        run_for(dice.uniform(0.0, 0.9), _COPY, vault.store.address, copy.store.address, "0", "before")
        _sound(copy)
    assert _copy(vault, copy) is not None
    assert compare(vault, copy, "shop").same


@pytest.mark.skipif("os.geteuid() != 0", reason="only root can mount a small disk")
def test_a_disk_that_fills_up_keeps_whole_backups_and_takes_the_rest_when_there_is_room(
    tmp_path: Path,
) -> None:
    vault = shop_vault(tmp_path / "vault", nights=12)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs may be mounted here: {mounted.stderr.decode().strip()}")
    try:
        copy = Vault(LocalStore(disk / "copy"))
        with pytest.raises(VaultError, match="the disk is full"):
            replicate(vault, copy, "shop")
        assert 0 < len(copy.ids("shop")) < 12
        _sound(copy)
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert replicate(vault, copy, "shop").ok
        assert compare(vault, copy, "shop").same
        assert list(copy.store.staging().iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=False)
