"""FORMAT.md, rule by rule: the records of restores."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.errors import Damaged, KeyMissing, NotFound, StoreChanged, VaultBusy
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import is_backup_id, is_restore_id, restore_id
from backup_pipeline.model.manifest import Engine, Link
from backup_pipeline.model.vault_records import Ended, Prepared, RestoreOutline, RowImage
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, lock, recording, signing
from backup_pipeline.vault.crypto import Given
from backup_pipeline.vault.recording import PREPARED, outline_of
from backup_pipeline.vault.restores import Restore, Restores
from backup_pipeline.vault.signing import Signing
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.encrypted import Encrypted, make_shop
from backup_pipeline_tests.harness.handmade import shop_vault
from backup_pipeline_tests.harness.restoring import AFTER, BEFORE, CUSTOMERS, restored, touch, wanted

FORMAT = Path(__file__).resolve().parents[2] / "backup_pipeline" / "vault" / "FORMAT.md"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return shop_vault(tmp_path / "vault", nights=2)


def folder_of(vault: Vault, restore: Restore) -> Path:
    assert vault.store.folder is not None
    return vault.store.folder / layout.restore_prefix(restore.system, restore.id)


def signed(vault: Vault) -> Vault:
    secret, public = signing.generate()
    return replace(vault, signing=Signing((public,), Given(secret)))


# ── what a record is


@pytest.mark.rule("U1")
def test_the_id_of_a_restore_is_a_moment_and_never_that_of_a_backup(vault: Vault) -> None:
    assert restore_id(datetime(2026, 11, 21, 9, 30, tzinfo=UTC)) == "r-2026-11-21T09-30-00-000Z"
    frozen = replace(vault, clock=lambda: datetime(2026, 11, 21, 9, 30, tzinfo=UTC))
    first, second = restored(frozen), restored(frozen)
    assert (first.id, second.id) == ("r-2026-11-21T09-30-00-000Z", "r-2026-11-21T09-30-00-001Z")
    assert is_restore_id(first.id)
    assert not is_backup_id(first.id)
    assert not is_restore_id("r-2026-11-45T09-30-00-000Z")
    assert vault.ids("shop") == vault.ids_until_now("shop")
    assert [one.id for one in Restores(vault, "shop").all()] == [second.id, first.id]


@pytest.mark.rule("U5", "U6")
def test_a_record_says_who_when_from_what_and_each_row_before_and_after(vault: Vault) -> None:
    restore = restored(vault, pre_restore=vault.ids("shop")[0])
    data = (folder_of(vault, restore) / PREPARED).read_bytes()
    assert canonical.encode(json.loads(data)) == data
    assert restore.prepared.by == "ada@desk"
    assert restore.prepared.backup == vault.backup("shop", vault.ids("shop")[-1]).link
    assert restore.prepared.order == {"live": True, "only": ["customers"]}
    before, after = restore.prepared.images
    assert [(one.which, one.rows, one.key) for one in (before, after)] == [
        ("before", 2, ("id",)),
        ("after", 2, ("id",)),
    ]
    assert b"".join(restore.rows(before)) == BEFORE
    assert b"".join(restore.rows(after)) == AFTER
    assert restore.ended is not None
    assert restore.ended.result == {"update": 1, "create": 1, "delete": 1}


@pytest.mark.rule("U5", "U6", "U7", "U10")
def test_the_description_names_every_field() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    section = text[text.index("## 12. Restores") : text.index("## 13.")]
    named = set(re.findall(r"`([a-z_0-9]+)`", section))
    kinds = (Prepared, RowImage, RestoreOutline, Ended)
    assert {one.name for kind in kinds for one in fields(kind)} - named == {"format"}


@pytest.mark.rule("U6")
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_rows_are_cut_between_rows_however_the_blocks_come(
    vault: Vault, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LARGEST", 40)
    text = b"".join(b"%d\t%s\n" % (n, b"x" * (n % 60)) for n in range(50))
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    with Restores(vault, "shop").begin(wanted(Link("x", "y"))) as made:
        assert made.image(CUSTOMERS, ("id", "name"), ("id",), "before", iter(blocks)) == 50
        assert made.image(CUSTOMERS, ("id", "name"), ("id",), "after", iter([])) == 0
        made.prepared()
    before, after = Restores(vault, "shop").get(made.id).prepared.images
    parts = [vault.content(one) for one in before.objects]
    assert len(parts) > 10
    assert all(part.endswith(b"\n") for part in parts)
    assert b"".join(parts) == text
    assert after.objects == ()


@pytest.mark.rule("U7")
def test_the_outline_says_what_the_record_says(vault: Vault) -> None:
    restore = restored(vault, pre_restore=vault.ids("shop")[0], undoes="r-2026-11-21T09-30-00-000Z")
    assert restore.outline == outline_of(restore.prepared)
    assert {one.sha256 for one in restore.outline.objects} == {
        one.sha256 for image in restore.prepared.images for one in image.objects
    }
    folder = folder_of(vault, restore)
    told = json.loads((folder / "outline.json").read_bytes())
    rewrite(folder / "outline.json", canonical.encode({**told, "objects": []}))
    seal = (folder / f"{PREPARED}.sha256").read_text().splitlines()
    digest = hashlib.sha256((folder / "outline.json").read_bytes()).hexdigest()
    rewrite(folder / f"{PREPARED}.sha256", f"{seal[0]}\n{digest}  outline.json\n".encode())
    with pytest.raises(Damaged, match="says another thing"):
        _ = Restores(vault, "shop").get(restore.id).prepared


@pytest.mark.rule("U10")
def test_an_end_is_written_once_and_tells_what_came_of_it(vault: Vault) -> None:
    failed = restored(vault, ends="failed")
    assert (failed.state, failed.ended and failed.ended.why) == ("failed", "the connection was lost")
    done = restored(vault)
    before = {path: path.read_bytes() for path in folder_of(vault, done).iterdir()}
    assert Restores(vault, "shop").resolve(done, happened=False).state == "done"
    assert {path: path.read_bytes() for path in folder_of(vault, done).iterdir()} == before


# ── the order in which it is written


class _Killed(BaseException):
    pass


class _Dying(LocalStore):
    """Ends its process, as it were, at the n-th file that it puts below `restores/`."""

    left = 0
    after = False

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        counts = "/restores/" in key or key.startswith(layout.OBJECTS)
        _Dying.left -= counts
        if counts and _Dying.left == 0 and not _Dying.after:
            raise _Killed
        super().put(key, data, overwrite=overwrite)
        if counts and _Dying.left == 0:
            raise _Killed


@pytest.mark.rule("U2", "U3", "U4")
@pytest.mark.parametrize("after", [False, True])
def test_a_record_never_claims_what_did_not_happen(tmp_path: Path, after: bool) -> None:
    plain = shop_vault(tmp_path / "vault", nights=1)
    made = signed(plain)
    store = _Dying(tmp_path / "vault")
    states = []
    for moment in range(1, 20):
        _Dying.left, _Dying.after = moment, after
        committed = ended = False
        restores = Restores(replace(made, store=store), "shop")
        with suppress(_Killed), restores.begin(wanted(Link("x", "y"))) as recording:
            touch(recording, b"%d\tx\n" % moment, b"%d\tx\n" % -moment)
            recording.prepared()
            committed = True
            recording.done({})
            ended = True
        found = [one for one in Restores(made, "shop").all() if one.id == recording.id]
        if committed:
            assert found, "it was committed without a record"
        for one in found:
            assert one.state in ("unknown", "done")
            assert one.state == "unknown" or committed
            assert one.signature == "signed"
            assert b"".join(one.rows(one.prepared.images[0])) == b"%d\tx\n" % moment
        states.append(found[0].state if found else "none")
        if ended:
            break
    assert states[:3] == ["none"] * 3
    assert states[-1] == "done"
    assert states == sorted(states, key=["none", "unknown", "done"].index)
    assert set(states) == {"none", "unknown", "done"}
    assert verify_all(plain, "shop").ok


@pytest.mark.rule("U2")
def test_a_restore_and_a_backup_of_a_system_do_not_write_at_once(vault: Vault) -> None:
    restores = Restores(vault, "shop")
    with lock.hold(vault.store, "shop", "backup of shop"):
        with (
            pytest.raises(VaultBusy, match="backup of shop"),
            restores.begin(wanted(Link("x", "y")), patience=0),
        ):
            pass
    with restores.begin(wanted(Link("x", "y"))) as recording:
        touch(recording)
        with pytest.raises(VaultBusy, match="restore of shop"), lock.hold(vault.store, "shop", "backup"):
            pass
        victim = next(iter(recording._images[0].objects))
        vault.store.delete(layout.object_key(victim))
        with pytest.raises(StoreChanged):
            recording.prepared()
    assert restores.all() == ()


@pytest.mark.rule("U3")
def test_a_folder_without_a_prepared_document_is_no_record(vault: Vault) -> None:
    restore = restored(vault)
    (folder_of(vault, restore) / PREPARED).unlink()
    assert Restores(vault, "shop").all() == ()
    with pytest.raises(NotFound):
        Restores(vault, "shop").get(restore.id)


@pytest.mark.rule("U4")
def test_what_is_not_known_is_told_by_the_database_and_done_outranks_failed(vault: Vault) -> None:
    restores = Restores(vault, "shop")
    happened, not_happened = restored(vault, ends="unknown"), restored(vault, ends="unknown")
    assert (happened.state, happened.ended) == ("unknown", None)
    assert restores.get("latest").id == not_happened.id
    assert restores.resolve(not_happened, happened=False).state == "failed"
    found = restores.resolve(happened, happened=True)
    assert found.state == "done"
    assert found.ended is not None
    assert found.ended.found_later
    assert restores.get("latest").id == happened.id
    wrong = folder_of(vault, happened) / "failed.json"
    wrong.write_bytes((folder_of(vault, not_happened) / "failed.json").read_bytes())
    assert restores.get(happened.id).state == "done"


def test_a_record_of_an_engine_that_is_not_known_is_told_and_stops_nothing(vault: Vault) -> None:
    odd = replace(wanted(Link("x", "y")), engine=Engine("oracle", "1"))
    with Restores(vault, "shop").begin(odd) as recording:
        touch(recording)
        recording.prepared()
        recording.done({})
    (found,) = verify_all(vault, "shop").findings
    assert found.code == "restore-damaged"
    assert "oracle" in found.message


def test_the_restore_that_took_another_one_back_is_known(vault: Vault) -> None:
    first = restored(vault)
    restored(vault, undoes=first.id, ends="failed")
    restores = Restores(vault, "shop")
    assert restores.undone_by(first) is None
    undo = restored(vault, undoes=first.id)
    found = restores.undone_by(first)
    assert found is not None
    assert found.id == undo.id


def test_it_is_kept_as_long_as_the_backup_that_was_made_before(vault: Vault) -> None:
    restore = restored(vault, pre_restore="2026-11-01T02-00-00-000Z")
    assert restore.expires_after(timedelta(days=30)) == "2026-12-01T02:00:00.000000Z"


# ── whose it is


@pytest.mark.rule("U5", "U8")
@pytest.mark.parametrize("name", [PREPARED, "outline.json"])
def test_what_was_altered_since_it_was_sealed_is_refused(vault: Vault, name: str) -> None:
    restore = restored(vault)
    path = folder_of(vault, restore) / name
    rewrite(path, path.read_bytes().replace(b"shop", b"shoe"))
    with pytest.raises(Damaged, match="not what was sealed"):
        _ = Restores(vault, "shop").get(restore.id).prepared


@pytest.mark.rule("U5")
def test_the_record_of_another_restore_is_refused(vault: Vault) -> None:
    first, second = restored(vault), restored(vault)
    shutil.rmtree(folder_of(vault, first))
    shutil.copytree(folder_of(vault, second), folder_of(vault, first))
    with pytest.raises(Damaged, match=f"is that of shop {second.id}"):
        _ = Restores(vault, "shop").get(first.id).prepared


def _sealed(folder: Path) -> None:
    subprocess.run(
        ["sha256sum", "--check", "--quiet", *folder.glob("prepared.json*.sha256")], cwd=folder, check=True
    )


@pytest.mark.rule("U8")
def test_a_seal_is_checked_by_the_public_tool_and_a_signature_holds_it(vault: Vault) -> None:
    ours = signed(vault)
    restore = restored(ours)
    _sealed(folder_of(vault, restore))
    assert restore.signature == "signed"
    restore.demand_signed()
    theirs = replace(ours, signing=Signing(signed(vault).signing.signers))
    for reader, told in ((theirs, "wrong"), (replace(theirs, store=vault.store), "wrong")):
        with pytest.raises(Damaged, match=told):
            Restores(reader, "shop").get(restore.id).demand_signed()
    path = folder_of(vault, restore) / "done.json"
    rewrite(path, path.read_bytes().replace(b'"update":1', b'"update":9'))
    assert Restores(ours, "shop").get(restore.id).signature == "wrong"
    plain = restored(vault)
    with pytest.raises(Damaged, match="is not signed"):
        Restores(ours, "shop").get(plain.id).demand_signed()


@pytest.mark.rule("U9")
def test_in_an_encrypted_vault_only_ids_times_and_sizes_are_seen(tmp_path: Path) -> None:
    made = Encrypted.make(tmp_path)
    made.back_up(make_shop(tmp_path / "shop.db", rows=3))
    with Restores(made.closed, "shop").begin(wanted(Link("x", "y"), pre_restore="p")) as recording:
        touch(recording)
        recording.prepared()
        recording.done({"update": 1})
    everything = {path: path.read_bytes() for path in (made.folder / "shop").rglob("*") if path.is_file()}
    everything |= {path: path.read_bytes() for path in (made.folder / "objects").rglob("*") if path.is_file()}
    for path, data in everything.items():
        for word in (b"customers", b"Ada", b"ada@desk", b"postgresql"):
            assert word not in data, path
    reader = Restores(made.opened, "shop").get("latest")
    assert b"".join(reader.rows(reader.prepared.images[0])) == BEFORE
    _sealed(folder_of(made.opened, reader))
    for path in made.state.rglob("*"):
        os.utime(path, (1, 1))
    made.closed.forget_known()
    host = Restores(made.closed, "shop").get("latest")
    assert (host.prepared, host.ended) == (reader.prepared, reader.ended)
    stranger = Restores(made.stranger, "shop").get("latest")
    assert (stranger.state, stranger.outline.pre_restore) == ("done", "p")
    for ask in (lambda: stranger.prepared, lambda: stranger.ended):
        with pytest.raises(KeyMissing):
            ask()
    if shutil.which("age"):
        opened = subprocess.run(
            [
                "age",
                "-d",
                "-i",
                made.key_file(tmp_path),
                folder_of(made.opened, reader) / "prepared.json.age",
            ],
            capture_output=True,
            check=True,
        )
        assert opened.stdout == canonical.encode(reader.prepared)


@pytest.mark.rule("U6")
def test_the_rows_of_a_record_are_read_by_hand(vault: Vault) -> None:
    restore = restored(vault)
    command = re.findall(r"```bash\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)[-1]
    command = command.replace("r-2026-11-21T09-30-00-000Z", restore.id)
    assert vault.store.folder is not None
    found = subprocess.run(["bash", "-c", command], cwd=vault.store.folder, capture_output=True, check=True)
    assert found.stdout == BEFORE
