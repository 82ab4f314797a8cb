"""A graph that can be read with any number of tables, a launchpad that explains itself, and findings on one page."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest
from dagster import AssetKey as Key
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.inventory import InventoryTable
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations.backup import backup
from backup_pipeline.orchestration.asset_plan import SystemPlan, plan_of
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.history import Cursor, report
from backup_pipeline.orchestration.metadata import findings_table
from backup_pipeline.orchestration.naming import PLAIN
from backup_pipeline.state import inventories
from backup_pipeline_tests.orchestration.conftest import Shop

APPLICATIONS = {"wagtailcore": 30, "blog": 25, "auth": 20, "django": 13}


def with_tables(shop: Shop, *tables: TableId) -> SystemPlan:
    known = shop.site.known_inventory("shop")
    assert known is not None
    found = tuple(InventoryTable(table, "table", 2, 10, 100) for table in tables)
    inventories.save(shop.site.settings.state_folder, "shop", replace(known, tables=found))
    return plan_of(shop.site, "shop")


def shown(plan: SystemPlan) -> dict[str, int]:
    return {asset.key.path[-1]: len(asset.tables) for asset in plan.assets}


def a_site(*more: str, schema: str = "main") -> list[TableId]:
    names = [f"{app}_{n}" for app, count in APPLICATIONS.items() for n in range(count)]
    return [TableId(schema, name) for name in (*names, *more)]


def test_a_site_of_ninety_tables_is_an_asset_an_application(shop: Shop) -> None:
    plan = with_tables(shop, *a_site("alone_in_its_app", "orders"))
    assert shown(plan) == {"main": 2} | {f"main.{app}": count for app, count in APPLICATIONS.items()}
    graph = build_defs(shop.site).resolve_asset_graph()
    assert len(graph.get(Key(["shop", "manifest"])).parent_keys) == len(plan.assets) + 1
    assert {key for key in graph.get_all_asset_keys() if "live" in key.path} == {Key(["shop", "live"])}


def test_groups_come_first_then_schemas_then_names_that_begin_alike(shop: Shop) -> None:
    shop.configure("groups: {money: ['*.blog_*', 'auth_1'], nothing: [none]}")
    tables = [*a_site("orders"), TableId("archive", "one_a"), TableId("archive", "one_b")]
    plan = with_tables(shop, *tables)
    assert shown(plan) == {
        "groups.money": 26,
        "archive": 2,
        "main": 1,
        "main.auth": 19,
        "main.django": 13,
        "main.wagtailcore": 30,
    }
    assert sum(len(asset.tables) for asset in plan.assets) == len(tables)
    for table in tables:
        assert [asset for asset in plan.assets if asset.holds(table)] == [
            next(asset for asset in plan.assets if asset.key == plan.key_of(table))
        ]


def test_names_that_would_meet_are_told_apart(shop: Shop) -> None:
    shop.configure("groups: {sales: [apart]}\ntable_assets: 2")
    tables = [TableId("groups", f"sales_{n}") for n in range(3)] + [TableId("main", "apart")]
    plan = with_tables(shop, *tables)
    assert len({asset.key.to_python_identifier() for asset in plan.assets}) == len(plan.assets) == 2


def test_up_to_fifty_tables_each_is_an_asset_and_the_setting_decides(shop: Shop) -> None:
    fifty = [TableId("main", f"app_{n}") for n in range(50)]
    assert len(with_tables(shop, *fifty).assets) == 50
    assert shown(with_tables(shop, *fifty, TableId("main", "app_50"))) == {"main.app": 51}
    shop.configure("table_assets: 51\nlive_assets: tables")
    plan = plan_of(shop.site, "shop")
    assert len(plan.assets) == 51
    assert len({asset.live for asset in plan.assets}) == 51


def test_tables_of_one_asset_are_backed_up_alone(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.sql("CREATE TABLE blog_page (x); CREATE TABLE blog_post (x); INSERT INTO blog_post VALUES (1)")
    shop.configure("table_assets: 2")
    shop.site.inventory("shop")
    result = shop.run(instance, select=["shop/schema", "shop/tables/main.blog", "shop/manifest"])
    assert result.success
    (backup,) = shop.site.vault.ids("shop")
    manifest = shop.site.vault.backup("shop", backup).manifest
    assert (manifest.scope, [table.name for table in manifest.tables]) == (
        "partial",
        ["blog_page", "blog_post"],
    )
    event = instance.get_latest_materialization_event(Key(["shop", "tables", "main.blog"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["dagster/row_count"].value == 1


def test_the_launchpad_says_what_each_field_is_and_shows_nothing_internal(shop: Shop) -> None:
    shop.configure("files: {media: {path: ./media}}", top="copies: {disk: ./disk}\nretention: {last: 1}")
    defs = build_defs(shop.site)
    seen = set()
    for name in ("backup_shop", "drill_shop", "copy_shop", "prune_shop", "scrub"):
        job = defs.resolve_job_def(name)
        ops = job.run_config_schema.config_type.fields["ops"].config_type.fields  # type: ignore[attr-defined]
        for step, field in ops.items():
            for setting, told in getattr(
                field.config_type.fields["config"].config_type, "fields", {}
            ).items():
                assert told.description, f"{step}: {setting}"
                seen.add(setting)
                if setting == "kind":
                    values = {value.config_value for value in told.config_type.inner_type.enum_values}
                    assert values == {"manual", "scheduled", "pre-migration"}
    assert seen == {"full", "kind", "only", "backup", "delete", "despite_anomaly", "everything"}


def test_a_kind_that_there_is_not_is_refused_by_the_launchpad(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        shop.run(instance, config={"kind": "weekly"})


def test_a_drill_is_out_of_step_when_the_schema_changed_and_not_every_morning(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    def out_of_step() -> set[str]:
        graph = build_defs(shop.site).resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return {
            key.to_user_string()
            for key in graph.executable_asset_keys
            if resolver.get_status(key) is StaleStatus.STALE
        }

    assert shop.run(instance).success
    assert shop.run(instance, job="drill_shop").success
    shop.sql("INSERT INTO orders VALUES (13, 1, 2.0)")
    assert shop.run(instance).success
    assert out_of_step() == set()
    backup(shop.site, BackupOrder("shop"))  # by Python or --no-record: the sensor `history` reports it
    assert report(instance, shop.site, PLAIN, Cursor())[0]
    assert out_of_step() == set()
    shop.sql("ALTER TABLE orders ADD COLUMN note TEXT")
    assert shop.run(instance).success
    assert out_of_step() == {"shop/drill"}


def test_findings_have_two_columns_and_all_that_a_reader_needs() -> None:
    finding = Finding(
        "error", "table-removed", "the table main.t is gone", table="main.t", remedy="restore it"
    )
    table = findings_table([finding])
    assert isinstance(table, dg.TableMetadataValue)
    assert [column.name for column in table.schema.columns] == ["severity", "finding"]
    (record,) = table.records
    assert record.data["finding"] == "the table main.t is gone → restore it [table-removed]"
    assert (record.data["remedy"], record.data["code"]) == ("restore it", "table-removed")
