"""A real PgBouncer between the backup and the server, as many hosts put one there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.base import Options
from backup_pipeline.databases.engines import open_source
from backup_pipeline.databases.postgres.export import export, worker
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import SourceUnavailable
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.backups import run_sql
from backup_pipeline_tests.harness.engines import MakePgDatabase, wait_for
from backup_pipeline_tests.harness.ports import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not on this machine")


@contextmanager
def pgbouncer(server: EmbeddedPostgres, folder: Path, pool: int) -> Iterator[int]:
    """In transaction mode, with so many sessions; the port."""
    place, port = psycopg.conninfo.conninfo_to_dict(server.url()), free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={place['host']} port={place['port']} user={place['user']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {pool}\nlogfile = {folder / 'log'}\n"
    )
    assert PROGRAM is not None
    # It refuses to run as root; the account of the server may enter its socket's folder.
    user = Path(str(place["host"])).stat().st_uid if os.getuid() == 0 else None
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    settings.chmod(0o644)
    (folder / "log").touch(0o666)
    (folder / "log").chmod(0o666)
    process = subprocess.Popen([PROGRAM, "-q", str(settings)], user=user, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: "process up" in (folder / "log").read_text())
        yield port
    finally:
        process.terminate()
        process.wait()


def test_a_pooler_with_too_few_sessions_is_named_and_does_not_hold_the_backup_for_ever(
    pg_server: EmbeddedPostgres,
    make_pg_database: MakePgDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = make_pg_database()
    run_sql(
        url,
        "CREATE TABLE a AS SELECT g FROM generate_series(1, 10) g; CREATE TABLE b AS TABLE a; CREATE TABLE c AS TABLE a",
    )
    monkeypatch.setattr(export, "IN_PROCESS_BYTES", 0)
    monkeypatch.setattr(worker, "PATIENCE", 3.0)
    database = quote(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    with pgbouncer(pg_server, tmp_path, pool=2) as port:
        source = open_source(f"postgresql://postgres@127.0.0.1:{port}/{database}")
        vault = Vault(LocalStore(tmp_path / "vault"))
        with pytest.raises(SourceUnavailable, match="pooler") as caught:
            back_up(vault, source, Order("shop", options=Options(workers=3), pauses=()))
        assert "`workers: 1`" in caught.value.remedy
        manifest = back_up(vault, source, Order("shop", options=Options(workers=1), pauses=()))
    assert manifest.rows == 30
