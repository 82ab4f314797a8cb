"""What is changed without a row being touched. Types: made from the kinds of types that the catalog has, each within each, three deep.

An ALTER of a type changes how rows are written and touches none of them. The second backup equals the live text all the
same, without a witness: the rule alone has to know.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.export import unchanged
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.engines import NEWEST, MakePgDatabase
from backup_pipeline_tests.harness.postgres_rows import LivePostgres, ask, run, session, stored_lines


@dataclass(frozen=True, slots=True)
class Made:
    """A type, how it is made, and a value of it."""

    name: str
    type: str
    ddl: tuple[str, ...]
    value: str


#: Those that can be altered under the rows, and a base type, which cannot.
LEAVES = (
    Made("enum", "enum", ("CREATE TYPE enum AS ENUM ('sad', 'ok')",), "'sad'::enum"),
    Made("pair", "pair", ("CREATE TYPE pair AS (a int, b int, c int)",), "ROW(1, 2, 3)::pair"),
    Made("shape", "shape", ("CREATE TABLE shape (a int, b int)",), "ROW(1, 2)::shape"),
    Made("base", "bigint", (), "7::bigint"),
)
#: What changes text and no row, in the order in which it is done.
ALTERATIONS: Mapping[str, tuple[str, ...]] = {
    "enum": ("ALTER TYPE enum RENAME VALUE 'sad' TO 'gloomy'", "ALTER TYPE enum ADD VALUE 'new' BEFORE 'ok'"),
    "pair": (
        "ALTER TYPE pair DROP ATTRIBUTE b, ADD ATTRIBUTE b int",
        "ALTER TYPE pair ADD ATTRIBUTE d int",
        "ALTER TYPE pair DROP ATTRIBUTE d",
    ),
    "shape": (
        "ALTER TABLE shape DROP COLUMN b, ADD COLUMN b int",
        "ALTER TABLE shape ADD COLUMN d int",
        "ALTER TABLE shape DROP COLUMN a",
    ),
}


MULTIRANGES = (NEWEST or 14) >= 14


def _range(name: str, of: str, multirange: str) -> str:
    named = f", multirange_type_name = {multirange}" if MULTIRANGES else ""
    return f"CREATE TYPE {name} AS RANGE (subtype = {of}{named})"


#: kind → of a type, the type of that kind that is made of it. (An array of arrays is an array.)
WITHIN: Mapping[str, Callable[[str, Made], Made]] = {
    "d": lambda n, m: Made(n, n, (*m.ddl, f"CREATE DOMAIN {n} AS {m.type}"), f"({m.value})::{n}"),
    "A": lambda n, m: Made(n, f"{m.type}[]", m.ddl, f"ARRAY[{m.value}]::{m.type}[]"),
    "c": lambda n, m: Made(
        n, n, (*m.ddl, f"CREATE TYPE {n} AS (x {m.type}, y int)"), f"ROW({m.value}, 1)::{n}"
    ),
    "row": lambda n, m: Made(
        n, n, (*m.ddl, f"CREATE TABLE {n} (x {m.type}, y int)"), f"ROW({m.value}, 1)::{n}"
    ),
    "r": lambda n, m: Made(n, n, (*m.ddl, _range(n, m.type, f"{n}_s")), f"{n}({m.value}, {m.value}, '[]')"),
    "m": lambda n, m: Made(
        n, n, (*m.ddl, _range(f"{n}_one", m.type, n)), f"{n}({n}_one({m.value}, {m.value}, '[]'))"
    ),
}


if not MULTIRANGES:
    WITHIN = {kind: make for kind, make in WITHIN.items() if kind != "m"}


def nested() -> Iterator[Made]:
    for leaf in LEAVES:
        yield leaf
        for outer, make in WITHIN.items():
            one = make(f"{leaf.name}_{outer.lower()}", leaf)
            yield one
            for outermost, make_again in WITHIN.items() if leaf.name != "base" else ():
                if not (outer == outermost == "A"):
                    yield make_again(f"{one.name}_{outermost.lower()}", one)


def texts(url: str, made: list[Made]) -> dict[str, str]:
    found = {}
    with session(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = ''")
        for one in made:
            text = io.StringIO()
            cursor.copy_expert(f"COPY public.t_{one.name} TO STDOUT", text)
            found[one.name] = text.getvalue()
    return found


def test_a_type_that_is_altered_under_the_rows_is_read_again(
    pg_server: EmbeddedPostgres, pg_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "with_witnesses", lambda tasks: tasks)
    (tmp_path / "vault").mkdir()
    vault = Vault(LocalStore(tmp_path / "vault"))
    vault.prepare()
    made = list(nested())
    done = dict.fromkeys(statement for one in made for statement in one.ddl)
    tables = [f"CREATE TABLE t_{one.name} AS SELECT {one.value} AS v" for one in made]
    run(pg_database, "; ".join([*done, *tables]))
    # A kind of type that a later PostgreSQL has is missed here.
    kinds = "SELECT DISTINCT typtype::text FROM pg_type WHERE typtype <> 'p'"
    used = (
        f"{kinds} AND oid IN (SELECT atttypid FROM pg_attribute WHERE attrelid::regclass::text LIKE 't\\_%%')"
    )
    assert sorted(ask(pg_database, used)) == sorted(ask(pg_database, kinds))

    taken, before = (
        Taken(LivePostgres(pg_database), vault, options=Options(workers=1)),
        texts(pg_database, made),
    )
    for turn in range(3):
        run(pg_database, *(each[turn] for each in ALTERATIONS.values() if len(each) > turn))
        taken = Taken(
            LivePostgres(pg_database),
            vault,
            options=Options(workers=1),
            baselines=taken.baselines(f"backup {turn}"),
        )
        live = texts(pg_database, made)
        stored = {
            entry.name: "".join(f"{line}\n" for line in stored_lines(vault, taken.export, entry.id))
            for entry in taken.export.tables
        }
        assert {name: stored[f"t_{name}"] for name in live} == live
        altered = {name.partition("_")[0] for name in live if live[name] != before[name]}
        assert altered == ({"enum", "pair", "shape"} if turn == 0 else {"pair", "shape"}), "nothing was tried"
        assert taken.entry("t_base_r").reused_chunks == 1, "the rule must also be of use"
        before = live


def test_each_set_of_types_has_a_witness(pg_database: str, tmp_path: Path) -> None:
    """What the rule does not know of a type shows only in a table that has the type, however many smaller ones there are."""
    vault = Vault(LocalStore(tmp_path))
    run(
        pg_database,
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE TABLE pairs AS SELECT ROW(g, g)::pair AS p FROM generate_series(1, 500) g",
        "CREATE TABLE moods AS SELECT 'sad'::mood AS m FROM generate_series(1, 500) g",
        *(f"CREATE TABLE small{n} AS SELECT {n} AS n" for n in range(5)),
    )
    taken = Taken(LivePostgres(pg_database), vault)
    for turn in range(3):
        taken = Taken(LivePostgres(pg_database), vault, baselines=taken.baselines(f"backup {turn}"))
        read = {entry.name for entry in taken.export.tables if not entry.reused_chunks}
        assert {"pairs", "moods"} < read
        assert len(read) <= 4


def test_a_database_that_was_made_again_under_the_same_oid_is_read_anew(
    make_pg_database: MakePgDatabase,
    pg_server: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CREATE DATABASE … OID copies files with their numbers and transaction ids: all else of the rule is the same."""
    if pg_server.major < 15:
        pytest.skip("CREATE DATABASE has no OID before version 15")
    monkeypatch.setattr(unchanged, "with_witnesses", lambda tasks: tasks)
    vault = Vault(LocalStore(tmp_path))
    shop = make_pg_database("shop_of_old")
    run(shop, "CREATE TABLE accounts AS SELECT g AS id, 100 AS sum FROM generate_series(1, 1000) g")
    (oid,) = ask(shop, "SELECT oid FROM pg_database WHERE datname = current_database()")[0]
    run(pg_server.url(), "CREATE DATABASE staging_of_old TEMPLATE shop_of_old STRATEGY file_copy")
    run(
        pg_server.url().replace("/postgres?", "/staging_of_old?"),
        "UPDATE accounts SET sum = 200 WHERE id <= 500",
    )
    first = Taken(LivePostgres(shop), vault)
    run(
        pg_server.url(),
        "DROP DATABASE shop_of_old WITH (FORCE)",
        f"CREATE DATABASE shop_of_old OID = {oid} TEMPLATE staging_of_old STRATEGY file_copy",
        "DROP DATABASE staging_of_old",
    )
    live = LivePostgres(shop)
    again = Taken(live, vault, baselines=first.baselines("first"))
    assert again.state["database_oid"] == first.state["database_oid"]
    assert stored_lines(vault, again.export, again.entry("accounts").id) == live.rows("accounts")
