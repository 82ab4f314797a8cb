"""`bucket setup`: against a server that knows all of it, one that knows none of it, and with the rights it hands out."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from backup_pipeline.errors import NotAllowed
from backup_pipeline.model.orders import BucketOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.buckets import bucket as bucket_of
from backup_pipeline.operations.stores import open_vault_for_pruning
from backup_pipeline.services.aws import AwsAccess, client
from backup_pipeline.stores.s3.bucket.applying import apply
from backup_pipeline.stores.s3.bucket.steps import PUBLIC_ACCESS
from backup_pipeline.stores.s3.bucket.wanted import Wanted
from backup_pipeline.vault import layout
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.other_servers import Behaviour, Ceph, b2, behind, old_minio, swift
from backup_pipeline_tests.harness.stores import S3Server, locks_of

pytestmark = pytest.mark.usefixtures("one_writer")

_numbers = count(1)


def new_name() -> str:
    return f"setup-{os.getpid()}-{next(_numbers)}"


@dataclass(frozen=True)
class Bucket:
    folder: Folder
    server: S3Server
    bucket: str

    def steps(self, *options: str, code: int = 0) -> dict[str, str]:
        ended = self.folder.run("bucket", "setup", "off_site", "--json", *options)
        assert ended.code == code, str(ended)
        steps: dict[str, str] = {}
        for step in (ended.data if code == 0 else ended.document["data"])["plan"]["steps"]:
            steps[step["part"]] = step["state"]
        return steps


def site(folder: Folder, server: S3Server, *lines: str, signin: str | None = None) -> Bucket:
    bucket = new_name()
    store = f"url: s3://{bucket}/backups\n{server.yaml() if signin is None else signin}"
    more = "".join(f"  {line}\n" for line in lines)
    text = (folder.path / "backup.yaml").read_text().replace("vault: ./vault\n", "")
    indented = "".join(f"  {line}\n" for line in f"  {store.lstrip()}{more}".splitlines())
    (folder.path / "backup.yaml").write_text(f"vault: ./vault\ncopies:\n  off_site:\n{indented}{text}")
    return Bucket(folder, server, bucket)


LIFECYCLE = "lifecycle: {glacier_after_days: 30, deep_archive_after_days: 200}"


def test_setup_says_it_does_it_and_then_has_nothing_left_to_do(shop: Folder, moto_server: S3Server) -> None:
    here = site(shop, moto_server, "object_lock_days: 3", LIFECYCLE)
    planned = here.steps("--dry-run")
    assert set(planned.values()) == {"change", "not-offered"}
    assert planned["policy"] == "not-offered", "over plain http, TLS-only would lock everybody out"
    assert here.steps("--dry-run") == planned, "a dry run changes nothing"
    done = here.steps()
    assert {part for part, state in done.items() if state == "done"} == planned.keys() - {"policy"}
    assert set(here.steps().values()) == {"right", "not-offered"}
    rules = moto_server.client.get_bucket_lifecycle_configuration(Bucket=here.bucket)["Rules"]
    assert [rule["Filter"] for rule in rules if "Transitions" in rule] == [{"Prefix": "backups/objects/"}]
    lock = moto_server.client.get_object_lock_configuration(Bucket=here.bucket)["ObjectLockConfiguration"]
    assert lock == {"ObjectLockEnabled": "Enabled"}


def test_an_existing_bucket_keeps_what_is_not_ours(shop: Folder, moto_server: S3Server) -> None:
    here, server = site(shop, moto_server, LIFECYCLE, "object_lock_days: 3"), moto_server.client
    server.create_bucket(Bucket=here.bucket)
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    server.put_bucket_lifecycle_configuration(Bucket=here.bucket, LifecycleConfiguration={"Rules": [theirs]})
    statement = {
        "Sid": "Theirs",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObjectAcl",
        "Resource": f"arn:aws:s3:::{here.bucket}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    server.put_bucket_policy(Bucket=here.bucket, Policy=json.dumps(policy))
    assert set(here.steps().values()) <= {"done", "right", "not-offered"}
    # The command leaves the policy alone over plain http; with TLS it would do this.
    done = {step.part: step.state for step in apply(server, Wanted(here.bucket, layout.OBJECTS, "backups/"))}
    assert done["policy"] == "done"
    kept = json.loads(server.get_bucket_policy(Bucket=here.bucket)["Policy"])["Statement"]
    assert statement in kept
    assert len(kept) == 2
    rules = server.get_bucket_lifecycle_configuration(Bucket=here.bucket)["Rules"]
    assert theirs in rules
    assert {step.state for step in apply(server, Wanted(here.bucket, layout.OBJECTS, "backups/"))} == {
        "right"
    }


def test_a_foreign_rule_that_deletes_backups_is_named_and_is_no_success(
    shop: Folder, moto_server: S3Server
) -> None:
    here, server = site(shop, moto_server), moto_server.client
    server.create_bucket(Bucket=here.bucket)
    theirs = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}}
    server.put_bucket_lifecycle_configuration(Bucket=here.bucket, LifecycleConfiguration={"Rules": [theirs]})
    ended = shop.run("bucket", "setup", "off_site")
    assert ended.code == 14
    assert "'tidy' deletes" in ended.stdout
    assert here.steps(code=14)["foreign rules"] == "stuck"


def test_what_a_server_does_not_offer_is_an_answer_unless_a_setting_asks_for_it(
    shop: Folder, rclone_server: S3Server
) -> None:
    text = (shop.path / "backup.yaml").read_text()
    here = site(shop, rclone_server)
    steps = here.steps()
    assert steps["bucket"] == "done"
    assert set(steps.values()) == {"done", "not-offered"}
    assert {"versioning", "lifecycle"} <= {part for part, state in steps.items() if state == "not-offered"}
    assert here.steps()["bucket"] == "right"
    (shop.path / "backup.yaml").write_text(text)
    asking = site(shop, rclone_server, "object_lock_days: 3", LIFECYCLE).steps(code=14)
    assert {part for part, state in asking.items() if state == "stuck"} == {"object lock", "lifecycle"}


# ── other people's servers


def test_on_ceph_a_bucket_stays_writable_and_one_that_was_closed_is_healed(
    shop: Folder, ministack_server: S3Server
) -> None:
    """`bucket setup` switched BlockPublicAcls on: every backup after it was refused, and the remedy led back here."""
    with behind(ministack_server, Ceph()) as ceph:
        here = site(shop, ceph.server, "object_lock_days: 3")
        assert here.steps()["public access"] == "done"
        identifier = shop.backup()
        ceph.server.client.put_public_access_block(
            Bucket=here.bucket, PublicAccessBlockConfiguration=PUBLIC_ACCESS
        )
        refused = shop.run("backup", "shop", "--no-record")
        assert "public access block" in refused.stderr, str(refused)
        ended = shop.run("bucket", "setup", "off_site")
        assert "BlockPublicAcls off" in ended.stdout, str(ended)
        shop.good("copy", "shop", identifier)
        steps = here.steps()
        assert (steps["public access"], steps["encryption"]) == ("right", "not-offered")


def test_a_server_that_takes_what_it_does_not_know_for_the_bucket_is_not_stuck(
    shop: Folder, ministack_server: S3Server
) -> None:
    with behind(ministack_server, swift) as filtered:
        text = (shop.path / "backup.yaml").read_text()
        steps = site(shop, filtered.server).steps()
        assert {part for part, state in steps.items() if state == "not-offered"} == {
            "public access",
            "encryption",
            "policy",
            "lifecycle",
        }
        (shop.path / "backup.yaml").write_text(text)
        asking = site(shop, filtered.server, "object_lock_days: 3").steps(code=14)
        assert asking["object lock"] == "stuck"


@pytest.mark.parametrize("behaviour", [b2, old_minio])
def test_a_digest_that_must_be_an_md5_is_one(
    behaviour: Behaviour, shop: Folder, ministack_server: S3Server
) -> None:
    """Every request that needs a digest carried a CRC32: four lines STUCK, and locks that could not be extended."""
    with behind(ministack_server, behaviour) as filtered:
        here = site(shop, filtered.server, "object_lock_days: 3", LIFECYCLE)
        assert set(here.steps().values()) == {"done", "not-offered"}, (
            "over plain http, the policy is not offered"
        )
        shop.backup()
        store = Site.load(shop.path / "backup.yaml").copy("off_site").store
        (key, *_) = [stat.key for stat in store.list(layout.OBJECTS)]
        assert locks_of(store).extend([key], now=datetime.now(UTC) + timedelta(days=2)) == 1


def test_the_policies_are_printed_without_asking_anybody(shop: Folder) -> None:
    text = (shop.path / "backup.yaml").read_text()
    (shop.path / "backup.yaml").write_text(
        text + "copies: {off_site: {url: 's3://acme/x', region: cn-north-1}}\n"
    )
    ended = shop.good("bucket", "setup", "off_site", "--policies", "--json")
    policies = ended.data["plan"]["policies"]
    assert policies.keys() == {"writer", "pruner", "reader", "setup"}
    assert "arn:aws-cn:s3:::acme/x/objects/*" in json.dumps(policies)


@pytest.mark.parametrize(("name", "code", "said"), [("vault", 2, "no bucket"), ("nowhere", 3, "off_site")])
def test_what_is_no_bucket_is_refused(
    shop: Folder, moto_server: S3Server, name: str, code: int, said: str
) -> None:
    site(shop, moto_server)
    ended = shop.run("bucket", "setup", name)
    assert ended.code == code
    assert said in ended.stderr


# ── the rights, where a server enforces them


def people(server: S3Server, policies: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """A user for each role: their keys."""
    iam = client(
        AwsAccess(
            endpoint=server.endpoint, region="us-east-1", access_key_id="root", secret_access_key="root"
        ),
        "iam",
    )
    made = {}
    for role, policy in policies.items():
        name = f"{role}-{new_name()}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=role, PolicyDocument=json.dumps(understood(policy)))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        made[role] = (key["AccessKeyId"], key["SecretAccessKey"])
    return made


def understood(policy: dict[str, Any]) -> dict[str, Any]:
    """Moto takes every condition for true: the statements that deny on a condition would deny always."""
    kept = [one for one in policy["Statement"] if one["Effect"] == "Allow"]
    return {**policy, "Statement": kept}


@contextmanager
def everything_allowed(server: S3Server) -> Iterator[None]:
    def say(number: str) -> None:
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{server.endpoint}/moto-api/reset-auth", number.encode(), plain)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    say("1000000000")
    try:
        yield
    finally:
        say("0")


@pytest.fixture
def guarded(shop: Folder, strict_moto_server: S3Server) -> Bucket:
    """A vault in a bucket whose writer and pruner are users of their own; object lock is on."""
    server, bucket = strict_moto_server, new_name()
    config = shop.path / "backup.yaml"
    rest = config.read_text().replace("vault: ./vault\n", "")

    def vault(signin: str) -> str:
        return (
            f"vault:\n  url: s3://{bucket}/backups\n  endpoint: {server.endpoint}\n  region: us-east-1\n"
            f"  object_lock_days: 1\n{signin}{rest}"
        )

    config.write_text(vault(""))
    policies = dict(bucket_of(Site.load(config), BucketOrder("vault", policies=True)).policies)
    with everything_allowed(server):
        keys = people(server, policies)
        (key, secret) = keys["writer"]
        config.write_text(vault(f"  access_key_id: {key}\n  secret_access_key: {secret}\n"))
        shop.good("bucket", "setup", "vault")
    pruner, reader = keys["pruner"], keys["reader"]
    signin = (
        f"  access_key_id: {key}\n  secret_access_key: {secret}\n"
        f"  pruner: {{access_key_id: {pruner[0]}, secret_access_key: {pruner[1]}}}\n"
    )
    config.write_text(vault(signin))
    reading = f"  access_key_id: {reader[0]}\n  secret_access_key: {reader[1]}\n"
    (shop.path / "reader.yaml").write_text(vault(reading))
    return Bucket(shop, server, bucket)


def test_the_writer_backs_up_and_proves_and_can_delete_nothing(guarded: Bucket) -> None:
    shop = guarded.folder
    first, second = shop.backup(), shop.backup()
    assert first != second, "the lock was released, and taken again"
    shop.good("verify", "shop", "all")
    shop.good("drill", "shop", "--no-record")
    site = Site.load(shop.path / "backup.yaml")
    vault = site.vault
    assert vault.store.stat(layout.lock_key("shop")) is None
    manifest = vault.backup("shop", second).manifest
    for key in (
        layout.object_key(manifest.objects()[0]),
        layout.manifest_key("shop", second),
        layout.seal_key("shop", second),
        layout.recover_key("shop", second),
        layout.VAULT,
    ):
        with pytest.raises(NotAllowed):
            vault.store.delete(key)
        assert vault.store.stat(key) is not None


def test_the_writer_cleans_up_after_a_killed_run_as_far_as_it_may(guarded: Bucket) -> None:
    """A RECOVER.md without its manifest is what a kill right before the commit leaves."""
    shop = guarded.folder
    shop.backup()
    store = Site.load(shop.path / "backup.yaml").vault.store
    left = layout.recover_key("shop", "2020-01-01T00-00-00-000Z")
    journal = layout.journal_key("shop", "2020-01-01T00-00-00-000Z", 1)
    store.put(left, b"left behind")
    store.put(journal, b"{}")
    shop.backup()
    assert store.stat(journal) is None
    assert store.stat(left) is not None


def test_the_pruner_deletes_with_credentials_of_its_own_and_adds_nothing(guarded: Bucket) -> None:
    shop = guarded.folder
    identifier = shop.backup()
    site = Site.load(shop.path / "backup.yaml")
    vault = open_vault_for_pruning(site.settings)
    manifest = vault.backup("shop", identifier).manifest
    with pytest.raises(NotAllowed):
        vault.store.put(layout.object_key(manifest.objects()[0]) + "x", b"x")
    vault.store.put(layout.forgotten_key("shop", identifier), b"{}")
    vault.store.put(layout.GARBAGE, b"{}", overwrite=True)
    for key in (layout.manifest_key("shop", identifier), layout.object_key(manifest.objects()[0])):
        vault.store.delete(key)
        assert vault.store.stat(key) is None
    # What was deleted is a version still: the pruner cannot take that away.
    versions = [
        version["VersionId"] for version in _versions(guarded, layout.manifest_key("shop", identifier))
    ]
    assert versions


@pytest.mark.slow
def test_prune_signs_in_as_the_pruner_and_the_writer_cannot_do_its_work(guarded: Bucket) -> None:
    shop = guarded.folder
    config = shop.path / "backup.yaml"
    config.write_text(f"retention: {{last: 1, grace: 1s}}\n{config.read_text()}")
    first, second = shop.backup(), shop.backup()
    # A bucket with versions takes a deletion of what is locked, and keeps the bytes: no rule asks for that.
    assert " keep  locked until " in shop.good("prune").stdout
    assert Site.load(config).vault.ids("shop") == (first, second)
    refused = shop.run("forget", "shop", first, "--yes")
    assert "--force locked" in refused.stderr
    config.write_text(config.read_text().replace("  object_lock_days: 1\n", ""))
    shop.good("prune")
    assert Site.load(config).vault.ids("shop") == (second,)
    assert Site.load(config).vault.store.stat(layout.forgotten_key("shop", first)) is not None
    shop.good("prune")
    shop.good("verify", "shop", "all")
    third = shop.backup()
    # The same without the credentials of the pruner: nothing goes, and it is said.
    lines = [line for line in config.read_text().splitlines() if "pruner:" not in line]
    config.write_text("\n".join(lines))
    ended = shop.run("prune")
    assert ended.code != 0
    assert Site.load(config).vault.ids("shop") == (second, third)
    shop.good("verify", "shop", "all")


def test_the_reader_lists_verifies_restores_and_writes_nothing(guarded: Bucket) -> None:
    shop = guarded.folder
    identifier = shop.backup()
    as_reader = ("--config", "reader.yaml")
    assert identifier in shop.good("list", "shop", *as_reader).stdout
    verified = shop.good("verify", "shop", *as_reader)
    assert "not-remembered" in verified.stdout, "the outcome could not be kept, and that is said"
    shop.good("restore", "shop", "--to", shop.restored, *as_reader)
    assert shop.run("backup", "shop", "--no-record", *as_reader).code == 5
    assert Site.load(shop.path / "backup.yaml").vault.ids("shop") == (identifier,)


def _versions(guarded: Bucket, key: str) -> list[dict[str, Any]]:
    with everything_allowed(guarded.server):
        found = guarded.server.client.list_object_versions(Bucket=guarded.bucket, Prefix=f"backups/{key}")
        return list(found.get("Versions", []))
