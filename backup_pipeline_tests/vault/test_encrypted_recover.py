"""RECOVER.md of an encrypted backup, taken at its word: opened with `age`, and followed with nothing of ours."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.engines import open_source
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline_tests.harness.backups import rows_of, run_sql, schema_of
from backup_pipeline_tests.harness.encrypted import Encrypted, change, make_shop
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.vault.test_recover import commands, tools

pytestmark = pytest.mark.skipif(shutil.which("age") is None, reason="the program age is not installed")


def follow(text: str, first: str, key: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """The first two blocks are those that a person edits: where, and with which key."""
    where, opener, *rest = commands(text)
    assert where.splitlines()[0] == "cd /path/to/the/vault"
    assert opener.splitlines()[0] == "KEY=/path/to/key.txt"
    opener = opener.replace("/path/to/key.txt", str(key), 1)
    bash = shutil.which("bash")
    assert bash
    return subprocess.run(
        [bash, "--noprofile", "--norc"],
        input="\n".join(["set -e", first, opener, *rest]),
        capture_output=True,
        text=True,
        env={"PATH": str(path), "LC_ALL": "C.UTF-8"},
    )


def opened_recover(made: Encrypted, identifier: str, key: Path, path: Path) -> str:
    """By the commands of the RECOVER.md that lies in the open."""
    folder = made.folder / "shop" / identifier
    check, read = commands((folder / "RECOVER.md").read_text())
    out = key.parent / "RECOVER.md"
    read = read.replace("/path/to/key.txt", str(key)).replace("~/RECOVER.md", f"'{out}'")
    bash = shutil.which("bash")
    assert bash
    subprocess.run(
        [bash, "-e"], input=f"{check}\n{read}\n", text=True, cwd=folder, check=True, env={"PATH": str(path)}
    )
    return out.read_text()


@pytest.mark.rule("E7")
@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no sqlite3 program on this machine")
def test_an_encrypted_sqlite_file_is_rebuilt_by_the_commands_alone(tmp_path: Path) -> None:
    made, url = Encrypted.make(tmp_path), make_shop(tmp_path / "shop.db")
    made.back_up(url)
    change(url)
    manifest = made.back_up(url)
    assert manifest.image is not None
    assert any(segment.map for segment in manifest.image.segments)
    key = made.key_file(tmp_path)
    path = tools(tmp_path / "bin", "age", "zstd", "cat", "sha256sum", "head", "tail", "rm", "sqlite3")

    text = opened_recover(made, manifest.id, key, path)
    done = follow(text, f"cd '{made.folder}'\nOUT='{tmp_path}/back.db'", key, path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"{tmp_path}/back.db: OK", "ok"]
    with closing(sqlite3.connect(tmp_path / "back.db")) as connection:
        assert connection.execute("SELECT count(*) FROM quokka_orders").fetchone() == (3_159,)


def test_an_encrypted_postgres_database_is_rebuilt_by_the_commands_alone(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(
        source,
        "CREATE TABLE zebra (id serial PRIMARY KEY, name text, at timestamptz DEFAULT now());"
        "INSERT INTO zebra (name) SELECT 'Wombat ' || n FROM generate_series(1, 60000) n;"
        "CREATE TABLE quokka (id int PRIMARY KEY, zebra_id int REFERENCES zebra);"
        "INSERT INTO quokka SELECT n, n FROM generate_series(1, 1000) n;",
    )
    made = Encrypted.make(tmp_path)
    manifest = back_up(made.closed, open_source(source), Order("shop"))
    again = back_up(made.closed, open_source(source), Order("shop"))
    assert set(again.objects()) == set(manifest.objects()), "built on, without the key"
    assert max(one.size for one in manifest.objects()) > 0
    key = made.key_file(tmp_path)
    path = tools(tmp_path / "bin", "age", "zstd", "cat", "sha256sum", pg_server.bin_dir / "psql")

    text = opened_recover(made, again.id, key, path)
    done = follow(text, f"cd '{made.folder}'\nTARGET='{target}'", key, path)

    assert done.returncode == 0, done.stderr
    assert "DIFFERENT" not in done.stdout
    assert rows_of(target) == rows_of(source)
    assert schema_of(pg_server, target) == schema_of(pg_server, source)


def test_the_steps_stop_where_the_key_is_another_one(tmp_path: Path) -> None:
    made, url = Encrypted.make(tmp_path), make_shop(tmp_path / "shop.db", rows=50)
    manifest = made.back_up(url)
    key = made.key_file(tmp_path)
    path = tools(tmp_path / "bin", "age", "zstd", "cat", "sha256sum", "head", "tail", "rm")
    text = opened_recover(made, manifest.id, key, path)
    (tmp_path / "elsewhere").mkdir()
    other = Encrypted.make(tmp_path / "elsewhere").key_file(tmp_path / "elsewhere")

    done = follow(text, f"cd '{made.folder}'\nOUT='{tmp_path}/back.db'", other, path)

    assert done.returncode != 0
    assert "no identity matched" in done.stderr
    assert (tmp_path / "back.db").stat().st_size == 0
