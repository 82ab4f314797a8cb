"""A bucket as a store, on a server that checks signatures (rclone) and on one with conditional creates (moto)."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.errors import AlreadyExists, ConfigError, NotThawed, StoreUnavailable, VaultError
from backup_pipeline.stores.base import Store, read_all
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.stores.retrying import Patience, RetryingStore
from backup_pipeline.stores.s3 import probing
from backup_pipeline.stores.s3 import reading as s3_reading
from backup_pipeline.stores.s3 import store as s3
from backup_pipeline.stores.s3.content import Content
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.vault import layout
from backup_pipeline_tests.contracts.store_contract import StoreContract
from backup_pipeline_tests.harness.fault_proxy import Fault, FaultProxy, fault_proxy
from backup_pipeline_tests.harness.stores import S3Server, locks_of


class TestOnRclone(StoreContract):
    attests = True

    @pytest.fixture
    def store(self, tmp_path: Path, rclone_server: S3Server) -> Store:
        return open_store(
            rclone_server.options(f"s3://{rclone_server.make_bucket()}/vaults/a", tmp_path / "staging")
        )


class TestOnMoto(StoreContract):
    """It compares no body with its digest: everything arrives aside, and nothing is conditional."""

    attests = True

    @pytest.fixture
    def store(self, tmp_path: Path, moto_server: S3Server) -> Store:
        return open_store(moto_server.options(f"s3://{moto_server.make_bucket()}", tmp_path / "staging"))


class TestOnMinistack(StoreContract):
    """It compares bodies, creates conditionally and enforces object locks."""

    attests = True

    @pytest.fixture
    def store(self, tmp_path: Path, ministack_server: S3Server) -> Store:
        bucket = ministack_server.make_bucket(ObjectLockEnabledForBucket=True)
        options = ministack_server.options(f"s3://{bucket}/b", tmp_path / "staging", object_lock_days=1)
        store = open_store(options)
        assert store.creates_once()
        return store


class TestConditionally(StoreContract):
    """As on AWS and R2, which check bodies and create conditionally: moto, trusted."""

    attests = True

    @pytest.fixture
    def store(self, tmp_path: Path, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        trust(monkeypatch)
        store = open_store(moto_server.options(f"s3://{moto_server.make_bucket()}/b", tmp_path / "staging"))
        assert store.creates_once()
        return store


class TestAsOnAws(StoreContract):
    """With a SHA-256 of each request, as AWS alone compares it."""

    attests = True

    @pytest.fixture
    def store(self, tmp_path: Path, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        for module in (s3, probing):
            monkeypatch.setattr(module, "is_aws", lambda _client: True)
        return open_store(moto_server.options(f"s3://{moto_server.make_bucket()}/b", tmp_path / "staging"))

    def test_every_body_is_sent_with_its_sha256(self, store: Store, moto_server: S3Server) -> None:
        assert isinstance(store, RetryingStore)
        assert isinstance(store.store, S3Store)
        assert store.creates_once()
        sums: Counter[str] = Counter()

        def see(model: Any, params: Any, **_: Any) -> None:
            sums[model.name] += "x-amz-checksum-sha256" in {name.lower() for name in params["headers"]}

        for operation in ("PutObject", "UploadPart"):
            store.store.client.meta.events.register(f"before-call.s3.{operation}", see)
        store.put("small", b"x")
        store.put("large", sized(store.staging(), s3.PART + 1))
        assert sums == {"PutObject": 1, "UploadPart": 2}
        for key in ("small", "large"):
            head = moto_server.client.head_object(Bucket=store.store.bucket, Key=f"b/{key}")
            assert len(head["Metadata"][s3.MEANT]) == 64


def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "checks_bodies", lambda *_: True)


# ── on the way


@pytest.fixture
def proxy(moto_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(moto_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def hasty(moto_server: S3Server, proxy: FaultProxy, tmp_path: Path) -> S3Store:
    """Through the proxy, without any second try."""
    options = moto_server.options(f"s3://{moto_server.make_bucket()}", tmp_path / "staging")
    return S3Store(replace(options, endpoint=proxy.endpoint))


def sized(folder: Path, size: int) -> Path:
    path = folder / f"file-{size}"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def test_a_broken_upload_goes_on_where_it_stopped(hasty: S3Store, proxy: FaultProxy, tmp_path: Path) -> None:
    path = sized(tmp_path, 3 * s3.PART + 5)
    assert hasty.features is not None
    proxy.expect([Fault("reset", "part", 4)])
    with pytest.raises(StoreUnavailable) as caught:
        hasty.put("objects/big", path)
    assert caught.value.progressed
    assert hasty.stat("objects/big") is None
    proxy.expect([])
    hasty.put("objects/big", path)
    assert proxy.counted["part"] == 1
    with hasty.get("objects/big") as stream:
        assert Content.of(path, s3.PART).equals(stream)


def test_parts_of_another_content_are_not_gone_on_with(
    hasty: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    one, other = sized(tmp_path, 2 * s3.PART), sized(tmp_path, 2 * s3.PART + 1)
    proxy.expect([Fault("reset", "part", 2)])
    with pytest.raises(StoreUnavailable):
        hasty.put("objects/big", one)
    hasty.put("objects/big", other)
    with hasty.get("objects/big") as stream:
        assert Content.of(other, s3.PART).equals(stream)


def test_a_lost_answer_is_not_taken_for_another_writers_key(hasty: S3Store, proxy: FaultProxy) -> None:
    store = RetryingStore(hasty, Patience(sleep=lambda _: None))
    assert not store.creates_once()
    proxy.expect([Fault("lost-answer", "put", 2)])  # the copy that gives the bytes their name
    store.put("k", b"once")
    assert proxy.outstanding == []
    with pytest.raises(AlreadyExists):
        store.put("k", b"once")


def test_bytes_that_arrive_as_others_never_get_their_name(hasty: S3Store, proxy: FaultProxy) -> None:
    assert not hasty.creates_once()
    proxy.expect([Fault("wrong-request", "put", 1)])
    with pytest.raises(StoreUnavailable, match="something else"):
        hasty.put("shop/1/manifest.json", b"{}" * 50)
    assert hasty.stat("shop/1/manifest.json") is None
    hasty.put("shop/1/manifest.json", b"{}" * 50)


def test_a_small_object_that_comes_back_wrong_is_fetched_again(hasty: S3Store, proxy: FaultProxy) -> None:
    hasty.put("k", b"right" * 100)
    proxy.expect([Fault("wrong-answer", "get", 1)])
    assert read_all(hasty, "k") == b"right" * 100
    assert proxy.outstanding == []


def test_what_is_damaged_where_it_lies_is_handed_out_for_its_reader_to_judge(
    hasty: S3Store, moto_server: S3Server
) -> None:
    meant = hashlib.sha256(b"what it was").hexdigest()
    moto_server.client.put_object(
        Bucket=hasty.bucket, Key="k", Body=b"what it is", Metadata={s3.MEANT: meant}
    )
    assert read_all(hasty, "k") == b"what it is"


def test_content_that_lies_there_damaged_is_replaced_by_the_right_one(
    hasty: S3Store, moto_server: S3Server
) -> None:
    meant = hashlib.sha256(b"what it was").hexdigest()
    moto_server.client.put_object(
        Bucket=hasty.bucket, Key="k", Body=b"what it is", Metadata={s3.MEANT: meant}
    )
    hasty.put("k", b"what it was")
    assert read_all(hasty, "k") == b"what it was"


def test_a_listing_goes_on_with_the_page_that_failed(
    hasty: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {f"k{number:02d}" for number in range(25)}
    for key in keys:
        hasty.put(key, b"")
    monkeypatch.setattr(s3_reading, "PAGE", 10)
    proxy.expect([Fault("500", "list", 2), Fault("short-answer", "list", 4)])
    store = RetryingStore(hasty, Patience(sleep=lambda _: None))
    assert [stat.key for stat in store.list()] == sorted(keys)
    assert (proxy.outstanding, proxy.counted["list"]) == ([], 5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"secret_access_key": "x"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, "InvalidAccessKeyId"),
        ({"url": "s3://no-such-bucket-at-all/x"}, "NoSuchBucket"),
        ({"profile": "no-such-profile", "access_key_id": None, "secret_access_key": None}, "profile"),
    ],
)
def test_what_no_second_try_can_help_fails_at_once_and_says_what_to_do(
    wrong: dict[str, Any], said: str, rclone_server: S3Server, tmp_path: Path
) -> None:
    options = replace(rclone_server.options(f"s3://{rclone_server.make_bucket()}", tmp_path), **wrong)
    waited: list[float] = []
    store = RetryingStore(S3Store(options), Patience(sleep=waited.append))
    with pytest.raises((VaultError, ConfigError), match=said) as caught:
        store.put("k", b"x")
    assert not isinstance(caught.value, StoreUnavailable)
    assert caught.value.remedy
    assert rclone_server.secret_access_key not in str(caught.value)
    assert waited == []


def test_a_server_that_is_not_there_is_tried_again_and_then_named(tmp_path: Path) -> None:
    options = StoreOptions(
        "s3://b/x", tmp_path, endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b"
    )
    waited: list[float] = []
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9.*tried 3 times"):
        RetryingStore(S3Store(options), Patience(attempts=3, sleep=waited.append)).stat("k")
    assert len(waited) == 2


# ── in the bucket


def test_only_bulk_goes_into_the_storage_class_and_the_rest_can_be_read_at_once(
    moto_server: S3Server, tmp_path: Path
) -> None:
    options = moto_server.options(f"s3://{moto_server.make_bucket()}", tmp_path)
    store = S3Store(replace(options, storage_class="GLACIER", archivable=layout.ARCHIVABLE))
    bulk, map_ = "objects/ab/ab.tsv.zst", "objects/cd/cd.map.zst"
    for key in (bulk, map_, "shop/1/manifest.json"):
        store.put(key, b"x")
    assert read_all(store, map_) == read_all(store, "shop/1/manifest.json") == b"x"
    with pytest.raises(NotThawed) as caught:
        read_all(store, bulk)
    assert caught.value.remedy
    store.put("objects/big.tsv.zst", sized(tmp_path, s3.PART + 1))
    head = moto_server.client.head_object(Bucket=store.bucket, Key="objects/big.tsv.zst")
    assert head["StorageClass"] == "GLACIER"


def test_objects_are_locked_and_working_files_are_not(moto_server: S3Server, tmp_path: Path) -> None:
    bucket = moto_server.make_bucket(ObjectLockEnabledForBucket=True)
    options = moto_server.options(f"s3://{bucket}/v", tmp_path)
    store = S3Store(replace(options, object_lock_days=30, mutable=layout.MUTABLE))
    store.put("objects/ab/ab", b"x")
    store.put("shop/lock.json", b"x")
    locked = moto_server.client.head_object(Bucket=bucket, Key="v/objects/ab/ab")
    assert locked["ObjectLockMode"] == "GOVERNANCE"
    assert locked["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=29)
    head = moto_server.client.head_object(Bucket=bucket, Key="v/shop/lock.json")
    assert "ObjectLockRetainUntilDate" not in head


def test_objects_are_encrypted_by_the_server_where_it_is_said_so(
    moto_server: S3Server, tmp_path: Path
) -> None:
    options = moto_server.options(f"s3://{moto_server.make_bucket()}", tmp_path)
    store = S3Store(replace(options, server_side_encryption="aws:kms", kms_key_id="alias/backups"))
    store.put("k", b"x" * 1000)  # the ETag says nothing then: it is read back
    store.put("big", sized(tmp_path, s3.PART + 1))
    for key in ("k", "big"):
        head = moto_server.client.head_object(Bucket=store.bucket, Key=key)
        assert head["ServerSideEncryption"] == "aws:kms"
    with pytest.raises(AlreadyExists) as caught:
        store.put("k", b"x" * 1000)
    assert caught.value.differs is None


def test_sweep_aborts_abandoned_uploads_and_no_others(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, client = moto_server.make_bucket(), moto_server.client
    store = S3Store(moto_server.options(f"s3://{bucket}/v", tmp_path))
    for key in ("v/objects/forgotten", "v/objects/living", "elsewhere"):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]  # moto says: in 2010
        if key == "v/objects/living":
            client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x")

    def left() -> list[str]:
        return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]

    assert store.sweep() == 1
    assert sorted(left()) == ["elsewhere", "v/objects/living"]
    monkeypatch.setattr(s3, "STALE_UPLOAD", timedelta(seconds=-60))
    assert store.sweep() == 1
    assert left() == ["elsewhere"]


def test_markers_of_consoles_and_keys_of_ours_below_tmp_are_not_listed(
    moto_server: S3Server, tmp_path: Path
) -> None:
    bucket = moto_server.make_bucket()
    store = S3Store(moto_server.options(f"s3://{bucket}/v", tmp_path))
    assert store.creates_once() in (True, False)  # asks, and leaves its probe
    for key in ("v/", "v/folder/", "vault-of-others/x"):
        moto_server.client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert list(store.list()) == []
    assert set(store.folders()) <= {"folder"}


def test_secrets_stay_out_of_what_is_shown(moto_server: S3Server, tmp_path: Path) -> None:
    store = S3Store(replace(moto_server.options("s3://b/x", tmp_path), secret_access_key="very-secret"))
    assert "very-secret" not in f"{store!r} {store.address} {store.access!r}"


def test_clients_may_be_given_by_a_caller_that_has_them(moto_server: S3Server, tmp_path: Path) -> None:
    asked: list[str] = []

    def clients(service: str) -> Any:
        asked.append(service)
        return moto_server.client

    bucket = moto_server.make_bucket()
    store = S3Store(StoreOptions(f"s3://{bucket}", tmp_path, clients=clients))
    store.put("k", b"x")
    assert read_all(store, "k") == b"x"
    assert asked == ["s3"]


def test_locks_of_what_a_new_backup_names_are_extended_when_half_of_their_time_is_over(
    moto_server: S3Server, tmp_path: Path
) -> None:
    bucket = moto_server.make_bucket(ObjectLockEnabledForBucket=True)
    options = replace(moto_server.options(f"s3://{bucket}/v", tmp_path), object_lock_days=30)
    store = open_store(options)
    keys = [f"objects/ab/{number}" for number in range(3)]
    for key in keys:
        store.put(key, b"x")

    def days(key: str) -> int:
        until = moto_server.client.head_object(Bucket=bucket, Key=f"v/{key}")["ObjectLockRetainUntilDate"]
        return round((until - datetime.now(UTC)) / timedelta(days=1))

    later = datetime.now(UTC) + timedelta(days=10)
    assert locks_of(store).extend(keys, now=later) == 0
    later += timedelta(days=10)
    assert locks_of(store).extend(keys[:2], now=later) == 2
    assert [days(key) for key in keys] == [50, 50, 30]
    assert locks_of(store).extend(keys, now=later) == 1  # the others were extended a moment ago
    assert open_store(replace(options, object_lock_days=None)).object_locks() is None
