"""shop/copies/offsite: what the vault holds, in another place as well; and the check that it really is there.

A copy stands behind the manifest and its blocking checks: what is not complete, or does not read back, is not copied. It
brings over everything that is missing, so one that failed last night is made good tonight. A store that does not answer
is tried again; anything else fails the step, and not the backup, which is committed by then.
"""

# Without `from __future__ import annotations`: Dagster reads the type of `config` from the annotation.

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from backup_pipeline.config import StoreSettings
from backup_pipeline.errors import BackupError, StoreUnavailable, VaultBusy
from backup_pipeline.model.orders import CopyOrder
from backup_pipeline.operations import Site, audit, monitoring
from backup_pipeline.operations.copy import PATIENCE, Copied, copy_to, failure_of
from backup_pipeline.orchestration.asset_checks import CheckText, result
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.metadata import Metadata, figures, findings_metadata
from backup_pipeline.orchestration.resources import Backups, StepFailure, acting, failures_told, given

COPIED = CheckText("copied", "The copy holds every backup that the vault keeps, within its deadline.")
#: A store that is down is asked again after 1, 2 and 4 minutes; the next backup, or `copy`, goes on from there.
RETRIES = 3
PAUSE = 60.0
_PASSING = (StoreUnavailable, VaultBusy)


class CopyConfig(dg.Config):
    """What is copied. In the launchpad: `ops: {shop__copies__offsite: {config: {backup: "2026-…"}}}`."""

    backup: str = Field("all", description='An id, "latest", or "all": everything that is not there yet.')


def copy_assets(site: Site, plan: SystemPlan) -> tuple[dg.AssetsDefinition, ...]:
    return tuple(_copy_asset(site, plan, name) for name in site.settings.copies_of(plan.system))


def _copy_asset(site: Site, plan: SystemPlan, name: str) -> dg.AssetsDefinition:
    system, settings, names = plan.system, site.system(plan.system), plan.names
    store = site.settings.copy_settings(name)

    @dg.asset(
        key=names.copy_key(system, name),
        deps=[names.manifest_key(system)],
        group_name=names.group(system),
        kinds={_kind(store)},
        owners=list(settings.owners),
        tags=dict(settings.tags),
        pool=names.copy_pool(system, name),
        required_resource_keys={names.resource},
        description=f"The backups of {system} in the copy {name}: the same bytes in another place. Objects first, "
        "the manifest last; only what is missing is sent.",
    )
    def copy(context: dg.AssetExecutionContext, config: CopyConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
        backups = given(context, names)
        try:
            with acting(context, backups, "copy", system, place=name):
                return _copy(context, backups, system, name, config.backup)
        except StepFailure as failure:
            # A user at a terminal decides when to try again.
            passing = isinstance(failure.original, _PASSING) and backups.listener is None
            if passing and context.retry_number < RETRIES:
                context.log.warning(f"{failure.description}; it is tried again")
                raise dg.RetryRequested(RETRIES, PAUSE * 2**context.retry_number) from None
            raise

    return copy


def _kind(store: StoreSettings) -> str:
    """For the UI's icon. An address that is not known here yet is no reason for the graph not to load."""
    if store.url.problem is not None or store.url.is_asked_later:
        return "copy"
    return {"s3": "s3", "folder": "file"}.get(store.scheme, "copy")


def _copy(
    context: dg.AssetExecutionContext, backups: Backups, system: str, name: str, wanted: str
) -> dg.MaterializeResult[None]:
    site = backups.site
    try:
        # In the daemon the step does not wait: it is tried again later.
        order = CopyOrder(system, wanted or "all", patience=PATIENCE if backups.listener else 0.0)
        report = copy_to(site, order, name, backups.listen(context.log))
    except BackupError as error:
        backups.kept.copied.append(Copied(name, system, error=error))
        raise
    done = Copied(name, system, report)
    backups.kept.copied.append(done)
    latest = site.copy(name).ids(system)[-1:]
    metadata: Metadata = {
        "place": dg.MetadataValue.text(report.target),
        "latest": dg.MetadataValue.text(latest[0] if latest else "none"),
        **figures(audit.of_copy(report)),
        "seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        **findings_metadata(report.findings, {}, report.seconds),
    }
    failure = failure_of([done])
    if failure is not None:
        raise StepFailure.of(failure, metadata)
    return dg.MaterializeResult(metadata=metadata)


def copied_checks(site: Site, plan: SystemPlan) -> tuple[dg.AssetChecksDefinition, ...]:
    """`copied`, on each copy: also true or false on a day on which nothing is copied."""
    system, names = plan.system, plan.names
    copies = site.settings.copies_of(system)
    if not copies:
        return ()

    @dg.multi_asset_check(
        name=names.step(system, "copied"),
        specs=[COPIED.dagster_spec(names.copy_key(system, name)) for name in copies],
        can_subset=True,
        required_resource_keys={names.resource},
    )
    def copied(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        backups = given(context, names)
        wanted = {check.asset_key for check in context.selected_asset_check_keys}
        with failures_told(backups.site):
            for name, outcome in monitoring.copied(backups.site, system):
                if (key := names.copy_key(system, name)) in wanted:
                    yield result(outcome, key)

    return (copied,)
