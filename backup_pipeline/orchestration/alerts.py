"""failure_alert: tells a person, through Apprise, when a run or a check failed.

At least once to every address, and not again once it has arrived: the cursor moves past an incident when it was
sent. What is sent says which system, what failed, what to do and where to look, and holds no secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import dagster as dg

from backup_pipeline.config import redact
from backup_pipeline.errors import ConfigError
from backup_pipeline.orchestration.incidents import Cursor, Incident, look
from backup_pipeline.orchestration.resources import tick_failures_told
from backup_pipeline.project import Project

#: A message is for reading on a telephone.
_LONGEST = 1500


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    body: str


def failure_alert(project: Project) -> dg.SensorDefinition:
    @dg.sensor(
        name="failure_alert",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends an e-mail or calls a webhook (`alerts:` in backup.yaml) when a run or a check failed.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = project.clock()
        cursor = Cursor.parse(context.cursor, now)
        with tick_failures_told(project):
            found = look(context.instance, project, cursor, now)
            return _tell(project, cursor, found.incidents, found.after)

    return sense


def _tell(project: Project, cursor: Cursor, incidents: Sequence[Incident], after: Cursor) -> dg.SensorResult:
    addresses = {_name(one.get_secret_value()): one.get_secret_value() for one in project.settings.alerts}
    partly: dict[str, tuple[str, ...]] = {}
    silent: set[str] = set()
    told = 0
    for incident in incidents:
        message = write(incident, project)
        done = [name for name in cursor.partly.get(incident.id, ()) if name in addresses]
        for name, address in addresses.items():
            if name in done:
                continue
            if send(address, message):
                done.append(name)
            else:
                silent.add(name)
        if len(done) < len(addresses):
            partly[incident.id] = tuple(done)
        else:
            told += 1
    if not partly:
        why = f"{told} alerts sent" if told else "nothing failed since the last look"
        return dg.SensorResult(skip_reason=why, cursor=after.dump())
    # Only what every address has is behind us; the rest is looked up again from where we stand.
    unsent = {incident.id for incident in incidents if incident.id in partly}
    sent = tuple(incident.id for incident in incidents if incident.id not in unsent)
    kept = replace(
        cursor, told=(*cursor.told, *sent), partly={**partly, **dict.fromkeys(sent, tuple(addresses))}
    )
    return dg.SensorResult(
        skip_reason=f"{len(partly)} alerts could not be sent to {len(silent)} of {len(addresses)} addresses; "
        "trying again (look at `alerts:` and at the server that takes them)",
        cursor=kept.dump(),
    )


def write(incident: Incident, project: Project) -> Message:
    secrets = project.settings.secrets
    names = ", ".join(check.name for check in incident.checks)
    if incident.message:
        title = f"{incident.system}: {incident.job} failed"
    else:
        verb = "failed" if any(check.severity == "error" for check in incident.checks) else "warns"
        title = f"{incident.system}: {'check' if len(incident.checks) == 1 else 'checks'} {names} {verb}"
    lines = [f"System:  {incident.system}"]
    if incident.message:
        lines += [f"Failed:  {incident.job}", f"Why:     {incident.message}"]
    if incident.remedy:
        lines.append(f"Remedy:  {incident.remedy}")
    for check in incident.checks:
        lines.append(f"Check:   {check.name} ({check.severity}): {check.description}")
        lines += [f"Remedy:  {remedy}" for remedy in check.remedies]
    body = redact("\n".join(lines), secrets)
    if len(body) > _LONGEST:
        body = body[:_LONGEST] + " …"
    return Message(redact(f"[backup] {title}", secrets), f"{body}\n\nLook at: {link(incident, project)}")


def link(incident: Incident, project: Project) -> str:
    base = project.settings.ui_url.rstrip("/")
    if incident.run_id is not None:
        return f"{base}/runs/{incident.run_id}"
    return f"{base}/assets/{incident.system}/manifest?view=checks"


def send(address: str, message: Message) -> bool:
    """Whether it arrived. An address that cannot be understood is an error of the configuration."""
    import apprise

    messenger = apprise.Apprise()
    if not messenger.add(address):
        raise ConfigError(
            "an address under `alerts:` is not one that Apprise knows",
            remedy="write it as in mailto://user:password@server?to=ops@example.com or json://host/path",
        )
    return bool(
        messenger.notify(
            body=message.body,
            title=message.title,
            notify_type=apprise.NotifyType.FAILURE,
            body_format=apprise.NotifyFormat.TEXT,
        )
    )


def _name(address: str) -> str:
    """How an address is remembered in the cursor, which is shown in the UI."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]
