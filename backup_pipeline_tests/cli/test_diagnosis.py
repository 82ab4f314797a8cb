"""What is lost or damaged is told alike by every verb, with the remedy that helps here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import backup_pipeline
from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import HEAL, HEAL_MANIFEST
from backup_pipeline.operations import Site
from backup_pipeline.operations.monitoring import watched
from backup_pipeline.orchestration.launch import run_drill
from backup_pipeline_tests.cli.conftest import CONFIG, Folder
from backup_pipeline_tests.harness.commands import Ended
from backup_pipeline_tests.harness.damage import rewrite

#: Every verb that reads or changes the vault. `restore` and `query` are asked for the newest.
VERBS: tuple[tuple[str, ...], ...] = (
    ("show", "shop"),
    ("query", "shop", "latest", "select 1"),
    ("drill", "shop", "--no-record"),
    ("drill", "shop"),
    ("verify", "shop"),
    ("verify", "shop", "all"),
    ("list",),
    ("list", "shop"),
    ("restore", "shop", "--to", "sqlite:///again.db"),
    ("restore", "shop", "--to", "sqlite:///again.db", "--dry-run"),
    ("prune", "shop"),
    ("scrub",),
    ("pin", "shop", "latest"),
    ("copy", "shop"),
    ("backup", "shop", "--no-record"),
)


@pytest.fixture
def copied(shop: Folder) -> Folder:
    text = "copies: {second: ./second}\nretention: {daily: 3}\n" + CONFIG % "sqlite:///shop.db"
    (shop.path / "backup.yaml").write_text(text)
    shop.backup()
    return shop


def told(ended: Ended) -> str:
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("copies", [True, False], ids=["with a copy", "without"])
def test_a_vault_that_is_gone_is_told_by_every_verb(copied: Folder, copies: bool) -> None:
    shutil.rmtree(copied.path / "vault")
    if not copies:
        (copied.path / "backup.yaml").write_text("retention: {daily: 3}\n" + CONFIG % "sqlite:///shop.db")
    for verb in (*VERBS, ("status",), ("doctor",)):
        if verb[0] == "copy" and not copies:
            continue
        ended = copied.run(*verb)
        assert ended.code != 0, (verb, str(ended))
        text = told(ended)
        assert "there was a vault in" in text, (verb, str(ended))
        assert "`backup-pipeline backup shop` makes one" not in text, (verb, str(ended))
        assert "to begin an empty one there, remove" in text, (verb, str(ended))
        if copies:
            assert "copy second holds 1 backup" in text, (verb, str(ended))
            assert "--from second --to vault` brings the backups back" in text, (verb, str(ended))
    # What it says does help.
    if copies:
        copied.good("restore", "shop", "--from", "second", "--to", "sqlite:///again.db")
        copied.good("copy", "shop", "--from", "second", "--to", "vault")
        copied.good("verify", "shop")


def test_on_a_new_machine_the_copies_say_that_the_vault_was_lost(copied: Folder) -> None:
    shutil.rmtree(copied.path / "vault")
    shutil.rmtree(copied.path / ".backup-pipeline")
    for verb in (("show", "shop"), ("list",), ("verify", "shop"), ("status",)):
        ended = copied.run(*verb)
        assert ended.code != 0, (verb, str(ended))
        assert "copy second holds 1 backup of shop" in told(ended), (verb, str(ended))
        assert "copy shop --from second --to vault" in told(ended), (verb, str(ended))


def test_a_vault_that_is_new_is_not_called_lost(shop: Folder) -> None:
    assert shop.run("list").code == 0
    ended = shop.run("show", "shop")
    assert ended.code == 3
    assert "`backup-pipeline backup shop` makes one" in ended.stderr
    shop.good("doctor")


def test_a_copy_that_was_not_made_yet_is_not_called_lost(copied: Folder) -> None:
    shutil.rmtree(copied.path / "second")
    shutil.rmtree(copied.path / ".backup-pipeline" / "places")
    assert copied.run("list", "--copy", "second").code == 0
    ended = copied.run("show", "shop", "--copy", "second")
    assert ended.code == 3
    assert "`backup-pipeline copy shop --to second` brings the backups there" in ended.stderr


def test_a_copy_that_does_not_answer_is_said(copied: Folder) -> None:
    shutil.rmtree(copied.path / "vault")
    (copied.path / "second").rename(copied.path / "aside")
    (copied.path / "second").write_text("this is no folder")
    ended = copied.run("show", "shop")
    assert ended.code == 5
    assert "there was a vault in" in ended.stderr
    assert "brings the backups back" not in ended.stderr


def test_python_and_the_graph_say_the_same(copied: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copied.path / "vault")
    site = Site.load(copied.path / "backup.yaml")
    monkeypatch.chdir(copied.path)

    def asked(what: object) -> str:
        with pytest.raises(BackupError) as failed:
            what()  # type: ignore[operator]
        return str(failed.value)

    for one in (
        lambda: backup_pipeline.show("shop", config=site),
        lambda: backup_pipeline.list_backups(config=site),
        lambda: backup_pipeline.query("shop", None, "select 1", config=site),
        lambda: backup_pipeline.drill("shop", config=site),
        lambda: backup_pipeline.restore("shop", to="sqlite:///again.db", config=site),
        lambda: backup_pipeline.verify("shop", config=site),
        lambda: run_drill(site, "shop"),
    ):
        text = asked(one)
        assert "copy second holds 1 backup" in text
        assert "--from second --to vault" in text
    # And what watches without being asked.
    for outcome in watched(site, "shop"):
        assert outcome.is_error, outcome.name
        assert [one.code for one in outcome.findings if one.severity == "error"] == ["vault-lost"]
        assert "--from second --to vault" in outcome.findings[0].remedy


def damage_all(folder: Path, *, remove: bool) -> None:
    for path in (folder / "vault" / "objects").rglob("*.zst"):
        if remove:
            path.unlink()
        else:
            rewrite(path, bytes([*path.read_bytes()[:-1], path.read_bytes()[-1] ^ 255]))


@pytest.mark.parametrize("remove", [True, False], ids=["removed", "altered"])
@pytest.mark.parametrize("copies", [True, False], ids=["with a copy", "without"])
def test_damaged_objects_have_one_remedy(copied: Folder, copies: bool, remove: bool) -> None:
    if not copies:
        (copied.path / "backup.yaml").write_text(CONFIG % "sqlite:///shop.db")
    damage_all(copied.path, remove=remove)
    for verb in (
        ("drill", "shop", "--no-record"),
        ("drill", "shop"),
        ("verify", "shop"),
        ("query", "shop", "latest", "select * from orders"),
        ("restore", "shop", "--to", "sqlite:///again.db"),
        *((("restore", "shop", "--to", "sqlite:///again.db", "--dry-run"),) if remove else ()),
    ):
        ended = copied.run(*verb)
        assert ended.code in (7, 10), (verb, str(ended))
        text = told(ended)
        assert HEAL not in text
        if copies:
            assert "`backup-pipeline repair shop` brings it back from second" in text, (verb, str(ended))
            assert "`--from second` reads it there" in text
        else:
            assert "backup-pipeline repair shop --set-aside" in text, (verb, str(ended))
            assert "backup-pipeline backup shop --full" in text
    if copies:
        copied.good("repair", "shop")
        copied.good("drill", "shop", "--no-record")


@pytest.mark.parametrize("edit", [b"{}", b"not json at all", b'{"system": "shop", "format": "many"}'])
def test_an_edited_manifest_says_that_it_was_altered_and_what_heals_it(copied: Folder, edit: bytes) -> None:
    (manifest,) = (copied.path / "vault" / "shop").glob("*/manifest.json")
    before = manifest.read_bytes()
    rewrite(manifest, edit)
    for verb in (
        ("show", "shop", manifest.parent.name),
        ("drill", "shop", manifest.parent.name, "--no-record"),
        ("verify", "shop", manifest.parent.name),
        ("restore", "shop", "--to", "sqlite:///again.db"),
        ("list",),
        ("status",),
    ):
        ended = copied.run(*verb)
        assert ended.code != 0, (verb, str(ended))
        text = told(ended).lower()
        assert "altered since it was sealed" in text, (verb, str(ended))
        assert "validation error" not in text
        assert "pydantic" not in text
        assert "repair shop` brings it back from second" in text, (verb, str(ended))
        assert HEAL_MANIFEST.lower() not in text
    copied.good("repair", "shop")
    assert manifest.read_bytes() == before
    copied.good("show", "shop")


def test_a_drill_of_an_edited_manifest_proves_nothing(copied: Folder) -> None:
    (manifest,) = (copied.path / "vault" / "shop").glob("*/manifest.json")
    rewrite(manifest, manifest.read_bytes().replace(b'"kind":"manual"', b'"kind":"scheduled"'))
    ended = copied.run("drill", "shop", "--no-record")
    assert ended.code == 7
    assert "altered since" in told(ended)
    assert "PROVEN" not in ended.stdout


def test_an_edited_manifest_of_an_encrypted_vault_is_told_alike_and_blames_no_object(shop: Folder) -> None:
    recipient = shop.good("keygen", "--out", "key.txt", "--json").data["recipient"]
    text = f'encryption: {{recipients: [{recipient}], identity: "${{file:key.txt}}"}}\ncopies: {{second: ./second}}\n'
    (shop.path / "backup.yaml").write_text(text + CONFIG % "sqlite:///shop.db")
    identifier = shop.backup()
    manifest = shop.path / "vault" / "shop" / identifier / "manifest.json.age"
    data = manifest.read_bytes()
    rewrite(manifest, data[:200] + bytes([data[200] ^ 1]) + data[201:])
    for verb in (("show", "shop"), ("list",), ("drill", "shop", "--no-record"), ("verify", "shop")):
        ended = shop.run(*verb)
        assert ended.code in (7, 10), (verb, str(ended))
        assert "altered since it was sealed" in told(ended), (verb, str(ended))
        assert "repair shop` brings it back from second" in told(ended), (verb, str(ended))
        assert "object " not in told(ended).replace("objects", ""), (verb, str(ended))
    shop.good("repair", "shop")
    shop.good("drill", "shop", "--no-record")
