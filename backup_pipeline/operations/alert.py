"""`alert test`: does a message reach each address of `alerts:`? And what a command that failed tells these addresses."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace

from backup_pipeline.alerts import outbox
from backup_pipeline.alerts.message import Failed, Message, write
from backup_pipeline.alerts.outbox import Letter
from backup_pipeline.alerts.routes import findings, routes_of
from backup_pipeline.alerts.sending import send
from backup_pipeline.config import redact
from backup_pipeline.errors import BackupError, NotReady
from backup_pipeline.model.plural import plural
from backup_pipeline.operations.site import Site


@dataclass(frozen=True, slots=True)
class Tried:
    address: str
    arrived: bool
    #: Why it did not.
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tries:
    addresses: tuple[Tried, ...]
    failure: NotReady | None


def test_alerts(site: Site) -> Tries:
    """One real message to each address."""
    settings = site.settings
    body = f"This is what an alert of backup-pipeline looks like; nothing failed.\n\nSystems: {', '.join(settings.systems)}"
    sent = [send(route, Message("[backup] test of the alerts", body)) for route in routes_of(settings)]
    tried = tuple(Tried(one.route.name, one.arrived, redact(one.why, settings.secrets)) for one in sent)
    lost = [one for one in tried if not one.arrived]
    failure = None
    if not tried:
        none = findings(settings)[0]
        failure = NotReady(none.message, remedy=none.remedy)
    elif lost:
        failure = NotReady(
            f"the message did not arrive at {plural(len(lost), 'address', 'addresses')} of {len(tried)}",
            remedy="look at the address under `alerts:`, and at the server that takes its messages",
        )
    return Tries(tried, failure)


class Teller:
    """Of one command. What the daemon has in its history as well is told once: the outbox says by whom."""

    def __init__(self, site: Site, verb: str, system: str) -> None:
        self._site, self._verb, self._system = site, verb, system
        self._letter: Letter | None = None

    def promise(self, run: str) -> None:
        """The daemon, which will see this run fail, is to leave it to us."""
        letter = self._letter or outbox.begun(self._site.clock())
        self._letter = replace(letter, runs=(*letter.runs, run))
        outbox.keep(self._site.settings, self._letter)

    def end(self, failure: BackupError | None, *, run: str, secrets: Iterable[str]) -> tuple[str, ...]:
        """The command is over, and all else is said. Returns warnings, where the alert did not arrive."""
        settings, warnings = self._site.settings, []
        routes = routes_of(settings)
        if failure is not None:
            letter = self._written(failure, run, secrets)
            unkept = outbox.keep(settings, letter)
            sent = outbox.deliver(settings, letter, routes)
            lost = [
                f"the alert did not arrive: {one.route.name}: {one.why}" for one in sent if not one.arrived
            ]
            if unkept is not None:
                warnings.append(f"that the alert was sent cannot be remembered: {unkept.message}")
            if lost:
                again = "the next command and the daemon try again; `backup-pipeline doctor` looks at the addresses"
                return (*warnings, *lost[:-1], f"{lost[-1]}\n→ {again}")
        elif self._letter is not None:
            outbox.drop(settings, self._letter)
        outbox.deliver_the_rest(settings, routes, self._site.clock())
        return tuple(warnings)

    def _written(self, failure: BackupError, run: str, secrets: Iterable[str]) -> Letter:
        settings = self._site.settings
        subject = self._system or ("vault" if self._verb == "scrub" else "all systems")
        failed = Failed(subject, self._verb, failure.message, failure.remedy)
        command = " ".join(filter(None, ["backup-pipeline", self._verb, self._system]))
        look_at = f"It was `{command}` on {socket.gethostname()}; exit code {failure.exit_code}."
        if run:
            look_at += f"\nLook at: {settings.ui_url.rstrip('/')}/runs/{run}"
        message = write(failed, (*settings.secrets, *secrets), look_at=look_at)
        letter = self._letter or outbox.begun(self._site.clock())
        return replace(letter, title=message.title, body=message.body)
