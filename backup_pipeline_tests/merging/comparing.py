"""Rows and reports of a merge against those of the model. Keys that the target chose are equal up to a renaming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from backup_pipeline.databases.merge.plan import MergePlan, TableMerge
from backup_pipeline_tests.merging.model_writing import Expected, FreshRow, Report
from backup_pipeline_tests.merging.shapes import Design, Rows
from backup_pipeline_tests.merging.terms import STEPS, Fresh, is_generated_key, owner_of


def with_fresh(design: Design, wanted: Expected, found: Rows) -> dict[str, list[FreshRow]]:
    """The rows that were found, with Fresh for each generated key that the model does not know, and where it is referred to."""
    chosen = {
        one.name: {row[one.key[0]] for row in found[one.name]}
        - {row[one.key[0]] for row in wanted.rows[one.name]}
        for one in design.shapes
        if is_generated_key(one)
    }
    made: dict[str, list[FreshRow]] = {}
    for table, rows in found.items():
        made[table] = []
        for row in rows:
            copied: FreshRow = dict(row)
            for column, value in row.items():
                owner = owner_of(design, table, column)
                if value in chosen.get(owner, ()):
                    copied[column] = Fresh((owner, str(value)))  # type: ignore[arg-type]
            made[table].append(copied)
    return made


def coloured(rows: Mapping[str, Sequence[FreshRow]], owners: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Each fresh key becomes what its row says, and what the rows say that the row refers to."""
    colours: dict[Fresh, str] = {}
    for _ in range(6):
        told: dict[Fresh, str] = {}
        for table, some in rows.items():
            for row in some:
                key = row.get(owners.get(table, ""))
                if isinstance(key, Fresh):
                    told[key] = repr([table, {c: colour(v, colours) for c, v in row.items() if v != key}])
        names = {text: f"fresh {number}" for number, text in enumerate(sorted(set(told.values())))}
        colours = {key: names[text] for key, text in told.items()}
    return {
        table: Counter(repr({c: colour(v, colours) for c, v in row.items()}) for row in some)
        for table, some in rows.items()
    }


def colour(value: object, colours: Mapping[Fresh, str]) -> object:
    return colours.get(value, "fresh") if isinstance(value, Fresh) else value


def differing_rows(design: Design, wanted: Expected, found: Rows) -> dict[str, str]:
    """Table → rows that are missing, and rows that are too many."""
    owners = {one.name: one.key[0] for one in design.shapes if is_generated_key(one)}
    expected, got = coloured(wanted.rows, owners), coloured(with_fresh(design, wanted, found), owners)
    return {
        table: f"missing {list((expected[table] - got[table]).elements())}, too many {list((got[table] - expected[table]).elements())}"
        for table in expected
        if expected[table] != got[table]
    }


NUMBERS = ("staged", "matched", "create", "update", "delete", "unchanged", "kept", "remapped")


def numbers_of(table: TableMerge) -> dict[str, object]:
    found: dict[str, object] = {name: getattr(table, name) for name in NUMBERS}
    identity: Counter[str] = Counter()
    for name, count in table.identity.items():
        identity[next(step for step in STEPS if name.startswith(step))] += count
    skipped: Counter[str] = Counter()
    for name, count in table.skipped.items():
        skipped[name.partition(":")[0]] += count
    return {
        **found,
        "conflicts": table.conflicts,
        "skipped": skipped,
        "nulled": {name.rpartition(".")[2]: count for name, count in table.nulled.items()},
        "identity": {step: count for step, count in identity.items() if count},
    }


def numbers_of_model(report: Report) -> dict[str, object]:
    return {
        **{name: getattr(report, name) for name in NUMBERS},
        "conflicts": report.conflicts.total(),
        "skipped": dict(report.skipped),
        "nulled": {column: count for column, count in report.nulled.items() if count},
        "identity": dict(report.identity),
    }


def differing_numbers(wanted: Expected, plan: MergePlan) -> dict[str, str]:
    told = {one.table.name: numbers_of(one) for one in plan.tables}
    nothing = numbers_of_model(Report())
    found = {}
    for table, report in wanted.reports.items():
        expected, got = numbers_of_model(report), told.get(table, nothing)
        wrong = [
            f"{name}: {expected[name]} != {got[name]}" for name in expected if expected[name] != got[name]
        ]
        if wrong:
            found[table] = ", ".join(wrong)
    return found
