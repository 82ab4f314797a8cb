"""The story of one backup: what it does when all is well, and above all when it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up, commit, export, export_tree
from backup_pipeline.errors import (
    AlreadyExists,
    Incomplete,
    NotFound,
    PermissionMissing,
    SourceChanged,
    SourceUnavailable,
    VaultBusy,
)
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.files.store import TreeOrder
from backup_pipeline.model.progress import Advance
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.scripted import ScriptedSource

SHOP = Order("shop", pauses=(0.0, 0.0, 0.0))
ROWS = {"orders": b"1\n2\n3\n", "customers": b"1\n", "empty": b""}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(LocalStore(tmp_path / "vault"))


@pytest.fixture
def clock() -> Callable[[], datetime]:
    moments: Iterator[datetime] = (
        datetime(2026, 11, 21, 2, tzinfo=UTC) + timedelta(seconds=n) for n in range(10_000)
    )
    return lambda: next(moments)


def test_a_backup_is_listed_with_all_that_it_holds(vault: Vault, clock: Callable[[], datetime]) -> None:
    manifest = back_up(vault, ScriptedSource(dict(ROWS)), SHOP, clock=clock)
    assert vault.ids("shop") == (manifest.id,) == ("2026-11-21T02-00-00-000Z",)
    assert {table.name: table.rows for table in manifest.tables} == {"orders": 3, "customers": 1, "empty": 0}
    assert manifest.scope == "full"
    assert vault.backup("shop", manifest.id).is_sealed()
    assert vault.interrupted("shop") == ()


def test_each_manifest_names_the_digest_of_the_one_before(
    vault: Vault, clock: Callable[[], datetime]
) -> None:
    source = ScriptedSource(dict(ROWS))
    first, second = (back_up(vault, source, SHOP, clock=clock) for _ in range(2))
    assert first.previous is None
    assert second.previous == vault.backup("shop", first.id).link


def test_less_than_was_asked_for_is_a_failure_and_no_backup(vault: Vault) -> None:
    source = ScriptedSource(dict(ROWS), loses=frozenset({"customers"}))
    with pytest.raises(Incomplete, match=r"1 of 3 tables.*public\.customers"):
        back_up(vault, source, SHOP)
    assert vault.ids("shop") == ()


def test_a_selection_of_nothing_is_a_failure(vault: Vault) -> None:
    with pytest.raises(Incomplete, match="nothing to back up"):
        back_up(vault, ScriptedSource(dict(ROWS)), Order("shop", selection=Selection(include=("no_such_*",))))
    assert vault.ids("shop") == ()


@pytest.mark.parametrize(
    "fault", [SourceChanged("a table was dropped"), SourceUnavailable("the server restarts")]
)
def test_what_a_new_snapshot_makes_right_is_tried_again(vault: Vault, fault: Exception) -> None:
    source = ScriptedSource(dict(ROWS), faults=[fault, fault, None])
    heard: list[Advance] = []
    back_up(vault, source, SHOP, listener=heard.append)
    assert source.snapshots == 3
    assert [fault.args[0] in advance.note for advance in heard if advance.note] == [True, True]


def test_trying_again_has_an_end(vault: Vault) -> None:
    fault = SourceUnavailable("the server is gone")
    source = ScriptedSource(dict(ROWS), faults=[fault] * 10)
    with pytest.raises(SourceUnavailable, match="is gone"):
        back_up(vault, source, SHOP)
    assert source.snapshots == 4
    assert vault.ids("shop") == ()


def test_what_no_snapshot_makes_right_fails_at_once(vault: Vault) -> None:
    source = ScriptedSource(dict(ROWS), faults=[PermissionMissing("no SELECT")])
    with pytest.raises(PermissionMissing):
        back_up(vault, source, SHOP)
    assert source.snapshots == 1


def test_the_system_is_locked_while_it_is_backed_up(vault: Vault) -> None:
    def try_another(_: str) -> None:
        with pytest.raises(VaultBusy):
            back_up(vault, ScriptedSource(dict(ROWS)), SHOP)
        back_up(vault, ScriptedSource(dict(ROWS)), Order("blog"))

    source = ScriptedSource({"one": b"1\n"}, after_table=try_another)
    back_up(vault, source, SHOP)
    assert len(vault.ids("shop")) == 1
    assert len(vault.ids("blog")) == 1


def test_who_lost_the_lock_commits_nothing(vault: Vault) -> None:
    source = ScriptedSource(dict(ROWS), after_table=lambda _: vault.store.delete(layout.lock_key("shop")))
    with pytest.raises(VaultBusy, match="took over"):
        back_up(vault, source, SHOP)
    assert vault.ids("shop") == ()


def test_a_run_that_broke_off_leaves_notes_on_which_the_next_builds(
    vault: Vault, clock: Callable[[], datetime]
) -> None:
    class PowerCut(BaseException):
        pass

    def cut(name: str) -> None:
        if name == "customers":
            raise PowerCut

    with pytest.raises(PowerCut):
        back_up(vault, ScriptedSource(dict(ROWS), after_table=cut), SHOP, clock=clock)
    assert vault.ids("shop") == ()
    (interrupted,) = vault.interrupted("shop")

    source = ScriptedSource(dict(ROWS))
    back_up(vault, source, SHOP, clock=clock)
    assert set(source.baselines_seen) == {TableId("public", "orders"), TableId("public", "customers")}
    assert {baseline.backup_id for baseline in source.baselines_seen.values()} == {interrupted}
    assert vault.interrupted("shop") == ()


def test_a_chunk_that_left_the_vault_is_not_offered_again(
    vault: Vault, clock: Callable[[], datetime]
) -> None:
    first = back_up(vault, ScriptedSource(dict(ROWS)), SHOP, clock=clock)
    orders = first.table(TableId("public", "orders"))
    assert orders is not None
    vault.store.delete(layout.object_key(orders.chunks[0].object))
    source = ScriptedSource(dict(ROWS))
    second = back_up(vault, source, SHOP, clock=clock)
    assert TableId("public", "orders") not in source.baselines_seen
    assert TableId("public", "customers") in source.baselines_seen
    assert all(vault.writer.holds(reference) for reference in second.objects())


def test_a_partial_backup_says_so_and_is_never_the_latest(
    vault: Vault, clock: Callable[[], datetime]
) -> None:
    source = ScriptedSource(dict(ROWS))
    whole = back_up(vault, source, SHOP, clock=clock)
    only = Selection(only=frozenset({TableId("public", "orders")}))
    partial = back_up(vault, source, Order("shop", selection=only), clock=clock)
    assert partial.scope == "partial"
    assert [table.name for table in partial.tables] == ["orders"]
    assert {left.name for left in partial.left_out} == {"customers", "empty"}
    assert vault.resolve("shop", "latest") == whole.id


def test_what_is_left_out_is_named_and_leaves_no_byte(vault: Vault) -> None:
    source = ScriptedSource({**ROWS, "secrets": b"4242424242424242\n"})
    manifest = back_up(vault, source, Order("shop", selection=Selection(exclude=("secrets",))))
    assert [(left.name, left.reason) for left in manifest.left_out] == [
        ("secrets", "excluded by `exclude: secrets`")
    ]
    assert all(b"4242" not in vault.content(reference) for reference in manifest.objects())


def test_a_clock_that_was_set_back_does_not_file_a_backup_before_an_older_one(vault: Vault) -> None:
    at = datetime(2026, 11, 21, 2, tzinfo=UTC)
    back_up(vault, ScriptedSource(dict(ROWS)), SHOP, clock=lambda: at)
    for moment in (at, at - timedelta(hours=1)):
        with pytest.raises(AlreadyExists):
            back_up(vault, ScriptedSource(dict(ROWS)), SHOP, clock=lambda moment=moment: moment)
    assert len(vault.ids("shop")) == 1


def test_the_two_halves_of_a_graph_make_the_same_backup(vault: Vault, clock: Callable[[], datetime]) -> None:
    source = ScriptedSource(dict(ROWS))
    draft = export(vault, source, SHOP, token="run-1", clock=clock)
    assert vault.ids("shop") == ()
    manifest = commit(vault, "shop", token="run-1", clock=clock)
    assert manifest.tables == draft.tables
    assert vault.ids("shop") == (draft.id,)
    with pytest.raises(NotFound, match="no finished export"):
        commit(vault, "shop", token="run-1", clock=clock)


def test_a_draft_that_a_newer_backup_has_overtaken_is_not_filed_before_it(
    vault: Vault, clock: Callable[[], datetime]
) -> None:
    source = ScriptedSource(dict(ROWS))
    export(vault, source, SHOP, token="run-1", clock=clock)
    between = back_up(vault, source, SHOP, clock=clock)
    with pytest.raises(Incomplete, match=between.id):
        commit(vault, "shop", token="run-1", clock=clock)
    assert vault.ids("shop") == (between.id,)
    with pytest.raises(NotFound):
        vault.draft("shop", "run-1")
    later = back_up(vault, source, SHOP, clock=clock)
    assert later.previous == vault.backup("shop", between.id).link


def test_a_backup_whose_trees_were_not_all_read_is_not_committed(
    vault: Vault, clock: Callable[[], datetime], tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "one").write_text("1")
    trees = tuple(TreeOrder(name, LocalSource(tmp_path / "tree")) for name in ("media", "vectors"))
    order = replace(SHOP, trees=trees, trees_follow=True)
    draft = export(vault, ScriptedSource(dict(ROWS)), order, token="run-1", clock=clock)
    assert draft.awaits == ("media", "vectors")
    export_tree(vault, "shop", trees[0], token="run-1", clock=clock)
    with pytest.raises(Incomplete, match="vectors"):
        commit(vault, "shop", token="run-1", clock=clock)
    assert vault.ids("shop") == ()
    export_tree(vault, "shop", trees[1], token="run-1", clock=clock)
    manifest = commit(vault, "shop", token="run-1", clock=clock)
    assert [tree.name for tree in manifest.files] == ["media", "vectors"]
    assert manifest.awaits == ()
