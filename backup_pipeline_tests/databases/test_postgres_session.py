"""No setting of a login, a database or a server changes what a row is: neither in a backup, nor in a restore, a drill or
RECOVER.md. Complete by construction: each setting that PostgreSQL has was looked at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.databases.base import DrillOptions, RestoreOptions
from backup_pipeline.databases.postgres.export.session import STEADY_SCANS
from backup_pipeline.databases.postgres.restore import preflight
from backup_pipeline.databases.postgres.restore.target import Server
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.drills import drill
from backup_pipeline.model.postgres_session import ROW_TEXT, row_text
from backup_pipeline.restores import restore
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, rows_of, run_sql
from backup_pipeline_tests.harness.engines import MAJORS, MakePgDatabase, Servers
from backup_pipeline_tests.vault.test_recover import recover_postgres

#: Settings that a role or a database may have and that we leave as they are, by the reason why.
LOOKED_AT = {
    "set by each session of ours, beside this list": """
        client_encoding application_name client_min_messages default_tablespace maintenance_work_mem synchronous_commit
        client_connection_check_interval check_function_bodies default_table_access_method restrict_nonsystem_relation_kind
        transaction_isolation transaction_read_only transaction_deferrable""",
    "to_char and the like use it, and no type's input or output": "lc_numeric lc_time default_text_search_config",
    "a statement fails, and says so": """
        default_transaction_isolation default_transaction_read_only default_transaction_deferrable dynamic_library_path
        extension_control_path extension_destdir temp_file_limit max_stack_depth local_preload_libraries session_preload_libraries
        allow_in_place_tablespaces allow_system_table_mods lo_compat_privileges""",
    # While a restore runs there are neither triggers nor foreign keys; a foreign key is checked by a query.
    "nothing in a restore is done by a trigger of rows": "session_replication_role event_triggers",
    # Only a superuser can change them, and they hide damage from every reader of that server alike.
    "what is damaged already": "ignore_checksum_failure zero_damaged_pages ignore_system_indexes",
    "how values are stored, not which": """
        default_toast_compression temp_tablespaces gin_pending_list_limit file_copy_method wal_compression wal_consistency_checking
        wal_init_zero wal_recycle wal_skip_threshold commit_delay commit_siblings backend_flush_after""",
    "about roles, which have no rows": "password_encryption scram_iterations md5_password_warnings createrole_self_grant",
    "how a plan is chosen; every plan has the same rows": """
        cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction default_statistics_target
        effective_cache_size effective_io_concurrency enable_async_append enable_bitmapscan enable_distinct_reordering
        enable_gathermerge enable_group_by_reordering enable_hashagg enable_hashjoin enable_incremental_sort enable_indexonlyscan
        enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop enable_parallel_append
        enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate enable_partitionwise_join
        enable_presorted_aggregate enable_self_join_elimination enable_seqscan enable_sort enable_tidscan force_parallel_mode
        debug_parallel_query from_collapse_limit join_collapse_limit geqo geqo_effort geqo_generations geqo_pool_size geqo_seed
        geqo_selection_bias geqo_threshold jit_above_cost jit_expressions jit_inline_above_cost jit_optimize_above_cost
        jit_tuple_deforming max_parallel_maintenance_workers max_parallel_workers min_parallel_index_scan_size
        min_parallel_table_scan_size parallel_leader_participation parallel_setup_cost parallel_tuple_cost plan_cache_mode
        random_page_cost recursive_worktable_factor seq_page_cost""",
    "how much memory, and how fast": """
        hash_mem_multiplier io_combine_limit logical_decoding_work_mem maintenance_io_concurrency temp_buffers
        vacuum_buffer_usage_limit work_mem deadlock_timeout vacuum_cost_delay vacuum_cost_limit vacuum_cost_page_dirty
        vacuum_cost_page_hit vacuum_cost_page_miss vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age
        vacuum_max_eager_freeze_failure_rate vacuum_multixact_failsafe_age vacuum_multixact_freeze_min_age
        vacuum_multixact_freeze_table_age vacuum_truncate wal_sender_timeout tcp_keepalives_count tcp_keepalives_idle
        tcp_keepalives_interval tcp_user_timeout post_auth_delay debug_discard_caches stats_fetch_consistency""",
    "what is written to a log, or measured": """
        backtrace_functions compute_query_id debug_pretty_print debug_print_parse debug_print_plan debug_print_rewritten
        debug_logical_replication_streaming logical_decoding_mode escape_string_warning jit_debugging_support jit_dump_bitcode
        jit_profiling_support lc_messages log_connections log_disconnections log_duration log_error_verbosity log_executor_stats
        log_lock_failures log_lock_waits log_min_duration_sample log_min_duration_statement log_min_error_statement
        log_min_messages log_parameter_max_length log_parameter_max_length_on_error log_parser_stats log_planner_stats
        log_replication_commands log_statement log_statement_sample_rate log_statement_stats log_temp_files
        log_transaction_sample_rate trace_notify trace_sort trace_recovery_messages track_activities track_cost_delay_timing
        track_counts track_functions track_io_timing track_wal_io_timing update_process_title operator_precedence_warning""",
}

#: What each of ours would do harm with. A setting that joins the list needs a value here.
HOSTILE = {
    "statement_timeout": "10min",
    "lock_timeout": "10min",
    "idle_in_transaction_session_timeout": "10min",
    "TimeZone": "Asia/Kathmandu",
    "timezone_abbreviations": "India",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "lc_monetary": "C.UTF-8",
    "xmloption": "document",
    "xmlbinary": "hex",
    "array_nulls": "off",
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "row_security": "on",
    "gin_fuzzy_search_limit": "1",
    "constraint_exclusion": "on",
    "exit_on_error": "on",
}

SOURCE = """
CREATE TABLE odd (id int PRIMARY KEY, words text[], at timestamptz, day date, lasts interval, bytes bytea, number float8,
                  price money, mark xml, what regclass, slot tstzrange[]);
INSERT INTO odd VALUES
  (1, '{NULL,x}', '2026-03-04 05:06:07+00', '2026-03-04', '-1 year 2 days -3 hours', '\\x5c27', 0.1::float8 + 0.2, 12.5, NULL,
   'odd', array[tstzrange('2026-01-02 00:00+00', '2026-02-01 00:00+00')]),
  (2, '{"NULL",NULL}', 'infinity', '-infinity', '1-2', '\\x00ff', 'NaN', -0.01, NULL, 'pg_class', '{}');
CREATE TABLE tagged (tags int[]);
INSERT INTO tagged SELECT array[1, n] FROM generate_series(2, 5000) n;
CREATE INDEX ON tagged USING gin (tags);
CREATE MATERIALIZED VIEW ones AS SELECT tags FROM tagged WHERE tags @> '{1}';
"""


def test_every_setting_that_postgresql_has_was_looked_at_once(pg_servers: Servers) -> None:
    looked_at = [name for names in LOOKED_AT.values() for name in names.split()]
    ours = {*row_text(max(MAJORS)), *STEADY_SCANS}
    assert len(looked_at) == len(set(looked_at))
    assert not ours & set(looked_at)
    known: set[str] = set()
    for server in pg_servers.values():
        # The other contexts are one value for a whole server, and none of them is about a value's text.
        found = {
            str(name)
            for (name,) in ask(
                server.url(),
                "SELECT name FROM pg_settings WHERE name NOT LIKE '%.%' AND context IN"
                " ('user', 'superuser', 'backend', 'superuser-backend')",
            )
        }
        assert found - ours - set(looked_at) == set(), f"PostgreSQL {server.major}: look at these"
        assert set(row_text(server.major)) <= found
        known |= found
    assert ours <= known
    assert ROW_TEXT.keys() == HOSTILE.keys()


@pytest.fixture(scope="module")
def backed(pg_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    """Read by a login that has all of them."""
    url = pg_server.create_database("odd_settings")
    run_sql(url, SOURCE)
    with suppress(psycopg.errors.FeatureNotSupported):  # a server that was built without libxml
        run_sql(url, "UPDATE odd SET mark = xmlparse(content 'a<b/>')")
    spoil(url)
    yield backed_up(url, tmp_path_factory.mktemp("settings") / "vault")
    pg_server.drop_database("odd_settings")


def spoil(url: str) -> None:
    """From now on every new session in that database has the hostile settings."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in HOSTILE.items():
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(connection.info.dbname), sql.Identifier(name), sql.Literal(value)
                )
            )


@pytest.mark.parametrize("way", ["one transaction", "parallel", "RECOVER.md"])
def test_what_the_target_has_as_its_defaults_changes_no_row(
    backed: Backed,
    pg_server: EmbeddedPostgres,
    make_pg_database: MakePgDatabase,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
) -> None:
    """Before: with `array_nulls = off`, `{NULL,x}` was restored as `{"NULL",x}`, without a word."""
    target = make_pg_database()
    spoil(target)
    if way == "RECOVER.md":
        recover_postgres(backed, pg_server, target, tmp_path)
    else:
        monkeypatch.setattr(preflight, "SMALL", 0 if way == "parallel" else 1 << 30)
        refused = "SECURITY LABEL FOR nothing_like_it ON TABLE public.odd IS 'x';"
        found = restore(
            backed.vault.backup_of(backed.with_sql("post-data", refused)), target, RestoreOptions(jobs=2)
        ).findings
        assert [one.code for one in found] == ["label-provider-missing"]
    assert rows_of(target) == rows_of(backed.url)
    with Server.of(target).open() as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_what_the_scratch_login_has_as_its_defaults_changes_no_row(
    backed: Backed, pg_server: EmbeddedPostgres
) -> None:
    try:
        for name, value in HOSTILE.items():
            run_sql(pg_server.url(), f"ALTER ROLE CURRENT_USER SET {name} = '{value}'")
        report = drill(backed.backup, DrillOptions(scratch_url=pg_server.url()))
    finally:
        run_sql(pg_server.url(), "ALTER ROLE CURRENT_USER RESET ALL")
    assert report.report.errors == ()
