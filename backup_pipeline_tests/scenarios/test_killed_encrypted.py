"""kill -9 while an encrypted backup is written, by a host that has only public keys: nothing half-done is listed,
and the next run finishes and builds on what was there."""

from __future__ import annotations

import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_pipeline.operations import Site
from backup_pipeline.retention.forgetting import ABANDONED, Denied, sweep_abandoned
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness import warm
from backup_pipeline_tests.harness.commands import PROGRAM
from backup_pipeline_tests.harness.encrypted import Encrypted, change, make_shop
from backup_pipeline_tests.harness.soak import SEED, time_is_over

FAST, MANY = 2, 30


def finish(argv: tuple[str, ...]) -> None:
    code, _, errors = warm.start(*argv).ended()
    assert code == 0, errors


def killed_many_times(tmp_path: Path, count: int, seed: int) -> None:
    made = Encrypted.make(tmp_path)
    url = make_shop(tmp_path / "shop.db")
    change(url, 12_000)
    config = tmp_path / "backup.yaml"
    config.write_text(
        f"vault: {made.folder}\nstate: {tmp_path}/state\nencryption: {{recipients: [{made.public}]}}\n"
        f"systems:\n  shop:\n    database: {url}\n"
    )
    argv = (PROGRAM[2], "backup", "shop", "--no-record", "--quiet", "--config", str(config))
    began = time.monotonic()
    finish(argv)
    usual = time.monotonic() - began
    chance, kills = random.Random(seed), 0
    for _ in range(20 * count):
        change(url, 3_000)
        # Only the process itself, as the kernel does when memory is short: its workers have to notice.
        with warm.start(*argv) as process:
            time.sleep(chance.uniform(0.3 * usual, usual))
            process.kill()
        if process.returncode == -signal.SIGKILL:
            kills += 1
        else:
            usual *= 0.8  # the first run, of everything, takes longer than those of what changed
        report = verify_all(made.opened, "shop", quick=True)
        assert report.ok, report.errors
        if kills == count or time_is_over():
            break
        if kills % 3 == 0:
            finish(argv)
    assert kills == count or time_is_over(), (
        f"only {kills} of {count} runs were killed: this proved too little"
    )
    finish(argv)
    assert verify_all(made.opened, "shop").ok
    # Killed in the middle of a commit, a run leaves its folder beside the draft that waits: then it is prune that sweeps.
    vault = Site.load(config).vault
    assert set(vault.interrupted("shop")) <= vault.waiting("shop")
    sweep_abandoned(made.closed, "shop", datetime.now(UTC) + 2 * ABANDONED, Denied())
    assert made.closed.interrupted("shop") == ()


def test_backups_that_are_killed(tmp_path: Path) -> None:
    killed_many_times(tmp_path, FAST, seed=7)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_backups_that_are_killed_many_times(tmp_path: Path) -> None:
    killed_many_times(tmp_path, MANY, seed=SEED)
