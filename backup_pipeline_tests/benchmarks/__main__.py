"""`python -m backup_pipeline_tests.benchmarks [--scale 0.2] [--runs 3] [--only export,again,…]`

RESULTS.md has a part for databases, for verification, for files and for encryption. A run writes the parts that it measured anew and leaves the
others as they are.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline_tests.benchmarks import (
    cases_encryption,
    cases_media,
    cases_recording,
    cases_sqlite,
    cases_verify,
    data_media,
)
from backup_pipeline_tests.benchmarks import cases_postgres as cases
from backup_pipeline_tests.benchmarks import data_postgres as data

RESULTS = Path(__file__).with_name("RESULTS.md")
DATABASES = ("export", "again", "restore", "sqlite", "tiny")
FILES = ("small", "large")
CASES = (*DATABASES, "verify", *FILES, "encryption", "recording")
HEAD = "# Benchmark results\n\nWritten by `make bench`; each part says when and where.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1: about 2.3 GB of tables")
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs of each command")
    parser.add_argument("--only", default=",".join(CASES), help="of: " + ", ".join(CASES))
    parser.add_argument("--major", type=int, help="PostgreSQL's major version; the newest unless set")
    parser.add_argument("--no-write", action="store_true", help="print, and leave RESULTS.md alone")
    chosen = parser.parse_args()
    only = set(chosen.only.split(","))
    parts = _parts(RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "")
    if only & set(DATABASES):
        parts["Databases"] = _databases(chosen, only)
    if "verify" in only:
        parts["Verification"] = _verification(chosen)
    if only & set(FILES):
        parts["Files"] = _files(chosen, only)
    if "encryption" in only:
        parts["Encryption"] = cases_encryption.part(max(16, int(512 * chosen.scale)), chosen.runs)
    if "recording" in only:
        with tempfile.TemporaryDirectory(prefix="bp-bench-") as folder:
            lines = cases_recording.recording(Path(folder), chosen.runs)
            parts["Recording"] = _report(lines, chosen, "SQLite")
    text = HEAD + "".join(f"\n## {name}\n\n{part.strip()}\n" for name, part in parts.items())
    print(text)
    if not chosen.no_write:
        RESULTS.write_text(text, encoding="utf-8")


def _parts(text: str) -> dict[str, str]:
    """Heading → what stands below it."""
    found = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def _databases(chosen: argparse.Namespace, only: set[str]) -> str:
    with _bench(chosen) as bench:
        return _report(_run(bench, chosen.scale, only), chosen, f"PostgreSQL {bench.server.major}")


def _verification(chosen: argparse.Namespace) -> str:
    with _bench(chosen) as bench:
        print("making the whole database …", flush=True)
        whole = bench.server.create_database("whole")
        data.whole(whole, chosen.scale)
        lines = cases_verify.verify(bench, chosen.scale, whole)
        return _report(lines, chosen, f"PostgreSQL {bench.server.major}")


@contextmanager
def _bench(chosen: argparse.Namespace) -> Iterator[cases.Bench]:
    settings = {"shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "on", "wal_level": "replica"}
    with (
        tempfile.TemporaryDirectory(prefix="bp-bench-") as folder,
        EmbeddedPostgres.create(major=chosen.major, settings=settings) as server,
    ):
        yield cases.Bench(server, Path(folder), chosen.runs)


def _files(chosen: argparse.Namespace, only: set[str]) -> str:
    lines: list[cases.Line] = []
    for name, shape in (
        ("small", data_media.small(chosen.scale)),
        ("large", data_media.large(chosen.scale)),
    ):
        if name in only:
            with tempfile.TemporaryDirectory(prefix="bp-bench-") as folder:
                lines += cases_media.media(cases_media.MediaBench(Path(folder), chosen.runs, shape))
    return _report(lines, chosen, cases_media.versions())


def _run(bench: cases.Bench, scale: float, only: set[str]) -> list[cases.Line]:
    lines: list[cases.Line] = []
    if only & {"export", "restore"}:
        print("making the whole database …", flush=True)
        whole = bench.server.create_database("whole")
        data.whole(whole, scale)
        if "export" in only:
            lines += cases.export(bench, "whole database", whole, one_table=False)
        if "restore" in only:
            lines += cases.restore(bench, "whole database", whole)
        bench.server.drop_database("whole")
    if only & {"export", "again", "restore"}:
        print("making one big table …", flush=True)
        wide = bench.server.create_database("wide")
        data.wide(wide, int(2_000_000 * scale))
        if "export" in only:
            lines += cases.export(bench, "one big table", wide, one_table=True)
        if "restore" in only:
            lines += cases.restore(bench, "one big table", wide)
        if "again" in only:
            lines += cases.again(bench, "one big table", wide)
        bench.server.drop_database("wide")
    if "sqlite" in only:
        lines += cases_sqlite.drill(bench, scale)
    if "tiny" in only:
        tiny = bench.server.create_database("tiny")
        data.tiny(tiny)
        lines += cases.tiny(bench, tiny)
    return lines


def _report(lines: Sequence[cases.Line], chosen: argparse.Namespace, peers: str) -> str:
    rows = "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        for line in lines
        for cells in [(line.work, line.ours, line.peer, line.ratio, line.reach, line.memory)]
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {peers}, {os.cpu_count()} cores shared by everything that ran,\n"
        f"{platform.machine()}, Python {platform.python_version()}, scale {chosen.scale:g}, medians of {chosen.runs} interleaved runs,\n"
        "whole processes from start to end, warm cache. Memory is the peak of the whole process tree.\n\n"
        "| work | ours | peer | ratio | reach | memory |\n|---|---|---|---|---|---|\n" + rows + "\n"
    )


if __name__ == "__main__":
    main()
