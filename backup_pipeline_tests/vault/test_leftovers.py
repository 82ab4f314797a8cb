from __future__ import annotations

import os
from pathlib import Path

from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.leftovers import sweep


def test_folders_of_backups_that_are_gone_go_when_they_were_empty_for_an_hour(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    gone, held, fresh = (f"2026-11-{day}T02-00-00-000Z" for day in (20, 21, 22))
    for name in (gone, held, fresh):
        store.put(f"shop/{name}/proofs/a.json", b"x")
        os.utime(tmp_path / "shop" / name / "proofs", (0, 0))
    for name in (gone, fresh):
        store.delete(f"shop/{name}/proofs/a.json")
    for path in (tmp_path / "shop" / gone / "proofs", tmp_path / "shop" / gone, tmp_path / "shop" / held):
        os.utime(path, (0, 0))
    sweep(store)  # the folder of a folder that just went is young: it goes with the next one
    os.utime(tmp_path / "shop" / gone, (0, 0))
    sweep(store)
    assert sorted(path.name for path in (tmp_path / "shop").iterdir()) == [held, fresh]
    assert (tmp_path / "shop" / fresh / "proofs").exists()
