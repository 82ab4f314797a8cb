"""The plan of a bucket, its rules and its policies: pure functions, no server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from backup_pipeline.stores.s3.bucket import lifecycle, policies
from backup_pipeline.stores.s3.bucket.steps import PUBLIC_ACCESS, Step, plan
from backup_pipeline.stores.s3.bucket.wanted import Current, Lifecycle, Unknown, Wanted
from backup_pipeline.vault import layout

WANTED = Wanted(
    "acme",
    layout.OBJECTS,
    "backups/",
    "eu-central-1",
    lifecycle=Lifecycle((("GLACIER_IR", 10), ("DEEP_ARCHIVE", 100))),
    object_lock_days=30,
)
RIGHT = Current(
    exists=True,
    versioning="Enabled",
    public_access=PUBLIC_ACCESS,
    policy=policies.merged(None, WANTED),
    encryption={"SSEAlgorithm": "AES256"},
    lifecycle=lifecycle.rules(WANTED),
    object_lock={"ObjectLockEnabled": "Enabled"},
)
KEYS = {"mutable": layout.MUTABLE, "once": layout.CREATED_ONCE, "records": layout.PRUNE_RECORDS}
FOREIGN_RULE = {
    "ID": "theirs",
    "Status": "Enabled",
    "Filter": {"Prefix": "logs/"},
    "Expiration": {"Days": 3},
}
FOREIGN_STATEMENT = {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObjectAcl"}


def states(steps: tuple[Step, ...]) -> dict[str, str]:
    return {step.part: step.state for step in steps}


def test_a_bucket_that_is_right_needs_no_change() -> None:
    assert set(states(plan(RIGHT, WANTED)).values()) == {"right"}


def test_a_bucket_that_is_not_there_is_made_with_everything() -> None:
    steps = plan(Current(exists=False), WANTED)
    assert set(states(steps).values()) == {"change"}
    assert [step.part for step in steps].index("versioning") < [step.part for step in steps].index(
        "object lock"
    )


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        (replace(RIGHT, versioning="Suspended"), "versioning"),
        (replace(RIGHT, versioning=None), "versioning"),
        (replace(RIGHT, public_access={**PUBLIC_ACCESS, "BlockPublicPolicy": False}), "public access"),
        (replace(RIGHT, policy=None), "policy"),
        (replace(RIGHT, encryption=None), "encryption"),
        (replace(RIGHT, lifecycle=()), "lifecycle"),
        (replace(RIGHT, object_lock=None), "object lock"),
    ],
)
def test_what_is_not_right_is_one_step_and_the_rest_stays(broken: Current, part: str) -> None:
    assert {name for name, state in states(plan(broken, WANTED)).items() if state == "change"} == {part}


@pytest.mark.parametrize(
    "part", ["versioning", "public_access", "policy", "encryption", "lifecycle", "object_lock"]
)
def test_what_a_server_does_not_offer_or_tell_is_said_and_no_change(part: str) -> None:
    unasked = plan(replace(RIGHT, **{part: Unknown("not-offered", "NotImplemented")}), WANTED)
    assert sorted(set(states(unasked).values())) == ["not-offered", "right"]
    denied = plan(replace(RIGHT, **{part: Unknown("denied", "AccessDenied")}), WANTED)
    (step,) = [step for step in denied if step.state == "stuck"]
    assert "setup" in step.remedy


def test_over_plain_http_no_client_is_locked_out() -> None:
    found = plan(replace(RIGHT, policy=None), replace(WANTED, tls_only=False))
    (step,) = [step for step in found if step.part == "policy"]
    assert step.state == "not-offered"
    assert "lock out" in step.said


def test_what_others_wrote_into_the_policy_stays() -> None:
    for theirs in (
        {"Statement": FOREIGN_STATEMENT},
        {"Version": "2008-10-17", "Statement": [FOREIGN_STATEMENT]},
    ):
        made = policies.merged(theirs, WANTED)
        assert FOREIGN_STATEMENT in made["Statement"]
        assert policies.as_wanted(made, WANTED)
        assert policies.merged(made, WANTED) == made
    assert policies.merged({"Version": "2008-10-17", "Statement": []}, WANTED)["Version"] == "2008-10-17"


def test_a_policy_is_recognised_as_the_server_gives_it_back() -> None:
    statement = policies.tls_statement(WANTED)
    changed = {**statement, "Action": ["s3:*"], "Resource": statement["Resource"][::-1]}
    assert policies.as_wanted({"Statement": [changed]}, WANTED)
    assert not policies.as_wanted({"Statement": [{**statement, "Effect": "Allow"}]}, WANTED)
    assert not policies.as_wanted({"Statement": [{**statement, "Resource": [WANTED.arn]}]}, WANTED)


def test_the_rules_of_others_stay_and_ours_follow_the_settings() -> None:
    found = lifecycle.merged((FOREIGN_RULE,), WANTED)
    assert found[0] == FOREIGN_RULE
    assert lifecycle.merged(found, WANTED) == found
    warmer = replace(WANTED, lifecycle=Lifecycle())
    assert not lifecycle.as_wanted(found, warmer)
    # Nothing is moved any more: the rule that did is gone, too.
    assert not [rule for rule in lifecycle.merged(found, warmer) if "Transitions" in rule]


def test_two_vaults_in_one_bucket_keep_each_other_s_rules() -> None:
    other = replace(WANTED, prefix="other/")
    both = lifecycle.merged(lifecycle.merged((), WANTED), other)
    assert lifecycle.as_wanted(both, WANTED)
    assert lifecycle.as_wanted(both, other)


def test_only_objects_are_ever_frozen() -> None:
    (rule,) = [rule for rule in lifecycle.rules(WANTED) if "Transitions" in rule]
    assert rule["Filter"] == {"And": {"Prefix": "backups/objects/", "ObjectSizeGreaterThan": lifecycle.SMALL}}
    (other,) = [one for one in lifecycle.rules(replace(WANTED, endpoint="https://x")) if "Transitions" in one]
    assert other["Filter"] == {"Prefix": "backups/objects/"}
    assert not [rule for rule in lifecycle.rules(WANTED) if "Days" in rule.get("Expiration", {})]


@pytest.mark.parametrize(
    ("rule", "danger"),
    [
        ({"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}, "deletes"),
        ({"Prefix": "backups/shop/", "Expiration": {"Date": "2027-01-01"}}, "deletes"),
        ({"Filter": {"And": {"Prefix": "back", "Tags": []}}, "Expiration": {"Days": 30}}, "deletes"),
        ({"Filter": {}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}, "manifests"),
        (
            {
                "Filter": {"Prefix": "backups/objects/"},
                "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}],
            },
            None,
        ),
        ({"Filter": {}, "Transitions": [{"Days": 1, "StorageClass": "STANDARD_IA"}]}, None),
        ({"Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}, None),
        ({"Filter": {}, "Expiration": {"Days": 3}, "Status": "Disabled"}, None),
        ({"Filter": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 3}}, None),
    ],
)
def test_a_foreign_rule_that_would_destroy_backups_is_named(rule: dict[str, Any], danger: str | None) -> None:
    current = replace(RIGHT, lifecycle=(*RIGHT.lifecycle, {"ID": "theirs", "Status": "Enabled", **rule}))
    stuck = [step for step in plan(current, WANTED) if step.state == "stuck"]
    assert [danger in step.said and "'theirs'" in step.said for step in stuck if danger] == (
        [True] if danger else []
    )
    assert bool(stuck) is (danger is not None)


def test_a_stronger_encryption_of_the_bucket_is_left_alone() -> None:
    chosen = replace(RIGHT, encryption={"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k1"})
    assert states(plan(chosen, WANTED))["encryption"] == "right"
    asked = replace(WANTED, encryption="aws:kms", kms_key_id="k2")
    assert states(plan(chosen, asked))["encryption"] == "change"
    assert states(plan(RIGHT, asked))["encryption"] == "change"


# ── the roles


def allows(policy: Mapping[str, Any], action: str, key: str) -> bool:
    """What IAM would say of a key, where no condition takes anything back."""
    resource = f"{WANTED.arn}/{key}" if key else WANTED.arn
    return any(
        statement["Effect"] == "Allow"
        and action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in policy["Statement"]
    )


ID = "2026-11-21T02-00-00-123Z"
KEPT = [
    "backups/objects/ab/abcd.tsv.zst",
    f"backups/{layout.manifest_key('shop', ID)}",
    f"backups/{layout.seal_key('shop', ID)}",
    f"backups/{layout.outline_key('shop', ID)}",
    f"backups/{layout.recover_key('shop', ID)}",
    f"backups/{layout.VAULT}",
    f"backups/{layout.forgotten_key('shop', ID)}",
]
WORKING = [
    f"backups/{layout.lock_key('shop')}",
    f"backups/{layout.draft_key('shop', 'abc')}",
    f"backups/{layout.journal_key('shop', ID, 1)}",
]


def test_a_writer_adds_and_removes_nothing_but_its_working_files() -> None:
    writer = policies.writer(WANTED, layout.MUTABLE, layout.CREATED_ONCE)
    for key in [*KEPT, *WORKING]:
        assert allows(writer, "s3:PutObject", key)
        assert allows(writer, "s3:GetObject", key)
    assert not [key for key in KEPT if allows(writer, "s3:DeleteObject", key)]
    assert [key for key in WORKING if allows(writer, "s3:DeleteObject", key)] == WORKING
    assert "s3:DeleteObjectVersion" not in json.dumps(writer)
    assert "s3:Put*" not in json.dumps(writer)
    assert allows(writer, "s3:PutObjectRetention", KEPT[0])
    assert "Retention" not in json.dumps(policies.writer(replace(WANTED, object_lock_days=None), (), ()))


def test_a_writer_cannot_write_over_what_is_there() -> None:
    (deny,) = [
        one
        for one in policies.writer(WANTED, layout.MUTABLE, layout.CREATED_ONCE)["Statement"]
        if one["Effect"] == "Deny"
    ]
    assert deny["Condition"]["Null"] == {"s3:if-none-match": "true"}
    for key in KEPT[:4]:
        assert any(fnmatchcase(f"{WANTED.arn}/{key}", pattern) for pattern in deny["Resource"])
    for key in WORKING:
        assert not any(fnmatchcase(f"{WANTED.arn}/{key}", pattern) for pattern in deny["Resource"])


def test_a_pruner_removes_and_writes_nothing_but_its_records() -> None:
    pruner = policies.pruner(WANTED, layout.PRUNE_RECORDS)
    for key in [*KEPT, *WORKING]:
        assert allows(pruner, "s3:DeleteObject", key)
    for key in KEPT[:6]:
        assert not allows(pruner, "s3:PutObject", key)
    for key in (layout.forgotten_key("shop", ID), layout.lock_key("shop"), layout.GARBAGE, layout.PRUNE_LOCK):
        assert allows(pruner, "s3:PutObject", f"backups/{key}")
    assert "Version" not in json.dumps(pruner["Statement"])


def test_a_reader_reads_and_thaws() -> None:
    reader = policies.reader(WANTED)
    assert allows(reader, "s3:RestoreObject", KEPT[0])
    assert not allows(reader, "s3:PutObject", KEPT[0])
    assert not allows(reader, "s3:DeleteObject", KEPT[0])


def test_no_role_may_touch_another_part_of_the_bucket() -> None:
    for role in ("writer", "pruner", "reader"):
        policy = policies.all_policies(WANTED, **KEYS)[role]
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert not allows(policy, action, "elsewhere/objects/x"), role


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("arn:aws:kms:eu-central-1:1:key/k", "arn:aws:kms:eu-central-1:1:key/k"),
        ("alias/backups", "arn:aws:kms:*:*:alias/backups"),
        ("1234", "arn:aws:kms:*:*:key/1234"),
        (None, "*"),
    ],
)
def test_a_key_of_one_s_own_is_part_of_every_role(key: str | None, resource: str) -> None:
    wanted = replace(WANTED, encryption="aws:kms", kms_key_id=key)
    for role in ("writer", "pruner", "reader"):
        (statement,) = [
            one
            for one in policies.all_policies(wanted, **KEYS)[role]["Statement"]
            if "kms:Decrypt" in one["Action"]
        ]
        assert statement["Resource"] == [resource]


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("cn-north-1", "arn:aws-cn:s3:::acme"),
        ("us-gov-west-1", "arn:aws-us-gov:s3:::acme"),
        (None, "arn:aws:s3:::acme"),
    ],
)
def test_the_partitions_of_aws_are_known(region: str | None, arn: str) -> None:
    assert Wanted("acme", layout.OBJECTS, region=region).arn == arn
