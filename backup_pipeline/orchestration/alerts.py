"""failure_alert: tells a person, through Apprise, when a run, a check or a sensor failed.

At least once to every address, and not again once it has arrived: the cursor moves past an incident when it was
sent. What is sent says which system, what failed, what to do and where to look, and holds no secret.
"""

from __future__ import annotations

from dataclasses import replace

import dagster as dg

from backup_pipeline.operations import Site, incidents
from backup_pipeline.orchestration.incidents import Cursor, look
from backup_pipeline.orchestration.naming import Names
from backup_pipeline.orchestration.resources import tick_failures_told
from backup_pipeline.orchestration.subjects import Subjects


def failure_alert(site: Site, names: Names, subjects: Subjects) -> dg.SensorDefinition:
    @dg.sensor(
        name=names.alert_sensor,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends an e-mail or calls a webhook (`alerts:` in backup.yaml) when a run, a check, a schedule or a sensor failed.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = site.clock()
        cursor = Cursor.parse(context.cursor, now)
        with tick_failures_told(site):
            told, waiting = incidents.told_by_commands(site, now)
            found = look(context.instance, subjects, cursor, now, told, waiting)
            telling = incidents.tell(site, found.incidents, cursor.partly, now)
        if not telling.partly:
            sent = len(telling.complete)
            why = f"{sent} alerts sent" if sent else "nothing failed since the last look"
            return dg.SensorResult(skip_reason=why, cursor=found.after.dump())
        # The cursor stays where it is, so the incidents that an address lacks are found again.
        kept = replace(
            cursor,
            told=(*cursor.told, *telling.complete),
            partly={**telling.partly, **dict.fromkeys(telling.complete, telling.addresses)},
        )
        return dg.SensorResult(
            skip_reason=f"{len(telling.partly)} alerts could not be sent to {len(telling.silent)} of "
            f"{len(telling.addresses)} addresses ({', '.join(telling.silent)}); trying again "
            "(`backup-pipeline doctor` says what is wrong with them)",
            cursor=kept.dump(),
        )

    return sense
