"""`list` and `show`: which backups there are, and what each says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backup_pipeline.errors import BackupError, Damaged, ErrorsFound, VaultError
from backup_pipeline.health import overview
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest, Proof
from backup_pipeline.model.outcome import failed
from backup_pipeline.model.overview import Broken, Listed
from backup_pipeline.model.plural import plural
from backup_pipeline.operations import diagnosing, health, reading
from backup_pipeline.operations.site import Site


@dataclass(frozen=True, slots=True)
class Survey:
    """The backups of a system."""

    system: str
    whole: tuple[Listed, ...]
    #: Too damaged to be listed.
    broken: tuple[Broken, ...]
    #: Backups that are gone, and that no record says were forgotten.
    missing: tuple[Finding, ...]

    @property
    def empty(self) -> bool:
        return not self.whole and not self.broken


@dataclass(frozen=True, slots=True)
class Listing:
    surveys: tuple[Survey, ...]
    #: A vault that is gone looks like a new one.
    lost: VaultError | None = None

    @property
    def backups(self) -> tuple[Listed, ...]:
        return tuple(line for one in self.surveys for line in one.whole)

    @property
    def damaged(self) -> tuple[Broken, ...]:
        return tuple(line for one in self.surveys for line in one.broken)

    @property
    def failure(self) -> BackupError | None:
        if bad := self.damaged:
            names = ", ".join(one.id for one in bad)
            looks = [f"`backup-pipeline verify {one.system} all` says which backups are whole" for one in bad]
            return Damaged(
                f"{plural(len(bad), 'backup')} cannot be read: {names}",
                remedy="; ".join(dict.fromkeys([*(one.remedy for one in bad), *looks])),
            )
        gone = [finding for one in self.surveys for finding in one.missing]
        return self.lost or failed(ErrorsFound, "not every backup is there", gone)


def listing(site: Site, system: str | None = None) -> Listing:
    """Of one system or of all: what is there, what is damaged, and what is gone."""
    if system and system not in site.vault.systems():
        site.system(system)  # a name that means nothing is an error, not an empty list
    surveys = tuple(_survey(site, name) for name in systems_of(site, system))
    losses = [loss for one in surveys if one.empty and (loss := diagnosing.lost(site, one.system))]
    together = diagnosing.lost(site) if len(losses) > 1 else None
    return Listing(surveys, together or next(iter(losses), None))


def _survey(site: Site, system: str) -> Survey:
    whole, broken = overview.survey(site.vault, system, health.acks(site, system))
    told = tuple(replace(one, remedy=diagnosing.exact_remedy(site, system, one.remedy)) for one in broken)
    return Survey(system, whole, told, health.missing(site, system, whole, told))


def systems_of(site: Site, system: str | None) -> tuple[str, ...]:
    return (system,) if system else tuple(sorted({*site.systems, *site.vault.systems()}))


def list_backups(site: Site, system: str | None = None) -> tuple[Listed, ...]:
    """Of one system or of all, oldest first."""
    found = tuple(listed(site, name, id) for name in systems_of(site, system) for id in site.vault.ids(name))
    if not found and (error := diagnosing.lost(site, system)) is not None:
        raise error
    return found


def listed(site: Site, system: str, id: str) -> Listed:
    return overview.listed(site.vault.backup(system, id), health.acks(site, system))


@dataclass(frozen=True, slots=True)
class Described:
    """Everything that a backup, and what was remembered of it, says of itself."""

    backup: Listed
    manifest: Manifest
    proofs: tuple[Proof, ...]


def described(site: Site, system: str, id: str | None = None) -> Described:
    manifest = reading.show(site, system, id)
    proofs = site.vault.backup(system, manifest.id).proofs()
    return Described(listed(site, system, manifest.id), manifest, proofs)


def as_stored(site: Site, system: str, id: str | None = None) -> bytes:
    """The manifest as it lies in the vault."""
    return site.vault.backup(system, reading.show(site, system, id).id).data
