"""The network, and the server at its other end: what it promises and does not keep, what it alters on the way.

The servers are real, behind filters that answer as other people's servers do (`harness/other_servers.py`).
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from backup_pipeline_tests.harness.commands import Ended, invoke
from backup_pipeline_tests.harness.fault_proxy import Fault, fault_proxy
from backup_pipeline_tests.harness.other_servers import Ceph, behind, swift
from backup_pipeline_tests.harness.stores import S3Server

#: Enough for an upload in parts.
LARGE = 17 * 1024 * 1024


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    fill(tmp_path, 1000)
    return lambda *arguments: invoke(*arguments, cwd=tmp_path)


def fill(folder: Path, size: int) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS pictures (id INTEGER PRIMARY KEY, bytes BLOB)")
        connection.execute("INSERT INTO pictures (bytes) VALUES (?)", (random.Random(1).randbytes(size),))


def configure(folder: Path, server: S3Server, bucket: str, *lines: str) -> None:
    more = "".join(f"  {line}\n" for line in lines)
    (folder / "backup.yaml").write_text(
        f"vault:\n  url: s3://{bucket}/v\n{server.yaml()}{more}"
        "retention: {last: 1}\nsystems:\n  shop:\n    database: sqlite:///shop.db\n"
    )


def test_objects_whose_locks_the_server_forgets_are_locked_all_the_same(
    run: Callable[..., Ended], tmp_path: Path, ministack_server: S3Server
) -> None:
    """Uploads in parts were not locked, nearly all bytes of a vault: one DELETE with the backup's own key, and they were
    gone for good, while `prune` said “locked until …” and `doctor` “good”."""
    fill(tmp_path, LARGE)
    bucket = ministack_server.make_bucket(ObjectLockEnabledForBucket=True)
    with behind(ministack_server, Ceph()) as ceph:
        configure(tmp_path, ceph.server, bucket, "object_lock_days: 3")
        assert run("backup", "shop", "--no-record").code == 0
    client = ministack_server.client
    versions = client.list_object_versions(Bucket=bucket, Prefix="v/objects/")["Versions"]
    assert max(one["Size"] for one in versions) > LARGE
    for one in versions:
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])


def test_a_server_that_locks_nothing_is_found_out_by_the_first_backup(
    run: Callable[..., Ended], tmp_path: Path, ministack_server: S3Server
) -> None:
    """`object_lock_days` was taken for the fact: every object could be deleted, and nothing said so."""
    bucket = ministack_server.make_bucket()
    with behind(ministack_server, swift) as server:
        configure(tmp_path, server.server, bucket, "object_lock_days: 3")
        assert "does not take `object_lock_days:`" in run("doctor").stdout
        ended = run("backup", "shop", "--no-record")
        assert (ended.code, "locks nothing" in ended.stderr) == (5, True), str(ended)
        assert "leave `object_lock_days:` out" in ended.stderr
        # A server that does not know ?retention takes it for a PUT: then the object would be gone.
        assert server.asked["PUT ?retention"] == 0
    client = ministack_server.client
    for one in client.list_objects_v2(Bucket=bucket)["Contents"]:
        assert b"<Retention" not in client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()


def test_what_is_said_of_locks_comes_from_the_server_and_a_backup_mends_them(
    run: Callable[..., Ended], tmp_path: Path, ministack_server: S3Server
) -> None:
    """A setting was told as a fact, of backups too that were made before it."""
    bucket = ministack_server.make_bucket(ObjectLockEnabledForBucket=True)
    configure(tmp_path, ministack_server, bucket)
    assert run("backup", "shop", "--no-record").code == run("backup", "shop", "--no-record").code == 0
    configure(tmp_path, ministack_server, bucket, "object_lock_days: 3")
    assert "lock-missing" in run("doctor").stdout
    assert "locked until" not in run("prune", "--dry-run").stdout
    setup = run("bucket", "setup", "vault", "--dry-run")
    assert (setup.code, "is not locked" in setup.stdout) == (14, True), str(setup)
    assert run("backup", "shop", "--no-record").code == 0
    assert "lock-missing" not in run("doctor").stdout
    assert run("prune", "--dry-run").stdout.count("locked until") >= 2, "those before it were locked, too"
    setup = run("bucket", "setup", "vault", "--dry-run")
    assert (setup.code, "is locked" in setup.stdout) == (0, True), str(setup)


def test_bytes_that_are_altered_on_the_way_make_no_backup(
    run: Callable[..., Ended], tmp_path: Path, moto_server: S3Server
) -> None:
    """The server compares nothing. What arrives as something else never gets its name."""
    bucket = moto_server.make_bucket()
    with fault_proxy(moto_server.endpoint) as proxy:
        server = S3Server("altered", proxy.endpoint)
        configure(tmp_path, server, bucket, "max_attempts: 1")
        proxy.expect([Fault("wrong-request", "put", number) for number in range(1, 200)])
        ended = run("backup", "shop", "--no-record")
        assert (ended.code, "something else" in ended.stderr) == (5, True), str(ended)
        proxy.expect([])
        listed = [one["Key"] for one in moto_server.client.list_objects_v2(Bucket=bucket).get("Contents", ())]
        assert not [key for key in listed if not key.startswith("v/tmp/")]
        assert run("backup", "shop", "--no-record").code == 0
        assert run("verify", "shop").code == 0
