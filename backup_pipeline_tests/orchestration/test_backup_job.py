"""A backup as a run of the graph: what is recorded, what a selection means, and what happens when it goes wrong."""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey as Key

from backup_pipeline.backups import making
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations import Site
from backup_pipeline.operations.reading import show
from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.metadata import bars
from backup_pipeline.vault import layout
from backup_pipeline_tests.harness.ports import free_port
from backup_pipeline_tests.orchestration.conftest import Failure, Impatient, Shop

ORDERS = Key(["shop", "tables", "main.orders"])
MANIFEST = naming.PLAIN.manifest_key("shop")
CHECKS = {"complete", "integrity", "row_counts", "foreign_keys", "schema_drift", "verdict", "fresh", "proven"}


def recorded(instance: dg.DagsterInstance, key: Key) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(key)
    assert event is not None, f"{key} was not recorded"
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def test_every_table_is_recorded_with_what_the_ui_shows(shop: Shop, instance: dg.DagsterInstance) -> None:
    result = shop.run(instance)
    assert result.success
    (backup,) = shop.site.vault.ids("shop")
    tables = {key for key in instance.all_asset_keys() if key.path[1] == "tables"}
    assert len(tables) == 4
    orders = recorded(instance, ORDERS)
    assert orders["dagster/row_count"] == 3
    assert orders["dagster/table_name"] == "main.orders"
    assert orders["dagster/storage_kind"] == "sqlite"
    assert orders["backup"] == backup
    columns = {column.name: column for column in orders["dagster/column_schema"].columns}
    assert list(columns) == ["id", "customer_id", "total"]
    assert "references main.customers.id" in columns["customer_id"].constraints.other
    assert not columns["customer_id"].constraints.nullable
    manifest = recorded(instance, MANIFEST)
    assert manifest["backup"] == backup
    assert manifest["scope"] == "full"
    assert manifest["tables"] == 4
    assert manifest["dagster/row_count"] == 8
    assert {"content", "bytes", "stored_bytes", "ratio", "duration_seconds", "snapshot_at"} <= manifest.keys()
    assert manifest["manifest"].endswith(f"/shop/{backup}/manifest.json")


def test_the_version_of_a_table_changes_with_its_rows_only(shop: Shop, instance: dg.DagsterInstance) -> None:
    def versions() -> dict[str, str]:
        assert shop.run(instance).success
        found = {}
        for key in instance.all_asset_keys():
            event = instance.get_latest_materialization_event(key)
            if event is not None and key.path[1] == "tables":
                assert event.asset_materialization is not None
                found[key.path[2]] = event.asset_materialization.tags["dagster/data_version"]
        return found

    first = versions()
    shop.sql("UPDATE orders SET total = 7 WHERE id = 10")
    second = versions()
    assert {name for name in first if first[name] != second[name]} == {"main.orders"}


def test_all_eight_checks_are_evaluated(shop: Shop, instance: dg.DagsterInstance) -> None:
    found = evaluations(shop.run(instance))
    assert set(found) == CHECKS
    failed = {name for name, one in found.items() if not one.passed}
    assert failed == {"proven"}, "nothing was drilled yet; everything else is in order"
    assert found["proven"].severity is dg.AssetCheckSeverity.WARN


def test_some_tables_make_a_partial_backup_that_never_is_the_latest(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    assert shop.run(instance).success
    full = shop.site.vault.resolve("shop", "latest")
    result = shop.run(instance, select=["shop/schema", "shop/tables/main.orders", "shop/manifest"])
    assert result.success
    manifest = shop.site.vault.backup("shop", shop.site.vault.ids("shop")[-1]).manifest
    assert manifest.scope == "partial"
    assert [str(table.id) for table in manifest.tables] == ["main.orders"]
    assert shop.site.vault.resolve("shop", "latest") == full
    assert recorded(instance, MANIFEST)["scope"].startswith("PARTIAL")
    assert recorded(instance, ORDERS)["backup"] == manifest.id
    customers = recorded(instance, Key(["shop", "tables", "main.customers"]))
    assert customers["backup"] == full, "a table that was not selected is not recorded"
    assert evaluations(result)["complete"].description.startswith("PARTIAL")


def test_tables_without_the_manifest_are_committed_all_the_same(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    assert shop.run(instance, select=["shop/tables/main.orders", "shop/tables/main.customers"]).success
    (backup,) = shop.site.vault.ids("shop")
    assert len(shop.site.vault.backup("shop", backup).manifest.tables) == 2
    assert recorded(instance, MANIFEST)["backup"] == backup
    assert list(shop.site.vault.store.list(layout.drafts_prefix("shop"))) == []


def test_the_manifest_alone_makes_a_full_backup(shop: Shop, instance: dg.DagsterInstance) -> None:
    """What everybody clicks first."""
    result = shop.run(instance, select=["shop/manifest"])
    assert result.success
    manifest = show(shop.site, "shop")
    assert (manifest.scope, len(manifest.tables)) == ("full", 4)
    assert recorded(instance, MANIFEST)["backup"] == manifest.id
    assert evaluations(result)["complete"].passed
    warned = [entry for entry in instance.all_logs(result.run_id) if entry.level >= logging.WARNING]
    assert warned == []
    again = shop.run(instance, select=["shop/manifest"])
    assert again.success
    assert len(shop.site.vault.ids("shop")) == 2


@pytest.mark.parametrize("select", [["shop/schema"], ["shop/schema", "shop/manifest"]])
def test_a_selection_that_would_be_no_backup_is_refused_with_the_remedy(
    shop: Shop, instance: dg.DagsterInstance, said: Failure, select: list[str]
) -> None:
    result = shop.run(instance, select=select)
    assert not result.success
    assert shop.site.vault.ids("shop") == ()
    assert "backup_shop" in said(result)


def test_a_table_that_the_graph_does_not_know_is_backed_up_and_named(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    job = shop.job()
    shop.sql("CREATE TABLE added (x); INSERT INTO added VALUES (1)")
    result = job.execute_in_process(instance=instance)
    (backup,) = shop.site.vault.ids("shop")
    tables = [str(table.id) for table in shop.site.vault.backup("shop", backup).manifest.tables]
    assert "main.added" in tables
    findings = evaluations(result)["complete"].metadata["findings"]
    assert isinstance(findings, dg.TableMetadataValue)
    assert [(r.data["code"], r.data["about"]) for r in findings.records] == [
        ("not-in-the-graph", "main.added")
    ]
    assert Key(["shop", "tables", "main.added"]) in shop.job().asset_layer.executable_asset_keys


def test_a_table_that_is_gone_is_missed_in_the_backup_of_all_that_is_there(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    (shop.folder / "media").mkdir()
    (shop.folder / "media" / "one.txt").write_text("one")
    shop.configure(
        "files: {media: {path: ./media}}\ncopies: [second]", top="copies: {second: {url: ./second}}"
    )
    assert shop.run(instance).success
    shop.sql("DROP TABLE orders")
    result = shop.run(instance)
    backup = shop.site.vault.ids("shop")[-1]
    manifest = shop.site.vault.backup("shop", backup).manifest
    assert (len(manifest.tables), [tree.files for tree in manifest.files]) == (3, [1])
    assert recorded(instance, MANIFEST)["backup"] == backup
    assert shop.site.copy("second").ids("shop")[-1] == backup
    drift = evaluations(result)["schema_drift"]
    assert not drift.passed
    assert drift.severity is dg.AssetCheckSeverity.ERROR
    assert "main.orders" in (drift.description or "")
    assert not result.success
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    assert ORDERS not in made
    assert Key(["shop", "tables", "main.customers"]) in made
    # The list of tables was renewed: the graph does not have it any more.
    assert ORDERS not in shop.job().asset_layer.executable_asset_keys
    assert not evaluations(shop.run(instance))["verdict"].passed, "told until it is accepted"


def test_a_table_that_is_gone_fails_a_run_without_the_manifest(
    shop: Shop, instance: dg.DagsterInstance, said: Failure
) -> None:
    shop.sql("DROP TABLE empty")
    tables = [f"shop/tables/main.{name}" for name in ("customers", "orders", "empty")]
    items = naming.table_components(table.id for table in shop.site.known_inventory("shop").tables)
    tables += [f"shop/tables/{name}" for name in items.values() if "items" in name]
    result = shop.run(instance, select=tables)
    assert not result.success
    assert "main.empty" in said(result)
    (backup,) = shop.site.vault.ids("shop")
    assert len(shop.site.vault.backup("shop", backup).manifest.tables) == 3


def test_a_selected_table_that_is_gone_makes_no_backup(
    shop: Shop, instance: dg.DagsterInstance, said: Failure
) -> None:
    shop.sql("DROP TABLE empty")
    result = shop.run(instance, select=["shop/tables/main.empty", "shop/tables/main.orders", "shop/manifest"])
    assert not result.success
    assert "main.empty" in said(result)
    assert shop.site.vault.ids("shop") == ()


def test_what_is_excluded_is_named(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.configure('exclude: ["empty"]')
    shop.site.inventory("shop")
    found = evaluations(shop.run(instance))["complete"]
    assert found.passed
    assert "1 left out on purpose" in found.description
    table = found.metadata["findings"]
    assert isinstance(table, dg.TableMetadataValue)
    assert "main.empty" in table.records[0].data["what"]


def test_rows_that_are_gone_fail_the_run_and_a_changed_definition_is_a_warning(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    assert shop.run(instance).success
    shop.sql('DELETE FROM "order items"; ALTER TABLE orders ADD COLUMN note TEXT')
    result = shop.run(instance)
    assert not result.success, "a green run would say that all is well"
    found = evaluations(result)
    assert not found["row_counts"].passed
    assert found["row_counts"].severity is dg.AssetCheckSeverity.ERROR
    assert not found["verdict"].passed
    assert not found["schema_drift"].passed
    assert found["schema_drift"].severity is dg.AssetCheckSeverity.WARN
    assert "order items" in found["row_counts"].description
    assert "note" in str(found["schema_drift"].metadata["findings"].value)


def test_a_dangling_reference_fails_its_check(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.sql("INSERT INTO orders VALUES (99, 404, 0)")
    found = evaluations(shop.run(instance))["foreign_keys"]
    assert not found.passed
    told = str(found.metadata["findings"].value)
    assert "1 row refers to rows of customers that are not there" in told
    assert "404" not in told, "values of rows are shown by the command, and not kept in the history of runs"


@pytest.mark.usefixtures("damaging")
def test_a_damaged_backup_blocks_the_drill(shop: Shop, instance: dg.DagsterInstance) -> None:
    defs = build_defs(shop.site)
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    found = evaluations(result)
    assert not found["integrity"].passed
    assert found["integrity"].severity is dg.AssetCheckSeverity.ERROR
    assert instance.get_latest_materialization_event(naming.PLAIN.drill_key("shop")) is None


def test_a_failure_holds_a_remedy_and_no_secret(
    shop: Shop, instance: dg.DagsterInstance, said: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.config.write_text(
        "vault: ./vault\nsystems:\n  shop:\n    database: postgresql://app:s3cr3t-w0rd@127.0.0.1:1/shop\n"
    )
    site = Impatient.load(shop.config)

    def leaking(*_: object, **__: object) -> Manifest:
        try:
            raise RuntimeError(f"could not connect to {site.url('shop')}")
        except RuntimeError as error:
            raise ValueError("it failed, s3cr3t-w0rd") from error

    for export in (making.export, leaking):
        monkeypatch.setattr(making, "export", export)
        result = (
            build_defs(site)
            .resolve_job_def("backup_shop")
            .execute_in_process(instance=instance, raise_on_error=False)
        )
        assert not result.success
        assert said(result).strip().partition("→")[2]
        everything = "".join(repr(entry) for entry in instance.all_logs(result.run_id))
        assert "s3cr3t-w0rd" not in everything
    assert "traceback" in everything


def test_the_drill_proves_the_newest_backup(shop: Shop, instance: dg.DagsterInstance) -> None:
    assert shop.run(instance).success
    result = shop.run(instance, job="drill_shop")
    assert result.success
    found = recorded(instance, naming.PLAIN.drill_key("shop"))
    assert found["backup"] == shop.site.vault.resolve("shop", "latest")
    assert found["recovery_seconds"] > 0
    assert {name: one.passed for name, one in evaluations(result).items()} == {"fresh": True, "proven": True}


def test_backup_and_drill_in_one_run_drill_that_backup(shop: Shop, instance: dg.DagsterInstance) -> None:
    job = build_defs(shop.site).resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance).success
    assert (
        recorded(instance, naming.PLAIN.drill_key("shop"))["backup"] == recorded(instance, MANIFEST)["backup"]
    )


def test_many_tables_share_one_asset_a_schema(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.configure("table_assets: 3")
    key = Key(["shop", "tables", "main"])
    assert shop.run(instance).success
    found = recorded(instance, key)
    assert found["tables"] == 4
    assert found["dagster/row_count"] == 8
    names = {record.data["table"] for record in found["table_list"].records}
    assert names == {"customers", "orders", "order items", "empty"}
    # And a partial backup of that schema is all of its tables: a full one.
    assert shop.run(instance, select=[key.to_user_string(), "shop/manifest"]).success
    assert show(shop.site, "shop").id == recorded(instance, MANIFEST)["backup"]


def test_a_run_before_a_migration_says_so_in_its_manifest(shop: Shop, instance: dg.DagsterInstance) -> None:
    assert shop.run(instance, config={"kind": "pre-migration", "full": True}).success
    assert show(shop.site, "shop").kind == "pre-migration"


def test_the_size_is_shown_over_time(shop: Shop, instance: dg.DagsterInstance) -> None:
    assert shop.run(instance).success
    assert shop.run(instance).success
    text = recorded(instance, MANIFEST)["size_over_time"]
    assert all(backup in text for backup in shop.site.vault.ids("shop"))
    assert bars([0, 0]) == "▁▁"
    assert bars([10, 10]) == "██"
    assert bars([0, 10]) == "▁█"


def test_a_run_says_that_it_waits_for_the_store(shop: Shop, instance: dg.DagsterInstance) -> None:
    """Six tries were over after eight seconds on average: a store that was started again lost the night's backup."""
    dead = f"http://127.0.0.1:{free_port()}"
    vault = f"{{url: 's3://b/x', endpoint: '{dead}', access_key_id: a, secret_access_key: b, max_attempts: 4, patience: 1s}}"
    shop.config.write_text(f"vault: {vault}\nsystems: {{shop: {{database: 'sqlite:///{shop.database}'}}}}\n")
    job = build_defs(Site.load(shop.config)).resolve_job_def("backup_shop")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    told = [entry.user_message for entry in instance.all_logs(result.run_id) if not entry.is_dagster_event]
    assert any("the store: " in line and "waiting for it" in line for line in told), told
