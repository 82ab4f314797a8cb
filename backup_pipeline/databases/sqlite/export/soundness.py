"""Whether a private copy is a sound database, before it is called a backup.

A damaged database copies without complaint, page by page, and every later backup of it is green: the day it is needed,
none of them restores. So a copy that SQLite itself finds damaged is refused, loudly and with what it found.
Rows that break a rule of the schema (a NOT NULL, a STRICT type) are not damage: they are in the database, a faithful
copy has them, and they are reported. CHECKs are not evaluated: SQLite does so only on connections that may write, and
then stumbles over every function that only the application has.

`quick_check` looks at every page and row (1 s a GB); `integrity_check` adds that every row is in every index (10 s a GB
with two indexes). The workers run it table by table, while the file is being stored.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from backup_pipeline.databases.sqlite.export.explaining import SALVAGE, primary_code
from backup_pipeline.databases.sqlite.export.rows import quoted, reading_file
from backup_pipeline.errors import SourceError
from backup_pipeline.model.findings import Finding

#: What integrity_check says about rows that break the rules of the schema.
_RULES = re.compile(
    r"(NULL value in |CHECK constraint failed in |non-\w+ value in |(?:NUMERIC|TEXT|BLOB|INTEGER|REAL) value in )(.+)",
    re.DOTALL,
)
_NULL = "NULL value in "
#: SQLite stops looking after so many lines (100 unless told): broken rules must not hide damage.
_MOST_LINES = 100_000
_SHOWN = 5
#: Looking a row up in its indexes jumps about: with SQLite's own 2 MB it takes 17 s a GB. In KiB, hence negative.
_CACHE = -48 * 1024


@dataclass(frozen=True, slots=True)
class Soundness:
    damage: tuple[str, ...] = ()
    broken_rules: dict[str, int] = field(default_factory=dict)
    #: Tables that could not be looked at, and why: a collation or a function that only the application has.
    unchecked: dict[str, str] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        for what, count in sorted(self.broken_rules.items()):
            yield Finding.of("rule-broken", count=count, rule=what)
        for table, why in sorted(self.unchecked.items()):
            yield Finding.of("not-checked/table", table=f"main.{table}", name=table, why=why)


def refuse_damage(path: Path, lines: Iterable[str]) -> None:
    found = list(lines)
    if found:
        shown = "; ".join(" ".join(line.split()) for line in found[:_SHOWN])
        more = f" (and {len(found) - _SHOWN:,} more)" if len(found) > _SHOWN else ""
        raise SourceError(
            f"{path} is damaged, so it is not backed up as if it were whole: {shown}{more}", remedy=SALVAGE
        )


def quick_check(path: Path, tables: Iterable[str]) -> Soundness:
    """Every page and every row of a private file, but not whether the indexes fit."""
    names = tuple(tables)
    with reading_file(path) as connection:
        try:
            return of_all(connection)
        except sqlite3.DatabaseError as error:
            # One table that cannot be looked at must not keep the others from being looked at.
            found = _one_by_one(connection, "quick_check", names)
            if is_damage(error) and not found.damage:
                return replace(found, damage=(str(error),))
            return found


def of_all(connection: sqlite3.Connection) -> Soundness:
    """Every page and every row, in one look."""
    return _judged(connection, _lines(connection, "quick_check", _MOST_LINES))


def index_check(path: Path, table: str) -> Soundness:
    """Everything about one table: also whether its indexes hold exactly its rows."""
    with reading_file(path) as connection:
        return _one_by_one(connection, "integrity_check", (table,))


def full_check(path: Path, tables: Iterable[str]) -> Soundness:
    """All that SQLite can say about a private file: for a caller that has time, a verification or a restore."""
    names = tuple(tables)
    quick = quick_check(path, names)
    with reading_file(path) as connection:
        rules = _one_by_one(connection, "integrity_check", names)
    damage = tuple(dict.fromkeys((*quick.damage, *rules.damage)))
    return Soundness(
        damage, {**quick.broken_rules, **rules.broken_rules}, {**quick.unchecked, **rules.unchecked}
    )


def _one_by_one(connection: sqlite3.Connection, pragma: str, tables: Iterable[str]) -> Soundness:
    damage: list[str] = []
    rules: dict[str, int] = {}
    unchecked: dict[str, str] = {}
    for table in tables:
        try:
            found = _judged(connection, _lines(connection, pragma, quoted(table)))
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                damage.append(f"{table}: {error}")
            else:
                unchecked[table] = str(error)
            continue
        damage += found.damage
        rules.update(found.broken_rules)
    return Soundness(tuple(damage), rules, unchecked)


def _lines(connection: sqlite3.Connection, pragma: str, argument: object) -> list[str]:
    connection.execute(f"PRAGMA cache_size = {_CACHE}")
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return [line for (line,) in connection.execute(f"PRAGMA {pragma}({argument})")]


def _judged(connection: sqlite3.Connection, lines: Iterable[str]) -> Soundness:
    """What the lines of a check say, once each broken NOT NULL has been counted."""
    damage: list[str] = []
    rules: dict[str, int] = {}
    for line in lines:
        if match := _RULES.match(line):
            what = f"{match[1]}{match[2]}"
            rules[what] = rules.get(what, 0) + 1
        elif line != "ok":
            damage.append(line)
    if any(what.startswith(_NULL) for what in rules):
        rules = dict(_counted(connection, rules))
    return Soundness(tuple(damage), rules)


def _counted(connection: sqlite3.Connection, rules: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """SQLite 3.40 finds a NULL in every row of a table that is STRICT and WITHOUT ROWID and whose key is not its first
    column. So the rows are asked for."""
    columns = connection.execute(
        "SELECT m.name, c.name FROM main.sqlite_master m, pragma_table_xinfo(m.name, 'main') c WHERE m.type = 'table'"
    ).fetchall()
    known = {f"{_NULL}{table}.{column}": (str(table), str(column)) for table, column in columns}
    for what, lines in rules.items():
        if what not in known:
            yield what, lines
            continue
        table, column = known[what]
        # Not IS NULL: SQLite answers that from the schema, without a look at the row.
        query = f"SELECT count(*) FROM main.{quoted(table)} WHERE typeof({quoted(column)}) = 'null'"
        (rows,) = connection.execute(query).fetchone()
        if rows:
            yield what, rows


def is_damage(error: sqlite3.DatabaseError) -> bool:
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)
