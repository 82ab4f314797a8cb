"""`references` and `file_policy` in the graph: only where there are file trees, with numbers that the UI can plot."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import dagster as dg

from backup_pipeline.health.file_checks import judge_files
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.reading import show
from backup_pipeline.orchestration.asset_checks import FILES, result
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline_tests.harness.handmade_files import tree_of_entries, with_contents
from backup_pipeline_tests.orchestration.conftest import Shop

SETTINGS = """\
files:
  media: {path: ./media, refs: {customers.name: path}, types: [text/plain], max_size: 100}
"""


def checks_of(site: Site) -> set[str]:
    keys = build_defs(site).resolve_asset_graph().asset_check_keys
    return {key.name for key in keys if key.asset_key == dg.AssetKey(["shop", "manifest"])}


def test_only_a_system_with_file_trees_has_these_checks(shop: Shop) -> None:
    names = {text.name for text in FILES}
    assert not names & checks_of(shop.site)
    assert names <= checks_of(shop.configure(SETTINGS))


def test_their_outcomes_say_what_is_wrong_and_count(shop: Shop) -> None:
    (shop.folder / "media").mkdir()
    (shop.folder / "media" / "any").touch()  # an empty tree is a finding of its own
    site = shop.configure(SETTINGS)
    manifest = backup(site, BackupOrder("shop")).manifest
    entries, packs = with_contents(site.vault, {"Ada": b"a" * 200, "other": b"b"})
    entries = [replace(one, media="text/plain") for one in entries]
    manifest = replace(manifest, files=(tree_of_entries(site.vault, entries, packs=packs),))
    taken, references, policy = judge_files(site.vault.backup_of(manifest), site.system("shop").files)
    assert (taken.name, taken.passed, taken.counted["files"]) == ("files", True, 2)
    assert (references.name, references.is_error) == ("references", True)
    assert "1 value of customers.name" in references.description
    assert [note.code for note in references.notes] == ["orphan-files"]
    shown = result(references, dg.AssetKey(["shop", "manifest"]))
    assert shown.metadata["checked_dangling_files"] == dg.MetadataValue.int(1)
    assert shown.metadata["checked_orphan_files"] == dg.MetadataValue.int(1)
    assert (policy.name, policy.passed, policy.is_error) == ("file_policy", False, False)
    assert policy.counted["text_plain_bytes"] == 201


def test_a_system_without_trees_is_not_asked(shop: Shop) -> None:
    assert judge_files(shop.site.vault.backup_of(backup(shop.site, BackupOrder("shop")).manifest), {}) == ()


def test_the_job_records_them_with_every_backup(shop: Shop, instance: dg.DagsterInstance) -> None:
    media = shop.folder / "media"
    media.mkdir()
    (media / "Ada").write_text("plain")
    (media / "Grace").write_bytes(b"\x7fELF" + bytes(100))
    shop.configure(SETTINGS)
    shop.site.inventory("shop")
    result = shop.run(instance)
    assert result.success
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert found["files"].passed
    assert found["files"].metadata["checked_new_files"] == dg.MetadataValue.int(2)
    assert found["references"].passed
    assert found["references"].metadata["checked_file_values"] == dg.MetadataValue.int(2)
    assert not found["file_policy"].passed
    assert found["file_policy"].severity == dg.AssetCheckSeverity.WARN
    assert found["integrity"].passed


def test_a_degraded_backup_is_said_and_copied_all_the_same(shop: Shop, instance: dg.DagsterInstance) -> None:
    media = shop.folder / "media"
    media.mkdir()
    for name in ("Ada", "Grace"):
        (media / name).write_text("plain")
    shop.configure(SETTINGS)
    shop.site.inventory("shop")
    assert shop.run(instance).success
    for name in ("Ada", "Grace"):
        (media / name).unlink()
    result = shop.run(instance)
    assert not result.success, "the run of a backup with an error fails, after its copies"
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert not found["files"].passed
    assert found["files"].severity == dg.AssetCheckSeverity.ERROR
    assert found["complete"].passed


def test_refs_that_cannot_be_checked_fail_the_check_and_the_run(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    media = shop.folder / "media"
    media.mkdir()
    (media / "Ada").write_text("plain")
    shop.configure(SETTINGS.replace("customers.name", "customers.nmae"))
    shop.site.inventory("shop")
    result = shop.run(instance)
    assert not result.success, "the run of a backup with an error fails, after its copies"
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert found["files"].passed, "every file is in it"
    assert not found["references"].passed
    assert found["references"].severity == dg.AssetCheckSeverity.ERROR
    (kept,) = show(shop.site, "shop").findings
    assert (kept.code, kept.severity) == ("reference-without-column", "error")
    assert "did you mean customers.name?" in kept.remedy


def test_the_checks_of_a_fresh_backup_load_no_library_that_they_may_not_need() -> None:
    """A backup without `refs:` reads no rows. NumPy, Arrow and DuckDB would cost it 0.3 s of processor time."""
    script = (
        "import sys, backup_pipeline.health.judging; print({'numpy', 'pyarrow', 'duckdb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
