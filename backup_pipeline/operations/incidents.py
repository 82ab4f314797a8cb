"""The alerts of the graph: an incident that a sensor saw, and the round that tells the addresses of `alerts:`.

What belongs here: what an incident says, to whom it was told, and what is left. What does not: how a sensor finds an incident
in the history of Dagster (`orchestration/incidents`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backup_pipeline.alerts import message, outbox
from backup_pipeline.alerts.message import Failed, FailedCheck, Message
from backup_pipeline.alerts.routes import routes_of
from backup_pipeline.alerts.sending import Round
from backup_pipeline.errors import ConfigError
from backup_pipeline.operations.site import Site


@dataclass(frozen=True, slots=True)
class Incident:
    #: Stable: "run:<id>", "checks:<run>", "check:<asset>:<name>:<evaluation>", "tick:<sensor>".
    id: str
    #: A system, or `vault`.
    system: str
    #: None: a check that no run evaluated.
    run_id: str | None
    job: str
    #: Where to look, below the address of the UI.
    page: str
    #: Set when the run itself failed.
    message: str = ""
    remedy: str = ""
    checks: tuple[FailedCheck, ...] = ()

    def failing(self, name: str, severity: str, description: str, remedies: tuple[str, ...]) -> Incident:
        """The same incident with one more failed check."""
        return replace(self, checks=(*self.checks, FailedCheck(name, severity, description, remedies)))

    @property
    def warnings(self) -> Incident:
        """The same incident with its warnings only."""
        return replace(self, checks=tuple(check for check in self.checks if check.severity != "error"))


@dataclass(frozen=True, slots=True)
class Telling:
    """The result of a round."""

    #: Incident → the addresses (by digest) that have it: of each incident that another address still lacks.
    partly: Mapping[str, tuple[str, ...]]
    #: Incidents that every address has.
    complete: tuple[str, ...]
    #: Every address, by its digest.
    addresses: tuple[str, ...]
    #: The names of the addresses that did not answer.
    silent: tuple[str, ...]


def told_by_commands(site: Site, now: datetime) -> tuple[frozenset[str], frozenset[str]]:
    """Runs that a command told of, and runs whose command is still at work."""
    told = outbox.told(site.settings, now)
    return told.runs, told.waiting


def tell(
    site: Site, incidents: Sequence[Incident], partly: Mapping[str, Sequence[str]], now: datetime
) -> Telling:
    """Tell each address of each incident that it does not have yet, and of what commands could not deliver."""
    routes = routes_of(site.settings)
    outbox.deliver_the_rest(site.settings, routes, now)
    # One address that is misspelt must not keep the others from being told; where all are, the tick fails and says so.
    if incidents and not any(route.address for route in routes):
        raise ConfigError(routes[0].problem, remedy=routes[0].remedy)
    sending, addresses = Round(routes), tuple(route.id for route in routes)
    left: dict[str, tuple[str, ...]] = {}
    silent: set[str] = set()
    for incident in incidents:
        done = [one for one in partly.get(incident.id, ()) if one in addresses]
        for sent in sending.send(write(incident, site), done):
            if sent.arrived:
                done.append(sent.route.id)
            else:
                silent.add(sent.route.name)
        if len(done) < len(routes):
            left[incident.id] = tuple(done)
    complete = tuple(incident.id for incident in incidents if incident.id not in left)
    return Telling(left, complete, addresses, tuple(sorted(silent)))


def write(incident: Incident, site: Site) -> Message:
    link = f"Look at: {site.settings.ui_url.rstrip('/')}/{incident.page}"
    failed = Failed(incident.system, incident.job, incident.message, incident.remedy, incident.checks)
    return message.write(failed, site.settings.secrets, look_at=link)
