"""File trees as assets: steps of their own, in the same backup as the snapshot, for every selection."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from backup_pipeline.errors import Incomplete
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations.backup import commit
from backup_pipeline.operations.reading import show
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.launch import run_backup
from backup_pipeline_tests.orchestration.conftest import Shop

TREES = "files:\n  media: {path: ./media}\n  vectors: {path: ./vectors}\ngroups:\n  pictures: [files/media]"


@pytest.fixture
def shop(shop: Shop) -> Shop:
    for name in ("media", "vectors"):
        (shop.folder / name / "sub").mkdir(parents=True)
        (shop.folder / name / "sub" / "one.txt").write_text(f"{name} one")
    shop.configure(TREES)
    shop.site.inventory("shop")
    return shop


def newest(shop: Shop) -> str:
    return shop.site.vault.ids("shop")[-1]


def test_a_tree_is_an_asset_behind_the_snapshot_and_before_the_manifest(shop: Shop) -> None:
    graph = build_defs(shop.site).resolve_asset_graph()
    media = dg.AssetKey(["shop", "files", "media"])
    assert dg.AssetKey(["shop", "schema"]) in graph.get(media).parent_keys
    assert dg.AssetKey(["shop", "live", "files", "media"]) in graph.get(media).parent_keys
    assert media in graph.get(dg.AssetKey(["shop", "manifest"])).parent_keys


def test_the_job_reads_rows_and_files_into_one_full_backup(shop: Shop, instance: dg.DagsterInstance) -> None:
    result = shop.run(instance)
    assert result.success
    manifest = show(shop.site, "shop")
    assert manifest.scope == "full"
    assert [tree.name for tree in manifest.files] == ["media", "vectors"]
    [made] = result.asset_materializations_for_node("shop__files__media")
    assert made.metadata["files"].value == 1
    assert made.metadata["backup"].value == manifest.id


def test_a_run_from_the_command_line_records_the_trees_as_well(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    manifest = run_backup(shop.site, BackupOrder("shop", full=True), instance=instance)
    assert {tree.name: tree.files for tree in manifest.files} == {"media": 1, "vectors": 1}
    key = dg.AssetKey(["shop", "files", "vectors"])
    assert instance.get_latest_materialization_event(key) is not None


@pytest.mark.parametrize("only", ["files.media", "files/media", "pictures"])
def test_a_tree_alone_is_a_partial_backup(shop: Shop, instance: dg.DagsterInstance, only: str) -> None:
    manifest = run_backup(shop.site, BackupOrder("shop", only=(only,)), instance=instance)
    assert manifest.scope == "partial"
    assert [tree.name for tree in manifest.files] == ["media"]
    assert manifest.tables == ()


def test_tables_without_the_trees_are_a_partial_backup(shop: Shop, instance: dg.DagsterInstance) -> None:
    keys = [key.to_user_string() for key in shop.job().asset_layer.executable_asset_keys]
    chosen = [key for key in keys if "/files/" not in key]
    assert shop.run(instance, select=chosen).success
    manifest = show(shop.site, "shop", newest(shop))
    assert (manifest.scope, manifest.files, len(manifest.tables)) == ("partial", (), 4)


def test_the_asset_of_a_tree_materialized_by_itself_backs_up_that_tree(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    assert shop.run(instance, select=["shop/files/media"]).success
    manifest = show(shop.site, "shop", newest(shop))
    assert (manifest.scope, [tree.name for tree in manifest.files]) == ("partial", ["media"])


def test_without_the_manifests_step_rows_and_files_are_committed_together(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    keys = [key.to_user_string() for key in shop.job().asset_layer.executable_asset_keys]
    assert shop.run(instance, select=[key for key in keys if key != "shop/manifest"]).success
    [identifier] = shop.site.vault.ids("shop")
    manifest = show(shop.site, "shop", identifier)
    assert (manifest.scope, [tree.name for tree in manifest.files]) == ("full", ["media", "vectors"])


def test_a_tree_that_fails_keeps_the_backup_from_being_committed_and_can_be_made_good(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    away = shop.folder / "elsewhere"
    (shop.folder / "media").rename(away)
    failed = shop.run(instance)
    assert not failed.success
    assert shop.site.vault.ids("shop") == ()
    with pytest.raises(Incomplete, match="media"):
        commit(shop.site, "shop", token=failed.run_id)
    away.rename(shop.folder / "media")
    manifest = run_backup(shop.site, BackupOrder("shop"), instance=instance)
    assert manifest.scope == "full"


def test_a_tree_that_the_configuration_lost_leaves_the_graph(shop: Shop, tmp_path: Path) -> None:
    shop.configure("files:\n  media: {path: ./media}")
    keys = {key.to_user_string() for key in build_defs(shop.site).resolve_asset_graph().get_all_asset_keys()}
    assert "shop/files/media" in keys
    assert "shop/files/vectors" not in keys
