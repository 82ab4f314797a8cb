"""Many files are brought back by worker processes: the result is the same as that of threads."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from backup_pipeline.errors import Damaged, Incomplete
from backup_pipeline.files.restore import run
from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.files.restore.run import restore_files
from backup_pipeline.model.progress import Advance
from backup_pipeline.processes import workers
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import prepared
from backup_pipeline_tests.harness.handmade_files import backup_of, state_of, tree_of_folder

MEDIA = FilesOrder(trees=("media",))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


@pytest.fixture
def media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "MANY_FILES", 1)
    folder, chance = tmp_path / "media", random.Random(1)
    for number in range(60):
        path = folder / str(number % 3) / f"{number:02d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(number * 500))
    return folder


def test_workers_bring_every_file_back_and_tell_of_every_byte(
    vault: Vault, media: Path, tmp_path: Path
) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    told: list[Advance] = []
    (tmp_path / "out" / "1").mkdir(parents=True)
    (tmp_path / "out" / "1" / "01").write_bytes(b"another content")
    order = FilesOrder(trees=("media",), overwrite=True)
    result = restore_files(vault.backup_of(manifest), tmp_path / "out", order, listener=told.append)
    kept = tmp_path / "out" / "1" / f"01.before-restore-{manifest.id}"
    assert kept.read_bytes() == b"another content"
    kept.unlink()
    assert state_of(tmp_path / "out", times=False) == state_of(media, times=False)
    assert (result.files, result.kept) == (60, 1)
    assert sum(one.bytes for one in told if one.phase == "load") == result.bytes


def test_workers_pass_over_what_is_damaged_only_where_the_order_says_so(
    vault: Vault, media: Path, tmp_path: Path
) -> None:
    tree = tree_of_folder(vault, media)
    manifest = backup_of(vault, tree)
    path = Path(vault.store.address) / layout.object_key(tree.packs[1])
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Damaged):
        restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    result = restore_files(
        vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), salvage=True)
    )
    assert [finding.code for finding in result.findings] == ["file-lost"]
    there, whole = state_of(tmp_path / "out", times=False), state_of(media, times=False)
    assert len(whole) - len(there) == len(result.findings[0].examples) > 0
    assert all(whole[name] == about for name, about in there.items())


def test_a_restore_whose_worker_is_killed_ends_and_the_next_one_goes_on(
    vault: Vault, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    real = workers._Worker.give

    def kill(self: workers._Worker, task: object) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        real(self, task)

    with monkeypatch.context() as patched:
        patched.setattr(workers._Worker, "give", kill)
        with pytest.raises(Incomplete, match="signal 9"):
            restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA).ok
    assert state_of(tmp_path / "out") == state_of(media)
