"""The superuser of the source server against the host that backs up or restores."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import Damaged, NotSupported
from backup_pipeline.vault.recover import recover_text
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.vault.test_recover import follow, tools

#: A server that answers `pg_get_viewdef` with more than the view.
HOSTILE = """
CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT 1 AS x;
SET allow_system_table_mods = on;
ALTER FUNCTION pg_catalog.pg_get_viewdef(oid) RENAME TO pg_get_viewdef_orig;
CREATE FUNCTION pg_catalog.pg_get_viewdef(oid) RETURNS text LANGUAGE plpgsql STABLE STRICT AS
  $$ BEGIN RETURN E' SELECT 1 AS x%s'; END $$;
"""


@pytest.mark.parametrize("said", [r";\n\\! touch %s\nSELECT 1;", r" \\g |touch %s\nSELECT 1;"])
def test_a_definition_that_holds_a_psql_command_is_refused_by_the_backup(
    said: str, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Gained: a shell command, run as the user who followed RECOVER.md. `restore` refused the line and sent people there."""
    url = make_pg_database()
    run_sql(url, HOSTILE % (said % (tmp_path / "owned")))
    with pytest.raises(
        NotSupported, match=r"pre-data, line \d+ of the definitions is a psql command"
    ) as refused:
        backed_up(url, tmp_path / "vault")
    assert "RECOVER.md" not in refused.value.remedy
    assert not list((tmp_path / "vault").rglob("manifest.json"))


def test_no_word_of_the_catalog_becomes_a_command_of_recovery_by_hand(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Would have gained: a shell command in the rights of the database, which stand in RECOVER.md without quotes."""
    url = make_pg_database()
    run_sql(
        url,
        "CREATE TABLE t (a int); SET allow_system_table_mods = on;"
        "ALTER FUNCTION pg_catalog.aclexplode(aclitem[]) RENAME TO aclexplode_orig;"
        "CREATE FUNCTION pg_catalog.aclexplode(aclitem[], OUT grantor oid, OUT grantee oid, OUT privilege_type text,"
        " OUT is_grantable boolean) RETURNS SETOF record LANGUAGE sql AS"
        f" $$ SELECT 10::oid, 0::oid, E'CONNECT ON DATABASE x TO y;\\n\\\\! touch {tmp_path / 'owned'}\\n'::text, false $$",
    )
    with pytest.raises(Damaged, match="not a right on a database"):
        backed_up(url, tmp_path / "vault")
    assert not list((tmp_path / "vault").rglob("RECOVER.md"))


def recovered(
    hostile: Backed, server: EmbeddedPostgres, target: str, tmp_path: Path, psql: Path
) -> tuple[int, str]:
    manifest = hostile.with_sql("pre-data", f"\\! touch {tmp_path / 'owned'}\n")
    text = recover_text(manifest, hostile.vault.backup_of(manifest).schema)
    path = tools(tmp_path / "bin", psql, "zstd", "cat", "sha256sum")
    (path / "touch").symlink_to("/usr/bin/touch")
    done = follow(text, f"cd {shlex.quote(str(hostile.folder))}\nTARGET='{target}'", path)
    return done.returncode, done.stderr


def test_recovery_by_hand_runs_no_command_of_the_dump(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    r"""Gained: as above, by a dump that was stored before the look, for pg_dump's \restrict was cut out of it. With a psql
    from before August 2025, which has no such guard, the backup's look is all there is, and the commands say so."""
    source, target = make_pg_database(), make_pg_database()
    run_sql(source, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    backed = backed_up(source, tmp_path / "vault")
    code, said = recovered(backed, pg_server, target, tmp_path, pg_server.bin_dir / "psql")
    assert code != 0
    assert "backslash commands are restricted" in said
    assert not (tmp_path / "owned").exists()
    # An honest dump goes through, with that psql and with an old one.
    old = tmp_path / "old" / "psql"
    old.parent.mkdir()
    old.write_text(
        "#!/bin/bash\ninput=$(/bin/cat; echo .); input=${input%.}\n"
        "[[ $input != *'\\restrict '* ]] || { echo 'invalid command \\restrict' >&2; exit 3; }\n"
        f'printf %s "$input" | exec {pg_server.bin_dir}/psql "$@"\n'
    )
    old.chmod(0o755)
    for name, psql in (("new", pg_server.bin_dir / "psql"), ("old", old)):
        fresh = make_pg_database()
        text = recover_text(backed.manifest, backed.backup.schema)
        path = tools(tmp_path / f"bin-{name}", psql, "zstd", "cat", "sha256sum")
        done = follow(text, f"cd {shlex.quote(str(backed.folder))}\nTARGET='{fresh}'", path)
        assert done.returncode == 0, done.stderr
        assert ("knows no \\restrict" in done.stderr) == (name == "old")
        assert ask(fresh, "SELECT a FROM t") == [(1,)]
