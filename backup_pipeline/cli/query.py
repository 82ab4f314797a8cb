"""`query`: SQL over a backup, without restoring it."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.document import plain
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.places import from_option, site_at, unsigned_option
from backup_pipeline.cli.units import plural
from backup_pipeline.model.orders import QueryOrder

#: A person reads so many; a file takes all.
LIMIT = 100
_NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DOUBLE|FLOAT|DECIMAL")


@as_verb(
    "query",
    click.Option(
        ["--format", "shape"], type=click.Choice(["table", "csv", "json"]), default="table", show_default=True,
        help="json is the same as --json.",
    ),
    click.Option(
        ["--limit"], type=click.IntRange(0), metavar="N",
        help=f"Show so many rows; 0 is all [{LIMIT} in a table, all in csv and json].",
    ),
    from_option(),
    unsigned_option(),
    order=QueryOrder,
    examples="""
    backup-pipeline query shop latest "select status, count(*) from orders group by status"
    backup-pipeline query shop latest "select * from orders where id = 4711" --json
    backup-pipeline query shop 2026-11-21T02-00-00-123Z "select * from users" --format csv > users.csv
    """,
)  # fmt: skip
def verb(
    call: Call, order: QueryOrder, shape: str, limit: int | None, place: str | None, unsigned: bool
) -> Reply:
    """The SQL is DuckDB's. Tables go by their own names, `orders` or `public.orders`. Nothing can be changed."""
    from backup_pipeline.operations.query import querying

    call.interrupted = lambda: "a query changes nothing"
    if shape == "json":
        call.json = True
    with querying(site_at(call, place, unsigned=unsigned), order) as answer:
        if shape == "csv" and not call.json:
            return _stream(call, answer.columns, answer.rows(), limit)
        if limit is None:
            limit = 0 if call.json else LIMIT
        numeric = [index for index, kind in enumerate(answer.types) if _NUMBERS.match(kind)]
        found = (tuple(map(plain, row)) for row in answer.rows())
        rows = list(itertools.islice(found, limit or None))
        total = len(rows) + sum(1 for _ in found)
    if len(rows) < total:
        call.note(f"{len(rows):,} of {plural(total, 'row')} shown; --limit 0 shows all")
    columns = list(answer.columns)
    data = {"columns": columns, "rows": rows, "total_rows": total, "truncated": len(rows) < total}
    return Reply(data, lambda page: _page(page, columns, rows, numeric))


def _stream(
    call: Call, columns: Sequence[str], rows: Iterator[tuple[object, ...]], limit: int | None
) -> Reply:
    """As the rows come: a table of any size passes through without being held."""
    # The csv module and not pandas: it writes what the values are, and no index, no rounding.
    writer = csv.writer(call.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in itertools.islice(rows, limit or None):
        writer.writerow(["" if value is None else _text(plain(value)) for value in row])
    call.stdout.flush()
    return Reply({}, lambda page: None)


def _page(page: Page, columns: list[str], rows: list[tuple[Any, ...]], numeric: list[int]) -> None:
    shown = [["∅" if value is None else _text(value) for value in row] for row in rows]
    page.table(columns, shown, right=numeric)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
