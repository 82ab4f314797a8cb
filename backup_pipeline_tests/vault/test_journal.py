"""Notes of a running backup: several steps may write them side by side, and all of them are read again."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import journal
from backup_pipeline.vault.vault import Vault

ID = "2026-11-21T02-00-00-000Z"


def note(tree: str) -> journal.TreeNote:
    return journal.TreeNote(tree, ObjectRef("0" * 64, 1, ".files.zst", "0" * 64, 1), ())


def test_steps_that_write_side_by_side_do_not_hurt_each_other(tmp_path: Path) -> None:
    backup = Vault(LocalStore(tmp_path / "vault")).backup("shop", ID)
    steps = [journal.Journal.continued(backup, {"a": "b"}) for _ in range(3)]
    for number, step in enumerate(steps):
        step.note_tree(note(f"tree{number}"))
    for step in steps:
        step.flush()
    later = journal.Journal.continued(backup, {"a": "b"})
    later.note_tree(note("later"))
    later.flush()
    found = [one.tree for one in journal.read_trees(backup)]
    assert found == ["tree0", "tree1", "tree2", "later"]
    state, tables = journal.read(backup)
    assert (state, tables) == ({"a": "b"}, {})
