"""Code of the source in a drill: functions, triggers, checks and the like, made by users of the source and by its superuser.

A drill runs on a schedule, on the host that holds the keys of every system. Each piece of code here tries to read and
write files, to run programs and to become a superuser. It tries to reach the network, other servers and other
databases. A success raises an error, and that fails the drill. The host watches as well: for files, for connections,
for rows.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.databases.postgres.server import EmbeddedPostgres, programs
from backup_pipeline.drills import drill
from backup_pipeline.errors import BackupError
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql
from backup_pipeline_tests.harness.commands import PROGRAM, Ended, environment
from backup_pipeline_tests.harness.engines import Servers

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRIB = 15
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="changes accounts and namespaces"
    ),
]

#: What `reach` tries. It is told where it was called from, and does nothing outside of a drill.
ATTEMPTS = {
    "read a file": "PERFORM pg_read_file('{secret}')",
    "read a file by COPY": "COPY read_here FROM '{secret}'",
    "import a file": "PERFORM lo_import('{secret}')",
    "import by another name": "PERFORM public.imported('{secret}')",
    "list a folder": "PERFORM pg_ls_dir('/')",
    "read the environment": "PERFORM pg_read_file('/proc/self/environ')",
    "write a file": "COPY (SELECT 1) TO '{mark}.copied'",
    "export a file": "PERFORM lo_export(lo_from_bytea(0, 'x'), '{mark}.exported')",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'touch {mark}.run'",
    "call out": "PERFORM public.dblink_connect('x', 'host=127.0.0.1 port={port} password=x connect_timeout=2')",
    "another server": "PERFORM public.dblink_exec('{production}', 'INSERT INTO log VALUES (''drill'')')",
    "another server's rows": "PERFORM * FROM public.far",
    "another database": "PERFORM public.dblink_connect('y', format('host=%s port=%s dbname=postgres user=%s password=x',"
    " current_setting('unix_socket_directories'), current_setting('port'), (SELECT rolname FROM pg_roles WHERE rolsuper LIMIT 1)))",
    "be the superuser": "PERFORM set_config('role', (SELECT rolname FROM pg_roles WHERE rolsuper LIMIT 1), false)",
    "log in as the superuser": "PERFORM set_config('session_authorization', (SELECT rolname FROM pg_roles WHERE rolsuper LIMIT 1), false)",
    "make a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "join the programs": "GRANT pg_execute_server_program TO CURRENT_USER",
    "write to the catalog": "UPDATE pg_authid SET rolsuper = true",
}

SOURCE = r"""
CREATE TABLE read_here (line text);
CREATE FUNCTION reach(via text) RETURNS int LANGUAGE plpgsql AS $f$
DECLARE got text := ''; attempt record;
BEGIN
  IF current_database() !~ '^bp_drill_' THEN RETURN 1; END IF;
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN got := 'is a superuser; '; END IF;
  {tries}
  IF got <> '' THEN RAISE EXCEPTION 'REACHED by %: %', via, got; END IF;
  RETURN 1;
END $f$;
CREATE FUNCTION f(via text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM public.reach(via); RETURN 1; END';
CREATE FUNCTION definer(via text) RETURNS int LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER
  AS 'BEGIN PERFORM public.reach(via); RETURN 1; END';
CREATE FUNCTION op_names(name, name) RETURNS bool LANGUAGE plpgsql SET search_path = pg_catalog
  AS 'BEGIN PERFORM public.reach(''operator''); RETURN NOT ($1::text OPERATOR(pg_catalog.~) $2::text); END';
CREATE OPERATOR public.!~ (LEFTARG = name, RIGHTARG = name, FUNCTION = op_names);
CREATE FUNCTION op_oids(oid, int) RETURNS bool LANGUAGE plpgsql SET search_path = pg_catalog
  AS 'BEGIN PERFORM public.reach(''operator''); RETURN $1 OPERATOR(pg_catalog.>=) $2::oid; END';
CREATE OPERATOR public.>= (LEFTARG = oid, RIGHTARG = int, FUNCTION = op_oids);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM public.reach(''trigger''); IF current_database() ~ ''^bp_drill_'' THEN RAISE EXCEPTION ''REACHED: a trigger fired''; END IF; RETURN NULL; END';
CREATE FUNCTION stand_by() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.reach(''event trigger''); END';
CREATE DOMAIN checked AS text CHECK (f('domain') = 1);

CREATE TABLE t (
  id serial PRIMARY KEY, v checked, w int DEFAULT f('default'),
  g int GENERATED ALWAYS AS (length(v::text) + f('generated')) STORED,
  CHECK (f('check') = id - id + 1)
);
INSERT INTO t (v) VALUES ('x'), ('y');
CREATE INDEX ON t (f(v::text));
CREATE INDEX ON t (definer(v::text));
CREATE INDEX ON t (id) WHERE f('predicate') = 1;
CREATE STATISTICS watched ON id, (f(v::text)) FROM t;
CREATE TRIGGER watched AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION watch();
ALTER TABLE t ENABLE ALWAYS TRIGGER watched;
CREATE TABLE parts (id serial, v text) PARTITION BY RANGE ((f('partition key' || left(v, 0)) + id));
CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TRIGGER watched AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION watch();
INSERT INTO parts (v) VALUES ('p');
CREATE TABLE ruled (id serial PRIMARY KEY);
CREATE RULE also AS ON INSERT TO ruled DO ALSO SELECT 1 / (current_database() !~ '^bp_drill_')::int, reach('rule');
INSERT INTO ruled DEFAULT VALUES;
CREATE TABLE secured (id serial PRIMARY KEY);
INSERT INTO secured DEFAULT VALUES;
ALTER TABLE secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY seen ON secured USING (f('policy') = 1) WITH CHECK (f('policy') = 1);
CREATE MATERIALIZED VIEW summed AS SELECT f('materialized view') AS n, definer('definer') AS d;
CREATE EVENT TRIGGER watched ON ddl_command_end EXECUTE FUNCTION stand_by();
ALTER EVENT TRIGGER watched ENABLE ALWAYS;
CREATE FUNCTION imported(text) RETURNS oid LANGUAGE internal STRICT AS 'be_lo_import';
GRANT EXECUTE ON FUNCTION pg_read_file(text), lo_import(text), lo_export(oid, text) TO PUBLIC;
DO $$ BEGIN CREATE ROLE attacker; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT pg_execute_server_program, pg_read_server_files, pg_write_server_files TO attacker;
CREATE TABLE theirs (id serial PRIMARY KEY, v text); INSERT INTO theirs (v) VALUES ('x');
CREATE INDEX ON theirs (f(v)); ALTER TABLE theirs OWNER TO attacker;
ALTER FUNCTION definer(text) OWNER TO attacker;
"""

FOREIGN = """
CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw;
CREATE SERVER production FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname '{name}');
CREATE USER MAPPING FOR PUBLIC SERVER production OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE far (line text) SERVER production OPTIONS (table_name 'asked');
CREATE MATERIALIZED VIEW mirrored AS SELECT * FROM far;
CREATE MATERIALIZED VIEW on_mirror AS SELECT count(*) AS n FROM mirrored;
GRANT EXECUTE ON FUNCTION dblink_connect_u(text), dblink_connect_u(text, text) TO PUBLIC;
"""
#: As an application does it: an order is told to another system.
ORDERS = """
CREATE TABLE orders (id serial PRIMARY KEY, v text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
  PERFORM public.dblink_exec('{production}', format('INSERT INTO log VALUES (%L)', 'order ' || NEW.id)); RETURN NULL;
END $f$;
CREATE TRIGGER told AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell();
CREATE RULE told AS ON INSERT TO orders DO ALSO SELECT public.dblink_exec('{production}', $$INSERT INTO log VALUES ('rule')$$);
INSERT INTO orders (v) VALUES ('x');
"""
#: Production: who asks for its rows leaves a line.
PRODUCTION = """
CREATE TABLE log (line text);
CREATE FUNCTION asked() RETURNS text LANGUAGE sql AS 'INSERT INTO public.log VALUES (''asked'') RETURNING line';
CREATE VIEW asked AS SELECT public.asked() AS line;
"""


@dataclass
class Planted:
    """A backup of the hostile source, and what watches the host."""

    folder: Path
    production: str
    listener: socket.socket
    #: The server of both databases.
    scratch: str

    def traces(self) -> list[str]:
        """What anything left on the host."""
        found = [path.name for path in self.folder.glob("mark.*")]
        found += [str(line) for (line,) in ask(self.production, "SELECT line FROM log")]
        try:
            self.listener.accept()[0].close()
            found.append("a connection")
        except BlockingIOError:
            pass
        return found


def _as_ordinary(folder: Path) -> tuple[str, dict[str, Any]]:
    """An interpreter that another account can run, and how to run it so."""
    for name in ("", ".11", ".12", ".13"):
        if (path := Path(f"/usr/bin/python3{name}")).exists():
            for found in (folder, *folder.rglob("*")):
                os.chown(found, 65534, 65534)
            return str(path), {"user": 65534, "group": 65534, "extra_groups": []}
    pytest.skip("no Python that everybody may run: apt-get install python3")


@pytest.fixture
def planted(pg_servers: Servers, request: pytest.FixtureRequest) -> Iterator[Planted]:
    yield from _planted(pg_servers[request.param], _everything)


@pytest.fixture
def planted_orders(pg_servers: Servers) -> Iterator[Planted]:
    yield from _planted(pg_servers[CONTRIB], _orders)


def _planted(
    server: EmbeddedPostgres, plant: Callable[[EmbeddedPostgres, str, Path, socket.socket], None]
) -> Iterator[Planted]:
    folder = Path(tempfile.mkdtemp(prefix="code-", dir="/tmp"))
    folder.chmod(0o777)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    secret = folder / "secret"
    secret.write_text("AGE-SECRET-KEY-1\n")
    secret.chmod(0o600)
    production, source = server.create_database("production"), server.create_database("hostile")
    run_sql(production, PRODUCTION)
    try:
        plant(server, source, folder, listener)
        run_sql(production, "TRUNCATE log")
        (folder / "backup.yaml").write_text(f"vault: ./vault\nsystems:\n  s:\n    database: {source}\n")
        Folder(folder, {}).good("backup", "s", "--no-record")
        run_sql(production, "TRUNCATE log")
        yield Planted(folder, production, listener, server.url())
    finally:
        listener.close()
        for name in ("hostile", "production"):
            server.drop_database(name)
        run_sql(server.url(), "DROP ROLE IF EXISTS attacker")
        shutil.rmtree(folder)


def _orders(server: EmbeddedPostgres, source: str, _folder: Path, _listener: socket.socket) -> None:
    run_sql(source, FOREIGN.format(host=server.socket_dir, port=server.port, name="production"))
    run_sql(source, ORDERS.replace("{production}", _production(server)))


def _production(server: EmbeddedPostgres) -> str:
    return f"host={server.socket_dir} port={server.port} dbname=production user=postgres password=x"


def _everything(server: EmbeddedPostgres, source: str, folder: Path, listener: socket.socket) -> None:
    with_dblink = server.major == CONTRIB
    values = {
        "secret": folder / "secret",
        "mark": folder / "mark",
        "port": listener.getsockname()[1],
        "production": _production(server),
    }
    tries = "\n".join(
        f"BEGIN {statement.format(**values)}; got := got || '{what}; '; EXCEPTION WHEN OTHERS THEN END;".replace(
            "'another server's rows; '", "'another server''s rows; '"
        )
        for what, statement in ATTEMPTS.items()
    )
    if with_dblink:
        run_sql(source, FOREIGN.format(host=server.socket_dir, port=server.port, name="production"))
    run_sql(source, SOURCE.replace("{tries}", tries))


def _drill(planted: Planted, account: str, namespaces: bool, *more: str) -> Ended:
    argv, how = [*PROGRAM], {}
    if account == "ordinary":
        python, how = _as_ordinary(planted.folder)
        argv[0] = python
    if not namespaces:
        argv = [argv[0], str(REPOSITORY / "backup_pipeline_tests/harness/no_namespaces.py"), *argv]
    site = programs.wheel_folder()
    assert site is not None
    env = {
        "PYTHONPATH": f"{REPOSITORY}:{site.parent}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_PASSWORD": "PLANTED",
        "TMPDIR": "/tmp",
    }
    done = subprocess.run(
        [*argv, "drill", "s", "--no-record", "--json", *more],
        cwd=planted.folder,
        env=environment(env),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        **how,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("planted", "account", "namespaces"),
    [
        (CONTRIB, "root", True),
        (CONTRIB, "root", False),
        (CONTRIB, "ordinary", True),
        (CONTRIB, "ordinary", False),
        (18, "root", True),
    ],
    indirect=["planted"],
    ids=lambda value: (
        {True: "namespaces", False: "none"}.get(value) if isinstance(value, bool) else str(value)
    ),
)
def test_code_in_a_drill_reaches_nothing(planted: Planted, account: str, namespaces: bool) -> None:
    """Before: index functions, checks, generated columns and triggers ran as a superuser of the drill's server.
    COPY … TO PROGRAM ran commands on the backup host with its environment (database passwords, AWS keys). Where
    root ran the drill, they ran as the account of the production server. The trial INSERT fired the source's
    triggers, and materialized views asked production."""
    ended = _drill(planted, account, namespaces)
    assert "REACHED" not in ended.stdout + ended.stderr
    assert planted.traces() == []
    assert ended.code == 0, str(ended)
    found = {finding["code"]: finding for finding in ended.data["report"]["findings"]}
    assert ("drill-not-enclosed" in found) == (not namespaces)
    assert any("EVENT TRIGGER watched" in example for example in found["not-proven"]["examples"])
    assert "writes-work" in found


@pytest.mark.parametrize(
    "text",
    [
        "COPY (SELECT 1) TO PROGRAM 'touch {mark}.run';",
        "GRANT pg_execute_server_program TO app;",
        'CREATE OR REPLACE FUNCTION pg_catalog.format(text, VARIADIC "any") RETURNS text LANGUAGE plpgsql AS'
        " $$BEGIN COPY (SELECT 1) TO PROGRAM 'touch {mark}.run'; END$$;",
        "ALTER FUNCTION pg_catalog.lo_export(oid, text) OWNER TO app;",
        "CREATE FUNCTION public.fits(int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN"
        " IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN RAISE 'REACHED'; END IF;"
        " RAISE 'permission denied' USING ERRCODE = '42501'; END$$; CREATE DOMAIN public.d AS int CHECK (public.fits(VALUE));"
        "CREATE FUNCTION public.step(public.d, int) RETURNS public.d LANGUAGE sql AS 'SELECT $1';"
        "CREATE AGGREGATE public.told(int) (SFUNC = public.step, STYPE = public.d, INITCOND = '1');",
        "SET standard_conforming_strings = off; COMMENT ON TABLE public.t IS 'a\\'; ALTER ROLE app SUPERUSER; --';",
    ],
    ids=lambda text: text.partition(" (")[0][:30],
)
def test_a_dump_that_its_superuser_wrote_does_nothing_as_a_superuser(
    text: str, hostile: Backed, tmp_path: Path
) -> None:
    """Before: the definitions of a backup ran as a superuser of the drill's server, and the superuser of the source decides what
    stands in them: commands on the backup host."""
    tampered = hostile.with_sql("pre-data", text.format(mark=tmp_path / "mark"))
    with pytest.raises(
        BackupError,
        match=r"permission denied|must be (owner|superuser|member)|cannot insert multiple commands|SQLSTATE 42501",
    ):
        drill(hostile.vault.backup_of(tampered))
    assert list(tmp_path.glob("mark*")) == []


@pytest.fixture(scope="module")
def hostile(pg_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    url = pg_server.create_database("hostile_text")
    run_sql(url, "CREATE ROLE app; CREATE TABLE t (id int); ALTER TABLE t OWNER TO app")
    yield backed_up(url, tmp_path_factory.mktemp("hostile") / "vault")
    pg_server.drop_database("hostile_text")
    run_sql(pg_server.url(), "DROP ROLE app")


def test_a_drill_on_a_scratch_server_writes_nowhere_else(planted_orders: Planted) -> None:
    """Before: the trial INSERT fired the source's triggers, and dblink placed an order in production once more.
    Materialized views over foreign tables were filled from production."""
    ended = _drill(planted_orders, "root", True, "--scratch", planted_orders.scratch)
    assert ended.code == 0, str(ended)
    assert planted_orders.traces() == []
    found = {finding["code"]: finding for finding in ended.data["report"]["findings"]}
    assert "as postgres, a superuser" in found["drill-not-enclosed"]["message"]
    assert sum("MATERIALIZED VIEW" in example for example in found["not-proven"]["examples"]) == 2
    assert "INSERT with defaults" in found["writes-work"]["message"]
