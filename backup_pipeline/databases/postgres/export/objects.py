"""Everything in a database that is not a table or a sequence, each as the SQL that makes it.

The definitions serve to compare schemas and to rebuild them where there is no pg_dump (`reflection`). The order of
`KINDS` is an order in which they can be made. Kinds in `NAMED_ONLY` are known by name but not spelled out.
"""

from __future__ import annotations

from typing import Any

from backup_pipeline.databases.postgres.export import catalog, connect
from backup_pipeline.databases.postgres.export.catalog import OURS
from backup_pipeline.model.schema import SchemaObject, TableId

_NOT_MEMBER = catalog.not_of_extension

#: kind → a query of (schema, name, table's schema, table's name, definition).
QUERIES: dict[str, str] = {
    "schema": f"""
SELECT NULL, n.nspname, NULL, NULL, pg_catalog.format('CREATE SCHEMA %I;', n.nspname)
  FROM pg_catalog.pg_namespace n
 WHERE {OURS} AND n.nspname <> 'public' AND {_NOT_MEMBER("pg_namespace", "n.oid")} ORDER BY 2
""",
    "extension": """
SELECT n.nspname, e.extname, NULL, NULL,
       pg_catalog.format('CREATE EXTENSION IF NOT EXISTS %I WITH SCHEMA %I; -- version %s', e.extname, n.nspname, e.extversion)
  FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname <> 'plpgsql' ORDER BY 2
""",
    "enum": f"""
SELECT n.nspname, t.typname, NULL, NULL,
       pg_catalog.format('CREATE TYPE %I.%I AS ENUM (%s);', n.nspname, t.typname,
         (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
            FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid))
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE {OURS} AND t.typtype = 'e' AND {_NOT_MEMBER("pg_type", "t.oid")} ORDER BY t.oid
""",
    "domain": f"""
SELECT n.nspname, t.typname, NULL, NULL,
       pg_catalog.format('CREATE DOMAIN %I.%I AS %s', n.nspname, t.typname, pg_catalog.format_type(t.typbasetype, t.typtypmod))
       || coalesce((SELECT pg_catalog.format(' COLLATE %I.%I', cn.nspname, co.collname) FROM pg_catalog.pg_collation co
                      JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
                      JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
                     WHERE co.oid = t.typcollation AND t.typcollation <> b.typcollation), '')
       || coalesce(' DEFAULT ' || t.typdefault, '')
       || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce((SELECT pg_catalog.string_agg(pg_catalog.format(' CONSTRAINT %I ', k.conname)
                           || pg_catalog.pg_get_constraintdef(k.oid), '' ORDER BY k.conname)
                      FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), '') || ';'
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE {OURS} AND t.typtype = 'd' AND {_NOT_MEMBER("pg_type", "t.oid")} ORDER BY t.oid
""",
    "composite": f"""
SELECT n.nspname, t.typname, NULL, NULL,
       pg_catalog.format('CREATE TYPE %I.%I AS (%s);', n.nspname, t.typname,
         (SELECT pg_catalog.string_agg(pg_catalog.format('%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)),
                                       ', ' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
 WHERE {OURS} AND {_NOT_MEMBER("pg_type", "t.oid")} ORDER BY t.oid
""",
    "range": f"""
SELECT n.nspname, t.typname, NULL, NULL,
       pg_catalog.format('CREATE TYPE %I.%I AS RANGE (SUBTYPE = %s', n.nspname, t.typname, pg_catalog.format_type(r.rngsubtype, NULL))
       || CASE WHEN r.rngsubdiff::oid <> 0 THEN ', SUBTYPE_DIFF = ' || r.rngsubdiff::text ELSE '' END
       || ');'
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
 WHERE {OURS} AND {_NOT_MEMBER("pg_type", "t.oid")} ORDER BY t.oid
""",
    # The table is one whose row type, or whose rows, the function speaks of: it can only be made after that one.
    "function": f"""
SELECT n.nspname, p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', u.nspname, u.relname,
       pg_catalog.pg_get_functiondef(p.oid) || ';'
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  LEFT JOIN LATERAL (
       SELECT un.nspname, uc.relname FROM pg_catalog.pg_depend d
         LEFT JOIN pg_catalog.pg_type ut ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND ut.oid = d.refobjid
         LEFT JOIN pg_catalog.pg_type ue ON ue.oid = ut.typelem AND ut.typtype = 'b'
         JOIN pg_catalog.pg_class uc ON uc.relkind IN ('r', 'p', 'f', 'v', 'm') AND uc.oid = CASE
              WHEN d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass THEN d.refobjid
              ELSE coalesce(nullif(ut.typrelid, 0), ue.typrelid) END
         JOIN pg_catalog.pg_namespace un ON un.oid = uc.relnamespace
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
        ORDER BY uc.relkind IN ('v', 'm') DESC LIMIT 1) u ON true
 WHERE {OURS} AND p.prokind IN ('f', 'p', 'w') AND {_NOT_MEMBER("pg_proc", "p.oid")}
   -- Constructors of range types are made with their type.
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i WHERE i.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                      AND i.objid = p.oid AND i.deptype = 'i')
 ORDER BY p.oid
""",
    "view": f"""
SELECT n.nspname, c.relname, NULL, NULL,
       pg_catalog.format('CREATE VIEW %I.%I%s AS', n.nspname, c.relname,
                         coalesce(' WITH (' || pg_catalog.array_to_string(c.reloptions, ', ') || ')', ''))
       || E'\\n' || pg_catalog.pg_get_viewdef(c.oid)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND c.relkind = 'v' AND c.relpersistence <> 't' AND {_NOT_MEMBER("pg_class", "c.oid")} ORDER BY c.oid
""",
    # WITH DATA or WITH NO DATA says whether it was populated, so that a restore knows which ones to refresh.
    "materialized view": f"""
SELECT n.nspname, c.relname, NULL, NULL,
       pg_catalog.format('CREATE MATERIALIZED VIEW %I.%I AS', n.nspname, c.relname) || E'\\n'
       || pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';')
       || CASE WHEN c.relispopulated THEN E'\\n  WITH DATA;' ELSE E'\\n  WITH NO DATA;' END
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND c.relkind = 'm' AND {_NOT_MEMBER("pg_class", "c.oid")} ORDER BY c.oid
""",
    "statistics": f"""
SELECT n.nspname, s.stxname, tn.nspname, c.relname, pg_catalog.pg_get_statisticsobjdef(s.oid) || ';'
  FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
  JOIN pg_catalog.pg_class c ON c.oid = s.stxrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = c.relnamespace
 WHERE {OURS} ORDER BY 1, 2
""",
    "rule": f"""
SELECT n.nspname, r.rulename, n.nspname, c.relname, pg_catalog.pg_get_ruledef(r.oid)
  FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND r.rulename <> '_RETURN' AND {_NOT_MEMBER("pg_class", "c.oid")} ORDER BY 1, 4, 2
""",
    "trigger": f"""
SELECT n.nspname, g.tgname, n.nspname, c.relname, pg_catalog.pg_get_triggerdef(g.oid) || ';'
       || CASE g.tgenabled WHEN 'O' THEN '' ELSE pg_catalog.format(E'\\nALTER TABLE %I.%I %s TRIGGER %I;', n.nspname, c.relname,
            CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, g.tgname) END
  FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND NOT g.tgisinternal AND {_NOT_MEMBER("pg_class", "c.oid")}
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
                      AND d.objid = g.oid AND d.deptype IN ('P', 'S', 'I'))
 ORDER BY 1, 4, 2
""",
    "policy": f"""
SELECT n.nspname, p.polname, n.nspname, c.relname,
       pg_catalog.format('CREATE POLICY %I ON %I.%I AS %s FOR %s TO %s', p.polname, n.nspname, c.relname,
         CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
         CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
         (SELECT pg_catalog.string_agg(CASE WHEN u = 0 THEN 'PUBLIC'
                  ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(u)) END, ', ') FROM pg_catalog.unnest(p.polroles) u))
       || coalesce(' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', '')
       || coalesce(' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') || ';'
  FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {OURS} ORDER BY 1, 4, 2
""",
}

#: What is listed by name, and not rebuilt by `reflection`: (kind, query of schema, name).
NAMED_ONLY: dict[str, str] = {
    "aggregate": f"""SELECT n.nspname, p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')'
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE {OURS} AND p.prokind = 'a' AND {_NOT_MEMBER("pg_proc", "p.oid")}""",
    "base type": f"""SELECT n.nspname, t.typname FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        WHERE {OURS} AND t.typtype = 'b' AND t.typelem = 0 AND {_NOT_MEMBER("pg_type", "t.oid")}""",
    "collation": f"""SELECT n.nspname, c.collname FROM pg_catalog.pg_collation c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
        WHERE {OURS} AND {_NOT_MEMBER("pg_collation", "c.oid")}""",
    "operator": f"""SELECT n.nspname, o.oprname || '(' || pg_catalog.format_type(o.oprleft, NULL) || ', '
          || pg_catalog.format_type(o.oprright, NULL) || ')' FROM pg_catalog.pg_operator o
        JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
        WHERE {OURS} AND {_NOT_MEMBER("pg_operator", "o.oid")}""",
    "operator class": f"""SELECT n.nspname, o.opcname FROM pg_catalog.pg_opclass o
        JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
        WHERE {OURS} AND {_NOT_MEMBER("pg_opclass", "o.oid")}""",
    "text search configuration": f"""SELECT n.nspname, c.cfgname FROM pg_catalog.pg_ts_config c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.cfgnamespace
        WHERE {OURS} AND {_NOT_MEMBER("pg_ts_config", "c.oid")}""",
    "text search dictionary": f"""SELECT n.nspname, c.dictname FROM pg_catalog.pg_ts_dict c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.dictnamespace
        WHERE {OURS} AND {_NOT_MEMBER("pg_ts_dict", "c.oid")}""",
    "cast": f"""SELECT NULL, pg_catalog.format_type(c.castsource, NULL) || ' as ' || pg_catalog.format_type(c.casttarget, NULL)
        FROM pg_catalog.pg_cast c WHERE c.oid >= 16384 AND {_NOT_MEMBER("pg_cast", "c.oid")}""",
    "event trigger": f"""SELECT NULL, e.evtname FROM pg_catalog.pg_event_trigger e
        WHERE {_NOT_MEMBER("pg_event_trigger", "e.oid")}""",
    "publication": "SELECT NULL, pubname FROM pg_catalog.pg_publication",
    "foreign server": "SELECT NULL, srvname FROM pg_catalog.pg_foreign_server",
    "language": f"""SELECT NULL, l.lanname FROM pg_catalog.pg_language l
        WHERE l.oid >= 16384 AND l.lanname <> 'plpgsql' AND {_NOT_MEMBER("pg_language", "l.oid")}""",
    "default privileges": """SELECT NULL, pg_catalog.pg_get_userbyid(defaclrole) || ' ' || defaclobjtype::text
        FROM pg_catalog.pg_default_acl""",
}

#: What was granted on what, as (object type, schema, name, ACL) and taken apart by the server.
GRANTS = f"""
SELECT g.schema, g.name, g.kind, g.relation, g.target,
       CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END,
       pg_catalog.string_agg(x.privilege_type || g.columns, ', ' ORDER BY x.privilege_type), x.is_grantable,
       CASE WHEN x.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(x.grantee) END
  FROM (SELECT n.nspname AS schema, c.relname AS name, pg_catalog.format('%I.%I', n.nspname, c.relname) AS target,
               CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.relkind IN ('r', 'p', 'f') AS relation,
               c.relacl AS acl, c.relowner AS owner, '' AS columns
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE {OURS} AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND c.relacl IS NOT NULL
           AND {_NOT_MEMBER("pg_class", "c.oid")}
        UNION ALL
        SELECT n.nspname, c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname), 'TABLE', true,
               a.attacl, c.relowner, pg_catalog.format(' (%I)', a.attname)
          FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE {OURS} AND a.attacl IS NOT NULL AND NOT a.attisdropped AND {_NOT_MEMBER("pg_class", "c.oid")}
        UNION ALL
        SELECT n.nspname, p.proname, p.oid::pg_catalog.regprocedure::text,
               CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, false, p.proacl, p.proowner, ''
          FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
         WHERE {OURS} AND p.proacl IS NOT NULL AND {_NOT_MEMBER("pg_proc", "p.oid")}
        UNION ALL
        SELECT NULL, n.nspname, pg_catalog.quote_ident(n.nspname), 'SCHEMA', false, n.nspacl, n.nspowner, ''
          FROM pg_catalog.pg_namespace n WHERE {OURS} AND n.nspacl IS NOT NULL
       ) g, LATERAL pg_catalog.aclexplode(g.acl) x
 WHERE x.grantee <> g.owner
 GROUP BY 1, 2, 3, 4, 5, 6, x.is_grantable, x.grantee ORDER BY 3, 1, 2, 6
"""

#: Comments on what the model has no place for. Those of tables and columns are in the tables themselves.
COMMENTS = f"""
SELECT n.nspname, c.relname, pg_catalog.format('COMMENT ON %s %I.%I IS %L;',
         CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'INDEX' END,
         n.nspname, c.relname, d.description)
  FROM pg_catalog.pg_description d JOIN pg_catalog.pg_class c ON c.oid = d.objoid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
   AND c.relkind IN ('v', 'm', 'S', 'i', 'I') AND {_NOT_MEMBER("pg_class", "c.oid")}
UNION ALL
SELECT n.nspname, t.typname, pg_catalog.format('COMMENT ON %s %I.%I IS %L;',
         CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, n.nspname, t.typname, d.description)
  FROM pg_catalog.pg_description d JOIN pg_catalog.pg_type t ON t.oid = d.objoid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE {OURS} AND d.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass AND {_NOT_MEMBER("pg_type", "t.oid")}
UNION ALL
SELECT n.nspname, p.proname, pg_catalog.format('COMMENT ON %s %s IS %L;',
         CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
         p.oid::pg_catalog.regprocedure::text, d.description)
  FROM pg_catalog.pg_description d JOIN pg_catalog.pg_proc p ON p.oid = d.objoid
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE {OURS} AND d.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND {_NOT_MEMBER("pg_proc", "p.oid")}
UNION ALL
SELECT NULL, n.nspname, pg_catalog.format('COMMENT ON SCHEMA %I IS %L;', n.nspname, d.description)
  FROM pg_catalog.pg_description d JOIN pg_catalog.pg_namespace n ON n.oid = d.objoid
 WHERE {OURS} AND n.nspname <> 'public' AND d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
UNION ALL
SELECT n.nspname, k.conname, pg_catalog.format('COMMENT ON CONSTRAINT %I ON %I.%I IS %L;', k.conname, n.nspname, c.relname, d.description)
  FROM pg_catalog.pg_description d JOIN pg_catalog.pg_constraint k ON k.oid = d.objoid
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
ORDER BY 1, 2, 3
"""

#: Owners of what the model has no place for, and what was taken from everybody.
OWNERS = f"""
SELECT NULL, n.nspname, pg_catalog.format('ALTER SCHEMA %I OWNER TO %I;', n.nspname, pg_catalog.pg_get_userbyid(n.nspowner)), 'owner'
  FROM pg_catalog.pg_namespace n WHERE {OURS} AND n.nspname <> 'public'
UNION ALL
SELECT n.nspname, c.relname, pg_catalog.format('ALTER %s %I.%I OWNER TO %I;', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN
         'MATERIALIZED VIEW' ELSE 'SEQUENCE' END, n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner)), 'owner'
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND c.relkind IN ('v', 'm', 'S') AND c.relpersistence <> 't' AND {_NOT_MEMBER("pg_class", "c.oid")}
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid = c.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i'))
UNION ALL
SELECT n.nspname, t.typname, pg_catalog.format('ALTER TYPE %I.%I OWNER TO %I;', n.nspname, t.typname,
         pg_catalog.pg_get_userbyid(t.typowner)), 'owner'
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
 WHERE {OURS} AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') AND {_NOT_MEMBER("pg_type", "t.oid")}
UNION ALL
SELECT n.nspname, p.proname, pg_catalog.format('ALTER ROUTINE %s OWNER TO %I;', p.oid::pg_catalog.regprocedure::text,
         pg_catalog.pg_get_userbyid(p.proowner)), 'owner'
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE {OURS} AND p.prokind IN ('f', 'p', 'w') AND {_NOT_MEMBER("pg_proc", "p.oid")}
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i WHERE i.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                      AND i.objid = p.oid AND i.deptype = 'i')
UNION ALL
SELECT n.nspname, p.proname, pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC;', p.oid::pg_catalog.regprocedure::text), 'grant'
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE {OURS} AND p.prokind IN ('f', 'p', 'w') AND p.proacl IS NOT NULL AND {_NOT_MEMBER("pg_proc", "p.oid")}
ORDER BY 1, 2, 3
"""


def read_objects(connection: connect.Connection) -> tuple[list[SchemaObject], set[str]]:
    """All of them, and the roles that are granted something."""
    found: list[SchemaObject] = []
    for kind, query in QUERIES.items():
        for schema, name, table_schema, table, definition in connect.rows(connection, query):
            owner = TableId(table_schema, table) if table else None
            found.append(SchemaObject(kind, name, definition.strip(), schema, owner))
    for kind, query in NAMED_ONLY.items():
        for schema, name in sorted(
            connect.rows(connection, query), key=lambda pair: (pair[0] or "", pair[1])
        ):
            found.append(SchemaObject(kind, name, "", schema))
    for schema, name, definition in connect.rows(connection, COMMENTS):
        found.append(SchemaObject("comment", name, definition, schema))
    for schema, name, definition, kind in connect.rows(connection, OWNERS):
        found.append(SchemaObject(kind, name, definition, schema))
    grants, roles = _grants(connect.rows(connection, GRANTS))
    return found + grants, roles


def _grants(rows: list[tuple[Any, ...]]) -> tuple[list[SchemaObject], set[str]]:
    found: list[SchemaObject] = []
    roles: set[str] = set()
    for schema, name, kind, relation, target, grantee, privileges, grantable, role in rows:
        if role is not None:
            roles.add(role)
        option = " WITH GRANT OPTION" if grantable else ""
        found.append(
            SchemaObject(
                "grant",
                name,
                f"GRANT {privileges} ON {kind} {target} TO {grantee}{option};",
                schema,
                TableId(schema, name) if relation else None,
            )
        )
    return found, roles
