from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.errors import AlreadyExists, VaultBusy, VaultError
from backup_pipeline.stores import pids
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, lock
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.commands import PROGRAM, environment


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_two_backups_of_a_system_cannot_interleave(store: LocalStore) -> None:
    with lock.hold(store, "shop", "backup of shop"):
        with (
            pytest.raises(VaultBusy, match="backup of shop is running") as caught,
            lock.hold(store, "shop", "x"),
        ):
            pass
        assert str(os.getpid()) in caught.value.message


def test_two_systems_do_not_wait_for_each_other(store: LocalStore) -> None:
    with lock.hold(store, "shop", "a"), lock.hold(store, "blog", "b"):
        pass


def test_the_lock_is_free_again_after_success_and_after_failure(store: LocalStore) -> None:
    with pytest.raises(RuntimeError), lock.hold(store, "shop", "a"):
        raise RuntimeError
    with lock.hold(store, "shop", "b"):
        pass
    assert store.stat(layout.lock_key("shop")) is None


def test_the_lock_of_a_killed_process_is_taken_over_at_once(store: LocalStore, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from backup_pipeline.stores.local import LocalStore; from backup_pipeline.vault import lock\n"
        "with lock.hold(LocalStore(Path(sys.argv[1])), 'shop', 'a'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert store.stat(layout.lock_key("shop")) is not None
    with lock.hold(store, "shop", "b"):
        pass


def test_a_reused_process_number_is_not_the_holder() -> None:
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    text = "2026-11-21T00:00:00.000000Z"
    holder = lock.Holder("t", socket.gethostname(), os.getpid(), "1", "a", text, text, realm=pids.realm())
    assert lock.is_stale(holder, moment)


def test_a_lock_of_another_machine_is_stale_only_when_it_is_not_renewed() -> None:
    text = "2026-11-21T00:00:00.000000Z"
    holder = lock.Holder("t", "elsewhere", 1, "1", "a", text, text)
    begin = datetime(2026, 11, 21, tzinfo=UTC)
    assert not lock.is_stale(holder, begin + timedelta(seconds=lock.STALE - 1))
    assert lock.is_stale(holder, begin + timedelta(seconds=lock.STALE + 1))


def test_who_lost_the_lock_must_not_commit(store: LocalStore) -> None:
    with lock.hold(store, "shop", "a") as held:
        held.confirm()
        store.delete(layout.lock_key("shop"))
        with lock.hold(store, "shop", "b"), pytest.raises(VaultBusy, match="took over"):
            held.confirm()


def test_a_damaged_lock_does_not_block_for_ever(store: LocalStore) -> None:
    store.put(layout.lock_key("shop"), b"\x00garbage")
    with lock.hold(store, "shop", "b"):
        pass


@dataclass(frozen=True)
class _Careless(LocalStore):
    """A store that looks before it writes, and has no other way to know, as behind `rclone serve s3`. Two look, then both
    write, and neither goes on before the other has written."""

    both: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=60), compare=False)

    def creates_once(self) -> bool:
        return False

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        if not overwrite and self.stat(key) is not None:
            raise AlreadyExists(key)
        if not overwrite:
            self.both.wait()
        super().put(key, data, overwrite=True)
        if not overwrite:
            self.both.wait()


@dataclass(frozen=True)
class _WithoutDelete(LocalStore):
    """What a backup host should be able to do: write, and not delete."""

    def delete(self, key: str, *, durable: bool = True) -> None:
        raise VaultError("AccessDenied")


@pytest.mark.rule("W3")
def test_of_two_that_create_a_lock_at_once_one_holds_it_where_creates_are_not_conditional(
    tmp_path: Path,
) -> None:
    store = _Careless(tmp_path)
    held: list[str] = []
    gave_up = threading.Event()

    def take(what: str) -> None:
        with contextlib.suppress(VaultBusy), lock.hold(store, "shop", what):
            held.append(what)
            gave_up.wait(60 * lock.SETTLE)
        gave_up.set()

    threads = [threading.Thread(target=take, args=(what,)) for what in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1


@pytest.mark.rule("W3")
def test_a_lock_is_given_back_and_taken_again_by_who_may_not_delete(tmp_path: Path) -> None:
    store = _WithoutDelete(tmp_path)
    for _ in range(2):
        with lock.hold(store, "shop", "a"):
            with pytest.raises(VaultBusy), lock.hold(LocalStore(tmp_path), "shop", "b"):
                pass
    found = lock.current(store, layout.lock_key("shop"))
    assert found is not None
    assert lock.is_stale(found, datetime.now(UTC))


def test_a_lock_that_cannot_be_given_back_does_not_fail_the_work_that_is_done(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with lock.hold(store, "shop", "a"):
        key = store.root / layout.lock_key("shop")
        key.unlink()
        key.mkdir()  # what reads it now gets an error of the store


@pytest.mark.rule("W3")
def test_a_lock_of_this_process_that_it_does_not_hold_is_a_write_that_came_late(store: LocalStore) -> None:
    key = layout.lock_key("shop")
    with lock.hold(store, "shop", "a"):
        late = store.root.joinpath(key).read_bytes()
    store.put(key, late)
    with lock.hold(store, "shop", "b"):
        pass


HOLDER = """
import sys; from pathlib import Path
from backup_pipeline.stores.local import LocalStore; from backup_pipeline.stores.staging import staging_name
from backup_pipeline.vault import lock
store = LocalStore(Path(sys.argv[1]))
(store.staging() / staging_name()).write_bytes(b"being written")
with lock.hold(store, "shop", "backup of shop in a container"):
    print("held", flush=True)
    sys.stdin.readline()
"""
#: A container with the host's name: a PID namespace and its own /proc, nothing else.
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
TRY = (
    subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode
    if shutil.which("unshare")
    else 1
)


@pytest.mark.skipif(TRY != 0, reason="a PID namespace needs Linux, unshare and root")
@pytest.mark.parametrize("inside_holds", [True, False])
def test_a_living_lock_is_not_taken_over_across_pid_namespaces_with_one_host_name(
    tmp_path: Path, *, inside_holds: bool
) -> None:
    """Two containers with one host name: the process number of the one means another process, or none, in the other."""
    Vault(LocalStore(tmp_path / "vault")).prepare()
    (tmp_path / "shop.db").write_bytes(b"")
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems: {shop: {database: 'sqlite:///shop.db'}}\n"
    )
    held, other = ((*CONTAINER,), ()) if inside_holds else ((), (*CONTAINER,))
    command = [*held, sys.executable, "-c", HOLDER, str(tmp_path / "vault")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            second = subprocess.run(
                [*other, *PROGRAM, "backup", "shop", "--no-record"],
                cwd=tmp_path,
                env=environment(),
                check=False,
                capture_output=True,
                text=True,
            )
            assert second.returncode == VaultBusy.exit_code, second.stderr
            assert "backup of shop in a container is running" in second.stderr
            assert len(list((tmp_path / "vault" / "tmp").iterdir())) == 1
        finally:
            process.communicate("\n")
    assert process.returncode == 0


def test_a_lock_of_an_older_version_is_read_and_goes_by_its_time(store: LocalStore) -> None:
    """It names a host and a process only: whether that process is one of ours cannot be known."""
    key = layout.lock_key("shop")
    store.put(
        key,
        b'{"born":"1","host":"%s","pid":99999999,"renewed":"2026-11-21T00:00:00.000000Z",'
        b'"since":"2026-11-21T00:00:00.000000Z","token":"t","what":"backup of shop"}\n'
        % socket.gethostname().encode(),
    )
    found = lock.current(store, key)
    assert found is not None
    begin = datetime(2026, 11, 21, tzinfo=UTC)
    assert not lock.is_stale(found, begin + timedelta(seconds=lock.STALE - 1))
    assert lock.is_stale(found, begin + timedelta(seconds=lock.STALE + 1))
