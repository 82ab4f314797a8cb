"""What file trees are measured against: restic, borg and tar | zstd, on one machine, in one run.

restic always encrypts; borg is run with and without. Ours is run both ways, too, and each is compared with the peer that
does as much. A peer that is not installed is left out, and the report says so.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyrage

from backup_pipeline_tests.benchmarks import data_media as data
from backup_pipeline_tests.benchmarks.cases_postgres import Line, fresh, ratio, size
from backup_pipeline_tests.benchmarks.measure import Command, Runs, interleaved

OURS, OURS_ENCRYPTED = "backup", "backup, encrypted"
RESTIC, BORG, BORG_ENCRYPTED, TAR = "restic", "borg, plain", "borg, encrypted", "tar | zstd -3 -T2"
#: Whom each of ours is measured with: the same work.
PEERS = {OURS: (BORG, TAR), OURS_ENCRYPTED: (RESTIC, BORG_ENCRYPTED)}


@dataclass
class MediaBench:
    folder: Path
    runs: int
    shape: data.Shape

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def out(self) -> Path:
        return self.folder / "restored"

    def config(self, name: str) -> Path:
        home = self.folder / name.replace(", ", "-")
        if not home.exists():
            home.mkdir(parents=True)
            with closing(sqlite3.connect(home / "shop.db")) as connection:
                connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1);")
            keys = ""
            if name == OURS_ENCRYPTED:
                identity = pyrage.x25519.Identity.generate()
                (home / "key").write_text(f"{identity}\n")
                keys = f"encryption: {{recipients: [{identity.to_public()}], identity: '${{file:key}}'}}\n"
            (home / "backup.yaml").write_text(
                f"vault: ./vault\n{keys}systems:\n  shop:\n    database: sqlite:///shop.db\n"
                f"    files: {{media: {{path: {self.tree}}}}}\n"
            )
        return home / "backup.yaml"

    def ours(self, name: str, *words: str, prepare: Callable[[], None] = lambda: None) -> Command:
        program = [
            str(Path(sys.executable).with_name("backup-pipeline")),
            "--config",
            str(self.config(name)),
            "--quiet",
        ]
        return Command(name, [*program, *words], prepare)

    def first(self, name: str) -> Command:
        config = self.config(name)

        def clear() -> None:
            fresh(config.parent / "vault")()
            shutil.rmtree(config.parent / ".backup-pipeline", ignore_errors=True)

        return self.ours(name, "backup", "shop", "--no-record", prepare=clear)

    def stored(self, name: str) -> int:
        return size(
            self.config(name).parent / "vault" / "objects" if name in PEERS else self.folder / _file(name)
        )

    # ── the peers

    def peers(self, verb: str) -> list[Command]:
        found = []
        if shutil.which("restic"):
            found.append(self._restic(verb))
        if shutil.which("borg"):
            found += [self._borg(BORG, "none", verb), self._borg(BORG_ENCRYPTED, "repokey-blake2", verb)]
        if verb != "again":
            found.append(self._tar(verb))
        return found

    def _restic(self, verb: str) -> Command:
        repository = self.folder / _file(RESTIC)
        env = {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(self.folder / "restic-cache")}
        program = ["restic", "-q", "-r", str(repository)]
        words = {
            "backup": ["backup", str(self.tree)],
            "again": ["backup", str(self.tree)],
            "restore": ["restore", "latest", "--target", str(self.out)],
        }

        def clear() -> None:
            fresh(repository)()
            fresh(self.folder / "restic-cache")()
            once([*program, "init"], env)

        prepare = {"backup": clear, "restore": fresh(self.out)}.get(verb, lambda: None)
        return Command(RESTIC, [*program, *words[verb]], prepare, env)

    def _borg(self, name: str, mode: str, verb: str) -> Command:
        repository = self.folder / _file(name)
        env = {
            **os.environ,
            "BORG_PASSPHRASE": "x",
            "BORG_BASE_DIR": str(self.folder / "borg-home"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        create = ["borg", "create", "-C", "auto,zstd,3", f"{repository}::{{now:%Y-%m-%dT%H:%M:%S.%f}}"]

        def clear() -> None:
            fresh(repository)()
            once(["borg", "init", "-e", mode, str(repository)], env)

        def extract_here() -> None:
            fresh(self.out)()
            self.out.mkdir()

        if verb == "restore":
            last = output(["borg", "list", "--short", "--last", "1", str(repository)], env)
            script = 'cd "$1" && exec borg extract "$2"'
            argv = ["sh", "-c", script, "sh", str(self.out), f"{repository}::{last}"]
            return Command(name, argv, extract_here, env)
        return Command(name, [*create, str(self.tree)], clear if verb == "backup" else lambda: None, env)

    def _tar(self, verb: str) -> Command:
        archive = self.folder / _file(TAR)
        if verb == "restore":
            script, names = 'mkdir "$2" && zstd -dcq "$1" | tar -x -C "$2"', (str(archive), str(self.out))
            return Command(TAR, ["sh", "-c", script, "sh", *names], fresh(self.out))
        script = 'tar -c -C "$2" . | zstd -q -3 -T2 -f -o "$1"'
        return Command(TAR, ["sh", "-c", script, "sh", str(archive), str(self.tree)])


def versions() -> str:
    """Of the peers that are here."""
    found = []
    for program, words in (("restic", ["version"]), ("borg", ["--version"])):
        if shutil.which(program):
            found.append(" ".join(output([program, *words], dict(os.environ)).split()[:2]))
    return ", ".join(found) or "neither restic nor borg is installed here"


def once(argv: Sequence[str], env: dict[str, str]) -> None:
    output(argv, env)


def output(argv: Sequence[str], env: dict[str, str]) -> str:
    done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _file(name: str) -> str:
    return {RESTIC: "restic", BORG: "borg-plain", BORG_ENCRYPTED: "borg-encrypted", TAR: "tree.tar.zst"}[name]


def media(bench: MediaBench) -> list[Line]:
    """First run, one more day, nothing new, and back again, for one shape of tree."""
    print(f"making {bench.shape.what} …", flush=True)
    total = data.make(bench.tree, bench.shape)
    what = f"{bench.shape.name}, {total / 2**20:,.0f} MiB"
    both = (OURS, OURS_ENCRYPTED)
    found = interleaved([*(bench.first(name) for name in both), *bench.peers("backup")], bench.runs)
    lines = compared(f"first run ({what})", found, "≥ 1.5×")
    for name in both:
        lines += [
            Line(
                f"size, {name} ({what})",
                f"{bench.stored(name) / 2**20:,.0f} MiB",
                f"{peer} {_weight(bench, peer) / 2**20:,.0f} MiB",
                f"{bench.stored(name) / _weight(bench, peer):.2f} of it",
                "",
            )
            for peer in PEERS[name]
            if peer in found
        ]
    lines += _again(bench, what, both)
    restores = [
        bench.ours(
            name, "restore", "shop", "--files", "media", "--to", str(bench.out), prepare=fresh(bench.out)
        )
        for name in both
    ]
    return lines + compared(
        f"restore ({what})", interleaved([*restores, *bench.peers("restore")], bench.runs), ""
    )


def _again(bench: MediaBench, what: str, both: Sequence[str]) -> list[Line]:
    commands = [
        *(bench.ours(name, "backup", "shop", "--no-record") for name in both),
        *bench.peers("again"),
    ]
    days: dict[str, Runs] = {}
    for day in range(1, bench.runs + 1):
        data.grow(bench.tree, bench.shape, day)
        for name, runs in interleaved(commands, 1).items():
            known = days.setdefault(name, Runs(name))
            known.seconds += runs.seconds
            known.memory += runs.memory
    lines = compared(f"1 % new ({what})", days, "≥ 2×")
    return lines + compared(f"nothing new ({what})", interleaved(commands, bench.runs), "")


def compared(work: str, found: dict[str, Runs], reach: str) -> list[Line]:
    return [
        Line(
            f"{work}: {name}",
            f"{found[name].median:.2f} s",
            f"{peer} {found[peer].median:.2f} s ({found[peer].peak:.0f} MiB)",
            f"{ratio(found[peer], found[name]):.2f}×",
            reach if peer != TAR else "",
            f"{found[name].peak:.0f} MiB",
        )
        for name, peers in PEERS.items()
        for peer in peers
        if peer in found
    ]


def _weight(bench: MediaBench, peer: str) -> int:
    path = bench.folder / _file(peer)
    return path.stat().st_size if path.is_file() else size(path)
