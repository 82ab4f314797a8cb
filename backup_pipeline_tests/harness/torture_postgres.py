"""A PostgreSQL database of everything that makes a backup wrong: one of each, small, and with rows that bite.

`torture_sql(major)` builds it in an empty database, as a superuser. It makes the roles `torture_owner` and
`torture_reader` if they are missing. A copy is right when `pg_dump --schema-only` of both sides is equal and every row
is equal as text. An INSERT into every table of `INSERTS` must work then.
"""

from __future__ import annotations

# Names that need quoting, that look like SQL, that are as long as they can be, that hold what shells and psql mind.
LONG_NAME = "n" * 63
INJECTION_NAME = 'x"; DROP TABLE accounts; --'
AWKWARD_SCHEMA = "Odd Schema"

#: What a column of text may hold and a line-based format may trip over.
AWKWARD_TEXTS = (
    "",
    " ",
    "\\",
    "\\N",
    "\\.",
    "a\\tb",
    "a\tb",
    "line\nline",
    "line\r\nline\r",
    "\x01\x02\x7f",
    "'; DROP TABLE x; --",
    "ünïcødé 日本語 \U0001f980 e\u0301",
    "\ufeff",
    "NULL",
    "null",
    '"\\N"',
    "{1,2}",
    "$1 %s {0} :name",
    "\u2028\u2029\x85",
    "trailing \\",
    "x" * 100_000,
)

#: Roles live outside a database: another server needs them before this one is restored to it.
ROLES = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'torture_owner') THEN CREATE ROLE torture_owner; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'torture_reader') THEN CREATE ROLE torture_reader; END IF;
END $$;
"""

_TYPES = r"""
CREATE SCHEMA "Odd Schema";
COMMENT ON SCHEMA "Odd Schema" IS 'it''s odd; \ and "quoted"';
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'hap py', 'ünï', 'back\slash', 'comma,brace}');
CREATE TYPE "Odd Schema"."Pair Type" AS (x int, "y Z" text);
CREATE DOMAIN positive AS numeric(10,2) DEFAULT 1 CHECK (VALUE > 0);
CREATE DOMAIN email AS text CONSTRAINT has_at CHECK (VALUE ~ '@') NOT NULL;
CREATE DOMAIN tags AS text[];
CREATE TYPE floatrange AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi);
CREATE TYPE nested AS (p "Odd Schema"."Pair Type", m mood[], d positive);
"""

_VALUES = r"""
CREATE TABLE numbers (id serial PRIMARY KEY, i2 smallint, i4 int, i8 bigint, r real, d double precision, n numeric,
                      n2 numeric(20,5), m money, b boolean, o oid);
INSERT INTO numbers (i2, i4, i8, r, d, n, n2, m, b, o) VALUES
  (-32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', 'NaN', 0.00001, '-92233720368547758.08', true, 0),
  (32767, 2147483647, 9223372036854775807, '1e-45', '5e-324', 12345678901234567890.1234567890123456789000, 99999.5, '$1,234.56', false, 4294967295),
  (0, 0, 0, '-0', '-0', 1.00, 1, '0', NULL, NULL),
  (NULL, NULL, NULL, 0.1::real, 0.1, '1e-100', NULL, NULL, NULL, NULL),
  (1, 1, 1, 'Infinity', 1.7976931348623157e308, 1e300, -1, '0.01', true, 1),
  (1, 1, 1, 16777217, 0.1 + 0.2, 100, -1, '0.01', true, 1);
CREATE TABLE times (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, d date, t time, tt timetz, ts timestamp, tz timestamptz,
                    i interval, p3 timestamp(3));
INSERT INTO times (d, t, tt, ts, tz, i, p3) VALUES
  ('4713-01-01 BC', '00:00', '00:00+15:59', '4713-01-01 00:00:00 BC', '0044-03-15 12:00 BC', '-178000000 years', '2000-01-01 00:00:00.1235'),
  ('5874897-12-31', '24:00', '24:00-15:59', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '178000000 years', NULL),
  ('infinity', '23:59:59.999999', '12:34:56.789+05:45', '-infinity', 'infinity', '1 year -2 mons 3 days -04:05:06.000007', NULL),
  ('-infinity', NULL, NULL, 'infinity', '-infinity', '-00:00:00.000001', NULL),
  ('2000-02-29', '12:00', '12:00+00', '1999-12-31 23:59:60', '2026-03-29 02:30:00 Europe/Berlin', 'P1Y2M3DT4H5M6S', now());
CREATE TABLE texts (id bigserial PRIMARY KEY, t text, v varchar(40), c char(12), n name, "char" "char");
INSERT INTO texts (v, c, n, "char") VALUES ('trailing   ', 'pad', 'a name', 'x'), ('', '', '', ''), (NULL, NULL, NULL, NULL),
  (E'tab\there', E'nl\nx', E'b\\s', E'\\377');
CREATE TABLE bits (id serial, b bit(5), vb bit varying, by bytea, u uuid, ip inet, net cidr, mac macaddr, mac8 macaddr8);
INSERT INTO bits (b, vb, by, u, ip, net, mac, mac8) VALUES
  (B'10101', B'', '\x', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05'),
  (B'00000', B'1', '\x00ff5c4e090a', '00000000-0000-0000-0000-000000000000', '192.168.0.1', '::/0', NULL, NULL),
  (NULL, NULL, decode(repeat('00ff5c0a', 50000), 'hex'), NULL, NULL, NULL, NULL, NULL);
-- Not every server is built with libxml.
DO $do$ BEGIN
  CREATE TABLE markup (id int PRIMARY KEY, x xml);
  INSERT INTO markup VALUES (1, '<?xml version="1.0"?><a b="c">&amp;<!-- x --></a>'), (2, 'text, no <b>root</b>'), (3, NULL);
EXCEPTION WHEN feature_not_supported THEN NULL; END $do$;
CREATE TABLE documents (id int PRIMARY KEY, j json, jb jsonb, jp jsonpath, tv tsvector, tq tsquery);
INSERT INTO documents VALUES
  (1, '{"b":1, "a" : [1,2,  {"x":null}], "b":2}', '{"b":1,"a":1.10,"u":"\u00fc\\ud83e","n":123456789012345678901234567890}', '$.a[*] ? (@ > 1)', 'a:1A fat:2B,4C ''qu''''ote'':3', 'fat & (rat | !cat) <-> dog'),
  (2, '"\u0041\n"', 'null', '$', '', ''), (3, '  [ ]  ', '{}', NULL, NULL, NULL);
CREATE TABLE arrays (id serial PRIMARY KEY, a int[], aa int[][], t text[], j jsonb[], m mood[], z timestamptz[], b bytea[], n numeric[]);
INSERT INTO arrays (a, aa, t, j, m, z, b, n) VALUES
  ('{}', '{{1,2},{3,4}}', ARRAY['', 'NULL', NULL, '"', '\', ',', '{}', E'\n', E'\t', ' '], ARRAY['{"a":"\\"}'::jsonb], '{sad,"it''s ok"}', '{infinity,"2000-01-01 00:00+00"}', ARRAY['\x00'::bytea], '{NaN,1.00}'),
  ('[-1:1]={1,NULL,3}', '[0:1][5:6]={{1,2},{NULL,4}}', '{}', NULL, '{"back\\slash","comma,brace}"}', NULL, NULL, NULL), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE ranges (id int PRIMARY KEY, i int4range, n numrange, ts tstzrange, d daterange, f floatrange, EXCLUDE USING gist (i WITH &&));
INSERT INTO ranges VALUES (1, '[1,5)', '(,)', '[2000-01-01 00:00+00,infinity]', 'empty', '[1.5,NaN]'), (2, 'empty', 'empty', '[,)', '(,2000-01-01)', NULL),
  (3, '[10,)', '[1.10,2.00]', NULL, NULL, 'empty');
CREATE TABLE shapes (id serial, p point, l line, s lseg, b box, pa path, po polygon, c circle);
INSERT INTO shapes (p, l, s, b, pa, po, c) VALUES ('(1e-320,-0)', '{1,-1,0}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(0,0),1e300>'),
  ('(NaN,Infinity)', NULL, NULL, NULL, '((0,0),(1,1))', NULL, NULL);
CREATE TABLE composites (id serial PRIMARY KEY, p "Odd Schema"."Pair Type", n nested, e email DEFAULT 'a@b', d positive, t tags, m mood);
INSERT INTO composites (p, n, e, d, t, m) VALUES (ROW(1, E'a"b\\c,(d)\n'), ROW(ROW(NULL, '')::"Odd Schema"."Pair Type", '{sad}', 2), 'x@y', 0.01, '{a,NULL}', 'ünï'),
  (ROW(NULL, NULL), ROW(NULL, NULL, NULL), '@', NULL, NULL, NULL), (NULL, NULL, E'@\n', NULL, '{}', 'back\slash');
CREATE TABLE catalog_names (id int, c regclass, t regtype, r regrole, n regnamespace, f regprocedure, l pg_lsn, a aclitem);
INSERT INTO catalog_names VALUES (1, 'numbers', 'mood', 'torture_owner', '"Odd Schema"', 'lower(text)', '16/B374D848', 'torture_owner=r/postgres');
"""

_SHAPES = r"""
CREATE TABLE no_columns ();
INSERT INTO no_columns SELECT FROM generate_series(1, 7);
CREATE TABLE empty_table (id int PRIMARY KEY, t text);
CREATE TABLE no_key (a int, b text);
INSERT INTO no_key VALUES (1, 'same'), (1, 'same'), (1, 'same'), (NULL, NULL), (NULL, NULL);
CREATE TABLE only_generated (a int GENERATED ALWAYS AS (1) STORED);
INSERT INTO only_generated SELECT FROM generate_series(1, 3);
CREATE TABLE generated (id int GENERATED BY DEFAULT AS IDENTITY (START 100 INCREMENT 5) PRIMARY KEY, "first name" text, g text GENERATED ALWAYS AS ("first name" || '!') STORED, after text);
INSERT INTO generated ("first name", after) VALUES ('x', 'y'), (NULL, NULL);
CREATE TABLE dropped (a int, gone1 text, b text, gone2 int, c int DEFAULT 7);
INSERT INTO dropped VALUES (1, 'x', 'y', 2);
ALTER TABLE dropped DROP COLUMN gone1, DROP COLUMN gone2;
ALTER TABLE dropped ADD COLUMN late text DEFAULT 'fast default' NOT NULL;
INSERT INTO dropped VALUES (2, 'z', 3);
CREATE UNLOGGED TABLE unlogged (id serial, t text);
INSERT INTO unlogged (t) VALUES ('kept');
CREATE TABLE "Odd Schema"."select" ("from" int PRIMARY KEY, "a b" text, "a""b" text, "a.b" text, "A\b" text, "%s" text, "日本" text, "'" text, " " text);
INSERT INTO "Odd Schema"."select" VALUES (1, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
CREATE TABLE "Odd Schema"."x""; DROP TABLE accounts; --" (id int PRIMARY KEY);
INSERT INTO "Odd Schema"."x""; DROP TABLE accounts; --" VALUES (1);
CREATE TABLE {long_name} ({long_name} int PRIMARY KEY);
INSERT INTO {long_name} VALUES (1);
CREATE TABLE "UPPER" (id int); CREATE TABLE upper (id int); INSERT INTO "UPPER" VALUES (1); INSERT INTO upper VALUES (2);
CREATE TABLE wide_rows (id int PRIMARY KEY, external text, plain text); ALTER TABLE wide_rows ALTER external SET STORAGE EXTERNAL;
INSERT INTO wide_rows SELECT g, repeat(md5(g::text), 10000), repeat('x', 300000) FROM generate_series(1, 5) g;
"""

_RELATIONS = r"""
CREATE TABLE accounts (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, parent bigint REFERENCES accounts DEFERRABLE INITIALLY DEFERRED,
                       CONSTRAINT not_self CHECK (parent <> id), kind mood DEFAULT 'sad');
INSERT INTO accounts (email, parent) VALUES ('b@x', 2), ('a@x', 1), ('c@x', NULL);
CREATE TABLE dept (id int PRIMARY KEY, head int NOT NULL); CREATE TABLE emp (id int PRIMARY KEY, dept int NOT NULL REFERENCES dept ON DELETE CASCADE ON UPDATE SET NULL);
BEGIN; ALTER TABLE dept ADD FOREIGN KEY (head) REFERENCES emp DEFERRABLE INITIALLY DEFERRED; INSERT INTO dept VALUES (1, 1), (2, 2); INSERT INTO emp VALUES (1, 1), (2, 2), (3, 1); COMMIT;
CREATE TABLE multi (a int, b text, c int, PRIMARY KEY (b, a), UNIQUE (c) DEFERRABLE); INSERT INTO multi VALUES (1, 'x', 1), (2, 'x', 2);
CREATE TABLE multi_child (id serial PRIMARY KEY, x int, y text, FOREIGN KEY (y, x) REFERENCES multi (b, a) MATCH FULL ON DELETE SET NULL);
INSERT INTO multi_child (x, y) VALUES (1, 'x'), (NULL, NULL);
ALTER TABLE multi_child ADD CONSTRAINT not_checked FOREIGN KEY (x) REFERENCES dept NOT VALID;
CREATE TABLE measured (at date NOT NULL, city text, v numeric, id bigint GENERATED BY DEFAULT AS IDENTITY, PRIMARY KEY (at, city)) PARTITION BY RANGE (at);
CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (city);
CREATE TABLE measured_2025_a PARTITION OF measured_2025 FOR VALUES IN ('Berlin', 'it''s');
CREATE TABLE measured_2025_rest PARTITION OF measured_2025 DEFAULT;
CREATE TABLE "Odd Schema"."measured rest" (v numeric, city text NOT NULL, at date NOT NULL, id bigint NOT NULL);
ALTER TABLE measured ATTACH PARTITION "Odd Schema"."measured rest" DEFAULT;
INSERT INTO measured (at, city, v) VALUES ('2025-05-05', 'Berlin', 1.50), ('2025-06-06', 'Oslo', 'NaN'), ('2030-01-01', 'Berlin', NULL);
CREATE TABLE hashed (id int PRIMARY KEY, t text) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT g, 'h' || g FROM generate_series(1, 20) g;
CREATE TABLE parent (id serial PRIMARY KEY, t text); CREATE TABLE child (extra int) INHERITS (parent); CREATE TABLE grandchild (more text) INHERITS (child);
INSERT INTO parent (t) VALUES ('p'); INSERT INTO child (t, extra) VALUES ('c', 1); INSERT INTO grandchild (t, extra, more) VALUES ('g', 2, 'm');
CREATE SEQUENCE lonely START 5 INCREMENT -3 MINVALUE -100 MAXVALUE 10 CYCLE CACHE 1; SELECT nextval('lonely'), nextval('lonely');
CREATE SEQUENCE "Odd Schema"."never called" AS smallint;
CREATE TABLE counted (id int DEFAULT nextval('"Odd Schema"."never called"'));
"""

_OBJECTS = r"""
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN NEW.t := coalesce(NEW.t, '$1 \ %') || ''; RETURN NEW; END $body$;
CREATE FUNCTION "Odd Schema"."add one"(i int DEFAULT 1, OUT o int) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT i + 1';
CREATE PROCEDURE clean(INOUT n int) LANGUAGE plpgsql AS 'BEGIN n := n + 1; END';
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1');
CREATE TRIGGER touched BEFORE INSERT OR UPDATE OF t ON texts FOR EACH ROW WHEN (NEW.t IS DISTINCT FROM 'x') EXECUTE FUNCTION touch();
CREATE TRIGGER disabled BEFORE INSERT ON no_key FOR EACH STATEMENT EXECUTE FUNCTION touch(); ALTER TABLE no_key DISABLE TRIGGER disabled;
CREATE INDEX expression ON texts (lower(t)) WHERE t IS NOT NULL; CREATE UNIQUE INDEX "Partial Unique" ON no_key (b) WHERE a > 1; CREATE INDEX ON measured (city);
CREATE INDEX gin_index ON documents USING gin (jb jsonb_path_ops); CREATE INDEX included ON accounts (email) INCLUDE (kind);
CREATE STATISTICS city_stats (dependencies) ON at, city FROM measured_2025_a;
CREATE VIEW rich AS SELECT id, email FROM accounts WHERE kind = 'sad' WITH LOCAL CHECK OPTION; CREATE VIEW "Odd Schema".on_view WITH (security_barrier) AS SELECT * FROM rich;
CREATE MATERIALIZED VIEW summary AS SELECT city, count(*) AS n, sum(v) AS v FROM measured GROUP BY city; CREATE UNIQUE INDEX ON summary (city);
CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS one WITH NO DATA; CREATE MATERIALIZED VIEW on_summary AS SELECT sum(n) FROM summary;
CREATE RULE no_delete AS ON DELETE TO empty_table DO INSTEAD NOTHING;
CREATE TABLE secured (id serial PRIMARY KEY, owner name DEFAULT current_user, t text); INSERT INTO secured (t) VALUES ('secret'), ('public');
ALTER TABLE secured ENABLE ROW LEVEL SECURITY; ALTER TABLE secured FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secured FOR SELECT TO torture_reader USING (owner = current_user) ; CREATE POLICY w ON secured AS RESTRICTIVE FOR INSERT WITH CHECK (t <> '');
GRANT USAGE ON SCHEMA "Odd Schema" TO torture_reader; GRANT SELECT ON accounts, rich TO torture_reader WITH GRANT OPTION; GRANT UPDATE (email), INSERT ON accounts TO torture_reader;
GRANT USAGE ON SEQUENCE lonely TO PUBLIC; REVOKE EXECUTE ON FUNCTION touch() FROM PUBLIC; ALTER DEFAULT PRIVILEGES FOR ROLE torture_owner GRANT SELECT ON TABLES TO torture_reader;
ALTER TABLE accounts OWNER TO torture_owner; ALTER VIEW rich OWNER TO torture_owner; ALTER SCHEMA "Odd Schema" OWNER TO torture_owner;
COMMENT ON TABLE accounts IS E'it''s "odd" \\ and\nlong'; COMMENT ON COLUMN accounts.email IS 'an e-mail'; COMMENT ON FUNCTION touch() IS 'f'; COMMENT ON VIEW rich IS 'v';
COMMENT ON INDEX expression IS 'i'; COMMENT ON CONSTRAINT not_self ON accounts IS 'c'; COMMENT ON TYPE mood IS 't'; COMMENT ON SEQUENCE lonely IS 's';
CREATE TABLE tuned (id int, t text COLLATE "C") WITH (fillfactor = 70, autovacuum_enabled = false); ALTER TABLE tuned ALTER t SET STATISTICS 5; ALTER TABLE tuned REPLICA IDENTITY FULL;
CREATE COLLATION IF NOT EXISTS "Odd Schema".mine (provider = libc, locale = 'C'); CREATE EVENT TRIGGER noticed ON ddl_command_end WHEN TAG IN ('CREATE CAST') EXECUTE FUNCTION notice();
CREATE TEXT SEARCH CONFIGURATION simple2 (COPY = pg_catalog.simple); CREATE PUBLICATION news FOR TABLE accounts WITH (publish = 'insert');
"""

_NOTICE = "CREATE FUNCTION notice() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';\n"

_SINCE_14 = r"""
CREATE TABLE multiranges (id int PRIMARY KEY, m int4multirange, f floatmultirange, c text COMPRESSION pglz);
INSERT INTO multiranges VALUES (1, '{[1,3),[5,9)}', '{}', 'c'), (2, '{}', '{[1.5,2.5]}', NULL), (3, NULL, NULL, NULL);
CREATE FUNCTION modern(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a + 1; END;
"""
_SINCE_15 = """
CREATE TABLE nulls (a int, b int, UNIQUE NULLS NOT DISTINCT (a, b)); INSERT INTO nulls VALUES (NULL, 1), (1, NULL);
CREATE VIEW invoking WITH (security_invoker = true) AS SELECT * FROM nulls;
"""
_SINCE_18 = """
CREATE TABLE virtual (id int PRIMARY KEY, v int GENERATED ALWAYS AS (id * 2) VIRTUAL, t text); INSERT INTO virtual (id, t) VALUES (1, 'a'), (2, 'b');
CREATE TABLE periods (id int4range, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS), extra int, CONSTRAINT loose CHECK (extra > 0) NOT ENFORCED);
INSERT INTO periods VALUES ('[1,2)', '[2020-01-01,2021-01-01)', -1), ('[1,2)', '[2021-01-01,2022-01-01)', 1);
"""

#: The first write after a restore: each takes its key from a sequence or an identity, which must not collide.
INSERTS = (
    "INSERT INTO numbers (i4) VALUES (1)",
    "INSERT INTO times (d) VALUES ('2020-01-01')",
    "INSERT INTO texts (t) VALUES ('new')",
    "INSERT INTO arrays (a) VALUES ('{1}')",
    "INSERT INTO composites (d) VALUES (1)",
    "INSERT INTO generated (after) VALUES ('new')",
    "INSERT INTO accounts (email) VALUES ('new@x')",
    "INSERT INTO multi_child (x) VALUES (NULL)",
    "INSERT INTO measured (at, city) VALUES ('2025-07-07', 'new')",
    "INSERT INTO parent (t) VALUES ('new')",
    "INSERT INTO child (t) VALUES ('new')",
    "INSERT INTO counted DEFAULT VALUES",
)


def torture_sql(major: int) -> str:
    """The whole database as one script of plain statements, for any client that sends several at once."""
    shapes = _SHAPES.replace("{long_name}", LONG_NAME)
    texts = ", ".join("(" + _quote(text) + ")" for text in AWKWARD_TEXTS)
    parts = ["SET search_path = public; SET check_function_bodies = on;", ROLES, _TYPES, _VALUES]
    parts += [f"INSERT INTO texts (t) VALUES {texts};", shapes, _RELATIONS, _NOTICE, _OBJECTS]
    parts += [
        _SINCE_14 if major >= 14 else "",
        _SINCE_15 if major >= 15 else "",
        _SINCE_18 if major >= 18 else "",
    ]
    return "\n".join(parts)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
