"""The slow, obvious model of docs/MERGE.md: which rows take part, and which row each is. Row by row, on lists of rows.

It is written from the page alone. `model_writing` is its second half: what is written, and the numbers of a plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline_tests.merging.shapes import BIRTH, Design, Reference, Row, Rows, Shape
from backup_pipeline_tests.merging.terms import (
    STEPS,
    Answer,
    Ask,
    At,
    Fresh,
    NaturalKey,
    Parent,
    Values,
    Written,
    candidates,
    compared_columns,
    every,
    find,
    is_generated_key,
    live_values,
    order,
    parent_in,
)

#: The natural keys that count, with the values of a staged row.
Keys = list[tuple[NaturalKey, Written | str | None]]


class Waits(Exception):
    """A parent is not decided yet."""


class Content(Exception):
    """Only the contents of the row can tell."""


@dataclass
class Matching:
    design: Design
    backup: Rows
    live: Rows
    ask: Ask
    #: Staged row → whether it is asked for; the others are parents that must be there.
    staged: dict[At, bool] = field(default_factory=dict)
    answers: dict[At, Answer] = field(default_factory=dict)
    #: Found so far: conflicts of rows that wanted the same row of the target.
    taken: dict[At, Answer] = field(default_factory=dict)
    keys: dict[str, list[NaturalKey]] = field(default_factory=dict)

    def run(self) -> Matching:
        self._close()
        for shape in self.design.shapes:
            self.keys[shape.name] = [key for key in candidates(shape) if self._counts(shape, key)]
        while True:
            self._match()
            again = dict(self._taken_twice())
            if not again:
                return self
            self.taken.update(again)

    # Which rows take part

    def takes_part(self, table: str) -> bool:
        return not self.design.by_name[table].never

    def in_question(self, table: str) -> bool:
        """Whether the order names the table."""
        only = self.ask.only
        return self.takes_part(table) and (only is None or table in only) and table not in self.ask.skip

    def below(self, rows: Rows, top: At) -> set[At]:
        found = {top}
        while True:
            more = {
                at
                for at, row in every(rows)
                for one in self.design.by_name[at[0]].references
                if at not in found and one.policy != "never" and self.takes_part(at[0])
                if parent_in(rows, one, row) in found
            }
            if not more:
                return found
            found |= more

    def _close(self) -> None:
        below = None
        if self.ask.tenant is not None:
            table, key = self.ask.tenant
            top = find(self.backup[table], self.design.by_name[table].key, key)
            below = set() if top is None else self.below(self.backup, (table, top))
        work = [
            (at, True)
            for at, row in every(self.backup)
            if self.in_question(at[0]) and (below is None or at in below)
            if at[0] not in self.ask.where or self.ask.where[at[0]].meets(row)
        ]
        while work:
            at, asked = work.pop()
            if at in self.staged and (self.staged[at] or not asked):
                continue
            self.staged[at] = asked
            row = self.backup[at[0]][at[1]]
            for one in self.design.by_name[at[0]].references:
                parent = parent_in(self.backup, one, row)
                if parent is not None and one.policy != "never" and self.takes_part(one.parent):
                    work.append((parent, one.policy == "update"))

    # When two rows are the same row

    def staged_of(self, table: str) -> Iterator[tuple[At, Row]]:
        return ((at, row) for at, row in every(self.backup) if at[0] == table and at in self.staged)

    def _counts(self, shape: Shape, key: NaturalKey) -> bool:
        staged = [row for _, row in self.staged_of(shape.name)]
        for rows in (staged, self.live[shape.name]):
            values = [v for row in rows if (v := live_values(shape, key, row)) is not None]
            if len(set(values)) < len(values):
                return False
        return True

    def parent(self, at: At, one: Reference) -> Parent:
        row = self.backup[at[0]][at[1]]
        values = tuple(row[column] for column in one.columns)
        found = Parent("none", values) if None in values else self._parent(row, one, values)
        return Parent("known", values) if found.what == "missing" and one.missing == "keep" else found

    def _parent(self, row: Row, one: Reference, values: Values) -> Parent:
        found = parent_in(self.backup, one, row)
        if found is None or found not in self.staged:
            outside = not self.takes_part(one.parent) or one.policy == "never"
            there = find(self.live[one.parent], one.referenced, values) is not None
            return (
                Parent("known", values) if outside and self.ask.same_lineage and there else Parent("missing")
            )
        answer = self.answers.get(found)
        if answer is None:
            return Parent("waits")
        if answer.conflict:
            return Parent("missing")
        if answer.live is None:
            parts = [self.new_value(found, column) for column in one.referenced]
            waits = any(part.what == "waits" for part in parts)
            if waits or any(part.what == "missing" for part in parts):
                return Parent("waits" if waits else "missing")
            return Parent("known", tuple(part.values[0] for part in parts), found)
        there_values = self.live[one.parent][answer.live[1]]
        values = tuple(there_values[column] for column in one.referenced)
        return Parent("missing") if None in values else Parent("known", values)

    def new_value(self, at: At, column: str) -> Parent:
        """One column of a new row, with the key that the row gets."""
        shape, row = self.design.by_name[at[0]], self.backup[at[0]][at[1]]
        if is_generated_key(shape) and column in shape.key:
            taken = find(self.live[shape.name], shape.key, shape.key_of(row)) is not None
            return Parent("known", (Fresh(at) if taken else row[column],))
        return self.translated(at, column)

    def translated(self, at: At, column: str) -> Parent:
        """One column of a staged row, as the target would have it."""
        value = self.backup[at[0]][at[1]][column]
        one = self.design.by_name[at[0]].reference_of(column)
        if one is None:
            return Parent("known", (value,))
        found = self.parent(at, one)
        if found.what in ("known", "none"):
            return Parent(found.what, (found.values[one.columns.index(column)],))
        return found

    def staged_values(self, at: At, key: NaturalKey) -> Written | str | None:
        """Of a natural key: its values, None where it has a NULL; or "waits", "missing"."""
        row = self.backup[at[0]][at[1]]
        if live_values(self.design.by_name[at[0]], key, row) is None:
            return None
        parts = [self.translated(at, column) for column in key.columns]
        for what in ("missing", "waits"):
            if any(part.what == what for part in parts):
                return what
        return tuple(part.values[0] for part in parts)

    def _match(self) -> None:
        self.answers = dict(self.taken)
        pending: set[At] = set()
        while len(self.answers) < len(self.staged):
            if self._round(pending, self._decide) or self._contents(pending):
                continue
            if not self._round(pending, self._decide_in_a_circle):
                for at in self.staged:
                    self.answers.setdefault(at, Answer())

    def _round(self, pending: set[At], decide: Callable[[At], Answer]) -> bool:
        """Whether a row was decided."""
        found: dict[At, Answer] = {}
        before = len(pending)
        for at in sorted(self.staged.keys() - self.answers.keys() - pending):
            try:
                found[at] = decide(at)
            except Waits:
                continue
            except Content:
                pending.add(at)
        self.answers.update(found)
        return bool(found) or len(pending) > before

    def _decide(self, at: At) -> Answer:
        shape = self.design.by_name[at[0]]
        keys = [(key, self.staged_values(at, key)) for key in self.keys[shape.name]]
        if any(values == "waits" for _, values in keys):
            raise Waits
        found = self._first_steps(at, keys, waiting=True)
        if found is not None:
            return found
        if shape.has_uuid or any(isinstance(values, tuple) for _, values in keys):
            return Answer()
        raise Content

    def _decide_in_a_circle(self, at: At) -> Answer:
        """Without the references that wait."""
        keys = [(key, self.staged_values(at, key)) for key in self.keys[at[0]]]
        usable = [(key, "missing" if values == "waits" else values) for key, values in keys]
        found = self._first_steps(at, usable, waiting=False)
        if found is None:
            raise Waits
        return found

    def _first_steps(self, at: At, keys: Keys, *, waiting: bool) -> Answer | None:
        """Steps 1 to 4."""
        shape, row = self.design.by_name[at[0]], self.backup[at[0]][at[1]]
        first = self._remembered(at) or self._same_key(at, keys, waiting=waiting)
        named = {
            (shape.name, there)
            for key, values in keys
            if isinstance(values, tuple)
            for there, live in enumerate(self.live[shape.name])
            if live_values(shape, key, live) == values
        }
        if first is not None:
            assert first.live is not None
            named.add(first.live)
        if len(named) > 1:
            return Answer(conflict="keys-disagree", names=frozenset(named))
        if first is not None:
            return first
        if named:
            return Answer("natural key", named.pop())
        there = find(self.live[shape.name], shape.key, shape.key_of(row)) if shape.has_uuid else None
        return None if there is None else Answer("uuid", (shape.name, there))

    def _remembered(self, at: At) -> Answer | None:
        shape = self.design.by_name[at[0]]
        key = self.ask.remembered.get((at[0], shape.key_of(self.backup[at[0]][at[1]])))
        there = None if key is None else find(self.live[at[0]], shape.key, key)
        return None if there is None else Answer("remembered", (at[0], there))

    def _same_key(self, at: At, keys: Keys, *, waiting: bool) -> Answer | None:
        shape, row = self.design.by_name[at[0]], self.backup[at[0]][at[1]]
        if not self.ask.same_lineage or not is_generated_key(shape):
            return None
        there = find(self.live[shape.name], shape.key, shape.key_of(row))
        if there is None or self._contradicted(at, self.live[shape.name][there], keys, waiting=waiting):
            return None
        return Answer("same key", (shape.name, there))

    def _contradicted(self, at: At, live: Row, keys: Keys, *, waiting: bool) -> bool:
        shape = self.design.by_name[at[0]]
        born, born_live = self.backup[at[0]][at[1]].get(BIRTH), live.get(BIRTH)
        if born is not None and born_live is not None:
            return born != born_live
        compared = [
            values == there
            for key, values in keys
            if values not in (None, "missing") and (there := live_values(shape, key, live)) is not None
        ]
        if compared:
            return not any(compared)
        differing = 0
        for column in shape.columns:
            part = self.translated(at, column)
            if column in shape.key or part.what == "missing":
                continue
            if part.what == "waits":
                if waiting:
                    raise Waits
                continue
            if part.values[0] is None and live[column] is None:
                continue
            if part.values[0] == live[column]:
                return False
            differing += 1
        return differing >= 2

    def _contents(self, pending: set[At]) -> bool:
        """The fifth step, for the rows that wait no more."""
        found: dict[At, Answer] = {}
        for shape in self.design.shapes:
            open_rows = {at for at in pending if at[0] == shape.name and at not in self.answers}
            used = {answer.live for answer in self.answers.values()}
            free = [at for at, _ in every(self.live) if at[0] == shape.name and at not in used]
            free.sort(key=lambda at: order(shape, self.live[at[0]][at[1]]))
            for at in sorted(open_rows, key=lambda at: order(shape, self.backup[at[0]][at[1]])):
                parts = {column: self.translated(at, column) for column in compared_columns(shape)}
                if any(part.what == "waits" for part in parts.values()):
                    continue
                there = next((live for live in free if parts and self._equal(parts, live)), None)
                found[at] = Answer() if there is None else Answer("content", there)
                if there is not None:
                    free.remove(there)
        self.answers.update(found)
        return bool(found)

    def _equal(self, parts: Mapping[str, Parent], at: At) -> bool:
        live = self.live[at[0]][at[1]]
        return all(
            (part.values[0] if part.values else None) == live[column] for column, part in parts.items()
        )

    def _taken_twice(self) -> Iterator[tuple[At, Answer]]:
        claims: dict[At, list[At]] = defaultdict(list)
        for at, answer in self.answers.items():
            if answer.live is not None:
                claims[answer.live].append(at)
        for live, some in claims.items():
            below = [at for at in some if self._above(at) & set(some)]
            yield from ((at, Answer(conflict="taken-twice", names=frozenset({live}))) for at in below)
            rows = [at for at in some if at not in below]
            steps = sorted(STEPS.index(self.answers[at].step) for at in rows)
            for at in rows if len(rows) > 1 else ():
                if STEPS.index(self.answers[at].step) > steps[0] or steps[1] == steps[0]:
                    yield at, Answer(conflict="taken-twice", names=frozenset({live}))

    def _above(self, at: At) -> set[At]:
        """The staged rows that a row refers to, directly or not; without itself."""
        found: set[At] = set()
        work = [at]
        while work:
            one = work.pop()
            row = self.backup[one[0]][one[1]]
            parents = {parent_in(self.backup, r, row) for r in self.design.by_name[one[0]].references}
            more = {parent for parent in parents if parent is not None} - found
            found |= more
            work += more
        return found - {at}
