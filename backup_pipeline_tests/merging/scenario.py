"""A scenario: a folder with a schema, rows, what happens after the backup, what is asked, and what is expected.

    scenarios/NAME/schema.sql     or schema.postgres.sql and schema.sqlite.sql; rows.sql and life.sql likewise
    scenarios/NAME/rows.sql       before the backup
    scenarios/NAME/life.sql       damage and life after it
    scenarios/NAME/scenario.yaml  `about`, `asked`, `rules` and what is expected: `plan`, `answers`, `untouched` …

`play` goes through it on a living database, with a real backup. It holds every scenario to the same promises.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from backup_pipeline.config.merging import MergeSettings
from backup_pipeline.databases.merge.asked import Asked, Tenant, Verbs
from backup_pipeline.databases.merge.plan import MergePlan, TableMerge
from backup_pipeline.databases.merge.rulebook import resolve
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.session import SessionOptions
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.model.vault_records import Prepared
from backup_pipeline.restores.merging import merge_into, plan_merge
from backup_pipeline.restores.undoing import undo
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.restores import Restores
from backup_pipeline_tests.harness.backups import backed_up
from backup_pipeline_tests.merging.databases import (
    Dump,
    Living,
    Reference,
    ask,
    dangling,
    dump,
    foreign_keys,
    schema_of,
)
from backup_pipeline_tests.merging.inserting import insert_everywhere

T = TypeVar("T")

SCENARIOS = Path(__file__).resolve().parent / "scenarios"
#: A number of a plan that a scenario does not name is 0, or empty.
NUMBERS = ("create", "update", "delete", "kept", "conflicts", "remapped")
REASONS = ("skipped", "nulled")
#: Compared only where a scenario names them.
MORE = ("staged", "matched", "unchanged", "mode", "identity")


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    engines: tuple[str, ...] = ("postgres", "sqlite")
    #: SQL that finds a row on a PostgreSQL server that can do it: not each is built with all extensions.
    needs: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    #: As `merge:` of a configuration.
    rules: Mapping[str, Any] = field(default_factory=dict)
    #: Table → numbers of the plan. A table that is not named is not written to.
    plan: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: SQL → the rows that it finds after the merge.
    answers: Mapping[str, list[list[object]]] = field(default_factory=dict)
    #: Table → a condition; such rows are byte for byte as before.
    untouched: Mapping[str, str] = field(default_factory=dict)
    #: Table → rows that triggers of the database add during the merge.
    beside: Mapping[str, int] = field(default_factory=dict)
    #: `table.column` → SQL of a value for an INSERT, where its type does not tell one that is allowed.
    samples: Mapping[str, str] = field(default_factory=dict)
    #: Codes that the plan must name, among others.
    findings: tuple[str, ...] = ()
    #: Words that must stand in the plan: of cycles, drift, conflicts.
    words: tuple[str, ...] = ()

    def sql(self, what: str, engine: str) -> str:
        own = SCENARIOS / self.name / f"{what}.{engine}.sql"
        return (own if own.exists() else own.with_name(f"{what}.sql")).read_text(encoding="utf-8")


def load(name: str) -> Scenario:
    data = yaml.safe_load((SCENARIOS / name / "scenario.yaml").read_text(encoding="utf-8"))
    return Scenario(name=name, **data)


def names() -> list[str]:
    return sorted(path.parent.name for path in SCENARIOS.glob("*/scenario.yaml"))


@dataclass(frozen=True)
class Names:
    """From names as a scenario writes them to tables."""

    schema_name: str

    def table(self, name: str) -> TableId:
        schema, _, table = name.rpartition(".")
        return TableId(schema or self.schema_name, table)

    def tables(self, found: Sequence[str]) -> frozenset[TableId]:
        return frozenset(self.table(name) for name in found)

    def keyed(self, found: Mapping[str, T]) -> dict[TableId, T]:
        return {self.table(name): value for name, value in found.items()}

    def asked(self, data: Mapping[str, Any]) -> Asked:
        verbs = {one.name for one in dataclasses.fields(Verbs)}
        given: dict[str, Any] = {key: value for key, value in data.items() if key not in verbs}
        if "only" in given:
            given["only"] = self.tables(given["only"])
        if "skip" in given:
            given["skip"] = self.tables(given["skip"])
        if "where" in given:
            given["where"] = self.keyed(given["where"])
        if "tenant" in given:
            table, _, key = str(given["tenant"]).partition(":")
            given["tenant"] = Tenant(self.table(table), (key,))
        return Asked(verbs=Verbs(**{key: value for key, value in data.items() if key in verbs}), **given)


@dataclass(frozen=True)
class Played:
    """A living database, the backup of its earlier state, and what is asked."""

    living: Living
    backup: Backup
    asked: Asked = field(default_factory=Asked)
    #: `merge:` of the configuration.
    settings: MergeSettings = field(default_factory=MergeSettings)
    samples: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[TableId, int] = field(default_factory=dict)
    untouched: Mapping[TableId, str] = field(default_factory=dict)

    @cached_property
    def schema(self) -> Schema:
        return schema_of(self.living)

    @cached_property
    def rules(self) -> Rules:
        return resolve(self.schema, self.settings)[0]

    @property
    def references(self) -> list[Reference]:
        enforced = [
            Reference.of(table, key)
            for table in self.schema.tables
            for key in foreign_keys(self.schema, table)
            if table.partition_of is None
        ]
        declared = []
        for rule in self.rules.references:
            parent = self.schema.table(rule.parent)
            assert parent is not None
            referenced = rule.referenced or (parent.primary_key.columns if parent.primary_key else ())
            values = ", ".join(f"'{value}'" for value in rule.values)
            when = f"c.{rule.when} IN ({values})" if rule.when else ""
            declared.append(Reference(rule.table, rule.columns, rule.parent, referenced, when))
        return enforced + declared

    @property
    def derived(self) -> dict[TableId, tuple[str, ...]]:
        return {table: columns for rule in self.rules.derived for table, columns in rule.columns.items()}

    def dump(self, *, all_columns: bool = True) -> Dump:
        return dump(self.living, self.schema.tables, without={} if all_columns else self.derived)

    def spared(self) -> Dump:
        return dump(self.living, self.schema.tables, where=self.untouched)

    def plan(self) -> MergePlan:
        return plan_merge(self.backup, self.living.url, self.asked, self.rules)

    def merge(self, options: SessionOptions | None = None, *, dry_run: bool = False) -> MergePlan:
        return merge_into(self.backup, self.living.url, self.asked, self.rules, options, dry_run=dry_run).plan

    @contextmanager
    def recorded(self) -> Iterator[SessionOptions]:
        """Of a merge that can be undone."""
        manifest = self.backup.manifest
        record = Prepared(
            manifest.system, "", self.backup.link, "vault", self.living.url, manifest.engine, "test", ""
        )
        with Restores(self.backup.vault, manifest.system).begin(record) as recording:
            yield SessionOptions(keeper=recording)
            recording.done({})

    def undo(self) -> MergePlan:
        """The newest merge that wrote something: first without a commit."""
        restore = Restores(self.backup.vault, self.backup.system).get("latest")
        before = self.dump()
        tried = undo(restore, self.living.url, SessionOptions(), "dry run").plan
        assert self.dump() == before
        done = undo(restore, self.living.url, SessionOptions(), "merge").plan
        assert counts(tried) == counts(done)
        return done

    def go(self, between: Callable[[], None] = lambda: None) -> MergePlan:
        """Plan, dry run, merge, merge again, undo: what every merge promises. `between` looks at the merged database. The
        plan of the merge."""
        before, before_schema = self.dump(), schema_of(self.living)
        loose = dangling(self.living, self.references)
        compared, spared = self.dump(all_columns=False), self.spared()

        planned = self.plan()
        assert planned.refused == ()
        assert self.dump() == before
        tried = self.merge(dry_run=True)
        assert self.dump() == before
        assert schema_of(self.living) == before_schema
        with self.recorded() as options:
            done = self.merge(options)
        assert counts(planned) == counts(tried) == counts(done)

        assert schema_of(self.living) == before_schema
        self._lines_changed(compared, self.dump(all_columns=False), done)
        assert self.spared() == spared
        found = dangling(self.living, self.references)
        assert {
            name: rows - loose.get(name, Counter())
            for name, rows in found.items()
            if rows - loose.get(name, Counter())
        } == {}
        insert_everywhere(self.living, self.schema, self.samples)

        after = self.dump()
        again = self.merge()
        assert {str(table.table): table.writes for table in again.tables if table.writes} == {}
        assert self.dump() == after
        between()
        if done.writes:
            self.undo()
        # What triggers of the application wrote is the application's, and stays.
        for table, rows in self.dump().items():
            assert (before[table] - rows).total() == 0, table
            assert (rows - before[table]).total() == self.beside.get(table, 0), table
        assert schema_of(self.living) == before_schema
        return done

    def _lines_changed(self, before: Dump, after: Dump, plan: MergePlan) -> None:
        """The plan counted what happened, and no other row is another by a byte."""
        written = {one.table: (one.create, one.update, one.delete) for one in plan.tables}
        for table, rows in before.items():
            gone, come = (rows - after[table]).total(), (after[table] - rows).total()
            done = written.get(table, (0, 0, 0))
            beside = self.beside.get(table, 0)
            assert (gone, come) == (done[1] + done[2], done[0] + done[1] + beside), f"{table}: {done}"


def counts(plan: MergePlan) -> dict[str, dict[str, object]]:
    def number(one: TableMerge, name: str) -> object:
        return dict(value) if isinstance(value := getattr(one, name), Mapping) else value

    return {
        str(one.table): {name: number(one, name) for name in (*NUMBERS, *REASONS, *MORE)}
        for one in plan.tables
    }


def play(scenario: Scenario, living: Living, folder: Path) -> MergePlan:
    for what in ("schema", "rows"):
        living.run(scenario.sql(what, living.engine))
    backed = backed_up(living.url, folder)
    living.run(scenario.sql("life", living.engine))
    names = Names(living.schema_name)
    played = Played(
        living,
        backed.backup,
        names.asked(scenario.asked),
        MergeSettings.model_validate(scenario.rules),
        scenario.samples,
        names.keyed(scenario.beside),
        names.keyed(scenario.untouched),
    )

    def look() -> None:
        assert {query: ask(living, query) for query in scenario.answers} == dict(scenario.answers)

    done = played.go(look)

    expected = {str(table): numbers for table, numbers in names.keyed(scenario.plan).items()}
    zero: dict[str, object] = dict.fromkeys(NUMBERS, 0) | {name: {} for name in REASONS}
    found = counts(done)
    wanted = {table: zero | dict(expected.get(table, {})) for table in {*found, *expected}}
    # Table, number → what was found and what is expected.
    assert {
        f"{table} {name}": (found.get(table, {}).get(name), value)
        for table, numbers in wanted.items()
        for name, value in numbers.items()
        if found.get(table, {}).get(name) != value
    } == {}
    assert set(scenario.findings) <= {one.code for one in done.findings}
    text = re.sub(r"\s+", " ", str(done))
    assert [word for word in scenario.words if word not in text] == []
    return done
