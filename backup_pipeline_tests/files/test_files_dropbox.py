"""Dropbox folders as file trees, against the fake that speaks Dropbox's protocol."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_pipeline.errors import PermissionMissing, SourceError, SourceUnavailable
from backup_pipeline.files.sources.base import Found, Trouble
from backup_pipeline.files.sources.dropbox import DropboxSource
from backup_pipeline.files.sources.sorting import Sorter
from backup_pipeline.services.dropbox import DropboxAccess
from backup_pipeline_tests.contracts.files_contract import FilesContract, files_of, one_of, read
from backup_pipeline_tests.harness.fake_dropbox import HOME, FakeDropbox, Token
from backup_pipeline_tests.harness.fake_dropbox_files import Namespace

FOLDER = "/Team Folder/Projects"


@dataclass
class DropboxTree:
    fake: FakeDropbox
    source: DropboxSource

    def put(self, path: str, data: bytes) -> None:
        self.fake.home.place(f"{FOLDER}/{path}", data)

    def remove(self, path: str) -> None:
        self.fake.home.delete(f"{FOLDER}/{path}", None)


@pytest.fixture
def tree(fake_dropbox: FakeDropbox) -> DropboxTree:
    fake_dropbox.home.make_folder(FOLDER)
    return DropboxTree(fake_dropbox, DropboxSource(signed_in(fake_dropbox), FOLDER))


def signed_in(fake: FakeDropbox) -> DropboxAccess:
    """A refresh token of its own for each test: clients are kept for the life of a process."""
    refresh = f"refresh-{fake.token}"
    fake.refresh_tokens[refresh] = ("k", "")
    return DropboxAccess(refresh_token=refresh, app_key="k")


class TestDropboxSource(FilesContract):
    @pytest.fixture
    def tree(self, tree: DropboxTree) -> DropboxTree:
        return tree


def test_folders_are_entries_and_are_called_as_they_are_written(tree: DropboxTree) -> None:
    tree.put("Über/Pläne/a.txt", b"x")
    tree.fake.home.make_folder(f"{FOLDER}/Empty")
    # Dropbox promises the right case of the last part of a path only.
    file = tree.fake.home.files[f"{FOLDER}/Über/Pläne/a.txt".lower()]
    tree.fake.home.files[file.shown.lower()] = replace(file, shown=f"{FOLDER}/über/PLÄNE/a.txt")
    found = [(one.path, one.type) for one in tree.source.entries() if isinstance(one, Found)]
    assert found == [
        ("Empty", "folder"),
        ("Über", "folder"),
        ("Über/Pläne", "folder"),
        ("Über/Pläne/a.txt", "file"),
    ]


def test_times_and_links_are_kept(tree: DropboxTree) -> None:
    moment = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
    tree.fake.home.place(f"{FOLDER}/old", b"x", moment)
    tree.fake.home.place(f"{FOLDER}/link", b"", moment, link="../elsewhere", downloadable=False)
    link, old = tree.source.entries()
    assert isinstance(link, Found)
    assert isinstance(old, Found)
    assert old.mtime_ns == link.mtime_ns == int(moment.timestamp()) * 10**9
    assert (link.type, link.target) == ("link", "../elsewhere")
    assert old.state["rev"]
    assert len(old.state["hash"]) == 64


def test_a_document_without_bytes_is_named_and_the_rest_goes_on(tree: DropboxTree) -> None:
    tree.fake.home.place(f"{FOLDER}/Notes.paper", b"", export_as="markdown", downloadable=False)
    tree.put("a.txt", b"x")
    tree.put("locked.bin", b"x")
    tree.fake.home.hide(f"{FOLDER}/locked.bin")
    notes, a, locked = tree.source.entries()
    assert isinstance(notes, Trouble)
    assert (notes.path, notes.code) == ("Notes.paper", "file-not-downloadable")
    assert "Notes.paper" in notes.message
    assert "markdown" in notes.message
    assert isinstance(a, Found)
    assert isinstance(locked, Trouble)


def test_patterns_choose_what_is_taken(tree: DropboxTree) -> None:
    for path in ("a/x.jpg", "a/x.tmp", "cache/y.jpg", "b/z.png"):
        tree.put(path, b"x")
    source = replace(tree.source, include=("*.jpg",), exclude=("cache",))
    assert [one.path for one in files_of(source)] == ["a/x.jpg"]


def test_a_folder_of_backups_in_it_is_named_and_left_out(tree: DropboxTree) -> None:
    for path in ("a.txt", "Backups/objects/aa", "Backups2/b.txt"):
        tree.put(path, b"x")
    source = replace(tree.source, apart=(f"{FOLDER}/backups",))
    found = [(one.path, getattr(one, "code", "")) for one in source.entries()]
    assert found == [("Backups", "backups-inside"), ("Backups2", ""), ("Backups2/b.txt", ""), ("a.txt", "")]


def test_the_whole_account_may_be_the_tree(tree: DropboxTree) -> None:
    tree.put("x", b"x")
    paths = [one.path for one in replace(tree.source, folder="/").entries()]
    assert paths == ["Team Folder", "Team Folder/Projects", "Team Folder/Projects/x"]


def test_a_team_folder_is_read_as_a_member_in_its_namespace(fake_dropbox: FakeDropbox) -> None:
    fake_dropbox.namespaces["2000"] = Namespace()
    fake_dropbox.namespaces["2000"].place("/Projects/x", b"team")
    fake_dropbox.members["dbmid:me"] = [HOME, "2000"]
    access = replace(signed_in(fake_dropbox), select_user="dbmid:me", namespace="2000")
    source: DropboxSource = pickle.loads(pickle.dumps(DropboxSource(access, "/Projects")))
    (one,) = files_of(source)
    assert read(source, one) == b"team"
    assert source.settled(one) == one
    assert {(seen.select_user, "2000" in (seen.path_root or "")) for seen in fake_dropbox.seen} == {
        ("dbmid:me", True)
    }


def test_what_changed_while_it_was_listed_is_listed_once_as_it_is_now(tree: DropboxTree) -> None:
    for number in range(20):
        tree.put(f"{number:02}", b"old")
    entries = iter(tree.source._pages())
    names = [next(entries).name for _ in range(3)]
    home, changed = tree.fake.home, next(entries).name
    home.touch(f"{FOLDER}/{changed}", b"new content")
    rest = [entry.name for entry in entries]
    assert len({*names, changed, *rest} - {"Projects"}) == 20
    with Sorter() as sorter:
        sorter.add("a", Found("a", size=1))
        sorter.add("b", Found("b", size=1))
        sorter.add("a", Found("a", size=2))
        sorter.add("b", None)
        assert list(sorter) == [Found("a", size=2)]


def test_a_line_that_breaks_in_a_file_goes_on_there_with_the_same_revision(tree: DropboxTree) -> None:
    content = bytes(range(256)) * 20_000
    tree.put("x", content)
    one = one_of(tree.source, "x")
    tree.fake.plan("cut", "files/download", times=2)
    assert read(tree.source, one) == content
    tree.fake.plan("cut", "files/download")
    with tree.source.open(one) as stream:
        first = stream.read(1000)
        tree.put("x", bytes(len(content)))
        with pytest.raises(SourceUnavailable, match="cannot be gone on"):
            stream.read()
    assert first == content[:1000]


@pytest.mark.parametrize("kind", ["429", "500", "drop"])
def test_a_busy_dropbox_is_waited_for(tree: DropboxTree, kind: str) -> None:
    for number in range(20):
        tree.put(f"{number:02}", b"x")
    tree.fake.retry_after = 0
    routes = ("files/list_folder", "files/list_folder/continue", "files/download", "files/get_metadata")
    for route in routes:
        tree.fake.plan(kind, route)
    assert len(files_of(tree.source)) == 20
    one = one_of(tree.source, "00")
    assert read(tree.source, one) == b"x"
    assert tree.source.settled(one) == one


def test_patience_has_an_end(tree: DropboxTree) -> None:
    tree.fake.retry_after = 3600
    tree.fake.plan("429", "files/list_folder")
    with pytest.raises(SourceUnavailable, match="limits our rate"):
        list(tree.source.entries())


def test_no_such_folder_and_no_right_are_errors_with_a_remedy(tree: DropboxTree) -> None:
    with pytest.raises(SourceError, match="not there") as caught:
        list(replace(tree.source, folder="/Elsewhere").entries())
    assert "namespace" in caught.value.remedy
    tree.fake.tokens["writer"] = Token(scopes=frozenset({"files.content.write"}))
    blind = replace(tree.source, access=DropboxAccess(token="writer"))
    with pytest.raises(PermissionMissing, match=r"files\.metadata\.read"):
        list(blind.entries())
    report = blind.diagnose()
    assert {finding.code for finding in report.findings} == {"dropbox-token-ends", "tree-unavailable"}
    assert not report.ok


def test_sorting_takes_the_memory_of_one_run(tmp_path: Path) -> None:
    paths = [f"{number * 7919 % 10_000:05}/ü-{number}" for number in range(10_000)]
    tracemalloc.start()
    with Sorter(tmp_path, run=500) as sorter:
        for path in paths:
            sorter.add(path, Found(path, state={"rev": path}))
        before = tracemalloc.get_traced_memory()[0]
        count, last = 0, b""
        for item in sorter:
            assert os.fsencode(item.path) > last
            last, count = os.fsencode(item.path), count + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak - before < 4 << 20
    assert list(tmp_path.iterdir()) == []
