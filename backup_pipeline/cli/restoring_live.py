"""The part of `restore` that puts rows back into a database that lives on: plan, question, merge, and the command that
undoes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from backup_pipeline.cli import confirming, document, merge_page, restoring_files
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.orders import flags, ordered, takes
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import day, plural, size
from backup_pipeline.errors import ErrorsFound
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.model.orders import RestoreOrder
from backup_pipeline.model.outcome import failed

if TYPE_CHECKING:
    from backup_pipeline.operations import Site
    from backup_pipeline.operations.merge import Merged, MergePlan
    from backup_pipeline.operations.plan_file import Approved

#: The remedy where a question cannot be asked.
LOOK_FIRST = "look at it with --dry-run; where no person can be asked, say --yes"
#: Flags that both kinds of restore have.
_SHARED = frozenset({*takes(RestoreOrder)} & {*takes(MergeOrder)})


@dataclass(frozen=True, slots=True)
class Terms:
    """How it is done, beside what is done."""

    yes: bool = False
    plan: bool = False
    plan_file: Path | None = None
    approve: Path | None = None

    @property
    def only_plans(self) -> bool:
        return self.plan or self.plan_file is not None


def options() -> list[click.Option]:
    """What a merge is asked besides, and how."""
    file = click.Path(dir_okay=False, path_type=Path)
    return [
        *(one for one in flags(MergeOrder) if one.name not in _SHARED),
        click.Option(["--plan"], is_flag=True, help="Count what would be written, and write nothing."),
        click.Option(
            ["--plan-file"], type=file, metavar="FILE", help="Write the plan to this file, for --approve."
        ),
        click.Option(
            ["--approve"],
            type=file,
            metavar="FILE",
            help="Do exactly the plan of this file, or nothing where it would be another by now.",
        ),
        confirming.yes_option(),
    ]


def taken(given: dict[str, Any]) -> tuple[dict[str, Any], Terms]:
    """What was typed for a merge, taken out of what was typed."""
    terms = Terms(**{name: given.pop(name) for name in ("yes", "plan", "plan_file", "approve")})
    names = [str(one.name) for one in flags(MergeOrder) if one.name not in _SHARED]
    return {name: given.pop(name) for name in names}, terms


def is_meant(asked: Mapping[str, Any], terms: Terms) -> bool:
    """A merge is meant where the living database is named, or what only a merge can do."""
    return terms != Terms() or ordered(MergeOrder, asked, system="") != MergeOrder("")


def run(call: Call, site: Site, order: MergeOrder, terms: Terms) -> Reply:
    from backup_pipeline.operations import merge, plan_file

    began = site.clock()
    call.interrupted = lambda: merge.after_interruption(site, order.system, began)
    approved = None
    if terms.approve is not None:
        order, approved = plan_file.read(terms.approve, order)
    if terms.only_plans:
        return _planned(call, site, order, terms, approved)
    if not order.dry_run and not terms.yes and approved is None:
        confirming.need_a_person(call, f"rows of {order.system} would be written", LOOK_FIRST)
        with call.progress(f"plan of a restore of {order.system}") as listener:
            plan = merge.plan(site, order, listener)
        plan.raise_if_refused()
        if not plan.writes and not order.with_files:
            return _reply(order, merge.Merged(plan))
        ask(call, "Plan", plan)
        approved = merge.Approved(plan.digest, plan.target)
    with call.progress(f"restore of rows of {order.system}") as listener:
        merged = merge.merge(site, order, listener, approved=approved)
    return _reply(order, merged, zone=ZoneInfo(site.settings.zone_of(order.system)))


def _planned(call: Call, site: Site, order: MergeOrder, terms: Terms, approved: Approved | None) -> Reply:
    from backup_pipeline.operations import merge, plan_file

    with call.progress(f"plan of a restore of {order.system}") as listener:
        looked = merge.look(site, order, listener)
    plan = looked.plan
    if approved is not None and plan.refusal is None:
        approved.demand(plan)
    if terms.plan_file is not None and plan.refusal is None:
        plan_file.write(terms.plan_file, order, plan)
    return _reply(order, looked, terms.plan_file)


def ask(call: Call, heading: str, plan: MergePlan) -> None:
    confirming.ask(
        call,
        f"Write {plural(plan.writes, 'row')} of {plan.target}?",
        lambda page: merge_page.show(page, f"{heading}: {plan.system} {plan.backup_id}", plan),
    )


def _reply(
    order: MergeOrder, merged: Merged, written: Path | None = None, zone: ZoneInfo | None = None
) -> Reply:
    from backup_pipeline.operations import audit, merge

    plan = merged.plan
    until = day(parse_timestamp(merged.undo_until), zone) if zone and merged.undo_until else ""
    after = _next(order, merged, written, until)
    rejected = 0 if order.allow_rejects else len(merged.rejected)

    def page(page: Page) -> None:
        headings = {"plan": "Plan: restore", "dry run": "Dry run: restore", "merge": "Restored"}
        heading = f"{headings[plan.did]} {plan.system} {plan.backup_id}"
        merge_page.show(page, heading, plan, sum(merged.seconds.values()))
        page.findings([one for one in merged.findings if one not in plan.findings])
        for one in merged.file_plans:
            page.line(f"files to {one.target}: {restoring_files.what(one)}")
            page.findings(one.refused)
        for done in merged.files:
            page.line(f"files to {done.plan.target}: {plural(done.files, 'file')}, {size(done.bytes)}")
        for line in after:
            page.line(line)

    return Reply(
        {**document.plain(merged), "next": after},
        page,
        merged.refusal
        or merge.lacking(plan, rejected)
        or failed(ErrorsFound, "the rows are restored", merged.findings),
        answer=plan.did != "merge",
        backup=plan.backup_id,
        facts=audit.of_merge(merged),
    )


def _next(order: MergeOrder, merged: Merged, written: Path | None, until: str) -> list[str]:
    """What was written, and the command that comes next."""
    plan, system = merged.plan, order.system
    lines = []
    if merged.rejected and order.rejects:
        lines.append(f"{plural(len(merged.rejected), 'row')} that the database refused: {order.rejects}")
    if merged.restore_id:
        while_kept = f", until {until}" if until else ""
        return [*lines, f"to take it back{while_kept}: backup-pipeline undo {system} {merged.restore_id}"]
    if plan.did == "merge":
        return lines
    lines.append("nothing was written")
    if plan.refused:
        return lines
    if written is not None:
        where = ["--live"] if order.live else ["--to", plan.target]
        words = shlex.join(["backup-pipeline", "restore", system, *where, "--approve", str(written)])
        return [*lines, f"to do it: {words}"]
    if plan.writes:
        to = "" if order.live else plan.target
        more = {"id": plan.backup_id, "dry_run": False, "show": (), "to": to}
        return [*lines, f"to do it: {merge_page.typed('restore', order, **more)}"]
    return lines
