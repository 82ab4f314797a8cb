"""A full verification of file trees: every content in its place, every damage found, rows held against files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.model.files import LISTING_SUFFIX, FileEntry, Place, line_of
from backup_pipeline.model.findings import Report
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification import file_trees
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.damage import copy_vault, rewrite
from backup_pipeline_tests.harness.handmade import identifier_of, prepared, table
from backup_pipeline_tests.harness.handmade_files import backup_of, tree_of_entries, with_contents


def made(vault: Vault, count: int = 30, suffix: str = ".tar.zst") -> tuple[list[FileEntry], FileTree]:
    chance = random.Random(1)
    contents = {f"f/{number:03d}.bin": chance.randbytes(number * 100) for number in range(count)}
    contents["twice.bin"] = contents["f/003.bin"]
    entries, packs = with_contents(vault, contents, suffix=suffix)
    entries += [FileEntry("f", "folder", mode=0o755), FileEntry("link", "link", target="f")]
    entries.append(FileEntry("shared", "hardlink", target="f/004.bin"))
    return entries, tree_of_entries(vault, entries, packs=packs)


def look(vault: Vault, number: int = 1, **more: Any) -> Report:
    return verify(vault.backup("shop", identifier_of(number)), **more)


def codes(report: Report) -> list[str]:
    return sorted({finding.code for finding in report.findings if finding.severity != "info"})


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


@pytest.mark.parametrize("suffix", [".tar", ".tar.zst"])
def test_a_whole_tree_gives_no_finding_and_is_counted(vault: Vault, suffix: str) -> None:
    backup_of(vault, made(vault, suffix=suffix)[1])
    report = look(vault)
    assert codes(report) == []
    assert report.counted["files"] == 31


Change = Callable[[list[FileEntry], FileTree], tuple[list[FileEntry], FileTree]]


def _edit(number: int, **fields: Any) -> Change:
    def change(entries: list[FileEntry], tree: FileTree) -> tuple[list[FileEntry], FileTree]:
        return [*entries[:number], replace(entries[number], **fields), *entries[number + 1 :]], tree

    return change


def _swap(entries: list[FileEntry], tree: FileTree) -> tuple[list[FileEntry], FileTree]:
    return entries, replace(tree, packs=(tree.packs[1], tree.packs[0], *tree.packs[2:]))


LIES: dict[str, tuple[Change, str]] = {
    "another digest": (_edit(5, sha256=hashlib.sha256(b"x").hexdigest()), "file-misplaced"),
    "another length": (_edit(5, size=499), "file-misplaced"),
    "another place": (_edit(5, place=Place(0, 512 * 3)), "file-misplaced"),
    "a place behind the end": (_edit(5, place=Place(0, 1 << 40)), "file-misplaced"),
    "no place": (_edit(5, place=None), "file-without-content"),
    "a pack that is not there": (_edit(5, place=Place(77, 512)), "file-without-content"),
    "packs in another order": (_swap, "file-misplaced"),
    "a hostile path": (_edit(5, path="../f/005.bin"), "listing-unreadable"),
    "a path twice": (_edit(5, path="f/006.bin"), "listing-unreadable"),
    "a hard link to nothing": (_edit(33, target="nowhere"), "hard-link-to-nothing"),
    "another fingerprint": (
        lambda entries, tree: (entries, replace(tree, fingerprint="0" * 64)),
        "tree-fingerprint",
    ),
    "fewer files": (lambda entries, tree: (entries[1:], tree), "tree-totals"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_listing_that_lies_about_its_packs_is_found(vault: Vault, lie: str) -> None:
    """By an attacker who knows the format: every digest of every object is right."""
    change, code = LIES[lie]
    entries, tree = made(vault)
    entries, other = change(entries, tree)
    lines = b"".join(line_of(one) for one in sorted(entries, key=lambda one: one.sort_key))
    backup_of(vault, replace(other, listing=vault.writer.write_bytes(lines, LISTING_SUFFIX)))
    report = look(vault)
    assert code in codes(report)
    assert {finding.tree for finding in report.errors} == {"media"}
    assert codes(look(vault, quick=True)) == []


def test_a_pack_whose_members_are_not_what_their_names_say_is_found(vault: Vault) -> None:
    tree = made(vault, suffix=".tar")[1]
    plain = bytearray(vault.content(tree.packs[0]))
    plain[600] ^= 1
    liar = vault.writer.write_bytes(bytes(plain), ".tar")
    backup_of(vault, replace(tree, packs=(liar, *tree.packs[1:])))
    assert set(codes(look(vault))) == {"pack-altered", "file-misplaced"}
    torn = vault.writer.write_bytes(bytes(plain[:-1500]), ".tar")
    backup_of(vault, replace(tree, packs=(torn, *tree.packs[1:])), number=2)
    assert "pack-broken" in codes(look(vault, 2))


@pytest.mark.parametrize("seed", range(40))
def test_every_damage_to_an_object_is_found_and_names_the_tree(
    vault: Vault, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    tree = made(vault, suffix=chance.choice((".tar", ".tar.zst")))[1]
    backup_of(vault, tree)
    copy = copy_vault(tmp_path / "vault", tmp_path / "copy")
    reference = chance.choice((tree.listing, *tree.packs))
    (path,) = copy.rglob(f"{reference.sha256}*")
    data = bytearray(path.read_bytes())
    kind = chance.choice(("flip", "cut", "append", "delete"))
    if kind == "delete":
        path.unlink()
    else:
        place = chance.randrange(len(data))
        data = data[:place] if kind == "cut" else data + b"\0" if kind == "append" else data
        if kind == "flip":
            data[place] ^= 1 << chance.randrange(8)
        rewrite(path, bytes(data))
    for quick in (True, False):
        report = verify(Vault(LocalStore(copy)).backup("shop", identifier_of(1)), quick=quick)
        assert {finding.tree for finding in report.errors} == {"media"}, kind


def test_rows_are_held_against_the_files_of_their_backup(vault: Vault) -> None:
    orders = table("orders", {"id": "integer", "file": "text"}, b"1\tf/001.bin\n2\tgone.bin\n")
    backup_of(vault, made(vault)[1], rows=[orders])
    trees = {
        "media": FilesSettings.model_validate(
            {"path": "x", "refs": {"orders.file": "path"}, "max_size": 2000}
        )
    }
    report = look(vault, trees=trees)
    assert codes(report) == ["file-missing", "file-too-large"]
    assert report.counted["dangling_files"] == 1
    assert codes(look(vault)) == [], "without the configuration it is unknown what names a file"
    assert codes(look(vault, trees=trees, quick=True)) == []


def test_trees_that_many_backups_share_are_looked_at_once(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup_pipeline.verification import file_trees

    tree = made(vault)[1]
    for number in (1, 2, 3):
        backup_of(vault, tree, number=number)
    looked = []
    real = file_trees.examine
    monkeypatch.setattr(file_trees, "examine", lambda *a: looked.append(a) or real(*a))
    report = verify_all(vault, "shop")
    assert codes(report) == []
    assert len(looked) == 1
    assert report.counted["files"] == 3 * 31


def test_a_damaged_tree_says_nothing_against_the_database(vault: Vault, tmp_path: Path) -> None:
    tree = made(vault)[1]
    backup_of(vault, tree)
    (path,) = (tmp_path / "vault").rglob(f"{tree.packs[0].sha256}*")
    path.unlink()
    report = look(vault)
    assert {finding.code for finding in report.errors} == {"object-missing"}
    assert report.counted["rows"] == 1


def test_many_hard_links_cost_eight_bytes_each_and_those_to_nothing_are_named(vault: Vault) -> None:
    entries, tree = made(vault)
    entries += [FileEntry(f"z{number:05d}", "hardlink", target="f/004.bin") for number in range(5000)]
    entries += [FileEntry(f"zz{number:02d}", "hardlink", target=f"lost/{number:02d}") for number in range(20)]
    backup_of(vault, tree_of_entries(vault, entries, packs=tree.packs))
    (finding,) = (one for one in look(vault).findings if one.code == "hard-link-to-nothing")
    assert finding.message.startswith("20 files of media")
    assert finding.examples == tuple(f"lost/{number:02d}" for number in range(10))
    reading = file_trees._Reading(tree)
    for entry in entries:
        reading.add(entry)
    assert reading.targets.itemsize * len(reading.targets) == 8 * 5021
