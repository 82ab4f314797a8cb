"""What a merge reads from the schemas of real databases: references, keys, and that nothing differs from itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.merge.drift import Schemas, compare_table
from backup_pipeline.databases.merge.keys import birth_column, generated_key, usable_keys
from backup_pipeline.databases.merge.references import references_of, skipped_references
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.databases.sqlite.export.inspection import inspect
from backup_pipeline.model.schema import Schema, Table
from backup_pipeline.model.selection import Selection
from backup_pipeline_tests.harness.engines import MakePgDatabase, MakeSqliteFile
from backup_pipeline_tests.harness.postgres_rows import run
from backup_pipeline_tests.harness.torture_postgres import torture_sql

NO_RULES = Rules()


def of_postgres(url: str) -> Schema:
    with PostgresSource(url).snapshot(Selection(), Options()) as snapshot:
        return snapshot.schema


def the(schema: Schema, name: str) -> Table:
    (found,) = [one for one in schema.tables if one.id.name == name]
    return found


def told(schema: Schema) -> list[str]:
    """ "orders.customer_id > customers.id, NULL: customer_id" """
    return [
        f"{one.name} > {one.parent.name}.{','.join(one.referenced)}"
        + (f", NULL: {','.join(one.nulls)}" if one.nulls else "")
        for one in references_of(schema, NO_RULES)
    ]


POSTGRES = """
CREATE DOMAIN must AS bigint CHECK (VALUE IS NOT NULL);
CREATE TABLE users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text UNIQUE, tenant int NOT NULL, slug text, gone timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (tenant, id));
CREATE UNIQUE INDEX alive ON users (slug) INCLUDE (tenant) WHERE gone IS NULL;
CREATE UNIQUE INDEX by_lower ON users (lower(email));
CREATE TABLE profiles (user_id uuid PRIMARY KEY DEFAULT gen_random_uuid() REFERENCES users);
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY, day date NOT NULL, by_user uuid REFERENCES users, PRIMARY KEY (id, day))
  PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY RANGE (day);
CREATE TABLE events_1_1 PARTITION OF events_1 DEFAULT;
CREATE TABLE events_2 PARTITION OF events DEFAULT;
CREATE TABLE notes (
  id serial PRIMARY KEY, parent must REFERENCES notes, event bigint, day date, tenant int, by_user uuid, touched timestamptz,
  created timestamp DEFAULT now(),
  FOREIGN KEY (event, day) REFERENCES events, FOREIGN KEY (tenant, by_user) REFERENCES users (tenant, id) MATCH FULL);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.created = now(); RETURN NEW; END$$;
CREATE TRIGGER touched BEFORE UPDATE OF day ON notes FOR EACH ROW EXECUTE FUNCTION touch();
"""


def test_references_and_keys_of_a_postgres_database(
    pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase
) -> None:
    url = make_pg_database(server=pg_major_server)
    run(url, POSTGRES)
    schema = of_postgres(url)
    # Partitions, and the copies of their keys at both ends, are nothing of their own.
    assert told(schema) == [
        "events.by_user > users.id, NULL: by_user",
        "notes.(event, day) > events.id,day, NULL: event,day",
        "notes.parent > notes.id",
        "notes.(tenant, by_user) > users.tenant,id, NULL: tenant,by_user",
        "profiles.user_id > users.id",
    ]
    kinds = {
        name: generated_key(the(schema, name), schema) for name in ("users", "profiles", "events", "notes")
    }
    assert kinds == {"users": "uuid", "profiles": "", "events": "", "notes": "sequence"}
    users = the(schema, "users")
    keys = usable_keys(users, users.exported_columns, generated="uuid")
    assert [(one.columns, one.where) for one in keys.found] == [
        (("email",), ""),
        (("slug",), "(gone IS NULL)"),
    ]
    assert keys.unused == (
        "by_lower is on an expression",
        "users_tenant_id_key has id, a generated key, and names a row in this database only",
    )
    births = [birth_column(the(schema, name), schema) for name in ("users", "notes", "events")]
    assert births == ["created_at", "", ""]


SQLITE = """
CREATE TABLE Users (Id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT UNIQUE COLLATE NOCASE, created_at DATETIME);
CREATE TABLE posts (id char(32) NOT NULL PRIMARY KEY, author_id REFERENCES users, editor INT NOT NULL REFERENCES USERS(ID),
  parent char(32) REFERENCES posts, gone INT REFERENCES absent, bad INT REFERENCES pairs);
CREATE TABLE pairs (a INT REFERENCES users, b INT REFERENCES users (id), PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE profiles (user_id INTEGER PRIMARY KEY REFERENCES users, nick text);
CREATE UNIQUE INDEX by_nick ON profiles (nick) WHERE nick <> '';
CREATE VIRTUAL TABLE texts USING fts5(body);
"""


def of_sqlite(files: MakeSqliteFile, script: str) -> Schema:
    with closing(sqlite3.connect(files(script=script))) as connection:
        return inspect(connection).schema


def test_references_and_keys_of_a_sqlite_database(sqlite_file: MakeSqliteFile) -> None:
    schema = of_sqlite(sqlite_file, SQLITE)
    assert told(schema) == [
        "pairs.a > Users.Id",
        "pairs.b > Users.Id",
        "posts.author_id > Users.Id, NULL: author_id",
        "posts.editor > Users.Id",
        "posts.parent > posts.id, NULL: parent",
        "profiles.user_id > Users.Id",
    ]
    assert skipped_references(schema, NO_RULES) == (
        "posts.bad is not followed: it has 1 columns, and the key of pairs has 2",
        "posts.gone is not followed: absent is not a table of the database",
    )
    names = ("Users", "posts", "pairs", "profiles")
    assert [generated_key(the(schema, name), schema) for name in names] == ["rowid", "uuid", "", ""]
    profiles = the(schema, "profiles")
    keys = usable_keys(profiles, profiles.exported_columns)
    assert [(one.columns, one.where) for one in keys.found] == [(("user_id",), ""), (("nick",), "nick <> ''")]
    assert birth_column(the(schema, "Users"), schema) == "created_at"


def test_no_table_of_a_real_database_differs_from_itself(
    pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, sqlite_file: MakeSqliteFile
) -> None:
    url = make_pg_database(server=pg_major_server)
    run(url, torture_sql(pg_major_server.major))
    for schema in (of_postgres(url), of_sqlite(sqlite_file, SQLITE)):
        schemas = Schemas(schema, schema)
        for table in schema.tables:
            found = compare_table(table, table, schemas, {}, {})
            assert (table.id, found.drift) == (table.id, ())
        tables = {table.id for table in schema.tables if table.partition_of is None}
        assert {one.table for one in references_of(schema, NO_RULES)} <= tables
