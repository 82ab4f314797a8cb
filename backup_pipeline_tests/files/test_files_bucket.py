"""A bucket as a file tree, on a server that checks signatures and on one that knows more of S3."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from backup_pipeline.errors import SourceError, SourceUnavailable
from backup_pipeline.files.sources import bucket
from backup_pipeline.files.sources.base import Found, Trouble, Unreadable, Vanished
from backup_pipeline.files.sources.bucket import BucketSource
from backup_pipeline.services.aws import AwsAccess, Failure
from backup_pipeline_tests.contracts.files_contract import FilesContract, files_of, one_of, read
from backup_pipeline_tests.harness.fault_proxy import Fault, FaultProxy, fault_proxy
from backup_pipeline_tests.harness.stores import S3Server


@dataclass(frozen=True)
class BucketTree:
    server: S3Server
    bucket: str
    prefix: str = "avatars"

    @property
    def source(self) -> BucketSource:
        return BucketSource(f"s3://{self.bucket}/{self.prefix}", self.server.access)

    def put(self, path: str, data: bytes, **more: Any) -> None:
        self.server.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{path}", Body=data, **more)

    def remove(self, path: str) -> None:
        self.server.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{path}")


class TestOnRclone(FilesContract):
    has_folders = False

    @pytest.fixture
    def tree(self, rclone_server: S3Server) -> BucketTree:
        return BucketTree(rclone_server, rclone_server.make_bucket())


class TestOnMoto(FilesContract):
    has_folders = False

    @pytest.fixture
    def tree(self, moto_server: S3Server) -> BucketTree:
        return BucketTree(moto_server, moto_server.make_bucket())


@pytest.fixture
def tree(moto_server: S3Server) -> BucketTree:
    return BucketTree(moto_server, moto_server.make_bucket())


def troubles(tree: BucketTree) -> dict[str, str]:
    return {one.path: one.code for one in tree.source.entries() if isinstance(one, Trouble)}


def test_keys_that_no_file_system_holds_are_named_and_the_rest_is_listed(tree: BucketTree) -> None:
    hostile = ["../x", "a/../../x", "a//b", "./c", "d/.", "n" * 256, "/absolute", "e\0f"]
    good = ["ok.txt", "n" * 255, "a/b", "back\\slash", "...", "new\nline"]
    refused = []
    for key in [*hostile, *good]:
        try:
            tree.put(key, b"x")
        except tree.server.client.exceptions.ClientError:
            refused.append(key)
    assert troubles(tree) == dict.fromkeys(set(hostile) - set(refused), "name-not-storable")
    assert len(troubles(tree)) >= 5
    found = {one.path for one in tree.source.entries() if isinstance(one, Found)}
    assert found == set(good) - set(refused)


def test_a_key_below_a_file_is_named(tree: BucketTree) -> None:
    for key in ("a", "a-b", "a/b", "a/c/d", "ab/c"):
        tree.put(key, b"x")
    assert troubles(tree) == {"a/b": "name-not-storable", "a/c/d": "name-not-storable"}


def test_a_folder_that_was_made_in_a_console_is_a_folder(tree: BucketTree) -> None:
    tree.put("made/", b"")
    tree.put("made/x", b"x")
    tree.put("made-not", b"x")
    tree.server.client.put_object(Bucket=tree.bucket, Key="avatars/", Body=b"")
    found = [(one.path, one.type) for one in tree.source.entries() if isinstance(one, Found)]
    assert found == [("made", "folder"), ("made-not", "file"), ("made/x", "file")]
    folder = next(one for one in tree.source.entries() if isinstance(one, Found))
    assert tree.source.settled(folder) == folder


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(tree: BucketTree) -> None:
    tree.put("x", b"x")
    tree.server.client.put_object(Bucket=tree.bucket, Key="avatars-of-others/y", Body=b"y")
    assert [one.path for one in files_of(tree.source)] == ["x"]


def test_a_version_that_was_replaced_is_gone_and_never_mixed_with_the_new_one(tree: BucketTree) -> None:
    tree.put("f", b"old " * 1_000_000)
    source = tree.source
    found = one_of(source, "f")
    tree.put("f", b"new " * 1_000_000)
    with pytest.raises(Vanished):
        read(source, found)
    again = source.settled(found)
    assert again is not None
    assert read(source, again) == b"new " * 1_000_000


def test_what_lies_in_an_archive_is_named_and_not_thawed_unasked(tree: BucketTree) -> None:
    tree.put("cold", b"x", StorageClass="GLACIER")
    tree.put("warm", b"x")
    assert troubles(tree) == {"cold": "file-archived"}
    assert [one.path for one in tree.source.entries() if isinstance(one, Found)] == ["warm"]


def test_backups_in_the_bucket_are_named_and_left_out(tree: BucketTree) -> None:
    for path in ("a.txt", "bk/objects/aa", "bk/newest.json", "bk2/b.txt"):
        tree.put(path, b"x")
    source = replace(tree.source, apart=("avatars/bk",))
    found = [(one.path, getattr(one, "code", "")) for one in source.entries()]
    assert found == [("a.txt", ""), ("bk", "backups-inside"), ("bk2/b.txt", "")]


@pytest.mark.parametrize("code", ["InvalidRequest", "KMS.DisabledException"])
def test_an_object_under_a_customers_key_costs_this_file_and_not_the_tree(
    tree: BucketTree, code: str
) -> None:
    """No server here encrypts with a customer's key; AWS answers 400 to a request without the key."""
    refused = tree.source._of_the_file("cannot read a")(Failure("permanent", f"{code}: no", code=code))
    assert isinstance(refused, Unreadable)
    other = tree.source._of_the_file("cannot read a")(Failure("permanent", "no", code="ExpiredToken"))
    assert not isinstance(other, Unreadable), "what goes for all files ends the run"


def test_patterns_choose_what_is_taken(tree: BucketTree) -> None:
    for key in ("a/x.png", "a/x.tmp", "b/y.png"):
        tree.put(key, b"x")
    source = replace(tree.source, include=("a/",), exclude=("*.tmp",))
    assert [one.path for one in files_of(source)] == ["a/x.png"]


def test_more_keys_than_one_page_come_in_order(tree: BucketTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "PAGE", 10)
    keys = sorted(f"k{number * 7919 % 105:05d}" for number in range(105))
    for key in keys:
        tree.put(key, b"")
    assert [one.path for one in files_of(tree.source)] == keys


@pytest.fixture
def proxy(moto_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(moto_server.endpoint) as proxy:
        yield proxy


def test_a_connection_that_breaks_goes_on_in_the_same_version(tree: BucketTree, proxy: FaultProxy) -> None:
    data = bytes(range(256)) * 40_000
    tree.put("f", data)
    source = replace(tree.source, access=replace(tree.server.access, endpoint=proxy.endpoint, read_seconds=2))
    found = one_of(source, "f")
    planned = [Fault("short-answer", "get", 1), Fault("short-answer", "get", 2), Fault("503", "list", 1)]
    proxy.expect(planned[:2])
    assert read(source, found) == data
    assert Counter(proxy.fired) == Counter(planned[:2])


def test_a_server_that_stays_away_is_worth_another_try_and_says_so(
    tree: BucketTree, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "TRIES", 2)
    tree.put("f", b"x" * 100)
    source = replace(tree.source, access=replace(tree.server.access, endpoint=proxy.endpoint))
    found = one_of(source, "f")
    proxy.expect([Fault("503", "any", number) for number in range(1, 30)])
    with pytest.raises(SourceUnavailable, match="SlowDown"):
        read(source, found)


@pytest.mark.parametrize(
    ("access", "why"),
    [
        ({"secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_keys_are_said_with_what_to_do(
    access: dict[str, str], why: str, rclone_server: S3Server
) -> None:
    wrong = replace(rclone_server.access, **access)  # type: ignore[arg-type]
    source = BucketSource(f"s3://{rclone_server.make_bucket()}", wrong)
    report = source.diagnose()
    assert not report.ok
    assert why in report.findings[0].message
    assert report.findings[0].remedy
    with pytest.raises(SourceError):
        list(source.entries())


def test_a_bucket_that_is_not_there_and_one_that_is_empty(moto_server: S3Server) -> None:
    gone = BucketSource("s3://no-such-bucket-anywhere/x", moto_server.access).diagnose()
    assert (gone.ok, gone.findings[0].code) == (False, "tree-unavailable")
    empty = BucketSource(f"s3://{moto_server.make_bucket()}", moto_server.access).diagnose()
    assert [finding.code for finding in empty.findings] == ["tree-empty"]


def test_a_source_can_be_sent_to_another_process_without_showing_its_secret(tree: BucketTree) -> None:
    tree.put("f", b"x")
    source: BucketSource = pickle.loads(pickle.dumps(tree.source))
    assert read(source, one_of(source, "f")) == b"x"
    shown = repr(BucketSource("s3://b", AwsAccess(access_key_id="AKIA", secret_access_key="very-secret")))
    assert "very-secret" not in shown
