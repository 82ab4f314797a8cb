"""What every source promises (`backup_pipeline/databases/base.py`). A new engine subclasses this and offers `live`.

The SQL in here is what all engines share: integers and text, keys and references. What is particular to one engine is
tested beside its source.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from backup_pipeline.databases.base import Baseline, Export, Options, Source
from backup_pipeline.errors import ConfigError, SourceError, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import EarlierImage, Engine, LeftOut, TableEntry
from backup_pipeline.model.progress import Advance
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault

AWKWARD_NAMES = (
    "select",
    "Mixed Case",
    "it's",
    'dou"ble',
    "semi; DROP TABLE plain; --",
    "日本",
    "per%cent",
    "a.b",
    "n" * 63,
)
AWKWARD_TEXTS = (
    *("", " ", "\\", "\\N", "\\.", "tab\there", "line\nline", "cr\r\n", "'", '"', "NULL", "\x01\x7f"),
    *("ünï \U0001f980", "\ufeff", "%s {0} $1 :x", "x" * 50_000),
)


class Live(Protocol):
    """A live database of the engine under test, empty at the start."""

    @property
    def source(self) -> Source: ...

    @property
    def schema(self) -> str:
        """Where plain table names live: "public", "main"."""

    def run(self, *statements: str) -> None:
        """Each on its own, committed."""

    def writer(self) -> AbstractContextManager[Live]:
        """A second session, whose `run` is *not* committed before the block ends."""

    def rows(self, table: str) -> Counter[str]:
        """The rows that are there now, in the form of `backed_up_rows`."""

    def backed_up_rows(self, vault: Vault, export: Export, table: str) -> Counter[str]:
        """The rows of one table in a backup."""

    def address_of_nowhere(self) -> Source:
        """A source whose database does not exist."""


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Taken:
    """One export with all that the snapshot said."""

    def __init__(
        self,
        live: Live,
        vault: Vault,
        selection: Selection | None = None,
        options: Options | None = None,
        baselines: Mapping[TableId, Baseline] | None = None,
        baseline_image: Export | None = None,
    ) -> None:
        self.journal: list[TableEntry] = []
        self.heard: list[Advance] = []
        image = baseline_image.image if baseline_image else None
        with live.source.snapshot(selection or Selection(), options or Options()) as snapshot:
            self.schema: Schema = snapshot.schema
            self.selected = snapshot.selected
            self.left_out: tuple[LeftOut, ...] = snapshot.left_out
            self.state = snapshot.state
            self.engine: Engine = snapshot.engine
            self.tools = snapshot.tools
            self.taken_at = snapshot.taken_at
            self.ddl = snapshot.ddl()
            self.export = snapshot.export(
                vault.writer,
                baselines=baselines or {},
                previous=EarlierImage(image) if image else None,
                listener=self.heard.append,
                journal=self.journal.append,
            )

    def entry(self, name: str) -> TableEntry:
        return next(entry for entry in self.export.tables if entry.name == name)

    def baselines(self, identifier: str) -> dict[TableId, Baseline]:
        return {entry.id: Baseline(identifier, self.state, entry) for entry in self.export.tables}


def objects(vault: Vault) -> set[str]:
    return {stat.key for stat in vault.store.list("objects/")}


class SourceContract:
    @pytest.fixture
    def live(self) -> Iterator[Live]:
        raise NotImplementedError("offer a fixture with an empty database")

    @pytest.fixture
    def vault(self, tmp_path: Path) -> Vault:
        (tmp_path / "vault").mkdir()
        vault = Vault(LocalStore(tmp_path / "vault"))
        vault.prepare()
        return vault

    # ── rows

    def test_every_row_of_every_table_is_backed_up(self, live: Live, vault: Vault) -> None:
        live.run(
            "CREATE TABLE plain (id integer PRIMARY KEY, t text)", "CREATE TABLE bag (a integer, b text)"
        )
        live.run(
            "INSERT INTO plain VALUES (1, 'one'), (2, NULL)",
            "INSERT INTO bag VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
        )
        taken = Taken(live, vault)
        for table, count in (("plain", 2), ("bag", 3)):
            assert taken.entry(table).rows == count
            assert live.backed_up_rows(vault, taken.export, table) == live.rows(table)

    @pytest.mark.parametrize("name", AWKWARD_NAMES)
    def test_a_name_may_be_anything(self, live: Live, vault: Vault, name: str) -> None:
        live.run(
            f"CREATE TABLE {quote(name)} ({quote(name)} integer PRIMARY KEY, {quote('x' + name[:50])} text)"
        )
        live.run(f"INSERT INTO {quote(name)} VALUES (1, 'here')")
        taken = Taken(live, vault)
        assert taken.selected == (TableId(live.schema, name),)
        assert taken.entry(name).columns == (name, "x" + name[:50])
        assert live.backed_up_rows(vault, taken.export, name) == live.rows(name)

    def test_a_text_may_be_anything(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE texts (id integer PRIMARY KEY, t text)")
        for number, text in enumerate(AWKWARD_TEXTS):
            live.run(f"INSERT INTO texts VALUES ({number}, {literal(text)})")
        taken = Taken(live, vault)
        assert taken.entry("texts").rows == len(AWKWARD_TEXTS)
        assert live.backed_up_rows(vault, taken.export, "texts") == live.rows("texts")

    def test_an_empty_table_is_in_the_backup(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE hollow (id integer PRIMARY KEY)")
        taken = Taken(live, vault)
        assert taken.entry("hollow").rows == 0
        assert live.backed_up_rows(vault, taken.export, "hollow") == Counter()

    def test_a_database_without_tables_is_read_too(self, live: Live, vault: Vault) -> None:
        taken = Taken(live, vault)
        assert (taken.selected, taken.export.tables) == ((), ())

    def test_generated_columns_are_not_among_the_rows(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE sums (a integer, total integer GENERATED ALWAYS AS (a + 1) STORED, b text)")
        live.run("INSERT INTO sums (a, b) VALUES (1, 'x')")
        assert Taken(live, vault).entry("sums").columns == ("a", "b")

    # ── keys and indexes, as data: a restore into a living database chooses by them which rows are the same

    def test_an_index_says_its_columns_its_expressions_and_its_condition(
        self, live: Live, vault: Vault
    ) -> None:
        live.run(
            'CREATE TABLE people (id integer PRIMARY KEY, mail text, "Mixed, Case" text, gone integer)',
            'CREATE UNIQUE INDEX by_mail ON people (mail, "Mixed, Case" DESC)',
            "CREATE UNIQUE INDEX alive ON people (lower(mail), id) WHERE gone IS NULL",
        )
        table = Taken(live, vault).schema.table(TableId(live.schema, "people"))
        assert table is not None
        alive, by_mail = table.indexes
        assert [part.column for part in by_mail.parts] == ["mail", "Mixed, Case"]
        assert (by_mail.predicate, by_mail.unique, by_mail.nulls_equal) == (None, True, False)
        assert [(part.column, part.expression) for part in alive.parts] == [("", "lower(mail)"), ("id", "")]
        assert alive.predicate is not None
        assert alive.predicate.strip("()") == "gone IS NULL"
        assert all(part.collation is None for part in (*alive.parts, *by_mail.parts))

    # ── one moment

    def test_what_is_written_after_the_snapshot_is_not_in_it(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)", "CREATE TABLE b (id integer PRIMARY KEY)")
        live.run("INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)")
        before = live.rows("a"), live.rows("b")
        with live.source.snapshot(Selection(), Options()) as snapshot:
            live.run("INSERT INTO a VALUES (2)", "DELETE FROM b")
            export = snapshot.export(vault.writer, baselines={})
        assert (live.backed_up_rows(vault, export, "a"), live.backed_up_rows(vault, export, "b")) == before

    def test_what_is_not_committed_is_not_in_it(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)", "INSERT INTO a VALUES (1)")
        committed = live.rows("a")
        with live.writer() as other:
            other.run("INSERT INTO a VALUES (2)")
            taken = Taken(live, vault)
        assert live.backed_up_rows(vault, taken.export, "a") == committed

    def test_a_backup_leaves_no_session_and_no_lock(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)")
        with pytest.raises(ZeroDivisionError), live.source.snapshot(Selection(), Options()):
            raise ZeroDivisionError
        Taken(live, vault)
        live.run("DROP TABLE a")

    def test_reading_changes_nothing(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)", "INSERT INTO a VALUES (1)")
        first, second = Taken(live, vault), Taken(live, vault)
        assert first.schema == second.schema
        assert first.entry("a").fingerprint == second.entry("a").fingerprint
        assert [text for _, _, text in first.ddl] == [text for _, _, text in second.ddl]

    # ── what is there

    def test_the_schema_knows_keys_and_references(self, live: Live, vault: Vault) -> None:
        live.run(
            "CREATE TABLE people (id integer PRIMARY KEY, email text NOT NULL UNIQUE)",
            "CREATE TABLE pairs (a integer, b integer, PRIMARY KEY (b, a))",
            "CREATE TABLE notes (id integer PRIMARY KEY, person integer REFERENCES people (id) ON DELETE CASCADE,"
            " x integer, y integer, FOREIGN KEY (y, x) REFERENCES pairs (b, a))",
        )
        schema = Taken(live, vault).schema
        people, pairs, notes = (
            schema.table(TableId(live.schema, name)) for name in ("people", "pairs", "notes")
        )
        assert people
        assert pairs
        assert notes
        assert people.primary_key
        assert people.primary_key.columns == ("id",)
        assert [key.columns for key in people.uniques] == [("email",)]
        assert [(column.name, column.nullable) for column in people.columns][1] == ("email", False)
        assert pairs.primary_key
        assert pairs.primary_key.columns == ("b", "a")
        keys = {key.columns: key for key in notes.foreign_keys}
        assert keys["person",].references == people.id
        assert keys["person",].on_delete == "CASCADE"
        assert keys["y", "x"].referenced == ("b", "a")

    def test_the_schema_survives_being_written_down(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY, t text DEFAULT 'x', CHECK (id > 0))")
        live.run("CREATE INDEX a_t ON a (t)", "CREATE VIEW v AS SELECT id FROM a")
        schema = Taken(live, vault).schema
        assert canonical.decode(Schema, canonical.encode(schema), what="the schema") == schema

    def test_the_definitions_come_in_two_sections_and_say_who_made_them(
        self, live: Live, vault: Vault
    ) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY, t text)", "CREATE INDEX a_t ON a (t)")
        taken = Taken(live, vault)
        assert [name for name, _, _ in taken.ddl] == ["pre-data", "post-data"]
        assert all(made_by for _, made_by, _ in taken.ddl)
        assert b"CREATE TABLE" in taken.ddl[0][2]
        assert b"a_t" in b"".join(text for _, _, text in taken.ddl)
        assert taken.engine.name == live.source.engine_name
        assert taken.engine.version

    # ── selection

    def test_what_is_left_out_is_named_with_the_reason(self, live: Live, vault: Vault) -> None:
        live.run(
            "CREATE TABLE wanted (id integer PRIMARY KEY)", "CREATE TABLE big_log (id integer PRIMARY KEY)"
        )
        taken = Taken(live, vault, Selection(exclude=("big_*",)))
        assert [table.name for table in taken.selected] == ["wanted"]
        assert [(item.name, item.kind) for item in taken.left_out] == [("big_log", "table")]
        assert "big_*" in taken.left_out[0].reason
        assert [entry.name for entry in taken.export.tables] == ["wanted"]
        assert taken.schema.table(TableId(live.schema, "big_log")) is not None

    def test_only_what_was_asked_for_is_read(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)", "CREATE TABLE b (id integer PRIMARY KEY)")
        taken = Taken(live, vault, Selection(only=frozenset({TableId(live.schema, "b")})))
        assert [entry.name for entry in taken.export.tables] == ["b"]

    # ── again

    def test_a_second_backup_of_the_same_rows_stores_nothing(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY, t text)", "INSERT INTO a VALUES (1, 'x'), (2, 'y')")
        first = Taken(live, vault)
        stored = objects(vault)
        again = Taken(live, vault, baselines=first.baselines("one"), baseline_image=first.export)
        assert objects(vault) == stored
        assert again.entry("a").fingerprint == first.entry("a").fingerprint

    def test_full_stores_nothing_twice_either(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY, t text)", "INSERT INTO a VALUES (1, 'x'), (2, 'y')")
        first = Taken(live, vault)
        stored = objects(vault)
        full = Options(full=True)
        again = Taken(
            live, vault, options=full, baselines=first.baselines("one"), baseline_image=first.export
        )
        assert again.entry("a").reused_chunks == 0
        assert objects(vault) == stored

    def test_a_changed_table_is_read_again(self, live: Live, vault: Vault) -> None:
        live.run(
            "CREATE TABLE a (id integer PRIMARY KEY, t text)",
            "CREATE TABLE b (id integer PRIMARY KEY, t text)",
        )
        live.run("INSERT INTO a VALUES (1, 'x')", "INSERT INTO b VALUES (1, 'x')")
        first = Taken(live, vault)
        live.run("UPDATE a SET t = 'z'")
        again = Taken(live, vault, baselines=first.baselines("one"), baseline_image=first.export)
        assert again.entry("a").fingerprint != first.entry("a").fingerprint
        assert again.entry("b").fingerprint == first.entry("b").fingerprint
        assert live.backed_up_rows(vault, again.export, "a") == live.rows("a")

    def test_progress_ends_at_all_rows(self, live: Live, vault: Vault) -> None:
        live.run(
            "CREATE TABLE a (id integer PRIMARY KEY)", *(f"INSERT INTO a VALUES ({n})" for n in range(20))
        )
        taken = Taken(live, vault)
        assert {advance.phase for advance in taken.heard} == {"export"}
        assert sum(advance.bytes for advance in taken.heard) > 0

    # ── trouble

    def test_a_failing_sink_ends_the_export_with_its_own_error(self, live: Live, vault: Vault) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)", "INSERT INTO a VALUES (1)")
        blocked = vault.store.staging()
        blocked.rmdir()
        blocked.write_text("not a folder any more")
        with pytest.raises((OSError, VaultError)):
            Taken(live, vault)
        live.run("DROP TABLE a")

    def test_a_database_that_is_not_there_is_a_source_error(self, live: Live) -> None:
        source = live.address_of_nowhere()
        with pytest.raises(SourceError) as caught, source.snapshot(Selection(), Options()):
            pass
        assert caught.value.remedy
        report = source.diagnose(Selection())
        assert not report.ok
        assert report.errors[0].remedy

    def test_a_healthy_database_has_nothing_to_complain_about(self, live: Live) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)")
        report = live.source.diagnose(Selection())
        assert report.ok, report.findings
        assert report.counted["tables"] == 1

    def test_an_inventory_names_every_table_and_what_is_left_out(self, live: Live) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY, t text)", "CREATE TABLE b (id integer PRIMARY KEY)")
        inventory = live.source.inventory(Selection(exclude=("b",)))
        assert [(table.id.name, table.columns, table.left_out is None) for table in inventory.tables] == [
            ("a", 2, True),
            ("b", 1, False),
        ]
        assert inventory.engine.name == live.source.engine_name

    def test_a_source_can_be_sent_to_another_process(self, live: Live) -> None:
        live.run("CREATE TABLE a (id integer PRIMARY KEY)")
        source = pickle.loads(pickle.dumps(live.source))
        assert len(source.inventory(Selection()).tables) == 1

    # ── migrations

    def test_no_migration_table_is_none(self, live: Live) -> None:
        assert [live.source.applied_migrations(tool) for tool in ("alembic", "django", "prisma")] == [
            None,
            None,
            None,
        ]

    def test_an_unknown_tool_is_a_mistake_in_the_configuration(self, live: Live) -> None:
        with pytest.raises(ConfigError):
            live.source.applied_migrations("rails")

    def test_applied_migrations_are_read_from_the_tools_own_tables(self, live: Live) -> None:
        live.run(
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
            "INSERT INTO alembic_version VALUES ('b2'), ('a1')",
            "CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(255), name varchar(255), applied timestamp)",
            "INSERT INTO django_migrations VALUES (2, 'shop', '0001_initial', '2026-01-02'), (1, 'auth', '0002_x', '2026-01-01')",
            "CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, finished_at timestamp, migration_name varchar(255),"
            " rolled_back_at timestamp, started_at timestamp)",
            "INSERT INTO _prisma_migrations VALUES ('1', '2026-01-02', '2_second', NULL, '2026-01-02'),"
            " ('2', '2026-01-01', '1_first', NULL, '2026-01-01'), ('3', NULL, '3_failed', NULL, '2026-01-03'),"
            " ('4', '2026-01-04', '4_undone', '2026-01-05', '2026-01-04')",
        )
        assert live.source.applied_migrations("alembic") == ("a1", "b2")
        assert live.source.applied_migrations("django") == ("auth.0002_x", "shop.0001_initial")
        assert live.source.applied_migrations("prisma") == ("1_first", "2_second")
