"""Backups, copies that die and forgotten backups come in random order. A copy lists only whole backups, and its history
holds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_pipeline.copies.compare import compare
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.model.vault_records import Forgotten
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout, records
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared, table


class Died(BaseException):
    """The process is gone: nothing that comes after is done."""


@dataclass(frozen=True)
class Mortal(LocalStore):
    """A store that dies at its n-th write, and does nothing any more then."""

    life: list[int]

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        self.life[0] -= 1
        if self.life[0] < 0:
            raise Died
        super().put(key, data, overwrite=overwrite)

    def delete(self, key: str, *, durable: bool = True) -> None:
        if self.life[0] < 0:
            raise Died
        super().delete(key, durable=durable)


def small(night: int) -> bytes:
    return b"%d\tnight\n" % (night % 3)


def forget(vault: Vault, identifier: str) -> None:
    previous = vault.backup("shop", identifier).manifest.previous
    digest = vault.backup("shop", identifier).link.sha256
    record = Forgotten("shop", identifier, digest, "2026-11-28T00:00:00.000000Z", "prune", previous=previous)
    records.write_forgotten(vault.store, record)
    manifest, rest = records.keys_of(vault.backup("shop", identifier))
    for key in (*manifest, *rest):
        vault.store.delete(key)


def copy_until(vault: Vault, folder: Path, life: int, *only: str) -> None:
    try:
        replicate(vault, Vault(Mortal(folder, [life])), "shop", only or None)
    except Died:
        # As a process of its own would have left it: the lock of a process that is gone.
        LocalStore(folder).delete(layout.lock_key("shop"))


EVENTS = st.lists(
    st.one_of(
        st.just(("backup", 0)),
        st.tuples(st.just("copy"), st.integers(0, 25)),
        st.tuples(st.just("forget-here"), st.integers(0, 5)),
        st.tuples(st.just("forget-there"), st.integers(0, 5)),
        st.tuples(st.just("copy-one"), st.integers(0, 5)),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_a_copy_lists_only_whole_backups_after_any_history(events: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        vault, folder = prepared(Path(base) / "vault"), Path(base) / "copy"
        copy = Vault(LocalStore(folder))
        night = 0
        for what, number in events:
            ids, there = vault.ids("shop"), copy.ids("shop")
            if what == "backup" and night < 28:
                night += 1
                back_up_by_hand(vault, [table("a", {"id": "integer", "t": "text"}, small(night))], night)
            elif what == "copy" and ids:
                copy_until(vault, folder, number)
            elif what == "copy-one" and ids:
                copy_until(vault, folder, 10 + number, ids[number % len(ids)])
            elif what == "forget-here" and len(ids) > 1:
                forget(vault, ids[number % (len(ids) - 1)])
            elif what == "forget-there" and len(there) > 1:
                forget(copy, there[number % (len(there) - 1)])
            assert_sound(copy)
        if vault.ids("shop"):
            assert replicate(vault, copy, "shop").ok
            assert_sound(copy)
            assert compare(vault, copy, "shop").same
            assert copy.interrupted("shop") == ()


def assert_sound(copy: Vault) -> None:
    if not copy.ids("shop"):
        return
    report = verify_all(copy, "shop", quick=True)
    assert report.errors == ()
    assert {finding.code for finding in report.findings} <= {"not-sealed"}, report.findings
