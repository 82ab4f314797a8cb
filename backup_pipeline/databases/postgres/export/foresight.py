"""What no restore will have as it is, told by the doctor and by the backup while the source can still be mended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backup_pipeline.databases.postgres.export import connect
from backup_pipeline.model.findings import Finding

_SHOWN = 20

_INVALID = """
SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
 WHERE NOT i.indisvalid AND c.relkind IN ('r', 'm') AND i.indexrelid >= 16384 ORDER BY 1
"""


def invalid_indexes(connection: connect.Connection) -> Iterator[Finding]:
    found = connect.rows(connection, _INVALID)
    if found:
        yield Finding.of("invalid-index", count=len(found), examples=(row[0] for row in found[:_SHOWN]))


# As the view pg_user_mappings decides it. It shows NULL where the login may not look, and where there are no options.
_UNREAD = """
SELECT pg_catalog.format('USER MAPPING FOR %s SERVER %I',
         CASE WHEN m.umuser = 0 THEN 'public' ELSE pg_catalog.quote_ident(m.usename) END, m.srvname)
  FROM pg_catalog.pg_user_mappings m JOIN pg_catalog.pg_foreign_server s ON s.oid = m.srvid
 WHERE m.umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
   AND NOT CASE WHEN m.umuser = 0 THEN pg_catalog.pg_has_role(s.srvowner, 'USAGE')
                ELSE m.usename = current_user AND (pg_catalog.pg_has_role(s.srvowner, 'USAGE')
                                                   OR pg_catalog.has_server_privilege(s.oid, 'USAGE')) END
 ORDER BY 1
"""


def unread_mappings(connection: connect.Connection) -> Iterator[Finding]:
    found = connect.rows(connection, _UNREAD)
    if found:
        yield Finding.of("mapping-options-unread", count=len(found), examples=(row[0] for row in found))


# Functions that run while rows are written or an index is built, and what calls them: those with a body that is text, which
# is read when it runs, and without a search_path of their own. By dependency: an index, a CHECK (of a domain, too), a
# generated column, a materialised view.
_CALLED = """
SELECT p.oid::pg_catalog.regprocedure::text, p.prosrc, l.lanname, pg_catalog.array_agg(DISTINCT coalesce(i.indrelid::bigint, 0)), pg_catalog.array_agg(DISTINCT
         pg_catalog.pg_describe_object(d.classid, d.objid, 0) ORDER BY pg_catalog.pg_describe_object(d.classid, d.objid, 0))
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid = p.oid
  LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
  LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
  LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
  LEFT JOIN pg_catalog.pg_class m ON m.oid = r.ev_class
  LEFT JOIN pg_catalog.pg_attrdef f ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = d.objid
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
 WHERE l.lanname IN ('sql', 'plpgsql') AND p.prosrc <> '' AND p.oid >= 16384
   AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) s WHERE s LIKE 'search\\_path=%')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                      AND e.objid = p.oid AND e.deptype = 'e')
   AND (c.relkind IN ('i', 'I') OR m.relkind = 'm' OR a.attgenerated <> ''
        OR d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass)
 GROUP BY 1, 2, 3 ORDER BY 1
"""
# Names that are found by a search_path only: no others of that name are in pg_catalog.
_NAMES = """
SELECT DISTINCT found.name FROM (
    SELECT proname AS name, pronamespace AS schema FROM pg_catalog.pg_proc UNION ALL
    SELECT relname, relnamespace FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') UNION ALL
    SELECT typname, typnamespace FROM pg_catalog.pg_type WHERE typrelid = 0
) found WHERE found.schema <> 'information_schema'::pg_catalog.regnamespace GROUP BY found.name HAVING NOT pg_catalog.bool_or(found.schema = 'pg_catalog'::pg_catalog.regnamespace)
"""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
#: A word without a schema before it, and none that is a schema. Words of the language are no one's names.
_USED = re.compile(
    r"""(?i)(?<![.\w"$'])(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[a-z_][\w$]*))(?!["\w$]|\s*\.)"""
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A function that names things without a schema."""

    function: str
    names: tuple[str, ...]
    language: str
    #: By number: tables with an index that calls it.
    tables: frozenset[int]
    called_by: tuple[str, ...]


def _callers(connection: connect.Connection) -> list[Caller]:
    """By the words of the functions alone: nothing of the source's is run."""
    called = connect.rows(connection, _CALLED)
    known = {name for (name,) in connect.rows(connection, _NAMES)} if called else set()
    found = []
    for function, body, language, tables, called_by in called:
        names = tuple(sorted(used_names(body) & known))
        if names:
            found.append(Caller(function, names, language, frozenset(tables), tuple(called_by)))
    return found


def not_to_be_planned(connection: connect.Connection) -> frozenset[int]:
    """Tables on which no query can be planned with an empty search_path: the planner opens the SQL functions of their
    indexes, and does not find what those name."""
    return frozenset(oid for one in _callers(connection) if one.language == "sql" for oid in one.tables)


def names_without_schema(connection: connect.Connection) -> Iterator[Finding]:
    found = _callers(connection)
    if found:
        yield Finding.of(
            "search-path-needed",
            count=len(found),
            examples=(
                f"{one.function} names {', '.join(one.names)}; called by {', '.join(one.called_by[:3])}"
                for one in found[:_SHOWN]
            ),
        )


def used_names(body: str) -> set[str]:
    return {
        match["quoted"].replace('""', '"') if match["quoted"] else match["plain"].lower()
        for match in _USED.finditer(_COMMENT.sub(" ", body))
    }
