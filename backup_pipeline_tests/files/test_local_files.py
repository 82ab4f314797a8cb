"""A folder as a file tree: the contract, and what only a file system can do to a backup."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from backup_pipeline.errors import SourceError
from backup_pipeline.files.sources.aging import TICK
from backup_pipeline.files.sources.base import Found, Trouble, Unreadable, Vanished
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline_tests.contracts.files_contract import FilesContract, Tree, one_of, read


class LocalTree:
    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def source(self) -> LocalSource:
        return LocalSource(self.root)

    def put(self, path: str, data: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            time.sleep(TICK / 10**9)  # within one step of the clock both contents would get the same time
        file.write_bytes(data)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()


class TestLocalSource(FilesContract):
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Tree:
        (tmp_path / "tree").mkdir()
        return LocalTree(tmp_path / "tree")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def listed(source: LocalSource) -> dict[str, Found | Trouble]:
    return {one.path: one for one in source.entries()}


def test_folders_modes_times_and_owners_are_listed(root: Path) -> None:
    (root / "empty").mkdir(mode=0o2750)
    (root / "empty").chmod(0o2750)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o4711)
    os.utime(root / "run.sh", ns=(1, 1_234_567_890_123_456_789))
    found = listed(LocalSource(root))
    folder, file = found["empty"], found["run.sh"]
    assert isinstance(folder, Found) and isinstance(file, Found)  # noqa: PT018
    assert (folder.type, folder.mode) == ("folder", 0o2750)
    assert (file.mode, file.mtime_ns, file.uid) == (0o4711, 1_234_567_890_123_456_789, os.getuid())


def test_links_are_kept_as_links_and_never_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "file-out").symlink_to(tmp_path / "secret" / "key")
    (root / "loop").symlink_to(".")
    found = listed(LocalSource(root))
    assert sorted(found) == ["file-out", "loop", "out"]
    assert {one.target for one in found.values() if isinstance(one, Found) and one.type == "link"} == {
        str(tmp_path / "secret"),
        str(tmp_path / "secret" / "key"),
        ".",
    }


def test_a_file_that_became_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (root / "a").write_text("mine")
    source = LocalSource(root)
    one = one_of(source, "a")
    (root / "a").unlink()
    (root / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(Vanished):
        read(source, one)
    settled = source.settled(one)
    assert settled is not None
    assert settled.type == "link"


def test_a_folder_that_became_a_link_is_not_entered(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a").write_text("secret")
    (root / "inner").mkdir()
    (root / "inner" / "a").write_text("mine")
    source = LocalSource(root)
    one = one_of(source, "inner/a")
    (root / "inner" / "a").unlink()
    (root / "inner").rmdir()
    (root / "inner").symlink_to(tmp_path / "secret")
    with pytest.raises(Vanished):
        read(LocalSource(root), one)
    assert LocalSource(root).settled(one) is None


def test_hard_links_share_an_identity(root: Path) -> None:
    (root / "one").write_text("content")
    os.link(root / "one", root / "two")
    (root / "alone").write_text("content")
    found = listed(LocalSource(root))
    one, two, alone = found["one"], found["two"], found["alone"]
    assert isinstance(one, Found) and isinstance(two, Found) and isinstance(alone, Found)  # noqa: PT018
    assert one.identity
    assert one.identity == two.identity
    assert alone.identity == ""


def test_names_that_are_not_utf8_or_as_long_as_can_be_are_listed_and_read(root: Path) -> None:
    names = [b"caf\xe9.txt", b"\xff\xfe", b"n" * 255, "ü".encode() * 127, b"new\nline", b"back\\slash"]
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    source = LocalSource(root)
    found = [one for one in source.entries() if isinstance(one, Found)]
    assert [os.fsencode(one.path) for one in found] == sorted(names)
    assert all(read(source, one) == os.fsencode(one.path) for one in found)


def test_a_tree_deeper_than_a_path_may_be_long_is_walked(root: Path) -> None:
    at = os.open(root, os.O_RDONLY)
    for _ in range(120):
        os.mkdir("d" * 60, dir_fd=at)
        inner = os.open("d" * 60, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=at), "wb") as file:
        file.write(b"deep")
    os.close(at)
    source = LocalSource(root)
    one = list(source.entries())[-1]
    assert isinstance(one, Found)
    assert len(one.path) > 7000
    assert read(source, one) == b"deep"
    assert source.settled(one) is not None


def test_what_is_neither_file_nor_folder_nor_link_is_named(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        found = listed(LocalSource(root))
    assert {one.code for one in found.values() if isinstance(one, Trouble)} == {"file-special"}
    assert len(found) == 2


def test_a_pipe_in_the_place_of_a_file_does_not_hang(root: Path) -> None:
    (root / "a").write_text("x")
    source = LocalSource(root)
    one = one_of(source, "a")
    (root / "a").unlink()
    os.mkfifo(root / "a")
    with pytest.raises(Vanished):
        read(source, one)
    assert source.settled(one) is None


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named_and_the_walk_goes_on(root: Path) -> None:
    (root / "closed").mkdir()
    (root / "closed" / "a").write_text("x")
    (root / "file").write_text("x")
    (root / "open").write_text("x")
    (root / "closed").chmod(0)
    (root / "file").chmod(0)
    source = LocalSource(root)
    try:
        found = list(source.entries())
        assert [one.path for one in found if isinstance(one, Trouble)] == ["closed"]
        assert "open" in [one.path for one in found]
        with pytest.raises(Unreadable):
            read(source, one_of_any(found, "file"))
        assert not source.diagnose().ok
    finally:
        (root / "closed").chmod(0o700)


def test_the_doctor_counts_entries_and_not_their_bytes(root: Path) -> None:
    """It once stopped after 50,000 bytes, which a picture has, and called the rest of the tree good."""
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(bytes(60_000))
    (root / "z").mkdir()
    assert LocalSource(root).diagnose().counted == {"files": 3, "folders": 1, "bytes": 180_000}


def one_of_any(found: list[Found | Trouble], path: str) -> Found:
    return next(one for one in found if isinstance(one, Found) and one.path == path)


def test_holes_are_not_read_and_come_out_as_zeros(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(300_000_000)
        file.write(b"middle")
        file.truncate(600_000_000)
    source = LocalSource(root)
    one = one_of(source, "sparse")
    if not one.sparse:
        pytest.skip("this file system has no holes")
    digest, size = hashlib.sha256(), 0
    with source.open(one) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    assert size == 600_000_000
    with (root / "sparse").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()


def test_reading_does_not_change_the_access_time(root: Path) -> None:
    (root / "a").write_text("x")
    os.utime(root / "a", ns=(1_000_000_000, 2_000_000_000))
    source = LocalSource(root)
    read(source, one_of(source, "a"))
    if sys.platform == "linux":
        assert (root / "a").stat().st_atime_ns == 1_000_000_000


def test_a_root_that_is_not_there_is_an_error_and_no_empty_tree(tmp_path: Path) -> None:
    source = LocalSource(tmp_path / "nowhere")
    with pytest.raises(SourceError):
        list(source.entries())
    assert not source.diagnose().ok


def test_patterns_choose_and_excluded_folders_are_not_entered(root: Path) -> None:
    for path in ("a.jpg", "a.tmp", "cache/x.jpg", "in/b.jpg", "in/c.txt", "in/cache/y.jpg"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    (root / "cache").chmod(0o700)
    source = LocalSource(root, include=("*.jpg",), exclude=("cache/", "*.tmp"))
    assert [one.path for one in source.entries()] == ["a.jpg", "in/b.jpg"]


def test_single_files_are_named_from_the_root_and_a_missing_one_is_said(root: Path) -> None:
    for path in (".env.example", "settings/a.py", "settings/b.txt", "deep/.env.example", "node_modules/x.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    source = LocalSource(root, paths=(".env.example", "settings/*.py", "gone.toml"))
    found = list(source.entries())
    assert [one.path for one in found if isinstance(one, Found)] == [".env.example", "settings/a.py"]
    assert [(one.path, one.code) for one in found if isinstance(one, Trouble)] == [
        ("gone.toml", "path-missing")
    ]


def test_a_database_that_was_written_to_beside_its_file_looks_different(root: Path) -> None:
    (root / "app.db").write_bytes(b"x" * 4096)
    (root / "app.db-wal").write_bytes(b"one")
    before = one_of(LocalSource(root), "app.db")
    (root / "app.db-wal").write_bytes(b"three")
    after = one_of(LocalSource(root), "app.db")
    assert before.state != after.state
    assert stat.S_ISREG((root / "app.db").stat().st_mode)


def test_no_descriptor_is_left_open(root: Path) -> None:
    for number in range(100):
        (root / f"d{number}" / "e").mkdir(parents=True)
        (root / f"d{number}" / "e" / "f").write_text("x")
    source = LocalSource(root)
    with suppress(FileNotFoundError):
        before = len(os.listdir("/proc/self/fd"))
        for one in source.entries():
            if isinstance(one, Found) and one.type == "file":
                read(source, one)
        del source
        assert len(os.listdir("/proc/self/fd")) <= before
