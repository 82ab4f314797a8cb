"""Files with several names, restored where some of the names are there already: what is under one says nothing of what
is, or will be, under the other."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from backup_pipeline.errors import Damaged, TargetNotEmpty
from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.files.restore.run import restore_files
from backup_pipeline.model.files import FileEntry
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import prepared
from backup_pipeline_tests.harness.handmade_files import backup_of, tree_of_entries, tree_of_folder

MEDIA = FilesOrder(trees=("media",))
REPLACE = FilesOrder(trees=("media",), overwrite=True)
LEAVE = FilesOrder(trees=("media",), leave=True)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


@pytest.fixture
def manifest(vault: Vault, tmp_path: Path) -> Manifest:
    """One file with the names `a`, `b` and `sub/c`, and beside it in `out` a copy of all that."""
    media = tmp_path / "media"
    (media / "sub").mkdir(parents=True)
    (media / "a").write_bytes(b"right")
    os.link(media / "a", media / "b")
    os.link(media / "a", media / "sub" / "c")
    made = backup_of(vault, tree_of_folder(vault, media))
    shutil.copytree(media, tmp_path / "out")
    for name in ("b", "sub/c"):
        (tmp_path / "out" / name).unlink()
        os.link(tmp_path / "out" / "a", tmp_path / "out" / name)
    return made


def contents_of(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in ("a", "b", "sub/c")]


def test_what_was_written_into_a_file_is_undone_under_all_of_its_names(
    vault: Vault, manifest: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "a").write_bytes(b"wrong")
    with pytest.raises(TargetNotEmpty, match="3 files"):
        restore_files(vault.backup_of(manifest), out, MEDIA)
    result = restore_files(vault.backup_of(manifest), out, REPLACE)
    assert contents_of(out) == [b"right"] * 3
    assert result.kept == 3
    assert (out / "a").samefile(out / "b")
    assert (out / "a").samefile(out / "sub/c")


def test_a_name_that_is_missing_comes_back_beside_those_that_are_right(
    vault: Vault, manifest: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "a").unlink()
    assert restore_files(vault.backup_of(manifest), out, MEDIA).files == 1
    assert contents_of(out) == [b"right"] * 3
    (out / "sub" / "c").unlink()
    assert restore_files(vault.backup_of(manifest), out, MEDIA).files == 1
    assert contents_of(out) == [b"right"] * 3
    assert (out / "a").samefile(out / "sub/c")
    assert restore_files(vault.backup_of(manifest), out, MEDIA).files == 0


def test_a_missing_name_is_not_linked_to_what_is_left_as_it_is(
    vault: Vault, manifest: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "b").unlink()
    (out / "sub" / "c").unlink()
    (out / "a").write_bytes(b"wrong")
    restore_files(vault.backup_of(manifest), out, LEAVE)
    assert contents_of(out) == [b"wrong", b"right", b"right"]


def test_copies_of_another_content_are_not_taken_for_each_others_equals(
    vault: Vault, manifest: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in ("a", "b"):
        (out / name).unlink()
        (out / name).write_bytes(b"wrong")
    restore_files(vault.backup_of(manifest), out, REPLACE)
    assert contents_of(out) == [b"right"] * 3


@pytest.mark.parametrize("order", [MEDIA, FilesOrder(trees=("media",), globs=("linked",))])
def test_a_hard_link_to_what_is_not_listed_is_damage_and_not_silence(
    vault: Vault, tmp_path: Path, order: FilesOrder
) -> None:
    tree = tree_of_entries(vault, [FileEntry("linked", "hardlink", target="nowhere")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "nowhere").write_bytes(b"somebody's")
    with pytest.raises(Damaged, match="nowhere"):
        restore_files(vault.backup_of(backup_of(vault, tree)), tmp_path / "out", order)
    assert not (tmp_path / "out" / "linked").exists()
