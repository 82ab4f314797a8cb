"""When a chunk of an earlier backup may be used again without reading it out. The rule, and why it holds:

Under snapshot S2 a range of pages holds the same rows as under S1 on three conditions. (a) It is the same storage of
the same running server: system identifier, timeline, start time, database and relfilenode. The definition is the same,
so that the same row gives the same text. (b) no visible row in the range has an xmin at or after S1's xmin;
(c) the number of visible rows in it is the number that S1 saw.
By (b) every row that S2 sees was committed before S1 and so was visible to S1 (a deletion is never undone); by (c)
there are as many as S1 saw, so it is the same set; and row versions never change. The start time is in (a) for servers
that were rolled back to older files: they hand out the same transaction ids again, for other rows. After any restart
everything is read once. Any doubt means: read.

A few unchanged chunks are read all the same, at every backup, and compared: the witnesses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from backup_pipeline.databases.base import Baseline
from backup_pipeline.databases.postgres.export import catalog, connect
from backup_pipeline.databases.postgres.export.chunks import HEAP, Storage, Task
from backup_pipeline.databases.postgres.export.inspect import RawColumn

#: Of the snapshot: what must be equal for anything to be trusted.
_SAME_SERVER = (
    "system_identifier",
    "timeline",
    "postmaster_start",
    "database_oid",
    "database_xmin",
    "in_recovery",
    "encoding",
)
#: Of a table.
_SAME_TABLE = ("relfilenode", "definition", "columns")
#: Of a table as it is noted while it is read; in a manifest it is proven, and gone.
UNPROVEN = "catalog"
#: Transaction ids are compared on a circle of 2^32; beyond half of it "older" and "newer" change places.
_FARTHEST = 2**31 - 2**20
#: At most one witness in so many chunks, and at least two, …
_ONE_WITNESS_IN = 50
_LEAST_WITNESSES = 2
#: … and one of the tables of each set of types that are not built in, of so many sets.
_SETS_OF_TYPES = 4


@dataclass(frozen=True, slots=True)
class Type:
    name: str
    kind: str
    #: oids of what its text is made of: element, base, attributes, subtype, range
    parts: tuple[int, ...]
    #: Of a composite or a table's row: number, type and modifier of each attribute, the dropped ones too.
    attributes: tuple[tuple[int, int, int], ...]
    labels: tuple[str, ...]
    modifier: int
    #: "hstore 1.8": the version is part of the digest, for an update may change how values are written.
    extension: str | None
    builtin_output: bool


class Types:
    """Every type that is not built in, to follow what the text of a column depends on."""

    def __init__(self, connection: connect.Connection) -> None:
        with connect.explained("reading the types", connection):
            found = connect.rows(connection, catalog.TYPES)
        self._types = {
            row[0]: Type(
                name=f"{row[1]}.{row[2]}",
                kind=row[3],
                parts=tuple(oid for oid in (row[4], row[5], row[8], *(one[1] for one in row[10])) if oid),
                attributes=tuple((number, oid, modifier) for number, oid, modifier in row[10]),
                labels=tuple(row[9]),
                modifier=row[6],
                extension=row[11],
                builtin_output=row[12],
            )
            for row in found
        }

    def closure(self, oid: int) -> dict[int, Type | None]:
        """The type and all that it is made of; None stands for a built-in one."""
        seen: dict[int, Type | None] = {}
        todo = [oid]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            kind = self._types.get(current)
            seen[current] = kind
            todo.extend(kind.parts if kind else ())
        return seen

    def names_objects(self, oid: int) -> bool:
        """The text of a value is the name of a catalog object or of a role."""
        names = ("pg_catalog.reg", "pg_catalog._reg", "pg_catalog.aclitem", "pg_catalog._aclitem")
        return any(kind is not None and kind.name.startswith(names) for kind in self.closure(oid).values())

    def unreliable(self, oid: int) -> bool:
        """The text of a value can change although the row does not: such names, or a C function that we know nothing
        about."""
        unknown = (
            k for k in self.closure(oid).values() if k and not k.builtin_output and k.extension is None
        )
        return self.names_objects(oid) or any(unknown)

    def describe(self, oid: int) -> list[object]:
        return [
            [
                *(number, kind.name, kind.kind, kind.parts, kind.attributes),
                *(kind.labels, kind.modifier, kind.extension or ""),
            ]
            for number, kind in sorted(self.closure(oid).items())
            if kind is not None
        ]


def table_state(
    storage: Storage, columns: Iterable[RawColumn], types: Types, catalog_state: str
) -> dict[str, str]:
    """What is noted beside a table's chunks. Empty: nothing can ever be built on them."""
    columns = tuple(columns)
    if storage.access_method != HEAP or not storage.filenode or not storage.ranges:
        return {}
    if any(types.unreliable(column.type_oid) for column in columns if not column.generated):
        return {}
    definition = [
        [c.name, c.number, c.type_oid, c.modifier, c.type, c.generated, types.describe(c.type_oid)]
        for c in columns
    ]
    return {
        "relfilenode": f"{storage.tablespace}/{storage.filenode}",
        "definition": _digest(definition),
        "columns": _digest([column.name for column in columns if not column.generated]),
        # Of the types that are not built in: tables of one kind have witnesses of their own.
        "types": _digest([made for c in columns if (made := types.describe(c.type_oid))]),
        UNPROVEN: catalog_state,
    }


def proven(state: Mapping[str, str]) -> dict[str, str]:
    """For the manifest, which is written after the catalog was compared."""
    return {key: value for key, value in state.items() if key != UNPROVEN}


def _digest(value: object) -> str:
    # Plain json and not model.canonical: worker processes import this file, and pydantic takes longer than they do.
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()


def trusted(now: Mapping[str, str], state: Mapping[str, str], earlier: Baseline | None) -> int | None:
    """The xmin of the earlier snapshot as a 64-bit number when this table's chunks of `earlier` may be used again, else None."""
    if earlier is None or not now or not state:
        return None
    if any(not now.get(key) or now[key] != earlier.state.get(key) for key in _SAME_SERVER):
        return None
    if any(not state.get(key) or state[key] != earlier.entry.state.get(key) for key in _SAME_TABLE):
        return None
    # A run that was killed did not compare: what it noted holds only while the catalog is the one that it saw.
    if UNPROVEN in earlier.entry.state and earlier.entry.state[UNPROVEN] != state.get(UNPROVEN):
        return None
    before, current = earlier.state.get("snapshot_xmin", ""), now.get("snapshot_xmax", "")
    if not before.isdigit() or not current.isdigit():
        return None
    distance = int(current) - int(before)
    return int(before) if 0 <= distance < _FARTHEST else None


def with_baselines(tasks: Iterable[Task], earlier: Baseline, xmin: int) -> list[Task]:
    """Give each task the earlier chunk that may cover it: one that begins where it begins and ends no sooner."""
    types = earlier.entry.state.get("types", "")
    chunks = {chunk.first_page: chunk for chunk in earlier.entry.chunks if chunk.first_page is not None}
    found = []
    for task in tasks:
        chunk = chunks.get(task.first_page)
        covers = chunk is not None and (
            chunk.end_page is None or (task.end_page is not None and task.end_page <= chunk.end_page)
        )
        if covers:
            task = replace(
                task, baseline=chunk, baseline_id=earlier.backup_id, baseline_xmin=xmin, types=types
            )
        found.append(task)
    return found


def with_witnesses(tasks: list[Task]) -> list[Task]:
    """Choose those to be read although they look unchanged: the ones whose bytes were read longest ago, so that
    every chunk has its turn. The small before the large where that is equal. What a type hides from the rule shows only
    in a table that has such a type: each set of types has a witness."""
    candidates = sorted(
        (task for task in tasks if task.baseline is not None),
        key=lambda task: (last_read(task), task.weight, task.number),
    )
    chosen = {task.number for task in candidates[: _LEAST_WITNESSES + len(candidates) // _ONE_WITNESS_IN]}
    sets: dict[str, int] = {}
    for task in candidates:
        sets.setdefault(task.types, task.number)
    chosen |= set(list(sets.values())[:_SETS_OF_TYPES])
    return [replace(task, witness=True) if task.number in chosen else task for task in tasks]


def last_read(task: Task) -> str:
    assert task.baseline is not None
    return task.baseline.reused_from or task.baseline_id


def same_rows(connection: connect.Connection, task: Task) -> bool:
    """(b) and (c), in one scan that sends nothing. In the snapshot's own transaction."""
    assert task.baseline is not None
    assert task.baseline_xmin is not None
    xid = str(task.baseline_xmin % 2**32)
    with connect.explained(f"looking for changes in {task.label}", connection):
        count, youngest, allowed = connect.row(connection, task.check_statement, (xid,))
    if not 0 <= allowed < _FARTHEST or count != task.baseline.rows:
        return False
    return bool(count == 0 or youngest > allowed)
