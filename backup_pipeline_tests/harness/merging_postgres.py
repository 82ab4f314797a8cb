"""Sessions of a merge on PostgreSQL, for tests of what they do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backup_pipeline.databases.engines import engine_at
from backup_pipeline.databases.merge.session import Session, SessionOptions
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.schema import TableId
from backup_pipeline_tests.harness.backups import run_sql

T = TableId("public", "t")


@contextmanager
def opened(url: str, **options: object) -> Iterator[Session]:
    with engine_at(url).merging(url, SessionOptions(**options)) as session:  # type: ignore[arg-type]
        yield session


def run(session: Session, statement: str) -> int:
    return session.connection.exec_driver_sql(statement).rowcount


def as_role(url: str, role: str) -> str:
    return url.replace("postgresql://postgres@", f"postgresql://{role}@")


@pytest.fixture
def role(pg_major_server: EmbeddedPostgres, pg_major_database: str) -> Iterator[str]:
    """A login that owns nothing of the database."""
    name = f"merger_{os.getpid()}"
    run_sql(pg_major_server.url(), f"CREATE ROLE {name} LOGIN")
    yield name
    run_sql(pg_major_database, f"DROP OWNED BY {name}")
    run_sql(pg_major_server.url(), f"DROP ROLE {name}")


#: A partitioned table `t` with a trigger in each state, and a rule.
TRIGGERS = """
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.note := 'spoilt'; RETURN NEW; END$$;
CREATE TABLE t (id int, note text) PARTITION BY LIST (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);
CREATE TRIGGER "a b" BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION spoil();
CREATE TRIGGER always BEFORE INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION spoil();
CREATE TRIGGER replica BEFORE INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION spoil();
CREATE TRIGGER off BEFORE INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION spoil();
ALTER TABLE t1 ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica, DISABLE TRIGGER off;
ALTER TABLE t2 DISABLE TRIGGER "a b";
CREATE RULE swallow AS ON INSERT TO t WHERE NEW.note = 'swallowed' DO INSTEAD NOTHING;
"""
STATES = (
    "SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal"
    " UNION ALL SELECT ev_class::regclass::text, rulename::text, ev_enabled::text FROM pg_rewrite WHERE rulename = 'swallow' ORDER BY 1, 2"
)
