"""Backups, prune, verification and copies on one vault at the same time: nothing that is needed is lost.

Two systems hold the same rows and so share objects; their content comes, goes and comes back in the same bytes. So a
running backup relies on objects that no backup names any more.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from backup_pipeline import config
from backup_pipeline.model.orders import BackupOrder, CopyOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.copy import copy_to
from backup_pipeline.vault import crypto
from backup_pipeline.vault.presence import missing
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness import at_once
from backup_pipeline_tests.harness.at_once import SYSTEMS
from backup_pipeline_tests.harness.soak import UNTIL, time_is_over

CONFIG = """\
vault: ./vault
{encryption}
copies: {{other: ./other}}
systems:
  shop: {{database: "sqlite:///shop.db"}}
  office: {{database: "sqlite:///office.db"}}
"""

ROLES = ("shop", "office", "prune", "verify", "copy", "prune-copy", "verify-copy")

_SECRET, _PUBLIC = crypto.generate()
ENCRYPTED = f"encryption: {{recipients: [{_PUBLIC}], identity: {_SECRET}}}"


@pytest.fixture
def encryption() -> str:
    return ""


@pytest.fixture
def path(tmp_path: Path, encryption: str) -> Path:
    for system in SYSTEMS:
        with sqlite3.connect(tmp_path / f"{system}.db") as connection:
            connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
        connection.close()
    config_file = tmp_path / "backup.yaml"
    config_file.write_text(CONFIG.format(encryption=encryption), encoding="utf-8")
    site = Site(config.load(config_file))
    for system in SYSTEMS:
        backup(site, BackupOrder(system))
        copy_to(site, CopyOrder(system), "other")
    return config_file


def _together(path: Path, seconds: float) -> dict[str, int]:
    """All roles at once, so many seconds at least, and until each has done something: what each did."""
    argv = [sys.executable, "-W", "ignore", "-m", "backup_pipeline_tests.harness.at_once"]
    with ExitStack() as at_the_end:
        running = {}
        for role in ROLES:
            process = subprocess.Popen(
                [*argv, role, str(path), "20261121"],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            running[role] = at_the_end.enter_context(process)
            # When one of them fails, the others do not go on beside the next tests.
            at_the_end.callback(process.kill)
        begun = time.monotonic()
        while all(process.poll() is None for process in running.values()):
            passed = time.monotonic() - begun
            if passed > seconds + 60 or (
                passed > seconds and all(at_once.done(path, role) for role in ROLES)
            ):
                break
            time.sleep(0.1)
        for process in running.values():
            assert process.stdin
            process.stdin.close()
            process.stdin = None
        for role, process in running.items():
            _, error = process.communicate(timeout=120)
            assert process.returncode == 0, f"{role}: {error.decode()[-3000:]}"
    done = {role: at_once.done(path, role) for role in ROLES}
    assert all(count > 0 for count in done.values()), f"this proved nothing: {done}"
    return done


def _assert_sound(vault: Vault) -> None:
    for system in SYSTEMS:
        assert vault.ids(system)
        assert verify_all(vault, system).errors == ()
        for identifier in vault.ids(system):
            assert missing(vault.store, vault.backup(system, identifier).manifest.objects()) == []


@pytest.mark.parametrize("encryption", ["", ENCRYPTED], ids=["plain", "encrypted"])
def test_everything_at_once_loses_nothing(path: Path) -> None:
    _together(path, 3)
    site = Site(config.load(path))
    _assert_sound(site.vault)
    _assert_sound(site.copy("other"))


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_everything_at_once_for_minutes_loses_nothing(path: Path) -> None:
    done = _together(path, min(130.0, max(10.0, UNTIL - time.time())))
    assert done["prune"] > 20 or time_is_over()
    site = Site(config.load(path))
    _assert_sound(site.vault)
    _assert_sound(site.copy("other"))
