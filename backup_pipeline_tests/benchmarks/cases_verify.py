"""What `verify` is measured against: the SHA-256 of one core, and `sha256sum` over the same files.

Three vaults, because three things cost: the start of a process (a small vault), the bytes (few large objects), and each
object (many small ones).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from backup_pipeline_tests.benchmarks import data_media
from backup_pipeline_tests.benchmarks.cases_media import OURS, MediaBench
from backup_pipeline_tests.benchmarks.cases_postgres import Bench, Line, ratio
from backup_pipeline_tests.benchmarks.data_postgres import SMALL
from backup_pipeline_tests.benchmarks.measure import Command, interleaved

_PROGRAM = Path(sys.executable).with_name("backup-pipeline")


def verify(bench: Bench, scale: float, whole: str) -> list[Line]:
    """`whole`: the address of the whole database."""
    database = bench.config("whole database", whole).parent
    _backup(database)
    return [
        *_look(bench.runs, "whole database", database),
        *_look(bench.runs, "few large objects", _few_large(bench, scale), full=False),
        *_look(bench.runs, "many small objects", _many_small(bench, scale), "all", full=False),
    ]


def _few_large(bench: Bench, scale: float) -> Path:
    media = MediaBench(bench.folder, bench.runs, data_media.large(scale))
    data_media.make(media.tree, media.shape)
    home = media.config(OURS).parent
    _backup(home)
    return home


def _many_small(bench: Bench, scale: float, tables: int = 300) -> Path:
    """Many tables, of which every backup finds every one changed."""
    url = bench.server.create_database("changing")
    home = bench.config("changing", url).parent
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(tables):
            connection.execute(SMALL.format(n=number).encode())
        for _ in range(max(2, int(40 * scale))):
            for number in range(tables):
                connection.execute(f"UPDATE small_{number} SET at = at + interval '1 day'".encode())
            _backup(home)
    return home


def _backup(home: Path) -> None:
    subprocess.run([*_ours(home), "backup", "shop", "--no-record"], check=True)


def _ours(home: Path) -> list[str]:
    return [str(_PROGRAM), "--config", str(home / "backup.yaml"), "--quiet"]


def _look(runs: int, name: str, home: Path, which: str = "latest", *, full: bool = True) -> list[Line]:
    objects = home / "vault" / "objects"
    sizes = [path.stat().st_size for path in objects.rglob("*") if path.is_file()]
    what = f"{name}, {len(sizes):,} objects, {sum(sizes) / 2**20:,.0f} MiB"
    argv = [*_ours(home), "verify", "shop", which]
    program = ["sh", "-c", f"find '{objects}' -type f -print0 | xargs -0 sha256sum"]
    commands = [
        Command(f"{name}: verify --quick", [*argv, "--quick"]),
        Command(f"{name}: sha256sum", program),
        *([Command(f"{name}: verify", argv)] if full else []),
    ]
    found = interleaved(commands, runs)
    quick, peer = found[f"{name}: verify --quick"], found[f"{name}: sha256sum"]
    core = _sha256_rate()

    def against_core(work: str, seconds: float, memory: float, reach: str) -> Line:
        rate = sum(sizes) / seconds
        return Line(work, f"{rate / 1e6:.0f} MB/s", f"one core's SHA-256 {core / 1e6:.0f} MB/s",
                    f"{rate / core:.2f} of it", reach, f"{memory:.0f} MiB")  # fmt: skip

    lines = [
        against_core(
            f"verify --quick ({what})", quick.median, quick.peak, "≥ 0.8" if "large" in name else ""
        ),
        Line(
            f"verify --quick ({what})",
            f"{quick.median:.2f} s, {quick.processor:.2f} s of processor",
            f"sha256sum {peer.median:.2f} s, {peer.processor:.2f} s of processor",
            f"{ratio(peer, quick):.2f}×",
            "≥ 0.8×" if "small" in name else "",
        ),
    ]
    if full:
        whole = found[f"{name}: verify"]
        lines.append(against_core(f"verify, rows and references too ({name})", whole.median, whole.peak, ""))
    return lines


def _sha256_rate() -> float:
    block, total = bytes(1 << 20), 512
    began = time.process_time()
    digest = hashlib.sha256()
    for _ in range(total):
        digest.update(block)
    return total * len(block) / (time.process_time() - began)
