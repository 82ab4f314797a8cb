"""The session of a merge on PostgreSQL before it writes: errors, the commit, locks, rights, triggers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backup_pipeline.errors import RestoreError, RowsRefused, TargetChanged, TargetUnavailable
from backup_pipeline.model.progress import Advance
from backup_pipeline.model.schema import TableId
from backup_pipeline_tests.harness.backups import ask, run_sql
from backup_pipeline_tests.harness.merging_postgres import STATES, TRIGGERS, T, as_role, opened, role, run
from backup_pipeline_tests.harness.postgres_rows import session as other_session

__all__ = ["role"]


# ── the session


def test_a_session_that_only_counts_sees_one_moment_and_commits_nothing(pg_major_database: str) -> None:
    run_sql(pg_major_database, "CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'))")
    with opened(pg_major_database, read_only=True) as session:
        run(session, "CREATE TEMP TABLE mine AS SELECT * FROM public.t")
        run_sql(pg_major_database, "INSERT INTO t VALUES (1)")
        assert session.connection.exec_driver_sql("SELECT count(*) FROM public.t").scalar() == 0
        assert session.next_keys(T, "id", above=0) is None
        run(session, "INSERT INTO public.t VALUES (2)")
        with pytest.raises(RestoreError, match="only counts"):
            session.commit()
    assert ask(pg_major_database, "SELECT * FROM t") == [(1,)]


def test_the_session_tells_which_database_it_is(pg_major_database: str) -> None:
    ((oid, identifier),) = ask(
        pg_major_database,
        "SELECT oid::text, (SELECT system_identifier::text FROM pg_control_system()) FROM pg_database"
        " WHERE datname = current_database()",
    )
    with opened(pg_major_database) as session:
        assert session.state["database_oid"] == oid
        assert session.state["system_identifier"] == identifier
        assert (
            session.address.endswith(pg_major_database.partition("?")[0].rpartition("/")[2])
            or "?" in session.address
        )


def test_errors_of_a_step_tell_rows_from_the_rest(pg_major_database: str) -> None:
    run_sql(
        pg_major_database,
        "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'secret')",
    )
    with opened(pg_major_database) as session:
        with pytest.raises(RowsRefused, match="t_pkey") as caught, session.connection.begin_nested():
            run(session, "INSERT INTO public.t VALUES (1, 'x')")
        assert caught.value.sqlstate == "23505"
        with pytest.raises(RowsRefused) as caught, session.connection.begin_nested():
            run(session, "SELECT note::int FROM public.t")
        assert "secret" not in str(caught.value)
        assert "secret" in caught.value.values
        with pytest.raises(TargetChanged), session.connection.begin_nested():
            run(session, "SELECT gone FROM public.t")
        run(session, "INSERT INTO public.t VALUES (2, 'after the savepoints')")
        session.commit()
    assert ask(pg_major_database, "SELECT count(*) FROM t") == [(2,)]


def test_a_commit_whose_answer_was_lost_is_looked_up(
    pg_major_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sql(pg_major_database, "CREATE TABLE t (id int)")
    for id, after in ((1, True), (2, False)):
        with opened(pg_major_database) as session:
            run(session, f"INSERT INTO public.t VALUES ({id})")
            commit = session.connection.commit

            def lost(commit: Callable[[], None] = commit, after: bool = after) -> None:
                if after:
                    commit()
                else:
                    session.connection.rollback()
                raise TargetUnavailable("the answer was lost")

            monkeypatch.setattr(session.connection, "commit", lost)
            if after:
                session.commit()
            else:
                with pytest.raises(TargetUnavailable):
                    session.commit()
    assert ask(pg_major_database, "SELECT id FROM t") == [(1,)]


# ── locks


def test_writers_wait_and_readers_go_on(pg_major_database: str) -> None:
    run_sql(
        pg_major_database,
        "CREATE TABLE t (id int) PARTITION BY LIST (id); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
    )
    with opened(pg_major_database) as session:
        session.lock([T], waiting=5)
        with other_session(pg_major_database) as other, other.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'; SELECT count(*) FROM t")
            for table in ("t", "t1"):
                with pytest.raises(Exception, match="lock timeout"):
                    cursor.execute(f"INSERT INTO {table} VALUES (1)")


def test_who_keeps_a_lock_is_told(pg_major_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.databases.postgres.merging.locking.TURNS", (0.1, 0.1))
    run_sql(
        pg_major_database,
        "CREATE TABLE t (id int) PARTITION BY LIST (id); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
    )
    told: list[Advance] = []
    with other_session(pg_major_database, autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SET application_name = 'the shop'; INSERT INTO t1 VALUES (1)")
        with opened(pg_major_database, listener=told.append) as session:
            run(session, "CREATE TEMP TABLE kept (id int)")
            with pytest.raises(
                TargetUnavailable,
                match=rf"public\.t is locked by process {other.info.backend_pid} \(the shop",
            ):
                session.lock([T], waiting=0.2)
            assert ["the shop" in one.note for one in told] == [True]
            other.rollback()
            session.lock([T], waiting=5)
            run(session, "INSERT INTO pg_temp.kept VALUES (1)")


def test_a_table_that_was_altered_before_the_lock_is_refused(pg_major_database: str) -> None:
    run_sql(pg_major_database, "CREATE TABLE t (id int); CREATE TABLE u (id int)")
    with opened(pg_major_database) as session:
        run_sql(pg_major_database, "ALTER TABLE u ADD COLUMN more text")
        session.lock([T], waiting=5)
        assert [column.name for column in session.schema.table(TableId("public", "u")).columns] == [
            "id",
            "more",
        ]  # type: ignore[union-attr]
    with opened(pg_major_database) as session:
        run_sql(pg_major_database, "ALTER TABLE t ALTER COLUMN id SET NOT NULL")
        with pytest.raises(TargetChanged, match=r"public\.t"):
            session.lock([T], waiting=5)
    with opened(pg_major_database) as session:
        run_sql(pg_major_database, "DROP TABLE t; CREATE TABLE t (id int NOT NULL)")
        with pytest.raises(TargetChanged, match=r"public\.t"):
            session.lock([T], waiting=5)


# ── rights, triggers


def test_missing_rights_and_row_security_are_told_with_a_remedy_that_helps(
    pg_major_database: str, role: str
) -> None:
    run_sql(
        pg_major_database,
        f"CREATE TABLE t (id int); CREATE TABLE hidden (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;"
        f" GRANT SELECT, INSERT, UPDATE ON hidden TO {role}",
    )
    hidden = TableId("public", "hidden")
    with opened(as_role(pg_major_database, role)) as session:
        missing, filtered = session.hindrances([T, hidden])
        assert (missing.code, filtered.code) == ("merge-right-missing", "row-security-hinders")
        with pytest.raises(RestoreError, match="SELECT, INSERT, UPDATE"):
            session.ready_to_write([T], "auto")
        with pytest.raises(RestoreError, match="row security"):
            session.ready_to_write([hidden], "auto")
    run_sql(pg_major_database, missing.remedy)
    with opened(as_role(pg_major_database, role)) as session:
        assert session.hindrances([T]) == ()
        session.lock([T], waiting=5)
    with opened(pg_major_database) as session:
        assert session.hindrances([T, hidden]) == ()


@pytest.mark.parametrize("asked", ["off", "auto"])
def test_triggers_and_rules_are_off_while_rows_are_written_and_each_is_as_before_afterwards(
    pg_major_database: str, asked: str
) -> None:
    run_sql(pg_major_database, TRIGGERS)
    before = ask(pg_major_database, STATES)
    with opened(pg_major_database) as session:
        session.lock([T], waiting=5)
        (told,) = session.ready_to_write([T], asked)  # type: ignore[arg-type]
        assert told.code == "triggers-off"
        assert "rule swallow, trigger a b, trigger always" in told.message
        run(session, "INSERT INTO public.t VALUES (1, 'whole'), (2, 'swallowed')")
        session.written()
        session.commit()
    assert ask(pg_major_database, "SELECT note FROM t ORDER BY id") == [("whole",), ("swallowed",)]
    assert ask(pg_major_database, STATES) == before
    assert len({state for *_, state in before}) == 4


def test_triggers_fire_where_that_is_asked_and_where_the_login_is_not_the_owner(
    pg_major_database: str, role: str
) -> None:
    run_sql(pg_major_database, TRIGGERS + f"GRANT SELECT, INSERT, UPDATE ON t TO {role}")
    for url, asked, code in (
        (pg_major_database, "fire", "triggers-fire"),
        (as_role(pg_major_database, role), "off", "triggers-stay"),
    ):
        with opened(url) as session:
            session.lock([T], waiting=5)
            (told,) = session.ready_to_write([T], asked)  # type: ignore[arg-type]
            assert told.code == code
            run(session, "INSERT INTO public.t VALUES (1, 'whole')")
            session.commit()
    assert ask(pg_major_database, "SELECT DISTINCT note FROM t") == [("spoilt",)]


def test_a_deferred_constraint_is_checked_before_the_commit(pg_major_database: str) -> None:
    run_sql(
        pg_major_database,
        "CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t DEFERRABLE);"
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;"
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE FOR EACH ROW EXECUTE FUNCTION nothing();",
    )
    with opened(pg_major_database) as session:
        session.ready_to_write([T], "off")
        run(session, "INSERT INTO public.t VALUES (1, 2)")
        with pytest.raises(RowsRefused, match="t_parent_fkey"), session.connection.begin_nested():
            session.checked()
        run(session, "INSERT INTO public.t VALUES (2, 1)")
        session.commit()
    assert ask(pg_major_database, "SELECT count(*) FROM t") == [(2,)]
