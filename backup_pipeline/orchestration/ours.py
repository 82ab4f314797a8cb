"""What of a Definitions can turn red: its checks, jobs, assets, schedules and sensors, and whose each is.

Read from the definitions themselves, so that each new part of the graph is also told of when it fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from backup_pipeline.operations import Site
from backup_pipeline.orchestration.naming import SYSTEM_TAG, Names

#: Whose something is that all systems share.
VAULT = "vault"

_Instigator = dg.SensorDefinition | dg.ScheduleDefinition


@dataclass(frozen=True, slots=True)
class Ours:
    """Each is named with the system that it belongs to, or with `vault`."""

    checks: Mapping[dg.AssetCheckKey, str]
    assets: Mapping[dg.AssetKey, str]
    jobs: Mapping[str, str]
    #: Schedules and sensors.
    instigators: Mapping[str, str]

    def subject(self, run: dg.DagsterRun) -> str | None:
        """Whose run it is; None where it is none of ours (an instance may serve other projects as well)."""
        if run.job_name in self.jobs:
            return self.jobs[run.job_name]
        for key in run.asset_selection or ():
            if key in self.assets:
                return self.assets[key]
        return next((self.checks[key] for key in run.asset_check_selection or () if key in self.checks), None)


def ours(
    site: Site,
    names: Names,
    assets: Iterable[dg.AssetsDefinition | dg.AssetSpec],
    jobs: Iterable[dg.UnresolvedAssetJobDefinition],
    instigators: Iterable[_Instigator],
) -> Ours:
    """`assets` holds the definitions of checks as well, which are AssetsDefinitions, too."""
    made = [one for one in assets if isinstance(one, dg.AssetsDefinition)]
    tags = {names.tag(system): system for system in site.systems}
    subject_of_job = {job.name: tags.get((job.tags or {}).get(SYSTEM_TAG, ""), VAULT) for job in jobs}
    return Ours(
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
