"""The plan of a merge as sections: facts, tables and lines. The command prints them, the graph keeps them as metadata, and
`plan.show()` of Python gives them as text. So the three tell the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backup_pipeline.databases.merge.plan import MergePlan as MergePlan
from backup_pipeline.databases.merge.plan import TableMerge
from backup_pipeline.model.plural import plural

#: So many tables are all shown, if they have rows. Of more, those in which nothing happens are one line.
ALL_SHOWN = 12
#: So many names stand in one line.
NAMED = 8
_MARKS = {"create": "+", "update": "~", "delete": "-", "keep": "="}
_FIGURES = ("create", "update", "delete", "kept", "unchanged", "skipped", "conflicts")


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    #: The columns that hold figures.
    right: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()


def facts(plan: MergePlan) -> list[tuple[str, str]]:
    return [
        ("to", plan.target),
        ("strategy", _because(plan.strategy, plan.why)),
        ("lineage", _because(plan.lineage, plan.lineage_why)),
        ("rules", ", ".join(plan.rules)),
        ("locks", _locks(plan)),
        ("estimate", f"about {plan.seconds:,.1f} s" if plan.did == "plan" and plan.seconds else ""),
    ]


def overview(plan: MergePlan) -> Section:
    """A line for each table: what happens in it, and why it takes part."""
    many = len(plan.tables) > ALL_SHOWN
    quiet = [table for table in plan.tables if not _busy(table) and (many or not table.staged)]
    shown = [table for table in plan.tables if table not in quiet]
    reasons = any(table.why for table in shown)
    headers = ("TABLE", *(name.upper() for name in _FIGURES), *(["WHY"] if reasons else []))
    rows = tuple((str(table.table), *_figures(table), *([_why(table)] if reasons else [])) for table in shown)
    lines = [summary(plan)]
    if quiet:
        lines.insert(0, f"nothing to write in {plural(len(quiet), 'table')}: {some(quiet)}")
    return Section("", headers if rows else (), rows, tuple(range(1, 1 + len(_FIGURES))), tuple(lines))


def summary(plan: MergePlan) -> str:
    """12 rows to create, 3 rows to update; 5 kept, 1 in conflict"""
    totals = {name: sum(_number(table, name) for table in plan.tables) for name in _FIGURES}
    verbs = {"create": "created", "update": "updated", "delete": "deleted"}
    done = [
        f"{plural(totals[verb], 'row')} {past if plan.did == 'merge' else f'to {verb}'}"
        for verb, past in verbs.items()
        if totals[verb]
    ]
    words = {"kept": "kept as they are", "skipped": "skipped", "conflicts": "in conflict"}
    rest = [f"{totals[name]:,} {what}" for name, what in words.items() if totals[name]]
    return "; ".join(filter(None, (", ".join(done) or "nothing to write", ", ".join(rest))))


def sections(plan: MergePlan) -> Iterator[Section]:
    """What a person must know besides, each only where there is something of it."""
    yield from filter(_filled, (make(plan) for make in _PARTS))
    for table in plan.tables:
        if table.differences:
            yield differing(table)


def as_text(found: Iterable[Section]) -> str:
    """For a notebook or a script: columns as wide as what is in them."""
    lines: list[str] = []
    for section in found:
        lines += ["", section.title] if section.title else []
        cells = [section.headers, *section.rows] if section.rows else []
        widths = [max(len(row[column]) for row in cells) for column in range(len(section.headers))]
        for row in cells:
            parts = (
                cell.rjust(wide) if column in section.right else cell.ljust(wide)
                for column, (cell, wide) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join(parts).rstrip())
        lines += section.lines
    return "\n".join(lines)


def differing(table: TableMerge) -> Section:
    """A line for each column that differs."""
    rows = []
    for one in table.differences:
        mark, key = _MARKS[one.verb], one.key
        for column, (before, after) in one.columns.items() or {"": (None, None)}.items():
            rows.append(
                (
                    mark,
                    key,
                    column,
                    "" if one.verb == "create" else _cell(before),
                    "" if one.verb == "delete" else _cell(after),
                )
            )
    title = f"{table.table}: {plural(len(table.differences), 'row')} that differ"
    legend = "+ is created, ~ updated, - deleted; = is kept as it is, and AFTER is what the backup has"
    return Section(title, ("", "ROW", "COLUMN", "BEFORE", "AFTER"), tuple(rows), lines=(legend,))


def _conflicts(plan: MergePlan) -> Section:
    rows = tuple(
        (str(table.table), one.key, one.reason, one.message)
        for table in plan.tables
        for one in table.examples
    )
    title = f"In conflict: {plural(plan.conflicts, 'row')} of the backup, which are not written"
    more = plan.conflicts - len(rows)
    lines = (f"and {plural(more, 'more row')}",) if rows and more > 0 else ()
    return Section(title, ("TABLE", "ROW", "REASON", "WHY"), rows, lines=lines)


def _skipped(plan: MergePlan) -> Section:
    return _counted(plan, "Not written", ("TABLE", "ROWS", "WHY"), lambda table: table.skipped)


def _nulled(plan: MergePlan) -> Section:
    title = "References that become NULL, because their parent is not to be had"
    return _counted(plan, title, ("TABLE", "ROWS", "REFERENCE"), lambda table: table.nulled)


def _remapped(plan: MergePlan) -> Section:
    rows = tuple((str(table.table), f"{table.remapped:,}") for table in plan.tables if table.remapped)
    return Section("Created under a new key, because another row has theirs", ("TABLE", "ROWS"), rows, (1,))


def _spared(plan: MergePlan) -> Section:
    rows = tuple((str(table.table), f"{table.spared:,}") for table in plan.tables if table.spared)
    return Section("Not deleted, because other rows refer to them", ("TABLE", "ROWS"), rows, (1,))


def _identity(plan: MergePlan) -> Section:
    return _counted(plan, "How rows were known", ("TABLE", "ROWS", "BY"), lambda table: table.identity)


def _unused(plan: MergePlan) -> Section:
    lines = tuple(f"{table.table}: {text}" for table in plan.tables for text in table.unused_keys)
    return Section("Keys that tell no row", lines=lines)


def _drift(plan: MergePlan) -> Section:
    rows = tuple(
        (
            str(table.table),
            one.column,
            one.what,
            one.detail,
            f"REFUSED: {one.refused}" if one.refused else one.done,
        )
        for table in plan.tables
        for one in table.drift
    )
    title = "The schema is another than that of the backup"
    return Section(title, ("TABLE", "COLUMN", "WHAT", "DETAIL", "WHAT IS DONE"), rows)


def _cycles(plan: MergePlan) -> Section:
    lines = tuple(f"{' → '.join(map(str, one.tables))}: {one.how}" for one in plan.cycles)
    return Section("Circles of references", lines=lines)


def _triggers(plan: MergePlan) -> Section:
    rows = tuple((str(table.table), ", ".join(table.triggers)) for table in plan.tables if table.triggers)
    return Section("Triggers", ("TABLE", "TRIGGERS"), rows)


def _guarded(plan: MergePlan) -> Section:
    secured = tuple(str(table.table) for table in plan.tables if table.row_security)
    return Section("Row security", lines=(", ".join(secured),) if secured else ())


def _sequences(plan: MergePlan) -> Section:
    named = tuple(sequence for table in plan.tables for sequence in table.sequences)
    return Section("Sequences that move up", lines=(", ".join(named),) if named else ())


_PARTS = (
    _conflicts,
    _skipped,
    _nulled,
    _remapped,
    _spared,
    _drift,
    _cycles,
    _triggers,
    _guarded,
    _sequences,
    _identity,
    _unused,
)


def _counted(
    plan: MergePlan, title: str, headers: tuple[str, ...], counts: Callable[[TableMerge], Mapping[str, int]]
) -> Section:
    rows = tuple(
        (str(table.table), f"{count:,}", what)
        for table in plan.tables
        for what, count in counts(table).items()
        if count
    )
    return Section(title, headers, rows, (1,))


def _filled(section: Section) -> bool:
    return bool(section.rows or section.lines)


def _number(table: TableMerge, name: str) -> int:
    return sum(table.skipped.values()) if name == "skipped" else int(getattr(table, name))


def _figures(table: TableMerge) -> Iterable[str]:
    return (f"{number:,}" if (number := _number(table, name)) else "–" for name in _FIGURES)


def _busy(table: TableMerge) -> bool:
    return any(_number(table, name) for name in _FIGURES if name != "unchanged")


def _why(table: TableMerge) -> str:
    return (
        table.why or {"asked": "", "parents": "other rows need it", "below": "below the tenant"}[table.mode]
    )


def _because(what: str, why: str) -> str:
    return f"{what}: {why}" if what and why else what


def _locks(plan: MergePlan) -> str:
    if not plan.locks:
        return ""
    return f"{', '.join(plan.locks[:NAMED])}{_beyond(len(plan.locks))}"


def some(tables: Sequence[TableMerge]) -> str:
    return f"{', '.join(str(table.table) for table in tables[:NAMED])}{_beyond(len(tables))}"


def _beyond(count: int) -> str:
    return f" and {count - NAMED:,} more" if count > NAMED else ""


def _cell(value: str | None) -> str:
    return "∅" if value is None else value
