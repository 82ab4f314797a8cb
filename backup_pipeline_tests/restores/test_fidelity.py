"""Every kind of object, restored by every kind of login: what comes back is equal, and what does not is named.

The source has one object of each kind that the server's own catalog knows (`everything_postgres`). Both sides are
compared as pg_dump writes them, statement by statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
import pytest

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.restore.statements import Statement, split
from backup_pipeline.databases.postgres.restore.terms import Terms, kinds_of
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.databases.restore_plan import RestoreResult
from backup_pipeline.errors import RestoreError
from backup_pipeline.restores import restore
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, rows_of, run_sql, schema_of
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.harness.everything_postgres import everything_sql, missing_kinds

#: A login that owns its database; one as managed services give it: it may make roles and databases.
LOGINS = {"fidelity_owner": "LOGIN", "fidelity_managed": "LOGIN CREATEDB CREATEROLE"}
TERMS = Terms(owner=False, privileges=False, keep_going=True)
RIGHTS = frozenset({"owner", "grant", "default privileges"})


@pytest.fixture(scope="module")
def everything(
    pg_major_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backed]:
    server, name = pg_major_server, f"everything_{pg_major_server.major}"
    url = server.create_database(name)
    run_sql(url, everything_sql(server.major))
    for login, attributes in LOGINS.items():
        run_sql(server.url(), f"DROP ROLE IF EXISTS {login}; CREATE ROLE {login} {attributes}")
    yield backed_up(url, tmp_path_factory.mktemp(name) / "vault")
    # A subscription keeps its database.
    run_sql(url, "DROP SUBSCRIPTION k_subscription")
    server.drop_database(name)


def as_login(server: EmbeddedPostgres, login: str, database: str) -> str:
    place = psycopg.conninfo.conninfo_to_dict(server.url())
    return f"postgresql://{login}@/{database}?host={quote(str(place['host']), safe='')}&port={place['port']}"


@dataclass(frozen=True)
class Compared:
    #: Statements of the source that the target lacks and that the restore did not name; and those that it has besides.
    unnamed: list[str]
    besides: list[str]
    #: Tables whose rows differ and that the restore did not name.
    tables: list[str]


def _normal(text: str) -> str:
    return " ".join(text.rstrip("; \n").split())


def compare(
    server: EmbeddedPostgres,
    source: str,
    target: str,
    result: RestoreResult,
    without: frozenset[str] = frozenset(),
) -> Compared:
    """`without`: kinds of statements that the terms leave out."""
    named = {_normal(left.sql) for left in result.remainder}
    # A function without its owner runs with the rights of its caller; that is named, too.
    closed = {text.split(" ")[2].split("(")[0] for text in named if text.endswith(" SECURITY DEFINER")}

    def key(text: str) -> str:
        name = _normal(text).removeprefix("CREATE FUNCTION ").split("(")[0]
        return _normal(text).replace(" SECURITY DEFINER", "") if name in closed else _normal(text)

    here, there = ({key(one.text): one for one in split(schema_of(server, url))} for url in (source, target))
    # A table is made without what cannot be made of it (`pieces`); each piece is named.
    parts = tuple(
        f"CREATE TABLE {text.split(' ')[2]} (" for text in named if text.startswith("ALTER TABLE public.")
    )

    def differing(texts: set[str], statements: dict[str, Statement]) -> set[str]:
        return {
            text
            for text in texts
            if not text.startswith(parts or ("-",)) and not kinds_of(statements[text]) & without
        }

    lacking = differing(here.keys() - there.keys() - named, here)
    besides = differing(there.keys() - here.keys(), there)
    said = " ".join(finding.message for finding in result.findings if finding.code == "rows-not-restored")
    ours, theirs = rows_of(source), rows_of(target)
    tables = [name for name, rows in ours.items() if theirs.get(name) != rows and name not in said]
    return Compared(sorted(lacking), sorted(besides), tables)


def test_the_source_holds_an_object_of_every_kind_that_the_server_knows(
    everything: Backed, pg_major_server: EmbeddedPostgres
) -> None:
    assert missing_kinds(everything.url, pg_major_server.major) == [], "put it into everything_postgres.KINDS"


@pytest.mark.parametrize("create", [False, True], ids=["into an empty one", "create"])
def test_a_superuser_gets_everything_back(
    everything: Backed, pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, create: bool
) -> None:
    target = pg_major_server.url("fidelity_made") if create else make_pg_database(server=pg_major_server)
    try:
        result = restore(everything.backup, target, RestoreOptions(create=create))
        assert result.remainder == ()
        assert compare(pg_major_server, everything.url, target, result) == Compared([], [], [])
    finally:
        run_sql(target, "DROP SUBSCRIPTION IF EXISTS k_subscription")
        if create:
            pg_major_server.drop_database("fidelity_made")


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("create", [False, True], ids=["into an empty one", "create"])
def test_what_another_login_cannot_make_is_named_and_every_other_object_is_equal(
    everything: Backed, pg_major_server: EmbeddedPostgres, login: str, create: bool
) -> None:
    server, name = pg_major_server, f"for_{login}"
    target = as_login(server, login, name)
    if not create:
        server.create_database(name)
        run_sql(server.url(), f"ALTER DATABASE {name} OWNER TO {login}")
    elif "CREATEDB" not in LOGINS[login]:
        with pytest.raises(RestoreError, match="may not create databases"):
            restore(everything.backup, target, RestoreOptions(create=True, terms=TERMS))
        return
    try:
        with pytest.raises(RestoreError):
            restore(everything.backup, target, RestoreOptions(create=create))
        result = restore(everything.backup, target, RestoreOptions(create=create, terms=TERMS))
        assert compare(server, everything.url, server.url(name), result, RIGHTS) == Compared([], [], [])
        assert result.lacking, "what is lacking makes the exit code 10"
        assert ask(
            server.url(name), f"SELECT count(*) > 100 FROM pg_class WHERE relowner = '{login}'::regrole"
        ) == [(True,)]
    finally:
        run_sql(server.url(), f"DROP DATABASE IF EXISTS {name}")
