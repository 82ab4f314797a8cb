"""What is measured against pg_dump and pg_restore, on one server, in one run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from backup_pipeline.databases.postgres.server import EmbeddedPostgres, pg_dump_for
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline_tests.benchmarks import data_postgres as data
from backup_pipeline_tests.benchmarks.measure import Command, Runs, interleaved

#: Runs one verb of the Python API as a process of its own, interpreter start included.
_OURS = (
    "import sys, backup_pipeline as bp; "
    "getattr(bp, sys.argv[2])('shop', config=sys.argv[1], **eval(sys.argv[3]))"
)


@dataclass(frozen=True)
class Line:
    """One row of the report."""

    work: str
    ours: str
    peer: str
    ratio: str
    reach: str
    memory: str = ""


@dataclass
class Bench:
    server: EmbeddedPostgres
    folder: Path
    runs: int

    @property
    def bin(self) -> Path:
        found = pg_dump_for(self.server.major)
        assert found is not None, "the server's own pg_dump is beside it"
        return found.path.parent

    def config(self, name: str, url: str) -> Path:
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "backup.yaml").write_text(
            f"vault: ./vault\nsystems:\n  shop:\n    database: {url}\n    workers: 2\n", encoding="utf-8"
        )
        return home / "backup.yaml"

    def ours(
        self, name: str, config: Path, verb: str, prepare: Callable[[], None], **options: object
    ) -> Command:
        argv = [sys.executable, "-c", _OURS, str(config), verb, repr(options)]
        return Command(name, argv, prepare)

    def dump(self, name: str, url: str, *options: str) -> Command:
        target = self.folder / "dump"
        argv = [str(self.bin / "pg_dump"), "-Fd", "-j2", *options, "-f", str(target), url]
        return Command(name, argv, lambda: shutil.rmtree(target, ignore_errors=True))


def fresh(vault: Path) -> Callable[[], None]:
    def empty() -> None:
        # What a vault holds is read-only; its folders are not.
        shutil.rmtree(vault, ignore_errors=True)
        # A vault that was there and is gone would be an error.
        shutil.rmtree(vault.parent / ".backup-pipeline" / "places", ignore_errors=True)

    return empty


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ratio(peer: Runs, ours: Runs) -> float:
    return peer.median / ours.median


def export(bench: Bench, name: str, url: str, *, one_table: bool) -> list[Line]:
    config = bench.config(name, url)
    vault = config.parent / "vault"
    default, fastest = f"{name}: pg_dump -Fd -j2", f"{name}: pg_dump -Fd -j2 -Z1"
    found = interleaved(
        [
            bench.ours(f"{name}: backup", config, "backup", fresh(vault)),
            bench.dump(default, url),
            bench.dump(fastest, url, "-Z1"),
        ],
        bench.runs,
    )
    ours = found[f"{name}: backup"]
    stored, dumped = size(vault / "objects"), size(bench.folder / "dump")
    reach = "≥ 1.6×" if one_table else "≥ 1.2×"
    return [
        Line(
            f"export, first time ({name})",
            f"{ours.median:.2f} s",
            f"pg_dump default {found[default].median:.2f} s",
            f"{ratio(found[default], ours):.2f}×",
            "≥ 2.5×",
            f"{ours.peak:.0f} MiB",
        ),
        Line(
            f"export, first time ({name})",
            f"{ours.median:.2f} s",
            f"pg_dump -Z1 {found[fastest].median:.2f} s",
            f"{ratio(found[fastest], ours):.2f}×",
            reach,
        ),
        Line(
            f"size ({name})",
            f"{stored / 2**20:.0f} MiB",
            f"pg_dump -Z1 {dumped / 2**20:.0f} MiB",
            f"{stored / dumped:.2f} of it",
            "smaller",
        ),
    ]


def again(bench: Bench, name: str, url: str) -> list[Line]:
    """One more day: 1 % appended before each run, against a whole pg_dump."""
    config = bench.config(f"{name}-again", url)
    vault = config.parent / "vault"
    site = Site.load(config)
    backup(site, BackupOrder("shop"))
    before = size(vault / "objects")
    default = f"{name}: pg_dump -Fd -j2"
    grown: list[int] = []

    def one_more_day() -> None:
        grown.append(size(vault / "objects"))
        data.append(url)

    found = interleaved(
        [bench.ours(f"{name}: backup again", config, "backup", one_more_day), bench.dump(default, url)],
        bench.runs,
    )
    grown.append(size(vault / "objects"))
    added = max(b - a for a, b in pairwise(grown))
    ours = found[f"{name}: backup again"]
    return [
        Line(
            f"export again, 1 % appended ({name})",
            f"{ours.median:.2f} s",
            f"pg_dump default {found[default].median:.2f} s",
            f"{ratio(found[default], ours):.1f}×",
            "≥ 8×",
            f"{ours.peak:.0f} MiB",
        ),
        Line(
            f"bytes stored again ({name})",
            f"{added / 2**20:.1f} MiB",
            f"the first backup {before / 2**20:.0f} MiB",
            f"{100 * added / before:.1f} %",
            "≤ 5 %",
        ),
    ]


def restore(bench: Bench, name: str, url: str) -> list[Line]:
    config = bench.config(name, url)
    fresh(config.parent / "vault")()
    backup(Site.load(config), BackupOrder("shop"))
    dump = bench.dump("dump", url, "-Z1")
    dump.prepare()
    interleaved([dump], 1)
    server = bench.server
    mine, theirs = server.url("restored_ours"), server.url("restored_peer")

    def empty_peer() -> None:
        server.drop_database("restored_peer")
        server.create_database("restored_peer")

    argv = [str(bench.bin / "pg_restore"), "-j2", "-d", theirs, str(bench.folder / "dump")]
    found = interleaved(
        [
            Command(
                f"{name}: restore",
                [sys.executable, "-c", _OURS, str(config), "restore",
                 repr({"to": mine, "create": True, "jobs": 2})],
                lambda: server.drop_database("restored_ours"),
                server=server.pid,
            ),
            Command(f"{name}: pg_restore -j2", argv, empty_peer, server=server.pid),
            bench.ours(f"{name}: drill", config, "drill", lambda: None),
        ],
        bench.runs,
    )  # fmt: skip
    server.drop_database("restored_ours")
    server.drop_database("restored_peer")
    ours, peer = found[f"{name}: restore"], found[f"{name}: pg_restore -j2"]
    return [
        Line(
            f"restore into empty ({name})",
            f"{ours.median:.2f} s",
            f"pg_restore -j2 {peer.median:.2f} s",
            f"{ratio(peer, ours):.2f}×",
            "≥ 1.2×",
            f"{ours.peak:.0f} MiB",
        ),
        Line(
            f"processor, restore into empty ({name})",
            _shared(ours),
            f"pg_restore -j2 {_shared(peer)}",
            f"{(peer.processor + median(peer.served)) / (ours.processor + median(ours.served)):.2f}×",
            "",
        ),
        drilled(name, ours, found[f"{name}: drill"]),
    ]


def _shared(runs: Runs) -> str:
    return f"{runs.processor:.1f} s, the server's sessions {median(runs.served):.1f} s"


def drilled(name: str, restored: Runs, drill: Runs) -> Line:
    return Line(
        f"drill ({name})",
        f"{drill.median:.2f} s",
        f"restore of the same backup {restored.median:.2f} s",
        f"{drill.median / restored.median:.2f} of it",
        "≤ 1.25",
        f"{drill.peak:.0f} MiB",
    )


def tiny(bench: Bench, url: str) -> list[Line]:
    config = bench.config("tiny", url)
    console_script = Path(sys.executable).with_name("backup-pipeline")
    command = [str(console_script), "--config", str(config), "backup", "shop"]
    found = interleaved(
        [
            Command("tiny: backup (recorded)", command),
            Command("tiny: backup --no-record", [*command, "--no-record"]),
            Command("tiny: pg_dump", [str(bench.bin / "pg_dump"), "-Fc", "-f", str(bench.folder / "t"), url]),
        ],
        max(5, bench.runs),
    )
    peer = found["tiny: pg_dump"].median
    return [
        Line(
            f"tiny database, whole command ({what})",
            f"{found[name].median:.2f} s",
            f"pg_dump {peer:.2f} s",
            f"{found[name].median - peer:+.2f} s",
            "≤ 2 s more",
            f"{found[name].peak:.0f} MiB",
        )
        for what, name in (
            ("recorded in Dagster", "tiny: backup (recorded)"),
            ("--no-record", "tiny: backup --no-record"),
        )
    ]
