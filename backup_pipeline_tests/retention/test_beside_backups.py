"""Prune and a backup at the same time, in the worst order that we could think of.

The backup's content has the very bytes of objects that nothing names any more: it finds them there and does not write
them, while prune is about to delete them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.errors import StoreChanged
from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.retention import sweep
from backup_pipeline.retention.prune import Conditions, PruneReport, Rules, prune
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import committing as committing_room
from backup_pipeline.vault import layout, lock
from backup_pipeline.vault.committing import committing, read_garbage
from backup_pipeline.vault.presence import missing
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.scripted import ScriptedSource

OLD = {"orders": b"1\told\n", "payments": b"1\tan old one\n", "rooms": b"1\told room\n"}
NEW = {"orders": b"1\tnew\n", "payments": b"1\ta new one\n", "rooms": b"1\tnew room\n"}
RULES = {"shop": Rules(RetentionSettings(last=1))}
ORDER = Order("shop", pauses=())


class Hooked(LocalStore):
    """A store that does something else right before, or after, one of its deeds."""

    before: dict[tuple[str, str], Callable[[], None]]
    after: dict[tuple[str, str], Callable[[], None]]

    def _around(self, verb: str, key: str, deed: Callable[[], Any]) -> Any:
        self._fire(Hooked.before, verb, key)
        result = deed()
        self._fire(Hooked.after, verb, key)
        return result

    @staticmethod
    def _fire(hooks: dict[tuple[str, str], Callable[[], None]], verb: str, key: str) -> None:
        for (wanted, part), hook in list(hooks.items()):
            if wanted == verb and part in key:
                del hooks[wanted, part]
                hook()

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        self._around("put", key, lambda: LocalStore.put(self, key, data, overwrite=overwrite))

    def delete(self, key: str, *, durable: bool = True) -> None:
        self._around("delete", key, lambda: LocalStore.delete(self, key, durable=durable))


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """The old content, forgotten and marked; nothing but the protocol keeps it from being deleted."""
    monkeypatch.setattr(sweep, "SKEW", timedelta(0))
    Hooked.before, Hooked.after = {}, {}
    vault = Vault(Hooked(tmp_path / "vault"))
    for content in (OLD, NEW):
        back_up(vault, ScriptedSource(dict(content)), ORDER)
        time.sleep(0.002)
    report = pruned(vault, grace=3600)
    assert len(report.forgotten) == 1
    assert report.waiting.objects > 0
    time.sleep(0.01)
    return vault


def pruned(vault: Vault, grace: float = 0) -> PruneReport:
    return prune(vault, Conditions(RULES, timedelta(seconds=grace), datetime.now(UTC)))


def marked(vault: Vault) -> list[str]:
    return [name for names in read_garbage(vault.store).marked.values() for name in names]


class Beside(threading.Thread):
    """Runs beside the test, and its failure is the test's."""

    def __init__(self, deed: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.deed = deed
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.deed()
        except BaseException as error:  # noqa: BLE001 - handed over in `done`
            self.error = error

    def done(self) -> object:
        self.join(60)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def sound(vault: Vault) -> None:
    # The scripted source writes no fingerprints.
    found = verify_all(vault, "shop", quick=True).errors
    assert {one.code for one in found} <= {"fingerprint"}
    for identifier in vault.ids("shop"):
        assert missing(vault.store, vault.backup("shop", identifier).manifest.objects()) == []


def old_again(vault: Vault) -> Any:
    return back_up(vault, ScriptedSource(dict(OLD)), ORDER)


@pytest.mark.rule("K6")
def test_a_backup_that_meets_a_sweep_waits_for_it_and_reads_again_what_is_gone(vault: Vault) -> None:
    """It begins when its objects are condemned, finds them there, and wants to commit while they are being deleted."""
    beside: list[Beside] = []

    def begin() -> None:
        beside.append(Beside(lambda: old_again(vault)))
        time.sleep(0.5)  # time enough for it to read everything and to come to its commit
        assert len(vault.ids("shop")) == 1, "it must not commit while the sweep is under way"

    Hooked.before["delete", "objects/"] = begin
    report = pruned(vault)
    assert report.freed.objects > 0
    beside[0].done()
    assert len(vault.ids("shop")) == 2
    sound(vault)


@pytest.mark.rule("K6")
def test_a_sweep_that_meets_a_commit_waits_for_it_and_spares_what_it_names(vault: Vault) -> None:
    """The backup has looked whether its objects are there, and has not written its manifest, when prune condemns them."""
    beside: list[Beside] = []
    condemned: list[bool] = []
    before = set(marked(vault))

    def begin() -> None:
        # The notes of a running backup would spare its objects; where a vault is encrypted they are not in it.
        for stat in list(vault.store.list("shop/")):
            if "/journal/" in stat.key:
                vault.store.delete(stat.key)
        beside.append(Beside(lambda: pruned(vault)))
        deadline = time.monotonic() + 20
        while not read_garbage(vault.store).condemned and time.monotonic() < deadline:
            time.sleep(0.01)
        condemned.append(bool(read_garbage(vault.store).condemned))
        time.sleep(0.3)

    Hooked.before["put", "/manifest.json"] = begin
    made = old_again(vault)
    report = beside[0].done()
    assert condemned == [True], "prune never came so far: this proved nothing"
    assert isinstance(report, PruneReport)
    named = {one.sha256 + one.suffix for one in made.objects()}
    assert named & before, "the backup names nothing that was marked: this proved nothing"
    sound(vault)


def test_a_backup_that_begins_after_the_deletion_just_writes_its_objects_anew(vault: Vault) -> None:
    assert pruned(vault).freed.objects > 0
    old_again(vault)
    sound(vault)


def test_what_vanishes_under_a_backup_is_read_again_once(vault: Vault) -> None:
    """The last guard, also where the protocol failed: no manifest names a missing object."""

    def vanish() -> None:
        for name in marked(vault):
            vault.store.delete(f"{layout.OBJECTS}{name[:2]}/{name}")

    Hooked.before["put", "/journal/"] = vanish
    with pytest.raises(StoreChanged), lock.hold(vault.store, "other", "a test") as held:
        with committing(vault.store, held, [ObjectRef("0" * 64, 1, ".tsv.zst", "0" * 64, 1)]):
            raise AssertionError("not reached")
    old_again(vault)
    sound(vault)


def test_a_killed_prune_condemns_nothing_for_ever(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's process is gone: the backup goes on, names what is still there, and the next prune spares it."""

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    Hooked.before["delete", "objects/"] = kill
    with pytest.raises(Killed):
        pruned(vault)
    assert read_garbage(vault.store).condemned
    # A backup that waits for the killed prune gives up at its first look.
    monkeypatch.setattr(committing_room, "PATIENCE", -1.0)
    made = old_again(vault)
    assert missing(vault.store, made.objects()) == []
    pruned(vault)
    sound(vault)
    assert not read_garbage(vault.store).condemned


@pytest.mark.rule("K6")
def test_a_prune_that_stood_still_deletes_nothing_more(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that was closed in the middle of the deletions. After that, the lock looks stale to the prune. No
    process took the lock, so it still is the prune's own, and the prune goes on."""
    condemned = set(marked(vault))
    assert len(condemned) > 1
    made: list[Any] = []

    def sleep() -> None:
        # Only from here on: a busy machine may well stand still for so long before the first deletion.
        monkeypatch.setattr(lock, "STALE", 4.0)
        time.sleep(4.2)
        made.append(old_again(vault))

    Hooked.after["delete", "objects/"] = sleep
    report = pruned(vault)
    assert [one.code for one in report.findings] == ["prune-stood-still"]
    assert report.freed.objects == 1
    named = {one.sha256 + one.suffix for one in made[0].objects()}
    assert len(named & condemned) > 1, "the backup relied on nothing that was left: this proved nothing"
    assert missing(vault.store, made[0].objects()) == []
    sound(vault)


def test_a_commit_that_stood_still_looks_again_whether_all_is_there(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE", 1.0)
    reference = vault.writer.write_bytes(b"1\tof nobody\n", ".tsv.zst")
    looks = 0

    def slow(store: LocalStore, objects: object) -> list[ObjectRef]:
        nonlocal looks
        looks += 1
        if looks == 1:
            time.sleep(1.2)
            return []
        return [reference]

    monkeypatch.setattr("backup_pipeline.vault.committing.missing", slow)
    with pytest.raises(StoreChanged), lock.hold(vault.store, "other", "a test") as held:
        with committing(vault.store, held, [reference]):
            raise AssertionError("not reached")
    assert looks == 2
