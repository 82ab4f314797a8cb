"""Who writes to the store: adds, replaces and deletes files of the vault, and makes new seals. No key of the host.

Each test does with plain files what the attack did, and then runs the commands that people run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from backup_pipeline.errors import Damaged
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import backup_id, timestamp
from backup_pipeline.operations import Site
from backup_pipeline.operations.monitoring import watched
from backup_pipeline.vault import crypto, layout, lock
from backup_pipeline.vault.crypto import Given, Keys
from backup_pipeline.vault.objects import read_bytes
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify
from backup_pipeline_tests.cli.conftest import Folder, shop
from backup_pipeline_tests.harness.commands import Ended, environment
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.handmade import shop_vault

__all__ = ["shop"]

BRACKETS = b"[" * 200_000


def say(shop: Folder, name: str) -> None:
    """The living shop changes, so that each backup is told by what it holds."""
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.execute("UPDATE customers SET name = ? WHERE id = 1", (name,))


def backups(shop: Folder, *names: str) -> list[str]:
    made = []
    for name in names:
        say(shop, name)
        made.append(shop.backup())
    return made


def folder(shop: Folder, identifier: str) -> Path:
    return shop.path / "vault" / "shop" / identifier


def codes(ended: Ended) -> set[str]:
    document = json.loads(ended.stdout)
    return {one["code"] for one in _findings(document)}


def _findings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if {"severity", "code", "message"} <= node.keys():
            yield node
        for item in node.values():
            yield from _findings(item)
    elif isinstance(node, list):
        for item in node:
            yield from _findings(item)


def status(shop: Folder) -> set[str]:
    return codes(shop.run("status", "--json"))


def name_in(shop: Folder, which: str) -> str:
    ended = shop.good("query", "shop", which, "select name from customers where id = 1", "--json")
    return str(ended.data["rows"][0][0])


# ── another backup than the one that was made


@pytest.mark.rule("M3")
def test_an_old_backup_under_a_newer_id_is_not_taken_for_it(shop: Folder) -> None:
    """`query`, `restore latest` and `drill` read the old rows from it, exit 0, and the drill said PROVEN."""
    old, new = backups(shop, "old", "new")
    later = backup_id(datetime.now(UTC))
    shutil.copytree(folder(shop, old), folder(shop, later))
    shutil.rmtree(folder(shop, later) / "proofs", ignore_errors=True)
    for verb in (
        ("show", "shop"),
        ("query", "shop", "latest", "select 1"),
        ("restore", "shop", "--to", shop.restored),
        ("drill", "shop", "--no-record"),
    ):
        ended = shop.run(*verb)
        assert ended.code == 7, (verb, str(ended))
        assert "it was put in its place" in ended.stderr
    assert not (shop.path / "restored.db").exists()
    listed = shop.run("list", "--json").document["data"]
    assert [one["id"] for one in listed["damaged"]] == [later]
    assert len(listed["backups"]) == 2
    assert "damaged" in status(shop)
    assert "manifest-misplaced" in codes(shop.run("verify", "shop", later, "--json"))
    # The one bad backup hides no other, and stands in the way of none.
    assert name_in(shop, new) == "new"
    backups(shop, "newest")
    assert name_in(shop, "latest") == "newest"


def test_two_manifests_that_were_exchanged_are_both_refused(shop: Folder) -> None:
    """Each lay under the id of the other, with a seal of its own: both were restored."""
    first, second = backups(shop, "first", "second")
    for name in ("manifest.json", "manifest.json.sha256"):
        one, other = folder(shop, first) / name, folder(shop, second) / name
        data = one.read_bytes()
        rewrite(one, other.read_bytes())
        rewrite(other, data)
    for identifier in (first, second):
        assert shop.run("restore", "shop", identifier, "--to", shop.restored).code == 7
    assert len(shop.run("list", "--json").document["data"]["damaged"]) == 2


def test_an_edited_manifest_without_a_new_seal_is_refused(shop: Folder) -> None:
    """`list`, `query` and `restore` took it; only `verify` and `status` compared the seal."""
    (identifier,) = backups(shop, "one")
    manifest = folder(shop, identifier) / "manifest.json"
    rewrite(manifest, manifest.read_bytes().replace(b'"kind":"manual"', b'"kind":"imported"'))
    for verb in (
        ("query", "shop", identifier, "select 1"),
        ("restore", "shop", identifier, "--to", shop.restored),
    ):
        ended = shop.run(*verb)
        assert (ended.code, "altered since it was sealed" in ended.stderr) == (7, True), str(ended)


@pytest.mark.rule("C9")
def test_a_vault_that_was_set_back_is_noticed_until_a_person_accepts_it(shop: Folder) -> None:
    """The newest folder deleted and newest.json set back: `verify all` was 0, and `status` content."""
    backups(shop, "first")
    newest_json = (shop.path / "vault" / "shop" / "newest.json").read_bytes()
    (lost,) = backups(shop, "second")
    kept = shop.path / "kept"
    shutil.copytree(shop.path / "vault", kept)
    shutil.rmtree(folder(shop, lost))
    rewrite(shop.path / "vault" / "shop" / "newest.json", newest_json)
    assert "set-back" in status(shop)
    assert "set-back" in codes(shop.run("doctor", "--json"))
    # The checks of the graph, which alerts tell of.
    outcomes = watched(Site.load(shop.path / "backup.yaml"), "shop")
    assert "set-back" in {one.code for outcome in outcomes for one in outcome.findings if outcome.is_error}
    assert shop.run("list").code == 10
    # An ack that the attacker writes into the vault is not this host's word.
    shop.good("ack", "shop", "no-alert-route", "--because", "a test")
    acks = shop.path / "vault" / "shop" / "acks.json"
    rewrite(acks, acks.read_bytes().replace(b"no-alert-route", b"set-back"))
    assert "set-back" in status(shop)
    # Mended: what was set back is put back.
    shutil.rmtree(shop.path / "vault")
    shutil.copytree(kept, shop.path / "vault")
    assert "set-back" not in status(shop)
    # Set back again: the next backup says so, and the gap stays told after it.
    shutil.rmtree(folder(shop, lost))
    rewrite(shop.path / "vault" / "shop" / "newest.json", newest_json)
    say(shop, "third")
    ended = shop.run("backup", "shop", "--no-record", "--json")
    assert (ended.code, "set-back-before" in codes(ended)) == (10, True)
    assert "backup-missing" in status(shop)
    shop.good("forget", "shop", lost, "--yes")
    assert "backup-missing" not in status(shop)


@pytest.mark.rule("C9")
def test_a_whole_vault_that_was_set_back_is_accepted_on_this_host(shop: Folder) -> None:
    """Each file was as it once had been, and the chain whole: no command noticed."""
    backups(shop, "first")
    shutil.copytree(shop.path / "vault", shop.path / "old")
    backups(shop, "second")
    shutil.rmtree(shop.path / "vault")
    (shop.path / "old").rename(shop.path / "vault")
    assert "set-back" in status(shop)
    shop.good("ack", "shop", "set-back", "--because", "the disk was restored")
    assert "set-back" not in status(shop)
    backups(shop, "third")
    assert name_in(shop, "latest") == "third"


# ── files that end every command


LOCK = b'{"born":"","host":"h","pid":1,"renewed":"soon","since":"","token":"t","what":"w"}'


@pytest.mark.parametrize(
    "bad",
    [
        {"manifest.json": BRACKETS, "../lock.json": LOCK},
        {"manifest.json": b'{"format":1,"objects":' + BRACKETS, "../../lock.json": LOCK},
        {
            "proofs/verify-2026-11-30T00-00-00-000Z.json": BRACKETS,
            "../lock.json": BRACKETS,
            "../newest.json": BRACKETS,
            "../acks.json": BRACKETS,
            "../drafts/one.json": BRACKETS,
            "../2026-11-01T00-00-00-000Z/journal/one.json": BRACKETS,
            "../2099-99-99T00-00-00-000Z/manifest.json": BRACKETS,
            "../forgotten/2026-11-01T00-00-00-000Z.json": BRACKETS,
            "../../garbage.json": BRACKETS,
            "../../scrub.json": BRACKETS,
            "../../lock.json": BRACKETS,
        },
    ],
    ids=["manifest", "manifest of more", "what lies beside"],
)
@pytest.mark.rule("V10")
def test_one_bad_file_spoils_one_backup_and_nothing_else(shop: Folder, bad: dict[str, bytes]) -> None:
    """200,000 brackets in any of them ended every command with exit 70, `backup` too."""
    first, _ = backups(shop, "first", "second")
    for place, data in bad.items():
        path = (folder(shop, first) / place).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    backups(shop, "third")
    assert name_in(shop, "latest") == "third"
    config = shop.path / "backup.yaml"
    config.write_text("copies: {second: ./second}\nretention: {last: 2}\n" + config.read_text())
    for verb in (
        "list",
        "status",
        "verify shop latest",
        "verify shop all",
        "scrub",
        "copy shop",
        "prune",
        "doctor",
    ):
        ended = shop.run(*verb.split())
        assert ended.code not in (1, 2, 70), (verb, str(ended))
    assert (shop.path / "second" / "shop").is_dir(), "the whole ones were copied"


def test_a_vault_file_of_brackets_is_named_and_not_a_defect_of_ours(shop: Folder) -> None:
    """Exit 70, “a defect of ours”, from every command."""
    backups(shop, "one")
    path = shop.path / "vault" / "vault.json"
    path.chmod(0o600)
    path.write_bytes(BRACKETS)
    assert "vault-file-altered" in codes(shop.run("verify", "shop", "--json"))
    ended = shop.run("backup", "shop", "--no-record")
    assert (ended.code, "vault.json is not readable" in ended.stderr) == (7, True), str(ended)


@pytest.mark.parametrize(
    "change", [{"finished_at": "soon"}, {"sha256": "../../../etc/passwd"}, {"size": 1 << 80}]
)
def test_a_manifest_whose_parts_are_impossible_spoils_its_backup_only(
    shop: Folder, change: dict[str, Any]
) -> None:
    """With a seal that fits: a time that is none, an object outside of the vault. Every backup after it ended with 70."""
    first, second = backups(shop, "first", "second")
    plain = json.loads((folder(shop, first) / "manifest.json").read_bytes())
    (plain if "finished_at" in change else plain["schema"]).update(change)
    data = canonical.encode(plain)
    rewrite(folder(shop, first) / "manifest.json", data)
    seal = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
    rewrite(folder(shop, first) / "manifest.json.sha256", seal.encode())
    assert shop.run("list", "--json").document["data"]["damaged"][0]["id"] == first
    assert shop.run("status").code == 13
    backups(shop, "third")
    assert name_in(shop, second) == "second"
    config = shop.path / "backup.yaml"
    config.write_text("retention: {last: 2}\n" + config.read_text())
    assert shop.run("prune", "--dry-run").code not in (1, 70)


@pytest.mark.rule("O6", "V10")
def test_a_bomb_is_told_before_it_is_unpacked(tmp_path: Path) -> None:
    """A schema of 96 KB that unpacks to 3,000 MiB took 3 GB of memory from `verify` and `restore --dry-run`."""
    vault = shop_vault(tmp_path / "vault", nights=1)
    (identifier,) = vault.ids("shop")
    manifest = vault.backup("shop", identifier).manifest
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    blank = b" " * (1 << 20)
    data = b"".join([*(packer.compress(blank) for _ in range(1000)), packer.flush()])
    bomb = replace(manifest.schema, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    vault.store.put(layout.object_key(bomb), data)
    stored = canonical.encode(replace(manifest, schema=bomb))
    rewrite(tmp_path / "vault" / layout.manifest_key("shop", identifier), stored)
    seal = f"{hashlib.sha256(stored).hexdigest()}  manifest.json\n"
    rewrite(tmp_path / "vault" / layout.seal_key("shop", identifier), seal.encode())
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems: {shop: {database: 'postgresql://localhost:1/shop'}}\n"
    )
    code = (
        "from backup_pipeline.cli import main\n"
        f"ended = main(['verify', 'shop', {identifier!r}])\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(ended, peak.split()[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "schema-unreadable" in done.stdout
    ended, peak = map(int, done.stdout.splitlines()[-1].split())
    assert (ended, peak < 300 << 10) == (10, True), peak
    # Said in full, it is too much all the same; and a frame may not ask for a window of its own choice.
    with pytest.raises(Damaged, match="more than any object of its kind"):
        read_bytes(vault.objects, replace(bomb, plain_size=1000 << 20))
    wide = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    ).compressobj()
    framed = wide.compress(b"x" * 100) + wide.flush()
    held = replace(bomb, sha256=hashlib.sha256(framed).hexdigest(), size=len(framed), plain_size=100)
    vault.store.put(layout.object_key(held), framed)
    with pytest.raises(Damaged, match="does not decompress"):
        read_bytes(vault.objects, held)


@pytest.mark.rule("O6")
def test_an_age_header_of_a_million_recipients_is_refused_at_once() -> None:
    """Each of them costs the reader a computation on a curve."""
    secret, public = crypto.generate()
    keys = Keys((public,), Given(secret))
    good = crypto.encrypt(keys, b"content")
    head, _, body = good.partition(b"\n---")
    stanza = head.partition(b"\n")[2]
    many = b"age-encryption.org/v1\n" + b"\n".join([stanza] * 10_000) + b"\n---" + body
    assert crypto.decrypt(keys, good) == b"content"
    with pytest.raises(Damaged, match="header is longer"):
        crypto.decrypt(keys, many)


# ── names and times


@pytest.mark.rule("V2", "V10")
def test_folders_that_are_no_systems_are_named_and_not_listed(shop: Folder) -> None:
    """`..evil` and `Bad Name` were systems to `list` and `status`."""
    (identifier,) = backups(shop, "one")
    for name in ("..evil", "Bad Name", "objects2!"):
        shutil.copytree(folder(shop, identifier), shop.path / "vault" / name / identifier)
    ended = shop.run("list")
    assert ended.code == 0
    assert "evil" not in ended.stdout
    assert "foreign-folder" in codes(shop.run("verify", "shop", "--json"))
    ended = shop.run("doctor", "--json")
    assert "foreign-folder" in codes(ended)
    assert "Bad Name" in ended.stdout


@pytest.mark.rule("V3")
def test_a_backup_from_the_future_stops_no_other(shop: Folder) -> None:
    """`cp -a` to an id of next year: exit 5, “set the clock right”, from every backup until then; and it was the newest."""
    (first,) = backups(shop, "first")
    future = backup_id(datetime.now(UTC) + timedelta(days=400))
    shutil.copytree(folder(shop, first), folder(shop, future))
    manifest = json.loads((folder(shop, future) / "manifest.json").read_bytes())
    data = canonical.encode({**manifest, "id": future})
    rewrite(folder(shop, future) / "manifest.json", data)
    seal = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
    rewrite(folder(shop, future) / "manifest.json.sha256", seal.encode())
    say(shop, "second")
    ended = shop.run("backup", "shop", "--no-record", "--json")
    assert (ended.code, "from-the-future" in codes(ended)) == (0, True), str(ended)
    second = ended.data["backup"]["id"]
    assert json.loads((folder(shop, second) / "manifest.json").read_bytes())["previous"]["id"] == first
    assert name_in(shop, "latest") == "second"
    assert "from-the-future" in status(shop)
    assert not codes(shop.run("verify", "shop", second, "--json")) & {"chain-broken"}
    shop.good("forget", "shop", future, "--force", "newest", "--yes")
    assert "from-the-future" not in status(shop)


def test_a_clock_that_was_set_back_files_no_backup_before_those_of_this_host(shop: Folder) -> None:
    """What the rule above must not give away: a host whose own clock is wrong stops, as before."""
    (first,) = backups(shop, "first")
    wrote = next((shop.path / ".backup-pipeline" / "newest").glob("*/shop.json"))
    assert json.loads(wrote.read_bytes())["id"] == first
    future = backup_id(datetime.now(UTC) + timedelta(days=2))
    folder(shop, first).rename(folder(shop, future))
    wrote.write_bytes(wrote.read_bytes().replace(first.encode(), future.encode()))
    ended = shop.run("backup", "shop", "--no-record")
    assert (ended.code, "set the clock right" in ended.stderr) == (5, True), str(ended)


# ── locks


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a PID namespace")
def test_a_living_lock_is_not_taken_over_from_another_pid_namespace(tmp_path: Path) -> None:
    """Under one host name, the number of the holder was looked up among the processes of another namespace: the second
    backup took the lock of the first one, which then ended with 6."""
    vault = shop_vault(tmp_path / "vault", nights=1)
    with lock.hold(vault.store, "shop", "a backup") as held:
        script = (
            "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
            "from backup_pipeline.stores.local import LocalStore; from backup_pipeline.vault import lock\n"
            "holder = lock.current(LocalStore(Path(sys.argv[1])), 'shop/lock.json')\n"
            "print(lock.is_stale(holder, datetime.now(UTC)))\n"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "vault")]
        inside = ["unshare", "--pid", "--fork", "--mount-proc", *command]
        for argv in (command, inside):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if argv is inside and done.returncode and "unshare" in done.stderr:
                pytest.skip("this host makes no PID namespaces")
            assert done.stdout == "False\n", done.stderr
        held.confirm()


@pytest.mark.rule("W3")
def test_a_lock_that_was_renewed_in_the_future_is_stale(tmp_path: Path) -> None:
    """One file with a time of the year 2999 held the lock for ever."""
    store = shop_vault(tmp_path / "vault", nights=1).store
    holder = lock.Holder(
        "t", "h", 1, "", "nothing", timestamp(datetime.now(UTC)), "2999-01-01T00:00:00.000000Z"
    )
    store.put(layout.lock_key("shop"), canonical.encode(holder))
    with lock.hold(store, "shop", "a backup"):
        pass


def test_verify_names_what_was_put_in_the_place_of_another(tmp_path: Path) -> None:
    """What `verify` could tell before stays told, one code for each."""
    vault: Vault = shop_vault(tmp_path / "vault", nights=2)
    first, second = vault.ids("shop")
    root = tmp_path / "vault"
    rewrite(
        root / layout.manifest_key("shop", second), (root / layout.manifest_key("shop", first)).read_bytes()
    )
    found = {one.code for one in verify(vault.backup("shop", second), quick=True).errors}
    assert {"manifest-misplaced", "seal-broken"} <= found
