"""Which tables a backup takes, and for each one that it does not take, why.

Globs match `schema.table`, or the bare table name in any schema: `orders`, `public.*`, `*.audit_*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId


@dataclass(frozen=True, slots=True)
class Selection:
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: Asked for by name for this one run: the backup is then a partial one.
    only: frozenset[TableId] | None = None
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def partial(self) -> bool:
        return self.only is not None

    def reason_to_leave_out(self, table: TableId) -> str | None:
        """None: it is taken."""
        if self.include and not any(matches(glob, table) for glob in self.include):
            return "not in `include`"
        for glob in self.exclude:
            if matches(glob, table):
                return f"excluded by `exclude: {glob}`"
        if self.only is not None and table not in self.only:
            return "not selected for this partial backup"
        return None

    def groups_of(self, tables: tuple[TableId, ...]) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(str(table) for table in tables if any(matches(glob, table) for glob in globs))
            for name, globs in self.groups.items()
        }


def idle_patterns(settings: Mapping[str, Iterable[str]], tables: Iterable[TableId]) -> Iterator[Finding]:
    """Patterns that match no table. A typing error under `include` leaves a table out of every backup. Under
    `exclude` it takes in a table that should stay out. Both look like success."""
    known = tuple(tables)
    for setting, globs in settings.items():
        for glob in globs:
            if not any(matches(glob, table) for table in known):
                yield Finding.of(
                    "pattern-without-table",
                    setting=setting,
                    glob=glob,
                    severity="error" if setting.startswith(("include", "groups")) else "warning",
                )


def tables_among(globs: Iterable[str]) -> tuple[str, ...]:
    """Without the patterns that name file trees: `files.media`."""
    return tuple(glob for glob in globs if not glob.startswith(("files/", "files.")))


def matches(glob: str, table: TableId) -> bool:
    return fnmatchcase(str(table), glob) or fnmatchcase(table.name, glob)
