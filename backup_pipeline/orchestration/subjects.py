"""The subject (a system, or the vault) of each part of the graph that can fail.

The parts are read from the definitions, so a new check, job, asset, schedule or sensor raises alerts as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from backup_pipeline.operations import Site
from backup_pipeline.orchestration.naming import SYSTEM_TAG, Names

#: The subject of a part that all systems share.
VAULT = "vault"

_Instigator = dg.SensorDefinition | dg.ScheduleDefinition


@dataclass(frozen=True, slots=True)
class Subjects:
    """The name of a part → its system, or `vault`."""

    checks: Mapping[dg.AssetCheckKey, str]
    assets: Mapping[dg.AssetKey, str]
    jobs: Mapping[str, str]
    #: Schedules and sensors.
    instigators: Mapping[str, str]

    def subject(self, run: dg.DagsterRun) -> str | None:
        """The subject of a run; None where it is none of this configuration (an instance may serve other projects as well)."""
        if run.job_name in self.jobs:
            return self.jobs[run.job_name]
        for key in run.asset_selection or ():
            if key in self.assets:
                return self.assets[key]
        return next((self.checks[key] for key in run.asset_check_selection or () if key in self.checks), None)


def subjects_of(
    site: Site,
    names: Names,
    assets: Iterable[dg.AssetsDefinition | dg.AssetSpec],
    jobs: Iterable[dg.UnresolvedAssetJobDefinition | dg.JobDefinition],
    instigators: Iterable[_Instigator],
) -> Subjects:
    """`assets` holds the definitions of checks as well, which are AssetsDefinitions, too."""
    made = [one for one in assets if isinstance(one, dg.AssetsDefinition)]
    tags = {names.tag(system): system for system in site.systems}
    subject_of_job = {job.name: tags.get((job.tags or {}).get(SYSTEM_TAG, ""), VAULT) for job in jobs}
    return Subjects(
        checks={key: _subject(site, names, key.asset_key) for one in made for key in one.check_keys},
        assets={key: _subject(site, names, key) for one in made for key in one.keys},
        jobs=subject_of_job,
        instigators={one.name: _subject_of(one, subject_of_job) for one in instigators},
    )


def _subject(site: Site, names: Names, key: dg.AssetKey) -> str:
    system = names.system_of_key(key)
    return system if system in site.systems else VAULT


def _subject_of(one: _Instigator, jobs: Mapping[str, str]) -> str:
    names = (
        [target.job_name for target in one.targets]
        if isinstance(one, dg.SensorDefinition)
        else [one.job_name]
    )
    return next((jobs[name] for name in names if name in jobs), VAULT)
