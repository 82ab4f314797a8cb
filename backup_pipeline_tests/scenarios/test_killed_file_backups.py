"""A backup with a file tree is killed with -9 at any moment, or its disk is full: nothing half-done is ever listed, what is
listed verifies, and the next run succeeds and does not read again what the killed ones had stored."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline import config
from backup_pipeline.errors import VaultError
from backup_pipeline.files.store import ahead
from backup_pipeline.model.orders import BackupOrder, VerifyOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.listing import list_backups
from backup_pipeline.operations.verify import verify
from backup_pipeline.vault import journal
from backup_pipeline_tests.harness.processes import run_for
from backup_pipeline_tests.harness.soak import SEED, time_is_over

#: Packs of 2 MiB and big files from 1 MiB on: as many seams as a large tree has. "workers": by worker processes.
_BACKUP = """
import sys
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.files.store import ahead, packing, reading, run
from backup_pipeline.vault import packs
if sys.argv[2] == 'workers':
    ahead.MANY, ahead.BATCH_FILES = 1, 30
packing.TARGET = 2 << 20
packs.LARGEST = reading.LARGEST = run.LARGEST = ahead.LARGEST = 1 << 20
reading.IMAGE_FROM = 1 << 20
backup(Site.load(sys.argv[1]), BackupOrder('shop'))
"""


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    chance = random.Random(1)
    for number in range(600):
        path = tmp_path / "media" / f"{number % 9}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice((100, 5000, 60_000))))
    (tmp_path / "media" / "film.mp4").write_bytes(chance.randbytes(6_000_000))
    (tmp_path / "media" / "vectors.index").write_bytes(chance.randbytes(5_000_000))
    path = tmp_path / "backup.yaml"
    path.write_text(
        f"vault: ./vault\nsystems:\n  shop:\n    database: sqlite:///{tmp_path}/shop.db\n"
        "    files: {media: {path: ./media}}\n",
        encoding="utf-8",
    )
    return path


def _change(folder: Path, dice: random.Random) -> None:
    for _ in range(20):
        number = dice.randrange(600)
        path = folder / f"{number % 9}" / f"{number}.bin"
        if dice.random() < 0.2:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(dice.randbytes(20_000))
    with (folder / "vectors.index").open("r+b") as file:
        file.seek(dice.randrange(1000) * 4096)
        file.write(dice.randbytes(4096))


def _scenario(path: Path, times: int, seed: int = 20261121) -> None:
    project = Site(config.load(path))
    began = time.monotonic()
    assert not run_for(120, _BACKUP, str(path), "workers")
    seconds = time.monotonic() - began
    dice = random.Random(seed)
    killed = 0
    for _ in range(4 * times):
        _change(path.parent / "media", dice)
        how = dice.choice(("threads", "workers"))
        if run_for(dice.uniform(0.2, 1.0) * seconds, _BACKUP, str(path), how):
            killed += 1
        else:
            seconds *= 0.8
        for line in list_backups(project, "shop"):
            assert verify(project, VerifyOrder("shop", line.id, quick=True)).errors == (), line.id
        if killed == times or time_is_over():
            break
    assert killed == times or time_is_over(), (
        f"only {killed} of {times} runs were killed: this proved too little"
    )
    manifest = backup(project, BackupOrder("shop")).manifest
    assert verify(project, VerifyOrder("shop", "all")).ok
    assert manifest.files[0].files == sum(1 for one in (path.parent / "media").rglob("*") if one.is_file())
    assert project.vault.interrupted("shop") == ()
    assert list(project.vault.store.staging().iterdir()) == []


def test_a_killed_backup_of_files_is_never_listed_and_the_next_run_succeeds(project_file: Path) -> None:
    _scenario(project_file, 5)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_backup_of_files_survives_fifty_kills(project_file: Path) -> None:
    _scenario(project_file, 50, SEED)


#: It kills itself when the notes of three packs are in the vault.
_SUICIDE = (
    _BACKUP.replace("backup(Site", "# (")
    + """
import os, signal
from backup_pipeline.vault import journal
journal.EVERY_SECONDS = 0.0
note = journal.Journal.note_tree
noted = []
def counted(self, one):
    note(self, one)
    noted.append(one)
    if len(noted) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
journal.Journal.note_tree = counted
backup(Site.load(sys.argv[1]), BackupOrder('shop'))
"""
)


@pytest.mark.parametrize("how", ["threads", "workers"])
def test_what_a_killed_first_run_had_packed_is_not_read_again(project_file: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SUICIDE, str(project_file), how], check=False, capture_output=True
    )
    assert done.returncode == -9, done.stderr.decode()
    project = Site(config.load(project_file))
    assert list_backups(project, "shop") == ()
    noted = _notes(project)
    assert len(noted) == 3
    tree = backup(project, BackupOrder("shop")).manifest.files[0]
    kept = {one.sha256 for one in (*tree.packs, *tree.blocks)}
    assert all(pack.sha256 in kept for note in noted for pack in note.packs)
    assert tree.new_files < tree.files - 50
    assert verify(project, VerifyOrder("shop")).ok


def _notes(project: Site) -> list[journal.TreeNote]:
    vault = project.vault
    return [
        note for name in vault.interrupted("shop") for note in journal.read_trees(vault.backup("shop", name))
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "vault"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs may be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("many", [ahead.MANY, 1])
def test_a_full_disk_is_said_and_leaves_nothing_half_done(
    project_file: Path, small_disk: Path, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "MANY", many)
    monkeypatch.setattr(ahead, "BATCH_FILES", 30)
    project = Site(config.load(project_file))
    with pytest.raises(VaultError, match="space"):
        backup(project, BackupOrder("shop"))
    assert list_backups(project, "shop") == ()
    assert list(project.vault.store.staging().iterdir()) == []
    # Room is made: what fits now is backed up, on what was stored already.
    for path in (project_file.parent / "media").rglob("*.*"):
        if path.stat().st_size > 1_000_000 or int(path.stem) % 3:
            path.unlink()
    manifest = backup(project, BackupOrder("shop")).manifest
    assert manifest.files[0].files == 200
    assert verify(project, VerifyOrder("shop")).ok
