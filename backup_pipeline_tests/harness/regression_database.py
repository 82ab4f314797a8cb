"""PostgreSQL's own regression database, there and back: `make test-regression`.

The tests of PostgreSQL leave a database with almost everything that the server can hold. Their source comes from
Debian's archive for the very version of the server here, and is built in `.venv/regression`; nothing is installed.
The peer is `pg_dump | psql` in the same run: a restore must give the database that the peer gives.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres import server as embedded
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.restores import restore
from backup_pipeline_tests.harness.backups import ask, backed_up, rows_of, run_sql, schema_of

FOLDER = Path(__file__).resolve().parents[2] / ".venv" / "regression"
MAJOR = 15


def _run(argv: Sequence[str], folder: Path) -> str:
    # PostgreSQL's Makefile leaves parts out when another make has called it, as ours has.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, env=ours)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def source(version: str) -> Path:
    """The folder of PostgreSQL's regression tests, built; fetched at the first call."""
    found = sorted(FOLDER.glob(f"postgresql-{version}*/src/test/regress/pg_regress"))
    if not found:
        _fetch(version)
        (tree,) = FOLDER.glob(f"postgresql-{version}*/")
        print("building the regression tests", flush=True)
        _run(["./configure", "--without-readline", "--without-zlib", "--without-icu"], tree)
        _run(["make", "-s", "-j2", "-C", "src/test/regress", "all"], tree)
        found = [tree / "src/test/regress/pg_regress"]
    return found[-1].parent


def _fetch(version: str) -> None:
    """Of Debian's source package nothing but the archive of the PostgreSQL project is used."""
    print(f"fetching the source of PostgreSQL {version}", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as lists:
        parts = Path(lists) / "parts"
        parts.mkdir()
        for file in Path("/etc/apt").glob("sources.list.d/*.sources"):
            text = file.read_text(encoding="utf-8").replace("Types: deb\n", "Types: deb-src\n")
            (parts / file.name).write_text(text, encoding="utf-8")
        (Path(lists) / "partial").mkdir()
        options = [
            f"Dir::Etc::sourceparts={parts}",
            "Dir::Etc::sourcelist=/dev/null",
            f"Dir::State::lists={lists}",
        ]
        settings = [word for option in options for word in ("-o", option)]
        _run(["apt-get", *settings, "update"], FOLDER)
        listed = _run(["apt-cache", *settings, "showsrc", f"postgresql-{MAJOR}"], FOLDER)
        packages = [line.split()[1] for line in listed.splitlines() if line.startswith(f"Version: {version}")]
        if not packages:
            sys.exit(f"the archive has no source of PostgreSQL {version}")
        # The archive of Debian's own changes may be missing there; it is not used.
        argv = ["apt-get", *settings, "source", "--download-only", f"postgresql-{MAJOR}={packages[-1]}"]
        subprocess.run(argv, cwd=FOLDER, capture_output=True, text=True)
    archives = sorted(FOLDER.glob(f"postgresql-{MAJOR}_{version}*.orig.tar.*"))
    if not archives:
        sys.exit(f"the source of PostgreSQL {version} could not be fetched")
    _run(["tar", "-xf", archives[-1].name], FOLDER)


def fill(server: EmbeddedPostgres, tests: Path, folder: Path) -> str:
    """Run PostgreSQL's tests; the URL of the database that they leave."""
    place = psycopg.conninfo.conninfo_to_dict(server.url())
    folder.chmod(0o777)
    argv = [
        str(tests / "pg_regress"),
        f"--bindir={server.bin_dir}",
        *(f"--{what}={tests}" for what in ("dlpath", "inputdir")),
        f"--outputdir={folder}",
        f"--schedule={tests / 'parallel_schedule'}",
        "--max-connections=6",
        *(f"--{what}={place[key]}" for what, key in (("host", "host"), ("port", "port"), ("user", "user"))),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    # A few tests fail where the server was built otherwise; what they left is as good as any.
    print("\n".join(line for line in done.stdout.splitlines() if "tests" in line and "group" not in line))
    url = server.url("regression")
    run_sql(url, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    return url


def main() -> int:
    if MAJOR not in embedded.servers():
        sys.exit(f"no PostgreSQL {MAJOR} on this machine: Debian's postgresql-{MAJOR}")
    with EmbeddedPostgres.create(major=MAJOR) as server, tempfile.TemporaryDirectory() as scratch:
        version = str(ask(server.url(), "SHOW server_version")[0][0]).split()[0]
        tests = source(version)
        url = fill(server, tests, Path(scratch))
        backed = backed_up(url, Path(scratch) / "vault")
        print(f"backed up {len(backed.manifest.tables)} tables, {backed.manifest.rows} rows", flush=True)
        ours, peers = server.url("regression_restored"), server.url("regression_peer")
        result = restore(backed.backup, ours, RestoreOptions(create=True))
        for finding in result.findings:
            print(f"{finding.severity} {finding.code}: {finding.message}")
        run_sql(server.url(), "CREATE DATABASE regression_peer TEMPLATE template0")
        dump = subprocess.Popen([server.bin_dir / "pg_dump", url], stdout=subprocess.PIPE)
        query = [server.bin_dir / "psql", "--quiet", "--no-psqlrc", "--output=/dev/null", peers]
        subprocess.run(query, stdin=dump.stdout, check=True)
        if dump.wait() != 0:
            sys.exit("pg_dump failed")
        ours_text, peers_text = schema_of(server, ours), schema_of(server, peers)
        difference = list(
            difflib.unified_diff(peers_text.splitlines(), ours_text.splitlines(), lineterm="", n=1)
        )
        print("\n".join(difference[:100]))
        ours_rows, peers_rows = rows_of(ours), rows_of(peers)
        tables = sorted(name for name in peers_rows if ours_rows.get(name) != peers_rows[name])
        print(f"definitions {'differ' if difference else 'equal'}; rows differ in {tables or 'no table'}")
        return 1 if difference or tables or ours_rows.keys() != peers_rows.keys() else 0


if __name__ == "__main__":
    sys.exit(main())
