"""The sensor `history`: what no run of Dagster has recorded is reported to the instance.

Commands that need no run (prune, copy, verify …), backups without a record and the Python API leave a line in the log of acts.
Each becomes an event of its asset. A success is a materialization with the figures of a step. Every other end is an
observation with the cause and the remedy. The vault may have a newer backup than the manifest shows: another host made
it, or the log is gone. Such a backup is reported as well. The schedule and the UI
of one machine then tell the same history as its commands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from backup_pipeline.errors import BackupError, Interrupted, Terminated
from backup_pipeline.model.acts import Act, Check, Place
from backup_pipeline.model.ids import moment_of, parse_timestamp, timestamp
from backup_pipeline.operations import Site, audit
from backup_pipeline.orchestration.assets import DATA_VERSION_TAG, backup_metadata, version_of
from backup_pipeline.orchestration.metadata import TOLD, Metadata, figures, findings_metadata
from backup_pipeline.orchestration.naming import Names
from backup_pipeline.orchestration.resources import tick_failures_told
from backup_pipeline.orchestration.sensors import BUDGET, within

#: How often the vault is asked for its newest backup. The log of acts is read at each tick: it is a file.
LOOK_EVERY = timedelta(minutes=10)
#: Acts of one tick; the next one goes on.
MOST = 100

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


@dataclass(frozen=True, slots=True)
class Cursor:
    place: Place = field(default_factory=Place)
    #: When the vault was asked last.
    looked: str = ""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """One that cannot be read is none: then the newest act of each kind is told again."""
        try:
            raw = json.loads(text or "")
            return cls(Place(str(raw["place"]["file"]), int(raw["place"]["offset"])), str(raw["looked"]))
        except (ValueError, KeyError, TypeError):
            return cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))

    def is_due(self, now: datetime) -> bool:
        return not self.looked or now - parse_timestamp(self.looked) >= LOOK_EVERY


def history(site: Site, names: Names) -> dg.SensorDefinition:
    @dg.sensor(
        name=names.history_sensor,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports what no run has recorded: commands such as prune and copy, backups without a record, the "
        "Python API, and backups that other hosts brought into the vault.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with tick_failures_told(site):
            said, cursor = report(context.instance, site, names, Cursor.parse(context.cursor))
        return dg.SensorResult(skip_reason="; ".join(said) or "nothing new", cursor=cursor.dump())

    return sense


def report(
    instance: dg.DagsterInstance, site: Site, names: Names, cursor: Cursor
) -> tuple[list[str], Cursor]:
    found, place = audit.written_since(site, cursor.place, most=MOST if cursor.place.file else None)
    fresh = found if cursor.place.file else _newest_of_each(found)
    unrecorded = [act for act in fresh if not act.run and act.origin != "dagster"]
    now, looked, newest = site.clock(), cursor.looked, dict[str, dg.AssetMaterialization]()
    if unrecorded or cursor.is_due(now):
        looked, newest = timestamp(now), _newest_backups(instance, site, names)
    said = []
    for system, made in newest.items():
        instance.report_runless_asset_event(made)
        said.append(f"the newest backup of {system}")
    for act in unrecorded:
        for event in _events(instance, site, names, act):
            instance.report_runless_asset_event(event)
        said.append(f"{act.verb} {act.system}".strip())
    return said, Cursor(place, looked)


def _newest_of_each(done: Sequence[Act]) -> Sequence[Act]:
    """At the first look: a year of a log is no news."""
    newest = {(act.verb, act.system, act.place): act for act in done}
    return sorted(newest.values(), key=lambda act: act.at)


def _events(instance: dg.DagsterInstance, site: Site, names: Names, act: Act) -> Iterator[Event]:
    for system in (act.system,) if act.system else site.systems:
        if system not in site.systems:
            continue
        key, is_its_own = _asset(site, names, act, system)
        # What a materialization of the manifest is, the vault says: see `_newest_backups`.
        kind = dg.AssetMaterialization if act.ok and is_its_own else dg.AssetObservation
        yield kind(key, description=_told(act), metadata=_metadata(act))
        if key == names.manifest_key(system) and _judges(act, _shown(instance, key)):
            yield from (_evaluation(key, act, check) for check in act.checks)
            if act.verb == "verify":
                yield _integrity(key, act)
        if key == names.scrub_key:
            return


def _judges(act: Act, shown: str) -> bool:
    """Whether an act says what the checks of the backup that the manifest shows are: an interrupted one says nothing, and
    one that names no backup was about those that there were when it began."""
    if act.place or act.code in (Interrupted.code, Terminated.code):
        return False
    if act.backup or not shown:
        return act.backup == shown
    return parse_timestamp(act.at) - timedelta(seconds=act.seconds) >= moment_of(shown)


def _asset(site: Site, names: Names, act: Act, system: str) -> tuple[dg.AssetKey, bool]:
    """What an act is about, and whether the asset is made by such acts."""
    settings = site.settings
    if act.verb == "scrub":
        return names.scrub_key, not act.place
    if act.verb == "drill":
        return names.drill_key(system), not act.place
    if act.verb in ("restore", "undo", "around") and act.facts.get("restore"):
        return names.restores_key(system), True
    if act.verb == "prune" and settings.retention_of(system) is not None:
        return names.retention_key(system), not act.place
    if act.verb == "copy" and act.place in settings.copies_of(system):
        return names.copy_key(system, act.place), True
    return names.manifest_key(system), False


def _evaluation(key: dg.AssetKey, act: Act, check: Check) -> dg.AssetCheckEvaluation:
    worst = {finding.severity for finding in check.findings}
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check.name,
        passed=worst <= {"info"},
        severity=dg.AssetCheckSeverity.ERROR if "error" in worst else dg.AssetCheckSeverity.WARN,
        description=check.said,
        metadata={
            **findings_metadata(check.findings, {}, 0.0),
            "backup": dg.MetadataValue.text(act.backup),
            TOLD: dg.MetadataValue.bool(act.told),
        },
    )


def _integrity(key: dg.AssetKey, act: Act) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name="integrity",
        passed=act.ok,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_told(act),
        metadata={**_metadata(act), TOLD: dg.MetadataValue.bool(act.told)},
    )


def _told(act: Act) -> str:
    where = f" in {act.place}" if act.place else ""
    what = (
        f"{act.verb}{f' of {act.backup}' if act.backup else ''}{where}, by {_BY.get(act.origin, act.origin)}"
    )
    return f"{what}: {act.message}" if act.message else what


_BY = {"cli": "the command", "python": "Python"}


def _metadata(act: Act) -> Metadata:
    found: Metadata = {"at": dg.MetadataValue.timestamp(parse_timestamp(act.at))}
    if act.backup:
        found["backup"] = dg.MetadataValue.text(act.backup)
    if not act.ok:
        found["code"] = dg.MetadataValue.text(act.code)
        found["remedy"] = dg.MetadataValue.md(act.remedy)
    return {**found, **figures(act.facts), "seconds": dg.MetadataValue.float(act.seconds)}


def _newest_backups(
    instance: dg.DagsterInstance, site: Site, names: Names
) -> dict[str, dg.AssetMaterialization]:
    """The manifest shows the newest backup that there is, also one that another host made: of each system, where it shows another one."""
    found, deadline = {}, time.monotonic() + BUDGET
    for system in site.systems:
        shown = _shown(instance, names.manifest_key(system))
        # A vault that does not answer is told of by `watch`; the next look comes.
        with suppress(BackupError, TimeoutError):
            made = within(max(0.0, deadline - time.monotonic()), partial(_newer, site, names, system, shown))
            if made is not None:
                found[system] = made
    return found


def _newer(site: Site, names: Names, system: str, shown: str) -> dg.AssetMaterialization | None:
    newest = site.vault.ids(system)[-1:]
    return _of_backup(site, names, system, newest[0]) if newest and newest[0] > shown else None


def _shown(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    event = instance.get_latest_materialization_event(key)
    made = event.asset_materialization if event else None
    backup = made.metadata.get("backup") if made else None
    return str(backup.value) if backup is not None else ""


def _of_backup(site: Site, names: Names, system: str, identifier: str) -> dg.AssetMaterialization:
    tags = None
    try:
        manifest = site.vault.backup(system, identifier).manifest
        metadata, tags = backup_metadata(site, manifest), {DATA_VERSION_TAG: version_of(manifest)}
    except BackupError as error:  # encrypted, for one, and the key is not on this host
        metadata = {
            "backup": dg.MetadataValue.text(identifier),
            "not_read": dg.MetadataValue.text(error.message),
        }
    return dg.AssetMaterialization(
        names.manifest_key(system),
        description=f"Backup {identifier}, which no run of this instance has made.",
        metadata=metadata,
        tags=tags,
    )
