from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.errors import VaultBusy
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, lock


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
    import socket

    text = "2026-11-21T00:00:00.000000Z"
    holder = lock.Holder("t", socket.gethostname(), os.getpid(), "1", "a", text, text)
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
