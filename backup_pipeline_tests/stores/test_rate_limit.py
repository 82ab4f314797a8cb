"""Not more bytes a second than one has been given, for all processes of a machine together."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backup_pipeline.stores import rate_limit
from backup_pipeline.stores.base import read_all
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.stores.rate_limit import Pace, pace_of
from backup_pipeline_tests.harness.stores import S3Server


@dataclass
class Clock:
    now: float = 1000.0
    waited: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_bytes_go_at_their_rate_however_they_are_cut(tmp_path: Path, clock: Clock) -> None:
    pace = Pace(1000, tmp_path / "pace", clock, clock.sleep)
    for size in (100, 900, 5000, 1, 3999):
        pace.spend(size)
    assert clock.now - 1000 == pytest.approx(10 - rate_limit.BURST)


def test_time_in_which_nothing_went_is_not_saved_up(tmp_path: Path, clock: Clock) -> None:
    pace = Pace(1000, tmp_path / "pace", clock, clock.sleep)
    clock.now += 3600
    pace.spend(10_000)
    assert sum(clock.waited) == pytest.approx(10 - rate_limit.BURST)


def test_without_a_rate_nothing_waits_and_nothing_is_written(tmp_path: Path) -> None:
    pace = pace_of(StoreOptions("s3://b", tmp_path / "staging"))
    pace.spend(10**12)
    assert not (tmp_path / "staging").exists()
    assert pace.piece(100, 10) == 100


def test_pieces_are_small_enough_to_be_stopped_between_them(tmp_path: Path) -> None:
    assert Pace(1000, tmp_path / "p").piece(16_000_000, 5_000_000) == 5_000_000
    assert Pace(4_000_000, tmp_path / "p").piece(16_000_000, 5_000_000) == 8_000_000
    assert Pace(10**9, tmp_path / "p").piece(16_000_000, 5_000_000) == 16_000_000


@pytest.mark.parametrize("left", [b"", b"\0", struct.pack("<d", 1e12)])
def test_what_a_killed_process_or_another_boot_left_stops_no_process(
    left: bytes, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "pace").write_bytes(left)
    Pace(1000, tmp_path / "pace", clock, clock.sleep).spend(1000)
    assert sum(clock.waited) <= 1.0


def test_several_processes_share_one_rate(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from backup_pipeline.stores.rate_limit import Pace\n"
        "pace = Pace(1_000_000, Path(sys.argv[1]))\n"
        "for _ in range(8): pace.spend(100_000)"
    )
    began = time.monotonic()
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pace")]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    # 1.6 MB at 1 MB a second; alone, each would have been done after 0.3 s.
    assert time.monotonic() - began >= 1.6 - rate_limit.BURST


def test_a_store_keeps_to_its_rate_in_both_directions(moto_server: S3Server, tmp_path: Path) -> None:
    url = f"s3://{moto_server.make_bucket()}"
    store = open_store(moto_server.options(url, tmp_path / "staging", max_rate=2_000_000))
    began = time.monotonic()
    store.put("k", bytes(2_000_000))
    assert read_all(store, "k") == bytes(2_000_000)
    assert time.monotonic() - began >= 2 - rate_limit.BURST - 0.1
