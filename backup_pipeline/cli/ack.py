"""`ack`: accept a finding, for some time or for good."""

from __future__ import annotations

from datetime import timedelta

import click

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.standing import runner_of, standing_of
from backup_pipeline.errors import UsageError
from backup_pipeline.model.keeping import Ack


def _lasting(context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    from pydantic import TypeAdapter, ValidationError

    from backup_pipeline.config.values import Duration

    if value is None:
        return None
    try:
        return timedelta(seconds=TypeAdapter(Duration).validate_python(value))
    except ValidationError:
        raise click.BadParameter(f"{value!r} is not a duration; write it as 90m, 36h, 7d or 5w") from None


@as_verb(
    "ack",
    system_argument(),
    click.Argument(["code"], required=False, metavar="[CODE]"),
    click.Option(
        ["--for", "lasting"],
        metavar="7d",
        callback=_lasting,
        help="Tell it again after so long [else never].",
    ),
    click.Option(["--because"], metavar="TEXT", default="", help="Why: `status` shows it."),
    click.Option(["--withdraw"], is_flag=True, help="Tell it again from now on."),
    examples="""
    backup-pipeline ack shop table-removed --because "dropped by migration 0042"
    backup-pipeline ack shop never-proven --for 7d
    backup-pipeline ack shop                            # what is accepted
    backup-pipeline ack shop table-removed --withdraw
    """,
)
def verb(
    call: Call, system: str, code: str | None, lasting: timedelta | None, because: str, withdraw: bool
) -> Outcome:
    """CODE is the name of a finding, as `status SYSTEM` shows it. The ack covers what this code is about now: the tables and
    file trees that `status` names with it. The same code about another table is told.

    An accepted finding is information: it fails no backup, no check and no `status`. The record lies in the vault, so that
    every host that looks at the vault knows it; in an encrypted vault it is encrypted.
    """
    from backup_pipeline.operations import health

    site = call.site
    site.system(system)
    if code is None:
        if withdraw or because or lasting is not None:
            raise UsageError("CODE is missing", remedy=f"`backup-pipeline status {system}` shows the codes")
        held = health.acks(site, system)
        return Outcome({"system": system, "acks": held}, lambda page: _page(page, system, held))
    if withdraw:
        was = health.withdraw(site, system, code)
        said = f"{code} of {system} is told again" if was else f"{code} of {system} was not accepted"
        return Outcome(
            {"system": system, "code": code, "withdrawn": was},
            lambda page: page.line(said),
            answer=False,
            facts={"withdrawn": code},
        )
    standing = standing_of(site, system, runner_of(site)).findings
    made = health.accept(site, system, code, standing=standing, lasting=lasting, because=because)
    return Outcome(
        {"system": system, "ack": made},
        lambda page: page.line(_line(system, made)),
        answer=False,
        facts={"accepted": code},
    )


def _page(page: Page, system: str, held: tuple[Ack, ...]) -> None:
    for one in held:
        page.line(_line(system, one))
    if not held:
        page.line(f"nothing of {system} is accepted")


def _line(system: str, ack: Ack) -> str:
    about = ", ".join(filter(None, ack.about))
    until = f" until {ack.until[:10]}" if ack.until else ""
    because = f": {ack.because}" if ack.because else ""
    return f"{system} {ack.code}{f' ({about})' if about else ''} is accepted{until}{because}"
