"""The check `storage`: size, growth, and the day on which the disk is full."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_pipeline.health.storage import MOST, Sample, growth_of, judge, measure, remember
from backup_pipeline.model.ids import timestamp
from backup_pipeline.state.paths import measured
from backup_pipeline_tests.harness.handmade import shop_vault

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GIB = 2**30


def days(*sizes: int, free: int | None = None, total: int = 1000 * GIB) -> list[Sample]:
    """One measurement a day, the last one now; the disk loses what the vault gains."""
    first = NOW - timedelta(days=len(sizes) - 1)
    return [
        Sample(
            timestamp(first + timedelta(days=number)),
            10,
            size,
            None if free is None else free + sizes[-1] - size,
            None if free is None else total,
        )
        for number, size in enumerate(sizes)
    ]


def test_a_vault_is_measured_with_its_disk(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=2)
    sample = measure(vault.store, NOW)
    files = [path for path in (tmp_path / "vault/objects").rglob("*") if path.is_file()]
    assert (sample.objects, sample.bytes) == (len(files), sum(path.stat().st_size for path in files))
    assert sample.free is not None
    assert sample.total is not None
    assert 0 < sample.free <= sample.total


def test_one_measurement_a_day_is_kept_and_a_lost_file_begins_anew(tmp_path: Path) -> None:
    for number, sample in enumerate(days(*range(5)), start=1):
        assert len(remember(tmp_path, "here", sample)) == number
    again = Sample(timestamp(NOW + timedelta(hours=1)), 1, 77)
    kept = remember(tmp_path, "here", again)
    assert len(kept) == 5
    assert kept[-1] == again
    assert len(remember(tmp_path, "there", again)) == 1
    measured(tmp_path).chmod(0o644)
    measured(tmp_path).write_text("{")
    assert remember(tmp_path, "here", again) == (again,)
    many = [Sample(timestamp(NOW + timedelta(days=n)), 1, n) for n in range(MOST + 10)]
    for sample in many[:3]:
        remember(tmp_path, "many", sample)
    assert len(remember(tmp_path, "many", many[-1])) <= MOST


def test_growth_needs_a_day_and_is_taken_of_a_month() -> None:
    assert growth_of(days(GIB)).vault is None
    growth = growth_of(days(10 * GIB, 11 * GIB, 12 * GIB, free=100 * GIB))
    assert growth.vault == GIB
    assert growth.days_left == 100
    long_ago = [Sample(timestamp(NOW - timedelta(days=200)), 1, 0), *days(10 * GIB, 11 * GIB)]
    assert growth_of(long_ago).vault == GIB


def test_the_day_on_which_the_disk_is_full_is_said_in_time() -> None:
    def codes(samples: list[Sample]) -> list[tuple[str, str]]:
        return [(one.severity, one.code) for one in judge(samples, "/srv/vault")[0]]

    assert codes(days(10 * GIB, 11 * GIB, free=100 * GIB)) == []
    assert codes(days(10 * GIB, 11 * GIB, free=20 * GIB, total=100 * GIB)) == [("warning", "disk-full-soon")]
    assert codes(days(10 * GIB, 11 * GIB, free=6 * GIB, total=100 * GIB)) == [("error", "disk-full-soon")]
    assert codes(days(11 * GIB, 10 * GIB, free=6 * GIB, total=100 * GIB)) == []
    assert codes(days(10 * GIB, free=GIB, total=100 * GIB)) == [("warning", "disk-nearly-full")]
    assert codes(days(10 * GIB, free=GIB - 1, total=100 * GIB)) == [("error", "disk-full")]
    assert codes(days(10 * GIB, 500 * GIB)) == []  # a bucket has no end
    (finding,) = judge(days(10 * GIB, 11 * GIB, free=10 * GIB, total=100 * GIB), "/srv/vault")[0]
    assert "2026-12-01" in finding.message
    assert "1,024 MiB a day" in finding.message


def test_what_else_fills_the_disk_counts_as_well() -> None:
    samples = days(10 * GIB, 10 * GIB, free=10 * GIB, total=100 * GIB)
    other = [Sample(samples[0].at, 10, samples[0].bytes, 12 * GIB, 100 * GIB), samples[1]]
    (finding,) = judge(other, "/srv/vault")[0]
    assert finding.severity == "error"
    assert "everything on the disk" in finding.message
