"""A dump's SQL text → its statements, by the rules of psql's own lexer (psqlscan.l); and a statement → its words.

What belongs here: where a statement ends, and what its tokens are. What does not: what a statement means.

Text that is not valid UTF-8 (the definitions of an SQL_ASCII database) comes in with surrogate escapes and goes out
the same way: every letter that matters here is ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from backup_pipeline.errors import RestoreError

_SPACE = " \t\n\r\f\v"
_TOKEN = re.compile(
    r"""
      (?P<space>   [ \t\n\r\f\v]+ )
    | (?P<line>    --[^\n\r]* )
    | (?P<block>   /\* )
    | (?P<escape>  [eE]' )
    | (?P<plain>   (?: [bBxXnN] | [uU]& )? ' )
    | (?P<quoted>  (?: [uU]& )? " )
    | (?P<dollar>  \$ (?: [A-Za-z_\u0080-\U0010ffff] [A-Za-z0-9_\u0080-\U0010ffff]* )? \$ )
    | (?P<word>    [A-Za-z_\u0080-\U0010ffff] [A-Za-z0-9_$\u0080-\U0010ffff]* )
    | (?P<number>  \$?[0-9] [0-9A-Za-z_.]* )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_PLAIN_END = re.compile(r"'")
_ESCAPE_END = re.compile(r"'|\\.", re.DOTALL)
# 'a' and, after a line break, 'b' are one literal: an E'' string goes on as one.
_CONTINUED = re.compile(
    r"(?:[ \t\f\v]|--[^\n\r]*)* [\n\r] (?:[ \t\n\r\f\v]+|--[^\n\r]*[\n\r])* '", re.VERBOSE
)
_SET_STRINGS = re.compile(r"(?is)set\s+standard_conforming_strings\s*(?:=|\bto\b)\s*'?(on|off)'?\s*")


@dataclass(frozen=True, slots=True)
class Token:
    #: word (lower-cased) · name (a quoted identifier, unquoted) · string (as written) · number · other
    kind: str
    text: str

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text in words

    @property
    def is_name(self) -> bool:
        return self.kind in ("word", "name")


@dataclass(frozen=True, slots=True)
class Statement:
    #: Without the comments before it and without the semicolon.
    text: str
    #: Where it begins in the dump, from 1.
    line: int

    def tokens(self, limit: int | None = None) -> list[Token]:
        """The first tokens; comments are none."""
        return [token for token, _ in islice(self.placed(), limit)]

    def placed(self) -> Iterator[tuple[Token, slice]]:
        """Each token, and where in the text it stands."""
        for kind, start, end in _lex(self.text, 0, standard_strings=True):
            if kind not in ("space", "line", "block"):
                yield _token(kind, self.text[start:end]), slice(start, end)


def _token(kind: str, raw: str) -> Token:
    if kind == "word":
        return Token("word", raw.translate(_LOWER))
    if kind == "quoted":
        return Token("name", raw[raw.index('"') + 1 : -1].replace('""', '"'))
    if kind in ("escape", "plain", "dollar"):
        return Token("string", raw)
    return Token(kind, raw)


#: ASCII only, as the server folds names in a UTF-8 database.
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def split(text: str, *, standard_strings: bool = True) -> Iterator[Statement]:
    r"""Every statement of a script. `\restrict` and `\unrestrict` (pg_dump's guard for psql) are passed over; any
    other backslash outside of quotes is refused, wherever it stands: it would be a command of psql's (`\!`, `\g |…`)."""
    position, line, counted = 0, 1, 0
    while True:
        begin = _skip_blank(text, position)
        if begin >= len(text):
            return
        line += text.count("\n", counted, begin)
        counted = begin
        if text[begin] == "\\":
            position = _meta_command(text, begin, line)
            continue
        end, position = _statement_end(text, begin, standard_strings, line)
        body = text[begin:end].rstrip(_SPACE)
        if body:
            if match := _SET_STRINGS.fullmatch(body):
                standard_strings = match[1].lower() == "on"
            yield Statement(body, line)


def _skip_blank(text: str, position: int) -> int:
    for kind, start, _ in _lex(text, position, standard_strings=True):
        if kind not in ("space", "line", "block"):
            return start
    return len(text)


def _meta_command(text: str, begin: int, line: int) -> int:
    end = text.find("\n", begin)
    end = len(text) if end < 0 else end
    command = text[begin:end].split()[0]
    if command not in ("\\restrict", "\\unrestrict"):
        raise _command(text, begin, line)
    return end


def _command(text: str, begin: int, line: int) -> RestoreError:
    shown = text[begin : begin + 80].partition("\n")[0]
    return RestoreError(
        f"line {line} of the definitions is a psql command: {shown!r}",
        remedy="do not run this text with psql either: an honest server writes no such line. See who made the object "
        "that it stands in, and restore a backup from before",
    )


def _statement_end(text: str, begin: int, standard_strings: bool, line: int) -> tuple[int, int]:
    """(where its text ends, where the next one begins)."""
    parentheses = 0
    body = _RoutineBody()
    for kind, start, end in _lex(text, begin, standard_strings):
        if kind in ("word", "quoted", "other"):
            body.see(text[start:end].lower() if kind == "word" else text[start], parentheses)
        if kind == "other":
            character = text[start]
            if character == "(":
                parentheses += 1
            elif character == ")":
                parentheses = max(0, parentheses - 1)
            elif character == ";" and parentheses == 0 and body.depth == 0:
                return start, end
            elif character == "\\":
                raise _command(text, start, line + text.count("\n", begin, start))
    return len(text), len(text)


class _RoutineBody:
    """Semicolons between BEGIN ATOMIC and END belong to the statement: only where it begins with CREATE [OR REPLACE]
    {FUNCTION | PROCEDURE}; CASE, too, ends with END. psql counts every BEGIN, also the name of a function: `begin` is no
    reserved word, and pg_dump does not quote it."""

    def __init__(self) -> None:
        self.depth = 0
        self._seen = 0
        self._first = [""] * 4
        self._last = self._before = ""

    def see(self, word: str, parentheses: int) -> None:
        """A word in small letters, or the first character of anything else."""
        before, last = self._before, self._last
        self._before, self._last = last, word
        if not word[0].isalpha():
            return
        if self._seen < 4 and word in ("create", "or", "replace", "function", "procedure"):
            self._first[self._seen] = word[0]
        self._seen += 1
        start = "".join(self._first)
        if parentheses or not start.startswith(("cf", "cp", "corf", "corp")):
            return
        begun = word == "atomic" and last == "begin" and before != "."
        nested = self.depth and (word == "case" or (word == "begin" and last in (";", "atomic")))
        if (begun and not self.depth) or nested:
            self.depth += 1
        elif word == "end" and self.depth:
            self.depth -= 1


def _lex(text: str, position: int, standard_strings: bool) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of every token; what is not closed goes to the end of the text."""
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None
        kind = match.lastgroup
        assert kind is not None
        end = match.end()
        if kind == "block":
            end = _comment_end(text, end)
        elif kind == "escape" or (kind == "plain" and not standard_strings and match[0] == "'"):
            end = _string_end(text, end, _ESCAPE_END)
        elif kind == "plain":
            end = _string_end(text, end, _PLAIN_END)
        elif kind == "quoted":
            end = _name_end(text, end)
        elif kind == "dollar":
            close = text.find(match[0], end)
            end = len(text) if close < 0 else close + len(match[0])
        yield kind, position, end
        position = end


def _comment_end(text: str, position: int) -> int:
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, position)
        if edge is None:
            return len(text)
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


def _string_end(text: str, position: int, stop: re.Pattern[str]) -> int:
    while True:
        match = stop.search(text, position)
        if match is None:
            return len(text)
        position = match.end()
        if match[0] != "'":
            continue
        if text.startswith("'", position):
            position += 1
            continue
        more = _CONTINUED.match(text, position)
        if more is None:
            return position
        position = more.end()


def _name_end(text: str, position: int) -> int:
    while True:
        close = text.find('"', position)
        if close < 0:
            return len(text)
        if not text.startswith('"', close + 1):
            return close + 1
        position = close + 2
