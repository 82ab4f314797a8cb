"""`list --restores` and `show SYSTEM RESTORE_ID`: what restores did, and until when each can be undone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.config import parse
from backup_pipeline.errors import KeyMissing
from backup_pipeline.model.ids import moment_of
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations import Site
from backup_pipeline.operations.before_restore import back_up_before
from backup_pipeline.operations.restore_records import list_restores, remembered
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.encrypted import Encrypted, make_shop
from backup_pipeline_tests.harness.restoring import restored


def site_of(shop: Folder) -> Site:
    text = (shop.path / "backup.yaml").read_text(encoding="utf-8")
    return Site(parse(text, name="backup.yaml", base=shop.path, environ=dict(shop.env)))


def rules(shop: Folder, text: str) -> None:
    path = shop.path / "backup.yaml"
    path.write_text(f"retention: {{last: 1, {text}}}\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


@pytest.fixture
def before(shop: Folder) -> str:
    """The id of a backup that was made before a restore."""
    rules(shop, "pre_restore: 20d")
    shop.backup()
    site = site_of(shop)
    return back_up_before(site, "shop", site.url("shop"), [TableId("public", "customers")]).id


def test_restores_are_listed_with_what_can_be_undone(shop: Folder, before: str) -> None:
    assert "no restore has changed a database" in shop.good("list", "shop", "--restores").stdout
    vault = Vault(LocalStore(shop.path / "vault"))
    first = restored(vault, pre_restore=before)
    failed = restored(vault, pre_restore=before, ends="failed")
    undo = restored(vault, pre_restore=before, undoes=first.id)
    said = shop.good("list", "shop", "--restores").stdout
    lines = {line.split()[0]: line for line in said.splitlines() if line.startswith("r-")}
    assert list(lines) == [first.id, failed.id, undo.id]
    assert f"undone by {undo.id}" in lines[first.id]
    assert f"undoes {first.id}" in lines[undo.id]
    assert " failed " in lines[failed.id]
    found = {one["id"]: one for one in shop.good("list", "--restores", "--json").data["restores"]}
    assert (found[first.id]["undo"], found[failed.id]["undo"]) == ("", "")
    assert found[undo.id]["undo"] == f"backup-pipeline undo shop {undo.id}"
    assert (
        found[undo.id]["until"][:10]
        == f"{moment_of(before).date().fromordinal(moment_of(before).toordinal() + 20)}"
    )
    assert found[undo.id]["rows"] == {"public.customers": [2, 2]}
    shop.good("pin", "shop", before)
    assert shop.good("list", "--restores", "--json").data["restores"][0]["until"] == ""
    assert shop.run("list", "nothing", "--restores").code != 0


def test_a_restore_is_shown_with_its_plan_and_the_command_that_undoes_it(shop: Folder, before: str) -> None:
    vault = Vault(LocalStore(shop.path / "vault"))
    done = restored(vault, pre_restore=before)
    said = shop.good("show", "shop", done.id).stdout
    for words in (
        "ada@desk",
        "postgresql://shop@db/shop (postgres 16.1)",
        f"backup {before}",
        "public.customers",
        "1 row created, 1 row updated, 1 row deleted",
        f"backup-pipeline undo shop {done.id}",
    ):
        assert words in said, words
    found = shop.good("show", "shop", done.id, "--json").data
    assert found["record"]["order"] == {"live": True, "only": ["customers"]}
    assert found["ended"]["result"] == {"update": 1, "create": 1, "delete": 1}
    unknown = restored(vault, pre_restore=before, ends="unknown")
    assert "not known whether the database has it" in shop.good("show", "shop", unknown.id).stdout
    assert shop.run("show", "shop", "r-2026-11-21T09-30-00-000Z").code != 0


def test_a_damaged_record_is_listed_as_damaged(shop: Folder, before: str) -> None:
    restore = restored(Vault(LocalStore(shop.path / "vault")), pre_restore=before)
    for name in ("prepared.json", "outline.json"):
        path = shop.path / "vault" / restore.key(name)
        rewrite(path, path.read_bytes()[:-4])
        (line,) = shop.good("list", "shop", "--restores", "--json").data["restores"]
        assert "not what was sealed" in line["damaged"]
        assert line["undo"] == ""
        assert "DAMAGED" in shop.good("list", "shop", "--restores").stdout


def test_prune_and_forget_say_which_restore_cannot_be_undone_any_more(shop: Folder) -> None:
    rules(shop, "pre_restore: 20d")
    site = site_of(shop)
    then = Site(site.settings, clock=lambda: datetime.now(UTC) - timedelta(days=21))
    before = back_up_before(then, "shop", site.url("shop"), [TableId("public", "customers")]).id
    shop.backup()
    vault = Vault(LocalStore(shop.path / "vault"))
    restore, other = restored(vault, pre_restore=before), restored(vault)
    said = shop.good("prune", "--dry-run").stdout
    (line,) = [line for line in said.splitlines() if line.startswith(before)]
    assert line.endswith(f"{restore.id} cannot be undone any more")
    said = shop.good("forget", "shop", before, "--yes").stdout
    assert f"the restore {restore.id} cannot be undone any more" in said
    assert f"{other.id} is forgotten" in shop.good("forget", "shop", other.id, "--yes").stdout
    assert "no restore" in shop.good("list", "--restores").stdout


def test_without_a_key_ids_and_states_are_listed(tmp_path: Path) -> None:
    made = Encrypted.make(tmp_path)
    made.back_up(make_shop(tmp_path / "shop.db", rows=3))
    restore = restored(made.closed)
    text = f"vault: {made.folder}\nsystems: {{shop: {{database: 'sqlite:///{tmp_path}/shop.db'}}}}\n"
    text += f"encryption: {{recipients: [{made.public}]}}\n"
    site = Site(parse(text, name="backup.yaml", base=tmp_path, environ={}))
    (line,) = list_restores(site)
    assert (line.id, line.state, line.by, line.rows) == (restore.id, "done", "", {})
    with pytest.raises(KeyMissing):
        remembered(site, "shop", restore.id)
