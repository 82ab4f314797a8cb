"""What no place has right any more is taken out of the way, and comes back from the living database and files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.copies.repair import RepairReport, repair
from backup_pipeline.copies.transfer import items
from backup_pipeline.databases.engines import open_source
from backup_pipeline.model.orders import RepairOrder
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import crypto, layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.commands import Ended, invoke
from backup_pipeline_tests.harness.damage import alter


def objects(vault: Path) -> list[Path]:
    return sorted(path for path in (vault / "objects").rglob("*") if path.is_file())


def named(vault: Path) -> list[Path]:
    """What the newest backup names: a run also leaves what it wrote on the way, which nothing names."""
    opened = Vault(LocalStore(vault))
    outline = opened.backup("shop", opened.ids("shop")[-1]).outline
    return sorted(vault / item.key for item in items(outline.objects))


def set_aside(vault: Vault, *, dry_run: bool = False) -> RepairReport:
    return repair(vault, (), RepairOrder("shop", set_aside=True, dry_run=dry_run))


def run(folder: Path, *words: str) -> Ended:
    return invoke(*words, cwd=folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
        connection.executemany("INSERT INTO t (b) VALUES (randomblob(?))", [(9_000,)] * 50)
    media = tmp_path / "media"
    media.mkdir()
    for number in range(40):
        (media / f"{number:02d}.txt").write_text(f"drawing {number}\n" * (1 + number * 50))
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  shop:\n    database: sqlite:///shop.db\n    files: {media: {path: ./media}}\n"
    )
    assert run(tmp_path, "backup", "shop", "--no-record").code == 0
    return tmp_path


@pytest.mark.rule("D7", "V7")
def test_every_object_that_is_damaged_comes_back_from_the_living_system(project: Path) -> None:
    """Rows in blocks, their map, the schema, packs and listings: all at once, with no copy to heal from."""
    vault = project / "vault"
    before = {path: path.read_bytes() for path in named(vault)}
    for path in before:
        alter(path)
    assert run(project, "verify", "shop", "latest").code == 10
    refused = run(project, "repair", "shop", "--json")
    assert refused.code == 2
    assert "--set-aside" in refused.error["remedy"]
    said = run(project, "repair", "shop", "--set-aside", "--json")
    assert said.code == 7
    assert {vault / key for key in said.document["data"]["set_aside"]} == set(before)
    assert not any(path.exists() for path in before)
    assert {path.name for path in (vault / "set-aside").iterdir()} == {path.name for path in before}
    assert run(project, "backup", "shop", "--no-record").code == 0
    assert run(project, "verify", "shop", "latest").code == 0
    assert run(project, "drill", "shop", "--all-files").code == 0
    # The same content has the same name: what was hurt before is whole again, too.
    assert run(project, "verify", "shop", "all").code == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_postgres_table_comes_back_from_the_living_database(pg_database: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(pg_database, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS x FROM generate_series(1, 5000) g"
        )
    vault = Vault(LocalStore(tmp_path / "vault"))

    def backup() -> None:
        back_up(vault, open_source(pg_database), Order("shop"))

    backup()
    for path in objects(tmp_path / "vault"):
        alter(path)
    report = set_aside(vault)
    assert len(report.set_aside) == len(report.findings) > 2
    backup()
    assert verify_all(vault, "shop").ok


def test_a_dry_run_moves_nothing_and_what_is_right_stays(project: Path) -> None:
    vault = Vault(LocalStore(project / "vault"))
    kept = objects(project / "vault")
    hurt = named(project / "vault")[0]
    kept.remove(hurt)
    alter(hurt)
    report = set_aside(vault, dry_run=True)
    assert len(report.set_aside) == 1
    assert len(objects(project / "vault")) == len(kept) + 1
    assert not (project / "vault" / "set-aside").exists()
    report = set_aside(vault)
    assert objects(project / "vault") == kept
    (aside,) = (project / "vault" / "set-aside").iterdir()
    assert report.set_aside == (f"{layout.OBJECTS}{aside.name[:2]}/{aside.name}",)
    # The folder is no system, and no object.
    assert vault.systems() == ("shop",)


def test_what_another_place_has_right_is_healed_and_not_set_aside(project: Path) -> None:
    config = project / "backup.yaml"
    config.write_text(config.read_text().replace("systems:", "copies: {disk: ./copy}\nsystems:", 1))
    assert run(project, "copy", "shop").code == 0
    alter(named(project / "vault")[0])
    said = run(project, "repair", "shop", "--set-aside", "--json")
    assert said.code == 0
    assert (len(said.data["healed"]), said.data["set_aside"]) == (1, [])


def test_an_encrypted_vault_without_the_key_gets_a_new_whole_backup(project: Path) -> None:
    secret, public = crypto.generate()
    (project / "key.txt").write_text(f"{secret}\n")
    head = f"vault: ./sealed\nencryption: {{recipients: [{public}], identity: '${{file:key.txt}}'}}\n"
    config = project / "backup.yaml"
    config.write_text(config.read_text().replace("vault: ./vault\n", head))
    with_key, without = config.read_text(), config.read_text().replace(", identity: '${file:key.txt}'", "")
    config.write_text(without)
    assert run(project, "backup", "shop", "--no-record").code == 0
    for path in objects(project / "sealed"):
        alter(path)
    assert run(project, "repair", "shop", "--set-aside").code == 7
    ended = run(project, "backup", "shop", "--no-record", "--json")
    assert ended.code == 0, json.dumps(ended.document)
    config.write_text(with_key)
    assert run(project, "drill", "shop", "--all-files").code == 0
    # Encrypted anew, the same content has another name: what was hurt stays hurt.
    assert run(project, "verify", "shop", "all").code == 10
