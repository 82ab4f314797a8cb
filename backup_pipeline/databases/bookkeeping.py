"""Where migration tools write down what they applied: a table and its columns a tool, the same in every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backup_pipeline.errors import ConfigError

#: The values of `Bookkeeping.columns`; None where there is none.
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    table: str
    columns: tuple[str, ...]
    #: What was applied, in the order in which it was. Said here and not in SQL: a source reads the plain columns.
    applied: Callable[[Iterable[Row]], Iterable[str]]


def _prisma(rows: Iterable[Row]) -> Iterable[str]:
    finished = (row for row in rows if row[2] is not None and row[3] is None)
    return (name for _, name, *_ in sorted(finished, key=lambda row: (row[0], row[1])))


_TOOLS = {
    "alembic": Bookkeeping("alembic_version", ("version_num",), lambda rows: sorted(row[0] for row in rows)),
    "django": Bookkeeping(
        "django_migrations",
        ("id", "app", "name"),
        lambda rows: (f"{app}.{name}" for _, app, name in sorted(rows, key=lambda row: int(row[0]))),
    ),
    "prisma": Bookkeeping(
        "_prisma_migrations", ("started_at", "migration_name", "finished_at", "rolled_back_at"), _prisma
    ),
}


def of_tool(tool: str) -> Bookkeeping:
    if tool not in _TOOLS:
        raise ConfigError(
            f"{tool!r} is no migration tool known here", remedy=f"use one of {', '.join(sorted(_TOOLS))}"
        )
    return _TOOLS[tool]
