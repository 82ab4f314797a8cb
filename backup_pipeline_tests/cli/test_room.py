"""`doctor` on real small disks: a backup that will not fit is an error today, and not tonight; in each copy as well."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.listening import Hook
from backup_pipeline_tests.harness.other_servers import behind, swift
from backup_pipeline_tests.harness.sftp_server import SftpServer
from backup_pipeline_tests.harness.stores import S3Server

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def configure(folder: Folder, vault: str, *copies: str) -> None:
    lines = [
        f"vault: {vault}",
        "copies:" if copies else "",
        *(f"  c{n}: {one}" for n, one in enumerate(copies)),
    ]
    system = ["systems:", "  app:", "    database: sqlite:///app.db", ""]
    (folder.path / "backup.yaml").write_text("\n".join([*lines, *system]))


def told(folder: Folder) -> dict[str, dict[str, Any]]:
    found = folder.run("doctor", "--json").document["data"]["machine"]["findings"]
    return {one["code"]: one for one in found}


@pytest.fixture
def app(tmp_path: Path) -> Folder:
    """An application with 30 MB of rows that do not compress."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        connection.execute("CREATE TABLE blob (id INTEGER PRIMARY KEY, data BLOB)")
        connection.executemany(
            "INSERT INTO blob (data) VALUES (?)", [(os.urandom(3_000_000),) for _ in range(10)]
        )
    return Folder(tmp_path, {})


@root_only
def test_a_vault_that_is_too_small_is_an_error_before_the_first_backup(app: Folder) -> None:
    configure(app, "./disk/vault")
    with small_disk(app.path / "disk", "size=2m"):
        assert app.run("doctor").code == 14
        full = told(app)["disk-full"]
        assert "2.0 MiB of 2.0 MiB are free" in full["message"]
        assert "28.6 MiB before compression" in full["message"]
    with small_disk(app.path / "disk", "size=12m"):
        app.good("doctor")
        assert told(app)["disk-low"]["severity"] == "warning"
    with small_disk(app.path / "disk", "size=90m,nr_inodes=100"):
        assert app.run("doctor").code == 14
        assert "more files can be made" in told(app)["inodes-low"]["message"]
    app.good("doctor")
    assert told(app)["disk"]["severity"] == "info"


@root_only
def test_a_full_copy_is_an_error_and_what_it_holds_already_needs_no_room(app: Folder) -> None:
    configure(app, "./vault", "./disk/copy")
    with small_disk(app.path / "disk", "size=40m"):
        app.run("backup", "app")
        configure(app, "./vault", "./disk/copy", "./other/copy")
        with small_disk(app.path / "other", "size=20m"):
            assert app.run("doctor").code == 14
            full = told(app)["disk-full"]["message"]
            assert "copy c1: 20.0 MiB of 20.0 MiB are free" in full
            assert "copy c0" not in full, "the other copy has the backup, and needs what changes"


@root_only
def test_no_system_is_protected_by_a_vault_on_a_full_disk(app: Folder, hook: Hook) -> None:
    configure(app, "./disk/vault")
    with (app.path / "backup.yaml").open("a") as file:
        file.write(f"    fresh_within: 9d\nalerts: ['{hook.address}']\n")
    with small_disk(app.path / "disk", "size=60m"):
        app.good("backup", "app")
        app.good("drill", "app")
        assert app.good("status").stdout.splitlines()[1] == "protected"
        free = os.statvfs(app.path / "disk")
        (app.path / "disk" / "other").write_bytes(bytes((free.f_bavail - 16) * free.f_frsize))
        full = app.run("status")
        assert full.code == 13
        assert full.stdout.splitlines()[1] == "NOT PROTECTED"
        assert "0.1 % of the disk of" in full.stderr
        assert [one["code"] for one in app.run("status", "--json").document["data"]["storage"]] == [
            "disk-full"
        ]
        assert app.run("backup", "app", "--full").code == 5
        (app.path / "disk" / "other").unlink()
        app.good("backup", "app")


@root_only
def test_the_disk_of_a_server_is_asked(app: Folder, openssh: SftpServer) -> None:
    folder = openssh.fresh()
    keys = f"key_file: {openssh.key_file}, known_hosts: {openssh.known_hosts}"
    url = f"sftp://{openssh.user}@127.0.0.1:{openssh.port}{folder}"
    configure(app, "./vault", f"{{url: '{url}', {keys}}}")
    with small_disk(folder.parent, "size=2m"):
        assert app.run("doctor").code == 14
        assert "copy c0: 2.0 MiB of 2.0 MiB are free (sftp://" in told(app)["disk-full"]["message"]


def test_a_server_is_not_spoken_of_as_a_bucket(
    app: Folder, openssh: SftpServer, whole_files_sftp: SftpServer
) -> None:
    def served(server: SftpServer, folder: Path, user: str) -> None:
        keys = f"key_file: {server.key_file}, known_hosts: {server.known_hosts}"
        configure(app, f"{{url: 'sftp://{user}@127.0.0.1:{server.port}{folder}', {keys}}}")

    folder = whole_files_sftp.fresh()
    served(whole_files_sftp, folder, whole_files_sftp.user)
    assert "one host" in told(app)["creates-not-conditional"]["remedy"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "photo.jpg").touch()
    assert told(app)["vault-foreign"]["remedy"] == "name an empty or new place as `vault:`"
    if (
        os.geteuid() == 0
    ):  # the folder of root, seen by another account: what is wrong is said, and nothing else
        with tempfile.TemporaryDirectory() as readable:
            Path(readable).chmod(0o755)
            served(openssh, Path(readable) / "vault", "nobody")
            found = told(app)
        assert "creates-not-conditional" not in found
        assert "let the user that signs in there write" in found["vault-not-writable"]["remedy"]


def test_a_bucket_has_no_end_and_one_that_is_not_there_is_an_error(
    app: Folder, moto_server: S3Server
) -> None:
    def bucket(name: str) -> str:
        keys = "access_key_id: K, secret_access_key: S, region: us-east-1"
        return f"{{url: 's3://{name}/p', endpoint: '{moto_server.endpoint}', {keys}}}"

    configure(app, "./vault", bucket(moto_server.make_bucket()))
    app.good("doctor")
    assert "a bucket has no end" in told(app)["room-unknown"]["message"]
    configure(app, "./vault", bucket("nowhere"))
    assert app.run("doctor").code == 14
    assert "copy c0: " in told(app)["copy-unreachable"]["message"]


def test_settings_that_a_bucket_refuses_are_found_before_the_backup(
    app: Folder, moto_server: S3Server
) -> None:
    keys = "access_key_id: K, secret_access_key: S, region: us-east-1, object_lock_days: 3"
    url = f"s3://{moto_server.make_bucket()}/p"
    configure(app, f"{{url: '{url}', endpoint: '{moto_server.endpoint}', {keys}}}")
    assert app.run("doctor").code == 14
    assert "`object_lock_days:`" in told(app)["setting-refused"]["message"]
    ended = app.run("backup", "app")
    assert ended.code == 5
    assert "may not take `object_lock_days:`" in ended.stderr


def test_a_lock_is_tried_with_the_very_settings_in_the_vault_and_in_each_copy(
    app: Folder, ministack_server: S3Server
) -> None:
    """The doctor called the vault good; the locks were not there, or the first backup was refused."""
    keys = "access_key_id: K, secret_access_key: S, region: us-east-1, object_lock_days: 3"

    def bucket(endpoint: str) -> tuple[str, str]:
        name = ministack_server.make_bucket(ObjectLockEnabledForBucket=True)
        return name, f"{{url: 's3://{name}/p', endpoint: '{endpoint}', {keys}}}"

    def versions(name: str) -> list[Any]:
        page = ministack_server.client.list_object_versions(Bucket=name, Prefix="p/tmp/doctor-locked")
        return [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]

    name, vault = bucket(ministack_server.endpoint)
    copied, copy = bucket(ministack_server.endpoint)
    configure(app, vault, copy)
    for _ in range(2):  # the second look needs no second probe
        app.good("doctor")
        assert (len(versions(name)), len(versions(copied))) == (1, 1)
    named = {"Bucket": name, "Key": "p/tmp/doctor-locked"}
    held = ministack_server.client.get_object_retention(**named)["Retention"]
    assert held["RetainUntilDate"] < datetime.now(UTC) + timedelta(hours=2), "it can be taken away soon"
    # One whose lock is over is taken away by the next look.
    ministack_server.client.delete_object(
        **named, VersionId=versions(name)[0]["VersionId"], BypassGovernanceRetention=True
    )
    over = ministack_server.client.put_object(**named, Body=b"of an earlier look")["VersionId"]
    app.good("doctor")
    assert [one["VersionId"] == over for one in versions(name)] == [False]
    # A server that takes the lock and keeps none.
    with behind(ministack_server, swift) as filtered:
        other, lying = bucket(filtered.server.endpoint)
        configure(app, lying)
        assert app.run("doctor").code == 14
        assert "locks nothing" in told(app)["setting-refused"]["message"]
        configure(app, "./vault", lying)
        assert app.run("doctor").code == 14
        assert (
            "copy c0: the bucket does not take `object_lock_days:`"
            in told(app)["copy-not-writable"]["message"]
        )
        assert not [one for one in versions(other) if "doctor" not in one["Key"]]


@root_only
def test_a_copy_that_cannot_be_written_to_is_an_error_though_it_can_be_reached(app: Folder) -> None:
    configure(app, "./vault", "./disk/copy")
    with small_disk(app.path / "disk", "size=90m"):
        app.good("backup", "app")
        app.good("doctor")
        subprocess.run(["mount", "-o", "remount,ro", str(app.path / "disk")], check=True)
        assert app.run("doctor").code == 14
        assert "copy c0: " in told(app)["copy-not-writable"]["message"]
