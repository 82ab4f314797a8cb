"""`query`: SQL over a backup, without restoring it."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import click

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.document import plain
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import plural

if TYPE_CHECKING:
    import pandas as pd

#: A person reads so many; a file takes all.
LIMIT = 100


@as_verb(
    "query",
    system_argument(),
    click.Argument(["identifier"], metavar="ID|latest"),
    click.Argument(["sql"]),
    click.Option(
        ["--format", "shape"], type=click.Choice(["table", "csv", "json"]), default="table", show_default=True,
        help="json is the same as --json.",
    ),
    click.Option(
        ["--limit"], type=click.IntRange(0), metavar="N",
        help=f"Show so many rows; 0 is all [{LIMIT} in a table, all in csv and json].",
    ),
    examples="""
    backup-pipeline query shop latest "select status, count(*) from orders group by status"
    backup-pipeline query shop latest "select * from orders where id = 4711" --json
    backup-pipeline query shop 2026-11-21T02-00-00-123Z "select * from users" --format csv > users.csv
    """,
)  # fmt: skip
def verb(call: Call, system: str, identifier: str, sql: str, shape: str, limit: int | None) -> Outcome:
    """The SQL is DuckDB's. Tables go by their own names, `orders` or `public.orders`. Nothing can be changed."""
    call.interrupted = lambda: "a query changes nothing"
    if shape == "json":
        call.json = True
    found = call.project.query(system, identifier, sql)
    if limit is None:
        limit = LIMIT if shape == "table" and not call.json else 0
    shown = found.head(limit) if limit else found
    columns = [str(name) for name in found.columns]
    rows = [[_value(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    if len(shown) < len(found):
        call.note(f"{len(shown):,} of {plural(len(found), 'row')} shown; --limit 0 shows all")
    data = {"columns": columns, "rows": rows, "total_rows": len(found), "truncated": len(shown) < len(found)}
    return Outcome(data, lambda page: _page(page, columns, rows, shown, shape))


def _page(page: Page, columns: list[str], rows: list[list[Any]], shown: pd.DataFrame, shape: str) -> None:
    if shape == "csv":
        # The csv module and not pandas: it writes what the values are, and no index, no rounding.
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(["" if value is None else _text(value) for value in row] for row in rows)
        page.line(text.getvalue().rstrip("\n"))
        return
    numeric = [index for index, kind in enumerate(shown.dtypes) if getattr(kind, "kind", "") in "iuf"]
    page.table(
        columns, [["∅" if value is None else _text(value) for value in row] for row in rows], right=numeric
    )


def _value(value: Any) -> Any:
    """pandas' several nothings are one None; its own scalars are Python's."""
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        # NaN in a float column may be a real NaN or a NULL; DuckDB gives masked types where it can tell.
        return None
    if hasattr(value, "item"):
        value = value.item() if getattr(value, "ndim", 0) == 0 else value.tolist()
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        value = value.isoformat()
    return plain(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
