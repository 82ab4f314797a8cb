"""What every file source promises (`backup_pipeline/files/sources/base.py`). A new one subclasses this and offers `tree`."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from backup_pipeline.files.sources.base import FileSource, Found, Trouble, Unreadable, Vanished

#: `a`, `a-b` and `a/x`: the entry of a folder, and what is in it, are not neighbours in the order of the bytes.
CONTENTS: Mapping[str, bytes] = {
    "a/x.txt": b"in a",
    "a/y/z.bin": bytes(range(256)) * 300,
    "a-b.txt": b"beside a",
    "a.txt": b"before a/",
    "empty": b"",
    "with blank/and+plus&amp=?#%20.txt": b"awkward",
    "ünï/日本 語.txt": "grüße".encode(),
    "zz/" + "n" * 200 + ".dat": b"long name",
}


class Tree(Protocol):
    """Where the files are, and who reads them. The source may be asked for again and again."""

    @property
    def source(self) -> FileSource: ...

    def put(self, path: str, data: bytes) -> None:
        """Make the file, or replace it by another content."""

    def remove(self, path: str) -> None: ...


class FilesContract:
    #: What it lists beside files.
    has_folders = True

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Tree:
        raise AssertionError("offer a fixture with an empty tree")

    @pytest.fixture
    def filled(self, tree: Tree) -> Tree:
        for path, data in CONTENTS.items():
            tree.put(path, data)
        return tree

    def test_every_file_is_listed_once_with_its_size(self, filled: Tree) -> None:
        found = files_of(filled.source)
        assert {one.path: one.size for one in found} == {path: len(data) for path, data in CONTENTS.items()}

    def test_entries_come_in_the_order_of_the_bytes_of_their_paths(self, filled: Tree) -> None:
        paths = [os.fsencode(one.path) for one in filled.source.entries()]
        assert paths == sorted(set(paths))

    def test_every_path_is_relative_and_none_leads_out(self, filled: Tree) -> None:
        for one in filled.source.entries():
            parts = one.path.split("/")
            assert all(part not in ("", ".", "..") for part in parts), one.path

    def test_contents_are_read_as_they_are(self, filled: Tree) -> None:
        source = filled.source
        assert {one.path: read(source, one) for one in files_of(source)} == dict(CONTENTS)

    def test_a_content_can_be_read_in_small_pieces(self, filled: Tree) -> None:
        source = filled.source
        one = next(one for one in files_of(source) if one.path == "a/y/z.bin")
        digest = hashlib.sha256()
        with source.open(one) as stream:
            while block := stream.read(1000):
                assert len(block) <= 1000
                digest.update(block)
        assert digest.digest() == hashlib.sha256(CONTENTS["a/y/z.bin"]).digest()

    def test_an_untouched_file_looks_the_same_again(self, filled: Tree) -> None:
        assert [(f.path, f.size, f.mtime_ns, f.state) for f in files_of(filled.source)] == [
            (f.path, f.size, f.mtime_ns, f.state) for f in files_of(filled.source)
        ]

    def test_another_content_of_the_same_size_looks_different(self, filled: Tree) -> None:
        before = one_of(filled.source, "a.txt")
        filled.put("a.txt", b"BEFORE A/")
        after = one_of(filled.source, "a.txt")
        assert (before.size, before.mtime_ns, before.state) != (after.size, after.mtime_ns, after.state)

    def test_what_stayed_is_settled(self, filled: Tree) -> None:
        source = filled.source
        for one in files_of(source):
            again = source.settled(one)
            assert again is not None
            assert (again.path, again.size, again.mtime_ns, again.state) == (
                one.path,
                one.size,
                one.mtime_ns,
                one.state,
            )

    def test_what_changed_after_it_was_listed_is_not_settled(self, filled: Tree) -> None:
        source = filled.source
        one = one_of(source, "a.txt")
        filled.put("a.txt", b"something longer than before")
        again = source.settled(one)
        assert again is not None
        assert (again.size, again.state) != (one.size, one.state)
        assert read(source, again) == b"something longer than before"

    def test_what_is_gone_is_said_to_be_gone(self, filled: Tree) -> None:
        source = filled.source
        one = one_of(source, "a/x.txt")
        filled.remove("a/x.txt")
        assert source.settled(one) is None
        with pytest.raises(Vanished):
            read(source, one)
        assert "a/x.txt" not in [found.path for found in files_of(filled.source)]

    def test_an_empty_tree_is_empty(self, tree: Tree) -> None:
        assert files_of(tree.source) == []

    def test_a_ready_source_has_nothing_to_say_against_a_backup(self, filled: Tree) -> None:
        report = filled.source.diagnose()
        assert report.ok, report.findings
        assert report.counted

    def test_where_it_is_can_be_shown(self, tree: Tree) -> None:
        assert tree.source.kind in ("local", "bucket", "dropbox")
        assert tree.source.address

    def test_errors_survive_the_border_of_a_process(self) -> None:
        for error in (Vanished("gone"), Unreadable("may not")):
            assert str(pickle.loads(pickle.dumps(error))) == str(error)


def files_of(source: FileSource) -> list[Found]:
    found = []
    for one in source.entries():
        assert not isinstance(one, Trouble), one
        if one.type == "file":
            found.append(one)
    return found


def one_of(source: FileSource, path: str) -> Found:
    return next(found for found in files_of(source) if found.path == path)


def read(source: FileSource, found: Found) -> bytes:
    with source.open(found) as stream:
        return stream.read()
