"""How the plan and the outcome of a merge look: `restore --live`, `undo` and `around` print the same page."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING

from backup_pipeline.cli.page import Page, clean
from backup_pipeline.cli.units import duration
from backup_pipeline.model.orders import Order, options_of

if TYPE_CHECKING:
    from backup_pipeline.operations.merge_sections import MergePlan, Section

#: Rows that are created, deleted and updated.
_COLOURS = {"+": "green", "-": "red", "~": "yellow"}


def show(page: Page, heading: str, plan: MergePlan, seconds: float | None = None) -> None:
    from backup_pipeline.operations import merge_sections

    page.heading(heading)
    page.facts([*merge_sections.facts(plan), ("took", duration(seconds) if seconds else "")])
    page.line()
    draw(page, merge_sections.overview(plan))
    for section in merge_sections.sections(plan):
        draw(page, section)
    if plan.findings or plan.refused:
        page.line()
    page.findings(plan.findings)
    page.findings(plan.refused)


def draw(page: Page, section: Section) -> None:
    if section.title:
        page.heading(section.title)
    if section.rows:
        marked = _COLOURS if not section.headers[0] else None
        page.table(section.headers, section.rows, right=section.right, colours=marked)
    for line in section.lines:
        page.line(clean(line))


def typed(verb: str, order: Order, **more: object) -> str:
    """The command line of an order, for a person to copy. `more`: fields that are typed otherwise."""
    words: list[str] = ["backup-pipeline", verb]
    flags = options_of(type(order))
    for one in fields(order):
        value = more.get(one.name, getattr(order, one.name))
        how = flags.get(one)
        if (how is None and one.kw_only) or value in (None, one.default):
            continue
        if how is None:
            words.append(str(value))
        elif isinstance(one.default, bool) or value == how.bare:
            words.append(how.spelling(one))
        else:
            for each in value if isinstance(value, tuple | list) else [value]:
                words += [how.spelling(one), str(each)]
    return shlex.join(words)
