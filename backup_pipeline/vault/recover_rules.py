"""The commands of RECOVER.md for rules that the rows break today (`CHECK (valid_until > now())`), and for functions
that need the search_path of the database. A restore does the same in `databases/postgres/restore`: `rules` and
`refused`."""

from __future__ import annotations

from backup_pipeline.model import search_path
from backup_pipeline.model.schema import Schema
from backup_pipeline.vault.quoting import here_document, identifier, literal

#: How pg_dump begins a section.
_EMPTY = "SELECT pg_catalog.set_config('search_path', '', false);"

#: `later` reads the definitions that come after the rows. What fails is tried once more with the database's own
#: search_path. What exists by then fails again: it is told by its SQLSTATE, unless the first try said the same.
_FUNCTIONS = r"""UNMADE=
rows() { { printf '%s \\g /dev/null\n' "${OWN_PATH%;}"; cat; } | run "$@"; }
attempt() { "$@" -b -v ON_ERROR_STOP=0 -v VERBOSITY=verbose 2>&1 > /dev/null; }
failed() {
  local line keep= first="$1"
  while IFS= read -r line; do
    if [[ "$line" =~ ^[^[:space:]]+:\ +([0-9A-Z]{5}):\  ]]; then
      keep=yes
      case "${BASH_REMATCH[1]}" in
        00* | 01* | 02*) keep= ;;
        42P07 | 42710 | 42723 | 42P16) [[ "$first" == *"$line"* ]] || keep= ;;
      esac
    fi
    [ ! "$keep" ] || printf '%s\n' "$line"
  done
}
later() {
  local key="$1" text="$2" first second
  first=$(printf '%s\n' "$text" | attempt guarded "$key") || { printf '%s\n' "$first" >&2; return 1; }
  first=$(printf '%s\n' "$first" | failed "$first")
  [ "$first" ] || return 0
  case "$text" in *"$EMPTY_PATH"*) text="${text%%"$EMPTY_PATH"*}$OWN_PATH${text#*"$EMPTY_PATH"}" ;; esac
  second=$(printf '%s\n' "$text" | attempt guarded "$key") || { printf '%s\n' "$second" >&2; return 1; }
  second=$(printf '%s\n' "$second" | failed "$first")
  [ ! "$second" ] || { printf 'NOT MADE:\n%s\n' "$second" >&2; UNMADE="$UNMADE$second"; }
}"""

# Parents come first, as they were made; what is inherited goes and comes with them. Not of domains: those that a composite
# type uses cannot be made valid again.
_ASIDE = """SET search_path = '';
CREATE SCHEMA recover_checks;
CREATE TABLE recover_checks.aside AS
SELECT k.oid AS place, k.conrelid, k.conname, pg_catalog.pg_get_constraintdef(k.oid) AS definition,
       pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment, k.conrelid::pg_catalog.regclass::text AS target
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
 WHERE k.contype = 'c' AND k.oid >= 16384 AND c.relkind IN ('r', 'p') AND k.conislocal
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' AND d.objid = k.conrelid);
SELECT pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', target, conname)
  FROM recover_checks.aside ORDER BY place \\gexec
"""
_MISSING = (
    "NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE (k.conrelid, k.conname)"
    " = (a.conrelid, a.conname) AND k.conislocal)"
)
_ADD = "pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', target, conname, definition)"


def own_path(schema: Schema) -> str:
    """The statement that sets the database's own search_path, and then every other schema that has tables."""
    names = search_path.recorded(schema)
    tables = (table.id.schema for table in schema.tables)
    found = (*(("public",) if names is None else names), *search_path.of_extensions(schema), *tables)
    path = ", ".join(identifier(name) for name in dict.fromkeys(found))
    return f"SELECT pg_catalog.set_config('search_path', {literal(path)}, false);"


def has_checks(schema: Schema) -> bool:
    return any(table.checks for table in schema.tables)


def functions(schema: Schema) -> str:
    return f"EMPTY_PATH={_quoted(_EMPTY)}\nOWN_PATH={_quoted(own_path(schema))}\n{_FUNCTIONS}"


def _quoted(text: str) -> str:
    return f"$(cat {here_document(text)}\n)"


def aside() -> str:
    return f"run {here_document(_ASIDE)}"


def made_again(schema: Schema) -> str:
    """Valid where the rows obey, NOT VALID where they do not; both are tried before one is missing."""
    own = own_path(schema).removesuffix(";") + " \\g /dev/null\n"
    add = f"SELECT {_ADD} FROM recover_checks.aside a WHERE {_MISSING} ORDER BY place \\gexec\n"
    sql = (
        "SET search_path = '';\n" + add + own + add + add.replace(" FROM", " || ' NOT VALID' FROM", 1)
        + "SELECT pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, target, comment)\n"
        f"  FROM recover_checks.aside a WHERE comment IS NOT NULL AND NOT {_MISSING} \\gexec\n"
        "SELECT 'NOT VALID, because rows break it: ' || a.target || ': ' || a.conname FROM recover_checks.aside a\n"
        "  JOIN pg_catalog.pg_constraint k ON (k.conrelid, k.conname) = (a.conrelid, a.conname)\n"
        "  WHERE NOT k.convalidated AND a.definition NOT LIKE '%NOT VALID' ORDER BY place;\n"
        f"SELECT 'NOT MADE: ' || {_ADD} FROM recover_checks.aside a WHERE {_MISSING} ORDER BY place;\n"
        "SET client_min_messages = warning;\nDROP SCHEMA recover_checks CASCADE;\n"
    )  # fmt: skip
    return (
        f"CHECKS=$(run -At -v ON_ERROR_STOP=0 {here_document(sql)}\n)\n"
        '[ ! "$CHECKS" ] || printf \'%s\\n\' "$CHECKS"\n'
        'case "$CHECKS" in *"NOT MADE: "*) UNMADE="$UNMADE$CHECKS" ;; esac'
    )


def refreshed(statements: str) -> str:
    """A view whose function fails is no reason to go without the sequences."""
    return (
        f"VIEWS=$(attempt rows {here_document(statements)}\n)\n"
        "VIEWS=$(printf '%s\\n' \"$VIEWS\" | failed '')\n"
        '[ ! "$VIEWS" ] || { printf \'NOT MADE:\\n%s\\n\' "$VIEWS" >&2; UNMADE="$UNMADE$VIEWS"; }'
    )


VERDICT = '[ ! "$UNMADE" ] || { printf \'Every row is counted above. This could not be made:\\n%s\\n\' "$UNMADE" >&2; false; }'
