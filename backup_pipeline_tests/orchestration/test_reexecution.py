"""A run that failed between its two steps, re-executed from there: by Dagster's own means, in a real instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from backup_pipeline.backups import making
from backup_pipeline.errors import VaultBusy
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations import Site
from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline.vault import layout
from backup_pipeline_tests.orchestration.conftest import Shop

COMMIT = making.commit


def busy(*_: Any, **__: Any) -> Manifest:
    """The commit finds the lock taken."""
    raise VaultBusy("another backup is running", remedy="wait for it")


def killed(*args: Any, **kwargs: Any) -> Manifest:
    """The process ends just after its commit."""
    COMMIT(*args, **kwargs)
    raise RuntimeError("killed")


# Two functions: Dagster remembers the job that it built last, by the name of the function.
def first_job() -> dg.JobDefinition:
    return build_defs(Site.load()).resolve_job_def("backup_shop")


def second_job() -> dg.JobDefinition:
    return first_job()


@pytest.mark.parametrize("fault", [busy, killed])
@pytest.mark.parametrize("grown", [False, True], ids=["as-it-was", "with-a-new-table"])
def test_a_backup_is_finished_from_its_failure(
    shop: Shop, fault: Callable[..., Manifest], grown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_CONFIG", str(shop.config))
    with open_instance(shop.site, {}) as instance:
        with monkeypatch.context() as patch:
            patch.setattr(making, "commit", fault)
            first = dg.execute_job(dg.reconstructable(first_job), instance=instance)
        assert not first.success
        if grown:
            # The graph has another table by now.
            shop.sql("CREATE TABLE added (x)")
            shop.site.inventory("shop")
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        second = dg.execute_job(
            dg.reconstructable(second_job), instance=instance, reexecution_options=options
        )
        assert second.success
        steps = {event.step_key for event in second.all_events if event.is_step_success}
        assert naming.PLAIN.read_step("shop") not in steps, "nothing was read again"
        event = instance.get_latest_materialization_event(naming.PLAIN.manifest_key("shop"))
        assert event is not None
        assert event.asset_materialization is not None
        (backup,) = shop.site.vault.ids("shop")
        assert event.asset_materialization.metadata["backup"].value == backup
    assert list(shop.site.vault.store.list(layout.drafts_prefix("shop"))) == []
