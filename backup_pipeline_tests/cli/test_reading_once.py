"""`list` and `status` look at every backup; none of its manifests is fetched or taken apart twice for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_pipeline import load
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations.one_look import one_look
from backup_pipeline.orchestration.asset_checks import judge_status
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.once import once
from backup_pipeline_tests.cli.conftest import Folder


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each manifest was fetched, and how many were taken apart."""
    found: Counter[str] = Counter()
    get, decode = LocalStore.get, canonical.decode

    def counting_get(self: LocalStore, key: str, *arguments: object, **more: object) -> object:
        if key.endswith("/manifest.json"):
            found[key] += 1
        return get(self, key, *arguments, **more)  # type: ignore[arg-type]

    def counting_decode(kind: type, data: bytes, *, what: str) -> object:
        if kind is Manifest:
            found[what] += 1
        return decode(kind, data, what=what)

    monkeypatch.setattr(LocalStore, "get", counting_get)
    monkeypatch.setattr(canonical, "decode", counting_decode)
    return found


def test_list_and_status_fetch_and_parse_each_manifest_once(shop: Folder, counted: Counter[str]) -> None:
    with (shop.path / "backup.yaml").open("a") as file:
        file.write("retention: {last: 2}\n")
    made = [shop.backup() for _ in range(3)]
    project = load(shop.path / "backup.yaml")
    looks: dict[str, Callable[[], object]] = {
        "list": lambda: shop.run("list", "shop"),
        "status": lambda: shop.run("status", "shop"),
        "watch": lambda: judge_status(one_look(project), "shop"),
    }
    for name, look in looks.items():
        counted.clear()
        look()
        assert len(counted) == 2 * len(made), (name, counted)
        assert set(counted.values()) == {1}, (name, counted)


def test_what_is_altered_after_a_look_is_seen_by_the_next(shop: Folder) -> None:
    """A process that lives for weeks (the UI) keeps its vault."""
    identifier = shop.backup()
    vault = load(shop.path / "backup.yaml").vault
    look = once(vault)
    assert look.seal_holds("shop", identifier)
    manifest = Path(shop.path, "vault", "shop", identifier, "manifest.json")
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b'"manual"', b'"edited"'))
    assert not vault.seal_holds("shop", identifier)
    assert look.seal_holds("shop", identifier)
    assert not once(vault).seal_holds("shop", identifier)
