"""A command that fails while no person is looking on tells `alerts:` of it: under cron, or in a systemd timer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from backup_pipeline.cli import acting
from backup_pipeline.cli.call import Job
from backup_pipeline.errors import BackupError

if TYPE_CHECKING:
    from backup_pipeline.operations import alert

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
    """Has the command told of, once the configuration says to whom."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._teller: alert.Teller | None = None

    def _loaded(self) -> alert.Teller | None:
        site = self._job.call.loaded
        if site is None or not site.settings.alerts:
            return None
        if self._teller is None:
            from backup_pipeline.operations import alert

            self._teller = alert.Teller(site, self._job.verb, self._job.arguments.get("system") or "")
        return self._teller

    def promise(self, run: str) -> None:
        if (teller := self._loaded()) is not None:
            teller.promise(run)

    def end(self, failure: BackupError | None) -> None:
        """Trouble with alerts must not change how the command ended."""
        call = self._job.call
        try:
            if (teller := self._loaded()) is None:
                return
            for warning in teller.end(failure, run=call.run, secrets=call.secrets):
                call.say(f"warning: {warning}", "yellow")
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - see above; it is said, and the letter stays
            call.say(f"warning: the alert was not sent: {type(error).__name__}: {error}", "yellow")
