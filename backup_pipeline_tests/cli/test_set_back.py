"""What a host remembers of its last backup is right where others change the vault with good reason."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from backup_pipeline_tests.attacks.test_store_writer import codes, say
from backup_pipeline_tests.cli.conftest import Folder


def hosts(shop: Folder) -> tuple[Folder, Folder]:
    """Two hosts, each with a state folder of its own, that back up into one vault."""
    text = (shop.path / "backup.yaml").read_text()
    for name in ("a", "b"):
        more = f"state: ./state-{name}\ncopies: {{second: ./second}}\n"
        (shop.path / f"{name}.yaml").write_text(more + text)
    return Folder(shop.path, {"BACKUP_CONFIG": "a.yaml"}), Folder(shop.path, {"BACKUP_CONFIG": "b.yaml"})


def backup(host: Folder, name: str) -> str:
    say(host, name)
    made: str = host.good("backup", "shop", "--no-record", "--no-copy", "--json").data["backup"]["id"]
    return made


def set_back(host: Folder) -> bool:
    return "set-back" in codes(host.run("status", "--json"))


def test_hosts_that_share_a_vault_know_of_their_own_backups_only(shop: Folder) -> None:
    a, b = hosts(shop)
    of_a, _ = backup(a, "of a"), backup(b, "of b")
    a.good("copy", "shop")
    assert not set_back(a)
    assert not set_back(b)
    # Forgotten by another host, and pruned by it: there is a record.
    b.good("forget", "shop", of_a, "--yes")
    assert not set_back(a)
    last = [backup(a, f"{number}") for number in range(2)][-1]
    newest = backup(b, "newest")
    text = (shop.path / "b.yaml").read_text()
    (shop.path / "b.yaml").write_text("retention: {last: 1}\n" + text)
    b.good("prune")
    assert last not in {one["id"] for one in b.good("list", "--json").data["backups"]}
    assert not set_back(a)
    # A vault that was brought back from a copy that has all: nothing is missed. From one that lags: that is told.
    b.good("copy", "shop")
    shutil.rmtree(shop.path / "vault")
    b.good("copy", "shop", "--from", "second", "--to", "vault")
    assert not set_back(a)
    assert not set_back(b)
    after = backup(b, "after")
    shutil.rmtree(shop.path / "vault")
    b.good("copy", "shop", "--from", "second", "--to", "vault")
    assert not set_back(a)
    assert set_back(b)
    say(b, "later")
    assert b.run("backup", "shop", "--no-record", "--no-copy").code == 10
    assert re.search(rf"backup-missing: .*{after}|{after}.* it is gone", b.run("status").stdout)
    assert newest in b.run("list").stdout
    assert Path(shop.path / "state-a").is_dir()
