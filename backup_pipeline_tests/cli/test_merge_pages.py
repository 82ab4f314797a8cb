"""The page of a merge: what is written, why a table comes along, what is kept, what cannot be done."""

from __future__ import annotations

import shlex
from dataclasses import replace

import click
import pytest

from backup_pipeline.cli import merge_page
from backup_pipeline.cli.orders import completed, ordered
from backup_pipeline.cli.page import Page
from backup_pipeline.databases.merge.plan import (
    ColumnDrift,
    Conflict,
    Cycle,
    Difference,
    MergePlan,
    TableMerge,
)
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.merge_orders import MergeOrder, UndoOrder
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations import merge_sections

ORDERS = TableMerge(
    TableId("public", "orders"),
    staged=4711,
    matched=4699,
    create=12,
    unchanged=4690,
    kept=9,
    remapped=2,
    spared=1,
    identity={"same key": 4699},
    sequences=("public.orders_id_seq",),
    differences=(
        Difference("create", "12", {"total": (None, "30"), "note": (None, None)}),
        Difference("keep", "7", {"total": ("10", "20")}),
        Difference("delete", "9", {"total": ("\x1b[2J", None)}),
    ),
)
CUSTOMERS = TableMerge(
    TableId("public", "customers"),
    mode="parents",
    why="orders.customer_id needs it",
    create=1,
    skipped={"the parent is missing": 3},
    nulled={"customers.agent_id": 2},
    conflicts=6,
    examples=(Conflict("keys-disagree", "email names row 3, username names row 5", "8"),),
    unused_keys=("email is not unique in the target",),
    drift=(ColumnDrift("fax", "missing", "4 values", "left out"),),
    triggers=("stamp",),
)
PLAN = MergePlan(
    "shop",
    "2026-11-20T02-00-00-123Z",
    "postgres",
    "postgresql://app@localhost/shop",
    "plan",
    "merge",
    "the target holds rows",
    lineage="same",
    lineage_why="it is the database of the backup",
    tables=(ORDERS, CUSTOMERS),
    cycles=(Cycle((ORDERS.table, CUSTOMERS.table), "inserted in one statement"),),
    findings=(Finding("info", "ids-in-json", "ids in orders.data are not rewritten"),),
    locks=("public.orders",),
    seconds=3.0,
)

PARSER = click.Command("restore", params=completed(MergeOrder, []), callback=lambda **given: given)


def shown(plan: MergePlan) -> str:
    page = Page()
    merge_page.show(page, "Plan", plan)
    return str(page)


def line_of(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(name))


def test_a_line_of_each_table_says_what_is_written_what_is_kept_and_why_it_comes_along() -> None:
    text = shown(PLAN)
    assert line_of(text, "TABLE")[1:] == [
        "CREATE", "UPDATE", "DELETE", "KEPT", "UNCHANGED", "SKIPPED", "CONFLICTS", "WHY",
    ]  # fmt: skip
    assert line_of(text, "public.orders ")[1:] == ["12", "–", "–", "9", "4,690", "–", "–"]
    assert line_of(text, "public.customers ")[1:8] == ["1", "–", "–", "–", "–", "3", "6"]
    assert "orders.customer_id needs it" in text
    assert "13 rows to create; 9 kept as they are, 3 skipped, 6 in conflict" in text


@pytest.mark.parametrize(
    "told",
    [
        "merge: the target holds rows",
        "same: it is the database of the backup",
        "about 3.0 s",
        "email names row 3, username names row 5",
        "and 5 more rows",
        "the parent is missing",
        "customers.agent_id",
        "email is not unique in the target",
        "left out",
        "public.orders → public.customers: inserted in one statement",
        "stamp",
        "public.orders_id_seq",
        "same key",
        "Not deleted, because other rows refer to them",
        "ids in orders.data are not rewritten",
    ],
)
def test_a_plan_tells_what_a_person_must_know(told: str) -> None:
    assert told in shown(PLAN)


def test_a_plan_without_surprises_is_a_table_and_no_more() -> None:
    quiet = replace(ORDERS, identity={}, sequences=(), differences=(), remapped=0, spared=0)
    plan = replace(PLAN, tables=(quiet,), cycles=(), findings=(), locks=(), seconds=0)
    assert [one.title for one in merge_sections.sections(plan)] == []
    assert "WHY" not in shown(plan)


def test_of_sixty_tables_those_with_nothing_to_write_are_one_line() -> None:
    quiet = [TableMerge(TableId("public", f"t{i:02}"), unchanged=5) for i in range(60)]
    text = shown(replace(PLAN, tables=(*quiet, ORDERS)))
    assert "nothing to write in 60 tables: public.t00, " in text
    assert "and 52 more" in text
    overview = text.partition("\n\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in overview] == ["TABLE", "public.orders", "nothing", "12"]


def test_the_rows_of_a_table_show_each_column_before_and_after() -> None:
    text = shown(PLAN)
    rows = [line.split() for line in text.splitlines() if line[:1] in "+-~="]
    assert [row for row in rows if len(row) > 1 and row[1].isdigit()] == [
        ["+", "12", "total", "30"],
        ["+", "12", "note", "∅"],
        ["=", "7", "total", "10", "20"],
        ["-", "9", "total", "\\x1b[2J"],
    ]


def test_what_was_done_is_told_as_done() -> None:
    assert merge_sections.summary(replace(PLAN, did="merge")).startswith("13 rows created; ")
    assert merge_sections.summary(replace(PLAN, tables=())) == "nothing to write"


@pytest.mark.parametrize(
    "line",
    [
        "restore shop 2026-11-20 --live --only orders --only 'order items' --where 'orders: id = 7' --update --no-create",
        "restore shop --to sqlite:///x.db --update newest:updated_at --rejects bad.csv --no-map",
    ],
)
def test_the_command_that_comes_next_is_the_order_as_it_was_typed(line: str) -> None:
    words = shlex.split(line)
    order = ordered(MergeOrder, PARSER.main(words[1:], standalone_mode=False))
    again = shlex.split(merge_page.typed("restore", order))
    assert again[:2] == ["backup-pipeline", "restore"]
    assert ordered(MergeOrder, PARSER.main(again[2:], standalone_mode=False)) == order


def test_the_command_of_an_undo_names_the_restore() -> None:
    order = UndoOrder("shop", dry_run=True)
    assert merge_page.typed("undo", order, id="r1", dry_run=False) == "backup-pipeline undo shop r1"


def test_update_without_a_value_does_not_take_the_system_for_one() -> None:
    with pytest.raises(click.UsageError, match="newest:COLUMN"):
        PARSER.main(["--update", "shop"], standalone_mode=False)
