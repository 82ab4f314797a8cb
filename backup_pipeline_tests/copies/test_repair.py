"""What is lost or damaged in one place comes back from another, and only what can be shown to be right."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from backup_pipeline.copies.repair import RepairReport, repair
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.copies.sampling import Arc, sample
from backup_pipeline.errors import ConfigError, NotThawed
from backup_pipeline.model.orders import RepairOrder
from backup_pipeline.model.vault_records import Forgotten
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, records
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.damage import rewrite, state
from backup_pipeline_tests.harness.handmade import identifier_of, shop_vault

LAST = identifier_of(3)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return shop_vault(tmp_path / "vault")


@pytest.fixture
def copy(tmp_path: Path, vault: Vault) -> Vault:
    copy = Vault(LocalStore(tmp_path / "copy"))
    assert replicate(vault, copy, "shop").ok
    return copy


def root(vault: Vault) -> Path:
    return Path(vault.store.address)


def contents(vault: Vault) -> dict[str, str]:
    return {key: digest for key, digest in state(root(vault)).items() if not key.startswith("tmp/")}


def heal(vault: Vault, *others: Vault, quick: bool = False, dry_run: bool = False) -> RepairReport:
    named = [(f"copy{number}", other) for number, other in enumerate(others)]
    return repair(vault, named, RepairOrder("shop", quick=quick, dry_run=dry_run))


def files_of(vault: Vault) -> list[Path]:
    """Everything that a repair can bring back."""
    return [path for path in sorted(root(vault).rglob("*")) if path.is_file() and path.name != "newest.json"]


def test_a_whole_place_is_left_as_it_is(vault: Vault, copy: Vault) -> None:
    before = contents(vault)
    report = heal(vault, copy)
    assert report.ok
    assert (report.healed, report.brought_back, report.backups) == ((), (), 3)
    assert report.bytes == sum(stat.size for stat in vault.store.list(layout.OBJECTS))
    assert contents(vault) == before


def test_every_single_file_that_is_lost_comes_back(vault: Vault, copy: Vault) -> None:
    before = contents(vault)
    for path in files_of(vault):
        path.unlink()
        report = heal(vault, copy, quick=True)
        assert [one.key for one in report.healed] == [str(path.relative_to(root(vault)))], path
        assert report.ok
    assert contents(vault) == before


@pytest.mark.rule("D6")
def test_every_single_object_and_manifest_that_is_damaged_comes_back(vault: Vault, copy: Vault) -> None:
    before = contents(vault)
    dice = random.Random(3)
    for path in files_of(vault):
        if path.name in ("vault.json", "FORMAT.md"):
            continue  # neither names a digest: see below
        data = bytearray(path.read_bytes())
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        rewrite(path, bytes(data))
        report = heal(vault, copy)
        assert [one.key for one in report.healed] == [str(path.relative_to(root(vault)))], (
            path,
            report.findings,
        )
    assert contents(vault) == before


def test_a_dry_run_says_the_same_and_writes_nothing(vault: Vault, copy: Vault) -> None:
    manifest = vault.backup("shop", LAST).manifest
    (root(vault) / layout.object_key(manifest.schema)).unlink()
    (root(vault) / layout.seal_key("shop", LAST)).unlink()
    before = contents(vault)
    told = heal(vault, copy, dry_run=True)
    assert contents(vault) == before
    done = heal(vault, copy)
    assert (told.healed, told.findings) == (done.healed, done.findings)
    assert len(done.healed) == 2


def test_a_backup_that_is_gone_altogether_is_brought_back(vault: Vault, copy: Vault) -> None:
    for path in sorted((root(vault) / "shop" / LAST).rglob("*"), reverse=True):
        path.unlink()
    assert vault.ids("shop") == (identifier_of(1), identifier_of(2))
    report = heal(vault, copy)
    assert report.brought_back == (LAST,)
    assert verify_all(vault, "shop").ok


def test_a_backup_that_was_forgotten_on_purpose_is_not_brought_back(vault: Vault, copy: Vault) -> None:
    link = vault.backup("shop", identifier_of(1)).link
    records.write_forgotten(
        vault.store, Forgotten("shop", link.id, link.sha256, "2026-11-05T00:00:00.000000Z", "prune")
    )
    for keys in records.keys_of(vault.backup("shop", link.id)):
        for key in keys:
            vault.store.delete(key)
    report = heal(vault, copy)
    assert (report.healed, report.brought_back) == ((), ())
    assert link.id not in vault.ids("shop")


def test_bytes_that_are_wrong_in_the_other_place_too_are_not_taken(
    vault: Vault, copy: Vault, tmp_path: Path
) -> None:
    key = layout.object_key(vault.backup("shop", LAST).manifest.schema)
    rewrite(root(vault) / key, b"wrong here")
    rewrite(root(copy) / key, b"wrong there")
    report = heal(vault, copy)
    assert [finding.code for finding in report.findings if finding.severity == "error"] == ["not-healed"]
    assert LAST in report.findings[-1].examples
    assert (root(vault) / key).read_bytes() == b"wrong here"


def test_a_second_place_is_asked_when_the_first_cannot_help(
    vault: Vault, copy: Vault, tmp_path: Path
) -> None:
    third = Vault(LocalStore(tmp_path / "third"))
    replicate(vault, third, "shop")
    key = layout.object_key(vault.backup("shop", LAST).manifest.schema)
    rewrite(root(vault) / key, b"wrong here")
    rewrite(root(copy) / key, b"wrong there")
    report = heal(vault, copy, third)
    assert [(one.key, one.source) for one in report.healed] == [(key, "copy1")]
    assert report.ok


@pytest.mark.rule("D6", "C6")
def test_a_manifest_that_was_edited_and_sealed_anew_is_known_by_the_history(
    vault: Vault, copy: Vault
) -> None:
    path = root(vault) / layout.manifest_key("shop", identifier_of(2))
    before = path.read_bytes()
    rewrite(path, before.replace(b'"manual"', b'"scheduled"', 1))
    (root(vault) / layout.seal_key("shop", identifier_of(2))).unlink()
    vault.backup("shop", identifier_of(2)).seal()
    report = heal(vault, copy)
    assert report.ok
    assert path.read_bytes() == before
    assert verify_all(vault, "shop").ok


@pytest.mark.rule("D6")
def test_where_two_places_disagree_and_nothing_decides_neither_is_touched(vault: Vault, copy: Vault) -> None:
    path = root(vault) / layout.manifest_key("shop", LAST)
    rewrite(path, path.read_bytes().replace(b'"manual"', b'"scheduled"', 1))
    (root(vault) / layout.seal_key("shop", LAST)).unlink()
    vault.backup("shop", LAST).seal()
    before = contents(vault), contents(copy)
    report = heal(vault, copy)
    assert [finding.code for finding in report.findings] == ["places-disagree"]
    assert (contents(vault), contents(copy)) == before


def test_a_copy_is_healed_from_the_vault(vault: Vault, copy: Vault) -> None:
    key = layout.object_key(vault.backup("shop", LAST).manifest.schema)
    (root(copy) / key).unlink()
    report = repair(copy, [("vault", vault)], RepairOrder("shop", place="copy"))
    assert [one.key for one in report.healed] == [key]
    assert verify_all(copy, "shop").ok


def test_a_vault_file_that_cannot_be_read_is_healed_and_another_kind_of_vault_is_not(
    vault: Vault, copy: Vault
) -> None:
    path = root(vault) / layout.VAULT
    before = path.read_bytes()
    for damaged in (b"", before[:-3], before.replace(b"pipeline", b"pipelinf"), b"\0" * len(before)):
        rewrite(path, damaged)
        assert [one.key for one in heal(vault, copy, quick=True).healed] == [layout.VAULT]
        assert path.read_bytes() == before
    other = before.replace(b"{", b'{"encryption":"age",')
    rewrite(path, other)
    with pytest.raises(ConfigError):
        heal(Vault(vault.store), copy, quick=True)
    assert path.read_bytes() == other


@dataclass(frozen=True)
class Archive(LocalStore):
    """Every object lies in an archive."""

    @contextmanager
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        if key.startswith(layout.OBJECTS):
            raise NotThawed(f"{key} lies in an archive", remedy="thaw it")
        with super().get(key, offset=offset, length=length) as stream:
            yield stream


def test_what_lies_in_an_archive_is_said_and_not_taken_for_damage(
    vault: Vault, copy: Vault, tmp_path: Path
) -> None:
    cold = Vault(Archive(root(copy)))
    report = repair(cold, [("vault", vault)], RepairOrder("shop", place="cold"))
    assert [finding.code for finding in report.findings] == ["not-read-in-archive"]
    looked = sample(("cold", cold), "shop", cold.ids("shop"), arc=Arc(0.0, 1.0))
    assert looked.ok
    assert looked.counted["objects_in_an_archive"] == looked.counted["objects"]
    key = layout.object_key(vault.backup("shop", LAST).manifest.schema)
    (root(vault) / key).unlink()
    (finding,) = heal(vault, cold).findings
    assert "has to be thawed first" in finding.message
    with pytest.raises(NotThawed):
        replicate(cold, Vault(LocalStore(tmp_path / "third")), "shop")
    assert Vault(LocalStore(tmp_path / "third")).ids("shop") == ()
