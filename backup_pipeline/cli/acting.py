"""What a verb did is written into the log of acts: here, for every verb that changes or judges something."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.call import Call, Job, Outcome
from backup_pipeline.errors import ConfigError, NotFound, Terminated
from backup_pipeline.model.ids import is_backup_id, timestamp

if TYPE_CHECKING:
    from backup_pipeline.state.acts import Act

VERBS = frozenset(
    [
        "ack",
        "backup",
        "copy",
        "drill",
        "forget",
        "pin",
        "prune",
        "repair",
        "rekey",
        "restore",
        "scrub",
        "unpin",
        "verify",
    ]
)


def do(job: Job) -> Outcome:
    """Do it, and write down what came of it. A command or a configuration that is wrong is no act, and neither is a dry run."""
    said = job.arguments
    only_looks = said.get("dry_run") or (job.verb == "ack" and not said.get("code"))
    if job.verb not in VERBS or only_looks:
        return job.do()
    began = time.monotonic()
    try:
        outcome = job.do()
    except (ConfigError, NotFound, click.ClickException, click.Abort):
        raise
    except BaseException as error:
        told = Terminated("it was stopped (SIGTERM)") if job.call.terminated() else error
        _keep(job.call, (_act(job).failed(told),), began)
        raise
    act = _act(job).learning(outcome.backup, outcome.facts)
    _keep(job.call, outcome.acts or (act.failed(outcome.failure) if outcome.failure else act,), began)
    return outcome


def _act(job: Job) -> Act:
    from backup_pipeline.state.acts import Act

    said = job.arguments
    identifier = said.get("id") or ""
    place = said.get("place") or said.get("copy") or ""
    return Act(
        job.verb,
        system=said.get("system") or "",
        backup=identifier if is_backup_id(identifier) else "",
        place="" if place == "vault" else place,
    )


def _keep(call: Call, acts: Sequence[Act], began: float) -> None:
    from backup_pipeline.state.acts import record

    site = call.loaded
    if site is None:
        return  # there is no configuration, so there is no place to write to
    now, seconds = timestamp(site.clock()), round(time.monotonic() - began, 3)
    for act in acts:
        unkept = record(
            site.settings,
            replace(
                act,
                at=now,
                seconds=act.seconds or seconds,
                run=act.run or call.run,
                told=call.tells and not act.ok and bool(site.settings.alerts),
            ),
            secrets=tuple(call.secrets),
        )
        if unkept:
            call.say(f"warning: {unkept.message}", "yellow")
            call.say(f"→ {unkept.remedy}")
            return
