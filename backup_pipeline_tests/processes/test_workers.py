"""Worker processes do what they are told, report errors, and never outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backup_pipeline.errors import Damaged, Incomplete
from backup_pipeline.processes.workers import Handle, Pool, Tell
from backup_pipeline_tests.harness.engines import wait_for

HERE = "backup_pipeline_tests.processes.test_workers:"


@contextmanager
def calculator(setup: int) -> Iterator[Handle]:
    def handle(task: Any, tell: Tell) -> Any:
        print("what is printed does not disturb the frames")
        if task == "damaged":
            raise Damaged("it is broken", remedy="mend it")
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "sleep":
            time.sleep(60)
        tell(f"adding {task}")
        return setup + task

    yield handle


def test_every_task_is_done_once_and_its_news_are_heard() -> None:
    results: dict[int, int] = {}
    news: list[str] = []
    with Pool(HERE + "calculator", 1000, 2) as pool:
        pool.run(range(1, 50), on_result=results.__setitem__, on_news=lambda _, said: news.append(said))
        pool.run([50], on_result=results.__setitem__)
        assert len(pool.pids) == 2
    assert results == {n: 1000 + n for n in range(1, 51)}
    assert len(news) == 49


def test_a_task_that_must_wait_begins_after_the_one_it_waits_for() -> None:
    done: list[int] = []
    waiting = [1, 2, 3]

    def pick() -> int | None:
        if not waiting or (waiting[0] == 3 and 1 not in done):
            return None
        return waiting.pop(0)

    with Pool(HERE + "calculator", 0, 2) as pool:
        pool.schedule(pick, on_result=lambda task, _: done.append(task))
    assert sorted(done) == [1, 2, 3]
    assert done.index(3) > done.index(1)


def test_a_worker_does_what_it_is_given_in_order_also_before_it_is_ready() -> None:
    results: list[tuple[int, int]] = []
    with Pool(HERE + "calculator", 10, 2) as pool:
        for task in (1, 2, 3):
            pool.give(1, task)
        while pool.load(1) != 0:
            pool.hear(lambda task, result: results.append((task, result)))
        assert results == [(1, 11), (2, 12), (3, 13)]


def test_an_error_arrives_with_its_class_and_remedy() -> None:
    with Pool(HERE + "calculator", 0, 1) as pool, pytest.raises(Damaged) as caught:
        pool.run(["damaged"], on_result=lambda *_: None)
    assert caught.value.remedy == "mend it"


def test_a_worker_that_is_killed_is_an_error_and_not_a_hang() -> None:
    with Pool(HERE + "calculator", 0, 2) as pool, pytest.raises(Incomplete, match="signal 9"):
        pool.run(["die"], on_result=lambda *_: None)


def test_workers_end_when_their_parent_is_killed() -> None:
    script = (
        "import sys\nfrom backup_pipeline.processes.workers import Pool\n"
        f"pool = Pool({HERE + 'calculator'!r}, 0, 2)\nprint(*pool.pids, flush=True)\n"
        "pool.run(['sleep', 'sleep'], on_result=lambda *_: None)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_for(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
