"""Words of a user → tables: `orders,order_items`, `public.orders`, `order_*`, the name of a group."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from backup_pipeline.errors import UsageError
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import matches

#: Name → patterns of tables.
Groups = Mapping[str, Sequence[str]]


def split(typed: Iterable[str]) -> tuple[str, ...]:
    """A list may be typed in one word. A comma that is part of a name stands in brackets, as in a pattern: `odd[,]name`.
    An empty word stays, and names nothing: a variable of a script that is not set must not mean everything."""
    return tuple(word.strip() for text in typed for word in re.split(r",(?![^\[]*\])", text))


def chosen(
    typed: Iterable[str],
    known: Sequence[TableId],
    groups: Groups,
    *,
    listed_by: str = "backup-pipeline show",
) -> Iterator[TableId]:
    """The tables that these words name, each once. `listed_by`: the command that lists the known tables."""
    found: dict[TableId, None] = {}
    for name in split(typed):
        globs = groups.get(name, (name,))
        fitting = [table for table in known if any(matches(glob, table) for glob in globs)]
        if not fitting:
            raise unknown(name, known, groups, listed_by=listed_by)
        found |= dict.fromkeys(fitting)
    return iter(found)


def unknown(
    name: str, known: Iterable[TableId], groups: Groups, *, listed_by: str = "backup-pipeline show"
) -> UsageError:
    listed = f"`{listed_by}` lists the tables"
    if name in groups:
        return UsageError(
            f"no table is there of the group {name}", remedy=f"it names {', '.join(groups[name])}; {listed}"
        )
    tables = [(one.name, str(one)) for one in known]
    words = dict.fromkeys([*groups, *(word for both in tables for word in both)])
    near = difflib.get_close_matches(name, words, n=3)
    hint = f"near it: {', '.join(near)}; " if near else ""
    return UsageError(
        f"{name!r} names no table and no group",
        remedy=f"{hint}groups: {', '.join(groups) or 'none'}; {listed}",
    )
