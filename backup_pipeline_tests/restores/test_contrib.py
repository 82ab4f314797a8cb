"""Every extension that the server ships: its types in tables, its operator classes in indexes, there and back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import psycopg

from backup_pipeline.databases.base import DrillOptions
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.drills import drill
from backup_pipeline.restores import restore
from backup_pipeline_tests.harness.backups import ask, backed_up, rows_of, run_sql, schema_of
from backup_pipeline_tests.harness.engines import MakePgDatabase

#: A value of each type that has one in text; a type that is not here gets a column of nulls.
VALUES: Mapping[str, str] = {
    "citext": "ÄbC",
    "cube": "(1,2),(3,4)",
    "ean13": "978-0-393-04002-9",
    "hstore": '"a"=>"1", "b\\"x"=>NULL',
    "isbn": "0-393-04002-X",
    "isbn13": "978-0-393-04002-9",
    "ismn": "M-060-11561-5",
    "ismn13": "979-0-060-11561-5",
    "issn": "1436-4522",
    "issn13": "977-1436-452-00-8",
    "lquery": "a.*{1,2}.b",
    "ltree": "Top.Science.Astronomy",
    "ltxtquery": "Europe & Russia*@",
    "query_int": "1&(2|3)",
    "seg": "1.5(+-)0.3",
    "upc": "220356483481",
    "vector": "[1,-2.5,3]",
}
#: Types that an index takes with a length only.
LENGTHS = ("vector", "halfvec", "sparsevec", "bit")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tables_of_types(url: str) -> None:
    """One table an extension, one column a type."""
    found = ask(
        url,
        """SELECT e.extname, t.oid::regtype::text, t.typname FROM pg_type t
             JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
             JOIN pg_extension e ON e.oid = d.refobjid
             LEFT JOIN pg_class c ON c.oid = t.typrelid
            WHERE t.typtype IN ('b', 'd', 'e', 'r', 'm', 'c') AND t.typisdefined AND t.typcategory <> 'A'
              AND (c.oid IS NULL OR c.relkind = 'c') ORDER BY 1, 3""",
    )
    columns: dict[str, list[tuple[str, str]]] = {}
    for extension, qualified, name in found:
        columns.setdefault(str(extension), []).append((str(qualified), str(name)))
    for extension, types in columns.items():
        table = _quote(f"of_{extension}")
        listed = ", ".join(f"{_quote(name)} {qualified}" for qualified, name in types)
        given = ", ".join(_quote(name) for _, name in types if VALUES.get(name))
        values = ", ".join("'" + VALUES[name] + "'" for _, name in types if VALUES.get(name))
        run_sql(url, f"CREATE TABLE {table} (id serial PRIMARY KEY, {listed})")
        run_sql(
            url,
            f"INSERT INTO {table} ({given}) VALUES ({values})"
            if given
            else f"INSERT INTO {table} DEFAULT VALUES",
        )


def _indexes_of_classes(url: str) -> None:
    """One index an operator class, on an empty table of its type."""
    found = ask(
        url,
        """SELECT o.oid, o.opcname, n.nspname, a.amname, o.opcintype::regtype::text FROM pg_opclass o
             JOIN pg_depend d ON d.classid = 'pg_opclass'::regclass AND d.objid = o.oid AND d.deptype = 'e'
             JOIN pg_am a ON a.oid = o.opcmethod JOIN pg_namespace n ON n.oid = o.opcnamespace
             JOIN pg_type t ON t.oid = o.opcintype WHERE t.typtype <> 'p' ORDER BY 1""",
    )
    for number, name, schema, method, kind in found:
        table, length = f"class_{number}", "(3)" if str(kind) in LENGTHS else ""
        using = f"USING {_quote(str(method))} (v {_quote(str(schema))}.{_quote(str(name))})"
        run_sql(url, f"CREATE TABLE {table} (v {kind}{length}); CREATE INDEX ON {table} {using}")


def test_every_extension_that_the_server_ships_goes_there_and_back(
    pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(server=pg_major_server), make_pg_database(server=pg_major_server)
    names = [str(name) for (name,) in ask(source, "SELECT name FROM pg_available_extensions ORDER BY 1")]
    for name in names:
        # A package may lack a library that it was built with (Perl, Python).
        with contextlib.suppress(psycopg.errors.UndefinedFile):
            run_sql(source, f"CREATE EXTENSION IF NOT EXISTS {_quote(name)} CASCADE")
    _tables_of_types(source)
    _indexes_of_classes(source)

    backed = backed_up(source, tmp_path / "vault")
    result = restore(backed.backup, target)
    report = drill(backed.backup, DrillOptions(scratch_url=pg_major_server.url()))

    assert [finding for finding in result.findings if finding.severity != "info"] == []
    assert report.ok, report.report.errors
    assert schema_of(pg_major_server, target) == schema_of(pg_major_server, source)
    assert rows_of(target) == rows_of(source)
