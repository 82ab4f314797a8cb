"""The files of one tree and the values that name them, joined in a private DuckDB file: bounded memory at any number.

What belongs here: tables and SQL. What does not: what a value means (`file_values`) and what is said of it
(`file_references`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from backup_pipeline.config.trees import SAYS
from backup_pipeline.model.files import DIGESTS, FileEntry
from backup_pipeline.reading.interrupting import QUIET
from backup_pipeline.references.file_values import difference, folded

T = TypeVar("T")

_MEMORY = "256MB"
_BATCH = 20_000
EXAMPLES = 10

_FILES = pa.schema(
    [
        ("id", pa.int64()),
        ("path", pa.binary()),
        ("type", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        *((name, pa.string()) for name in DIGESTS),
        ("target", pa.binary()),
    ]
)
_VALUES = pa.schema(
    [
        ("n", pa.int64()),
        ("row", pa.string()),
        ("value", pa.binary()),
        *((name, pa.int64() if name == "size" else pa.string()) for name in SAYS),
    ]
)
_CANDIDATES = pa.schema([("n", pa.int64()), ("rank", pa.int8()), ("path", pa.binary())])
_FOLDED = pa.schema([("id", pa.int64()), ("fold", pa.binary())])
_NEAR = pa.schema([("n", pa.int64()), ("id", pa.int64()), ("how", pa.string())])

_ACCEPTED = pa.schema([("fault", pa.string()), ("value", pa.binary())])

_UNMATCHED = "given WHERE n NOT IN (SELECT n FROM hits)"
_MISSING = f"{_UNMATCHED} AND n NOT IN (SELECT n FROM near)"
_A_FILE = "type IN ('file', 'hardlink')"
_FOUND = f"given JOIN hits ON hits.n = given.n JOIN files ON files.id = hits.id WHERE {_A_FILE}"
#: What may be wrong with a value, and which of `given` have it: it names nothing, or a file that is not what the row says.
FAULTS = ("missing", *SAYS)
_FAULTS = {
    "missing": _MISSING,
    "size": f"{_FOUND} AND given.size <> files.size",
    **{
        name: f"{_FOUND} AND given.{name} <> files.{name} AND files.{name} <> ''"
        for name in SAYS
        if name != "size"
    },
}
_EMPTY = {name: hashlib.new(name, usedforsecurity=False).hexdigest() for name in DIGESTS}


@dataclass(frozen=True, slots=True)
class Value:
    """A value that names one file."""

    #: Which row it stands in, for people: "(id) = (17)".
    row: str
    value: str
    candidates: tuple[str, ...]
    #: What the row says that the file is, by the names in SAYS: digests in lower-case hex, a length.
    says: Mapping[str, str | int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Some:
    """How many there are, and a few of them."""

    count: int = 0
    examples: tuple[str, ...] = ()
    bytes: int = 0


class Files:
    """One tree in the database; then one column after the other is held against it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection = duckdb.connect(
            folder / "files.duckdb",
            config={
                "memory_limit": _MEMORY,
                "threads": 2,
                "temp_directory": str(folder),
                "preserve_insertion_order": False,
            },
        )
        self._connection.execute(QUIET)
        self._make("files", _FILES)
        self._make("folds", _FOLDED)
        self._make("accepted", _ACCEPTED)
        self._run("CREATE TABLE seen (id BIGINT)")
        self._folded = False

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def beside(self) -> Files:
        """Another tree, in the same folder."""
        folder = self._folder / "beside"
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        return Files(folder)

    def load(self, entries: Iterable[FileEntry]) -> None:
        """Every entry of the listing. A hard link is what the file is whose content it shares."""
        self._fill("files", _FILES, _rows_of(entries))
        self._run(
            f"UPDATE files SET {', '.join(f'{name} = other.{name}' for name in SAYS)} FROM files AS other "
            "WHERE files.type = 'hardlink' AND other.path = files.target"
        )

    def ask(self, values: Iterable[Value]) -> int:
        """Take in the values of one column, instead of those of the last one; how many there are."""
        self._make("given", _VALUES)
        self._make("named", _CANDIDATES)
        begin = 0
        for batch in _batches(values):
            self._insert("given", _VALUES, [_given(begin + n, one) for n, one in enumerate(batch)])
            self._insert(
                "named",
                _CANDIDATES,
                [
                    (begin + n, rank, path.encode("utf-8", "surrogateescape"))
                    for n, one in enumerate(batch)
                    for rank, path in enumerate(one.candidates)
                ],
            )
            begin += len(batch)
        self._run(
            "CREATE OR REPLACE TABLE hits AS SELECT named.n AS n, arg_min(files.id, named.rank) AS id "
            "FROM named JOIN files ON files.path = named.path GROUP BY named.n"
        )
        self._run("INSERT INTO seen SELECT DISTINCT id FROM hits")
        self._find_near()
        return begin

    def fault(self, name: str, *, more: bool = False) -> Some:
        """Values that name nothing in the tree in no spelling ("missing"), or a file of another size or digest than the
        row says. `more`: only those that were not accepted."""
        new = f" AND given.value NOT IN (SELECT value FROM accepted WHERE fault = '{name}')" if more else ""
        if name == "missing":
            return self._some(_FAULTS[name] + new)
        shown = "{}" if name == "size" else "substr({}, 1, 12)"
        said, found = shown.format(f"given.{name}"), shown.format(f"files.{name}")
        return self._differing(_FAULTS[name] + new, said, found)

    def faults(self) -> Iterator[tuple[str, bytes]]:
        """All of them: which fault, and the value."""
        for name, rest in _FAULTS.items():
            for (value,) in self._each(f"SELECT DISTINCT given.value FROM {rest}"):
                yield name, value

    def accept(self, faults: Iterable[tuple[str, bytes]]) -> None:
        self._make("accepted", _ACCEPTED)
        self._fill("accepted", _ACCEPTED, faults)

    def not_compared(self, name: str) -> int:
        """Values of which the row says a digest that is not known of the file."""
        ((count,),) = self._rows(
            f"SELECT count(*) FROM {_FOUND} AND given.{name} IS NOT NULL AND files.{name} = ''", []
        )
        return int(count)

    def spelt(self, how: str) -> Some:
        """Values that name a file in another spelling: "case" or "unicode"."""
        rows = self._rows(
            "SELECT given.row, given.value, files.path FROM near JOIN given ON given.n = near.n "
            "JOIN files ON files.id = near.id WHERE near.how = ? ORDER BY given.n LIMIT ?",
            [how, EXAMPLES],
        )
        ((count,),) = self._rows("SELECT count(*) FROM near WHERE how = ?", [how])
        examples = (f"{row}: {_text(value)!r} is {_text(path)!r}" for row, value, path in rows)
        return Some(int(count), tuple(examples))

    def lost(self, earlier: Iterable[FileEntry]) -> Some:
        """Of those that are missing: the ones that another listing has."""
        self._make("earlier", _FILES)
        self._fill("earlier", _FILES, _rows_of(earlier))
        had = "SELECT named.n FROM named JOIN earlier ON earlier.path = named.path"
        found = self._some(f"{_MISSING} AND n IN ({had})")
        self._run("DROP TABLE earlier")
        return found

    def orphans(self) -> Some:
        """Files that no value named, of all columns that were asked."""
        rest = f"FROM files WHERE {_A_FILE} AND id NOT IN (SELECT id FROM seen)"
        ((count, size),) = self._rows(f"SELECT count(*), coalesce(sum(size), 0) {rest}", [])
        rows = self._rows(f"SELECT path {rest} ORDER BY path LIMIT ?", [EXAMPLES])
        return Some(int(count), tuple(_text(path) for (path,) in rows), int(size))

    def seen(self) -> Iterator[str]:
        """The path of every entry that some value named, in order."""
        cursor = self._connection.execute(
            "SELECT path FROM files WHERE id IN (SELECT id FROM seen) ORDER BY path"
        )
        while rows := cursor.fetchmany(_BATCH):
            yield from (os.fsdecode(path) for (path,) in rows)

    def _differing(self, rest: str, said: str, found: str) -> Some:
        ((count,),) = self._rows(f"SELECT count(*) FROM {rest}", [])
        rows = self._rows(
            f"SELECT given.row, given.value, {said}, {found} FROM {rest} ORDER BY given.n LIMIT ?", [EXAMPLES]
        )
        examples = (
            f"{row}: {_text(value)} is {there}, and the row says {want}" for row, value, want, there in rows
        )
        return Some(int(count), tuple(examples))

    def _some(self, rest: str) -> Some:
        ((count,),) = self._rows(f"SELECT count(*) FROM {rest}", [])
        rows = self._rows(f"SELECT row, value FROM {rest} ORDER BY n LIMIT ?", [EXAMPLES])
        return Some(int(count), tuple(f"{row}: {_text(value)}" for row, value in rows))

    def _find_near(self) -> None:
        """Of the values without a hit: which file they mean if one overlooks how it is spelt."""
        self._make("near", _NEAR)
        ((left,),) = self._rows(f"SELECT count(*) FROM {_UNMATCHED}", [])
        if not left:
            return
        if not self._folded:
            self._fold("folds", "SELECT id, path FROM files")
            self._folded = True
        self._make("wanted", _FOLDED)
        self._fold("wanted", "SELECT n, path FROM named WHERE n NOT IN (SELECT n FROM hits)")
        pairs = (
            "SELECT wanted.id, min(folds.id) AS file FROM wanted JOIN folds ON folds.fold = wanted.fold "
            "GROUP BY wanted.id"
        )
        self._run(
            f"CREATE OR REPLACE TABLE pairs AS SELECT p.id AS n, p.file AS id, arg_min(named.path, named.rank) AS "
            f"said, any_value(files.path) AS path FROM ({pairs}) p JOIN files ON files.id = p.file "
            "JOIN named ON named.n = p.id GROUP BY ALL"
        )
        found = self._each("SELECT n, id, said, path FROM pairs")
        rows = ((n, file, difference(_text(said), _text(path))) for n, file, said, path in found)
        self._fill("near", _NEAR, rows)
        self._run("INSERT INTO seen SELECT DISTINCT id FROM near")

    def _fold(self, table: str, query: str) -> None:
        rows = ((number, os.fsencode(folded(_text(path)))) for number, path in self._each(query))
        self._fill(table, _FOLDED, rows)

    def _each(self, query: str) -> Iterator[Any]:
        """Rows as they come; with a cursor of its own, so that others may be written meanwhile."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(_BATCH):
                yield from rows

    def _make(self, table: str, schema: Any) -> None:
        kinds = {pa.int64(): "BIGINT", pa.int8(): "TINYINT", pa.binary(): "BLOB", pa.string(): "VARCHAR"}
        columns = ", ".join(f'"{field.name}" {kinds[field.type]}' for field in schema)
        self._run(f"CREATE OR REPLACE TABLE {table} ({columns})")

    def _run(self, sql: str) -> None:
        self._connection.execute(sql)

    def _rows(self, sql: str, values: list[object]) -> list[Any]:
        found: list[Any] = self._connection.execute(sql, values).fetchall()
        return found

    def _fill(self, table: str, schema: Any, rows: Iterable[tuple[object, ...]]) -> None:
        for batch in _batches(rows):
            self._insert(table, schema, batch)

    def _insert(self, table: str, schema: Any, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        arrays = [
            pa.array(values, type=field.type)
            for values, field in zip(zip(*rows, strict=True), schema, strict=True)
        ]
        self._connection.register("arriving", pa.Table.from_arrays(arrays, schema=schema))
        try:
            self._connection.execute(f"INSERT INTO {table} SELECT * FROM arriving")
        finally:
            self._connection.unregister("arriving")


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    source = iter(rows)
    while batch := list(islice(source, _BATCH)):
        yield batch


def _rows_of(entries: Iterable[FileEntry]) -> Iterator[tuple[object, ...]]:
    for number, entry in enumerate(entries):
        target = os.fsencode(entry.target) if entry.type == "hardlink" else None
        known = entry.digests or ({} if entry.size else _EMPTY)
        digests = (known.get(name, "") for name in DIGESTS)
        yield number, entry.sort_key, entry.type, entry.size, entry.sha256, *digests, target


def _given(number: int, one: Value) -> tuple[object, ...]:
    value = one.value.encode("utf-8", "surrogateescape")
    return number, one.row, value, *(one.says.get(name) for name in SAYS)


def _text(data: bytes) -> str:
    return os.fsdecode(data)
