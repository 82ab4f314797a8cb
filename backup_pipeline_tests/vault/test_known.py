"""What a host remembers of an encrypted vault, while two of its backups use it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from backup_pipeline.vault.known import UNNAMED_FOR, Known

LATER = time.time() + 2 * UNNAMED_FOR


@pytest.fixture
def known(tmp_path: Path) -> Known:
    known = Known(tmp_path / "known")
    for number in range(50):
        known.keep(f"{number}.json.zst", b"x")
    return known


def test_only_what_is_old_and_no_longer_named_goes(known: Known) -> None:
    assert not known.has_old()
    assert known.drop_all_but(()) == 0
    assert known.has_old(now=LATER)
    assert known.drop_all_but({"7.json.zst"}, now=LATER) == 49
    assert [path.name for path in known.content.iterdir()] == ["7.json.zst"]


def test_nothing_is_kept_where_nothing_was_written(tmp_path: Path) -> None:
    assert not Known(tmp_path / "nowhere").has_old(now=LATER)
    assert Known(tmp_path / "nowhere").drop_all_but((), now=LATER) == 0


def test_what_another_backup_writes_and_drops_meanwhile_disturbs_no_backup(known: Known) -> None:
    done = threading.Event()

    def other() -> None:
        while not done.is_set():
            known.keep("one", b"x")
            known.drop("one")

    beside = threading.Thread(target=other)
    beside.start()
    try:
        for _ in range(300):
            assert not known.has_old()
            assert known.drop_all_but(()) == 0
    finally:
        done.set()
        beside.join()
