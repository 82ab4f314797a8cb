"""`verify` of an encrypted vault: every damage is found, without the key as well; what needs the key says so."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline.errors import KeyMissing
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Report
from backup_pipeline.model.ids import backup_id, moment_of
from backup_pipeline.model.manifest import Proof
from backup_pipeline.vault import crypto, hidden, layout
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.damage import copy_vault, rewrite, state
from backup_pipeline_tests.harness.encrypted import Encrypted, change, make_shop

SEEDS = range(24)
MORE = range(24, 160)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Encrypted:
    base = tmp_path_factory.mktemp("encrypted")
    made = Encrypted.make(base)
    url = make_shop(base / "shop.db")
    made.back_up(url)
    change(url)
    last = made.back_up(url)
    link = made.closed.backup("shop", last.id).link
    proof = Proof(
        "drill", "2026-11-21T03:00:00.000000Z", True, 2.0, counted={"rows": 7}, manifest_sha256=link.sha256
    )
    made.closed.backup("shop", last.id).remember(proof)
    assert verify_all(made.opened, "shop").findings == ()
    return made


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity != "info"}


def test_a_quick_look_needs_no_key_and_says_what_it_did_not_do(whole: Encrypted) -> None:
    report = verify_all(whole.stranger, "shop", quick=True)
    assert report.ok
    assert {finding.code for finding in report.findings} == {"not-opened"}
    assert report.counted["objects"] == len(
        {
            one.sha256
            for name in whole.stranger.ids("shop")
            for one in whole.stranger.backup("shop", name).outline.objects
        }
    )


def test_a_full_look_needs_the_key_and_says_so_at_once(whole: Encrypted) -> None:
    with pytest.raises(KeyMissing):
        verify(whole.closed.backup("shop", whole.closed.ids("shop")[-1]))


def _damage(folder: Path, seed: int) -> str:
    """One damage to any file but what every vault has; the same every time."""
    chance = random.Random(seed)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "tmp" and path.name != "newest.json"
    )
    objects = [path for path in files if path.relative_to(folder).parts[0] == "objects"]
    rest = [path for path in files if path not in set(objects)]
    path = chance.choice(objects if chance.random() < 0.4 else rest)
    data = bytearray(path.read_bytes())
    what = chance.choice(["flip", "flip", "flip", "truncate", "append", "delete"])
    if what == "delete" and not path.name.endswith(".sha256"):
        path.unlink()
    elif what == "truncate":
        rewrite(path, bytes(data[: chance.randrange(len(data))]))
    elif what == "append":
        rewrite(path, bytes(data) + chance.randbytes(20))
    else:
        place = chance.randrange(len(data) * 8)
        data[place // 8] ^= 1 << place % 8
        rewrite(path, bytes(data))
    return f"{what} {path.relative_to(folder)}"


def check(whole: Encrypted, tmp_path: Path, seed: int) -> None:
    before = state(whole.folder)
    copy_vault(whole.folder, tmp_path / "vault")
    copy = replace(whole, folder=tmp_path / "vault", state=tmp_path / "state" / "v")
    what = _damage(copy.folder, seed)
    assert state(copy.folder) != before, what
    plain_proof = what.startswith("flip") and what.endswith("Z.json") and "proofs" in what
    for vault, quick in ((copy.stranger, True), (copy.opened, True), (copy.opened, False)):
        report = verify_all(vault, "shop", quick=quick)
        # A digit of a proof's own time or duration is told by nothing, here as in a plain vault.
        assert codes(report) or plain_proof, f"{what}: not found by {'a quick' if quick else 'a full'} look"
    assert state(whole.folder) == before


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damage_is_found_with_the_key_and_without(whole: Encrypted, tmp_path: Path, seed: int) -> None:
    check(whole, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MORE)
def test_every_damage_is_found_with_the_key_and_without(whole: Encrypted, tmp_path: Path, seed: int) -> None:
    check(whole, tmp_path, seed)


@pytest.fixture
def copy(whole: Encrypted, tmp_path: Path) -> Encrypted:
    copy_vault(whole.folder, tmp_path / "vault")
    return replace(whole, folder=tmp_path / "vault", state=tmp_path / "state" / "v")


def test_an_outline_that_lies_is_found_with_the_key_also_when_it_is_sealed_again(copy: Encrypted) -> None:
    """What `prune` goes by must not be changed by an attacker who cannot open the manifest."""
    vault = copy.opened
    last = vault.ids("shop")[-1]
    outline = vault.backup("shop", last).outline
    key = copy.folder / layout.outline_key("shop", last)
    rewrite(key, canonical.encode(replace(outline, objects=outline.objects[1:])))
    seal = hidden.seal_text(vault.backup("shop", last), vault.backup("shop", last).stored)
    rewrite(copy.folder / vault.backup("shop", last).seal_key, seal.encode())
    assert codes(verify(vault.backup("shop", last))) == {"outline-altered"}


def test_objects_that_only_another_key_opens_are_named(copy: Encrypted, whole: Encrypted) -> None:
    last = copy.opened.ids("shop")[-1]
    manifest = copy.opened.backup("shop", last).manifest
    other = Encrypted.make(copy.folder.parent / "elsewhere")
    foreign = replace(copy.opened, keys=other.keys).writer.write_bytes(b"a definition", ".sql.zst")
    later = backup_id(moment_of(last) + timedelta(days=1))
    changed = replace(manifest, schema=foreign, id=later, previous=copy.opened.backup("shop", last).link)
    copy.opened.commit(changed, "text")
    found = codes(verify(copy.opened.backup("shop", changed.id)))
    assert "key-missing" in found


def test_a_seal_that_was_never_written_is_a_warning_as_in_a_plain_vault(copy: Encrypted) -> None:
    last = copy.opened.ids("shop")[-1]
    (copy.folder / copy.opened.backup("shop", last).seal_key).unlink()
    assert codes(verify_all(copy.opened, "shop")) == {"not-sealed"}
    copy.opened.backup("shop", last).seal()
    assert verify_all(copy.opened, "shop").findings == ()


def test_a_backup_whose_manifest_is_gone_is_missed(copy: Encrypted) -> None:
    last = copy.closed.ids("shop")[-1]
    (copy.folder / copy.closed.backup("shop", last).manifest_key).unlink()
    assert copy.stranger.without_manifest("shop") == (last,)
    assert "manifest-missing" in codes(verify_all(copy.stranger, "shop", quick=True))


def test_a_manifest_that_was_put_in_the_place_of_another_is_found(copy: Encrypted) -> None:
    one, two = copy.opened.ids("shop")
    for name in (
        "manifest.json.age",
        "manifest.json.age.sha256",
        "outline.json",
        "RECOVER.md",
        "RECOVER.md.age",
    ):
        shutil.copy(copy.folder / "shop" / one / name, copy.folder / "shop" / two / (name + ".fresh"))
        (copy.folder / "shop" / two / (name + ".fresh")).replace(copy.folder / "shop" / two / name)
    assert codes(verify_all(copy.stranger, "shop", quick=True))
    assert "manifest-misplaced" in codes(verify_all(copy.opened, "shop"))


def test_the_key_of_the_proof_is_that_of_the_vault(whole: Encrypted) -> None:
    last = whole.closed.ids("shop")[-1]
    (proof,) = whole.opened.backup("shop", last).proofs()
    assert proof.counted == {"rows": 7}
    key = layout.proof_key("shop", last, "drill", "2026-11-21T03-00-00-000Z") + ".age"
    data = (whole.folder / key).read_bytes()
    assert crypto.decrypt(whole.keys, data) == canonical.encode(proof)
