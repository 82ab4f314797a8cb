"""A bucket on servers that keep less than they say: locks, conditions, ETags and settings."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.errors import AlreadyExists, VaultError
from backup_pipeline.stores.base import read_all
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.s3 import store as s3
from backup_pipeline.stores.s3.content import Content
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.vault import layout
from backup_pipeline_tests.harness.other_servers import (
    Answer,
    Ceph,
    Forward,
    Request,
    behind,
    refusal,
    s3rver,
)
from backup_pipeline_tests.harness.stores import S3Server, locks_of


def in_parts(folder: Path) -> Path:
    path = folder / "large"
    path.write_bytes(random.Random(1).randbytes(s3.PART + 5))
    return path


def test_an_object_of_an_older_version_is_locked_by_the_next_backup_whether_or_not_it_names_it(
    ministack_server: S3Server, tmp_path: Path
) -> None:
    bucket = ministack_server.make_bucket(ObjectLockEnabledForBucket=True)
    options = ministack_server.options(f"s3://{bucket}/v", tmp_path, mutable=layout.MUTABLE)
    unlocked = open_store(options)
    named, other, working = "objects/ab/named", "objects/ab/other", "shop/lock.json"
    for key in (named, other, working):
        unlocked.put(key, b"x")
    store = open_store(replace(options, object_lock_days=30))
    assert locks_of(store).extend([named]) == 2
    assert locks_of(store).until(working) is None
    for key in (named, other):
        until = locks_of(store).until(key)
        assert until is not None
        assert until > datetime.now(UTC) + timedelta(days=29)
    assert locks_of(store).extend([named]) == 0


def test_a_lock_that_could_not_be_set_because_the_run_ended_is_set_by_the_next_put(
    ministack_server: S3Server, tmp_path: Path
) -> None:
    bucket = ministack_server.make_bucket(ObjectLockEnabledForBucket=True)
    options = ministack_server.options(f"s3://{bucket}/v", tmp_path)
    open_store(options).put("k", b"x")
    store = open_store(replace(options, object_lock_days=30))
    with pytest.raises(AlreadyExists):
        store.put("k", b"x")
    assert locks_of(store).until("k") is not None


def test_an_untrue_etag_is_no_damage(moto_server: S3Server, tmp_path: Path) -> None:
    """What was sent is read back where the server states another checksum: "alters bytes" was said of s3rver."""
    with behind(moto_server, s3rver) as filtered:
        store = S3Store(filtered.server.options(f"s3://{moto_server.make_bucket()}", tmp_path))
        path = in_parts(tmp_path)
        store.put("lock.json", b"first")
        store.put("lock.json", b"other", overwrite=True)
        store.put("objects/large", path)
        assert read_all(store, "lock.json") == b"other"
        with store.get("objects/large") as stream:
            assert Content.of(path, s3.PART).equals(stream)
        with pytest.raises(AlreadyExists) as caught:
            store.put("lock.json", b"other")
        assert caught.value.differs is False


def test_another_writer_who_completes_an_upload_at_the_same_moment_is_noticed(
    ministack_server: S3Server, tmp_path: Path
) -> None:
    """Ceph ignores If-None-Match with the last part, and the answer names our own bytes."""
    bucket = ministack_server.make_bucket()
    ceph = Ceph()

    def raced(request: Request, forward: Forward) -> Answer:
        answer = ceph(request, forward)
        if request.method == "POST" and "uploadId" in request.asks:
            meant = {s3.MEANT: hashlib.sha256(b"theirs").hexdigest()}
            ministack_server.client.put_object(Bucket=bucket, Key="k", Body=b"theirs", Metadata=meant)
        return answer

    with behind(ministack_server, raced) as filtered:
        store = S3Store(filtered.server.options(f"s3://{bucket}", tmp_path))
        assert store.creates_once()
        with pytest.raises(AlreadyExists) as caught:
            store.put("k", in_parts(tmp_path))
        assert caught.value.differs is True


@pytest.mark.parametrize(
    ("setting", "value"),
    [("storage_class", "STANDARD_IA"), ("server_side_encryption", "AES256"), ("object_lock_days", 3)],
)
def test_a_setting_that_the_server_refuses_is_named(
    setting: str, value: object, ministack_server: S3Server, tmp_path: Path
) -> None:
    """As Ceph does without a reason: all that was said is "InvalidArgument"."""

    def refusing(request: Request, forward: Forward) -> Answer:
        strange = ("x-amz-storage-class", "x-amz-server-side", "x-amz-object-lock")
        asks = any(name.startswith(strange) for name in request.headers)
        return refusal("InvalidArgument") if asks else forward(request)

    with behind(ministack_server, refusing) as filtered:
        options = filtered.server.options(f"s3://{ministack_server.make_bucket()}", tmp_path)
        store = S3Store(replace(options, **{setting: value, "archivable": ("*",)}))
        with pytest.raises(VaultError, match="InvalidArgument") as caught:
            store.put("objects/x", b"x")
        assert f"`{setting}:`" in caught.value.remedy
