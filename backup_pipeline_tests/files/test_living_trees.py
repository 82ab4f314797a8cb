"""A tree that lives while it is read: what grows, shrinks, vanishes, is replaced or closed; and databases in it."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from backup_pipeline.errors import SourceUnavailable
from backup_pipeline.files.sources.base import Found, Trouble
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.files.store import StoredTree, database, reading
from backup_pipeline.vault import blocks, packs
from backup_pipeline_tests.harness.trees import TreeBench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TreeBench:
    (tmp_path / "tree").mkdir()
    monkeypatch.setattr(reading, "PAUSE", 0.0)
    return TreeBench(tmp_path / "tree", tmp_path / "vault")


class Touched(LocalSource):
    """Another program changes each file right after it was read, so many times."""

    def __init__(self, root: Path, touch: Callable[[Path], None], times: int = 1_000) -> None:
        super().__init__(root)
        self._touch, self._left = touch, times

    def open(self, found: Found) -> AbstractContextManager[BinaryIO]:
        return self._then(found)

    @contextmanager
    def _then(self, found: Found) -> Iterator[BinaryIO]:
        with super().open(found) as stream:
            yield stream
        if self._left:
            self._left -= 1
            self._touch(self.root / found.path)


def severities(stored: StoredTree) -> dict[str, str]:
    return {finding.code: finding.severity for finding in stored.findings}


def test_a_file_that_changed_once_while_it_was_read_is_read_again(bench: TreeBench) -> None:
    bench.put("a", b"before")
    stored = bench.back_up(source=Touched(bench.root, lambda path: void(path.write_bytes(b"after it")), 1))
    assert bench.contents() == {"a": b"after it"}
    assert severities(stored) == {}


def void(_: object) -> None:
    """For a lambda that must not return what it has."""


@pytest.mark.parametrize("size", [10, packs.LARGEST + 10], ids=["small", "big"])
def test_a_file_that_never_rests_is_kept_named_and_read_again_the_next_time(
    bench: TreeBench, size: int
) -> None:
    bench.put("a", b"x" * size)
    stored = bench.back_up(source=Touched(bench.root, lambda path: void(path.write_bytes(os.urandom(size)))))
    assert severities(stored) == {"file-changed": "error"}
    assert stored.tree.missed == 1
    assert bench.entries()[0].state is None
    assert severities(bench.back_up()) == {}
    assert bench.contents() == {"a": (bench.root / "a").read_bytes()}


@pytest.mark.parametrize("size", [10, packs.LARGEST + 10], ids=["small", "big"])
def test_a_file_that_only_grows_is_whole_up_to_where_it_was(bench: TreeBench, size: int) -> None:
    data = os.urandom(size)
    bench.put("log", data)

    def grow(path: Path) -> None:
        with path.open("ab") as file:
            file.write(b"one more line\n")

    stored = bench.back_up(source=Touched(bench.root, grow))
    assert severities(stored) == {}
    assert bench.contents() == {"log": data}
    bench.back_up()
    assert bench.contents() == {"log": (bench.root / "log").read_bytes()}


def test_a_file_that_shrinks_is_read_as_it_is_then(bench: TreeBench) -> None:
    bench.put("a", b"long content")
    stored = bench.back_up(source=Touched(bench.root, lambda path: os.truncate(path, 3), 1))
    assert bench.contents() == {"a": b"lon"}
    assert severities(stored) == {}


def test_what_vanishes_before_it_is_read_is_only_noted(bench: TreeBench) -> None:
    for name in "abc":
        bench.put(name, name.encode())

    class Vanishing(LocalSource):
        def open(self, found: Found) -> AbstractContextManager[BinaryIO]:
            if found.path == "b":
                (bench.root / "b").unlink(missing_ok=True)
            return super().open(found)

    stored = bench.back_up(source=Vanishing(bench.root))
    assert severities(stored) == {"file-vanished": "info"}
    assert bench.contents() == {"a": b"a", "c": b"c"}
    assert stored.tree.missed == 0


def test_a_name_that_is_another_file_by_now_is_read_as_that_one(bench: TreeBench) -> None:
    bench.put("a", b"old")

    def replace(path: Path) -> None:
        other = path.with_name("b.tmp")
        other.write_bytes(b"new")
        other.replace(path)

    bench.back_up(source=Touched(bench.root, replace, 1))
    assert bench.contents()["a"] == b"new"


class Coarse(LocalSource):
    """A file system that counts time in steps. Every file is written right before it is read, and once more right
    after the last look at it."""

    def __init__(self, root: Path, step: int) -> None:
        super().__init__(root)
        self._step = step

    def entries(self) -> Iterator[Found | Trouble]:
        for found in super().entries():
            self._write(found.path, b"first")
            now = self._seen(found.path)
            assert now is not None
            yield now

    def settled(self, found: Found) -> Found | None:
        again = self._seen(found.path)
        self._write(found.path, b"later")
        return again

    def _seen(self, path: str) -> Found | None:
        found = super().settled(Found(path))
        if found is None:
            return None
        changed = self._floor(int(found.state["ctime_ns"]))
        return replace(
            found,
            mtime_ns=self._floor(found.mtime_ns),
            state={**found.state, "ctime_ns": str(changed)},
        )

    def _write(self, path: str, data: bytes) -> None:
        (self.root / path).write_bytes(data)

    def _floor(self, moment: int) -> int:
        return moment - moment % self._step


class Resting(Coarse):
    def _write(self, path: str, data: bytes) -> None:
        """No program writes any more."""


@pytest.mark.parametrize(("step", "times"), [(4_000_000, 5), (1_000_000_000, 1)])
def test_what_is_written_within_the_same_tick_of_the_clock_is_seen_the_next_time(
    bench: TreeBench, step: int, times: int
) -> None:
    """A file system counts time in steps, of milliseconds or of a second: two changes may leave the same time and size."""
    bench.put("a", b"first")
    for _ in range(times):
        bench.back_up(source=Coarse(bench.root, step))
        bench.back_up(source=Resting(bench.root, step))
        assert bench.contents() == {"a": b"later"}


class Answering(LocalSource):
    """A server that fails for one file, and perhaps for everything."""

    away = False

    def open(self, found: Found) -> AbstractContextManager[BinaryIO]:
        if found.path == "broken":
            raise SourceUnavailable("500 Internal Error")
        return super().open(found)

    def settled(self, found: Found) -> Found | None:
        if self.away:
            raise SourceUnavailable("nobody answers")
        return super().settled(found)


def test_what_a_server_fails_at_again_and_again_costs_one_file_while_it_answers_for_others(
    bench: TreeBench,
) -> None:
    bench.put("broken", b"x")
    bench.put("good", b"y")
    source = Answering(bench.root)
    stored = bench.back_up(source=source)
    assert severities(stored) == {"file-unreadable": "error"}
    assert "500" in stored.findings[0].message
    assert bench.contents() == {"good": b"y"}
    source.away = True
    with pytest.raises(SourceUnavailable):
        bench.back_up(source=source)


def test_a_bad_sector_in_a_big_file_costs_this_file_and_not_the_backup(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "IMAGE_FROM", packs.LARGEST)
    bench.put("vectors.index", bytes(packs.LARGEST + 1))
    bench.put("other", b"x")

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(blocks, "_fill", broken)
        stored = bench.back_up()
    assert severities(stored) == {"file-unreadable": "error"}
    assert bench.contents() == {"other": b"x"}
    assert severities(bench.back_up()) == {}
    assert bench.contents().keys() == {"other", "vectors.index"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not read")
def test_what_may_not_be_read_degrades_the_backup_and_nothing_else_is_lost(bench: TreeBench) -> None:
    bench.put("closed/file", b"x")
    bench.put("open", b"open")
    bench.put("secret", b"secret")
    (bench.root / "closed").chmod(0o700)
    (bench.root / "secret").chmod(0o600)
    for folder in (bench.root, *bench.root.parents):
        if folder != Path("/tmp") and str(folder).startswith("/tmp"):
            folder.chmod(0o755)
    bench.vault.mkdir()
    bench.vault.chmod(0o777)
    os.seteuid(65534)
    try:
        stored = bench.back_up()
        contents = bench.contents()
    finally:
        os.seteuid(0)
    assert severities(stored) == {"file-unreadable": "error", "folder-unreadable": "error"}
    assert contents == {"open": b"open"}
    assert stored.tree.missed == 2


def test_a_tree_that_is_empty_all_of_a_sudden_is_an_error_until_it_is_accepted(bench: TreeBench) -> None:
    file = bench.put("a", b"x")
    bench.back_up()
    file.unlink()
    for _ in range(3):
        assert severities(bench.back_up()) == {"tree-became-empty": "error"}
    assert severities(bench.back_up(may_be_empty=True)) == {}
    bench.put("a", b"x")
    assert severities(bench.back_up()) == {}


def test_a_tree_that_never_held_a_file_is_worth_a_word(bench: TreeBench) -> None:
    for _ in range(2):
        assert severities(bench.back_up()) == {"tree-empty": "warning"}
    assert severities(bench.back_up(may_be_empty=True)) == {}


def test_a_tree_that_lost_half_of_its_files_is_worth_a_look(bench: TreeBench) -> None:
    for number in range(10):
        bench.put(str(number), b"x")
    bench.back_up()
    for number in range(6):
        (bench.root / str(number)).unlink()
    assert severities(bench.back_up()) == {"tree-shrank": "warning"}


def test_a_database_under_a_busy_writer_is_copied_as_of_one_moment(bench: TreeBench) -> None:
    path = bench.root / "app.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, pad TEXT);"
        )
        connection.executemany("INSERT INTO t VALUES (?, 0, ?)", [(n, "x" * 500) for n in range(2000)])
        connection.commit()
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            while not stop.is_set():
                # The sum of all n is the same after every transaction.
                connection.execute("UPDATE t SET n = n + 1 WHERE id % 2 = 0")
                connection.execute("UPDATE t SET n = n - 1 WHERE id % 2 = 1")
                connection.commit()
                time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            stored = bench.back_up()
            assert "file-changed" not in severities(stored)
            assert [entry.path for entry in bench.entries()] == ["app.sqlite3"]
            copy = bench.vault / f"copy{number}.db"
            copy.write_bytes(bench.contents()["app.sqlite3"])
            with closing(sqlite3.connect(copy)) as connection:
                assert connection.execute("SELECT sum(n), count(*) FROM t").fetchone() == (0, 2000)
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        stop.set()
        writer.join()


def test_what_was_committed_to_the_wal_alone_is_seen_the_next_time(bench: TreeBench) -> None:
    path = bench.root / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        bench.back_up()
        before = path.stat().st_mtime_ns
        connection.execute("INSERT INTO t VALUES (2)")
        connection.commit()
        assert path.stat().st_mtime_ns == before
        bench.back_up()
        again = bench.back_up()
    assert again.tree.new_files == 0
    copy = bench.vault / "copy.db"
    copy.write_bytes(bench.contents()["app.db"])
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_what_only_looks_like_a_database_is_copied_as_a_file(bench: TreeBench) -> None:
    data = b"SQLite format 3\0" + os.urandom(5000)
    bench.put("broken.db", data)
    bench.put("broken.db-wal", b"kept")
    stored = bench.back_up()
    assert severities(stored) == {"database-copied-plainly": "warning"}
    assert bench.contents() == {"broken.db": data, "broken.db-wal": b"kept"}


def test_a_database_that_stays_locked_costs_neither_the_backup_nor_goes_unsaid(
    bench: TreeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    bench.put("other", b"x")
    path = bench.root / "app.db"
    locking = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA locking_mode = EXCLUSIVE'); c.execute('CREATE TABLE t (x)'); print(flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", locking, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout
        holder.stdout.readline()
        for _ in range(2):  # it does not become good by having been so the night before
            stored = bench.back_up()
            assert severities(stored) == {"database-locked": "error"}
            assert stored.tree.missed == 1
        assert bench.contents() == {"app.db": path.read_bytes(), "other": b"x"} | {
            name: (bench.root / name).read_bytes()
            for name in ("app.db-journal",)
            if (bench.root / name).exists()
        }
        holder.communicate(b"\n")
    assert severities(bench.back_up()) == {}
    assert bench.contents().keys() >= {"app.db", "other"}


def test_a_sparse_file_costs_little_and_is_marked(bench: TreeBench) -> None:
    with (bench.root / "disk.img").open("wb") as file:
        file.write(b"begin")
        file.truncate(40_000_000)
    if (bench.root / "disk.img").stat().st_blocks > 1000:
        pytest.skip("this file system has no holes")
    bench.back_up()
    assert bench.stored_bytes() < 100_000
    assert bench.entries()[0].sparse
    assert bench.contents()["disk.img"] == (bench.root / "disk.img").read_bytes()


def test_an_application_in_this_process_keeps_the_locks_of_its_database(bench: TreeBench) -> None:
    """POSIX takes them away when any descriptor of the file is closed in the process that holds them."""
    path = bench.root / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as ours:
        ours.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        ours.execute("BEGIN EXCLUSIVE")
        source = LocalSource(bench.root)
        for _ in range(2):
            for found in source.entries():
                if isinstance(found, Found) and found.path == "app.db":
                    with source.open(found) as stream:
                        assert stream.read(16) == b"SQLite format 3\0"
        other = subprocess.run(
            [sys.executable, "-c", _WRITES, str(path)], check=False, capture_output=True, text=True
        )
        assert "locked" in other.stdout, other
        ours.execute("COMMIT")


_WRITES = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0).execute("INSERT INTO t VALUES (2)")
    print("written")
except sqlite3.OperationalError as error:
    print(error)
"""
