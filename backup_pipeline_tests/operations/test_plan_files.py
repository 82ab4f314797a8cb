"""A plan as a file: what was approved is done, or nothing is; a file that is no plan is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.databases.merge.plan import MergePlan
from backup_pipeline.errors import RestoreError, UsageError
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.operations import plan_file

PLAN = MergePlan(
    "shop",
    "2026-11-20T02-00-00-123Z",
    "postgres",
    "postgresql://app@localhost/shop",
    "plan",
    "merge",
    "the target holds rows",
    digest="0123456789abcdef" * 4,
)
ORDER = MergeOrder(
    "shop", live=True, only=("orders", "users"), where=("orders: id = 7",), update="newest:at", remember=False
)
TYPED = MergeOrder("shop", live=True)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    plan_file.write(path, ORDER, PLAN)
    return path


def test_an_approved_order_is_the_order_of_the_plan_on_that_very_backup(written: Path) -> None:
    order, approved = plan_file.read(written, TYPED)
    assert order == replace(ORDER, id=PLAN.backup_id)
    approved.demand(PLAN)


@pytest.mark.parametrize("other", [{"digest": "f" * 64}, {"target": "postgresql://app@elsewhere/shop"}])
def test_another_plan_than_the_approved_one_is_refused(written: Path, other: dict[str, str]) -> None:
    with pytest.raises(RestoreError, match="approved"):
        plan_file.read(written, TYPED)[1].demand(replace(PLAN, **other))


@pytest.mark.parametrize(
    "typed",
    [
        {"only": ("orders",)},
        {"delete": True},
        {"id": "2026-11-21T02-00-00-123Z"},
        {"system": "blog"},
        {"from_environment": "staging"},
    ],
)
def test_what_is_restored_stands_in_the_plan_and_is_not_typed_beside_it(
    written: Path, typed: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        plan_file.read(written, replace(TYPED, **typed))


def test_no_address_with_a_password_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan_file.write(path, replace(ORDER, to="postgresql://app:hunter2@localhost/shop"), PLAN)
    assert "hunter2" not in path.read_text()


def _without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plan: plan | {"run": "rm -rf /"},
        lambda plan: plan | {"order": plan["order"] | {"to": "postgresql://evil/db"}},
        lambda plan: plan | {"order": plan["order"] | {"delete": "yes"}},
        lambda plan: plan | {"order": plan["order"] | {"strategy": "drop"}},
        lambda plan: plan | {"order": plan["order"] | {"only": "orders"}},
        lambda plan: plan | {"order": _without(plan["order"], "delete")},
        lambda plan: plan | {"digest": "../../etc/passwd"},
        lambda plan: plan | {"digest": plan["digest"] + "\n"},
        lambda plan: plan | {"format": "backup_pipeline plan 2"},
        lambda plan: _without(plan, "digest"),
        lambda plan: [plan],
    ],
)
def test_a_hostile_plan_file_is_refused(written: Path, spoil: Any) -> None:
    written.write_text(json.dumps(spoil(json.loads(written.read_text()))))
    with pytest.raises(UsageError, match="is no plan"):
        plan_file.read(written, TYPED)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b"\0" * 100, b" " * (plan_file.LARGEST + 1)], ids=len
)
def test_what_is_no_json_or_too_large_is_refused(written: Path, content: bytes) -> None:
    written.write_bytes(content)
    with pytest.raises(UsageError, match="is no plan"):
        plan_file.read(written, TYPED)


def test_a_plan_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        plan_file.read(tmp_path / "none.json", TYPED)
