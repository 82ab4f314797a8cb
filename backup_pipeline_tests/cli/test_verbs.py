"""The verbs as a shell sees them, on real databases: what they print, what they answer in JSON, how they exit."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from backup_pipeline.cli.app import VERBS
from backup_pipeline_tests.cli.conftest import Folder


def damage(folder: Folder) -> None:
    """Flip every bit of the database file's blocks."""
    for path in (folder.path / "vault" / "objects").rglob("*.blocks.zst"):
        path.chmod(0o644)
        path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


@pytest.fixture(params=["shop", "pg_shop"])
def either(request: pytest.FixtureRequest) -> Folder:
    """On SQLite and on PostgreSQL."""
    found: Folder = request.getfixturevalue(request.param)
    return found


def test_the_whole_way_from_nothing_to_a_proven_restore(
    either: Folder, request: pytest.FixtureRequest
) -> None:
    nothing = either.run("status", "--json")
    assert nothing.code == 13
    assert nothing.document["data"]["systems"][0]["findings"][0]["code"] == "no-backup"

    made = either.good("backup", "shop", "--no-record", "--json").data
    identifier = made["backup"]["id"]
    assert (made["backup"]["scope"], made["backup"]["tables"], made["backup"]["rows"]) == ("full", 2, 5)
    assert [left["name"] for left in made["left_out"]] == ["audit_log"]
    assert either.run("status").code == 13  # never proven

    report = either.good("verify", "shop", "--json").data["report"]
    assert report["counted"]["rows"] == 5
    drill = either.good("drill", "shop", "--no-record", "--json").data
    assert (drill["report"]["counted"]["tables"], drill["report"]["counted"]["rows"]) == (2, 5)
    assert drill["recovery_seconds"] > 0
    assert either.run("status").code == 13  # nothing will make the next one
    either.accept_that_nothing_runs()
    status = either.good("status", "--json").data
    assert status["protected"] is True
    assert status["systems"][0]["proven"]["id"] == identifier
    assert status["systems"][0]["zone"] == "Europe/Berlin"

    target = either.restored
    plan = either.good("restore", "shop", "--to", target, "--create", "--dry-run", "--json").data
    assert plan["backup_id"] == identifier
    result = either.good("restore", "shop", "--to", target, "--create", "--json").data
    assert (result["tables"], result["rows"]) == (plan_tables(plan), 5)
    again = either.run("restore", "shop", "--to", target, "--json")
    assert again.code == 9
    assert again.error["code"] == "target-not-empty"
    assert again.stderr == ""
    if request.node.callspec.id == "shop":
        with closing(sqlite3.connect(either.path / "restored.db")) as connection:
            assert connection.execute("SELECT sum(total) FROM orders").fetchone() == (60,)
            cursor = connection.execute("INSERT INTO orders (customer_id) VALUES (1)")
            assert cursor.lastrowid == 4


def plan_tables(plan: dict[str, list[dict[str, str]]]) -> int:
    return sum(1 for table in plan["tables"] if table["action"] in ("load", "empty"))


def test_a_second_backup_reuses_what_did_not_change(either: Folder) -> None:
    if "SHOP_URL" in either.env:
        # A few chunks are read every time, as witnesses: in a database of two tables that is all of it.
        with closing(psycopg2.connect(either.env["SHOP_URL"])) as connection, connection:
            connection.cursor().execute("CREATE TABLE a AS SELECT 1 AS x; CREATE TABLE b AS TABLE a")
    either.backup()
    second = either.good("backup", "shop", "--no-record", "--json").data["backup"]
    assert second["chunks"] > 0
    # PostgreSQL: what was written a moment ago may still be read again (the horizon of open transactions).
    assert second["reused_chunks"] > 0
    full = either.good("backup", "shop", "--no-record", "--full", "--json").data["backup"]
    assert full["reused_chunks"] == 0


def test_a_backup_is_told_to_people_with_what_it_left_out(shop: Folder) -> None:
    ended = shop.good("backup", "shop", "--no-record")
    assert re.search(r"^shop \d{4}-\d\d-\d\dT", ended.stdout)
    assert "manual, full: 2 tables, 5 rows" in ended.stdout
    assert re.search(r"main\.audit_log\s+table\s+excluded by `exclude: audit_log`", ended.stdout)
    assert "→ backup-pipeline drill shop" in ended.stdout


def test_only_makes_a_partial_backup_that_is_never_the_newest(shop: Folder) -> None:
    full = shop.backup()
    partial = shop.good("backup", "shop", "--no-record", "--only", "orders", "--json").data["backup"]
    assert (partial["scope"], partial["tables"]) == ("partial", 1)
    assert shop.good("show", "shop", "--json").data["backup"]["id"] == full
    assert shop.good("show", "shop", partial["id"], "--json").data["backup"]["scope"] == "partial"
    group = shop.good("backup", "shop", "--no-record", "--only", "sales", "--json").data["backup"]
    assert group["tables"] == 2
    for record in ([], ["--no-record"]):
        several = shop.good("backup", "shop", *record, "--only", "orders,main.customers", "--json").data
        assert (several["backup"]["scope"], several["backup"]["tables"]) == ("partial", 2)
    wrong = shop.run("backup", "shop", "--no-record", "--only", "ordres", "--json")
    assert (wrong.code, wrong.error["code"]) == (2, "usage")
    assert "sales" in wrong.error["remedy"]


def test_quiet_says_nothing_when_all_is_well(shop: Folder) -> None:
    for arguments in (
        ["backup", "shop", "--no-record"],
        ["verify", "shop"],
        ["drill", "shop", "--no-record"],
    ):
        ended = shop.good(*arguments, "--quiet")
        assert (ended.stdout, ended.stderr) == ("", "")


def test_list_shows_every_backup_with_its_proofs(shop: Folder) -> None:
    first = shop.backup()
    shop.good("verify", "shop")
    shop.good("drill", "shop", "--no-record")
    second = shop.backup()
    listed = shop.good("list", "--json").data["backups"]
    assert [line["id"] for line in listed] == [first, second]
    assert listed[0]["verified_at"]
    assert listed[0]["proven_at"]
    assert listed[1]["proven_at"] is None
    text = shop.good("list", "shop").stdout.splitlines()
    assert text[0] == "shop: 2 backups"
    assert text[1].split()[:2] == ["ID", "(UTC)"]
    assert re.search(rf"{first}  manual  full .*(  20\d\d-\d\d-\d\d \d\d:\d\d \+0[12]:00){{2}}", text[2])
    assert text[3].rstrip().endswith("1 left out")


def test_times_in_a_text_are_in_the_zone_of_the_system_and_in_json_in_utc(shop: Folder) -> None:
    """`list` and `show` said UTC, `status` both: one rule for all."""
    identifier = shop.backup()
    shop.good("verify", "shop")
    for arguments in (["list"], ["show", "shop"], ["status"]):
        # The words of a finding are the same in JSON: they may be in UTC, and say so.
        text = re.sub(r"(?m)^(WARN|ERROR|note) .*$", "", shop.run(*arguments).stdout)
        assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d(:\d\d)? \+0[12]:00", text), text
        assert not re.search(r"\d\d:\d\d(:\d\d)?( UTC|Z)", text.replace(identifier, "")), text
    line = shop.good("list", "--json").data["backups"][0]
    assert line["verified_at"].endswith("Z")


def test_a_damaged_manifest_does_not_hide_the_other_backups(shop: Folder) -> None:
    first, second = shop.backup(), shop.backup()
    manifest = shop.path / "vault" / "shop" / first / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    ended = shop.run("list", "shop")
    assert ended.code == 7
    assert second in ended.stdout
    assert re.search(rf"{first}  DAMAGED", ended.stdout)
    document = shop.run("list", "--json").document
    assert [line["id"] for line in document["data"]["damaged"]] == [first]
    assert [line["id"] for line in document["data"]["backups"]] == [second]
    assert shop.run("status").code == 13


def test_show_is_a_page_and_raw_is_the_manifest_itself(shop: Folder) -> None:
    identifier = shop.backup()
    shop.good("verify", "shop")
    page = shop.good("show", "shop").stdout
    for part in (identifier, "manual, full", "sqlite 3.", "main.orders", "audit_log", "verify passed", " +0"):
        assert part in page, part
    raw = shop.good("show", "shop", "latest", "--raw").stdout
    assert raw == (shop.path / "vault" / "shop" / identifier / "manifest.json").read_text()
    data = shop.good("show", "shop", "--json").data
    assert data["manifest"]["left_out"][0]["name"] == "audit_log"
    assert data["proofs"][0]["ok"] is True


@pytest.mark.parametrize("verb", ["verify", "drill"])
def test_a_broken_backup_fails_with_its_report_first(verb: str, shop: Folder) -> None:
    shop.backup()
    damage(shop)
    extra = ["--no-record"] if verb == "drill" else []
    ended = shop.run(verb, "shop", *extra, "--json")
    if verb == "verify":
        assert ended.code == 10
        document = ended.document
        assert document["error"]["code"] == "proof-failed"
        assert document["error"]["remedy"]
        report = document["data"]["report"]
        assert any(finding["severity"] == "error" for finding in report["findings"])
        people = shop.run(verb, "shop", *extra, "--quiet")
        assert people.code == 10
        assert "ERROR" in people.stdout
        assert people.stderr.startswith("proof-failed: ")
        status = shop.run("status")
        assert "verify-failed" in status.stdout
        assert "FAILED, see below" in status.stdout
    else:
        assert ended.code in (7, 10)
        assert ended.document["ok"] is False


def test_query_answers_as_table_csv_and_json(either: Folder) -> None:
    either.backup()
    sql = "select c.name, o.total from orders o join customers c on c.id = o.customer_id order by o.id"
    table = either.good("query", "shop", "latest", sql)
    assert table.stdout.splitlines()[0].split() == ["name", "total"]
    assert table.stdout.splitlines()[1].split() == ["Ann", "10"]
    text = either.good("query", "shop", "latest", sql, "--format", "csv").stdout
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "total"],
        ["Ann", "10"],
        ["Bob", "20"],
        ["Bob", "30"],
    ]
    data = either.good("query", "shop", "latest", sql, "--format", "json").data
    assert data == {
        "columns": ["name", "total"],
        "rows": [["Ann", 10], ["Bob", 20], ["Bob", 30]],
        "total_rows": 3,
        "truncated": False,
    }
    few = either.good("query", "shop", "latest", sql, "--limit", "1")
    assert len(few.stdout.splitlines()) == 2
    assert few.stderr == "1 of 3 rows shown; --limit 0 shows all\n"
    wrong = either.run("query", "shop", "latest", "select * from nowhere", "--json")
    assert wrong.code != 0
    assert "nowhere" in wrong.error["message"]
    assert wrong.error["code"] != "internal"


def test_inventory_names_what_would_be_left_out(shop: Folder) -> None:
    data = shop.good("inventory", "shop", "--json").data
    left = {table["id"]: table["left_out"] for table in data["tables"]}
    assert left["main.orders"] is None
    assert left["main.audit_log"] == "excluded by `exclude: audit_log`"
    assert "1 left out" in shop.good("inventory", "shop").stdout


def test_doctor_goes_on_after_a_database_that_does_not_answer(shop: Folder) -> None:
    config = shop.path / "backup.yaml"
    config.write_text(
        config.read_text() + "  gone:\n    database: postgresql://nobody@127.0.0.1:1/none\n"
        "  unset:\n    database: ${env:NOT_THERE}\n"
    )
    ended = shop.run("doctor", "--json")
    assert ended.code == 14
    systems = ended.document["data"]["systems"]
    assert [f["severity"] for f in systems["shop"]["findings"] if f["severity"] == "error"] == []
    assert systems["gone"]["findings"][0]["severity"] == "error"
    assert "NOT_THERE" in systems["unset"]["findings"][0]["message"]
    assert shop.run("doctor", "shop").code == 0
    assert shop.run("backup", "shop", "--no-record").code == 0


@pytest.mark.parametrize(
    "verb", ["list", "show", "status", "doctor", "inventory", "backup", "verify", "drill"]
)
def test_an_unknown_system_is_not_found(verb: str, shop: Folder) -> None:
    ended = shop.run(verb, "shp", "--json")
    assert ended.code == 3
    assert ended.error["code"] == "not-found"
    assert "shp" in ended.error["message"]


@pytest.mark.parametrize(
    "arguments", [["show", "shop"], ["verify", "shop"], ["restore", "shop", "--to", "sqlite:///n.db"]]
)
def test_no_backup_yet_says_how_to_make_one(arguments: list[str], shop: Folder) -> None:
    ended = shop.run(*arguments, "--json")
    assert (ended.code, ended.error["code"]) == (3, "no-backup")
    assert "backup-pipeline backup shop" in ended.error["remedy"]


def test_the_configuration_may_be_named_by_option_and_variable(shop: Folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    there = Folder(elsewhere, {})
    config = str(shop.path / "backup.yaml")
    assert there.run("list").code == 2
    assert there.run("--config", config, "list").code == 0
    assert there.run("list", "--config", config).code == 0
    assert there.run("list", BACKUP_CONFIG=config).code == 0


def test_a_backup_whose_system_left_the_configuration_can_still_be_used(shop: Folder) -> None:
    identifier = shop.backup()
    config = shop.path / "backup.yaml"
    config.write_text("vault: ./vault\nsystems:\n  other:\n    database: sqlite:///other.db\n")
    assert shop.good("list", "--json").data["backups"][0]["id"] == identifier
    shop.good("verify", "shop", identifier)
    shop.good("show", "shop", identifier)
    shop.good("restore", "shop", identifier, "--to", "sqlite:///restored.db")


def test_colours_and_bars_stay_out_of_pipes(shop: Folder) -> None:
    ended = shop.shell("backup", "shop", "--no-record", TERM="xterm-256color")
    assert "\x1b" not in ended.stdout + ended.stderr


def test_every_verb_with_json_says_what_is_wrong_with_the_configuration(shop: Folder) -> None:
    (shop.path / "backup.yaml").write_text("vault: ./vault\nsistems: {}\n")
    one = ["shop", "2026-11-21T02-00-00-123Z"]
    needs = {"query": ["shop", "latest", "select 1"], "restore": ["shop", "--to", "sqlite:///x"]}
    needs |= {
        "pin": one,
        "unpin": one,
        "forget": [*one, "--yes"],
        "bucket": ["setup", "vault"],
        "alert": ["test"],
        "around": ["shop", "--json", "--", "true"],
    }
    without = {verb: [] for verb in ("list", "status", "doctor", "ui", "scrub")}
    for verb in VERBS:
        if verb in ("init", "demo", "keygen", "help"):  # they read none
            continue
        ended = shop.run(verb, *needs.get(verb, without.get(verb, ["shop"])), "--json")
        assert (ended.code, ended.error["code"]) == (2, "config"), verb
        assert "did you mean systems?" in str(ended.error), verb


def break_the_instance(folder: Folder, how: str) -> dict[str, str]:
    home = folder.path / ".backup-pipeline" / "dagster"
    if how == "home":
        return {"DAGSTER_HOME": "/nowhere/at/all"}
    home.mkdir(parents=True, exist_ok=True)
    if how == "yaml":
        (home / "dagster.yaml").write_text("garbage: [")
    else:
        (home / "history").mkdir()
        (home / "history" / "runs.db").write_text("this is no database " * 500)
    return {}


@pytest.mark.parametrize("how", ["home", "yaml", "database"])
def test_a_history_that_cannot_be_kept_does_not_keep_a_backup_from_being_made(how: str, shop: Folder) -> None:
    env = break_the_instance(shop, how)
    ended = shop.run("backup", "shop", "--json", "--quiet", **env)
    assert ended.code == 0, str(ended)
    assert ended.stderr.startswith("warning: ")
    assert len(shop.good("list", "--json").data["backups"]) == 1
    assert shop.run("drill", "shop", "--json", **env).code == 0


@pytest.mark.usefixtures("no_log")
def test_a_recorded_backup_is_the_same_backup(shop: Folder) -> None:
    ended = shop.run("backup", "shop", "--json", "--kind", "scheduled")
    assert ended.code == 0, str(ended)
    assert ended.stderr == ""
    assert ended.data["backup"]["kind"] == "scheduled"
    assert (shop.path / ".backup-pipeline" / "dagster").is_dir()
    assert shop.run("drill", "shop", "--json").code == 0
