"""Each verb that changes or judges something runs inside `audit.acting`, so its act has a line in the log of acts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.call import Call, Job, Reply
from backup_pipeline.errors import Terminated, VaultError

if TYPE_CHECKING:
    from backup_pipeline.model.acts import Act
    from backup_pipeline.operations.audit import Doing

VERBS = frozenset(
    [
        "ack",
        "around",
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
        "undo",
        "unpin",
        "verify",
    ]
)


def do(job: Job) -> Reply:
    """Do it, and write down what came of it. A dry run is no act; `backup --all` is an act for each system."""
    said = job.arguments
    only_looks = any(said.get(name) for name in ("dry_run", "plan", "plan_file"))
    only_looks = only_looks or (job.verb == "ack" and not said.get("code"))
    if job.verb not in VERBS or only_looks or (job.verb == "backup" and said.get("everything")):
        return job.do()
    place = said.get("place") or said.get("copy")
    with acting(job.call, job.verb, said.get("system"), said.get("id"), place) as done:
        reply = job.do()
        learn(done, reply)
        return reply


def learn(done: Doing, reply: Reply) -> None:
    done.learn(backup=reply.backup, facts=reply.facts)
    done.acts = reply.acts
    if reply.failure:
        done.act = done.act.failed(reply.failure)


@contextmanager
def acting(
    call: Call, verb: str, system: str | None, id: str | None = None, place: str | None = None
) -> Iterator[Doing]:
    from backup_pipeline.operations import audit

    def cause(error: BaseException) -> BaseException | None:
        found = None if isinstance(error, click.ClickException | click.Abort) else audit.begun(error)
        return Terminated("it was stopped (SIGTERM)") if found and call.terminated() else found

    def completed(act: Act) -> Act:
        site = call.loaded
        told = call.tells and not act.ok and site is not None and bool(site.settings.alerts)
        return audit.without_secrets(replace(act, run=act.run or call.run, told=told), call.secrets)

    def unkept(error: VaultError) -> None:
        call.say(f"warning: {error.message}", "yellow")
        call.say(f"→ {error.remedy}")

    writer = audit.Writer(lambda: call.loaded, cause, completed, unkept)
    with audit.acting(writer, audit.about(verb, system, id, place)) as done:
        yield done
