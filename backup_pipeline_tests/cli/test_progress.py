"""What moves while work is done: on a terminal, in a log, and after the terminal is gone."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from backup_pipeline.cli.progress import LogProgress, Tally, showing
from backup_pipeline.model.progress import Advance
from backup_pipeline_tests.harness.commands import environment


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def export(subject: str = "public.orders", **figures: object) -> Advance:
    return Advance("export", subject, **figures)  # type: ignore[arg-type]


def test_steps_add_up_and_the_rest_is_estimated() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.add(export(total_bytes=1000, total_rows=50))
    clock.now += 10
    tally.add(export(rows=10, bytes=250))
    assert (tally.rows, tally.bytes, tally.fraction) == (10, 250, 0.25)
    assert tally.seconds_left == pytest.approx(30)


def test_a_rate_is_not_told_before_it_means_something() -> None:
    """The first step of a tree brings 8 MiB in one piece, a microsecond after it began: 145 GiB/s."""
    clock, stream = Clock(), io.StringIO()
    log = LogProgress("backup of shop", stream, clock=clock, now=lambda: datetime(2026, 11, 21, tzinfo=UTC))
    clock.now += 60
    log(Advance("files", "media", rows=138, bytes=8 << 20))
    assert stream.getvalue().endswith(": reading files, 138 files, 8.0 MiB (media)\n")
    clock.now += 4
    log(Advance("files", "media", rows=10, bytes=4 << 20))
    assert log.tally.figures() == "148 files, 12.0 MiB, 1.0 MiB/s"


def test_what_is_left_does_not_count_the_wait_for_a_lock() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.add(export("shop", note="waits for a lock, for 900 s more: process 7"))
    clock.now += 600
    tally.add(export(total_bytes=1000))
    clock.now += 10
    tally.add(export(bytes=250))
    assert tally.seconds_left == pytest.approx(30)


def test_a_message_of_a_driver_is_one_line_of_the_log() -> None:
    stream = io.StringIO()
    with showing("backup of shop", stream, colour=False) as listener:
        listener(export(note="connection failed: refused\n\tIs the server running?; attempt 2"))
    line = "Z backup of shop: public.orders: connection failed: refused Is the server running?; attempt 2\n"
    assert stream.getvalue().endswith(line)


def test_an_estimate_that_was_too_low_never_says_that_it_is_done() -> None:
    tally = Tally(Clock())
    tally.add(export(total_bytes=100, bytes=500))
    assert tally.fraction == 0.99


def test_a_new_phase_starts_at_nothing() -> None:
    tally = Tally(Clock())
    tally.add(export(total_bytes=100, bytes=50, note="reused"))
    tally.add(Advance("verify", "x", rows=3))
    assert (tally.rows, tally.bytes, tally.total_bytes, tally.reused) == (3, 0, None, 0)


def test_reused_chunks_are_counted_and_other_notes_are_told() -> None:
    tally = Tally(Clock())
    tally.add(export(note="reused"))
    tally.add(export(note="the server restarted; attempt 2"))
    assert tally.reused == 1
    assert tally.take_notes() == ["public.orders: the server restarted; attempt 2"]
    assert tally.take_notes() == []


def test_a_log_gets_a_dated_line_now_and_then_and_ever_more_rarely() -> None:
    clock, stream = Clock(), io.StringIO()
    log = LogProgress(
        "backup of shop", stream, clock=clock, now=lambda: datetime(2026, 11, 21, 2, tzinfo=UTC)
    )
    for _ in range(600):
        clock.now += 1
        log(export(rows=1000, bytes=2**20, total_bytes=600 * 2**20))
    lines = stream.getvalue().splitlines()
    assert 10 <= len(lines) <= 30
    assert re.fullmatch(
        r"2026-11-21T02:00:00Z backup of shop: reading <?\d+%, [\d,]+ rows, [\d.]+ MiB of about 600.0 MiB, "
        r"[\d.]+ MiB/s, about .* left \(public.orders\)",
        lines[0],
    ), lines[0]


def test_short_work_leaves_no_line_in_a_log_but_a_retry_does() -> None:
    stream = io.StringIO()
    with showing("backup of shop", stream, colour=False) as listener:
        listener(export(rows=1))
        assert stream.getvalue() == ""
        listener(export(note="the server restarted"))
    assert stream.getvalue().endswith("Z backup of shop: public.orders: the server restarted\n")


CLOSED = """
import sys
from backup_pipeline.cli.progress import showing
from backup_pipeline.model.progress import Advance
with showing("backup of shop", sys.stderr, colour=False) as listener:
    for _ in range(3):
        listener(Advance("export", "public.t0", note="nobody reads this"))
print("done")
"""


def test_a_log_whose_reader_is_gone_does_not_end_the_work() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", CLOSED], stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"done\n")


SCRIPT = """
import sys, time
from backup_pipeline.cli.progress import showing
from backup_pipeline.model.progress import Advance
with showing("backup of shop", sys.stderr, colour=True) as listener:
    for i in range(30):
        listener(Advance("export", f"public.t{i % 3}", rows=1000, bytes=1 << 20, total_bytes=40 << 20,
                         note="reused" if i % 2 else ""))
        time.sleep(0.1)
    listener(Advance("export", "public.t0", note="the server restarted"))
print("done")
"""


def on_a_terminal(columns: int) -> str:
    """What the script draws, without colours and movements."""
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    env = environment({"TERM": "xterm-256color", "COLUMNS": str(columns)})
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=follower, stdout=follower, stderr=follower, env=env
    ) as process:
        os.close(follower)
        shown = read_until_end(leader, process)
    os.close(leader)
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_a_terminal_of_80_columns_shows_whole_words() -> None:
    plain = on_a_terminal(80)
    assert "…" not in plain
    assert re.search(
        r"backup of shop: reading \d+% [\d.]+ MiB, [\d.]+ MiB/s +\d:\d\d:\d\d [\d.]+ s left", plain
    )
    assert "backup of shop: public.t0: the server restarted" in plain


def test_a_terminal_shows_bar_rows_bytes_rate_time_left_tables_and_reuse() -> None:
    plain = on_a_terminal(240)
    for part in (
        "backup of shop: reading",
        "rows",
        "MiB of about 40.0 MiB",
        "MiB/s",
        "left",
        "public.t1",
        "unchanged",
    ):
        assert part in plain, part
    assert "━" in plain
    assert "backup of shop: public.t0: the server restarted" in plain
    assert plain.rstrip().endswith("done")


def read_until_end(leader: int, process: subprocess.Popen[bytes], seconds: float = 60) -> str:
    """Everything that a process draws on its terminal."""
    shown = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ready, _, _ = select.select([leader], [], [], 0.2)
        if not ready:
            if process.poll() is not None:
                break
            continue
        try:
            data = os.read(leader, 65536)
        except OSError:  # Linux says EIO when the last writer of a terminal is gone
            break
        if not data:
            break
        shown += data
    process.wait(10)
    return shown.decode()
