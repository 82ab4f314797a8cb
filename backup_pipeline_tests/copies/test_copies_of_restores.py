"""The records of restores in every place: copied after their rows, verified, scrubbed, and healed from another place."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.copies.compare import compare
from backup_pipeline.copies.repair import repair
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.copies.sampling import sample
from backup_pipeline.model.orders import RepairOrder
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, lock, signing
from backup_pipeline.vault.crypto import Given
from backup_pipeline.vault.restores import Restore, Restores
from backup_pipeline.vault.signing import Signing
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.scrub import scrub
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.damage import rewrite, state
from backup_pipeline_tests.harness.handmade import back_up_by_hand, identifier_of, shop, shop_vault
from backup_pipeline_tests.harness.restoring import AFTER, BEFORE, restored

PRE = identifier_of(3)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = shop_vault(tmp_path / "vault", nights=2)
    back_up_by_hand(made, shop(2)[:1], 3, kind="pre-restore")
    return made


@pytest.fixture
def copy(tmp_path: Path) -> Vault:
    return Vault(LocalStore(tmp_path / "copy"))


def files_of(vault: Vault, restore: Restore) -> list[Path]:
    assert vault.store.folder is not None
    keys = [restore.key(name) for name in restore.names]
    keys += [layout.object_key(one) for one in restore.outline.objects]
    return [vault.store.folder / key for key in keys]


def codes(findings: tuple[object, ...]) -> list[str]:
    return [one.code for one in findings]  # type: ignore[attr-defined]


def healed(vault: Vault, *others: Vault, dry_run: bool = False) -> tuple[int, list[str]]:
    named = [(f"copy{number}", other) for number, other in enumerate(others)]
    report = repair(vault, named, RepairOrder("shop", dry_run=dry_run))
    return len(report.healed), codes(report.findings)


@pytest.mark.rule("D8")
def test_a_record_goes_with_the_backup_before_its_restore_and_its_end_follows(
    vault: Vault, copy: Vault
) -> None:
    restore, failed = restored(vault, pre_restore=PRE, ends="unknown"), restored(vault, ends="failed")
    first = replicate(vault, copy, "shop", vault.ids("shop")[:2])
    assert first.ok
    assert Restores(copy, "shop").all() == ()
    assert compare(vault, copy, "shop").missing == (PRE, failed.id)
    assert replicate(vault, copy, "shop").ok
    assert Restores(copy, "shop").ids == (restore.id, failed.id)
    assert Restores(copy, "shop").get(restore.id).state == "unknown"
    assert [one.code for one in verify_all(copy, "shop").findings] == ["restore-unknown"]
    with lock.hold(copy.store, "shop", "restore of shop"):
        assert verify_all(copy, "shop").findings == (), "its process may be about to note how it ended"
    Restores(vault, "shop").resolve(restore, happened=True)
    assert replicate(vault, copy, "shop").ok
    there = Restores(copy, "shop").get(restore.id)
    assert there.state == "done"
    assert [b"".join(there.rows(image)) for image in there.prepared.images] == [BEFORE, AFTER]
    same = state(Path(vault.store.address))
    restores = {key: digest for key, digest in same.items() if "/restores/" in key}
    assert restores.items() <= state(Path(copy.store.address)).items()
    assert compare(vault, copy, "shop").same
    assert verify_all(copy, "shop").ok


class _Killed(BaseException):
    pass


class _Dying(LocalStore):
    left = 0

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        _Dying.left -= 1
        if _Dying.left == 0:
            raise _Killed
        super().put(key, data, overwrite=overwrite)


@pytest.mark.rule("D8")
def test_a_copy_that_is_killed_anywhere_lists_only_whole_records(vault: Vault, tmp_path: Path) -> None:
    restored(vault, pre_restore=PRE)
    copy, moments = Vault(LocalStore(tmp_path / "copy")), []
    for moment in range(1, 200):
        _Dying.left = moment
        with suppress(_Killed):
            replicate(vault, Vault(_Dying(tmp_path / "copy")), "shop")
        for one in Restores(copy, "shop").all():
            assert PRE in copy.ids("shop")
            assert [b"".join(one.rows(image)) for image in one.prepared.images] == [BEFORE, AFTER]
        moments.append(len(Restores(copy, "shop").all()))
        if _Dying.left > 0:
            break
    assert moments[-1] == 1
    assert verify_all(copy, "shop").ok


def test_what_a_copy_has_lost_of_a_record_is_brought_there_again(vault: Vault, copy: Vault) -> None:
    restore = restored(vault, pre_restore=PRE)
    assert replicate(vault, copy, "shop").ok
    copy.store.delete(layout.object_key(restore.outline.objects[0]))
    assert not compare(vault, copy, "shop").same
    assert "object-missing" in codes(sample(("copy", copy), "shop", copy.ids("shop")).findings)
    replicate(vault, copy, "shop")
    assert compare(vault, copy, "shop").same


def test_a_damaged_record_is_not_copied_and_is_named(vault: Vault, copy: Vault) -> None:
    restore = restored(vault, pre_restore=PRE)
    path = files_of(vault, restore)[-1]
    rewrite(path, path.read_bytes() + b"x")
    report = replicate(vault, copy, "shop")
    assert codes(report.findings) == ["not-copied"]
    assert report.copied == vault.ids("shop"), "the backups are whole"
    assert Restores(copy, "shop").all() == ()


def test_a_record_of_another_hand_is_not_copied(vault: Vault, copy: Vault) -> None:
    secret, public = signing.generate()
    ours = replace(vault, signing=Signing((public,), Given(secret), since="2026-11-05"))
    mine, theirs = restored(ours, pre_restore=PRE), restored(vault, pre_restore=PRE)
    target = replace(copy, signing=ours.signing)
    report = replicate(ours, target, "shop")
    assert [one.code for one in report.findings if theirs.id in one.message] == ["not-copied"]
    assert Restores(target, "shop").ids == (mine.id,)
    assert "unsigned" in codes(verify_all(ours, "shop").findings)


def test_every_file_of_a_record_that_is_lost_or_damaged_is_found_and_comes_back(
    vault: Vault, copy: Vault
) -> None:
    restore = restored(vault, pre_restore=PRE)
    assert replicate(vault, copy, "shop").ok
    for path in files_of(vault, restore):
        was = path.read_bytes()
        for damaged in (None, was[:-2] + bytes([was[-2] ^ 1]) + was[-1:]):
            if damaged is None:
                path.unlink()
            else:
                rewrite(path, damaged)
            lost = damaged is None and path.name in ("prepared.json", "done.json")
            assert lost or not verify_all(vault, "shop", quick=True).ok, path
            assert healed(vault, copy) == (1, []), path
            assert path.read_bytes() == was
    assert verify_all(vault, "shop").ok
    for path in files_of(vault, restore)[: len(restore.names)]:
        path.unlink()
    assert healed(vault, copy, dry_run=True) == healed(vault, copy) == (len(restore.names), [])
    assert Restores(vault, "shop").get(restore.id).state == "done"


def test_a_record_that_no_place_has_whole_is_named(vault: Vault, copy: Vault) -> None:
    restore = restored(vault, pre_restore=PRE)
    assert replicate(vault, copy, "shop").ok
    for one in (vault, copy):
        assert one.store.folder is not None
        path = one.store.folder / restore.key("outline.json")
        rewrite(path, path.read_bytes()[:-3])
    assert healed(vault, copy) == (0, ["not-healed"])


def test_a_scrub_reads_the_rows_of_a_record_back_and_compares_its_documents(vault: Vault) -> None:
    restore = restored(vault, pre_restore=PRE)
    paths, days = files_of(vault, restore), timedelta(days=30)

    def scrubbed() -> list[str]:
        now = datetime(2026, 11, 21, tzinfo=UTC)
        found = scrub(vault, window=days, interval=days, now=now, everything=True).report.findings
        assert all(restore.id in one.message for one in found)
        return codes(found)

    paths[-1].unlink()
    document = next(path for path in paths if path.name == "done.json")
    rewrite(document, document.read_bytes() + b" ")
    assert scrubbed() == ["restore-damaged"], "what a damaged record names is not known"
    rewrite(document, document.read_bytes()[:-1])
    assert scrubbed() == ["object-missing"]
