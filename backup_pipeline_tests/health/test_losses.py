"""A loss is told until the content is back, however many backups are made meanwhile."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.health.losses import FEW, LOST, Losses, losses
from backup_pipeline.model.manifest import Engine, FileTree, LeftOut, Manifest, ObjectRef, TableEntry

REFERENCE = ObjectRef("0" * 64, 1, ".json.zst", "0" * 64, 1)


def backup(night: int, rows: dict[str, int], files: int | None = None) -> Manifest:
    tables = tuple(TableEntry("public", name, count, ("id",)) for name, count in rows.items())
    at = f"2026-11-{night:02d}T02-00-00-000Z"
    tree = (
        FileTree("media", "local", "/media", REFERENCE, bytes=0, files=files) if files is not None else None
    )
    return Manifest(
        "shop", at, "manual", "full", at, at, at, Engine("postgres", "16"), REFERENCE, tables,
        files=(tree,) if tree else (),
    )  # fmt: skip


def codes(found: Losses) -> list[tuple[str, str | None]]:
    return [(one.code, one.table or one.tree) for one in found.findings]


def test_an_emptied_table_is_told_in_the_same_words_until_it_has_rows_again() -> None:
    nights = [{"orders": 100}, {"orders": 0}, {"orders": 0}, {"orders": 3}, {"orders": 60}]
    known, told = Losses(), []
    for number in range(1, len(nights)):
        before, now = backup(number, nights[number - 1]), backup(number + 1, nights[number])
        known = losses(now, before, known)
        told.append(known.findings)
    assert [[one.code for one in each] for each in told] == [
        ["table-became-empty"],
        ["table-became-empty"],
        ["table-shrank"],
        [],
    ]
    assert told[0] == told[1], "the first night's text names the backup that has the rows"


def test_a_table_that_is_gone_is_told_unless_the_configuration_leaves_it_out() -> None:
    before, now = backup(1, {"orders": 5, "old": 0}), backup(2, {"orders": 5})
    found = losses(now, before, Losses())
    assert codes(found) == [("table-removed", "public.old")]
    left_out = replace(now, left_out=(LeftOut("public", "old", "table", "excluded"),))
    assert codes(losses(left_out, before, found)) == []
    assert codes(losses(replace(now, scope="partial"), before, Losses())) == []
    assert codes(losses(backup(3, {"orders": 5, "old": 0}), now, found)) == [], "it is back"


def test_a_database_that_was_replaced_is_told_as_that_until_it_is_back_or_accepted() -> None:
    before = backup(1, {"orders": 5, "users": 5, "log": 5})
    replaced = losses(backup(2, {"log": 5, "wp_posts": 9}), before, Losses())
    assert codes(replaced) == [
        ("another-database", None),
        ("table-removed", "public.orders"),
        ("table-removed", "public.users"),
    ]
    still = losses(backup(3, {"log": 5, "wp_posts": 9}), backup(2, {"log": 5, "wp_posts": 9}), replaced)
    assert [one.code for one in still.findings] == [one.code for one in replaced.findings]
    back = losses(before, backup(2, {"log": 5, "wp_posts": 9}), replaced)
    assert codes(back) == [("table-removed", "public.wp_posts")]
    accepted = replaced.without(["public.orders", "public.users"])
    assert codes(losses(backup(3, {"log": 5}), backup(2, {"log": 5}), accepted)) == []
    assert codes(losses(backup(2, {"orders": 5, "users": 5}), before, Losses())) == [
        ("table-removed", "public.log")
    ], "one table of three was dropped"


def test_what_may_be_empty_is_not_missed_and_what_is_accepted_is_the_new_measure() -> None:
    before, now = backup(1, {"orders": 50}), backup(2, {"orders": 0})
    assert codes(losses(now, before, Losses(), ["ord*"])) == []
    accepted = losses(now, before, Losses()).without(["public.orders"])
    assert codes(losses(backup(3, {"orders": 0}), now, accepted)) == []


def test_a_tree_that_shrank_is_told_until_it_has_grown_again() -> None:
    first = losses(backup(2, {}, 30), backup(1, {}, 100), Losses())
    assert codes(first) == [("tree-shrank", "media")]
    assert codes(losses(backup(3, {}, 31), backup(2, {}, 30), first)) == [("tree-shrank", "media")]
    assert codes(losses(backup(3, {}, 90), backup(2, {}, 30), first)) == []


@given(st.lists(st.integers(0, 200), min_size=2, max_size=12))
def test_any_history_tells_a_loss_exactly_while_it_lasts(rows: list[int]) -> None:
    """The measure is the count before the loss; it moves with the table only while nothing is lost."""
    known, measure = Losses(), rows[0]
    for number in range(1, len(rows)):
        now = rows[number]
        lost = (now == 0 < measure) or (now < LOST * measure and measure > FEW)
        before = backup(number, {"orders": rows[number - 1]})
        known = losses(backup(number + 1, {"orders": now}), before, known)
        assert bool(known.findings) == lost
        measure = measure if lost else now
