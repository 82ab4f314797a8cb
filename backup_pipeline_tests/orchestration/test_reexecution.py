"""A run that failed between its two steps, re-executed from there: by Dagster's own means, in a real instance."""

from __future__ import annotations

import dagster as dg
import pytest

from backup_pipeline.errors import VaultBusy
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations import Project
from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline.vault import layout
from backup_pipeline_tests.orchestration.conftest import Shop


class Busy(Project):
    """The commit finds the lock taken."""

    def commit(self, system: str, *, token: str) -> Manifest:
        raise VaultBusy("another backup is running", remedy="wait for it")


class Killed(Project):
    """The process ends just after its commit."""

    def commit(self, system: str, *, token: str) -> Manifest:
        super().commit(system, token=token)
        raise RuntimeError("killed")


#: How the first run goes wrong; Dagster builds the job again by calling `first_job`.
FAULTS: list[type[Project]] = [Busy]


def first_job() -> dg.JobDefinition:
    return build_defs(FAULTS[0].load()).resolve_job_def("backup_shop")


def second_job() -> dg.JobDefinition:
    return build_defs(Project.load()).resolve_job_def("backup_shop")


@pytest.mark.parametrize("fault", [Busy, Killed])
@pytest.mark.parametrize("grown", [False, True], ids=["as-it-was", "with-a-new-table"])
def test_a_backup_is_finished_from_its_failure(
    shop: Shop, fault: type[Project], grown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_CONFIG", str(shop.config))
    monkeypatch.setattr(f"{__name__}.FAULTS", [fault])
    with open_instance(shop.project, {}) as instance:
        first = dg.execute_job(dg.reconstructable(first_job), instance=instance)
        assert not first.success
        if grown:
            # The graph has another table by now.
            shop.sql("CREATE TABLE added (x)")
            shop.project.inventory("shop")
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
        (backup,) = shop.project.vault.ids("shop")
        assert event.asset_materialization.metadata["backup"].value == backup
    assert list(shop.project.vault.store.list(layout.drafts_prefix("shop"))) == []
