"""What can be set. docs/CONFIGURATION.md describes every field; a test demands it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from backup_pipeline.config.encrypting import EncryptionSettings, Signer, Since
from backup_pipeline.config.merging import MergeSettings
from backup_pipeline.config.references import Deferred, Secret, SecretToken
from backup_pipeline.config.retention import RetentionSettings, ScrubSettings
from backup_pipeline.config.storing import StoreSettings, same_ground
from backup_pipeline.config.strict import Strict
from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.config.values import (
    CopyName,
    Cron,
    Duration,
    Environment,
    Glob,
    GroupName,
    Owner,
    Size,
    SystemName,
    TagKey,
    TagValue,
    TreeName,
    UnixGroup,
    Zone,
)
from backup_pipeline.errors import NotFound
from backup_pipeline.model.selection import Selection, tables_among
from backup_pipeline.services.aws import AwsAccess
from backup_pipeline.stores.rights import make_folders
from backup_pipeline.stores.staging import explained


class MigrationSettings(Strict):
    """Where the project keeps its migrations: files are read, the application is not imported."""

    tool: Literal["alembic", "django", "prisma"]
    path: Path


class SystemSettings(Strict):
    """One application that is protected."""

    database: Secret
    #: Of the database: rows of a backup with another marker are not written into it.
    environment: Environment = ""
    #: Name → a file tree that belongs to the same recovery point.
    files: Mapping[TreeName, FilesSettings] = Field(default_factory=dict)
    #: The copies that this system's backups go to; all of them unless some are named.
    copies: tuple[str, ...] | None = None
    #: Instead of the retention of the whole file.
    retention: RetentionSettings | None = None
    schedule: Cron | None = None
    drill_schedule: Cron | None = None
    timezone: Zone | None = None
    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()
    groups: Mapping[GroupName, tuple[Glob, ...]] = Field(default_factory=dict)
    #: Tables that may be empty without a word; any other table that was full and is empty now is a finding.
    expected_empty: tuple[Glob, ...] = ()
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    chunk_size: Size = 16 * 1024 * 1024
    #: Above so many tables the graph shows one asset a group, a schema or a prefix of names.
    table_assets: Annotated[int, Field(ge=0)] = 50
    #: What the graph shows of the living database: one asset in all, or one beside each asset of its tables.
    live_assets: Literal["system", "tables"] = "system"
    large_objects: Literal["refuse", "exclude"] = "refuse"
    #: Name → SQL that must return no row, on the live data as on a restored backup.
    invariants: Mapping[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    #: A server on which drills may create (and drop) databases of their own.
    scratch: Secret | None = None
    migrations: MigrationSettings | None = None
    #: What a merge has to know of tables, and the database does not say.
    merge: MergeSettings = MergeSettings()
    #: A backup older than this is not fresh; two of the schedule's intervals unless set.
    fresh_within: Duration | None = None
    #: A drill older than this proves nothing any more.
    proven_within: Duration = 35 * 86400
    owners: tuple[Owner, ...] = ()
    tags: Mapping[TagKey, TagValue] = Field(default_factory=dict)

    @property
    def url(self) -> str:
        """Raises ConfigError when what it refers to is not there."""
        return self.database.get()

    @property
    def patterns(self) -> dict[str, tuple[str, ...]]:
        """Setting → its table patterns, of all settings that have some."""
        return {
            "include": tuple(self.include),
            "exclude": tuple(self.exclude),
            # These two may name file trees as well: `files.media`.
            "expected_empty": tables_among(self.expected_empty),
            **{f"groups: {name}": tables_among(globs) for name, globs in self.groups.items()},
        }

    @property
    def tree_patterns(self) -> dict[str, tuple[str, ...]]:
        """The same for those that name file trees: `files.media`."""
        settings = {
            "expected_empty": self.expected_empty,
            **{f"groups: {k}": v for k, v in self.groups.items()},
        }
        return {
            name: tuple(glob for glob in globs if glob not in tables_among(globs))
            for name, globs in settings.items()
        }

    @property
    def selection(self) -> Selection:
        return Selection(self.include, self.exclude, groups=dict(self.groups))

    @property
    def jobs(self) -> int:
        return self.workers or max(1, min(4, os.cpu_count() or 1))

    @property
    def secrets(self) -> tuple[str, ...]:
        trees = [secret for tree in self.files.values() for secret in tree.secrets]
        return (*self.database.parts, *(self.scratch.parts if self.scratch else ()), *trees)


class Settings(Strict):
    """The whole file."""

    vault: StoreSettings
    #: Name → another store that every backup is replicated to.
    copies: Mapping[CopyName, StoreSettings] = Field(default_factory=dict)
    encryption: EncryptionSettings | None = None
    #: The private key (PEM) with which this host signs what it writes.
    signing: Secret | None = None
    #: Public keys whose signatures count. Without any, nothing is asked of a backup.
    signers: tuple[Signer, ...] = ()
    #: Backups from before this day or moment may be unsigned; they say so.
    signed_since: Since = ""
    retention: RetentionSettings | None = None
    scrub: ScrubSettings = ScrubSettings()
    systems: Mapping[SystemName, SystemSettings]
    timezone: Zone = "UTC"
    #: Where this machine keeps what can be rebuilt: inventories, the Dagster instance, caches.
    state: Path = Path(".backup-pipeline")
    #: A group of this machine that may read the vault, the state folder and the history; no other account may.
    group: UnixGroup | None = None
    #: Apprise URLs: mailto://…, json://…, slack://…
    alerts: tuple[SecretToken, ...] = ()
    #: Where people reach the Dagster UI: the links in alerts start with it.
    ui_url: str = "http://127.0.0.1:3000"
    #: The folder that relative paths start from: that of the file.
    base: Path = Field(default=Path(), exclude=True)
    #: How S3 stores that do not say it sign in; from the embedding program, and never from the file. Asked when
    #: it is used.
    _s3_defaults: Callable[[], AwsAccess] | None = PrivateAttr(default=None)
    _file: Path | None = PrivateAttr(default=None)

    @field_validator("systems")
    @classmethod
    def _some(cls, value: Mapping[str, SystemSettings]) -> Mapping[str, SystemSettings]:
        if not value:
            raise ValueError("there is no system in it: name one, with a `database:`")
        return value

    @model_validator(mode="after")
    def _copies_are_there(self) -> Settings:
        if "vault" in self.copies:
            raise ValueError(
                "copies.vault: a copy needs another name; `vault` is what the vault itself is called"
            )
        for system, settings in self.systems.items():
            for name in settings.copies or ():
                if name not in self.copies:
                    known = ", ".join(self.copies) or "none"
                    raise ValueError(f"systems.{system}.copies names {name!r}; `copies:` has: {known}")
        return self

    @model_validator(mode="after")
    def _copies_are_elsewhere(self) -> Settings:
        places = [("vault", self.vault), *((f"copies.{name}", store) for name, store in self.copies.items())]
        for number, (name, store) in enumerate(places):
            for other, held in places[:number]:
                if same_ground(store, held, self.base):
                    raise ValueError(
                        f"{name} and {other} are the same place, or one lies in the other: what takes the one takes both"
                    )
        return self

    def copies_of(self, system: str) -> tuple[str, ...]:
        """The names of the copies that a system's backups go to."""
        chosen = self.systems[system].copies if system in self.systems else None
        return tuple(self.copies) if chosen is None else chosen

    def retention_of(self, system: str) -> RetentionSettings | None:
        """None: everything stays. `retention: null` of a system says so against the rules of the file."""
        chosen = self.systems.get(system)
        if chosen is not None and "retention" in chosen.model_fields_set:
            return chosen.retention
        return self.retention

    def copy_settings(self, name: str) -> StoreSettings:
        if name not in self.copies:
            near = difflib.get_close_matches(name, self.copies, n=1)
            raise NotFound(
                f"there is no copy {name!r} in the configuration",
                remedy=(f"did you mean {near[0]}? " if near else "")
                + f"it has: {', '.join(self.copies) or 'none; name some under `copies:`'}",
            )
        return self.copies[name]

    def place(self, name: str) -> StoreSettings:
        """The vault, by the name `vault`, or a copy."""
        return self.vault if name == "vault" else self.copy_settings(name)

    def system(self, name: str) -> SystemSettings:
        if name not in self.systems:
            near = difflib.get_close_matches(name, self.systems, n=1)
            raise NotFound(
                f"there is no system {name!r} in the configuration",
                remedy=(f"did you mean {near[0]}? " if near else "") + f"it has: {', '.join(self.systems)}",
            )
        return self.systems[name]

    def zone_of(self, name: str) -> str:
        """Of a system that left the configuration it is that of the configuration."""
        own = self.systems[name].timezone if name in self.systems else None
        return own or self.timezone

    def resolve(self, path: Path | str | Deferred) -> Path:
        return (self.base / Path(path).expanduser()).resolve()

    @property
    def file(self) -> Path | None:
        """That it was read from."""
        return self._file

    def read_from(self, file: Path) -> Settings:
        changed = self.model_copy()
        changed._file = file
        return changed

    @property
    def state_folder(self) -> Path:
        return self.resolve(self.state)

    def make_state(self, folder: Path | None = None) -> Path:
        """The state folder, or a folder of it (`state/paths.py`), made where it is not there; closed to other accounts."""
        folder = folder or self.state_folder
        with explained(f"cannot make {folder}"):
            make_folders(folder, self.state_folder, self.group)
        return folder

    def with_s3_defaults(self, defaults: Callable[[], AwsAccess]) -> Settings:
        changed = self.model_copy()
        changed._s3_defaults = defaults
        return changed

    @property
    def asks_aws(self) -> bool:
        """Whether any value in it is a secret of AWS."""
        return any(_asked_later(value) for value in self.__dict__.values())

    @property
    def s3_defaults(self) -> AwsAccess | None:
        return self._s3_defaults() if self._s3_defaults is not None else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that `redact` must hide, from every source."""
        found = [secret for system in self.systems.values() for secret in system.secrets]
        found += [part for alert in self.alerts for part in alert.parts]
        found += [part for store in (self.vault, *self.copies.values()) for part in store.secrets]
        found += self.encryption.secrets if self.encryption else ()
        found += self.signing.parts if self.signing else ()
        return tuple(dict.fromkeys(found))


def _asked_later(value: object) -> bool:
    if isinstance(value, Deferred):
        return value.is_asked_later
    if isinstance(value, Strict):
        return any(_asked_later(one) for one in value.__dict__.values())
    if isinstance(value, Mapping):
        return any(_asked_later(one) for one in value.values())
    return isinstance(value, tuple) and any(_asked_later(one) for one in value)
