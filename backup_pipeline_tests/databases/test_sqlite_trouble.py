"""Locked, damaged, missing, half-written and watched SQLite files: read right or refused, and never touched."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.sqlite.export import SqliteSource, read_rows
from backup_pipeline.databases.sqlite.export.opening import reading
from backup_pipeline.errors import (
    NotSupported,
    SourceError,
    SourceUnavailable,
)
from backup_pipeline.model.selection import Selection
from backup_pipeline.processes.scratch import Scratch, roomy_place, sweep
from backup_pipeline_tests.harness.engines import wait_for
from backup_pipeline_tests.harness.sqlite_rows import connect, new_database, run


@pytest.fixture(autouse=True)
def private_tmp(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of this test alone, so that what is left there is known to be ours."""
    folder = tmp_path_factory.mktemp("tmp")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


def source(path: Path) -> SqliteSource:
    return SqliteSource(str(path), busy_seconds=0.2)


def rows(path: Path, table: str = "t") -> list[object]:
    """What a backup would hold."""
    with source(path).snapshot(Selection(), Options()) as snapshot:
        return [row[0] for row in read_rows(snapshot.stored, table)]


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    folder = tmp_path / "live"
    folder.mkdir()
    path = new_database(folder / "app.db")
    run(path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1), (2)")
    return path


def crash(path: Path, *statements: str, commit: bool = True) -> None:
    """A process that dies with the database open, in the middle of a transaction unless it commits."""
    program = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size = 1'); c.execute('PRAGMA cache_spill = 1')\n"
        "if sys.argv[2] == 'open': c.execute('BEGIN')\n"
        "for s in sys.argv[3:]: c.execute(s)\n"
        "os._exit(0)\n"
    )
    mode = "commit" if commit else "open"
    subprocess.run([sys.executable, "-c", program, str(path), mode, *statements], check=True)


# ── what is not a database


def test_a_missing_file_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    for path in (tmp_path / "no.db", tmp_path / "nowhere" / "no.db"):
        with pytest.raises(SourceError, match="there is no file"):
            rows(path)
        assert not path.exists()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", SourceError, "empty"),
        (b"not a database at all, but long enough to be looked at" * 40, NotSupported, "encrypted"),
        (os.urandom(8192), NotSupported, "encrypted"),
        (b"SQLite format 3\0" + bytes(84), NotSupported, "not a SQLite database"),
    ],
    ids=["empty", "text", "encrypted", "only a header"],
)
def test_what_is_not_a_database_is_refused(
    tmp_path: Path, content: bytes, error: type[SourceError], words: str
) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        rows(path)
    assert caught.value.remedy
    assert not source(path).diagnose(Selection()).ok
    assert path.read_bytes() == content


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a file"):
        rows(tmp_path)


# ── damage


def fill(path: Path) -> None:
    run(
        path,
        "CREATE TABLE big (id INTEGER PRIMARY KEY, v TEXT)",
        "CREATE INDEX big_v ON big (v)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
        " INSERT INTO big SELECT i, hex(randomblob(30)) FROM n",
    )


def test_a_damaged_page_is_refused_with_what_was_found(database: Path) -> None:
    fill(database)
    data = bytearray(database.read_bytes())
    data[40 * 4096 : 40 * 4096 + 200] = bytes(200)
    database.write_bytes(data)
    with pytest.raises(SourceError, match="damaged") as caught:
        rows(database)
    assert ".recover" in caught.value.remedy
    report = source(database).diagnose(Selection())
    assert not report.ok


def test_a_file_that_was_cut_off_is_refused(database: Path) -> None:
    fill(database)
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size - 20 * 4096)
    with pytest.raises(SourceError, match=r"damaged|malformed"):
        rows(database)


def test_an_index_that_does_not_fit_its_table_is_refused(database: Path, tmp_path: Path) -> None:
    from backup_pipeline.stores.local import LocalStore
    from backup_pipeline.vault.objects import ObjectWriter

    fill(database)
    with closing(connect(database)) as connection:
        (index,) = connection.execute("SELECT * FROM sqlite_master WHERE name = 'big_v'").fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'big_v'")
    run(database, "DELETE FROM big WHERE id = 77")  # the index does not hear of it
    with closing(connect(database)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
    writer = ObjectWriter(LocalStore(tmp_path / "vault"))
    with (
        pytest.raises(SourceError, match="big_v"),
        source(database).snapshot(Selection(), Options()) as snapshot,
    ):
        snapshot.export(writer, baselines={})


# ── locks


def test_a_locked_file_is_unavailable_after_a_while(database: Path) -> None:
    with closing(connect(database)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        # It ends while the lock is still held.
        with pytest.raises(SourceUnavailable, match="locked"):
            rows(database)
        holder.execute("ROLLBACK")
    assert rows(database) == [1, 2]


def test_a_lock_that_is_let_go_in_time_is_waited_for(database: Path) -> None:
    program = (
        "import sqlite3, sys, time\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); time.sleep(0.5); c.execute('COMMIT')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(database)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with SqliteSource(str(database), busy_seconds=20).snapshot(Selection(), Options()) as snapshot:
            assert len(list(read_rows(snapshot.stored, "t"))) == 2
        assert holder.wait() == 0


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_look_at_the_file_does_not_drop_the_locks_of_its_own_process(database: Path, mode: str) -> None:
    """POSIX drops all locks of a process when it closes any descriptor of the file: an application that calls us while it
    is in a transaction must keep its lock."""
    run(database, f"PRAGMA journal_mode = {mode}")
    program = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "try:\n    c.execute('BEGIN IMMEDIATE')\nexcept sqlite3.OperationalError as e:\n    print(e)\n"
    )

    def others_try() -> str:
        command = [sys.executable, "-c", program, str(database)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with closing(connect(database)) as application:
        application.execute("BEGIN IMMEDIATE")
        application.execute("INSERT INTO t VALUES (3)")
        assert others_try() == "database is locked"
        assert rows(database) == [1, 2]
        source(database).inventory(Selection())
        source(database).diagnose(Selection())
        assert others_try() == "database is locked"
        application.execute("COMMIT")


# ── no trace beside the file


def test_a_wal_database_without_a_user_is_read_without_a_trace(database: Path) -> None:
    run(database, "PRAGMA journal_mode = WAL", "INSERT INTO t VALUES (3)")
    before = listing(database.parent)
    assert before.keys() == {"app.db"}
    assert rows(database) == [1, 2, 3]
    source(database).inventory(Selection())
    source(database).diagnose(Selection())
    assert listing(database.parent) == before


def test_a_wal_that_a_crash_left_is_read_without_a_trace(database: Path) -> None:
    run(database, "PRAGMA journal_mode = WAL")
    crash(database, "INSERT INTO t VALUES (3)")
    (database.parent / "app.db-shm").unlink()
    before = listing(database.parent)
    assert before.keys() == {"app.db", "app.db-wal"}
    with reading(database) as opened:
        assert opened.way == "carried"
    assert rows(database) == [1, 2, 3]
    assert listing(database.parent) == before


def test_a_hot_journal_is_rolled_back_in_a_copy_only(database: Path) -> None:
    fill(database)
    crash(database, "UPDATE t SET x = -1", "UPDATE big SET v = 'half'", commit=False)
    before = listing(database.parent)
    assert before.keys() == {"app.db", "app.db-journal"}
    with reading(database) as opened:
        assert opened.way == "carried"
    assert rows(database) == [1, 2]
    assert listing(database.parent) == before
    run(database, "SELECT count(*) FROM t")  # the application rolls it back itself, as ever
    assert rows(database) == [1, 2]


def test_a_link_is_followed_to_the_file_and_its_wal(database: Path, tmp_path: Path) -> None:
    run(database, "PRAGMA journal_mode = WAL")
    crash(database, "INSERT INTO t VALUES (3)")
    link = tmp_path / "link.db"
    link.symlink_to(database)
    assert rows(link) == [1, 2, 3]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another account")
@pytest.mark.parametrize("state", ["delete", "wal", "wal left behind"])
def test_a_folder_that_we_may_not_write_to_is_enough(state: str) -> None:
    """Reading as an unprivileged account, from a folder of root's: this is how a read-only mount looks."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        path = new_database(folder / "app.db")
        run(path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
        if state != "delete":
            run(path, "PRAGMA journal_mode = WAL")
        if state == "wal left behind":
            crash(path, "INSERT INTO t VALUES (2)")
            (folder / "app.db-shm").unlink()
        expected = "[1, 2]" if state == "wal left behind" else "[1]"
        program = (
            "import os, sys\n"
            "from backup_pipeline.model.selection import Selection\n"
            "from backup_pipeline.databases.base import Options\n"
            "from backup_pipeline.databases.sqlite.export import SqliteSource, read_rows\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "with SqliteSource(sys.argv[1]).snapshot(Selection(), Options()) as s:\n"
            "    print([row[0] for row in read_rows(s.stored, 't')])\n"
        )
        out = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TMPDIR": "/var/tmp"},
        )
        assert out.stdout.strip() == expected, out.stderr
        assert {entry.name for entry in folder.iterdir()} <= {"app.db", "app.db-wal"}
        path.chmod(0o600)
        out = subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
        )
        assert "PermissionMissing" in out.stderr
    finally:
        shutil.rmtree(folder)


# ── under a writer

WRITER = """
import random, select, sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
c.execute("PRAGMA synchronous = OFF")
worst, done = 0.0, 0
print("writing", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    before = time.monotonic()
    a, b, money = random.randrange(1000), random.randrange(1000), random.randrange(100)
    c.execute("BEGIN IMMEDIATE")
    c.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (money, a))
    c.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (money, b))
    c.execute("INSERT INTO history (note) VALUES (?)", ("x" * 200,))
    c.execute("COMMIT")
    worst = max(worst, time.monotonic() - before)
    done += 1
print(done, worst, flush=True)
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_busy_writer_gets_consistent_backups_and_is_not_held_up(database: Path, mode: str) -> None:
    run(
        database,
        f"PRAGMA journal_mode = {mode}",
        "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INT)",
        "CREATE TABLE history (id INTEGER PRIMARY KEY, note TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
        " INSERT INTO account SELECT i, 100 FROM n",
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
        " INSERT INTO history SELECT i, hex(zeroblob(100)) FROM n",
    )
    command = [sys.executable, "-c", WRITER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin
        assert writer.stdout
        assert writer.stdout.readline() == "writing\n"
        backups = 0
        seen = set()
        # It writes until its input ends, however long that takes: every backup is one under a writer.
        while writer.poll() is None and backups < 6:
            with SqliteSource(str(database)).snapshot(Selection(), Options()) as snapshot:
                assert sum(balance for _, balance in read_rows(snapshot.stored, "account")) == 100_000
                seen.add(sum(1 for _ in read_rows(snapshot.stored, "history")))
            backups += 1
        writer.stdin.close()
        done, worst = writer.stdout.read().split()
    assert backups == len(seen) == 6
    assert int(done) > 20
    assert float(worst) < 2.0  # generous: the machine may be busy; unhindered it is some 50 ms


# ── the private copy


def test_the_copy_is_private_and_goes_with_the_snapshot(database: Path, private_tmp: Path) -> None:
    with source(database).snapshot(Selection(exclude=("none",)), Options()) as snapshot:
        assert private_tmp in snapshot.stored.parents
        assert snapshot.stored.stat().st_mode & 0o777 == 0o600
        assert snapshot.stored.parent.stat().st_mode & 0o777 == 0o700
    run(database, "CREATE TABLE u (x)")
    excluding = source(database).snapshot(Selection(exclude=("u",)), Options())
    with pytest.raises(ZeroDivisionError), excluding as snapshot:
        print(1 // (snapshot.stored.stat().st_mode & 0o077))
    assert list(private_tmp.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next(database: Path, private_tmp: Path) -> None:
    program = (
        "import sys, time\n"
        "from backup_pipeline.model.selection import Selection\n"
        "from backup_pipeline.databases.base import Options\n"
        "from backup_pipeline.databases.sqlite.export import SqliteSource\n"
        "with SqliteSource(sys.argv[1]).snapshot(Selection(), Options()):\n"
        "    print('taken', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(database)], stdout=subprocess.PIPE) as run_:
        assert run_.stdout
        assert run_.stdout.readline() == b"taken\n"
        assert len(list(private_tmp.iterdir())) == 1
        assert sweep() == 0, "its owner is alive"
        run_.send_signal(signal.SIGKILL)
    assert len(list(private_tmp.iterdir())) == 1
    assert rows(database) == [1, 2]
    assert wait_for(lambda: list(private_tmp.iterdir()) == [])


def test_a_folder_with_room_is_looked_for(private_tmp: Path) -> None:
    (private_tmp / "place").mkdir()
    assert (
        roomy_place(1, (Path("/proc"), private_tmp / "nowhere", private_tmp / "place"))
        == private_tmp / "place"
    )
    with pytest.raises(SourceError, match="free space") as caught:
        roomy_place(1 << 60)
    assert "TMPDIR" in caught.value.remedy
    (private_tmp / "place").rmdir()


def test_two_copies_do_not_meet(private_tmp: Path) -> None:
    with Scratch.make(1) as one, Scratch.make(1) as two:
        assert one.folder != two.folder
        assert sweep() == 0


def test_the_library_must_be_new_enough(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(NotSupported, match=r"3\.35"):
        rows(database)


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    path = new_database(tmp_path / "50% #1 ?mode=rw&x=ü'\".db")
    run(path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (5)")
    assert rows(path) == [5]
