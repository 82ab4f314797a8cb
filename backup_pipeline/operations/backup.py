"""`backup`: one recovery point, from the order to the judged manifest. The graph does it in steps: `export`, then `commit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from backup_pipeline.backups import making
from backup_pipeline.databases.base import Options
from backup_pipeline.errors import ErrorsFound, SourceError, VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import backup_id
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import BackupOrder, CopyOrder
from backup_pipeline.model.outcome import Outcome, failed, found_by
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import (
    choosing_tables,
    diagnosing,
    expected,
    health,
    migrating,
    revision,
    trees,
)
from backup_pipeline.operations.copy import PATIENCE, Copied, copy, failure_of
from backup_pipeline.operations.reading import show
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.state import inventories

__all__ = [
    "Hearing",
    "Made",
    "backup",
    "backup_with_copies",
    "commit",
    "expect_the_vault",
    "export",
    "made_since",
]


@dataclass(frozen=True, slots=True)
class Made:
    """A committed backup and its checks, which are remembered beside it."""

    manifest: Manifest
    outcomes: tuple[Outcome, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return found_by(self.outcomes)

    @property
    def failure(self) -> ErrorsFound | None:
        return failed(ErrorsFound, f"the backup {self.manifest.id} is made, with an error", self.findings)


@dataclass(frozen=True, slots=True)
class Hearing:
    """The functions that a caller gives to hear of a run."""

    listener: Listener = silent
    #: The id of each run.
    began: Callable[[str], None] = lambda _: None
    #: The checks of the backup.
    judged: Callable[[Sequence[Outcome]], None] = lambda _: None
    #: Each copy.
    copied: Callable[[Copied], None] = lambda _: None


@takes_time
def backup(site: Site, order: BackupOrder, listener: Listener = silent) -> Made:
    told = _told(site, order, listener)
    source = site.source(order.system)
    manifest = making.back_up(site.vault, source, told, listener=listener, clock=site.clock)
    _remember_tables(site, manifest)
    return Made(manifest, health.judge(site, manifest))


def backup_with_copies(
    site: Site, order: BackupOrder, hearing: Hearing, *, copies: bool, since: datetime | None = None
) -> Manifest:
    """A backup, and after it the copies of the system. A copy that could not be made is CopyFailed, after all others are
    done. `since`: a backup that was committed since then is not made a second time."""
    system = order.system
    if since is not None and (committed := made_since(site, system, since)):
        manifest = show(site, system, committed[-1])
    else:
        made = backup(site, order, hearing.listener)
        hearing.judged(made.outcomes)
        manifest = made.manifest
    if copies and site.settings.copies_of(system):
        there = CopyOrder(system, patience=PATIENCE)
        failure = failure_of(copy(site, there, hearing.listener, each=hearing.copied), made=manifest.id)
        if failure is not None:
            raise failure
    return manifest


def made_since(site: Site, system: str, began: datetime) -> list[str]:
    """Without those that a restore made of what it was about to change."""
    first = backup_id(began)
    found = [one for one in site.vault.ids(system) if one >= first]
    return [one for one in found if site.vault.backup(system, one).outline.kind != "pre-restore"]


@takes_time
def export(
    site: Site, order: BackupOrder, listener: Listener = silent, *, token: str, trees_follow: bool = False
) -> Manifest:
    """The first half of a backup; see `backups.making.export`."""
    draft = making.export(
        site.vault,
        site.source(order.system),
        replace(_told(site, order, listener), trees_follow=trees_follow),
        token=token,
        listener=listener,
        clock=site.clock,
    )
    _remember_tables(site, draft)
    return draft


@takes_time
def commit(site: Site, system: str, *, token: str) -> Manifest:
    return making.commit(site.vault, system, token=token, clock=site.clock)


def expect_the_vault(site: Site, system: str) -> None:
    """A vault that was there and is gone is not begun anew."""
    if (error := diagnosing.gone(site, system)) is not None:
        raise error
    expected.begin_anew(site.settings, site.vault)


def _told(site: Site, order: BackupOrder, listener: Listener) -> making.Order:
    """What was asked for, and what the configuration says of the system."""
    system, only = order.system, choosing_tables.split(order.only)
    chosen = site.system(system)
    expect_the_vault(site, system)
    with suppress(VaultError):  # `doctor` tells of a state folder that cannot be written
        site.settings.make_state()
    selection = chosen.selection
    named = trees.choose(site, system, only)
    if only:
        selection = replace(selection, only=trees.named_tables(site, system, named.tables, listener))
    state, findings = migrating.known(site, system, order.pending, listener)
    return making.Order(
        system=system,
        kind=order.kind,
        selection=selection,
        options=Options(
            workers=chosen.jobs,
            chunk_bytes=chosen.chunk_size,
            full=order.full,
            large_objects=chosen.large_objects,
        ),
        migrations=state,
        findings=findings,
        git_revision=revision.git_revision(site.settings.base),
        environment=chosen.environment,
        trees=tuple(trees.tree_order(site, system, name, full=order.full) for name in named.trees),
        trees_left_out=len(named.trees) < len(chosen.files),
        named=only,
        pauses=site.pauses,
    )


def _remember_tables(site: Site, manifest: Manifest) -> None:
    """A new table joins the graph, one that is gone leaves it. A backup that was made does not fail for it."""
    expected.remember(site.settings, site.vault)
    if inventories.is_stale(site.settings.state_folder, manifest):
        with suppress(SourceError):
            site.inventory(manifest.system)
