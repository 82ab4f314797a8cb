"""A user of the source database, who may make tables and functions there, against the backup of that database.

The test holds the export between two chunks, and does there what the attacker would do. A function of the attacker's says
by an error that it ran, and as a superuser it runs a program, too.
"""

from __future__ import annotations

import importlib
import io
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup_pipeline.databases.postgres.export.export import Conductor
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import TableId
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.commands import Ended, invoke
from backup_pipeline_tests.harness.engines import wait_for
from backup_pipeline_tests.harness.postgres_rows import ask, quoted, run, session, stored_lines

pytestmark = pytest.mark.usefixtures("no_pauses")

#: In the folder of the server's data, where a program starts.
RAN = "a_program_ran"
CODE = """
CREATE FUNCTION {schema}.ran(a bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ BEGIN
  IF current_user = 'attacker' THEN RETURN a; END IF;
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    EXECUTE $c$COPY (SELECT 1) TO PROGRAM 'touch a_program_ran'$c$; END IF;
  RAISE EXCEPTION 'CODE RAN AS %', current_user; END $$;
CREATE FUNCTION {schema}.planned(a bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
  PERFORM {schema}.ran(a); RETURN a; END $$;
"""
CONFIG = """\
vault: ./vault
systems:
  s:
    database: {url}
    workers: 1
    chunk_size: 64KiB
"""


def plain_lines(url: str, table: TableId) -> Counter[str]:
    """By a COPY that plans nothing: the attacker's code would run in the test's own query."""
    text = io.StringIO()
    with session(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = ''")
        cursor.copy_expert(f"COPY {quoted(table.schema, table.name)} TO STDOUT", text)
    return Counter(text.getvalue().splitlines())


@dataclass
class World:
    """A database in which the attacker has schemas of his own, a project that backs it up, and what happens meanwhile."""

    path: Path
    url: str
    server: EmbeddedPostgres
    #: After the first, the second … chunk that was read, of all attempts.
    meanwhile: list[Callable[[], object]] = field(default_factory=list)

    def attacker(self, *statements: str) -> None:
        run(self.url, "SET ROLE attacker; SET lock_timeout = '5s'", *statements)

    def backup(self, login: str = "postgres", *more: str) -> Ended:
        url = self.url.replace("postgresql://postgres@", f"postgresql://{login}@")
        (self.path / "backup.yaml").write_text(CONFIG.format(url=url) + "".join(more))
        return invoke("backup", "s", "--no-record", cwd=self.path)

    def good(self, login: str = "postgres", *more: str) -> Ended:
        """The backup is made, equals the live database, and none of the attacker's code ran."""
        ended = self.backup(login, *more)
        assert ended.code == 0, str(ended)
        assert not self.meanwhile, "the race was not run"
        self.require_nothing_ran(ended)
        manifest = self.manifest()
        for entry in manifest.tables:
            stored = stored_lines(self.vault, manifest, entry.id)  # type: ignore[arg-type]
            assert stored == plain_lines(self.url, entry.id), str(entry.id)
        return ended

    def require_nothing_ran(self, ended: Ended) -> None:
        assert "CODE RAN" not in str(ended)
        assert not (self.server.data_dir / RAN).exists()

    @property
    def vault(self) -> Vault:
        return Vault(LocalStore(self.path / "vault"))

    def manifest(self) -> Manifest:
        return self.vault.backup("s", self.vault.ids("s")[-1]).manifest


@pytest.fixture
def world(
    tmp_path: Path, pg_server: EmbeddedPostgres, pg_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    made = World(tmp_path, pg_database, pg_server)
    (tmp_path / "vault").mkdir()
    name = ask(pg_database, "SELECT current_database()")[0][0]
    run(
        pg_database,
        "DO $$ BEGIN CREATE ROLE attacker; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "DO $$ BEGIN CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader;"
        " EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT CREATE ON DATABASE {name} TO attacker",
        "GRANT CREATE ON SCHEMA public TO attacker",
    )
    # Read first, in four chunks: what is after it is read when the attacker has done what he does.
    made.attacker(
        "CREATE SCHEMA a",
        "CREATE TABLE a.t (id int, who text)",
        "INSERT INTO a.t SELECT g, repeat('rows of a ', 4) FROM generate_series(1, 3000) g",
        CODE.format(schema="public"),
    )
    accept = Conductor._accept

    def held(self: Conductor, result: Any) -> None:
        accept(self, result)
        if made.meanwhile:
            made.meanwhile.pop(0)()

    monkeypatch.setattr(Conductor, "_accept", held)
    monkeypatch.setattr(
        importlib.import_module("backup_pipeline.backups.making"),
        "time",
        SimpleNamespace(sleep=lambda _: None),
    )
    yield made
    run(pg_database, "DROP OWNED BY attacker CASCADE")
    (pg_server.data_dir / RAN).unlink(missing_ok=True)


@pytest.fixture(params=["postgres", "reader"])
def login(request: pytest.FixtureRequest) -> str:
    """A superuser, and the login that README recommends."""
    return str(request.param)


# ── code


@pytest.mark.parametrize(
    "instead",
    [
        "CREATE VIEW public.s AS SELECT public.ran(7) AS last_value, true AS is_called",
        "CREATE TABLE public.s (last_value bigint, is_called bool);"
        " CREATE INDEX ON public.s ((public.planned(1) + last_value))",
    ],
    ids=["view", "table"],
)
def test_what_takes_a_sequence_s_place_is_not_run(world: World, login: str, instead: str) -> None:
    """Gained: commands on the database server by a superuser's backup, and rows that the attacker may not read by another's;
    sequences were not locked, and read by name. The view's 7 stood in the manifest."""
    world.attacker("CREATE SEQUENCE public.s", *["SELECT nextval('public.s')"] * ("VIEW" in instead))
    world.meanwhile.append(lambda: world.attacker(f"BEGIN; DROP SEQUENCE public.s; {instead}; COMMIT"))
    world.good(login)
    assert world.manifest().sequences == ()


def test_a_sequence_in_a_schema_that_is_exchanged_is_not_mistaken(world: World, login: str) -> None:
    """Gained: the state of another sequence, which gives out numbers that are taken."""
    world.attacker("CREATE SEQUENCE a.s START 500", "CREATE SCHEMA b", "CREATE SEQUENCE b.s")
    world.meanwhile.append(lambda: world.attacker(*exchange()))
    assert "attempt 2" in str(world.good(login))
    assert {(s.schema, s.last_value, s.is_called) for s in world.manifest().sequences} == {
        ("a", 1, False),
        ("b", 500, False),
    }


def exchange() -> tuple[str, ...]:
    """Blue becomes green, in one transaction."""
    return (
        "BEGIN",
        "ALTER SCHEMA a RENAME TO aside",
        "ALTER SCHEMA b RENAME TO a",
        "ALTER SCHEMA aside RENAME TO b",
        "COMMIT",
    )


@pytest.mark.parametrize("and_back", [False, True])
def test_a_view_in_a_table_s_place_is_not_run_and_no_row_is_lost(
    world: World, login: str, and_back: bool
) -> None:
    """Gained: as above; and a backup with the rows of one chunk and a forged one, called good by `verify`."""
    world.attacker(
        "CREATE SCHEMA b",
        "CREATE VIEW b.t AS SELECT 1 AS id, public.ran(1)::text AS who, '(999999,1)'::tid AS ctid",
    )
    world.meanwhile = [lambda: world.attacker(*exchange())]
    if and_back:
        world.meanwhile.append(lambda: world.attacker(*exchange()))
    ended = world.good(login)
    assert "attempt 2" in str(ended)
    assert [entry.rows for entry in world.manifest().tables] == [3000]


def test_index_expressions_of_others_are_not_computed_by_a_superuser_s_backup(world: World) -> None:
    """Gained: commands on the database server, without any race: the planner computes what is constant in an index expression,
    and a range of a table is planned. So is the check for changes, and the list of applied migrations."""
    world.attacker(
        "CREATE INDEX ON a.t ((public.planned(1) + id))",
        "CREATE TABLE a.alembic_version (version_num varchar(32))",
        "INSERT INTO a.alembic_version VALUES ('abc')",
        "CREATE INDEX ON a.alembic_version ((public.planned(1) || version_num))",
    )
    migrations = "    migrations: {tool: alembic, path: versions}\n"
    run(world.url, "CREATE TABLE trusted AS SELECT g FROM generate_series(1, 9000) g")
    for _ in range(2):  # the second looks for what has changed
        world.good("postgres", migrations)
    assert world.manifest().migrations is not None
    assert world.manifest().migrations.applied == ("abc",)  # type: ignore[union-attr]
    chunks = {entry.name: len(entry.chunks) for entry in world.manifest().tables}
    assert chunks["t"] == 1
    assert chunks["trusted"] > 1


# ── torn backups


def test_schemas_that_are_exchanged_leave_no_table_half_and_half(world: World, login: str) -> None:
    """Gained (or happened, by a deployment): a table with rows of both, called proven by the drill."""
    world.attacker(
        "CREATE SCHEMA b",
        "CREATE TABLE b.t (id int, who text)",
        "INSERT INTO b.t SELECT g, repeat('rows of b ', 4) FROM generate_series(1, 3000) g",
    )
    world.meanwhile = [lambda: world.attacker(*exchange())]
    ended = world.good(login)
    assert "the definitions changed while the rows were read: schema a, schema b; attempt 2" in str(ended)
    world.meanwhile = [lambda: world.attacker(*exchange()), lambda: None, lambda: world.attacker(*exchange())]
    world.good(login)


def test_the_notes_of_a_killed_backup_do_not_carry_another_table_s_rows(world: World) -> None:
    """Gained: the next backup took the chunks that the killed one had read under another's name."""
    world.attacker(
        "CREATE SCHEMA b",
        "CREATE TABLE b.t (id int, who text)",
        "INSERT INTO b.t SELECT g, repeat('rows of b ', 4) FROM generate_series(1, 3000) g",
    )
    # Else the attacker's tables are read whole by a superuser, and nothing of them is taken from notes.
    run(world.url, "ALTER TABLE a.t OWNER TO postgres", "ALTER TABLE b.t OWNER TO postgres")

    def killed() -> None:
        raise KeyboardInterrupt

    world.meanwhile = [lambda: world.attacker(*exchange()), lambda: None, lambda: None, killed]
    assert world.backup().code == 130
    world.attacker(*exchange())
    world.good()


MOVES = {
    "enum": "ALTER TYPE a.mood RENAME VALUE 'sad' TO 'gloomy'",
    "attribute": "ALTER TYPE a.pair DROP ATTRIBUTE y",
    "new attribute": "ALTER TYPE a.pair ADD ATTRIBUTE z int",
    "row": "ALTER TABLE a.shape DROP COLUMN y",
    "type": "ALTER TYPE a.mood RENAME TO humour",
    "type's schema": "ALTER TYPE a.pair SET SCHEMA public",
    "name": "ALTER TABLE a.named RENAME TO renamed",
}
TYPED = (
    "CREATE TYPE a.mood AS ENUM ('sad', 'ok')",
    "CREATE TYPE a.pair AS (x int, y int)",
    "CREATE TABLE a.shape (x int, y int)",
    "CREATE TABLE a.named (id int)",
    "CREATE TABLE a.v (m a.mood[], p a.pair, s a.shape, n regclass)",
    "INSERT INTO a.v SELECT '{sad}', ROW(1, 2)::a.pair, ROW(1, 2)::a.shape, 'a.named'::regclass FROM generate_series(1, 2000)",
)


@pytest.mark.parametrize("move", MOVES)
def test_a_type_that_is_altered_meanwhile_is_read_again(world: World, move: str) -> None:
    """Gained (or happened, by a migration): labels in the rows that the definitions do not have: no restore was possible."""
    world.attacker(*TYPED)
    excluded = "    exclude: [a.named, a.shape]\n"  # selected ones are locked
    world.meanwhile = [lambda: world.attacker(MOVES[move])]
    ended = world.good("reader", excluded)
    assert "attempt 2" in str(ended)


def test_a_catalog_that_never_stands_still_fails_the_backup(world: World) -> None:
    """Nothing torn is ever called a backup: the last of four attempts fails, and says why."""
    world.attacker(*TYPED)
    names = (f"name{number}" for number in itertools.count())
    now = ["sad"]

    def rename() -> None:
        now.append(next(names))
        world.attacker(f"ALTER TYPE a.mood RENAME VALUE '{now[-2]}' TO '{now[-1]}'")

    world.meanwhile = [rename] * 1000
    ended = world.backup("reader")
    assert (ended.code, world.vault.ids("s")) == (4, ()), str(ended)
    assert "the definitions changed while the rows were read: label name" in ended.stderr
    assert "run the backup when no migration runs" in ended.stderr


def test_an_honest_migration_of_other_things_does_not_repeat_the_backup(world: World) -> None:
    """What happens every day while a backup runs costs nothing: the comparison must not cry wolf."""
    world.attacker(*TYPED)
    slow: list[threading.Thread] = []

    def meanwhile() -> None:
        world.attacker(
            "ALTER TYPE a.mood ADD VALUE 'glad'",
            "CREATE INDEX ON a.t (id)",
            "CREATE TABLE a.fresh (m a.mood)",
            "CREATE TEMP TABLE mine (p a.pair)",
            "GRANT SELECT ON a.t, a.v TO PUBLIC",
            "GRANT SELECT (id) ON a.t TO PUBLIC",
            "CREATE SCHEMA another",
            "COMMENT ON SCHEMA a IS 'said'",
            "ALTER TABLE a.t ALTER who SET STATISTICS 500",
            "CREATE FUNCTION a.trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER tr BEFORE INSERT ON a.t FOR EACH ROW EXECUTE FUNCTION a.trigger()",
            "ANALYZE a.t",
        )
        run(world.url, "VACUUM FREEZE a.t", "VACUUM FREEZE pg_namespace", "VACUUM FREEZE pg_enum")
        statement = "CREATE INDEX CONCURRENTLY slow ON a.t (who)"
        slow.append(threading.Thread(target=world.attacker, args=(statement,), daemon=True))
        slow[0].start()  # it waits for the backup's snapshot
        waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%' AND wait_event_type = 'Lock'"
        assert wait_for(lambda: ask(world.url, waits) == [(1,)])

    world.meanwhile = [meanwhile]
    ended = world.backup("reader")
    assert ended.code == 0, str(ended)
    slow[0].join(60)
    assert not slow[0].is_alive()
    assert "attempt" not in str(ended)
    assert {entry.name: entry.rows for entry in world.manifest().tables}["t"] == 3000
