"""A tree of many files is read and packed by worker processes: the backup is the same as that of one process."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.errors import Incomplete
from backup_pipeline.files.sources.base import Found, Trouble
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.files.store import ahead, dealing, packing
from backup_pipeline.model.files import FileEntry, Place, line_of, placed
from backup_pipeline.vault.journal import TreeNote
from backup_pipeline_tests.harness.trees import TreeBench, on_disk

COUNT = 200


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TreeBench:
    """The first full batch starts the workers."""
    monkeypatch.setattr(ahead, "MANY", 1)
    monkeypatch.setattr(ahead, "BATCH_FILES", 20)
    bench = TreeBench(tmp_path / "tree", tmp_path / "vault")
    chance = random.Random(1)
    for number in range(COUNT):
        data = chance.randbytes(5000) if number % 2 else b"text %d " % number * 500
        bench.put(f"{number % 3}/{number:03d}.bin", data)
    return bench


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files each batch has that a worker gets."""
    seen: list[int] = []
    real = dealing.Dealer.deal

    def counted(self: dealing.Dealer, batch: dealing.Batch) -> None:
        seen.append(len(batch.files))
        real(self, batch)

    monkeypatch.setattr(dealing.Dealer, "deal", counted)
    return seen


def without_place(bench: TreeBench) -> list[FileEntry]:
    return [replace(entry, place=None) for entry in bench.entries()]


def test_workers_and_threads_make_the_same_backup(
    bench: TreeBench, dealt: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_workers = bench.back_up(media=True).tree
    assert sum(dealt) == COUNT
    monkeypatch.setattr(ahead, "MANY", 1000)
    other = TreeBench(bench.root, tmp_path / "other")
    by_threads = other.back_up(media=True).tree
    assert sum(dealt) == COUNT
    assert by_workers.fingerprint == by_threads.fingerprint
    assert (by_workers.new_files, by_workers.new_bytes) == (by_threads.new_files, by_threads.new_bytes)
    assert without_place(bench) == without_place(other)
    assert bench.contents() == other.contents() == on_disk(bench.root)
    again = bench.back_up().tree
    assert (again.listing, again.packs, again.new_files) == (by_workers.listing, by_workers.packs, 0)


def test_a_content_that_two_workers_read_is_stored_once(bench: TreeBench, dealt: list[int]) -> None:
    for number in range(COUNT):
        bench.put(f"same/{number}", b"the same content")
    # SQLite copies this one in the parent, and its copy is a content that a worker packs as well.
    with closing(sqlite3.connect(bench.root / "same.db")) as connection:
        connection.executescript("CREATE TABLE t (x)")
    bench.put("copy.db.bin", b"").write_bytes((bench.root / "same.db").read_bytes())
    stored = bench.back_up()
    assert sum(dealt) == 2 * COUNT + 2
    digests = {entry.sha256 for entry in bench.entries() if entry.type == "file"}
    assert stored.tree.new_files == len(digests)
    places = {(entry.place, entry.sha256) for entry in bench.entries() if entry.place}
    assert len(places) == len(digests)


def test_what_a_worker_cannot_read_is_read_by_its_parent(bench: TreeBench) -> None:
    class Moving(LocalSource):
        def entries(self) -> Iterator[Found | Trouble]:
            for found in super().entries():
                if found.path == "0/000.bin":
                    (self.root / found.path).write_bytes(b"another content")
                if found.path == "0/003.bin":
                    (self.root / found.path).unlink()
                yield found

    stored = bench.back_up(source=Moving(bench.root))
    assert [finding.code for finding in stored.findings] == ["file-vanished"]
    assert bench.contents() == on_disk(bench.root)
    assert bench.contents()["0/000.bin"] == b"another content"


def test_an_interrupted_run_of_workers_leaves_notes_and_nothing_half_made(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "TARGET", 50_000)

    def stop(note: TreeNote) -> None:
        bench.notes.append(note)
        if len(bench.notes) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.back_up(noted=stop)
    assert not list((bench.vault / "tmp").iterdir())
    noted = {pack.sha256 for note in bench.notes for pack in note.packs}
    tree = bench.back_up().tree
    assert noted <= {pack.sha256 for pack in tree.packs}
    assert tree.new_files < COUNT
    assert bench.contents() == on_disk(bench.root)


def test_a_killed_worker_ends_the_run_and_leaves_nothing_half_made(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dealing.Dealer.deal

    def kill(self: dealing.Dealer, batch: dealing.Batch) -> None:
        os.kill(self._pool.pids[0], signal.SIGKILL)
        real(self, batch)

    monkeypatch.setattr(dealing.Dealer, "deal", kill)
    with pytest.raises(Incomplete, match="signal 9"):
        bench.back_up()
    assert not list((bench.vault / "tmp").iterdir())


@pytest.mark.parametrize("path", ["a", 'odd","sha256":"', "\udcff"])
def test_a_place_is_added_to_a_line_as_if_it_had_been_there(path: str) -> None:
    entry = FileEntry(path, size=3, sha256="a" * 64, state={"inode": "1"}, digests={"md5": "b" * 32})
    place = Place(7, 512)
    assert placed(line_of(entry), place) == line_of(replace(entry, place=place))
