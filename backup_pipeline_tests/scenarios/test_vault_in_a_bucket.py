"""A vault in a bucket from end to end, as its users see it: the commands, the worker processes, two kinds of server."""

from __future__ import annotations

import random
import re
import sqlite3
import subprocess
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path

import psycopg
import pytest

import backup_pipeline as bp
from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.databases.engines import open_source
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.model.progress import Advance
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.s3.object_locks import S3ObjectLocks
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify
from backup_pipeline_tests.harness.commands import PROGRAM, Ended, environment, invoke
from backup_pipeline_tests.harness.engines import MakePgDatabase, MakeSqliteFile, wait_for
from backup_pipeline_tests.harness.ports import free_port
from backup_pipeline_tests.harness.processes import kill_tree
from backup_pipeline_tests.harness.stores import S3Server, ministack_s3

pytestmark = pytest.mark.usefixtures("one_writer")

SCRIPT = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), note TEXT);
INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 2, 'c');
"""


def configured(folder: Path, server: S3Server, database: str) -> str:
    """Write backup.yaml; says which bucket it names."""
    bucket = server.make_bucket()
    (folder / "backup.yaml").write_text(
        f"vault:\n  url: s3://{bucket}/backups/a\n{server.yaml()}"
        f"systems:\n  shop:\n    database: {database}\n    chunk_size: 1MiB\n"
    )
    return bucket


def good(folder: Path, *arguments: str) -> Ended:
    ended = invoke(*arguments, cwd=folder)
    assert ended.code == 0, str(ended)
    assert "secret" not in ended.stdout
    return ended


@pytest.mark.parametrize(
    ("server", "engine"),
    [
        pytest.param("rclone", "postgres", marks=pytest.mark.server),
        ("moto", "sqlite"),
        pytest.param("moto", "postgres", marks=[pytest.mark.server, pytest.mark.slow]),
        pytest.param("rclone", "sqlite", marks=pytest.mark.slow),
    ],
)
def test_backup_list_verify_restore_and_drill(
    server: str, engine: str, tmp_path: Path, sqlite_file: MakeSqliteFile, request: pytest.FixtureRequest
) -> None:
    s3_server: S3Server = request.getfixturevalue(f"{server}_server")
    target = "sqlite:///restored.db"
    if engine == "sqlite":
        sqlite_file("app.sqlite3", script=SCRIPT)
        database = "sqlite:///app.sqlite3"
    else:
        make: MakePgDatabase = request.getfixturevalue("make_pg_database")
        database, target = make(), make()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(SCRIPT.encode())
            connection.execute(
                "INSERT INTO orders SELECT n, 1, repeat('x', 500) FROM generate_series(10, 9000) n"
            )
    bucket = configured(tmp_path, s3_server, database)

    good(tmp_path, "backup", "shop", "--json")
    again = good(tmp_path, "backup", "shop", "--json").data
    listed = good(tmp_path, "list", "shop", "--json").data
    assert len(listed) == 2 or len(listed["backups"]) == 2, listed
    good(tmp_path, "verify", "shop", "--json")
    good(tmp_path, "drill", "shop", "--json")
    good(tmp_path, "restore", "shop", "--to", target, "--json")
    good(tmp_path, "doctor", "--json")
    status = invoke("status", "--json", cwd=tmp_path).document
    assert bucket in str(status)
    assert again
    # Nothing of a lock, a draft or a broken upload stays.
    keys = {stat.key for stat in Site.load(tmp_path / "backup.yaml").vault.store.list()}
    assert not [key for key in keys if "lock.json" in key or "/drafts/" in key or "/journal/" in key]
    if s3_server.name == "moto":  # rclone says that it has no such upload, when it has none at all
        assert s3_server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_files_of_a_bucket_are_backed_up_once_and_come_back(
    s3_server: S3Server, tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    bucket, client = s3_server.make_bucket(), s3_server.client
    contents = {f"a/{number}.bin": bytes([number]) * 10_000 for number in range(20)} | {"empty": b""}
    for key, data in contents.items():
        client.put_object(Bucket=bucket, Key=f"avatars/{key}", Body=data)
    signed_in = s3_server.yaml().replace("\n  ", "\n        ").strip()
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  shop:\n    database: sqlite:///app.sqlite3\n    files:\n      avatars:\n"
        f"        bucket: s3://{bucket}/avatars\n        {signed_in}\n"
    )
    first = good(tmp_path, "backup", "shop", "--json").data
    assert first is not None
    client.put_object(Bucket=bucket, Key="avatars/a/3.bin", Body=b"changed")
    client.delete_object(Bucket=bucket, Key="avatars/a/4.bin")
    contents["a/3.bin"] = b"changed"
    del contents["a/4.bin"]
    good(tmp_path, "backup", "shop", "--json")
    good(tmp_path, "verify", "shop", "--json")
    good(tmp_path, "restore", "shop", "--files", "avatars", "--to", "restored", "--json")
    root = tmp_path / "restored"
    restored = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert restored in (contents, {f"avatars/{key}": data for key, data in contents.items()})


def _killed_in_the_middle(folder: Path, vault: Vault, seconds: float) -> None:
    """Start a backup, and kill it some time after it took its lock."""
    process = subprocess.Popen(
        [*PROGRAM, "backup", "shop", "--quiet"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(
            lambda: vault.store.stat("shop/lock.json") is not None or process.poll() is not None, seconds=60
        )
        time.sleep(seconds)
    finally:
        kill_tree(process)


@pytest.mark.slow
def test_a_backup_into_a_bucket_that_is_killed_lists_nothing_damaged_and_the_next_one_finishes(
    moto_server: S3Server, tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    path = sqlite_file("app.sqlite3", script=SCRIPT)
    chance = random.Random(3)
    bucket = configured(tmp_path, moto_server, "sqlite:///app.sqlite3")
    vault = Site.load(tmp_path / "backup.yaml").vault
    for seconds in (0.0, 0.3, 0.7, 1.1):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS large (b BLOB)")
            connection.execute("INSERT INTO large VALUES (?)", (chance.randbytes(9_000_000),))
        _killed_in_the_middle(tmp_path, vault, seconds)
        for identifier in vault.ids("shop"):
            assert verify(vault.backup("shop", identifier)).ok
    before = len(vault.ids("shop"))
    good(tmp_path, "backup", "shop", "--json")
    good(tmp_path, "verify", "shop", "all", "--json")
    assert len(vault.ids("shop")) == before + 1
    assert vault.interrupted("shop") == ()
    assert bucket in vault.store.address


def test_the_doctor_says_what_is_wrong_with_a_bucket(
    s3_server: S3Server, tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    bucket = configured(tmp_path, s3_server, "sqlite:///app.sqlite3")

    def codes() -> dict[str, str]:
        document = invoke("doctor", "--json", cwd=tmp_path).document
        return dict(re.findall(r"'severity': '(\w+)', 'code': '(vault[\w-]*|creates[\w-]*)'", str(document)))

    # Neither of the two servers is as AWS is: one creates unconditionally, the other one compares no bodies.
    assert codes() == {"info": "creates-not-conditional"}
    s3_server.client.put_object(Bucket=bucket, Key="backups/a/holiday.jpg", Body=b"x")
    assert codes()["error"] == "vault-foreign"
    ended = invoke("backup", "shop", cwd=tmp_path)
    assert "is not a vault and not empty" in ended.stderr, str(ended)
    text = (tmp_path / "backup.yaml").read_text()
    (tmp_path / "backup.yaml").write_text(text.replace(bucket, "no-such-bucket"))
    assert codes()["error"] == "vault-unreachable"
    ended = invoke("backup", "shop", cwd=tmp_path)
    assert "NoSuchBucket" in ended.stderr, str(ended)
    assert "bucket setup" in ended.stderr


def test_what_a_later_backup_and_its_copy_name_again_is_locked_on(
    moto_server: S3Server, tmp_path: Path, sqlite_file: MakeSqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sqlite_file("app.sqlite3", script=SCRIPT)
    buckets = [moto_server.make_bucket(ObjectLockEnabledForBucket=True) for _ in range(2)]
    here, there = (
        Vault(
            open_store(
                moto_server.options(f"s3://{name}", tmp_path, object_lock_days=30, mutable=layout.MUTABLE)
            )
        )
        for name in buckets
    )
    extend = S3ObjectLocks.extend
    for days in (0, 20):  # in the first half of its time a lock is left alone
        later = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setattr(S3ObjectLocks, "extend", partialmethod(extend, now=later))
        manifest = back_up(here, open_source(f"sqlite:///{path}"), Order("shop"))
        assert replicate(here, there, "shop").ok
        assert manifest.findings == ()
        for name in buckets:
            for reference in manifest.objects():
                head = moto_server.client.head_object(Bucket=name, Key=layout.object_key(reference))
                until = head["ObjectLockRetainUntilDate"] - datetime.now(UTC)
                assert round(until / timedelta(days=1)) == 30 + days


def test_a_store_that_is_restarted_in_the_middle_of_a_backup_loses_none(
    tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    """Six tries were over after eight seconds on average: a restart of the store lost the night's backup."""
    sqlite_file("app.sqlite3", script=SCRIPT)
    port, data = free_port(), tmp_path / "data"
    data.mkdir()
    with ExitStack() as first, ExitStack() as second:
        server = first.enter_context(ministack_s3(data, port=port))
        configured(tmp_path, server, "sqlite:///app.sqlite3")
        site = Site.load(tmp_path / "backup.yaml")
        backup(site, BackupOrder("shop"))
        heard: list[str] = []

        def listen(step: Advance) -> None:
            heard.append(step.phase)
            if heard == ["wait"]:
                second.enter_context(ministack_s3(data, port=port))

        first.close()  # it is gone, until the backup says that it waits
        made = backup(site, BackupOrder("shop"), listen).manifest
        assert heard[0] == "wait"
        assert site.vault.ids("shop")[-1] == made.id
        assert bp.verify("shop", config=site).ok


def test_a_command_says_that_it_waits_and_a_look_does_not_wait(
    tmp_path: Path, sqlite_file: MakeSqliteFile
) -> None:
    sqlite_file("app.sqlite3", script=SCRIPT)
    (tmp_path / "backup.yaml").write_text(
        f"vault: {{url: 's3://b/x', endpoint: 'http://127.0.0.1:{free_port()}', access_key_id: a, secret_access_key: b,"
        " max_attempts: 4, patience: 1s}\nsystems: {shop: {database: 'sqlite:///app.sqlite3'}}\n"
    )
    ended = invoke("backup", "shop", "--no-record", cwd=tmp_path)
    assert ended.code == 5, str(ended)
    assert "waiting for it" in ended.stderr
    ended = invoke("list", cwd=tmp_path)
    assert (ended.code, "waiting for it" in ended.stderr) == (5, False), str(ended)
