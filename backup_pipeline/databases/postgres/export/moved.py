"""Whether the catalog moved while rows were read: looked at under the snapshot, and in a new transaction after the last row.

Rows are of the snapshot; names and types are not. The server finds a table by its present name. It writes an enum's
label, a composite's attributes and a regclass as they are now. A table's own lock keeps its name and its columns;
its schema can be renamed and its types altered all the same. So the used names and types are compared. The writing
transaction is compared too, where a change that was taken back would have torn the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from backup_pipeline.databases.postgres.export import connect

#: (kind, which) → (its name, what else was looked at).
Look = Mapping[tuple[str, str], tuple[str, str]]

#: The objects that a value of a reg* type or an aclitem can name. Only compared where a table has such a column.
_NAMED = (
    *(("pg_class", "relname", "relnamespace"), ("pg_proc", "proname", "pronamespace")),
    *(("pg_type", "typname", "typnamespace"), ("pg_operator", "oprname", "oprnamespace")),
    *(("pg_collation", "collname", "collnamespace"), ("pg_ts_config", "cfgname", "cfgnamespace")),
    *(
        ("pg_ts_dict", "dictname", "dictnamespace"),
        ("pg_namespace", "nspname", "0"),
        ("pg_roles", "rolname", "0"),
    ),
)
_NAMES = " UNION ALL ".join(
    f"SELECT 'name', '{catalog} ' || oid, {name}::text, {schema}::text FROM pg_catalog.{catalog} WHERE %(names)s"
    for catalog, name, schema in _NAMED
)
# A GRANT rewrites a schema's row too, and looks like a rename that was taken back: it costs one more reading.
# A label that was added is no change: no row of the snapshot has it. An attribute that was added shows in every row.
_QUERY = f"""
SELECT 'schema', n.oid::text, n.nspname::text, n.xmin::text
  FROM pg_catalog.pg_namespace n
 WHERE n.oid IN (SELECT pg_catalog.unnest(%(schemas)s::oid[]) UNION ALL
                 SELECT typnamespace FROM pg_catalog.pg_type WHERE oid = ANY (%(types)s::oid[]))
UNION ALL
SELECT 'type', t.oid::text, t.typname, t.typnamespace || ' ' || t.typoutput::oid
  FROM pg_catalog.pg_type t WHERE t.oid = ANY (%(types)s::oid[])
UNION ALL
SELECT 'label', e.oid::text, e.enumlabel, e.xmin::text
  FROM pg_catalog.pg_enum e WHERE e.enumtypid = ANY (%(types)s::oid[])
UNION ALL
SELECT 'attribute', a.attrelid || ' ' || a.attnum, a.attname, a.xmin::text
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.typrelid = a.attrelid
 WHERE t.oid = ANY (%(types)s::oid[]) AND a.attnum > 0
UNION ALL
SELECT 'extension', x.oid::text, x.extname, x.extversion FROM pg_catalog.pg_extension x
UNION ALL {_NAMES}
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What the reading of the rows depends on."""

    #: oids of the schemas whose tables are read
    schemas: tuple[int, ...]
    #: oids of the columns' types and of all that they are made of
    types: tuple[int, ...]
    #: a column's text is the name of something
    names: bool

    def look(self, connection: connect.Connection) -> Look:
        parameters = {"schemas": list(self.schemas), "types": list(self.types), "names": self.names}
        with connect.explained("comparing the catalog", connection), connection.cursor() as cursor:
            cursor.execute(_QUERY, parameters)
            return {(kind, which): (name, rest) for kind, which, name, rest in cursor.fetchall()}


def changes(before: Look, after: Look) -> list[str]:
    """What of `before` is another thing now, in words."""
    found = []
    for key, was in before.items():
        # A name that is gone is written as a number, which every server reads.
        gone = was if key[0] == "name" else None
        if after.get(key, gone) != was:
            found.append(f"{key[0]} {was[0]}")
    return found + [
        f"attribute {after[key][0]}" for key in after if key[0] == "attribute" and key not in before
    ]


def digest(look: Look) -> str:
    """For the notes of a run that was killed before it could compare."""
    listed = sorted((*key, *was) for key, was in look.items() if key[0] != "name")
    return hashlib.sha256(json.dumps(listed, ensure_ascii=True).encode()).hexdigest()
