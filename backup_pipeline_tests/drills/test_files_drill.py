"""A drill of files restores some of each kind, another sample every time, and notices every difference."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.drills import files as drill
from backup_pipeline.drills.files import FilesDrill, Sample, drill_files
from backup_pipeline.model.files import FileEntry, Place
from backup_pipeline.model.manifest import FileTree, Manifest, ObjectRef
from backup_pipeline.model.progress import silent
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.handmade import prepared, table
from backup_pipeline_tests.harness.handmade_files import backup_of, tree_of_entries, with_contents

NOTHING = ObjectRef("0" * 64, 0, ".files.zst", "0" * 64, 0)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


def made(vault: Vault, count: int = 60) -> tuple[FileTree, Manifest]:
    contents = {f"f/{number:03d}": b"%d" % number * number for number in range(count)}
    entries, packs = with_contents(vault, contents)
    others = [
        FileEntry("f", "folder", mode=0o750, mtime_ns=10**18),
        FileEntry("link", "link", target="/outside"),
        FileEntry("shared", "hardlink", target="f/004"),
    ]
    tree = tree_of_entries(vault, [*entries, *others], packs=packs)
    return tree, backup_of(vault, tree)


def drilled(vault: Vault, manifest: Manifest, *, everything: bool = True, refs: str = "") -> FilesDrill:
    settings = {"path": "x", "refs": {refs: "path"} if refs else {}}
    trees = {"media": FilesSettings.model_validate(settings)}
    return drill_files(vault.backup_of(manifest), trees, everything=everything, listener=silent)


@pytest.mark.parametrize("everything", [True, False])
def test_what_comes_back_as_it_was_is_counted(vault: Vault, everything: bool) -> None:
    done = drilled(vault, made(vault)[1], everything=everything)
    assert done.findings == []
    assert done.counted["files"] == done.counted["files_in_backup"] == 60
    assert (done.counted["links"], done.counted["hardlinks"], done.counted["folders"]) == (1, 1, 1)
    assert done.seconds > 0


@pytest.mark.parametrize("everything", [True, False])
def test_a_path_longer_than_the_system_takes_is_no_difference(vault: Vault, everything: bool) -> None:
    deep = "/".join(["d" * 200] * 30)
    entries, packs = with_contents(vault, {f"{deep}/file": b"deep", "near": b"near"})
    others = [
        FileEntry(f"{deep}/link", "link", target="x"),
        FileEntry(f"{deep}/twin", "hardlink", target="near"),
    ]
    manifest = backup_of(vault, tree_of_entries(vault, [*entries, *others], packs=packs))
    done = drilled(vault, manifest, everything=everything)
    assert done.findings == []
    assert (done.counted["files"], done.counted["links"], done.counted["hardlinks"]) == (2, 1, 1)


@pytest.mark.parametrize("everything", [True, False])
def test_a_damaged_pack_fails_the_drill(vault: Vault, tmp_path: Path, everything: bool) -> None:
    tree, manifest = made(vault)
    (path,) = (tmp_path / "vault").rglob(f"{tree.packs[2].sha256}*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(path, bytes(data))
    found = drilled(vault, manifest, everything=everything).findings
    assert {finding.severity for finding in found} == {"error"}
    assert {finding.tree for finding in found} == {"media"}


@pytest.mark.parametrize("field", ["mode", "mtime_ns", "size"])
def test_every_difference_afterwards_is_named(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """The comparison looks at the disk: a restore that does a thing wrong is found out."""
    real = drill._compare
    lie = {"mode": 0o600, "mtime_ns": 5, "size": 7}[field]

    def lying(target: Path, entries: Iterable[FileEntry], *rest: Any) -> Iterator[str]:
        told = (replace(one, **{field: lie}) if one.path == "f/012" else one for one in entries)  # type: ignore[arg-type]
        return real(target, told, *rest)

    manifest = made(vault)[1]
    monkeypatch.setattr(drill, "_compare", lying)
    (finding,) = drilled(vault, manifest).findings
    assert (finding.code, finding.tree) == ("file-differs", "media")
    assert finding.examples[0].startswith("f/012: ")


def test_rows_that_name_files_are_resolved(vault: Vault) -> None:
    tree, _ = made(vault)
    rows = table("orders", {"id": "integer", "file": "text"}, b"1\tf/001\n2\tgone\n")
    done = drilled(vault, backup_of(vault, tree, rows=[rows], number=2), refs="orders.file")
    assert [finding.code for finding in done.findings if finding.severity == "error"] == ["file-missing"]
    assert done.counted["file_values"] == 2


def entry(number: int, pack: int, size: int = 10) -> FileEntry:
    return FileEntry(f"{number:06d}", size=size, mtime_ns=number, sha256="0" * 64, place=Place(pack, 512))


def sample(entries: list[FileEntry], packs: int, seed: int = 1) -> Sample:
    tree = FileTree("media", "local", "x", NOTHING, files=len(entries), bytes=0, packs=(NOTHING,) * packs)
    return Sample.of(entries, tree, random.Random(seed))


def test_a_sample_has_some_of_every_pack_the_newest_and_the_largest() -> None:
    entries = [entry(number, number // 100, 99 if number == 777 else 10) for number in range(2000)]
    entries.append(replace(entry(9_000_000, 0), size=drill.LARGEST + 1))
    found = sample(entries, 20)
    assert drill.FEWEST <= len(found.paths) <= drill.FEWEST + 10
    assert {int(path) // 100 for path in found.paths} == set(range(20))
    assert {"000777", "001999", "001995"} <= set(found.paths)
    assert list(found.paths) == sorted(found.paths)
    assert "9000000" not in found.paths, "what is huge is left to --all-files"


def test_of_many_packs_some_are_read_and_the_newest_always() -> None:
    entries = [entry(number, number // 10) for number in range(10_000)]
    packs = {int(path) // 10 for path in sample(entries, 1000).paths}
    assert len(packs) <= drill.PACKS + 1
    assert {994, 995, 996, 997, 998, 999} <= packs
    assert packs != {int(path) // 10 for path in sample(entries, 1000, seed=2).paths}, (
        "another one every time"
    )


def test_kinds_that_lie_in_no_pack_are_in_the_sample_as_well() -> None:
    others = [
        FileEntry("a", "folder"),
        FileEntry("b", "link", target="a"),
        FileEntry("c"),
        FileEntry("d", "hardlink", target="000001"),
    ]
    assert {"a", "b", "c", "d"} <= set(sample([*others, entry(1, 0)], 1).paths)


def test_a_sample_of_large_files_is_no_full_restore() -> None:
    entries = [entry(number, number, 900 << 20) for number in range(400)]
    found = sample(entries, 400)
    assert 1 <= len(found.paths) <= 4
    assert found.bytes <= drill.MOST_BYTES
    assert "000399" in found.paths, "the newest is always looked at"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
@pytest.mark.parametrize("everything", [True, False])
def test_closed_folders_are_looked_into_and_leave_nothing_behind(everything: bool) -> None:
    # pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        vault = prepared(base / "vault")
        entries, packs = with_contents(
            vault, {f"{at}/f": at.encode() for at in ("closed", "locked", "plain")}
        )
        folders = [
            FileEntry(at, "folder", mode=mode, mtime_ns=10**18)
            for at, mode in (("closed", 0o000), ("locked", 0o555), ("plain", 0o755))
        ]
        outside = base / "outside"
        outside.mkdir(mode=0o700)
        link = FileEntry("locked/link", "link", target=str(outside))
        manifest = backup_of(vault, tree_of_entries(vault, [*entries, *folders, link], packs=packs))
        for path in (base, base / "vault", *(base / "vault").rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o444)
        (base / "scratch").mkdir()
        (base / "scratch").chmod(0o777)
        code = (
            "import os, sys, tempfile\n"
            "from pathlib import Path\n"
            "from backup_pipeline.drills.files import drill_files\n"
            "from backup_pipeline.model.progress import silent\n"
            "from backup_pipeline.stores.local import LocalStore\n"
            "from backup_pipeline.vault.vault import Vault\n"
            "base = Path(sys.argv[1]); vault = Vault(LocalStore(base / 'vault'))\n"
            "manifest = vault.backup('shop', sys.argv[2]).manifest\n"
            "tempfile.tempdir = str(base / 'scratch')\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "done = drill_files(vault.backup_of(manifest), {}, everything=sys.argv[3] == 'True', listener=silent)\n"
            "print([one.message for one in done.findings], done.counted['files'])\n"
        )
        argv = [sys.executable, "-c", code, str(base), manifest.id, str(everything)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "[] 3\n"
        assert list((base / "scratch").iterdir()) == []
        assert outside.stat().st_mode & 0o777 == 0o700, "a link is not followed"
