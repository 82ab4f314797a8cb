"""The files of one tree and the values that name them, joined in a private DuckDB file: bounded memory at any number.

What belongs here: tables and SQL. What does not: what a value means (`file_values`) and what is said of it
(`file_references`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from backup_pipeline.checks.file_values import difference, folded
from backup_pipeline.model.files import FileEntry

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
        ("target", pa.binary()),
    ]
)
_VALUES = pa.schema(
    [
        ("n", pa.int64()),
        ("row", pa.string()),
        ("value", pa.binary()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
    ]
)
_CANDIDATES = pa.schema([("n", pa.int64()), ("rank", pa.int8()), ("path", pa.binary())])
_FOLDED = pa.schema([("id", pa.int64()), ("fold", pa.binary())])
_NEAR = pa.schema([("n", pa.int64()), ("id", pa.int64()), ("how", pa.string())])

_UNMATCHED = "given WHERE n NOT IN (SELECT n FROM hits)"
_MISSING = f"{_UNMATCHED} AND n NOT IN (SELECT n FROM near)"
_A_FILE = "type IN ('file', 'hardlink')"


@dataclass(frozen=True, slots=True)
class Value:
    """A value that names one file."""

    #: Which row it stands in, for people: "(id) = (17)".
    row: str
    value: str
    candidates: tuple[str, ...]
    #: What the row says that the file is; in lower-case hex.
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Some:
    """How many there are, and a few of them."""

    count: int = 0
    examples: tuple[str, ...] = ()
    bytes: int = 0


class Files:
    """One tree in the database; then one column after the other is held against it."""

    def __init__(self, folder: Path) -> None:
        self._connection = duckdb.connect(
            folder / "files.duckdb",
            config={
                "memory_limit": _MEMORY,
                "threads": 2,
                "temp_directory": str(folder),
                "preserve_insertion_order": False,
            },
        )
        self._make("files", _FILES)
        self._make("folds", _FOLDED)
        self._run("CREATE TABLE seen (id BIGINT)")
        self._folded = False

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def load(self, entries: Iterable[FileEntry]) -> None:
        """Every entry of the listing. A hard link is what the file is whose content it shares."""
        self._fill("files", _FILES, _rows_of(entries))
        self._run(
            "UPDATE files SET size = other.size, sha256 = other.sha256 FROM files AS other "
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

    def missing(self) -> Some:
        """Values that name nothing in the tree, in no spelling."""
        return self._some(_MISSING)

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

    def other_size(self) -> Some:
        return self._differing("given.size <> files.size", "given.size", "files.size")

    def other_content(self) -> Some:
        wrong = "given.sha256 <> files.sha256 AND files.sha256 <> ''"
        return self._differing(wrong, "substr(given.sha256, 1, 12)", "substr(files.sha256, 1, 12)")

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

    def _differing(self, where: str, said: str, found: str) -> Some:
        rest = (
            "FROM given JOIN hits ON hits.n = given.n JOIN files ON files.id = hits.id "
            f"WHERE {_A_FILE} AND {where}"
        )
        ((count,),) = self._rows(f"SELECT count(*) {rest}", [])
        rows = self._rows(
            f"SELECT given.row, given.value, {said}, {found} {rest} ORDER BY given.n LIMIT ?", [EXAMPLES]
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
        yield number, entry.sort_key, entry.type, entry.size, entry.sha256, target


def _given(number: int, one: Value) -> tuple[object, ...]:
    value = one.value.encode("utf-8", "surrogateescape")
    return number, one.row, value, one.sha256, one.size


def _text(data: bytes) -> str:
    return os.fsdecode(data)
