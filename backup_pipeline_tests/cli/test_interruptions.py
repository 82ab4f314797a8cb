"""Ctrl-C and SIGTERM, while a backup waits and while it works: ended at once, cleanly, and honestly."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

from backup_pipeline.references import file_joining
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.commands import PROGRAM, environment
from backup_pipeline_tests.harness.engines import wait_for

#: A locked table is waited for much longer than this.
AT_ONCE = 10.0


@pytest.fixture
def locked(pg_shop: Folder) -> Iterator[Folder]:
    """Another session holds `orders`, so that a backup has to wait."""
    with closing(psycopg2.connect(pg_shop.env["SHOP_URL"])) as connection:
        connection.cursor().execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield pg_shop


def begin(folder: Folder, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=folder.path,
        env=environment(folder.env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def without_waiting(said: str) -> str:
    """But for the line that tells that it waits: where the machine is slow, one is written before the signal comes."""
    return "".join(line for line in said.splitlines(keepends=True) if ": waits for a lock, " not in line)


def waits_for_the_lock(url: str) -> bool:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass")
        row = cursor.fetchone()
        return bool(row and row[0])


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("recorded", [False, True])
def test_a_backup_that_waits_ends_at_once_and_says_what_is_true(
    number: signal.Signals, code: int, word: str, recorded: bool, locked: Folder
) -> None:
    arguments = ["backup", "shop", "--json", *([] if recorded else ["--no-record"])]
    with begin(locked, *arguments) as process:
        assert wait_for(lambda: waits_for_the_lock(locked.env["SHOP_URL"]), seconds=120)
        process.send_signal(number)
        out, err = process.communicate(timeout=AT_ONCE)
    assert (process.returncode, without_waiting(err)) == (code, "")
    error = json.loads(out)["error"]
    assert error["code"] == word
    assert error["message"].startswith("no backup was made")
    assert not waits_for_the_lock(locked.env["SHOP_URL"])
    assert locked.good("list", "--json").data["backups"] == []
    assert not (locked.path / "vault" / "shop" / "lock.json").exists()


def test_after_an_interruption_the_next_backup_works(locked: Folder) -> None:
    with begin(locked, "backup", "shop", "--no-record") as process:
        assert wait_for(lambda: waits_for_the_lock(locked.env["SHOP_URL"]), seconds=120)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=AT_ONCE)
    assert without_waiting(err).startswith("interrupted: no backup was made")
    assert "Traceback" not in err
    with closing(psycopg2.connect(locked.env["SHOP_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'orders'::regclass AND granted"
        )
    locked.good("backup", "shop", "--no-record")


@pytest.mark.parametrize(
    ("place", "batches"),
    [
        ("references.joining.open_columns", 0),
        ("references.uniqueness.open_columns", 1),
        ("", 0),
        ("", 1),
        ("reading.loading._batches", 1),
    ],
)
def test_ctrl_c_while_duckdb_works_is_no_defect_and_no_weakness_of_the_backup(
    place: str, batches: int, pg_shop: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB asks for rows, and the signal comes before or after the first of them: it makes another error of each."""
    with closing(psycopg2.connect(pg_shop.env["SHOP_URL"])) as connection, connection:
        connection.cursor().execute("CREATE TABLE papers AS SELECT 'a'::text AS file")
    (pg_shop.path / "a").write_text("a")
    with (pg_shop.path / "backup.yaml").open("a") as config:
        config.write("    files: {media: {path: ., include: [a], refs: {papers.file: path}}}\n")
    words = ["backup", "shop", "--no-record"]
    if place.startswith("reading"):
        backup = pg_shop.backup()
        words = ["query", "shop", backup, "SELECT * FROM orders"]
    if place:
        module, _, name = f"backup_pipeline.{place}".rpartition(".")
        rows = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(f"{module}.{name}", lambda *given: pressing(rows(*given), batches))
    else:
        monkeypatch.setattr(file_joining.Files, "load", lambda files, _: joined(files._connection, batches))
    ended = pg_shop.run(*words)
    assert ended.code == 130, str(ended)
    done = "a query changes nothing" if words[0] == "query" else " had been committed by then, and is whole"
    assert ended.stderr.splitlines()[-2].startswith("interrupted: ")
    assert ended.stderr.splitlines()[-2].endswith(done)


def pressing(rows: Iterable[object], batches: int) -> Iterator[object]:
    source = iter(rows)
    yield from itertools.islice(source, batches)
    signal.raise_signal(signal.SIGINT)
    yield from source


def joined(connection: Any, batches: int) -> None:
    schema = pa.schema([("n", pa.int64())])
    rows = [pa.RecordBatch.from_pydict({"n": [1]}, schema)] * 9
    connection.register("arriving", pa.RecordBatchReader.from_batches(schema, pressing(rows, batches)))
    connection.execute("CREATE TABLE pressed AS SELECT * FROM arriving")


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the workers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_the_command(number: signal.Signals, pg_shop: Folder) -> None:
    with (
        closing(psycopg2.connect(pg_shop.env["SHOP_URL"])) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        # Enough to be still reading when the signal comes.
        cursor.execute(
            "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 20) AS t FROM generate_series(1, 300000) g"
        )
    with begin(pg_shop, "backup", "shop", "--no-record", "--full") as process:
        assert wait_for(lambda: len(children_of(process.pid)) >= 2, seconds=120)
        workers = children_of(process.pid)
        process.send_signal(number)
        process.communicate(timeout=AT_ONCE)
    assert process.returncode in (130, 143)
    assert wait_for(lambda: not any(alive(pid) for pid in workers), seconds=5)
    assert pg_shop.good("list", "--json").data["backups"] == []


def test_ctrl_c_on_a_terminal_leaves_no_traceback(locked: Folder) -> None:
    """A real Ctrl-C: the terminal sends it to the whole process group."""
    import pty
    import re

    from backup_pipeline_tests.cli.test_progress import read_until_end

    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    with subprocess.Popen(
        [*PROGRAM, "backup", "shop", "--no-record"],
        cwd=locked.path,
        env=environment({**locked.env, "TERM": "xterm"}),
        stdin=follower, stdout=follower, stderr=follower,
        preexec_fn=_own_terminal,
    ) as process:  # fmt: skip
        os.close(follower)
        assert wait_for(lambda: waits_for_the_lock(locked.env["SHOP_URL"]), seconds=120)
        os.write(leader, b"\x03")
        shown = read_until_end(leader, process, AT_ONCE)
    os.close(leader)
    assert process.returncode == 130
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "interrupted: no backup was made" in plain
    assert "Traceback" not in plain


def _own_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
