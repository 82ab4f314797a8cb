"""A backup from an untrusted store: nothing is ever written outside of the target folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.errors import BackupError, Damaged, RestoreError
from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.files.restore.names import checked, leads_out, too_long, why_hostile
from backup_pipeline.files.restore.run import plan_files, restore_files
from backup_pipeline.model.files import FileEntry, Place
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import prepared
from backup_pipeline_tests.harness.handmade_files import backup_of, tree_of_entries, with_contents

EVERY = FilesOrder(trees=("media",), overwrite=True, outside_links=True)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "vault" not in path.parts}


def attempt(vault: Vault, tmp_path: Path, *more: FileEntry, order: FilesOrder = EVERY) -> BackupError:
    """Restore an honest file and a hostile entry; nothing may come into being anywhere."""
    contents = {"honest.txt": b"honest"}
    entries, packs = with_contents(vault, contents)
    place = entries[0]
    filled = [
        one
        if one.type != "file"
        else FileEntry(one.path, size=place.size, sha256=place.sha256, place=place.place, mode=0o644)
        for one in more
    ]
    manifest = backup_of(vault, tree_of_entries(vault, [*entries, *filled], packs=packs))
    before = everything(tmp_path)
    with pytest.raises(BackupError) as caught:
        restore_files(vault.backup_of(manifest), tmp_path / "out", order)
    assert everything(tmp_path) == before
    return caught.value


@pytest.mark.parametrize(
    "path",
    ["../evil", "/etc/evil", "a/../../evil", "a/./b", "a//b", "", ".", "..", "a/", "a\0b", "a/..", "./a"],
)
def test_a_hostile_path_is_refused_before_a_byte_is_written(vault: Vault, tmp_path: Path, path: str) -> None:
    assert isinstance(attempt(vault, tmp_path, FileEntry(path)), Damaged)


@pytest.mark.parametrize("name", ["a", "a!", "zz"])
def test_a_link_of_the_backup_is_never_the_folder_of_a_later_file(
    vault: Vault, tmp_path: Path, name: str
) -> None:
    """Also where other names come between the link and what lies "in" it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    between = [FileEntry(f"{name}{tail}") for tail in ("!x", "-y", ".z")]
    link = FileEntry(name, "link", target=str(elsewhere))
    error = attempt(vault, tmp_path, link, *between, FileEntry(f"{name}/evil"))
    assert "lies in what is not a folder" in error.message


def test_an_entry_that_is_there_twice_or_out_of_order_is_refused(vault: Vault, tmp_path: Path) -> None:
    assert (
        "twice" in attempt(vault, tmp_path, FileEntry("same"), FileEntry("same", "link", target="x")).message
    )
    with pytest.raises(Damaged, match="not sorted"):
        list(checked([FileEntry("b"), FileEntry("a")], what="a listing"))


@pytest.mark.parametrize(
    "field",
    [
        {"mtime_ns": 1 << 90},
        {"mode": 0o170644},
        {"mode": -1},
        {"uid": -1},
        {"gid": 1 << 40},
        {"size": 1 << 70},
        {"place": Place(1 << 40, 512)},
        {"place": Place(0, 1 << 70)},
    ],
)
def test_numbers_that_no_system_takes_are_refused_before_the_start(field: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match="a number"):
        list(checked([replace(FileEntry("a"), **field)], what="a listing"))


def test_hard_links_to_hostile_paths_are_refused(vault: Vault, tmp_path: Path) -> None:
    assert isinstance(
        attempt(vault, tmp_path, FileEntry("x", "hardlink", target="../../etc/passwd")), Damaged
    )


def test_links_that_lead_out_are_refused_unless_they_are_asked_for(vault: Vault, tmp_path: Path) -> None:
    for number, target in enumerate(("/etc/passwd", "../x", "a/../../x"), 1):
        tree = tree_of_entries(vault, [FileEntry("link", "link", target=target)])
        manifest = backup_of(vault, tree, number=number)
        with pytest.raises(RestoreError, match="lead out of the tree"):
            restore_files(vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",)))
        assert not (tmp_path / "out").exists()
        restore_files(vault.backup_of(manifest), tmp_path / f"asked{number}", EVERY)
        assert str((tmp_path / f"asked{number}" / "link").readlink()) == target


def test_a_link_in_the_target_is_never_followed(vault: Vault, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("mine")
    entries, packs = with_contents(vault, {"in/victim": b"theirs", "victim": b"theirs"})
    manifest = backup_of(vault, tree_of_entries(vault, entries, packs=packs))
    for order in (FilesOrder(trees=("media",)), EVERY):
        out = tmp_path / f"out{order.overwrite}"
        out.mkdir()
        (out / "in").symlink_to(outside)
        with pytest.raises(RestoreError, match="is a link"):
            restore_files(vault.backup_of(manifest), out, order)
        (out / "in").unlink()
        (out / "victim").symlink_to(outside / "victim")
        with pytest.raises(RestoreError, match="is a link"):
            restore_files(vault.backup_of(manifest), out, order)
    assert (outside / "victim").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["victim"]


def test_a_link_that_is_put_there_while_the_restore_runs_is_an_error_and_not_a_way_out(
    vault: Vault, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entries, packs = with_contents(vault, {f"in/{number:03d}": b"x" * number for number in range(100)})
    manifest = backup_of(vault, tree_of_entries(vault, entries, packs=packs))
    out = tmp_path / "out"
    out.mkdir()

    def swap(_: object) -> None:
        folder = out / "in"
        if folder.is_dir() and not folder.is_symlink():
            folder.rename(out / "moved")
            folder.symlink_to(outside)

    with pytest.raises(RestoreError):
        restore_files(vault.backup_of(manifest), out, EVERY, listener=swap)
    assert list(outside.iterdir()) == []


def test_the_target_itself_may_be_a_link_of_its_user(vault: Vault, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "out").symlink_to(real)
    entries, packs = with_contents(vault, {"a": b"a"})
    manifest = backup_of(vault, tree_of_entries(vault, entries, packs=packs))
    restore_files(vault.backup_of(manifest), tmp_path / "out", EVERY)
    assert (real / "a").read_bytes() == b"a"


def test_a_place_outside_of_the_packs_is_damage(vault: Vault, tmp_path: Path) -> None:
    entries, packs = with_contents(vault, {"a": b"aaaa"})
    for number, place in enumerate((Place(7, 512), Place(0, 1 << 40), Place(0, 3)), 2):
        tree = tree_of_entries(vault, [replace(entries[0], place=place)], packs=packs)
        with pytest.raises(Damaged):
            restore_files(
                vault.backup_of(backup_of(vault, tree, number=number)), tmp_path / f"out{number}", EVERY
            )
        assert not list((tmp_path / f"out{number}").rglob("a"))


def test_a_name_that_no_file_system_takes_is_named(vault: Vault, tmp_path: Path) -> None:
    entries, packs = with_contents(vault, {"n" * 256: b"a", "b": b"b"})
    manifest = backup_of(vault, tree_of_entries(vault, entries, packs=packs))
    plan = plan_files(vault.backup_of(manifest), tmp_path / "out", EVERY)
    assert [one.code for one in plan.refused] == ["name-too-long"]
    result = restore_files(
        vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), salvage=True)
    )
    assert (result.files, result.ok) == (1, False)


def test_a_tree_deeper_than_a_path_may_be_long_comes_back(vault: Vault, tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 30) + "/file"
    entries, packs = with_contents(vault, {deep: b"deep"})
    manifest = backup_of(vault, tree_of_entries(vault, entries, packs=packs))
    restore_files(vault.backup_of(manifest), tmp_path / "out", EVERY)
    again = restore_files(vault.backup_of(manifest), tmp_path / "out", EVERY)
    assert again.plan.equal == 1
    import shutil

    shutil.rmtree(tmp_path / "out")


def test_text_rules() -> None:
    assert why_hostile("a/b") == ""
    assert why_hostile("...") == ""
    assert why_hostile("a/.hidden") == ""
    assert not leads_out("a/b/link", "../x")
    assert leads_out("a/link", "../../x")
    assert leads_out("link", "..")
    assert not leads_out("a/link", "..")
    assert too_long("é" * 128)
    assert not too_long("é" * 127)
    assert os.sep == "/"
