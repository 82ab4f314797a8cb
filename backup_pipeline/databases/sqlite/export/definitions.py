"""What a CREATE TABLE says that no PRAGMA tells: checks, collations, names of constraints, deferrable references.

SQLite keeps the text of each definition as it was typed. This reads just enough of it, for people and plans. The backup
itself does not depend on it: it holds the file, with the text in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|$))
      | (?P<string>[xX]?'(?:[^']|'')*')
      | (?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
      | (?P<word>[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*)
      | (?P<other>[0-9.]+|.)""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int

    def says(self, *words: str) -> bool:
        """An unquoted keyword."""
        return self.kind == "word" and self.text.upper() in words

    @property
    def name(self) -> str:
        """As an identifier: quotes taken off. 'text' is an identifier to SQLite where one is expected."""
        if self.kind == "name" and self.text[0] == "[":
            return self.text[1:-1]
        if self.kind in ("name", "string") and self.text[0] in "\"`'":
            quote = self.text[0]
            return self.text[1:-1].replace(quote * 2, quote)
        return self.text


@dataclass(frozen=True, slots=True)
class CheckSql:
    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class ForeignKeySql:
    name: str
    columns: tuple[str, ...]
    table: str
    deferrable: bool
    initially_deferred: bool


@dataclass(frozen=True, slots=True)
class UniqueSql:
    name: str
    columns: tuple[str, ...]


@dataclass
class TableSql:
    checks: list[CheckSql] = field(default_factory=list)
    #: In the order in which they are written; `PRAGMA foreign_key_list` has the reverse.
    foreign_keys: list[ForeignKeySql] = field(default_factory=list)
    uniques: list[UniqueSql] = field(default_factory=list)
    primary_key_name: str = ""
    autoincrement: bool = False
    #: Column → name of its collation, or the expression that it is generated from.
    collations: dict[str, str] = field(default_factory=dict)
    generated: dict[str, str] = field(default_factory=dict)
    #: Behind the closing parenthesis: STRICT, WITHOUT ROWID.
    options: tuple[str, ...] = ()


def tokens_of(sql: str) -> list[Token]:
    found = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "other"
        if kind != "space":
            found.append(Token(kind, match.group(), match.start(), match.end()))
    return found


def parse_table(sql: str) -> TableSql:
    tokens = tokens_of(sql)
    opening = next((i for i, token in enumerate(tokens) if token.text == "("), None)
    if opening is None:
        return TableSql()
    closing = _closing(tokens, opening)
    reader = _Reader(sql)
    for item in _split(tokens[opening + 1 : closing]):
        reader.read(item)
    words = [token.text.upper() for token in tokens[closing + 1 :] if token.kind == "word"]
    options = ["STRICT"] if "STRICT" in words else []
    if "ROWID" in words:
        options.append("WITHOUT ROWID")
    reader.table.options = tuple(options)
    return reader.table


@dataclass(frozen=True, slots=True)
class IndexSql:
    #: Each column or expression as it is written, without its collation and its direction.
    parts: tuple[str, ...]
    predicate: str | None


def parse_index(sql: str) -> IndexSql:
    tokens = tokens_of(sql)
    opening = next(i for i, token in enumerate(tokens) if token.text == "(")
    closing = _closing(tokens, opening)
    parts = []
    for item in _split(tokens[opening + 1 : closing]):
        if item[-1].says("ASC", "DESC"):
            item.pop()
        if len(item) > 2 and item[-2].says("COLLATE"):
            del item[-2:]
        parts.append(sql[item[0].start : item[-1].end])
    condition = tokens[closing + 2 :]
    return IndexSql(tuple(parts), sql[condition[0].start : condition[-1].end] if condition else None)


@dataclass(frozen=True, slots=True)
class VirtualSql:
    module: str
    #: `content='docs'` → {"content": "docs"}
    options: dict[str, str] = field(default_factory=dict)
    #: Those that are one word or one name.
    arguments: tuple[str, ...] = ()


def parse_virtual(sql: str) -> VirtualSql:
    tokens = tokens_of(sql)
    using = next((i for i, token in enumerate(tokens) if token.says("USING")), None)
    if using is None or using + 1 >= len(tokens):
        return VirtualSql("")
    options: dict[str, str] = {}
    arguments: list[str] = []
    opening = using + 2
    if opening < len(tokens) and tokens[opening].text == "(":
        for item in _split(tokens[opening + 1 : _closing(tokens, opening)]):
            if len(item) == 1:
                arguments.append(item[0].name)
            elif item[1].text == "=":
                # A value of several tokens (`tokenize = porter ascii`) is kept as it is written.
                value = item[2].name if len(item) == 3 else sql[item[1].end : item[-1].end].strip()
                options[item[0].name.lower()] = value
    return VirtualSql(tokens[using + 1].name.lower(), options, tuple(arguments))


def _closing(tokens: Sequence[Token], opening: int) -> int:
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0)
        if depth == 0:
            return index
    return len(tokens)


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    items: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            items.append([])
        else:
            items[-1].append(token)
    return [item for item in items if item]


@dataclass
class _Reader:
    """Walks over one item of the list between the parentheses: a column with its constraints, or constraints of
    the table (several may follow each other without a comma)."""

    sql: str
    table: TableSql = field(default_factory=TableSql)

    def read(self, item: list[Token]) -> None:
        column = None
        index = 0
        if not item[0].says("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"):
            column = item[0].name
            index = 1
        name = ""
        while index < len(item):
            token = item[index]
            if token.says("CONSTRAINT") and index + 1 < len(item):
                name = item[index + 1].name
                index += 2
                continue
            index, used = self._constraint(item, index, column, name)
            if used:
                name = ""

    def _constraint(self, item: list[Token], index: int, column: str | None, name: str) -> tuple[int, bool]:
        """Where to go on, and whether this was a constraint (which has used up the name before it)."""
        token, rest = item[index], _Group(self.sql, item, index + 1)
        if token.says("CHECK") and rest.is_group:
            self.table.checks.append(CheckSql(name, rest.text))
            return rest.end, True
        if token.says("COLLATE") and column is not None and index + 1 < len(item):
            self.table.collations[column] = item[index + 1].name
            return index + 2, True
        if token.says("AS") and column is not None and rest.is_group:
            self.table.generated[column] = rest.text
            return rest.end, True
        if token.says("AUTOINCREMENT"):
            self.table.autoincrement = True
        if token.says("PRIMARY"):
            self.table.primary_key_name = name
            keys = _Group(self.sql, item, index + 2)
            return (keys.end if keys.is_group else index + 2), True
        if token.says("UNIQUE"):
            columns = rest.names if rest.is_group else (column,) if column is not None else ()
            self.table.uniques.append(UniqueSql(name, columns))
            return (rest.end if rest.is_group else index + 1), True
        if token.says("FOREIGN"):
            keys = _Group(self.sql, item, index + 2)
            return self._references(item, keys.end, keys.names, name), True
        if token.says("REFERENCES"):
            return self._references(item, index, (column,) if column is not None else (), name), True
        if token.text == "(":
            return _Group(self.sql, item, index).end, False
        return index + 1, False

    def _references(self, item: list[Token], index: int, columns: tuple[str, ...], name: str) -> int:
        """From the word REFERENCES to the end of its clauses."""
        if index + 1 >= len(item):
            return len(item)
        table = item[index + 1].name
        end = index + 2
        group = _Group(self.sql, item, end)
        if group.is_group:
            end = group.end
        deferrable = deferred = False
        while end < len(item):
            token = item[end]
            if token.says("NOT") and end + 1 < len(item) and item[end + 1].says("DEFERRABLE"):
                end += 2
            elif token.says("DEFERRABLE"):
                deferrable = True
                end += 1
            elif token.says("INITIALLY") and end + 1 < len(item):
                deferred = item[end + 1].says("DEFERRED")
                end += 2
            elif token.says("ON", "MATCH", "DELETE", "UPDATE", "SET", "CASCADE", "RESTRICT", "NO", "ACTION"):
                end += 2 if token.says("MATCH") else 1
            elif token.says("NULL", "DEFAULT") and item[end - 1].says("SET"):
                end += 1
            else:
                break
        self.table.foreign_keys.append(
            ForeignKeySql(name, columns, table, deferrable, deferrable and deferred)
        )
        return end


@dataclass(frozen=True)
class _Group:
    """The tokens from an opening parenthesis to its end, if there is one at `start`."""

    sql: str
    item: list[Token]
    start: int

    @cached_property
    def is_group(self) -> bool:
        return self.start < len(self.item) and self.item[self.start].text == "("

    @cached_property
    def end(self) -> int:
        """The index behind it."""
        return _closing(self.item, self.start) + 1 if self.is_group else self.start

    @property
    def text(self) -> str:
        return self.sql[
            self.item[self.start].end : self.item[min(self.end, len(self.item)) - 1].start
        ].strip()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(part[0].name for part in _split(self.item[self.start + 1 : self.end - 1]))
