"""One configuration and the places that it names: every verb is given a Site, and opens through it what it needs.

Nothing is opened until a verb asks for it. Verbs are no methods: each is a function in a file of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Self

from backup_pipeline import config
from backup_pipeline.config import Settings, SystemSettings
from backup_pipeline.databases.base import Source
from backup_pipeline.databases.engines import located, open_source
from backup_pipeline.databases.patience import PAUSES
from backup_pipeline.errors import AlreadyExists, VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.inventory import Inventory
from backup_pipeline.operations import stores
from backup_pipeline.state import inventories, paths
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.rights import file_mode
from backup_pipeline.vault.vault import Vault


class Site:
    #: Seconds before the second, the third … attempt at a source that does not answer.
    pauses = PAUSES

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
    def load(cls, path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Self:
        return cls(config.load(path, environ=environ))

    @cached_property
    def vault(self) -> Vault:
        return replace(stores.open_place(self.settings, self.place), clock=self.clock)

    def at(self, place: str | None, *, unsigned: bool = False) -> Self:
        """The same site, reading its backups in a copy: everything that reads works when the vault is gone."""
        place = None if place == stores.VAULT else place
        unsigned = unsigned or self.unsigned
        if (place, unsigned) == (self.place, self.unsigned):
            return self
        return type(self)(self.settings, clock=self.clock, place=place, unsigned=unsigned)

    def one_look(self) -> Self:
        """The same site for one command, or one tick, that reads: each manifest is read once."""
        look = type(self)(self.settings, clock=self.clock, place=self.place, unsigned=self.unsigned)
        look.__dict__["vault"] = self.vault.one_look()
        return look

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
        return located(self.system(system).url, self.settings.resolve)

    def source(self, system: str) -> Source:
        return open_source(self.url(system))

    def inventory(self, system: str) -> Inventory:
        """Ask the database, and remember the answer for the graph; where it cannot be kept, that is a finding."""
        found = self.source(system).inventory(self.system(system).selection)
        try:
            inventories.save(self.settings.make_state(), system, found)
        except VaultError as error:
            finding = Finding.of(
                "inventory-not-kept", state_folder=self.settings.state_folder, why=error.message
            )
            return replace(found, findings=(*found.findings, finding))
        return found

    def known_inventory(self, system: str) -> Inventory | None:
        """What the last look said; asks nothing and connects to nothing."""
        return inventories.load(self.settings.state_folder, system)

    @property
    def dagster_folder(self) -> Path:
        return paths.dagster(self.settings.state_folder)

    def furnished_for_dagster(self, name: str, content: bytes) -> Path:
        """The same folder with the file `name` in it. The file is written once, and is for people to edit."""
        folder = self.dagster_folder
        if not (folder / name).exists():
            with suppress(AlreadyExists):  # another process was faster, with the same bytes
                LocalStore(self.settings.make_state(folder)).put(name, content, overwrite=False)
            # The store makes its files read-only.
            (folder / name).chmod(file_mode(folder, 0o600))
        return folder

    def jobs(self, system: str) -> int:
        """A backup can be restored although the configuration no longer names its system."""
        return self.settings.systems[system].jobs if system in self.settings.systems else 2
