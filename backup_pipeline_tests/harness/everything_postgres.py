"""One object of every kind that PostgreSQL has in a database, on top of the torture database.

`missing_kinds` asks the server's own catalog for kinds of objects that are missing here. So a new major version with a
new kind of object fails a test until that kind stands here.
"""

from __future__ import annotations

from collections.abc import Mapping

from backup_pipeline_tests.harness.backups import ask
from backup_pipeline_tests.harness.torture_postgres import torture_sql

#: Kind → (first major, statements). Each kind has a name of its own, so that a lost one is known by it.
KINDS: Mapping[str, tuple[int, str]] = {
    "access method": (13, "CREATE ACCESS METHOD k_am TYPE INDEX HANDLER bthandler;"),
    "table of an access method": (
        13,
        "CREATE ACCESS METHOD k_heap TYPE TABLE HANDLER heap_tableam_handler;"
        "CREATE TABLE k_am_table (id int) USING k_heap; INSERT INTO k_am_table VALUES (1);",
    ),
    "operator": (
        13,
        "CREATE FUNCTION k_less(mood, mood) RETURNS bool LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1::text < $2::text';"
        "CREATE OPERATOR <<< (LEFTARG = mood, RIGHTARG = mood, FUNCTION = k_less);",
    ),
    "operator family": (13, "CREATE OPERATOR FAMILY k_family USING btree;"),
    "operator class": (
        13,
        "CREATE FUNCTION k_compare(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT btint4cmp($2, $1)';"
        "CREATE OPERATOR CLASS k_reverse FOR TYPE int USING btree FAMILY k_family AS"
        " OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 k_compare(int, int);"
        "CREATE TABLE k_opclass (i int); INSERT INTO k_opclass VALUES (1), (2); CREATE INDEX k_opclass_i ON k_opclass (i k_reverse);",
    ),
    "ordered aggregate": (
        13,
        "CREATE AGGREGATE k_largest(int) (SFUNC = int4larger, STYPE = int, SORTOP = >);"
        "CREATE AGGREGATE k_percentile(float8 ORDER BY anyelement)"
        " (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);",
    ),
    "window function": (
        13,
        "CREATE FUNCTION k_row() RETURNS bigint LANGUAGE internal WINDOW IMMUTABLE STRICT AS 'window_row_number';",
    ),
    "conversion": (13, "CREATE CONVERSION k_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;"),
    "language": (
        13,
        # With functions of its own: pg_dump takes a language whose functions are in pg_catalog for one of an extension.
        "CREATE FUNCTION k_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';"
        "CREATE FUNCTION k_inline(internal) RETURNS void LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_inline_handler';"
        "CREATE FUNCTION k_validator(oid) RETURNS void LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_validator';"
        "CREATE TRUSTED LANGUAGE k_language HANDLER k_handler INLINE k_inline VALIDATOR k_validator;"
        "CREATE FUNCTION k_spoken() RETURNS int LANGUAGE k_language AS 'BEGIN RETURN 1; END';",
    ),
    "transform": (
        13,
        "CREATE FUNCTION k_from(internal) RETURNS internal LANGUAGE internal IMMUTABLE STRICT AS 'prsd_lextype';"
        "CREATE TRANSFORM FOR mood LANGUAGE sql (FROM SQL WITH FUNCTION k_from(internal));",
    ),
    "foreign data": (
        13,
        "CREATE FOREIGN DATA WRAPPER k_wrapper OPTIONS (debug 'it''s'); CREATE SERVER k_server TYPE 't' VERSION '1' FOREIGN DATA WRAPPER k_wrapper OPTIONS (host 'h');"
        "CREATE USER MAPPING FOR torture_reader SERVER k_server OPTIONS (\"user\" 'u'); CREATE USER MAPPING FOR PUBLIC SERVER k_server;"
        "CREATE FOREIGN TABLE k_foreign (id int OPTIONS (x 'y') NOT NULL, t text DEFAULT 'd') SERVER k_server OPTIONS (t 'r');"
        "CREATE VIEW k_on_foreign AS SELECT * FROM k_foreign; GRANT USAGE ON FOREIGN SERVER k_server TO torture_reader; GRANT USAGE ON FOREIGN DATA WRAPPER k_wrapper TO torture_reader;",
    ),
    "text search": (
        13,
        "CREATE TEXT SEARCH PARSER k_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);"
        "CREATE TEXT SEARCH TEMPLATE k_template (INIT = dsimple_init, LEXIZE = dsimple_lexize);"
        "CREATE TEXT SEARCH DICTIONARY k_dictionary (TEMPLATE = k_template, ACCEPT = 'false');"
        "CREATE TEXT SEARCH CONFIGURATION k_configuration (PARSER = k_parser); ALTER TEXT SEARCH CONFIGURATION k_configuration ADD MAPPING FOR asciiword WITH k_dictionary, simple;",
    ),
    "statistics": (
        13,
        "CREATE TABLE k_stats (a int, b int); INSERT INTO k_stats SELECT g % 3, g % 5 FROM generate_series(1, 100) g;"
        "CREATE STATISTICS k_all (ndistinct, dependencies, mcv) ON a, b FROM k_stats; ALTER STATISTICS k_all SET STATISTICS 50; ANALYZE k_stats;",
    ),
    "statistics of expressions": (14, "CREATE STATISTICS k_expression ON (a + b), a FROM k_stats;"),
    "subscription": (
        13,
        "CREATE SUBSCRIPTION k_subscription CONNECTION 'host=localhost dbname=none' PUBLICATION p WITH (connect = false, enabled = false, slot_name = NONE);",
    ),
    "publications": (13, "CREATE PUBLICATION k_everything FOR ALL TABLES WITH (publish = 'insert, delete');"),
    "publication of a schema": (
        15,
        'CREATE PUBLICATION k_schema FOR TABLES IN SCHEMA "Odd Schema";'
        "CREATE PUBLICATION k_rows FOR TABLE dept (id) WHERE (id > 1);",
    ),
    "policies": (
        13,
        "CREATE POLICY k_all ON secured; CREATE POLICY k_update ON secured FOR UPDATE USING (true); CREATE POLICY k_delete ON secured FOR DELETE USING (false);",
    ),
    "triggers": (
        13,
        "CREATE TABLE k_triggered (id int, t text); CREATE FUNCTION k_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER k_always AFTER INSERT ON k_triggered FOR EACH ROW EXECUTE FUNCTION k_trigger(); ALTER TABLE k_triggered ENABLE ALWAYS TRIGGER k_always;"
        "CREATE TRIGGER k_replica AFTER DELETE ON k_triggered REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION k_trigger(); ALTER TABLE k_triggered ENABLE REPLICA TRIGGER k_replica;"
        "CREATE CONSTRAINT TRIGGER k_constraint AFTER UPDATE ON k_triggered DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION k_trigger();"
        "CREATE VIEW k_view_triggered AS SELECT * FROM k_triggered; CREATE TRIGGER k_instead INSTEAD OF INSERT ON k_view_triggered FOR EACH ROW EXECUTE FUNCTION k_trigger();",
    ),
    "event triggers": (
        13,
        "CREATE EVENT TRIGGER k_drop ON sql_drop EXECUTE FUNCTION notice(); ALTER EVENT TRIGGER k_drop DISABLE;"
        "CREATE EVENT TRIGGER k_rewrite ON table_rewrite EXECUTE FUNCTION notice(); ALTER EVENT TRIGGER k_rewrite ENABLE REPLICA;",
    ),
    "rules": (
        13,
        "CREATE TABLE k_ruled (id int); CREATE RULE k_also AS ON INSERT TO k_ruled DO ALSO NOTIFY k_channel; ALTER TABLE k_ruled DISABLE RULE k_also;",
    ),
    "default rights": (
        13,
        'ALTER DEFAULT PRIVILEGES IN SCHEMA "Odd Schema" GRANT USAGE ON SEQUENCES TO torture_reader; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;'
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO torture_reader; ALTER DEFAULT PRIVILEGES GRANT CREATE ON SCHEMAS TO torture_owner;",
    ),
    "composite type": (
        13,
        "CREATE TYPE k_composite AS (a int, b text COLLATE \"C\"); CREATE TABLE k_typed OF k_composite (PRIMARY KEY (a)); INSERT INTO k_typed VALUES (1, 'x');",
    ),
    "base type": (
        13,
        "CREATE TYPE k_base; CREATE FUNCTION k_base_in(cstring) RETURNS k_base LANGUAGE internal IMMUTABLE STRICT AS 'int4in';"
        "CREATE FUNCTION k_base_out(k_base) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';"
        "CREATE TYPE k_base (INPUT = k_base_in, OUTPUT = k_base_out, LIKE = int4); CREATE TYPE k_shell;"
        "CREATE TABLE k_base_table (b k_base, bs k_base[]); INSERT INTO k_base_table VALUES ('7', '{8,9}');",
    ),
    "casts": (
        13,
        "CREATE FUNCTION k_to_int(mood) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT length($1::text)';"
        "CREATE CAST (mood AS int) WITH FUNCTION k_to_int(mood) AS ASSIGNMENT; CREATE CAST (floatrange AS mood) WITH INOUT;"
        "CREATE CAST (k_base AS int) WITHOUT FUNCTION AS IMPLICIT;",
    ),
    "domain constraint": (
        13,
        "CREATE DOMAIN k_domain AS mood[] DEFAULT '{sad}'; CREATE TABLE k_domains (d k_domain); INSERT INTO k_domains VALUES ('{sad}');"
        "ALTER DOMAIN k_domain ADD CONSTRAINT k_short CHECK (array_length(VALUE, 1) < 5) NOT VALID;",
    ),
    "keys": (
        13,
        "CREATE TABLE k_keys (id int PRIMARY KEY, u int, e int4range, UNIQUE (u) DEFERRABLE INITIALLY DEFERRED, CONSTRAINT k_exclude EXCLUDE USING gist (e WITH &&) WHERE (u > 0));"
        "ALTER TABLE k_keys CLUSTER ON k_keys_pkey; ALTER TABLE k_keys REPLICA IDENTITY USING INDEX k_keys_pkey; INSERT INTO k_keys VALUES (1, 1, '[1,2)');",
    ),
    "index kinds": (
        13,
        "CREATE TABLE k_indexed (i int, t text, tv tsvector, p point, a int[]); INSERT INTO k_indexed VALUES (1, 'a', 'a', '(1,1)', '{1}');"
        "CREATE INDEX k_hash ON k_indexed USING hash (t); CREATE INDEX k_brin ON k_indexed USING brin (i) WITH (pages_per_range = 4); CREATE INDEX k_spgist ON k_indexed USING spgist (p);"
        'CREATE INDEX k_gin ON k_indexed USING gin (a); CREATE INDEX k_desc ON k_indexed (i DESC NULLS LAST, t COLLATE "C" text_pattern_ops);'
        "CREATE INDEX k_calculated ON k_indexed ((i + 1)); ALTER INDEX k_calculated ALTER COLUMN 1 SET STATISTICS 7;",
    ),
    "partitioned index": (13, "CREATE INDEX k_partitioned_index ON hashed (t);"),
    "function settings": (
        13,
        "CREATE FUNCTION k_definer(VARIADIC a int[] DEFAULT '{}') RETURNS TABLE (x int, y text) LANGUAGE plpgsql SECURITY DEFINER STABLE COST 7 ROWS 3 SET search_path = pg_catalog, public SET work_mem = '8MB'"
        " AS 'BEGIN RETURN QUERY SELECT 1, ''y''; END'; ALTER FUNCTION k_definer(int[]) OWNER TO torture_owner; REVOKE ALL ON FUNCTION k_definer(int[]) FROM PUBLIC;",
    ),
    "recursive view": (
        13,
        "CREATE RECURSIVE VIEW k_recursive (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM k_recursive WHERE n < 3;",
    ),
    "comments everywhere": (
        13,
        "COMMENT ON CAST (mood AS int) IS 'cast'; COMMENT ON OPERATOR <<< (mood, mood) IS 'op'; COMMENT ON POLICY k_all ON secured IS 'policy'; COMMENT ON RULE k_also ON k_ruled IS 'rule';"
        "COMMENT ON TRIGGER k_always ON k_triggered IS 'trigger'; COMMENT ON EVENT TRIGGER k_drop IS 'event'; COMMENT ON SERVER k_server IS 'server'; COMMENT ON PUBLICATION k_everything IS 'pub';"
        "COMMENT ON STATISTICS k_all IS 'stats'; COMMENT ON CONSTRAINT has_at ON DOMAIN email IS 'domain'; COMMENT ON TEXT SEARCH CONFIGURATION k_configuration IS 'ts';",
    ),
    "object of another owner": (
        13,
        "CREATE TABLE k_owned (id serial PRIMARY KEY, t text); INSERT INTO k_owned (t) VALUES ('x'); ALTER TABLE k_owned OWNER TO torture_owner;"
        "CREATE FUNCTION k_owned_f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION k_owned_f() OWNER TO torture_owner; CREATE TYPE k_owned_type AS ENUM ('a'); ALTER TYPE k_owned_type OWNER TO torture_owner;",
    ),
}

#: Catalogs that hold nothing of one database, or nothing that a logical backup keeps: the reason stands beside each.
NOT_OF_A_DATABASE: Mapping[str, str] = {
    "pg_auth_members": "of the server: memberships are kept for roles that the backup names",
    "pg_authid": "of the server",
    "pg_database": "the row of this database is compared by the tests of `--create`",
    "pg_db_role_setting": "settings are compared by the tests of `--create`",
    "pg_depend": "follows from the objects",
    "pg_extension": "the tests of contrib make every extension that there is",
    "pg_init_privs": "rights that an extension came with",
    "pg_largeobject": "refused, or excluded by name",
    "pg_largeobject_metadata": "refused, or excluded by name",
    "pg_parameter_acl": "of the server",
    "pg_replication_origin": "of the server: how far a subscription has come",
    "pg_seclabel": "needs a provider that is loaded into the server",
    "pg_shdescription": "comments on databases and roles are compared by the tests of `--create`",
    "pg_shseclabel": "needs a provider that is loaded into the server",
    "pg_statistic": "figures of the planner, made by ANALYZE",
    "pg_statistic_ext_data": "figures of the planner, made by ANALYZE",
    "pg_subscription_rel": "how far a subscription has come",
    "pg_tablespace": "of the server: a restore makes the tables in the default tablespace",
}

#: Columns of one letter a kind, and the letters that a database may hold; below, the letters of newer major versions.
LETTERS: Mapping[str, str] = {
    "pg_class.relkind": "rivmScpIf",
    "pg_class.relpersistence": "pu",
    "pg_class.relreplident": "dfi",
    "pg_type.typtype": "bcdepr",
    "pg_proc.prokind": "fapw",
    "pg_proc.provolatile": "isv",
    "pg_constraint.contype": "cfpuxt",
    "pg_constraint.confdeltype": "acn",
    "pg_attribute.attidentity": "ad",
    "pg_attribute.attgenerated": "s",
    "pg_policy.polcmd": "*rawd",
    "pg_partitioned_table.partstrat": "rlh",
    "pg_trigger.tgenabled": "ODAR",
    "pg_event_trigger.evtenabled": "ODR",
    "pg_rewrite.ev_enabled": "OD",
    "pg_rewrite.ev_type": "134",
    "pg_cast.castcontext": "eai",
    "pg_cast.castmethod": "fib",
    "pg_aggregate.aggkind": "no",
    "pg_default_acl.defaclobjtype": "rSfTn",
}
LETTERS_SINCE_18: Mapping[str, str] = {"pg_attribute.attgenerated": "v", "pg_constraint.contype": "n"}


def everything_sql(major: int) -> str:
    parts = [torture_sql(major)]
    parts += [statements for since, statements in KINDS.values() if major >= since]
    return "\n".join(parts)


def missing_kinds(url: str, major: int) -> list[str]:
    """What this server's catalog can hold and this database does not; empty when it has one of everything."""
    missing = []
    catalogs = "SELECT oid::regclass::text, relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' ORDER BY 2"
    for qualified, name in ask(url, catalogs):
        if str(name) not in NOT_OF_A_DATABASE and not _rows_of_ours(url, str(qualified)):
            missing.append(str(name))
    for place, letters in [*LETTERS.items(), *(LETTERS_SINCE_18.items() if major >= 18 else ())]:
        catalog, column = place.split(".")
        found = {
            str(value)
            for (value,) in ask(
                url, f"SELECT DISTINCT {column} FROM pg_catalog.{catalog} WHERE {_ours(url, catalog)}"
            )
        }
        missing += [f"{place} = {letter}" for letter in letters if letter not in found]
    return missing


def _rows_of_ours(url: str, catalog: str) -> bool:
    ((there,),) = ask(url, f"SELECT EXISTS (SELECT FROM {catalog} WHERE {_ours(url, catalog)})")
    return bool(there)


def _ours(url: str, catalog: str) -> str:
    """Rows that name an object of ours in any column: ours have the numbers from 16384 on."""
    columns = ask(
        url,
        f"SELECT attname FROM pg_attribute WHERE attrelid = 'pg_catalog.{catalog}'::regclass AND attnum > 0"
        " AND NOT attisdropped AND atttypid IN ('oid'::regtype, 'regproc'::regtype)",
    )
    return " OR ".join(f"{column}::oid >= 16384" for (column,) in columns)
