"""One configuration, and everything that can be done with it.

The CLI, the Dagster graph and the Python API all call these methods and nothing below them, so the three
cannot come to differ. Nothing is opened until a method needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backup_pipeline.config import SystemSettings
from backup_pipeline.health import overview
from backup_pipeline.health.overview import Broken, Listed, SystemStatus
from backup_pipeline.model.findings import Report
from backup_pipeline.model.manifest import Manifest, Migrations
from backup_pipeline.model.orders import BackupOrder, DrillOrder, RestoreOrder, VerifyOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import diagnosing, health, migrating, reading
from backup_pipeline.operations.backup import backup, commit, expect_the_vault, export
from backup_pipeline.operations.site import Site

if TYPE_CHECKING:
    import pandas as pd

    from backup_pipeline.drills import DrillReport
    from backup_pipeline.reading import Answer
    from backup_pipeline.restores import RestoreResult

__all__ = ["Broken", "Listed", "Project", "SystemStatus"]


class Project(Site):
    def doctor(self, system: str) -> Report:
        """Can it be backed up as it should be, and what the configuration asks for be done?"""
        from backup_pipeline.operations.examining import examine_system

        return examine_system(self, system)

    def machine(self, *, mend: bool = False) -> Report:
        """Is this machine ready: the vault, its disk, the clock, the tools? `mend` closes what other accounts can read."""
        from backup_pipeline.operations.examining import examine_machine

        return examine_machine(self, mend=mend)

    def backup(self, system: str, *, listener: Listener = silent, **asked: Any) -> Manifest:
        return backup(self, BackupOrder(system, **asked), listener).manifest

    def export(
        self,
        system: str,
        *,
        token: str,
        trees_follow: bool = False,
        listener: Listener = silent,
        **asked: Any,
    ) -> Manifest:
        order = BackupOrder(system, **asked)
        return export(self, order, listener, token=token, trees_follow=trees_follow)

    def commit(self, system: str, *, token: str) -> Manifest:
        return commit(self, system, token=token)

    def expect_the_vault(self, system: str) -> None:
        expect_the_vault(self, system)

    def migrations(self, system: str, pending: tuple[str, ...] = ()) -> Migrations | None:
        return migrating.state_of(self, system, pending)

    def list(self, system: str | None = None) -> tuple[Listed, ...]:
        names = (system,) if system else tuple(sorted({*self.systems, *self.vault.systems()}))
        found = tuple(self.listed(name, identifier) for name in names for identifier in self.vault.ids(name))
        if not found and (error := diagnosing.lost(self, system)) is not None:
            raise error
        return found

    def listed(self, system: str, identifier: str) -> Listed:
        return overview.listed(self.vault.backup(system, identifier), health.acks(self, system))

    def survey(self, system: str) -> tuple[tuple[Listed, ...], tuple[Broken, ...]]:
        """The backups of a system that can be listed, and those that are too damaged for it."""
        whole, broken = overview.survey(self.vault, system, health.acks(self, system))
        return whole, tuple(
            replace(one, remedy=diagnosing.exact_remedy(self, system, one.remedy)) for one in broken
        )

    def show(self, system: str, identifier: str | None = None) -> Manifest:
        return reading.show(self, system, identifier)

    def usable(self, system: str, identifier: str | None = None) -> Manifest:
        return reading.usable(self, system, identifier)

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

    def resolve(self, system: str, identifier: str | None = None) -> str:
        return reading.resolve(self, system, identifier)

    def verify(
        self, system: str, identifier: str | None = None, *, listener: Listener = silent, **asked: Any
    ) -> Report:
        from backup_pipeline.operations.verify import verify

        return verify(self, VerifyOrder(system, identifier, **asked), listener)

    def drill(
        self, system: str, identifier: str | None = None, *, listener: Listener = silent, **asked: Any
    ) -> DrillReport:
        from backup_pipeline.operations.drill import drill

        return drill(self, DrillOrder(system, identifier, **asked), listener)

    def restore(
        self, system: str, identifier: str | None, to: str, *, listener: Listener = silent, **asked: Any
    ) -> RestoreResult:
        from backup_pipeline.operations.restore import restore

        return restore(self, RestoreOrder(system, identifier, to=to, **asked), listener)

    @diagnosing.diagnosed
    def read_table(self, system: str, identifier: str | None, table: str) -> pd.DataFrame:
        from backup_pipeline.reading import read_table

        return read_table(self.vault, self.usable(system, identifier), table)

    @contextmanager
    def querying(self, system: str, identifier: str | None, sql: str) -> Iterator[Answer]:
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
