"""FORMAT.md, rule by rule: the vault and its objects. Rows, files and manifests are in the `test_format_*` beside this."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.errors import AlreadyExists, ConfigError, Damaged, NotFound, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import backup_id, check_system_name
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import journal, layout, lock
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify, verify_all
from backup_pipeline_tests.harness.damage import rewrite
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared, shop, shop_vault, table

TESTS = Path(__file__).resolve().parents[1]
FORMAT = TESTS.parent / "backup_pipeline" / "vault" / "FORMAT.md"
RULE = re.compile(r"^- \*\*\[([A-Z]\d+)\]\*\*", re.MULTILINE)


def rules() -> list[str]:
    return RULE.findall(FORMAT.read_text(encoding="utf-8"))


def kept_by() -> dict[str, list[str]]:
    """Rule → the tests that are marked with it, read from the source of every test."""
    found: dict[str, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.rule":
                    for argument in decorator.args:
                        found.setdefault(ast.literal_eval(argument), []).append(node.name)
    return found


def test_every_rule_has_a_number_of_its_own() -> None:
    assert len(rules()) == len(set(rules())) > 50


def test_every_rule_is_kept_by_a_test_and_every_test_names_a_rule_that_there_is() -> None:
    assert set(rules()) - kept_by().keys() == set(), "rules without a test"
    assert kept_by().keys() - set(rules()) == set(), "tests of rules that there are not"


def test_rules_that_are_referred_to_are_there() -> None:
    assert set(re.findall(r"\[([A-Z]\d+)\]", FORMAT.read_text(encoding="utf-8"))) == set(rules())


def test_the_example_in_the_description_is_a_manifest() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    data = canonical.encode(json.loads(shown))
    manifest = canonical.decode(Manifest, data, what="the example")
    assert canonical.encode(manifest) == data
    rows = text.rpartition("```\n")[0].rpartition("```\n")[2]
    reference = manifest.tables[0].chunks[0].object
    assert hashlib.sha256(rows.encode()).hexdigest() == reference.plain_sha256


def test_the_commands_in_the_description_work(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    folder = tmp_path / "vault"
    check, _signed, show, _touched = re.findall(
        r"```bash\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL
    )
    identifier = vault.ids("shop")[0]

    def run(script: str) -> subprocess.CompletedProcess[bytes]:
        script = script.replace("2026-11-21T02-00-00-123Z", identifier)
        return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=False)

    assert run(check).stdout == b"manifest.json: OK\n"
    if shutil.which("zstd"):
        assert run(show).stdout == b"".join(shop(1)[0].chunks)
    victim = next(path for path in (folder / "objects").rglob("*") if path.is_file())
    rewrite(victim, victim.read_bytes() + b"x")
    assert b"damaged: objects/" in run(check).stdout


# ── 1. what lies where


@pytest.mark.rule("V1")
def test_a_vault_says_exactly_what_it_is(tmp_path: Path) -> None:
    prepared(tmp_path / "vault")
    assert (tmp_path / "vault/vault.json").read_bytes() == b'{"format":1,"product":"backup_pipeline"}\n'
    assert (tmp_path / "vault/FORMAT.md").read_bytes() == FORMAT.read_bytes()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/vault.json").write_text('{"format":2,"product":"backup_pipeline"}\n')
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"x")
    for folder in ("other", "photos"):
        with pytest.raises(ConfigError):
            prepared(tmp_path / folder)


@pytest.mark.rule("V2")
def test_names_of_systems_are_plain() -> None:
    for good in ("shop", "a", "shop_2", "a" * 63):
        assert check_system_name(good) == good
    for bad in ("", "Shop", "2shop", "shop-2", "objects", "tmp", "a" * 64, "..", "a/b"):
        with pytest.raises(ConfigError):
            check_system_name(bad)


@pytest.mark.rule("V3")
def test_ids_are_times_that_grow(tmp_path: Path) -> None:
    assert backup_id(datetime(2026, 11, 21, 2, 0, 0, 123999, tzinfo=UTC)) == "2026-11-21T02-00-00-123Z"
    vault = prepared(tmp_path / "vault")
    database = tmp_path / "a.db"
    source = SqliteSource(f"sqlite:///{database}")
    import sqlite3

    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE t (id INTEGER)")
    connection.close()
    back_up(vault, source, Order("shop"), clock=lambda: datetime(2026, 11, 21, 2, tzinfo=UTC))
    with pytest.raises(AlreadyExists, match="clock"):
        back_up(vault, source, Order("shop"), clock=lambda: datetime(2026, 11, 20, 2, tzinfo=UTC))
    assert len(vault.ids("shop")) == 1


@pytest.mark.rule("V4")
@pytest.mark.parametrize("suffix", ["/../../../etc/passwd.zst", "/../x.zst", "\\x.zst", "\0.zst", "//x.zst"])
def test_a_manifest_cannot_point_out_of_the_vault(tmp_path: Path, suffix: str) -> None:
    vault = prepared(tmp_path / "vault")
    made = back_up_by_hand(vault, shop(1))
    reference = replace(made.schema, suffix=suffix)
    with pytest.raises(VaultError):
        vault.content(reference)
    path = tmp_path / "vault" / layout.manifest_key("shop", made.id)
    rewrite(path, canonical.encode(replace(made, schema=reference)))
    assert "object-name" in {finding.code for finding in verify(vault.backup("shop", made.id)).errors}


class _Recording(LocalStore):
    """Remembers in which order keys appeared."""

    keys: list[str] = []  # noqa: RUF012 - one list for the one test that uses it

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        super().put(key, data, overwrite=overwrite)
        self.keys.append(key)


@pytest.mark.rule("V5")
def test_a_backup_is_written_in_an_order_that_may_stop_anywhere(tmp_path: Path) -> None:
    store = _Recording(tmp_path / "vault")
    _Recording.keys.clear()
    vault = Vault(store)
    vault.prepare()
    made = back_up_by_hand(vault, shop(1))
    prefix = layout.backup_prefix("shop", made.id)
    tail = [f"{prefix}{name}" for name in ("RECOVER.md", "manifest.json", "manifest.json.sha256")]
    assert store.keys[-4:] == [*tail, "shop/newest.json"]
    needed = {layout.object_key(reference) for reference in made.objects()}
    assert needed <= set(store.keys[:-4])


@pytest.mark.rule("V6", "V7")
def test_only_a_manifest_makes_a_backup_and_leftovers_are_tolerated(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=2)
    ids = vault.ids("shop")
    vault.writer.write_bytes(b"nobody's\n", ".tsv.zst")
    vault.store.put("shop/2026-11-20T02-00-00-000Z/RECOVER.md", b"killed right before its manifest")
    entry = vault.backup("shop", ids[0]).manifest.tables[0]
    notes = journal.Journal(vault.backup("shop", "2026-11-21T02-00-00-000Z"), {})
    notes.note(entry)
    notes.flush()
    vault.store.put(layout.draft_key("shop", "run"), canonical.encode(vault.backup("shop", ids[0]).manifest))
    vault.store.put("shop/notes.txt", b"somebody's")
    (vault.store.staging() / "half").write_bytes(b"x")
    vault.store.delete(layout.seal_key("shop", ids[1]))
    assert vault.ids("shop") == ids
    assert vault.resolve("shop", "latest") == ids[-1]
    with lock.hold(vault.store, "shop", "a test"):
        report = verify_all(vault, "shop")
    assert report.ok
    assert {finding.code for finding in report.findings} == {"not-sealed"}


@pytest.mark.rule("V8", "C6")
def test_nothing_that_was_committed_is_written_again(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    made = vault.backup("shop", vault.ids("shop")[0]).manifest
    with pytest.raises(AlreadyExists):
        vault.commit(replace(made, kind="scheduled"), "other")
    seal = (tmp_path / "vault" / layout.seal_key("shop", made.id)).read_bytes()
    vault.backup("shop", made.id).seal()
    assert (tmp_path / "vault" / layout.seal_key("shop", made.id)).read_bytes() == seal
    with pytest.raises(AlreadyExists):
        vault.store.put(layout.object_key(made.schema), b"other")


@pytest.mark.rule("V9")
def test_a_file_appears_whole_and_read_only(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    files = [path for path in (tmp_path / "vault").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o400}
    assert list(vault.store.staging().iterdir()) == []

    def breaks() -> object:
        yield b"half"
        raise ConnectionError("gone")

    before = {stat.key for stat in vault.store.list()}
    with pytest.raises(ConnectionError):
        vault.writer.write(breaks(), ".tsv.zst")  # type: ignore[arg-type]
    assert {stat.key for stat in vault.store.list()} == before


# ── 2. objects


@pytest.mark.rule("O1", "O2", "O3")
def test_an_object_bears_the_name_of_its_bytes_and_says_how_to_open_it(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    made = vault.backup("shop", vault.ids("shop")[0]).manifest
    for reference in made.objects():
        path = tmp_path / "vault/objects" / reference.sha256[:2] / f"{reference.sha256}{reference.suffix}"
        stored = path.read_bytes()
        assert hashlib.sha256(stored).hexdigest() == reference.sha256
        assert len(stored) == reference.size
        assert reference.suffix in (".tsv.zst", ".sql.zst", ".json.zst")
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
        assert hashlib.sha256(plain).hexdigest() == reference.plain_sha256
        assert len(plain) == reference.plain_size


@pytest.mark.rule("O4")
def test_content_may_be_packed_in_any_way(tmp_path: Path) -> None:
    """Another level, several frames, no checksum: what another implementation might write."""
    vault = prepared(tmp_path / "vault")
    rows = b"1\n" * 5000
    pack = zstandard.ZstdCompressor(level=19).compress
    stored = pack(rows[:4000]) + pack(rows[4000:])
    ours = vault.writer.write_bytes(rows, ".tsv.zst")
    theirs = replace(ours, sha256=hashlib.sha256(stored).hexdigest(), size=len(stored))
    vault.store.put(layout.object_key(theirs), stored)
    assert vault.content(theirs) == vault.content(ours) == rows


@pytest.mark.rule("O5")
def test_objects_are_shared_and_outlive_what_was_interrupted(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=2)
    first, second = (vault.backup("shop", identifier).manifest for identifier in vault.ids("shop"))
    shared = set(first.objects()) & set(second.objects())
    assert any(reference.suffix == ".tsv.zst" for reference in shared)
    vault.store.put("shop/2026-11-03T02-00-00-000Z/RECOVER.md", b"killed")
    vault.forget_interrupted("shop", before="2026-11-04")
    assert vault.interrupted("shop") == ()
    assert verify_all(vault, "shop").findings == ()


@pytest.mark.rule("O6")
def test_content_is_trusted_only_after_every_check(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "vault")
    reference = vault.writer.write_bytes(b"1\n" * 100, ".tsv.zst")
    assert vault.content(reference) == b"1\n" * 100
    for lie in (
        replace(reference, size=reference.size + 1),
        replace(reference, plain_size=reference.plain_size + 1),
        replace(reference, plain_sha256="0" * 64),
    ):
        with pytest.raises(Damaged):
            vault.content(lie)
    rewrite(
        tmp_path / "vault" / layout.object_key(reference), zstandard.ZstdCompressor().compress(b"2\n" * 100)
    )
    with pytest.raises(Damaged):
        vault.content(reference)


@pytest.mark.rule("O7")
def test_a_damaged_object_is_healed_by_its_own_bytes_only(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "vault")
    made = back_up_by_hand(vault, [table("t", {"id": "integer"}, b"1\n2\n")])
    reference = made.tables[0].chunks[0].object
    path = tmp_path / "vault" / layout.object_key(reference)
    good = path.read_bytes()
    rewrite(path, bytes([good[0] ^ 1]) + good[1:])
    assert not verify(vault.backup("shop", made.id), quick=True).ok
    assert vault.writer.write_bytes(b"1\n2\n", ".tsv.zst") == reference
    assert path.read_bytes() == good
    assert verify(vault.backup("shop", made.id)).findings == ()


# ── 7. working files, 8. later versions


@pytest.mark.rule("W1")
def test_a_proof_of_another_manifest_proves_nothing_and_is_noticed(tmp_path: Path) -> None:
    from backup_pipeline.model.manifest import Proof

    vault = shop_vault(tmp_path / "vault", nights=1)
    (identifier,) = vault.ids("shop")
    proof = Proof("drill", "2026-11-02T00:00:00.000000Z", True, 1.0, manifest_sha256="0" * 64)
    vault.backup("shop", identifier).remember(proof)
    assert vault.store.stat(f"shop/{identifier}/proofs/drill-2026-11-02T00-00-00-000Z.json") is not None
    assert vault.backup("shop", identifier).proofs() == ()
    assert {f.code for f in verify(vault.backup("shop", identifier), quick=True).errors} == {
        "manifest-changed"
    }


@pytest.mark.rule("W2")
def test_the_journal_is_gone_when_the_backup_is_done(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "vault")
    made = back_up_by_hand(vault, shop(1))
    notes = journal.Journal(vault.backup("shop", made.id), {})
    notes.note(made.tables[0])
    notes.flush()
    assert vault.store.stat(f"shop/{made.id}/journal/000001.json") is not None
    journal.remove(vault.backup("shop", made.id))
    assert list(vault.store.list(layout.journal_prefix("shop", made.id))) == []


@pytest.mark.rule("W3")
def test_writers_of_one_system_wait_and_others_do_not(tmp_path: Path) -> None:
    from backup_pipeline.errors import VaultBusy

    vault = prepared(tmp_path / "vault")
    with lock.hold(vault.store, "shop", "one"), lock.hold(vault.store, "office", "another"):
        assert vault.store.stat("shop/lock.json") is not None
        with pytest.raises(VaultBusy), lock.hold(vault.store, "shop", "two"):
            pass
    assert vault.store.stat("shop/lock.json") is None
    assert (lock.RENEW, lock.STALE) == (30.0, 300.0)


@pytest.mark.rule("F1", "F2", "M12")
def test_readers_pass_over_what_is_new_and_refuse_what_they_would_misread(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    (identifier,) = vault.ids("shop")
    made = vault.backup("shop", identifier).manifest
    path = tmp_path / "vault" / layout.manifest_key("shop", identifier)
    plain = json.loads(path.read_bytes())
    rewrite(path, canonical.encode({**plain, "colour": "blue"}))
    assert vault.backup("shop", identifier).claimed == made
    assert "manifest-newer" in {finding.code for finding in verify(vault.backup("shop", identifier)).findings}
    broken = [{**plain, "format": 2}, {**plain, "tables": "none"}, {**plain, "scope": "half"}]
    broken += [
        {key: value for key, value in plain.items() if key != gone} for gone in ("tables", "schema", "id")
    ]
    for other in broken:
        rewrite(path, canonical.encode(other))
        with pytest.raises(Damaged):
            _ = vault.backup("shop", identifier).claimed
        assert "manifest-unreadable" in {
            f.code for f in verify(vault.backup("shop", identifier), quick=True).errors
        }


@pytest.mark.rule("M13")
def test_latest_is_never_a_partial_backup(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    (first,) = vault.ids("shop")
    made = vault.backup("shop", first).manifest
    later = replace(
        made, id="2026-11-09T00-00-00-000Z", scope="partial", previous=vault.backup("shop", first).link
    )
    vault.commit(later, "x")
    assert vault.resolve("shop", "latest") == first
    assert vault.resolve("shop", later.id) == later.id
    with pytest.raises(NotFound):
        vault.resolve("office", "latest")


def test_a_vault_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    vault = shop_vault(tmp_path / "vault", nights=1)
    assert pickle.loads(pickle.dumps(vault)).ids("shop") == vault.ids("shop")
