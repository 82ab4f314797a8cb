"""The catalog queries, each one round trip for the whole database, so that 2,000 tables take no longer than 20.

Every query leaves out what belongs to the system, to other sessions' temporary schemas, to extensions (which bring their
own objects), and to merges (`databases.own_names`). Names of kinds are the catalog's one-letter codes; `inspect` and `objects` give them meaning.
"""

from __future__ import annotations

from backup_pipeline.databases.own_names import OWN_COMMENT, OWN_SCHEMA

_OWN = (
    f"n.nspname = '{OWN_SCHEMA}'"
    f" AND pg_catalog.obj_description(n.oid, 'pg_namespace') IS NOT DISTINCT FROM '{OWN_COMMENT}'"
)
OURS = f"n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT ({_OWN})"

#: Whether there is a schema of merges.
HAS_OWN = f"SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE {_OWN})"


def not_of_extension(catalog: str, column: str) -> str:
    return (
        f"NOT EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass"
        f" AND x.objid = {column} AND x.deptype = 'e')"
    )


#: A standby has the definition of what is unlogged, and nothing that is in it.
HOLLOW = "(c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())"

_TABLES = f"""
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
"""

_TRUSTED = """EXISTS (SELECT FROM pg_catalog.pg_roles o
                WHERE o.oid = c.relowner AND (o.rolsuper OR o.rolname = current_user))"""

#: What is locked. Extension members are in it, so that each can be named as left out.
CANDIDATES = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.row_security_active(c.oid),
       (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
           AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass),
       c.oid = ANY (SELECT pg_catalog.unnest(extconfig) FROM pg_catalog.pg_extension),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       CASE WHEN c.relispartition THEN
            ARRAY(SELECT relid::oid::bigint FROM pg_catalog.pg_partition_ancestors(c.oid) relid WHERE relid::oid <> c.oid)
            ELSE '{{}}'::bigint[] END,
       {HOLLOW}
{_TABLES} ORDER BY 2, 3
"""

RELATIONS = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity,
       pg_catalog.pg_get_userbyid(c.relowner), pg_catalog.obj_description(c.oid, 'pg_class'),
       pg_catalog.pg_get_expr(c.relpartbound, c.oid), pg_catalog.pg_get_partkeydef(c.oid), c.reloptions,
       c.relispartition, c.relforcerowsecurity,
       ARRAY(SELECT i.inhparent::bigint FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno)
{_TABLES} AND {not_of_extension("pg_class", "c.oid")} ORDER BY 2, 3
"""

#: Tables whose owner could have his functions run by the login: see `STORAGE`.
OF_OTHERS = f"""
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) {_TABLES} AND c.relkind = 'r'
   AND NOT {_TRUSTED} ORDER BY 1
"""

SCHEMAS_OF = "SELECT DISTINCT c.relnamespace::bigint FROM pg_catalog.pg_class c WHERE c.oid = ANY (%s::oid[])"

#: Where the rows lie: for planning and for the unchanged rule, of every table at once.
STORAGE = f"""
SELECT c.oid, coalesce(pg_catalog.pg_relation_filenode(c.oid), 0), c.reltablespace,
       CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) ELSE 0 END,
       CASE WHEN c.relkind = 'r' AND c.reltoastrelid <> 0
            THEN coalesce(pg_catalog.pg_relation_size(c.reltoastrelid), 0) ELSE 0 END,
       c.reltuples::bigint, c.relam,
       -- The planner computes what is constant in index expressions: the table's owner has his functions run by a login
       -- that may run programs (as a superuser may). Such a table is read by a plain COPY, which plans nothing.
       {_TRUSTED} OR NOT pg_catalog.pg_has_role(current_user, 'pg_execute_server_program', 'MEMBER')
{_TABLES}
"""

COLUMNS = f"""
SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
       a.attgenerated, pg_catalog.pg_get_expr(d.adbin, d.adrelid),
       CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
            THEN pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) END,
       pg_catalog.col_description(a.attrelid, a.attnum), a.attnum, a.atttypid, a.atttypmod
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
 WHERE {OURS} AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""

CONSTRAINTS = f"""
SELECT k.conrelid, k.conname, k.contype, pg_catalog.pg_get_constraintdef(k.oid), k.condeferrable, k.condeferred,
       k.convalidated, k.confrelid, k.confupdtype, k.confdeltype, k.confmatchtype,
       ARRAY(SELECT a.attname FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(num, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.place)::text[],
       ARRAY(SELECT a.attname FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u(num, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.place)::text[],
       k.conindid, fn.nspname, fc.relname, k.conparentid <> 0
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_class fc ON fc.oid = k.confrelid
  LEFT JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
 WHERE {OURS} AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND k.contype IN ('p', 'u', 'f', 'c', 'x')
 ORDER BY k.conrelid, k.conname
"""

INDEXES = f"""
SELECT i.indrelid, ic.relname, pg_catalog.pg_get_indexdef(i.indexrelid), i.indisunique, i.indexrelid, i.indisvalid,
       ic.relispartition, n.nspname, c.relname, c.relkind,
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname,
                 CASE WHEN a.attname IS NULL THEN pg_catalog.pg_get_indexdef(i.indexrelid, k.part, false) END,
                 -- 100: the default collation, which an expression has when it names none.
                 CASE WHEN co.oid <> coalesce(a.attcollation, 100) THEN co.collname END) ORDER BY k.part)
          FROM pg_catalog.generate_series(1, i.indnkeyatts) k(part)
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.part - 1] AND a.attnum <> 0
          LEFT JOIN pg_catalog.pg_collation co ON co.oid = i.indcollation[k.part - 1]),
       pg_catalog.pg_get_expr(i.indpred, i.indrelid),
       -- PostgreSQL 15 and newer have the column.
       coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
   -- As pg_dump: what a failed CREATE INDEX CONCURRENTLY left is no index yet.
   AND (i.indisvalid OR c.relkind = 'p') AND i.indisready
 ORDER BY i.indrelid, ic.relname
"""

SEQUENCES = f"""
SELECT n.nspname, c.relname, pg_catalog.format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
       s.seqcache, s.seqcycle, tn.nspname, t.relname, a.attname,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT'), c.oid,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'), coalesce(d.deptype = 'i', false),
       pg_catalog.obj_description(c.oid, 'pg_class'), pg_catalog.pg_get_userbyid(c.relowner), {HOLLOW}
  FROM pg_catalog.pg_sequence s
  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
  LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
  LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE {OURS} AND c.relpersistence <> 't' AND {not_of_extension("pg_class", "c.oid")}
 ORDER BY 1, 2
"""

#: Every type that is not built in, so that what a column's text depends on can be followed to its end. A dropped attribute
#: counts: one that is added after it has another number, and is NULL in the rows that there are.
TYPES = """
SELECT t.oid, n.nspname, t.typname, t.typtype, t.typelem, t.typbasetype, t.typtypmod, t.typrelid,
       coalesce(r.part, 0),
       ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)::text[],
       ARRAY(SELECT ARRAY[a.attnum, a.atttypid::bigint, a.atttypmod] FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = t.typrelid AND a.attnum > 0 ORDER BY a.attnum),
       (SELECT e.extname || ' ' || e.extversion
          FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
         WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e'
           AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass),
       t.typoutput::oid < 16384
  FROM pg_catalog.pg_type t
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN (SELECT rngtypid AS oid, rngsubtype AS part FROM pg_catalog.pg_range UNION ALL
             -- A multirange (since version 14) is made of its range.
             SELECT (pg_catalog.to_jsonb(m) ->> 'rngmultitypid')::oid, rngtypid FROM pg_catalog.pg_range m) r
         ON r.oid = t.oid
 WHERE t.oid >= 16384 OR t.typtype IN ('r', 'm') OR t.typname ~ '^_?reg' OR t.typname ~ '^_?aclitem$'
"""
