"""The second half of the model of docs/MERGE.md: what is written, and the numbers of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline_tests.merging.model import Matching
from backup_pipeline_tests.merging.shapes import Design, Reference, Row, Rows, Shape, Value
from backup_pipeline_tests.merging.terms import (
    Answer,
    Ask,
    At,
    Fresh,
    NaturalKey,
    Values,
    every,
    find,
    is_generated_key,
    live_values,
)


@dataclass
class Report:
    """The numbers of one table."""

    staged: int = 0
    matched: int = 0
    create: int = 0
    update: int = 0
    delete: int = 0
    unchanged: int = 0
    kept: int = 0
    remapped: int = 0
    conflicts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    #: Column of a reference → created rows in which it became NULL.
    nulled: Counter[str] = field(default_factory=Counter)
    #: Step → matched rows.
    identity: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Expected:
    #: Table → rows; a value may be Fresh.
    rows: Mapping[str, list[dict[str, Value | Fresh]]]
    reports: Mapping[str, Report]


class Lost(Exception):
    """A parent that is not to be had."""


FreshRow = dict[str, Value | Fresh]


@dataclass
class Writing:
    matching: Matching
    answers: dict[At, Answer] = field(init=False)
    #: New rows that are created.
    new: set[At] = field(init=False)
    #: Matched rows that are updated.
    updated: set[At] = field(default_factory=set)
    #: Rows of the target that a conflict names.
    frozen: set[At] = field(default_factory=set)
    skipped: dict[At, str] = field(default_factory=dict)
    deleted: set[At] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.answers = dict(self.matching.answers)
        self.new = {at for at, answer in self.answers.items() if answer.is_new}
        for answer in self.answers.values():
            self.frozen |= answer.names

    @property
    def design(self) -> Design:
        return self.matching.design

    @property
    def ask(self) -> Ask:
        return self.matching.ask

    def shape(self, at: At) -> Shape:
        return self.design.by_name[at[0]]

    def live(self, at: At) -> Row:
        return self.matching.live[at[0]][at[1]]

    def run(self) -> Expected:
        if not self.ask.verbs.create:
            self.skipped.update(dict.fromkeys(self.new, "not-created"))
            self.new = set()
        while True:
            self._prune()
            self.updated = {at for at in self.answers if self._is_updated(at)}
            conflicts = dict(self._unique_taken())
            if not conflicts:
                break
            for at, answer in conflicts.items():
                self.answers[at] = answer
                self.frozen |= answer.names
                self.new.discard(at)
        self._delete()
        return Expected(self._rows(), {one.name: self._report(one) for one in self.design.shapes})

    # References

    def parent_values(self, at: At, one: Reference) -> tuple[Value | Fresh, ...]:
        """The values that the columns of a reference get."""
        found = self.matching.parent(at, one)
        if found.what == "missing" or (found.row is not None and found.row not in self.new):
            if one.missing != "keep":
                raise Lost
            return tuple(self.matching.backup[at[0]][at[1]][column] for column in one.columns)
        return found.values

    def is_skipped(self, at: At) -> bool:
        shape = self.shape(at)
        for one in shape.references:
            try:
                self.parent_values(at, one)
            except Lost:
                if one.missing == "skip" or not shape.nullable & set(one.columns):
                    return True
        return False

    def _prune(self) -> None:
        while lost := {at for at in self.new if self.is_skipped(at)}:
            self.skipped.update(dict.fromkeys(lost, "parent-missing"))
            self.new -= lost

    # Values

    def value(self, at: At, column: str) -> Value | Fresh:
        """One column of a new row as it will be."""
        shape, row = self.shape(at), self.matching.backup[at[0]][at[1]]
        one = shape.reference_of(column)
        if one is None:
            return self.matching.new_value(at, column).values[0]
        try:
            return self.parent_values(at, one)[one.columns.index(column)]
        except Lost:
            return None if column in shape.nullable else row[column]

    def written(self, at: At) -> FreshRow:
        return {column: self.value(at, column) for column in self.shape(at).columns}

    def fixed(self, shape: Shape) -> set[str]:
        """Columns that no live row is changed in."""
        return {*shape.key, *self.design.referenced(shape.name), *shape.keep}

    def changes(self, at: At) -> FreshRow:
        """The columns in which a matched row differs from its backup."""
        shape, row = self.shape(at), self.matching.backup[at[0]][at[1]]
        fixed = self.fixed(shape)
        live_at = self.answers[at].live
        assert live_at is not None
        wanted: FreshRow = {
            column: row[column] for column in shape.columns if shape.reference_of(column) is None
        }
        for one in shape.references:
            if fixed & set(one.columns):
                continue
            try:
                wanted.update(zip(one.columns, self.parent_values(at, one), strict=True))
            except Lost:
                continue
        live = self.live(live_at)
        return {
            column: value for column, value in wanted.items() if column not in fixed and value != live[column]
        }

    def _is_updated(self, at: At) -> bool:
        verbs, live_at = self.ask.verbs, self.answers[at].live
        if live_at is None or live_at in self.frozen or not verbs.update or not self.matching.staged[at]:
            return False
        if verbs.newest:
            newer = self.matching.backup[at[0]][at[1]].get(verbs.newest)
            older = self.live(live_at).get(verbs.newest)
            if newer is None or older is None or not later(newer, older):
                return False
        return bool(self.changes(at))

    # Unique keys

    def uniques(self, shape: Shape) -> Iterator[tuple[NaturalKey, bool]]:
        """Each with whether a NULL in a reference counts as a value."""
        yield from ((key, True) for key in self.matching.keys[shape.name])
        if shape.key and not is_generated_key(shape):
            yield NaturalKey(shape.key), False
        yield from ((NaturalKey(one.columns, one.condition), False) for one in shape.uniques)

    def _unique_taken(self) -> Iterator[tuple[At, Answer]]:
        for shape in self.design.shapes:
            written: dict[At, tuple[FreshRow, At | None]] = {
                at: (self.written(at), None) for at in self.new if at[0] == shape.name
            }
            for at in self.updated:
                if at[0] == shape.name:
                    own = self.answers[at].live
                    assert own is not None
                    written[at] = ({**self.live(own), **self.changes(at)}, own)
            for key, null_counts in self.uniques(shape):
                yield from self._taken(shape, key, null_counts, written)

    def _taken(
        self,
        shape: Shape,
        key: NaturalKey,
        null_counts: bool,
        written: Mapping[At, tuple[FreshRow, At | None]],
    ) -> Iterator[tuple[At, Answer]]:
        def values(row: Mapping[str, object]) -> Values | None:
            found = live_values(shape, key, row)  # type: ignore[arg-type]
            return None if found is not None and None in found and not null_counts else found

        for at, (row, own) in written.items():
            wanted = values(row)
            if wanted is None or (own is not None and values(self.live(own)) == wanted):
                continue
            named = {
                there
                for there, live in every(self.matching.live)
                if there[0] == shape.name and there != own and values(live) == wanted
            }
            twice = any(
                other != at and values(theirs) == wanted
                for other, (theirs, theirs_own) in written.items()
                if theirs_own is None or values(self.live(theirs_own)) != wanted
            )
            if named or twice:
                old = self.answers[at]
                yield at, Answer(old.step, old.live, "unique-taken", frozenset(named))

    # Rows that the backup does not know

    def _delete(self) -> None:
        if not self.ask.verbs.delete:
            return
        matched = {answer.live for answer in self.answers.values()}
        below = None if self.ask.tenant is None else self._below_tenant(*self.ask.tenant)
        where = self.ask.where
        self.deleted = {
            at
            for at, row in every(self.matching.live)
            if self.matching.in_question(at[0]) and at not in matched and at not in self.frozen
            if below is None or at in below
            if at[0] not in where or (where[at[0]].meets(row) and not self._is_outside(at, row))
        }
        while needed := {at for at in self.deleted if at in set(self._referred())}:
            self.deleted -= needed

    def _is_outside(self, at: At, row: Row) -> bool:
        """The backup has the row, and it did not meet the condition there."""
        shape, staged = self.shape(at), self.matching.staged
        others = (one for one in every(self.matching.backup) if one[0][0] == at[0] and one[0] not in staged)
        return bool(shape.key) and any(shape.key_of(other) == shape.key_of(row) for _, other in others)

    def after(self) -> dict[At, FreshRow]:
        """The rows of the target after creating and updating. A new row has a place of its own."""
        changed = {self.answers[at].live: self.changes(at) for at in self.updated}
        rows: dict[At, FreshRow] = {
            at: {**row, **changed.get(at, {})} for at, row in every(self.matching.live)
        }
        return {**rows, **{(at[0], -1 - at[1]): self.written(at) for at in self.new}}

    def _below_tenant(self, table: str, key: Values) -> set[At]:
        """Rows below the tenant's row, after creating and updating."""
        top = find(self.matching.backup[table], self.design.by_name[table].key, key)
        at = (table, -1 if top is None else top)
        answer = self.answers.get(at)
        if answer is None or (answer.live is None and at not in self.new):
            return set()
        found = {answer.live or (table, -1 - at[1])}
        rows = self.after()
        while more := {
            at
            for at, row in rows.items()
            for one in self.design.by_name[at[0]].references
            if at not in found and one.policy != "never" and self.matching.takes_part(at[0])
            for above in found
            if above[0] == one.parent and refers(one, row, rows[above])
        }:
            found |= more
        return found

    def _referred(self) -> Iterator[At]:
        """Rows that a row which stays or comes refers to, after everything was created and updated."""
        rows = self.after()
        for at, row in rows.items():
            for one in self.design.by_name[at[0]].references:
                if at not in self.deleted:
                    yield from (
                        there for there in rows if there[0] == one.parent and refers(one, row, rows[there])
                    )

    # The answer

    def _rows(self) -> dict[str, list[FreshRow]]:
        found: dict[str, list[FreshRow]] = {one.name: [] for one in self.design.shapes}
        for at, row in self.after().items():
            if at not in self.deleted:
                found[at[0]].append(row)
        return found

    def _report(self, shape: Shape) -> Report:
        report = Report(delete=sum(at[0] == shape.name for at in self.deleted))
        for at, row in self.matching.staged_of(shape.name):
            answer = self.answers[at]
            report.staged += 1
            if answer.conflict:
                report.conflicts[answer.conflict] += 1
            elif answer.live is not None:
                report.matched += 1
                report.identity[answer.step] += 1
                report.update += at in self.updated
                report.unchanged += not self.changes(at)
                report.kept += at not in self.updated and bool(self.changes(at))
            elif at in self.skipped:
                report.skipped[self.skipped[at]] += 1
            else:
                report.create += 1
                made = self.written(at)
                report.remapped += any(isinstance(made[column], Fresh) for column in shape.key) and (
                    is_generated_key(shape)
                )
                for column in shape.columns:
                    if row[column] is not None and made[column] is None:
                        report.nulled[column] += 1
        return report


def refers(one: Reference, row: FreshRow, parent: FreshRow) -> bool:
    values = [row[column] for column in one.columns]
    return None not in values and values == [parent[column] for column in one.referenced]


def later(one: Value, other: Value) -> bool:
    assert one is not None
    assert other is not None
    return one > other  # type: ignore[operator]


def expected(design: Design, backup: Rows, live: Rows, ask: Ask) -> Expected:
    """What the page says of a merge of `backup` into `live`."""
    return Writing(Matching(design, backup, live, ask).run()).run()
