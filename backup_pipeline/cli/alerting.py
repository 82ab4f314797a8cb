"""A command that fails while no person is looking on tells `alerts:` of it: under cron, or in a systemd timer."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.cli import acting
from backup_pipeline.cli.call import Job
from backup_pipeline.errors import BackupError

if TYPE_CHECKING:
    from backup_pipeline.alerts.outbox import Letter
    from backup_pipeline.operations import Site

#: A person who pins a backup, or accepts a finding, sees what came of it.
VERBS = acting.VERBS - {"ack", "pin", "unpin"}


def is_wanted(job: Job) -> bool:
    if job.call.alert in ("always", "never"):
        return job.call.alert == "always"
    return job.verb in VERBS and not job.arguments.get("dry_run") and not _is_attended(job)


def _is_attended(job: Job) -> bool:
    """With a terminal at either end there is a person, also where the other one is a pipe or a file."""
    return any(
        stream is not None and stream.isatty() for stream in (sys.stdin, job.call.stdout, job.call.stderr)
    )


class Teller:
    """Of one command. What the daemon has in its history as well is told once: the outbox says by whom."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._letter: Letter | None = None

    def promise(self, run: str) -> None:
        """The daemon, which will see this run fail, is to leave it to us."""
        from backup_pipeline.alerts import outbox

        site = self._job.call.loaded
        if site is None or not site.settings.alerts:
            return
        letter = self._letter or outbox.begun(site.clock())
        self._letter = replace(letter, runs=(*letter.runs, run))
        outbox.keep(site.settings, self._letter)

    def end(self, failure: BackupError | None) -> None:
        """The command is over, and all else is said. Trouble with alerts must not change how it ended."""
        site = self._job.call.loaded
        if site is None or not site.settings.alerts:
            return
        try:
            self._end(site, failure)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - see above; it is said, and the letter stays
            self._job.call.say(f"warning: the alert was not sent: {type(error).__name__}: {error}", "yellow")

    def _end(self, site: Site, failure: BackupError | None) -> None:
        from backup_pipeline.alerts import outbox
        from backup_pipeline.alerts.routes import routes_of

        call, settings = self._job.call, site.settings
        routes = routes_of(settings)
        lost = []
        if failure is not None:
            letter = self._written(site, failure)
            unkept = outbox.keep(settings, letter)
            sent = outbox.deliver(settings, letter, routes)
            lost = [f"{one.route.name}: {one.why}" for one in sent if not one.arrived]
            if unkept is not None:
                call.say(f"warning: that the alert was sent cannot be remembered: {unkept.message}", "yellow")
        elif self._letter is not None:
            outbox.drop(settings, self._letter)
        for one in lost:
            call.say(f"warning: the alert did not arrive: {one}", "yellow")
        if lost:
            call.say(
                "→ the next command and the daemon try again; `backup-pipeline doctor` looks at the addresses"
            )
        else:
            outbox.deliver_the_rest(settings, routes, site.clock())

    def _written(self, site: Site, failure: BackupError) -> Letter:
        from backup_pipeline.alerts import outbox
        from backup_pipeline.alerts.message import Failed, write

        job, call, settings = self._job, self._job.call, site.settings
        system = job.arguments.get("system") or ""
        subject = system or ("vault" if job.verb == "scrub" else "all systems")
        failed = Failed(subject, job.verb, failure.message, failure.remedy)
        where = (
            f"`{' '.join(['backup-pipeline', job.verb, *filter(None, [system])])}` on {socket.gethostname()}"
        )
        look_at = f"It was {where}; exit code {failure.exit_code}."
        if call.run:
            look_at += f"\nLook at: {settings.ui_url.rstrip('/')}/runs/{call.run}"
        message = write(failed, (*settings.secrets, *call.secrets), look_at=look_at)
        letter = self._letter or outbox.begun(site.clock())
        return replace(letter, title=message.title, body=message.body)
