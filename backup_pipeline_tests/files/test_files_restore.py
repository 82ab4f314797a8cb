"""Files come back as they were, one whole file at a time, beside what is there already."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.errors import ConfigError, Damaged, NotFound, RestoreError, TargetNotEmpty
from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.files.restore.run import plan_files, restore_files
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import prepared
from backup_pipeline_tests.harness.handmade_files import (
    backup_of,
    state_of,
    tree_of_entries,
    tree_of_folder,
    with_contents,
)

MEDIA = FilesOrder(trees=("media",))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return prepared(tmp_path / "vault")


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with everything in it that a folder can have."""
    folder = tmp_path / "media"
    (folder / "orders" / "2026").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "locked").mkdir()
    for number in range(25):
        (folder / "orders" / "2026" / f"{number:03d}.pdf").write_bytes(
            b"%PDF-1.7 " + bytes([number]) * 900 * number
        )
    (folder / "orders" / "same.pdf").write_bytes((folder / "orders" / "2026" / "003.pdf").read_bytes())
    (folder / "orders" / "empty.txt").touch()
    (folder / os.fsdecode(b"not-utf8-\xff\xfe")).write_bytes(b"x")
    (folder / ("n" * 255)).write_bytes(b"long")
    (folder / "Zoe\u0308 & $x `y` 'z'\n.txt").write_bytes(b"odd")
    os.link(folder / "orders" / "2026" / "007.pdf", folder / "orders" / "linked.pdf")
    (folder / "latest").symlink_to("orders/2026")
    (folder / "broken").symlink_to("nowhere")
    with (folder / "sparse.bin").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
    (folder / "locked" / "a").write_bytes(b"a")
    (folder / "locked" / "a").chmod(0o400)
    (folder / "locked").chmod(0o550)
    (folder / "orders").chmod(0o2775)
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18, 1_500_000_000_000_000_001 + number), follow_symlinks=False)
    os.utime(folder / "orders" / "empty.txt", ns=(0, 0))
    return folder


def test_a_tree_comes_back_as_it_was(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    result = restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert state_of(tmp_path / "out") == state_of(media)
    assert result.findings == ()
    out = tmp_path / "out"
    assert (out / "orders/linked.pdf").samefile(out / "orders/2026/007.pdf")
    assert (out / "sparse.bin").stat().st_blocks * 512 < 1 << 20, "its hole is a hole again"


def test_all_trees_go_into_folders_of_their_own(vault: Vault, media: Path, tmp_path: Path) -> None:
    trees = [tree_of_folder(vault, media), tree_of_folder(vault, media / "orders", name="vectors")]
    manifest = backup_of(vault, *trees)
    restore_files(vault.backup_of(manifest), tmp_path / "out", FilesOrder())
    assert state_of(tmp_path / "out" / "media") == state_of(media)
    assert state_of(tmp_path / "out" / "vectors", times=False).keys() == state_of(media / "orders").keys()


def test_a_dry_run_writes_nothing_and_says_what_would_be(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    plan = plan_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert not (tmp_path / "out").exists()
    assert (plan.create, plan.equal, plan.differs) == (
        len([p for p in media.rglob("*") if not p.is_dir() or p.is_symlink()]),
        0,
        0,
    )
    assert plan.refused == ()


def test_what_is_there_already_is_left_alone(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    before = {path: path.lstat().st_ino for path in (tmp_path / "out").rglob("*")}
    (tmp_path / "out" / "orders" / "2026" / "001.pdf").unlink()
    (tmp_path / "out" / "somebody's").write_text("not ours")
    result = restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert result.files == 1
    after = {path: path.lstat().st_ino for path in (tmp_path / "out").rglob("*")}
    assert [path.name for path in before if after[path] != before[path]] in (["001.pdf"], [])
    assert (tmp_path / "out" / "somebody's").read_text() == "not ours"
    (tmp_path / "out" / "somebody's").unlink()
    assert state_of(tmp_path / "out") == state_of(media)


def test_a_folder_whose_restore_was_killed_before_it_had_its_mode_gets_it_by_the_next_run(
    vault: Vault, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    manifest, real = backup_of(vault, tree_of_folder(vault, media)), os.fchmod

    def killed(descriptor: int, mode: int) -> None:
        if mode & 0o2000:
            raise Killed
        real(descriptor, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", killed)
        with pytest.raises(Killed):
            restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert (tmp_path / "out" / "orders").is_dir()
    restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert state_of(tmp_path / "out") == state_of(media)


def test_what_differs_is_refused_before_a_byte_is_written(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    out = tmp_path / "out"
    (out / "orders").mkdir(parents=True)
    (out / "orders" / "same.pdf").write_text("another")
    with pytest.raises(TargetNotEmpty, match="another content"):
        restore_files(vault.backup_of(manifest), out, MEDIA)
    assert [path.name for path in out.rglob("*")] == ["orders", "same.pdf"]
    left = restore_files(vault.backup_of(manifest), out, FilesOrder(trees=("media",), leave=True))
    assert [one.code for one in left.findings] == ["file-left"]
    assert (out / "orders" / "same.pdf").read_text() == "another"
    assert (out / "orders" / "2026" / "001.pdf").exists()
    with pytest.raises(ConfigError):
        restore_files(
            vault.backup_of(manifest), out, FilesOrder(trees=("media",), leave=True, overwrite=True)
        )


def test_what_is_replaced_is_kept_beside_it(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    out = tmp_path / "out"
    restore_files(vault.backup_of(manifest), out, MEDIA)
    long = "n" * 255
    for name, text in (("orders/same.pdf", "one"), (long, "two")):
        (out / name).write_text(text)
    (out / "latest").unlink()
    (out / "latest").symlink_to("elsewhere")
    result = restore_files(vault.backup_of(manifest), out, FilesOrder(trees=("media",), overwrite=True))
    assert result.kept == 3
    assert (out / f"orders/same.pdf.before-restore-{manifest.id}").read_text() == "one"
    assert [path.read_text() for path in out.glob("nnn*.before-restore-*")] == ["two"]
    assert str((out / f"latest.before-restore-{manifest.id}").readlink()) == "elsewhere"
    assert str((out / "latest").readlink()) == "orders/2026"
    (out / "orders/same.pdf").write_text("three")
    restore_files(vault.backup_of(manifest), out, FilesOrder(trees=("media",), overwrite=True))
    assert (out / f"orders/same.pdf.before-restore-{manifest.id}.2").read_text() == "three"
    for path in out.rglob("*.before-restore-*"):
        path.unlink()
    (out / "orders/same.pdf").write_text("four")
    restore_files(vault.backup_of(manifest), out, FilesOrder(trees=("media",), overwrite=True, keep=False))
    assert not list(out.rglob("*.before-restore-*"))
    assert (out / "orders/same.pdf").read_bytes() == (media / "orders/same.pdf").read_bytes()


def test_a_part_is_chosen_by_pattern(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    order = FilesOrder(trees=("media",), globs=("orders/2026/00*", "orders/linked.pdf"))
    result = restore_files(vault.backup_of(manifest), tmp_path / "out", order)
    files = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert files == [*(f"orders/2026/{n:03d}.pdf" for n in range(10)), "orders/linked.pdf"]
    assert (tmp_path / "out/orders/linked.pdf").read_bytes() == (media / "orders/linked.pdf").read_bytes()
    assert not (tmp_path / "out" / "empty").exists(), "folders that nothing chosen lies in are not made"
    assert result.plan.trees[0].left_out > 10
    whole = restore_files(
        vault.backup_of(manifest), tmp_path / "all", FilesOrder(trees=("media",), globs=("orders/2026",))
    )
    assert whole.files == 25, "the name of a folder is all that is in it"


def test_a_pattern_that_fits_nothing_is_no_success(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    with pytest.raises(NotFound, match=r"\*\.jpgg"):
        restore_files(
            vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), globs=("*.jpgg",))
        )
    assert not (tmp_path / "out").exists()
    restore_files(
        vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), globs=("*.jpgg", "empty"))
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["empty"]


def test_only_what_rows_name_is_restored_where_it_is_asked_for(
    vault: Vault, media: Path, tmp_path: Path
) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    named = {"media": ["nowhere", "orders/2026/002.pdf", "orders/linked.pdf", "zzz"]}
    order = FilesOrder(trees=("media",), only_referenced=True)
    restore_files(vault.backup_of(manifest), tmp_path / "out", order, referenced=named)
    files = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == ["002.pdf", "linked.pdf"]


def test_who_restores_a_degraded_tree_is_told(vault: Vault, media: Path, tmp_path: Path) -> None:
    tree = replace(tree_of_folder(vault, media), missed=3)
    result = restore_files(vault.backup_of(backup_of(vault, tree)), tmp_path / "out", MEDIA)
    assert [(one.code, one.severity) for one in result.findings] == [("tree-incomplete", "warning")]
    assert "3 files" in result.findings[0].message


def test_a_folder_where_a_file_should_be_is_refused(vault: Vault, media: Path, tmp_path: Path) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    (tmp_path / "out" / "orders" / "same.pdf").mkdir(parents=True)
    with pytest.raises(RestoreError, match="is a folder in the target"):
        restore_files(
            vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), overwrite=True)
        )
    assert len(list((tmp_path / "out").rglob("*"))) == 2


def test_a_tree_that_is_not_there_is_said_with_those_that_are(
    vault: Vault, media: Path, tmp_path: Path
) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    with pytest.raises(NotFound, match="no file tree 'video'") as caught:
        restore_files(vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("video",)))
    assert "media" in caught.value.remedy


def test_a_missing_pack_is_said_before_the_start_and_the_rest_can_be_salvaged(
    vault: Vault, media: Path, tmp_path: Path
) -> None:
    tree = tree_of_folder(vault, media)
    manifest = backup_of(vault, tree)
    (lost,) = (tmp_path / "vault").rglob(f"{tree.packs[0].sha256}*")
    lost.unlink()
    with pytest.raises(Damaged, match="missing in the vault"):
        restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert not (tmp_path / "out").exists()
    result = restore_files(
        vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), salvage=True)
    )
    assert not result.ok
    assert {one.code for one in result.findings} == {"object-missing", "file-lost"}
    assert 0 < result.files < 30


def test_one_damaged_content_costs_one_file_and_not_its_pack(vault: Vault, tmp_path: Path) -> None:
    contents = {f"{number:02d}": bytes([number]) * 5000 for number in range(10)}
    entries, packs = with_contents(vault, contents, suffix=".tar")
    wrong = [
        entry if entry.path != "04" else type(entry)(**{**_fields(entry), "sha256": "0" * 64})
        for entry in entries
    ]
    manifest = backup_of(vault, tree_of_entries(vault, wrong, packs=packs))
    with pytest.raises(Damaged):
        restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    result = restore_files(
        vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), salvage=True)
    )
    assert [one.examples for one in result.findings] == [("04",)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{n:02d}" for n in range(10) if n != 4
    ]


def _fields(entry: object) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__slots__}  # type: ignore[attr-defined]


def test_two_restores_into_one_folder_do_not_meet(vault: Vault, media: Path, tmp_path: Path) -> None:
    import fcntl

    manifest = backup_of(vault, tree_of_folder(vault, media))
    (tmp_path / "out").mkdir()
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(RestoreError, match="another restore"):
            restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    finally:
        os.close(descriptor)


def test_set_user_id_bits_need_their_owner(vault: Vault, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "su").write_bytes(b"x")
    (folder / "su").chmod(0o4755)
    manifest = backup_of(vault, tree_of_folder(vault, folder))
    result = restore_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert [one.code for one in result.findings] == ["mode-bits-dropped"]
    assert (tmp_path / "out" / "su").stat().st_mode & 0o7777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owners_come_back_where_root_asks_for_it(vault: Vault, tmp_path: Path) -> None:
    from dataclasses import replace

    entries, packs = with_contents(vault, {"a": b"a"})
    tree = tree_of_entries(vault, [replace(entries[0], uid=1234, gid=2345, mode=0o4755)], packs=packs)
    manifest = backup_of(vault, tree)
    restore_files(vault.backup_of(manifest), tmp_path / "out", FilesOrder(trees=("media",), owner=True))
    status = (tmp_path / "out" / "a").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 2345, 0o4755)


def test_without_nameless_files_names_of_our_own_are_used_and_cleared_away(
    vault: Vault, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup_pipeline.files.restore import writing

    monkeypatch.setattr(writing.os, "O_TMPFILE", os.O_DIRECTORY | os.O_RDWR)  # refused with EISDIR
    manifest = backup_of(vault, tree_of_folder(vault, media))
    out = tmp_path / "out"
    (out / "orders").mkdir(parents=True)
    (out / "orders").chmod(0o2775)  # what is there keeps its mode
    (out / "orders" / writing.temporary_name("orders/same.pdf")).write_text("left by a killed run")
    restore_files(vault.backup_of(manifest), out, MEDIA)
    assert state_of(out) == state_of(media)


def test_a_disk_that_is_too_small_is_said_before_the_start(
    vault: Vault, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = backup_of(vault, tree_of_folder(vault, media))
    real = os.statvfs

    def small(path: object) -> os.statvfs_result:
        values = list(real(path))  # type: ignore[arg-type]
        values[4] = 3
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", small)
    plan = plan_files(vault.backup_of(manifest), tmp_path / "out", MEDIA)
    assert [one.code for one in plan.refused] == ["no-space"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_who_may_not_write_there_is_told_so_and_odd_modes_come_back_without_being_root() -> None:
    # pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        vault, folder = prepared(base / "vault"), base / "media"
        (folder / "closed" / "inner").mkdir(parents=True)
        (folder / "closed" / "inner" / "secret").write_bytes(b"x")
        (folder / "closed" / "inner" / "secret").chmod(0o000)
        (folder / "closed" / "inner").chmod(0o555)
        (folder / "closed").chmod(0o555)
        manifest = backup_of(vault, tree_of_folder(vault, folder))
        for path in (base, base / "vault", *(base / "vault").rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o444)
        for target, mode in (("out", 0o777), ("theirs", 0o700)):
            (base / target).mkdir()
            (base / target).chmod(mode)
        code = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from backup_pipeline.errors import RestoreError\n"
            "from backup_pipeline.files.restore.files_plan import FilesOrder\n"
            "from backup_pipeline.files.restore.run import restore_files\n"
            "from backup_pipeline.stores.local import LocalStore\n"
            "from backup_pipeline.vault.vault import Vault\n"
            "base = Path(sys.argv[1]); vault = Vault(LocalStore(base / 'vault'))\n"
            "manifest = vault.backup('shop', sys.argv[2]).manifest\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "restore_files(vault.backup_of(manifest), base / 'out', FilesOrder(trees=('media',)))\n"
            "try: restore_files(vault.backup_of(manifest), base / 'theirs', FilesOrder(trees=('media',)))\n"
            "except RestoreError as error: print(error.message)\n"
        )
        argv = [sys.executable, "-c", code, str(base), manifest.id]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Permission denied" in done.stdout
        assert state_of(base / "out") == state_of(folder)
