"""failure_alert: tells a person, through Apprise, when a run, a check or a sensor failed.

At least once to every address, and not again once it has arrived: the cursor moves past an incident when it was
sent. What is sent says which system, what failed, what to do and where to look, and holds no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from backup_pipeline.alerts import message, outbox
from backup_pipeline.alerts.message import Failed, Message
from backup_pipeline.alerts.routes import routes_of
from backup_pipeline.alerts.sending import Round
from backup_pipeline.errors import ConfigError
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.incidents import Cursor, Incident, look
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
            found = look(context.instance, subjects, cursor, now, outbox.told(site.settings, now))
            outbox.deliver_the_rest(site.settings, routes_of(site.settings), now)
            return _tell(site, cursor, found.incidents, found.after)

    return sense


def _tell(site: Site, cursor: Cursor, incidents: Sequence[Incident], after: Cursor) -> dg.SensorResult:
    routes = routes_of(site.settings)
    # One address that is misspelt must not keep the others from being told; where all are, the tick fails and says so.
    if incidents and not any(route.address for route in routes):
        raise ConfigError(routes[0].problem, remedy=routes[0].remedy)
    sending = Round(routes)
    partly: dict[str, tuple[str, ...]] = {}
    silent: set[str] = set()
    told = 0
    for incident in incidents:
        done = [one for one in cursor.partly.get(incident.id, ()) if one in {route.id for route in routes}]
        for sent in sending.send(write(incident, site), done):
            if sent.arrived:
                done.append(sent.route.id)
            else:
                silent.add(sent.route.name)
        if len(done) < len(routes):
            partly[incident.id] = tuple(done)
        else:
            told += 1
    if not partly:
        why = f"{told} alerts sent" if told else "nothing failed since the last look"
        return dg.SensorResult(skip_reason=why, cursor=after.dump())
    # Only what every address has is behind us; the rest is looked up again from where we stand.
    unsent = {incident.id for incident in incidents if incident.id in partly}
    complete = tuple(incident.id for incident in incidents if incident.id not in unsent)
    everyone = tuple(route.id for route in routes)
    kept = replace(
        cursor,
        told=(*cursor.told, *complete),
        partly={**partly, **dict.fromkeys(complete, everyone)},
    )
    return dg.SensorResult(
        skip_reason=f"{len(partly)} alerts could not be sent to {len(silent)} of {len(routes)} addresses "
        f"({', '.join(sorted(silent))}); trying again (`backup-pipeline doctor` says what is wrong with them)",
        cursor=kept.dump(),
    )


def write(incident: Incident, site: Site) -> Message:
    link = f"Look at: {site.settings.ui_url.rstrip('/')}/{incident.page}"
    failed = Failed(incident.system, incident.job, incident.message, incident.remedy, incident.checks)
    return message.write(failed, site.settings.secrets, look_at=link)
