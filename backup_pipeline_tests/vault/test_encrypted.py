"""An encrypted vault: who has the key reads everything, who has not learns nothing but ids, times and sizes."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up, commit, export
from backup_pipeline.databases.engines import open_source
from backup_pipeline.errors import ConfigError, KeyMissing
from backup_pipeline.health.overview import listed
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Proof
from backup_pipeline.model.outline import outline_of
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import journal
from backup_pipeline.vault.images import write_image
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify
from backup_pipeline_tests.harness.encrypted import Encrypted, change, make_shop

#: Digests, marks of 16 digits, and moments to the microsecond: "3119" stands in one of so many every thirtieth time.
CHANCE = re.compile(rb"\b(?:[0-9a-f]{64}|[0-9a-f]{16})\b|\d\d:\d\d:\d\d\.\d{6}Z")
NAMES = ("zebra", "quokka", "Wombat", "12347", "12,347", "3119", "3,119", "shop.db")


@pytest.fixture
def made(tmp_path: Path) -> Encrypted:
    return Encrypted.make(tmp_path)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return make_shop(tmp_path / "shop.db")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.rule("E6")
def test_nothing_in_the_vault_reveals_a_name_a_path_or_a_count(
    made: Encrypted, url: str, tmp_path: Path
) -> None:
    manifest = made.back_up(url)
    change(url)
    second = made.back_up(url)
    found = Finding("error", "row-count", "zebra_customers has 12347 rows", table="zebra_customers")
    proof = Proof("drill", "2026-11-21T03:00:00.000000Z", False, 1.0, (found,), {"rows": 12347})
    digest = made.closed.backup("shop", second.id).link.sha256
    made.closed.backup("shop", second.id).remember(replace(proof, manifest_sha256=digest))
    notes = journal.Journal(made.closed.backup("shop", "2026-11-30T02-00-00-000Z"), {})
    notes.note(manifest.tables[0])
    notes.flush()
    export(made.closed, open_source(url), Order("shop"), token="waiting")

    for name, data in everything(made.folder).items():
        if name == "FORMAT.md":
            continue
        for word in (*NAMES, str(tmp_path)):
            assert word.encode() not in CHANCE.sub(b"", name.encode()), name
            assert word.encode() not in CHANCE.sub(b"", data), f"{word} in {name}"
    assert any(path.name == "000001.json" for path in made.state.rglob("*")), "the journal lies elsewhere"
    assert made.opened.backup("shop", second.id).proofs()[0].findings == (found,)
    assert made.stranger.backup("shop", second.id).proofs()[0].findings == ()
    assert not made.stranger.backup("shop", second.id).proofs()[0].ok


@pytest.mark.rule("E1")
def test_every_object_and_manifest_is_opened_by_the_public_tool(
    made: Encrypted, url: str, tmp_path: Path
) -> None:
    if shutil.which("age") is None:
        pytest.skip("the program age is not installed")
    manifest = made.back_up(url)
    key = made.key_file(tmp_path)
    opened = 0
    for name in everything(made.folder):
        if name.endswith(".age"):
            argv = ["age", "-d", "-i", str(key), str(made.folder / name)]
            done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
            opened += 1
            if name.endswith("manifest.json.age"):
                assert done.stdout == canonical.encode(manifest)
    assert opened >= len(manifest.objects()) + 2


def test_what_was_backed_up_without_the_key_comes_back_with_it(
    made: Encrypted, url: str, tmp_path: Path
) -> None:
    made.back_up(url)
    change(url)
    manifest = made.back_up(url)
    assert manifest.image is not None
    assert any(segment.map for segment in manifest.image.segments), "the first one was built on"

    write_image(made.opened.objects, manifest.image, tmp_path / "back.db")

    assert (tmp_path / "back.db").stat().st_size == manifest.image.size
    assert made.opened.backup("shop", manifest.id).manifest == manifest


@pytest.mark.rule("E2")
def test_objects_are_named_by_their_stored_bytes_and_say_who_can_open_them(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)
    check = subprocess.run(
        ["sha256sum", "--quiet", "-c"],
        input="".join(
            f"{one.sha256}  objects/{one.sha256[:2]}/{one.sha256}{one.suffix}\n" for one in manifest.objects()
        ),
        text=True,
        cwd=made.folder,
        check=False,
    )
    assert check.returncode == 0
    assert {one.recipients for one in manifest.objects()} == {made.keys.fingerprint}
    assert all(one.suffix.endswith(".age") for one in manifest.objects())
    plain = {one.plain_sha256 for one in manifest.objects()}
    assert not plain & {one.sha256 for one in manifest.objects()}


@pytest.mark.rule("E4")
def test_the_outline_is_that_of_the_manifest_and_needs_no_key(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)
    link = made.stranger.backup("shop", manifest.id).link
    outline = made.stranger.backup("shop", manifest.id).outline
    assert outline == outline_of(manifest, link.sha256, outline.content_sha256, made.keys.fingerprint)
    assert {one.sha256 for one in outline.objects} == {one.sha256 for one in manifest.objects()}


@pytest.mark.rule("E5")
def test_the_seal_speaks_for_everything_beside_the_manifest(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)
    folder = made.folder / "shop" / manifest.id
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json.age",
        "manifest.json.age.sha256",
        "outline.json",
        "RECOVER.md",
        "RECOVER.md.age",
    }
    done = subprocess.run(
        ["sha256sum", "-c", "manifest.json.age.sha256"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count(": OK") == 4


def test_listing_needs_no_key_and_says_what_it_cannot_know(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)

    line = listed(made.stranger.backup("shop", manifest.id))

    assert (line.tables, line.rows, line.chunks, line.left_out) == (None, None, None, None)
    assert line.bytes == manifest.bytes
    assert line.stored == sum(one.size for one in manifest.objects())
    assert made.stranger.resolve("shop", "latest") == manifest.id
    assert listed(made.opened.backup("shop", manifest.id)).rows == 12_347 + 3_119


def test_reading_without_the_key_says_which_key_is_missing(made: Encrypted, url: str, tmp_path: Path) -> None:
    manifest = made.back_up(url)
    with pytest.raises(KeyMissing) as caught:
        _ = made.stranger.backup("shop", manifest.id).manifest
    assert "identity" in caught.value.remedy
    assert manifest.image is not None
    with pytest.raises(KeyMissing):
        write_image(made.closed.objects, manifest.image, tmp_path / "back.db")
    assert not (tmp_path / "back.db").exists()
    other = replace(Encrypted.make(tmp_path), folder=made.folder)
    with pytest.raises(KeyMissing, match="not one of those"):
        _ = other.opened.backup("shop", manifest.id).manifest


# ── what a host without the key remembers


def stored(made: Encrypted) -> int:
    return sum(path.stat().st_size for path in (made.folder / "objects").rglob("*") if path.is_file())


def test_unchanged_content_is_not_stored_again_without_the_key(made: Encrypted, url: str) -> None:
    first = made.back_up(url)
    before = stored(made)
    second = made.back_up(url)
    assert {one.sha256 for one in first.objects()} == {one.sha256 for one in second.objects()}
    assert stored(made) == before
    assert (
        listed(made.opened.backup("shop", second.id)).reused_chunks
        == listed(made.opened.backup("shop", second.id)).chunks
    )


@pytest.mark.rule("E8")
def test_losing_what_is_remembered_costs_one_full_backup_and_nothing_else(made: Encrypted, url: str) -> None:
    made.back_up(url)
    shutil.rmtree(made.state)
    before = stored(made)

    made.back_up(url)

    assert stored(made) > 1.9 * before
    after = stored(made)
    made.back_up(url)
    assert stored(made) == after, "and then it remembers again"
    assert len(made.stranger.ids("shop")) == 3


def test_what_was_altered_in_the_memory_is_noticed_and_not_built_on(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)
    digest = made.closed.backup("shop", manifest.id).link.sha256
    kept = made.state / "content" / digest
    kept.write_bytes(kept.read_bytes().replace(b"zebra_customers", b"zebra_customerz"))

    assert made.stranger.ids("shop") == (manifest.id,)
    with pytest.raises(KeyMissing):
        _ = made.closed.backup("shop", manifest.id).manifest
    second = made.back_up(url)

    assert made.opened.backup("shop", second.id).manifest == second
    assert "zebra_customerz" not in str(second)


def test_altered_digests_in_the_memory_do_not_get_into_a_backup(
    made: Encrypted, url: str, tmp_path: Path
) -> None:
    first = made.back_up(url)
    assert first.image is not None
    change(url)
    for segment in first.image.segments:
        assert segment.digests is not None
        kept = made.state / "content" / segment.digests.sha256
        kept.write_bytes(os.urandom(kept.stat().st_size))
    second = made.back_up(url)
    assert second.image is not None
    write_image(made.opened.objects, second.image, tmp_path / "back.db")


def test_only_its_owner_can_read_what_is_remembered(made: Encrypted, url: str) -> None:
    made.back_up(url)
    export(made.closed, open_source(url), Order("shop"), token="t")
    assert stat.S_IMODE(made.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((made.state / "content").stat().st_mode) == 0o700
    for path in (made.state / "content").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_what_no_recent_backup_names_is_forgotten(made: Encrypted, url: str) -> None:
    first = made.back_up(url)
    for path in (made.state / "content").iterdir():
        os.utime(path, (1, 1))
    for _ in range(6):
        change(url)
        made.back_up(url)
    kept = {path.name for path in (made.state / "content").iterdir()}
    assert made.closed.backup("shop", first.id).link.sha256 not in kept
    assert made.closed.backup("shop", made.closed.ids("shop")[-2]).link.sha256 in kept


def test_rows_are_not_among_what_is_remembered(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)
    remembered = {path.name for path in (made.state / "content").iterdir()}
    rows = {one.sha256 for one in manifest.objects() if one.packing == ".blocks.zst"}
    assert rows
    assert not rows & remembered


def test_two_steps_work_without_the_key(made: Encrypted, url: str) -> None:
    draft = export(made.closed, open_source(url), Order("shop"), token="one")
    assert not made.closed.ids("shop")
    assert commit(made.closed, "shop", token="one").id == draft.id
    assert made.closed.ids("shop") == (draft.id,)
    assert not list(made.closed.notes.list("shop/drafts/"))


def test_the_notes_of_a_killed_run_are_found_and_swept_away(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)
    killed = "2026-01-01T02-00-00-000Z"
    notes = journal.Journal(made.closed.backup("shop", killed), {})
    notes.note(manifest.tables[0])
    notes.flush()
    (made.folder / "shop" / "2026-01-02T02-00-00-000Z").mkdir()
    (made.folder / "shop" / "2026-01-02T02-00-00-000Z" / "outline.json").write_text("{}")
    assert made.closed.interrupted("shop") == (killed, "2026-01-02T02-00-00-000Z")
    assert made.stranger.interrupted("shop") == ("2026-01-02T02-00-00-000Z",)

    made.back_up(url)

    assert made.closed.interrupted("shop") == ()


def test_a_backup_and_a_restore_need_no_program(
    made: Encrypted, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    change(url, 4000)
    manifest = made.back_up(url)
    assert manifest.image is not None
    write_image(made.opened.objects, manifest.image, tmp_path / "back.db")
    monkeypatch.undo()
    assert verify(made.opened.backup("shop", manifest.id)).ok


# ── vault and configuration agree


@pytest.mark.rule("E3")
def test_an_encrypted_vault_is_never_written_or_read_as_a_plain_one(made: Encrypted, url: str) -> None:
    made.back_up(url)
    plain = Vault(LocalStore(made.folder))
    before = everything(made.folder)
    for act in (
        plain.prepare,
        lambda: plain.ids("shop"),
        lambda: back_up(plain, open_source(url), Order("shop")),
    ):
        with pytest.raises(ConfigError, match="is an encrypted vault"):
            act()
    assert everything(made.folder) == before
    assert (made.folder / "vault.json").read_text() == (
        '{"encryption":"age","format":1,"product":"backup_pipeline"}\n'
    )


def test_a_plain_vault_is_not_written_to_with_keys(made: Encrypted, url: str) -> None:
    back_up(Vault(LocalStore(made.folder)), open_source(url), Order("shop"))
    before = everything(made.folder)
    for act in (made.closed.prepare, lambda: made.closed.ids("shop"), lambda: made.back_up(url)):
        with pytest.raises(ConfigError, match="not encrypted"):
            act()
    assert everything(made.folder) == before


@pytest.mark.rule("E7")
def test_the_open_recover_says_how_to_open_the_other_one(made: Encrypted, url: str) -> None:
    manifest = made.back_up(url)
    folder = made.folder / "shop" / manifest.id
    text = (folder / "RECOVER.md").read_text()
    assert "age -d -i" in text
    assert "RECOVER.md.age" in text
    assert b"zebra_customers" not in text.encode()
    assert made.opened.backup("shop", manifest.id).recover_text().startswith(b"# Recover shop")
