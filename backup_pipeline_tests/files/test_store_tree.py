"""A tree goes into the vault, and comes out of it the same; and what did not change costs nothing."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.files.sources.base import Found, Trouble
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.files.store import StoredTree, reading
from backup_pipeline.files.store.contents import Contents
from backup_pipeline.files.store.witnesses import MOST_FILES, NIGHTS, Witnesses
from backup_pipeline.model.manifest import FileTree, ObjectRef
from backup_pipeline.model.progress import Advance
from backup_pipeline.vault import packs
from backup_pipeline.vault.journal import TreeNote
from backup_pipeline_tests.harness.trees import TreeBench, on_disk


@pytest.fixture
def bench(tmp_path: Path) -> TreeBench:
    (tmp_path / "tree").mkdir()
    return TreeBench(tmp_path / "tree", tmp_path / "vault")


def fill(bench: TreeBench, count: int = 200) -> None:
    chance = random.Random(1)
    for number in range(count):
        size = chance.choice((0, 1, 100, 5000, 70_000))
        data = chance.randbytes(size) if number % 2 else b"text " * (size // 5)
        bench.put(f"{number % 7}/{number}.bin", data)
    (bench.root / "empty").mkdir()
    (bench.root / "link").symlink_to("1/1.bin")


def codes(stored: StoredTree) -> list[str]:
    return [finding.code for finding in stored.findings]


def test_what_comes_out_is_what_went_in(bench: TreeBench) -> None:
    fill(bench)
    stored = bench.back_up()
    assert not stored.findings
    assert bench.contents() == on_disk(bench.root)
    tree = stored.tree
    assert (tree.files, tree.links, tree.folders) == (200, 1, 8)
    assert tree.bytes == sum(map(len, on_disk(bench.root).values()))
    assert [entry.sort_key for entry in bench.entries()] == sorted(e.sort_key for e in bench.entries())


def test_a_tree_that_did_not_change_is_not_read_and_stores_nothing(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench)
    first = bench.back_up().tree
    size = bench.stored_bytes()
    monkeypatch.setattr(reading.Reader, "read", lambda *_: pytest.fail("a file was read"))
    second = bench.back_up().tree
    assert bench.stored_bytes() == size
    assert (second.listing, second.packs, second.fingerprint) == (
        first.listing,
        first.packs,
        first.fingerprint,
    )
    assert (second.new_files, second.new_bytes) == (0, 0)
    assert bench.contents() == on_disk(bench.root)


def test_what_is_new_or_changed_is_stored_and_nothing_else(bench: TreeBench) -> None:
    fill(bench)
    bench.back_up()
    bench.put("3/3.bin", b"changed")
    bench.put("new/file", b"new")
    (bench.root / "1/1.bin").unlink()
    stored = bench.back_up()
    assert (stored.tree.new_files, stored.tree.new_bytes) == (2, 10)
    assert len(stored.tree.packs) > 1
    assert bench.contents() == on_disk(bench.root)


def test_a_content_is_stored_once_however_many_files_have_it(bench: TreeBench) -> None:
    data = os.urandom(100_000)
    for number in range(50):
        bench.put(f"copy{number}", data)
    stored = bench.back_up()
    assert stored.tree.new_files == 1
    assert bench.stored_bytes() < 150_000
    assert bench.contents() == on_disk(bench.root)
    (bench.root / "copy1").rename(bench.root / "moved")
    assert bench.back_up().tree.new_bytes == 0
    assert bench.contents() == on_disk(bench.root)


def test_hard_links_are_one_file_with_several_names(bench: TreeBench) -> None:
    bench.put("b", b"content")
    os.link(bench.root / "b", bench.root / "a")
    os.link(bench.root / "b", bench.root / "z")
    for _ in range(2):
        tree = bench.back_up().tree
        assert (tree.files, tree.bytes) == (1, 7)
        assert [(e.path, e.type, e.target) for e in bench.entries()] == [
            ("a", "file", ""),
            ("b", "hardlink", "a"),
            ("z", "hardlink", "a"),
        ]


def test_modes_and_owners_that_changed_are_listed_though_the_content_is_known(bench: TreeBench) -> None:
    file = bench.put("run", b"content")
    file.chmod(0o600)
    bench.back_up()
    file.chmod(0o755)
    stored = bench.back_up()
    assert bench.entries()[0].mode == 0o755
    assert stored.tree.new_files == 0


def test_a_restored_time_does_not_hide_a_change_from_a_full_run(bench: TreeBench) -> None:
    file = bench.put("a", b"before")
    bench.back_up()
    entry = bench.entries()[0]
    status = file.stat()
    file.write_bytes(b"AFTER!")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    # The kernel sets ctime; what it would look like after bit rot is only to be had in the listing.
    assert entry.state is not None
    stored = bench.back_up(full=True)
    assert bench.contents() == {"a": b"AFTER!"}
    assert stored.tree.new_files == 1


def test_bit_rot_is_told_by_a_full_run_and_only_by_it(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bench.put("a", b"before")
    bench.back_up()
    before = file.stat()
    file.write_bytes(b"rotten")
    real: Any = os.stat

    def as_before(path: object, **options: object) -> object:
        return before if path == "a" else real(path, **options)

    monkeypatch.setattr(os, "stat", as_before)
    assert codes(bench.back_up()) == []
    assert codes(bench.back_up(full=True)) == ["file-silently-changed"]
    assert bench.contents() == {"a": b"rotten"}


def test_what_is_written_through_a_memory_map_is_found_though_its_times_stay(bench: TreeBench) -> None:
    """The kernel sets the times of a mapped file when it first writes to a page, and not again while that is unsaved."""
    night = date(2026, 1, 1)
    files = {bench.put(name, b"-" * 8192): name for name in ("data.mdb", "mapped.bin")}
    maps = []
    for file in files:
        with file.open("r+b") as opened:
            maps.append(mmap.mmap(opened.fileno(), 0))
    for _ in range(5):  # the kernel may save a page at any moment
        for mapped in maps:
            mapped[0:5] = b"first"
        bench.back_up(night=night)
        times = [file.stat().st_mtime_ns for file in files]
        for mapped in maps:
            mapped[0:5] = b"later"
        if [file.stat().st_mtime_ns for file in files] == times:
            break
    else:
        pytest.fail("the kernel told of each write: this test shows nothing")

    assert codes(bench.back_up(night=night)) == []
    assert bench.contents()["data.mdb"].startswith(b"later"), "known to be written through a map: no error"
    assert codes(bench.back_up()) == [], "without a night no file has its turn"
    told = [
        code for days in range(NIGHTS) for code in codes(bench.back_up(night=night + timedelta(days=days)))
    ]
    assert told == ["file-silently-changed"], "in its night, and told once"
    assert bench.contents()["mapped.bin"].startswith(b"later")


def test_a_night_reads_a_few_files_of_a_large_tree_again_and_each_file_has_its_turn() -> None:
    files = [Found(f"f{number}", "file", size=1000, state={"mtime": "1"}) for number in range(6400)]
    tree = FileTree(
        "media", "local", "/m", ObjectRef("0" * 64, 1, ".x", "0" * 64, 1), bytes=0, files=len(files)
    )
    seen: Counter[str] = Counter()
    for day in range(200):
        turn = Witnesses(date.fromordinal(700_000 + day), tree)
        tonight = [found.path for found in files if turn.wants(found)]
        assert len(tonight) < 3 * MOST_FILES
        seen.update(tonight)
    assert set(seen.values()) == {1}
    assert len(seen) == len(files)


def test_everything_is_read_again_when_the_last_time_is_long_ago(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("a", b"content")
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    seen: list[str] = []
    real: Any = reading.Reader.read

    def noticed(self: object, found: Found, known: object) -> object:
        seen.append(found.path)
        return real(self, found, known)

    monkeypatch.setattr(reading.Reader, "read", noticed)
    bench.back_up(now=begun, rehash_after=86400)
    bench.back_up(now=begun + timedelta(hours=23), rehash_after=86400)
    assert seen == ["a"]
    bench.back_up(now=begun + timedelta(hours=25), rehash_after=86400)
    bench.back_up(now=begun + timedelta(hours=26), rehash_after=86400)
    assert seen == ["a", "a"]
    assert bench.last is not None
    bench.last = replace(bench.last, hashed_at="")
    bench.back_up(now=begun + timedelta(hours=27), rehash_after=86400)
    assert seen == ["a", "a", "a"], "the time is unknown"


def test_a_big_file_that_grows_while_it_is_held_against_a_known_one_is_listed_as_what_was_read(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as long as one known file when it is listed, and is another known file when it is read for the last time."""
    short, long = os.urandom(packs.LARGEST + 1), os.urandom(packs.LARGEST + 500)
    bench.put("a/long", long)
    bench.put("a/short", short)
    bench.back_up()
    bench.put("b", short)

    class Growing(LocalSource):
        def entries(self) -> Iterator[Found | Trouble]:
            for found in super().entries():
                if found.path == "b":
                    (self.root / "b").write_bytes(long)
                yield found

    monkeypatch.setattr(reading, "ATTEMPTS", 1)
    bench.back_up(source=Growing(bench.root))
    assert bench.contents()["b"] == long[: len(short)]


def test_big_files_are_objects_of_their_own_and_known_when_they_move(bench: TreeBench) -> None:
    bench.put("film.mp4", os.urandom(packs.LARGEST + 5000))
    tree = bench.back_up().tree
    assert [pack.suffix for pack in tree.packs] == [".blob"]
    assert bench.contents() == on_disk(bench.root)
    (bench.root / "film.mp4").rename(bench.root / "moved.mp4")
    size = bench.stored_bytes()
    assert bench.back_up().tree.new_files == 0
    assert bench.stored_bytes() - size < 2000
    assert bench.contents() == on_disk(bench.root)


def test_a_big_mutable_file_of_which_little_changed_costs_little(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "IMAGE_FROM", packs.LARGEST)
    size = packs.LARGEST + 4_000_000
    file = bench.put("vectors.index", os.urandom(size))
    tree = bench.back_up().tree
    assert tree.blocks and not tree.packs  # noqa: PT018
    stored = bench.stored_bytes()
    with file.open("r+b") as out:
        for number in range(50):
            out.seek(number * 4096 * 100)
            out.write(os.urandom(4096))
    assert bench.back_up().tree.new_bytes == size
    assert bench.stored_bytes() - stored < size * 0.06
    assert bench.contents() == on_disk(bench.root)
    assert bench.back_up(full=True).tree.new_files == 0, "read again, and nothing of it is new"


def test_packs_of_which_little_is_needed_are_written_anew(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        bench.put(f"{number:02d}", os.urandom(10_000))
    first = bench.back_up().tree
    for number in range(30):
        (bench.root / f"{number:02d}").unlink()
    bench.back_up()  # what is needed is known when this listing is written
    third = bench.back_up().tree
    assert not {pack.sha256 for pack in third.packs} & {pack.sha256 for pack in first.packs}
    assert bench.contents() == on_disk(bench.root)


@pytest.mark.parametrize("run", [4, 1 << 17])
def test_a_content_of_a_pack_that_is_written_anew_is_stored_once_however_many_files_have_it(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    monkeypatch.setattr(Contents.__init__, "__defaults__", (run,))
    same = os.urandom(10_000)
    for number in range(40):
        bench.put(f"once{number:02d}", os.urandom(10_000))
        bench.put(f"same{number:02d}", same)
    bench.back_up()
    for number in range(35):
        (bench.root / f"once{number:02d}").unlink()
    bench.back_up()
    third = bench.back_up().tree
    assert (third.new_files, third.new_bytes) == (6, 60_000)
    assert bench.contents() == on_disk(bench.root)


def test_many_small_packs_become_one(bench: TreeBench) -> None:
    for number in range(40):
        bench.put(f"{number:02d}", os.urandom(1000))
        tree = bench.back_up().tree
    assert len(tree.packs) <= 34
    assert bench.contents() == on_disk(bench.root)


def test_a_pack_that_is_gone_is_not_built_on(bench: TreeBench) -> None:
    fill(bench, 30)
    tree = bench.back_up().tree
    for pack in tree.packs:
        (bench.vault / "objects" / pack.sha256[:2] / f"{pack.sha256}{pack.suffix}").unlink()
    bench.back_up()
    assert bench.contents() == on_disk(bench.root)


def test_an_interrupted_run_is_gone_on_with(bench: TreeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.files.store.packing.TARGET", 200_000)
    for number in range(100):
        bench.put(f"{number:02d}", os.urandom(10_000))

    def stop(note: TreeNote) -> None:
        bench.notes.append(note)
        if len(bench.notes) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.back_up(noted=stop)
    assert not list((bench.vault / "tmp").iterdir())
    stored = bench.back_up()
    assert stored.tree.new_files <= 100 - 3 * 18
    assert bench.contents() == on_disk(bench.root)


def test_progress_tells_all_files_and_bytes(bench: TreeBench) -> None:
    fill(bench)
    told: list[Advance] = []
    tree = bench.back_up(listener=told.append).tree
    assert {one.phase for one in told} == {"files"}
    assert sum(one.bytes for one in told) == tree.bytes
    assert sum(one.rows for one in told) == tree.files


def test_the_type_of_contents_is_noted_where_it_is_asked_for(bench: TreeBench) -> None:
    bench.put("a.png", b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    bench.back_up()
    assert bench.entries()[0].media == ""
    bench.back_up(media=True)
    assert bench.entries()[0].media == "image/png"


#: In a process of its own: `tracemalloc` counts what other threads hold as well, such as the servers of other tests.
HARD_LINKS = """
import tracemalloc
from backup_pipeline.files.store.links_sqlite import LinkNames
names = LinkNames()
tracemalloc.start()
for number in range(20_000):
    path = f"hourly.0/{'folder/' * 10}{number}\\udcff"
    assert names.first(f"1:{number}", path) == path
    names.list(f"1:{number}", path)
_, peak = tracemalloc.get_traced_memory()
tracemalloc.stop()
assert peak < 200_000, peak  # four megabytes as strings
assert names.first("1:77", "hourly.1/77") == names.listed("1:77") == f"hourly.0/{'folder/' * 10}77\\udcff"
assert names.first("1:20000", "hourly.1/new") == "hourly.1/new"
assert names.listed("1:20000") is None
names.close()
"""


def test_the_names_of_hard_links_are_not_kept_in_memory() -> None:
    """A tree of snapshots made of hard links has millions: they took gigabytes."""
    subprocess.run([sys.executable, "-c", HARD_LINKS], check=True)
