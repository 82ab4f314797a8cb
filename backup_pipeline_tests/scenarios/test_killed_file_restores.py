"""kill -9 and a full disk while files are restored: no file is ever half there, and the next run finishes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.errors import RestoreError
from backup_pipeline.files.restore.files_plan import FilesOrder, FilesResult
from backup_pipeline.files.restore.run import restore_files
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness import warm
from backup_pipeline_tests.harness.handmade import identifier_of, prepared
from backup_pipeline_tests.harness.handmade_files import backup_of, state_of, tree_of_folder
from backup_pipeline_tests.harness.soak import SEED

FAST = range(6)
MORE = range(6, 100)
ORDER = FilesOrder(trees=("media",), overwrite=True)

CHILD = """
import sys
from pathlib import Path
from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.files.restore import run
from backup_pipeline.files.restore.run import restore_files
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
if sys.argv[4] == "workers":
    run.MANY_FILES = 1
vault = Vault(LocalStore(Path(sys.argv[1])))
manifest = vault.backup("shop", sys.argv[3]).manifest
print("begun", flush=True)
restore_files(vault.backup_of(manifest), Path(sys.argv[2]), FilesOrder(trees=("media",), overwrite=True))
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "media"
    chance = random.Random(7)
    for number in range(600):
        path = folder / f"{number % 20:02d}" / f"{number:04d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice((0, 100, 5_000, 60_000))))
    os.link(folder / "00" / "0000.bin", folder / "linked")
    (folder / "link").symlink_to("00")
    (folder / "00").chmod(0o2775)
    return folder


@pytest.fixture(scope="module")
def vault(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    made = prepared(tmp_path_factory.mktemp("vault") / "vault")
    backup_of(made, tree_of_folder(made, media, in_a_pack=40))
    return made


@pytest.fixture(scope="module")
def manifest(vault: Vault) -> Manifest:
    return vault.backup("shop", identifier_of(1)).manifest


@pytest.fixture(scope="module")
def usual(vault: Vault, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long an undisturbed restore takes."""
    begin = time.monotonic()
    restore_files(vault.backup_of(manifest), tmp_path_factory.mktemp("usual") / "out", ORDER)
    return time.monotonic() - begin


def killed(vault: Vault, target: Path, after: float, how: str) -> bool:
    """Whether it was still at work."""
    with warm.start(CHILD, vault.store.address, str(target), identifier_of(1), how) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(after)
        process.kill()
        return process.stdout.read() != "done\n"


def check_nothing_is_half_there(target: Path, media: Path) -> int:
    whole = state_of(media)
    found = state_of(target) if target.exists() else {}
    assert not [name for name in found if ".restoring" in name]
    for name, about in found.items():
        if about[0] == "file":
            # Content, mode and time; the number of names is right when all of them are there.
            assert (*about[:3], about[-1]) == (*whole[name][:3], whole[name][-1]), name
        else:
            assert about[:1] == whole[name][:1], name
    return len(found)


def kill_and_go_on(
    vault: Vault, manifest: Manifest, media: Path, tmp_path: Path, usual: float, seed: int
) -> None:
    chance = random.Random(seed)
    target = tmp_path / "out"
    # One that was done before it could be killed shows nothing: sooner, then, and from the start.
    how = chance.choice(("threads", "workers"))
    while not killed(vault, target, chance.uniform(0, usual), how):
        shutil.rmtree(target)
        usual *= 0.8
    check_nothing_is_half_there(target, media)
    restore_files(vault.backup_of(manifest), target, ORDER)
    assert state_of(target) == state_of(media)
    assert not list(target.rglob("*.before-restore-*"))


@pytest.mark.parametrize("seed", FAST)
def test_a_killed_restore_leaves_whole_files_and_the_next_one_finishes(
    vault: Vault, manifest: Manifest, media: Path, tmp_path: Path, usual: float, seed: int
) -> None:
    kill_and_go_on(vault, manifest, media, tmp_path, usual, seed)


@pytest.mark.soak
@pytest.mark.parametrize("number", MORE)
def test_every_killed_restore_leaves_whole_files(
    vault: Vault, manifest: Manifest, media: Path, tmp_path: Path, usual: float, number: int
) -> None:
    kill_and_go_on(vault, manifest, media, tmp_path, usual, SEED * 1000 + number)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """8 MiB of memory: less than the files need."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_known_before_the_start(
    vault: Vault, manifest: Manifest, small_disk: Path
) -> None:
    with pytest.raises(RestoreError, match="free space"):
        restore_files(vault.backup_of(manifest), small_disk / "out", ORDER)
    assert not list(small_disk.iterdir())


def test_a_disk_that_runs_full_meanwhile_leaves_whole_files_and_the_next_run_goes_on(
    vault: Vault, manifest: Manifest, media: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program fills it while we write: the look before the start is not true any more."""
    from backup_pipeline.files.restore import run

    monkeypatch.setattr(run, "_room", lambda *_: (None, ()))
    with pytest.raises(RestoreError, match="No space left") as caught:
        restore_files(vault.backup_of(manifest), small_disk / "out", ORDER)
    assert "run it again" in caught.value.remedy
    check_nothing_is_half_there(small_disk / "out", media)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    result: FilesResult = restore_files(vault.backup_of(manifest), small_disk / "out", ORDER)
    assert result.ok
    assert state_of(small_disk / "out") == state_of(media)
