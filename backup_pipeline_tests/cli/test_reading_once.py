"""No command that reads fetches or parses a manifest twice."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pyrage
import pytest

from backup_pipeline import load
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations.monitoring import watched
from backup_pipeline.stores.local import LocalStore
from backup_pipeline_tests.cli.conftest import CONFIG, SHOP, Folder

KEY = 'encryption: {recipients: [%s], identity: "${file:key.txt}"}\n'
MORE = "    files: {media: {path: ./media}}\nretention: {last: 2, grace: 1s}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three backups in a plain vault, and three in an encrypted one."""
    found = {}
    for name in ("plain", "encrypted"):
        found[name] = path = tmp_path_factory.mktemp(name)
        with closing(sqlite3.connect(path / "shop.db")) as database:
            database.executescript(SHOP)
        (path / "media").mkdir()
        (path / "media" / "a.txt").write_text("a")
        identity = pyrage.x25519.Identity.generate()
        (path / "key.txt").write_text(f"{identity}\n")
        key = KEY % identity.to_public() if name == "encrypted" else ""
        (path / "backup.yaml").write_text(CONFIG % "sqlite:///shop.db" + MORE + key)
        for _ in range(3):
            Folder(path, {}).backup()
    return found


@pytest.fixture(params=["plain", "encrypted"])
def history(request: pytest.FixtureRequest, made: dict[str, Path], tmp_path: Path) -> Folder:
    """A copy of them, with a place to which they were not yet copied."""
    path = tmp_path / "history"
    shutil.copytree(made[request.param], path)
    with (path / "backup.yaml").open("a") as settings:
        settings.write("copies: {second: ./second}\n")
    return Folder(path, {})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each manifest was fetched, and how many were taken apart."""
    found: Counter[str] = Counter()
    get, decode = LocalStore.get, canonical.decode

    def counting_get(self: LocalStore, key: str, *arguments: object, **more: object) -> object:
        if key.endswith(("/manifest.json", "/manifest.json.age")):
            found[f"{self.address}/{key}"] += 1
        return get(self, key, *arguments, **more)  # type: ignore[arg-type]

    def counting_decode(kind: type, data: bytes, *, what: str) -> object:
        if kind is Manifest:
            found[what] += 1
        return decode(kind, data, what=what)

    monkeypatch.setattr(LocalStore, "get", counting_get)
    monkeypatch.setattr(canonical, "decode", counting_decode)
    return found


@pytest.mark.parametrize(
    ("command", "looked_at"),
    [
        ("list shop", 3),
        ("status shop", 3),
        ("show shop", 1),
        ("verify shop --quick", 1),
        ("verify shop all", 3),
        ("drill shop", 1),
        ("restore shop --to sqlite:///{out}/new.db", 1),
        ("restore shop --files media --to {out}/files", 1),
        ("query shop latest SELECT+1", 1),
        ("prune --dry-run", 3),
        ("prune", 3),
        ("copy shop", 3),
    ],
)
def test_a_command_fetches_and_parses_each_manifest_once(
    command: str,
    looked_at: int,
    history: Folder,
    counted: Counter[str],
    tmp_path: Path,
) -> None:
    ended = history.run(*(word.replace("+", " ").format(out=tmp_path) for word in command.split()))
    assert ended.code in (0, 13), ended.stderr
    fetched = [name for name in counted if name.endswith((".json", ".age"))]
    # The outline of an encrypted backup says enough for some commands.
    is_encrypted = "encryption:" in (history.path / "backup.yaml").read_text()
    assert is_encrypted or len(fetched) >= looked_at
    assert set(counted.values()) <= {1}, counted


def test_a_tick_of_the_sensor_fetches_and_parses_each_manifest_once(
    history: Folder, counted: Counter[str]
) -> None:
    site = load(history.path / "backup.yaml")
    counted.clear()
    watched(site.one_look(), "shop")
    assert len(counted) == 2 * 3
    assert set(counted.values()) == {1}


def test_a_handle_sees_one_state_and_a_new_handle_sees_the_state_now(shop: Folder) -> None:
    """A process that lives for weeks (the UI) keeps its vault."""
    identifier = shop.backup()
    vault = load(shop.path / "backup.yaml").vault
    look = vault.one_look()
    assert look.backup("shop", identifier).seal_holds()
    manifest = Path(shop.path, "vault", "shop", identifier, "manifest.json")
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b'"manual"', b'"edited"'))
    assert not vault.backup("shop", identifier).seal_holds()
    assert look.backup("shop", identifier).seal_holds()


def test_a_look_at_many_backups_keeps_the_bytes_of_the_last_ones_only(shop: Folder) -> None:
    identifier = shop.backup()
    look = load(shop.path / "backup.yaml").vault.one_look()
    first = look.backup("shop", identifier)
    assert (first.scope, "stored" in vars(first)) == ("full", True)
    for number in range(40):
        look.backup("shop", f"another {number}")
    assert ("scope" in vars(first), "stored" in vars(first)) == (True, False)
    assert look.backup("shop", identifier) is first
