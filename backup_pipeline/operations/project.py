"""One configuration, and everything that can be done with it.

The CLI, the Dagster graph and the Python API all call these methods and nothing below them, so the three
cannot come to differ. Nothing is opened until a method needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline import config
from backup_pipeline.backups.making import Order, back_up, commit, export
from backup_pipeline.config import Settings, SystemSettings
from backup_pipeline.databases.base import Options, RestoreOptions, Source
from backup_pipeline.databases.engines import open_source
from backup_pipeline.errors import Damaged, RestoreError, SourceError, VaultError
from backup_pipeline.health import overview
from backup_pipeline.health.overview import Broken, Listed, SystemStatus
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.inventory import Inventory
from backup_pipeline.model.manifest import Kind, Manifest, Migrations
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import (
    diagnosing,
    expected,
    files,
    health,
    migrating,
    revision,
    stores,
    thawing,
    trees,
)
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.state import inventories
from backup_pipeline.vault import signing
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    import pandas as pd

    from backup_pipeline import reading
    from backup_pipeline.databases.postgres.restore.terms import Terms
    from backup_pipeline.drills import DrillReport
    from backup_pipeline.health.outcome import Outcome
    from backup_pipeline.restores import RestorePlan, RestoreResult

Names = tuple[str, ...]
__all__ = ["Broken", "Listed", "Project", "SystemStatus"]


class Project:
    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        place: str | None = None,
        unsigned: bool = False,
    ) -> None:
        self.settings = settings
        self.clock = clock
        #: Where its backups are read: a copy's name; None: the vault itself.
        self.place = place
        #: Restore, drill and query a backup although none of `signers:` signed it as it is.
        self.unsigned = unsigned

    @classmethod
    def load(cls, path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Project:
        return cls(config.load(path, environ=environ))

    @cached_property
    def vault(self) -> Vault:
        return replace(stores.open_place(self.settings, self.place), clock=self.clock)

    def at(self, place: str | None, *, unsigned: bool = False) -> Project:
        """The same project, reading its backups in a copy: everything that reads works when the vault is gone."""
        place = None if place == stores.VAULT else place
        unsigned = unsigned or self.unsigned
        if (place, unsigned) == (self.place, self.unsigned):
            return self
        return type(self)(self.settings, clock=self.clock, place=place, unsigned=unsigned)

    def copy(self, name: str) -> Vault:
        """One of the vault's copies: a vault like it."""
        return stores.open_copy(self.settings, name)

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(self.settings.systems)

    def system(self, name: str) -> SystemSettings:
        return self.settings.system(name)

    def url(self, system: str) -> str:
        """The system's database; a relative SQLite path starts at the configuration file."""
        url = self.system(system).url
        scheme, separator, rest = url.partition(":///")
        if scheme.startswith("sqlite") and separator and not rest.startswith("/"):
            return f"{scheme}:///{self.settings.resolve(rest)}"
        return url

    def source(self, system: str) -> Source:
        return open_source(self.url(system))

    def inventory(self, system: str) -> Inventory:
        """Ask the database, and remember the answer for the graph; where it cannot be kept, that is a finding."""
        found = self.source(system).inventory(self.system(system).selection)
        try:
            inventories.save(self.settings.state_for(), system, found)
        except VaultError as error:
            finding = Finding(
                "warning",
                "inventory-not-kept",
                f"the state folder {self.settings.state_folder} cannot be written: {error.message}",
                remedy="set `state:` to a folder of the user that runs backups",
            )
            return replace(found, findings=(*found.findings, finding))
        return found

    def known_inventory(self, system: str) -> Inventory | None:
        """What the last look said; asks nothing and connects to nothing."""
        return inventories.load(self.settings.state_folder, system)

    def doctor(self, system: str) -> Report:
        """Can it be backed up as it should be, and what the configuration asks for be done?"""
        from backup_pipeline.operations.examining import examine_system

        return examine_system(self, system)

    def machine(self, *, mend: bool = False) -> Report:
        """Is this machine ready: the vault, its disk, the clock, the tools? `mend` closes what other accounts can read."""
        from backup_pipeline.operations.examining import examine_machine

        return examine_machine(self, mend=mend)

    @takes_time
    def backup(
        self,
        system: str,
        *,
        kind: Kind = "manual",
        full: bool = False,
        only: Iterable[str] = (),
        pending: tuple[str, ...] = (),
        listener: Listener = silent,
        judged: Callable[[tuple[Outcome, ...]], None] = lambda _: None,
    ) -> Manifest:
        """`judged` is told the checks of the backup, which are remembered beside it."""
        order = self._order(system, kind, full, tuple(only), pending, listener)
        manifest = back_up(self.vault, self.source(system), order, listener=listener, clock=self.clock)
        self._remember_tables(system, manifest)
        judged(health.judge(self, manifest))
        return manifest

    @takes_time
    def export(
        self,
        system: str,
        *,
        token: str,
        kind: Kind = "manual",
        full: bool = False,
        only: Iterable[str] = (),
        pending: tuple[str, ...] = (),
        trees_follow: bool = False,
        listener: Listener = silent,
    ) -> Manifest:
        """The first half of a backup; see `backup.export`."""
        order = self._order(system, kind, full, tuple(only), pending, listener)
        draft = export(
            self.vault,
            self.source(system),
            order,
            token=token,
            trees_follow=trees_follow,
            listener=listener,
            clock=self.clock,
        )
        self._remember_tables(system, draft)
        return draft

    @takes_time
    def commit(self, system: str, *, token: str) -> Manifest:
        return commit(self.vault, system, token=token, clock=self.clock)

    def _order(
        self, system: str, kind: Kind, full: bool, only: Names, pending: Names, listener: Listener
    ) -> Order:
        chosen = self.system(system)
        self.expect_the_vault(system)
        with suppress(VaultError):  # `doctor` tells of a state folder that cannot be written
            self.settings.state_for()
        selection = chosen.selection
        named = trees.choose(self, system, only)
        if only:
            selection = replace(selection, only=trees.named_tables(self, system, named.tables, listener))
        state, findings = migrating.known(self, system, pending, listener)
        return Order(
            system=system,
            kind=kind,
            selection=selection,
            options=Options(
                workers=chosen.jobs,
                chunk_bytes=chosen.chunk_size,
                full=full,
                large_objects=chosen.large_objects,
            ),
            migrations=state,
            findings=findings,
            git_revision=revision.git_revision(self.settings.base),
            trees=tuple(trees.tree_order(self, system, name, full=full) for name in named.trees),
            trees_left_out=len(named.trees) < len(chosen.files),
            named=only,
        )

    def expect_the_vault(self, system: str) -> None:
        """A vault that was there and is gone is not begun anew."""
        if (error := diagnosing.gone(self, system)) is not None:
            raise error
        expected.begin_anew(self.settings, self.vault)

    def _remember_tables(self, system: str, manifest: Manifest) -> None:
        """A new table joins the graph, one that is gone leaves it. A backup that was made does not fail for it."""
        expected.remember(self.settings, self.vault)
        if inventories.is_stale(self.settings.state_folder, manifest):
            with suppress(SourceError):
                self.inventory(system)

    def migrations(self, system: str, pending: tuple[str, ...] = ()) -> Migrations | None:
        return migrating.state_of(self, system, pending)

    def list(self, system: str | None = None) -> tuple[Listed, ...]:
        names = (system,) if system else tuple(sorted({*self.systems, *self.vault.systems()}))
        found = tuple(self.listed(name, identifier) for name in names for identifier in self.vault.ids(name))
        if not found and (error := diagnosing.lost(self, system)) is not None:
            raise error
        return found

    def listed(self, system: str, identifier: str) -> Listed:
        return overview.listed(self.vault, system, identifier, health.acks(self, system))

    def survey(self, system: str) -> tuple[tuple[Listed, ...], tuple[Broken, ...]]:
        """The backups of a system that can be listed, and those that are too damaged for it."""
        whole, broken = overview.survey(self.vault, system, health.acks(self, system))
        return whole, tuple(
            replace(one, remedy=diagnosing.exact_remedy(self, system, one.remedy)) for one in broken
        )

    @diagnosing.diagnosed
    def show(self, system: str, identifier: str | None = None) -> Manifest:
        return self.vault.manifest(system, self.vault.resolve(system, identifier))

    def usable(self, system: str, identifier: str | None = None) -> Manifest:
        """To restore, drill or query it: signed, where `signers:` says by whom."""
        manifest = self.show(system, identifier)
        if not self.unsigned:
            signing.demand(self.vault, system, manifest.id)
        return manifest

    def status(self) -> tuple[SystemStatus, ...]:
        """Of every system, its copies included."""
        from backup_pipeline.operations import copying

        return tuple(copying.with_copies(self, self.status_of(name)) for name in self.systems)

    def status_of(self, system: str) -> SystemStatus:
        found = overview.status(
            self.vault,
            system,
            self._settings_of(system),
            zone=self.settings.zone_of(system) if system in self.systems else self.settings.timezone,
            now=self.clock(),
            rules=health.rules(self, system),
        )
        return diagnosing.of_status(self, found)

    def _settings_of(self, system: str) -> SystemSettings | None:
        """None of a system that left the configuration and has backups; an unknown one is an error."""
        if system not in self.systems and self.vault.ids(system):
            return None
        return self.system(system)

    @diagnosing.diagnosed
    def resolve(self, system: str, identifier: str | None = None) -> str:
        """The id of the backup that is meant."""
        return self.vault.resolve(system, identifier)

    @takes_time
    @diagnosing.diagnosed
    def verify(
        self,
        system: str,
        identifier: str | None = None,
        *,
        quick: bool = False,
        listener: Listener = silent,
    ) -> Report:
        """Look at one backup (or `all`) and remember the outcome beside it."""
        from backup_pipeline.verification.verify import verify, verify_all

        kind = "verify-quick" if quick else "verify"
        if identifier == "all":
            unkept: dict[Finding, None] = {}
            report = verify_all(
                self.vault,
                system,
                quick=quick,
                trees=files.settings_of(self, system),
                listener=listener,
                each=lambda name, found: unkept.update(
                    dict.fromkeys(self._remember(system, name, kind, found))
                ),
            )
            return health.accepted(self, system, replace(report, findings=(*report.findings, *unkept)))
        chosen = self.vault.resolve(system, identifier)
        trees = files.settings_of(self, system)
        report = verify(self.vault, system, chosen, quick=quick, trees=trees, listener=listener)
        unkept_one = self._remember(system, chosen, kind, report)
        return health.accepted(self, system, replace(report, findings=(*report.findings, *unkept_one)))

    @takes_time
    @diagnosing.diagnosed
    def drill(
        self,
        system: str,
        identifier: str | None = None,
        *,
        scratch: str | None = None,
        all_files: bool = False,
        listener: Listener = silent,
    ) -> DrillReport:
        from backup_pipeline.drills import drill

        manifest = self.usable(system, identifier)
        chosen = manifest.id
        thawing.ensure_readable(self.vault, manifest.objects(), what=f"{system} {chosen}")
        # A system that left the configuration still has backups, and they can still be proven.
        settings = self.settings.systems.get(system)
        configured = settings.scratch.get() if settings and settings.scratch else None
        given = scratch or configured
        try:
            result = drill(
                self.vault,
                manifest,
                scratch_url=given,
                invariants=dict(settings.invariants) if settings else {},
                trees=files.settings_of(self, system),
                all_files=all_files,
                listener=listener,
                jobs=self._jobs(system),
            )
        except (Damaged, RestoreError) as error:
            # It could not be brought back: no proof that it once could holds any more. On a server that was
            # given, what failed may be the server.
            if given is None or isinstance(error, Damaged):
                finding = Finding.of_error(error)
                self._remember(system, chosen, "drill", Report(f"{system} {chosen}", (finding,)))
            raise
        unkept = self._remember(system, chosen, "drill", result.report, seconds=result.recovery_seconds)
        report = replace(result.report, findings=(*result.report.findings, *unkept))
        return replace(result, report=health.accepted(self, system, report))

    def _remember(
        self, system: str, identifier: str, kind: str, report: Report, *, seconds: float | None = None
    ) -> tuple[Finding, ...]:
        from backup_pipeline.verification.remembering import remember

        return remember(self.vault, system, identifier, kind, report, now=self.clock(), seconds=seconds)

    @diagnosing.diagnosed
    def plan_restore(
        self,
        system: str,
        identifier: str | None,
        to: str,
        *,
        create: bool = False,
        jobs: int | None = None,
        terms: Terms | None = None,
    ) -> RestorePlan:
        from backup_pipeline.restores import plan_restore

        options = RestoreOptions(create=create, jobs=jobs or self._jobs(system), terms=terms)
        plan = plan_restore(self.vault, self.usable(system, identifier), to, options)
        return replace(plan, refused=diagnosing.exact_findings(self, system, plan.refused))

    @takes_time
    @diagnosing.diagnosed
    def restore(
        self,
        system: str,
        identifier: str | None,
        to: str,
        *,
        create: bool = False,
        dry_run: bool = False,
        jobs: int | None = None,
        listener: Listener = silent,
        terms: Terms | None = None,
    ) -> RestoreResult:
        from backup_pipeline.restores import restore

        manifest = self.usable(system, identifier)
        if not dry_run:
            thawing.ensure_readable(self.vault, manifest.objects(), what=f"{system} {manifest.id}")
        return restore(
            self.vault,
            manifest,
            to,
            RestoreOptions(create=create, jobs=jobs or self._jobs(system), dry_run=dry_run, terms=terms),
            listener=listener,
        )

    def _jobs(self, system: str) -> int:
        """A backup can be restored although the configuration no longer names its system."""
        return self.settings.systems[system].jobs if system in self.settings.systems else 2

    @diagnosing.diagnosed
    def read_table(self, system: str, identifier: str | None, table: str) -> pd.DataFrame:
        from backup_pipeline.reading import read_table

        return read_table(self.vault, self.usable(system, identifier), table)

    @contextmanager
    def querying(self, system: str, identifier: str | None, sql: str) -> Iterator[reading.Answer]:
        """The answer as it is made, a batch at a time."""
        from backup_pipeline.reading import running

        with (
            diagnosing.explained(self, system),
            running(self.vault, self.usable(system, identifier), sql) as answer,
        ):
            yield answer

    @diagnosing.diagnosed
    def query(self, system: str, identifier: str | None, sql: str) -> pd.DataFrame:
        from backup_pipeline.reading import query

        return query(self.vault, self.usable(system, identifier), sql)
